"""What a layer could reach at best, and so what holds it back: multipliers, memory, or neither.

The roofline (Williams, Waterman, Patterson 2009, CACM 52:4): a layer cannot be faster than its
multiply-accumulates over the chip's peak, nor than its bytes over the bandwidth of the memory they lie in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from esp_hil.targets import Target

Limit = Literal["compute", "memory", "overhead"]

OVERHEAD_SHARE = 0.25
"""A layer that uses less than this share of both multipliers and memory is held back by something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The part of a chip that an inference uses.

    Attributes:
        target: the chip.
        clock_hz: that the device reports.
        cores: cores that the runtime may use.
        psram: whether activations and copied parameters lie in PSRAM; else activations are internal and
            parameters are read from flash.
    """

    target: Target
    clock_hz: int
    cores: int
    psram: bool

    def macs_per_s(self, bits: int = 8) -> float:
        """Peak of multiply-accumulates: a vector register holds half as many 16-bit lanes as 8-bit ones."""
        lanes = self.target.int8_lanes
        if bits == 16:
            lanes = max(1, lanes // 2)
        elif bits > 16:
            lanes = 1
        return float(lanes) * self.cores * self.clock_hz

    @property
    def internal_bytes_per_s(self) -> float:
        """Peak of loads and stores in internal RAM."""
        return float(self.target.load_bytes) * self.cores * self.clock_hz

    def memory_s(self, activation_bytes: int, parameter_bytes: int) -> float:
        """Seconds to move the bytes if none of them is in a cache; a bandwidth that is not known counts 0."""
        if self.psram:
            return _over(activation_bytes + parameter_bytes, self.target.psram_bytes_per_s)
        parameters_s = _over(parameter_bytes, self.target.flash_bytes_per_s)
        return _over(activation_bytes, self.internal_bytes_per_s) + parameters_s


def _over(count: int, per_s: float) -> float:
    return count / per_s if per_s else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """A layer, or a whole inference, beside what the chip can do at most.

    Attributes:
        seconds: measured.
        compute_s: its multiply-accumulates at the chip's peak: no program is faster.
        memory_s: its bytes at the memory's peak: only a cache can be faster.
    """

    seconds: float
    compute_s: float
    memory_s: float

    @property
    def utilisation(self) -> float:
        """Share of the multipliers' peak that was used, 0..1; above 1 the clock or the count is wrong."""
        return self.compute_s / self.seconds

    @property
    def bandwidth_share(self) -> float:
        """Share of the memory's peak, if nothing came from a cache; above 1 much of it did."""
        return self.memory_s / self.seconds

    @property
    def limit(self) -> Limit:
        """What holds it back."""
        if max(self.utilisation, self.bandwidth_share) < OVERHEAD_SHARE:
            return "overhead"
        return "memory" if self.memory_s > self.compute_s else "compute"

    @property
    def summary(self) -> str:
        """One clause, such as `limited by memory: 12 % of the multipliers, 81 % of the bandwidth`."""
        what = {"compute": "multipliers", "memory": "memory", "overhead": "neither multipliers nor memory"}
        cached = ", so much of it came from a cache" if self.bandwidth_share > 1 else ""
        return (
            f"limited by {what[self.limit]}: {100 * self.utilisation:.0f} % of the multipliers, "
            f"{100 * self.bandwidth_share:.0f} % of the bandwidth{cached}"
        )


def roofline(
    machine: Machine,
    seconds: float,
    *,
    macs: int,
    activation_bytes: int,
    parameter_bytes: int,
    bits: int = 8,
) -> Roofline:
    """Put a measured time beside the work that was done in it; `seconds` must be above 0."""
    return Roofline(
        seconds=seconds,
        compute_s=macs / machine.macs_per_s(bits),
        memory_s=machine.memory_s(activation_bytes, parameter_bytes),
    )
