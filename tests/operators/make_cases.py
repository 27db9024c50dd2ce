"""Makes the cases of the conformance suite: suites/operators/<family>.npz for ESP-DL, tflm.npz for TFLM.

    HIL_SHARED=... python -m tests.operators.make_cases

Needs the extras [quantize] and [tflm]. Of the ground truth it takes models of this project whose answers were
recorded: those of vectors/simd (ESP-DL's own assembly, executed instruction by instruction) for ESP32-S3 and ESP32-P4,
those of vectors/ops (ESP-DL's C++ compiled for a PC) for the chips without SIMD kernels. What these leave out comes
from `tests.operators.own_models`, with the exact reference's answers; such cases have another origin, and are
counted apart.
"""

from __future__ import annotations

import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from esp_hil.errors import HilError
from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import EspdlModel, Node, read_espdl
from esp_hil.formats.tflite import TfliteModel
from esp_hil.models.device_file import open_device_file
from esp_hil.models.operators import OperatorCase, Origin, folder, write_cases
from esp_hil.targets import Family
from esp_hil.tensors import Array, Arrays
from tests.conftest import shared_folder
from tests.exact.simd_cases import not_truth, runs, simd_cases
from tests.operators.own_models import own_models, saturating_models
from tests.operators.own_tflite import own_tflite

MOST_BYTES = 7_500
"""Of a recorded model; more only for what has no smaller one."""
EACH = 1
"""Recorded cases of one kind (operator, width, window), and further ones that tell the chip from ESP-DL on a PC."""
LARGE = frozenset({"s3_s8_x_gemm_1000_31_sat"})
"""Kept though large: long sums that leave the 20 bits of a lane."""
LEFT_OUT = frozenset({"c_s8_skip_from_graph_input"})
"""A fault of the exporter's, not an operator."""

FAMILIES: dict[str, Family] = {"s3": "esp32s3", "p4": "esp32p4", "c": "c"}
_SLOW = "Elu Exp GRU HardSigmoid HardSwish LSTM LayerNormalization LeakyRelu Log LpNormalization Pow"
_SUMS = "RMSNormalization ReduceL2 ReduceLogSum ReduceLogSumExp ReduceProd Sigmoid Sqrt Swish Tanh"
FLOAT_CODE = frozenset(f"{_SLOW} {_SUMS}".split())
"""Computed in float C code, whose last bit depends on the compiler's flags."""
FLOAT = 1e-6
"""Floats may differ by so much."""
WHY = "float C code: another compiler or C library may round the last bit otherwise"


def main() -> int:
    """Remake all files."""
    if shared_folder() is None:
        print("no ground truth: set HIL_SHARED to a folder with vectors/", file=sys.stderr)
        return 1
    for prefix, family in FAMILIES.items():
        recorded = sorted(_recorded(prefix), key=lambda case: (case.operator, case.bits, case.name))
        have = Counter((case.operator, case.bits) for case in recorded)
        own = [_own(name, image, family, said) for name, image, said in own_models(family, have)]
        seen = {(case.operator, case.bits, end) for case in (*recorded, *own) for end in ends_of(case)}
        for name, image, said, fill in _saturating(family):
            case = _own(name, image, family, said, fill)
            found = {(case.operator, case.bits, end) for end in ends_of(case)}
            if found - seen:
                own.append(case)
                seen |= found
        write_cases(folder() / f"{family}.npz", [*recorded, *own])
        print(
            family, len(recorded), "recorded,", len(own), "own", (folder() / f"{family}.npz").stat().st_size
        )
    tflm = [_tflm(name, image, said) for name, image, said in own_tflite()]
    write_cases(folder() / "tflm.npz", tflm)
    print("tflm", len(tflm), "by tflite-micro", (folder() / "tflm.npz").stat().st_size)
    return 0


def _tflm(name: str, image: bytes, said: str) -> OperatorCase:
    """A `.tflite` of one operator with what tflite-micro's reference kernels answer."""
    file = open_device_file(image)
    content = file.content
    assert isinstance(content, TfliteModel)
    (operator,) = content.operators
    random = np.random.default_rng(zlib.crc32(name.encode()))
    fill = few if operator.name == "EQUAL" else full_range
    given = {
        tensor.name: fill(random, tensor.shape, tensor.dtype, number)
        for number, tensor in enumerate(file.inputs)
    }
    expected = file.exact("tflm").run(given)
    shapes = ", ".join("x".join(map(str, tensor.shape)) for tensor in file.inputs)
    made = ", ".join("x".join(map(str, tensor.shape)) for tensor in file.outputs)
    real = any(values.dtype.kind == "f" for values in expected.values())
    return OperatorCase(
        name=name,
        operator=operator.name,
        bits=16 if file.inputs[0].dtype == "int16" else 8,
        what="; ".join(filter(None, (said, f"{shapes} -> {made}"))),
        origin="tflite-micro",
        image=image,
        inputs=given,
        expected=expected,
        tolerance_abs=FLOAT if real else 0.0,
        why=WHY if real else "",
    )


