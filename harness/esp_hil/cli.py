"""The command `hil`: finds the subcommands, runs one, prints an error of ours as one line."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence

from esp_hil import commands
from esp_hil.errors import HilError
from esp_hil.settings import VERSION


def build_parser() -> argparse.ArgumentParser:
    """The parser with one subparser for each module of `esp_hil.commands`."""
    parser = argparse.ArgumentParser(
        prog="hil", description="Test and benchmark neural networks on ESP32 chips."
    )
    parser.add_argument("--version", action="version", version=f"esp-hil {VERSION}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for info in pkgutil.iter_modules(commands.__path__):
        module = importlib.import_module(f"{commands.__name__}.{info.name}")
        sub = subparsers.add_parser(info.name, help=module.HELP, description=module.HELP)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `hil`.

    Returns:
        0 done; 1 the command ran and its answer is no; 2 it could not run; 130 interrupted; 141 as a program
        whose output nobody reads any more.
    """
    args = build_parser().parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except HilError as error:
        print(f"hil {args.command}: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # whoever read our output has seen enough (`hil ... | head`); Python would complain again at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # standard output on a full disk, or a file whose owner forgot to say what it was for
        print(f"hil {args.command}: error: {_of_the_system(error)}", file=sys.stderr)
        if error.filename is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt:
        print(f"hil {args.command}: interrupted", file=sys.stderr)
        return 130
    return status


def _of_the_system(error: OSError) -> str:
    words = error.strerror or str(error)
    return f"{error.filename}: {words}" if error.filename else words


if __name__ == "__main__":
    sys.exit(main())
