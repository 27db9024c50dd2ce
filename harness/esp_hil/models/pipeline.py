"""What stands before and after a network, in one Python file of the model's folder: `[pipeline]` of model.toml.

    def before(stored):   optional: {input: one golden array} -> {input: what the float model takes, or raw integers}
        ...
    def after(outputs):   {output: real values of one inference, float model's layout} -> boxes
        return [(x1, y1, x2, y2, score, class), ...]

The same two functions stand around the device, the exact reference, the quantizer and the float model, so that what
they find is compared: boxes of a class are one object from an overlap of `iou` on. Where there is neither a float
model nor anything expected, what the device finds is compared with what the exact reference finds.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from esp_hil.errors import ConfigError, HilError, InputError
from esp_hil.models.boxes import Boxes, as_boxes, paired
from esp_hil.models.outputs import OutputGate, parse_gates
from esp_hil.tensors import Array, Arrays
from esp_hil.toml_table import TomlTable
from esp_hil.verdict.measures import Against, Measure, Source

NAME = "boxes"
"""Of what a pipeline finds, where outputs have their names: in figures, and as expected/boxes of golden inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSpec:
    """What [pipeline] says: the file in the model's folder, least overlap of one object, gates."""

    file: str
    iou: float
    gates: tuple[OutputGate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The functions of the file; see the head of this module."""

    spec: PipelineSpec
    before: Callable[[dict[str, Array]], Mapping[str, Array]] | None
    after: Callable[[dict[str, Array]], object]

    def prepare(self, stored: Arrays, count: int) -> dict[str, Array] | None:
        """All golden arrays through `before`; None if there is none.

        Raises:
            ConfigError: it failed.
        """
        if self.before is None:
            return None
        rows = [
            _called(self.before, {name: array[row] for name, array in stored.items()}) for row in range(count)
        ]
        return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}

    def find(self, outputs: Arrays) -> list[Boxes]:
        """The boxes of each inference, from real values (N, *item) by output.

        Raises:
            ConfigError: `after` failed.
            InputError: what it gave are no boxes.
        """
        count = len(next(iter(outputs.values())))
        return [
            as_boxes(_called(self.after, {name: array[row] for name, array in outputs.items()}))
            for row in range(count)
        ]

    def measures(self, found: Mapping[Source, list[Boxes]], expected: Array | None) -> tuple[Measure, ...]:
        """Recall, precision and overlap of what was found against the float model's boxes and the expected ones.

        Without either the device is compared with the exact reference.

        Args:
            found: boxes by whose outputs they come from, of each inference.
            expected: (N, K, 5) of x1, y1, x2, y2, class; class -1: no box. None: not known.

        Raises:
            InputError: `expected` has another shape.
        """
        wanted: dict[Against, list[Boxes]] = {"float": found["float"]} if "float" in found else {}
        if expected is not None:
            wanted["expected"] = _expected(expected)
        if not wanted:
            wanted["exact"], found = found["exact"], {"device": found["device"]}
        limits = {(gate.against, gate.measure): gate.limit for gate in self.spec.gates}
        return tuple(
            measure
            for against, right in wanted.items()
            for source, mine in found.items()
            if source != against
            for measure in self._figures(source, against, mine, right, limits if source == "device" else {})
        )

    def _figures(
        self,
        source: Source,
        against: Against,
        mine: list[Boxes],
        right: list[Boxes],
        limits: Mapping[tuple[Against, str], float],
    ) -> list[Measure]:
        pairs = [pair for a, b in zip(mine, right, strict=True) for pair in paired(a, b, self.spec.iou)]
        there, made = sum(map(len, right)), sum(map(len, mine))
        figures = {
            "recall": (len(pairs) / there if there else 1.0, there),
            "precision": (len(pairs) / made if made else 1.0, made),
            "iou": (float(np.mean(pairs)) if pairs else float(there == made == 0), len(pairs)),
        }
        return [
            Measure(
                output=NAME,
                meaning="boxes",
                source=source,
                against=against,
                name=name,
                value=value,
                count=count,
                limit=limits.get((against, name)),
            )
            for name, (value, count) in figures.items()
        ]


def parse_pipeline(table: TomlTable) -> PipelineSpec:
    """Parse [pipeline].

    Raises:
        ConfigError: a key is unknown, missing or of the wrong type or value.
    """
    spec = PipelineSpec(
        file=table.file("file"),
        iou=table.share("iou") if "iou" in table.values else 0.5,
        gates=(
            *parse_gates(table.optional("against_float"), "float", "boxes"),
            *parse_gates(table.optional("against_expected"), "expected", "boxes"),
        ),
    )
    table.known.append("iou")
    table.done()
    return spec


def open_pipeline(folder: Path, spec: PipelineSpec) -> Pipeline:
    """Run the file and take its functions. It is a program of whoever made the model.

    Raises:
        ConfigError: it is missing, fails, or has no function `after`.
    """
    path = folder / spec.file
    if not path.is_file():
        raise ConfigError(f"{path} is missing", hint="[pipeline] of model.toml names it")
    try:
        names: dict[str, Any] = runpy.run_path(str(path))
    except Exception as cause:  # whatever a person's file raises
        raise ConfigError(f"{path}: {type(cause).__name__}: {cause}") from None
    after, before = names.get("after"), names.get("before")
    if not callable(after) or not (before is None or callable(before)):
        raise ConfigError(
            f"{path} has no function after(outputs)", hint="it makes boxes of one inference's outputs"
        )
    return Pipeline(spec=spec, before=before, after=after)


def _called(function: Callable[[dict[str, Array]], Any], arrays: dict[str, Array]) -> Any:  # noqa: ANN401
    try:
        return function(arrays)
    except HilError:
        raise
    except Exception as cause:  # as above
        name = getattr(function, "__name__", "a function")
        raise ConfigError(f"{name} of the pipeline failed: {type(cause).__name__}: {cause}") from None


def _expected(rows: Array) -> list[Boxes]:
    if rows.ndim != 3 or rows.shape[2] != 5:
        raise InputError(
            f"expected/{NAME} is {list(rows.shape)}", hint="(N, K, 5): x1, y1, x2, y2, class; -1: no box"
        )
    scores = np.ones((*rows.shape[:2], 1))
    whole = np.concatenate([rows[..., :4], scores, rows[..., 4:]], axis=2).astype(np.float64)
    return [item[item[:, 5] >= 0] for item in whole]
