"""The exact reference of a `.tflite` file: TFLM's reference kernels themselves, as the PyPI package has them.

What a chip with TFLM's portable kernels must answer, integer for integer. (ESP-NN's kernels are other code;
that they give the same integers is what a run on a chip shows.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from esp_hil.errors import InputError
from esp_hil.formats.tflite.interpreter import Interpreter
from esp_hil.formats.tflite.model import Tensor, TfliteModel
from esp_hil.formats.tflite.variables import keeps_state
from esp_hil.tensors import Array, Arrays


def labels(model: TfliteModel) -> tuple[str, ...]:
    """A name for each tensor: its own if no other has it, else "#" and its number."""
    names = [tensor.name for tensor in model.tensors]
    return tuple(
        name if name and names.count(name) == 1 else f"#{number}" for number, name in enumerate(names)
    )


class TflmReference:
    """Runs a `.tflite` model with tflite-micro; interface as `esp_hil.exact.ExactReference`.

    Args:
        image: the bytes of the file.

    Raises:
        FormatError, UnsupportedOperator, RuntimeFailed: see `Interpreter`.
    """

    def __init__(self, image: bytes) -> None:
        self._interpreter = Interpreter(image)
        self.model = self._interpreter.model
        self.memory = self._interpreter.memory
        self._numbers = {name: number for number, name in enumerate(labels(self.model))}
        self._names = tuple(self._numbers)

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """All tensors that `run` can give, in execution order."""
        made = [number for operator in self.model.operators for number in operator.outputs]
        return tuple(self._names[number] for number in made)

    @property
    def streams(self) -> bool:
        """Whether an inference depends on those before it (variables)."""
        return keeps_state(self.model)

    def reset(self) -> None:
        """Forget the state, as after loading."""
        self._interpreter.restart()

    def run(
        self, inputs: Arrays, *, tensors: Sequence[str] | None = None, keep_state: bool = False
    ) -> dict[str, Array]:
        """One inference: arrays in the file's shapes by input name to arrays by tensor name; None: the outputs.

        `keep_state`: variables go on from the run before; else they are as after loading.

        Raises:
            InputError: a name, dtype or shape that the model does not have.
        """
        given = self._one(inputs)
        unknown = [name for name in tensors or () if name not in self.tensor_names]
        if unknown:
            raise InputError(f"the model makes no tensor {unknown[0]!r}")
        if self.streams and not keep_state:
            self.reset()
        if tensors is None or self.streams:
            shapes = [tensor.shape for tensor in self.model.output_tensors]
            answers = self._interpreter.run(given)
            if tensors is not None:
                return {name: self._interpreter.last(self._numbers[name]) for name in tensors}
            return self._outputs([array.reshape(shape) for array, shape in zip(answers, shapes, strict=True)])
        return {name: self._interpreter.tensor(given, self._numbers[name]) for name in tensors}

    def run_all(self, inputs: Arrays) -> dict[str, Array]:
        """One inference with every tensor that an operator makes."""
        return self.run(inputs, tensors=self.tensor_names)

    def run_batch(self, inputs: Arrays) -> dict[str, Array]:
        """Many inferences that know nothing of each other: (N, *item_shape) by input name, likewise by output name.

        N stands in place of a leading 1 of the file's shape, and before a shape that has none.

        Raises:
            InputError: a name, dtype or shape that the model does not have.
        """
        given = self._ordered(inputs)
        if not self.streams:
            return self._outputs(self._interpreter.run(given))
        rows = []
        for row in range(len(given[0])):
            self.reset()
            rows.append(self._interpreter.run([array[row : row + 1] for array in given]))
        return self._outputs([np.concatenate(parts) for parts in zip(*rows, strict=True)])

    def close(self) -> None:
        """End the process behind it."""
        self._interpreter.close()

    def _ordered(self, inputs: Arrays) -> list[Array]:
        names = [self._names[number] for number in self.model.inputs]
        if set(inputs) != set(names):
            raise InputError(f"inputs {sorted(inputs)} given, {sorted(names)} expected")
        return [inputs[name] for name in names]

    def _one(self, inputs: Arrays) -> list[Array]:
        """One inference's inputs, each with an axis of 1 before its item."""
        given = self._ordered(inputs)
        for array, tensor in zip(given, self.model.input_tensors, strict=True):
            if array.shape != tensor.shape:
                raise InputError(
                    f"{array.dtype} {array.shape} for input {tensor.name!r}, which has {tensor.dtype} {tensor.shape}",
                    hint="run takes one inference in the file's shapes, run_batch takes many",
                )
        return [
            array.reshape((1, *tensor.item_shape))
            for array, tensor in zip(given, self.model.input_tensors, strict=True)
        ]

    def _outputs(self, arrays: list[Array]) -> dict[str, Array]:
        names = [self._names[number] for number in self.model.outputs]
        return dict(zip(names, arrays, strict=True))


def io_tensors(model: TfliteModel, numbers: Sequence[int]) -> list[tuple[str, Tensor]]:
    """Name and record of tensors, by their numbers."""
    names = labels(model)
    return [(names[number], model.tensors[number]) for number in numbers]
