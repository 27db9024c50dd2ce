"""A short run of the fuzzer; the long one is `python -m tests.fuzz.fuzz_espdl --count 200000`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="the fuzzer limits memory and time by POSIX means")

from tests.fuzz.fuzz_espdl import Fuzzer, files_of


def test_damaged_files_end_in_an_answer_or_a_typed_error(tmp_path: Path) -> None:
    fuzzer = Fuzzer(files_of(None), seed=7, keep=tmp_path, wanted=("plan", "lint"))
    for index in range(1500):
        fuzzer.step(index)
    assert [path.read_text() for path in tmp_path.glob("*.txt")] == []
    assert fuzzer.counts["read ok"] > 300
    assert fuzzer.counts["read FormatError"] > 300


def test_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    fuzzer = Fuzzer(files_of(None), seed=7, keep=tmp_path, wanted=())
    for index in (0, 1, 17):
        first, second = (fuzzer.made(index, random.Random(index)) for _ in range(2))
        assert first == second


def test_fuzzer_keeps_what_it_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> object:
        raise KeyError(len(arguments) + len(options))

    fuzzer = Fuzzer(files_of(None), seed=7, keep=tmp_path, wanted=("plan",))
    monkeypatch.setattr("tests.fuzz.fuzz_espdl.read_espdl", broken)
    fuzzer.step(0)
    assert fuzzer.failures == 1
    assert "KeyError" in (tmp_path / "7-0.txt").read_text()
    assert (tmp_path / "7-0.espdl").read_bytes()[:3] == b"EDL"
