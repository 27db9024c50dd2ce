"""What a meter saw stands in the run's card: figures, a battery's life, the trace with its window; or why not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from esp_hil.report import write_reports
from esp_hil.report.cards import card_of
from esp_hil.report.view import line_of
from tests.energy.rows import energy_run, refused_energy, sample_energy


def told(energy: object) -> dict[str, str]:
    return dict(dict(card_of(1, line_of(energy_run(energy))).facts).get("Energy", ()))  # type: ignore[arg-type]


def test_a_card_tells_energy_power_and_what_a_battery_lasts() -> None:
    said = told(sample_energy(noise=0.0))
    assert said["one inference"].startswith("2 mJ (2 to 2 of 10)")
    assert said["idle"] == "80 mW"
    # 3.7 Wh by 80 mW idle and 2 mJ a second; then by 2 mJ a minute
    assert said["battery of 3.7 Wh"].startswith(f"{3700 / 82 / 24:.3g} days at one inference a second")
    assert f"{3700 / (80 + 2 / 60) / 24:.3g} at one a minute" in said["battery of 3.7 Wh"]
    assert said["meter"] == "ppk2 C1A2B3, 100000 samples/s"


def test_counters_are_printed_as_sizes_and_plain_numbers() -> None:
    counters = {"a_bytes": (1558770.0, "bytes"), "link_noise_segments": (0, "1"), "reads": (12345678, "1")}
    run = replace(energy_run(None), counters=counters | {"round_trip": (2.5, "ms"), "few": (512, "B")})
    said = dict(dict(card_of(1, line_of(run)).facts)["Counters"])
    assert list(said.values()) == ["1.49 MiB", "0", "12,345,678", "2.5 ms", "512 B"]


def test_a_measurement_that_broke_a_rule_has_its_reason_and_no_number() -> None:
    said = told(refused_energy())
    assert said["no figure"] == "idle goes from 80 to 95 mW, beside 470 mW of work"
    assert "one inference" not in said


def test_the_trace_of_the_first_window_is_drawn_from_zero_to_its_largest_current() -> None:
    trace = card_of(1, line_of(energy_run(sample_energy()))).energy
    assert trace is not None
    assert (trace.seconds, trace.most, trace.title) == ("0.5 s", "up to 187.5 mA", "current by ppk2")
    assert '<rect class="window" x="40.00" y="0.00" width="40.00" height="72.00"/>' in trace.svg
    assert 'points="10.00,' in trace.svg
    assert "50.00,2.00" in trace.svg  # the peak is at the top
    assert card_of(1, line_of(energy_run(None))).energy is None


@pytest.mark.parametrize("simulated", [False, True])
def test_the_page_shows_it_and_marks_a_meter_that_is_none(simulated: bool, tmp_path: Path) -> None:
    write_reports([energy_run(sample_energy(simulated=simulated))], tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("current by ppk2, simulated: mean and peak" in page) == simulated
    assert ("Energy (simulated)" in page) == simulated
    assert "days at one inference a second" in page
