"""Measured layers beside predicted ones: the one that takes longer is named, with the reason and the way out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from esp_hil.cli import main
from esp_hil.models import catalogue
from esp_hil.models.device_file import open_device_file
from esp_hil.report.cards import card_of
from esp_hil.report.view import line_of
from esp_hil.results.record import Layer, Run
from esp_hil.results.regress.reasons import culprits_of
from esp_hil.results.timing.forecast import forecast
from esp_hil.results.timing.layers import config_changes, expected, layer_times, memory_of, outlier_of
from esp_hil.results.timing.setup import setup_of
from esp_hil.results.timing.work import work_of
from esp_hil.targets import target
from tests.report.samples import sample_run

P4 = target("esp32p4")
FILE = catalogue.load("mnist").artifact("w8a8", "esp32p4")


def measured(
    slower: dict[str, float] | None = None, *, general: float = 1.0, clock_hz: int = 400_000_000
) -> Run:
    """A board that takes what is predicted, times `general`, some layers longer."""
    file = open_device_file(FILE)
    nodes = forecast(file, P4, setup=setup_of(P4, clock_hz=clock_hz)).nodes
    layers = tuple(
        Layer(
            name=node.name,
            operator=node.op,
            cycles=(max(1, round(general * (slower or {}).get(node.name, 1.0) * node.ms * clock_hz / 1e3)),),
            macs=layer.macs,
            parameter_bytes=layer.parameter_bytes,
            activation_bytes=layer.activation_bytes,
        )
        for node, layer in zip(nodes, work_of(file), strict=True)
    )
    run = sample_run(layers=layers, cores_used=1, recipe="w8a8")
    assert run.device is not None
    return replace(
        run,
        target="esp32p4",
        device=replace(run.device, clock_hz=clock_hz),
        provenance=replace(run.provenance, model_sha256=file.content.sha256),
    )


def said_of(run: Run) -> str:
    found = expected(run)
    assert found is not None
    return outlier_of(run, *found)


def test_a_run_as_predicted_names_no_layer_and_has_every_prediction_beside_it() -> None:
    run = measured()
    found = expected(run)
    assert found is not None
    for row in layer_times(run, found[1]):
        assert row.node.ms == 0 or row.measured_ms < 0.001 or row.factor == pytest.approx(1, rel=0.01)
    assert outlier_of(run, *found) == ""
    card = card_of(1, line_of(run))
    assert card.outlier == ""
    assert all(row.expected for row in card.layers if row.operator in {"Conv", "Gemm"})


def test_weights_that_come_from_flash_are_named_with_their_speed_and_what_a_copy_would_give() -> None:
    run = measured({"/fc1/Gemm": 17.0})
    said = said_of(run)
    assert said.startswith("/fc1/Gemm takes 17x its prediction")
    assert "bytes of weights come at 11 MB/s" in said
    assert "as from flash" in said
    assert "a copy in PSRAM would give 2." in said
    assert card_of(1, line_of(run)).outlier == said


def test_a_layer_that_weights_do_not_explain_is_sent_to_its_kernel() -> None:
    said = said_of(measured({"/conv2/Conv": 6.0}))
    assert said.startswith("/conv2/Conv takes 6x its prediction")
    assert "look at its kernel (s8 conv" in said
    assert "MB/s" not in said


def test_a_board_that_is_slower_everywhere_has_no_outlier() -> None:
    assert said_of(measured(general=3.0)) == ""
    assert said_of(measured({"/fc1/Gemm": 8.0}, general=3.0)).startswith("/fc1/Gemm")


def test_another_file_of_the_same_name_predicts_nothing() -> None:
    run = measured()
    assert expected(replace(run, provenance=replace(run.provenance, model_sha256="0" * 64))) is None
    assert expected(replace(run, model="nobody's")) is None
    assert expected(replace(run, device=None)) is None


def test_simulated_rows_have_no_second_prediction_beside_them() -> None:
    card = card_of(1, line_of(replace(measured({"/fc1/Gemm": 17.0}), kind="virtual")))
    assert card.outlier == ""
    assert not any(row.expected for row in card.layers)


def test_a_latency_regression_is_told_in_the_same_words() -> None:
    (told,) = culprits_of(measured(), measured({"/fc1/Gemm": 17.0}))
    assert told.startswith("/fc1/Gemm ")
    assert "weights came at 183 MB/s, now at 10.8 MB/s, as from flash" in told
    (kernel,) = culprits_of(measured(), measured({"/conv2/Conv": 3.0}))
    assert "cycles for a multiply-accumulate, now" in kernel


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (
            {
                "COMPILER_OPTIMIZATION_PERF": True,
                "SPIRAM": True,
                "SPIRAM_MODE_OCT": True,
                "SPIRAM_SPEED": 40,
                "ESPTOOLPY_FLASHMODE_DIO": True,
                "ESPTOOLPY_FLASHFREQ": "80m",
                "ESP32S3_DATA_CACHE_SIZE": 32768,
            },
            {"optimize": "O2", "psram": "octal40", "flash": "dio80", "cache_bytes": 32768},
        ),
        ({"COMPILER_OPTIMIZATION_DEBUG": True}, {"optimize": "Og", "psram": "none"}),
        ({}, {}),
    ],
)
def test_an_sdkconfig_is_the_settings_of_the_prediction(
    config: dict[str, bool | int | str], wanted: dict[str, object]
) -> None:
    assert config_changes(config, target("esp32s3")) == wanted


def test_a_speed_names_the_slowest_memory_that_could_give_it() -> None:
    assert memory_of(9e6) == "as from flash in mode dio40 (at most 10 MB/s)"
    assert memory_of(150e6).startswith("as from flash in mode opi80")
    assert memory_of(700e6).startswith("as from PSRAM in mode hex200")
    assert "cache" in memory_of(5e9)


def learned(folder: Path, rows: list[Run], capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What `hil predict mnist --learn` says of some rows."""
    folder.mkdir(exist_ok=True)
    (folder / "runs.jsonl").write_text("".join(row.to_json() + "\n" for row in rows), encoding="utf-8")
    asked = ["predict", "mnist", "--target", "esp32p4", "--learn", str(folder), "--json", *words]
    assert main(asked) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def whole(run: Run) -> Run:
    """The run with cycles of its layers' sum."""
    return replace(run, cycles=(sum(layer.cycles[0] for layer in run.layers or ()),) * 5)


