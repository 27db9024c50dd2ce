"""`hil new`: a model folder from your own files."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from esp_hil.errors import ConfigError

if TYPE_CHECKING:
    from esp_hil.goldens.new_model import Wish
    from esp_hil.goldens.references import Answers
    from esp_hil.models.catalogue import Model
    from esp_hil.targets import Family
    from esp_hil.tensors import Array
    from esp_hil.verdict.measures import Meaning

HELP = (
    "make a model folder from your own network: an ONNX, .tflite or .espdl file, and inputs if you have any"
)

_ABOUT = """
A model folder (golden/NAME) is what hil tests: the network's device files, inputs to ask it ("golden inputs"), and a
model.toml that says what inputs and outputs mean. Give what you have:

  a float ONNX file            it is quantized to 8 bits with esp-ppq for ESP-DL; 10 or more inputs calibrate it
      hil new gesture --onnx gesture.onnx --calibration pictures/ --labels names.txt
      hil new fusion  --onnx fusion.onnx --calibration image=pictures/ --calibration imu=recordings/
  a .tflite file               as it is, for TensorFlow Lite Micro, on every chip
      hil new wake    --tflite hey_jarvis.tflite
  one .espdl file a chip       as they are, for ESP-DL
      hil new detect  --espdl detect_s3.espdl --espdl detect_p4.espdl
  a streaming net: its cache comes in as one input and goes out as one output
      hil new tcn     --onnx tcn.onnx --state cache=next_cache --calibration frame=recording/
  a device file and the float ONNX it was made from: then the price of quantization is told too
      hil new detect  --onnx detect.onnx --espdl detect_s3.espdl

Will it run, and what must change? Says so in seconds, makes nothing:
      hil new gesture --onnx gesture.onnx --check --target esp32,esp32s3

