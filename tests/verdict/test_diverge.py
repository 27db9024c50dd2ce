"""Planted faults are found at the right layer, with the right diagnosis, in few requests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.exact.filters import filter_oihw
from esp_hil.formats.espdl import EspdlModel, TensorData, read_espdl
from esp_hil.models import catalogue
from esp_hil.models.device_file import open_device_file
from esp_hil.targets import FAMILIES, Family, rounding_of
from esp_hil.verdict.diverge import Divergence
from esp_hil.virtual.faults import FlippedBit, NodeFault
from tests.conftest import ROOT
from tests.formats.espdl.writer import edl, graph, node, value
from tests.verdict.planted import Broken, Case

OTHER = {"half_up": "half_even", "half_even": "half_up"}
ROUNDING_WORDS = {"half_up": "half up", "half_even": "half to even"}


@cache
def golden_inputs(
    model: str, recipe: str, family: Family
) -> tuple[EspdlModel, tuple[Mapping[str, Any], ...]]:
    """The device file, and the first golden inputs as the device's integers."""
    found = catalogue.load(model, (ROOT / "golden",))
    path = found.artifact(recipe, family)
    tensor = found.device_input(open_device_file(path))
    integers = tensor.to_device(found.golden(16).inputs, rounding_of(family))
    return read_espdl(path), tuple({tensor.name: integers[i : i + 1]} for i in range(len(integers)))


def flipped(model: EspdlModel, tensor: str, index: int, bit: int, node: str) -> Case:
    """A flipped bit, and the weight in ONNX's order that it belongs to."""
    stored = model.graph.initializers[tensor]
    numbered = dataclasses.replace(stored, data=np.arange(stored.data.size))
    (place,) = np.argwhere(filter_oihw(numbered, depthwise=False, kernels="portable") == index)
    at = ", ".join(map(str, place))
    return Case(
        fault=FlippedBit(tensor=tensor, index=index, bit=bit),
        node=node,
        kind="parameter",
        summary=f"bit {bit} of weight [{at}] is flipped",
    )


def faults(
    family: Family, *, convs: tuple[str, str], gemm: str, wide: str, previous: str, padded: str
) -> list[Case]:
    """Every kind of fault once; `wide` is a node whose result has several channels and rows."""
    other = OTHER[rounding_of(family)]
    words = f"it rounds {ROUNDING_WORDS[other]}, not {ROUNDING_WORDS[rounding_of(family)]}"
    return [
        Case(fault=NodeFault(node=convs[0], fault="rounding", mode="floor"), node=convs[0], kind="rounding",
             summary="it rounds down"),
        Case(fault=NodeFault(node=convs[1], fault="rounding", mode=other), node=convs[1], kind="rounding",
             summary=words),
        Case(fault=NodeFault(node=convs[1], fault="exponent", amount=1), node=convs[1], kind="shift",
             summary="shifts its sums by +1"),
        Case(fault=NodeFault(node=gemm, fault="exponent", amount=-1), node=gemm, kind="shift",
             summary="shifts its sums by -1"),
        Case(fault=NodeFault(node=wide, fault="layout"), node=wide, kind="layout", summary="NCHW order"),
        Case(fault=NodeFault(node=previous, fault="stale"), node=previous, kind="stale",
             summary="nothing was ever written there"),
        Case(fault=NodeFault(node=padded, fault="padding", amount=1), node=padded, kind="padding",
             summary="one pixel further up and left"),
        Case(fault=NodeFault(node=convs[0], fault="accumulator", amount=12), node=convs[0], kind="saturation",
             summary="saturates at 12 bits"),
    ]  # fmt: skip


def mnist_cases(family: Family) -> list[Case]:
    return faults(
        family,
        convs=("/conv1/Conv", "/conv2/Conv"),
        gemm="/fc1/Gemm",
        wide="/pool1/MaxPool",
        previous="/pool2/MaxPool",
        padded="/conv2/Conv",
    )


def check(found: Divergence | None, case: Case, broken: Broken) -> None:
    assert found is not None
    assert found.node is not None
    assert found.node.name == case.node
    assert found.diagnosis.kind == case.kind
    assert case.summary in found.diagnosis.summary
    assert found.diagnosis.certain
    assert found.unconfirmed == ()
    assert found.requests == len(broken.asked) <= broken.budget


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("number", range(8))
def test_a_fault_in_mnist_is_found_and_named(family: Family, number: int) -> None:
    case = mnist_cases(family)[number]
    model, inputs = golden_inputs("mnist", "w8a8", family)
    broken = Broken(model, family, case.fault)
    check(broken.search(inputs)[1], case, broken)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_flipped_bit_is_named_by_its_weight(family: Family) -> None:
    model, inputs = golden_inputs("mnist", "w8a8", family)
    case = flipped(model, "conv2.weight", 1234, 6, "/conv2/Conv")
    broken = Broken(model, family, case.fault)
    check(broken.search(inputs)[1], case, broken)


