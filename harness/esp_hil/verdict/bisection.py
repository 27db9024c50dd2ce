"""Bisection over a graph: which tensor is the first wrong one, in as few requests as can be.

Asked for is always the tensor that divides those still in question best. If it is wrong, only what it is
made from stays in question; if it is right, what it is made from is taken for right too. What is left is a
wrong tensor all of whose sources are right. Sources that were only taken for right are fetched at the end,
because a later layer can hide a wrong value (ReLU, pooling, saturation).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import DeviceFault, InputError
from esp_hil.exact.subgraph import activations_read
from esp_hil.formats.espdl import Graph, Node

Fetch = Callable[[str], bytes]
"""The bytes of a tensor as the device computes it; raises DeviceFault if it cannot give that one."""

State = Literal["right", "wrong", "not available"]
EXTRA_REQUESTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStep:
    """One request of the search: which tensor, what came of it, and the device's words if it refused."""

    tensor: str
    state: State
    note: str = ""


class Search:
    """A search for the first wrong tensor.

    Args:
        graph: of the model.
        exact: tensors of the exact reference by name; only these are asked for.
        fetch: asks the device.
        tolerance_lsb: integers that differ by up to this are right.

    Attributes:
        graph: that is searched.
        fetched: what the device gave, by name.
        steps: the requests so far.
        budget: how many requests there may be.
    """

    def __init__(
        self, graph: Graph, exact: Mapping[str, NDArray[Any]], fetch: Fetch, tolerance_lsb: int = 0
    ) -> None:
        self.fetched: dict[str, NDArray[Any]] = {}
        self.steps: list[SearchStep] = []
        self.budget = math.ceil(math.log2(max(2, len(graph.nodes)))) + EXTRA_REQUESTS
        self.graph = graph
        self._exact = exact
        self._fetch = fetch
        self._tolerance_lsb = tolerance_lsb
        self._states: dict[str, State] = {}
        self._names = [name for node in graph.nodes for name in node.outputs if name in exact]
        self._places = {name: place for place, name in enumerate(self._names)}
        self._ancestors = self._find_ancestors()

    def run(self, wrong: Collection[str]) -> str | None:
        """Find a wrong tensor whose sources are right, beginning with outputs known to be wrong.

        Returns:
            Its name; None if the wrong outputs turn out right when they are asked for.

        Raises:
            InputError: the device gave a tensor of another size.
        """
        for name in sorted(set(wrong) & set(self._places), key=self._places.__getitem__):
            found = self._below(name)
            if found is not None:
                return found
        return None

    def maker(self, name: str) -> Node | None:
        """The node that makes a tensor; None for a graph input."""
        return next((node for node in self.graph.nodes if name in node.outputs), None)

    def unconfirmed(self, name: str) -> tuple[str, ...]:
        """Sources of a tensor's node that were never seen to be right."""
        node = self.maker(name)
        sources = () if node is None else activations_read(self.graph, node)
        return tuple(name for name in sources if name in self._places and self._states.get(name) != "right")

    def _find_ancestors(self) -> list[int]:
        """For each tensor, as a bit set, those that it is made from and itself."""
        ancestors: dict[str, int] = {}
        for node in self.graph.nodes:
            before = 0
            for name in node.inputs:
                before |= ancestors.get(name, 0)
            for name in node.outputs:
                place = self._places.get(name)
                ancestors[name] = before if place is None else before | 1 << place
        return [ancestors[name] for name in self._names]

    def _below(self, suspect: str) -> str | None:
        question = self._made_from(suspect)
        while len(self.steps) < self.budget:
            name = self._best(question)
            if name is None:
                open_sources = [name for name in self.unconfirmed(suspect) if name not in self._states]
                if not open_sources:
                    break
                name = open_sources[0]
                question = self._made_from(name)  # in question again if it should be wrong
            if self._ask(name) == "wrong":
                suspect = name
                question &= self._made_from(name)
            elif self._states[name] == "right":
                question &= ~(self._made_from(name) | self._bit(name))
            else:
                question &= ~self._bit(name)
        known = suspect in self._states or self._ask(suspect) == "wrong"
        return suspect if known and self._states[suspect] == "wrong" else None

    def _bit(self, name: str) -> int:
        return 1 << self._places[name]

    def _made_from(self, name: str) -> int:
        return self._ancestors[self._places[name]] & ~self._bit(name)

    def _best(self, question: int) -> str | None:
        """The tensor that divides those in question most evenly; of equals the smallest."""
        total = question.bit_count()
        best: tuple[int, int, str] | None = None
        rest = question
        while rest:
            place = (rest & -rest).bit_length() - 1
            rest &= rest - 1
            name = self._names[place]
            inside = (self._ancestors[place] & question).bit_count()
            # wrong leaves `inside - 1` in question, right leaves `total - inside`
            key = (max(inside - 1, total - inside), self._exact[name].nbytes, name)
            best = key if best is None else min(best, key)
        return best[2] if best else None

    def _ask(self, name: str) -> State:
        expected = self._exact[name]
        state: State = "not available"
        note = ""
        try:
            data = self._fetch(name)
        except DeviceFault as error:
            note = error.message
        else:
            if len(data) != expected.nbytes:
                raise InputError(
                    f"the device gave {len(data)} bytes of tensor {name!r}, it has {expected.nbytes}",
                    hint="does it run the same file?",
                    step="diverge",
                )
            array = np.frombuffer(data, expected.dtype.newbyteorder("<")).astype(expected.dtype)
            self.fetched[name] = array.reshape(expected.shape)
            state = "right" if self._same(self.fetched[name], expected) else "wrong"
        self._states[name] = state
        self.steps.append(SearchStep(tensor=name, state=state, note=note))
        return state

    def _same(self, got: NDArray[Any], expected: NDArray[Any]) -> bool:
        if expected.dtype.kind == "f":
            return np.array_equal(got, expected, equal_nan=True)
        if not self._tolerance_lsb:
            return np.array_equal(got, expected)
        return bool(np.abs(got.astype(np.int64) - expected).max() <= self._tolerance_lsb)
