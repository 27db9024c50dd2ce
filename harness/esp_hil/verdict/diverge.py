"""Where does it first go wrong, and why? For a device that answers other integers than exact.

`find` asks the device for intermediate tensors (bisection.py) until it has the first wrong one, then lets the
known faults compete for an explanation of its values (diagnosis.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from esp_hil.errors import HilError
from esp_hil.exact.accumulators import layer_of
from esp_hil.exact.subgraph import activations_read, computed_infos
from esp_hil.exact.tflite import labels
from esp_hil.formats.espdl import EspdlModel, Node
from esp_hil.formats.tflite.model import TfliteModel
from esp_hil.targets import Family, rounding_of
from esp_hil.tensors import Affine, Array, Arrays
from esp_hil.verdict.bisection import Fetch, Search, SearchStep
from esp_hil.verdict.diagnosis import Diagnosis, Symptom, diagnose
from esp_hil.verdict.difference import FloatDiff, IntegerDiff, compare_answers
from esp_hil.verdict.esp_nn import known_faults
from esp_hil.verdict.tflm_graph import graph_of
from esp_hil.verdict.variants import variants_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Divergence:
    """The first wrong tensor.

    Attributes:
        tensor: its name; a graph input if already that was wrong.
        node: the node that makes it, None for a graph input.
        number: of the node in execution order, -1 for a graph input.
        nodes: how many nodes the graph has.
        exponent: of the tensor; None if float, or if its integers have scale and zero point.
        affine: those, None for a float or an exponent.
        diff: how device and exact reference differ in it; axis 0 is the batch of 1.
        diagnosis: why.
        steps: the requests that found it.
        unconfirmed: sources of the node that were taken for right and could not be fetched.
        got: the device's values, device layout.
        expected: the exact reference's.
        sources: the node's right inputs by name.
    """

    tensor: str
    node: Node | None
    number: int
    nodes: int
    exponent: int | None
    diff: IntegerDiff | FloatDiff
    diagnosis: Diagnosis
    steps: tuple[SearchStep, ...]
    unconfirmed: tuple[str, ...]
    got: Array
    expected: Array
    sources: Arrays
    affine: Affine | None = None

    @property
    def requests(self) -> int:
        """How many tensors the device was asked for."""
        return len(self.steps)

    @property
    def summary(self) -> str:
        """One sentence: where and why."""
        return f"first wrong at {self.place}: {self.diagnosis.summary}"

    @property
    def place(self) -> str:
        """The node, as `node 3 of 8, Conv /conv2/Conv`; or the graph input."""
        if self.node is None:
            return f"input {self.tensor}"
        return f"node {self.number + 1} of {self.nodes}, {self.node.op_type} {self.node.name}"

    @property
    def scale(self) -> str:
        """Exponent, or scale and zero point, in words; `float` without either."""
        if self.affine is not None:
            return f"scale {self.affine.scale:g}, zero point {self.affine.zero_point}"
        return "float" if self.exponent is None else f"exponent {self.exponent}"

    def text(self) -> str:
        """All of it, over several lines."""
        lines = [
            self.summary,
            f"tensor     {self.tensor}, {self.expected.dtype} {list(self.expected.shape)}, {self.scale}",
            f"values     {self.diff.summary}",
        ]
        if isinstance(self.diff, IntegerDiff):
            bins = {f"{lsb:+d}": count for lsb, count in self.diff.histogram_lsb.items() if lsb}
            bins |= {"lower": self.diff.below, "higher": self.diff.above}
            shown = ", ".join(f"{name}: {count}" for name, count in bins.items() if count)
            lines.append(f"LSB        {shown}")
        lines.append(f"requests   {self.requests}: " + ", ".join(f"{s.tensor} {s.state}" for s in self.steps))
        if self.unconfirmed:
            lines.append(f"not fetched, assumed right: {', '.join(self.unconfirmed)}")
        return "\n".join(lines)

    def around(self, reach: int = 4) -> list[tuple[tuple[int, ...], float, float]]:
        """Elements along the last axis around the worst one: index, got, expected."""
        worst = self.diff.worst_index
        if not worst:
            return []
        row, at = worst[:-1], worst[-1]
        last = self.expected.shape[-1]
        indices = [(*row, place) for place in range(max(0, at - reach), min(last, at + reach + 1))]
        return [(index, float(self.got[index]), float(self.expected[index])) for index in indices]

    def save(self, path: Path) -> Path:
        """Write got, expected and the node's sources as an .npz; returns the path.

        Raises:
            HilError: it cannot be written.
        """
        arrays: dict[str, Any] = {"got": self.got, "expected": self.expected}
        arrays |= {f"source {name}": values for name, values in self.sources.items()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, allow_pickle=False, **arrays)
        except OSError as error:
            raise HilError(f"cannot write {path}: {error.strerror}", step="diverge") from None
        return path


def find(
    model: EspdlModel | TfliteModel,
    family: Family,
    inputs: Arrays,
    exact: Arrays,
    fetch: Fetch,
    *,
    wrong: Collection[str],
    given: Arrays | None = None,
    earlier: Sequence[Arrays] = (),
    tolerance_lsb: int = 0,
) -> Divergence | None:
    """Find the first wrong tensor of a device that answered wrongly.

    Args:
        model: the file that the device runs.
        family: of the device.
        inputs: what it was sent, device layout.
        exact: every tensor of the exact reference for these inputs.
        fetch: the bytes of a tensor as the device computes it for the same inputs; each call is a request.
        wrong: the outputs that are known to be wrong.
        given: the inputs as the device holds them, if they could be read back.
        earlier: every tensor of the exact reference for inputs before this one, the last one first.
        tolerance_lsb: differences of integers up to this many LSB are right.

    Returns:
        None if every tensor that was fetched is right, the wrong outputs too: the fault does not repeat.

    Raises:
        HilError: the device stopped answering.
    """
    graph = model.graph if isinstance(model, EspdlModel) else graph_of(model)
    search = Search(graph, exact, fetch, tolerance_lsb)
    right = {**exact, **inputs}
    for name, sent in inputs.items():
        if given is not None and not np.array_equal(given[name], sent):
            return _described(model, family, search, name=name, got=given[name], right=right, earlier=earlier)
    found = search.run(wrong)
    if found is None:
        return None
    got = search.fetched[found]
    return _described(model, family, search, name=found, got=got, right=right, earlier=earlier)


def _described(
    model: EspdlModel | TfliteModel,
    family: Family,
    search: Search,
    *,
    name: str,
    got: Array,
    right: Arrays,
    earlier: Sequence[Arrays],
) -> Divergence:
    graph, node = search.graph, search.maker(name)
    number = -1 if node is None else graph.nodes.index(node)
    sources = {} if node is None else {source: right[source] for source in activations_read(graph, node)}
    symptom = Symptom(
        got=got,
        expected=right[name],
        rounding=rounding_of(family),
        earlier=tuple(other[name] for other in earlier if name in other),
    )
    exponent = affine = None
    if isinstance(model, EspdlModel):
        infos = computed_infos(model, family)
        exponent = next(iter(infos[name].exponents), None)
        if node is not None:
            layer = None
            if node.op_type in {"Conv", "Gemm"}:
                layer = layer_of(model.graph, node, sources[node.inputs[0]], infos)
            variants = variants_of(model, family, number=number, name=name, sources=sources, infos=infos)
            symptom = replace(symptom, layer=layer, variants=variants)
    else:
        affine = model.tensors[labels(model).index(name)].affine
        if node is not None:
            faults = known_faults(model, number, sources, right[name], got)
            symptom = replace(symptom, variants=tuple(faults))
    return Divergence(
        tensor=name,
        node=node,
        number=number,
        nodes=len(graph.nodes),
        exponent=exponent,
        affine=affine,
        diff=compare_answers(got, right[name]),
        diagnosis=diagnose(symptom),
        steps=tuple(search.steps),
        unconfirmed=search.unconfirmed(name),
        got=got,
        expected=right[name],
        sources=sources,
    )
