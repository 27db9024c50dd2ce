"""The status numbers of an answer; docs/PROTOCOL.md section 6."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """How a request, transfer or frame fared on the device."""

    OK = 0
    BAD_REQUEST = 1
    UNKNOWN_KIND = 2
    NO_SESSION = 3
    BAD_VERSION = 4
    BAD_OBJECT = 5
    BAD_TRANSFER = 6
    BAD_RANGE = 7
    TOO_LARGE = 8
    CRC_MISMATCH = 9
    NO_MODEL = 10
    LOAD_FAILED = 11
    WRONG_FAMILY = 12
    UNSUPPORTED_OPERATOR = 13
    OUT_OF_MEMORY = 14
    ENGINE_FAILED = 15
    BUSY = 16
    PENDING = 17
    GAP = 18
    STORAGE_FAILED = 19
    UNKNOWN_TENSOR = 20
    MISSING_INPUT = 21
    STOPPING = 22


def status_name(status: int) -> str:
    """The name in docs/PROTOCOL.md, or the number of a status that this version does not know."""
    try:
        return Status(status).name.lower()
    except ValueError:
        return f"status {status}"


HINTS = {
    Status.NO_MODEL: "upload one, or write it with `hil flash --build-dir BUILD --model FILE`; then load it",
    Status.WRONG_FAMILY: "use the model's artefact for this chip",
    Status.LOAD_FAILED: "is the file whole, and of this chip's family? hil lint tells",
    Status.UNSUPPORTED_OPERATOR: "the runtime on the device does not have it; "
    "`hil resolver MODEL.tflite` lists what a TFLM image must have, `hil lint` what ESP-DL lacks",
    Status.OUT_OF_MEMORY: "use a smaller model, or a board with PSRAM; `hil plan` tells what it needs",
    Status.TOO_LARGE: "the device has not that much room; a larger model partition may help",
    Status.MISSING_INPUT: "write every input before running",
    Status.UNKNOWN_TENSOR: "ask for a tensor of the loaded model, by its name in the file",
    Status.STORAGE_FAILED: "is the partition table that of this firmware?",
}
"""What to do next about a refusal."""
