"""How long a report takes to make and to show, at 1,000, 10,000 and 100,000 rows.

    nice hil bench report [--rows 1000 10000 100000]

`made` is the time of `write_reports(..., formats=["html"])` from rows in memory; `read` that of reading the
rows from their file, which `hil report` does before. `first paint` is what Chromium itself reports for the
page; `ready` is when the table stands. The load of the machine is printed beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
from pathlib import Path

from esp_hil.report import write_reports
from esp_hil.results.journal import read_runs
from esp_hil.results.record import Run
from tests.report.browser import Browser, browser, program
from tests.report.samples import sample_run

PAINT = "performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)[0] ?? null"
READY = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


def rows(count: int) -> list[Run]:
    """Runs of 50 models on 20 boards, a fifth of them simulated, one in a hundred wrong."""
    made = [sample_run(seed=seed + 1, median_ms=1 + seed % 37) for seed in range(100)]
    wrong = sample_run(seed=101, wrong=3)
    virtual = [sample_run(seed=seed + 1, kind="virtual") for seed in range(20)]
    found = []
    for i in range(count):
        base = wrong if i % 100 == 99 else virtual[i % 20] if i % 5 == 0 else made[i % 100]
        stamp = f"2026-{1 + i // 28 % 12:02d}-{1 + i % 28:02d}T02:{i % 60:02d}:00Z"
        found.append(
            dataclasses.replace(
                base, run_id=f"{i:08d}", model=f"model-{i % 50}", board=f"board-{i % 20}", started_utc=stamp
            )
        )
    return found


def shown(tab: Browser, page: Path) -> tuple[float | None, float]:
    """First contentful paint and end of loading, in s after the navigation began."""
    tab.open(page)
    until = time.monotonic() + 20
    paint = tab.run(PAINT)
    while paint is None and time.monotonic() < until:
        time.sleep(0.1)
        paint = tab.run(PAINT)
    return (None if paint is None else paint / 1000), tab.run(READY) / 1000


def main(args: argparse.Namespace) -> None:
    """Print a line for each number of rows."""
    print(f"{'rows':>8} {'made':>8} {'of CPU':>8} {'read':>8} {'page':>9} {'paint':>8} {'ready':>8}   load")
    for count in args.rows:
        runs = rows(count)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            start, cpu = time.perf_counter(), time.process_time()
            page = write_reports(runs, folder, formats=["html"])["html"]
            made, used = time.perf_counter() - start, time.process_time() - cpu
            (folder / "runs.jsonl").write_text("".join(run.to_json() + "\n" for run in runs))
            start = time.perf_counter()
            read_runs(folder)
            read = time.perf_counter() - start
            paint = ready = None
            if program() is not None:
                with browser() as tab:
                    tab.size(1280, 900)
                    paint, ready = shown(tab, page)
            said = [f"{value:7.2f} s" if value is not None else "      - s" for value in (paint, ready)]
            size = page.stat().st_size / 1e6
            print(
                f"{count:8d} {made:6.2f} s {used:6.2f} s {read:6.2f} s {size:6.1f} MB {' '.join(said)}"
                f"   {os.getloadavg()[0]:.1f}",
                flush=True,
            )
