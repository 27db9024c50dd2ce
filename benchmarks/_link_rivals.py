"""Three other ways to move inputs and outputs over a UART, written anew from their descriptions, on the same line.

They show what the form of an exchange costs, not what a certain version of another program does: the device answers
at once, the PC's own work takes no time, and neither a byte is lost nor damaged.

- hex runner, as MLPerf Tiny's: text commands, 31 bytes in hex in each, the next one after `m-ready`.
- framed exchange, as Kenning's: messages of up to 136 bytes with 8 of header and an XOR checksum; after the last one
  of an object the receiver acknowledges; then a request to process and one for the output.
- polling, as pytest-embedded's reader: a line of hex is written, a line of hex expected; the reader takes what the
  terminal's buffer of 4,096 bytes holds and then sleeps 50 ms.
"""

from __future__ import annotations

from collections.abc import Callable

from esp_hil.virtual.simline import LineModel, wires
from esp_hil.virtual.simulated import answer

HEX_BYTES = 31
MESSAGE_BYTES = 136
HEADER_BYTES = 8
POLL_S = 0.05
TERMINAL_BYTES = 4096


class _Talk:
    """Request and reply over a line, one after the other.

    Args:
        model: of the line.
        poll_s: the PC reads only so often, and at most `TERMINAL_BYTES`; 0: at once.
    """

    def __init__(self, model: LineModel, poll_s: float = 0.0) -> None:
        self.now = 0.0
        self._poll_s = poll_s
        self._poll_at = poll_s
        self._model = model
        self._down, self._up = wires(model)

    def ask(self, request: bytes, reply: Callable[[bytes], bytes]) -> bytes:
        """Send all of it, have the device reply to what has come, receive all of that."""
        arrived = bytearray()
        wanted = len(request)
        while len(arrived) < wanted:
            room = self._down.room(self.now)
            if request and room:
                self._down.push(request[:room], self.now)
                request = request[room:]
            at_s = self._down.due
            if request:
                at_s = min(at_s, self._down.room_at(self._model.host_buffer_bytes // 4))
            self.now = max(self.now, at_s)
            arrived += self._down.pop(self.now)
        return self._receive(reply(bytes(arrived)))

    def _receive(self, outgoing: bytes) -> bytes:
        received = bytearray()
        wanted = len(outgoing)
        at_s = self.now
        while outgoing:
            room = self._up.room(at_s)
            self._up.push(outgoing[:room], at_s)
            outgoing = outgoing[room:]
            at_s = max(at_s, self._up.room_at(self._model.device_buffer_bytes // 4))
        waiting = bytearray()
        while len(received) < wanted:
            if not self._poll_s:
                self.now = max(self.now, self._up.due)
                received += self._up.pop(self.now)
                continue
            while self._poll_at < self.now:
                self._poll_at += self._poll_s
            self.now = self._poll_at
            self._poll_at += self._poll_s
            waiting += self._up.pop(self.now)
            received += waiting[:TERMINAL_BYTES]
            del waiting[:TERMINAL_BYTES]
        return bytes(received)


def hex_runner_s(model: LineModel, data: bytes, output_bytes: int, inferences: int) -> float:
    """Seconds for so many inferences by text commands."""
    talk = _Talk(model)

    def ready(_: bytes) -> bytes:
        return b"m-ready\r\n"

    for _ in range(inferences):
        talk.ask(f"db load {len(data)}%".encode(), ready)
        sent = bytearray()

        def take(command: bytes, sent: bytearray = sent) -> bytes:
            sent += bytes.fromhex(command[3:-1].decode())
            return b"m-ready\r\n"

        for at in range(0, len(data), HEX_BYTES):
            talk.ask(b"db " + data[at : at + HEX_BYTES].hex().encode() + b"%", take)

        def infer(_: bytes, sent: bytearray = sent) -> bytes:
            values = answer(bytes(sent), output_bytes).hex(",").encode()
            return b"m-results-[" + values + b"]\r\nm-ready\r\n"

        result = talk.ask(b"infer 1 0%", infer)
        assert bytes.fromhex(result[11:].split(b"]")[0].replace(b",", b"").decode()) == answer(
            data, output_bytes
        )
    return talk.now


def _messages(data: bytes) -> bytes:
    """The data as messages: type and flow, checksum, flags, size, payload."""
    out = bytearray()
    step = MESSAGE_BYTES - HEADER_BYTES
    for at in range(0, max(1, len(data)), step):
        payload = data[at : at + step]
        checksum = 0x4B
        for byte in payload:
            checksum ^= byte
        out += bytes([2, checksum, 0, 0]) + len(payload).to_bytes(4, "little") + payload
    return bytes(out)


def _payload(messages: bytes) -> bytes:
    out = bytearray()
    at = 0
    while at < len(messages):
        size = int.from_bytes(messages[at + 4 : at + 8], "little")
        out += messages[at + HEADER_BYTES : at + HEADER_BYTES + size]
        at += HEADER_BYTES + size
    return bytes(out)


def framed_exchange_s(model: LineModel, data: bytes, output_bytes: int, inferences: int) -> float:
    """Seconds for so many inferences by small messages, each object acknowledged."""
    talk = _Talk(model)
    acknowledge = _messages(b"")
    whole = _messages(data)
    for _ in range(inferences):
        kept: list[bytes] = []

        def take(messages: bytes, kept: list[bytes] = kept) -> bytes:
            kept.append(_payload(messages))
            return acknowledge

        talk.ask(whole, take)
        talk.ask(acknowledge, lambda _: acknowledge)

        def give(_: bytes, kept: list[bytes] = kept) -> bytes:
            return _messages(answer(kept[0], output_bytes))

        output = talk.ask(acknowledge, give)
        assert _payload(output) == answer(data, output_bytes)
    return talk.now


def polling_s(model: LineModel, data: bytes, output_bytes: int, inferences: int) -> float:
    """Seconds for so many inferences by lines of hex and a reader that polls."""
    talk = _Talk(model, POLL_S)
    for _ in range(inferences):
        output = talk.ask(
            data.hex().encode() + b"\n",
            lambda line: answer(bytes.fromhex(line.decode()), output_bytes).hex().encode() + b"\r\n",
        )
        assert bytes.fromhex(output.decode()) == answer(data, output_bytes)
    return talk.now


RIVALS: dict[str, Callable[[LineModel, bytes, int, int], float]] = {
    "hex runner (as MLPerf Tiny)": hex_runner_s,
    "framed exchange (as Kenning)": framed_exchange_s,
    "50 ms polling (as pytest-embedded)": polling_s,
}
