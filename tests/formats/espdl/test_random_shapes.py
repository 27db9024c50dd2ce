"""One engine for shapes: ONNX's, but for the departures listed here; `exact` computes arrays of these shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from esp_hil.errors import HilError
from esp_hil.exact.lower import lower
from esp_hil.formats.espdl import shapes
from esp_hil.formats.espdl.operators import REGISTERED
from esp_hil.formats.espdl.shapes import Shape
from tests.formats.espdl.random_nodes import (
    Case,
    as_espdl,
    computed,
    departs,
    difference,
    engine,
    integers,
    model_of,
    random_case,
    truth,
)

SEEDS = range(1, 2001)


def test_random_nodes_have_the_shapes_of_onnx() -> None:
    """`tox run -e proof-shapes` looks at 15,000."""
    assert [found for seed in SEEDS if (found := difference(seed))] == []


def test_random_nodes_are_of_every_operator_and_some_are_broken() -> None:
    cases = [random_case(seed) for seed in SEEDS]
    assert {case.op_type for case in cases} == set(REGISTERED)
    assert sum(case.broken for case in cases) > 300
    assert not any(departs(case) for case in cases)


def test_a_wrong_rule_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = shapes.window_outputs
    monkeypatch.setattr(shapes, "window_outputs", lambda *given: tuple(size + 1 for size in right(*given)))
    assert any(difference(seed) for seed in SEEDS[:200])


def test_exact_computes_arrays_of_these_shapes() -> None:
    lowered = set()
    for case in (random_case(seed) for seed in SEEDS[:600]):
        said = engine(case)
        if said is None or REGISTERED[case.op_type].quant_types == {"S8"}:
            continue
        try:
            model = lower(model_of(as_espdl(case)[0]), "esp32p4").model
        except HilError:
            continue  # exact refuses more than shapes say: batches, tables that are missing ...
        assert computed(model)[: case.outputs] == said, case
        lowered.add(case.op_type)
    assert len(lowered) > 40, sorted(set(REGISTERED) - lowered)


POOL: dict[str, Any] = {"kernel_shape": (2, 2), "strides": (2, 2)}
DEPARTURES: dict[str, tuple[Case, list[Shape] | None, list[Shape] | None]] = {
    "a pool rounds down whatever ceil_mode says": (
        Case("MaxPool", [(1, 5, 5, 3)], attributes={**POOL, "ceil_mode": 1}),
        [(1, 2, 2, 3)],
        [(1, 3, 3, 3)],
    ),
    "a pool reads no dilations": (
        Case("MaxPool", [(1, 5, 5, 3)], attributes={**POOL, "strides": (1, 1), "dilations": (2, 2)}),
        [(1, 4, 4, 3)],
        [(1, 3, 3, 3)],
    ),
    "num_outputs of Split is the size of a part": (
        Case("Split", [(1, 6)], attributes={"axis": 1, "num_outputs": 2}, outputs=2),
        [(1, 2), (1, 2)],
        [(1, 3), (1, 3)],
    ),
    "Squeeze keeps an axis that has another size than 1": (
        Case("Squeeze", [(1, 3, 1)], {1: integers(0, 1)}),
        [(3, 1)],
        None,
    ),
    "a negative axis of Unsqueeze counts from one behind the input": (
        Case("Unsqueeze", [(2, 3)], {1: integers(-1, 1)}),
        [(2, 1, 1, 3)],
        [(2, 1, 3, 1)],
    ),
    "two axes of Unsqueeze that ESP-DL takes for one are refused": (
        Case("Unsqueeze", [(2, 3)], {1: integers(-1, 2)}),
        None,
        [(2, 3, 1, 1)],
    ),
    "perm counts from the end": (
        Case("Transpose", [(2, 3, 4)], attributes={"perm": (0, -1, 1)}),
        [(2, 4, 3)],
        None,
    ),
    "a negative index of Gather is refused: ESP-DL reads before the tensor": (
        Case("Gather", [(4, 5)], {1: integers(-1)}, {"axis": 0}),
        None,
        [(1, 5)],
    ),
    "GlobalAveragePool has one sample": (
        Case("GlobalAveragePool", [(2, 5, 5, 3)]),
        [(1, 1, 1, 3)],
        [(2, 1, 1, 3)],
    ),
    "axes as an attribute are not read": (
        Case("ReduceMean", [(2, 3)], attributes={"axes": (1,), "keepdims": 0}),
        [(1,)],
        [(2,)],
    ),
    "Y of a recurrent layer with batch first has the steps first": (
        Case(
            "GRU",
            [(1, 7, 3), (1, 15, 3), (1, 15, 5)],
            attributes={"hidden_size": 5, "layout": 1, "direction": "forward"},
            outputs=2,
        ),
        [(7, 1, 1, 5), (1, 1, 5)],
        [(1, 7, 1, 5), (1, 1, 5)],
    ),
    "a start behind the axis is another one of ESP-DL's": (
        Case("Slice", [(4,)], {1: integers(9), 2: integers(0), 3: integers(0), 4: integers(-1)}),
        None,
        [(3,)],
    ),
    "a padding that cuts is refused": (
        Case("Pad", [(4,)], {1: integers(-1, 0)}, {"mode": "constant"}),
        None,
        [(3,)],
    ),
}


@pytest.mark.parametrize("what", DEPARTURES)
def test_esp_dl_departs_from_onnx(what: str) -> None:
    case, ours, onnx = DEPARTURES[what]
    assert engine(case) == ours
    assert truth(case) == onnx
    assert ours != onnx


def test_a_cut_dimension_of_zero_is_refused() -> None:
    case = Case("Slice", [(4,)], {1: np.array([2]), 2: np.array([2])})
    assert engine(case) is None
