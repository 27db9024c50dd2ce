"""What a verdict says of esp32s3's 20-bit accumulators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneHeadroom:
    """esp32s3's 20-bit accumulator lanes of one layer; esp-ppq does not model that they saturate.

    Attributes:
        layer: the node's name.
        lanes: output channels that are summed in 20 bits.
        risky: how many of them some input can make saturate, from the weights.
        margin_bits: headroom of the worst lane in bits; negative if it can saturate.
        saturated: how often lanes did saturate, for the inputs of the run.
    """

    layer: str
    lanes: int
    risky: int
    margin_bits: float
    saturated: int

    @property
    def summary(self) -> str:
        """What can happen and what did."""
        did = f"saturated {self.saturated} times" if self.saturated else "none did"
        return f"{self.risky} of {self.lanes} lanes can saturate ({self.margin_bits:+.1f} bits): {did}"


def headroom_rows(headroom: Sequence[LaneHeadroom]) -> Iterator[tuple[str, ...]]:
    """Rows of a verdict's table: each layer that can saturate, or the one with the least headroom."""
    if not headroom:
        return
    label = "20-bit accumulators"
    risky = [layer for layer in headroom if layer.risky]
    for layer in risky:
        yield (layer.layer, label, layer.summary, "saturated" if layer.saturated else "ok")
    if not risky:
        least = min(headroom, key=lambda layer: layer.margin_bits)
        said = f"no lane of {len(headroom)} layers can saturate; least headroom {least.margin_bits:+.1f} bits"
        yield (least.layer, label, said, "ok")
