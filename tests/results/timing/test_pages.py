"""Pages of where the time goes: those in docs/time are what is predicted today, and say what they should."""

from __future__ import annotations

import pytest

from esp_hil.cli import main
from esp_hil.models import catalogue
from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.results.timing.forecast import forecast
from esp_hil.results.timing.page import changes_for, clip_nodes, page
from esp_hil.results.timing.setup import setup_of
from esp_hil.targets import target
from tests.results.timing.make_pages import FOLDER, pages

PAGES = pages()
S3 = target("esp32s3")


def gesture(recipe: str) -> DeviceFile:
    return open_device_file(catalogue.load("gesture").artifact(recipe, "esp32s3"))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_docs_is_what_is_predicted_today(name: str) -> None:
    remade = "if that is meant: python -m tests.results.timing.make_pages"
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name], remade


def test_no_page_of_docs_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


def test_what_a_published_figure_owes_to_each_setting_is_told_and_what_remains() -> None:
    told = PAGES["gesture-esp32s3.md"]
    assert "## Published: 126 ms" in told
    assert "| psram octal40 |" in told
    assert "Its settings do not explain it" in told
    assert "Its settings do not explain it" in PAGES["mnist-esp32p4.md"]


def test_a_clip_behind_a_convolution_is_a_relu_that_costs_nothing() -> None:
    """The equalized recipe has Relu in place of Clip: what the page promises is what that file is predicted to take."""
    file = gesture("w8a8")
    assert len(clip_nodes(file)) == 9
    assert not clip_nodes(gesture("equalized"))
    promised = next(change for change in changes_for(file, S3, forecast(file, S3)) if "Relu" in change.what)
    assert promised.of_model
    assert promised.ms == pytest.approx(forecast(gesture("equalized"), S3).ms, rel=0.05)


def test_settings_that_are_slow_are_the_changes_that_are_named() -> None:
    file = gesture("w8a8")
    setup = setup_of(S3, psram="octal40", optimize="Og", clock_hz=160_000_000)
    said = [change.what for change in changes_for(file, S3, forecast(file, S3, setup=setup))]
    assert "run at 240 MHz" in said
    assert "run the PSRAM in mode octal80 instead of octal40" in said
    plain = [change.what for change in changes_for(file, S3, forecast(file, S3))]
    assert not any("PSRAM" in what or "MHz" in what for what in plain)


def test_shares_of_the_parts_sum_to_a_whole() -> None:
    text = page("x", gesture("w8a8"), S3, forecast(gesture("w8a8"), S3))
    table = text.split("| part | ms | share |")[1].split("| node |")[0]
    assert sum(int(line.split("|")[3].strip(" %")) for line in table.splitlines() if "%" in line) in range(
        98, 103
    )


def test_the_command_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "gesture", "--target", "esp32s3", "--page"]) == 0
    assert capsys.readouterr().out.startswith("# gesture on esp32s3")
