"""One node computed again by the exact reference, with something changed that a wrong port might change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from esp_hil.errors import HilError
from esp_hil.exact.subgraph import activations_read, changed, part_of
from esp_hil.formats.espdl import EspdlModel, Node, ValueInfo
from esp_hil.targets import Family, rounding_of
from esp_hil.tensors import Array, Arrays
from esp_hil.verdict.hypotheses import Hypothesis, Kind, reorderings

Variant = Callable[[], Hypothesis | None]

_FILTER_LAYOUTS = ("NHWC", "HWCN", "(N/16)HWC16", "(N/16)HWC16_UNALIGNED", "(N/8)HWC8", "(N/8)HWC8_UNALIGNED")


def variants_of(
    model: EspdlModel,
    family: Family,
    *,
    number: int,
    name: str,
    sources: Arrays,
    infos: Mapping[str, ValueInfo],
) -> tuple[Variant, ...]:
    """Ways to compute a node wrongly.

    Args:
        model: the whole.
        family: whose numerics are right.
        number: of the node in execution order.
        name: of its wrong output.
        sources: its right inputs.
        infos: activations by name.

    Returns:
        Functions that compute one hypothesis each, or None where the change makes no sense for the node.
    """
    single = part_of(model, number, number + 1, infos=infos, outputs=[name])
    node = single.graph.nodes[0]

    def variant(kind: Kind, words: str, part: EspdlModel, given: Arrays, used: Family = family) -> Variant:
        def compute() -> Hypothesis | None:
            values = _computed(part, used, given, name)
            return None if values is None else Hypothesis(kind=kind, summary=words, values=values)

        return compute

    found: list[Variant] = []
    other: Family = "c" if rounding_of(family) == "half_even" else "esp32p4"
    rounding = rounding_of(other).replace("_", " ")
    found.append(variant("rounding", f"it rounds {rounding}", single, sources, other))
    for step, part in _other_exponents(single, name):
        words = f"the exponent of its result is off by {step:+d}"
        found.append(variant("shift", words, part, sources))
    for words, part in _other_filters(single, node):
        found.append(variant("layout", words, part, sources))
    for words, part in _other_pads(single, node):
        found.append(variant("padding", words, part, sources))
    for source in activations_read(model.graph, node):
        for words, values in reorderings(sources[source]):
            found.append(
                variant("layout", f"of its input {source}, {words}", single, {**sources, source: values})
            )
    if node.op_type in {"Add", "Sub"} and len(sources) == 2:
        found.append(lambda: _wrapped(node, sources))
    return tuple(found)


def _computed(part: EspdlModel, family: Family, given: Arrays, name: str) -> Array | None:
    from esp_hil.exact.reference import run_once

    try:
        return run_once(part, family, given, "portable")[name]
    except HilError:
        return (
            None  # the change makes no sense here: a family without this filter, a layout that does not fit
        )


def _other_exponents(single: EspdlModel, name: str) -> Iterator[tuple[int, EspdlModel]]:
    info = single.graph.values[name]
    if not info.exponents:
        return
    for step in (1, -1, 2, -2):
        moved = replace(info, exponents=tuple(exponent + step for exponent in info.exponents))
        graph = replace(single.graph, values={**single.graph.values, name: moved}, outputs=(moved,))
        yield -step, changed(single, graph, f"exponent {step}")


def _other_filters(single: EspdlModel, node: Node) -> Iterator[tuple[str, EspdlModel]]:
    tensor = single.graph.initializers.get(node.input(1))
    if node.op_type not in {"Conv", "Gemm"} or tensor is None:
        return
    for layout in _FILTER_LAYOUTS:
        if layout != tensor.layout:
            other = {**single.graph.initializers, tensor.name: replace(tensor, layout=layout)}
            graph = replace(single.graph, initializers=other)
            words = f"its filter is read as {layout}, it is {tensor.layout or 'plain'}"
            yield words, changed(single, graph, layout)


def _other_pads(single: EspdlModel, node: Node) -> Iterator[tuple[str, EspdlModel]]:
    pads = node.attributes.get("pads")
    if node.op_type not in {"MaxPool", "AveragePool"} or not isinstance(pads, tuple) or len(pads) != 4:
        return
    top, left, bottom, right = (int(pad) for pad in pads)
    for step in (1, -1):
        moved = (top + step, left + step, bottom - step, right - step)
        if min(moved) >= 0:
            other = replace(node, attributes={**node.attributes, "pads": moved})
            graph = replace(single.graph, nodes=(other,))
            yield "its padding is off by one", changed(single, graph, f"pads {moved}")


def _wrapped(node: Node, sources: Arrays) -> Hypothesis | None:
    """Sums of integers that wrap around instead of saturating."""
    first, second = (sources[name] for name in node.inputs[:2])
    if first.dtype.kind != "i" or first.shape != second.shape:
        return None
    with np.errstate(over="ignore"):
        values = first + second if node.op_type == "Add" else first - second
    return Hypothesis(kind="wrap-around", summary="results wrap around instead of saturating", values=values)
