"""A sample of what the detection promises on seeded noise.

`hil bench regressions --check` measures all of it, thousands of pairs, every night.
"""

from __future__ import annotations

import pytest

from benchmarks._regression_study import PROMISES, Promise, check, rates

PAIRS = 20


@pytest.mark.parametrize("shape", ["normal", "sticky 0.7"])
def test_twenty_identical_pairs_make_no_alarm(shape: str) -> None:
    assert rates(pairs=PAIRS, shape=shape, sigma=0.01).seen == 0


@pytest.mark.parametrize("shape", ["one-sided", "warming"])
def test_three_percent_at_one_percent_noise_is_found_in_twenty_of_twenty(shape: str) -> None:
    assert rates(pairs=PAIRS, shape=shape, sigma=0.01, planted=0.03).seen == 1


def test_a_re_run_refutes_what_a_whole_run_s_bad_luck_made() -> None:
    unlucky = rates(pairs=2 * PAIRS, shape="normal", sigma=0.01, between=0.02)
    assert unlucky.seen > 0.1
    assert unlucky.confirmed < 0.75 * unlucky.seen


def test_a_promise_that_is_not_kept_fails_the_check_and_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = next(promise for promise in PROMISES if promise.at_least and promise.shape == "normal")
    monkeypatch.setattr("benchmarks._regression_study.PROMISES", (kept,))
    assert check(5, 1) == 0
    unkept = Promise(shape="sticky 0.9", sigma=0.05, planted=0.03, figure="seen", at_least=0.95)
    monkeypatch.setattr("benchmarks._regression_study.PROMISES", (kept, unkept))
    assert check(5, 1) == 1
    assert "BROKEN     0.0 %  sticky 0.9, 5 % noise" in capsys.readouterr().out
