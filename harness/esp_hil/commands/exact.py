"""`hil exact`: run an .espdl in the chip's own integer arithmetic."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esp_hil.errors import ConfigError, ReportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from esp_hil.exact import ExactReference, Reading
    from esp_hil.formats.espdl.model import Graph

HELP = "run an .espdl model exactly as the chip computes it, integer for integer"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil exact`."""
    parser.add_argument("model", type=Path, metavar="MODEL.espdl")
    parser.add_argument(
        "--inputs", type=Path, metavar="IN.npz", help="integers by input name, device layout and shape"
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
        default="portable",
        help="where they differ (filters under old layout names such as N16HWC16, PRelu): those of ESP-DL "
        "compiled for a PC, or the SIMD kernels, as boards are judged by (default portable)",
    )


def run(args: Namespace) -> int:
    """Run the model, explain or save its graph."""
    from esp_hil.exact import ExactReference, save_onnx
    from esp_hil.formats.espdl import read_espdl
    from esp_hil.targets import target

    if (args.inputs is None) != (args.outputs is None):
        raise ConfigError("--inputs and --outputs go together", hint="give both, or --explain or --save")
    if args.inputs is None and not args.explain and args.save is None:
        raise ConfigError("nothing to do", hint="give --inputs and --outputs, --explain or --save")
    model = read_espdl(args.model, name=args.name)
    family = target(args.target).family if args.target else None
    old_names: Reading = "packed" if args.kernels == "chip" else "plain"
    reference = ExactReference(model, family, old_names=old_names)
    _say_what_was_assumed(reference, args)
    inputs = None
    if args.inputs is not None:
        from esp_hil.npz import read_npz

        inputs = read_npz(args.inputs, hint="arrays named as the model's inputs")
        answers = reference.run_all(inputs) if args.all_tensors else reference.run(inputs)
        _write(args.outputs, answers)
    if args.save is not None:
        tensors = list(reference.tensor_names) if args.all_tensors else None
        save_onnx(model, reference.family, args.save, tensors=tensors, old_names=old_names)
    if args.explain:
        _explain(reference, inputs)
    return 0


def _say_what_was_assumed(reference: ExactReference, args: Namespace) -> None:
    choice = reference.choice
    if choice.evidence == "assumed":
        others = " and ".join(choice.others)
        print(
            f"hil exact: warning: the file does not tell whether it is for {choice.family} or {others}; "
            f"computing as {choice.family} (--target names the chip)",
            file=sys.stderr,
        )
    if args.kernels == "portable" and reference.family != "c" and _kernels_differ(reference.model.graph):
        print(
            "hil exact: warning: answers are those of ESP-DL compiled for a PC; the SIMD kernels of a chip read "
            "filters under old layout names, and compute PRelu, in another way (--kernels chip)",
            file=sys.stderr,
        )


def _kernels_differ(graph: Graph) -> bool:
    """Whether the chip's kernels may answer otherwise than the portable ones: docs/adr/0007."""
    from esp_hil.exact.filters import has_old_name

    return any(map(has_old_name, graph.initializers.values())) or any(
        node.op_type == "PRelu" for node in graph.nodes
    )


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
        raise ReportError(f"cannot write {path}: {error.strerror}", hint="choose another path") from error


def _explain(reference: ExactReference, inputs: Mapping[str, NDArray[Any]] | None) -> None:
    from esp_hil.exact.explain import explain, explain_headroom

    print(f"numerics: {reference.family} ({reference.choice.evidence})")
    print(explain(reference.proofs))
    if reference.headroom:
        hits = reference.saturations(inputs) if inputs is not None else None
        print("\n20-bit accumulators")
        print(explain_headroom(reference.headroom, hits))
