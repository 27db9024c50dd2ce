"""20-bit accumulators in a verdict's table."""

from __future__ import annotations

import numpy as np

from esp_hil.verdict.verdict import LaneHeadroom, Verdict, judge


def layer(name: str, *, risky: int, margin_bits: float, saturated: int = 0) -> LaneHeadroom:
    return LaneHeadroom(layer=name, lanes=16, risky=risky, margin_bits=margin_bits, saturated=saturated)


def verdict(*headroom: LaneHeadroom) -> Verdict:
    scores = np.zeros((2, 4), np.int8)
    answers = {"y": scores}
    return judge(answers, answers, None, None, labels=None, exponents={}, headroom=headroom)


def rows(found: Verdict) -> list[tuple[str, ...]]:
    return [row for row in found.table() if row[1] == "20-bit accumulators"]


def test_each_layer_that_can_saturate_has_a_row_that_says_whether_it_did() -> None:
    found = verdict(
        layer("a", risky=0, margin_bits=2.0),
        layer("b", risky=3, margin_bits=-0.5),
        layer("c", risky=16, margin_bits=-1.25, saturated=7),
    )
    assert rows(found) == [
        ("b", "20-bit accumulators", "3 of 16 lanes can saturate (-0.5 bits): none did", "ok"),
        (
            "c",
            "20-bit accumulators",
            "16 of 16 lanes can saturate (-1.2 bits): saturated 7 times",
            "saturated",
        ),
    ]
    assert "saturated 7 times" in found.text()
    assert found.ok, "the exact reference saturates as the chip does: that is no wrong port"


def test_without_risk_one_row_names_the_layer_with_the_least_headroom() -> None:
    found = verdict(layer("a", risky=0, margin_bits=2.0), layer("b", risky=0, margin_bits=0.25))
    ((name, _, words, state),) = rows(found)
    assert (name, state) == ("b", "ok")
    assert words == "no lane of 2 layers can saturate; least headroom +0.2 bits"


def test_chips_without_such_lanes_have_no_row() -> None:
    assert rows(verdict()) == []


def test_what_nobody_knows_of_the_chip_is_said_and_fails_nothing() -> None:
    answers = {"y": np.zeros((2, 4), np.int8)}
    found = judge(
        answers, answers, None, None, labels=None, exponents={}, doubts=("PRelu_7: a product leaves int8",)
    )
    assert ("", "exact reference", "PRelu_7: a product leaves int8", "not certain") in found.table()
    assert "not certain: the exact reference in 1 layers" in found.summary
    assert found.ok
