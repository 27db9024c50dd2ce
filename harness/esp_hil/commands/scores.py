"""`hil scores`: what a device must answer to a golden input, class by class, raw and as shares."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "show a golden input's scores: raw numbers, real values and shares, with bars"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil scores`."""
    parser.add_argument("model", help="a folder of golden/")
    parser.add_argument("recipe", help="one of its recipes")
    parser.add_argument("--family", help="of the device file (default: the recipe's first)")
    parser.add_argument("--input", type=int, default=0, metavar="N", help="which golden input (default 0)")


def run(args: Namespace) -> int:
    """Print the bars."""
    from esp_hil.errors import ConfigError
    from esp_hil.goldens.references import ExactReference
    from esp_hil.goldens.scores import bars, scores_of
    from esp_hil.models import catalogue

    model = catalogue.load(args.model)
    recipe = model.recipe(args.recipe)
    family = args.family or recipe.targets[0]
    golden = model.golden()
    if not 0 <= args.input < len(golden.inputs):
        raise ConfigError(f"no golden input {args.input}", hint=f"there are {len(golden.inputs)}")
    row = slice(args.input, args.input + 1)
    answer = ExactReference(model, recipe.name, family).run(golden.inputs[row])[model.output]
    label = "" if golden.labels is None else f", label {model.labels[golden.labels[args.input]]}"
    print(f"{model.name} {recipe.name} {family}: {golden.ids[args.input]}{label}")
    print(bars(scores_of(answer, 0, model.labels, model.postprocess)))
    return 0
