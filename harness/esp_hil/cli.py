"""The command `hil`: finds the subcommands, runs one, prints an error of ours as one line."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from esp_hil import commands
from esp_hil.errors import HilError, did_you_mean
from esp_hil.settings import VERSION

_FIRST = """start here:
  hil doctor                                       is everything here that is needed?
  hil run mnist --target esp32s3 --board virtual   a first run, without a board
  hil new NAME --onnx FILE                         test a network of your own
  hil COMMAND --help                               what a command takes, with examples
"""


class _Parser(argparse.ArgumentParser):
    """What argparse says, with the word that was probably meant."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and leave with 2."""
        if wrong := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            hint = did_you_mean(wrong[1], re.findall(r"[^\s,']+", wrong[2]))
            message += f"; {hint}" if hint else ""
        super().error(message)

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Say which arguments nobody asked for."""
        options = re.findall(r"--[a-z][a-z-]*", self.format_help())
        hints = (did_you_mean(word.partition("=")[0], options) for word in unknown)
        hint = next(filter(None, hints), "")
        super().error(f"unrecognized arguments: {' '.join(unknown)}" + (f"; {hint}" if hint else ""))


def build_parser() -> _Parser:
    """The parser with one subparser for each module of `esp_hil.commands`."""
    parser = _Parser(
        prog="hil",
        description="Test and benchmark neural networks on ESP32 chips.",
        epilog=_FIRST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"esp-hil {VERSION}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for info in pkgutil.iter_modules(commands.__path__):
        module = importlib.import_module(f"{commands.__name__}.{info.name}")
        sub = subparsers.add_parser(
            info.name,
            help=module.HELP,
            description=module.HELP,
            epilog=f"examples:{module.EXAMPLES}" if hasattr(module, "EXAMPLES") else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run, parser=sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `hil`.

    Returns:
        0 done; 1 the command ran and its answer is no; 2 it could not run; 130 interrupted; 141 as a program
        whose output nobody reads any more.
    """
    args, unknown = build_parser().parse_known_args(argv)
    if unknown:
        args.parser.refuse(unknown)
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
