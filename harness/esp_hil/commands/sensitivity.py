"""`hil sensitivity`: the noise of each layer, which deserve 16 bits, and what that changes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from esp_hil.models.catalogue import Model
    from esp_hil.models.recipe import Recipe
    from esp_hil.targets import Family

HELP = "measure the quantization noise of each layer and suggest which deserve 16 bits"
EXAMPLES = """
  hil sensitivity gesture --recipe w8a8 --target esp32s3
  hil sensitivity gesture --recipe w8a8 --target esp32s3 --layers 1 --apply
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil sensitivity`."""
    parser.add_argument("model", metavar="MODEL", help="a model of golden/")
    parser.add_argument("--recipe", required=True, help="a recipe of its model.toml")
    parser.add_argument(
        "--target", required=True, help="the chip (esp32, esp32s3, esp32p4 ...), or its family"
    )
    parser.add_argument("--count", type=int, default=32, help="inputs to measure with (default %(default)s)")
    parser.add_argument(
        "--layers", type=int, default=3, help="lift at most this many layers (default %(default)s)"
    )
    parser.add_argument(
        "--share", type=float, default=0.5, help="of the noise to remove, 0..1 (default %(default)s)"
    )
    parser.add_argument("--apply", action="store_true", help="quantize with the suggestion and measure again")
    parser.add_argument(
        "--latency",
        action="store_true",
        help="instead: quantize with what saves most time (Clip, a table look-up, made Relu); show before and after",
    )
    parser.add_argument(
        "--data", type=Path, metavar="FILE|FOLDER", help="the model's data set; without it, golden inputs"
    )


def run(args: Namespace) -> int:
    """Print the table and the suggestion; with --apply what it changes."""
    from esp_hil.formats.espdl import read_espdl
    from esp_hil.goldens.sensitivity import measure, suggest
    from esp_hil.models import catalogue
    from esp_hil.targets import FAMILIES, target

    model = catalogue.load(args.model)
    recipe = model.recipe(args.recipe)
    family = args.target if args.target in FAMILIES else target(args.target).family
    if args.latency:
        return _latency(model, recipe, args.target, args.data)
    inputs = _inputs(model, args.data, args.count)
    layers = measure(model, recipe.name, family, inputs)
    print(f"{'layer':44} {'operator':14} {'result':14} {'own':>9} {'reached':>9} {'brought':>9}")
    for layer in layers:
        grid = layer.dtype if layer.exponent is None else f"{layer.dtype} e{layer.exponent}"
        print(
            f"{layer.node:44} {layer.op_type:14} {grid:14} "
            f"{layer.own:9.2e} {layer.reached:9.2e} {layer.brought:9.2e}"
        )
    nodes = read_espdl(model.artifact(recipe.name, family)).graph.nodes
    chosen = suggest(layers, nodes, share=args.share, most=args.layers)
    print("suggestion: 16 bits for")
    print(f"[recipes.{recipe.name}_mixed.dispatch]")
    for name in chosen:
        print(f'"{name}" = 16')
    if args.apply:
        _apply(model, recipe, family, chosen=chosen, inputs=inputs, data=args.data)
    return 0


def _inputs(model: Model, data: Path | None, count: int) -> NDArray[np.float32]:
    """Training images spread over the split, or golden inputs."""
    from esp_hil.goldens.build import find_data

    if data is None:
        return model.golden(min(count, len(model.golden().inputs))).inputs
    images = model.data_split(find_data(model, data), "train").images
    return model.input.preprocess(images[:: max(1, len(images) // count)][:count])


def _apply(
    model: Model,
    recipe: Recipe,
    family: Family,
    *,
    chosen: tuple[str, ...],
    inputs: NDArray[np.float32],
    data: Path | None,
) -> None:
    """Quantize again with the chosen operators at 16 bits; print noise, size and accuracy beside each other."""
    import tempfile
    from dataclasses import replace

    from esp_hil.goldens.build import calibration_inputs, find_data
    from esp_hil.goldens.esp_ppq import quantize

    source = find_data(model, data)
    mixed = replace(recipe, dispatch={**recipe.dispatch, **dict.fromkeys(chosen, 16)})
    images = calibration_inputs(model, source, recipe)
    with tempfile.TemporaryDirectory(prefix="hil-sensitivity-") as name:
        made = quantize(
            model.float_path,
            mixed,
            family,
            images,
            espdl=Path(name) / "mixed.espdl",
            say=lambda line: print(f"  {line}", flush=True),
        )
        before = _figures(model, model.artifact(recipe.name, family), family, inputs, source)
        after = _figures(model, made.espdl, family, inputs, source)
    headings = ("noise of the scores", "bytes", "top-1 on the test images")
    for heading, first, second in zip(headings, before, after, strict=True):
        print(f"{heading:26} {first} -> {second}")


def _figures(
    model: Model, path: Path, family: Family, inputs: NDArray[np.float32], source: Path
) -> tuple[str, str, str]:
    from esp_hil.goldens.references import DeviceFileReference
    from esp_hil.goldens.sensitivity import noise_to_signal
    from esp_hil.models.float_model import FloatModel
    from esp_hil.verdict.difference import accuracy

    reference = DeviceFileReference(model, "", family, artifact=path)
    floats = FloatModel(model.float_path).run(inputs)[model.output]
    scores = reference.run(inputs)[model.output].real()
    tests = model.data_split(source, "test")
    answers = reference.run(model.input.preprocess(tests.images))[model.output].real()
    return (
        f"{noise_to_signal(scores, floats):.2e}",
        f"{path.stat().st_size:,}",
        accuracy(answers, tests.labels).summary,
    )


def _latency(model: Model, recipe: Recipe, chip_name: str, data: Path | None) -> int:
    """Apply the advice of `hil predict --page` that changes the network; accuracy and instructions before and after."""
    import tempfile
    from dataclasses import replace

    from esp_hil.goldens.build import calibration_inputs, find_data
    from esp_hil.goldens.esp_ppq import quantize
    from esp_hil.models.device_file import open_device_file
    from esp_hil.results.timing.forecast import forecast
    from esp_hil.results.timing.page import changes_for, clip_nodes
    from esp_hil.targets import target

    chip = target(chip_name)
    path = model.artifact(recipe.name, chip.family)
    file = open_device_file(path)
    found = forecast(file, chip)
    advice = [change for change in changes_for(file, chip, found) if change.of_model]
    for change in advice:
        print(f"{100 * (1 - change.ms / found.ms):3.0f} % of the predicted time: {change.what}")
    clips = clip_nodes(file)
    if not clips:
        print(f"nothing to apply: {recipe.name} of {model.name} has no Clip behind a Conv or Gemm")
        return 0
    source = find_data(model, data)
    relu = replace(recipe, rewrites=("clip_to_relu",))
    images, inputs = calibration_inputs(model, source, relu), _inputs(model, None, 32)
    with tempfile.TemporaryDirectory(prefix="hil-sensitivity-") as name:
        made = quantize(
            model.float_path,
            relu,
            chip.family,
            images,
            espdl=Path(name) / "relu.espdl",
            say=lambda line: print(f"  {line}", flush=True),
        )
        rows = []
        for one in (path, made.espdl):
            then = forecast(open_device_file(one), chip)
            rows.append((*_figures(model, one, chip.family, inputs, source), then))
    print(f"applied: {len(clips)} Clip made Relu")
    headings = ("noise of the scores", "bytes", "top-1 on the test images")
    for number, heading in enumerate(headings):
        print(f"{heading:26} {rows[0][number]} -> {rows[1][number]}")
    before, after = rows[0][-1], rows[1][-1]
    print(f"{'instructions':26} {before.instructions:,.0f} -> {after.instructions:,.0f}")
    print(f"{'predicted ms':26} {before.ms:.3g} -> {after.ms:.3g} ({100 * after.ms / before.ms:.0f} %)")
    return 0
