"""The command `hil`: finds the subcommands, runs one, prints an error of ours as one line."""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import pkgutil
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from esp_hil import commands
from esp_hil.errors import HilError, did_you_mean
from esp_hil.results.history_url import shown
from esp_hil.settings import VERSION

_FIRST = """start here:
  hil doctor                                       is everything here that is needed?
  hil run mnist --target esp32s3 --board virtual   a first run, without a board
  hil new NAME --onnx FILE                         test a network of your own
  hil COMMAND --help                               what a command takes, with examples
"""


_ASKED = {"--target": "chip", "--recipe": "recipe"} | {
    name: name.lower() for name in ("ACTION", "BENCHMARK", "BOARD", "COMMAND", "FILE", "MODEL", "TASK")
}
"""What an argument that is missing is asked for by: `which chip?`; others are missing by their names."""


class _Parser(argparse.ArgumentParser):
    """What argparse says, in one line, with the word that was probably meant or what to type instead."""

    _typed: Sequence[str] = ()

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's; what was typed is kept for an example of it, and the innermost parser that took it."""
        self._typed = sys.argv[1:] if args is None else tuple(args)
        found, unknown = super().parse_known_args(args, namespace)
        if not hasattr(found, "parser"):
            found.parser = self
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and leave with 2."""
        hint = ""
        if lacking := re.fullmatch(r"the following arguments are required: (.*)", message):
            names = lacking[1].split(", ")
            asked = [f"which {_ASKED[name]}?" if name in _ASKED else f"{name} is missing" for name in names]
            message, hint = " ".join(asked), self._example(names)
        elif wrong := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            hint = did_you_mean(wrong[1], re.findall(r"[^\s,']+", wrong[2]))
        self._end(message, hint)

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Say which arguments nobody asked for."""
        options = re.findall(r"--[a-z][a-z-]*", self.format_help())
        hints = (did_you_mean(word.partition("=")[0], options) for word in unknown)
        self._end(f"unrecognized arguments: {' '.join(unknown)}", next(filter(None, hints), ""))

    def _end(self, message: str, hint: str) -> NoReturn:
        joint = "" if not hint else " " if hint.endswith("?") else "; "
        said = f"{self.prog}: error: {message} ({hint}{joint}see {self.prog} --help)"
        # what was typed may be the URL of a database
        self.exit(2, f"{shown(said)}\n")

    def _example(self, missing: Sequence[str]) -> str:
        """What was typed with what is missing, as an example of the command has it; else that whole example."""
        examples = [line.partition("  ")[0] for line in re.findall(r"^ +(hil .*)", self.epilog or "", re.M)]
        fitting = (line for line in examples if all(name in line for name in missing if name[:2] == "--"))
        first = next(fitting, examples[0] if examples else "")
        if not first or not all(name.startswith("--") for name in missing):
            return first
        typed = itertools.takewhile(lambda word: not word.startswith("-"), self._typed)
        beside = ["--board"] if "--board" in self._option_string_actions else []
        values = [re.search(rf"{name} \S+", first) for name in (*missing, *beside)]
        return " ".join([self.prog, *map(shlex.quote, typed), *(found[0] for found in values if found)])


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
        sub.set_defaults(run=module.run)
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
    if isinstance(error, FileNotFoundError) and error.filename:
        folder = Path(os.fsdecode(error.filename)).parent
        words += "" if folder.is_dir() else f": there is no folder {folder}"
    return f"{error.filename}: {words}" if error.filename else words


if __name__ == "__main__":
    sys.exit(main())
