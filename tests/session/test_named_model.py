"""What is typed for MODEL means the same to a command as to a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.errors import ConfigError, UnknownModel
from esp_hil.session.named_model import find, unknown
from esp_hil.session.task_networks import network_names
from esp_hil.targets import target

CHIP = target("esp32s3")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("mnst", "did you mean 'mnist'?"),
        ("face_detekt-msr", "did you mean 'face_detect-msr'?"),
        ("mlperf-tiny-kw", "HIL_MLPERF_TINY names the folder"),
        (
            "face_detect",
            "its networks are models: face_detect-msr, face_detect-mnp; hil task face_detect IMAGE",
        ),
        ("xyzzy", "there are: "),
    ],
)
def test_a_name_that_nothing_has_leads_to_the_one_that_was_meant(
    typed: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIL_MLPERF_TINY", raising=False)
    with pytest.raises(UnknownModel) as told:
        find(typed, chip=CHIP)
    assert said in told.value.hint


def test_a_session_says_of_a_misspelt_network_what_a_command_says() -> None:
    assert "did you mean 'cat-espdet_224'?" in unknown("cat-espdet_244").hint


def test_a_network_needs_the_folder_of_its_weights_and_a_chip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HIL_ZOO", raising=False)
    for name in network_names():
        with pytest.raises(ConfigError, match="has other weights for each chip"):
            find(name)
        with pytest.raises(ConfigError, match="HIL_ZOO"):
            find(name, chip=CHIP)


def test_a_network_and_a_benchmark_are_the_files_that_a_session_runs(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_ZOO", str(shared / "zoo"))
    monkeypatch.setenv("HIL_MLPERF_TINY", str(shared / "mlperf_tiny"))
    network = find("face_detect-msr", chip=CHIP)
    assert network.path.is_relative_to(shared / "zoo" / "esp32s3")
    assert network.model is not None
    assert network.model.name == "face_detect-msr"
    assert find("mlperf-tiny-kws", chip=target("esp32")).path.is_relative_to(shared / "mlperf_tiny")
    with pytest.raises(UnknownModel, match="no mlperf-tiny-kw in"):
        find("mlperf-tiny-kw")
