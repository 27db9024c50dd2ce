"""The arena of a `.tflite` on a chip: activations, the scratch of its kernels, and TFLM's own records, in one block.

TFLM places what lives only for a while (activations, and scratch while its operator runs) at the head of the
arena and keeps its records of the network at the tail. The head is the same on every machine but for the
scratch, which ESP-NN's kernels ask for by chip and version (`esp_hil.exact.esp_nn_scratch`); the tail is
measured here and is smaller on a chip, whose pointers have four bytes.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass

from esp_hil.errors import HilError
from esp_hil.exact.esp_nn_scratch import LayerScratch, scratch_of
from esp_hil.formats.tflite.interpreter import Interpreter
from esp_hil.formats.tflite.model import TfliteModel

_TAIL_SHARE = 0.75
"""Of the records on this machine, those on a chip: 0.735 and 0.731 for the two networks of esphome#7242 (arena
less what was `available`), rounded up."""

_ALIGNMENT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ArenaStep:
    """While one operator runs: its label, and bytes of activations alive and of its scratch."""

    label: str
    live_bytes: int
    scratch_bytes: int

    @property
    def bytes(self) -> int:
        """Both together."""
        return self.live_bytes + self.scratch_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """What the arena takes.

    Attributes:
        steps: of each operator, in the order in which they run.
        tail_bytes: TFLM's records of the network; 0 if they could not be measured.
        planned_bytes: the head as TFLM's planner made it without scratch, whose order may leave gaps; 0 likewise.
        measured: tflite-micro has planned it here; else only the activations are known.
    """

    steps: tuple[ArenaStep, ...]
    tail_bytes: int
    planned_bytes: int
    measured: bool

    @property
    def head_bytes(self) -> int:
        """The most that lives at a time."""
        return max(self.planned_bytes, *(step.bytes for step in self.steps), 0)

    @property
    def bytes(self) -> int:
        """The whole block."""
        return self.head_bytes + self.tail_bytes

    @property
    def how(self) -> str:
        """How well it is known."""
        return "about" if self.measured else "at least"

    @property
    def peak(self) -> ArenaStep | None:
        """The operator at which most is alive; None of a model without operators."""
        return max(self.steps, key=lambda step: step.bytes, default=None)


def arena_of(model: TfliteModel, image: bytes, *, chip: str = "", esp_nn: str = "off") -> Arena:
    """Plan the arena of a model.

    Args:
        model: the file.
        image: its bytes.
        chip: name of the target, for the scratch of its kernels.
        esp_nn: version of ESP-NN; "" for the newest known, "off" for TFLM's reference kernels.
    """
    scratch = scratch_of(model, chip, esp_nn)
    steps = _steps(model, scratch)
    head, tail = _measured(image)
    return Arena(
        steps=steps,
        tail_bytes=aligned(math.ceil(_TAIL_SHARE * tail)),
        planned_bytes=aligned(head),
        measured=tail > 0,
    )


def aligned(count: int) -> int:
    """Rounded up to what TFLM aligns buffers to."""
    return -(-count // _ALIGNMENT) * _ALIGNMENT


def live_bytes(model: TfliteModel) -> int:
    """The most bytes of activations that are alive while one operator runs, each rounded up to 16."""
    return max((step.live_bytes for step in _steps(model, ())), default=0)


def _measured(image: bytes) -> tuple[int, int]:
    """Head and tail as tflite-micro has them on this machine; (0, 0) if it is not there or refuses the model."""
    if importlib.util.find_spec("tflite_micro") is None:
        return 0, 0
    try:
        with Interpreter(image) as interpreter:
            return interpreter.memory.head_bytes, interpreter.memory.tail_bytes
    except HilError:
        return 0, 0  # another rule says what TFLM has against the model


def _steps(model: TfliteModel, scratch: tuple[LayerScratch, ...]) -> tuple[ArenaStep, ...]:
    """What lives while each operator runs.

    An activation lives from the operator that makes it (an input from the first) to the last that reads it (an
    output to the end). Handles of variables and constants have no place in the head.
    """
    graph = model.subgraphs[0]
    last = len(graph.operators) - 1
    first_use = dict.fromkeys(graph.inputs, 0)
    last_use = dict.fromkeys(graph.outputs, last)
    for place, operator in enumerate(graph.operators):
        for index in operator.outputs:
            first_use.setdefault(index, place)
        for index in operator.inputs:
            if index >= 0 and not graph.tensors[index].constant:
                last_use[index] = max(last_use.get(index, 0), place)
    sizes = {
        index: 0 if graph.tensors[index].dtype == "resource" else aligned(graph.tensors[index].size_bytes)
        for index in first_use
    }
    asked = {layer.place: aligned(layer.bytes) for layer in scratch}
    return tuple(
        ArenaStep(
            label=graph.label(operator),
            live_bytes=sum(
                size
                for index, size in sizes.items()
                if first_use[index] <= place <= last_use.get(index, first_use[index])
            ),
            scratch_bytes=asked.get(place, 0),
        )
        for place, operator in enumerate(graph.operators)
    )
