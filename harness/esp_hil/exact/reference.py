"""The exact reference: what a chip of a numeric family must answer, integer for integer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from esp_hil.errors import InputError
from esp_hil.exact.cache import lower_cached
from esp_hil.exact.filters import Kernels
from esp_hil.exact.integer import worthwhile
from esp_hil.exact.lower import Lowered, NotBatchable, lower, tensor_names
from esp_hil.exact.lowering import State
from esp_hil.exact.numerics import Choice, choose_family
from esp_hil.exact.probe import available
from esp_hil.exact.proof import Doubt, Headroom, Proof
from esp_hil.exact.session import open_session
from esp_hil.formats.espdl.model import EspdlModel, ValueInfo
from esp_hil.targets import Family
from esp_hil.tensors import Array, Arrays

BATCH_SIZE = 64
Remembered = dict[str, tuple[Array, int]]
"""What StreamingCaches remember, by the name of the graph's input: numbers, and which of them stands for 0."""
_TOP_BIT = np.uint8(0x80)


class ExactReference:
    """Runs an `.espdl` model in exact arithmetic with onnxruntime.

    Args:
        model: as `esp_hil.formats.espdl.read_espdl` gives it.
        family: whose numerics; None: found from the file, see `choice`.
        threads: of onnxruntime; 0: one per core.
        kernels: whose answers where those of a chip and of ESP-DL compiled for a PC differ; see `Kernels`.
        integer: use onnxruntime's integer kernels where a layer is proved exact, if there are any that sum
            exactly on this machine; None: if the model is large enough to gain by it.
        esp_dl: version of ESP-DL to reproduce; "" for the newest known.

    Attributes:
        choice: the family and how it was found.

    Raises:
        UnsupportedOperator: an operator or type that ESP-DL does not register, or a family that the file is
            not for.
    """

    def __init__(
        self,
        model: EspdlModel,
        family: Family | None = None,
        *,
        threads: int = 0,
        kernels: Kernels = "chip",
        integer: bool | None = None,
        esp_dl: str = "",
    ) -> None:
        self.model = model
        self._esp_dl = esp_dl
        self.choice: Choice = choose_family(
            model, family, lambda candidate, inputs: run_once(model, candidate, inputs, kernels, esp_dl)
        )
        self._threads = threads
        self._kernels: Kernels = kernels
        wanted = worthwhile(model) if integer is None else integer
        self._integer = available() if wanted else None
        self._sessions: dict[tuple[tuple[str, ...], bool, bool], _Session] = {}
        self._batches: bool | None = None
        self._state: Remembered = {}
        self._saturated: dict[str, int] = {}
        self._doubted: dict[str, int] = {}
        self._names = tuple(value.name for value in model.graph.outputs)
        self._main = self._session(self._names)
        self._expected = {
            value.name: (value.shape, np.dtype(value.dtype)) for value in self._main.lowered.inputs
        }

    @property
    def family(self) -> Family:
        """Whose numerics."""
        return self.choice.family

    @property
    def inputs(self) -> tuple[ValueInfo, ...]:
        """Graph inputs: name, dtype, shape and exponent on the device."""
        return self._main.lowered.inputs

    @property
    def outputs(self) -> tuple[ValueInfo, ...]:
        """Graph outputs."""
        return self._main.lowered.outputs

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """All tensors that `run` can give, in execution order."""
        return tensor_names(self.model.graph)

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """Per node, which arithmetic is used and why it is exact."""
        return self._main.lowered.proofs

    @property
    def headroom(self) -> tuple[Headroom, ...]:
        """Per layer, whether esp32s3's 20-bit lanes can saturate; () for other families."""
        return self._main.lowered.headroom

    @property
    def saturated(self) -> Mapping[str, int]:
        """How often the 20-bit lanes of a layer saturated in all inferences so far, by node name."""
        return dict(self._saturated)

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """Where the chip's answer is not certain: for any inputs, and for some of those of all inferences so far."""
        found = list(self._main.lowered.doubts)
        for doubt in self._main.lowered.doubt_counts.values():
            seen = self._doubted.get(doubt.node, 0)
            if seen:
                found.append(replace(doubt, seen=seen))
        return tuple(found)

    @property
    def streams(self) -> bool:
        """Whether an inference depends on those before it (StreamingCache)."""
        return bool(self._main.lowered.states)

    def run(
        self,
        inputs: Arrays,
        *,
        tensors: Sequence[str] | None = None,
        keep_state: bool = False,
    ) -> dict[str, Array]:
        """One inference.

        Args:
            inputs: the device's integers by input name, in the device's dtype, layout and shape.
            tensors: which tensors to give; None: the graph outputs.
            keep_state: let StreamingCache nodes go on from the run before with `keep_state`; else they start
                empty.

        Returns:
            The device's integers by tensor name.

        Raises:
            InputError: a name, dtype or shape that the model does not have.
        """
        self._check(inputs, batched=False)
        if tensors is None and self._main.plain:
            return self._main.values(inputs)
        names = self._names if tensors is None else tuple(dict.fromkeys(tensors))
        return self._answers(names, inputs, self._state if keep_state else {}, batched=False)

    def run_all(self, inputs: Arrays) -> dict[str, Array]:
        """One inference with every tensor that a node makes."""
        return self.run(inputs, tensors=self.tensor_names)

    def run_batch(self, inputs: Arrays, *, tensors: Sequence[str] | None = None) -> dict[str, Array]:
        """Many independent inferences.

        Args:
            inputs: as for `run`, but (N, *shape[1:]) where a single input has (1, *shape[1:]), or (N, *shape)
                where the first axis is not 1.
            tensors: which tensors to give; None: the graph outputs.

        Returns:
            (N, *shape[1:]) or (N, *shape), likewise. Every inference starts with empty StreamingCaches.

        Raises:
            InputError: a name, dtype or shape that does not fit.
        """
        count = self._check(inputs, batched=True)
        names = self._names if tensors is None else tuple(dict.fromkeys(tensors))
        if self._can_batch(names):
            starts = range(0, count, BATCH_SIZE)
            cuts = [
                {name: array[start : start + BATCH_SIZE] for name, array in inputs.items()}
                for start in starts
            ]
            parts = [self._answers(names, cut, {}, batched=True) for cut in cuts]
            return {name: np.concatenate([part[name] for part in parts]) for name in names}
        shapes = {value.name: value.shape for value in self.inputs}
        rows = [
            self._answers(
                names,
                {name: array[index].reshape(shapes[name]) for name, array in inputs.items()},
                {},
                batched=False,
            )
            for index in range(count)
        ]
        return {name: _stacked([row[name] for row in rows]) for name in names}

    def run_sequence(self, inputs: Arrays) -> dict[str, Array]:
        """As `run_batch`, but one inference after the other: StreamingCaches start empty and then go on.

        Raises:
            InputError: as `run_batch`.
        """
        count = self._check(inputs, batched=True)
        shapes = {value.name: value.shape for value in self.inputs}
        state: Remembered = {}
        rows = []
        for index in range(count):
            single = {name: array[index].reshape(shapes[name]) for name, array in inputs.items()}
            rows.append(self._answers(self._names, single, state, batched=False))
        return {name: _stacked([row[name] for row in rows]) for name in self._names}

    def reset(self) -> None:
        """Empty all StreamingCaches, as `dl::Model::reset` does."""
        self._state = {}

    def saturations(self, inputs: Arrays) -> dict[str, int]:
        """How often the 20-bit lanes of each layer that can saturate did so for these inputs, by node name.

        Raises:
            InputError: as `run`.
        """
        self._check(inputs, batched=False)
        if not self._main.lowered.guard:
            return {}
        session = self._session(self._names, careful=True)
        return session.counted(session.run(inputs, {}))

    def _answers(
        self, names: tuple[str, ...], inputs: Arrays, state: Remembered, *, batched: bool
    ) -> dict[str, Array]:
        """Outputs of the fast graph, or of the careful one where a lane may have saturated.

        `state` goes on.
        """
        before = dict(state)
        answer = self._session(names, batched=batched).run(inputs, state)
        if not answer.suspect:
            self._count_doubts(answer)
            return answer.values
        state.clear()
        state.update(before)
        session = self._session(names, batched=batched, careful=True)
        answer = session.run(inputs, state)
        self._count_doubts(answer)
        for node, count in session.counted(answer).items():
            self._saturated[node] = self._saturated.get(node, 0) + count
        return answer.values

    def _count_doubts(self, answer: _Answer) -> None:
        for node, count in answer.doubts.items():
            self._doubted[node] = self._doubted.get(node, 0) + count

    def _session(self, names: tuple[str, ...], *, batched: bool = False, careful: bool = False) -> _Session:
        key = (names, batched, careful)
        if key not in self._sessions:
            try:
                self._sessions[key] = self._opened(names, batched=batched, careful=careful)
            except FileNotFoundError:  # another process made room in the cache meanwhile
                self._sessions[key] = self._opened(names, batched=batched, careful=careful)
        return self._sessions[key]

    def _opened(self, names: tuple[str, ...], *, batched: bool, careful: bool) -> _Session:
        lowered, data = lower_cached(
            self.model,
            self.family,
            tensors=list(names),
            batched=batched,
            careful=careful,
            kernels=self._kernels,
            integer=self._integer,
            raw=self._integer is not None,
            esp_dl=self._esp_dl,
        )
        return _Session(lowered, data, self._threads)

    def _can_batch(self, names: tuple[str, ...]) -> bool:
        if self._batches is None:
            try:
                self._session(names, batched=True)
                self._batches = True
            except NotBatchable:
                self._batches = False
        return self._batches

    def _check(self, inputs: Arrays, *, batched: bool) -> int:
        """Number of samples, 1 if not batched."""
        expected = self._expected
        if inputs.keys() != expected.keys():
            raise InputError(
                f"inputs {sorted(inputs)} given, {sorted(expected)} expected",
                hint="names are those of the .espdl",
            )
        counts = set()
        for name, (single, dtype) in expected.items():
            array, shape = inputs[name], single
            if batched:
                counts.add(array.shape[0] if array.ndim else 0)
                shape = (*array.shape[:1], *(shape[1:] if shape[:1] == (1,) else shape))
            if array.shape != shape or array.dtype != dtype:
                raise InputError(
                    f"input {name!r} is {array.dtype} {array.shape}, expected {dtype} {shape}",
                    hint="arrays are the device's integers in the device's layout",
                )
        if batched and (len(counts) != 1 or 0 in counts):
            raise InputError(
                f"batches of {sorted(counts)} samples", hint="stack as many of every input, at least one"
            )
        return counts.pop() if batched else 1


