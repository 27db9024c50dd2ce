"""A board in use has its line at the rate that it carries, whatever happens to it; on lines that take time."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from esp_hil.device.device import Device
from esp_hil.device.ports import open_link
from esp_hil.device.tuning import RateMemory, Tuned, tune
from esp_hil.errors import HilError, LintError
from esp_hil.models import catalogue
from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.session import board_session
from esp_hil.session.board_session import BoardSession, open_session
from esp_hil.targets import target
from esp_hil.virtual.board import VirtualBoard
from esp_hil.virtual.faults import EngineFaults, FaultPlan

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")

S3 = target("esp32s3")
LINE = "115200,limit=1000000"
START, BEST = 115_200, 921_600


@pytest.fixture
def memory(tmp_path: Path) -> RateMemory:
    """Of rates, for this test alone."""
    return RateMemory(tmp_path / "baud.json")


@pytest.fixture
def machine() -> Iterator[VirtualBoard]:
    """A board that is a port to its session, like one at a desk."""
    with VirtualBoard(S3, line=LINE) as board:
        yield board


@pytest.fixture
def session(machine: VirtualBoard, memory: RateMemory) -> Iterator[BoardSession]:
    """Connected."""
    with open_session(S3, board=machine.url, memory=memory) as opened:
        opened.connect()
        yield opened


@pytest.fixture(scope="module")
def file() -> DeviceFile:
    return open_device_file(catalogue.load("mnist").artifact("w8a8", "esp32s3"))


def rate(session: BoardSession) -> int | None:
    """Of the line now, told by the device as well as by the port."""
    session.device.ping(b"both ends have it")
    return session.device.conversation.link.baud


def ping_until_it_fails(session: BoardSession) -> None:
    for _ in range(1000):
        session.device.ping(b"until the restart is noticed")


def test_a_board_is_met_at_the_best_rate_of_its_line(session: BoardSession) -> None:
    assert rate(session) == BEST


def test_a_reset_by_request_ends_at_the_tuned_rate(session: BoardSession) -> None:
    session.reset()
    assert rate(session) == BEST


@pytest.mark.parametrize(
    "restart",
    [
        lambda machine: machine.reset(),
        lambda machine: machine.power_cycle(),
        lambda machine: machine.restart(),
    ],
    ids=["reset button", "power", "process"],
)
def test_a_board_that_restarts_by_itself_is_brought_back_to_the_tuned_rate(
    session: BoardSession,
    machine: VirtualBoard,
    restart: Callable[[VirtualBoard], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="esp_hil")
    restart(machine)
    with pytest.raises(HilError) as broken:
        ping_until_it_fails(session)
    session.recover(broken.value)
    assert rate(session) == BEST
    warned = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == [f"{session.id}: is brought back after: {broken.value}"]
    assert any(line.startswith(f"{session.id}: connected at {BEST} baud") for line in caplog.messages)


def test_a_process_of_ours_is_started_again_and_brought_back_to_the_tuned_rate(
    monkeypatch: pytest.MonkeyPatch, memory: RateMemory, file: DeviceFile
) -> None:
    monkeypatch.setenv("HIL_BAUD_MODEL", LINE)
    plan = FaultPlan(engine=EngineFaults(panic_at_run=1))
    with open_session(S3, board="virtual", memory=memory, faults=plan) as session:
        session.put(file, name="mnist")
        (tensor,) = file.inputs
        with pytest.raises(HilError) as broken:
            session.device.infer({tensor.name: np.zeros(tensor.shape, tensor.dtype)})
        session.recover(broken.value)
        session.put(file, name="mnist")
        assert rate(session) == BEST


def test_what_the_line_carries_is_found_out_once_even_where_nothing_can_be_remembered(
    machine: VirtualBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    tried: list[int] = []

    def counting(device: Device, *, memory: RateMemory, first: int) -> Tuned:
        found = tune(device, memory=memory, first=first)
        tried.append(len(found.tests) + len(found.given_up))
        return found

    monkeypatch.setattr(board_session, "tune", counting)
    with open_session(S3, board=machine.url, memory=RateMemory(tmp_path / "file" / "x.json")) as session:
        session.connect()
        session.reset()
    assert tried[0] > 1
    assert tried[1] == 1


def test_a_port_that_is_lent_has_the_rate_of_the_board_s_start(
    session: BoardSession, machine: VirtualBoard
) -> None:
    session.lend()
    with Device(open_link(machine.url)) as reader:
        reader.connect(1.0)
        assert reader.info().baud == START
    session.take_back()
    session.connect()
    assert rate(session) == BEST


def test_a_port_is_opened_at_the_rate_of_the_start_whatever_the_last_program_left(
    machine: VirtualBoard, memory: RateMemory
) -> None:
    with open_session(S3, board=machine.url, memory=memory) as killed:
        killed.connect()
        killed.device.drop_link()  # no word to the device, as if this process had been killed
    with open_session(S3, board=machine.url, memory=memory) as session:
        session.connect()
        session.reset()
        assert rate(session) == BEST


def test_a_model_that_lint_refuses_is_refused_though_the_board_has_it_already(
    session: BoardSession, file: DeviceFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.put(file, name="mnist")

    def refuse(*_: object, **__: object) -> None:
        raise LintError("a known hazard")

    monkeypatch.setattr(board_session, "preflight", refuse)
    with pytest.raises(LintError):
        session.put(file, name="mnist")
