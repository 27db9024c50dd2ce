"""What the page needs of a run to set it beside another: conditions, figures, layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from esp_hil.results.record import Run
from esp_hil.results.regress.comparable import CONDITIONS
from esp_hil.results.regress.gates import GATES
from esp_hil.results.text import clean

Json = Any
Config = Mapping[str, bool | int | str]


def details_of(run: Run) -> dict[str, Json]:
    """Conditions and further causes by name, gated figures with unit, better side and allowance, layers in ms."""
    conditions = {condition.name: condition.of(run) for condition in CONDITIONS}
    conditions |= {"git_sha": run.provenance.git_sha, "harness": run.provenance.harness}
    if run.device:
        conditions["image_sha256"] = run.device.image_sha256
    figures = {
        clean(name): [float(f"{value:.6g}"), gate.unit, gate.better.value, gate.allowance(value)]
        for gate in GATES
        for name, value in gate.of(run).items()
    }
    clock_hz = run.device.clock_hz if run.device else 0
    layers = [
        [clean(layer.name), clean(layer.operator), _median_ms(layer.cycles, clock_hz)]
        for layer in run.layers or ()
        if layer.cycles and clock_hz
    ]
    return {
        "conditions": {
            name: "" if value is None else clean(str(value)) for name, value in conditions.items()
        },
        "tools": {clean(name): clean(version) for name, version in run.provenance.tools.items()},
        "figures": figures,
        "layers": layers,
    }


def _median_ms(cycles: Sequence[int], clock_hz: int) -> float:
    middle = sorted(cycles)[len(cycles) // 2]
    return float(f"{1e3 * middle / clock_hz:.5g}")


def differing(configs: Mapping[str, Config]) -> dict[str, dict[str, str]]:
    """Of some configurations by their digest, only the entries that are not the same in all of them."""
    names = {name for config in configs.values() for name in config}
    apart = [name for name in names if len({str(config.get(name)) for config in configs.values()}) > 1]
    return {
        digest: {clean(name): clean(str(config.get(name, ""))) for name in sorted(apart)}
        for digest, config in configs.items()
    }
