"""Proofs that the float arithmetic of a layer cannot round.

A float format represents every multiple of 2**k whose magnitude is at most 2**(k + bits). A sum of such
multiples is exact in any order of addition, with or without fused multiply-add, while no partial sum can
leave that range. The largest partial sum that any order can meet is bounded by the sum of the magnitudes of
the terms, and that is known from the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FLOAT32_LIMIT = 2**24
FLOAT64_LIMIT = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Why a layer's arithmetic is exact.

    Attributes:
        node: name of the node in the `.espdl`.
        op_type: its operator.
        path: the arithmetic used: "table", "move", "float32", "float32-split", "float64", "int32", "integer",
            "saturating", "float" (the device itself computes in float there) ...
        bound: the largest magnitude any partial result can have, in units of the last place that is summed.
        limit: below which `path` is exact; bound <= limit, or the path would not have been taken. 0 where
            nothing is summed.
        note: what a reader should know, or "".
    """

    node: str
    op_type: str
    path: str
    bound: int = 0
    limit: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Something of which nobody knows how the chip computes it.

    Attributes:
        node: the node whose output is not certain.
        why: what is unknown.
        seen: how often it came up in the inferences so far; None: whatever the inputs are.
    """

    node: str
    why: str
    seen: int | None = None

    @property
    def summary(self) -> str:
        """Node, reason and how often."""
        often = "" if self.seen is None else f" ({self.seen} times)"
        return f"{self.node}: {self.why}{often}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The smallest and largest integer that a tensor can hold."""

    low: int
    high: int

    @property
    def magnitude(self) -> int:
        """The largest absolute value."""
        return max(abs(self.low), abs(self.high))

    def clipped(self, other: Bounds) -> Bounds:
        """What remains of these bounds after saturation to `other`."""
        low = min(max(self.low, other.low), other.high)
        return Bounds(low, max(low, min(self.high, other.high)))


DTYPE_BOUNDS: dict[str, Bounds] = {
    "bool": Bounds(0, 1),
    "int8": Bounds(-128, 127),
    "uint8": Bounds(0, 255),
    "int16": Bounds(-32768, 32767),
    "int32": Bounds(-(2**31), 2**31 - 1),
    "int64": Bounds(-(2**63), 2**63 - 1),
}

LANE_BITS = 20
LANE_BOUNDS = Bounds(-(2 ** (LANE_BITS - 1)), 2 ** (LANE_BITS - 1) - 1)
"""What one of the 16 lanes of esp32s3's QACC holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """Whether esp32s3's 20-bit lanes can saturate in a layer; see `esp_hil.exact.saturation`.

    Attributes:
        node: the layer.
        lanes: output channels that are summed in 20 bits.
        risky: how many of them some input can make saturate.
        worst: largest magnitude that a partial sum can reach, if it were not cut.
    """

    node: str
    lanes: int
    risky: int
    worst: int

    @property
    def margin_bits(self) -> float:
        """Bits of headroom in the worst lane; negative if it can saturate."""
        return math.log2(-LANE_BOUNDS.low / max(self.worst, 1))
