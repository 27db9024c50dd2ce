"""The page in a real browser: it sorts, filters, compares, obeys keys, and shows what it should."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp_hil.report import write_reports
from esp_hil.results.history import HistoryLine, lines_of
from esp_hil.results.metrics import latency_of
from esp_hil.results.record import Layer, Run
from tests.report.browser import Browser
from tests.report.png import pixels, share
from tests.report.samples import a_night, sample_run
from tests.report.test_formats import EVIL
from tests.results.history.test_lines import nights

PAPER, PAPER_DARK = "#f6f7f9", "#101317"
ACCENT, SIM, BAD, OK = "#1f5fd0", "#6b3fa0", "#b3261e", "#14743a"
GERMAN = "Prüfling <b>&amp; Söhne"


@pytest.fixture(autouse=True)
def quiet(tab: Browser) -> Iterator[None]:
    """A wide light window for each test; no script may have failed at its end."""
    tab.size(1280, 900)
    tab.prefer("light")
    tab.scripts(True)
    tab.complaints.clear()
    yield
    assert tab.complaints == []


def page(tmp_path: Path, runs: list[Run], **more: Any) -> Path:
    return write_reports(runs, tmp_path, formats=["html"], **more)["html"]


def column(tab: Browser, key: str) -> list[str]:
    """What the cells of a column read, from the top."""
    code = f"[...document.querySelectorAll('.row .{key} > span')].map(cell => cell.textContent)"
    found: list[str] = tab.run(code)
    return found


def text(tab: Browser, selector: str) -> str:
    found: str = tab.run(f"document.querySelector({json.dumps(selector)}).textContent")
    return found


def focus(tab: Browser, name: str) -> None:
    tab.run(f"document.getElementById('{name}').focus()")


def many() -> list[Run]:
    """Twelve runs of three models on two boards, each with a latency of its own."""
    return [
        sample_run(
            model=("kws", "mnist", GERMAN)[i % 3],
            target_name=("esp32s3", "esp32p4")[i % 2],
            median_ms=1.0 + (i * 7) % 12,
            seed=i + 1,
            wrong=3 if i == 4 else 0,
        )
        for i in range(12)
    ]


def test_all_rows_are_there_and_the_count_says_so(tab: Browser, tmp_path: Path) -> None:
    tab.open(page(tmp_path, a_night()))
    assert column(tab, "status") == ["! broken", "✗ wrong", "✓ ok", "✓ ok", "✓ ok", "✓ ok"]
    assert text(tab, "#count") == "6 runs"
    assert tab.run("document.querySelectorAll('.row .sim').length") == 6  # board, latency, arena of two
    assert tab.run("document.querySelector('#plainrows')") is None


def test_a_predicted_latency_has_one_mark_everywhere(tab: Browser, tmp_path: Path) -> None:
    run = sample_run(kind="virtual")
    latency = latency_of(run)
    assert latency is not None
    told = dataclasses.replace(run, predicted={**run.predicted, "latency_ms": (latency.median_ms, "ms")})
    tab.open(page(tmp_path, [told]))
    assert set(tab.run("[...document.querySelectorAll('abbr.sim')].map(mark => mark.textContent)")) == {
        "PRED"
    }
    assert "1 predicted" in text(tab, ".tiles")


def test_a_click_on_a_heading_sorts_up_then_down_then_not(tab: Browser, tmp_path: Path) -> None:
    tab.open(page(tmp_path, many()))
    before = column(tab, "median_ms")

    def values() -> list[float]:
        return [float(cell.split()[0]) for cell in column(tab, "median_ms")]

    click = "document.querySelector('button[data-sort=median_ms]').click()"
    tab.run(click)
    assert values() == sorted(values())
    assert tab.run("document.querySelector('.median_ms[aria-sort]').getAttribute('aria-sort')") == "ascending"
    tab.run(click)
    assert values() == sorted(values(), reverse=True)
    tab.run(click)
    assert column(tab, "median_ms") == before


def test_runs_without_a_figure_sort_last_either_way(tab: Browser, tmp_path: Path) -> None:
    path = page(tmp_path, a_night())
    for way in ("", "-"):
        tab.open(path, f"sort={way}median_ms")
        assert column(tab, "median_ms")[-1] == "–"


def test_the_search_takes_every_word_in_any_column(tab: Browser, tmp_path: Path) -> None:
    tab.open(page(tmp_path, many()))
    focus(tab, "q")
    tab.type("KWS s3")
    assert set(column(tab, "model")) == {"kws"}
    assert set(column(tab, "target")) == {"esp32s3"}
    assert text(tab, "#count") == "2 of 12 runs"
    hidden = tab.run("[...document.querySelectorAll('details[data-run]')].filter(card => card.hidden).length")
    assert hidden == 10
    tab.run("document.getElementById('clear').click()")
    assert text(tab, "#count") == "12 runs"


def test_models_and_boards_are_picked_from_lists(tab: Browser, tmp_path: Path) -> None:
    tab.open(page(tmp_path, many()))
    assert text(tab, "#sum-model") == "models (3)"
    tab.run("[...document.querySelectorAll('#pick-model input')].find(box => box.value === 'kws').click()")
    assert set(column(tab, "model")) == {"kws"}
    tab.run("document.querySelectorAll('#pick-board input')[0].click()")
    assert set(column(tab, "board")) == {"esp32p4-a"}
    assert "model=kws&board=esp32p4-a" in tab.run("location.hash")


def test_a_link_with_choices_opens_the_same_view(tab: Browser, tmp_path: Path) -> None:
    tab.open(page(tmp_path, many()), "status=wrong&sort=-median_ms&run=5")
    assert column(tab, "status") == ["✗ wrong"]
    assert tab.run("document.getElementById('run-5').open") is True


def test_the_keyboard_reaches_everything(tab: Browser, tmp_path: Path) -> None:
    tab.open(page(tmp_path, many()))
    tab.press("/")
    assert tab.run("document.activeElement.id") == "q"
    focus(tab, "view")
    for key in ("ArrowDown", "ArrowDown", "ArrowUp"):
        tab.press(key)
    assert tab.run("document.querySelector('.row.active').id") == "row-1"  # the wrong row comes first
    tab.press("End")
    assert tab.run("document.querySelector('.row.active').id") == "row-12"
    tab.press("Home")
    tab.press("ArrowDown")
    tab.press("Enter")
    assert tab.run("document.getElementById('run-1').open") is True
    assert tab.run("document.activeElement.tagName") == "SUMMARY"
    tab.press("Escape")
    assert tab.run("document.activeElement.id") == "view"
    assert tab.run("document.getElementById('run-1').open") is False


def with_layers(conv: int, fc: int, **changes: Any) -> Run:
    layers = (
        Layer(
            name="conv",
            operator="Conv",
            cycles=(conv,) * 3,
            macs=2_000_000,
            parameter_bytes=10,
            activation_bytes=10,
        ),
        Layer(
            name="fc",
            operator="Gemm",
            cycles=(fc,) * 3,
            macs=400_000,
            parameter_bytes=400_000,
            activation_bytes=10,
        ),
    )
    return sample_run(layers=layers, **changes)


def test_two_runs_are_compared_down_to_layers_and_configuration(tab: Browser, tmp_path: Path) -> None:
    fast, slow = with_layers(400_000, 90_000), with_layers(400_000, 300_000, median_ms=3.1, seed=2)
    assert slow.device is not None
    other = hashlib.sha256(b"other").hexdigest()
    slow = dataclasses.replace(slow, device=dataclasses.replace(slow.device, sdkconfig_sha256=other))
    assert fast.device is not None
    configs = {
        fast.device.sdkconfig_sha256: {"SPIRAM_SPEED": 80, "LOG_LEVEL": 3, "SAME": 1},
        other: {"SPIRAM_SPEED": 40, "LOG_LEVEL": 2, "SAME": 1},
    }
    tab.open(page(tmp_path, [fast, slow], configs=configs))
    focus(tab, "view")
    tab.press("a")
    tab.press("ArrowDown")
    tab.press("b")
    assert tab.run("document.getElementById('comparison').hidden") is False
    tables = tab.run(
        "[...document.querySelectorAll('.compared')].map(b => [...b.querySelectorAll('tr')].map(r =>"
        " [...r.children].map(c => c.textContent).join('|')))"
    )
    figures, layers, conditions, config = tables
    assert any(row.startswith("latency_ms|2.5") and "+2" in row for row in figures)
    assert layers[1] == "fc|0.250 ms|0.833 ms|+0.5833 (+233.3 %)"
    assert any(row.startswith("sdkconfig_sha256|") for row in conditions)
    assert config[1:] == ["SPIRAM_SPEED|80|40|clock of the PSRAM", "LOG_LEVEL|3|2|"]
    assert tab.run("location.hash") == "#a=1&b=2"


def test_hostile_names_stay_text_everywhere(tab: Browser, tmp_path: Path) -> None:
    evil = "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
    runs = [
        with_layers(1_000, 2_000, model=evil + name, board=evil, recipe=evil, wrong=2, seed=seed)
        for seed, name in enumerate(["", EVIL, "</script>", "]]>", "' onclick='x"], start=1)
    ]
    runs = [dataclasses.replace(run, labels=(evil,) * 3, confusion=((0, 1, 4), (1, 1, 2))) for run in runs]
    tab.open(page(tmp_path, runs), "a=1&b=2&run=3&q=" + "%3Cscript%3E")
    assert "owned" not in tab.run("document.title")
    assert tab.run("document.querySelectorAll('img').length") == 0
    assert tab.run("document.querySelectorAll('script').length") == 2
    assert column(tab, "model")[0].startswith("<script>document.title=")
    assert "<script>" in text(tab, "#title-a")


def test_the_page_is_usable_without_scripts(tab: Browser, tmp_path: Path) -> None:
    path = page(tmp_path, a_night())
    tab.scripts(False)
    tab.open(path)
    seen = tab.run("document.querySelector('#plainrows').offsetHeight")
    assert seen > 200
    assert tab.run("document.querySelector('#explore').offsetHeight") == 0
    assert tab.run("document.querySelectorAll('details[data-run]').length") == 6


def test_layers_show_what_limits_them_and_the_confusion_matrix_its_counts(
    tab: Browser, tmp_path: Path
) -> None:
    run = dataclasses.replace(
        with_layers(400_000, 200_000), labels=("zero", "one"), confusion=((0, 0, 7), (0, 1, 3), (1, 1, 9))
    )
    tab.open(page(tmp_path, [run]), "run=1")
    limits = tab.run(
        "[...document.querySelectorAll('.layers tr')].slice(1).map(r => r.lastElementChild.textContent)"
    )
    assert limits == ["compute", "memory"]
    used = tab.run("[...document.querySelectorAll('.layers .used')].map(c => c.textContent)")
    assert used == ["31.2 %", "12.5 %"]
    matrix = tab.run("[...document.querySelectorAll('.confusion tr')].map(r => r.textContent.trim())")
    assert matrix == ["zeroone", "zero73", "one9"]


def test_history_is_drawn_with_its_steps_in_words(tab: Browser, tmp_path: Path) -> None:
    lines: tuple[HistoryLine, ...] = lines_of(nights(40, 25), ["latency_ms"])
    tab.open(page(tmp_path, nights(2, 9), history=lines))
    assert tab.run("document.querySelectorAll('.timelines .series').length") == 1
    assert tab.run("document.querySelectorAll('.timelines .step.worse').length") == 1
    assert "latency_ms worse: 2.5" in text(tab, ".timelines .words.worse")
    tab.run("[...document.querySelectorAll('#pick-model input')][0].click()")
    assert tab.run("document.querySelector('.timelines li').hidden") is False


def test_the_picture_shows_rows_marks_and_colours(tab: Browser, tmp_path: Path) -> None:
    tab.open(page(tmp_path, a_night()))
    picture = pixels(tab.picture())
    assert picture.shape == (900, 1280, 3)
    assert share(picture, PAPER) > 0.2
    assert share(picture, "#ffffff") > 0.2  # the cards
    for colour in (SIM, BAD, OK):
        assert share(picture, colour) > 1e-4, colour
    top = tab.run("document.getElementById('view').getBoundingClientRect().top")
    height = tab.run("document.querySelector('.row').offsetHeight")
    rows = [picture[int(top + height * i) : int(top + height * (i + 1))] for i in range(6)]
    assert [share(row, BAD) > 1e-4 for row in rows] == [False, True, False, False, False, False]
    assert [share(row, SIM) > 1e-3 for row in rows] == [False, False, False, False, True, True]


def test_latency_bars_lie_where_the_axis_says(tab: Browser, tmp_path: Path) -> None:
    runs = [sample_run(median_ms=ms, board=f"b{ms}", seed=i) for i, ms in enumerate((1.0, 10.0, 100.0))]
    tab.open(page(tmp_path, runs))
    tab.run("document.querySelector('.strips').scrollIntoView({behavior: 'instant'})")
    picture = pixels(tab.picture())
    boxes = tab.run(
        "[...document.querySelectorAll('.strips .box')].map(b => { const r = b.getBoundingClientRect();"
        " return [r.left, r.top, r.width, r.height].map(Math.round); })"
    )
    places = []
    for left, top, width, height in boxes:
        box = picture[top : top + height, left : left + width].astype(int)
        blue = np.abs(box - np.array([0x1F, 0x5F, 0xD0])).max(axis=2) <= 8
        assert blue.any()
        places.append(float(np.flatnonzero(blue.any(axis=0)).mean()) / width)
    first, second = places[1] - places[0], places[2] - places[1]
    assert places == sorted(places)
    assert first == pytest.approx(second, rel=0.05)  # decades are equally long


def test_dark_and_light_follow_the_reader_and_the_button(tab: Browser, tmp_path: Path) -> None:
    path = page(tmp_path, a_night())
    tab.prefer("dark")
    tab.open(path)
    assert share(pixels(tab.picture()), PAPER_DARK) > 0.2
    tab.run("document.getElementById('theme').click()")
    assert share(pixels(tab.picture()), PAPER) > 0.2
    tab.prefer("light")
    tab.run("document.getElementById('theme').click()")
    assert share(pixels(tab.picture()), PAPER_DARK) > 0.2


def test_headings_go_sideways_with_their_columns_by_one_bar(tab: Browser, tmp_path: Path) -> None:
    tab.open(page(tmp_path, many()))
    grid = "document.querySelector('.grid')"
    assert tab.run(f"getComputedStyle({grid}).overflowX") == "hidden"
    left = "Math.round(document.querySelector('{}').getBoundingClientRect().left)"
    apart = f"{left.format('#head')} - {left.format('#spacer')}"
    assert tab.run(apart) == 0
    tab.run(f"{grid}.style.width = '40rem'")
    tab.run("document.querySelector('#view').scrollLeft = 120")
    tab.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert tab.run("document.querySelector('#view').scrollLeft") == 120
    assert tab.run(apart) == 0


def test_a_phone_needs_no_sideways_scrolling(tab: Browser, tmp_path: Path) -> None:
    runs = [*many(), sample_run(model="a_very_long_name_" * 8, board="/dev/serial/by-id/" + "usb-" * 20)]
    tab.size(390, 844, phone=True)
    tab.open(page(tmp_path, runs), "run=1")
    assert tab.run("document.documentElement.scrollWidth") <= 390
    assert tab.run(
        "document.querySelector('#view').scrollWidth <= document.querySelector('#view').clientWidth + 1"
    )
    visible = tab.run("[...document.querySelector('.row').children].filter(c => c.offsetWidth > 0).length")
    assert visible == 7
    tall = tab.run(
        "[...document.querySelectorAll('.row .cell')].every(c => !c.offsetHeight || c.offsetHeight < 40)"
    )
    assert tall is True


def test_ten_thousand_rows_exist_only_where_one_looks(tab: Browser, tmp_path: Path) -> None:
    base = sample_run()
    runs = [dataclasses.replace(base, run_id=str(i), model=f"m{i % 50}") for i in range(10_000)]
    tab.open(page(tmp_path, runs))
    assert text(tab, "#count") == "10000 runs"
    assert tab.run("document.querySelectorAll('.row').length") < 60
    focus(tab, "view")
    tab.press("End")
    assert tab.run("document.querySelector('.row.active').id") == "row-10000"
    tab.press("Enter")
    assert "has no details on this page" in text(tab, "#nodetails")
    focus(tab, "q")
    tab.type("m49")
    assert text(tab, "#count") == "200 of 10000 runs"
