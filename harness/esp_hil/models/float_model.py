"""A float ONNX model on onnxruntime, in batches, with any of its tensors as outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esp_hil.errors import GoldenError, InputError
from esp_hil.tensors import Array, Arrays

BATCH = 250


class FloatModel:
    """One float model.

    Inferences are stacked where every input has a batch axis of free size (or all of the same fixed one) and every
    output comes back with it; else they are made one by one.

    Args:
        path: the ONNX file.
        tensors: further tensors to give beside its outputs.
        batch: at most so many inputs at a time; every tensor of a batch is held at once.

    Raises:
        GoldenError: the file is not readable, or lacks a tensor.
    """

    def __init__(self, path: Path, tensors: Sequence[str] = (), *, batch: int = BATCH) -> None:
        import onnxruntime

        source: Any = str(path)
        if tensors:
            source = _with_outputs(path, tensors)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                source, options, providers=["CPUExecutionProvider"]
            )
        except Exception as cause:  # onnxruntime's own exceptions have no common base
            raise GoldenError(f"{path}: onnxruntime cannot load it: {cause}") from None
        inputs = self._session.get_inputs()
        self._path = path
        self.shapes: dict[str, tuple[int | str | None, ...]] = {
            given.name: tuple(given.shape) for given in inputs
        }
        self.dtypes: dict[str, np.dtype[Any]] = {given.name: _dtype(given.type) for given in inputs}
        firsts = {shape[0] if shape else 0 for shape in self.shapes.values()}
        fixed = [size for size in firsts if isinstance(size, int)]
        self.fixed_batch = bool(fixed)
        self._stacks = not fixed or (len(firsts) == 1 and fixed[0] > 0)
        self.batch: int = batch if not fixed else fixed[0] if self._stacks else 1

    @property
    def input(self) -> str:
        """Name of the only input.

        Raises:
            GoldenError: there are several.
        """
        if len(self.shapes) != 1:
            raise GoldenError(f"{self._path} has {len(self.shapes)} inputs ({', '.join(self.shapes)})")
        return next(iter(self.shapes))

    @property
    def shape(self) -> tuple[int | str | None, ...]:
        """Shape of the only input, with its batch axis."""
        return self.shapes[self.input]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what `run` gives."""
        return tuple(output.name for output in self._session.get_outputs())

    def run(self, inputs: Array | Arrays) -> dict[str, Array]:
        """Answers by name, each (N, ...).

        Args:
            inputs: (N, *shape) by name, or those of the only input; cast to the type that the model takes.

        Raises:
            InputError: a model with a fixed batch gets another number of inputs, a name is missing or unknown, or a
                shape does not fit.
        """
        named = {self.input: inputs} if isinstance(inputs, np.ndarray) else inputs
        if set(named) != set(self.shapes):
            raise InputError(f"inputs {', '.join(named)} given, the float model has {', '.join(self.shapes)}")
        feed = {name: array.astype(self.dtypes[name], copy=False) for name, array in named.items()}
        count = len(next(iter(feed.values())))
        stacks = self._stacks and all(array.ndim == len(self.shapes[name]) for name, array in feed.items())
        if stacks and self.fixed_batch and count % self.batch:
            raise InputError(f"{count} inputs, the float model takes {self.batch} at a time")
        size = min(self.batch, count) if stacks else 1
        parts: list[list[Array]] = []
        for start in range(0, count, size):
            part = {name: array[start : start + size] for name, array in feed.items()}
            answers = self._stacked(part) if stacks else self._one_by_one(part)
            parts.append(answers)
        return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(self.outputs)}

    def _stacked(self, part: Mapping[str, Array]) -> list[Array]:
        """Answers to a batch; where it is not the first axis of each (a recurrent layer's state), one by one."""
        count = len(next(iter(part.values())))
        answers = self._answers(part)
        if all(answer.shape[:1] == (count,) for answer in answers):
            return answers
        return self._one_by_one(part)

    def _one_by_one(self, part: Mapping[str, Array]) -> list[Array]:
        rows = []
        for row in range(len(next(iter(part.values())))):
            single = {name: self._single(name, array[row]) for name, array in part.items()}
            rows.append([_item(answer) for answer in self._answers(single)])
        return [np.concatenate([row[i] for row in rows]) for i in range(len(self.outputs))]

    def _single(self, name: str, item: Array) -> Array:
        """One inference's input, with the batch axis that the file gives it."""
        return item if item.ndim == len(self.shapes[name]) else item[np.newaxis]

    def _answers(self, feed: Mapping[str, Array]) -> list[Array]:
        try:
            answers: list[Array] = self._session.run(None, dict(feed))
        except Exception as cause:  # as above
            said = str(cause).splitlines()[0]
            raise InputError(f"the float model refuses its inputs: {said}") from None
        return answers


def _item(answer: Array) -> Array:
    """An answer to one inference as (1, *item)."""
    return answer if answer.shape[:1] == (1,) else answer[np.newaxis]


_DTYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(bool)": "bool",
}  # fmt: skip


def _dtype(said: str) -> np.dtype[Any]:
    """Numpy's type of onnxruntime's words for it."""
    return np.dtype(_DTYPES.get(said) or said.removeprefix("tensor(").removesuffix(")"))


def _with_outputs(path: Path, tensors: Sequence[str]) -> bytes:
    """The model's bytes with more of its tensors as outputs."""
    import onnx

    model = onnx.load(path)
    made = {name for node in model.graph.node for name in node.output}
    there = {output.name for output in model.graph.output}
    for name in tensors:
        if name not in made:
            raise GoldenError(f"{path} has no tensor {name!r}")
        if name not in there:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    data: bytes = model.SerializeToString()
    return data
