"""`hil exact`: run a device file in the chip's own integer arithmetic."""

from __future__ import annotations

import contextlib
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esp_hil.commands import add_model
from esp_hil.errors import ConfigError, HilError, cannot_write

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from esp_hil.exact import ExactReference, Kernels
    from esp_hil.models.device_file import Exact
    from esp_hil.models.named import NamedModel
    from esp_hil.targets import Family

HELP = "run a model exactly as the chip computes it, integer for integer"
EXAMPLES = """
  hil exact mnist --inputs golden/mnist/inputs.npz --outputs out.npz       all golden inputs
  hil exact my.espdl --inputs in.npz --outputs out.npz --all-tensors
  hil exact wake.tflite --target esp32s3 --esp-nn 1.2.3
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil exact`."""
    add_model(parser)
    parser.add_argument(
        "--inputs",
        type=Path,
        metavar="IN.npz",
        help="integers by input name, device layout and shape; or a model's golden inputs: all are answered",
    )
    parser.add_argument("--outputs", type=Path, metavar="OUT.npz", help="where to write the outputs by name")
    parser.add_argument(
        "--all-tensors", action="store_true", help="write every tensor, not only the graph outputs"
    )
    parser.add_argument(
        "--target", metavar="T", help="chip whose numerics to use (default: what the file is for)"
    )
    parser.add_argument("--explain", action="store_true", help="print per layer why the arithmetic is exact")
    parser.add_argument(
        "--save", type=Path, metavar="EXACT.onnx", help="write the graph for onnxruntime alone"
    )
    parser.add_argument("--name", help="of a pack with several models, which one")
    parser.add_argument(
        "--kernels",
        choices=("portable", "chip"),
        default="chip",
        help="chip: as ESP-DL answers with its SIMD kernels on an esp32s3 or esp32p4; portable: as it answers "
        "compiled for a PC with the chip's rounding (default chip)",
    )
    parser.add_argument(
        "--esp-dl", default="", metavar="VERSION", help="of the firmware (default: the newest known)"
    )
    parser.add_argument(
        "--esp-nn",
        default="",
        metavar="VERSION",
        help="of a .tflite: with the known faults of this ESP-NN on --target (default: TFLM's reference kernels)",
    )


def run(args: Namespace) -> int:
    """Run the model, explain or save its graph."""
    from esp_hil.exact import ExactReference, save_onnx
    from esp_hil.formats.espdl import read_espdl
    from esp_hil.formats.kinds import kind_of, read_bytes
    from esp_hil.session.named_model import find
    from esp_hil.targets import target

    if (args.inputs is None) != (args.outputs is None):
        raise ConfigError("--inputs and --outputs go together", hint="give both, or --explain or --save")
    if args.inputs is None and not args.explain and args.save is None:
        raise ConfigError("nothing to do", hint="give --inputs and --outputs, --explain or --save")
    chip = target(args.target) if args.target else None
    named = find(args.model, recipe=args.recipe, chip=chip)
    if kind_of(read_bytes(named.path), named.path.name) == "tflite":
        return _tflite(args, named)
    if args.esp_nn:
        raise ConfigError("--esp-nn is for a .tflite model", hint="an .espdl has --esp-dl VERSION")
    model = read_espdl(named.path, name=args.name)
    family = chip.family if chip else named.family
    kernels: Kernels = args.kernels
    _warn_of_unknown(args.esp_dl)
    reference = ExactReference(model, family, kernels=kernels, esp_dl=args.esp_dl)
    _check_family_is_told(reference)
    inputs = None
    if args.inputs is not None:
        answers, inputs = _answered(args, named, reference, reference.family)
        for doubt in reference.doubts:
            print(f"hil exact: warning: not certain: {doubt.summary}", file=sys.stderr)
        _write(args.outputs, answers)
    if args.save is not None:
        tensors = list(reference.tensor_names) if args.all_tensors else None
        save_onnx(model, reference.family, args.save, tensors=tensors, kernels=kernels, esp_dl=args.esp_dl)
    if args.explain:
        _explain(reference, inputs)
    return 0


