"""The known faults of ESP-NN as hypotheses for an operator that a chip computed wrongly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from esp_hil.exact.esp_nn import FAULTS, EspNnFault, answer_of, layer_of, modelled, version_of
from esp_hil.exact.tflite import labels
from esp_hil.formats.tflite.model import Operator, TfliteModel
from esp_hil.tensors import Array, Arrays
from esp_hil.verdict.hypotheses import Hypothesis


def known_faults(
    model: TfliteModel, number: int, sources: Arrays, expected: Array, got: Array
) -> Iterator[Callable[[], Hypothesis | None]]:
    """A hypothesis for each fault of ESP-NN that can hit an operator, whatever the version.

    Where a fault reads what memory happened to hold, its hypothesis agrees with whatever the device gave.

    Args:
        model: the file.
        number: of the operator in the first subgraph.
        sources: its right inputs by name.
        expected: the reference's answer.
        got: the device's, same shape.
    """
    graph, operator = model.subgraphs[0], model.operators[number]
    layer = layer_of(graph, operator)
    if layer is None:
        return
    for fault in FAULTS:
        if modelled(fault) and fault.applies(layer, version_of(fault.since)):
            yield partial(_hypothesis, model, operator, fault, sources=sources, expected=expected, got=got)


def _hypothesis(
    model: TfliteModel,
    operator: Operator,
    fault: EspNnFault,
    *,
    sources: Arrays,
    expected: Array,
    got: Array,
) -> Hypothesis | None:
    names = labels(model)
    inputs = [sources.get(names[number]) if number >= 0 else None for number in operator.inputs]
    answer = answer_of(model, model.subgraphs[0], operator, fault, inputs=inputs, right=expected)
    if answer is None:
        return None
    known = answer.known.reshape(expected.shape)
    return Hypothesis(
        kind="known fault",
        summary=f"{fault.label}, {fault.versions}: {fault.summary}; {fault.todo}",
        values=np.where(known, answer.values.reshape(expected.shape), got),
    )
