"""A program that behaves like esptool 5 towards a chip which is a file; the wording is esptool's.

    python fake_esptool.py STATE.json <esptool's command line>

STATE.json: chip (name), type, features, mac, flash_kb, flash (file), max_baud, calls (file), fatal.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def main() -> int:
    state = json.loads(Path(sys.argv[1]).read_text())
    words = sys.argv[2:]
    with Path(state["calls"]).open("a") as calls:
        calls.write(json.dumps(words) + "\n")
    print("esptool v5.6.0")
    if state.get("fatal"):
        return fatal(state["fatal"])
    if "merge-bin" in words:
        return merge(words)
    print(f"Connected to {state['chip']} on {words[words.index('--port') + 1]}:")
    print(f"Chip type:          {state['type']}")
    print(f"Features:           {state['features']}")
    print(f"MAC:                {state['mac']}")
    print("\nStub flasher running.")
    if int(words[words.index("--baud") + 1]) > state["max_baud"]:
        return fatal("Packet content transfer stopped (received 8 bytes)")
    if "flash-id" in words:
        print(f"Detected flash size: {state['flash_kb'] // 1024}MB")
        return 0
    return write(state, words)


def fatal(text: str) -> int:
    print(f"\nA fatal error occurred: {text}")
    return 2


def pairs(words: list[str]) -> list[tuple[int, Path]]:
    at = next(i for i in range(len(words) - 1, -1, -1) if words[i].startswith("--"))
    rest = [word for word in words[at + 1 :] if word != "keep"]
    return [(int(rest[i], 0), Path(rest[i + 1])) for i in range(0, len(rest), 2)]


def merge(words: list[str]) -> int:
    out = Path(words[words.index("--output") + 1])
    size = int(words[words.index("--pad-to-size") + 1].removesuffix("MB")) << 20
    flash = bytearray(b"\xff" * size)
    rest = words[words.index("--pad-to-size") + 2 :]
    for at, path in [(int(rest[i], 0), Path(rest[i + 1])) for i in range(0, len(rest), 2)]:
        data = path.read_bytes()
        flash[at : at + len(data)] = data
    out.write_bytes(flash)
    return 0


def write(state: dict[str, object], words: list[str]) -> int:
    file = Path(str(state["flash"]))
    flash = bytearray(file.read_bytes())
    olds: list[str] = []
    if "--diff-with" in words:
        at = words.index("--diff-with") + 1
        while not words[at].startswith("--"):
            olds.append(words[at])
            at += 1
    for number, (at, path) in enumerate(pairs(words)):
        data = path.read_bytes()
        print(f"\nWriting '{path}' at {at:#010x}...")
        there = hashlib.md5(bytes(flash[at : at + len(data)])).hexdigest()
        same = there == hashlib.md5(data).hexdigest()
        if "--skip-flashed" in words and same:
            print(f"'{path}' at {at:#010x} already in flash, skipping write.")
            continue
        if olds and olds[number] != "skip" and Path(olds[number]).read_bytes() == data and same:
            print(f"'{path}' at {at:#010x} verified.")
            continue
        for done in range(0, len(data), 16384):
            reached = min(done + 16384, len(data))
            percent = 100 * reached / len(data)
            print(
                f"Writing at {at + reached:#010x} \u2501\u2501 {percent:.1f}% 1.00kB/2.00kB [0s] ", flush=True
            )
        flash[at : at + len(data)] = data
        print(
            f"Wrote {len(data)} bytes ({len(data) // 2} compressed) at {at:#010x} in 0.1 seconds (1 kbit/s)."
        )
        print("Verifying written data...\nHash of data verified.")
    file.write_bytes(flash)
    return 0


if __name__ == "__main__":
    sys.exit(main())
