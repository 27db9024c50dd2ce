"""The exact reference: what a chip of a numeric family must answer, integer for integer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import InputError
from harness.espdl.exact.lower import Lowered, can_batch, lower, tensor_names
from harness.espdl.exact.proof import Proof
from harness.espdl.model import EspdlModel, ValueInfo
from harness.targets import Family

if TYPE_CHECKING:
    import onnxruntime

Arrays = dict[str, NDArray[Any]]
BATCH_SIZE = 64


class ExactReference:
    """Runs an `.espdl` model in exact arithmetic with onnxruntime.

    Args:
        model: as `harness.espdl.read_espdl` gives it.
        family: whose numerics; None: the one the file was made for.
        threads: of onnxruntime; 0: one per core.

    Raises:
        UnsupportedOperator: an operator or type that ESP-DL does not register.
    """

    def __init__(self, model: EspdlModel, family: Family | None = None, *, threads: int = 0) -> None:
        self.model = model
        self.family: Family = family or model.family or "c"
        self._threads = threads
        self._sessions: dict[tuple[tuple[str, ...], bool], _Session] = {}
        self._batches: bool | None = None
        self._state: Arrays = {}
        self._session(self._output_names(), batched=False)

    @property
    def inputs(self) -> tuple[ValueInfo, ...]:
        """Graph inputs: name, dtype, shape and exponent on the device."""
        return self.model.graph.inputs

    @property
    def outputs(self) -> tuple[ValueInfo, ...]:
        """Graph outputs."""
        return self.model.graph.outputs

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """All tensors that `run` can give, in execution order."""
        return tensor_names(self.model.graph)

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """Per node, which arithmetic is used and why it is exact."""
        return self._session(self._output_names(), batched=False).lowered.proofs

    def run(self, inputs: Mapping[str, NDArray[Any]], *, tensors: Sequence[str] | None = None) -> Arrays:
        """One inference.

        Args:
            inputs: the device's integers by input name, in the device's dtype, layout and shape.
            tensors: which tensors to give; None: the graph outputs.

        Returns:
            The device's integers by tensor name. What StreamingCache nodes remember carries over to the next call.

        Raises:
            InputError: a name, dtype or shape that the model does not have.
        """
        self._check(inputs, batched=False)
        names = self._output_names() if tensors is None else tuple(tensors)
        return self._session(names, batched=False).run(inputs, self._state)

    def run_all(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """One inference with every tensor that a node makes."""
        return self.run(inputs, tensors=self.tensor_names)

    def run_batch(
        self, inputs: Mapping[str, NDArray[Any]], *, tensors: Sequence[str] | None = None
    ) -> Arrays:
        """Many independent inferences.

        Args:
            inputs: as for `run`, but (N, *shape[1:]) where a single input has (1, *shape[1:]), or (N, *shape) where the first axis
                is not 1.
            tensors: which tensors to give; None: the graph outputs.

        Returns:
            (N, *shape[1:]) or (N, *shape), likewise. Every inference starts with empty StreamingCaches.

        Raises:
            InputError: a name, dtype or shape that does not fit.
        """
        count = self._check(inputs, batched=True)
        names = self._output_names() if tensors is None else tuple(tensors)
        if self._batches is None:
            self._batches = can_batch(self.model, self.family)
        if self._batches:
            session = self._session(names, batched=True)
            parts = [
                session.run({name: array[start : start + BATCH_SIZE] for name, array in inputs.items()}, {})
                for start in range(0, count, BATCH_SIZE)
            ]
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        session = self._session(names, batched=False)
        shapes = {value.name: value.shape for value in self.inputs}
        rows = [
            session.run({name: array[index].reshape(shapes[name]) for name, array in inputs.items()}, {})
            for index in range(count)
        ]
        return {name: _stacked([row[name] for row in rows]) for name in rows[0]}

    def reset(self) -> None:
        """Empty all StreamingCaches, as `dl::Model::reset` does."""
        self._state = {}

    def _output_names(self) -> tuple[str, ...]:
        return tuple(value.name for value in self.outputs)

    def _session(self, names: tuple[str, ...], *, batched: bool) -> _Session:
        key = (names, batched)
        if key not in self._sessions:
            lowered = lower(self.model, self.family, tensors=names, batched=batched)
            self._sessions[key] = _Session(lowered, self._threads)
        return self._sessions[key]

    def _check(self, inputs: Mapping[str, NDArray[Any]], *, batched: bool) -> int:
        """Number of samples, 1 if not batched."""
        expected = {value.name: value for value in self.inputs}
        if set(inputs) != set(expected):
            raise InputError(
                f"inputs {sorted(inputs)} given, {sorted(expected)} expected", hint="names are the .espdl's"
            )
        counts = set()
        for name, value in expected.items():
            array = inputs[name]
            shape = value.shape
            if batched and array.ndim:
                counts.add(array.shape[0])
                stacked = (array.shape[0], *(shape[1:] if shape[:1] == (1,) else shape))
                shape = stacked
            if array.shape != shape or str(array.dtype) != value.dtype:
                raise InputError(
                    f"input {name!r} is {array.dtype} {array.shape}, expected {value.dtype} {shape}",
                    hint="arrays are the device's integers in the device's layout",
                )
        if batched and (len(counts) != 1 or 0 in counts):
            raise InputError(
                f"batches of {sorted(counts)} samples", hint="stack as many of every input, at least one"
            )
        return counts.pop() if batched else 1


class _Session:
    """A lowered graph, loaded."""

    def __init__(self, lowered: Lowered, threads: int) -> None:
        self.lowered = lowered
        self._inputs = {value.name for value in lowered.inputs}
        self._names = [value.name for value in lowered.outputs if value.name not in self._inputs]
        self._fetch = self._names + [state.output_name for state in lowered.states]
        self._session = open_session(lowered.model.SerializeToString(), threads)

    def run(self, inputs: Mapping[str, NDArray[Any]], state: Arrays) -> Arrays:
        """Outputs by name; `state` is replaced by what it is afterwards."""
        feed = dict(inputs)
        for cache in self.lowered.states:
            feed[cache.input_name] = state.get(cache.input_name, np.zeros(cache.shape, cache.dtype))
        values = dict(zip(self._fetch, self._session.run(self._fetch, feed), strict=True))
        for cache in self.lowered.states:
            state[cache.input_name] = values.pop(cache.output_name)
        for value in self.lowered.outputs:
            if value.name in self._inputs:
                values[value.name] = inputs[value.name]
        return values


def open_session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the CPU, silent unless something is wrong."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _stacked(rows: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(rows) if rows[0].shape[:1] == (1,) else np.stack(rows)