def test_rows_teach_at_their_own_settings_not_at_those_that_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A board at 100 MHz that takes what is predicted there changes nothing of what is predicted at 400."""
    run = whole(measured(clock_hz=100_000_000))
    found = learned(tmp_path / "as", [run], capsys)
    assert found["ms"] == pytest.approx(forecast(open_device_file(FILE), P4).ms, rel=0.01)
    slow = learned(tmp_path / "slow", [whole(measured(general=2.0, clock_hz=100_000_000))], capsys)
    assert slow["ms"] == pytest.approx(2 * found["ms"], rel=0.02)


def test_layers_teach_their_own_operators(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = {node.name: node.ms for node in forecast(open_device_file(FILE), P4).nodes}
    run = whole(measured({"/fc1/Gemm": 4.0, "/fc2/Gemm": 4.0}))
    found = {node["name"]: node["ms"] for node in learned(tmp_path, [run], capsys)["nodes"]}
    assert found["/fc1/Gemm"] == pytest.approx(4 * plain["/fc1/Gemm"], rel=0.02)
    assert found["/conv2/Conv"] == pytest.approx(plain["/conv2/Conv"], rel=0.02)


def test_one_row_leaves_a_wide_band_and_virtual_rows_teach_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = learned(tmp_path, [whole(measured())], capsys)
    assert found["high_ms"] / found["low_ms"] == pytest.approx(1.5**2, rel=0.01)
    row = replace(whole(measured()), kind="virtual")
    (tmp_path / "runs.jsonl").write_text(row.to_json() + "\n", encoding="utf-8")
    assert main(["predict", "mnist", "--target", "esp32p4", "--learn", str(tmp_path)]) == 2
    assert "measured on this chip" in capsys.readouterr().err


def test_of_more_than_a_hundred_layers_alike_none_is_an_outlier_and_one_that_takes_ten_times_is() -> None:
    run = measured()
    found = expected(run)
    assert found is not None
    file, forecast_ = found
    node = next(node for node in forecast_.nodes if node.ms > 0 and node.weights_ms == 0)
    layer = next(layer for layer in run.layers or () if layer.name == node.name)
    many = [(replace(node, name=f"n{i}"), replace(layer, name=f"n{i}")) for i in range(150)]
    alike = replace(forecast_, nodes=tuple(one for one, _ in many))
    layers = [one for _, one in many]
    assert outlier_of(replace(run, layers=tuple(layers)), file, alike) == ""
    layers[7] = replace(layers[7], cycles=tuple(20 * count for count in layers[7].cycles))
    assert outlier_of(replace(run, layers=tuple(layers)), file, alike).startswith("n7 takes")
