"""`hil scores`: what a device must answer to an input, class by class, raw and as shares."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.commands import add_model
from esp_hil.errors import ConfigError

if TYPE_CHECKING:
    from esp_hil.models.catalogue import Model
    from esp_hil.models.device_file import DeviceFile
    from esp_hil.targets import Family

HELP = "show an input's scores: raw numbers, real values and shares, with bars"
EXAMPLES = """
  hil scores mnist --input 7
  hil scores my.espdl --inputs in.npz
"""

MOST_CLASSES = 1_000
"""Of an output that is shown class by class."""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil scores`."""
    add_model(parser)
    parser.add_argument("recipe_too", nargs="?", metavar="RECIPE", help="as --recipe")
    parser.add_argument(
        "--target", help="the chip: esp32, esp32s3, esp32p4 ... (default: the recipe's first)"
    )
    parser.add_argument("--family", help="of the device file, instead of --target")
    parser.add_argument("--input", type=int, default=0, metavar="N", help="which golden input (default 0)")
    parser.add_argument(
        "--inputs",
        type=Path,
        metavar="IN.npz",
        help="instead of a golden input: the device's integers by input name, as for hil exact",
    )


def run(args: Namespace) -> int:
    """Print the bars."""
    from esp_hil.models.device_file import open_device_file
    from esp_hil.models.named import with_model
    from esp_hil.session.named_model import find
    from esp_hil.targets import target

    chip = target(args.target) if args.target else None
    recipe = args.recipe or args.recipe_too
    named = with_model(find(args.model, recipe=recipe, family=args.family, chip=chip))
    if named.model is not None and args.inputs is None:
        assert named.family is not None
        return _golden(named.model, named.recipe, named.family, args.input)
    file = open_device_file(named.path)
    if args.inputs is None:
        raise ConfigError(
            f"{args.model} is no model of golden/, so it has no golden inputs",
            hint="give --inputs IN.npz, the device's integers by input name",
        )
    family = named.family or (chip.family_of(file.runtime) if chip else args.family)
    if family is None and file.runtime == "tflm":
        family = "tflm"
    if family is None:
        raise ConfigError("families of chips round differently", hint="name the chip: --target")
    return _given(named.title, file, family, args.inputs, named.model)


def _golden(model: Model, recipe: str, family: Family, number: int) -> int:
    """A golden input's scores."""
    from esp_hil.goldens.references import DeviceFileReference
    from esp_hil.goldens.scores import bars, scores_of

    golden = model.golden()
    if not 0 <= number < len(golden):
        raise ConfigError(f"no golden input {number}", hint=f"there are {len(golden)}")
    if not model.classifier:
        raise ConfigError(
            f"model {model.name} has no output with class scores", hint="its verdict tells of the others"
        )
    inputs = {name: array[number : number + 1] for name, array in golden.arrays.items()}
    answer = DeviceFileReference(model, recipe, family).run(inputs)[model.output]
    label = "" if golden.labels is None else f", label {model.classifier.label(int(golden.labels[number]))}"
    print(f"{model.name} {recipe} {family}: {golden.ids[number]}{label}")
    print(bars(scores_of(answer, 0, model.labels, model.postprocess)))
    return 0


def _given(title: str, file: DeviceFile, family: Family, inputs: Path, model: Model | None) -> int:
    """The scores of one inference with given inputs; of a file of its own classes have numbers for names."""
    from esp_hil.goldens.file_tensors import golden_steps
    from esp_hil.goldens.references import ReferenceOutput
    from esp_hil.goldens.scores import bars, scores_of
    from esp_hil.models.postprocess import Postprocess
    from esp_hil.npz import read_npz

    arrays = read_npz(inputs, hint="arrays named as the model's inputs")
    if model is not None and golden_steps(model, file, family, inputs) is not None:
        raise ConfigError(
            f"{inputs} holds golden inputs of {model.name}, not one in the device's layout",
            hint="leave --inputs out: --input N takes the Nth of the model's own",
        )
    answers = file.exact(family).run(arrays)
    output = next((one for one in file.outputs if model is None or one.name == model.output), file.outputs[0])
    values = answers[output.name]
    if values.size > MOST_CLASSES:
        raise ConfigError(
            f"output {output.name!r} has {values.size:,} values: they are no scores of classes",
            hint="hil exact writes them to a file",
        )
    answer = ReferenceOutput(values=values.reshape(1, -1), exponent=output.exponent, affine=output.affine)
    labels = model.labels if model else tuple(map(str, range(max(2, values.size))))
    shown = model.postprocess if model else Postprocess(threshold=0.5 if values.size == 1 else None)
    print(f"{title}: {inputs.name}, output {output.name}")
    print(bars(scores_of(answer, 0, labels, shown)))
    return 0
