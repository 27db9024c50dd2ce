"""A float ONNX model on onnxruntime, in batches, with any of its tensors as outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import GoldenError, InputError

BATCH = 250


class FloatModel:
    """One float model with one input.

    Args:
        path: the ONNX file.
        tensors: further tensors to give beside its outputs.
        batch: at most so many inputs at a time; every tensor of a batch is held at once.

    Raises:
        GoldenError: the file is not readable, has several inputs, or lacks a tensor.
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
        if len(inputs) != 1:
            names = ", ".join(given.name for given in inputs)
            raise GoldenError(f"{path} has {len(inputs)} inputs ({names})", hint="models have one input here")
        (given,) = inputs
        self.input: str = given.name
        self.shape: tuple[int | str | None, ...] = tuple(given.shape)
        self.fixed_batch = isinstance(given.shape[0], int)
        self.batch: int = given.shape[0] if self.fixed_batch else batch

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what `run` gives."""
        return tuple(output.name for output in self._session.get_outputs())

    def run(self, inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Answers to (N, *shape) by name, each (N, ...).

        Raises:
            InputError: a model with a fixed batch gets another number of inputs.
        """
        if self.fixed_batch and len(inputs) % self.batch:
            raise InputError(f"{len(inputs)} inputs, the float model takes {self.batch} at a time")
        parts = [
            self._session.run(None, {self.input: inputs[start : start + self.batch]})
            for start in range(0, len(inputs), self.batch)
        ]
        return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(self.outputs)}


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
