"""A row is made of what the steps returned: what no step returned is not known, and a failure says why."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from esp_hil.results.record import ClockCheck, Failure, Layer, Run
from esp_hil.session.options import Combination
from esp_hil.session.run_builder import Answered, Judged, Located, OnBoard, Profiled, RunBuilder, Timed
from esp_hil.targets import target
from esp_hil.verdict.verdict import judge

ASKED = Combination(
    model="face_detect", recipe="zoo", runtime="espdl", target=target("esp32s3"), board="virtual"
)
EACH_TIME = {"run_id", "started_utc", "duration_s"}
TIMED = Timed(
    load_ms=12.0,
    leak_bytes=0,
    warmup=2,
    cold_cycles=9,
    cycles=(5, 6),
    timed_s=0.5,
    counters={"arena_bytes": (64, "bytes")},
    clock=ClockCheck(cycles=10, timer_us=1),
)


def builder() -> RunBuilder:
    return RunBuilder(ASKED, session_id="s", attempt=2, cores=2)


def test_before_any_step_a_row_says_what_was_asked_for_and_why_there_is_no_more() -> None:
    row = builder().build(Failure(kind="link", message="gone", step="link"))
    assert (row.title, row.kind, row.attempt, row.cores_used) == (
        "face_detect-zoo-espdl-esp32s3@virtual", "virtual", 2, 2,
    )  # fmt: skip
    assert row.failure_words == "link: gone"
    assert (row.device, row.link, row.verdict, row.steps, row.cycles) == (None, None, None, None, ())


def test_every_step_adds_its_columns_and_leaves_the_others_alone() -> None:
    answers = {"y": np.zeros((3, 2), np.int8)}
    verdict = judge(answers, answers, None, None, labels=None, exponents={"y": 0})
    parts = [
        (OnBoard(model_sha256="m", labels=("a", "b"), macs=7), {"provenance", "labels", "macs"}),
        (Answered(inputs=3, outputs=answers, golden_sha256="g", what="three", pre_ms=1.0), {"inputs", "provenance"}),
        (TIMED, {"warmup", "cold_cycles", "cycles", "timed_s", "counters", "clock", "steps", "leak_bytes"}),
        (
            Profiled(layers=(Layer(name="n", operator="Conv", cycles=(1,)),), macs=8, predicted={"x": (1, "bytes")}),
            {"layers", "macs", "predicted"},
        ),
        (Judged(verdict=verdict, confusion=((0, 1, 2),), post_ms=2.0), {"verdict", "confusion", "steps"}),
        (Located(notes=("seen",)), set()),
    ]  # fmt: skip
    made, before = builder(), builder().build()
    for part, wanted in parts:
        made.add(part)  # type: ignore[arg-type]  # a list of all kinds
        after = made.build()
        changed = {f.name for f in fields(Run) if getattr(before, f.name) != getattr(after, f.name)}
        assert changed - EACH_TIME == wanted, type(part).__name__
        before = after
    assert made.notes == ("seen",)
    assert before.steps is not None
    assert (before.steps.load_ms, before.steps.pre_ms, before.steps.post_ms) == (12.0, 1.0, 2.0)


def test_a_step_that_is_made_again_replaces_what_it_returned() -> None:
    made = builder()
    made.add(TIMED)
    made.add(replace(TIMED, cycles=(7,)))
    assert made.build().cycles == (7,)


def test_a_network_of_a_task_has_a_row_of_its_own_name() -> None:
    assert builder().of_network("msr").build().model == "face_detect-msr"
