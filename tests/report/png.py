"""Reads the pictures that a browser makes: PNG, 8 bits, RGB or RGBA, not interlaced."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def pixels(png: bytes) -> Pixels:
    """(height, width, 3) of a picture."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, body, width, height, channels = 8, b"", 0, 0, 3
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content)
            assert (depth, interlaced) == (8, 0)
            channels = {2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            body += content
        at += 12 + length
    lines = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, 1 + width * channels)
    made = np.zeros((height, width * channels), np.uint8)
    above = np.zeros(width * channels, np.uint8)
    for y in range(height):
        above = _line(int(lines[y, 0]), lines[y, 1:], above, channels)
        made[y] = above
    return made.reshape(height, width, channels)[:, :, :3]


def _line(kind: int, line: Pixels, above: Pixels, step: int) -> Pixels:
    """One line without its filter (PNG specification, section 9)."""
    if kind == 0:
        return line.copy()
    if kind == 2:
        return line + above
    found = [0] * len(line)
    for x, value in enumerate(line.tolist()):
        left = found[x - step] if x >= step else 0
        up = int(above[x])
        corner = int(above[x - step]) if x >= step else 0
        guess = left if kind == 1 else (left + up) // 2 if kind == 3 else _paeth(left, up, corner)
        found[x] = (value + guess) & 255
    return np.array(found, np.uint8)


def _paeth(left: int, up: int, corner: int) -> int:
    near = left + up - corner
    return min((left, up, corner), key=lambda value: abs(near - value))


def share(picture: Pixels, colour: str, reach: int = 6) -> float:
    """Share of the pixels that are (nearly) of a colour such as `#1f5fd0`."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return float((np.abs(picture.astype(int) - wanted).max(axis=2) <= reach).mean())
