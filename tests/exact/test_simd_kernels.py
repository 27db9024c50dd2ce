"""Where the chips' SIMD kernels answer otherwise than ESP-DL's portable ones: PRelu, int16 Mul, wide shifts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from esp_hil.cli import main
from esp_hil.errors import UnsupportedOperator
from esp_hil.exact import ExactReference, Kernels
from esp_hil.formats.espdl import EspdlModel, read_espdl
from esp_hil.targets import Family
from tests.exact.literal import gemm_model
from tests.formats.espdl.writer import edl, graph, node, tensor, value
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
    exponents: tuple[int, int], family: Family, reading: Kernels
) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    reference = ExactReference(read_espdl(prelu(exponents)), family, kernels=reading, threads=1)
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
    assert answer(exponents, family, "chip").reshape(-1).tolist() == literal(exponents, even=even)


def test_portable_prelu_copies_positives_whatever_the_exponents() -> None:
    assert answer((-5, -6), "esp32s3", "portable")[0, 0, 12].tolist() == VALUES[0, 0, 12].tolist()


def test_a_factor_that_does_not_fit_int8_is_refused() -> None:
    assert answer((-1, -7), "esp32s3", "chip").shape == VALUES.shape
    with pytest.raises(UnsupportedOperator, match="too far apart"):
        answer((0, -7), "esp32s3", "chip")


def test_the_command_answers_as_the_chip_unless_told_to_answer_as_a_pc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "m.espdl").write_bytes(prelu((-5, -6)))
    np.savez(tmp_path / "in.npz", x=VALUES)
    files = [str(tmp_path / name) for name in ("m.espdl", "in.npz", "out.npz")]
    command = ["exact", files[0], "--target", "esp32s3", "--inputs", files[1], "--outputs", files[2]]
    choices: tuple[tuple[list[str], Kernels], ...] = (
        ([], "chip"),
        (["--kernels", "chip"], "chip"),
        (["--kernels", "portable"], "portable"),
    )
    for options, kernels in choices:
        assert main([*command, *options]) == 0
        with np.load(tmp_path / "out.npz") as answers:
            assert np.array_equal(answers["y"], answer((-5, -6), "esp32s3", kernels))


def mul(kind: tuple[int, ...], other: tuple[int, ...], exponents: tuple[int, int, int]) -> EspdlModel:
    """a times b to y, int16."""
    shape = tuple(np.broadcast_shapes(kind, other))
    written = graph(
        [node("Mul", ("a", "b"), ("y",), quant_type="S16")],
        (
            value("a", kind, exponents[0], "int16"),
            value("b", other, exponents[1], "int16"),
            value("y", shape, exponents[2], "int16"),
        ),
        inputs=("a", "b"),
    )
    return read_espdl(edl(written))


@pytest.mark.parametrize("family", ["esp32s3", "esp32p4"])
@pytest.mark.parametrize(
    ("first", "second", "simd"),
    [
        ((1, 6), (1, 6), False),
        ((1, 8), (1, 8), True),
        ((1, 3, 3, 2), (1, 3, 3, 2), True),  # 18 elements once merged
        ((1, 4, 9), (1, 1, 9), True),
        ((1, 4, 7), (1, 1, 7), False),
        ((1, 5, 9), (1, 5, 1), True),
        ((1, 1), (1, 64), True),
    ],
)
def test_an_int16_product_is_rounded_once_where_the_merged_run_has_8_elements(
    first: tuple[int, ...], second: tuple[int, ...], simd: bool, family: Family
) -> None:
    random = np.random.default_rng(3)
    a, b = (random.integers(-32768, 32768, shape).astype(np.int16) for shape in (first, second))
    # 9476.50049 and -17795.50049, which float32 takes for ties
    even = family == "esp32p4"
    factors, shift, once, twice = (
        ((7562, 20532), 14, 9477, 9476) if even else ((-12508, 11655), 13, -17796, -17795)
    )
    a.reshape(-1)[0], b.reshape(-1)[0] = factors
    product = a.astype(np.int64) * b
    exact = product / 2**shift
    scaled = exact if simd else (product.astype(np.float32) / np.float32(2**shift)).astype(np.float64)
    wanted = np.clip(np.rint(scaled) if even else np.floor(scaled + 0.5), -32768, 32767)
    model = mul(first, second, (-12, -12, shift - 24))
    assert np.array_equal(ExactReference(model, family, threads=1).run({"a": a, "b": b})["y"], wanted)
    assert wanted.reshape(-1)[0] == (once if simd else twice)
    portable = ExactReference(model, family, threads=1, kernels="portable").run({"a": a, "b": b})["y"]
    assert portable.reshape(-1)[0] == twice


def test_a_quotient_by_a_scalar_is_rounded_twice_in_the_optimized_graph_too() -> None:
    written = graph(
        [node("Div", ("a", "b"), ("y",))],
        (value("a", (1, 4, 16), 0), value("b", (1, 4, 1), 0), value("y", (1, 4, 16), 0)),
        inputs=("a", "b"),
    )
    a, b = np.full((1, 4, 16), 49, np.int8), np.full((1, 4, 1), -14, np.int8)
    reference = ExactReference(read_espdl(edl(written)), "esp32s3", threads=1)
    assert (reference.run({"a": a, "b": b})["y"] == -4).all(), "49 * (1 / -14) is below -3.5"


@pytest.mark.parametrize("shift", [31, 32, 33, 39, 64])
def test_esp32s3_takes_a_shift_of_int8_lanes_modulo_32_after_the_first_bit(shift: int) -> None:
    outputs, depth = 18, 4
    bias = np.full(outputs, 4321, np.int32)
    layout = "(N/16)HWC16_UNALIGNED"
    model = gemm_model(np.ones((outputs, depth), np.int8), bias, layout=layout, exponents=(0, -shift, 0))
    y = ExactReference(model, "esp32s3", threads=1).run({"x": np.zeros((1, depth), np.int8)})["y"][0]
    taken = (shift - 1) % 32
    assert (y[:16] == min(127, ((4321 >> taken) + 1) >> 1)).all()
    assert (y[16:] == 0).all(), "ACCX is shifted by up to 63 bits"


def test_a_shift_that_nobody_knows_is_a_doubt_on_esp32p4_unless_nothing_is_summed() -> None:
    for weight, doubted in ((1, True), (0, False)):
        weights, bias = np.full((16, 4), weight, np.int8), np.zeros(16, np.int32)
        model = gemm_model(weights, bias, layout="(N/16)HWC16", exponents=(0, -40, 0))
        reference = ExactReference(model, "esp32p4", threads=1)
        assert (reference.run({"x": np.ones((1, 4), np.int8)})["y"] == 0).all()
        assert [doubt.node for doubt in reference.doubts] == ["Gemm_y"] * doubted


def test_products_of_prelu_that_leave_int8_are_doubts_on_esp32p4() -> None:
    for exponents, x, seen in (((-5, -5), -20, None), ((-5, -6), -100, 3), ((-5, -6), -20, None)):
        given = np.full((1, 1, 16, 16), 5, np.int8)
        given[0, 0, :3, 0] = x  # times -128 / 64, and doubled by the finer output: 400 or 80
        reference = ExactReference(read_espdl(prelu(exponents)), "esp32p4", threads=1)
        reference.run({"x": given})
        assert [doubt.seen for doubt in reference.doubts] == ([] if seen is None else [seen])
        s3 = ExactReference(read_espdl(prelu(exponents)), "esp32s3", threads=1)
        s3.run({"x": given})
        assert s3.doubts == ()
