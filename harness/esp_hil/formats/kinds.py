"""What a file is by its first bytes, whatever its name says: a model that we read, or what it is instead.

What people hand over in place of a model is nearly always one of a few things: the pointer that Git LFS leaves
when the file itself was not pulled, the web page around a file, the C array made from it, an archive, the
framework's own format. Each has a way back to the model, so each is named.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from esp_hil.errors import FormatError

Kind = Literal["espdl", "tflite", "onnx"]

ESPDL = frozenset({b"EDL1", b"EDL2", b"PDL1", b"PDL2", b"PDL3"})
TFLITE = b"TFL3"
_LOOKED_AT_BYTES = 4096
_LFS = b"version https://git-lfs.github.com/spec/"
_TEXT_BYTES = frozenset(range(0x20, 0x100)) | frozenset(b"\t\n\r\f")
_C_ARRAY = re.compile(
    rb"\b(?:char|u?int8_t|uchar|byte)\s+(?:[A-Za-z_]\w*|[A-Z_]+\(\w*\)|\s)+\[[^\]]*\][^={;]*=\s*\{"
)
_HEX_BYTES = re.compile(rb"(?:0x[0-9a-fA-F]{1,2}\s*,\s*){8}")
_PAGE = re.compile(
    rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|\?xml)", re.IGNORECASE | re.DOTALL
)

_GIVE = "give the .onnx, .tflite or .espdl file"
_BINARY: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive (a torch checkpoint, an .npz, a .keras file)", "unpack it, or export the model"),
    (b"\x1f\x8b", "a gzip archive", "unpack it: gunzip, or tar -xzf"),
    (b"BZh", "a bzip2 archive", "unpack it: bunzip2, or tar -xjf"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"\x89HDF", "an HDF5 file of Keras", "convert it: tf.lite.TFLiteConverter.from_keras_model(...)"),
    (b"\x93NUMPY", "a numpy array", "give the model, not the data"),
    (b"\x80\x02", "a Python pickle (a torch checkpoint)", "export the model: torch.onnx.export(...)"),
    (b"\x80\x04", "a Python pickle", "export the model: torch.onnx.export(...)"),
    (b"\x89PNG", "a picture", _GIVE),
    (b"\xff\xd8\xff", "a picture", _GIVE),
    (b"\x7fELF", "an ELF program", "give the model file that was linked into it"),
    (b"%PDF", "a PDF document", _GIVE),
)  # fmt: skip


def read_bytes(path: Path) -> bytes:
    """The bytes of a file that a person named.

    Raises:
        FormatError: it is not there or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"cannot read {path}: {error.strerror}", hint="check the path") from None


def kind_of(data: bytes, name: str = "") -> Kind:
    """Which kind of model file some bytes are: by ESP-DL's magic, TensorFlow Lite's identifier, or a protobuf's tag.

    A protobuf has no magic: what begins as `onnx.ModelProto` does counts as "onnx", and its reader has the last word.

    Args:
        data: the whole file, or its first bytes.
        name: of the file, for the error.

    Raises:
        FormatError: none of them; says what the bytes are instead, and how to come to the model.
    """
    if data[:4] in ESPDL:
        return "espdl"
    if data[4:8] == TFLITE:
        return "tflite"
    said = _something_else(data)
    if said is not None:
        raise FormatError(f"{name or 'this'} is {said[0]}, not a model file", offset=0, hint=said[1])
    if _begins_like_onnx(data):
        return "onnx"
    raise FormatError(
        f"{name or 'this'} is neither an .espdl, a .tflite nor an .onnx file: it starts with {data[:8]!r}",
        offset=0,
        hint="an .espdl starts with EDL1, EDL2 or PDL, a .tflite has TFL3 at byte 4",
    )


def require(data: bytes, wanted: Kind) -> None:
    """Make sure that bytes are of one kind.

    Raises:
        FormatError: they are another kind, or none; says what they are.
    """
    if (wanted == "espdl" and data[:4] in ESPDL) or (wanted == "tflite" and data[4:8] == TFLITE):
        return
    found = kind_of(data)
    if found != wanted:
        raise FormatError(
            f"not an .{wanted} file: it starts with {data[:8]!r}"
            if found == "onnx"
            else f"this is an .{found} file, not an .{wanted} file",
            offset=0,
            hint=_HINTS[wanted],
        )


_HINTS: dict[Kind, str] = {
    "espdl": "expected EDL1, EDL2, PDL1, PDL2 or PDL3",
    "tflite": "expected the identifier TFL3 at byte 4",
    "onnx": "expected a protobuf of onnx.ModelProto",
}


def _something_else(data: bytes) -> tuple[str, str] | None:
    """What the bytes are if they are not a model, and the way to one."""
    if not data:
        return "an empty file", "copy or download it again"
    if data.startswith(_LFS):
        size = re.search(rb"^size (\d+)", data, re.MULTILINE)
        bytes_ = f" (of {int(size[1]):,} bytes)" if size else ""
        return (
            f"the Git LFS pointer to a file{bytes_}",
            "git lfs install && git lfs pull, or download the raw file",
        )
    if data.startswith(b"/annex/objects/") or b"/annex/objects/" in data[:300]:
        return "the git-annex pointer to a file", "git annex get FILE"
    for magic, name, todo in _BINARY:
        if data.startswith(magic):
            return name, todo
    return _text(data)


def _text(data: bytes) -> tuple[str, str] | None:
    head = data.removeprefix(b"\xef\xbb\xbf")[:_LOOKED_AT_BYTES]
    if _PAGE.match(head):
        return (
            "a web page (HTML)",
            "download the file itself: on GitHub the button Raw, or curl -L with its raw address",
        )
    if not set(head) <= _TEXT_BYTES or "\N{REPLACEMENT CHARACTER}" in head[:-3].decode(errors="replace"):
        return None
    if _C_ARRAY.search(head) or _HEX_BYTES.search(head) or _C_ARRAY.search(data[: 1 << 20]):
        return (
            "C source with the model as an array",
            "xxd -r -p turns its bytes back, or give the file it was made from",
        )
    if head.lstrip()[:1] in (b"{", b"["):
        return "JSON text", _GIVE
    return (
        f"text that starts with {head.split(chr(10).encode())[0][:40].decode(errors='replace')!r}",
        _GIVE,
    )


def _begins_like_onnx(data: bytes) -> bool:
    """Whether the first field is one of ModelProto's: ir_version as a small varint, or a string, graph or opset."""
    if data[0] == 0x08:
        return len(data) > 1 and 0 < data[1] < 0x80
    return data[0] in (0x12, 0x1A, 0x22, 0x32, 0x3A, 0x42, 0x72)
