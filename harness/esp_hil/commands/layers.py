"""`hil layers`: compare a device with the exact reference layer by layer; find where it first goes wrong."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.commands import add_model

if TYPE_CHECKING:
    from esp_hil.models.device_file import DeviceFile
    from esp_hil.models.named import NamedModel
    from esp_hil.session.file_on_board import FileOnBoard
    from esp_hil.targets import Target
    from esp_hil.tensors import Arrays

HELP = "find the first layer that a device computes wrongly, and why"
EXAMPLES = """
  hil layers mnist --target esp32s3 --board virtual
  hil layers my.espdl --target esp32p4 --port /dev/ttyACM0 --all
"""

RANDOM_INPUTS = 8
"""Sent to a board whose model has no golden inputs."""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil layers`."""
    add_model(parser)
    parser.add_argument("--target", required=True, help="the chip: esp32, esp32s3, esp32p4 ...")
    parser.add_argument(
        "--board",
        help="id of boards.toml, port, URL, `virtual`, `qemu`, `esp-emu`; default: the attached one",
    )
    parser.add_argument(
        "--build-dir", help="flash this image first, or run it in an emulator; default: the board's firmware"
    )
    parser.add_argument("--port", help="serial port of the board")
    parser.add_argument("--baud", type=int, help="rate of the line (default: the board's own)")
    parser.add_argument(
        "--input", type=int, metavar="N", help="only input N (from 0); default: the first wrong one"
    )
    parser.add_argument(
        "--inputs",
        type=Path,
        metavar="IN.npz",
        help="what to send, the device's integers by input name; default: the golden inputs, or random ones for a "
        "file without",
    )
    parser.add_argument("--all", action="store_true", help="fetch every tensor and print one line for each")
    parser.add_argument(
        "--save", type=Path, metavar="FILE.npz", help="write the wrong tensor, the right one and its sources"
    )


def run(args: Namespace) -> int:
    """Find the first wrong layer; status 1 if there is one."""
    import sys

    from esp_hil.boards.provision import Source
    from esp_hil.errors import ConfigError
    from esp_hil.models.device_file import open_device_file
    from esp_hil.models.named import with_model
    from esp_hil.progress import progress_on
    from esp_hil.session.board_session import open_session
    from esp_hil.session.file_on_board import FileOnBoard
    from esp_hil.session.named_model import find
    from esp_hil.targets import target

    chip = target(args.target)
    named = with_model(find(args.model, recipe=args.recipe, chip=chip))
    file = open_device_file(named.path)
    inputs = _inputs(args.inputs, named, file, chip)
    if args.input is not None and not 0 <= args.input < len(inputs):
        raise ConfigError(f"--input {args.input} is not there", hint=f"give one of 0 to {len(inputs) - 1}")
    with open_session(
        chip,
        runtime=file.runtime,
        board=args.board,
        port=args.port,
        baud=args.baud,
        source=Source(build_dir=args.build_dir, skip_flash=args.build_dir is None),
        model=lambda: file,
        progress=progress_on(sys.stderr),
    ) as session:
        tolerance = named.model.tolerance_of(named.recipe).device_vs_exact_lsb if named.model else 0
        board = FileOnBoard(session, file, name=named.name, tolerance_lsb=tolerance)
        board.prepare()
        if args.all:
            return _compare_all(board, inputs[args.input or 0], args.input or 0)
        numbers = range(len(inputs)) if args.input is None else [args.input]
        return _search(board, inputs, numbers, args.save)


def _inputs(given: Path | None, named: NamedModel, file: DeviceFile, chip: Target) -> list[Arrays]:
    """What to send, one inference each."""
    from esp_hil.goldens.file_tensors import FileTensors, golden_steps
    from esp_hil.npz import read_npz

    family = chip.family_of(file.runtime)
    if given is not None:
        steps = golden_steps(named.model, file, family, given) if named.model else None
        if steps is not None:
            return [steps.tensors.single(steps.encoded, index) for index in range(len(steps.starts))]
        return [read_npz(given, hint="arrays named as the model's inputs")]
    if named.model is None:
        return _random_inputs(file)
    tensors, golden = FileTensors.of(named.model, file, family), named.model.golden()
    encoded = tensors.encode(golden.arrays)
    return [tensors.single(encoded, index) for index in range(len(golden))]


def _random_inputs(file: DeviceFile) -> list[Arrays]:
    """The same ones each time: integers as `invented_integers` makes them, floats from -1 to 1."""
    import numpy as np

    from esp_hil.tensors import invented_integers

    rng = np.random.default_rng(1)

    made: list[Arrays] = []
    for _ in range(RANDOM_INPUTS):
        arrays = {}
        for tensor in file.inputs:
            dtype = np.dtype(tensor.dtype)
            if dtype.kind == "f":
                arrays[tensor.name] = rng.uniform(-1, 1, tensor.shape).astype(dtype)
            else:
                arrays[tensor.name] = invented_integers(tensor.shape, dtype, rng)
        made.append(arrays)
    return made


def _search(board: FileOnBoard, inputs: Sequence[Arrays], numbers: Sequence[int], save: Path | None) -> int:
    import numpy as np

    for index in numbers:
        wanted, answered = board.exact.run(inputs[index]), board.infer(inputs[index])
        if all(np.array_equal(wanted[name], answered[name]) for name in wanted):
            continue
        found = board.diverge(inputs[index], before=inputs[index - 1 : index] if index else [])
        if found is None:
            print(f"input {index} was answered wrongly and, asked again, rightly: the fault does not repeat")
            return 1
        print(f"input {index}: {found.text()}")
        if save is not None:
            print(f"saved      {found.save(save)}")
        return 1
    print(f"the device answers {len(numbers)} inputs as the exact reference says: no layer is wrong")
    return 0


def _compare_all(board: FileOnBoard, inputs: Arrays, index: int) -> int:
    """One line for each tensor, of one input; status 1 if one is wrong."""
    from esp_hil.errors import DeviceFault
    from esp_hil.verdict.difference import compare_answers

    names = board.exact.tensor_names
    exact = board.exact.run(inputs, tensors=names)
    wrong = 0
    for number, name in enumerate(names, start=1):
        wanted = exact[name]
        try:
            got = board.tensor(name, inputs, like=wanted)
        except DeviceFault as error:
            words = f"not available: {error.message}"
        else:
            difference = compare_answers(got.reshape(1, -1), wanted.reshape(1, -1))
            wrong += not difference.equal
            words = "equal" if difference.equal else f"WRONG {difference.summary}"
        shape = "x".join(map(str, wanted.shape))
        print(f"{number:4} {name:44} {wanted.dtype!s:8} {shape:16} {words}", flush=True)
    print(f"{len(names)} tensors of input {index}: {wrong or 'none'} wrong")
    return 1 if wrong else 0
