"""Links over real ptys and sockets of this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from esp_hil.device.link import Link
from esp_hil.device.port_trouble import unavailable
from esp_hil.device.ports import _Port, open_link, serial_ports
from esp_hil.errors import BoardUnavailable, ConfigError, LinkClosed, LinkError

posix = pytest.mark.skipif(sys.platform == "win32", reason="ptys are for POSIX")


@pytest.fixture
def pty_pair() -> Iterator[tuple[int, str]]:
    """Our end of a pty and the path of the other one."""
    import pty

    ours, theirs = pty.openpty()
    path = os.ttyname(theirs)
    yield ours, path
    for descriptor in (ours, theirs):
        try:
            os.close(descriptor)
        except OSError:
            # the test closed it
            continue


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        yield listener


def url_of(server: socket.socket) -> str:
    return f"socket://127.0.0.1:{server.getsockname()[1]}"


def soon(link: Link, seconds: float = 5.0) -> float:
    return link.now() + seconds


def read_all(link: Link, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += link.exchange(b"", soon(link))[1]
    return data


@posix
def test_a_pty_carries_every_byte_both_ways_unchanged(pty_pair: tuple[int, str]) -> None:
    ours, path = pty_pair
    every = bytes(range(256))
    link = open_link(path)
    assert link.bytes_per_s is None
    assert link.exchange(every, link.now()) == (256, b"")
    assert os.read(ours, 1000) == every
    os.write(ours, every)
    assert read_all(link, 256) == every
    link.close()


@posix
def test_what_came_before_a_pty_was_opened_is_not_thrown_away(pty_pair: tuple[int, str]) -> None:
    import tty

    ours, path = pty_pair
    tty.setraw(ours)
    os.write(ours, b"boot text")
    link = open_link(path)
    assert read_all(link, 9) == b"boot text"
    link.close()


@posix
def test_a_full_line_blocks_neither_side(pty_pair: tuple[int, str]) -> None:
    # 4 MB each way through a pty that holds a few kB: whoever waits for the other to read would wait for ever
    ours, path = pty_pair
    size = 4_000_000
    blob = os.urandom(1 << 16)

    def peer() -> None:
        left_in, left_out = size, size
        os.set_blocking(ours, False)
        while left_in or left_out:
            try:
                left_in -= len(os.read(ours, 1 << 16)) if left_in else 0
                left_out -= os.write(ours, blob[: min(left_out, len(blob))]) if left_out else 0
            except BlockingIOError:
                try:
                    left_out -= os.write(ours, blob[: min(left_out, len(blob))]) if left_out else 0
                except BlockingIOError:
                    time.sleep(0.0002)

    thread = threading.Thread(target=peer, daemon=True)
    link = open_link(path)
    thread.start()
    sent = received = 0
    while sent < size or received < size:
        count, data = link.exchange(bytes(min(size - sent, 1 << 16)), soon(link, 20))
        assert count or data, "20 s without a byte"
        sent += count
        received += len(data)
    thread.join(10)
    assert not thread.is_alive()
    link.close()


@posix
def test_a_second_opening_of_the_same_port_is_refused_with_who_has_it(pty_pair: tuple[int, str]) -> None:
    _, path = pty_pair
    link = open_link(path)
    with pytest.raises(BoardUnavailable, match="is in use") as caught:
        open_link(path, board="desk")
    assert caught.value.board == "desk"
    link.close()
    open_link(path).close()


@posix
def test_a_port_that_vanishes_is_a_closed_link(pty_pair: tuple[int, str]) -> None:
    ours, path = pty_pair
    link = open_link(path)
    os.close(ours)
    with pytest.raises(LinkClosed, match=f"{path} vanished"):
        link.exchange(b"x", soon(link))
    link.close()
    with pytest.raises(LinkClosed):
        link.exchange(b"", soon(link))


@posix
def test_nothing_to_read_returns_at_the_deadline_with_nothing(pty_pair: tuple[int, str]) -> None:
    link = open_link(pty_pair[1])
    until = soon(link, 0.05)
    assert link.exchange(b"", until) == (0, b"")
    assert link.now() >= until
    link.close()


@posix
def test_a_pty_has_no_reset_lines(pty_pair: tuple[int, str]) -> None:
    link = open_link(pty_pair[1])
    with pytest.raises(LinkError, match="no DTR and RTS"):
        link.reset()
    link.close()


def test_a_socket_carries_a_megabyte_both_ways(server: socket.socket) -> None:
    link = open_link(url_of(server))
    peer, _ = server.accept()
    blob = os.urandom(1_000_000)

    def echo() -> None:
        left = len(blob)
        while left:
            data = peer.recv(1 << 16)
            peer.sendall(data)
            left -= len(data)

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    sent, back = 0, b""
    while len(back) < len(blob):
        count, data = link.exchange(blob[sent : sent + (1 << 16)], soon(link, 20))
        assert count or data, "20 s without a byte"
        sent += count
        back += data
    assert back == blob
    with pytest.raises(LinkError, match="no DTR"):
        link.reset()
    link.close()
    peer.close()


def test_a_socket_that_is_closed_at_the_other_end_is_a_closed_link(server: socket.socket) -> None:
    link = open_link(url_of(server))
    server.accept()[0].close()
    with pytest.raises(LinkClosed):
        link.exchange(b"", soon(link))
    link.close()
    with pytest.raises(LinkClosed):
        link.exchange(b"", soon(link))


def test_a_socket_has_a_rate_only_if_its_url_tells_one(server: socket.socket) -> None:
    with contextlib.closing(open_link(url_of(server))) as link:
        assert link.bytes_per_s is None
    with contextlib.closing(open_link(f"{url_of(server)}?baud=115200")) as link:
        assert link.bytes_per_s == 11_520


def test_a_socket_where_nobody_listens_is_unavailable(server: socket.socket) -> None:
    url = url_of(server)
    server.close()
    with pytest.raises(BoardUnavailable, match="nothing listens") as caught:
        open_link(url)
    assert "start the emulator" in caught.value.hint


def test_a_pyserial_port_without_a_descriptor_works_too() -> None:
    port = serial.serial_for_url("loop://", timeout=_Port.WAIT_S)
    link = _Port("loop://", port, baud=115_200)
    assert link.exchange(b"abc", soon(link)) == (3, b"abc")
    until = soon(link, 0.05)
    assert link.exchange(b"", until) == (0, b"")
    link.reset()
    link.close()
    with pytest.raises(LinkClosed):
        link.exchange(b"x", soon(link))


def test_a_port_that_is_not_there_says_where_to_look() -> None:
    with pytest.raises(BoardUnavailable, match="no port") as caught:
        open_link("/dev/ttyNothing0" if sys.platform != "win32" else "COM250")
    assert "hil boards" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "socket://nowhere",
        "socket://:5",
        "nonsense://x",
        "socket://127.0.0.1:5?baud=fast",
        "socket://127.0.0.1:5?speed=1",
        "socket://127.0.0.1:5?baud",
    ],
)
def test_a_url_that_makes_no_sense_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError, match="rfc2217"):
        open_link(url)


def test_a_baud_rate_that_makes_no_sense_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="-5 baud"):
        open_link("/dev/ttyS0", -5)


@pytest.mark.skipif(sys.platform == "win32", reason="groups are for POSIX")
def test_missing_permission_names_the_group_and_the_command(tmp_path: Path) -> None:
    port = tmp_path / "ttyUSB0"
    port.touch()
    error = unavailable("desk", str(port), PermissionError(13, "Permission denied"), 13)
    assert "no permission" in str(error)
    assert f"usermod -a -G {port.group()} $USER" in error.hint


def test_the_ports_of_this_machine_can_be_listed() -> None:
    ports = serial_ports()
    assert list(ports) == sorted(ports, key=lambda port: port.url)
