"""What is sent to a board: a frame in a pixel format, or a JPEG that the board decodes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from esp_hil.errors import InputError
from esp_hil.tasks import Image, PixelFormat

_START = b"\xff\xd8"
_NO_SIZE = {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Jpeg:
    """A baseline JPEG; the board decodes it to RGB888.

    Attributes:
        data: the file.
        width: in pixels, as its header says.
        height: likewise.
    """

    data: bytes
    width: int
    height: int

    @staticmethod
    def of(data: bytes) -> Jpeg:
        """A JPEG, whose header is read.

        Raises:
            InputError: it is none, is cut short, or is progressive, which esp_new_jpeg does not decode.
        """
        if not data.startswith(_START):
            raise InputError(
                "not a JPEG: it does not begin with FF D8", hint="save the picture as baseline JPEG"
            )
        at = 2
        while at + 9 <= len(data):
            marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
            if data[at] != 0xFF:
                break
            if 0xC0 <= marker <= 0xCF and marker not in _NO_SIZE:
                if marker in _PROGRESSIVE:
                    raise InputError(
                        "a progressive JPEG: the board's decoder reads baseline only",
                        hint="save the picture without the option `progressive`",
                    )
                height, width = struct.unpack_from(">HH", data, at + 5)
                return Jpeg(data=data, width=width, height=height)
            at += 2 + length
        raise InputError("the JPEG ends before it says its size", hint="the file is cut short or damaged")


Picture = Image | Jpeg


def format_of(picture: Picture) -> PixelFormat | str:
    """What a picture is called in a record: a pixel format, or jpeg."""
    return "jpeg" if isinstance(picture, Jpeg) else picture.format