def few(random: np.random.Generator, shape: tuple[int, ...], dtype: str, number: int) -> Array:
    """Few values, so that many are equal."""
    del number
    return random.integers(-2, 3, shape).astype(dtype)


def _recorded(prefix: str) -> Iterator[OperatorCase]:
    """Cases of the ground truth of one family, small and of every kind."""
    shared = shared_folder()
    assert shared is not None
    folders = (
        simd_cases() if prefix != "c" else sorted(p.parent for p in shared.glob("vectors/ops/c_*/meta.json"))
    )
    doubted = not_truth(shared / "vectors" / "simd")
    kept: Counter[tuple[Any, ...]] = Counter()
    sizes = {
        case: (case / "model.espdl").stat().st_size for case in folders if (case / "model.espdl").is_file()
    }
    alone: Counter[tuple[str, int]] = Counter()
    for case in sorted(sizes, key=lambda case: (sizes[case], case.name)):
        if case.name.split("_")[0] != prefix or case.name in doubted | dict.fromkeys(LEFT_OUT, ""):
            continue
        model = read_espdl(case / "model.espdl")
        if sizes[case] > MOST_BYTES and case.name not in LARGE:
            continue
        node = subject(model)
        if node is None:
            continue
        operator, bits = node.op_type, bits_of(node, model)
        if len(model.graph.nodes) > 1 and alone[operator, bits]:
            continue
        kind = (operator, bits, *shape_of(node, model))
        with np.load(case / "io.npz") as archive:
            told = None if prefix == "c" else telling(case, FAMILIES[prefix], archive)
            if told is None and kept[kind] >= EACH and case.name not in LARGE:
                continue
            _, given, made = told or next(iter(runs(archive)))
        kept[kind] += 1
        alone[operator, bits] += len(model.graph.nodes) == 1
        outputs = {value.name for value in model.graph.outputs}
        expected = {name: values for name, values in made.items() if name in outputs}
        origin: Origin = "portable" if prefix == "c" else "assembly"
        yield _case(case.name, (case / "model.espdl").read_bytes(), given, expected, origin=origin)


def telling(case: Path, family: Family, archive: Any) -> tuple[int, Arrays, Arrays] | None:
    """The first run whose answer is not that of ESP-DL's portable kernels; None if all are."""
    try:
        reference = ExactReference(read_espdl(case / "model.espdl"), family, threads=1, kernels="portable")
        for number, given, made in runs(archive):
            answers = reference.run(given, tensors=list(made))
            if any(
                not np.allclose(answers[n], v, rtol=0, atol=FLOAT, equal_nan=True) for n, v in made.items()
            ):
                return number, given, made
    except HilError:
        return None  # ESP-DL on a PC refuses it
    return None


FEEDS = frozenset({"Conv", "Relu", "MaxPool", "Transpose", "DequantizeLinear", "Add", "ReduceMean", "Tanh"})
"""What may stand before or behind the operator that a model is about."""
FIRST_OF: dict[tuple[str, ...], int] = {("Squeeze", "Reshape"): 0, ("RequantizeLinear", "Concat"): 0}


def subject(model: EspdlModel) -> Node | None:
    """The node that a model is about; None for a network."""
    nodes = model.graph.nodes
    if len(nodes) == 1:
        return nodes[0]
    found = [node for node in nodes if node.op_type not in FEEDS]
    if len(found) == 1:
        return found[0]
    at = FIRST_OF.get(tuple(node.op_type for node in found))
    return None if at is None else found[at]


def bits_of(node: Node, model: EspdlModel) -> int:
    """Width of what it computes with: that of its quant type, of conversions that of their integers."""
    widths = {"int8": 8, "int16": 16}
    if node.op_type in {"QuantizeLinear", "DequantizeLinear", "RequantizeLinear"}:
        values = [model.graph.values[name] for name in (node.inputs[0], node.outputs[0])]
        return max(widths.get(value.dtype, 0) for value in values)
    kind = node.attributes.get("quant_type")
    return {"S8": 8, "S16": 16, "F32": 32}[kind.decode() if isinstance(kind, bytes) else str(kind)]


def shape_of(node: Node, model: EspdlModel) -> tuple[Any, ...]:
    """What tells kinds of one operator apart: window, alignment, stride, what is fused."""
    attributes, values = node.attributes, model.graph.values
    if node.op_type not in {"Conv", "Gemm", "MatMul", "Resize"}:
        return (attributes.get("direction"),)
    width = 16 if bits_of(node, model) == 8 else 8
    channels = [values[name].shape[-1] for name in (node.inputs[0], node.outputs[0])]
    return (
        attributes.get("kernel_shape"),
        attributes.get("strides"),
        attributes.get("dilations"),
        attributes.get("group", 1) != 1,
        attributes.get("activation"),
        attributes.get("mode"),
        all(count % width == 0 for count in channels),
        max(channels) > 256,
    )


