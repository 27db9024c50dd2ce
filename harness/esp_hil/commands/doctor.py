"""`hil doctor`: what this machine has and lacks."""

from __future__ import annotations

import argparse
import json
import sys
from itertools import chain

from esp_hil.errors import ConfigError

HELP = "check this machine: Python, ESP-IDF, esptool, ports, permissions, boards; says what to do"
EXAMPLES = """
  hil doctor
  hil doctor --link /dev/ttyUSB0       also the line to a board
  hil doctor --runner                  also what a nightly needs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `hil doctor`."""
    parser.add_argument("--link", metavar="PORT", help="also try the line to the device at this port or URL")
    parser.add_argument("--baud", type=int, default=115_200, help="its baud rate (default 115200)")
    parser.add_argument("--runner", action="store_true", help="also check it as a host of boards for a CI")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Check and print; 1 if anything failed."""
    from dataclasses import asdict

    from esp_hil.boards.doctor import examine

    checks = examine(link=args.link, baud=args.baud)
    if args.runner:
        if sys.platform == "win32":
            raise ConfigError("--runner checks hosts with udev and systemd", hint="leave it out on Windows")
        from esp_hil.boards.runner import examine_runner, this_host

        checks = chain(checks, examine_runner(this_host()))
    findings = []
    for finding in checks:
        findings.append(finding)
        if not args.json:
            print(f"{finding.state:4}  {finding.check:12} {finding.said}", flush=True)
            if finding.todo:
                print(f"      {'':12} -> {finding.todo}")
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    return 1 if any(finding.state == "fail" for finding in findings) else 0
