"""A board that runs ESP-DL's binding under MicroPython: pictures in, results and times out.

with open_board("/dev/ttyACM0") as board:
    print(board.firmware)
    record = board.run("FaceDetector", Jpeg.of(Path("someone.jpg").read_bytes()), runs=10)
    record.results.detections, record.run_us
"""

from __future__ import annotations

import binascii
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Self

from esp_hil.device.link import Link
from esp_hil.device.ports import DEFAULT_BAUD, open_link
from esp_hil.errors import HandshakeError, HilError, InputError, LinkClosed, LinkTimeout, WireError
from esp_hil.micropython.board_program import SETUP
from esp_hil.micropython.firmware import MicroPythonFirmware
from esp_hil.micropython.picture import Jpeg, Picture, format_of
from esp_hil.micropython.raw_repl import ProgramOutput, RawRepl
from esp_hil.micropython.record import PictureRecord, Transfer, results_of
from esp_hil.micropython.traceback import error_of
from esp_hil.tasks import names, read_spec

_LOG = logging.getLogger(__name__)
WINDOW_BYTES = 128
"""Two of these fit the 260 bytes that the ESP32 port's receiver holds."""
NAME_BYTES = 31
PROGRAM_S = 30.0
RUN_S = 60.0
LEAST_BYTES_PER_S = 5_000
STALL_S = 5.0
FILL_PAUSE_S = 0.05


