"""A firmware image: what a build left in its folder, and what goes where in the flash.

A folder that somebody else built (pytest-embedded's `--build-dir`, `--app-path`) is as good as one of ours.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from esp_hil.errors import BuildError, ConfigError, FlashError, FormatError
from esp_hil.esp.partitions import Partition, model_partition, parse_binary
from esp_hil.esp.sdkconfig import read_build_config
from esp_hil.json_text import read_json
from esp_hil.targets import target as target_of

FLASHER_ARGS = "flasher_args.json"
_APP_MAGIC = 0xE9
_DESCRIPTION = (
    0x20  # of the application: behind the image header (24 bytes) and that of its first segment (8)
)
_DESCRIPTION_MAGIC = 0xABCD5432
_LABEL_MAGIC = 0x4D4C4948  # "HILM", see firmware/ports/esp/include/hil_esp/model_partition.h
_SECTOR = 0x1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Bytes for one place in the flash; `name` is bootloader, partition-table, app, model, ..."""

    name: str
    offset: int
    data: bytes

    @property
    def md5(self) -> str:
        """Hash as the chip computes it: of the bytes padded with FF to a multiple of 4."""
        return hashlib.md5(self.data + b"\xff" * (-len(self.data) % 4), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A memory of the chip in esp-idf-size's table, in bytes; `total` 0: not bounded."""

    name: str
    used: int
    total: int
    parts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashSettings:
    """Mode, size and frequency in esptool's words: dio, 4MB, 80m."""

    mode: str
    size: str
    frequency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareImage:
    """What is to be flashed, and what it is.

    Attributes:
        target: the chip.
        folder: the build folder.
        regions: in the order of their offsets; the model is one of them where it is flashed.
        partitions: rows of the image's partition table.
        settings: of the flash.
        flash_bytes: size of flash that the image is made for.
        needs_psram: it does not start without PSRAM.
        revisions: least and greatest chip revision that it starts on, each 100 * major + minor.
        elf: the program with its symbols, or None.
        map: the linker's map, or None.
        app_sha256: SHA-256 of the ELF, as the application names itself in INFO and in a panic.
        sdkconfig_sha256: of config/sdkconfig.json, as INFO names it.
        idf: version of ESP-IDF in the application's own words, such as v5.3.5.
        version: of the application.
        sizes: memories by esp-idf-size; empty where it was not asked.
        total_bytes: what esp-idf-size calls the image's total size; None where it was not asked.
    """

    target: str
    folder: Path
    regions: tuple[Region, ...]
    partitions: tuple[Partition, ...]
    settings: FlashSettings
    flash_bytes: int
    needs_psram: bool
    revisions: tuple[int, int]
    elf: Path | None
    map: Path | None
    app_sha256: str
    sdkconfig_sha256: str
    idf: str
    version: str
    sizes: tuple[Section, ...] = ()
    total_bytes: int | None = None

    @property
    def sha256(self) -> str:
        """Hash of everything that is flashed, and where: two images with the same one are the same flash."""
        whole = hashlib.sha256()
        for region in self.regions:
            whole.update(struct.pack("<QQ", region.offset, len(region.data)))
            whole.update(region.data)
        return whole.hexdigest()

    @staticmethod
    def from_build_dir(folder: Path) -> FirmwareImage:
        """The image of a build folder of idf.py.

        Raises:
            BuildError: it is not a complete build folder; the message names what is missing.
            ConfigError: its configuration cannot be read.
            UnknownTarget: it is of a chip that targets.toml has no row for.
        """
        folder = folder.resolve()
        arguments = _flasher_args(folder)
        config = read_build_config(folder)
        target_of(config.target)
        regions = _regions(folder, arguments)
        app = next((region for region in regions if region.name == "app"), None)
        table = next((region for region in regions if region.name == "partition-table"), None)
        if app is None or table is None:
            missing = "application" if app is None else "partition table"
            raise BuildError(f"{folder / FLASHER_ARGS} names no {missing}", hint=_REBUILD, step="build")
        settings = arguments.get("flash_settings", {})
        flash_bytes = config.flash_bytes
        if flash_bytes is None:
            raise BuildError(f"{folder}: the configuration names no flash size", hint=_REBUILD, step="build")
        sha256, idf, version = _description(app.data)
        return FirmwareImage(
            target=config.target,
            folder=folder,
            regions=tuple(sorted(regions, key=lambda region: region.offset)),
            partitions=_partitions(table),
            settings=FlashSettings(
                mode=settings.get("flash_mode", "keep"),
                size=settings.get("flash_size", "keep"),
                frequency=settings.get("flash_freq", "keep"),
            ),
            flash_bytes=flash_bytes,
            needs_psram=config.needs_psram,
            revisions=_revisions(app.data),
            elf=_only(folder, "*.elf"),
            map=_only(folder, "*.map"),
            app_sha256=sha256,
            sdkconfig_sha256=config.sha256,
            idf=idf,
            version=version,
        )

    def with_model(self, model: bytes) -> FirmwareImage:
        """This image with a model in its model partition, and the label that lets the device know it again.

        Raises:
            FlashError: no such partition, or the model does not fit it.
        """
        place = model_partition(self.partitions)
        if place is None:
            raise FlashError(
                "the image's partition table has no partition `model`",
                hint="upload the model over the line instead, or use the tables of firmware/partitions",
                step="flash",
            )
        if not model or len(model) > place.size - _SECTOR:
            raise FlashError(
                f"a model of {len(model):,} bytes for a partition of {place.size - _SECTOR:,}",
                hint="build with a larger flash: --build-profile flash-8mb (pytest: --hil-build-profile), "
                "or upload the model to PSRAM",
                step="flash",
            )
        others = tuple(region for region in self.regions if not place.offset <= region.offset < place.end)
        mine = (
            Region(name="model", offset=place.offset, data=model),
            Region(name="model-label", offset=place.end - _SECTOR, data=model_label(model)),
        )
        return replace(self, regions=tuple(sorted(others + mine, key=lambda region: region.offset)))


def model_label(model: bytes) -> bytes:
    """What the last sector of the model's partition begins with: magic, length, CRC-32, CRC-32 of these."""
    head = struct.pack("<III", _LABEL_MAGIC, len(model), zlib.crc32(model))
    return head + struct.pack("<I", zlib.crc32(head))


_REBUILD = "run `idf.py build` there again, or give another --build-dir"


def _flasher_args(folder: Path) -> dict[str, Any]:
    path = folder / FLASHER_ARGS
    try:
        arguments = read_json(path)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        what = f"is not a build folder: {path.name}: {said}" if folder.is_dir() else "is not there"
        raise BuildError(f"{folder} {what}", hint=_REBUILD, step="build") from None
    if not isinstance(arguments, dict) or not isinstance(arguments.get("flash_files"), dict):
        raise BuildError(f"{path} has no flash_files", hint=_REBUILD, step="build")
    return arguments


def _regions(folder: Path, arguments: Mapping[str, Any]) -> list[Region]:
    names = {
        entry["file"]: name
        for name, entry in arguments.items()
        if isinstance(entry, dict) and isinstance(entry.get("file"), str)
    }
    regions = []
    for offset, file in arguments["flash_files"].items():
        path = folder / file
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BuildError(f"cannot read {path}: {error.strerror}", hint=_REBUILD, step="build") from None
        regions.append(Region(name=names.get(file, path.stem), offset=int(offset, 0), data=data))
    return regions


def _partitions(table: Region) -> tuple[Partition, ...]:
    try:
        return parse_binary(table.data)
    except FormatError as error:
        raise BuildError(error.message, hint=_REBUILD, step="build") from None


def _description(app: bytes) -> tuple[str, str, str]:
    """SHA-256 of the ELF, version of ESP-IDF and of the application: esp_app_desc_t, esp_app_desc.h."""
    if len(app) < _DESCRIPTION + 256 or app[0] != _APP_MAGIC:
        raise BuildError("the application is not an image of a chip", hint=_REBUILD, step="build")
    description = app[_DESCRIPTION : _DESCRIPTION + 256]
    if struct.unpack_from("<I", description)[0] != _DESCRIPTION_MAGIC:
        raise BuildError(
            "the application does not describe itself (esp_app_desc)", hint=_REBUILD, step="build"
        )

    def text(offset: int) -> str:
        return description[offset : offset + 32].split(b"\0")[0].decode("utf-8", "replace")

    return description[144:176].hex(), text(112), text(16)


def _revisions(app: bytes) -> tuple[int, int]:
    """Least and greatest chip revision of esp_image_header_t, esp_app_format.h; no greatest: any."""
    least, most = struct.unpack_from("<HH", app, 15)
    return least, most or 0xFFFF


def _only(folder: Path, pattern: str) -> Path | None:
    found = sorted(folder.glob(pattern))
    return found[0] if len(found) == 1 else None


def image_of(*, build_dir: str | None, app_path: str | None) -> FirmwareImage | None:
    """The prebuilt image of pytest-embedded's `--build-dir` and `--app-path`, or None if neither is given.

    Args:
        build_dir: a build folder, or its name below `app_path`.
        app_path: an application's folder; its build folder is `build` if no other is named.

    Raises:
        ConfigError: no such folder.
        BuildError: see `FirmwareImage.from_build_dir`.
    """
    if not build_dir and not app_path:
        return None
    candidates = [Path(build_dir)] if build_dir else []
    if app_path:
        candidates.append(Path(app_path) / (build_dir or "build"))
    for folder in candidates:
        if folder.is_dir():
            return FirmwareImage.from_build_dir(folder)
    looked = " and ".join(str(folder) for folder in candidates)
    raise ConfigError(
        f"no build folder at {looked}", hint="build first, or leave --build-dir out", step="build"
    )
