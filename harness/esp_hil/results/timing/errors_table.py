"""How well predictions do: every published figure beside what a fit says that has not seen its model.

`hil predict --error` prints it, and `tox run -e proof-predict` keeps it true.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

from esp_hil.errors import ConfigError
from esp_hil.results.timing.physics import (
    Figure,
    Physics,
    figures_of,
    half_width,
    held_out_figures,
    physics_of,
)
from esp_hil.results.timing.predict import groups, held_out
from esp_hil.results.timing.published import published
from esp_hil.results.timing.setup import setup_of
from esp_hil.targets import target

COUNTED = ("esp32s3", "esp32p4")
"""Chips whose kernels are counted in instructions."""


def print_errors() -> None:
    """Print all tables."""
    for chip in COUNTED:
        _print_chip(chip)
    print("\nTFLM, by multiply-accumulates; factor: the larger of predicted/published and its inverse")
    print(f"{'group':24}{'models':>8}{'median':>9}{'worst':>8}{'in band':>9}   missed most")
    for group in groups():
        if group.startswith("espdl"):
            continue
        try:
            found = held_out(published(), group)
        except ConfigError:
            print(f"{group:24}{'':8} too few published models to hold out a third")
            continue
        model, factor = found.missed[0]
        print(
            f"{group:24}{found.models:8d}{found.median_factor:9.2f}{found.worst_factor:8.2f}"
            f"{100 * found.inside:8.0f}%   {model} x{factor:.2f}"
        )


def _print_chip(chip: str) -> None:
    rows, physics, half = held_out_figures(chip), physics_of(chip), half_width(chip)
    factors = [max(row.factor, 1 / row.factor) for row in rows]
    inside = sum(abs(math.log(row.factor)) <= half for row in rows)
    print(f"\n{chip}, ESP-DL, {setup_of(target(chip)).summary}")
    print(
        f"{physics.cycles:.2f} cycles for an instruction; weights take {physics.weights:.2f}, activations "
        f"{physics.activations:.2f}, weights from flash {physics.flash:.2f} times what the bus could move at its peak"
    )
    models = len({row.figure.network.model for row in rows})
    print(
        f"{len(rows)} figures of {models} models held out, a third at a time: median miss x{median(factors):.2f}, "
        f"worst x{max(factors):.2f}; {100 * inside / len(rows):.0f} % inside a band of x{math.exp(2 * half):.2f}"
    )
    print(
        f"{'model':28}{'published ms':>14}{'predicted ms':>14}{'factor':>8}   {'dominated by':18}other settings"
    )
    for row in rows:
        print(
            f"{row.figure.network.model:28}{row.figure.ms:14.1f}{row.predicted_ms:14.1f}{row.factor:8.2f}   "
            f"{_dominant(physics, row.figure):18}{row.figure.settings}".rstrip()
        )
    for figure in figures_of(chip):
        if figure.contradicts:
            _print_contradiction(physics, figure)


def _print_contradiction(physics: Physics, figure: Figure) -> None:
    """What is published, and what is predicted with and without the weights that leave the cache."""
    told = ", ".join(f"{ms:g}" for ms in figure.all_ms)
    whole = physics.ms(figure.network, figure.setup)
    once = physics.ms(replace(figure.network, streamed_bytes=0), figure.setup)
    settings = f" ({figure.settings})" if figure.settings else ""
    print(
        f"contradiction, not fitted: {figure.network.model}{settings} {told} ms; predicted {whole:.0f} ms, "
        f"{once:.0f} ms if no weights are read again"
    )


def _dominant(physics: Physics, figure: Figure) -> str:
    """The largest part of a latency and its share: `weights 61 %`."""
    found = physics.parts(figure.network.parts(figure.setup))
    shares = {
        "compute": found.compute_ms,
        "weights": found.weights_ms,
        "activations": found.activations_ms,
        "flash": found.flash_ms,
        "C++": found.cpp_ms,
    }
    name = max(shares, key=lambda part: shares[part])
    return f"{name} {100 * shares[name] / sum(shares.values()):.0f} %"