class MicroPythonBoard:
    """A board in its raw REPL, with our program loaded.

    Args:
        link: open; it is closed with the board.
        board: name for error messages.
        reopen: opens the port anew after it vanished.
        release: called once at the end.

    Raises:
        LinkTimeout: nothing that is a raw REPL answers.
    """

    def __init__(
        self,
        link: Link,
        *,
        board: str = "",
        reopen: Callable[[], Link] | None = None,
        release: Callable[[], None] | None = None,
    ) -> None:
        self.repl = RawRepl(link, board=board)
        self._reopen = reopen
        self.board = self.repl.board
        self._release = release
        self._sent: bytes | None = None
        self._transfer = Transfer(bytes=0, seconds=0.0, board_us=0)
        try:
            self.repl.begin()
            self._prepare()
        except HilError:
            self.close()
            raise

    def _prepare(self) -> None:
        self._sent = None
        self.repl.lost = False
        self._script(SETUP)
        self.firmware = MicroPythonFirmware.of(self._said("_hil_identify()"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the link; the board stays as it is."""
        self.repl.link.close()
        if self._release is not None:
            self._release()
            self._release = None

    # programs

    def _ready(self) -> None:
        """After a restart that nobody asked for, or a port that went: begin anew."""
        if not self.repl.lost:
            return
        _LOG.info("%s: begins anew after a restart", self.board)
        try:
            self.repl.await_banner()
            self.repl.begin()
        except LinkClosed:
            if self._reopen is None:
                raise
            self.repl.reconnect(self._reopen)
        self._prepare()

    def _checked(self, output: ProgramOutput) -> bytes:
        if output.stderr:
            classes = self.firmware.classes or () if hasattr(self, "firmware") else ()
            raise error_of(output.stderr, board=self.board, classes=classes)
        return output.stdout

    def _script(self, program: str, wait_s: float = PROGRAM_S) -> bytes:
        self._ready()
        return self._checked(self.repl.run(program, wait_s))

    def _said(self, call: str, wait_s: float = PROGRAM_S) -> dict[str, Any]:
        """The JSON of the last line that a call prints."""
        return self._parsed(self._script(call, wait_s))

    def _parsed(self, stdout: bytes) -> dict[str, Any]:
        lines = stdout.decode("utf-8", "replace").strip().splitlines()
        try:
            made: dict[str, Any] = json.loads(lines[-1])
        except (IndexError, ValueError):
            raise WireError(
                f"{self.board}: the board printed {stdout[-60:]!r} instead of its answer",
                hint="another program of the board prints as well; stop it",
            ) from None
        return made

    # pictures and files

    def upload(self, data: bytes) -> Transfer:
        """Put bytes into the board's buffer, as they are, checked by CRC-32; what is there already stays.

        Raises:
            WireError: bytes were lost on the way.
            OutOfMemory: the board has no room.
            LinkTimeout: it took no more.
        """
        self._ready()
        if data == self._sent:
            return self._transfer
        self._sent = None
        link = self.repl.link
        self.repl.start(f"_hil_take({len(data)}, {WINDOW_BYTES})", PROGRAM_S)
        began = link.now()
        try:
            self.repl.feed(data, WINDOW_BYTES, STALL_S + len(data) / LEAST_BYTES_PER_S)
            output = self.repl.finish(STALL_S)
        except LinkTimeout as error:
            # a byte was lost: the program waits for it with the interrupt character off
            self.repl.fill(len(data), WINDOW_BYTES, FILL_PAUSE_S)
            self.repl.finish(STALL_S)
            raise WireError(
                f"{self.board}: bytes were lost while {len(data)} were sent",
                hint="a slower baud rate, or a USB port of the chip's own",
            ) from error
        seconds = link.now() - began
        said = self._parsed(self._checked(output))
        if said["crc"] != binascii.crc32(data):
            raise WireError(f"{self.board}: {len(data)} bytes arrived damaged", hint="a slower baud rate")
        self._sent = data
        self._transfer = Transfer(bytes=len(data), seconds=seconds, board_us=said["us"])
        return self._transfer

    def read_file(self, path: str) -> bytes:
        """A file of the board.

        Raises:
            ScriptFailed: there is none.
        """
        count = int(self._script(f"import os\nprint(os.stat({path!r})[6])"))
        text = self._script(
            f"with open({path!r}, 'rb') as f:\n while True:\n  b = f.read(384)\n"
            "  if not b: break\n  print(binascii.b2a_base64(b).decode().strip())",
            # images mirror their output to a slow UART
            PROGRAM_S + 4 / 3 * count / LEAST_BYTES_PER_S,
        )
        return b"".join(binascii.a2b_base64(line) for line in text.split())

    def write_file(self, path: str, data: bytes) -> None:
        """Replace a file of the board."""
        self.upload(data)
        self._script(f"with open({path!r}, 'wb') as f: f.write(_hil_data)")

    def remove_file(self, path: str) -> None:
        """Remove a file of the board, if it is there."""
        self._script(f"import os\ntry: os.remove({path!r})\nexcept OSError: pass")

    # models

    def _options(self, name: str, picture: Picture, given: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(picture, Jpeg) and picture.format == "gray":
            # the binding takes it, and answers as to the frame before it
            raise InputError(
                f"{name} cannot take a gray frame: ESP-DL has no conversion from gray to RGB",
                hint="send RGB888",
            )
        options: dict[str, Any] = {"width": picture.width, "height": picture.height, **given}
        number = self.firmware.constant("rgb888" if isinstance(picture, Jpeg) else picture.format)
        if number is not None:
            options["pixel_format"] = number
        if isinstance(picture, Jpeg) and not self.firmware.has_jpeg:
            raise HandshakeError(
                f"{self.board}: the firmware has no module jpeg",
                hint="send the picture raw, or build with mp_jpeg 81df537: the binding does not find newer ones",
                step="run",
            )
        if name != "FaceRecognizer" and "db_path" in given:
            raise InputError(f"{name} has no database", hint="db_path is an option of FaceRecognizer")
        return options

    def run(
        self,
        name: str,
        picture: Picture,
        *,
        runs: int = 1,
        wait_s: float = RUN_S,
        **options: Any,  # noqa: ANN401
    ) -> PictureRecord:
        """Run one of the binding's classes on a picture, N times.

        Args:
            name: FaceDetector, FaceRecognizer, HumanDetector, CatDetector, COCODetector or ImageNet.
            picture: it is uploaded unless it was the last one.
            runs: with JPEG, each decodes anew.
            wait_s: for one run.
            options: for the class's constructor: features, db_path, model.

        Raises:
            HandshakeError: the firmware lacks `espdl`, the class, or `jpeg`.
            InputError: no such class; a pixel format that the firmware or its networks do not take.
            OutOfMemory: no room for the picture or the model.
            ScriptFailed: another exception on the board; it has the traceback.
            LinkTimeout: no answer in time.
        """
        spelled = self.firmware.class_of(name)
        made = self._options(name, picture, options)
        transfer = self.upload(picture.data)
        pixels = "RGB888" if isinstance(picture, Jpeg) else ""
        said = self._said(f"_hil_run({spelled!r}, {made!r}, {pixels!r}, {runs})", PROGRAM_S + runs * wait_s)
        spec = read_spec(_task_of(name))
        results, people = results_of(spec.name, said["found"], picture.width, picture.height, spec.labels)
        return PictureRecord(
            firmware=self.firmware,
            class_name=spelled,
            pixel_format=format_of(picture),
            transfer=transfer,
            load_us=said["load_us"],
            decode_us=tuple(said["decode_us"]),
            run_us=tuple(said["run_us"]),
            phases_us=tuple(said["phases"]),
            results=results,
            people=people,
            differ=said["differ"],
            free_bytes=said["free"],
        )

    def enroll(
        self,
        picture: Picture,
        name: str | None = None,
        *,
        validate: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> int | None:
        """Enrol the face of a picture; its id, or None for one that is known (with `validate`).

        Raises:
            InputError: a name of more than 31 bytes of UTF-8, which the binding would cut without a word.
            ScriptFailed: no face, or more than one.
        """
        if name is not None and len(name.encode()) > NAME_BYTES:
            raise InputError(
                f"the name {name!r} has {len(name.encode())} bytes, the database holds {NAME_BYTES}",
                hint="the binding would cut it without a word; give a shorter one",
            )
        self.firmware.class_of("FaceRecognizer")
        made = self._options("FaceRecognizer", picture, options)
        self.upload(picture.data)
        pixels = "RGB888" if isinstance(picture, Jpeg) else ""
        said = self._said(
            f"print(json.dumps({{'id': _hil_model('FaceRecognizer', {made!r}).enroll("
            f"_hil_frame({pixels!r}), validate={validate}, name={name!r})}}))",
            PROGRAM_S + RUN_S,
        )
        number: int | None = said["id"]
        return number

    def delete_face(self, number: int, **options: Any) -> None:  # noqa: ANN401 - of the constructor
        """Delete an enrolled face.

        Raises:
            ScriptFailed: no face has this id.
        """
        self._script(f"_hil_model('FaceRecognizer', {options!r}).delete_face({number})")

    def reload_models(self) -> None:
        """Forget the model that is loaded, so that the next run reads its database again."""
        self._script("_hil_made = (None, None)\ngc.collect()")

    def reset(self, *, hard: bool = True) -> None:
        """Reset the chip, or only MicroPython's interpreter; afterwards our program is loaded again.

        Raises:
            LinkTimeout: it did not come back.
            LinkClosed: the port vanished with it, and it is not known how to open it anew.
        """
        if not hard:
            self.repl.soft_reset()
            self._prepare()
            return
        try:
            self.repl.hard_reset()
        except LinkClosed:
            if self._reopen is None:
                raise
            self.reconnect()
            return
        self._prepare()

    def reconnect(self) -> None:
        """Begin anew after the port vanished: power, USB.

        Raises:
            BoardUnavailable: it did not come back.
            LinkTimeout: it did, but nothing answers.
        """
        assert self._reopen is not None
        self.repl.reconnect(self._reopen)
        self._prepare()


def _task_of(name: str) -> str:
    """The task whose results a class of the binding gives."""
    return next(task for task in names() if read_spec(task).binding_class == name)


def open_board(
    url: str, *, baud: int = DEFAULT_BAUD, board: str = "", release: Callable[[], None] | None = None
) -> MicroPythonBoard:
    """Open a port and enter the raw REPL behind it.

    Raises:
        BoardUnavailable: no such port, or it is in use.
        LinkTimeout: nothing that is a raw REPL answers.
    """

    def reach() -> Link:
        return open_link(url, baud, board=board, listening=True)

    return MicroPythonBoard(reach(), board=board, reopen=reach, release=release)
