"""A latency for a chip that one does not have, from what others have published for chips of its kind.

The model has one number a group of chips: cycles for a multiply-accumulate, the median over the published
models (each counts once, by the median of its figures). It is as simple as this because more is not better:
with the size of the parameters or an exponent as further terms, held-out models are predicted worse. What a
prediction is worth is its band, and that is what the held-out models say of it. It is never a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from esp_hil.errors import ConfigError
from esp_hil.results.timing.latency import floor_ms, quantile
from esp_hil.results.timing.published import PublishedLatency, group_of, published
from esp_hil.targets import Target

LEAST_MODELS = 3
"""Fewer published models tell nothing of their spread."""

BAND = 0.8
"""Share of models whose latency should lie in the band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What the published figures of one group say.

    Attributes:
        group: see `esp_hil.results.timing.published.group_of`.
        models: how many different ones.
        figures: how many figures of them.
        cycles_per_mac: median over the models.
        low: cycles for a multiply-accumulate at the lower end of the band.
        high: at its upper end.
    """

    group: str
    models: int
    figures: int
    cycles_per_mac: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A predicted latency on one core, with the band that BAND of the published models lie in."""

    latency_ms: float
    low_ms: float
    high_ms: float
    floor_ms: float
    fit: Fit

    @property
    def summary(self) -> str:
        """One line that says that it is a prediction and what it is worth."""
        return (
            f"predicted {_ms(self.latency_ms)} on one core; {BAND:.0%} of published models lie between "
            f"{_ms(self.low_ms)} and {_ms(self.high_ms)} (from {self.fit.figures} figures of "
            f"{self.fit.models} models); not below {_ms(self.floor_ms)}"
        )


def _ms(value: float) -> str:
    return f"{value:.3g} ms"


def fit_of(rows: Sequence[PublishedLatency], group: str) -> Fit:
    """The figures of a group as one number and its band.

    The band is that of the logarithms: mean distance scaled to BAND of a normal distribution where there are
    few models, their quantiles where that is wider.

    Raises:
        ConfigError: fewer than LEAST_MODELS models.
    """
    ratios: dict[str, list[float]] = {}
    for row in rows:
        if row.cores == 1 and group_of(row.runtime, row.kernels, row.target) == group:
            ratios.setdefault(row.model, []).append(math.log(row.cycles_per_mac))
    if len(ratios) < LEAST_MODELS:
        raise ConfigError(
            f"{len(ratios)} models are published for {group}, a prediction needs {LEAST_MODELS}",
            hint="measure it: pytest --target ... --hil-board ...",
        )
    each = sorted(median(values) for values in ratios.values())
    middle = median(each)
    edge = (1 - BAND) / 2
    half = 1.2816 * math.sqrt(sum((value - middle) ** 2 for value in each) / (len(each) - 1))
    low, high = min(quantile(each, edge), middle - half), max(quantile(each, 1 - edge), middle + half)
    return Fit(
        group=group,
        models=len(each),
        figures=sum(map(len, ratios.values())),
        cycles_per_mac=math.exp(middle),
        low=math.exp(low),
        high=math.exp(high),
    )


def predict(
    macs: int, chip: Target, *, runtime: str = "espdl", kernels: str = "esp-nn", clock_hz: int | None = None
) -> Prediction:
    """Predict the latency of a model by its multiply-accumulates.

    Args:
        macs: of one inference; at least 1.
        chip: the target.
        runtime: espdl or tflm.
        kernels: of TFLM: esp-nn or portable.
        clock_hz: of the CPU; the chip's fastest if None.

    Raises:
        ConfigError: too few models are published for that kind of chip and runtime, or there are no MACs.
    """
    if macs < 1:
        raise ConfigError("a model without multiply-accumulates has no prediction")
    fit = fit_of(published(), group_of(runtime, kernels, chip.name))
    hz = clock_hz or chip.fastest_hz
    return Prediction(
        latency_ms=1e3 * macs * fit.cycles_per_mac / hz,
        low_ms=1e3 * macs * fit.low / hz,
        high_ms=1e3 * macs * fit.high / hz,
        floor_ms=floor_ms(macs, chip, clock_hz=hz),
        fit=fit,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """How well models are predicted that the fit has not seen.

    Attributes:
        group: see `esp_hil.results.timing.published.group_of`.
        models: how many were held out, a third at a time.
        median_factor: by what factor the median model is missed.
        worst_factor: by what factor the worst one is.
        inside: share of the models whose latency lay in the band.
        missed: (model, predicted over published), the worst first.
    """

    group: str
    models: int
    median_factor: float
    worst_factor: float
    inside: float
    missed: tuple[tuple[str, float], ...]


def held_out(rows: Sequence[PublishedLatency], group: str, *, parts: int = 3) -> HeldOut:
    """Hold out a third of the models in turn, fit the others, predict them.

    Models, not figures, are divided, in the order of their names: a model that has been seen in another
    version is not held out.

    Raises:
        ConfigError: too few models to fit after a third is gone.
    """
    mine = [row for row in rows if row.cores == 1 and group_of(row.runtime, row.kernels, row.target) == group]
    names = sorted({row.model for row in mine})
    missed: list[tuple[str, float]] = []
    inside = 0
    for part in range(parts):
        out = set(names[part::parts])
        fit = fit_of([row for row in mine if row.model not in out], group)
        for name in sorted(out):
            ratio = math.exp(median(math.log(row.cycles_per_mac) for row in mine if row.model == name))
            missed.append((name, fit.cycles_per_mac / ratio))
            inside += fit.low <= ratio <= fit.high
    factors = sorted(max(factor, 1 / factor) for _, factor in missed)
    return HeldOut(
        group=group,
        models=len(names),
        median_factor=quantile(factors, 0.5),
        worst_factor=factors[-1],
        inside=inside / len(names),
        missed=tuple(sorted(missed, key=lambda item: -abs(math.log(item[1])))),
    )
