"""A task whose networks run elsewhere, many inputs at a time.

A board has one model loaded; loading another takes seconds. So all pictures go through the first network, then
all that came of them through the second. A network's answers are remembered by its input. In each round the
task runs with what is known, the exact reference stands in for what is not, and what was missing of the first
such network is asked for. It ends when nothing is missing: after one round more than there are networks, or a
few more where a device answers wrongly and the next network therefore sees something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import HilError
from esp_hil.tasks.image import Image
from esp_hil.tasks.results import Results
from esp_hil.tasks.task import Task
from esp_hil.tensors import Arrays

_ROUNDS = 20
Key = tuple[str, bytes]


class Ask(Protocol):
    """What answers for a network, in order."""

    def __call__(self, network: str, inputs: Sequence[NDArray[Any]], /) -> Sequence[Arrays]:
        """The outputs for each input (1, height, width, 3)."""
        ...


def key_of(network: str, values: NDArray[Any]) -> Key:
    """What a network's answer is remembered by."""
    return network, hashlib.sha256(np.ascontiguousarray(values).tobytes()).digest()


def answer_all(
    task: Task, images: Mapping[str, Image], ask: Ask, answers: Mapping[Key, Arrays] | None = None
) -> dict[str, Results]:
    """The results of all pictures, by name, with every network's outputs from `ask`.

    Args:
        task: which.
        images: by name.
        ask: runs a network on many inputs.
        answers: that are known already, by `key_of`.

    Raises:
        HilError: the answers lead on and on to other inputs.
    """
    known: dict[Key, Arrays] = dict(answers or {})
    stand_ins: dict[Key, Arrays] = {}
    for _ in range(_ROUNDS):
        wanted: dict[str, dict[Key, NDArray[Any]]] = {}

        def compute(
            network: str, inputs: Arrays, wanted: dict[str, dict[Key, NDArray[Any]]] = wanted
        ) -> Arrays:
            (values,) = inputs.values()
            key = key_of(network, values)
            if key in known:
                return known[key]
            wanted.setdefault(network, {})[key] = values
            if key not in stand_ins:
                stand_ins[key] = task.exact(network, inputs)
            return stand_ins[key]

        results = {name: task.run(image, compute=compute) for name, image in images.items()}
        missing = next((network for network in task.networks if network in wanted), None)
        if missing is None:
            return results
        rows = wanted[missing]
        known.update(zip(rows, ask(missing, list(rows.values())), strict=True))
    raise HilError(f"{task.name}: the device's answers lead to other inputs again and again")
