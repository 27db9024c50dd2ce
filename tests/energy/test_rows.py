"""Energy in rows, tables and comparisons: found when it rises, refused where there is none, marked when simulated."""

from __future__ import annotations

from typing import Any

import pytest

from esp_hil.energy.figures import Energy
from esp_hil.results import load
from esp_hil.results.metrics import figures
from esp_hil.results.record import Run
from esp_hil.results.regress import Comparison, Rules, compare
from tests.energy.rows import energy_run, refused_energy, sample_energy

PAIRS = 200
NOISE = 0.01


def night(seed: int, energy_mj: float = 2.0, **changes: Any) -> Run:
    return energy_run(sample_energy(energy_mj=energy_mj, seed=seed, noise=NOISE, **changes), seed=1)


def worse(found: Comparison) -> list[str]:
    return [change.metric for change in found.regressions]


@pytest.mark.parametrize(
    "energy", [sample_energy(), refused_energy(), None], ids=["valid", "refused", "none"]
)
def test_a_row_with_energy_comes_back_equal(energy: Energy | None) -> None:
    run = energy_run(energy)
    assert Run.from_json(run.to_json()) == run


def test_a_row_has_all_figures_of_a_valid_measurement_and_none_of_a_refused_one() -> None:
    found = figures(energy_run(sample_energy(noise=0.0)))
    assert found["energy_mj"] == pytest.approx(2.0)
    assert found["energy_whole_mj"] == pytest.approx(2.0 + 80 * 1.05 / 250)
    assert found["energy_idle_share_mj"] == pytest.approx(80 * 1.05 / 250)
    assert found["idle_mw"] == pytest.approx(80)
    assert found["active_mw"] == pytest.approx(80 + 2.0 * 250 / 1.05)
    assert found["peak_ma"] == 187.5
    assert found["window_s"] == 1.05
    assert found["inferences_per_wh"] == pytest.approx(3.6e6 / (2.0 + 80 * 1.05 / 250))
    assert not {name for name in figures(energy_run(refused_energy())) if name in found and "m" in name} & {
        "energy_mj",
        "energy_whole_mj",
        "idle_mw",
        "active_mw",
        "peak_ma",
        "window_s",
        "inferences_per_wh",
    }


def test_the_table_says_which_meter_and_why_there_is_no_figure() -> None:
    table = load([energy_run(sample_energy()), energy_run(refused_energy()), energy_run(None)])
    assert table["meter"].tolist()[:2] == ["ppk2", "ppk2"]
    assert table["meter_hz"].tolist()[0] == 100_000
    assert table["meter_calibration"][0] == "of the maker, stored in the meter"
    assert table["energy_codes"].fillna("").tolist() == ["", "idle_drift", ""]
    assert table["energy_mj"].notna().tolist() == [True, False, False]
    assert table["meter"].isna().tolist() == [False, False, True]


def test_five_percent_more_energy_is_found_in_every_one_of_200_pairs() -> None:
    found = [
        "energy_mj" in worse(compare([night(2 * pair)], [night(2 * pair + 1, 2.1)])) for pair in range(PAIRS)
    ]
    assert sum(found) == PAIRS


def test_there_is_no_false_alarm_in_200_pairs_at_one_percent_noise() -> None:
    found = [worse(compare([night(2 * pair)], [night(2 * pair + 1)])) for pair in range(PAIRS)]
    assert [alarms for alarms in found if alarms] == []


def test_a_change_is_told_in_words_with_its_interval() -> None:
    (change,) = compare([night(1)], [night(2, 2.2)]).regressions
    assert "energy_mj 1.9" in change.summary or "energy_mj 2.0" in change.summary
    assert " mJ (+" in change.summary
    assert "95 % +" in change.summary
    assert "(simulated)" not in change.summary


def test_less_energy_is_an_improvement() -> None:
    assert [change.metric for change in compare([night(1)], [night(2, 1.8)]).improvements] == ["energy_mj"]


def test_a_refused_measurement_is_no_comparison_and_says_why() -> None:
    found = compare([night(1)], [energy_run(refused_energy(), seed=1)])
    assert worse(found) == []
    (refusal,) = [refusal for refusal in found.refusals if "energy" in refusal.groups]
    assert "new energy is not valid (idle_drift)" in refusal.reason


def test_another_meter_is_another_scale_unless_it_is_declared() -> None:
    base, new = night(1), night(2, 2.2, serial="D4")
    (refusal,) = compare([base], [new]).refusals
    assert refusal.groups == ("energy",)
    assert refusal.differences[0].name == "meter"
    assert worse(compare([base], [new], Rules(across=frozenset({"meter"})))) == ["energy_mj"]


def test_a_meter_that_is_not_there_any_more_is_told() -> None:
    found = compare([night(1)], [energy_run(None, seed=1)])
    assert [refusal.groups for refusal in found.refusals] == [("energy",)]


def test_what_a_simulated_meter_told_is_gated_only_where_that_is_asked_for() -> None:
    base, new = night(1, simulated=True), night(2, 2.2, simulated=True)
    quiet = compare([base], [new])
    assert worse(quiet) == []
    assert any("energy_mj" in said and "simulated and not gated" in said for said in quiet.not_gated)
    (change,) = compare([base], [new], Rules(gate_simulated=True)).regressions
    assert change.metric == "energy_mj"
    assert "(simulated)" in change.summary
