"""A board in use: met at its best rate, given models, brought back when it breaks, let go of.

Everything that talks to a board goes through here: suites, tasks, MLPerf Tiny and commands. So each of them has
the line at the rate that it carries, after a reset, a recovery and a retry too; and none of them sends a model
that lint refuses.

    with open_session(target("esp32s3"), board="virtual") as session:
        session.put(open_device_file(path), name="mnist")
        outputs = session.device.infer({"input": array}).outputs
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from esp_hil.boards.opening import OpenBoard, open_board
from esp_hil.boards.provision import Provision, Source
from esp_hil.device.device import Device
from esp_hil.device.tuning import RateMemory, choose_pad, tune
from esp_hil.errors import BoardUnavailable, HilError, LinkClosed
from esp_hil.esp.image import FirmwareImage
from esp_hil.formats.espdl.versions import esp_dl_of
from esp_hil.lint.finding import Finding
from esp_hil.lint.preflight import RESOLVER, preflight
from esp_hil.models.device_file import DeviceFile
from esp_hil.progress import Progress, Silent
from esp_hil.session.supervision import Supervisor, explain
from esp_hil.targets import Family, Runtime, Target
from esp_hil.virtual.faults import FaultPlan
from esp_hil.wire.info import DeviceInfo
from esp_hil.wire.requests import LOAD_PARAMETERS_IN_FLASH

LOG = logging.getLogger(__name__)


class BoardSession:
    """A board that this process holds, for as long as it is needed.

    Args:
        board: open.
        target: its chip.
        provision: what brought its firmware; None: it had it.
        progress: where long work is shown.
        lint: whether a model with a known hazard is refused.
        memory: of the rates that boards were found to carry; None: that of the user's cache.

    Attributes:
        board: see above.
        target: see above.
        provision: see above.
        supervisor: judges its failures.
    """

    def __init__(
        self,
        board: OpenBoard,
        target: Target,
        *,
        provision: Provision | None = None,
        progress: Progress | None = None,
        lint: bool = True,
        memory: RateMemory | None = None,
    ) -> None:
        self.board = board
        self.target = target
        self.provision = provision
        self._progress = progress or Silent()
        self._lint = lint
        self._memory = memory or RateMemory()
        self._carries = 0
        self._told = False
        self.esp_dl = ""
        """Version of ESP-DL that the board told when it got its model; "" if it told none."""
        self.supervisor = Supervisor(board, self.connect, self._progress.say)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def id(self) -> str:
        """Name of the board."""
        return self.board.id

    @property
    def device(self) -> Device:
        """What answers there; `connect` first."""
        return self.board.device

    @property
    def image(self) -> FirmwareImage | None:
        """The firmware on it; None if that is not known."""
        return self.provision.image if self.provision else None

    # the line

    def connect(self) -> None:
        """Begin a session unless there is one, at the rate that the line carries, with the pad that suits it.

        Raises:
            LinkTimeout: nothing answered.
            HandshakeError: no common protocol version.
            LinkError: the board does not answer any more at the rate of its start.
        """
        if self.device.connected:
            return
        self.meet()
        # what this line carries was found out when it was met first; it is only confirmed after a restart
        found = tune(self.device, memory=self._memory, first=self._carries)
        self._carries = found.baud
        pad = choose_pad(self.device)
        LOG.info("%s: connected at %s baud, pad of %d bytes", self.id, found.baud or "no", pad)

    def meet(self) -> None:
        """Begin a session at the rate of the board's start, and stay there.

        Raises:
            LinkTimeout: nothing answered.
            HandshakeError: no common protocol version.
        """
        self.device.connect()

    def reset(self) -> None:
        """Restart the device by request and meet it again.

        Raises:
            HilError: it did not restart, or does not answer.
        """
        self.device.reset()
        self.connect()

    # models

    def put(self, file: DeviceFile, *, name: str, family: Family | None = None) -> None:
        """Have the board run a model: linted, uploaded unless it is there, loaded, its tensors those of the file.

        Args:
            file: the model.
            name: for people.
            family: whose numerics it has; None: those of the chip with the file's runtime.

        Raises:
            HandshakeError: the device disagrees about chip, family, model or tensors.
            LintError: the model has a known hazard on this chip.
            DeviceFault: it refused the model.
        """
        self.connect()
        family = family or self.target.family_of(file.runtime)
        info = self._info()
        if self._lint:
            # also what is on it already: it may have come there by another way
            virtual = self.board.kind == "virtual"
            found = preflight(
                file,
                self.target,
                psram_bytes=info.psram_bytes,
                engine_version=info.engine_version,
                any_operator=virtual,
            )
            self._say_what_a_chip_needs(found if virtual else ())
        if info.model is None or info.model.sha256 != file.sha256:
            self.device.require(target=self.target, family=family)
            self.upload(file.image, name=name)
        self.device.require(target=self.target, family=family, model_sha256=file.sha256, inputs=file.inputs)

    def _info(self) -> DeviceInfo:
        info = self.device.info()
        self.esp_dl = esp_dl_of(info.engine_version)
        return info

    def _say_what_a_chip_needs(self, found: Sequence[Finding]) -> None:
        """Operators that a virtual board has and firmware has to be built with, in one line."""
        lacking = [finding for finding in found if finding.rule == RESOLVER and finding.severity == "error"]
        if lacking and not self._told:
            self._told = True
            names = ", ".join(finding.node for finding in lacking)
            self._progress.say(
                f"{self.id}: firmware for a chip needs {names} beside its list: {lacking[0].todo}"
            )

    def upload(self, image: bytes, *, name: str) -> None:
        """Write an image into the model partition, unless it is there, and load it.

        Raises:
            HilError: it was refused, or the line failed.
        """
        with self._progress.task(f"{self.id}: upload {name}", total=len(image), unit="B") as show:
            self.device.upload_model(image, progress=show)
        self.reload()

    def reload(self) -> None:
        """Load the model from where it is; its parameters stay in flash if there is no PSRAM for a copy.

        Raises:
            DeviceFault: the device refused it.
        """
        in_flash = self._info().psram_bytes == 0
        self.device.load(options=LOAD_PARAMETERS_IN_FLASH if in_flash else 0)

    # trouble, and the end

    def explain(self, error: HilError) -> None:
        """Decode the backtrace of a crash, ask the farm of a line that broke; kept with the error."""
        explain(error, self.image, self.target)
        if isinstance(error, LinkClosed | BoardUnavailable) and (said := self.board.trouble()):
            error.message += f"; {said}" if said not in error.message else ""

    def recover(self, error: HilError) -> None:
        """Bring it back after trouble, and meet it again.

        Raises:
            BoardUnavailable: it does not answer; it is given up.
        """
        self.supervisor.recover(error)

    def lend(self) -> None:
        """Leave the port to another reader, at the rate of the board's start; the lock is kept."""
        self.board.lend()

    def take_back(self) -> None:
        """The other reader is gone, or pauses."""
        self.board.take_back()

    def close(self) -> None:
        """Go back to the rate of the start, close the link, end a process, unlock."""
        self.board.close()
        if self.provision is not None:
            self.provision.close()


