"""How well predictions do: every published figure beside what a fit says that has not seen its model.

`hil predict --error` prints it, and `tox run -e proof-predict` keeps it true.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

from esp_hil.errors import HilError
from esp_hil.models import catalogue
from esp_hil.models.device_file import open_device_file
from esp_hil.results.timing.forecast import KIN, SECOND_CORE, forecast
from esp_hil.results.timing.physics import (
    SEEDS,
    Figure,
    Physics,
    figures_of,
    half_width,
    held_out_figures,
    networks,
    physics_of,
)
from esp_hil.results.timing.published import ALIASES, published
from esp_hil.results.timing.setup import setup_of
from esp_hil.targets import target

COUNTED = ("esp32s3", "esp32p4")
"""Chips whose kernels are counted in instructions."""


def print_errors() -> None:
    """Print all tables."""
    for chip in COUNTED:
        _print_chip(chip)
    _print_others()
    _print_seeds()
    _print_tflm()


def _print_others() -> None:
    """Figures that no fit has seen: two cores, and the ESP32-S31 by the ESP32-P4's numbers."""
    rows = [row for row in published() if row.runtime == "espdl" and (row.cores > 1 or row.target in KIN)]
    print("\nESP-DL, never fitted: two cores, and chips by the numbers of another")
    print(
        f"{'model':28}{'chip':10}{'cores':>6}{'published ms':>14}{'predicted ms':>14}{'factor':>8}   other settings"
    )
    for row in rows:
        counted = [
            n for n in networks() if n.model == row.model and n.target == KIN.get(row.target, row.target)
        ]
        for network in counted:
            setup = setup_of(target(row.target), **{**row.changes, "cores": row.cores})
            physics, plain = physics_of(network.target), replace(network, target=row.target).parts(setup)
            share = 1 - SECOND_CORE / 2 if row.cores > 1 else 1.0
            ms = share * (physics.cycles * plain.compute_ms + plain.cpp_ms)
            ms += (
                max(1.0, share * physics.weights) * plain.weights_ms
                + physics.activations * plain.activations_ms
            )
            print(
                f"{row.model:28}{row.target:10}{row.cores:6d}{row.latency_ms:14.1f}{ms:14.1f}"
                f"{ms / row.latency_ms:8.2f}   {row.settings}".rstrip()
            )


def _print_seeds() -> None:
    """Figures whose settings are others than ESP-DL's examples, with theirs; where the models are at hand."""
    print("\nESP-DL, never fitted: with the settings of their sources")
    for row in published():
        if row.model not in SEEDS:
            continue
        name = next(name for name, known in ALIASES.items() if known == row.model)
        chip = target(row.target)
        try:
            known = catalogue.load(name)
            file = open_device_file(known.artifact(next(iter(known.recipes)), chip.family))
        except HilError:
            print(f"{row.model}: its file is not at hand")
            continue
        found = forecast(file, chip, setup=setup_of(chip, **row.changes))
        inside = found.low_ms <= row.latency_ms <= found.high_ms
        print(
            f"{row.model:28}{row.target:10}{row.latency_ms:8.1f} published, {found.summary}, mostly {found.dominant}; "
            f"{'explained' if inside else 'not explained'} by {found.setup.summary}"
        )


def _print_tflm() -> None:
    """Each figure by those of other networks with the same kernels and chip, or else of chips of its kind."""
    rows = [row for row in published() if row.runtime == "tflm"]
    print("\nTFLM, by multiply-accumulates of other networks; without any, of other chips of its kind")
    print(
        f"{'model':22}{'chip':10}{'kernels':10}{'MHz':>4}{'published ms':>14}{'predicted ms':>14}{'factor':>8}   from"
    )
    for row in rows:
        same = [other for other in rows if other.kernels == row.kernels and other is not row]
        near = [other for other in same if other.target == row.target and other.model != row.model]
        vectors = target(row.target).int8_lanes > 1
        others = near or [
            o for o in same if (target(o.target).int8_lanes > 1) == vectors and o.target != row.target
        ]
        ms = median(other.cycles_per_mac for other in others) * row.macs / (1e3 * row.clock_mhz)
        said = "this chip" if near else ", ".join(sorted({other.target for other in others}))
        print(
            f"{row.model:22}{row.target:10}{row.kernels:10}{row.clock_mhz:4d}{row.latency_ms:14.1f}{ms:14.1f}"
            f"{ms / row.latency_ms:8.2f}   {said}"
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
