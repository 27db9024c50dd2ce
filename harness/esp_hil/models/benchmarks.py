"""MLPerf Tiny's models in a folder of the user's: which benchmarks there are, and under which names they lie.

They are MLCommons' own and are not part of this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from esp_hil.errors import ConfigError

Quality = Literal["top-1", "AUC"]

PREFIX = "mlperf-tiny-"
"""Of the names in the catalogue and in rows."""

WINDOW_S = 10.0
"""Least length of a window by the rules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One of the four.

    Attributes:
        key: short name.
        title: for people.
        names: file names without suffix under which its int8 model is known.
        quality: how its accuracy is measured.
        least: quality target of the closed division, 0..1.
    """

    key: str
    title: str
    names: tuple[str, ...]
    quality: Quality
    least: float


BENCHMARKS = (
    Benchmark(
        key="kws", title="keyword spotting", names=("kws_ref_model", "kws_int8"), quality="top-1", least=0.90
    ),
    Benchmark(key="vww", title="visual wake words", names=("vww_96_int8",), quality="top-1", least=0.80),
    Benchmark(
        key="ic",
        title="image classification",
        names=("pretrainedResnet_quant", "ic_int8"),
        quality="top-1",
        least=0.85,
    ),
    Benchmark(key="ad", title="anomaly detection", names=("ad01_int8",), quality="AUC", least=0.85),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A benchmark's model in the given folder, and its data if they lie there."""

    benchmark: Benchmark
    model: Path
    data: Path | None

    @property
    def name(self) -> str:
        """In the catalogue and in rows, such as mlperf-tiny-kws."""
        return f"{PREFIX}{self.benchmark.key}"


def entries(folder: Path) -> tuple[Entry, ...]:
    """The benchmarks whose model lies in a folder.

    Raises:
        ConfigError: there is no such folder, or no model in it.
    """
    found = []
    for benchmark in BENCHMARKS:
        for name in benchmark.names:
            model, data = folder / f"{name}.tflite", folder / f"{name}.npz"
            if model.is_file():
                found.append(Entry(benchmark=benchmark, model=model, data=data if data.is_file() else None))
                break
    if not found:
        known = ", ".join(f"{name}.tflite" for benchmark in BENCHMARKS for name in benchmark.names)
        raise ConfigError(
            f"--hil-mlperf-tiny {folder}: no model of MLPerf Tiny", hint=f"known names: {known}"
        )
    return tuple(found)
