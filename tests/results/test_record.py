"""Rows: lossless, crash-proof, and refused aloud when they cannot be read."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esp_hil import __version__, errors
from esp_hil.errors import HilError, ReportError
from esp_hil.results import record
from esp_hil.results.journal import Recorder, read_runs
from esp_hil.results.record import OLDEST_SCHEMA, SCHEMA, Addendum, Failure, Run
from esp_hil.tensors import Arrays
from esp_hil.verdict.verdict import judge
from tests.report.samples import a_night, failed_run, sample_run


@pytest.mark.parametrize("run", a_night(), ids=lambda run: run.title)
def test_a_row_comes_back_equal_from_one_line(run: Run) -> None:
    line = run.to_json()
    assert "\n" not in line
    assert Run.from_json(line) == run


@given(text=st.text(), seconds=st.floats(allow_nan=False), cycles=st.lists(st.integers(0, 2**64)))
def test_any_text_number_and_cycles_survive(text: str, seconds: float, cycles: list[int]) -> None:
    run = failed_run(model=text, duration_s=seconds, cycles=tuple(cycles), message=text)
    line = run.to_json()
    assert line.isascii()
    assert "\n" not in line
    assert Run.from_json(line) == run


def test_a_float_verdict_survives_beside_integer_ones() -> None:
    answers: Arrays = {"a": np.zeros((2, 3), np.int8), "b": np.array([[np.nan, 1.0]] * 2, np.float32)}
    verdict = judge(answers, answers, None, None, labels=None, exponents={})
    run = sample_run(verdict=verdict)
    assert Run.from_json(run.to_json()) == run


def test_an_infinite_noise_ratio_is_json_all_the_same() -> None:
    ones, zeros = np.ones((1, 2), np.int8), np.zeros((1, 2), np.float32)
    verdict = judge({"a": ones}, {"a": ones}, None, {"a": zeros}, labels=None, exponents={"a": 0})
    run = sample_run(verdict=verdict)
    json.loads(run.to_json(), parse_constant=pytest.fail)
    assert Run.from_json(run.to_json()) == run


def test_only_silicon_is_not_simulated() -> None:
    assert [sample_run(kind=kind).simulated for kind in ("silicon", "emulated", "virtual")] == [
        False,
        True,
        True,
    ]
    assert json.loads(sample_run(kind="virtual").to_json())["simulated"] is True


def test_a_row_whose_mark_contradicts_its_board_is_refused() -> None:
    line = sample_run(kind="virtual").to_json().replace('"simulated":true', '"simulated":false')
    with pytest.raises(ReportError, match="says simulated: False, but a virtual board"):
        Run.from_json(line)


def test_a_row_of_a_later_schema_names_the_version_that_reads_it() -> None:
    row = json.loads(sample_run().to_json())
    row["schema"] = SCHEMA + 1
    row["provenance"]["harness"] = "9.1.0"
    with pytest.raises(ReportError) as caught:
        Run.from_json(json.dumps(row))
    assert f"schema {SCHEMA + 1}" in str(caught.value)
    assert "read it with esp-hil 9.1.0 or later" in str(caught.value)


def test_a_row_of_the_version_before_is_read_and_what_it_lacks_is_not_known() -> None:
    row = json.loads(sample_run().to_json())
    row["schema"] = OLDEST_SCHEMA
    for name in ("clock", "steps", "leak_bytes"):
        del row[name]
    found = Run.from_json(json.dumps(row))
    assert (found.clock, found.steps, found.leak_bytes) == (None, None, None)
    assert json.loads(found.to_json())["schema"] == SCHEMA
    row["schema"] = OLDEST_SCHEMA - 1
    with pytest.raises(
        ReportError, match=f"esp-hil {re.escape(__version__)} reads {OLDEST_SCHEMA} to {SCHEMA}"
    ):
        Run.from_json(json.dumps(row))


def test_unknown_and_missing_keys_are_refused_by_name() -> None:
    row = json.loads(sample_run().to_json())
    with pytest.raises(ReportError, match="unknown key humidity in Run"):
        Run.from_json(json.dumps(row | {"humidity": 3}))
    del row["board"]
    with pytest.raises(ReportError, match="no board in Run"):
        Run.from_json(json.dumps(row))


def test_a_row_that_does_not_hold_what_its_types_say_is_not_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "runs.jsonl")
    with pytest.raises(ReportError, match=r"cycles\.1: 2\.5 is float, must be int"):
        recorder.append(sample_run(cycles=(1, 2.5)))
    assert (tmp_path / "runs.jsonl").read_bytes() == b""


def test_rows_of_a_process_that_is_killed_at_once_are_all_there(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from esp_hil.results.journal import Recorder;"
        "from tests.report.samples import a_night;"
        "r = Recorder(Path(sys.argv[1])); [r.append(run) for run in a_night()]; os._exit(9)"
    )
    path = tmp_path / "new" / "runs.jsonl"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=root, check=False)
    assert done.returncode == 9
    assert list(read_runs(path).runs) == a_night()


def test_append_syncs_every_row_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    path = tmp_path / "runs.jsonl"
    monkeypatch.setattr(os, "fsync", lambda _fd: synced.append(path.stat().st_size))
    recorder = Recorder(path)
    for run in a_night()[:2]:
        recorder.append(run)
    assert len(synced) == 2
    assert synced[1] == path.stat().st_size


@settings(max_examples=60)
@given(data=st.data())
def test_a_file_cut_anywhere_keeps_all_rows_before_the_cut(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = [run.to_json().encode() + b"\n" for run in a_night()[:2]]
    cut = data.draw(st.integers(len(lines[0]), len(lines[0]) + len(lines[1])))
    path = tmp_path_factory.mktemp("cut") / "runs.jsonl"
    path.write_bytes(b"".join(lines)[:cut])
    found = read_runs(path)
    complete = 2 if cut >= len(lines[0]) + len(lines[1]) - 1 else 1
    assert list(found.runs) == a_night()[:complete]
    torn = complete == 1 and cut > len(lines[0])
    assert len(found.warnings) == torn
    if torn:
        assert ":2: row torn or damaged, left out" in found.warnings[0]


def test_a_new_row_after_a_torn_one_gets_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    first, second, third = a_night()[:3]
    path.write_bytes(first.to_json().encode() + b"\n" + second.to_json().encode()[:500])
    Recorder(path).append(third)
    found = read_runs(path)
    assert list(found.runs) == [first, third]
    assert len(found.warnings) == 1


def test_zeros_left_by_a_power_cut_are_a_torn_row(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_bytes(sample_run().to_json().encode() + b"\n" + bytes(4096))
    found = read_runs(path)
    assert len(found.runs) == 1
    assert "(4096 bytes)" in found.warnings[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"hello\n", ":1: not JSON"),
        (b'{"rows": 3}\n', ":1: not a row of esp-hil: no schema"),
        (b"[1]\n", "not a row of esp-hil"),
        (b"\xff\xfe\n", ":1: not text"),
        (b"", "no complete row in"),
        (b'{"schema":2,"sim', "no complete row in"),
    ],
)
def test_a_file_of_something_else_is_one_error_with_its_line(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_bytes(text)
    with pytest.raises(ReportError) as caught:
        read_runs(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_all_its_files_of_rows(tmp_path: Path) -> None:
    first, second = a_night()[:2]
    Recorder(tmp_path / "runs-gw1.jsonl").append(second)
    Recorder(tmp_path / "runs-gw0.jsonl").append(first)
    assert list(read_runs(tmp_path).runs) == [first, second]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReportError, match=r"no runs\.jsonl in .*empty"):
        read_runs(tmp_path / "empty")
    with pytest.raises(ReportError, match="cannot read"):
        read_runs(tmp_path / "absent.jsonl")


def test_a_folder_that_cannot_be_written_is_a_one_line_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ReportError) as caught:
        Recorder(tmp_path / "file" / "runs.jsonl")
    assert "cannot write" in str(caught.value)
    assert "--hil-results" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_a_report_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full to stand for a full disk")
    with pytest.raises(ReportError, match="No space left"):
        Recorder(Path("/dev/full")).append(sample_run())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.BuildError("x"), "build"),
        (errors.FlashError("x"), "flash"),
        (errors.LinkTimeout("x", step="boot"), "boot"),
        (errors.LinkTimeout("x", step="infer"), "timeout"),
        (errors.LinkClosed("x"), "link"),
        (errors.WireError("x"), "link"),
        (errors.HandshakeError("x"), "handshake"),
        (errors.DeviceFault("x", status=14), "out_of_memory"),
        (errors.DeviceFault("x", status=13), "load"),
        (errors.DeviceFault("x", status=1), "other"),
        (errors.DeviceReset("x"), "reset"),
        (errors.DeviceCrashed("x"), "crash"),
        (errors.GoldenError("x", step="load"), "load"),
        (errors.GoldenError("x"), "other"),
    ],
)
def test_every_error_has_its_class_of_failure(error: HilError, kind: str) -> None:
    assert Failure.of(error) == Failure(kind=kind, message="x", step=error.step)  # type: ignore[arg-type]


def test_a_failure_names_its_step_and_its_board_in_places_of_their_own() -> None:
    error = errors.LinkTimeout("nothing came", step="load", board="desk-s3", hint="is it plugged in?")
    failed = replace(sample_run(), verdict=None, failure=Failure.of(error))
    assert failed.failure_words == "timeout in load: nothing came (is it plugged in?)"
    same = errors.HandshakeError("another chip", step="handshake", board="desk-s3")
    assert replace(failed, failure=Failure.of(same)).failure_words == "handshake: another chip"


def test_rows_that_cannot_be_read_are_left_out_when_asked_and_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    good = sample_run()
    path.write_text(good.to_json() + "\n" + '{"schema":1,"model":"old"}' + "\nnot a row\n", encoding="ascii")
    with pytest.raises(ReportError, match="--skip-damaged leaves it out"):
        read_runs(path)
    found = read_runs(path, skip_damaged=True)
    assert found.runs == (good,)
    assert [":2: " in found.warnings[0], ":3: " in found.warnings[1]] == [True, True]


def test_a_row_that_stands_there_twice_counts_once(tmp_path: Path) -> None:
    run = sample_run()
    for name in ("runs.jsonl", "runs-copy.jsonl"):
        (tmp_path / name).write_text(run.to_json() + "\n", encoding="ascii")
    found = read_runs(tmp_path)
    assert found.runs == (run,)
    assert "more than once" in found.warnings[0]


def test_what_a_row_is_made_of_cannot_be_changed_and_is_told_by_name() -> None:
    made = [kind for kind in vars(record).values() if isinstance(kind, type) and is_dataclass(kind)]
    own = [kind for kind in made if kind.__module__ == record.__name__]
    assert {Run, Addendum} <= set(own)
    for kind in own:
        parameters = kind.__dataclass_params__  # type: ignore[attr-defined]
        assert parameters.frozen, kind
        assert "__slots__" in vars(kind), kind
        assert all(field.kw_only for field in fields(kind)), kind