Afterwards, without a board:   pytest --target esp32s3 --hil-board virtual --hil-model NAME
with one on a USB port:        pytest --target esp32s3 --hil-model NAME
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil new`."""
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.description = f"{HELP}\n{_ABOUT}"
    parser.add_argument("name", metavar="NAME", help="of the model; its folder is golden/NAME")
    network = parser.add_argument_group("the network (one or more)")
    network.add_argument("--onnx", type=Path, metavar="FILE", help="the float model")
    network.add_argument("--tflite", type=Path, metavar="FILE", help="for TensorFlow Lite Micro, as it is")
    network.add_argument(
        "--espdl",
        metavar="[CHIP=]FILE",
        action="append",
        default=[],
        help="for ESP-DL, as it is; give it again for another chip. CHIP= where the file does not tell its own",
    )
    inputs = parser.add_argument_group("inputs (without any, seeded noise is taken, and that is said)")
    inputs.add_argument(
        "--calibration", metavar="[INPUT=]FOLDER", action="append", default=[],
        help="images, or .npy arrays in the shape of the input, 10 or more; a third become golden inputs. "
        "In subfolders named as a class they have that class",
    )  # fmt: skip
    inputs.add_argument(
        "--inputs", type=Path, metavar="FILE.npz",
        help="golden inputs: an array for each input, N first; `labels` and `expected/OUTPUT` if you know them",
    )  # fmt: skip
    inputs.add_argument(
        "--mean",
        default="",
        metavar="V,V,V",
        help="of images: subtracted from byte / 255, one value a channel",
    )
    inputs.add_argument(
        "--std", default="", metavar="V,V,V", help="of images: divisor after that, one value a channel"
    )
    inputs.add_argument(
        "--state", metavar="INPUT=OUTPUT", action="append", default=[],
        help="of a streaming net: INPUT gets what OUTPUT gave in the step before, zeros at the start of a sequence; "
        "its own values need not be given. Inputs are then steps in their order",
    )  # fmt: skip
    outputs = parser.add_argument_group("outputs")
    outputs.add_argument("--labels", type=Path, metavar="FILE", help="names of the classes, one a line")
    outputs.add_argument(
        "--meaning", metavar="OUTPUT=WHAT", action="append", default=[],
        help="scores (of classes) | values (a regression) | embedding | dense (classes of pixels) | raw",
    )  # fmt: skip
    outputs.add_argument(
        "--output", default="", help="the output that holds class scores, if there are several"
    )
    making = parser.add_argument_group("making")
    making.add_argument(
        "--target",
        help="chips that you have (esp32, esp32s3, esp32p4 ...), comma-separated; default: device files for every kind",
    )
    making.add_argument(
        "--float-operators",
        default="",
        metavar="A,B",
        help="ONNX operators that may stay in float: slower, but exact",
    )
    making.add_argument(
        "--check", action="store_true", help="only say whether it will run, and what to change"
    )
    making.add_argument(
        "--into", type=Path, default=Path("golden"), metavar="FOLDER", help="default: golden in this folder"
    )


def run(args: Namespace) -> int:
    """Make the folder, look it over, say what comes next; with --check: 1 if it will not run on one of the chips."""
    wish = _wish(args)
    if args.check:
        return _check(wish, args.target)
    from esp_hil.goldens.new_model import create
    from esp_hil.models import catalogue

    folder = create(wish, args.into, lambda line: print(line, flush=True), look=_look_over)
    model = catalogue.load(args.name, (args.into,))
    print(f"made {folder}")
    chips = dict.fromkeys(_CHIP_OF[family] for recipe in model.recipes.values() for family in recipe.targets)
    chip = "esp32s3" if "esp32s3" in chips else next(iter(chips))
    print(f"next: pytest --target {chip} --hil-board virtual --hil-model {args.name}")
    return 0


_CHIP_OF: dict[Family, str] = {"c": "esp32", "esp32s3": "esp32s3", "esp32p4": "esp32p4", "tflm": "esp32s3"}
"""A chip of each family, to begin with."""


def _wish(args: Namespace) -> Wish:
    from esp_hil.goldens.new_inputs import GivenInputs
    from esp_hil.goldens.new_model import Wish, read_labels

    given = [_file_and_chip(text) for text in args.espdl]
    return Wish(
        name=args.name,
        onnx=args.onnx,
        files=(*([args.tflite] if args.tflite else []), *(path for path, _ in given)),
        chips={path: family for path, family in given if family},
        given=GivenInputs(
            npz=args.inputs,
            folders={name: Path(folder) for name, folder in map(_pair, args.calibration)},
            mean=_numbers("--mean", args.mean),
            std=_numbers("--std", args.std),
        ),
        classes=read_labels(args.labels) if args.labels else (),
        families=_families(args.target),
        output=args.output,
        meanings=_meanings(args.meaning),
        float_operators=tuple(word.strip() for word in args.float_operators.split(",") if word.strip()),
        states=_states(args.state),
    )


def _file_and_chip(text: str) -> tuple[Path, Family | None]:
    """FILE, or CHIP=FILE."""
    chip, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        return Path(text), None
    return Path(path), _families(chip)[0]


def _pair(text: str) -> tuple[str, str]:
    """("image", "folder") of image=folder; ("", "folder") where no input is named or the folder itself has a =."""
    name, equals, folder = text.partition("=")
    return (name, folder) if equals and not Path(text).exists() else ("", text)


def _states(words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in words:
        name, _, output = text.partition("=")
        if not name or not output:
            raise ConfigError(f"--state {text}", hint="INPUT=OUTPUT: the output that holds its next value")
        found[name] = output
    return found


def _meanings(words: list[str]) -> dict[str, Meaning]:
    from esp_hil.verdict.measures import Meaning

    found: dict[str, Meaning] = {}
    for text in words:
        name, _, what = text.rpartition("=")
        if not name or what not in get_args(Meaning):
            raise ConfigError(f"--meaning {text}", hint=f"OUTPUT={'|'.join(get_args(Meaning))}")
        found[name] = cast("Meaning", what)
    return found


def _check(wish: Wish, targets: str | None) -> int:
    from esp_hil.goldens.new_check import check

    names = [word.strip() for word in (targets or "").split(",") if word.strip()]
    chips = ["esp32" if name == "c" else name for name in names]
    all_run = True
    for answer in check(wish, chips):
        all_run &= answer.runs
        print(f"{answer.chip:10} {'will run' if answer.runs else 'WILL NOT RUN'}")
        for line in answer.why:
            print(f"{'':10} {line}")
        for line in dict.fromkeys(answer.changes):
            print(f"{'':10} -> {line}")
    return 0 if all_run else 1


def _look_over(model: Model, recipe: str, family: Family, exact: Answers) -> None:
    """Findings of hil lint, and how far the device file is from the float model."""
    from esp_hil.goldens.new_check import RESOLVER, changes_of
    from esp_hil.lint import lint_file

    path = model.artifact(recipe, family)
    print(f"{family:8} {path.stat().st_size:,} bytes")
    if model.float_file:
        _beside_float(model, recipe, family, {name: answer.real() for name, answer in exact.items()})
    findings = lint_file(path).findings
    for finding in findings:
        if finding.severity != "note" and finding.rule != RESOLVER:
            where = f" at {finding.node}" if finding.node else ""
            print(f"{family:8} {finding.severity}: {finding.rule}{where}: {finding.why} -> {finding.todo}")
    for line in changes_of([one for one in findings if one.rule == RESOLVER], path):
        print(f"{family:8} {line}")


def _beside_float(model: Model, recipe: str, family: Family, exact: dict[str, Array]) -> None:
    """What the output means decides the figure: top-1, RMSE, cosine, pixels."""
    from esp_hil.goldens.references import FloatReference
    from esp_hil.models.device_file import open_device_file
    from esp_hil.verdict.measures import measured

    file = open_device_file(model.artifact(recipe, family))
    outputs = model.device_outputs(file)
    golden = model.golden()
    floats = FloatReference(model, outputs, model.device_inputs(file)).run(golden.arrays, golden.starts)
    for name, tensor in outputs.items():
        both = {"exact": tensor.restore(exact[name]), "float": tensor.restore(floats[name].real())}
        figures = measured(name, model.output_spec(name).reading, both, None)  # type: ignore[arg-type]
        told = ", ".join(f"{one.title} {one.words}" for one in figures if one.name in _TOLD)
        if told:
            print(f"{family:8} {name}: {told}")


_TOLD = frozenset({"top1", "rmse", "cosine", "pixels"})


def _families(text: str | None) -> tuple[Family, ...]:
    from esp_hil.targets import FAMILIES, target

    names = [word.strip() for word in (text or "").split(",") if word.strip()]
    found = {name if name in FAMILIES else target(name).family for name in names}
    return tuple(family for family in FAMILIES if family in found)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise ConfigError(f"{option} {text}", hint="numbers, comma-separated: 0.485,0.456,0.406") from None
