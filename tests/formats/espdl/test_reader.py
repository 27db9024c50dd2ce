"""The `.espdl` reader: what it reads, and which graphs it refuses."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp_hil.errors import FormatError, GoldenError
from esp_hil.formats.espdl import EspdlModel, TensorData, ValueInfo, read_espdl
from esp_hil.formats.espdl.reader import DTYPES
from tests.formats.espdl.examples import conv_graph, same_graph, tiny_graph
from tests.formats.espdl.writer import edl, graph, node, tensor, value

TINY = edl(tiny_graph())
CONV = edl(conv_graph())


@pytest.mark.parametrize("container", ["EDL1", "EDL2"])
def test_reader_returns_what_was_written(container: str) -> None:
    written = conv_graph()
    model = read_espdl(edl(written, container=container, metadata={"target": "c"}), name="m")
    assert (model.name, model.container, model.producer, model.opset) == ("m", container, "tests", {"": 18})
    assert (model.metadata, model.family, model.ir_version) == ({"target": "c"}, "c", 8)
    assert same_graph(model.graph, written)


def test_every_kind_of_attribute_is_read() -> None:
    attributes: dict[str, Any] = {
        "an_int": -(1 << 40),
        "a_float": 0.5,
        "a_text": "é",
        "some_bytes": b"\xff\xfe",
        "ints": (1, -2),
        "floats": (0.25, -1.0),
        "texts": ("a", "b"),
    }
    written = node("Relu", ("x",), ("y",), a_tensor=tensor("t", np.arange(3, dtype=np.int64)), **attributes)
    model = read_espdl(edl(graph([written], (value("x", (1, 4)), value("y", (1, 4))))))
    read = dict(model.graph.nodes[0].attributes)
    array = read.pop("a_tensor")
    assert isinstance(array, TensorData)
    assert array.data.tolist() == [0, 1, 2]
    assert read == {"quant_type": "S8", **attributes}


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "float32", "float64", "bool"])
def test_every_dtype_keeps_its_values_and_its_padding_is_dropped(dtype: str) -> None:
    values = np.array([0, 1, 1, 0, 1], dtype)
    written = graph(
        [node("Relu", ("x", "t"), ("y",))],
        (value("x", (5,)), value("y", (5,))),
        initializers=(tensor("t", values),),
    )
    read = read_espdl(edl(written)).graph.initializers["t"]
    assert read.dtype == dtype
    assert read.data.dtype == values.dtype
    assert read.data.tolist() == values.tolist()
    assert not read.data.flags.writeable


def test_file_is_named_after_its_path(tmp_path: Path) -> None:
    path = tmp_path / "gesture.espdl"
    path.write_bytes(TINY)
    assert read_espdl(path).name == "gesture"


def test_missing_file_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match=r"nowhere\.espdl"):
        read_espdl(tmp_path / "nowhere.espdl")


def _replaced(**changes: Any) -> bytes:
    """The tiny file with one part of its graph replaced."""
    from dataclasses import replace

    return edl(replace(tiny_graph(), **changes))


BAD_GRAPHS: dict[str, tuple[dict[str, Any], str]] = {
    "undefined input": ({"nodes": (node("Relu", ("z",), ("y",)),)}, "uses 'z' before"),
    "output made twice": (
        {"nodes": (node("Relu", ("x",), ("y",)), node("Neg", ("x",), ("y",)))},
        "'y' is made twice",
    ),
    "same node name": (
        {"nodes": (node("Relu", ("x",), ("y",), name="n"), node("Neg", ("y",), ("x",), name="n"))},
        "two nodes are named 'n'",
    ),
    "no output": ({"nodes": (node("Relu", ("x",), ("",), name="n"),)}, "has no output"),
    "unmade output": ({"nodes": ()}, "nothing makes graph output 'y'"),
    "undescribed output": (
        {"nodes": (node("Relu", ("x",), ("q",)), node("Neg", ("q",), ("y",)))},
        "no description",
    ),
    "no inputs": ({"inputs": ()}, "no input or no output"),
    "node without a name": ({"nodes": (node("Relu", ("x",), ("y",), name=""),) * 2}, "two nodes"),
    "wrong test tensor": (
        {"test_inputs": {"x": tensor("x", np.zeros((1, 5), np.int8))}},
        "does not have the type or size",
    ),
    "foreign test tensor": (
        {"test_inputs": {"q": tensor("q", np.zeros((1, 4), np.int8))}},
        "of no graph input",
    ),
    "zero dimension": ({"inputs": (value("x", (1, 0)),)}, "impossible shape 1x0"),
    "negative dimension": ({"inputs": (value("x", (-1, 4)),)}, "impossible shape"),
    "too many elements": ({"inputs": (value("x", (1 << 20, 1 << 20)),)}, "larger than any chip"),
    "too many dimensions": ({"inputs": (value("x", (1,) * 9),)}, "impossible shape"),
    "wild exponent": ({"inputs": (value("x", (1, 4), 200),)}, "exponent beyond"),
    "integer without exponent": (
        {"inputs": (ValueInfo(name="x", dtype="int8", shape=(1, 4), exponents=()),)},
        "without an exponent",
    ),
    "exponents of no axis": (
        {"initializers": {"t": tensor("t", np.zeros((4, 4), np.int8), exponents=(1, 2, 3))}},
        "has 3 exponents",
    ),
    "two descriptions": ({"inputs": (value("x", (1, 4), -1),)}, "described twice, and differently"),
    "initializer and value": (
        {"initializers": {"x": tensor("x", np.zeros(4, np.int8))}},
        "both an initializer and a value",
    ),
}


@pytest.mark.parametrize("case", BAD_GRAPHS)
def test_graph_that_cannot_be_is_refused(case: str) -> None:
    changes, message = BAD_GRAPHS[case]
    with pytest.raises(FormatError, match=message):
        read_espdl(_replaced(**changes))


def test_tensor_with_too_little_data_is_refused() -> None:
    wrong = TensorData(
        name="t", dtype="int16", shape=(9,), exponents=(0,), layout="", data=np.zeros(8, np.int16)
    )
    with pytest.raises(FormatError, match="'t' of shape 9 has 16 bytes instead of 18"):
        read_espdl(_replaced(initializers={"t": wrong}))


def test_junk_in_the_padding_of_a_tensor_is_none_of_its_values() -> None:
    """Espressif's own espdet_pico_416_416_cat for esp32p4 has such a tensor."""
    padded = TensorData(
        name="t", dtype="int8", shape=(5,), exponents=(0,), layout="", data=np.ones(6, np.int8)
    )
    read = read_espdl(_replaced(initializers={"t": padded})).graph.initializers["t"]
    assert read.data.tolist() == [1] * 5


