"""Planted faults and the search for them, without a line: a broken network answers what a device would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from esp_hil.errors import DeviceFault
from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import EspdlModel
from esp_hil.targets import Family
from esp_hil.tensors import Arrays
from esp_hil.verdict.bisection import Search
from esp_hil.verdict.diverge import Divergence, find
from esp_hil.virtual.broken import BrokenNetwork
from esp_hil.virtual.engine import with_flipped_bits
from esp_hil.virtual.faults import FlippedBit, NodeFault
from esp_hil.wire.status import Status


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault, where it must be found and what it must be called."""

    fault: NodeFault | FlippedBit
    node: str
    kind: str
    summary: str

    @property
    def id(self) -> str:
        what = self.fault.mode or self.fault.fault if isinstance(self.fault, NodeFault) else "flipped bit"
        return f"{what} at {self.node.rsplit('/', 2)[-1] or self.node}"


class Broken:
    """A device with one fault.

    Args:
        model: the file.
        family: whose numerics.
        fault: what is wrong.
        hidden: tensors that it cannot give.
    """

    def __init__(
        self, model: EspdlModel, family: Family, fault: NodeFault | FlippedBit, hidden: Sequence[str] = ()
    ) -> None:
        self.model, self.family, self.hidden = model, family, hidden
        bits = [fault] if isinstance(fault, FlippedBit) else []
        nodes = [fault] if isinstance(fault, NodeFault) else []
        self.exact = ExactReference(model, family, threads=1)
        self.network = BrokenNetwork(with_flipped_bits(model, bits), family, nodes)
        self.asked: list[str] = []

    def search(self, inputs: Sequence[Arrays], start: int = 0) -> tuple[int, Divergence | None]:
        """Send inputs one after the other until an output is wrong; find the first wrong layer.

        Returns:
            The number of the input, and what was found.
        """
        names = self.exact.tensor_names
        outputs = [value.name for value in self.model.graph.outputs]
        for number, arrays in list(enumerate(inputs))[start:]:
            right, got = self.exact.run_all(arrays), self.network.run(arrays, tensors=names)
            wrong = [name for name in outputs if not np.array_equal(right[name], got[name])]
            if not wrong:
                continue

            def fetch(name: str, answers: Arrays = got) -> bytes:
                self.asked.append(name)
                if name in self.hidden:
                    raise DeviceFault("too large", status=Status.TOO_LARGE)
                return answers[name].tobytes()

            earlier = [{**self.exact.run_all(other), **other} for other in inputs[:number][::-1]]
            found = find(
                self.model, self.family, arrays, right, fetch, wrong=wrong, given=arrays, earlier=earlier
            )
            return number, found
        raise AssertionError("the fault reached no output")

    @property
    def budget(self) -> int:
        """How many requests a search may make."""
        return Search(self.model.graph, {}, lambda name: b"").budget
