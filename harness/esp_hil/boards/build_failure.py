"""Why a build failed, from its output: the one line that names the cause, and what to do about it. Text in, values out.

The formats are those of ninja, CMake, GCC, GNU as and ld, of idf.py (ESP-IDF 5.3 to 6.0), its component manager and its
scripts for partitions and sizes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """What a failed build said of why.

    Attributes:
        line: in the tool's own words, with file and line where it named them.
        advice: what to do next.
    """

    line: str
    advice: str


# Most telling first; each finds whole lines. A compiler's command line (-Werror, -fdebug-prefix-map=/error) is none.
_COMPILER = re.compile(
    r"^(?:\S[^:]*:\d+(?::\d+)?: (?:fatal |internal compiler )?error: .+"
    r"|\S+\.\w+:\d+: (?:Fatal error|Error): .+)"
)
_DRIVER = re.compile(
    r"^\S*(?:gcc|g\+\+|cc1|cc1plus|as|ld)(?:\.exe)?: (?:fatal |internal compiler )?error: .+", re.IGNORECASE
)
_ASSEMBLER = re.compile(r"^\S+: Fatal error: .+")
_OVERFLOW = re.compile(r"region `[^']+' overflowed by \d+ bytes")
_SECTION = re.compile(r"section `[^']+' will not fit in region `[^']+'")
_LINKER = re.compile(
    r"undefined reference to .+|multiple definition of .+|\bcannot find -l\S+|\bcannot find \S+\.[oa]\b.*"
)
_SCRIPTS = re.compile(
    r"^(?:Error: .+|Partitions? tables? occupies .+|Partition .+ (?:invalid|overlaps|is not).*|error: .+"
    r"|Partition table.*(?:Error|error).+|.*No space left on device.*)"
)
_PYTHON = re.compile(
    r"^(?:The following Python requirements are not satisfied.*|\w*Error: No module named .+"
    r"|.*ModuleNotFoundError.*)"
)
_GIT = re.compile(r"^fatal: (?!not a git repository).+")
_NINJA = re.compile(r"^ninja: error: .+")
_LAST = re.compile(r"^(?:FAILED: .+|.*\berror\b: .+|.*(?:ERROR|Fatal).*)")
_LINES = (_COMPILER, _ASSEMBLER, _DRIVER, _OVERFLOW, _SECTION, _LINKER, _SCRIPTS, _PYTHON, _GIT, _NINJA)

_CMAKE_END = re.compile(r"^\s*(?:Call Stack|CMake (?:Error|Warning)|-- )")

_HOME_REGISTRY = "IDF_COMPONENT_REGISTRY_URL (or IDF_COMPONENT_STORAGE_URL) names a mirror"
_ADVICE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"iram\d?_\d_seg' (?:overflowed)|region `iram", re.IGNORECASE),
     "IRAM is full: --build-profile size, or fewer operators (`hil resolver`); on chips with PSRAM psram-xip frees it"),
    (re.compile(r"d?ram\d?_\d_seg'|region `dram|\.bss' will not fit"),
     "static RAM is full: smaller HIL_RX_WINDOW_BYTES, HIL_MAX_PAYLOAD or HIL_MAX_REPEATS, or the arena in PSRAM"),
    (re.compile(r"overflowed by|will not fit in region"), "--build-profile size, or fewer operators (`hil resolver`)"),
    (re.compile(r"partition is too small for binary|partition .*\(overflow"),
     "--build-profile size, a larger flash (flash-8mb, flash-16mb), or fewer operators (`hil resolver`)"),
    (re.compile(r"does not fit in configured flash size"),
     "the partition table needs more flash than the build's flash size: take both from one profile, such as flash-4mb"),
    (re.compile(r"Partition .*(?:not aligned|overlaps|invalid)"),
     "the partition table is wrong: applications begin at multiples of 0x10000, nothing overlaps"),
    (re.compile(r"not satisfied|No module named|ModuleNotFoundError"),
     "run ESP-IDF's install.sh again: its Python environment is not of this release"),
    (re.compile(r"establish a connection to the component registry|Cannot connect.*registry|CERTIFICATE_VERIFY"),
     f"the component registry is not reachable: {_HOME_REGISTRY}; HTTPS_PROXY a proxy"),
    (re.compile(r"version solving failed|doesn't match any versions|conflicts? with"),
     "components want different versions of one another: loosen one in idf_component.yml, delete dependencies.lock"),
    (re.compile(r"Failed to resolve component|unknown name|Cannot find component"),
     f"a component was not fetched: is IDF_COMPONENT_MANAGER=0 set? is the registry reachable? {_HOME_REGISTRY}"),
    (re.compile(r"submodule|dubious ownership"),
     "in ESP-IDF's folder: git submodule update --init --recursive; of a folder of another user first: "
     "git config --global --add safe.directory <esp-idf>"),
    (re.compile(r"Tool doesn't match supported version|Failed to determine toolchain sysroot|cannot read spec file"
                r"|unrecognized command.line option|(?:bad value|not valid|[Uu]nknown \w+) .*for '?-m"
                r"|-m(?:arch|abi|tune|cpu)=\S+: .*(?:unknown|unsupported|unexpected|not supported)"
                r"|unrecognized argument in option '?-"),
     "the compiler is not that of this ESP-IDF: run its install.sh and activate it (export.sh) in a new shell"),
    (re.compile(r"not a full path and was not found in the PATH|CMAKE_\w+_COMPILER"),
     "the compiler is not installed or not on PATH: run ESP-IDF's install.sh for the chip, then export.sh"),
    (re.compile(r"not able to compile a simple test program"),
     "broken toolchain: run ESP-IDF's install.sh again"),
    (re.compile(r"in sdkconfig .* does not match currently selected IDF_TARGET"),
     "the folder was configured for another chip: another --build-dir, or delete its sdkconfig"),
    (re.compile(r"toolchain-\w+\.cmake"), "this ESP-IDF does not know the chip: is --target right? else a newer one"),
    (re.compile(r"ESP-IDF \S+ or newer is needed|cannot build for ESP32-P4"), "activate a newer ESP-IDF"),
    (re.compile(r"HIL_ENGINE="), "--runtime is a folder of firmware/engines"),
    (re.compile(r"HIL_PROFILE:"), "--build-profile names files of firmware/profiles"),
    (re.compile(r"Killed signal terminated|virtual memory exhausted|out of memory allocating", re.IGNORECASE),
     "this computer ran out of memory: fewer jobs at a time (NINJAJOBS, CMAKE_BUILD_PARALLEL_LEVEL), or more swap"),
    (re.compile(r"No space left on device"), "free some disk space"),
    (re.compile(r"\[-Werror[=\]]"),
     "a warning of this compiler is taken for an error; of a component: another ESP-IDF release, or "
     "-D COMPILER_DISABLE_GCC_WARNINGS; of ours: please report it"),
    (re.compile(r"error: #error"),
     "a header refuses this chip, configuration or compiler, in its own words: what they ask for, or another ESP-IDF"),
    (re.compile(r"[uU]nrecognized (?:opcode|instruction)|unknown opcode|x?esppie"),
     "the assembler does not know the chip's instructions: the compiler of this ESP-IDF, and the right --target?"),
    (re.compile(r"undefined reference"),
     "a function is declared and not built: is its component among REQUIRES, and its operator in the resolver?"),
    (re.compile(r"multiple definition"), "one function is built twice: two components or files define it"),
    (re.compile(r"fatal error: .*: No such file"),
     "a header is not found: is its component among REQUIRES and fetched?"),
    (re.compile(r"missing and no known rule to make it"),
     "a file of the build is gone: delete the build folder, or `idf.py reconfigure`"),
    (re.compile(r"cannot find (?:-l|\S+\.[oa])"),
     "the toolchain is incomplete: run ESP-IDF's install.sh again"),
)  # fmt: skip


def cause_of(lines: Sequence[str]) -> Cause:
    """The cause of a failed build.

    Args:
        lines: its whole output, without line ends.

    Returns:
        The first line of the kind that names causes best; with nothing of any kind the last line that says something.
    """
    plain = [_without_colour(line).rstrip() for line in lines]
    candidates = [*_found(plain), *_cmake_errors(plain)]
    said = candidates[0] if candidates else _fallback(plain)
    if _is_vague(said):
        said = next((other for other in candidates if not _is_vague(other)), said)
    return Cause(line=said, advice=_advice(said, candidates))


def _without_colour(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*[mK]", "", line)


def _found(lines: Sequence[str]) -> Iterator[str]:
    """Lines that name a cause, the best kind first, within a kind as they came."""
    for pattern in _LINES:
        for number, line in enumerate(lines):
            # what CMake quotes is indented; its own message is read as a whole
            if not line.startswith(" ") and (found := pattern.search(line)):
                said = found[0] if pattern in {_OVERFLOW, _SECTION, _LINKER} else line
                yield _with_rest(said, lines[number + 1 :], line)


def _with_rest(said: str, following: Sequence[str], line: str) -> str:
    """A line that is only a heading, with what follows it; a linker's line with its place."""
    if line.endswith(":") and following and following[0].strip():
        return f"{said} {following[0].strip()}"
    if said.startswith(("undefined", "multiple")) and (place := re.match(r"(\S+?):\((?:\.[\w.]+)\+", line)):
        return f"{place[1].rpartition('/')[2]}: {said}"
    return said


