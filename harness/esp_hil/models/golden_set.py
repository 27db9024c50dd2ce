"""Golden inputs: an .npz with an array for each input, and what is known of the right answers.

NAME             (N, *shape) of each input, in the dtype that model.toml says; `images` serves for the only one
labels           int (N,), classes of the output that holds `scores`; -1: not known                    optional
expected/NAME    right answers of an output, (N, ...): real values in the float model's layout; of      optional
                 `scores` int (N,) and of `dense` int (N, *pixels) class numbers, -1: not known
ids              (N,) text: where each input comes from                                                 optional
sequence         int (N,): inputs with the same number in a row are steps of one sequence; a model      optional
                 that keeps state begins each sequence without any
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import ConfigError, GoldenError, InputError
from esp_hil.models.outputs import OutputSpec
from esp_hil.models.pipeline import NAME as BOXES
from esp_hil.models.pipeline import Pipeline
from esp_hil.npz import read_npz
from esp_hil.tensors import Array, Arrays, InputSpec

_IMAGES, _LABELS, _IDS, _SEQUENCE, _EXPECTED = "images", "labels", "ids", "sequence", "expected/"
EXTRAS = frozenset({_LABELS, _IDS, _SEQUENCE})
"""Names of arrays that are not inputs, beside expected/NAME."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldenSet:
    """Golden inputs of a model.

    Attributes:
        arrays: by input, prepared: float32 (N, *shape) in the float model's layout; raw integers as they are stored.
            Inputs that are fed with an output of the step before are not among them.
        stored: by input, what `arrays` was made from.
        expected: by output, what is known to be right: class numbers int64 of `scores` (N,) and `dense` (N, *pixels),
            -1 where not known; else float32 (N, ...) in the float model's layout.
        labels: int64 (N,) of the output that holds class scores; None if the class of an input is not known.
        ids: where each input comes from.
        sequence: int64 (N,), see the head of this module; None: the inputs are one sequence if the model keeps state.
        made_ms: what it took this PC to make one of them from what it is given; 0: they are as they are given.
    """

    arrays: Arrays
    stored: Arrays
    labels: NDArray[np.int64] | None
    ids: tuple[str, ...]
    expected: Arrays = field(default_factory=dict)
    sequence: NDArray[np.int64] | None = None
    made_ms: float = 0.0

    def __len__(self) -> int:
        """How many inferences."""
        return len(self.ids)

    @property
    def inputs(self) -> Array:
        """Those of the only input.

        Raises:
            ConfigError: the model has several.
        """
        return _only(self.arrays)

    @property
    def images(self) -> Array:
        """What `inputs` was made from: uint8 (N, H, W) or (N, H, W, C) of images."""
        return _only(self.stored)

    @property
    def starts(self) -> NDArray[np.bool_]:
        """(N,), whether a sequence starts there."""
        found = np.zeros(len(self), np.bool_)
        found[0] = True
        if self.sequence is not None:
            found[1:] = self.sequence[1:] != self.sequence[:-1]
        return found

    @property
    def sha256(self) -> str:
        """Digest of shape and values of `arrays`: names the input set in a run's row."""
        digest = hashlib.sha256()
        for name, array in self.arrays.items():
            if len(self.arrays) > 1 or array.dtype != np.float32:
                digest.update(f"{name} {array.dtype}".encode())
            digest.update(str(array.shape).encode())
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        if self.sequence is not None:
            digest.update(self.starts.tobytes())
        return digest.hexdigest()


def _only(arrays: Arrays) -> Array:
    if len(arrays) != 1:
        raise ConfigError(f"{len(arrays)} inputs ({', '.join(arrays)}), not one", hint="take them by name")
    return next(iter(arrays.values()))


def read_golden(
    path: Path,
    inputs: Sequence[InputSpec],
    outputs: Sequence[OutputSpec],
    *,
    limit: int | None = None,
    pipeline: Pipeline | None = None,
) -> GoldenSet:
    """Read and check a file of golden inputs.

    Args:
        path: the .npz.
        inputs: of model.toml.
        outputs: of model.toml.
        limit: only so many.
        pipeline: what stands before and after the network.

    Raises:
        GoldenError: it cannot be read, or what it holds is not what model.toml says.
        ConfigError: `limit` is below 1 or above what there is.
    """
    arrays = read_npz(path)
    stored = _stored(path, arrays, inputs)
    count = _count(path, stored, arrays)
    if limit is not None and not 1 <= limit <= count:
        raise ConfigError(f"{limit} golden inputs asked for", hint=f"there are {count}")
    prepared: dict[str, Array] = {}
    made = pipeline.prepare(stored, count) if pipeline else None
    for spec in inputs:
        if spec.state:
            continue
        try:
            prepared[spec.name] = _prepared(spec, stored, made)[:limit]
        except InputError as error:
            raise GoldenError(f"{path}: {error.message}", hint=error.hint) from None
        if prepared[spec.name].dtype == np.float32 and not np.isfinite(prepared[spec.name]).all():
            raise GoldenError(f"{path}: {spec.name} holds NaN or infinite values")
    boxes = (OutputSpec(name=BOXES, meaning="boxes"),) if pipeline else ()
    expected = _expected(path, arrays, (*outputs, *boxes), count, taken=set(stored))
    classifier = next((output.name for output in outputs if output.meaning == "scores"), None)
    labels = expected.get(classifier) if classifier else None
    ids = arrays.get(_IDS) if _IDS not in stored else None
    sequence = arrays.get(_SEQUENCE) if _SEQUENCE not in stored else None
    for name, found in ((_IDS, ids), (_SEQUENCE, sequence)):
        if found is not None and found.shape != (count,):
            raise GoldenError(f"{path}: {name} is {list(found.shape)}, there are {count} inputs")
    if sequence is not None and sequence.dtype.kind not in "iu":
        raise GoldenError(f"{path}: sequence is {sequence.dtype}", hint="a number for each input, int (N,)")
    return GoldenSet(
        arrays=prepared,
        stored={name: array[:limit] for name, array in stored.items()},
        labels=labels[:limit] if labels is not None and labels.min() >= 0 else None,
        ids=tuple(map(str, ids if ids is not None else range(count)))[:limit],
        expected={name: array[:limit] for name, array in expected.items()},
        sequence=None if sequence is None else sequence.astype(np.int64)[:limit],
    )


