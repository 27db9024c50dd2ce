"""Parts of a graph as models of their own: one node, or everything between two of them.

The exact reference of such a part answers what the device must answer if it is given the part's inputs, so
that a single layer can be computed again, with or without something changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace

from esp_hil.formats.espdl.model import EspdlModel, Graph, Node, ValueInfo
from esp_hil.targets import Family


def part_of(
    model: EspdlModel,
    start: int,
    stop: int,
    *,
    infos: Mapping[str, ValueInfo],
    outputs: Collection[str] | None = None,
) -> EspdlModel:
    """The nodes `start` to `stop` (exclusive, execution order) as a model.

    Args:
        model: the whole.
        start: number of the first node.
        stop: number after the last one.
        infos: every activation by name, with the shape that ESP-DL computes for it.
        outputs: names of activations that the part must give; None: whatever a later node or the model gives
            on, and with none such whatever its last node makes.

    Returns:
        A model whose inputs are the activations that these nodes read and do not make.
    """
    nodes = model.graph.nodes[start:stop]
    made = [name for node in nodes for name in node.outputs if name]
    read = [name for node in nodes for name in activations_read(model.graph, node)]
    inputs = [name for name in dict.fromkeys(read) if name not in made]
    if outputs is None:
        later = {name for node in model.graph.nodes[stop:] for name in node.inputs}
        later |= {value.name for value in model.graph.outputs}
        outputs = [name for name in made if name in later] or [name for name in nodes[-1].outputs if name]
    graph = replace(
        model.graph,
        nodes=nodes,
        inputs=tuple(infos[name] for name in inputs),
        outputs=tuple(infos[name] for name in outputs),
        values={**model.graph.values, **infos},
        test_inputs={},
        test_outputs={},
    )
    return changed(model, graph, f"nodes {start} to {stop}: {', '.join(outputs)}")


def changed(model: EspdlModel, graph: Graph, change: str) -> EspdlModel:
    """The model with another graph, under another digest: the cache of lowered graphs goes by it."""
    return replace(model, graph=graph, sha256=hashlib.sha256(f"{model.sha256} {change}".encode()).hexdigest())


def computed_infos(model: EspdlModel, family: Family) -> dict[str, ValueInfo]:
    """Every activation by name, with the shape that ESP-DL computes for it where the file's is another.

    Raises:
        UnsupportedOperator: an operator that ESP-DL does not have.
    """
    from esp_hil.exact.lower import lower, tensor_names

    lowered = lower(model, family, tensors=tensor_names(model.graph))
    return {value.name: value for value in (*lowered.inputs, *lowered.outputs)}


def activations_read(graph: Graph, node: Node) -> tuple[str, ...]:
    """Names of the activations that a node reads, without its constants, each once."""
    return tuple(dict.fromkeys(name for name in node.inputs if name and name not in graph.initializers))
