"""Containers of `.espdl` files: EDL1 and EDL2 around one model, PDL1 to PDL3 around several.

    EDL1  magic, u32 mode, u32 length                 then the FlatBuffer
    EDL2  magic, u32 mode, u32 length, 4 zero bytes   then the FlatBuffer, so that it can be 16-byte aligned
    PDL1  magic, u32 n, n entries                     EDL1 images
    PDL2  the same                                    EDL2 images
    PDL3  magic, char[16] version, u32 package size, sha256[32], u32 n, n entries    EDL2 images

Mode 0 is plain, 1 AES-128-CTR over the whole FlatBuffer. An entry is u32 data offset, u32 name offset, u32
name length, from the start of the pack. The digest of PDL3 covers the package with the digest's own 32 bytes
as zeros.
Source: ESP-DL 3.3.9, fbs_loader/src/fbs_loader.cpp and fbs_loader/pack_espdl_models.py.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from esp_hil.errors import EncryptedModel, FormatError
from esp_hil.formats.kinds import require

_HEADER_BYTES = {b"EDL1": 12, b"EDL2": 16}
_IMAGE_OF_PACK = {b"PDL1": b"EDL1", b"PDL2": b"EDL2", b"PDL3": b"EDL2"}
_PDL3_DIGEST = slice(24, 56)
_ENTRY_BYTES = 12
_DAMAGED = "the file is damaged or truncated: copy or export it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdlImage:
    """One EDL image: `offset` in its file, `bytes_` with header and without padding."""

    name: str
    offset: int
    bytes_: bytes

    @property
    def container(self) -> str:
        """EDL1 or EDL2."""
        return self.bytes_[:4].decode("ascii")

    @property
    def header_bytes(self) -> int:
        """Length of the header; the FlatBuffer follows it."""
        return _HEADER_BYTES[self.bytes_[:4]]

    def flatbuffer(self) -> bytes:
        """The FlatBuffer.

        Raises:
            EncryptedModel: the image is encrypted.
        """
        mode = _u32(self.bytes_, 4, "mode")
        if mode == 1:
            raise EncryptedModel(
                f"model {self.name!r} is encrypted (AES-128-CTR) and its 16-byte key is missing",
                offset=self.offset + 4,
                hint="export it without encryption; the key it was encrypted with stays with its owner",
            )
        if mode != 0:
            raise FormatError(f"unknown mode {mode}", offset=self.offset + 4, hint=_DAMAGED)
        return self.bytes_[self.header_bytes :]


def images(data: bytes) -> list[tuple[str, bytes]]:
    """Names and bytes of the EDL images of a file; a file that is not a pack holds one, named "".

    Raises:
        FormatError: no known magic, or an offset, length or digest that does not hold; says at which byte.
    """
    return [(image.name, image.bytes_) for image in located_images(data)]


def located_images(data: bytes) -> list[EdlImage]:
    """As `images`, with the offset of each in the file."""
    magic = data[:4]
    if magic in _HEADER_BYTES:
        image = _image(data, 0, "")
        rest = data[len(image.bytes_) :]
        if rest.strip(b"\0") and rest.strip(b"\xff"):
            raise FormatError(f"{len(rest)} bytes after the model", offset=len(image.bytes_), hint=_DAMAGED)
        return [image]
    if magic in _IMAGE_OF_PACK:
        return _pack(data, magic)
    require(data, "espdl")
    raise AssertionError("a magic that `kinds` knows and this module does not")


def _image(data: bytes, offset: int, name: str) -> EdlImage:
    magic = data[offset : offset + 4]
    header = _HEADER_BYTES[magic]
    length = _u32(data, offset + 8, "length of the model")
    if offset + header + length > len(data):
        have = max(len(data) - offset - header, 0)
        raise FormatError(
            f"the header promises {length} bytes of model, the file has {have}",
            offset=offset + 8,
            hint=_DAMAGED,
        )
    if header == 16 and _u32(data, offset + 12, "header"):
        raise FormatError("bytes 12 to 15 of the header are not zero", offset=offset + 12, hint=_DAMAGED)
    return EdlImage(name=name, offset=offset, bytes_=data[offset : offset + header + length])


def _pack(data: bytes, magic: bytes) -> list[EdlImage]:
    count_at = 4
    if magic == b"PDL3":
        count_at = 56
        data = _checked_package(data)
    count = _u32(data, count_at, "number of models")
    first = count_at + 4
    if first + count * _ENTRY_BYTES > len(data):
        raise FormatError(
            f"the pack promises {count} models, more than its size allows", offset=count_at, hint=_DAMAGED
        )
    found = [_entry(data, first + _ENTRY_BYTES * index, _IMAGE_OF_PACK[magic]) for index in range(count)]
    names = [image.name for image in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise FormatError(f"two models of the pack are named {twice!r}", offset=first, hint=_DAMAGED)
    return found


def _entry(data: bytes, at: int, magic: bytes) -> EdlImage:
    offset = _u32(data, at, "data offset")
    name_at, name_bytes = _u32(data, at + 4, "name offset"), _u32(data, at + 8, "name length")
    if name_at + name_bytes > len(data):
        raise FormatError("a model's name reaches beyond the end of the pack", offset=at + 4, hint=_DAMAGED)
    try:
        name = data[name_at : name_at + name_bytes].decode()
    except UnicodeDecodeError:
        raise FormatError("a model's name is not UTF-8", offset=name_at, hint=_DAMAGED) from None
    if data[offset : offset + 4] != magic:
        raise FormatError(
            f"model {name!r} does not start with {magic.decode()}", offset=offset, hint=_DAMAGED
        )
    return _image(data, offset, name)


def _checked_package(data: bytes) -> bytes:
    """The package of a PDL3 file, without what follows it, if its digest holds."""
    size = _u32(data, 20, "package size")
    if not 60 <= size <= len(data):
        raise FormatError(
            f"the package size is {size} bytes, the file has {len(data)}", offset=20, hint=_DAMAGED
        )
    package = data[:size]
    said = package[_PDL3_DIGEST]
    found = hashlib.sha256(package[: _PDL3_DIGEST.start] + bytes(32) + package[_PDL3_DIGEST.stop :]).digest()
    if found != said:
        raise FormatError(
            f"the pack's SHA-256 is {found.hex()[:16]}..., it should be {said.hex()[:16]}...",
            offset=_PDL3_DIGEST.start,
            hint=_DAMAGED,
        )
    return package


def _u32(data: bytes, at: int, what: str) -> int:
    if at + 4 > len(data):
        raise FormatError(f"the file ends before the {what}", offset=len(data), hint=_DAMAGED)
    return int(struct.unpack_from("<I", data, at)[0])
