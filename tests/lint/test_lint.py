"""`hil lint`: files, reports, exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp_hil.cli import main
from esp_hil.errors import FormatError, GoldenError
from esp_hil.lint import RULES, lint_file
from esp_hil.lint import tflite as tflm_lint
from esp_hil.lint.finding import rule
from tests.formats.espdl.examples import conv_graph, tiny_graph
from tests.formats.espdl.writer import edl, graph, node, value


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.espdl"
    path.write_bytes(edl(conv_graph()))
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.espdl"
    path.write_bytes(edl(graph([node("Erf", ("x",), ("y",))], [value("x", (1, 4)), value("y", (1, 4))])))
    return path


def _onnx(path: Path, op_type: str = "Relu", **attributes: Any) -> Path:
    from onnx import TensorProto, helper, save

    weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 2, 1, 1], [1.0] * 8)
    inputs = ["x", "w"] if op_type == "Conv" else ["x"]
    body = helper.make_graph(
        [helper.make_node(op_type, inputs, ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 5, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weights] if op_type == "Conv" else [],
    )
    save(helper.make_model(body), str(path))
    return path


def test_good_model_passes(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(good), "--target", "esp32c3"]) == 0
    assert capsys.readouterr().out == "good on esp32c3: 0 errors, 0 warnings, 0 notes\n"


def test_bad_model_fails_and_says_where_why_and_what_to_do(
    bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lint", str(bad)]) == 1
    text = capsys.readouterr().out
    assert "error: unregistered-operator at Erf_y" in text
    assert "Do not support Erf" in text
    assert "-> replace it" in text
    assert "bad: 1 error, 0 warnings, 1 note" in text


def test_json_holds_every_field(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(bad), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is False
    assert document["sha256"] == lint_file(bad).sha256 != ""
    assert set(document["findings"][0]) == {"severity", "rule", "node", "why", "todo", "gates"}


def test_partition_and_board_are_taken_from_the_command_line(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lint", str(good), "--target", "esp32c3", "--partition", "64"]) == 1
    assert "its partition 64" in capsys.readouterr().out
    assert main(["lint", str(good), "--target", "esp32", "--psram", "16"]) == 1
    assert "16 bytes of PSRAM" in capsys.readouterr().out


def test_inputs_are_compared_with_the_exponent(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "in.npz", x=np.full((1, 3, 6, 6), 1.5, np.float32))
    assert main(["lint", str(good), "--inputs", str(tmp_path / "in.npz")]) == 0
    assert "100.00% of the data lie beyond ±0.992188" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk"])
def test_unreadable_inputs_are_an_error(good: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "in.npz"
    path.write_bytes(content)
    with pytest.raises(GoldenError, match=r"in\.npz"):
        lint_file(good, inputs=path)


def test_plain_npy_is_no_set_of_inputs(good: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.zeros(3))
    with pytest.raises(GoldenError, match=r"in\.npy"):
        lint_file(good, inputs=tmp_path / "in.npy")


def test_encrypted_model_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "secret.espdl"
    path.write_bytes(edl(tiny_graph(), mode=1))
    report = lint_file(path)
    assert [finding.rule for finding in report.findings] == ["encrypted"]
    assert not report.passed


def test_damaged_model_cannot_be_examined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.espdl"
    path.write_bytes(edl(tiny_graph())[:-1])
    assert main(["lint", str(path)]) == 2
    assert "at byte" in capsys.readouterr().err


def test_onnx_is_examined_before_quantization(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _onnx(tmp_path / "grouped.onnx", "Conv", group=2, strides=[1, 1], dilations=[1, 1])
    assert main(["lint", str(path)]) == 1
    text = capsys.readouterr().out
    assert "error: conv-groups at Conv_0" in text
    assert "warning: open-shape at x" in text


def test_sound_onnx_passes(tmp_path: Path) -> None:
    report = lint_file(_onnx(tmp_path / "relu.onnx"))
    assert report.passed
    assert {finding.rule for finding in report.findings} == {"open-shape"}


@pytest.mark.parametrize("content", [b"", b"\x0a\xff\xff\xff\xff", b"no protobuf at all"])
def test_damaged_onnx_is_a_typed_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"bad\.onnx"):
        lint_file(path)


def test_missing_onnx_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"nowhere\.onnx"):
        lint_file(tmp_path / "nowhere.onnx")


def test_rules_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "--rules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == {*RULES, *tflm_lint.RULES}
    assert any(line.startswith("s3-accumulator") for line in lines)


def test_no_model_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint"]) == 2
    assert "which model?" in capsys.readouterr().err


def test_rule_needs_a_docstring_and_a_name_of_its_own() -> None:
    with pytest.raises(ValueError, match="prelu"):
        rule("prelu")(RULES["prelu"].check)
    with pytest.raises(ValueError, match="no docstring"):
        rule("new")(lambda subject: iter(()))
