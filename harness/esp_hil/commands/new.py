"""`hil new`: a model folder from your own ONNX file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.errors import ConfigError

if TYPE_CHECKING:
    from esp_hil.models.catalogue import Model
    from esp_hil.targets import Family

HELP = "make a model folder from an ONNX file and a folder of inputs"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil new`."""
    parser.add_argument("name", metavar="NAME", help="of the model; its folder is golden/NAME")
    parser.add_argument("--onnx", type=Path, required=True, metavar="FILE", help="the float model")
    parser.add_argument(
        "--calibration", type=Path, required=True, metavar="FOLDER",
        help="images, or .npy arrays in the shape of the model's input; 10 or more",
    )  # fmt: skip
    parser.add_argument("--labels", type=Path, metavar="FILE", help="names of the classes, one a line")
    parser.add_argument("--target", help="chips or families, comma-separated; default: all families")
    parser.add_argument("--output", default="", help="the output that holds the scores, if there are several")
    parser.add_argument("--mean", default="", help="subtracted from byte / 255, one value a channel")
    parser.add_argument("--std", default="", help="divisor after that, one value a channel")
    parser.add_argument(
        "--into", type=Path, default=Path("golden"), metavar="FOLDER", help="default: golden in this folder"
    )


def run(args: Namespace) -> int:
    """Make the folder, look it over, say what comes next."""
    from esp_hil.goldens.esp_ppq import require_quantizer
    from esp_hil.goldens.new_model import Wish, create, read_labels
    from esp_hil.models import catalogue

    require_quantizer()
    wish = Wish(
        name=args.name,
        onnx=args.onnx,
        inputs=args.calibration,
        classes=read_labels(args.labels) if args.labels else (),
        families=_families(args.target),
        output=args.output,
        mean=_numbers("--mean", args.mean),
        std=_numbers("--std", args.std),
    )
    folder = create(wish, args.into, lambda line: print(line, flush=True))
    model = catalogue.load(args.name, (args.into,))
    for family in model.recipe("w8a8").targets:
        _look_over(model, family)
    print(f"made {folder}")
    print(f"next: pytest --target esp32s3 --hil-board virtual --hil-model {args.name}")
    return 0


def _look_over(model: Model, family: Family) -> None:
    """Findings of hil lint, and whether the device file still says what the float model says."""
    from esp_hil.goldens.references import DeviceFileReference, FloatReference
    from esp_hil.lint import lint_file
    from esp_hil.verdict.difference import agreement

    path = model.artifact("w8a8", family)
    inputs = model.golden().inputs
    exact = DeviceFileReference(model, "w8a8", family).run(inputs)[model.output].real()
    floats = FloatReference(model).run(inputs)[model.output].real()
    same = agreement(exact, floats).summary
    print(f"{family:8} {path.stat().st_size:,} bytes; the float model's class on {same}")
    for finding in lint_file(path).findings:
        if finding.severity != "note":
            where = f" at {finding.node}" if finding.node else ""
            print(f"{family:8} {finding.severity}: {finding.rule}{where}: {finding.why} -> {finding.todo}")


def _families(text: str | None) -> tuple[Family, ...]:
    from esp_hil.targets import FAMILIES, target

    if not text:
        return FAMILIES
    names = [word.strip() for word in text.split(",") if word.strip()]
    found = {name if name in FAMILIES else target(name).family for name in names}
    return tuple(family for family in FAMILIES if family in found)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise ConfigError(f"{option} {text}", hint="numbers, comma-separated: 0.485,0.456,0.406") from None