def _cmake_errors(lines: Sequence[str]) -> Iterator[str]:
    """CMake's messages with their place: the innermost first, because an outer one only quotes it."""
    messages: list[tuple[int, str]] = []
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("CMake Error"):
            continue
        depth = len(line) - len(line.lstrip())
        head, body = _cmake_head(lines, number)
        text = _paragraph(lines[body:])
        if text or not head:
            messages.append((-depth, f"{head}: {text}" if head else text))
    # sorted is stable: of equal depth the first came first
    yield from (text for _, text in sorted(messages, key=lambda entry: entry[0]) if text)


def _cmake_head(lines: Sequence[str], number: int) -> tuple[str, int]:
    """file:line of a CMake error, and where its message begins; a long path is broken into several lines."""
    head = lines[number].strip().removeprefix("CMake Error")
    end = number + 1
    while not head.endswith(":") and end < len(lines) and lines[end].strip() and end - number < 4:
        head += " " + lines[end].strip()
        end += 1
    found = re.search(r"at (\S+:\d+)", head)
    if found:
        return found[1], end
    return "", number if head.strip(": ") else end


def _paragraph(lines: Sequence[str]) -> str:
    """The message of a CMake error as one line: up to its call stack, without the warnings that it quotes."""
    words: list[str] = []
    for line in lines:
        text = line.strip().removeprefix("CMake Error: ")
        if _CMAKE_END.match(line) and not (not words and text):
            break
        if text.startswith(("Call Stack", "CMake Warning", "CMake Error", "See also", "-- ")):
            break
        if text:
            words.append(text)
        if len(words) >= 8:
            break
    return re.sub(r"\s+", " ", " ".join(words))


def _is_vague(line: str) -> bool:
    return (
        line.startswith(("FAILED: ", "ninja: error: rebuilding 'build.ninja'"))
        or "some warnings being treated as errors" in line
    )


def _fallback(lines: Sequence[str]) -> str:
    said = next((line for line in lines if _LAST.search(line)), "")
    return said or next((line for line in reversed(lines) if line.strip()), "no output")


def _advice(line: str, candidates: Sequence[str]) -> str:
    """What is known to help against a line; else against the other candidates, unless it names a place itself."""
    for text in (line,) if _COMPILER.match(line) else (line, *candidates):
        for pattern, advice in _ADVICE:
            if pattern.search(text):
                return advice
    return "read the log from this line on"
