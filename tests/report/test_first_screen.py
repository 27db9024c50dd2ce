"""What the page says in its first screen, in a real browser: on a desk and on a phone, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from esp_hil.report import write_reports
from esp_hil.results.record import Check, Run
from esp_hil.results.regress import Comparison, compare
from tests.report.browser import Browser
from tests.report.samples import failed_run, sample_run
from tests.report.test_outcomes import DIAGNOSIS, NUMERICS, SLOWER, diagnosed, slower, wrong

VISIBLE = """(() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const said = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (!node.parentElement.checkVisibility() || node.parentElement.closest("script")) continue;
    const cell = node.parentElement;
    if (getComputedStyle(cell).textOverflow === "ellipsis" && cell.scrollWidth > cell.clientWidth) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    const seen = box.top < innerHeight && box.bottom > 0 && box.width > 0 && box.left < innerWidth;
    if (seen) said.push(node.textContent.trim());
  }
  return said.join(" ").replace(/\\s+/g, " ");
})()"""
"""What can be read in the first screen: no text that is cut off with three dots."""

WIDTHS = {"desktop": (1280, 800), "phone": (390, 844)}
PAPERS = {"light": "rgb(246, 247, 249)", "dark": "rgb(16, 19, 23)"}
PANIC = "panic: LoadProhibited at 0x40080000"


@dataclass(frozen=True, kw_only=True)
class Night:
    """A page: its rows, and what its first screen says and does not say."""

    name: str
    runs: list[Run]
    says: tuple[str, ...]
    silent: tuple[str, ...] = ()
    comparison: Comparison | None = None


def fine(count: int) -> list[Run]:
    return [
        sample_run(model=f"net-{i}", seed=i + 1, target_name=("esp32p4", "esp32s3")[i % 2]).judged(NUMERICS)
        for i in range(count)
    ]


def worse_than_last_night() -> Night:
    base = [sample_run(model="slow"), *fine(5)]
    new = [
        replace(run, run_id=f"n-{run.run_id}", session_id="s2", started_utc="2026-03-15T02:00:00Z")
        for run in (sample_run(model="slow", median_ms=2.7), *fine(5))
    ]
    comparison = compare(base, new)
    (change,) = comparison.regressions
    check = Check(
        suite="regression",
        name="test_nothing_got_worse_than_the_baseline",
        outcome="failed",
        message=change.summary,
    )
    new[0] = new[0].judged(NUMERICS).judged(check)
    return Night(
        name="one worse than the baseline",
        runs=new,
        comparison=comparison,
        says=("WORSE than baseline: 1", "ok: 5", "✗ worse slow", "2.50", "2.70", "+8.0 %", "latency_ms"),
        silent=("broken", "wrong"),
    )


NIGHTS = (
    Night(
        name="all ok",
        runs=fine(6),
        says=("ok: 6", "6 runs", "✓ ok net-0", "bit-exact"),
        silent=("broken", "wrong", "WORSE", "failed", "✗", "!"),
    ),
    Night(
        name="one wrong with its diagnosis",
        runs=[*fine(5), diagnosed()],
        says=("wrong: 1", "ok: 5", "✗ wrong wrong-net", DIAGNOSIS),
        silent=("broken", "WORSE"),
    ),
    worse_than_last_night(),
    Night(
        name="26 rows, 2 of them broken",
        runs=[*fine(24), failed_run(model="down"), failed_run(model="dark", message=PANIC)],
        says=(
            "broken: 2",
            "ok: 24",
            "26 runs",
            "! broken down",
            "no answer within 2 s",
            "! broken dark",
            PANIC,
        ),
        silent=("wrong", "WORSE"),
    ),
    Night(
        name="everything at once",
        runs=[*fine(23), wrong(), slower(), failed_run(model="down")],
        says=("broken: 1", "wrong: 1", "WORSE than baseline: 1", "ok: 23", DIAGNOSIS, SLOWER.message),
    ),
)


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Night], Path]:
    """The page of a night, made once."""
    made: dict[str, Path] = {}

    def write(night: Night) -> Path:
        if night.name not in made:
            folder = tmp_path_factory.mktemp("night")
            files = write_reports(night.runs, folder, formats=["html"], comparison=night.comparison)
            made[night.name] = files["html"]
        return made[night.name]

    return write


@pytest.mark.parametrize("device", WIDTHS)
@pytest.mark.parametrize("look", PAPERS)
@pytest.mark.parametrize("night", NIGHTS, ids=lambda night: night.name)
def test_the_first_screen_says_what_is_wrong_and_why(
    tab: Browser, page_of: Callable[[Night], Path], night: Night, device: str, look: str
) -> None:
    tab.size(*WIDTHS[device], phone=device == "phone")
    tab.prefer(look)
    tab.open(page_of(night))
    said = tab.run(VISIBLE)
    for words in night.says:
        assert words in said, f"{words!r} is not in the first screen: {said}"
    for words in night.silent:
        assert words not in said, f"{words!r} in the first screen of a night without it: {said}"
    assert tab.run("document.documentElement.scrollWidth") <= WIDTHS[device][0], "it scrolls sideways"
    assert tab.run("getComputedStyle(document.body).backgroundColor") == PAPERS[look]


@pytest.mark.parametrize("device", WIDTHS)
def test_what_is_wrong_stands_above_what_is_ok(
    tab: Browser, page_of: Callable[[Night], Path], device: str
) -> None:
    tab.size(*WIDTHS[device], phone=device == "phone")
    tab.open(page_of(NIGHTS[-1]))
    said = tab.run(VISIBLE)
    places = [said.index(words) for words in ("broken: 1", "wrong: 1", "WORSE than baseline: 1", "ok: 23")]
    assert places == sorted(places)
    assert said.index("! broken down") < said.index("✗ wrong wrong-net") < said.index("✗ worse slow")


@pytest.mark.parametrize(("status", "model"), [("wrong", "wrong-net"), ("worse", "slow"), ("broken", "down")])
def test_a_tile_shows_only_its_runs(
    tab: Browser, page_of: Callable[[Night], Path], status: str, model: str
) -> None:
    tab.size(1280, 900)
    tab.open(page_of(NIGHTS[-1]))
    tab.run(f"document.querySelector('.only[data-status={status}]').click()")
    shown = tab.run("[...document.querySelectorAll('.row .model > span')].map(cell => cell.textContent)")
    assert shown == [model]