def open_session(
    target: Target,
    *,
    runtime: Runtime = "espdl",
    board: str | None = None,
    port: str | None = None,
    baud: int | None = None,
    source: Source | None = None,
    model: Callable[[], DeviceFile] | None = None,
    faults: FaultPlan | None = None,
    emulator_args: str | None = None,
    progress: Progress | None = None,
    lint: bool = True,
    memory: RateMemory | None = None,
    record: Path | None = None,
    line: str = "",
    wait_s: float = 0.0,
) -> BoardSession:
    """Open a board, with firmware if it is said where that comes from; `connect` or `put` begins to talk.

    Args:
        target: the chip.
        runtime: of a virtual board's firmware, and of firmware that is built.
        board: see `boards.select`.
        port: likewise.
        baud: likewise.
        source: where firmware comes from; None: the board has its firmware.
        model: gives the one that is flashed with the firmware.
        faults: to plant in a virtual board.
        emulator_args: further options of an emulator.
        progress: where long work is shown.
        lint: whether a model with a known hazard is refused.
        memory: of the rates that boards were found to carry; None: that of the user's cache.
        record: file that keeps the bytes of its line, see `open_link`.
        line: model of a virtual board's line, see `VirtualBoard`.
        wait_s: how long to wait for a board that somebody else has.

    Raises:
        HilError: as `boards.opening.open_board`.
    """
    shown = progress or Silent()
    provision = Provision(target, runtime, source, model, shown) if source and model else None
    try:
        held = open_board(
            target,
            runtime=runtime,
            board=board,
            port=port,
            baud=baud,
            faults=faults,
            firmware=provision,
            emulator_args=emulator_args,
            record=record,
            line=line,
            wait_s=wait_s,
            say=shown.say,
        )
    except HilError:
        if provision is not None:
            provision.close()
        raise
    return BoardSession(held, target, provision=provision, progress=shown, lint=lint, memory=memory)
