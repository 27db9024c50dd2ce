"""Predictions: from published figures only, with a band that held-out models bear out, and never a guess."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from esp_hil.cli import main
from esp_hil.errors import ConfigError
from esp_hil.report import write_reports
from esp_hil.results.timing.predict import Prediction, fit_of, held_out, predict
from esp_hil.results.timing.published import PublishedLatency, group_of, published, published_of, spread_words
from esp_hil.targets import target, targets
from tests.report.samples import sample_run


def figure(model: str, cycles_per_mac: float, chip: str = "esp32s3", **changes: object) -> PublishedLatency:
    """A figure of a model of a million MACs."""
    row = {
        "model": model,
        "target": chip,
        "clock_mhz": 240,
        "runtime": "espdl",
        "kernels": "",
        "version": "1",
        "cores": 1,
        "latency_ms": cycles_per_mac * 1e6 / 240e3,
        "macs": 1_000_000,
        "source": "here",
    }
    return PublishedLatency(**(row | changes))  # type: ignore[arg-type]


def test_every_published_figure_is_possible_on_its_chip() -> None:
    assert len(published()) >= 95
    for row in published():
        chip = targets()[row.target]
        lanes = chip.int8_lanes * row.cores
        assert row.cycles_per_mac > 1 / lanes, row
        assert row.source


def test_a_model_counts_once_however_many_figures_it_has() -> None:
    rows = [figure("a", 1.0)] + [figure("b", 2.0)] * 9 + [figure("c", 4.0)]
    fit = fit_of(rows, "espdl esp32s3")
    assert fit.cycles_per_mac == pytest.approx(2.0)
    assert (fit.models, fit.figures) == (3, 11)
    assert fit.low < 1.0
    assert fit.high > 4.0


def test_figures_of_two_cores_and_of_other_groups_do_not_count() -> None:
    rows = [figure(name, 1.0) for name in "abc"]
    others = [
        figure("d", 50.0, cores=2),
        figure("e", 50.0, chip="esp32p4"),
        figure("f", 50.0, runtime="tflm"),
    ]
    assert fit_of(rows + others, "espdl esp32s3").cycles_per_mac == pytest.approx(1.0)
    assert group_of("espdl", "", "esp32s31") == group_of("espdl", "", "esp32p4")


def test_a_held_out_model_is_not_seen_in_another_version() -> None:
    rows = [figure(name, 1.0) for name in "abcdefgh"] + [
        figure("odd", 10.0),
        figure("odd", 10.0, version="2"),
    ]
    found = held_out(rows, "espdl esp32s3")
    assert found.missed[0][0] == "odd"
    assert found.missed[0][1] == pytest.approx(0.1)
    assert found.worst_factor == pytest.approx(10.0)
    assert found.median_factor == pytest.approx(1.0)


def test_a_prediction_scales_with_work_and_clock_and_says_what_it_is() -> None:
    chip = target("esp32s3")
    one, two = predict(10**6, chip), predict(2 * 10**6, chip)
    assert two.latency_ms == pytest.approx(2 * one.latency_ms)
    slow = predict(10**6, chip, clock_hz=120_000_000)
    assert slow.latency_ms == pytest.approx(2 * one.latency_ms)
    assert one.floor_ms < one.low_ms < one.latency_ms < one.high_ms
    assert one.summary.startswith("predicted ")
    assert "80% of published models lie between" in one.summary


@pytest.mark.parametrize(
    ("chip", "runtime"), [("esp32c3", "espdl"), ("esp32c6", "espdl"), ("esp32c3", "tflm")]
)
def test_a_kind_of_chip_that_nobody_published_has_no_prediction(chip: str, runtime: str) -> None:
    with pytest.raises(ConfigError, match="a prediction needs 3"):
        predict(10**6, target(chip), runtime=runtime)
    with pytest.raises(ConfigError, match="without multiply"):
        predict(0, target(chip))


def test_published_figures_are_of_the_same_model_only() -> None:
    macs = 4_241_152
    (row,) = published_of("mnist", "esp32p4", "espdl", macs)
    assert row.latency_ms == 20
    for found in (
        published_of("mnist", "esp32p4", "espdl", 2 * macs),
        published_of("mnist", "esp32s3", "espdl", macs),
        published_of("mnist", "esp32p4", "tflm", macs),
        published_of("mnist", "esp32p4", "espdl", None),
        published_of("other", "esp32p4", "espdl", macs),
    ):
        assert found == ()


def test_where_a_run_lies_among_published_figures_is_told() -> None:
    rows = (figure("a", 2.4), figure("a", 4.8))
    assert spread_words(rows) == "10 to 20 ms (2 figures)"
    assert spread_words(rows, 15) == "10 to 20 ms (2 figures); this run is among them"
    assert "takes 2 times as long as the slowest" in spread_words(rows, 40)
    assert "2 times as fast as the fastest" in spread_words(rows, 5)
    assert spread_words(()) == ""


def test_the_report_sets_both_beside_a_measurement_and_judges_no_simulated_one(tmp_path: Path) -> None:
    def text(kind: str) -> str:
        run = sample_run(kind=kind, macs=4_241_152)
        return write_reports([run], tmp_path / kind, formats=["html"])["html"].read_text("utf-8")

    assert "20 ms (1 figure); this run is 8 times as fast as the fastest" in text("silicon")
    assert "this run is" not in text("virtual").partition("<script")[0]
    for kind in ("silicon", "virtual"):
        assert "predicted " in text(kind)


def test_the_command_predicts_and_names_its_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "mnist", "--target", "esp32p4"]) == 0
    said = capsys.readouterr().out
    assert "4,241,152 MACs" in said
    assert "predicted " in said
    assert "https://www.haraldkreuzer.net" in said
    assert main(["predict", "--error"]) == 0
    said = capsys.readouterr().out
    rows = {tuple(line.split()[:3]) for line in said.splitlines() if line}
    assert {(r.model, r.target, r.kernels) for r in published() if r.runtime == "tflm"} <= rows
    assert "contradiction, not fitted: imagenet_mobilenetv2" in said
    assert main(["predict", "mnist", "--target", "esp32c3"]) == 0
    assert "portable C++" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["predict"])
    assert "which model? which chip? (hil predict mnist --target esp32p4" in capsys.readouterr().err


def test_a_prediction_is_no_latency() -> None:
    assert not {"median_ms", "cycles", "n"} & set(Prediction.__slots__)
    assert math.isfinite(predict(10**6, target("esp32s31")).latency_ms)
