"""One network of a task: a device file and what computes it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import FormatError
from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import read_espdl
from esp_hil.formats.espdl.model import EspdlModel, ValueInfo
from esp_hil.targets import Family
from esp_hil.tensors import Array, Arrays


class Compute(Protocol):
    """What runs a network: the exact reference, or a device."""

    def __call__(self, network: str, inputs: Arrays, /) -> Arrays:
        """The outputs by name, integers in the device's layout, for a network of the task."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTensor:
    """An input or output: name, dtype, shape on the device, exponent."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    exponent: int

    def real(self, integers: Array) -> NDArray[np.float32]:
        """The values of its integers, float32, exact."""
        return np.ldexp(integers.astype(np.float32), self.exponent)


class Network:
    """A device file, read; the exact reference is made when it is first needed.

    Args:
        path: of the .espdl file.
        family: whose numerics.

    Raises:
        FormatError: the file is damaged, or no network with one NHWC image as its input.
    """

    def __init__(self, path: Path, family: Family) -> None:
        self.path = path
        self.family: Family = family
        self.model: EspdlModel = read_espdl(path)
        inputs = [_tensor(value) for value in self.model.graph.inputs]
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[3] != 3:
            raise FormatError(f"{path.name} does not take one RGB picture", hint="another file is needed")
        self.input: NetworkTensor = inputs[0]
        self.outputs: dict[str, NetworkTensor] = {
            value.name: _tensor(value) for value in self.model.graph.outputs
        }

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the input in pixels."""
        return self.input.shape[2], self.input.shape[1]

    @cached_property
    def exact(self) -> ExactReference:
        """What a chip of the family must answer."""
        return ExactReference(self.model, self.family)

    def run(self, inputs: Arrays) -> Arrays:
        """The exact reference's answer."""
        return self.exact.run(inputs)


def _tensor(value: ValueInfo) -> NetworkTensor:
    return NetworkTensor(name=value.name, dtype=value.dtype, shape=value.shape, exponent=value.exponents[0])
