"""Puts an image onto a chip: only what differs, and only onto the board it is meant for.

esptool runs as a program of its own; it is GPL and is never imported. It compares the MD5 of each region
with the chip's before it writes. Where we remember what was flashed to that chip last, only changed sectors
are sent.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from esp_hil.boards.profiles import P4, p4_profile
from esp_hil.boards.select import Board
from esp_hil.errors import FlashError
from esp_hil.esp.esptool_output import DetectedChip, EsptoolOutput
from esp_hil.esp.esptool_program import (
    IDENTIFY_SECONDS,
    Flasher,
    esptool_command,
    failed,
    run_esptool,
    run_program,
)
from esp_hil.esp.image import FirmwareImage, Region
from esp_hil.progress import Progress, Silent

SECTOR = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Flashed:
    """What a flashing did: names of regions, bytes that were written, the rate that worked."""

    chip: DetectedChip
    written: tuple[str, ...]
    kept: tuple[str, ...]
    bytes_written: int
    baud: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A region, and what the chip is believed to hold there; None: nothing is known, or it helps nothing."""

    region: Region
    old: bytes | None


def changed_sectors(old: bytes, new: bytes) -> int:
    """How many 4 KiB sectors of `new` differ from what `old` has in their place."""
    starts = range(0, len(new), SECTOR)
    return sum(old[at : at + len(new[at : at + SECTOR])] != new[at : at + SECTOR] for at in starts)


