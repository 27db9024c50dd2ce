"""A console that somebody kept or pasted: every crash in it, however the text reached the file. No I/O.

    for crash, times in crashes_of(unpasted(data)): ...

Terminals and issue trackers change text on its way: colours without their escape character, time stamps in front
of lines, UTF-16 of a redirected PowerShell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from esp_hil.esp.bootlog import ROM_BANNER, plain
from esp_hil.esp.supervise import Crash, Watch, parse_crash

_COLOUR_LEFT = re.compile(r"\[0;\d\dm|\[0m|\^\[\[[0-9;]*m|\\x1b\[[0-9;]*m")
_STAMP = re.compile(
    r"^(?:> )?(?:(?:\[?(?:\d{4}-\d\d-\d\d[ T])?\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?|\[ *\d+\.\d+\])"
    r"(?: ?->| ?\|| ?:)? ?)?"
)
_CHIP = re.compile(
    r"ESP-ROM:(esp32[a-z]*\d*)-|^boot\.(esp32\w*):| boot\.(esp32\w*): |chip id.*(esp32\w*)", re.IGNORECASE
)


def unpasted(data: bytes) -> str:
    """The text of a kept console, as the chip printed it.

    Args:
        data: of the file: UTF-8, or UTF-16 with its mark; bytes that are neither are replaced.
    """
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        text = data.decode("utf-16", "replace")
    else:
        text = data.decode("utf-8-sig", "replace")
    return "\n".join(_unstamped(plain(line)) for line in text.splitlines())


def _unstamped(line: str) -> str:
    return _STAMP.sub("", _COLOUR_LEFT.sub("", line), count=1)


def crashes_of(text: str) -> list[tuple[Crash, int]]:
    """The crashes of a console in order, with how often each came in a row: a board that restarts tells the same again.

    Where nothing stopped the program but a line tells of a cause (no memory for a model), that is the one there is.
    """
    found: list[tuple[Crash, int]] = []
    watch = Watch()
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        watch.feed(line + "\n")
        # a crash ends with its restart; where that line was lost, with the next start
        starts = number < len(lines) and ROM_BANNER.match(lines[number])
        if watch.crash_ended or number == len(lines) or starts:
            _add(found, watch.crash)
            if watch.crash is not None:
                watch.clear()
    if not found:
        _add(found, parse_crash(text))
    return found


def _add(found: list[tuple[Crash, int]], crash: Crash | None) -> None:
    if crash is None:
        return
    if found and _same(found[-1][0], crash):
        found[-1] = found[-1][0], found[-1][1] + 1
    else:
        found.append((crash, 1))


def _same(one: Crash, other: Crash) -> bool:
    return (one.kind, one.pc, one.task, one.backtrace) == (other.kind, other.pc, other.task, other.backtrace)


def chip_of(lines: Iterable[str]) -> str:
    """The chip that a boot log names, or "": in the ROM's banner, or by the loader's tag."""
    for line in lines:
        if found := _CHIP.search(line):
            return next(group for group in found.groups() if group).lower()
        if re.match(r"ets (Jun|Jul) +\d+ 201[5-9]", line):
            return "esp32"
    return ""
