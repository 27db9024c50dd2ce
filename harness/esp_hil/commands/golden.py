"""`hil golden`: the models, their checksums, how to make them again, their accuracy on the whole test set."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.errors import GoldenError

if TYPE_CHECKING:
    from esp_hil.goldens.accuracy import AccuracyRow
    from esp_hil.models.catalogue import Model

HELP = "list, verify and make models; measure their accuracy on the whole test set"
EXAMPLES = """
  hil golden list
  hil golden verify mnist
  hil golden accuracy mnist --data mnist.npz
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil golden` and its actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the models and their recipes")
    listing.set_defaults(action_run=_list)
    verify = actions.add_parser("verify", help="compare every file with its sha256 in manifest.json")
    verify.add_argument("models", nargs="*", metavar="MODEL", help="default: all")
    verify.set_defaults(action_run=_verify)
    build = actions.add_parser("build", help="make a model's files again")
    build.add_argument("model", metavar="MODEL")
    _data_argument(build)
    build.add_argument("--retrain", action="store_true", help="make the float model again too")
    build.add_argument("--check", action="store_true", help="compare with what is there, change nothing")
    build.set_defaults(action_run=_build)
    measure = actions.add_parser("accuracy", help="top-1 over the test images, float and exact")
    measure.add_argument("model", metavar="MODEL")
    _data_argument(measure)
    measure.add_argument("--limit", type=int, metavar="N", help="only N images, spread evenly; default: all")
    measure.add_argument("--json", action="store_true", help="print JSON")
    measure.set_defaults(action_run=_accuracy)


def run(args: Namespace) -> int:
    """Do the action."""
    status: int = args.action_run(args)
    return status


def _data_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE|FOLDER",
        help="the model's data set; default: in the folder HIL_DATA",
    )


def _list(args: Namespace) -> int:
    del args
    from esp_hil import tasks
    from esp_hil.models import catalogue

    names = catalogue.models()
    if not names:
        where = ", ".join(map(str, catalogue.roots_searched()))
        raise GoldenError(f"no model in {where}", hint="set HIL_GOLDEN, or run in the project's folder")
    for name in names:
        model = catalogue.load(name)
        size = f"; {model.expected.parameters:,} parameters, {model.expected.macs:,} MACs"
        print(f"{name:16} {model.title}{size if model.expected.macs else ''}")
        for recipe in model.recipes.values():
            # TFLM has one file for all chips, so its only family is called as the runtime is
            families = [family for family in recipe.targets if family != recipe.runtime]
            chips = f" for {', '.join(families)}" if families else ""
            print(f"{'':16} {recipe.name}: {recipe.title}, {recipe.runtime}{chips}")
    if there := tasks.names():
        print(f"tasks: {', '.join(there)}; see hil task list")
    return 0


def _verify(args: Namespace) -> int:
    from esp_hil.models import catalogue

    bad = 0
    for name in args.models or catalogue.models():
        model = catalogue.load(name)
        problems = _problems(model)
        bad += bool(problems)
        for problem in problems:
            print(f"{name}: {problem}")
        if not problems:
            print(f"{name}: {len(model.manifest().files)} files as in manifest.json")
    return 1 if bad else 0


def _problems(model: Model) -> list[str]:
    """What is wrong with a model's files, and what its recipes promise but its manifest lacks."""
    from esp_hil.models import catalogue, manifest

    try:
        listed = model.manifest()
    except GoldenError as error:
        return [str(error)]
    promised = [
        catalogue.artifact_name(r.name, family) for r in model.recipes.values() for family in r.targets
    ]
    fed = any(spec.state for spec in model.inputs)
    own = (model.float_file, model.golden_inputs.inputs, "" if fed else model.golden_inputs.answers)
    promised += [name for name in own if name]
    problems = []
    elsewhere = {
        catalogue.artifact_name(recipe.name, family)
        for recipe in model.recipes.values()
        for family in recipe.targets
        if not recipe.committed
    }
    for name in dict.fromkeys([*listed.files, *promised]):
        if name in elsewhere and name in listed.files and not (model.folder / name).is_file():
            continue  # made where it is wanted; its digest is on record
        try:
            manifest.check_file(model.folder, name, listed)
        except GoldenError as error:
            problems.append(str(error))
    return problems


def _build(args: Namespace) -> int:
    from esp_hil.goldens.build import build
    from esp_hil.models import catalogue

    model = catalogue.load(args.model)
    made = build(
        model,
        data=args.data,
        retrain=args.retrain,
        check=args.check,
        say=lambda line: print(line, flush=True),
    )
    for row in made:
        print(f"{row.state:8} {row.bytes:>10,} {row.sha256[:16]} {row.name}")
    changed = [row.name for row in made if row.state != "same"]
    if args.check:
        print(
            f"not as made: {', '.join(changed)}" if changed else "every file came out byte for byte as it is"
        )
        return 1 if changed else 0
    print(
        f"replaced: {', '.join(changed)}" if changed else "nothing changed: every file came out byte for byte"
    )
    return 0


def _accuracy(args: Namespace) -> int:
    import json

    from esp_hil.errors import ConfigError
    from esp_hil.goldens.accuracy import measure
    from esp_hil.goldens.build import find_data
    from esp_hil.models import catalogue

    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit {args.limit}: must be at least 1")
    model = catalogue.load(args.model)
    rows = []
    for row in measure(model, find_data(model, args.data), limit=args.limit):
        rows.append(row)
        if not args.json:
            name = f"{row.reference} {row.recipe} {row.family or ''}".rstrip()
            print(f"{name:24} top-1 {row.accuracy.summary}; as float {row.agreement.summary}", flush=True)
    if args.json:
        print(json.dumps([_as_json(row) for row in rows], indent=1))
    short = args.limit is None and rows[0].accuracy.share < model.expected.test_top1
    if short:
        print(f"float top-1 is below the {model.expected.test_top1} of model.toml")
    return 1 if short else 0


def _as_json(row: AccuracyRow) -> dict[str, object]:
    low, high = row.accuracy.interval
    return {
        "reference": row.reference,
        "recipe": row.recipe,
        "family": row.family,
        "inputs": row.accuracy.total,
        "correct": row.accuracy.correct,
        "top1": row.accuracy.share,
        "top1_low": low,
        "top1_high": high,
        "as_float": row.agreement.correct,
    }
