"""Firmware for a board: a prebuilt image or one that is built, checked, and written where it differs.

Which boards get firmware: every row of boards.toml and every board on a serial port; an emulator gets a flash
file. A bare pty or `socket://` URL is taken as it is unless an image was given: nobody knows what is behind it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from esp_hil.boards import profiles
from esp_hil.boards.build import BuildOrder, build, firmware_folder, with_sizes
from esp_hil.boards.flash import flash, identify, merge
from esp_hil.boards.select import Board, rows
from esp_hil.device.ports import is_pty
from esp_hil.errors import BuildError, ConfigError
from esp_hil.esp.esptool_program import Flasher
from esp_hil.esp.idf import find_idf
from esp_hil.esp.image import FirmwareImage, image_of
from esp_hil.esp.partitions import model_partition
from esp_hil.lint.preflight import preflight
from esp_hil.models.device_file import DeviceFile
from esp_hil.progress import Progress
from esp_hil.targets import Runtime, Target

LABEL_BYTES = 4096
"""At the end of the model's partition, see `FirmwareImage.with_model`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where firmware comes from: the options of the command line.

    Attributes:
        build_dir: pytest-embedded's `--build-dir`: a prebuilt image.
        app_path: pytest-embedded's `--app-path`: the application whose build folder it is.
        skip_flash: pytest-embedded's `--skip-autoflash`: the board has its firmware; nothing is built.
        profile: fragments of firmware/profiles to build with, added to what suits the board.
        lint: whether a model with a known hazard is refused.
    """

    build_dir: str | None = None
    app_path: str | None = None
    skip_flash: bool = False
    profile: tuple[str, ...] = ()
    lint: bool = True


class Provision:
    """Brings firmware, and the first model, to the board of one target and runtime.

    Args:
        target: the chip.
        runtime: what the firmware has to run.
        source: where it comes from.
        model: gives the one to be flashed with it; the next ones are uploaded.
        progress: where long work is shown.

    Attributes:
        image: what is on the board, for its sizes and symbols; None while that is not known.
    """

    def __init__(
        self,
        target: Target,
        runtime: Runtime,
        source: Source,
        model: Callable[[], DeviceFile],
        progress: Progress,
    ) -> None:
        self.image: FirmwareImage | None = None
        self._target = target
        self._runtime: Runtime = runtime
        self._source = source
        self._model = model
        self._progress = progress
        self._folder: Path | None = None

    def flash(self, board: Board, port: str) -> None:
        """Write what differs to a board that is held.

        Raises:
            BuildError: no build folder there, no ESP-IDF, or the build failed.
            ConfigError: the image is of another chip.
            LintError: the model has a known hazard.
            FlashError: see `esp_hil.boards.flash.flash`.
        """
        prebuilt = self._prebuilt()
        if self._source.skip_flash or not (prebuilt or _expects_firmware(board, port)):
            self.image = prebuilt and with_sizes(prebuilt)
            return
        self.image = with_sizes(prebuilt) if prebuilt else self._built(board, port)
        flash(
            self._with_model(self.image, board),
            board,
            Flasher.at(port),
            others=rows().values(),
            history=flashed_before(),
            progress=self._progress,
        )

    def flash_file(self, board: Board) -> Path:
        """The whole flash as one file, for an emulator; `close` removes it.

        Raises:
            BuildError, ConfigError, LintError: as `flash`.
            FlashError: esptool could not merge it.
        """
        prebuilt = self._prebuilt()
        self.image = with_sizes(prebuilt) if prebuilt else self._built(board)
        self._folder = Path(tempfile.mkdtemp(prefix="hil-flash-"))
        return merge(self._with_model(self.image, board), self._folder / "flash.bin")

    def close(self) -> None:
        """Remove the flash file."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _prebuilt(self) -> FirmwareImage | None:
        image = image_of(build_dir=self._source.build_dir, app_path=self._source.app_path)
        if image is not None and image.target != self._target.name:
            raise ConfigError(
                f"the image in {image.folder} is for {image.target}, the run for {self._target.name}",
                hint="change --target or --build-dir",
                step="build",
            )
        return image

    def _built(self, board: Board, port: str = "") -> FirmwareImage:
        profile = profile_of(
            board, self._source.profile, target=self._target.name, revision=self._revision(port)
        )
        order = BuildOrder(target=self._target.name, runtime=self._runtime, profile=profile)
        try:
            return build(order, find_idf(), progress=self._progress)
        except BuildError as error:
            if not board.emulator:
                error.hint += "; a board that has its firmware: --skip-autoflash y"
            raise

    def _revision(self, port: str) -> int | None:
        """Revision of the chip at a port, where the build depends on it and nobody said which it is."""
        asked = {profiles.P4_REV1, profiles.P4_REV3}.intersection(self._source.profile)
        return (
            identify(Flasher.at(port)).revision
            if port and self._target.name == profiles.P4 and not asked
            else None
        )

    def _with_model(self, image: FirmwareImage, board: Board) -> FirmwareImage:
        place = model_partition(image.partitions)
        if place is None:
            return image
        model = self._model()
        if self._source.lint:
            psram = 0 if board.emulator else board.psram_bytes
            preflight(model, self._target, psram_bytes=psram, partition_bytes=place.size - LABEL_BYTES)
        return image.with_model(model.image)


def _expects_firmware(board: Board, port: str) -> bool:
    """Whether a board without a prebuilt image gets one that is built."""
    return board.listed or not (port.startswith("socket://") or is_pty(port))


def profile_of(
    board: Board, wanted: tuple[str, ...], *, target: str, revision: int | None = None
) -> tuple[str, ...]:
    """The fragments to build with: what the board's row says of it, and those that were asked for.

    Args:
        board: to be built for.
        wanted: fragments that were asked for.
        target: its chip.
        revision: of its chip, where it is known.
    """
    found = []
    if board.kind == "emulated":
        found.append("emulated")
    elif board.psram_bytes == 0:
        found.append("psram-off")
    if board.flash_bytes is not None:
        name = f"flash-{board.flash_bytes >> 20}mb"
        if (firmware_folder() / "profiles" / name).is_file():
            found.append(name)
    # another flash size or PSRAM than the row's, because somebody wants to see what it does
    kinds = {name.partition("-")[0] for name in wanted} & {"flash", "psram"}
    return profiles.added_up(
        wanted,
        target=target,
        board=[name for name in found if name.partition("-")[0] not in kinds],
        revision=revision,
    )


def flashed_before() -> Path:
    """Where it is kept what each chip was flashed with last."""
    from platformdirs import user_cache_path

    return user_cache_path("esp-hil") / "flashed"


def sizes_of(image: FirmwareImage | None) -> Mapping[str, int]:
    """Bytes by memory of a firmware image, and its total, as a row keeps them; empty where not known."""
    if image is None or not image.sizes:
        return {}
    used = {section.name.lower().replace(" ", "_"): section.used for section in image.sizes if section.used}
    return {**used, "total": image.total_bytes} if image.total_bytes else used
