"""`hil replay FILE`: the host's side against a recorded line, so that a report from somebody's board becomes a test."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "run the host's side against a recording of pytest --hil-record or hil link --record"
EXAMPLES = """
  hil replay line.rec
  hil replay line.rec --console | hil log -
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil replay`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the recording")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--console", action="store_true", help="print the board's console text only")


def run(args: Namespace) -> int:
    """Print what happened; the status is 1 if requests were left unanswered, reads damaged, or the board crashed.

    Raises:
        FormatError: the file is not a recording.
    """
    import json
    from dataclasses import asdict

    from esp_hil.device.recording import read_recording
    from esp_hil.device.replaying import replay

    found = replay(read_recording(args.file))
    if args.console:
        print(found.console, end="")
    elif args.json:
        print(json.dumps(asdict(found) | {"unanswered": found.unanswered}, indent=2))
    else:
        for event in found.events:
            print(f"{event.at:12.6f}  {event.kind:10} {event.words}")
        print(
            f"{found.requests} requests ({found.repeated} sent again): {found.answered} answered,"
            f" {found.refused} refused, {found.unanswered} unanswered; {found.reads} objects read,"
            f" {found.damaged_reads} damaged; {found.sent_bytes} bytes sent, {found.received_bytes} received,"
            f" {found.noise} damaged segments; {found.boots} starts"
            + (f"; crash: {found.crash}" if found.crash else "")
        )
    return int(bool(found.unanswered or found.damaged_reads or found.crash))
