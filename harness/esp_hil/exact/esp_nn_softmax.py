"""ESP-NN's softmax of one int8 row, for whatever number is taken for its maximum (esp_nn_softmax_s8_esp32s3.c).

The arithmetic is gemmlowp's fixed point in int32; with a maximum that is too small, numbers meet it that it was not
made for, and wrap as C on the chip does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_INTEGER_BITS = 5
_SUM_BITS = 12
_MOST, _LEAST = 2**31 - 1, -(2**31)
_FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-1/4), exp(-1/2) ... exp(-16) with 31 fraction bits."""


def row(values: NDArray[Any], most: int, multiplier: int, shift: int) -> NDArray[np.int8] | None:
    """Softmax of a row.

    Args:
        values: (width,) integers.
        most: what is taken for their maximum.
        multiplier: of differences from it.
        shift: to the left, before they are multiplied.

    Returns:
        (width,) probabilities in steps of 1/256, less 128. None where C leaves the answer open.
    """
    least = -((((1 << _INTEGER_BITS) - 1) << (31 - _INTEGER_BITS)) >> shift)
    differences = [int(value) - most for value in values]
    exponentials = {
        difference: _exp(_high(_wrapped(difference << shift), multiplier))
        for difference in set(differences)
        if difference >= least
    }
    total = _wrapped(sum(_down(exponentials[d], _SUM_BITS) for d in differences if d in exponentials))
    headroom = 32 - (total & 0xFFFFFFFF).bit_length()
    if total == 0:
        return None
    scale = _one_over_one_plus(_wrapped((total << headroom) - (1 << 31)))
    bits = _SUM_BITS - headroom + 31 - 8
    if not 0 <= bits < 31:
        return None
    answers = {d: min(127, max(-128, _down(_high(scale, e), bits) - 128)) for d, e in exponentials.items()}
    return np.array([answers.get(difference, -128) for difference in differences], np.int8)


def _wrapped(value: int) -> int:
    """As an int32 holds it."""
    return (value + 2**31) % 2**32 - 2**31


def _high(first: int, second: int) -> int:
    """SaturatingRoundingDoublingHighMul."""
    if first == second == _LEAST:
        return _MOST
    product = first * second
    nudged = product + (1 << 30 if (first < 0) == (second < 0) else 1 - (1 << 30))
    return _wrapped((nudged + (_MOST if nudged < 0 else 0)) >> 31)


def _down(value: int, exponent: int) -> int:
    """RoundingDivideByPOT."""
    mask = (1 << exponent) - 1
    result = value >> exponent
    return result + ((value & mask) > (mask >> 1) + (result < 0))


def _up(value: int, exponent: int) -> int:
    """Times 2^exponent, saturated."""
    limit = (1 << (31 - exponent)) - 1
    return _MOST if value > limit else _LEAST if value < -limit else _wrapped(value << exponent)


def _one_over_one_plus(value: int) -> int:
    """1 / (1 + x) for x in [0, 1) with 31 fraction bits, by three steps of Newton's method."""
    total = value + _MOST
    half = int((total + (1 if total >= 0 else -1)) / 2)
    x = _wrapped(1515870810 + _high(half, -1010580540))
    for _ in range(3):
        x = _wrapped(x + _up(_high(x, _wrapped((1 << 29) - _high(half, x))), 2))
    return _up(x, 1)


def _exp(value: int) -> int:
    """exp(x) for x <= 0 with 26 fraction bits."""
    if value == 0:
        return _MOST
    quarter = 1 << 24
    modulo = (value & (quarter - 1)) - quarter
    remainder = _wrapped(modulo - value)
    x = _wrapped((modulo << 5) + (1 << 28))
    x2 = _high(x, x)
    x3, x4 = _high(x2, x), _high(x2, x2)
    series = _down(_wrapped(_high(_wrapped(_down(x4, 2) + x3), 715827883) + x2), 1)
    result = _wrapped(1895147668 + _high(1895147668, _wrapped(x + series)))
    for bit, factor in enumerate(_FACTORS, 24):
        if remainder & (1 << bit):
            result = _high(result, factor)
    return result
