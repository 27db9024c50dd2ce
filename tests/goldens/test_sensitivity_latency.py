"""`hil sensitivity --latency`: the advice that saves time is applied, and its price is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.cli import main


def test_without_a_clip_there_is_nothing_to_apply(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sensitivity", "gesture", "--recipe", "equalized", "--target", "esp32s3", "--latency"]) == 0
    said = capsys.readouterr().out
    assert "nothing to apply: equalized of gesture has no Clip" in said
    assert "multiples of 16 channels" in said


@pytest.mark.quantize
def test_clip_made_relu_halves_the_instructions_and_its_accuracy_is_told(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("esp_ppq")
    data = str(shared / "data" / "sign_digits_96.npz")
    asked = ["sensitivity", "gesture", "--recipe", "w8a8", "--target", "esp32s3", "--latency", "--data", data]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "applied: 9 Clip made Relu" in said
    before, after = (line for line in said.split("instructions")[1].splitlines()[0].split(" -> "))
    assert int(after.replace(",", "")) < 0.6 * int(before.strip().replace(",", ""))
    assert said.count(" of 344;") == 2
