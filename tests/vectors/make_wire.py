"""Write tests/vectors/wire.jsonl: frames that both implementations of docs/PROTOCOL.md must agree on.

Run it from the project root: python tests/vectors/make_wire.py

It shares no code with harness/esp_hil/wire and firmware/core on purpose: COBS goes byte by byte here and every
payload is packed by hand, so that a mistake in either implementation shows up as a disagreement.

The form of the file is in docs/PROTOCOL.md section 9. A frame that is a well-formed message also has its type
(the dataclass of `requests`, `answers` or `stream` in harness/esp_hil/wire) and fields: `name=value` separated by
spaces; numbers in decimal, bytes in hex, ranges as start-end,start-end.
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
        line["fields"] = " ".join(f"{key}={plain(value)}" for key, value in fields.items())
    return line


def plain(value: int | bytes | list[list[int]]) -> str:
    """A number in decimal, bytes in hex, ranges as start-end,start-end."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return ",".join(f"{start}-{end}" for start, end in value)
    return str(value)


def requests() -> Iterator[Row]:
    """Kinds 80 .. 8A."""
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
    yield row("Line", 0x88, 7, 12, p("<IHB", 921_600, 500, 62), {"baud": 921_600, "trial_ms": 500, "pad": 62})
    yield row("Gate", 0x8B, 7, 15, p("<BB", 4, 1), {"pin": 4, "level": 1})
    yield row("Prbs", 0x89, 7, 13, p("<HH", 16, 1024), {"frames": 16, "size": 1024})
    name = bytes(range(32))
    yield row(
        "Golden",
        0x8A,
        7,
        14,
        p("<II", 1000, 784) + name,
        {"records": 1000, "record_bytes": 784, "sha256": name},
    )
    for label, flags, tail in (
        ("golden", 0x12, p("<I", 999)),
        ("golden_expected", 0x32, p("<I", 999) + name[:16]),
        ("packed", 0x43, bytes.fromhex("4b840300")),
    ):
        yield row(
            f"Run/{label}",
            0x84,
            7,
            15,
            p("<HBBHHB", 0, flags, 1, 0, 1, 0) + tail,
            {"slot": 0, "flags": flags, "cores": 1, "warmup": 0, "repeats": 1, "name": b"", "inline": tail},
        )


def answers() -> Iterator[Row]:
    """Kinds A0 .. AA: a status byte, then the body; or the device's words."""
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
    yield row("LoadAnswer", 0xA3, 7, 4, p("<BIB", 0, 1, 2), {"generation": 1, "slots": 2})
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
    yield row("LineAnswer", 0xA8, 7, 12, p("<BI", 0, 921_600), {"baud": 921_600})
    yield row("GateAnswer", 0xAB, 7, 15, p("<B", 0), {})
    yield row(
        "PrbsAnswer", 0xA9, 7, 13, p("<BIII", 0, 15, 0, 1), {"received": 15, "wrong": 0, "noise_segments": 1}
    )
    yield row("GoldenAnswer", 0xAA, 7, 14, b"\0\1", {"found": 1})
    words = "Modell für esp32s3".encode()
    yield row("Failure/load", 0xA3, 7, 4, b"\x0c" + words, {"status": 12, "words": words})
    yield row("Failure/pending", 0xA4, 7, 5, b"\x11", {"status": 17, "words": b""})


