"""Rows are matched by all that makes them comparable, and each gate sees what it should."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from esp_hil.errors import ConfigError
from esp_hil.results.record import Layer, Run
from esp_hil.results.regress import GATES, Comparison, Rules, compare
from esp_hil.results.regress.change import Change, _apart, exit_status
from esp_hil.results.regress.comparable import check_names, identity_of
from esp_hil.results.regress.gates import with_thresholds
from tests.report.samples import failed_run, sample_run, sample_verdict


def slower(run: Run, factor: float, seed: int = 99) -> Run:
    """The run with its repetitions made anew, slower by a factor."""
    base = float(np.median(run.cycles)) * factor
    noise = 1 + 0.004 * np.abs(np.random.default_rng(seed).standard_normal(100))
    return dataclasses.replace(run, cycles=tuple(int(base * value) for value in noise))


def on_device(run: Run, **changes: Any) -> Run:
    assert run.device is not None
    return dataclasses.replace(run, device=dataclasses.replace(run.device, **changes))


def worse(comparison: Comparison) -> list[str]:
    return [change.metric for change in comparison.regressions]


def test_a_run_against_itself_changed_nothing() -> None:
    found = compare([sample_run()], [sample_run()])
    assert found.regressions == found.improvements == ()
    assert found.refusals == ()
    assert found.complete
    assert exit_status(found) == 0
    assert found.summary.endswith("figures compared: nothing changed")


def test_five_percent_slower_is_a_regression_in_words() -> None:
    found = compare([sample_run()], [slower(sample_run(), 1.05)])
    assert worse(found) == ["latency_ms"]
    words = found.regressions[0].summary
    assert words.startswith("mnist w8a8 espdl on esp32p4: latency_ms 2.5")
    assert "(+5." in words
    assert "95 % +" in words
    assert exit_status(found) == 1


def test_five_percent_faster_is_an_improvement() -> None:
    found = compare([sample_run()], [slower(sample_run(), 0.95)])
    assert worse(found) == []
    assert [change.metric for change in found.improvements] == ["latency_ms"]


def test_a_significant_change_that_does_not_matter_is_the_same() -> None:
    (latency, *_) = compare([sample_run()], [slower(sample_run(), 1.015)]).changes
    assert latency.probability is not None
    assert latency.probability < 0.01
    assert latency.judgement == "same"


def test_a_large_change_that_may_be_chance_is_the_same() -> None:
    base = dataclasses.replace(sample_run(), cycles=(900_000, 1_000_000, 800_000), macs=None, duration_s=99.0)
    base = on_device(base, clock_hz=200_000)
    new = dataclasses.replace(base, cycles=(1_000_001, 1_100_000, 790_000))
    (latency, *_) = compare([base], [new]).changes
    assert latency.share is not None
    assert latency.share > 0.1
    assert latency.judgement == "same"


@pytest.mark.parametrize(
    ("change", "named", "groups"),
    [
        ({"clock_hz": 160_000_000}, "clock_hz 360000000 -> 160000000", ("latency",)),
        ({"engine_version": "3.4.0"}, "engine_version 3.3.9 -> 3.4.0", ("latency", "accuracy", "memory")),
        (
            {"sdkconfig_sha256": "ab" * 32},
            "sdkconfig_sha256 9f86d081884c -> abababababab",
            ("latency", "memory"),
        ),
        ({"psram_bytes": 0}, "psram_bytes 33554432 -> 0", ("latency", "memory")),
        ({"mac": "30:ed:a0:00:00:99"}, "board 30:ed:a0:00:00:01 -> 30:ed:a0:00:00:99", ("latency", "link")),
        ({"revision": 300}, "revision 102 -> 300", ("latency",)),
    ],
)
def test_what_differs_is_named_and_only_its_figures_are_refused(
    change: dict[str, Any], named: str, groups: tuple[str, ...]
) -> None:
    found = compare([sample_run()], [on_device(slower(sample_run(), 2.0), **change)])
    assert worse(found) == []
    (refusal,) = found.refusals
    assert refusal.groups == groups
    assert named in refusal.summary
    assert (
        f"--across {named.split(maxsplit=1)[0]}, with pytest --hil-across, compares all the same"
        in refusal.summary
    )
    assert exit_status(found) == 3
    assert exit_status(found, allow_incomplete=True) == 0


def test_a_declared_difference_is_compared_and_given_as_a_cause() -> None:
    new = on_device(slower(sample_run(), 1.2), engine_version="3.4.0")
    found = compare([sample_run()], [new], Rules(across=check_names(["engine_version"])))
    assert worse(found) == ["latency_ms"]
    assert found.refusals == ()
    assert "also changed: engine_version 3.3.9 -> 3.4.0" in found.regressions[0].summary


def test_an_unknown_condition_is_refused_with_a_guess() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'clock_hz'\?"):
        check_names(["clock"])


def test_the_row_with_the_same_conditions_is_taken_from_many() -> None:
    other = on_device(slower(sample_run(), 3.0), clock_hz=160_000_000)
    late = dataclasses.replace(other, started_utc="2026-03-15T02:00:00Z")
    found = compare([sample_run(), late], [sample_run()])
    assert found.changes[0].base == pytest.approx(found.changes[0].new, rel=0.01)
    assert found.refusals == ()


def test_one_wrong_value_and_a_lost_digit_are_regressions_of_accuracy() -> None:
    found = compare([sample_run()], [sample_run(wrong=1)])
    assert {"port_different", "port_max_lsb"} <= set(worse(found))
    lost = dataclasses.replace(sample_run(), verdict=sample_verdict(wrong=40, seed=1))
    assert "top1_device_pct" in worse(compare([sample_run()], [lost]))


def test_memory_is_gated_both_ways_by_its_allowance() -> None:
    def with_memory(arena: int, free: int) -> Run:
        return sample_run(counters={"arena_bytes": (arena, "B"), "heap_internal_free": (free, "bytes")})

    base = with_memory(1000, 200_000)
    assert worse(compare([base], [with_memory(1001, 200_000)])) == ["arena_bytes"]
    assert worse(compare([base], [with_memory(1000, 198_000)])) == []  # a hundredth
    assert worse(compare([base], [with_memory(1000, 197_999)])) == ["heap_internal_free"]
    assert [c.metric for c in compare([base], [with_memory(999, 200_000)]).improvements] == ["arena_bytes"]


def test_a_leak_of_one_byte_a_load_is_a_regression() -> None:
    assert worse(compare([sample_run()], [sample_run(leak_bytes=1)])) == ["leak_bytes"]
    assert worse(compare([sample_run(leak_bytes=None)], [sample_run(leak_bytes=1)])) == []


def test_every_memory_of_the_firmware_and_its_total_are_gated_each() -> None:
    base = sample_run(sizes={"diram": 90_000, "flash_code": 400_000, "total": 600_000})
    jumped = sample_run(sizes={"diram": 90_100, "flash_code": 800_000, "total": 1_000_100})
    found = compare([base], [jumped])
    assert worse(found) == ["size_flash_code", "size_total"]
    assert "size_flash_code 400000 -> 800000 bytes (+100.0 %)" in found.regressions[0].summary


def test_the_size_of_the_firmware_and_the_line_are_gated() -> None:
    base = sample_run(sizes={"flash_text": 100_000})
    assert worse(compare([base], [sample_run(sizes={"flash_text": 101_000})])) == []
    assert worse(compare([base], [sample_run(sizes={"flash_text": 101_001})])) == ["size_flash_text"]
    assert base.link is not None
    noisy = dataclasses.replace(base, link=dataclasses.replace(base.link, errors=22))
    assert worse(compare([base], [noisy])) == ["link_errors"]


def test_simulated_rows_gate_numbers_and_memory_and_their_time_only_when_asked() -> None:
    base = sample_run(kind="virtual")
    new = slower(base, 1.5)
    assert worse(compare([base], [new])) == []
    assert worse(compare([base], [dataclasses.replace(new, verdict=sample_verdict(wrong=1))]))
    asked = compare([base], [new], Rules(gate_simulated=True))
    assert worse(asked) == ["latency_ms"]
    assert "(simulated)" in asked.regressions[0].summary


def test_simulated_time_of_two_machines_is_never_compared() -> None:
    base = sample_run(kind="virtual")
    elsewhere = dataclasses.replace(base, provenance=dataclasses.replace(base.provenance, machine="other"))
    (refusal,) = compare([base], [elsewhere], Rules(gate_simulated=True)).refusals
    assert refusal.differences[0].name == "machine"
    assert refusal.groups == ("latency",)


def test_a_simulated_row_is_never_compared_with_silicon() -> None:
    found = compare([sample_run()], [sample_run(kind="virtual")])
    assert found.changes == ()
    assert "kind silicon -> virtual" in found.refusals[0].summary


def test_a_latency_that_breaks_a_rule_takes_no_part() -> None:
    few = dataclasses.replace(sample_run(), cycles=(1_800_000,) * 5)
    found = compare([sample_run()], [few])
    assert "the new latency is not valid (too_few)" in found.refusals[0].summary
    assert all(change.group != "latency" for change in found.changes)
    assert "the base latency is not valid" in compare([few], [sample_run()]).refusals[0].summary


def test_a_re_run_confirms_or_refutes() -> None:
    base, new = sample_run(), slower(sample_run(), 1.05)
    again = dataclasses.replace(slower(sample_run(), 1.06, seed=5), attempt=2)
    confirmed = compare([base], [new, again])
    assert confirmed.regressions[0].reruns == 1
    assert "confirmed by 1 re-run" in confirmed.regressions[0].summary
    calm = dataclasses.replace(slower(sample_run(), 1.0, seed=6), attempt=2)
    refuted = compare([base], [new, calm])
    assert refuted.regressions == ()
    assert "not confirmed by a re-run" in refuted.unconfirmed[0].summary
    assert exit_status(refuted) == 0


def test_runs_of_the_base_that_vary_widen_the_allowance() -> None:
    calm = [slower(sample_run(), 1.0, seed=seed) for seed in range(6)]
    wild = [slower(sample_run(), 1 + 0.02 * (seed % 3 - 1), seed=seed) for seed in range(6)]
    new = slower(sample_run(), 1.045, seed=77)
    assert worse(compare(calm, [new])) == ["latency_ms"]
    assert worse(compare(wild, [new])) == []


def test_many_comparisons_need_stronger_evidence_each() -> None:
    base = dataclasses.replace(
        on_device(sample_run(), clock_hz=200_000), cycles=(1_000_000,) * 3, macs=None, duration_s=99.0
    )
    base = dataclasses.replace(base, cycles=tuple(1_000_000 + 1000 * i for i in range(6)))
    new = dataclasses.replace(base, cycles=tuple(1_100_000 + 1000 * i for i in range(6)))
    assert worse(compare([base], [new])) == ["latency_ms"]
    assert worse(compare([base], [new], tests=100)) == []


def test_what_is_missing_new_or_broken_is_told() -> None:
    base = [sample_run(), sample_run(model="gesture"), sample_run(model="fashion")]
    broken = failed_run(model="fashion")
    new = [sample_run(), sample_run(model="kws"), dataclasses.replace(broken, target="esp32p4")]
    found = compare(base, new)
    assert [identity.model for identity in found.missing] == ["gesture"]
    assert [identity.model for identity in found.added] == ["kws"]
    assert found.broken == ("fashion w8a8 espdl on esp32p4: timeout in load: no answer within 2 s",)
    assert exit_status(found) == 1


def test_the_layer_that_took_the_time_is_named() -> None:
    def with_layers(conv: int, fc: int) -> Run:
        return dataclasses.replace(
            slower(sample_run(), 1.0 if conv == 400_000 else 1.2),
            layers=(
                Layer(name="conv", operator="Conv", cycles=(conv,) * 3),
                Layer(name="fc", operator="Gemm", cycles=(fc,) * 3),
            ),
        )

    base = with_layers(400_000, 90_000)
    (change,) = compare([base], [with_layers(580_000, 90_500)]).regressions
    assert change.culprits == ("conv 1.111 -> 1.611 ms",)
    (even,) = compare([base], [with_layers(480_000, 108_000)]).regressions
    assert even.culprits == ("every layer alike, by +20.0 %",)


@pytest.mark.parametrize(
    ("base", "new", "said"),
    [
        (6.1, 6.41, ("6.1", "6.41")),
        (6.123456, 6.423456, ("6.1235", "6.4235")),
        (6.123456, 6.123457, ("6.123456", "6.123457")),
        (0.12345678901, 0.12345678902, ("0.12345678901", "0.12345678902")),
        (6.123456789, 6.123456789, ("6.1235", "6.1235")),
        (32_144.0, 32_176.0, ("32144", "32176")),
    ],
)
def test_two_figures_have_as_few_digits_as_tell_them_apart(
    base: float, new: float, said: tuple[str, str]
) -> None:
    assert _apart(base, new) == said


def test_layers_that_only_one_of_the_two_rows_has_are_no_culprits() -> None:
    """A graph that was optimized has other layers; what both have is compared."""

    def with_layers(factor: float, **cycles: int) -> Run:
        layers = tuple(
            Layer(name=name, operator="Conv", cycles=(count,) * 3) for name, count in cycles.items()
        )
        return dataclasses.replace(slower(sample_run(), factor), layers=layers)

    base, new = with_layers(1.0, conv=400_000, pad=50_000), with_layers(1.2, conv=580_000, fused=90_000)
    (change,) = compare([base], [new]).regressions
    assert change.culprits == ("conv 1.111 -> 1.611 ms",)
    (none,) = compare([base], [with_layers(1.2, other=580_000)]).regressions
    assert none.culprits == ()


def test_a_threshold_can_be_changed_and_a_wrong_one_is_refused() -> None:
    loose = Rules(gates=with_thresholds(["latency_ms=10%", "arena=64"]))
    new = dataclasses.replace(slower(sample_run(), 1.05), counters={"arena_bytes": (131_136, "B")})
    assert worse(compare([sample_run()], [new], loose)) == []
    assert "arena_bytes" in worse(compare([sample_run()], [new]))
    for wrong in ("latency_median=5%", "arena=five", "arena=-1", "arena"):
        with pytest.raises(ConfigError):
            with_thresholds([wrong])


def test_every_gate_has_a_direction() -> None:
    assert all(gate.better.value in {"lower", "higher"} for gate in GATES)


def test_the_last_session_of_several_is_judged() -> None:
    old = dataclasses.replace(slower(sample_run(), 1.5), session_id="one")
    new = dataclasses.replace(sample_run(), session_id="two", started_utc="2026-03-20T00:00:00Z")
    assert compare([sample_run()], [old, new]).regressions == ()


def test_a_figure_that_changed_says_what_else_did_and_one_that_did_not_says_nothing() -> None:
    def built(run: Run, sha: str) -> Run:
        return dataclasses.replace(run, provenance=dataclasses.replace(run.provenance, git_sha=sha))

    base = built(sample_run(counters={"arena_bytes": (1000, "B")}), "aaaa")
    for new, metric in (
        (sample_run(counters={"arena_bytes": (1001, "B")}), "arena_bytes"),
        (sample_run(counters={"arena_bytes": (999, "B")}), "arena_bytes"),
        (sample_run(counters={"arena_bytes": (1000, "B")}, wrong=1), "port_different"),
    ):
        found = {change.metric: change for change in compare([base], [built(new, "bbbb")]).changes}
        assert found[metric].judgement in {"worse", "better"}
        assert "git_sha aaaa -> bbbb" in found[metric].causes
        assert all(change.causes == () for change in found.values() if change.judgement == "same")


def test_a_model_that_was_trained_again_is_asked_whether_it_got_worse_and_its_identity_is_said() -> None:
    base = sample_run()
    again = dataclasses.replace(
        sample_run(wrong=40, seed=1), provenance=dataclasses.replace(base.provenance, model_sha256="e" * 64)
    )
    found = compare([base], [again])
    assert "agreement_device_exact_pct" in worse(found)
    change = found.regressions[0]
    assert any("model_sha256" in cause for cause in change.causes)
    assert any(
        "model_sha256" in refusal.summary and "latency" in refusal.groups for refusal in found.refusals
    )


def test_what_nobody_gates_is_named_with_what_gates_it() -> None:
    base = sample_run(kind="virtual")
    slower = sample_run(kind="virtual", median_ms=2.665)
    found = compare([base], [slower])
    (words,) = found.not_gated
    assert "+6.6 %" in words
    assert "--gate-simulated" in words
    assert "not gated" in found.summary
    assert compare([base], [slower], Rules(gate_simulated=True)).not_gated == ()


def test_figures_that_differ_are_printed_so_that_they_differ() -> None:
    change = Change(
        identity=identity_of(sample_run()),
        board="b",
        simulated=False,
        metric="quantization_cosine",
        group="accuracy",
        unit="",
        base=0.999981,
        new=0.999984,
        allowed=0.0,
        judgement="better",
    )
    before, after = change.figures.split(" (")[0].split(" -> ")
    assert before != after
