"""Steps of two runs compared: where a port of pre- or postprocessing first goes another way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from esp_hil.errors import ConfigError, ReportError
from esp_hil.npz import read_npy
from esp_hil.tensors import Array, Arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDifference:
    """One step in two runs.

    Attributes:
        name: of the step.
        problem: why the arrays cannot be compared value by value; "" if they can.
        differ: how many values differ.
        count: of values.
        largest: difference.
    """

    name: str
    problem: str
    differ: int = 0
    count: int = 0
    largest: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether every value is the same."""
        return not self.problem and not self.differ

    @property
    def summary(self) -> str:
        """One clause."""
        if self.problem:
            return self.problem
        if self.equal:
            return f"all {self.count} values equal"
        return f"{self.differ} of {self.count} values differ, by up to {self.largest:g}"


def compare_steps(got: Arrays, wanted: Arrays) -> tuple[StepDifference, ...]:
    """All steps in the order of `wanted`, then those that only `got` has."""
    names = (*wanted, *(name for name in got if name not in wanted))
    return tuple(_difference(name, got.get(name), wanted.get(name)) for name in names)


def _difference(name: str, got: Array | None, wanted: Array | None) -> StepDifference:
    if got is None or wanted is None:
        return StepDifference(name=name, problem="only in one of the two runs")
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        problem = f"{got.dtype} {got.shape} instead of {wanted.dtype} {wanted.shape}"
        return StepDifference(name=name, problem=problem)
    gaps = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
    largest = float(gaps.max(initial=0.0))
    return StepDifference(
        name=name, problem="", differ=int((got != wanted).sum()), count=got.size, largest=largest
    )


def write_steps(folder: Path, steps: Arrays) -> None:
    """One .npy a step, numbered in their order.

    Raises:
        ReportError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (name, values) in enumerate(steps.items()):
            np.save(folder / f"{number:03d}_{name}.npy", values, allow_pickle=False)
    except OSError as error:
        raise ReportError(f"cannot write {folder}: {error.strerror}", hint="choose another folder") from error


def read_steps(folder: Path) -> dict[str, Array]:
    """The steps that `write_steps` wrote, or a device's in the same form.

    Raises:
        ConfigError: no such folder, or no step in it.
        GoldenError: a file is damaged.
    """
    paths = sorted(folder.glob("[0-9][0-9][0-9]_*.npy")) if folder.is_dir() else []
    if not paths:
        raise ConfigError(f"{folder} has no steps", hint="hil task ... --dump DIR writes them")
    return {path.stem[4:]: read_npy(path, hint="hil task ... --dump DIR writes them") for path in paths}
