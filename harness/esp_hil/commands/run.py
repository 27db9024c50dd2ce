"""`hil run`: the suites by pytest, with short names of our options."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from esp_hil.errors import ConfigError

HELP = "run the suites on boards: starts pytest with the options that have `--hil-` in front there"
EXAMPLES = """
  hil run --target esp32s3 --board virtual                 every model, no board needed
  hil run mnist --target esp32p4                           the board that is plugged in
  hil run gesture --target esp32s3 --recipe w8a8,mixed --baseline reports/baseline.jsonl
"""
_PYTEST_EMBEDDED = ("port", "baud", "build-dir", "app-path", "skip-autoflash")


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil run`: pytest-embedded's, and one for each row of the plugin's."""
    from esp_hil.session.option_rows import ROWS

    parser.add_argument("models", nargs="*", metavar="MODEL", help="models of golden/ (default: all)")
    parser.add_argument("--target", required=True, metavar="CHIP", help="chips, comma-separated")
    for name in _PYTEST_EMBEDDED:
        parser.add_argument(f"--{name}", help="as pytest-embedded's")
    for row in ROWS.values():
        help_ = row.help.replace("%", "%%")
        if row.kind == "switch":
            parser.add_argument(f"--{row.name}", dest=row.key, action="store_true", help=help_)
        elif row.name != "model":
            parser.add_argument(f"--{row.name}", dest=row.key, metavar=row.metavar, help=help_)
    parser.add_argument("-n", dest="workers", metavar="N", help="processes (pytest-xdist)")
    parser.add_argument("--pytest", default="", metavar="ARGS", help="more for pytest, e.g. --pytest='-x -q'")


def run(args: Namespace) -> int:
    """Start pytest in the current folder.

    Returns:
        0 all passed; 1 a test failed; 10 and 11 as pytest's, see docs/outcomes.md; 2 it could not run.

    Raises:
        KeyboardInterrupt: Ctrl-C, after pytest has written its reports.
    """
    import subprocess
    import sys

    from esp_hil.session.publishing import NOT_COMPARED, UNPUBLISHED

    pytest = subprocess.Popen([sys.executable, "-m", "pytest", *_arguments(args)])
    interrupted = False
    while True:
        try:
            status = pytest.wait()
            break
        except KeyboardInterrupt:
            # a terminal interrupts both; pytest stops its boards and writes what there is. Asked again, it ends at once
            if interrupted:
                pytest.terminate()
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return status if status in {0, 1, UNPUBLISHED, NOT_COMPARED} else 2


def _arguments(args: Namespace) -> list[str]:
    """What pytest is started with."""
    import shlex

    from esp_hil.session.option_rows import ROWS

    words = ["--hil-suites", "--target", args.target]
    if args.models:
        words += ["--hil-model", ",".join(args.models)]
    for name in _PYTEST_EMBEDDED:
        if (value := getattr(args, name.replace("-", "_"))) is not None:
            words.append(f"--{name}={value}")
    for row in ROWS.values():
        value = getattr(args, row.key, None)
        if row.kind == "switch":
            words += [row.option] if value and row.name != "suites" else []
        elif value is not None:
            # one word: pytest takes a value that exists as a path for a folder of tests
            words.append(f"{row.option}={value}")
    if args.workers:
        words += ["-n", args.workers]
    try:
        return words + shlex.split(args.pytest)
    except ValueError as error:
        raise ConfigError(f"--pytest {args.pytest}: {error}", hint="close the quotation mark") from None
