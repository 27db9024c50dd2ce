"""`tox run -e proof-farm`: what a farm promises, on loopback.

    python -m tests.farm.prove nightlies    two at once on ten boards of three machines, one of which dies
    python -m tests.farm.prove leases       1,000 leases with random kills, and places of labgrid with random kills

`tests/farm/test_nightlies.py` and `test_cycles.py` are the same in small.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from esp_hil.errors import ReportError
from esp_hil.results.history import History
from esp_hil.results.journal import read_runs
from esp_hil.results.record import Run
from esp_hil.virtual.faults import EngineFaults
from tests.conftest import ROOT
from tests.farm import bench
from tests.farm.bench import Farm, farm
from tests.results.history import postgres

CHIPS = ("esp32s3", "esp32p4")
NIGHT_S = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """A run of the suites.

    Attributes:
        process: pytest.
        folder: of its results.
        log: what it says.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    log: Path

    def rows(self) -> tuple[Run, ...]:
        """Its rows so far."""
        try:
            return read_runs(self.folder).runs
        except ReportError:
            return ()  # none yet

    def end(self) -> str:
        """Wait for its end; what it said."""
        self.process.wait(NIGHT_S)
        return self.log.read_text(encoding="utf-8")


def boards_of(count: int) -> dict[str, str]:
    """Places with their chips, in turn."""
    return {f"b{number}": CHIPS[number % len(CHIPS)] for number in range(count)}


def night(
    folder: Path, places: Sequence[str], *, workers: int, history: str, more: Sequence[str] = ()
) -> Night:
    """Start one on places of the farm."""
    command = [
        *(sys.executable, "-m", "pytest", "suites/test_numerics.py", "-q", "-p", "no:cacheprovider"),
        *("--target", ",".join(CHIPS), "--hil-board", ",".join(f"labgrid:{name}" for name in places)),
        *("-n", str(workers), "--hil-wait", "20m", "--skip-autoflash", "y", "--hil-model", "mnist"),
        *("--hil-recipe", "w8a8", "--hil-inputs", "2", "--hil-runs", "3", "--hil-history", history),
        *("--hil-results", str(folder), *more),
    ]
    log = folder.with_suffix(".log")
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
        )
    return Night(process=process, folder=folder, log=log)


def interval(run: Run) -> tuple[datetime, datetime]:
    """When a run had its board."""
    began = datetime.fromisoformat(run.started_utc)
    return began, began + timedelta(seconds=run.duration_s)


def at_the_same_time(rows: Sequence[Run]) -> list[str]:
    """Boards that two rows had at the same time; rows of boards that could not be opened had none."""
    found = []
    for board in sorted({run.board for run in rows}):
        times = sorted((*interval(run), run.run_id) for run in rows if run.board == board and run.custody)
        found += [f"{board}: {one} {other}" for one, other in pairwise(times) if one[1] > other[0]]
    return found


def combinations(rows: Sequence[Run]) -> Counter[tuple[str, str, str]]:
    """How often each model, recipe and board has a row that counts."""
    return Counter((run.model, run.recipe, run.board) for run in rows if run.attempt == 1)


def two_nights(
    rack: Farm, folder: Path, history: str, *, workers: int, dies: str = ""
) -> tuple[list[Night], float]:
    """Two at once; `dies` is the machine that is killed when half of all rows are there."""
    began = time.monotonic()
    names = list(rack.boards)
    nights = [
        night(folder / "one", names, workers=workers, history=history),
        night(folder / "other", names, workers=workers, history=history),
    ]
    try:
        while dies and any(one.process.poll() is None for one in nights):
            if sum(len(one.rows()) for one in nights) >= len(names):
                rack.kill(dies)
                break
            time.sleep(0.1)
        for one in nights:
            one.end()
    finally:
        for one in nights:
            one.process.kill()
            one.process.wait()
    return nights, time.monotonic() - began


def judged(rack: Farm, nights: Sequence[Night], dies: str) -> dict[str, int]:
    """What has to hold of two nights; the number of rows by what became of them.

    Raises:
        AssertionError: it does not hold; with what the nights said.
    """
    said = "\n".join(one.end() for one in nights)
    rows = [run for one in nights for run in one.rows()]
    assert at_the_same_time(rows) == [], said
    lost = {name for name, machine in rack.machine_of.items() if machine == dies}
    for one in nights:
        # a row of a board that was gone before it was opened has the name that was asked for, which is the same
        assert {board for _, _, board in combinations(one.rows())} == {
            f"labgrid:{name}" for name in rack.boards
        }, said
        assert set(combinations(one.rows()).values()) == {1}, said
    broken = [run for run in rows if run.failure is not None]
    for run in broken:
        assert run.board.removeprefix("labgrid:") in lost, f"{run.title}: {run.failure}\n{said}"
        assert dies in f"{run.failure}", f"{run.title}: {run.failure}"
    well = [run for run in rows if run.board.removeprefix("labgrid:") not in lost]
    assert all(run.passed for run in well), said
    assert len(well) == 2 * (len(rack.boards) - len(lost)), said
    return {"rows": len(rows), "broken and name the machine": len(broken)}


