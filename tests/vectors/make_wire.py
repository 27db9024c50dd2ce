"""Write tests/vectors/wire.jsonl: frames that both implementations of docs/PROTOCOL.md must agree on.

Run it from the project root: python tests/vectors/make_wire.py

It shares no code with harness/wire and firmware/core on purpose: COBS goes byte by byte here and every payload
is packed by hand, so that a mistake in either implementation shows up as a disagreement with this file.

Each line is one frame: name, kind, session, seq, payload (hex), frame (hex, with both delimiters) and, where the
payload is a well-formed message, type and fields (bytes as hex).
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def cobs(body: bytes) -> bytes:
    """Consistent overhead byte stuffing (Cheshire and Baker, 1999), byte by byte, without delimiters.

    A run of 254 bytes at the very end needs no further code byte: no zero follows a full block.
    """
    out = bytearray([0])
    code_at, code = 0, 1
    for position, byte in enumerate(body):
        if byte:
            out.append(byte)
            code += 1
        if not byte or code == 255:
            out[code_at] = code
            if byte and position == len(body) - 1:
                return bytes(out)
            code_at, code = len(out), 1
            out.append(0)
    out[code_at] = code
    return bytes(out)


def row(  # noqa: PLR0917 - a table reads best without keywords
    name: str, kind: int, session: int, seq: int, payload: bytes, fields: Row | None = None
) -> Row:
    """One line of the file."""
    head = struct.pack("<BBH", kind, session, seq) + payload
    body = head + struct.pack("<I", zlib.crc32(head))
    line: Row = {
        "name": name,
        "kind": kind,
        "session": session,
        "seq": seq,
        "payload": payload.hex(),
        "frame": (b"\0" + cobs(body) + b"\0").hex(),
    }
    if fields is not None:
        line["type"] = name.partition("/")[0]
        line["fields"] = {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}
    return line


def requests() -> Iterator[Row]:
    """Kinds 80 .. 87."""
    p = struct.pack
    yield row(
        "Hello",
        0x80,
        7,
        1,
        p("<BBIH", 1, 1, 0xDEADBEEF, 4096),
        {"version_min": 1, "version_max": 1, "nonce": 0xDEADBEEF, "max_payload": 4096},
    )
    yield row(
        "OpenWrite/model",
        0x81,
        7,
        2,
        p("<BHHII", 1, 0, 0, 430_000, 0x12345678),
        {"object": 1, "index": 0, "slot": 0, "length": 430_000, "crc": 0x12345678},
    )
    yield row(
        "OpenWrite/input",
        0x81,
        7,
        0xFFFF,
        p("<BHHII", 2, 1, 3, 784, 0),
        {"object": 2, "index": 1, "slot": 3, "length": 784, "crc": 0},
    )
    yield row(
        "OpenRead/info",
        0x82,
        7,
        0,
        p("<BHHII", 0, 0, 0, 0, 0xFFFFFFFF),
        {"object": 0, "index": 0, "slot": 0, "offset": 0, "length": 0xFFFFFFFF},
    )
    yield row(
        "OpenRead/part",
        0x82,
        7,
        256,
        p("<BHHII", 3, 0, 1, 65_536, 4096),
        {"object": 3, "index": 0, "slot": 1, "offset": 65_536, "length": 4096},
    )
    yield row(
        "Load/partition",
        0x83,
        7,
        4,
        p("<BBH", 0, 2, 0),
        {"location": 0, "cores": 2, "options": 0, "path": b""},
    )
    yield row(
        "Load/path",
        0x83,
        7,
        4,
        p("<BBH", 1, 1, 0x8001) + b"/sd/m.espdl",
        {"location": 1, "cores": 1, "options": 0x8001, "path": b"/sd/m.espdl"},
    )
    yield row(
        "Run/slot",
        0x84,
        7,
        5,
        p("<HBBHHB", 1, 0, 2, 3, 10, 0),
        {"slot": 1, "flags": 0, "cores": 2, "warmup": 3, "repeats": 10, "name": b"", "inline": b""},
    )
    yield row(
        "Run/inline",
        0x84,
        7,
        6,
        p("<HBBHHB", 0, 3, 1, 0, 1, 0) + b"\x00\x80\x7f\xff",
        {
            "slot": 0,
            "flags": 3,
            "cores": 1,
            "warmup": 0,
            "repeats": 1,
            "name": b"",
            "inline": b"\x00\x80\x7f\xff",
        },
    )
    name = "conv_0/Übergang".encode()
    yield row(
        "Run/capture",
        0x84,
        7,
        7,
        p("<HBBHHB", 0, 4, 1, 0, 1, len(name)) + name,
        {"slot": 0, "flags": 4, "cores": 1, "warmup": 0, "repeats": 1, "name": name, "inline": b""},
    )
    yield row("Cancel", 0x85, 7, 8, p("<H", 6), {"transfer": 6})
    yield row("Reset", 0x86, 7, 9, p("<B", 0), {"mode": 0})
    yield row("Ping", 0x87, 7, 10, b"are you there?", {"data": b"are you there?"})
    yield row("Ping/empty", 0x87, 7, 11, b"", {"data": b""})


def answers() -> Iterator[Row]:
    """Kinds A0 .. A7: a status byte, then the body; or the device's words."""
    p = struct.pack
    yield row(
        "HelloAnswer",
        0xA0,
        7,
        1,
        p("<BBIHIBBB", 0, 1, 0xCAFEF00D, 4096, 16_384, 2, 8, 1),
        {
            "version": 1,
            "boot_id": 0xCAFEF00D,
            "max_payload": 4096,
            "rx_window": 16_384,
            "slots": 2,
            "queue": 8,
            "flags": 1,
        },
    )
    yield row("OpenWriteAnswer", 0xA1, 7, 2, p("<BI", 0, 0), {"received": 0})
    yield row("OpenReadAnswer", 0xA2, 7, 3, p("<BII", 0, 512, 0x89ABCDEF), {"length": 512, "crc": 0x89ABCDEF})
    yield row("LoadAnswer", 0xA3, 7, 4, p("<BI", 0, 1), {"generation": 1})
    yield row(
        "RunAnswer",
        0xA4,
        7,
        5,
        p("<BQQH", 0, 2**40 + 1, 123_456, 10) + b"\x01\x02",
        {"cold": 2**40 + 1, "last": 123_456, "repeats": 10, "inline": b"\x01\x02"},
    )
    yield row("CancelAnswer", 0xA5, 7, 8, b"\0", {})
    yield row("ResetAnswer", 0xA6, 7, 9, b"\0", {})
    yield row("PingAnswer", 0xA7, 7, 10, b"\0are you there?", {"data": b"are you there?"})
    words = "Modell für esp32s3".encode()
    yield row("Failure/load", 0xA3, 7, 4, b"\x0c" + words, {"status": 12, "words": words})
    yield row("Failure/pending", 0xA4, 7, 5, b"\x11", {"status": 17, "words": b""})