class _Answer:
    """Tensors by name, whether a sum may have saturated, saturations by output name, doubts by node name."""

    def __init__(
        self, values: dict[str, Array], suspect: bool, counts: dict[str, int], doubts: dict[str, int]
    ) -> None:
        self.values, self.suspect, self.counts, self.doubts = values, suspect, counts, doubts


class _Session:
    """A lowered graph, loaded; `data` is its ONNX model or the file that holds it."""

    def __init__(self, lowered: Lowered, data: bytes | Path, threads: int) -> None:
        self.lowered = lowered
        given = {value.name for value in lowered.inputs}
        made = [value.name for value in lowered.outputs if value.name not in given]
        self._given = [value.name for value in lowered.outputs if value.name in given]
        self._fetch = made + [state.output_name for state in lowered.states]
        self._fetch += [lowered.guard] if lowered.guard else []
        self._fetch += [*lowered.saturations, *lowered.doubt_counts]
        self._offset_inputs = [name for name in lowered.offset_names if name in given]
        self._offset_outputs = [name for name in lowered.offset_names if name in made]
        self._empty = {
            state.input_name: np.full(state.shape, state.empty, state.dtype) for state in lowered.states
        }
        self._plain = bool(made) and self._fetch == made and not (self._given or lowered.offset_names)
        self._session = open_session(data, threads)

    @property
    def plain(self) -> bool:
        """Whether the graph has nothing but the model's inputs and outputs, all as the device holds them."""
        return self._plain

    def values(self, inputs: Arrays) -> dict[str, Array]:
        """The outputs of a plain graph: small models spend as long around onnxruntime as in it."""
        return dict(zip(self._fetch, self._session.run(self._fetch, dict(inputs)), strict=True))

    def run(self, inputs: Arrays, state: Remembered) -> _Answer:
        """One call; `state` is replaced by what it is afterwards."""
        lowered = self.lowered
        feed = dict(inputs) | self._empty
        for name in self._offset_inputs:
            feed[name] = np.ascontiguousarray(inputs[name]).view(np.uint8) ^ _TOP_BIT
        if state:
            feed.update((cache.input_name, _recalled(state, cache)) for cache in lowered.states)
        values = (
            dict(zip(self._fetch, self._session.run(self._fetch, feed), strict=True)) if self._fetch else {}
        )
        for name in self._offset_outputs:
            values[name] = (values[name] ^ _TOP_BIT).view(np.int8)
        for cache in lowered.states:
            state[cache.input_name] = values.pop(cache.output_name), cache.empty
        suspect = bool(values.pop(lowered.guard)) if lowered.guard else False
        counts = {output: int(values.pop(output)) for output in lowered.saturations}
        doubts = {doubt.node: int(values.pop(output)) for output, doubt in lowered.doubt_counts.items()}
        for name in self._given:
            values[name] = inputs[name]
        return _Answer(values, suspect, counts, doubts)

    def counted(self, answer: _Answer) -> dict[str, int]:
        """How often lanes saturated, by node name; of the careful graph."""
        counted: dict[str, int] = {}
        for output, count in answer.counts.items():
            node = self.lowered.saturations[output]
            counted[node] = counted.get(node, 0) + count
        return counted


def _recalled(state: Remembered, cache: State) -> Array:
    """What a cache remembers, as its graph holds it: another graph of the same model may hold it otherwise."""
    array, empty = state[cache.input_name]
    if array.dtype != cache.dtype or empty != cache.empty:
        array = (array.astype(np.int32) + (cache.empty - empty)).astype(cache.dtype)
    return array


def run_once(
    model: EspdlModel, family: Family, inputs: Arrays, kernels: Kernels, esp_dl: str = ""
) -> dict[str, Array]:
    """The graph outputs for one input, with nothing kept."""
    for careful in (False, True):
        lowered = lower(model, family, kernels=kernels, careful=careful, esp_dl=esp_dl)
        answer = _Session(lowered, lowered.model.SerializeToString(), 1).run(inputs, {})
        if not answer.suspect:
            break
    return answer.values


def _stacked(rows: list[Array]) -> Array:
    return np.concatenate(rows) if rows[0].shape[:1] == (1,) else np.stack(rows)
