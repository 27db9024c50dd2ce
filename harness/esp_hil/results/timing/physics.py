"""How long instructions and bytes take on a chip: three numbers, fitted to published figures.

    time = a x instructions / clock  +  cycles of C++ / clock  +  b x weights / bus  +  c x activations / bus

`a` is cycles for an instruction: stalls and branches. `b` and `c` are the shares of the PSRAM bus that reads of weights
and of activations reach, as 1 / share: a miss waits for its line, and no read is ahead of it. Bus rates are those
of the mode (`esp_hil.results.timing.setup`), so another mode is another prediction.

`networks.csv` holds instructions and bytes of the networks that figures are published for (counted by
`esp_hil.results.timing.cost` in the files of ESP-DL 3.3.9's zoo). Figures of one network on one chip that differ
by more than CONTRADICTION contradict each other, so neither is fitted.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib import resources
from statistics import median

import numpy as np

from esp_hil.errors import ConfigError
from esp_hil.results.timing.latency import quantile
from esp_hil.results.timing.published import PublishedLatency, published
from esp_hil.results.timing.setup import setup_of
from esp_hil.targets import target

CONTRADICTION = 1.5

SEEDS = frozenset({"mnist_cnn", "light_gesture_net"})
"""Published with other settings than ESP-DL's own: never fitted, but predicted."""

BAND = 0.8
"""Share of models whose latency should lie in the band."""

_PRIOR = (1.5, 4.0, 1.2)
_TRUST = 0.4
"""What the numbers are taken for before any figure, and how much that weighs: as one figure that is missed by 40 %.
It keeps the share of the bus between physical limits where few networks tell of it."""

_EDGE = 0.85
"""Quantile of the held-out misses that is the half width of the band; above BAND, since few models are held out."""

_PARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedNetwork:
    """A published network, counted with the settings of ESP-DL's examples."""

    model: str
    target: str
    macs: int
    instructions: float
    c_cycles: float
    weight_bytes: int
    streamed_bytes: int
    activation_bytes: int

    def parts_ms(self) -> tuple[float, float, float, float]:
        """Instructions at one cycle each, weights and activations at the bus' peak, and C++; in ms."""
        setup = setup_of(target(self.target))
        bus = setup.psram_bytes_per_s / 1e3
        clock = setup.clock_hz / 1e3
        return (
            self.instructions / clock,
            (self.weight_bytes + self.streamed_bytes) / bus,
            self.activation_bytes / bus,
            self.c_cycles / clock,
        )


@cache
def networks() -> tuple[PublishedNetwork, ...]:
    """All networks, in the order of the file."""
    text = resources.files("esp_hil.results.timing").joinpath("networks.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedNetwork(
            model=row["model"],
            target=row["target"],
            macs=int(row["macs"]),
            instructions=float(row["instructions"]),
            c_cycles=float(row["c_cycles"]),
            weight_bytes=int(row["weight_bytes"]),
            streamed_bytes=int(row["streamed_bytes"]),
            activation_bytes=int(row["activation_bytes"]),
        )
        for row in csv.DictReader(text.splitlines())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Physics:
    """The numbers of a chip.

    Attributes:
        cycles: for an instruction.
        weights: by how much reading weights takes longer than the bus at its peak.
        activations: likewise.
        models: how many networks were fitted.
    """

    cycles: float
    weights: float
    activations: float
    models: int

    def ms(self, network: PublishedNetwork) -> float:
        """The latency of a network with the settings of ESP-DL's examples."""
        compute, weights, activations, plain = network.parts_ms()
        return self.cycles * compute + self.weights * weights + self.activations * activations + plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What is published for one network on one chip, in ms: all figures, and the middle one."""

    network: PublishedNetwork
    all_ms: tuple[float, ...]

    @property
    def ms(self) -> float:
        """The middle figure."""
        return median(self.all_ms)

    @property
    def contradicts(self) -> bool:
        """Whether its figures cannot all be of the same thing."""
        return max(self.all_ms) > CONTRADICTION * min(self.all_ms)


def figures_of(chip: str, rows: Collection[PublishedLatency] | None = None) -> tuple[Figure, ...]:
    """The published figures of a chip's counted networks, one core, by name of the model."""
    told: dict[str, list[float]] = {}
    for row in published() if rows is None else rows:
        if row.target == chip and row.runtime == "espdl" and row.cores == 1 and row.model not in SEEDS:
            told.setdefault(row.model, []).append(row.latency_ms)
    found = [
        Figure(network=network, all_ms=tuple(sorted(told[network.model])))
        for network in networks()
        if network.target == chip and network.model in told
    ]
    return tuple(sorted(found, key=lambda figure: figure.network.model))


def fit(figures: Collection[Figure]) -> Physics:
    """Fit the three numbers to relative misses; none of them is below 0.

    Raises:
        ConfigError: nothing to fit.
    """
    usable = [figure for figure in figures if not figure.contradicts]
    if not usable:
        raise ConfigError("no published figure to fit", hint="hil predict --learn RESULTS takes your own")
    parts = np.array([figure.network.parts_ms() for figure in usable])
    told = np.array([figure.ms for figure in usable])
    scaled = np.vstack([parts[:, :3] / told[:, None], np.diag(_TRUST / np.array(_PRIOR))])
    wanted = np.concatenate([1 - parts[:, 3] / told, np.full(3, _TRUST)])
    best: tuple[float, list[float]] | None = None
    for count in (3, 2, 1):
        for chosen in itertools.combinations(range(3), count):
            found, *_ = np.linalg.lstsq(scaled[:, chosen], wanted, rcond=None)
            miss = float(np.sum((scaled[:, chosen] @ found - wanted) ** 2))
            if (found >= 0).all() and (best is None or miss < best[0]):
                full = [0.0, 0.0, 0.0]
                for place, value in zip(chosen, found, strict=True):
                    full[place] = float(value)
                best = (miss, full)
    assert best is not None, "one positive number always fits positive figures"
    cycles, weights, activations = best[1]
    return Physics(cycles=cycles, weights=weights, activations=activations, models=len(usable))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutFigure:
    """A figure and what a fit predicts that has not seen its model."""

    figure: Figure
    predicted_ms: float

    @property
    def factor(self) -> float:
        """Predicted over published."""
        return self.predicted_ms / self.figure.ms


def held_out_figures(chip: str) -> tuple[HeldOutFigure, ...]:
    """Hold out a third of the models in turn, fit the others, predict them; contradictions are not among them."""
    usable = [figure for figure in figures_of(chip) if not figure.contradicts]
    found = []
    for part in range(_PARTS):
        out = usable[part::_PARTS]
        physics = fit([figure for figure in usable if figure not in out])
        found += [HeldOutFigure(figure=figure, predicted_ms=physics.ms(figure.network)) for figure in out]
    return tuple(sorted(found, key=lambda row: row.figure.network.model))


@cache
def physics_of(chip: str) -> Physics:
    """The numbers of a chip, fitted to all its figures.

    Raises:
        ConfigError: nothing is published for it.
    """
    return fit(figures_of(chip))


@cache
def half_width(chip: str) -> float:
    """Half the width of the band, as a logarithm: how far held-out models were missed."""
    misses = sorted(abs(math.log(row.factor)) for row in held_out_figures(chip))
    return quantile(misses, _EDGE)
