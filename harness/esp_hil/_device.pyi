"""The device core of esp-hil (firmware/core), compiled for this machine.

The same C++ answers on a chip and here; docs/PROTOCOL.md says what. Engine, board and storage are objects of
the caller that have the methods of the protocols below; these protocols exist for the type checker only, so
import them under `if TYPE_CHECKING`.

What an engine or a storage raises becomes the status and the text of an answer: those of its attributes
`status` (a number of docs/PROTOCOL.md, section 6) and `message` if it has them, else `load_failed`,
`engine_failed` or `storage_failed` with the exception's type and text.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol

from typing_extensions import Buffer

class TensorSpec(Protocol):
    """An input or output of the loaded model, in the device's layout.

    Attributes `scale: float | None` and `zero_point: int | None` are optional: value = (integer - zero_point) * scale,
    for integer tensors without exponent.
    """

    @property
    def role(self) -> Literal["input", "output"]: ...
    @property
    def index(self) -> int:
        """Position among the tensors of this role, from 0; they are listed in this order."""
    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> Iterable[int]: ...
    @property
    def layout(self) -> str: ...
    @property
    def exponent(self) -> int | None:
        """Value = integer * 2**exponent; None for float tensors and those with a scale."""
    @property
    def nbytes(self) -> int: ...

class Model(Protocol):
    """What `Engine.load` made of an image."""

    @property
    def family(self) -> str:
        """Numeric family of the file: c, esp32s3, esp32p4."""
    @property
    def name(self) -> str: ...
    @property
    def tensors(self) -> Iterable[TensorSpec]:
        """At most 16 inputs and 16 outputs."""

class Result(Protocol):
    """One inference."""

    @property
    def outputs(self) -> Iterable[Buffer]:
        """One buffer per output, of its spec's nbytes."""
    @property
    def cycles(self) -> int | None:
        """Simulated cycles, or None: the server measures with its clock."""
    @property
    def captured(self) -> Buffer | None:
        """The tensor that was asked for; None if the model has none of that name (`unknown_tensor`)."""
    @property
    def profile(self) -> Iterable[tuple[str, str, int]]:
        """(layer, operator, cycles) in order of execution; only read when it was asked for."""

class Engine(Protocol):
    """A runtime. `load`, `run` and `unload` are called by one thread at a time, with the GIL held.

    A method `counters() -> Sequence[tuple[name, unit, value]]` is optional: same names each time, at most 32.
    It is asked when the server is made and after each load and run.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def families(self) -> Iterable[str]: ...
    def load(self, image: bytes, *, location: int, path: str, cores: int, options: int) -> Model:
        """Replace the loaded model; after an exception none is loaded."""
    def unload(self) -> None:
        """Forget the model; also called when none is loaded."""
    def run(self, inputs: list[bytes], *, cores: int, capture: str | None, profile: bool) -> Result:
        """Infer once.

        Called for each warm-up and repetition, and once more if `capture` or `profile` is asked for.
        """

class Board(Protocol):
    """The board around the server.

    `identity` needs these keys, with the meaning of docs/PROTOCOL.md, section 5: app app_version chip mac idf
    sdkconfig_sha256 image_sha256 reset_reason kind (text); revision cores clock_hz flash_bytes psram_bytes
    internal_bytes boot_id reset_reason_code (number). It is read once. A method `counters()` is optional, as
    for Engine; it is asked whenever the host reads COUNTERS.
    """

    @property
    def identity(self) -> Mapping[str, str | int]: ...
    def reset(self, mode: int) -> None:
        """Restart (mode 0) or enter the ROM loader (1).

        Called in `poll` or `receive`, after `transmit` gave away the answer to the request.
        """

class Storage(Protocol):
    """Where model images are. Called inside `receive`, and by the worker thread while a model is loaded."""

    @property
    def locations(self) -> Sequence[str]:
        """Short name of each location, by number: partition, ram."""
    def begin(self, location: int, length: int, crc: int) -> bool:
        """Prepare to write an image; True if an intact one of this length and CRC-32 is there already."""
    def write(self, location: int, offset: int, data: bytes) -> None:
        """Inside the announced length, in any order, each byte once."""
    def finish(self, location: int) -> None:
        """All bytes are there and their CRC-32 is right."""
    def abort(self, location: int) -> None: ...
    def open(self, location: int, path: str) -> int:
        """Length of the image in bytes; raises with status 10 (no_model) if there is none."""
    def read(self, location: int, offset: int, length: int) -> Buffer:
        """Exactly `length` bytes; also of what was just written and not finished."""

class Line(Protocol):
    """The rate of the line as its port drives it. Called inside `receive`, `transmit` and `poll`."""

    @property
    def baud(self) -> int:
        """At the start; read once."""
    def possible(self, baud: int) -> bool: ...
    def set_baud(self, baud: int) -> None:
        """What was given out before leaves at the former rate."""
    def now_ms(self) -> int:
        """A clock for time-outs, as the line counts time."""

class GoldenRegion(Protocol):
    """Memory for golden sets, like NOR flash: erased in sectors, written where it is erased."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def sector_bytes(self) -> int: ...
    def erase(self, offset: int, length: int) -> None: ...
    def write(self, offset: int, data: bytes) -> None: ...
    def read(self, offset: int, length: int) -> Buffer:
        """Exactly `length` bytes; also called by the worker thread."""

