"""Which numeric family to reproduce where a file does not name one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from esp_hil.errors import HilError, UnsupportedOperator
from esp_hil.formats.espdl.family import possible_families
from esp_hil.formats.espdl.model import FLOAT_DTYPES, EspdlModel
from esp_hil.targets import Family
from esp_hil.tensors import Array, Arrays

RunOnce = Callable[[Family, Arrays], dict[str, Array]]
"""The graph outputs for one input in the numerics of a family."""
Evidence = Literal["caller", "file", "test tensors", "assumed"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A family and how it was found.

    Attributes:
        family: whose numerics.
        evidence: "caller" named it; "file": the file can be for no other; "test tensors": of those it can be
            for, only this one gives the answer that the exporter stored in the file; "assumed": several do,
            and this is the first of them.
        others: families that the file can be for as well, if it was assumed.
    """

    family: Family
    evidence: Evidence
    others: tuple[Family, ...] = ()


def choose_family(model: EspdlModel, family: Family | None, run_once: RunOnce) -> Choice:
    """The family to reproduce.

    Args:
        model: as `esp_hil.formats.espdl.read_espdl` gives it.
        family: what the caller named, if anything.
        run_once: runs the model; asked where the file can be for several families.

    Raises:
        UnsupportedOperator: the file cannot be for the family that the caller named.
    """
    possible = possible_families(model.graph, model.metadata)
    if family is not None:
        if family not in possible and not _only_guessed(model, possible, family):
            raise UnsupportedOperator(
                f"model {model.name!r} is for {' or '.join(possible)}, not for {family}",
                hint="filters are packed for one family; quantize for this target again",
            )
        return Choice(family, "caller")
    if len(possible) == 1:
        return Choice(possible[0], "file")
    agreeing = [candidate for candidate in possible if _gives_stored_answer(model, candidate, run_once)]
    if len(agreeing) == 1:
        return Choice(agreeing[0], "test tensors")
    candidates = tuple(agreeing) or possible
    return Choice(candidates[0], "assumed", candidates[1:])


def _only_guessed(model: EspdlModel, possible: tuple[Family, ...], family: Family) -> bool:
    """Whether the file could be for this family all the same.

    esp32s3 and esp32p4 pack filters alike; that a bias is beyond what exporters write for esp32s3 is no proof. One
    exponent per channel is.
    """
    per_channel = any(len(tensor.exponents) > 1 for tensor in model.graph.initializers.values())
    return "c" not in (*possible, family) and not per_channel and "target" not in model.metadata


def _gives_stored_answer(model: EspdlModel, family: Family, run_once: RunOnce) -> bool:
    """Whether the test inputs stored in the file give its test outputs; True if there are none."""
    graph = model.graph
    wanted = {name: tensor for name, tensor in graph.test_outputs.items() if tensor.dtype not in FLOAT_DTYPES}
    if set(graph.test_inputs) != {value.name for value in graph.inputs} or not wanted:
        return True
    inputs = {
        name: np.asarray(tensor.data).reshape(tensor.shape) for name, tensor in graph.test_inputs.items()
    }
    try:
        answers = run_once(family, inputs)
    except HilError:
        return True
    return all(
        name in answers and np.array_equal(answers[name].reshape(-1), np.asarray(tensor.data))
        for name, tensor in wanted.items()
    )
