"""Where the chips' SIMD kernels answer otherwise than ESP-DL's portable ones: PRelu of int8."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from esp_hil.cli import main
from esp_hil.errors import UnsupportedOperator
from esp_hil.exact import ExactReference, Reading
from esp_hil.formats.espdl import read_espdl
from esp_hil.targets import Family
from tests.formats.espdl.writer import edl, node, tensor, value
from tests.lint.builders import one

VALUES = np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 16, 16)
SLOPES = np.array([-128, -77, -3, -1, 0, 1, 2, 5, 31, 32, 33, 64, 77, 99, 126, 127], np.int8)


def prelu(exponents: tuple[int, int]) -> bytes:
    """A file with one PRelu, x (1, 1, 16, 16) with exponents[0] to y with exponents[1]."""
    slope = tensor("s", SLOPES.reshape(16, 1, 1), exponents=(-6,))
    shape = (1, 1, 16, 16)
    written = one(
        node("PRelu", ("x", "s"), ("y",)),
        value("x", shape, exponents[0]),
        value("y", shape, exponents[1]),
        initializers=(slope,),
    )
    return edl(written)


def answer(
    exponents: tuple[int, int], family: Family, reading: Reading
) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    reference = ExactReference(read_espdl(prelu(exponents)), family, old_names=reading, threads=1)
    return reference.run({"x": VALUES})["y"]


def literal(exponents: tuple[int, int], *, even: bool) -> list[int]:
    """One number at a time, with fractions of integers."""
    made = []
    for x, slope in zip(VALUES.reshape(-1).tolist(), np.tile(SLOPES, 16).tolist(), strict=True):
        rise = exponents[1] - exponents[0]
        top, shift = (x * slope, rise + 6) if x < 0 else (x, rise)
        scaled = top / 2**shift  # exact: 15 bits
        rounded = round(scaled) if even else math.floor(scaled + 0.5)
        made.append(max(-128, min(127, rounded)))
    return made


@pytest.mark.parametrize("exponents", [(-5, -5), (-5, -6), (-7, -5), (2, 1)])
@pytest.mark.parametrize(("family", "even"), [("esp32s3", False), ("esp32p4", True)])
def test_prelu_on_a_chip_rescales_rounds_and_saturates_both_signs(
    exponents: tuple[int, int], family: Family, even: bool
) -> None:
    assert answer(exponents, family, "packed").reshape(-1).tolist() == literal(exponents, even=even)


def test_portable_prelu_copies_positives_whatever_the_exponents() -> None:
    assert answer((-5, -6), "esp32s3", "plain")[0, 0, 12].tolist() == VALUES[0, 0, 12].tolist()


def test_a_factor_that_does_not_fit_int8_is_refused() -> None:
    assert answer((-1, -7), "esp32s3", "packed").shape == VALUES.shape
    with pytest.raises(UnsupportedOperator, match="too far apart"):
        answer((0, -7), "esp32s3", "packed")


def test_the_command_answers_as_a_pc_and_says_so_unless_told_to_answer_as_a_chip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "m.espdl").write_bytes(prelu((-5, -6)))
    np.savez(tmp_path / "in.npz", x=VALUES)
    said = {}
    for kernels, reading in (("portable", "plain"), ("chip", "packed")):
        command = [
            "exact",
            str(tmp_path / "m.espdl"),
            "--target",
            "esp32s3",
            "--inputs",
            str(tmp_path / "in.npz"),
        ]
        command += ["--outputs", str(tmp_path / "out.npz")]
        assert main(command if kernels == "portable" else [*command, "--kernels", kernels]) == 0
        said[kernels] = "--kernels chip" in capsys.readouterr().err
        with np.load(tmp_path / "out.npz") as answers:
            assert np.array_equal(answers["y"], answer((-5, -6), "esp32s3", reading))  # type: ignore[arg-type]
    assert said == {"portable": True, "chip": False}
