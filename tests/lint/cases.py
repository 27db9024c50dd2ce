"""For each rule a graph that must trigger it and one, as like as can be, that must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from esp_hil.formats.espdl.model import Attribute, TensorData
from esp_hil.lint import Subject
from esp_hil.targets import target
from tests.formats.espdl.examples import conv_graph, tiny_graph
from tests.formats.espdl.writer import graph, node, tensor, value
from tests.lint.builders import (
    add,
    biased,
    conv,
    float_relu,
    gru,
    in_memory,
    of_size,
    on_file,
    one,
    onnx,
    packed_gemm,
    pool,
    prelu,
    slicing,
    split,
    table,
    wide,
    with_attributes,
)

NEG = node("Neg", ("x",), ("a",))
W1, W2, W3 = (tensor(name, np.ones((4, 4), np.float32), exponents=()) for name in ("w1", "w2", "w3"))
SLOPES = tensor("s", np.ones((2, 1, 1), np.float32), exponents=())
SLOPE = tensor("s", np.ones((1,), np.float32), exponents=())


KERNEL = tensor("k", np.ones((2, 4, 3, 3), np.float32), exponents=())


def pads(*values: int) -> TensorData:
    """The second input of a Pad."""
    return tensor("p", np.array(values, np.int64), exponents=())


def recurrence(batch: int = 1, **asked: Attribute) -> Subject:
    """A float GRU as torch exports it, but for what is asked."""
    made = node("GRU", ("x", "w", "r", "b", "", "h0"), ("y", "h"))
    made = replace(made, attributes={"hidden_size": 2, "linear_before_reset": 1, **asked})
    return onnx(made, shape=(3, batch, 2))


def resized(
    before: tuple[int, ...],
    after: tuple[int, ...],
    chip: str,
    *,
    exponents: tuple[int, int] = (-3, -3),
    mode: str = "nearest",
) -> Subject:
    """A Resize from one shape to another, NHWC."""
    made = node("Resize", ("x", "", "s"), ("y",), mode=mode)
    sizes = tensor("s", np.array([1.0] * len(before), np.float32), exponents=())
    values = value("x", before, exponents[0]), value("y", after, exponents[1])
    return on_file(one(made, *values, initializers=(sizes,)), chip=chip)


def requantized(exponents: tuple[int, int], dtypes: tuple[str, str], chip: str) -> Subject:
    """A RequantizeLinear between these exponents and types."""
    values = value("x", (1, 64), exponents[0], dtypes[0]), value("y", (1, 64), exponents[1], dtypes[1])
    return on_file(one(node("RequantizeLinear", ("x",), ("y",)), *values), chip=chip)


def multiplied(made: int, chip: str) -> Subject:
    """Mul of x and x, exponent -3, to this exponent."""
    shape = (1, 4, 4, 2)
    return on_file(
        one(node("Mul", ("x", "x"), ("y",)), value("x", shape, -3), value("y", shape, made)), chip=chip
    )


def deep_bias(channel: int, number: int, chip: str = "esp32s3") -> Subject:
    """An int16 Gemm of 12 outputs with one bias of this number."""
    numbers = np.zeros(12, np.int64)
    numbers[channel] = number
    weights = tensor("w", np.ones((1, 1, 4, 12), np.int16), exponents=(-7,), layout="NHWC")
    values = value("x", (1, 4), -5, "int16"), value("y", (1, 12), -4, "int16")
    made = node("Gemm", ("x", "w", "b"), ("y",), quant_type="S16")
    bias = tensor("b", numbers, exponents=(-12,))
    return in_memory(one(made, *values, initializers=(weights, bias)), target=target(chip))


def flattened(given: str, made: str) -> Subject:
    """A Flatten from one type to another."""
    values = value("x", (1, 2, 4), -3, given), value("y", (1, 8), -3, made)
    return on_file(one(node("Flatten", ("x",), ("y",), axis=1), *values))


def compared(dtype: str) -> Subject:
    """Greater of x and x of a type."""
    made = node("Greater", ("x", "x"), ("y",), quant_type="S16" if dtype == "int16" else "S8")
    return on_file(one(made, value("x", (1, 8), -3, dtype), value("y", (1, 8), 0, "bool")))


def scaled(shape: tuple[int, ...]) -> Subject:
    """Behind a MaxPool of 4x4 pixels and 4 channels a Mul with a constant of this shape."""
    pooled = node("MaxPool", ("x",), ("p",), kernel_shape=(1, 1), strides=(1, 1), pads=(0, 0, 0, 0))
    factor = tensor("f", np.ones(shape, np.int8), exponents=(-3,))
    values = [value(name, (1, 4, 4, 4), -3) for name in ("x", "p", "y")]
    return on_file(graph([pooled, node("Mul", ("p", "f"), ("y",))], values, initializers=[factor]))


# rule -> (subject that triggers it, part of what it says, subject that does not)
CASES: dict[str, list[tuple[Subject, str, Subject]]] = {
    "two-exponents-of-input": [
        (
            on_file(add(-2, source="input")),
            "no RequantizeLinear behind graph input 'x'",
            on_file(add(-3, source="input")),
        )
    ],
    "unequal-exponents": [
        (on_file(add(-2, source="mul")), "'b' has exponent -2", on_file(add(-3, source="mul"))),
        (on_file(slicing(-4, source="mul")), "'y' has exponent -4", on_file(slicing(-3, source="mul"))),
    ],
    "passive-on-input": [(on_file(slicing(-4)), "copies integers as they are", on_file(slicing(-3)))],
    "neg-exponents": [
        (
            on_file(one(node("Neg", ("x",), ("y",)), value("x", (1, 4), -5), value("y", (1, 4), -1))),
            "'y' has exponent -1",
            on_file(one(node("Neg", ("x",), ("y",)), value("x", (1, 4), -5), value("y", (1, 4), -5))),
        )
    ],
    "exponent-range": [
        (on_file(slicing(-31)), "exponent -31", on_file(slicing(-30))),
        (on_file(table(256, exponent=31)), "exponent 31", on_file(conv(1, (2, 4), exponents=(-5, -40, -4)))),
    ],
    "shift-range": [
        (
            on_file(conv(1, (2, 4), exponents=(-5, -7, -13)), chip="esp32s3"),
            "shifted left by 1",
            on_file(conv(1, (2, 4), exponents=(-5, -7, -12)), chip="esp32s3"),
        ),
        (
            on_file(conv(1, (2, 4), exponents=(-5, -31, -4))),
            "shifted right by 32",
            on_file(conv(1, (2, 4), exponents=(-5, -30, -4)), chip="esp32p4"),
        ),
    ],
    "bias-exponent": [
        (on_file(biased("int64", -12)), "bias is int64, ESP-DL asserts int32", on_file(biased("int32", -12))),
        (on_file(biased("int32", -11)), "exponent -11, the accumulator -12", on_file(biased("int32", -12))),
    ],
    "lookup-table": [
        (on_file(table(255)), "255 entries, int8 needs 256", on_file(table(256))),
        (on_file(table(256, exponent=-4)), "table exponent -4, output exponent -3", on_file(table(256))),
        (on_file(table(256, name="other")), "'t' is not in the file", on_file(table(256))),
        (on_file(table(2048, kind="S16")), "2048 entries", on_file(table(2049, kind="S16"))),
    ],
    "unregistered-operator": [
        (
            on_file(one(node("Erf", ("x",), ("y",)))),
            "Do not support Erf",
            on_file(one(node("Neg", ("x",), ("y",)))),
        )
    ],
    "no-kernel": [
        (
            on_file(one(node("Resize", ("x",), ("y",), quant_type="S16", mode="nearest"))),
            "empty function",
            on_file(one(node("Resize", ("x",), ("y",), mode="nearest"))),
        ),
        (on_file(float_relu("W8A16")), "quant_type 'W8A16'", on_file(float_relu("S16"))),
    ],
    "float-node": [
        (on_file(float_relu("F32")), "left in float32", on_file(float_relu("S8"))),
        (
            on_file(one(node("Relu", ("x",), ("y",), quant_type="F32"))),
            "every node is float32",
            on_file(one(node("Relu", ("x",), ("y",)))),
        ),
    ],
    "missing-attribute": [
        (
            on_file(one(with_attributes(node("Transpose", ("x",), ("y",)), quant_type="S8"))),
            "no attribute 'perm'",
            on_file(one(node("Transpose", ("x",), ("y",), perm=(0, 1, 2, 3)))),
        ),
        (
            on_file(one(with_attributes(node("Neg", ("x",), ("y",))))),
            "no attribute 'quant_type'",
            on_file(one(node("Neg", ("x",), ("y",)))),
        ),
        (
            onnx(node("Conv", ("x", "w1"), ("y",), strides=(1, 1))),
            "no attribute 'dilations'",
            onnx(node("Conv", ("x", "w1"), ("y",), strides=(1, 1), dilations=(1, 1))),
        ),
        (
            onnx(node("Pad", ("x",), ("y",))),
            "no attribute 'mode'",
            onnx(node("Pad", ("x",), ("y",), mode="constant")),
        ),
    ],
    "native-matmul": [
        (
            on_file(one(node("MatMul", ("x", "x"), ("y",), input1_layout="native_kn"))),
            "garbage silently",
            on_file(one(node("MatMul", ("x", "x"), ("y",)))),
        )
    ],
    "conv-groups": [
        (on_file(conv(2, (4, 4))), "group=2 with 4 input channels", on_file(conv(4, (4, 4)))),
        (on_file(conv(4, (4, 8))), "multiplier of 2", on_file(conv(1, (4, 8)))),
        (
            in_memory(conv(2, (4, 4), onnx=True), stage="onnx"),
            "group=2 with 4 input channels",
            in_memory(conv(4, (4, 4), onnx=True), stage="onnx"),
        ),
    ],
    "pool-padding": [
        (on_file(pool()), "over the whole window", on_file(pool(count_include_pad=1))),
        (on_file(pool(count_include_pad=0)), "over the whole window", on_file(pool(pads=(0, 0, 0, 0)))),
    ],
    "pool-ceil": [
        (on_file(pool(ceil_mode=1)), "ignores ceil_mode", on_file(pool(ceil_mode=0))),
        (
            on_file(pool("MaxPool", dilations=(2, 1))),
            "ignores dilations",
            on_file(pool("MaxPool", dilations=(1, 1))),
        ),
    ],
    "first-sample": [
        (
            on_file(one(node("GlobalAveragePool", ("x",), ("y",)), value("x", (2, 4, 4, 2)))),
            "a batch of 2",
            on_file(one(node("GlobalAveragePool", ("x",), ("y",)))),
        )
    ],
    "window": [
        (
            on_file(pool(kernel_shape=(5, 3), strides=(2, 1), pads=(0, 1, 2, 1))),
            "axis 0: a window of 5 without padding before it",
            on_file(pool(kernel_shape=(5, 3), strides=(2, 1), pads=(1, 1, 1, 1))),
        ),
        (
            on_file(pool(kernel_shape=(6, 3), pads=(3, 1, 0, 1))),
            "a padding of 3 is more than its 2 outputs",
            on_file(pool(kernel_shape=(6, 3), pads=(2, 1, 1, 1))),
        ),
    ],
    "frozen-table": [
        (
            on_file(one(node("Div", ("x", "d"), ("y",)), value("d", (1,)))),
            "'d' is one number, computed",
            on_file(one(node("Div", ("x", "d"), ("y",)), value("d", (1, 1, 1, 2)))),
        )
    ],
    "auto-pad": [
        (
            on_file(pool("MaxPool", auto_pad="SAME_UPPER")),
            "SAME_UPPER",
            on_file(pool("MaxPool", auto_pad="NOTSET")),
        )
    ],
    "transposed-conv": [
        (
            onnx(node("ConvTranspose", ("x", "k"), ("y",), dilations=(1, 2)), initializers=(KERNEL,)),
            "a window without gaps",
            onnx(node("ConvTranspose", ("x", "k"), ("y",), dilations=(1, 1)), initializers=(KERNEL,)),
        ),
        (
            onnx(node("ConvTranspose", ("x", "k"), ("y",), pads=(0, 0, 3, 0)), initializers=(KERNEL,)),
            "has negative ones",
            onnx(node("ConvTranspose", ("x", "k"), ("y",), pads=(2, 2, 2, 2)), initializers=(KERNEL,)),
        ),
    ],
    "spatial-axes": [
        (
            onnx(node("MaxPool", ("x",), ("y",)), shape=(1, 2, 4, 4, 4)),
            "over 3 axes",
            onnx(node("MaxPool", ("x",), ("y",)), shape=(1, 2, 4, 4)),
        )
    ],
    "computed-weights": [
        (
            onnx(NEG, node("Gemm", ("x", "a"), ("y",))),
            "its operand 'a' is computed from an input",
            onnx(node("Neg", ("w1",), ("a",)), node("Gemm", ("x", "a"), ("y",)), initializers=(W1,)),
        )
    ],
    "pad-form": [
        (
            onnx(node("Pad", ("x",), ("y",), pads=(0, 0, 0, 0))),
            "esp-ppq loses its mode",
            onnx(node("Pad", ("x", "p"), ("y",)), initializers=(pads(0, 1),)),
        ),
        (
            onnx(node("Pad", ("x", "p"), ("y",)), initializers=(pads(1, -2),)),
            "a padding of -2 cuts",
            onnx(node("Pad", ("x", "p"), ("y",)), initializers=(pads(0, 1),)),
        ),
    ],
    "recurrent-kind": [
        (recurrence(**asked), says, recurrence())
        for asked, says in (
            ({"linear_before_reset": 0}, "linear_before_reset = 0"),
            ({"direction": "reverse"}, "direction = 'reverse'"),
            ({"activations": ("Relu", "Tanh")}, "GRU with activations"),
            ({"clip": 3.0}, "GRU with clip"),
            ({"layout": 1}, "layout = 1"),
        )
    ]
    + [(recurrence(batch=3), "a batch of 3", recurrence(batch=1))],
    "gemm-scale": [
        (
            onnx(node("Gemm", ("x", "w1"), ("y",), transA=1), initializers=(W1,)),
            "transA=1",
            onnx(node("Gemm", ("x", "w1"), ("y",), transB=1), initializers=(W1,)),
        ),
        (
            on_file(one(node("Gemm", ("x", "x"), ("y",), alpha=0.5))),
            "alpha=0.5",
            on_file(one(node("Gemm", ("x", "x"), ("y",), alpha=1.0, beta=1.0, transA=0))),
        ),
    ],
    "prelu": [
        (
            on_file(prelu((1, 4, 4, 2), 2, exponents=(-5, -6)), chip="esp32c3"),
            "copied without rescaling",
            on_file(table(256)),
        ),
        (on_file(prelu((1, 4, 2), 2)), "3 dimensions", on_file(table(256))),
        (on_file(prelu((1, 2, 4, 5), 2)), "2 slopes", on_file(table(256))),
        (on_file(prelu((1, 4, 4, 2), 2), chip="esp32c3"), "rounds negative values down", on_file(table(256))),
        (on_file(prelu((1, 4, 4, 2), 2), chip="esp32s3"), "the SIMD kernel rounds", on_file(table(256))),
        (
            on_file(prelu((1, 4, 4, 2), 2, exponents=(-5, -6)), chip="esp32p4"),
            "a PC answers otherwise",
            on_file(table(256)),
        ),
        (
            on_file(prelu((1, 4, 4, 2), 2, exponents=(0, -7)), chip="esp32p4"),
            "does not fit int8",
            on_file(table(256)),
        ),
        (
            onnx(node("PRelu", ("x", "s"), ("y",)), initializers=(SLOPES,)),
            "in its own way",
            onnx(node("PRelu", ("x", "s"), ("y",)), initializers=(SLOPE,)),
        ),
    ],
    "resize": [
        (
            on_file(one(node("Resize", ("x",), ("y",), mode="cubic"))),
            "mode 'cubic'",
            on_file(one(node("Resize", ("x",), ("y",), mode="linear"))),
        )
    ],
    "pad-mode": [
        (
            on_file(one(node("Pad", ("x",), ("y",), mode="wrap"))),
            "mode 'wrap'",
            on_file(one(node("Pad", ("x",), ("y",), mode="edge"))),
        )
    ],
    "split-count": [(on_file(split(sizes=False)), "for the size of each part", on_file(split(sizes=True)))],
    "reduce-axes": [
        (
            on_file(one(node("ReduceMean", ("x",), ("y",), axes=(1,)))),
            "works on all axes",
            on_file(one(node("ReduceMean", ("x",), ("y",)))),
        )
    ],
    "space-to-depth": [
        (
            on_file(one(node("SpaceToDepth", ("x",), ("y",), blocksize=2))),
            "pixel_unshuffle",
            on_file(one(node("DepthToSpace", ("x",), ("y",), blocksize=2))),
        )
    ],
    "recurrent": [
        (on_file(gru(input_forget=1)), "coupled gates", on_file(table(256))),
        (
            on_file(replace(gru(), nodes=(replace(gru().nodes[0], inputs=("x", "w", "r", "b")),))),
            "needs its initial state",
            on_file(table(256)),
        ),
    ],
    "recurrent-state": [
        (
            in_memory(replace(gru(), nodes=(replace(gru().nodes[0], outputs=("y",)),)), stage="onnx"),
            "IndexError",
            in_memory(gru(), stage="onnx"),
        )
    ],
    "shapes": [
        (
            on_file(graph([node("Neg", ("x",), ("y",))], (value("x", (1, 4)), value("y", (1, 5))))),
            "the file says 1x5 for 'y', ESP-DL computes 1x4",
            on_file(graph([node("Neg", ("x",), ("y",))], (value("x", (1, 4)), value("y", (4, 1))))),
        ),
        (
            on_file(one(node("Transpose", ("x",), ("y",)))),
            "attribute 'perm'",
            on_file(one(node("Neg", ("x",), ("y",)))),
        ),
    ],
    "unknown-target": [
        (
            on_file(tiny_graph(), metadata={"target": "esp64"}),
            "exported for 'esp64'",
            on_file(tiny_graph(), metadata={"target": "esp32c6"}),
        )
    ],
    "wrong-family": [
        (on_file(conv_graph(), chip="esp32s3"), "made for c; esp32s3", on_file(conv_graph(), chip="esp32c6")),
        (
            on_file(conv_graph(layout="N16HWC16"), chip="esp32p4"),
            "fits esp32s3 and esp32p4",
            on_file(conv_graph(layout="N16HWC16"), chip="esp32p4", metadata={"target": "esp32p4"}),
        ),
    ],
    "model-size": [
        (of_size(4097, partition_bytes=4096), "its partition 4,096", of_size(4096, partition_bytes=4096)),
        (of_size(5 << 20, chip="esp32"), "the flash of esp32", of_size(4 << 20, chip="esp32")),
    ],
    "memory": [
        (
            on_file(wide(250_000), chip="esp32c3"),
            "one block of 250,000 bytes; the largest of esp32c3's internal RAM has about 131,072",
            on_file(wide(120_000), chip="esp32c3"),
        ),
        (
            on_file(wide(1 << 20), chip="esp32p4", psram_bytes=1 << 19),
            "524,288 bytes of PSRAM",
            on_file(wide(1 << 20), chip="esp32p4"),
        ),
    ],
    "no-test-vector": [(on_file(tiny_graph()), "no test vector", on_file(conv_graph()))],
    "input-saturation": [
        (
            on_file(tiny_graph(), inputs={"x": np.array([16.1, 0, 0, 0])}),
            "25.00% of the data lie beyond ±15.875",
            on_file(tiny_graph(), inputs={"x": np.array([15.9, -16.0, 0, 0])}),
        ),
        (
            on_file(tiny_graph(), inputs={"x": np.array([-128, 0, 0, 0], np.int8)}),
            "25.00%",
            on_file(tiny_graph(), inputs={"x": np.array([-127, 126, 0, 0], np.int8)}),
        ),
        (
            on_file(tiny_graph(), inputs={"x": np.array([np.nan, 0, 0, 0])}),
            "25.00%",
            on_file(tiny_graph(), inputs={"x": np.zeros(0)}),
        ),
    ],
    "s3-accumulator": [
        (on_file(packed_gemm(64, inputs=128)), "sums to 1,048,576", on_file(packed_gemm(63))),
        (
            on_file(packed_gemm(64, inputs=128), chip="esp32s3"),
            "the accumulators of esp32s3 stop at",
            on_file(packed_gemm(64, inputs=128), chip="esp32p4"),
        ),
        (
            on_file(packed_gemm(100, inputs=128, alternate=True)),
            "1 of 1 layers could leave",
            on_file(packed_gemm(30, inputs=128, alternate=True)),
        ),
    ],
    "unsupported-operator": [
        (onnx(node("Einsum", ("x",), ("y",))), "Do not support Einsum", onnx(node("Relu", ("x",), ("y",)))),
        (
            onnx(node("Shape", ("x",), ("y",))),
            "must fold away",
            onnx(node("BatchNormalization", ("x",), ("y",))),
        ),
    ],
    "esp-dl-version": [
        (
            on_file(one(node("Mod", ("x", "x"), ("y",), fmod=1)), esp_dl="3.2.4"),
            "ESP-DL registers Mod since 3.3.0",
            on_file(one(node("Mod", ("x", "x"), ("y",), fmod=1)), esp_dl="3.3.0"),
        ),
        (
            on_file(one(node("Relu", ("x",), ("y",))), esp_dl="4.0.0"),
            "was not looked into",
            on_file(one(node("Relu", ("x",), ("y",))), esp_dl="3.1.0"),
        ),
        (
            on_file(resized((1, 4, 4, 16), (1, 12, 12, 16), "esp32c3").graph, esp_dl="3.1.1"),
            "resizes by 2x2 in mode nearest only",
            on_file(resized((1, 4, 4, 16), (1, 12, 12, 16), "esp32c3").graph, esp_dl="3.1.2"),
        ),
    ],
    "resize-few-channels": [
        (
            resized((1, 4, 4, 8), (1, 12, 12, 8), "esp32s3"),
            "4x4x8",
            resized((1, 4, 4, 8), (1, 8, 8, 8), "esp32s3"),
        ),
        (
            resized((1, 4, 4, 8), (1, 8, 4, 8), "esp32p4"),
            "jumps",
            resized((1, 4, 4, 16), (1, 8, 4, 16), "esp32p4"),
        ),
        (resized((1, 9, 8), (1, 18, 8), "esp32p4"), "1x18x8", resized((1, 9, 16), (1, 18, 16), "esp32p4")),
        (
            resized((1, 4, 4, 8), (1, 12, 12, 8), "esp32p4"),
            "earlier kernels left",
            resized((1, 4, 4, 8), (1, 12, 12, 8), "esp32c3"),
        ),
        (
            resized((1, 4, 4, 8), (1, 12, 12, 8), "esp32p4"),
            "earlier kernels left",
            resized((1, 4, 4, 8), (1, 12, 12, 8), "esp32p4", mode="linear"),
        ),
    ],
    "resize-rescale": [
        (
            resized((1, 4, 4, 16), (1, 8, 8, 16), "esp32p4", exponents=(-3, -2)),
            "sets no rounding mode",
            resized((1, 4, 4, 16), (1, 8, 8, 16), "esp32p4", exponents=(-3, -4)),
        ),
        (
            resized((1, 4, 4, 16), (1, 8, 8, 16), "esp32c3", exponents=(-3, -4)),
            "wrap around",
            resized((1, 4, 4, 16), (1, 8, 8, 16), "esp32s3", exponents=(-3, -4)),
        ),
        (
            resized((1, 4, 4, 16), (1, 8, 8, 16), "esp32s3", exponents=(0, -7)),
            "2^7 does not fit",
            resized((1, 4, 4, 16), (1, 8, 8, 16), "esp32s3", exponents=(0, -6)),
        ),
    ],
    "left-shift": [
        (multiplied(-7, "esp32s3"), "crashes", multiplied(-6, "esp32s3")),
        (multiplied(-7, "esp32p4"), "0 or -1", multiplied(-7, "esp32c3")),
    ],
    "requantize-range": [
        (
            requantized((0, -7), ("int8", "int8"), "esp32s3"),
            "flips its sign",
            requantized((0, -6), ("int8", "int8"), "esp32s3"),
        ),
        (
            requantized((0, -15), ("int8", "int16"), "esp32s3"),
            "2^15 finer",
            requantized((0, -14), ("int8", "int16"), "esp32s3"),
        ),
        (
            requantized((0, -15), ("int8", "int8"), "esp32p4"),
            "2^15 finer",
            requantized((0, -14), ("int8", "int8"), "esp32p4"),
        ),
    ],
    "bias-40-bits": [
        (deep_bias(9, 1 << 39), "the bias of channel 9 is 2^39", deep_bias(7, 1 << 39)),
        (deep_bias(11, 1 << 39), "flips its sign", deep_bias(11, (1 << 39) - 1)),
        (deep_bias(11, 1 << 39, "esp32p4"), "40 bits", deep_bias(11, 1 << 39, "esp32c3")),
    ],
    "reshape-in-place": [
        (flattened("int16", "int8"), "where its input lies", flattened("int8", "int16")),
        (flattened("float32", "int8"), "copies nothing", flattened("int8", "int8")),
    ],
    "comparison-in-place": [(compared("int16"), "with two cores", compared("int8"))],
    "channel-constant": [
        (scaled((1, 4, 1, 1)), "one value a row", scaled((1, 1, 1, 4))),
        (scaled((4, 1, 1)), "whose channels lie last", scaled((1,))),
    ],
    "float-operator": [
        (onnx(node("Log", ("x",), ("y",))), "runs in float32", onnx(node("Exp", ("x",), ("y",)))),
        (
            onnx(node("Softmax", ("x",), ("s",)), node("Relu", ("s",), ("y",))),
            "answers in float32 inside the graph",
            onnx(node("Softmax", ("x",), ("y",))),
        ),
    ],
    "onnx-shape": [
        (
            onnx(
                node("Add", ("x", "w"), ("y",)),
                initializers=(tensor("w", np.ones((1, 3, 4, 4), np.float32)),),
            ),
            "do not broadcast",
            onnx(
                node("Add", ("x", "w"), ("y",)),
                initializers=(tensor("w", np.ones((1, 2, 1, 1), np.float32)),),
            ),
        )
    ],
    "onnx-type": [
        (
            onnx(node("Add", ("x", "w"), ("y",)), initializers=(tensor("w", np.ones((1,), np.float16)),)),
            "are float16",
            onnx(node("Add", ("x", "w"), ("y",)), initializers=(tensor("w", np.ones((1,), np.float32)),)),
        )
    ],
    "quantized-onnx": [
        (
            onnx(node("QLinearConv", ("x",), ("y",))),
            "quantized already",
            onnx(node("Relu", ("x",), ("y",))),
        )
    ],
    "skip-from-input": [
        (
            onnx(NEG, node("Add", ("x", "a"), ("y",))),
            "feeds 2 nodes",
            onnx(NEG, node("Add", ("a", "a"), ("y",))),
        )
    ],
    "passive-first": [
        (
            onnx(node("Slice", ("x",), ("y",))),
            "Slice sits on graph input",
            onnx(NEG, node("Slice", ("a",), ("y",))),
        )
    ],
    "erf": [
        (
            onnx(node("Erf", ("x",), ("y",))),
            "make GELU one table",
            onnx(node("Tanh", ("x",), ("y",))),
        )
    ],
    "dynamic-matmul": [
        (
            onnx(NEG, node("MatMul", ("x", "a"), ("y",))),
            "native_kn",
            onnx(node("MatMul", ("x", "w1"), ("y",)), initializers=(W1,)),
        )
    ],
    "shared-matmul-input": [
        (
            onnx(*(node("MatMul", ("x", f"w{i}"), (f"y{i}",)) for i in (1, 2, 3)), initializers=(W1, W2, W3)),
            "3 MatMuls share this input",
            onnx(*(node("MatMul", ("x", f"w{i}"), (f"y{i}",)) for i in (1, 2)), initializers=(W1, W2)),
        )
    ],
    "open-shape": [
        (
            onnx(node("Relu", ("x",), ("y",)), shape=(-1, 4)),
            "dimensions is open",
            onnx(node("Relu", ("x",), ("y",))),
        )
    ],
}
