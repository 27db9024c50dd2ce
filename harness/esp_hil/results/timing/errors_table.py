"""How well predictions do: every published figure beside what a fit says that has not seen its model.

`hil predict --error` prints it, and `tox run -e proof-predict` keeps it true.
"""

from __future__ import annotations

import math
from statistics import median

from esp_hil.errors import ConfigError
from esp_hil.results.timing.physics import (
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
        f"{physics.activations:.2f} times what the bus could move at its peak"
    )
    print(
        f"{len(rows)} models held out, a third at a time: median miss x{median(factors):.2f}, worst "
        f"x{max(factors):.2f}; {100 * inside / len(rows):.0f} % inside a band of x{math.exp(2 * half):.2f}"
    )
    print(f"{'model':28}{'published ms':>14}{'predicted ms':>14}{'factor':>8}   dominated by")
    for row in rows:
        network = row.figure.network
        print(
            f"{network.model:28}{row.figure.ms:14.1f}{row.predicted_ms:14.1f}{row.factor:8.2f}   "
            f"{dominant(physics, network.parts_ms())}"
        )
    for figure in figures_of(chip):
        if figure.contradicts:
            told = ", ".join(f"{ms:g}" for ms in figure.all_ms)
            whole, once = _both_ways(physics, figure.network.parts_ms(), figure.network.streamed_bytes, chip)
            print(
                f"contradiction, not fitted: {figure.network.model} {told} ms; predicted {whole:.0f} ms, "
                f"{once:.0f} ms if no weights leave the cache"
            )


def dominant(physics: Physics, parts: tuple[float, float, float, float]) -> str:
    """The largest part of a latency and its share: `weights 61 %`."""
    compute, weights, activations, plain = parts
    shares = {
        "compute": physics.cycles * compute,
        "weights": physics.weights * weights,
        "activations": physics.activations * activations,
        "C++": plain,
    }
    name = max(shares, key=lambda part: shares[part])
    return f"{name} {100 * shares[name] / sum(shares.values()):.0f} %"


def _both_ways(
    physics: Physics, parts: tuple[float, float, float, float], streamed: int, chip: str
) -> tuple[float, float]:
    compute, weights, activations, plain = parts
    rest = physics.cycles * compute + physics.activations * activations + plain
    again = streamed / (setup_of(target(chip)).psram_bytes_per_s / 1e3)
    return rest + physics.weights * weights, rest + physics.weights * (weights - again)
