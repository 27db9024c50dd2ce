"""How much more eight boards do than one, where the engine is not the bottleneck.

    nice hil bench boards [--boards 8] [--seconds 15]

Each board is a process of its own, and so is what talks to it, as with pytest-xdist. The engine is slowed to
the pace of a chip (`delay_s`), so that this machine's cores are not what is measured. Start-up is left out:
all boards are ready before the clock starts.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import time
from multiprocessing.synchronize import Barrier
from typing import Any

from esp_hil.models import catalogue
from esp_hil.session.board_session import open_session
from esp_hil.session.prepared_board import PreparedBoard
from esp_hil.targets import target
from esp_hil.virtual import EngineFaults, FaultPlan


def one_board(delay_s: float, seconds: float, ready: Barrier, answers: Any) -> None:  # noqa: ANN401
    """Infer for so long, and tell how many inferences were done in which time."""
    chip = target("esp32p4")
    model = catalogue.load("mnist")
    faults = FaultPlan(engine=EngineFaults(delay_s=delay_s))
    with open_session(chip, board="virtual", faults=faults) as session:
        prepared = PreparedBoard(session, model, model.recipe("w8a8"))
        prepared.prepare()
        prepared.infer_first()
        ready.wait()
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            prepared.infer_first()
            done += 1
        answers.put(done / (time.perf_counter() - start))


def rate(boards: int, delay_s: float, seconds: float) -> float:
    """Inferences per second of all boards together."""
    context = mp.get_context("spawn")
    ready, answers = context.Barrier(boards), context.Queue()
    workers = [
        context.Process(target=one_board, args=(delay_s, seconds, ready, answers)) for _ in range(boards)
    ]
    for worker in workers:
        worker.start()
    total = sum(answers.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join()
    return float(total)


def main(args: argparse.Namespace) -> None:
    """Print both rates and their ratio."""
    one = rate(1, args.delay_s, args.seconds)
    many = rate(args.boards, args.delay_s, args.seconds)
    print(
        f"1 board {one:.3f} inferences/s, {args.boards} boards {many:.3f}: "
        f"{many / one:.2f} times (load {os.getloadavg()[0]:.1f})"
    )
