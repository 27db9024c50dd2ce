"""Several inputs and outputs, no float model, no labels: from a device file to a verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from esp_hil.results import load, measures
from tests.networks.folders import TWO_AND_TWO, folder, fusion_file, integers, suites


def test_two_inputs_and_two_outputs_without_float_model_reach_a_verdict(tmp_path: Path) -> None:
    golden = {"imu": integers(5, 6), "audio": integers(5, 6, seed=1)}
    folder(tmp_path, TWO_AND_TWO, {"esp32s3": fusion_file()}, golden)
    found = suites(tmp_path)
    assert found.status == 0, found.text
    verdict = found.run.verdict
    assert verdict is not None
    assert verdict.bit_exact
    assert [output.name for output in verdict.outputs] == ["product", "gate"]
    assert found.run.inputs == 5
    assert "quantizer: not checked" in verdict.summary
    assert "there is no float reference" in verdict.summary


def test_expected_values_of_one_output_are_held_against_the_device(tmp_path: Path) -> None:
    golden = {"imu": integers(5, 6), "audio": integers(5, 6, seed=1)}
    right = np.maximum(golden["imu"] / 16 * (golden["audio"] / 32), 0).astype(np.float32)
    gate = "[outputs.against_expected]\nmae = {}\n"
    folder(
        tmp_path,
        TWO_AND_TWO + gate.format(0.5),
        {"esp32s3": fusion_file()},
        golden | {"expected/gate": right},
    )
    found = suites(tmp_path)
    assert found.status == 0, found.text
    assert found.run.verdict is not None
    figures = {one.name: one for one in found.run.verdict.measures}
    assert figures["mae"].value <= 1 / 4
    assert figures["mae"].unit == "g"
    assert figures["r2"].value > 0.99
    toml = tmp_path / "golden" / "net" / "model.toml"
    toml.write_text(toml.read_text(encoding="utf-8").replace("mae = 0.5", "mae = 0.0001"), encoding="utf-8")
    found = suites(tmp_path)
    assert found.status == 1
    assert "output gate: MAE, device vs expected is" in found.text
    assert "the model asks for at most 0.0001 g" in found.text


def test_a_missed_gate_stands_in_every_report(tmp_path: Path) -> None:
    golden = {"imu": integers(3, 6), "audio": integers(3, 6, seed=1)}
    wrong = np.full((3, 6), 100, np.float32)
    gate = "[outputs.against_expected]\nrmse = 0.5\n"
    folder(tmp_path, TWO_AND_TWO + gate, {"esp32s3": fusion_file()}, golden | {"expected/gate": wrong})
    found = suites(tmp_path)
    assert found.status == 1
    assert found.run.verdict is not None
    assert found.run.verdict.ok, "the port is right: what is missed is the model's own gate"
    for name in ("report.html", "report.md", "junit.xml"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert "RMSE, device vs expected" in text, name
    rows = measures(tmp_path / "out")
    (missed,) = rows[~rows["ok"]].to_dict("records")
    assert (missed["output"], missed["measure"], missed["limit"], missed["unit"]) == (
        "gate",
        "rmse",
        0.5,
        "g",
    )
    columns = load(tmp_path / "out")
    assert columns["rmse_expected"].iloc[0] == missed["value"]
    assert columns["rmse_float"].isna().all()
