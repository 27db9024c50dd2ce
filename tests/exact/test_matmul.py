"""MatMul of two activations in the chips' accumulators, against sums written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import EspdlModel, read_espdl
from esp_hil.targets import Family, rounding_of
from tests.exact.literal import Integers, packed, shifted
from tests.formats.espdl.writer import edl, graph, node, value


def dynamic(rows: int, depth: int, columns: int, dtype: str, shift: int) -> EspdlModel:
    """(1, rows, depth) by (1, depth, columns), exponents 0; the second operand is packed by whoever feeds it."""
    op = node("MatMul", ("a", "b"), ("y",), quant_type="S8" if dtype == "int8" else "S16")
    values = (
        value("a", (1, rows, depth), 0, dtype),
        value("b", (1, depth, columns), 0, dtype),
        value("y", (1, rows, columns), shift, dtype),
    )
    return read_espdl(edl(graph([op], values, inputs=("a", "b"))))


def summed(a: Integers, b: Integers, together: int, bits: int) -> tuple[Integers, int]:
    """(M, N) sums that saturate whenever `together` products were added; and how often."""
    held, hits = np.zeros((len(a), b.shape[1]), np.int64), 0
    for start in range(0, a.shape[1], together):
        total = held + a[:, start : start + together] @ b[start : start + together]
        held = np.clip(total, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        hits += int((held != total).sum())
    return held, hits


def edges(random: np.random.Generator, dtype: str, *shape: int) -> NDArray[Any]:
    """Full-scale numbers, more of one sign than of the other."""
    limits = np.iinfo(dtype)
    return random.choice(np.array([limits.min, limits.max, limits.max], dtype), shape)


@pytest.mark.parametrize(
    ("family", "dtype", "depth", "lanes", "tail"),
    [
        ("esp32s3", "int8", 90, (1, 20), (1, 64)),
        ("esp32s3", "int16", 1100, (1, 40), (8, 40)),
        ("esp32p4", "int16", 1100, (1, 64), (8, 40)),
    ],
)
def test_sums_of_two_activations_saturate_as_those_of_constants_do(
    family: Family, dtype: str, depth: int, lanes: tuple[int, int], tail: tuple[int, int]
) -> None:
    random = np.random.default_rng(depth)
    width = 16 if dtype == "int8" else 8
    columns, shift = width + 3, 12 if dtype == "int8" else 25
    a, b = edges(random, dtype, 5, depth), edges(random, dtype, depth, columns)
    a[0], b[: depth * 3 // 4] = np.iinfo(dtype).max, np.iinfo(dtype).max
    wide = a.astype(np.int64), b.astype(np.int64)
    first, first_hits = summed(wide[0], wide[1][:, :width], *lanes)
    second, second_hits = summed(wide[0], wide[1][:, width:], *tail)
    sums = np.concatenate([first, second], axis=1)
    assert (sums != wide[0] @ wide[1]).any()
    limits = np.iinfo(dtype)
    wanted = np.clip(shifted(sums, shift, rounding_of(family)), limits.min, limits.max)
    layout = "(N/16)HWC16_UNALIGNED" if dtype == "int8" else "(N/8)HWC8_UNALIGNED"
    second_operand = packed(np.ascontiguousarray(b.T), layout).reshape(1, depth, columns)
    reference = ExactReference(dynamic(5, depth, columns, dtype, shift), family, threads=1)
    answer = reference.run({"a": a[None], "b": second_operand})["y"][0]
    assert np.array_equal(answer, wanted)
    assert sum(reference.saturated.values()) == first_hits + second_hits


def test_sums_that_cannot_saturate_need_no_careful_graph() -> None:
    a, b = np.full((1, 5, 90), 3, np.int8), np.full((1, 90, 16), -3, np.int8)
    reference = ExactReference(dynamic(5, 90, 16, "int8", 5), "esp32s3", threads=1)
    assert np.array_equal(reference.run({"a": a, "b": b})["y"], np.full((1, 5, 16), -25))  # -810 / 32
    assert not reference.saturated
