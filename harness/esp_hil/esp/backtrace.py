"""Addresses of a crash to functions and lines, with the ELF of the image that crashed.

The toolchain's addr2line is used where it is installed (fast, and it knows inlined functions), else the
line table of the ELF through pyelftools. A RISC-V dump has no backtrace: with the toolchain's gdb its stack
memory is unwound by esp-idf-panic-decoder; without it, words of the stack that are return addresses (a call
stands before them) are named, of which some may be left from earlier calls.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.esp.supervise import Crash, CrashKind
from esp_hil.targets import Target

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

MAX_CALLERS = 12
SUSPICIOUS_FRAMES = 4
TOOL_SECONDS = 60
"""Deadline of addr2line and gdb; both read the whole debug information of an ELF of some 10 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLocation:
    """One frame: where an address lies in the sources; "" and 0: unknown. `inlined`: into the next."""

    address: int
    function: str = ""
    file: str = ""
    line: int = 0
    inlined: bool = False

    def __str__(self) -> str:
        where = f" at {self.file}:{self.line}" if self.file else ""
        return f"{self.address:#010x} {self.function or '?'}{where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtrace:
    """Frames, innermost first, and what is doubtful about them ("" if nothing)."""

    frames: tuple[SourceLocation, ...]
    doubt: str = ""

    def __str__(self) -> str:
        lines = [str(frame) for frame in self.frames]
        return "\n".join([*lines, f"({self.doubt})"] if self.doubt else lines)


def toolchain_prefix(target: Target) -> str:
    """First part of the names of the target's GNU tools, as ESP-IDF >= 5.3 installs them."""
    return "riscv32-esp-elf-" if target.isa.startswith("riscv") else f"xtensa-{target.name}-elf-"


def decode(crash: Crash, elf: Path | None, target: Target) -> Backtrace:
    """Name the frames of a crash.

    Args:
        crash: what the console said.
        elf: the image's ELF file, or None where only the binary is known.
        target: the chip, for its toolchain.

    Returns:
        All frames; without an ELF, or with the wrong one, bare addresses and why.
    """
    bare = tuple(SourceLocation(address=address) for address in crash.backtrace)
    if elf is None or not elf.is_file():
        return Backtrace(
            frames=bare,
            doubt=f"no ELF{f' at {elf}' if elf else ''}: --elf BUILD, with the build folder, gives names",
        )
    if crash.elf_sha256 and not _sha256(elf).startswith(crash.elf_sha256.lower()):
        said = f"{elf.name} is not what crashed: its SHA256 does not begin with {crash.elf_sha256}"
        return Backtrace(frames=bare, doubt=said)
    prefix = toolchain_prefix(target)
    if "Stack memory:" in crash.text and (gdb := _tool(prefix + "gdb")):
        frames = _unwind(crash.text, elf, gdb[: -len("gdb")], target.name)
        if frames:
            return Backtrace(frames=frames)
    if not crash.stack:
        return Backtrace(frames=locate(crash.backtrace, elf, prefix))
    returns = [*crash.backtrace[1:], *return_addresses(crash.stack, elf)]
    # one address inside each call, where the caller's line is; behind it there may be another function
    callers = [word - 2 for word in dict.fromkeys(returns)]
    doubt = f"the stack was scanned, some callers may be stale: {prefix}gdb is not installed to unwind it"
    innermost = crash.backtrace[:1]
    return Backtrace(frames=locate((*innermost, *callers[:MAX_CALLERS]), elf, prefix), doubt=doubt)


def return_addresses(stack: Sequence[int], elf: Path) -> list[int]:
    """The words of a RISC-V stack that a call has left: executable, and right behind a call instruction.

    Calls are `jal ra` and `jalr ra` (4 bytes), `c.jal` and `c.jalr` (2 bytes): RISC-V ISA manual, 2.5 and 16.
    """
    from elftools.elf.constants import SH_FLAGS
    from elftools.elf.elffile import ELFFile

    with elf.open("rb") as file:
        code = [
            (section["sh_addr"], section.data())
            for section in ELFFile(file).iter_sections()
            if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR and section["sh_type"] == "SHT_PROGBITS"
        ]
    return [word for word in stack if any(_behind_call(data, word - start) for start, data in code)]


def _behind_call(code: bytes, offset: int) -> bool:
    if not 4 <= offset <= len(code) or offset % 2:
        return False
    long = int.from_bytes(code[offset - 4 : offset], "little")
    short = long >> 16
    if long & 0xFFF == 0x0EF or long & 0x7FFF == 0x0E7:
        return True
    return short & 0xE003 == 0x2001 or (short & 0xF07F == 0x9002 and short & 0xF80 != 0)


def suspected_kind(crash: Crash, trace: Backtrace) -> CrashKind:
    """The class of a crash once its frames are known: a fault inside the allocator is a corrupt heap."""
    if crash.kind not in {"panic", "abort", "assert"}:
        return crash.kind
    for frame in trace.frames[:SUSPICIOUS_FRAMES]:
        if re.match(r"tlsf_|multi_heap_|remove_free_block|block_|heap_caps_free", frame.function):
            return "heap_corruption"
        if re.match(r"operator new|__cxa_throw|__cxa_allocate_exception", frame.function):
            return "out_of_memory"
    return crash.kind


