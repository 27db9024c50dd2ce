"""The subcommands of `hil`: one module each, found by listing this package.

A command module is named after its command (`exact.py` -> `hil exact`) and has

    HELP: str                                        one line for `hil --help`
    EXAMPLES: str                                    what one types, for its own --help; each has to parse
    def add_arguments(parser: ArgumentParser)        its options
    def run(args: Namespace) -> int                  the exit status

It imports at its top only the standard library and `esp_hil.errors`; everything heavy (numpy, onnxruntime, pandas,
serial) is imported inside `run`, because `hil --help` must answer at once.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def require(args: Namespace, **given: object) -> None:
    """End as argparse does where an argument is missing that only some ways of a command need.

    Args:
        args: with the command's parser.
        given: name, of an option or in capitals of an argument, and its value; None: missing.
    """
    missing = [name if name.isupper() else f"--{name}" for name, value in given.items() if value is None]
    if missing:
        args.parser.error(f"the following arguments are required: {', '.join(missing)}")


def add_skip_damaged(parser: ArgumentParser) -> None:
    """The option of every command that reads rows."""
    parser.add_argument(
        "--skip-damaged",
        action="store_true",
        help="leave out rows that cannot be read (damaged, or of another version), and say which",
    )


def add_model(parser: ArgumentParser, *, optional: bool = False) -> None:
    """MODEL and --recipe, as `esp_hil.session.named_model.find` takes them; --target is the command's own."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?" if optional else None,
        help="a model of golden/, a file, or a task's network (hil task list)",
    )
    parser.add_argument(
        "--recipe", help="which device file of a model (default: its first, for --target if that is given)"
    )
