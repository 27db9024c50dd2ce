"""The broken kernels are right where nothing is broken, and wrong as they were told elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from esp_hil.errors import ConfigError
from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import read_espdl
from esp_hil.formats.espdl.model import EspdlModel
from esp_hil.models import catalogue
from esp_hil.models.device_file import open_device_file
from esp_hil.models.operators import read_cases
from esp_hil.targets import FAMILIES, Family, rounding_of
from esp_hil.virtual.broken import BrokenNetwork
from esp_hil.virtual.faults import FaultPlan, NodeFault, parse_plan
from esp_hil.virtual.kernels import ROUNDINGS, Wrong, run_node
from tests.conftest import ROOT


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kernels_answer_as_the_exact_reference_where_nothing_is_broken(family: Family) -> None:
    mnist = catalogue.load("mnist", (ROOT / "golden",))
    path = mnist.artifact("w8a8", family)
    model = read_espdl(path)
    tensor = mnist.device_input(open_device_file(path))
    x = tensor.to_device(mnist.golden(1).inputs, rounding_of(family))
    exact = {**ExactReference(model, family).run_all({tensor.name: x}), tensor.name: x}
    layers = [node for node in model.graph.nodes if node.op_type in {"Conv", "Gemm"}]
    assert len(layers) == 4
    for node in layers:
        answer = run_node(model, node, exact[node.inputs[0]], Wrong(rounding=rounding_of(family)))
        assert np.array_equal(answer, exact[node.outputs[0]])
    broken = BrokenNetwork(model, family, [NodeFault(node="/conv2/Conv", fault="stale")])
    broken.run({tensor.name: x}, tensors=())
    again = broken.run({tensor.name: x}, tensors=list(exact)[:-1])
    assert all(np.array_equal(again[name], exact[name]) for name in again)


@pytest.mark.parametrize("family", ["c", "esp32s3", "esp32p4"])
def test_a_row_is_convolved_as_an_image_one_pixel_high(family: Family) -> None:
    rows = 0
    for case in read_cases(family):
        model = case.file.content
        assert isinstance(model, EspdlModel)
        (node, *more), (tensor, *_) = model.graph.nodes, model.graph.inputs
        if node.op_type != "Conv" or more or len(tensor.shape) != 3:
            continue
        rows += 1
        x = case.inputs[tensor.name]
        wanted = ExactReference(model, family).run({tensor.name: x})[node.outputs[0]]
        answer = run_node(model, node, x, Wrong(rounding=rounding_of(family)))
        np.testing.assert_array_equal(answer, wanted, err_msg=case.name)
    assert rows > 1


def test_roundings_of_ties_and_their_neighbours() -> None:
    values = np.array([-7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7])
    shifts = np.full(1, 2)
    assert ROUNDINGS["half_up"](values, shifts).tolist() == [-2, -1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert ROUNDINGS["half_even"](values, shifts).tolist() == [
        -2, -2, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2,
    ]  # fmt: skip
    assert ROUNDINGS["floor"](values, shifts).tolist() == [-2, -2, -2, -1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1]
    assert ROUNDINGS["toward_zero"](values, shifts).tolist() == [
        -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1,
    ]  # fmt: skip
    for rounding in ROUNDINGS.values():
        assert rounding(np.array([5]), np.array([-3])).tolist() == [40]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"node": "/conv/Conv", "fault": "melts"}, "no fault 'melts'"),
        ({"node": "/conv/Conv", "fault": "rounding", "mode": "sideways"}, "mode is 'sideways'"),
        ({"node": "/conv/Conv", "fault": "rounding"}, "mode is ''"),
        ({"node": "/conv/Conv", "fault": "padding"}, "amount is 0"),
        ({"node": "/conv/Conv", "fault": "stale", "amount": 3}, "amount is 3"),
        ({"node": "/conv/Conv", "colour": 3}, "no 'colour'"),
    ],
)
def test_a_fault_that_means_nothing_is_refused(fault: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_plan({"engine": {"node": [fault]}})


def test_a_plan_with_every_fault_survives_the_way_to_the_board() -> None:
    plan = parse_plan(
        {
            "engine": {
                "node": [{"node": "/conv/Conv", "fault": "exponent", "amount": -1}],
                "bit": [{"tensor": "w", "index": 3, "bit": 7}],
            }
        }
    )
    from esp_hil.virtual.faults import load_plan

    assert load_plan(plan.to_json()) == plan != FaultPlan()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (NodeFault(node="/conv9/Conv", fault="stale"), "no node '/conv9/Conv'"),
        (NodeFault(node="/pool1/MaxPool", fault="padding", amount=1), "MaxPool /pool1/MaxPool cannot have a"),
    ],
)
def test_a_fault_that_the_model_cannot_have_is_refused(fault: NodeFault, words: str) -> None:
    model = read_espdl(catalogue.load("mnist", (ROOT / "golden",)).artifact("w8a8", "c"))
    with pytest.raises(ConfigError, match=words):
        BrokenNetwork(model, "c", [fault])