class Gate(Protocol):
    """A pin that is high for the timed window."""

    def choose(self, pin: int) -> None:
        """Make it the gate, at low; 255: none. Raises for a pin that cannot be it."""
    def set(self, high: bool) -> None:
        """Its level; also called by the worker thread."""

class Server:
    """The device: bytes in, bytes out.

    All methods may be called from any thread. With `threaded`, models are loaded and run in a worker thread,
    so that `receive` and `transmit` go on meanwhile; when a piece of work is over, `on_work_done` is called
    there, and `poll` has to be called to have it answered. Without, `receive` returns when the work is done.

    Args:
        engine: runs the model.
        board: who the device is.
        storage: where it keeps models.
        clock_hz: unit of the cycles that are measured here (of engines that do not simulate them).
        slots_bytes: memory for inputs and outputs; as many slots as fit are made when a model is loaded.
        max_slots: at most so many (1..16).
        rx_window: bytes of DATA that the host may send unacknowledged.
        max_payload: largest payload of a frame in both directions (256..65535).
        answer_bytes: memory for each remembered answer (64 or more); inline outputs must fit.
        capture_bytes: memory for a captured tensor.
        max_repeats: largest number of repeats of a RUN (1..65535).
        threaded: work in a thread of its own.
        on_work_done: called without arguments.
        line: the rate of the line; None: it has none.
        golden: where golden sets are kept; None: nowhere.
        gate: a pin that windows raise; None: there is none.

    Raises:
        ValueError: a size is too small or too large; the text says which.
        KeyError: `board.identity` lacks a key.
    """

    def __init__(
        self,
        engine: Engine,
        board: Board,
        storage: Storage,
        *,
        clock_hz: int,
        slots_bytes: int,
        max_slots: int = 4,
        rx_window: int = 65536,
        max_payload: int = 4096,
        answer_bytes: int = 4096,
        capture_bytes: int = 16777216,
        max_repeats: int = 10000,
        threaded: bool = True,
        on_work_done: Callable[[], None] | None = None,
        line: Line | None = None,
        golden: GoldenRegion | None = None,
        gate: Gate | None = None,
    ) -> None: ...
    def boot(self) -> None:
        """Announce the start: the next bytes to send are BOOT."""
    def receive(self, data: Buffer) -> None:
        """Take all these bytes from the line."""
    def transmit(self, limit: int) -> bytes:
        """At most `limit` bytes for the line; empty: nothing to send now."""
    def poll(self) -> None:
        """End finished work, begin waiting work, restart the board if that is due."""
    def log(self, level: int, text: str) -> None:
        """Send a line of log text (cut at 200 bytes; dropped and counted when 64 kB wait)."""
    def close(self) -> None:
        """End the worker thread after the run in progress; every other method then raises RuntimeError."""
    @property
    def busy(self) -> bool:
        """A model is being loaded or run, or waits for it."""
    @property
    def stopped(self) -> bool:
        """`board.reset` was called: this server answers no more."""

FrameEvent = tuple[Literal["frame"], int, int, int, bytes]
"""("frame", kind, session, seq, payload)."""
TextEvent = tuple[Literal["text"], bytes]
NoiseEvent = tuple[Literal["noise"], int]
"""("noise", number of encoded bytes)."""

class FrameDecoder:
    """Splits a stream into frames, text and noise (docs/PROTOCOL.md, section 1)."""

    def __init__(self, max_payload: int = 65535) -> None: ...
    def feed(self, data: Buffer) -> list[FrameEvent | TextEvent | NoiseEvent]: ...

def encode_frame(kind: int, session: int, seq: int, payload: Buffer) -> bytes:
    """One frame with both delimiters.

    Raises:
        ValueError: the kind is outside 0x80..0xBF, or the payload has more than 65,535 bytes.
    """

def cobs_encode(data: Buffer) -> bytes: ...
def cobs_decode(stuffed: Buffer) -> bytes | None:
    """None if the bytes hold a zero, are empty or end inside a block."""

def crc32(data: Buffer, crc: int = 0) -> int: ...
def sha256(data: Buffer) -> bytes: ...
