"""Serial ports behind a network: the bytes of Telnet and RFC 2217, and the real servers on loopback."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.boards.select import select
from esp_hil.device.device import Device
from esp_hil.device.link import Link
from esp_hil.device.ports import open_link
from esp_hil.device.rfc2217 import COM_PORT, SET_BAUD, Telnet
from esp_hil.device.tuning import RateMemory, measure_line
from esp_hil.errors import BoardInUse, BoardUnavailable, ConfigError, LinkClosed, LinkError
from esp_hil.esp.esptool_program import Flasher
from esp_hil.session.board_session import open_session
from esp_hil.targets import target
from esp_hil.virtual.board import VirtualBoard
from tests.device.network import esp_rfc2217_server, needs_ser2net, ser2net

termios = pytest.importorskip("termios", reason="ptys are for POSIX")

S3 = target("esp32s3")
EVERY = bytes(range(256)) + b"\r\n\r\0\xff\xff\xf0\xff\xfa"

# the bytes, without a network


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(places):
        yield data[start:end]


@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=8), st.integers(0, 2**32 - 1))
def test_bytes_and_settings_survive_any_splitting(data: bytes, cuts: list[int], rate: int) -> None:
    sender, receiver = Telnet(), Telnet()
    sender.write(data)
    sender.ask(SET_BAUD + 100, rate.to_bytes(4, "big"))
    sender.write(data)
    received = b"".join(receiver.receive(piece) for piece in pieces(bytes(sender.outgoing), cuts))
    assert received == data + data
    assert receiver.answers == {SET_BAUD: rate.to_bytes(4, "big")}


def test_options_that_were_not_asked_for_are_refused_once() -> None:
    telnet = Telnet()
    for _ in range(2):
        assert telnet.receive(bytes.fromhex("fffb01 fffd18")) == b""
    assert telnet.outgoing == bytes.fromhex("fffe01 fffc18")


def test_a_server_that_suspends_gets_no_bytes_until_it_resumes() -> None:
    telnet = Telnet()
    telnet.receive(bytes((0xFF, 0xFA, COM_PORT, 108, 0xFF, 0xF0)))
    assert telnet.suspended
    telnet.receive(bytes((0xFF, 0xFA, COM_PORT, 109, 0xFF, 0xF0)))
    assert not telnet.suspended


# what is not such a server


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


def url_of(server: socket.socket) -> str:
    return f"rfc2217://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_without_rfc_2217_is_named_as_that(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esp_hil.device.rfc2217.ANSWER_S", 0.1)
    with pytest.raises(BoardUnavailable, match="does not speak RFC 2217") as caught:
        open_link(url_of(listener), board="rack")
    assert caught.value.board == "rack"
    assert "socket://" in caught.value.hint


def test_a_server_that_says_why_and_hangs_up_is_quoted(listener: socket.socket) -> None:
    def refuse() -> None:
        peer, _ = listener.accept()
        peer.sendall(b"Device open failure: No such file or directory\r\n")
        peer.shutdown(socket.SHUT_WR)
        peer.recv(1000)
        peer.close()

    thread = threading.Thread(target=refuse, daemon=True)
    thread.start()
    with pytest.raises(BoardUnavailable, match="closed the connection: Device open failure: No such file"):
        open_link(url_of(listener))
    thread.join(5)


@pytest.mark.parametrize("url", ["rfc2217://nowhere", "rfc2217://:7", "rfc2217://127.0.0.1:7?speed=1"])
def test_a_url_of_a_network_port_that_makes_no_sense_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError):
        open_link(url)


# real servers before a pty


@pytest.fixture
def pty_pair() -> Iterator[tuple[int, int]]:
    """Both ends; a server opens the second one."""
    import pty
    import tty

    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def read_from(link: Link, count: int) -> bytes:
    data, until = b"", link.now() + 10
    while len(data) < count and link.now() < until:
        data += link.exchange(b"", until)[1]
    return data


def read_pty(descriptor: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += os.read(descriptor, count - len(data))
    return data


@needs_ser2net
def test_every_byte_passes_ser2net_unchanged_both_ways(pty_pair: tuple[int, int], tmp_path: Path) -> None:
    ours, theirs = pty_pair
    with (
        ser2net(os.ttyname(theirs), tmp_path) as url,
        contextlib.closing(open_link(url)) as link,
    ):
        assert link.baud == 115_200
        assert link.exchange(EVERY, link.now() + 5)[0] == len(EVERY)
        link.exchange(b"", link.now() + 0.05)
        assert read_pty(ours, len(EVERY)) == EVERY
        os.write(ours, EVERY)
        assert read_from(link, len(EVERY)) == EVERY


@needs_ser2net
def test_a_rate_set_over_the_network_is_that_of_the_port(pty_pair: tuple[int, int], tmp_path: Path) -> None:
    _, theirs = pty_pair
    with ser2net(os.ttyname(theirs), tmp_path) as url, contextlib.closing(open_link(url)) as link:
        for rate, speed in ((921_600, termios.B921600), (115_200, termios.B115200)):
            link.set_baud(rate)
            assert (link.baud, link.bytes_per_s) == (rate, rate / 10)
            assert termios.tcgetattr(theirs)[5] == speed


@needs_ser2net
def test_a_port_without_reset_lines_says_so_over_the_network(
    pty_pair: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esp_hil.device.rfc2217.ANSWER_S", 0.2)
    with (
        ser2net(os.ttyname(pty_pair[1]), tmp_path) as url,
        contextlib.closing(open_link(url)) as link,
        pytest.raises(LinkError, match="no DTR and RTS"),
    ):
        link.reset()


@needs_ser2net
def test_a_second_host_is_told_that_the_port_is_in_use(
    pty_pair: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esp_hil.device.rfc2217.RELEASE_S", 0.2)
    with ser2net(os.ttyname(pty_pair[1]), tmp_path) as url, contextlib.closing(open_link(url)):
        with pytest.raises(BoardInUse, match="is in use") as caught:
            open_link(url, board="rack")
        assert caught.value.board == "rack"


@needs_ser2net
def test_a_port_that_its_last_host_is_only_now_giving_back_is_waited_for(
    pty_pair: tuple[int, int], tmp_path: Path
) -> None:
    with ser2net(os.ttyname(pty_pair[1]), tmp_path) as url:
        before = open_link(url)
        leaves = threading.Timer(0.5, before.close)
        leaves.start()
        open_link(url).close()
        leaves.join()


@needs_ser2net
def test_a_server_that_ends_is_a_closed_link(pty_pair: tuple[int, int], tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(ser2net(os.ttyname(pty_pair[1]), tmp_path))
        link = open_link(url)
        stack.close()
        with pytest.raises(LinkClosed):
            link.exchange(b"", link.now() + 5)
        link.close()
    with pytest.raises(BoardUnavailable, match="nothing listens"):
        open_link(url)


IN_USE = b"Port already in use\r\n"


@contextlib.contextmanager
def busy_server(listener: socket.socket, turned_away: int) -> Iterator[list[bytes]]:
    """A raw server of a port that turns some hosts away and then says what it was told; gives what it heard."""
    heard: list[bytes] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            for _ in range(turned_away):
                peer, _ = listener.accept()
                peer.sendall(IN_USE)
                peer.close()
            peer, _ = listener.accept()
            while data := peer.recv(1000):
                heard.append(data)
                peer.sendall(data)
            peer.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield heard
    listener.close()
    thread.join(5)


def raw(server: socket.socket) -> str:
    return f"socket://127.0.0.1:{server.getsockname()[1]}"


def test_a_raw_port_that_is_given_back_late_is_waited_for(listener: socket.socket) -> None:
    with busy_server(listener, turned_away=3) as heard, contextlib.closing(open_link(raw(listener))) as link:
        until, answer = link.now() + 30, b""
        while EVERY not in answer and link.now() < until:
            # what is said to a server that turns us away is lost, as on any line: a hello is said again
            answer += link.exchange(EVERY, link.now() + 0.2)[1]
        assert EVERY in answer
        assert heard


def test_a_raw_port_that_somebody_keeps_is_in_use(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esp_hil.device.streams.RELEASE_S", 0.3)
    with (
        busy_server(listener, turned_away=1000),
        contextlib.closing(open_link(raw(listener))) as link,
        pytest.raises(BoardInUse, match="is in use: Port already in use"),
    ):
        listen(link)


def listen(link: Link) -> None:
    until = link.now() + 30
    while link.now() < until:
        link.exchange(b"", until)


def test_a_raw_port_that_hangs_up_without_a_word_is_closed_at_once(listener: socket.socket) -> None:
    with contextlib.closing(open_link(raw(listener))) as link:
        peer, _ = listener.accept()
        peer.sendall(b"ESP-ROM: nothing of use")
        peer.close()
        with pytest.raises(LinkClosed, match="closed the connection"):
            listen(link)


def test_a_raw_port_that_is_in_use_and_then_gone_is_a_closed_link() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.closing(open_link(raw(server))) as link:
        peer, _ = server.accept()
        peer.sendall(b"Port already in use\r\n")
        peer.close()
        server.close()
        with pytest.raises(LinkClosed):
            listen(link)


@needs_ser2net
def test_a_raw_port_of_ser2net_is_had_right_after_the_host_before(
    pty_pair: tuple[int, int], tmp_path: Path
) -> None:
    ours, theirs = pty_pair
    with ser2net(os.ttyname(theirs), tmp_path, telnet=False) as url:
        for _ in range(10):
            link = open_link(url)
            received, until = b"", link.now() + 20
            while b"here" not in received and link.now() < until:
                os.write(ours, b"here")  # what comes while nobody has the port is lost
                received += link.exchange(b"", link.now() + 0.2)[1]
            link.close()
            assert b"here" in received


@contextlib.contextmanager
def serial_server(listener: socket.socket, most_baud: int = 921_600) -> Iterator[list[int]]:
    """A server of a port with reset lines, of which a pty has none; gives what it was told of them."""
    told: list[int] = []

    def serve() -> None:
        peer, _ = listener.accept()
        telnet = Telnet()
        peer.sendall(bytes.fromhex("fffd2c fffd00 fffb00"))
        with contextlib.suppress(OSError):
            while data := peer.recv(1000):
                for part in data.split(bytes.fromhex("fffa2c"))[1:]:
                    command, value = part[0], part[1 : part.index(b"\xff\xf0")]
                    told.extend([value[0]] if command == 5 else [])
                    if command == SET_BAUD:
                        value = min(most_baud, int.from_bytes(value, "big")).to_bytes(4, "big")
                    telnet.ask(command + 100, value)
                peer.sendall(telnet.outgoing)
                telnet.outgoing.clear()
        peer.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield told
    thread.join(5)
    assert not thread.is_alive()


def test_reset_lines_are_pulsed_in_the_order_of_the_two_transistors(listener: socket.socket) -> None:
    with serial_server(listener) as told, contextlib.closing(open_link(url_of(listener))) as link:
        link.reset()
        link.reset(to_loader=True)
    dtr_on, dtr_off, rts_on, rts_off = 8, 9, 11, 12
    opened = [1, rts_off, dtr_off]
    assert told == [*opened, dtr_off, rts_on, rts_off, dtr_off, rts_on, dtr_on, rts_off, dtr_off]


def test_a_rate_that_the_server_does_not_keep_is_refused(listener: socket.socket) -> None:
    with (
        serial_server(listener, most_baud=460_800),
        contextlib.closing(open_link(url_of(listener))) as link,
    ):
        with pytest.raises(LinkError, match="cannot do 921600 baud: its server keeps 460800"):
            link.set_baud(921_600)
        assert link.baud == 115_200


# real servers before a board


@needs_ser2net
@pytest.mark.parametrize("way", ["rfc2217", "socket"])
def test_a_board_behind_ser2net_is_measured_at_the_best_rate_of_its_line(way: str, tmp_path: Path) -> None:
    with (
        VirtualBoard(S3, line="115200,limit=1000000") as board,
        ser2net(board.url, tmp_path, telnet=way == "rfc2217") as url,
        Device(open_link(url)) as device,
    ):
        device.connect(5)
        found = measure_line(device, test_bytes=20_000, max_baud=3_000_000)
        best = 921_600 if way == "rfc2217" else 0
        assert found.tuned.baud == best
        assert found.final.good
        assert device.conversation.link.baud == (115_200 if best else None)


@needs_ser2net
def test_a_session_over_the_network_comes_back_after_the_device_restarts(tmp_path: Path) -> None:
    with (
        VirtualBoard(S3, line="115200,limit=1000000") as board,
        ser2net(board.url, tmp_path) as url,
        open_session(S3, board=url, memory=RateMemory(tmp_path / "baud.json")) as session,
    ):
        session.connect()
        session.reset()
        session.device.ping(b"both ends have it")
        assert session.device.conversation.link.baud == 921_600


def test_esptools_own_server_is_spoken_to(tmp_path: Path) -> None:
    # a pty has no lines to set, at which this server dies; behind a socket it forgives that
    with (
        VirtualBoard(S3, listen="tcp") as board,
        esp_rfc2217_server(board.url, tmp_path) as url,
        Device(open_link(url)) as device,
    ):
        device.connect(10)
        device.ping(EVERY[:200])
        assert device.info().chip == "esp32s3"


@needs_ser2net
def test_esptool_opens_the_same_url(tmp_path: Path) -> None:
    with VirtualBoard(S3) as board, ser2net(board.url, tmp_path) as url:
        flasher = Flasher.at(f"{url}?ign_set_control")
        assert flasher.port == select(S3, board=f"{url}?ign_set_control").url
        done = subprocess.run(
            [*flasher.program, "--port", flasher.port, "--connect-attempts", "1", "chip-id"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    # no ROM answers there; but it had the port
    assert "Serial port rfc2217://" in done.stdout
    assert "Failed to connect to Espressif device" in done.stdout + done.stderr


@needs_ser2net
def test_the_mnist_suite_passes_over_rfc_2217(tmp_path: Path) -> None:
    began_s = time.monotonic()
    with (
        VirtualBoard(target("esp32s3"), line="115200,limit=1000000") as board,
        ser2net(board.url, tmp_path) as url,
    ):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "suites", "-q", "-p", "no:cacheprovider"),
                *("--target", "esp32s3", "--hil-board", url, "--skip-autoflash", "y"),
                *("--hil-model", "mnist", "--hil-recipe", "w8a8", "--hil-inputs", "4", "--hil-runs", "3"),
                *("--hil-results", str(tmp_path / "out")),
            ],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr} after {time.monotonic() - began_s:.0f} s"
