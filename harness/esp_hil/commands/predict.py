"""`hil predict`: the latency of a model on a chip that one does not have; a prediction, not a measurement."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.errors import ConfigError

if TYPE_CHECKING:
    from esp_hil.models.device_file import DeviceFile
    from esp_hil.targets import Target

HELP = "predict the latency of a model on a chip, with the band of its error"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil predict`."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model of golden/, or a device file")
    parser.add_argument("--target", help="the chip, a row of targets.toml")
    parser.add_argument("--recipe", help="which device file of the model (default: its first for the chip)")
    parser.add_argument(
        "--kernels", choices=("esp-nn", "portable"), default="esp-nn", help="of TFLM (default esp-nn)"
    )
    parser.add_argument("--clock-mhz", type=int, help="of the CPU (default: the chip's fastest)")
    parser.add_argument("--error", action="store_true", help="print how well held-out models are predicted")


def run(args: Namespace) -> int:
    """Print the prediction and the published figures of the same model."""
    if args.error:
        return _errors()
    if args.model is None or args.target is None:
        raise ConfigError(
            "hil predict needs MODEL and --target", hint="e.g. hil predict mnist --target esp32s3"
        )
    from esp_hil.results.timing.predict import predict
    from esp_hil.results.timing.published import published_of, spread_words
    from esp_hil.results.timing.work import total_bytes, total_macs, work_of
    from esp_hil.targets import target

    chip = target(args.target)
    name, file = _file(args, chip)
    work = work_of(file)
    macs = total_macs(work)
    print(f"{name} on {chip.name}: {macs:,} MACs, {total_bytes(work):,} bytes, {len(work)} layers")
    clock_hz = args.clock_mhz * 1_000_000 if args.clock_mhz else None
    found = predict(macs, chip, runtime=file.runtime, kernels=args.kernels, clock_hz=clock_hz)
    print(found.words)
    rows = published_of(name, chip.name, file.runtime, macs)
    if rows:
        print(f"published of this model: {spread_words(rows)}")
        for row in rows:
            print(f"  {row.words}  {row.source}")
    return 0


def _file(args: Namespace, chip: Target) -> tuple[str, DeviceFile]:
    from esp_hil.models import catalogue
    from esp_hil.models.device_file import open_device_file

    path = Path(args.model)
    if path.suffix in {".espdl", ".tflite"}:
        return path.stem, open_device_file(path)
    model = catalogue.load(args.model)
    fitting = [
        name for name, recipe in model.recipes.items() if chip.family_of(recipe.runtime) in recipe.targets
    ]
    if args.recipe:
        fitting = [model.recipe(args.recipe).name]
    if not fitting:
        raise ConfigError(f"model {model.name} has no device file for {chip.name}")
    recipe = model.recipes[fitting[0]]
    return model.name, open_device_file(model.artifact(recipe.name, chip.family_of(recipe.runtime)))


def _errors() -> int:
    from esp_hil.results.timing.predict import groups, held_out
    from esp_hil.results.timing.published import published

    print("models held out, a third at a time; factor: the larger of predicted/published and its inverse")
    print(f"{'group':24}{'models':>8}{'median':>9}{'worst':>8}{'in band':>9}   missed most")
    for group in groups():
        try:
            found = held_out(published(), group)
        except ConfigError:
            print(f"{group:24}{'':8} too few published models to hold out a third")
            continue
        model, factor = found.missed[0]
        print(
            f"{group:24}{found.models:8d}{found.median_factor:9.2f}{found.worst_factor:8.2f}"
            f"{100 * found.inside:8.0f}%   {model} x{factor:.2f}"
        )
    return 0
