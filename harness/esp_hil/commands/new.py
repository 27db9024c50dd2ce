"""`hil new`: a model folder from your own files."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
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
A model folder, golden/NAME, is what pytest and the other commands test. It holds the network's device files, the
inputs that it is tested with ("golden inputs"), and model.toml, which says what inputs and outputs mean and is yours
to change.
"""

EXAMPLES = """
1. Will it run on my chips, and what would have to change? Answered in seconds; nothing is written:
      hil new gesture --onnx gesture.onnx --check --target esp32,esp32s3

2. Make the folder, from what you have:
   a float ONNX file: it is quantized to 8 bits for ESP-DL
      hil new gesture --onnx gesture.onnx --calibration pictures/ --labels names.txt
   with several inputs
      hil new fusion --onnx fusion.onnx --calibration inputs.npz
      hil new fusion --onnx fusion.onnx --calibration image=pictures/ --calibration imu=recordings/
   with an output that is not class scores, here a regression
      hil new speed --onnx speed.onnx --calibration inputs.npz --meaning speed=values
   a detector: decoding and NMS are yours, in Python (docs/models.md)
      hil new detect --onnx detect.onnx --calibration pictures/ --pipeline pipeline.py
   a streaming network: its cache goes out as an output and comes back as an input
      hil new tcn --onnx tcn.onnx --state cache=next_cache --calibration frame=recording/
   a .tflite file: for TensorFlow Lite Micro, the same file on every chip
      hil new wake --tflite hey_jarvis.tflite
   .espdl files, one for each chip
      hil new actor --espdl esp32s3=actor_s3.espdl --espdl esp32p4=actor_p4.espdl
   an .espdl file and the float ONNX that it was made from: the price of quantization is measured too
      hil new actor --onnx actor.onnx --espdl esp32s3=actor_s3.espdl

3. Test it, without a board:
      pytest --target esp32s3 --hil-board virtual --hil-model NAME
   and on a board at a USB port:
      pytest --target esp32s3 --hil-model NAME
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil new`."""
    parser.description = f"{HELP}\n{_ABOUT}"
    parser.add_argument("name", metavar="NAME", help="a name for the model; its folder becomes golden/NAME")
    network = parser.add_argument_group(
        "the network (one of these; --onnx beside a device file to compare them)"
    )
    network.add_argument(
        "--onnx",
        type=Path,
        metavar="FILE",
        help="the float32 model; quantized, unless a device file is given",
    )
    network.add_argument(
        "--tflite", type=Path, metavar="FILE", help="a device file for TensorFlow Lite Micro, taken as it is"
    )
    network.add_argument(
        "--espdl",
        metavar="[CHIP=]FILE",
        action="append",
        default=[],
        help="a device file for ESP-DL, taken as it is; once for each chip. CHIP= where the file does not "
        "say which one it is for",
    )
    _add_inputs(parser)
    outputs = parser.add_argument_group("outputs (what is not said is guessed, and printed)")
    outputs.add_argument(
        "--labels", type=Path, metavar="FILE", help="class names, one per line, in the model's order"
    )
    outputs.add_argument(
        "--meaning", metavar="OUTPUT=WHAT", action="append", default=[],
        help="scores (of classes) | values (a regression) | embedding (a direction: cosine) | dense (classes of "
        "pixels) | raw (integers, only compared with the exact reference)",
    )  # fmt: skip
    outputs.add_argument(
        "--output", default="", help="which output holds the class scores, where there are several"
    )
    outputs.add_argument(
        "--pipeline", type=Path, metavar="FILE.py",
        help="of a detector: Python with after(outputs), which returns boxes (docs/models.md); golden/NAME gets a copy",
    )  # fmt: skip
    making = parser.add_argument_group("what to make")
    making.add_argument(
        "--target",
        metavar="CHIP,CHIP",
        help="your chips: esp32, esp32s3, esp32p4 ...; default: device files for every kind of chip (--check: for the "
        "usual ones)",
    )
    making.add_argument(
        "--check", action="store_true", help="only say whether it will run, and what to change; write nothing"
    )
    making.add_argument(
        "--float-operators",
        default="",
        metavar="A,B",
        help="ONNX operators that may stay in float on the chip, such as Log,Sqrt: slow, but not quantized",
    )
    making.add_argument(
        "--into", type=Path, default=Path("golden"), metavar="FOLDER",
        help="where the model's folder is made; default: golden",
    )  # fmt: skip