def words_of(node: Node, model: EspdlModel) -> str:
    """Shapes and attributes for people."""
    graph, attributes = model.graph, node.attributes
    shapes = ["x".join(map(str, graph.values[name].shape)) for name in node.inputs if name in graph.values]
    made = ["x".join(map(str, graph.values[name].shape)) for name in node.outputs if name in graph.values]
    said = [f"{', '.join(shapes)} -> {', '.join(made)}"]
    kernel = attributes.get("kernel_shape")
    if isinstance(kernel, tuple):
        said.append("x".join(map(str, kernel)))
    for name in ("strides", "dilations", "pads"):
        value = attributes.get(name)
        if isinstance(value, tuple) and set(value) - ({0} if name == "pads" else {1}):
            said.append(f"{name} {'-'.join(map(str, value))}")
    if attributes.get("group", 1) != 1:
        said.append("depthwise")
    for name in ("mode", "direction", "axis", "perm"):
        if name in attributes:
            value = attributes[name]
            text = value.decode() if isinstance(value, bytes) else value
            said.append(f"{name} {text}")
    if attributes.get("activation") in {"Relu", b"Relu"}:
        said.append("Relu fused")
    return ", ".join(said)


def _case(
    name: str, image: bytes, given: Arrays, expected: Arrays, *, origin: Origin, said: str = ""
) -> OperatorCase:
    model = read_espdl(image)
    node = subject(model)
    assert node is not None, name
    floats = any(item.op_type in FLOAT_CODE and "lut" not in item.attributes for item in model.graph.nodes)
    real = any(values.dtype.kind == "f" for values in expected.values())
    bits = bits_of(node, model)
    loose = floats and (bits == 16 or origin != "assembly" or node.op_type in {"GRU", "LSTM"})
    return OperatorCase(
        name=name,
        operator=node.op_type,
        bits=bits,
        what="; ".join(filter(None, (said, words_of(node, model)))),
        origin=origin,
        image=image,
        inputs=given,
        expected=expected,
        tolerance_lsb=1 if loose else 0,
        tolerance_abs=FLOAT if real else 0.0,
        why=WHY if loose or real else "",
    )


Fill = Callable[[np.random.Generator, tuple[int, ...], str, int], Array]


def _own(name: str, image: bytes, family: Family, said: str, fill: Fill | None = None) -> OperatorCase:
    """A model of ours with what the exact reference answers to integers of the whole range."""
    model = read_espdl(image)
    random = np.random.default_rng(zlib.crc32(name.encode()))
    given = {
        value.name: (fill or full_range)(random, value.shape, value.dtype, number)
        for number, value in enumerate(model.graph.inputs)
    }
    expected = ExactReference(model, family, threads=1).run(given)
    return _case(name, image, given, expected, origin="reference", said=said)


def ends_of(case: OperatorCase) -> set[str]:
    """Which ends of their range the expected integers reach."""
    found = set()
    for values in case.expected.values():
        if values.dtype.kind == "i":
            limits = np.iinfo(values.dtype)
            found |= {
                name for name, end in (("low", limits.min), ("high", limits.max)) if (values == end).any()
            }
    return found


def _saturating(family: Family) -> Iterator[tuple[str, bytes, str, Fill]]:
    for name, image, said in saturating_models(family):
        yield name, image, said, runs_of_ends
        yield f"{name}_columns", image, said, columns_of_ends


def columns_of_ends(random: np.random.Generator, shape: tuple[int, ...], dtype: str, number: int) -> Array:
    """The ends by turns along the last axis, the same in all others."""
    return np.broadcast_to(runs_of_ends(random, shape[-1:], dtype, number), shape).copy()


def runs_of_ends(random: np.random.Generator, shape: tuple[int, ...], dtype: str, number: int) -> Array:
    """Half of it at the lower end, half at the upper one, in two runs; of each further input in twice as many."""
    del random
    low, high = (-30.0, 30.0) if dtype == "float32" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    count = int(np.prod(shape))
    run = np.arange(count) * (2 << number) // count
    return np.where(run % 2, high, low).astype(dtype).reshape(shape)


def full_range(random: np.random.Generator, shape: tuple[int, ...], dtype: str, number: int = 0) -> Array:
    """Integers of the whole range, both ends among them."""
    del number
    if dtype == "float32":
        return (random.normal(size=shape) * 3).astype(np.float32)
    limits = np.iinfo(dtype)
    values = random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    flat = values.reshape(-1)
    flat[random.integers(0, flat.size, 2)] = limits.min, limits.max
    return values


if __name__ == "__main__":
    sys.exit(main())
