"""`hil bench published FOLDER`: every model file that others published, against lint, plan and the exact reference.

The folder holds copies of repositories (espressif/esp-dl, tensorflow/tflite-micro ...), in any layout. A file is

ok         lint has nothing against it, its memory is planned, and the exact reference loads and runs it;
refused    lint or the exact reference names an error, and a reviewed row below says that this is right;
wrong      anything else: a traceback, an error that nobody reviewed, or lint and the exact reference disagree.
"""

from __future__ import annotations

import fnmatch
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esp_hil.targets import Target

HELP = "run lint, plan and the exact reference over published .espdl and .tflite files"

LARGEST_BYTES = 4 << 20
SUFFIXES = frozenset({".espdl", ".tflite"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A published file that is rightly refused: its path, the rule, and why that is right."""

    path: str
    rule: str
    reason: str


REVIEWED: tuple[Reviewed, ...] = (
    Reviewed(
        path="*person_reid_feat_osn_s8_v1.espdl", rule="unequal-exponents",
        reason="three Adds of equal inputs have an output of another exponent: ESP-DL's Add does not rescale",
    ),
    Reviewed(
        path="*pp_ocr_v6_det_s8.espdl", rule="unequal-exponents",
        reason="InsertZeros between exponents 2 and 1: ESP-DL copies the integers",
    ),
    Reviewed(
        path="*yolo26n_640_s8_p4.espdl", rule="resize-rescale",
        reason="nearest Resize from exponent -4 to -5 on esp32p4: it rounds as whatever kernel ran before",
    ),
    Reviewed(path="*ToyCar/baseline_tf23*quant.tflite", rule="tflm-hybrid", reason="dynamic-range quantization"),
    Reviewed(path="*kws_ref_model_float32.tflite", rule="tflm-hybrid", reason="int8 weights in spite of its name"),
    Reviewed(path="*person_detect_vela.tflite", rule="tflm-no-kernel", reason="compiled for an Arm Ethos-U"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a file: "ok", "refused" or "wrong", and in words why."""

    path: str
    state: str
    summary: str = ""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil bench published`."""
    parser.add_argument("folder", type=Path, help="copies of the repositories")
    parser.add_argument("--lint-only", action="store_true", help="do not load and run the exact reference")


def run(args: Namespace) -> int:
    """Print what is not ok and the counts; 1 if a file went wrong."""
    counts: dict[str, Counter[str]] = {}
    for path in files(args.folder):
        result = examine(path, args.folder, lint_only=args.lint_only)
        counts.setdefault(path.relative_to(args.folder).parts[0], Counter())[result.state] += 1
        if result.state != "ok":
            print(f"{result.state:8} {result.path}: {result.summary}", flush=True)
    for name, each in (*counts.items(), ("all", sum(counts.values(), Counter[str]()))):
        print(f"{name:40} " + ", ".join(f"{each[state]} {state}" for state in ("ok", "refused", "wrong")))
    return 1 if any(each["wrong"] for each in counts.values()) else 0


def files(folder: Path) -> Iterator[Path]:
    """Model files of at most 4 MB, sorted."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file() and path.stat().st_size <= LARGEST_BYTES:
            yield path


def examine(path: Path, folder: Path, *, lint_only: bool = False) -> Result:
    """Lint a file for its own chip and run it once."""
    from esp_hil.errors import HilError
    from esp_hil.lint import lint_file

    name = path.relative_to(folder).as_posix()
    chip = chip_of(path)
    try:
        # the firmware's list of operators is for the catalogue's models, not for these; ESP-NN's faults are the chip's
        report = lint_file(path, target=chip, esp_nn="off")
    except HilError as error:
        return Result(path=name, state="wrong", summary=str(error))
    errors = {finding.rule for finding in report.findings if finding.severity == "error"} - {"tflm-resolver"}
    if errors:
        return _reviewed(name, errors)
    if lint_only:
        return Result(path=name, state="ok")
    try:
        _run_once(path, chip)
    except HilError as error:
        return Result(
            path=name, state="wrong", summary=f"lint passes it, and the exact reference does not: {error}"
        )
    return Result(path=name, state="ok")


def chip_of(path: Path) -> Target:
    """The chip that a file is for, as its path tells: Espressif's have s3 or p4 in it; TFLM's run anywhere."""
    from esp_hil.targets import target

    if path.suffix.lower() == ".tflite":
        return target("esp32s3")
    words = path.as_posix().lower()
    return target("esp32p4" if "p4" in words else "esp32s3" if "s3" in words else "esp32")


def _reviewed(name: str, errors: set[str]) -> Result:
    rows = [row for row in REVIEWED if fnmatch.fnmatch(name, row.path) and row.rule in errors]
    if errors <= {row.rule for row in rows}:
        return Result(
            path=name, state="refused", summary="; ".join(f"{row.rule}: {row.reason}" for row in rows)
        )
    return Result(path=name, state="wrong", summary=f"nobody reviewed {', '.join(sorted(errors))}")


def _run_once(path: Path, chip: Target) -> None:
    """Plan its memory and make one inference of zeros.

    Raises:
        HilError: the file cannot be planned, loaded or run.
    """
    import numpy as np

    from esp_hil.exact.tflite import TflmReference
    from esp_hil.formats.espdl import EspdlModel
    from esp_hil.formats.espdl.memory import plan_memory
    from esp_hil.models.arena import arena_of
    from esp_hil.models.device_file import open_device_file

    file = open_device_file(path)
    if isinstance(file.content, EspdlModel):
        plan_memory(file.content, chip)
    else:
        arena_of(file.content, file.image, chip=chip.name, esp_nn="")
    exact = file.exact(chip.family_of(file.runtime))
    try:
        exact.run({tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in file.inputs})
    finally:
        if isinstance(exact, TflmReference):
            exact.close()  # a process each: 180 of them would be left running
