"""`hil quantize`: one device file by one recipe, outside of golden/."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "make one .espdl by a recipe of a model"
EXAMPLES = """
  hil quantize mnist --recipe w8a8 --target esp32p4 --data mnist.npz
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil quantize`."""
    parser.add_argument("model", metavar="MODEL", help="a model of golden/")
    parser.add_argument("--recipe", required=True, help="a recipe of its model.toml")
    parser.add_argument(
        "--target", required=True, help="the chip (esp32, esp32s3, esp32p4 ...), or its family"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE.espdl", help="default: MODEL-RECIPE-FAMILY.espdl in this folder"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE|FOLDER",
        help="the model's data set; default: in the folder HIL_DATA",
    )


def run(args: Namespace) -> int:
    """Quantize and say what came out."""
    import hashlib

    from esp_hil.errors import ConfigError, cannot_write
    from esp_hil.goldens.build import calibration_inputs, find_data
    from esp_hil.goldens.esp_ppq import quantize, require_quantizer
    from esp_hil.models import catalogue
    from esp_hil.targets import FAMILIES, target

    model = catalogue.load(args.model)
    recipe = model.recipe(args.recipe)
    family = args.target if args.target in FAMILIES else target(args.target).family
    out = args.out or Path(f"{model.name}-{recipe.name}-{family}.espdl")
    if out.suffix != ".espdl":
        raise ConfigError(f"cannot write {out}", hint="a name that ends in .espdl")
    if not out.parent.is_dir():
        raise cannot_write(out, FileNotFoundError())  # before the minutes that quantizing takes
    require_quantizer()
    images = calibration_inputs(model, find_data(model, args.data), recipe)
    made = quantize(model.float_path, recipe, family, images, espdl=out, say=print)
    data = made.espdl.read_bytes()
    print(f"wrote {out}: {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
    return 0
