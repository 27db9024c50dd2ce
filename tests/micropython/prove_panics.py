"""A panic in the middle of every call, at a UART and at the chip's own USB: how soon is the next call answered?

    python -m tests.micropython.prove_panics --zoo DIR     (or `tox run -e proof-panics`)

It prints a row for each call and kind of panic, and fails where the panic was not noticed, or where the next call took
more than 15 s. The weights are those of ESP-DL 3.1.5 (HIL_ZOO).
"""

from __future__ import annotations

import argparse
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from esp_hil import tasks
from esp_hil.errors import DeviceReset, HilError, LinkClosed
from esp_hil.micropython.driver import MicroPythonBoard, open_board
from esp_hil.micropython.picture import Jpeg
from esp_hil.micropython.virtual import VirtualMicroPython
from esp_hil.tasks import Image, pictures

MOST_S = 15.0
TRANSPORTS = {"UART": "pty", "USB": "usb"}
CLASSES = ("FaceDetector", "FaceRecognizer", "HumanDetector", "CatDetector", "COCODetector", "ImageNet")
PRESSED_S = 0.3
PSRAM_BYTES = 2 << 20
"""Too little for the networks of COCODetector and ImageNet, enough for faces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A call that panics.

    Attributes:
        name: of the call.
        kind: of the panic.
        call: what panics.
        operation: where the panic is planted, or `button` for the reset button; "": the call itself panics.
        psram_bytes: of the board; 0: as usual.
    """

    name: str
    kind: str
    call: Callable[[MicroPythonBoard], object]
    operation: str = ""
    psram_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of it: the error, after how many seconds, and in how many the next call was answered."""

    case: Case
    transport: str
    error: str
    noticed_s: float
    next_s: float

    @property
    def noticed(self) -> bool:
        """Whether the panic was told, and the next call answered."""
        return self.error in {"DeviceReset", "LinkClosed"}

    @property
    def held(self) -> bool:
        """Whether both were in time."""
        return self.noticed and max(self.noticed_s, self.next_s) <= MOST_S


def _face() -> Image:
    return pictures.picture("admiral")


def _jpeg() -> Jpeg:
    from PIL import Image as Pillow

    made = io.BytesIO()
    Pillow.fromarray(_face().rgb()).save(made, "JPEG", quality=90)
    return Jpeg.of(made.getvalue())


def _runs(name: str) -> Callable[[MicroPythonBoard], object]:
    return lambda board: board.run(name, _face())


def _enrols(board: MicroPythonBoard) -> object:
    return board.enroll(_face(), "admiral")


def _validates(board: MicroPythonBoard) -> object:
    return board.enroll(_face(), "admiral", validate=True)


def _deletes(board: MicroPythonBoard) -> None:
    board.delete_face(1, width=_face().width, height=_face().height)


def _writes(board: MicroPythonBoard) -> None:
    board.write_file("/new", b"new")


def cases() -> Iterator[Case]:
    """Every call of the binding and of the driver in which a chip can panic, with both kinds."""
    for kind in ("pointer", "memory"):
        yield Case(name="import espdl", kind=kind, operation="hello", call=_imports)
        for name in CLASSES:
            yield Case(name=f"{name}()", kind=kind, operation="construct", call=_runs(name))
            step = "recognize" if name == "FaceRecognizer" else "run"
            yield Case(name=f"{name}.run", kind=kind, operation=step, call=_runs(name))
        yield Case(name="FaceRecognizer() makes face.db", kind=kind, operation="create", call=_enrols_anew)
        yield Case(name="FaceRecognizer.enroll", kind=kind, operation="recognize", call=_enrols)
        yield Case(name="FaceRecognizer.enroll writes", kind=kind, operation="store", call=_enrols)
        yield Case(name="FaceRecognizer.enroll closes", kind=kind, operation="close", call=_enrols)
        yield Case(name="FaceRecognizer.enroll validates", kind=kind, operation="recognize", call=_validates)
        yield Case(name="FaceRecognizer.delete_face", kind=kind, operation="store", call=_deletes)
        yield Case(name="jpeg.Decoder.decode", kind=kind, operation="decode", call=_decodes)
        yield Case(name="a file is written", kind=kind, operation="store", call=_writes)
        yield Case(name="a file is removed", kind=kind, operation="remove", call=_removes)
    yield Case(name="upload of 900 kB", kind="reset button", operation="button", call=_uploads)
    for name in ("CatDetector", "COCODetector"):
        yield Case(name=f"{name}(model=99).run", kind="not in the image", call=_absent(name))
    for name in ("COCODetector", "ImageNet"):
        yield Case(name=f"{name}()", kind="2 MB of PSRAM", call=_runs(name), psram_bytes=PSRAM_BYTES)
    yield Case(name="FaceDetector.run, HD", kind="2 MB of PSRAM", call=_runs_hd, psram_bytes=PSRAM_BYTES)


def _imports(board: MicroPythonBoard) -> None:
    board.reset(hard=False)


def _enrols_anew(board: MicroPythonBoard) -> object:
    return board.enroll(_face(), "admiral", db_path="other.db")


def _decodes(board: MicroPythonBoard) -> object:
    return board.run("FaceDetector", _jpeg())


def _uploads(board: MicroPythonBoard) -> object:
    return board.upload(bytes(900_000))


def _removes(board: MicroPythonBoard) -> None:
    board.remove_file("/face.db")


def _absent(name: str) -> Callable[[MicroPythonBoard], object]:
    return lambda board: board.run(name, _face(), model=99)


def _runs_hd(board: MicroPythonBoard) -> object:
    width, height = tasks.FRAMES["HD"]
    return board.run("FaceDetector", Image.of_rgb(pictures.scaled(_face().rgb(), width, height)))


def _prepare(board: MicroPythonBoard, case: Case) -> None:
    """Do what else would reach the planted panic before the call in question does."""
    if case.operation == "remove" or case.call is _deletes:
        board.write_file("/face.db", b"")
        board.remove_file("/face.db")
        board.reload_models()
        _enrols(board)
    board.reload_models()
    if case.operation == "create":
        board.remove_file("/other.db")
    elif case.call is _writes:
        board.upload(b"new")
    elif case.operation in {"store", "close"}:
        board.run("FaceRecognizer", _face())


def outcome(machine: VirtualMicroPython, board: MicroPythonBoard, case: Case, transport: str) -> Outcome:
    """One panic, and the next call."""
    _prepare(board, case)
    button = threading.Timer(PRESSED_S, machine.reset)
    if case.operation == "button":
        button.start()
    elif case.operation:
        machine.panic_at(case.operation, case.kind)
    error, began = "none", time.monotonic()
    try:
        case.call(board)
    except (DeviceReset, LinkClosed) as found:
        error = type(found).__name__
    except HilError as found:
        error = f"{type(found).__name__}: {found}"
    noticed = time.monotonic()
    if case.operation == "button":
        button.join()
    found_s = noticed - began
    try:
        board.run("FaceDetector", _face())
    except HilError as later:
        error += f", then {type(later).__name__}: {later}"
    return Outcome(
        case=case,
        transport=transport,
        error=error,
        noticed_s=found_s,
        next_s=time.monotonic() - noticed,
    )


def outcomes(zoo: Path, transport: str, wanted: Callable[[Case], bool] = lambda _: True) -> Iterator[Outcome]:
    """Each case on a virtual board of the newest published binding."""
    for psram in (0, PSRAM_BYTES):
        chosen = [case for case in cases() if case.psram_bytes == psram and wanted(case)]
        if not chosen:
            continue
        with (
            VirtualMicroPython("esp32s3", zoo, listen=TRANSPORTS[transport], psram_bytes=psram) as machine,
            open_board(machine.url) as board,
        ):
            for case in chosen:
                yield outcome(machine, board, case, transport)


def main() -> int:
    """The table."""
    parser = argparse.ArgumentParser(prog="python -m tests.micropython.prove_panics", description=__doc__)
    parser.add_argument("--zoo", type=Path, help="folder with the weights (default: HIL_ZOO)")
    parser.add_argument("--only", default="", help="cases whose name has this")
    args = parser.parse_args()
    zoo, failed, worst = tasks.zoo_folder(args.zoo), 0, 0.0
    print(f"{'call':36} {'panic':18} {'port':5} {'noticed s':>9} {'next s':>7}  error")
    for transport in TRANSPORTS:
        for one in outcomes(zoo, transport, lambda case: args.only in case.name):
            failed += not one.held
            worst = max(worst, one.next_s)
            print(
                f"{one.case.name:36} {one.case.kind:18} {transport:5} {one.noticed_s:9.2f} {one.next_s:7.2f}  "
                f"{one.error}{'' if one.held else '  FAILED'}",
                flush=True,
            )
    print(f"the next call was answered after {worst:.1f} s at the latest; {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
