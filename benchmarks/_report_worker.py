"""Makes one page in a process of its own, by whatever checkout it is told, and says what that took.

    python -I benchmarks/_report_worker.py CHECKOUT ROWS FOLDER

The page is FOLDER/report.html; figures go to stdout as JSON. The rows come from this file and from the
checkout's own `tests/report/samples.py`, so that two checkouts draw the same runs. Commits from before the
package was called esp_hil are understood: it was `harness` then, at the checkout's top.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(checkout: Path) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """`sample_run`, `write_reports` and `read_runs` of a checkout.

    Raises:
        SystemExit: another installed copy would be measured in its place.
    """
    new = (checkout / "harness" / "esp_hil").is_dir()
    sys.path[:0] = [str(checkout / "harness"), str(checkout)] if new else [str(checkout)]
    name = "esp_hil" if new else "harness"
    package = importlib.import_module(name)
    if not Path(str(package.__file__)).resolve().is_relative_to(checkout.resolve()):
        sys.exit(f"{name} comes from {package.__file__}, not from {checkout}: give it a .venv of its own")
    return (
        importlib.import_module("tests.report.samples").sample_run,
        importlib.import_module(f"{name}.report").write_reports,
        importlib.import_module(f"{name}.results.journal" if new else f"{name}.running.journal").read_runs,
    )


def rows(count: int, sample_run: Callable[..., Any]) -> list[Any]:
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


def main(checkout: Path, count: int, folder: Path) -> None:
    """Make the page and print the figures."""
    sample_run, write_reports, read_runs = load(checkout)
    runs = rows(count, sample_run)
    start, cpu = time.perf_counter(), time.process_time()
    page = write_reports(runs, folder, formats=["html"])["html"]
    made, used = time.perf_counter() - start, time.process_time() - cpu
    file = folder / "runs.jsonl"
    file.write_text("".join(run.to_json() + "\n" for run in runs))
    start = time.perf_counter()
    read_runs(folder)
    read = time.perf_counter() - start
    file.unlink()
    print(json.dumps({"made": made, "cpu": used, "read": read, "bytes": page.stat().st_size}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
