"""The subcommands of `hil`: one module each, found by listing this package.

A command module is named after its command (`exact.py` -> `hil exact`) and has

    HELP: str                                        one line for `hil --help`
    def add_arguments(parser: ArgumentParser)        its options
    def run(args: Namespace) -> int                  the exit status

It imports at its top only the standard library and `esp_hil.errors`; everything heavy (numpy, onnxruntime, pandas,
serial) is imported inside `run`, because `hil --help` must answer at once.
"""

from __future__ import annotations

from argparse import ArgumentParser


def add_skip_damaged(parser: ArgumentParser) -> None:
    """The option of every command that reads rows."""
    parser.add_argument(
        "--skip-damaged",
        action="store_true",
        help="leave out rows that cannot be read (damaged, or of another version), and say which",
    )
