"""`hil runner setup`: writes what makes this machine a host of boards: udev rules, labels, the folder of leases."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "write the files that make this machine a host of boards (docs/runner.md)"
EXAMPLES = """
  hil runner setup --host bench-1
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil runner`."""
    parser.add_argument("what", choices=("setup",), help="write the files; nothing of the system is changed")
    parser.add_argument("--out", type=Path, default=Path("runner"), metavar="DIR", help="default: runner/")
    parser.add_argument("--host", metavar="NAME", help="label of this host (default: its name)")


def run(args: Namespace) -> int:
    """Write them, and say what root does with them.

    Raises:
        ConfigError: boards.toml cannot be read.
    """
    import socket

    from esp_hil.boards.runner import LABELS, RULES, TMPFILES, write_setup
    from esp_hil.boards.select import rows

    host = args.host or socket.gethostname()
    write_setup(args.out, host, rows())
    print(
        f"{args.out / RULES}: sudo cp it to /etc/udev/rules.d; sudo udevadm control --reload; sudo udevadm trigger"
    )
    print(f"{args.out / TMPFILES}: sudo cp it to /etc/tmpfiles.d, then sudo systemd-tmpfiles --create")
    print(
        f"{args.out / LABELS}: ./config.sh --labels {(args.out / LABELS).read_text(encoding='utf-8').strip()}"
    )
    print(
        f'the repository\'s variable HIL_HOSTS lists the hosts: ["{host}"]; hil doctor --runner checks the rest'
    )
    return 0
