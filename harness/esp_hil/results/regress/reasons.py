"""Why a figure may have changed: what else differs between two rows, and which layers took the time."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from esp_hil.results.record import Run
from esp_hil.results.regress.comparable import CONDITIONS, Difference, Value
from esp_hil.results.timing.layers import why_slower

CULPRIT_SHARE = 0.2
"""A layer is named if it has at least this share of all that the layers lost."""

MOST_CULPRITS = 3
EVEN_SPREAD = 0.02
"""Layers that all changed by the same share, within so much of it, are not named one by one."""


def causes_of(base: Run, new: Run) -> tuple[str, ...]:
    """Everything recorded that differs, conditions first: commit, image, versions of tools."""
    found = [
        Difference(name=condition.name, base=condition.of(base), new=condition.of(new)).summary
        for condition in CONDITIONS
        if condition.of(base) != condition.of(new)
    ]
    images = [run.device.image_sha256 if run.device else None for run in (base, new)]
    others: dict[str, tuple[Value, Value]] = {
        "git_sha": (base.provenance.git_sha[:10], new.provenance.git_sha[:10]),
        "image_sha256": (images[0], images[1]),
        "harness": (base.provenance.harness, new.provenance.harness),
    }
    for tool in sorted({*base.provenance.tools, *new.provenance.tools}):
        others[tool] = (base.provenance.tools.get(tool), new.provenance.tools.get(tool))
    found += [
        Difference(name=name, base=before, new=after).summary
        for name, (before, after) in others.items()
        if before != after
    ]
    return tuple(found)


def culprits_of(base: Run, new: Run) -> tuple[str, ...]:
    """The layers that account for most of what got slower, largest first; or that all did alike."""
    before, after = _layers_ms(base), _layers_ms(new)
    common = before.keys() & after.keys()
    lost = {name: after[name] - before[name] for name in common if after[name] > before[name]}
    total = sum(lost.values())
    if not common or total <= 0:
        return ()
    ratios = [after[name] / before[name] for name in common if before[name] > 0]
    if len(common) > 1 and ratios and max(ratios) - min(ratios) <= EVEN_SPREAD:
        return (f"every layer alike, by {100 * (median(ratios) - 1):+.1f} %",)
    ranked = sorted(lost.items(), key=lambda item: -item[1])
    return tuple(
        f"{name} {before[name]:.4g} -> {after[name]:.4g} ms{_why(name, base, new)}"
        for name, loss in ranked[:MOST_CULPRITS]
        if loss >= CULPRIT_SHARE * total
    )


def _why(name: str, base: Run, new: Run) -> str:
    """In brackets what its bytes and multiply-accumulates tell; "" of a name that several layers have."""
    pair = [[layer for layer in run.layers or () if layer.name == name] for run in (base, new)]
    if any(len(found) != 1 for found in pair) or base.device is None or new.device is None:
        return ""
    said = why_slower(pair[0][0], pair[1][0], (base.device.clock_hz, new.device.clock_hz))
    return f" ({said})" if said else ""


def _layers_ms(run: Run) -> Mapping[str, float]:
    """Median of each layer; several of one name are added up."""
    found: dict[str, float] = {}
    clock_hz = run.device.clock_hz if run.device else 0
    for layer in run.layers or ():
        if layer.cycles and clock_hz:
            found[layer.name] = found.get(layer.name, 0.0) + 1e3 * median(layer.cycles) / clock_hz
    return found