def locate(addresses: Sequence[int], elf: Path, prefix: str) -> tuple[SourceLocation, ...]:
    """The sources of addresses, by `<prefix>addr2line` where it is installed, else by the line table."""
    if addresses and (tool := _tool(prefix + "addr2line")):
        command = [tool, "-fiaC", "-e", str(elf), *(f"{address:#x}" for address in addresses)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=True)
            return parse_addr2line(done.stdout)
        except (OSError, subprocess.SubprocessError):
            pass  # a tool of another release than the ELF: the line table is slower but always readable
    return tuple(_by_line_table(addresses, elf))


def parse_addr2line(text: str) -> tuple[SourceLocation, ...]:
    """Frames of `addr2line -fiaC`: an address line, then a function and a place for each inlining level."""
    frames: list[SourceLocation] = []
    address, function = 0, ""
    for line in text.splitlines():
        if re.fullmatch(r"0x[0-9a-fA-F]+", line):
            address, function = int(line, 16), ""
        elif not function:
            function = line
        else:
            file, _, number = line.partition(" (discriminator")[0].rpartition(":")
            known = function != "??", file not in {"", "??"}, number.isdigit()
            if frames and frames[-1].address == address:
                frames.append(replace(frames.pop(), inlined=True))
            frames.append(
                SourceLocation(
                    address=address,
                    function=function if known[0] else "",
                    file=file if known[1] else "",
                    line=int(number) if known[2] else 0,
                )
            )
            function = ""
    return tuple(frames)


def _by_line_table(addresses: Sequence[int], elf: Path) -> list[SourceLocation]:
    from elftools.elf.elffile import ELFFile

    with elf.open("rb") as file:
        read = ELFFile(file)
        functions = _functions(read)
        places = _places(read, frozenset(addresses)) if read.has_dwarf_info() else {}
    frames = []
    for address in addresses:
        name = next((name for start, end, name in functions if start <= address < end), "")
        source, line = places.get(address, ("", 0))
        frames.append(SourceLocation(address=address, function=name, file=source, line=line))
    return frames


def _functions(elf: ELFFile) -> list[tuple[int, int, str]]:
    from elftools.elf.sections import SymbolTableSection

    table = elf.get_section_by_name(".symtab")
    symbols = table.iter_symbols() if isinstance(table, SymbolTableSection) else ()
    return [
        (symbol["st_value"], symbol["st_value"] + max(1, symbol["st_size"]), symbol.name)
        for symbol in symbols
        if symbol["st_info"]["type"] == "STT_FUNC"
    ]


def _places(elf: ELFFile, wanted: frozenset[int]) -> dict[int, tuple[str, int]]:
    """File and line of each wanted address: the last row of a line program's sequence at or below it."""
    found: dict[int, tuple[str, int]] = {}
    dwarf = elf.get_dwarf_info()
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        first = 0 if program.header["version"] >= 5 else 1
        names = program.header["file_entry"]
        previous = None
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if previous is not None and previous.address < state.address:
                for address in wanted:
                    if previous.address <= address < state.address:
                        name = names[previous.file - first].name
                        found[address] = (name.decode(errors="replace"), previous.line)
            previous = None if state.end_sequence else state
    return found


def _unwind(text: str, elf: Path, prefix: str, target: str) -> tuple[SourceLocation, ...]:
    """A RISC-V panic's stack memory unwound by gdb and esp-idf-panic-decoder; empty where that failed."""
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "panic.txt"
        dump.write_text(text, encoding="utf-8")
        server = f'target remote | "{sys.executable}" -m esp_idf_panic_decoder --target {target} "{dump}"'
        command = [f"{prefix}gdb", "--batch", "-n", str(elf), "-ex", server, "-ex", "bt"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError):
            return ()
    return parse_gdb_backtrace(done.stdout)


_GDB_FRAME = re.compile(
    r"^#\d+ +(?:(0x[0-9a-fA-F]+) in )?([^(]+?) ?\(.*?\)(?: at (.+):(\d+))?$|^#\d+ +(0x[0-9a-fA-F]+)"
)


def parse_gdb_backtrace(text: str) -> tuple[SourceLocation, ...]:
    """Frames of gdb's `bt`; an inlined or innermost frame has no address of its own and gets 0."""
    frames = []
    for found in filter(None, map(_GDB_FRAME.match, text.splitlines())):
        address, function, file, line, alone = found.groups()
        frames.append(
            SourceLocation(
                address=int(address or alone or "0", 16),
                function="" if function in {None, "??"} else function,
                file=file or "",
                line=int(line or 0),
            )
        )
    return tuple(frames)


def _tool(name: str) -> str | None:
    """A tool on PATH or in the folder where ESP-IDF installs its tools."""
    if found := shutil.which(name):
        return found
    family = "riscv32-esp-elf" if name.startswith("riscv32") else "xtensa-esp-elf"
    if name.endswith("-gdb"):
        family += "-gdb"
    installed = Path.home() / ".espressif" / "tools" / family
    return next((str(path) for path in sorted(installed.glob(f"*/*/bin/{name}*"), reverse=True)), None)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