def nightlies(args: argparse.Namespace) -> None:
    """Print what was proved, and the times."""
    reason = bench.why_not() or postgres.why_not()
    assert not reason, reason
    engine = EngineFaults(delay_s=args.delay)
    boards = boards_of(args.boards)
    for machines, dies, workers in ((3, "rack1", args.workers), (3, "", args.workers), (1, "", 1)):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            history = stack.enter_context(postgres.server())
            rack = stack.enter_context(farm(folder, boards, machines=machines, engine=engine))
            os.environ["HIL_LABGRID"] = rack.address
            nights, seconds = two_nights(rack, folder, history, workers=workers, dies=dies)
            found = judged(rack, nights, dies)
            with History.open(history) as kept:
                there = len(tuple(kept.runs()))
            assert there == found["rows"], (there, found)
            bench.wait_until_free(rack.address, tuple(boards))
        print(
            f"{machines} machine(s), {workers} worker(s) a night{f', {dies} killed' if dies else ''}: two nights of "
            f"{len(boards)} boards in {seconds:.0f} s; {found}; PostgreSQL has {there} rows; no board twice at a time",
            flush=True,
        )


LEASE = """
import os, random, sys, time
from esp_hil.boards.lease import acquire
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
chance = random.Random(int(sys.argv[2]))
boards, cycles = int(sys.argv[3]), int(sys.argv[4])
for _ in range(cycles):
    board = chance.randrange(boards)
    held = acquire(f"/dev/ttyX{board}", "desk", wait_s=120)
    os.write(log, f"{board} {os.getpid()} has\\n".encode())
    time.sleep(chance.random() / 100)
    # what is written before the end stands before what the next one writes
    os.write(log, f"{board} {os.getpid()} gone\\n".encode())
    if chance.random() < 0.1:
        os.kill(os.getpid(), 9)
    held.release()
"""

PLACE = """
import os, random, sys, time
from esp_hil.boards.labgrid import acquire
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
chance = random.Random(int(sys.argv[2]))
for _ in range(int(sys.argv[4])):
    held = acquire({"target": chance.choice(["esp32s3", "esp32p4"])}, "desk", wait_s=300)
    name = held.place.name
    os.write(log, f"{name} {os.getpid()} has\\n".encode())
    time.sleep(chance.random() / 10)
    os.write(log, f"{name} {os.getpid()} gone\\n".encode())
    if chance.random() < 0.2:
        os.kill(os.getpid(), 9)
    held.release()
"""


def cycled(script: str, log: Path, *, cycles: int, boards: int, seed: int, workers: int = 4) -> int:
    """Processes that take boards and are killed, until there were so many cycles; how many were killed.

    Some kill themselves with a board in their hands, some are killed whatever they do just then.

    Raises:
        AssertionError: a board had two owners at once.
    """
    log.touch()
    chance, killed = random.Random(seed), set[int]()

    def start() -> subprocess.Popen[bytes]:
        arguments = [str(log), str(chance.randrange(2**31)), str(boards), "20"]
        return subprocess.Popen([sys.executable, "-c", script, *arguments])

    running = [start() for _ in range(workers)]
    try:
        while running:
            if chance.random() < 0.02:
                chance.choice(running).kill()
            for process in list(running):
                if process.poll() is None:
                    continue
                assert process.returncode in {0, -signal.SIGKILL}, process.returncode
                killed |= {process.pid} if process.returncode else set()
                running.remove(process)
                if done(log) < cycles:
                    running.append(start())
            time.sleep(0.02)
    finally:
        for process in running:
            process.kill()
            process.wait()
    owners: dict[str, str] = {}
    for line in log.read_text(encoding="ascii").splitlines():
        board, owner, what = line.split()
        if what == "has":
            # one that was killed in the middle had no time to write
            assert int(owners.get(board, 0)) in {0, *killed}, (
                f"{board}: {owner} has it, {owners[board]} as well"
            )
            owners[board] = owner
        else:
            assert owners.pop(board, "") == owner, line
    return len(killed)


def done(log: Path) -> int:
    """Cycles so far."""
    return log.read_text(encoding="ascii").count("has")


def leases(args: argparse.Namespace) -> None:
    """Print how many, and that none was lost or given twice."""
    from esp_hil.boards.lease import acquire

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HIL_LOCKS"] = str(folder / "locks")
        began = time.monotonic()
        killed = cycled(LEASE, folder / "leases", cycles=args.cycles, boards=5, seed=1)
        for board in range(5):
            acquire(f"/dev/ttyX{board}", "desk").release()
        print(
            f"leases: {done(folder / 'leases')} cycles of 5 boards, {killed} processes killed: 0 lost, 0 double, "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
        reason = bench.why_not()
        assert not reason, reason
        boards = boards_of(4)
        with farm(folder, boards, machines=2) as rack:
            os.environ["HIL_LABGRID"] = rack.address
            began = time.monotonic()
            killed = cycled(PLACE, folder / "places", cycles=args.places, boards=4, seed=2)
            bench.wait_until_free(rack.address, tuple(boards))
            print(
                f"labgrid: {done(folder / 'places')} cycles of 4 places, {killed} processes killed: 0 lost, "
                f"0 double, {time.monotonic() - began:.0f} s",
                flush=True,
            )


def main() -> None:
    """Prove one of them, or both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", default=["leases", "nightlies"])
    parser.add_argument("--boards", type=int, default=10)
    parser.add_argument("--workers", type=int, default=3, help="of a night")
    parser.add_argument("--delay", type=float, default=0.5, help="seconds of an inference (default 0.5)")
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--places", type=int, default=100)
    args = parser.parse_args()
    for name in args.what:
        {"leases": leases, "nightlies": nightlies}[name](args)


if __name__ == "__main__":
    main()
