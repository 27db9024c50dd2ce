"""How long instructions and bytes take on a chip: four numbers, fitted to published figures with their settings.

    time = a x instructions / clock  +  cycles of C++ / clock  +  b x weights / bus  +  c x activations / bus

`a` is cycles for an instruction: stalls and branches. `b` and `c` are the shares of the PSRAM bus that reads of
weights and of activations reach, as 1 / share: a miss waits for its line, and no read is ahead of it.
Parameters that stay in flash have a share of that bus of their own. Bus rates are those of the mode
(`esp_hil.results.timing.setup`), so another mode is another prediction. None of the four is below 1.

`networks.csv` holds instructions and bytes of the networks that figures are published for (counted by
`esp_hil.results.timing.cost` in the files of ESP-DL 3.3.9's zoo: tests/results/timing/make_networks.py).
Figures of one network whose weights lie in the same memory of the same chip, and that differ by more than
CONTRADICTION, contradict each other, so none of them is fitted.
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
from numpy.typing import NDArray

from esp_hil.errors import ConfigError
from esp_hil.results.timing.cost import C_FACTOR
from esp_hil.results.timing.latency import quantile
from esp_hil.results.timing.published import PublishedLatency, changes_of, published
from esp_hil.results.timing.setup import Setup, setup_of
from esp_hil.targets import target

CONTRADICTION = 1.5

SEEDS = frozenset({"mnist_cnn", "light_gesture_net"})
"""Published with other settings than ESP-DL's own: never fitted, but predicted."""

BAND = 0.8
"""Share of models whose latency should lie in the band."""

_PRIOR = (1.5, 4.0, 1.2, 1.2)
_TRUST = 0.4
"""What the numbers are taken for before any figure, and how much that weighs: as one figure that is missed by 40 %.
It keeps the share of the bus between physical limits where few networks tell of it."""

_EDGE = 0.85
"""Quantile of the held-out misses that is the half width of the band; above BAND, since few models are held out."""

_PARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeParts:
    """What a network's time is made of, in ms: instructions, weights (from PSRAM, from flash), activations, C++."""

    compute_ms: float
    weights_ms: float
    activations_ms: float
    flash_ms: float
    cpp_ms: float

    @property
    def scaled(self) -> tuple[float, float, float, float]:
        """Those that the fitted numbers multiply, in their order."""
        return self.compute_ms, self.weights_ms, self.activations_ms, self.flash_ms


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

    def parts(self, setup: Setup | None = None) -> TimeParts:
        """Its time if every instruction took a cycle and every byte what its bus takes at its peak.

        Args:
            setup: None for ESP-DL's examples. The cache is always theirs: it decided what was counted.
        """
        setup = setup or setup_of(target(self.target))
        clock = setup.clock_hz / 1e3
        weights = 1e3 * (self.weight_bytes + self.streamed_bytes) / setup.weight_bytes_per_s
        return TimeParts(
            compute_ms=self.instructions / clock,
            weights_ms=weights if setup.copied else 0.0,
            activations_ms=1e3 * self.activation_bytes / setup.psram_bytes_per_s,
            flash_ms=0.0 if setup.copied else weights,
            cpp_ms=C_FACTOR[setup.optimize] * self.c_cycles / clock,
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
        weights: by how much reading weights from PSRAM takes longer than the bus at its peak.
        activations: likewise.
        flash: likewise of weights that stay in flash.
        models: how many figures were fitted.
    """

    cycles: float
    weights: float
    activations: float
    flash: float
    models: int

    def parts(self, plain: TimeParts) -> TimeParts:
        """The same parts as they take on the chip."""
        return TimeParts(
            compute_ms=self.cycles * plain.compute_ms,
            weights_ms=self.weights * plain.weights_ms,
            activations_ms=self.activations * plain.activations_ms,
            flash_ms=self.flash * plain.flash_ms,
            cpp_ms=plain.cpp_ms,
        )

    def ms(self, network: PublishedNetwork, setup: Setup | None = None) -> float:
        """The latency of a network; None: with the settings of ESP-DL's examples."""
        found = self.parts(network.parts(setup))
        return sum(found.scaled) + found.cpp_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What is published for one network on one chip with the same settings.

    Attributes:
        network: what was run.
        all_ms: all figures, ascending.
        settings: as in published.csv; "" for those of ESP-DL's examples.
        beside_ms: what is published of it at other clocks of the same memory, with weights in the same place.
    """

    network: PublishedNetwork
    all_ms: tuple[float, ...]
    settings: str = ""
    beside_ms: tuple[float, ...] = ()

    @property
    def ms(self) -> float:
        """The middle figure."""
        return median(self.all_ms)

    @property
    def setup(self) -> Setup:
        """What it was measured with."""
        return setup_of(target(self.network.target), **changes_of(self.settings))

    @property
    def contradicts(self) -> bool:
        """Whether its figures cannot all be of the same thing."""
        told = (*self.all_ms, *self.beside_ms)
        return max(told) > CONTRADICTION * min(told)


def figures_of(chip: str, rows: Collection[PublishedLatency] | None = None) -> tuple[Figure, ...]:
    """The published figures of a chip's counted networks, one core, by name of the model and settings."""
    told: dict[tuple[str, str], list[float]] = {}
    for row in published() if rows is None else rows:
        if row.target == chip and row.runtime == "espdl" and row.cores == 1 and row.model not in SEEDS:
            told.setdefault((row.model, row.settings), []).append(row.latency_ms)
    counted = {network.model: network for network in networks() if network.target == chip}
    found = [
        Figure(
            network=counted[model],
            all_ms=tuple(sorted(values)),
            settings=settings,
            beside_ms=tuple(
                ms
                for (other, others), more in told.items()
                for ms in more
                if other == model and others != settings and _weights(others) == _weights(settings)
            ),
        )
        for (model, settings), values in told.items()
        if model in counted
    ]
    return tuple(sorted(found, key=lambda figure: (figure.network.model, figure.settings)))


def _weights(settings: str) -> bool:
    return "weights=flash" in settings.split()


def fit(figures: Collection[Figure]) -> Physics:
    """Fit the four numbers to relative misses; none of them is below 1.

    Raises:
        ConfigError: nothing to fit.
    """
    usable = [figure for figure in figures if not figure.contradicts]
    if not usable:
        raise ConfigError("no published figure to fit", hint="hil predict --learn RESULTS takes your own")
    parts = [figure.network.parts(figure.setup) for figure in usable]
    told = np.array([figure.ms for figure in usable])
    plain = np.array([part.scaled for part in parts])
    scaled = np.vstack([plain / told[:, None], np.diag(_TRUST / np.array(_PRIOR))])
    wanted = np.concatenate(
        [1 - np.array([part.cpp_ms for part in parts]) / told, np.full(len(_PRIOR), _TRUST)]
    )
    cycles, weights, activations, flash = (
        float(value) for value in 1 + _not_negative(scaled, wanted - scaled.sum(axis=1))
    )
    return Physics(cycles=cycles, weights=weights, activations=activations, flash=flash, models=len(usable))


def _not_negative(scaled: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least squares of a few unknowns that are not negative: the best of all choices of those above 0."""
    count = scaled.shape[1]
    best, least = np.zeros(count), float(np.sum(wanted**2))
    for chosen in (
        list(some) for size in range(1, count + 1) for some in itertools.combinations(range(count), size)
    ):
        found, *_ = np.linalg.lstsq(scaled[:, chosen], wanted, rcond=None)
        miss = float(np.sum((scaled[:, chosen] @ found - wanted) ** 2))
        if (found >= 0).all() and miss < least:
            best, least = np.zeros(count), miss
            best[chosen] = found
    return best


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
    names = sorted({figure.network.model for figure in usable})
    found = {}
    for part in range(_PARTS):
        out = set(names[part::_PARTS])
        physics = fit([figure for figure in usable if figure.network.model not in out])
        found.update(
            {
                number: HeldOutFigure(figure=figure, predicted_ms=physics.ms(figure.network, figure.setup))
                for number, figure in enumerate(usable)
                if figure.network.model in out
            }
        )
    return tuple(found[number] for number in sorted(found))


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
