"""`hil log`: why a board failed, from a console that was kept or pasted."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.errors import ConfigError

if TYPE_CHECKING:
    from esp_hil.esp.backtrace import Backtrace
    from esp_hil.esp.supervise import Crash
    from esp_hil.targets import Target

HELP = "say why a board failed, from its console text: class, reason, backtrace with names"
EXAMPLES = """
  hil log console.txt
  hil log console.txt --elf firmware/build/esp32s3-espdl-perf
  idf.py monitor | tee console.txt; hil log console.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `hil log`."""
    parser.add_argument("file", metavar="FILE", help="the console's text; - reads it from standard input")
    parser.add_argument(
        "--elf",
        type=Path,
        metavar="BUILD",
        help="the program that ran, as its .elf file or the build folder: names for the backtrace",
    )
    parser.add_argument("--target", help="the chip, where the text does not name it")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Classify and decode; 1 if the text tells of a failure, 0 if of none."""
    from esp_hil.esp.backtrace import decode, suspected_kind
    from esp_hil.esp.bootlog import parse_boot
    from esp_hil.esp.console import crashes_of, unpasted
    from esp_hil.esp.supervise import crashed

    text = unpasted(_read(args.file))
    args.elf = _elf(args.elf)
    target = _target(args, text)
    boot = parse_boot(text)
    found = []
    for crash, times in crashes_of(text):
        trace = decode(crash, args.elf, target)
        error = crashed(crash)
        found.append(
            {
                "kind": suspected_kind(crash, trace),
                "message": error.message,
                "hint": error.hint,
                "times": times,
                "backtrace": _frames(crash, trace),
            }
        )
    if args.json:
        print(json.dumps({"chip": target.name, "reset": boot.reset, "failures": found}, indent=2))
    else:
        print("\n\n".join(map(_words, found)) if found else _nothing(boot.reset, boot.reset_kind))
    return 1 if found else 0


def _elf(given: Path | None) -> Path | None:
    """The file of --elf, of a build folder the one that lies in it.

    Raises:
        ConfigError: there is none, or it is no ELF file.
    """
    if given is None:
        return None
    found = sorted(given.glob("*.elf")) if given.is_dir() else [given]
    if len(found) > 1:
        raise ConfigError(f"{given} has {', '.join(path.name for path in found)}", hint="name one with --elf")
    try:
        with found[0].open("rb") as file:
            magic = file.read(4)
    except (IndexError, OSError):
        hint = "give --elf the build folder, or its .elf file"
        raise ConfigError(f"no ELF at {given}", hint=hint) from None
    if magic != b"\x7fELF":
        raise ConfigError(f"{given} is not an ELF file", hint="it lies in the build folder, as esp_hil.elf")
    return found[0]


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror}", step="log") from None


def _target(args: argparse.Namespace, text: str) -> Target:
    """The chip: as told, as the text names it, else one with the program's instruction set."""
    from esp_hil.errors import UnknownTarget
    from esp_hil.esp.console import chip_of
    from esp_hil.targets import target

    if args.target:
        return target(args.target)
    try:
        return target(chip_of(text.splitlines()))
    except UnknownTarget:
        riscv = "MEPC" in text or (args.elf is not None and _is_riscv(args.elf))
        return target("esp32c3" if riscv else "esp32")


def _is_riscv(elf: Path) -> bool:
    with elf.open("rb") as file:
        return int.from_bytes(file.read(20)[18:20], "little") == 243  # e_machine: EM_RISCV


def _frames(crash: Crash, trace: Backtrace) -> list[str]:
    return str(trace).splitlines() if crash.backtrace else []


def _words(failure: dict[str, object]) -> str:
    times = f" ({failure['times']} times in a row)" if failure["times"] != 1 else ""
    trace = failure["backtrace"]
    assert isinstance(trace, list)
    lines = [f"{failure['kind']}{times}", f"  {failure['message']}", f"  what to do: {failure['hint']}"]
    return "\n".join([*lines, *(f"    {line}" for line in trace)])


def _nothing(reset: str, kind: str | None) -> str:
    why = {
        "watchdog": "a watchdog reset it, and nothing was printed before: a bootloader or ROM that hung",
        "brownout": "the supply dropped",
        "cpu_lockup": "the CPU locked up",
    }.get(kind or "", "")
    if why:
        return f"no crash is in the text; the chip started because {why} ({reset})"
    return "nothing in the text tells of a failure"