def _answered(
    args: Namespace, named: NamedModel, reference: Exact, family: Family
) -> tuple[Mapping[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Answers by name and the first inference's inputs: of one in the device's layout, or of all golden inputs."""
    import numpy as np

    from esp_hil.goldens.file_tensors import golden_steps, run_steps
    from esp_hil.models.device_file import open_device_file
    from esp_hil.models.named import with_model
    from esp_hil.npz import read_npz

    inputs = read_npz(args.inputs, hint="arrays named as the model's inputs")
    tensors = reference.tensor_names if args.all_tensors else None
    file = open_device_file(named.path, name=args.name)
    with contextlib.suppress(HilError):  # a file that was changed since may be looked at all the same
        named = with_model(named)
    steps = golden_steps(named.model, file, family, args.inputs) if named.model else None
    if steps is None:
        return reference.run(inputs, tensors=tensors), inputs
    if args.esp_nn:
        raise ConfigError("--esp-nn answers one inference", hint="give it in the device's layout and type")
    rows: list[Mapping[str, NDArray[Any]]] = []

    def step(single: dict[str, NDArray[Any]], fresh: bool) -> Mapping[str, NDArray[Any]]:
        if fresh:
            reference.reset()
        rows.append(reference.run(single, tensors=tensors, keep_state=True))
        return rows[-1]

    _, sent = run_steps(steps.tensors, steps.encoded, steps.starts, step)
    print(
        f"{args.inputs} holds {len(rows)} golden inputs of {named.title}: each output has an axis of N in front"
    )
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}, steps.tensors.single(sent, 0)


def _tflite(args: Namespace, named: NamedModel) -> int:
    """A .tflite by TFLM's own kernels, the same answers on every chip, or with what ESP-NN of a version does wrong."""
    from esp_hil.models.device_file import open_device_file

    if args.explain or args.save is not None or args.name is not None or args.esp_dl:
        raise ConfigError(
            "--explain, --save, --name and --esp-dl are for .espdl files", hint="leave them out"
        )
    if args.esp_nn and not args.target:
        raise ConfigError("--esp-nn needs --target", hint="such as --target esp32s3")
    reference = open_device_file(named.path).exact("tflm")
    answers, inputs = _answered(args, named, reference, "tflm")
    if args.esp_nn:
        answers = {**answers, **_with_faults(args, named.path, inputs, tuple(answers))}
    _write(args.outputs, answers)
    return 0


def _with_faults(
    args: Namespace, path: Path, inputs: Mapping[str, NDArray[Any]], wanted: tuple[str, ...]
) -> dict[str, NDArray[Any]]:
    """The tensors as a chip with the faults that ESP-NN has there answers them; none where no layer is hit."""
    from esp_hil.exact.esp_nn import NEWEST, version_of
    from esp_hil.exact.tflite import labels
    from esp_hil.formats.tflite import read_tflite
    from esp_hil.targets import target
    from esp_hil.virtual.esp_nn import EspNnModel

    version = version_of(args.esp_nn)
    if version > version_of(NEWEST):
        print(
            f"hil exact: warning: ESP-NN {args.esp_nn} was not looked into: answered as {NEWEST}, without what its "
            "issues call fixed",
            file=sys.stderr,
        )
    image = path.read_bytes()
    model = read_tflite(image, name=path.stem)
    names = labels(model)
    chip = EspNnModel(model, image, target(args.target).name, version)
    try:
        given = [
            inputs[names[number]].reshape(1, *model.tensors[number].item_shape) for number in model.inputs
        ]
        values = chip.run(given) or {}
    finally:
        chip.close()
    found = {names[number]: (number, value) for number, value in values.items()}
    return {
        name: found[name][1].reshape(model.tensors[found[name][0]].shape) for name in wanted if name in found
    }


def _warn_of_unknown(esp_dl: str) -> None:
    from esp_hil.formats.espdl.versions import NEWEST, known

    if esp_dl and not known(esp_dl):
        print(
            f"hil exact: warning: ESP-DL {esp_dl} was not looked into: answered as {NEWEST} as far as it is newer",
            file=sys.stderr,
        )


def _check_family_is_told(reference: ExactReference) -> None:
    choice = reference.choice
    if choice.evidence != "assumed":
        return
    families = (choice.family, *choice.others)
    raise ConfigError(
        f"{reference.model.name!r} does not tell whether it is for {' or '.join(families)}, which round differently",
        hint=f"name the chip: --target {' or --target '.join(_chip_of(family) for family in families)}",
    )


def _chip_of(family: Family) -> str:
    """A chip of the family, for a hint."""
    return "esp32c3" if family == "c" else family


def _write(path: Path, answers: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz; not by `numpy.savez`, which takes an array called "file" for its first argument."""
    from zipfile import ZIP_DEFLATED, ZipFile

    import numpy as np

    try:
        with ZipFile(path, "w", ZIP_DEFLATED) as archive:
            for name, values in answers.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(
                        file, np.ascontiguousarray(values).reshape(values.shape), allow_pickle=False
                    )
    except OSError as error:
        raise cannot_write(path, error) from error


def _explain(reference: ExactReference, inputs: Mapping[str, NDArray[Any]] | None) -> None:
    from esp_hil.exact.explain import explain, explain_headroom

    print(f"numerics: {reference.family} ({reference.choice.evidence})")
    print(explain(reference.proofs))
    if reference.headroom:
        hits = reference.saturations(inputs) if inputs is not None else None
        print("\n20-bit accumulators")
        print(explain_headroom(reference.headroom, hits))