def unanswered() -> Iterator[Row]:
    """Kinds 90, 91 and B0 .. B2."""
    p = struct.pack
    yield row(
        "Data",
        0x90,
        7,
        0,
        p("<HI", 2, 4096) + b"\x00\x01\x00\xff",
        {"transfer": 2, "offset": 4096, "data": b"\x00\x01\x00\xff"},
    )
    yield row("Data/empty", 0x90, 7, 0, p("<HI", 2, 0), {"transfer": 2, "offset": 0, "data": b""})
    yield row(
        "Ack",
        0x91,
        7,
        0,
        p("<HBII", 2, 0, 4096, 16_384),
        {"transfer": 2, "status": 0, "cumulative": 4096, "credit": 16_384, "ranges": []},
    )
    yield row(
        "Ack/ranges",
        0x91,
        7,
        0,
        p("<HBIIIIII", 2, 0, 0, 8192, 256, 512, 1024, 1280),
        {"transfer": 2, "status": 0, "cumulative": 0, "credit": 8192, "ranges": [[256, 512], [1024, 1280]]},
    )
    eight = [[1000 * k, 1000 * k + 500] for k in range(1, 9)]
    yield row(
        "Ack/eight_ranges",
        0x91,
        7,
        0,
        p("<HBII", 2, 0, 0, 0) + b"".join(p("<II", *pair) for pair in eight),
        {"transfer": 2, "status": 0, "cumulative": 0, "credit": 0, "ranges": eight},
    )
    yield row(
        "Ack/crc_mismatch",
        0x91,
        7,
        0,
        p("<HBII", 2, 9, 0, 0),
        {"transfer": 2, "status": 9, "cumulative": 0, "credit": 0, "ranges": []},
    )
    yield row("Fault/no_session", 0xB0, 9, 77, b"\x03", {"status": 3, "detail": b""})
    yield row("Fault/gap", 0xB0, 7, 12, b"\x12" + p("<H", 11), {"status": 18, "detail": p("<H", 11)})
    yield row("Boot", 0xB1, 0, 0, p("<IB", 0xCAFEF00D, 1), {"boot_id": 0xCAFEF00D, "reset_reason": 1})
    yield row("Log", 0xB2, 0, 0, b"\x03" + b"model loaded\n", {"level": 3, "text": b"model loaded\n"})


