"""The options of a run; each of ours is registered, documented and read from one row.

An option `board` is `--hil-board` on pytest's command line, the key `hil_board` of its configuration file, and the
variable `HIL_BOARD`. What is given on the command line counts first, then the variable, then the file, then the
default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from esp_hil.errors import ConfigError, did_you_mean
from esp_hil.settings import in_ci

T = TypeVar("T")
Kind = Literal["text", "list", "path", "place", "count", "number", "duration", "switch"]
"""`place` is a path, a URL, or a plan in JSON; `list` is comma-separated and may be given several times;
`duration` is seconds, or 90s, 30m, 2h."""

WAIT_IN_CI_S = 1800.0
"""For a board: a nightly that finds another one at work is to be late, not red."""

_SAID = {"1": True, "yes": True, "y": True, "true": True, "on": True}
_SAID |= {"0": False, "no": False, "n": False, "false": False, "off": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionRow:
    """An option.

    Attributes:
        name: without the prefix, with hyphens.
        help: one line.
        kind: how its text is read.
        metavar: what stands for its value in a help text.
        least: the smallest number that is allowed; None: any.
        variable: the environment variable.
    """

    name: str
    help: str
    kind: Kind
    metavar: str
    least: float | None
    variable: str

    @property
    def option(self) -> str:
        """On pytest's command line."""
        return f"--hil-{self.name}"

    @property
    def key(self) -> str:
        """In pytest's configuration file; also the name by which pytest keeps what was given."""
        return f"hil_{self.name.replace('-', '_')}"