def unanswered() -> Iterator[Row]:
    """Kinds 90 .. 93 and B0 .. B2."""
    p = struct.pack
    yield row(
        "Data",
        0x90,
        7,
        0,
        p("<HI", 2, 4096) + b"\x00\x01\x00\xff",
        {"transfer": 2, "offset": 4096, "data": b"\x00\x01\x00\xff"},
    )
    yield row(
        "Packed",
        0x92,
        7,
        0,
        p("<HI", 2, 20) + bytes.fromhex("4b840300"),
        {"transfer": 2, "offset": 20, "data": bytes.fromhex("4b840300")},
    )
    for number in (0, 1, 32_766, 32_767, 65_535):
        yield row(
            f"Pattern/{number}",
            0x93,
            7,
            number,
            p("<H", number) + prbs15(number, 40),
            {"number": number, "data": prbs15(number, 40)},
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


def prbs15(number: int, size: int) -> bytes:
    """x^15 + x^14 + 1 from the state number modulo 32767 + 1, bit by bit, the first bit the highest of a byte."""
    state = [(number % 32_767 + 1) >> k & 1 for k in range(15)]
    bits = []
    for _ in range(8 * size):
        bits.append(state[14] ^ state[13])
        state = [bits[-1], *state[:14]]
    return bytes(
        sum(bit << (7 - k) for k, bit in enumerate(bits[at : at + 8])) for at in range(0, 8 * size, 8)
    )


def packed() -> Iterator[Row]:
    """Raw DEFLATE streams of zlib, and damaged ones; `unpacked` is "refused" for those."""
    contents = {
        "empty": b"",
        "one_byte": b"a",
        "zeros": bytes(600),
        "every_byte": bytes(range(256)),
        "text": b"the link: as fast as the wire allows, and right when the wire lies. " * 3,
        "ramp": bytes(k * k // 97 % 256 for k in range(300)),
        "sparse": bytes(k % 251 if k % 7 == 0 else 0 for k in range(400)),
        "far_repeat": bytes(k * 31 % 251 for k in range(90))
        + bytes(600)
        + bytes(k * 31 % 251 for k in range(90)),
    }
    for name, content in contents.items():
        for label, level, strategy in (
            ("dynamic", 9, zlib.Z_DEFAULT_STRATEGY),
            ("fixed", 6, zlib.Z_FIXED),
            ("huffman", 6, zlib.Z_HUFFMAN_ONLY),
            ("stored", 0, zlib.Z_DEFAULT_STRATEGY),
        ):
            maker = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
            stream = maker.compress(content) + maker.flush()
            line: Row = {"name": f"packed_{name}_{label}", "room": max(1, len(content))}
            yield line | {"packed": stream.hex(), "unpacked": content.hex()}
    maker = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = maker.compress(contents["text"]) + maker.flush()
    size = len(contents["text"])
    damaged = (("cut", size, stream[:-1]), ("longer", size, stream + b"\0"), ("no_room", size - 1, stream))
    for name, room, data in damaged:
        yield {"name": f"packed_{name}", "room": room, "packed": data.hex(), "unpacked": "refused"}


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


def frame(kind: int, session: int, seq: int, payload: bytes) -> bytes:
    """A frame with both delimiters."""
    return bytes.fromhex(row("", kind, session, seq, payload)["frame"])


def stream(name: str, max_payload: int, data: bytes, events: list[tuple[str, bytes | int]]) -> Row:
    """One line that tells how bytes decode; an event is (F, body without CRC), (T, text) or (N, count)."""
    words = []
    for letter, value in events:
        if letter == "F" and isinstance(value, bytes):
            kind, session, seq = struct.unpack("<BBH", value[:4])
            words.append(f"F{kind:02x}{session:02x}{seq:04x}{value[4:].hex()}")
        else:
            words.append(letter + (value.hex() if isinstance(value, bytes) else str(value)))
    return {"name": name, "max_payload": max_payload, "stream": data.hex(), "events": " ".join(words)}


def streams() -> Iterator[Row]:
    """Bytes that are no clean sequence of frames."""
    boot, ping = frame(0xB1, 0, 0, b"\1\2\3\4\1"), frame(0xA7, 7, 0x1234, b"\0ping")
    boot_event, ping_event = ("F", b"\xb1\0\0\0\1\2\3\4\1"), ("F", b"\xa7\7\x34\x12\0ping")
    text = b"I (24) boot: ESP-IDF\r\n"
    yield stream("text_only", 256, text, [("T", text)])
    yield stream("zeros_only", 256, bytes(5), [])
    yield stream("text_then_frame", 256, text + boot, [("T", text), boot_event])
    yield stream("frame_text_frame", 256, boot + text + ping, [boot_event, ("T", text), ping_event])
    yield stream("frames_share_a_delimiter", 256, boot + ping[1:], [boot_event, ping_event])
    yield stream("frame_without_leading_zero", 256, ping[1:], [ping_event])
    yield stream("one_byte_of_text", 256, b"\0A\0" + ping, [("T", b"A"), ping_event])
    yield stream("unfinished_frame", 256, ping + ping[:-1], [ping_event])
    cut = ping[:6] + ping[7:]
    yield stream("lost_byte", 256, cut + boot, [("N", len(cut) - 2), boot_event])
    flipped = ping[:6] + bytes([ping[6] ^ 2]) + ping[7:]
    yield stream("flipped_bit", 256, flipped + boot, [("N", len(cut) - 1), boot_event])
    mixed = ping[:5] + text + ping[5:]
    printed = mixed[1:-1]
    run_end = printed.index(b"\n") + 1
    while 0x20 <= printed[run_end] < 0x7F:
        run_end += 1
    run_start = printed.index(b"I (")
    while 0x20 <= printed[run_start - 1] < 0x7F:
        run_start -= 1
    yield stream(
        "line_printed_into_a_frame",
        256,
        mixed + ping,
        [("T", printed[run_start:run_end]), ("N", len(printed)), ping_event],
    )
    joined = ping[:-1] + boot[1:]
    yield stream("lost_delimiter", 256, joined + ping, [("N", len(joined) - 2), ping_event])
    short = b"\0\5\x87abcdefg\x01\0"
    yield stream("seven_printable_bytes_in_noise_are_no_text", 256, short, [("N", len(short) - 2)])
    eight = b"\0\5\x87abcdefgh\x01\0"
    yield stream("eight_printable_bytes_in_noise_are_text", 256, eight, [("T", b"abcdefgh"), ("N", 11)])
    runs = b"\0\5\x87" + b"first run\x80second run\x80third" + b"\x90" * 300 + b"fourth run\0"
    yield stream(
        "longer_than_any_frame",
        64,
        runs + ping,
        [("T", b"first runsecond runfourth run"), ("N", len(runs) - 2), ping_event],
    )
    big = frame(0x87, 7, 1, bytes([0x85]) * 65)
    yield stream("payload_over_the_limit", 64, big + ping, [("N", len(big) - 2), ping_event])
    fits = frame(0x87, 7, 1, bytes([0x85]) * 64)
    yield stream("payload_at_the_limit", 64, fits, [("F", b"\x87\7\1\0" + bytes([0x85]) * 64)])
    head = struct.pack("<BBH", 0x7F, 7, 1)
    low = b"\0" + cobs(head + struct.pack("<I", zlib.crc32(head))) + b"\0"
    yield stream("kind_below_the_range_is_text", 256, low + ping, [("T", low[1:-1]), ping_event])
    tiny = b"\0" + cobs(b"\x87\7\1\2\3\4\5") + b"\0"
    yield stream("body_shorter_than_header_and_crc", 256, tiny + ping, [("N", len(tiny) - 2), ping_event])


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
    rows = [*requests(), *answers(), *unanswered(), *edges(), *streams(), *packed()]
    lines = "".join(json.dumps(line) + "\n" for line in rows)
    Path(__file__).with_name("wire.jsonl").write_text(lines, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
