"""For each rule a graph that must trigger it and one, as like as can be, that must not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from harness.espdl import Attribute, EspdlModel, Graph, Node, Tensor, ValueInfo, read_espdl
from harness.espdl.lint import Subject
from harness.targets import target

from ..examples import conv_graph, tiny_graph
from ..writer import edl, graph, node, tensor, value

CONV: dict[str, Attribute] = {
    "strides": (1, 1),
    "dilations": (1, 1),
    "pads": (0, 0, 0, 0),
    "kernel_shape": (1, 1),
    "group": 1,
}


def on_file(
    written: Graph, *, chip: str = "", metadata: dict[str, str] | None = None, **more: Any
) -> Subject:
    """The graph, written to a file and read back, as `hil lint` sees it."""
    model = read_espdl(edl(written, metadata=metadata))
    return Subject(graph=model.graph, model=model, target=target(chip) if chip else None, **more)


def in_memory(written: Graph, **more: Any) -> Subject:
    """The graph as it is: for what the reader would refuse, and for ONNX."""
    return Subject(graph=written, **more)


def with_attributes(made: Node, **attributes: Attribute) -> Node:
    """The node with exactly these attributes."""
    return replace(made, attributes=attributes)


def one(made: Node, *values: ValueInfo, initializers: tuple[Tensor, ...] = ()) -> Graph:
    """A graph of one node; `values` replace x (1,4,4,2) and y of the same shape."""
    described = {item.name: item for item in (value("x", (1, 4, 4, 2)), value("y", (1, 4, 4, 2)), *values)}
    extra = [name for name in made.inputs if name in described and name != "x"]
    return graph([made], list(described.values()), inputs=["x", *extra], initializers=initializers)


def conv(
    group: int,
    channels: tuple[int, int],
    *,
    exponents: tuple[int, int, int] = (-5, -7, -4),
    onnx: bool = False,
) -> Graph:
    """A 1x1 Conv with so many input and output channels; exponents of input, filter and output."""
    given, made = channels
    shape = (made, given // group, 1, 1) if onnx else (1, 1, given, made if group == 1 else 1)
    weights = tensor("w", np.ones(shape, np.int8), exponents=(exponents[1],), layout="" if onnx else "NHWC")
    values = (value("x", (1, 4, 4, given), exponents[0]), value("y", (1, 4, 4, made), exponents[2]))
    attributes = {**CONV, "group": group}
    return one(
        replace(node("Conv", ("x", "w"), ("y",)), attributes={**attributes, "quant_type": "S8"}),
        *values,
        initializers=(weights,),
    )


def biased(dtype: str, exponent: int) -> Graph:
    """A Conv of input exponent -5 and filter exponent -7 with this bias."""
    base = conv(1, (2, 4))
    bias = tensor("b", np.zeros(4, dtype), exponents=(exponent,))
    made = replace(base.nodes[0], inputs=("x", "w", "b"))
    return replace(base, nodes=(made,), initializers={**base.initializers, "b": bias})


def add(second: int, *, source: str) -> Graph:
    """Add of x (exponent -3), or of a Mul of it unless `source` is "input", and of a Mul of this exponent."""
    values = (
        value("x", (1, 4), -3),
        value("a", (1, 4), -3),
        value("b", (1, 4), second),
        value("y", (1, 4), -3),
    )
    left = "x" if source == "input" else "a"
    nodes = [
        node("Mul", ("x", "x"), ("a",)),
        node("Mul", ("x", "x"), ("b",)),
        node("Add", (left, "b"), ("y",)),
    ]
    return graph(nodes, values)


def slicing(exponent: int, *, source: str = "input") -> Graph:
    """ReduceMax of x (exponent -3), or of a Mul of it, to a value of this exponent."""
    values = (value("x", (1, 4), -3), value("a", (1, 4), -3), value("y", (1, 1), exponent))
    if source == "input":
        return graph([node("ReduceMax", ("x",), ("y",), keepdims=1)], (values[0], values[2]))
    return graph([node("Mul", ("x", "x"), ("a",)), node("ReduceMax", ("a",), ("y",), keepdims=1)], values)


def table(entries: int, *, exponent: int = -3, kind: str = "S8", name: str = "t") -> Graph:
    """A Tanh by a table of so many entries."""
    made = node("Tanh", ("x",), ("y",), lut="t", quant_type=kind)
    dtype = np.int8 if kind == "S8" else np.int16
    values = tensor(name, np.zeros(entries, dtype), exponents=(exponent,))
    described = (value("x", (1, 4), -3, np.dtype(dtype).name), value("y", (1, 4), -3, np.dtype(dtype).name))
    return one(made, *described, initializers=(values,))


def pool(op_type: str = "AveragePool", **attributes: Attribute) -> Graph:
    """A 3x3 pool with padding 1."""
    shape: dict[str, Attribute] = {"kernel_shape": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}
    made = replace(node(op_type, ("x",), ("y",)), attributes={"quant_type": "S8", **shape, **attributes})
    return one(made)


def prelu(shape: tuple[int, ...], slopes: int, *, exponents: tuple[int, int] = (-5, -5)) -> Graph:
    """PRelu with so many slopes."""
    slope = tensor("s", np.ones((slopes, 1, 1), np.int8), exponents=(-7,))
    values = (value("x", shape, exponents[0]), value("y", shape, exponents[1]))
    return one(node("PRelu", ("x", "s"), ("y",)), *values, initializers=(slope,))


def gru(**attributes: Attribute) -> Graph:
    """A GRU with everything that ESP-DL needs."""
    inputs = ("x", "w", "r", "b", "", "h0")
    made = replace(
        node("GRU", inputs, ("y", "h")), attributes={"quant_type": "S8", "hidden_size": 2, **attributes}
    )
    described = (
        value("x", (3, 1, 2)),
        value("y", (3, 1, 1, 2)),
        value("h", (1, 1, 2)),
        value("h0", (1, 1, 2)),
    )
    constants = tuple(tensor(name, np.zeros(2, np.int8)) for name in ("w", "r", "b"))
    return one(made, *described, initializers=constants)


def packed_gemm(weight: int, *, inputs: int = 64, alternate: bool = False) -> Graph:
    """A Gemm of 16 output channels for esp32s3, weights alike, or of alternating sign along the inputs."""
    weights = np.full((1, 1, inputs, 16), weight, np.int8)
    if alternate:
        weights[:, :, ::2] *= -1
    kernel = tensor("w", weights, exponents=(-7,), layout="(N/16)HWC16")
    values = (value("x", (1, inputs), -5), value("y", (1, 16), 0))
    return one(node("Gemm", ("x", "w"), ("y",)), *values, initializers=(kernel,))


def split(*, sizes: bool) -> Graph:
    """A Split in two, by sizes or by count."""
    given = ("x", "n") if sizes else ("x",)
    made = node("Split", given, ("y", "z"), axis=3, num_outputs=2)
    parts = (value("y", (1, 4, 4, 1)), value("z", (1, 4, 4, 1)))
    constants = (tensor("n", np.array([1, 1], np.int64)),) if sizes else ()
    return one(made, *parts, initializers=constants)


def float_relu(kind: str) -> Graph:
    """An int8 Neg and a Relu of this quant_type."""
    nodes = [node("Neg", ("x",), ("a",)), node("Relu", ("a",), ("y",), quant_type=kind)]
    return graph(nodes, (value("x", (1, 4)), value("a", (1, 4)), value("y", (1, 4))))


def named(model: EspdlModel, **changes: Any) -> EspdlModel:
    """The model with other fields."""
    return replace(model, **changes)


def of_size(size_bytes: int, **more: Any) -> Subject:
    """A small model that claims this size."""
    subject = on_file(conv_graph(), **more)
    assert subject.model is not None
    return replace(subject, model=named(subject.model, size_bytes=size_bytes))


def wide(elements: int) -> Graph:
    """A value of so many bytes."""
    shape = (1, elements)
    return graph([node("Neg", ("x",), ("y",))], (value("x", shape), value("y", shape)))


def onnx(
    *nodes: Node, shape: tuple[int, ...] = (1, 2, 4, 4), initializers: tuple[Tensor, ...] = ()
) -> Subject:
    """An ONNX graph of these nodes, x to y."""
    plain = [
        replace(made, attributes={k: v for k, v in made.attributes.items() if k != "quant_type"})
        for made in nodes
    ]
    values = (value("x", shape, dtype="float32"), value("y", shape, dtype="float32"))
    return in_memory(graph(plain, values, initializers=initializers), stage="onnx")


NEG = node("Neg", ("x",), ("a",))
W1, W2, W3 = (tensor(name, np.ones((4, 4), np.float32), exponents=()) for name in ("w1", "w2", "w3"))
SLOPES = tensor("s", np.ones((2, 1, 1), np.float32), exponents=())
SLOPE = tensor("s", np.ones((1,), np.float32), exponents=())

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
    "auto-pad": [
        (
            on_file(pool("MaxPool", auto_pad="SAME_UPPER")),
            "SAME_UPPER",
            on_file(pool("MaxPool", auto_pad="NOTSET")),
        )
    ],
    "gemm-scale": [
        (
            on_file(one(node("Gemm", ("x", "x"), ("y",), alpha=0.5))),
            "alpha=0.5",
            on_file(one(node("Gemm", ("x", "x"), ("y",), alpha=1.0, beta=1.0, transA=0))),
        )
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
            on_file(wide(330_000), chip="esp32c3"),
            "esp32c3 has 327,680 bytes of internal RAM",
            on_file(wide(320_000), chip="esp32c3"),
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