def option(
    default: T,
    name: str,
    help: str,
    *,
    kind: Kind = "text",
    metavar: str = "",
    least: float | None = None,
    variable: str = "",
) -> T:
    """A field of a dataclass that is an option; the arguments are those of `OptionRow`."""
    row = OptionRow(
        name=name,
        help=help,
        kind=kind,
        metavar=metavar,
        least=least,
        variable=variable or f"HIL_{name.replace('-', '_').upper()}",
    )
    return field(default=default, metadata={"row": row})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where options are given, first the one that counts first.

    Attributes:
        command_line: texts by key, as pytest keeps them; an option that was not given is missing or None.
        environ: the environment.
        file: texts by key, from the configuration file; "" or missing: not given.
        folder: of the configuration file: places in it are relative to it.
    """

    command_line: Mapping[str, str | Sequence[str] | None]
    environ: Mapping[str, str]
    file: Mapping[str, str]
    folder: Path


def read(row: OptionRow, sources: Sources) -> object:
    """The value of an option; None if it was not given anywhere.

    Raises:
        ConfigError: a text is not one of the row's kind.
    """
    typed = sources.command_line.get(row.key)
    if typed:
        return _value(row, typed, row.option)
    if found := sources.environ.get(row.variable, ""):
        return _value(row, found, row.variable)
    if found := sources.file.get(row.key, ""):
        return _value(row, _from(sources.folder, found) if row.kind in {"path", "place"} else found, row.key)
    return None


def _from(folder: Path, place: str) -> str:
    """A place of the configuration file is relative to it; URLs and plans stay as they are."""
    return place if "://" in place or place.startswith("{") else str(folder / place)


def _value(row: OptionRow, given: str | Sequence[str], said: str) -> object:
    if row.kind == "list":
        return words(given)
    text = given if isinstance(given, str) else given[-1]
    if row.kind == "path":
        return Path(text)
    if row.kind == "switch":
        if text.lower() not in _SAID:
            raise ConfigError(f"{said} {text}: neither yes nor no")
        return _SAID[text.lower()]
    if row.kind in {"count", "number"}:
        return _number(row, text, said)
    if row.kind == "duration":
        return _seconds(text, said)
    return text


def _number(row: OptionRow, text: str, said: str) -> float:
    try:
        value = int(text) if row.kind == "count" else float(text)
    except ValueError:
        kind = "whole number" if row.kind == "count" else "number"
        raise ConfigError(f"{said} {text}: not a {kind}") from None
    if row.least is not None and not value >= row.least:
        raise ConfigError(f"{said} {text}: must be at least {row.least:g}")
    return value


def _seconds(text: str, said: str) -> float:
    """Of 90, 90s, 30m or 2h."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([smh]?)", text.strip().lower())
    if found is None:
        raise ConfigError(f"{said} {text}: not a time", hint="seconds, or 90s, 30m, 2h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def words(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """The words of a comma-separated option that may be given several times, without repetition."""
    if given is None:
        return ()
    texts = [given] if isinstance(given, str) else given
    return tuple(dict.fromkeys(word.strip() for text in texts for word in text.split(",") if word.strip()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a run of the suites.

    A field made by `option` is an option of ours: a new one is one more field. The others are pytest-embedded's.

    Attributes:
        targets: names of chips, in the order given (`--target esp32s3,esp32p4`).
        port: pytest-embedded's `--port`, or None.
        baud: pytest-embedded's `--baud`, or None: the board's own.
        build_dir: pytest-embedded's `--build-dir`: a prebuilt image.
        app_path: pytest-embedded's `--app-path`.
        skip_flash: pytest-embedded's `--skip-autoflash`: boards have their firmware.
        emulator_args: further options of an emulator, one string as on a command line.
    """

    targets: tuple[str, ...]
    port: str | None = None
    baud: int | None = None
    build_dir: str | None = None
    app_path: str | None = None
    skip_flash: bool = False
    emulator_args: str | None = None
    board: str | None = option(
        None,
        "board",
        "id of boards.toml, port, URL, `virtual`, `qemu` or `esp-emu` (also qemu:/path/of/program), "
        "`labgrid:PLACE` or `labgrid:TAG=VALUE,...`; several, comma-separated, or `any`: a row of each board; "
        "default: the attached board of the target",
        metavar="BOARD",
    )
    wait: float | None = option(
        None,
        "wait",
        "how long to wait for a board that somebody else has: 30m, 2h (default: 30m in CI, else 0)",
        kind="duration",
        metavar="TIME",
    )
    models: tuple[str, ...] = option(
        (), "model", "models, comma-separated; default: all of golden/", kind="list", metavar="NAMES"
    )
    recipes: tuple[str, ...] = option(
        (), "recipe", "quantization recipes; default: all of the model", kind="list", metavar="NAMES"
    )
    runtimes: tuple[str, ...] = option(
        (), "runtime", "espdl, tflm; default: all that the models have", kind="list", metavar="NAMES"
    )
    runs: int = option(
        30, "runs", "timed repetitions of an inference (default 30)", kind="count", metavar="N", least=1
    )
    warmup: int = option(
        3, "warmup", "runs before the timed ones (default 3)", kind="count", metavar="N", least=0
    )
    inputs: int | None = option(
        None, "inputs", "golden inputs to send; default: all", kind="count", metavar="N", least=1
    )
    data: Path | None = option(
        None,
        "data",
        "send the test images of the models' data sets, found in PATH, instead of the golden inputs",
        kind="path",
        metavar="PATH",
        # HIL_DATA only tells where data sets lie, for `hil golden build`: it must not change what a run sends
        variable="HIL_TEST_DATA",
    )
    cores: int = option(
        1, "cores", "cores that an inference may use (default 1)", kind="count", metavar="N", least=1
    )
    results: Path = option(
        Path("reports/out"),
        "results",
        "folder for rows and reports (default reports/out/<time>)",
        kind="path",
        metavar="DIR",
    )
    baseline: str | None = option(
        None,
        "baseline",
        "rows to compare with: folder, .jsonl file, or a history",
        kind="place",
        metavar="ROWS",
    )
    across: tuple[str, ...] = option(
        (),
        "across",
        "conditions that may differ from the baseline's, comma-separated",
        kind="list",
        metavar="NAMES",
    )
    thresholds: tuple[str, ...] = option(
        (), "threshold", "another allowance of a gate: NAME=5% or NAME=200", kind="list", metavar="NAME=SIZE"
    )
    gate_simulated: bool = option(False, "gate-simulated", "gate simulated latency as well", kind="switch")
    history: str | None = option(
        None, "history", "URL or SQLite file that all rows go into at the end", kind="place", metavar="URL"
    )
    build_profile: tuple[str, ...] = option(
        (),
        "build-profile",
        "fragments of firmware/profiles to build with; default: what suits the board",
        kind="list",
        metavar="NAMES",
    )
    skip_lint: bool = option(False, "skip-lint", "also run models that `hil lint` refuses", kind="switch")
    no_resident: bool = option(
        False, "no-resident", "send golden inputs that the device could keep", kind="switch"
    )
    record: Path | None = option(
        None, "record", "keep the bytes of each board's line with their times", kind="path", metavar="FILE"
    )
    meter: str | None = option(
        None,
        "meter",
        "what measures the board's current: ppk2:SERIAL, joulescope, ina226:1:0x40:0.1, program:COMMAND, simulated, or "
        "none; default: that of the board's row in boards.toml (docs/energy.md)",
        metavar="METER",
    )
    gate_gpio: int | None = option(
        None,
        "gate-gpio",
        "GPIO that is wired to the meter's gate input; default: that of the board's row",
        kind="count",
        metavar="N",
        least=0,
    )
    supply: float | None = option(
        None,
        "supply",
        "voltage at the board, where the meter supplies it or does not measure it; default: that of the board's row",
        kind="number",
        metavar="V",
        least=0,
    )
    energy_windows: int = option(
        10, "energy-windows", "windows of energy in a run (default 10)", kind="count", metavar="N", least=1
    )
    energy_window: float = option(
        1.0,
        "energy-window",
        "seconds of such a window (default 1)",
        kind="number",
        metavar="S",
        least=1,
    )
    virtual_faults: str | None = option(
        None,
        "virtual-faults",
        "plan of what is wrong with virtual boards (.toml or .json)",
        kind="place",
        metavar="PLAN",
    )
    suites: bool = option(
        False,
        "suites",
        "collect the suites of esp-hil also where no golden/ lies; they are added to what is named",
        kind="switch",
    )
    zoo: Path | None = option(None, "zoo", "folder with ESP-DL's own models", kind="path", metavar="DIR")
    mlperf_tiny: Path | None = option(
        None, "mlperf-tiny", "folder with MLPerf Tiny's .tflite models", kind="path", metavar="DIR"
    )
    mlperf_window: float | None = option(
        None,
        "mlperf-window",
        "seconds of a window (default: the rules' 10; virtual 0.2)",
        kind="number",
        metavar="S",
    )
    micropython_image: Path | None = option(
        None, "micropython-image", "prebuilt MicroPython image to flash first", kind="path", metavar="FILE"
    )
    micropython_binding: str = option(
        "",
        "micropython-binding",
        "whose faults and ESP-DL a MicroPython board is judged by: 102d875, 6012426 or ours (default: what it says)",
        kind="text",
        metavar="COMMIT",
    )
    micropython_usb: bool = option(
        False, "micropython-usb", "a virtual MicroPython board at its chip's own USB port", kind="switch"
    )
    micropython_quirks: tuple[str, ...] = option(
        (),
        "micropython-quirks",
        "what is wrong with a virtual MicroPython board",
        kind="list",
        metavar="NAMES",
    )

    @property
    def boards(self) -> tuple[str, ...]:
        """The boards that were named; () if none was: the attached board of each target."""
        from esp_hil.boards.labgrid import board_words

        return board_words(self.board or "")

    @property
    def wait_s(self) -> float:
        """How long to wait for a board that somebody else has."""
        if self.wait is not None:
            return self.wait
        return WAIT_IN_CI_S if in_ci() else 0.0

    @property
    def lint(self) -> bool:
        """Whether a model with a known hazard is refused."""
        return not self.skip_lint

    @property
    def resident(self) -> bool:
        """Whether golden inputs stay on devices that keep them, so that they are sent once."""
        return not self.no_resident


ROWS: dict[str, OptionRow] = {
    place.name: place.metadata["row"] for place in fields(Options) if "row" in place.metadata
}
"""Our options by field."""


def given(sources: Sources) -> dict[str, Any]:
    """Fields of `Options` that were given, wherever.

    Raises:
        ConfigError: a value is not what the option takes.
    """
    found = {name: read(row, sources) for name, row in ROWS.items()}
    return {name: value for name, value in found.items() if value is not None}


def meant(unknown: Iterable[str], rows: Iterable[OptionRow]) -> str | None:
    """The message about words of a command line that nobody knows, if they look like ours; else None.

    Args:
        unknown: such as `--board` or `--hil-bord=virtual`.
        rows: the options that there are.
    """
    by_name = {row.name: row for row in rows}
    for word in unknown:
        flag = word.partition("=")[0]
        if (row := by_name.get(flag.removeprefix("--"))) is not None:
            return f"unrecognized arguments: {flag} (esp-hil's option is {row.option})"
        if flag.startswith("--hil-"):
            near = did_you_mean(flag, (row.option for row in rows))
            hint = near or "pytest --help lists all --hil- options"
            return f"unrecognized arguments: {flag} ({hint})"
    return None


def as_markdown(rows: Iterable[OptionRow]) -> str:
    """The table of docs/options.md."""
    lines = ["| option | key of the ini file | variable | meaning |", "|---|---|---|---|"]
    for row in rows:
        shown = f"{row.option} {row.metavar}".strip()
        lines.append(
            f"| `{shown}` | `{row.key}` | `{row.variable}` | {row.help.replace('|', chr(92) + '|')} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(as_markdown(ROWS.values()), end="")
