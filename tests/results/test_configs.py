"""Configurations are kept beside the rows, and two of them say why one run is slower."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from esp_hil.cli import main
from esp_hil.errors import ReportError
from esp_hil.results.configs import Config, config_changes, keep_config, kept_configs
from esp_hil.results.journal import Recorder
from esp_hil.results.record import Run
from tests.report.samples import sample_run

FAST: Config = {"IDF_TARGET": "esp32p4", "SPIRAM_SPEED": 200, "SPIRAM_XIP_FROM_PSRAM": True, "APP_NAME": "a"}
SLOW: Config = {"IDF_TARGET": "esp32p4", "SPIRAM_SPEED": 80, "APP_NAME": "b"}


def build_of(folder: Path, values: Config) -> str:
    """A build folder with that configuration; its digest."""
    raw = json.dumps(values).encode()
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "sdkconfig.json").write_bytes(raw)
    return hashlib.sha256(raw).hexdigest()


def of_config(digest: str, factor: float = 1.0) -> Run:
    run = sample_run(median_ms=2.5 * factor)
    assert run.device is not None
    return dataclasses.replace(run, device=dataclasses.replace(run.device, sdkconfig_sha256=digest))


def results(tmp_path: Path, name: str, values: Config, factor: float) -> Path:
    digest = build_of(tmp_path / f"build-{name}", values)
    keep_config(tmp_path / name, tmp_path / f"build-{name}")
    Recorder(tmp_path / name / "runs.jsonl").append(of_config(digest, factor))
    return tmp_path / name


def test_a_configuration_comes_back_by_its_digest(tmp_path: Path) -> None:
    folder = results(tmp_path, "fast", FAST, 1.0)
    digest = hashlib.sha256(json.dumps(FAST).encode()).hexdigest()
    assert kept_configs(folder) == kept_configs(folder / "runs.jsonl") == {digest: FAST}


def test_a_build_without_configuration_leaves_nothing(tmp_path: Path) -> None:
    keep_config(tmp_path / "results", tmp_path)
    assert kept_configs(tmp_path / "results") == {}


def test_a_damaged_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "sdkconfig").mkdir()
    path = tmp_path / "sdkconfig" / "aa.json"
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(ReportError, match=r"aa\.json"):
            kept_configs(tmp_path)


def test_what_matters_most_comes_first_with_its_effect() -> None:
    lines = config_changes([of_config("x")], [of_config("y")], {"x": FAST, "y": SLOW})
    assert lines == [
        "esp32p4 espdl: CONFIG_SPIRAM_SPEED 200 -> 80  (clock of the PSRAM)",
        "esp32p4 espdl: CONFIG_SPIRAM_XIP_FROM_PSRAM on -> off  (code runs from PSRAM)",
        "esp32p4 espdl: CONFIG_APP_NAME a -> b",
    ]
    assert config_changes([of_config("x")], [of_config("y")], {"x": FAST}) == []
    assert config_changes([of_config("x")], [of_config("x")], {"x": FAST}) == []


def test_hil_compare_says_why_it_is_slower(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fast, slow = results(tmp_path, "fast", FAST, 1.0), results(tmp_path, "slow", SLOW, 1.5)
    assert main(["compare", str(fast), str(slow), "--across", "sdkconfig_sha256"]) == 1
    said = capsys.readouterr().out
    assert "WORSE   mnist w8a8 espdl on esp32p4: latency_ms" in said
    assert "config  esp32p4 espdl: CONFIG_SPIRAM_SPEED 200 -> 80  (clock of the PSRAM)" in said


def test_lines_to_the_flash_are_told_apart_though_esp_idf_calls_both_dio() -> None:
    quad: Config = {"ESPTOOLPY_FLASHMODE": "dio", "ESPTOOLPY_FLASHMODE_QIO": True}
    dual: Config = {"ESPTOOLPY_FLASHMODE": "dio", "ESPTOOLPY_FLASHMODE_DIO": True, "BOOTLOADER_WDT": True}
    lines = config_changes([of_config("q")], [of_config("d")], {"q": quad, "d": dual})
    assert [line.partition("CONFIG_")[2] for line in lines] == [
        "ESPTOOLPY_FLASHMODE_DIO off -> on  (two lines to the flash)",
        "ESPTOOLPY_FLASHMODE_QIO on -> off  (four lines to the flash)",
        "BOOTLOADER_WDT off -> on",
    ]
