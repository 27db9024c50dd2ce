"""A `.tflite` model with the known faults of a version of ESP-NN, as a chip computes it.

The operators between two faulty ones run in tflite-micro; a faulty one's answer is computed from its right one. What
depends on memory on a chip (see `Answer.known`) is here what the model of the fault puts in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from numpy.typing import NDArray

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.esp_nn import EspNnFault, Version, answer_of, faults_of, layer_of, modelled
from esp_hil.formats.tflite.interpreter import Interpreter
from esp_hil.formats.tflite.model import TfliteModel
from esp_hil.formats.tflite.writer import operators_between


class EspNnModel:
    """A model that answers as a chip with ESP-NN does. Close it.

    Args:
        model: the file that was read.
        image: its bytes.
        chip: name of the chip.
        version: of ESP-NN.

    Raises:
        UnsupportedOperator: the model has several subgraphs, and a layer with a fault.
    """

    def __init__(self, model: TfliteModel, image: bytes, chip: str, version: Version) -> None:
        self._model = model
        self._faults: dict[int, EspNnFault] = {}
        for operator in model.operators:
            layer = layer_of(model.subgraphs[0], operator)
            found = [fault for fault in faults_of(layer, chip, version) if modelled(fault)] if layer else []
            if found:
                self._faults[operator.index] = found[0]
        if self._faults and len(model.subgraphs) > 1:
            raise UnsupportedOperator("planted fault: faults of ESP-NN only in models of one subgraph")
        edges = sorted({0, len(model.operators), *self._faults, *(index + 1 for index in self._faults)})
        self._parts: list[tuple[int, int, Interpreter]] = []
        if self._faults:
            for first, last in pairwise(edges):
                self._parts.append((first, last, Interpreter(operators_between(image, first, last))))

    def run(self, inputs: Sequence[NDArray[Any]]) -> dict[int, NDArray[Any]] | None:
        """Every tensor by number, (1, *item_shape), for one inference; None if no layer has a fault that is modelled.

        Raises:
            RuntimeFailed: TFLM crashed or ran too long.
        """
        if not self._parts:
            return None
        model = self._model
        values = dict(zip(model.inputs, inputs, strict=True))
        for first, last, interpreter in self._parts:
            operators = model.operators[first:last]
            made = list(dict.fromkeys(number for item in operators for number in item.outputs))
            read = dict.fromkeys(number for item in operators for number in item.inputs)
            given = [values[n] for n in read if n >= 0 and n not in made and not model.tensors[n].constant]
            values |= dict(zip(made, interpreter.run(given), strict=True))
            if first in self._faults:
                self._spoil(first, values)
        return values

    def _spoil(self, index: int, values: dict[int, NDArray[Any]]) -> None:
        operator = self._model.operators[index]
        (number,) = operator.outputs
        inputs = [values.get(read) if read >= 0 else None for read in operator.inputs]
        fault = self._faults[index]
        answer = answer_of(
            self._model, self._model.subgraphs[0], operator, fault, inputs=inputs, right=values[number]
        )
        if answer is not None:
            values[number] = answer.values.reshape(values[number].shape)

    def close(self) -> None:
        """End the processes behind it."""
        for _, _, interpreter in self._parts:
            interpreter.close()
