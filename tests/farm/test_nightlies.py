"""Two nightlies on one farm, and boards whose runs are killed: `tox run -e proof-farm` in small."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from esp_hil.virtual.faults import EngineFaults
from tests.farm import bench, prove
from tests.farm.bench import farm, needs_labgrid
from tests.results.history import postgres


@needs_labgrid
@pytest.mark.skipif(bool(postgres.why_not()), reason=postgres.why_not() or "there is a server")
@pytest.mark.timeout(600)
def test_two_nightlies_share_a_farm_of_which_a_machine_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards = prove.boards_of(4)
    with postgres.server() as history, farm(tmp_path, boards, machines=2) as rack:
        monkeypatch.setenv("HIL_LABGRID", rack.address)
        nights, _ = prove.two_nights(rack, tmp_path, history, workers=2, dies="rack1")
        prove.judged(rack, nights, "rack1")
        bench.wait_until_free(rack.address, tuple(boards))


@needs_labgrid
@pytest.mark.timeout(300)
def test_places_whose_runs_are_killed_are_neither_lost_nor_given_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards = prove.boards_of(2)
    with farm(tmp_path, boards) as rack:
        monkeypatch.setenv("HIL_LABGRID", rack.address)
        prove.cycled(prove.PLACE, tmp_path / "log", cycles=6, boards=2, seed=os.getpid(), workers=2)
        bench.wait_until_free(rack.address, tuple(boards))


@needs_labgrid
@pytest.mark.timeout(300)
def test_a_night_whose_session_is_killed_frees_its_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards = prove.boards_of(2)
    # an inference takes longer than the test: they are killed in the middle of one
    with farm(tmp_path, boards, engine=EngineFaults(delay_s=20)) as rack:
        monkeypatch.setenv("HIL_LABGRID", rack.address)
        one = prove.night(tmp_path / "night", list(boards), workers=2, history=str(tmp_path / "h.sqlite"))
        try:
            bench.wait_until(rack.address, lambda held: set(held) == set(boards), 120)
        finally:
            one.process.kill()
            one.process.wait()
        bench.wait_until_free(rack.address, tuple(boards), 60)