def test_bool_tensor_with_other_bytes_is_refused() -> None:
    wrong = TensorData(
        name="t", dtype="bool", shape=(2,), exponents=(0,), layout="", data=np.array([1, 7], np.int8)
    )
    with pytest.raises(FormatError, match="other than 0 and 1"):
        read_espdl(_replaced(initializers={"t": wrong}))


def test_tensors_are_views_of_the_file() -> None:
    """A 3.6 MB model must not be copied piece by piece."""
    big = tensor("t", np.zeros((1000, 1000), np.int8))
    model = read_espdl(_replaced(initializers={"t": big}))
    assert not model.graph.initializers["t"].data.flags.owndata


def test_every_file_of_the_ground_truth_is_read(shared: Path) -> None:
    paths = sorted(shared.glob("zoo/**/*.espdl")) + sorted(shared.glob("vectors/**/*.espdl"))
    assert len(paths) >= 140
    for path in paths:
        model = read_espdl(path)
        assert model.graph.nodes
        said = _family_by_folder(path)
        assert model.family in (None, said), path


def _family_by_folder(path: Path) -> str:
    folder = path.parent.name.split("_")[0]
    return {"p4": "esp32p4", "p4x": "esp32p4", "s3": "esp32s3"}.get(folder, folder)


def test_reader_agrees_with_esp_ppqs_own_classes(shared: Path) -> None:
    generated = pytest.importorskip("esp_ppq.parser.espdl.FlatBuffers.Dl.Model", reason="needs esp-ppq")
    del generated
    for folder in ("esp32p4", "esp32s3"):
        for path in sorted((shared / "zoo" / folder).glob("*.espdl")):
            _compare_with_esp_ppq(path, read_espdl(path))


def _compare_value(theirs: Any, model: EspdlModel) -> None:
    if not theirs.Name():
        return
    mine = model.graph.values[theirs.Name().decode()]
    kind = importlib.import_module("FlatBuffers.Dl.TensorTypeAndShape").TensorTypeAndShape()
    kind.Init(theirs.ValueInfoType().Value().Bytes, theirs.ValueInfoType().Value().Pos)
    dims = [kind.Shape().Dim(at).Value().DimValue() for at in range(kind.Shape().DimLength())]
    assert dims == list(mine.shape)
    assert DTYPES[kind.ElemType()] == mine.dtype
    if not mine.dtype.startswith("float"):
        assert [theirs.Exponents(at) for at in range(theirs.ExponentsLength())] == list(mine.exponents)


def _esp_ppq_attributes(item: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for at in range(item.AttributeLength()):
        entry = item.Attribute(at)
        kinds: dict[int, Callable[[Any], Any]] = {
            1: lambda entry: entry.F().F(),
            2: lambda entry: entry.I().I(),
            3: lambda entry: bytes(entry.S(index) for index in range(entry.SLength())).decode(),
            7: lambda entry: tuple(entry.Ints(index) for index in range(entry.IntsLength())),
        }
        found[entry.Name().decode()] = kinds[entry.AttrType()](entry)
    return found


def _compare_with_esp_ppq(path: Path, model: EspdlModel) -> None:
    theirs = (
        importlib.import_module("FlatBuffers.Dl.Model").Model.GetRootAs(path.read_bytes()[16:], 0).Graph()
    )
    nodes = [theirs.Node(index) for index in range(theirs.NodeLength())]
    assert [item.Name().decode() for item in nodes] == [item.name for item in model.graph.nodes]
    for item, mine in zip(nodes, model.graph.nodes, strict=True):
        assert item.OpType().decode() == mine.op_type
        assert [item.Input(at).decode() for at in range(item.InputLength())] == list(mine.inputs)
        assert [item.Output(at).decode() for at in range(item.OutputLength())] == list(mine.outputs)
        assert _esp_ppq_attributes(item) == dict(mine.attributes)
    for name in ("Input", "Output", "ValueInfo"):
        for index in range(getattr(theirs, f"{name}Length")()):
            _compare_value(getattr(theirs, name)(index), model)
    assert theirs.InitializerLength() == len(model.graph.initializers)
    for index in range(theirs.InitializerLength()):
        item = theirs.Initializer(index)
        mine_tensor = model.graph.initializers[item.Name().decode()]
        assert item.DimsLength() == len(mine_tensor.shape)
        assert [item.Dims(at) for at in range(item.DimsLength())] == list(mine_tensor.shape)
        raw = b"".join(bytes(item.RawData(at).Bytes()) for at in range(min(item.RawDataLength(), 64)))
        used = mine_tensor.data.tobytes()[: len(raw)]
        assert raw[: len(used)] == used
        exponents = [item.Exponents(at) for at in range(item.ExponentsLength())]
        if not mine_tensor.dtype.startswith("float"):
            assert exponents == list(mine_tensor.exponents)