def test_a_flipped_bit_of_a_bias_is_named_too() -> None:
    model, inputs = golden_inputs("mnist", "w8a8", "c")
    broken = Broken(model, "c", FlippedBit(tensor="conv1.bias", index=3, bit=7))
    case = Case(fault=FlippedBit(tensor="conv1.bias", index=3, bit=7), node="/conv1/Conv", kind="parameter",
                summary="bit 7 of the bias of output channel 3 is flipped")  # fmt: skip
    check(broken.search(inputs)[1], case, broken)


@pytest.mark.parametrize("stale", ["input", "/pool2/MaxPool"])
def test_what_is_left_over_from_the_input_before_is_recognized(stale: str) -> None:
    model, inputs = golden_inputs("mnist", "w8a8", "esp32s3")
    broken = Broken(model, "esp32s3", NodeFault(node=stale, fault="stale"))
    broken.network.run(inputs[0], tensors=())
    found = broken.search(inputs[:4], start=1)[1]
    assert found is not None
    assert found.node is not None
    assert found.node.name == ("/conv1/Conv" if stale == "input" else stale)
    assert found.diagnosis.summary == "it holds the answer to the input just before"


def test_an_input_that_arrives_as_another_is_wrong_before_any_layer() -> None:
    """What `(x * 128).astype(int8)` does: 255 becomes -128."""
    model, inputs = golden_inputs("mnist", "w8a8", "esp32s3")
    broken = Broken(model, "esp32s3", NodeFault(node="/conv1/Conv", fault="exponent", amount=1))
    sent = inputs[0]
    held = {
        name: np.where(values > 40, values - 100, values).astype(np.int8) for name, values in sent.items()
    }
    from esp_hil.verdict.diverge import find

    found = find(
        model, "esp32s3", sent, broken.exact.run_all(sent), lambda name: b"", wrong=["output"], given=held
    )
    assert found is not None
    assert (found.tensor, found.node, found.requests) == ("input", None, 0)
    assert "input input" in found.summary


def test_a_tensor_that_the_device_cannot_give_is_gone_around() -> None:
    model, inputs = golden_inputs("mnist", "w8a8", "c")
    case = mnist_cases("c")[2]
    hidden = ("/pool1/MaxPool_output_0",)
    found = Broken(model, "c", case.fault, hidden).search(inputs)[1]
    assert found is not None
    assert found.node is not None
    assert found.node.name == case.node
    assert found.unconfirmed == hidden
    assert hidden[0] in found.text()


def test_a_fault_that_does_not_repeat_is_no_divergence() -> None:
    from esp_hil.verdict.diverge import find

    model, inputs = golden_inputs("mnist", "w8a8", "c")
    broken = Broken(model, "c", NodeFault(node="/conv1/Conv", fault="stale"))
    right = broken.exact.run_all(inputs[0])
    assert find(model, "c", inputs[0], right, lambda name: right[name].tobytes(), wrong=["output"]) is None


def test_both_tensors_and_their_sources_are_saved(tmp_path: Path) -> None:
    model, inputs = golden_inputs("mnist", "w8a8", "c")
    case = mnist_cases("c")[2]
    number, found = Broken(model, "c", case.fault).search(inputs)
    assert found is not None
    with np.load(found.save(tmp_path / "deep" / "found.npz")) as arrays:
        saved: dict[str, NDArray[Any]] = {name: arrays[name] for name in arrays.files}
    exact = Broken(model, "c", case.fault).exact.run_all(inputs[number])
    assert np.array_equal(saved["expected"], exact["/relu2/Relu_output_0"])
    assert not np.array_equal(saved["got"], saved["expected"])
    assert np.array_equal(saved["source /pool1/MaxPool_output_0"], exact["/pool1/MaxPool_output_0"])


def zoo_inputs(shared: Path, family: Family, name: str) -> tuple[EspdlModel, list[Mapping[str, Any]]]:
    model = read_espdl(shared / "zoo" / family / f"{name}.espdl")
    with np.load(shared / "vectors" / "zoo" / family / name / "io.npz") as arrays:
        inputs: list[Mapping[str, Any]] = [
            {value.name: arrays[f"in{k}__{value.name}"].reshape(value.shape) for value in model.graph.inputs}
            for k in (0, 1)
        ]
    return model, inputs


