"""Outputs of every meaning beside a float model, inputs of every kind, and files that people had trouble with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.formats.espdl.writer import edl, graph, node, value
from tests.formats.tflite.graphs import sum_of_two
from tests.formats.tflite.networks import needs_tflm
from tests.networks.folders import Outcome, folder, integers, suites

VERDICT = ("-k", "exact_reference_says or as_good_as_the_model_asks")

EVERY_MEANING = """
[[inputs]]
name = "a"
dtype = "float32"
shape = [4]

[[inputs]]
name = "b"
dtype = "uint8"
shape = [3, 2, 2]
layout = "NHWC"
scale = 0.00390625
mean = [0.5, 0.5]
std = [0.5, 0.5]
float_name = "picture"

[[inputs]]
name = "c"
dtype = "int16"
shape = [1, 5]
scale = 0.0000305
float_name = "sound"

[[outputs]]
name = "kind"
meaning = "scores"
against_float = {top1 = 0.9, cosine = 0.95}
against_expected = {top1 = 0.9}

[[outputs]]
name = "mask"
meaning = "dense"
layout = "NHWC"
float_name = "segments"
against_float = {iou = 0.9}
against_expected = {pixels = 0.9}

[[outputs]]
name = "vector"
meaning = "embedding"
against_float = {cosine = 0.95}
"""

SHAPES = {"a": ("kind", (1, 4)), "b": ("mask", (1, 3, 2, 2)), "c": ("vector", (1, 5))}
FLOAT_NAMES = {"b": "picture", "c": "sound", "mask": "segments"}


def three_relus() -> bytes:
    """Each output is the Relu of an input, in int8."""
    values = [value(n, shape, -6) for given, (made, shape) in SHAPES.items() for n in (given, made)]
    nodes = [node("Relu", (given,), (made,)) for given, (made, _) in SHAPES.items()]
    return edl(graph(nodes, values, inputs=list(SHAPES), outputs=[made for made, _ in SHAPES.values()]))


def float_relus() -> bytes:
    """The same in ONNX, under other names."""

    def named(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(FLOAT_NAMES.get(name, name), TensorProto.FLOAT, shape)

    pairs = [(named(given, shape), named(made, shape)) for given, (made, shape) in SHAPES.items()]
    nodes = [helper.make_node("Relu", [x.name], [y.name]) for x, y in pairs]
    made = helper.make_graph(nodes, "g", [x for x, _ in pairs], [y for _, y in pairs])
    image: bytes = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    ).SerializeToString()
    return image


def test_every_meaning_has_its_figures_beside_a_float_model(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    a = random.uniform(-1, 1.9, (6, 4)).astype(np.float32)
    b = integers(6, 3, 2, 2, dtype="uint8")
    golden = {"a": a, "b": b, "c": integers(6, 1, 5, dtype="int16"), "labels": a.argmax(axis=1)}
    golden["expected/mask"] = np.maximum(b.astype(np.float32) - 128, 0).argmax(axis=3)
    folder(tmp_path, EVERY_MEANING, {"esp32s3": three_relus(), "onnx": float_relus()}, golden)
    found = suites(tmp_path, *VERDICT)
    assert found.status == 0, found.text
    assert found.run.verdict is not None
    told = {
        (one.output, one.against, one.name) for one in found.run.verdict.measures if one.source == "device"
    }
    assert {
        ("kind", "float", "top1"),
        ("kind", "expected", "top1"),
        ("mask", "float", "iou"),
        ("mask", "expected", "pixels"),
        ("vector", "float", "cosine"),
    } <= told
    assert set(found.run.verdict.accuracies) == {"float", "exact", "device"}
    assert found.run.confusion


TWO = """
[[inputs]]
name = "{names[0]}"
dtype = "{dtypes[0]}"
shape = {shapes[0]}

[[inputs]]
name = "{names[1]}"
dtype = "{dtypes[1]}"
shape = {shapes[1]}
"""


def tflm(root: Path, image: bytes, arrays: dict[str, NDArray[Any]]) -> Outcome:
    """A .tflite of two inputs, with the shapes and types of its arrays."""
    names, values = list(arrays), list(arrays.values())
    text = TWO.format(
        names=names, dtypes=[v.dtype for v in values], shapes=[list(v.shape[1:]) for v in values]
    )
    folder(root, text, {"tflm": image}, arrays, runtime="tflm")
    return suites(root, *VERDICT, target="esp32")


def check(found: Outcome) -> None:
    assert found.status == 0, found.text
    assert found.run.verdict is not None
    assert found.run.verdict.bit_exact
    assert found.run.verdict.honest is not None, "LiteRT tells what it believes of any .tflite"


@needs_tflm
@pytest.mark.parametrize(("first", "second"), [((3, 4), (4,)), ((1, 4), (2, 3, 4))], ids=str)
def test_two_inputs_of_a_tflite_file_have_each_its_own_shape(
    tmp_path: Path, first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    arrays = {"a": integers(4, *first), "b": integers(4, *second, seed=1)}
    check(tflm(tmp_path, sum_of_two(first, second, "INT8"), arrays))


@needs_tflm
@pytest.mark.parametrize(("name", "shape"), [("add_64", (64,)), ("add_1x64", (1, 64)), ("add_1x64", (64,))])
def test_an_input_without_a_batch_is_sent_as_the_file_shapes_it(
    tmp_path: Path, shared: Path, name: str, shape: tuple[int, ...]
) -> None:
    image = (shared / "cases" / "tflm_input_without_batch" / f"{name}.tflite").read_bytes()
    check(tflm(tmp_path, image, {"x": integers(3, *shape), "y": integers(3, *shape, seed=1)}))


@needs_tflm
def test_a_loop_with_an_integer_counter_runs_on_a_board(tmp_path: Path, shared: Path) -> None:
    image = (shared / "cases" / "tflm_while_resolver" / "while.tflite").read_bytes()
    x = np.random.default_rng(0).normal(size=(3, 1, 4)).astype(np.float32)
    found = tflm(tmp_path, image, {"i": np.array([[0], [1], [2]], np.int32), "x": x})
    assert found.status == 0, found.text
    assert found.run.verdict is not None
    assert found.run.verdict.bit_exact


@needs_tflm
def test_a_net_with_variables_is_run_in_sequences(tmp_path: Path, shared: Path) -> None:
    image = (shared / "cases" / "tflm_resource_traceback" / "vars_assigned.tflite").read_bytes()
    x = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)
    toml = '[[inputs]]\nname = "x"\ndtype = "float32"\nshape = [16]\n'
    folder(
        tmp_path, toml, {"tflm": image}, {"x": x, "sequence": np.array([0, 0, 0, 1, 1, 1])}, runtime="tflm"
    )
    found = suites(tmp_path, *VERDICT, target="esp32")
    assert found.status == 0, found.text
    assert found.run.verdict is not None
    assert found.run.verdict.bit_exact
