"""`hil layers`: compare a device with the exact reference layer by layer; find where it first goes wrong."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from esp_hil.session.prepared_board import PreparedBoard

HELP = "find the first layer that a device computes wrongly, and why"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil layers`."""
    parser.add_argument("model", metavar="MODEL", help="a model of golden/")
    parser.add_argument("--recipe", required=True, help="a recipe of its model.toml")
    parser.add_argument("--target", required=True, help="the chip, a row of targets.toml")
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
        "--input", type=int, metavar="N", help="only golden input N (from 0); default: the first wrong one"
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
    from esp_hil.models import catalogue
    from esp_hil.models.device_file import open_device_file
    from esp_hil.progress import progress_on
    from esp_hil.session.board_session import open_session
    from esp_hil.session.prepared_board import PreparedBoard
    from esp_hil.targets import target

    model, chip = catalogue.load(args.model), target(args.target)
    recipe = model.recipe(args.recipe)
    if args.input is not None and not 0 <= args.input < len(model.golden().inputs):
        raise ConfigError(f"--input {args.input}", hint=f"0 to {len(model.golden().inputs) - 1}")
    with open_session(
        chip,
        runtime=recipe.runtime,
        board=args.board,
        port=args.port,
        baud=args.baud,
        source=Source(build_dir=args.build_dir, skip_flash=args.build_dir is None),
        model=lambda: open_device_file(model.artifact(recipe.name, chip.family_of(recipe.runtime))),
        progress=progress_on(sys.stderr),
    ) as session:
        board = PreparedBoard(session, model, recipe)
        board.prepare()
        return _compare_all(board, args.input or 0) if args.all else _search(board, args.input, args.save)


def _search(board: PreparedBoard, number: int | None, save: Path | None) -> int:
    import numpy as np

    encoded = board.encode(board.model.golden().inputs)
    numbers = range(len(encoded)) if number is None else [number]
    for index in numbers:
        inputs = {board.input.name: encoded[index : index + 1]}
        wanted, answered = board.exact.run(inputs), board.infer(inputs)
        if all(np.array_equal(wanted[name], answered[name]) for name in wanted):
            continue
        before = [{board.input.name: encoded[index - 1 : index]}] if index else []
        found = board.diverge(inputs, before=before)
        if found is None:
            print(f"input {index} was answered wrongly and, asked again, rightly: the fault does not repeat")
            return 1
        print(f"input {index}: {found.text()}")
        if save is not None:
            print(f"saved      {found.save(save)}")
        return 1
    print(f"the device answers {len(numbers)} inputs as the exact reference says: no layer is wrong")
    return 0


def _compare_all(board: PreparedBoard, index: int) -> int:
    """One line for each tensor, of one input; status 1 if one is wrong."""
    from esp_hil.errors import DeviceFault
    from esp_hil.verdict.difference import compare_answers

    encoded = board.encode(board.model.golden().inputs)
    inputs: Mapping[str, NDArray[Any]] = {board.input.name: encoded[index : index + 1]}
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