ZOO = (("esp32s3", "mobilenetv2_0_5_128_128_gesture"), ("esp32p4", "espdet_pico_224_224_cat"))


@pytest.mark.parametrize(("family", "name"), ZOO)
@pytest.mark.parametrize(
    "kind", ["rounding", "shift", "layout", "stale", "padding", "parameter", "saturation"]
)
def test_a_fault_in_a_zoo_model_is_found_and_named(
    shared: Path, family: Family, name: str, kind: str
) -> None:
    model, inputs = zoo_inputs(shared, family, name)
    convs = [node for node in model.graph.nodes if node.op_type == "Conv"]
    early, middle = convs[1], convs[len(convs) // 2]
    padded = next(node for node in convs[2:] if node.attributes["pads"] not in {(0, 0, 0, 0), ()})
    planted: dict[str, tuple[NodeFault | FlippedBit, str]] = {
        "rounding": (NodeFault(node=convs[0].name, fault="rounding", mode="floor"), convs[0].name),
        "shift": (NodeFault(node=middle.name, fault="exponent", amount=1), middle.name),
        "layout": (NodeFault(node=early.name, fault="layout"), early.name),
        "stale": (NodeFault(node=middle.name, fault="stale"), middle.name),
        "padding": (NodeFault(node=padded.name, fault="padding", amount=1), padded.name),
        "parameter": (FlippedBit(tensor=early.inputs[1], index=5, bit=7), early.name),
        "saturation": (NodeFault(node=early.name, fault="accumulator", amount=11), early.name),
    }
    fault, node = planted[kind]
    broken = Broken(model, family, fault)
    check(broken.search(inputs[::-1])[1], Case(fault=fault, node=node, kind=kind, summary=""), broken)


def test_a_filter_read_in_another_order_is_a_layout_fault() -> None:
    """What a chip's SIMD kernels do with a file whose filters were packed for another family."""
    model, inputs = golden_inputs("mnist", "w8a8", "c")
    stored = model.graph.initializers["conv2.weight"]
    plain = filter_oihw(stored, depthwise=False, kernels="portable")
    packed = dataclasses.replace(stored, layout="(N/16)HWC16")
    swapped = filter_oihw(packed, depthwise=False, kernels="portable")
    assert not np.array_equal(plain, swapped)
    wrong = repacked(stored, swapped)
    broken = Broken(model, "c", NodeFault(node="input", fault="stale"))
    other = dataclasses.replace(
        model,
        sha256="another",
        graph=dataclasses.replace(
            model.graph, initializers={**model.graph.initializers, "conv2.weight": wrong}
        ),
    )
    from esp_hil.exact import ExactReference
    from esp_hil.verdict.diverge import find

    right = broken.exact.run_all(inputs[0])
    got = ExactReference(other, "c").run_all(inputs[0])
    found = find(model, "c", inputs[0], right, lambda name: got[name].tobytes(), wrong=["output"])
    assert found is not None
    assert found.diagnosis.kind == "layout"
    assert "filter is read as (N/16)HWC16" in found.diagnosis.summary


def repacked(stored: TensorData, oihw: NDArray[Any]) -> TensorData:
    """A filter in the plain layout with these values."""
    return dataclasses.replace(
        stored, layout="NHWC", data=np.ascontiguousarray(oihw.transpose(0, 2, 3, 1)).reshape(-1)
    )


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_a_pool_whose_windows_lie_one_pixel_further_is_a_padding_fault(op_type: str) -> None:
    from esp_hil.exact import ExactReference
    from esp_hil.verdict.diverge import find

    def pool(pads: tuple[int, int, int, int]) -> EspdlModel:
        more = {"kernel_shape": (2, 2), "strides": (2, 2), "pads": pads}
        op = node(op_type, ("x",), ("y",), **more)  # type: ignore[arg-type]
        values = (value("x", (1, 7, 7, 16)), value("y", (1, 4, 4, 16)))
        return read_espdl(edl(graph([op], values, inputs=("x",), outputs=("y",))))

    x = np.random.default_rng(3).integers(-128, 128, (1, 7, 7, 16)).astype(np.int8)
    model = pool((0, 0, 1, 1))
    got = ExactReference(pool((1, 1, 0, 0)), "c").run_all({"x": x})
    right = ExactReference(model, "c").run_all({"x": x})
    found = find(model, "c", {"x": x}, right, lambda name: got[name].tobytes(), wrong=["y"])
    assert found is not None
    assert found.diagnosis.kind == "padding"
    assert "its padding is off by one" in found.diagnosis.summary