def plan(regions: Iterable[Region], known: Mapping[int, bytes]) -> tuple[Planned, ...]:
    """Decide region by region whether sending only the changed sectors is worth it.

    Args:
        regions: to be flashed.
        known: what was flashed to this chip before, by offset. A mistake in it costs time, nothing else:
            esptool compares the MD5 afterwards and writes the whole region again.

    Returns:
        With the old bytes where at most half of the sectors changed. If that is so for no region with
        changes, none has old bytes: comparing MD5s first, which excludes the other way, is all there is to
        gain then.
    """
    planned = []
    partly = False
    for region in regions:
        old = known.get(region.offset)
        sectors = -(-len(region.data) // SECTOR)
        changed = changed_sectors(old, region.data) if old is not None else sectors
        useful = old is not None and 2 * changed <= sectors
        partly = partly or (useful and changed > 0)
        planned.append(Planned(region=region, old=old if useful else None))
    return tuple(planned) if partly else tuple(Planned(region=entry.region, old=None) for entry in planned)


def problems(
    chip: DetectedChip, image: FirmwareImage, board: Board, others: Iterable[Board] = ()
) -> list[str]:
    """Why this image must not be written to this chip as that board; empty if it may.

    Args:
        chip: what is at the port.
        image: to be flashed.
        board: whose port it should be.
        others: further rows of boards.toml.
    """
    found = []
    if chip.target and chip.target != image.target:
        found.append(f"the chip is an {chip.target}, the image is for {image.target}")
    elif board.target and board.target != image.target:
        found.append(f"the board is an {board.target}, the image is for {image.target}")
    if chip.mac:
        found += _wrong_board(chip.mac, board, others)
    if chip.flash_bytes is not None:
        if chip.flash_bytes < image.flash_bytes:
            found.append(
                f"the image needs {_mb(image.flash_bytes)} of flash, the chip has {_mb(chip.flash_bytes)}"
            )
        if board.flash_bytes is not None and board.flash_bytes != chip.flash_bytes:
            found.append(
                f"boards.toml says {_mb(board.flash_bytes)} of flash, the chip has {_mb(chip.flash_bytes)}"
            )
    if image.needs_psram and board.psram_bytes == 0:
        found.append("the image needs PSRAM, boards.toml says that the board has none")
    embedded = chip.embedded_psram_bytes
    if board.psram_bytes is not None and embedded is not None and board.psram_bytes < embedded:
        found.append(f"boards.toml says {_mb(board.psram_bytes)} of PSRAM, the chip has {_mb(embedded)}")
    least, most = image.revisions
    if chip.revision is not None and not least <= chip.revision <= most:
        found.append(_wrong_revision(chip.revision, image))
    return found


def _wrong_revision(revision: int, image: FirmwareImage) -> str:
    least, most = (f"v{number / 100:.2f}" for number in image.revisions)
    span = f"{least} and newer" if image.revisions[1] == 0xFFFF else f"{least} to {most}"
    said = f"the chip has revision {revision / 100:.2f}, the image is for {span}"
    if image.target != P4:
        return said
    return f"{said}; build with --build-profile {p4_profile(revision)} (pytest: --hil-build-profile)"


def _wrong_board(mac: str, board: Board, others: Iterable[Board]) -> list[str]:
    if board.mac and board.mac.lower() != mac:
        return [f"the chip at this port has MAC {mac}, board {board.id} has {board.mac.lower()}"]
    owner = next((row for row in others if row.id != board.id and row.mac.lower() == mac), None)
    return [f"the chip at this port (MAC {mac}) is board {owner.id}"] if owner else []


def _mb(count: int) -> str:
    return f"{count / (1 << 20):g} MB"


def identify(flasher: Flasher) -> DetectedChip:
    """What chip is at the port, and how much flash it has; writes nothing.

    Raises:
        FlashError: nothing answers there.
    """
    output, _baud = run_esptool(replace(flasher, after="no-reset"), "auto", ("flash-id",))
    return output.chip


def flash(
    image: FirmwareImage,
    board: Board,
    flasher: Flasher,
    *,
    others: Iterable[Board] = (),
    history: Path | None = None,
    progress: Progress | None = None,
) -> Flashed:
    """Check chip against board and image, then write what differs.

    Args:
        image: what to write, with its model if that lives in flash.
        board: whose port it should be.
        flasher: how to reach it.
        others: all rows of boards.toml, so that no other board's chip is written to.
        history: folder where what was flashed is kept by MAC; None: every region is compared whole.
        progress: gets bytes.

    Raises:
        FlashError: the chip is not the board's, or esptool failed at every rate; `output` has its last lines.
    """
    chip = identify(flasher)
    if wrong := problems(chip, image, board, others):
        raise FlashError(
            "; ".join(wrong),
            hint="nothing was written; choose the port, board row or build that fits",
            step="flash",
            board=board.id,
        )
    kept_at = history / chip.mac.replace(":", "") if history and chip.mac else None
    planned = plan(image.regions, _remembered(kept_at))
    total = sum(len(region.data) for region in image.regions)
    shown = progress or Silent()
    with (
        tempfile.TemporaryDirectory(prefix="hil-flash-") as folder,
        shown.task(f"flash {board.id}", total=total, unit="B") as advance,
    ):
        done = 0

        def follow(output: EsptoolOutput) -> None:
            nonlocal done
            advance(max(0, output.done_bytes - done))
            done = max(done, output.done_bytes)

        arguments = _write_arguments(planned, Path(folder))
        _forget(kept_at)
        try:
            output, baud = run_esptool(flasher, image.target, arguments, regions=image.regions, follow=follow)
        except FlashError as error:
            error.at(board=board.id)
            raise
    _remember(kept_at, image.regions)
    return Flashed(
        chip=chip,
        written=tuple(output.written),
        kept=tuple(output.kept),
        bytes_written=output.bytes_written,
        baud=baud,
    )


def merge(image: FirmwareImage, into: Path, *, program: Sequence[str] = ()) -> Path:
    """Write the whole flash as one file, padded with FF to the flash size: what emulators start from.

    Raises:
        FlashError: esptool failed.
    """
    size = f"{image.flash_bytes >> 20}MB"
    with tempfile.TemporaryDirectory(prefix="hil-merge-") as folder:
        files = _files(image.regions, Path(folder))
        command = [
            *(program or esptool_command()),
            "--chip",
            image.target,
            "merge-bin",
            "--output",
            str(into),
            "--pad-to-size",
            size,
        ]
        output = EsptoolOutput()
        status = run_program([*command, *files], IDENTIFY_SECONDS, output)
    if status != 0:
        raise failed(output, status)
    return into


def _write_arguments(planned: Sequence[Planned], folder: Path) -> tuple[str, ...]:
    files = _files([entry.region for entry in planned], folder)
    # the build has put mode, size and frequency into the headers; rewriting them would change what is hashed
    keep = ("--flash-mode", "keep", "--flash-freq", "keep", "--flash-size", "keep")
    if not any(entry.old is not None for entry in planned):
        return ("write-flash", *keep, "--skip-flashed", *files)
    olds = []
    for entry in planned:
        if entry.old is None:
            olds.append("skip")
        else:
            old = folder / f"{entry.region.name}.old"
            old.write_bytes(entry.old)
            olds.append(str(old))
    # the list of old files ends where an option begins
    return ("write-flash", "--diff-with", *olds, *keep, *files)


def _files(regions: Iterable[Region], folder: Path) -> tuple[str, ...]:
    words: list[str] = []
    for region in regions:
        path = folder / f"{region.name}.bin"
        path.write_bytes(region.data)
        words += (f"{region.offset:#x}", str(path))
    return tuple(words)


def _remembered(folder: Path | None) -> dict[int, bytes]:
    if folder is None or not folder.is_dir():
        return {}
    return {int(path.stem, 16): path.read_bytes() for path in folder.glob("*.bin")}


def _forget(folder: Path | None) -> None:
    """What a broken flashing leaves on the chip is not known."""
    for path in folder.glob("*.bin") if folder is not None and folder.is_dir() else ():
        path.unlink()


def _remember(folder: Path | None, regions: Iterable[Region]) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for region in regions:
            (folder / f"{region.offset:x}.bin").write_bytes(region.data)