def edges() -> Iterator[Row]:
    """Lengths of runs without a zero around COBS's 254, zeros, payload sizes."""
    for run in (1, 2, 250, 251, 252, 253, 254, 255, 256, 508, 509, 510, 762):
        yield row(f"run_of_{run}_before_a_zero", 0x87, 0x11, 0x2222, bytes([0x55]) * run + b"\0" + b"\x66")
    # the body is 4 + payload + 4 bytes; whether the CRC holds a zero depends on the payload: try several
    for size in (245, 246, 247, 248, 499, 500, 501, 502):
        for fill in (0x41, 0x42, 0x43, 0x44):
            yield row(f"payload_of_{size}_bytes_{fill:02x}", 0x87, 0x11, 0x2222, bytes([fill]) * size)
    yield row("full_block_ends_the_body", 0x87, 0x11, 0x2222, find_full_block())
    for zeros in (1, 2, 253, 254, 255, 256, 600):
        yield row(f"{zeros}_zeros", 0x87, 0x11, 0, bytes(zeros))
    yield row("zero_session_and_seq", 0xB2, 0, 0, b"\0")
    yield row("every_byte", 0x87, 1, 1, bytes(range(256)))
    yield row("every_byte_backwards", 0x87, 1, 1, bytes(range(255, -1, -1)))
    yield row("no_payload", 0x85, 255, 0xFFFF, b"")
    yield row("crc_with_a_zero_byte", 0x87, 1, 1, find_zero_crc())
    yield row("highest_kind", 0xBF, 1, 1, b"\x01")
    yield row("largest_before_hello", 0x87, 1, 1, bytes(k * 7 % 256 for k in range(256)))
    yield row("2048_bytes", 0x90, 3, 0, bytes((k * k + k // 3) % 256 for k in range(2048)))


def find_full_block() -> bytes:
    """A payload of 246 bytes whose body (254 bytes, CRC included) holds no zero."""
    for fill in range(1, 256):
        payload = bytes([fill]) * 246
        crc = struct.pack("<I", zlib.crc32(struct.pack("<BBH", 0x87, 0x11, 0x2222) + payload))
        if 0 not in crc:
            return payload
    raise AssertionError("no such payload")


def find_zero_crc() -> bytes:
    """A payload whose CRC has a zero as its last byte."""
    for number in range(1 << 16):
        payload = struct.pack("<H", number)
        if zlib.crc32(struct.pack("<BBH", 0x87, 1, 1) + payload) >> 24 == 0:
            return payload
    raise AssertionError("no such payload")


def main() -> None:
    """Write the file beside this script."""
    rows = [*requests(), *answers(), *unanswered(), *edges()]
    lines = "".join(json.dumps(line) + "\n" for line in rows)
    Path(__file__).with_name("wire.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
