from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import read_espdl
from esp_hil.lint import lint_model
from esp_hil.targets import Family, target
from tests.formats.espdl.writer import edl, graph, node, tensor, value

SHAPES = {
    "Flatten": ((1, 2, 3, 4), (1, 24)),
    "Reshape": ((1, 2, 3, 4), (1, 6, 4)),
    "Squeeze": ((1, 1, 24), (1, 24)),
    "Unsqueeze": ((1, 24), (1, 1, 24)),
    "Identity": ((1, 24), (1, 24)),
    "QuantizeLinear": ((1, 24), (1, 24)),
    "DequantizeLinear": ((1, 2, 3, 4), (1, 2, 3, 4)),
    "RequantizeLinear": ((1, 2, 3, 4), (1, 2, 3, 4)),
}
CONSTANTS = {"Reshape": [1, 6, 4], "Squeeze": [1], "Unsqueeze": [1]}


@pytest.mark.parametrize("kind", ["S8", "F32"])
@pytest.mark.parametrize(("given", "made"), [("int8", "float32"), ("int16", "float32"), ("float32", "int8")])
@pytest.mark.parametrize("op_type", SHAPES)
@pytest.mark.parametrize("family", ["esp32s3", "esp32p4"])
def test_what_esp_dl_assigns_is_converted_whatever_its_mark(
    op_type: str, given: str, made: str, kind: str, family: Family
) -> None:
    before, after = SHAPES[op_type]
    constants = [tensor("c", np.array(CONSTANTS[op_type], np.int64))] if op_type in CONSTANTS else []
    written = graph(
        [node(op_type, ["x", *(item.name for item in constants)], ["y"], quant_type=kind, axis=1)],
        [value("x", before, -3, given), value("y", after, -2, made)],
        initializers=constants,
    )
    model = read_espdl(edl(written))
    if made == "int8" and not op_type.endswith("Linear"):
        # the planner puts the smaller output on its input, and ESP-DL then copies nothing
        assert "reshape-in-place" in {
            finding.rule for finding in lint_model(model, target=target(family)).findings
        }
        with pytest.raises(UnsupportedOperator, match="in the memory of its input"):
            ExactReference(model, family)
        return
    findings = lint_model(model, target=target(family)).findings
    assert [finding.rule for finding in findings if finding.severity == "error"] == []
    x = (np.arange(24) - 12).astype(given).reshape(before)
    answer = ExactReference(model, family).run({"x": x})["y"]
    assert answer.shape == after
    assert answer.dtype == np.dtype(made)
    if made == "float32":
        assert np.array_equal(answer.reshape(-1), (np.arange(24) - 12) * np.float32(0.125))
    else:
        assert np.array_equal(answer.reshape(-1), (np.arange(24) - 12) * 4)


def test_a_flatten_from_int8_to_float_gives_the_stored_answer(shared: Path) -> None:
    model = read_espdl(shared / "cases" / "squeeze_int8_to_float" / "flatten_int8_to_float.espdl")
    stored = model.graph
    given = {name: np.asarray(item.data).reshape(item.shape) for name, item in stored.test_inputs.items()}
    answers = ExactReference(model, "esp32s3").run(given)
    for name, item in stored.test_outputs.items():
        assert np.array_equal(answers[name].reshape(-1), item.data)
