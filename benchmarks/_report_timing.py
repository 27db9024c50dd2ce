"""How long a report takes to make and to show, and how that compares with another commit's.

`made` is the time of `write_reports(..., formats=["html"])` from rows in memory, `of CPU` what of it was this
process's own; `read` is reading the rows from their file, which `hil report` does before. `first paint` is what
Chromium itself reports for the page; `ready` is when the table stands. Each page is made in a process of its
own. With two checkouts their rounds alternate (A B, B A, ...), so that both see the same load, and the ratio is
that of the medians of CPU time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from esp_hil.errors import ConfigError
from tests.report.browser import Browser, browser, program

ROOT = Path(__file__).parents[1]
WORKER = Path(__file__).with_name("_report_worker.py")
PAINT = "performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)[0] ?? null"
READY = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page that was made and shown: seconds and bytes; None without a browser."""

    made: float
    cpu: float
    read: float
    bytes: int
    paint: float | None = None
    ready: float | None = None


def python_of(checkout: Path) -> str:
    """The interpreter that has a checkout's packages: its own .venv's, or else this one."""
    found = [checkout / ".venv" / name for name in ("bin/python", "Scripts/python.exe")]
    return next((str(path) for path in found if path.exists()), sys.executable)


def measure(checkout: Path, count: int) -> Page:
    """Make a page of so many rows and show it.

    Raises:
        ConfigError: the checkout could not make one.
    """
    with tempfile.TemporaryDirectory() as name:
        command = [python_of(checkout), str(WORKER), str(checkout), str(count), name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=name)
        if done.returncode:
            raise ConfigError(f"{checkout} made no page: {(done.stderr.strip() or '?').splitlines()[-1]}")
        paint, ready = shown(Path(name) / "report.html")
        return Page(**json.loads(done.stdout.splitlines()[-1]), paint=paint, ready=ready)


def shown(page: Path) -> tuple[float | None, float | None]:
    """First contentful paint and end of loading, in s after the navigation began; None without a browser."""
    if program() is None:
        return None, None
    with browser() as tab:
        tab.size(1280, 900)
        tab.open(page)
        until = time.monotonic() + 20
        while (paint := tab.run(PAINT)) is None and time.monotonic() < until:
            time.sleep(0.1)
        return (None if paint is None else paint / 1000), _ready(tab)


def _ready(tab: Browser) -> float:
    ready: float = tab.run(READY)
    return ready / 1000


def main(args: Namespace) -> None:
    """Print a line for each number of rows and checkout, and the ratios."""
    checkouts = [ROOT, *([args.beside] if args.beside else [])]
    print(
        f"{'rows':>8} {'made':>8} {'of CPU':>8} {'read':>8} {'page':>9} {'paint':>8} {'ready':>8} {'load':>5}"
    )
    for count in args.rows:
        pages: dict[Path, list[Page]] = {checkout: [] for checkout in checkouts}
        for number in range(args.rounds):
            for checkout in checkouts if number % 2 == 0 else reversed(checkouts):
                page = measure(checkout, count)
                pages[checkout].append(page)
                print(f"{count:8d} {_words(page)} {os.getloadavg()[0]:5.1f}  {checkout.name}", flush=True)
        if args.beside:
            print(f"{count:8d} {_ratios(pages[ROOT], pages[args.beside])}", flush=True)


def _words(page: Page) -> str:
    browsed = " ".join(
        f"{value:6.2f} s" if value is not None else "     - s" for value in (page.paint, page.ready)
    )
    return f"{page.made:6.2f} s {page.cpu:6.2f} s {page.read:6.2f} s {page.bytes / 1e6:6.1f} MB {browsed}"


def _ratios(mine: list[Page], other: list[Page]) -> str:
    made, size = (
        median(getattr(page, name) for page in mine) / median(getattr(page, name) for page in other)
        for name in ("cpu", "bytes")
    )
    each = [one.cpu / two.cpu for one, two in zip(mine, other, strict=True)]
    return f"made x{made:.2f} (rounds {min(each):.2f} to {max(each):.2f}), size x{size:.3f} of the other's"