def _prepared(spec: InputSpec, stored: Arrays, made: Arrays | None) -> Array:
    """One input, by its own preprocessing or by that of the pipeline."""
    if made is None:
        return spec.preprocess(stored[spec.name])
    if spec.name not in made:
        raise InputError(f"before of the pipeline gives no {spec.name}, only {', '.join(made)}")
    array = made[spec.name] if spec.raw else made[spec.name].astype(np.float32)
    spec.require(array)
    return array


def _stored(path: Path, arrays: Mapping[str, Array], inputs: Sequence[InputSpec]) -> dict[str, Array]:
    """The arrays of the inputs by their names."""
    wanted = [spec.name for spec in inputs if not spec.state]
    found = {name: arrays[name] for name in wanted if name in arrays}
    if len(wanted) == 1 and not found and _IMAGES in arrays:
        found = {wanted[0]: arrays[_IMAGES]}
    missing = [name for name in wanted if name not in found]
    if missing:
        raise GoldenError(
            f"{path} has no {', '.join(missing)}, only {', '.join(arrays) or 'nothing'}",
            hint="an array for each input of model.toml: numpy.savez(FILE, NAME=array, ...)",
        )
    return found


def _count(path: Path, stored: Mapping[str, Array], arrays: Mapping[str, Array]) -> int:
    lengths = {name: len(array) if array.ndim else 0 for name, array in stored.items()}
    if not stored:  # all inputs are fed with outputs
        lengths = {name: len(arrays[name]) for name in (_SEQUENCE, _IDS) if name in arrays}
    if len(set(lengths.values())) != 1:
        raise GoldenError(f"{path}: as many of each input, not {lengths or 'none'}", hint="N comes first")
    count = next(iter(lengths.values()))
    if not count:
        raise GoldenError(f"{path} holds no inputs", hint="hil golden build makes them again")
    return count


def _expected(
    path: Path, arrays: Mapping[str, Array], outputs: Sequence[OutputSpec], count: int, *, taken: set[str]
) -> dict[str, Array]:
    """What is known to be right, by output."""
    known = {output.name: output for output in outputs}
    found = {
        name.removeprefix(_EXPECTED): array
        for name, array in arrays.items()
        if name.startswith(_EXPECTED) and name not in taken
    }
    if _LABELS in arrays and _LABELS not in taken:
        holder = next((output.name for output in outputs if output.meaning == "scores"), None)
        if holder is None:
            raise GoldenError(
                f"{path} has labels, and no output of model.toml has the meaning `scores`",
                hint="expected/NAME holds what is right for the output NAME",
            )
        found.setdefault(holder, arrays[_LABELS])
    for name, array in found.items():
        if name not in known:
            raise GoldenError(
                f"{path}: expected/{name} is for no output of the model", hint=f"it has: {', '.join(known)}"
            )
        if array.shape[:1] != (count,):
            raise GoldenError(f"{path}: expected/{name} is {list(array.shape)}, there are {count} inputs")
        found[name] = _right(path, array, known[name])
    return found


def _right(path: Path, array: Array, output: OutputSpec) -> Array:
    if output.meaning == "raw":
        raise GoldenError(
            f"{path}: expected/{output.name} is for a raw output", hint="say what it means in model.toml"
        )
    if output.meaning not in {"scores", "dense"}:
        return array.astype(np.float32)
    if array.dtype.kind not in "iu" or (output.meaning == "scores" and array.ndim != 1):
        raise GoldenError(
            f"{path}: labels of {output.name} are {array.dtype} {list(array.shape)}, not integers (N"
            f"{', *pixels' if output.meaning == 'dense' else ','})"
        )
    classes = array.astype(np.int64)
    least, most = int(classes.min()), int(classes.max())
    if least < -1 or (output.labels and most >= len(output.labels)):
        raise GoldenError(
            f"{path} has label {least if least < -1 else most}, model.toml names {len(output.labels)} classes",
            hint="labels are 0 to the number of classes less 1; -1: not known",
        )
    return classes
