"""`hil link BOARD`: what a board's line carries: bytes, errors, retransmissions, the best rate."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esp_hil.device.tuning import LineReport

HELP = "measure a board's line: errors, retransmissions, the best baud rate"
EXAMPLES = """
  hil link virtual --target esp32s3 --baud-model 921600,latency_ms=16
  hil link /dev/ttyUSB0 --target esp32
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil link`."""
    parser.add_argument("board", metavar="BOARD", help="`virtual`, an id of boards.toml, or a port URL")
    parser.add_argument("--target", required=True, help="the chip: esp32, esp32s3, esp32p4 ...")
    parser.add_argument(
        "--max-baud", type=int, default=3_000_000, help="highest rate to try (default: %(default)s)"
    )
    parser.add_argument(
        "--bytes", type=int, default=256_000, help="of the test each way (default: %(default)s)"
    )
    parser.add_argument("--forget", action="store_true", help="try all rates, whatever was found before")
    parser.add_argument(
        "--baud-model", metavar="MODEL", help="of a virtual board's line, as `hil virtual` takes it"
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="keep the line's bytes with their times in a new file"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: Namespace) -> int:
    """Measure and print; the status is 1 if bytes got lost at the rate that was chosen.

    Raises:
        HilError: no such board, or it does not answer.
    """
    import json
    from dataclasses import asdict

    from esp_hil.device.tuning import RateMemory, measure_line
    from esp_hil.errors import ConfigError
    from esp_hil.session.board_session import open_session
    from esp_hil.targets import target

    if args.bytes < 1000 or args.max_baud < 1:
        raise ConfigError("--bytes is at least 1000, --max-baud at least 1")
    if args.baud_model and args.board != "virtual":
        raise ConfigError("--baud-model is for virtual boards", hint="hil link virtual")
    memory = RateMemory()
    with open_session(
        target(args.target),
        board=args.board,
        memory=memory,
        record=args.record,
        line=args.baud_model or "",
    ) as session:
        # at the rate of its start: to find the best one is what is asked for
        session.meet()
        found = measure_line(
            session.device, test_bytes=args.bytes, max_baud=args.max_baud, memory=memory, forget=args.forget
        )
    print(json.dumps(asdict(found), indent=2) if args.json else "\n".join(_lines(args.board, found)))
    return int(not found.final.good)


def _lines(board: str, found: LineReport) -> list[str]:
    lines = [
        f"{board}: {found.start_baud} baud at the start"
        if found.start_baud
        else f"{board}: a line without a rate"
    ]
    for test in found.tuned.tests:
        lost = f"{test.lost_down} down, {test.lost_up} up"
        lines.append(
            f"  {test.baud:>9} baud  {2 * test.frames * test.size_bytes:>9} bytes  lost frames: {lost}"
            f"  {test.bytes_per_s / 1000:9.1f} kB/s"
        )
    lines += [f"  {rate:>9} baud  given up: {why}" for rate, why in found.tuned.given_up]
    final = found.final
    at = f"best rate {found.tuned.baud} baud" if found.tuned.baud else "the line"
    lines += [
        f"{at}: {2 * final.frames * final.size_bytes} bytes of the pattern at {final.bytes_per_s / 1000:.1f} kB/s,"
        f" {final.lost_down + final.lost_up} of {2 * final.frames} frames lost, {final.wrong} wrong,"
        f" {final.noise_down + final.noise_up} damaged segments",
        f"answers after {found.round_trip_s * 1e3:.2f} ms"
        + (f", with a pad of {found.pad} bytes" if found.pad else ""),
        f"{found.sent_bytes} bytes sent, {found.received_bytes} received, {found.repeated_requests} requests repeated,"
        f" {found.retransmitted_bytes} bytes sent again",
    ]
    return lines