def _add_inputs(parser: ArgumentParser) -> None:
    inputs = parser.add_argument_group("inputs (if you give none, seeded noise is used)")
    inputs.add_argument(
        "--calibration", metavar="[INPUT=]FOLDER|FILE.npz", action="append", default=[],
        help="10 or more inputs for the quantizer; up to a third of them become golden inputs instead, unless --inputs "
        "gives those. A folder of images or .npy arrays, in subfolders named after the classes if you know them, and "
        "INPUT=FOLDER for each if there are several inputs; or one .npz with an array for each input, N first, and "
        "`labels` (class numbers) and `expected/OUTPUT` (right answers) if you know them",
    )  # fmt: skip
    inputs.add_argument(
        "--inputs", type=Path, metavar="FILE.npz",
        help="golden inputs, all of them, in an .npz like that; without --calibration they also calibrate",
    )  # fmt: skip
    inputs.add_argument(
        "--mean",
        default="",
        metavar="V,V,V",
        help="for images: the model takes (byte / 255 - mean) / std; one value per channel, default 0",
    )
    inputs.add_argument("--std", default="", metavar="V,V,V", help="see --mean; default 1")
    inputs.add_argument(
        "--state", metavar="INPUT=OUTPUT", action="append", default=[],
        help="for a streaming network: INPUT gets what OUTPUT gave in the step before, and zeros at the start of a "
        "sequence. You give no values for it; the other inputs are the steps, in order",
    )  # fmt: skip


def run(args: Namespace) -> int:
    """Make the folder, look it over, say what comes next; with --check: 1 if it will not run on one of the chips."""
    wish = _wish(args)
    if args.check:
        return _check(wish, args.target)
    from esp_hil.goldens.new_model import create
    from esp_hil.models import catalogue

    look = partial(_look_over, args.into / args.name)
    folder = create(wish, args.into, lambda line: print(line, flush=True), look=look)
    model = catalogue.load(args.name, (args.into,))
    print(f"made {folder}")
    made = [family for recipe in model.recipes.values() for family in recipe.targets]
    print(
        f"next, without a board: pytest --target {_next_chips(args.target, made)} --hil-board virtual "
        f"--hil-model {args.name}"
    )
    return 0


def _next_chips(asked: str | None, made: Sequence[Family]) -> str:
    """The chips that were asked for; else one to begin with."""
    if asked:
        return ",".join(dict.fromkeys(_CHIP_OF["c"] if name == "c" else name for name in _words(asked)))
    return "esp32s3" if "esp32s3" in made else _CHIP_OF[made[0]]


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
        float_operators=tuple(_words(args.float_operators)),
        states=_states(args.state),
        pipeline=args.pipeline,
    )


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


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
            raise ConfigError(
                f"--state {text} does not name an input and an output",
                hint="INPUT=OUTPUT: the output that holds its next value",
            )
        found[name] = output
    return found


def _meanings(words: list[str]) -> dict[str, Meaning]:
    from esp_hil.verdict.measures import Meaning

    found: dict[str, Meaning] = {}
    known = [word for word in get_args(Meaning) if word != "boxes"]
    for text in words:
        name, _, what = text.rpartition("=")
        if what == "boxes":
            raise ConfigError(
                f"--meaning {text}: boxes are made of outputs, by a program of yours",
                hint="--pipeline FILE.py",
            )
        if not name or what not in known:
            raise ConfigError(
                f"--meaning {text}: not OUTPUT=WHAT with a WHAT that is known",
                hint=f"OUTPUT={'|'.join(known)}; values is a regression",
            )
        found[name] = cast("Meaning", what)
    return found


def _check(wish: Wish, targets: str | None) -> int:
    from esp_hil.goldens.new_check import check

    names = _words(targets or "")
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


def _look_over(place: Path, model: Model, recipe: str, family: Family, exact: Answers) -> None:
    """Findings of hil lint, and how far the device file is from the float model.

    Args:
        place: where the model's folder will be; until then it lies elsewhere.
        model: looked over.
        recipe: of the device file.
        family: of the device file.
        exact: its answers to the golden inputs.
    """
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
    _try_pipeline(model, recipe, family, {name: answer.real() for name, answer in exact.items()})
    shown = place / path.relative_to(model.folder)
    for line in changes_of([one for one in findings if one.rule == RESOLVER], shown):
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


def _try_pipeline(model: Model, recipe: str, family: Family, exact: dict[str, Array]) -> None:
    """Make boxes of the answers now: what fails in a person's program fails before the folder is there."""
    from esp_hil.models.device_file import open_device_file

    pipeline = model.opened_pipeline()
    if pipeline is None:
        return
    outputs = model.device_outputs(open_device_file(model.artifact(recipe, family)))
    found = pipeline.find({name: tensor.restore(exact[name]) for name, tensor in outputs.items()})
    print(f"{family:8} pipeline: {sum(map(len, found))} boxes in {len(found)} golden inputs")


_TOLD = frozenset({"top1", "rmse", "cosine", "pixels"})


def _families(text: str | None) -> tuple[Family, ...]:
    from esp_hil.targets import FAMILIES, target

    names = _words(text or "")
    found = {name if name in FAMILIES else target(name).family for name in names}
    return tuple(family for family in FAMILIES if family in found)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(",") if word.strip())
    except ValueError:
        raise ConfigError(
            f"{option} {text} is not a list of numbers", hint="separate them by commas: 0.485,0.456,0.406"
        ) from None
