"""Latencies from instructions and bytes: what held-out networks say of them, and what settings change."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from esp_hil.cli import main
from esp_hil.errors import ConfigError
from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.results.timing.forecast import Forecast, forecast, learned, of_operators
from esp_hil.results.timing.latency import quantile
from esp_hil.results.timing.physics import (
    CONTRADICTION,
    Figure,
    PublishedNetwork,
    figures_of,
    fit,
    half_width,
    held_out_figures,
    networks,
    physics_of,
)
from esp_hil.results.timing.setup import setup_of
from esp_hil.targets import target

GOLDEN = Path(__file__).parents[3] / "golden"
CHIPS = ("esp32s3", "esp32p4")


@pytest.fixture(scope="module")
def gesture() -> DeviceFile:
    return open_device_file(GOLDEN / "gesture" / "w8a8" / "esp32s3.espdl")


def on_s3(file: DeviceFile, **changes: object) -> Forecast:
    return forecast(file, target("esp32s3"), setup=setup_of(target("esp32s3"), **changes))


@pytest.mark.parametrize("chip", CHIPS)
def test_a_model_that_the_fit_has_not_seen_is_predicted_within_a_quarter(chip: str) -> None:
    factors = [max(row.factor, 1 / row.factor) for row in held_out_figures(chip)]
    assert len(factors) >= 16
    assert median(factors) <= 1.25
    assert max(factors) <= 2


@pytest.mark.parametrize("chip", CHIPS)
def test_the_band_holds_about_four_of_five_held_out_models_and_is_narrow(chip: str) -> None:
    misses = [abs(math.log(row.factor)) for row in held_out_figures(chip)]
    inside = sum(miss <= half_width(chip) for miss in misses) / len(misses)
    assert 0.75 <= inside <= 0.9
    assert math.exp(2 * half_width(chip)) <= 2.2


@pytest.mark.parametrize("chip", CHIPS)
def test_the_band_holds_as_many_where_its_width_has_not_seen_the_model_either(chip: str) -> None:
    rows = held_out_figures(chip)
    inside = 0
    for row in rows:
        others = [r for r in rows if r.figure.network.model != row.figure.network.model]
        inside += abs(math.log(row.factor)) <= quantile(sorted(abs(math.log(r.factor)) for r in others), 0.85)
    assert 0.75 <= inside / len(rows) <= 0.9


def test_figures_that_contradict_each_other_are_listed_and_not_fitted() -> None:
    figures = figures_of("esp32s3")
    contradicting = {figure.network.model for figure in figures if figure.contradicts}
    assert {"imagenet_mobilenetv2", "human_face_feat_mbf"} <= contradicting
    agreeing = [figure for figure in figures if not figure.contradicts]
    assert fit(figures) == fit(agreeing)
    for figure in agreeing:
        assert max(figure.all_ms) <= CONTRADICTION * min(figure.all_ms)


def test_figures_of_other_settings_do_not_contradict_each_other() -> None:
    """yolo11n took 26 s with its weights in flash and 16 s with a copy in PSRAM: both are right."""
    told = {f.settings: f for f in figures_of("esp32s3") if f.network.model == "yolo11n_640"}
    assert set(told) == {"", "weights=flash"}
    assert not any(figure.contradicts for figure in told.values())
    assert told["weights=flash"].ms > 1.5 * told[""].ms
    other = {f.settings: f for f in figures_of("esp32p4") if f.network.model == "imagenet_mobilenetv2"}
    assert all(figure.contradicts for figure in other.values()), (
        "another clock of PSRAM does not explain a factor of 2"
    )


@pytest.mark.parametrize("chip", CHIPS)
def test_a_contradiction_has_its_lower_figures_where_no_weights_are_read_again(chip: str) -> None:
    physics = physics_of(chip)
    for figure in figures_of(chip):
        if figure.contradicts and figure.all_ms[0] == min((*figure.all_ms, *figure.beside_ms)):
            once = physics.ms(replace(figure.network, streamed_bytes=0), figure.setup)
            assert once == pytest.approx(figure.all_ms[0], rel=0.25), figure.network.model


def test_without_figures_that_agree_there_is_nothing_to_fit() -> None:
    one = Figure(network=networks()[0], all_ms=(1.0, 9.0))
    with pytest.raises(ConfigError, match="no published figure"):
        fit([one])


def test_the_fit_finds_the_numbers_that_made_its_figures() -> None:
    def figure(instructions: float, streamed: int) -> Figure:
        network = PublishedNetwork(
            model=f"{instructions}-{streamed}",
            target="esp32s3",
            macs=1,
            instructions=instructions,
            c_cycles=0,
            weight_bytes=0,
            streamed_bytes=streamed,
            activation_bytes=0,
        )
        return Figure(network=network, all_ms=(1.5 * instructions / 240e3 + 4 * streamed / 160e3,))

    found = fit([figure(1e6 * n, 10**6 * (n % 3) * 5) for n in range(1, 60)])
    assert found.cycles == pytest.approx(1.5, rel=0.02)
    assert found.weights == pytest.approx(4.0, rel=0.02)


def test_bits_decide_which_kernels_run_and_how_fast(shared: Path) -> None:
    """8 channels fill a vector of int16 but not one of int8: there 16 bits are the faster ones, as executed."""
    folder = shared / "cases" / "predict_ignores_bits"
    narrow = forecast(open_device_file(folder / "espdl_w8a8_p4.espdl"), target("esp32p4"))
    wide = forecast(open_device_file(folder / "espdl_w16a16_p4.espdl"), target("esp32p4"))
    assert narrow.nodes[0].kernels[0].startswith("s8 conv unaligned")
    assert wide.nodes[0].kernels[0].startswith("s16 conv")
    assert wide.instructions != pytest.approx(narrow.instructions, rel=0.2)


def test_a_text_recognizer_takes_twice_as_long_at_sixteen_bits() -> None:
    factors = {row.figure.network.model: row.predicted_ms for row in held_out_figures("esp32p4")}
    assert factors["pp_ocr_v6_rec_s16"] > 1.5 * factors["pp_ocr_v6_rec_s8"]


def test_nodes_come_in_the_order_of_the_file_and_sum_up(gesture: DeviceFile) -> None:
    found = on_s3(gesture)
    names = [node.name for node in gesture.content.graph.nodes]  # type: ignore[union-attr]
    assert [node.name for node in found.nodes] == names
    assert sum(node.ms for node in found.nodes) == pytest.approx(found.ms)
    assert found.low_ms < found.ms < found.high_ms


def test_a_slower_psram_costs_what_is_read_and_nothing_else(gesture: DeviceFile) -> None:
    fast, slow = on_s3(gesture, psram="octal80"), on_s3(gesture, psram="octal40")
    for one, other in zip(fast.nodes, slow.nodes, strict=True):
        assert other.compute_ms == one.compute_ms
        assert other.activations_ms == pytest.approx(2 * one.activations_ms)


def test_parameters_that_stay_in_flash_are_read_at_its_rate(gesture: DeviceFile) -> None:
    fast = on_s3(gesture, param_copy=False, flash="qio80")
    slow = on_s3(gesture, param_copy=False, flash="dio40")
    assert sum(n.weights_ms for n in fast.nodes) > sum(n.weights_ms for n in on_s3(gesture).nodes)
    assert sum(n.weights_ms for n in slow.nodes) == pytest.approx(4 * sum(n.weights_ms for n in fast.nodes))


def test_compiler_and_second_core_change_what_they_can(gesture: DeviceFile) -> None:
    plain = on_s3(gesture)
    assert on_s3(gesture, optimize="Og").ms > plain.ms
    assert plain.ms / 2 < on_s3(gesture, cores=2).ms < plain.ms
    assert on_s3(gesture, clock_hz=120_000_000).nodes[0].compute_ms == pytest.approx(
        2 * plain.nodes[0].compute_ms
    )


def test_weights_larger_than_the_cache_are_read_for_every_position() -> None:
    found = {(row.model, row.target): row for row in networks()}
    streaming = found["imagenet_mobilenetv2", "esp32s3"]
    assert streaming.streamed_bytes > 20 * streaming.weight_bytes
    assert found["human_face_detect_msr", "esp32s3"].streamed_bytes == 0
    assert streaming.streamed_bytes > found["imagenet_mobilenetv2", "esp32p4"].streamed_bytes


def test_an_unknown_mode_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="octal81") as refused:
        setup_of(target("esp32s3"), psram="octal81")
    assert "octal80" in refused.value.hint


def test_portable_chips_get_a_wide_band_that_says_why() -> None:
    file = open_device_file(GOLDEN / "mnist" / "w8a8" / "c.espdl")
    found = forecast(file, target("esp32"))
    assert found.high_ms / found.low_ms > 4
    assert "portable C++" in found.reasons[0]


def test_rows_of_ones_own_correct_the_prediction() -> None:
    factor, half = learned([(20.0, 10.0), (22.0, 11.0), (8.0, 4.0)])
    assert factor == pytest.approx(2.0)
    assert half == pytest.approx(math.log(1.5) / math.sqrt(3)), "three rows do not tell every model to 15 %"
    assert learned([(20.0, 10.0)] * 20)[1] == pytest.approx(math.log(1.15))
    with pytest.raises(ConfigError, match="measured on this chip"):
        learned([])


def test_the_command_prints_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "mnist", "--target", "esp32p4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["instructions"] == pytest.approx(529_088, rel=0.02)
    assert told["low_ms"] < told["ms"] < told["high_ms"]
    assert [node["op"] for node in told["nodes"]][:3] == ["Conv", "MaxPool", "Conv"]
    assert told["ms"] == pytest.approx(sum(node["ms"] for node in told["nodes"]))


def test_the_command_answers_what_if(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "gesture", "--target", "esp32s3", "--psram", "octal40", "--opt", "Og"]) == 0
    said = capsys.readouterr().out
    assert "PSRAM octal40" in said
    assert "-Og" in said


def test_instructions_take_more_than_a_cycle_and_buses_less_than_their_peak() -> None:
    for chip in CHIPS:
        physics = physics_of(chip)
        assert 1 <= physics.cycles <= 3
        assert physics.weights >= 1
        assert physics.activations >= 1
        assert physics.flash >= 1


def test_conformance_rows_correct_their_own_operators_and_no_others(gesture: DeviceFile) -> None:
    before = on_s3(gesture)
    after = of_operators(
        before, {"Conv": [(2.0, 1.0), (3.0, 1.0), (30.0, 10.0)], "Tanh": [(9.0, 1.0)], "Gemm": []}
    )
    for old, new in zip(before.nodes, after.nodes, strict=True):
        assert new.ms == pytest.approx(old.ms * (3.0 if old.op == "Conv" else 1.0))
    assert after.ms > before.ms
    assert after.low_ms / after.ms == pytest.approx(before.low_ms / before.ms)
    assert after.reasons[-1].startswith("1 of its ")
