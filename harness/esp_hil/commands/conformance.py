"""`hil conformance`: does a board compute every operator of its runtime as it should, and at what cost?"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.errors import ConfigError, HilError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from esp_hil.results.record import Run
    from esp_hil.session.options import Combination, Options
    from esp_hil.session.session import Session

HELP = (
    "run every operator in a model of its own on a board: exact, off by how much, or failing; cycles per MAC"
)
EXAMPLES = """
  hil conformance --target esp32s3 --board virtual
  hil conformance --target esp32p4 --port /dev/ttyACM0 --out p4/
  hil conformance --target esp32 --runtime tflm --operator Conv,FullyConnected --list
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil conformance`."""
    parser.add_argument("--target", required=True, metavar="CHIP", help="esp32, esp32s3, esp32p4 ...")
    parser.add_argument(
        "--board", metavar="BOARD", help="as pytest's --hil-board (virtual, an id, a port, ...)"
    )
    parser.add_argument("--port", help="serial port or URL")
    parser.add_argument("--baud", type=int, help="rate of the line at the board's start")
    parser.add_argument("--build-dir", metavar="DIR", help="prebuilt image to flash first")
    parser.add_argument(
        "--runtime", default="espdl", metavar="NAMES", help="espdl (default), tflm, or both, comma-separated"
    )
    parser.add_argument("--operator", default="", metavar="NAMES", help="only these, comma-separated")
    parser.add_argument("--bits", default="", metavar="WIDTHS", help="only these: 8, 16, 32 (floats)")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="timed repetitions (default 10)")
    parser.add_argument(
        "--against", type=Path, metavar="DIR|RUNS.jsonl", help="rows of an earlier run to compare with"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for rows, page and table")
    parser.add_argument("--virtual-faults", metavar="PLAN", help="what is wrong with a virtual board")
    parser.add_argument(
        "--export", type=Path, metavar="DIR", help="write the cases as files; no board is needed"
    )
    parser.add_argument("--list", action="store_true", help="list the cases; no board is needed")


def run(args: Namespace) -> int:
    """Run, write, print.

    Returns:
        0 all right; 1 an operator is wrong or worse than before, or the board failed.
    """
    import sys

    from esp_hil.progress import progress_on
    from esp_hil.session.conformance import run_operator
    from esp_hil.session.options import combinations
    from esp_hil.session.session import Session, check_boards

    options = _options(args)
    found = combinations(options, "operator")
    if args.list:
        return _list(found)
    if args.export is not None:
        return _export(found, args.export)
    if not found:
        there = {
            combination.model
            for combination in combinations(replace(options, models=(), recipes=()), "operator")
        }
        near = " ".join(filter(None, (did_you_mean(name, there) for name in options.models)))
        hint = f"{near} hil conformance --list shows all".strip()
        raise ConfigError("no case of these operators and widths", hint=hint)
    before = _before(args.against)
    check_boards(options, found)
    progress = progress_on(sys.stderr)
    session = Session(options, progress)
    try:
        broken: list[HilError] = []
        for combination in found:
            result = run_operator(session, combination)
            if isinstance(result, HilError):
                broken.append(result)
    finally:
        # also after Ctrl-C: what was run is worth a page
        try:
            session.publish()
        finally:
            session.close()
    return _tell(session, before, broken)


def _options(args: Namespace) -> Options:
    from datetime import datetime

    from esp_hil.results.conformance import width
    from esp_hil.session.options import Options, words

    try:
        widths = tuple(width(int(bits)) for bits in words(args.bits))
    except ValueError:
        raise ConfigError(f"--bits {args.bits}: 8, 16 or 32") from None
    return Options(
        targets=words(args.target),
        board=args.board,
        port=args.port,
        baud=args.baud,
        build_dir=args.build_dir,
        models=words(args.operator),
        recipes=widths,
        runtimes=words(args.runtime),
        runs=args.runs,
        warmup=1,
        results=args.out or Path(f"reports/out/{datetime.now():%Y%m%d-%H%M%S}"),
        virtual_faults=args.virtual_faults,
    )


def _list(found: Sequence[Combination]) -> int:
    for combination in found:
        for case in combination.cases:
            print(f"{case.operator:20} {combination.recipe:6} {case.origin:10} {case.name:34} {case.what}")
    return 0


def _export(found: Sequence[Combination], folder: Path) -> int:
    """Each case as NAME.espdl or NAME.tflite, and NAME.npz with in__TENSOR and out__TENSOR."""
    import numpy as np

    from esp_hil.errors import ReportError
    from esp_hil.models.device_file import SUFFIXES

    count = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for combination in found:
            for case in combination.cases:
                (folder / f"{case.name}{SUFFIXES[combination.runtime]}").write_bytes(case.image)
                arrays = {f"in__{name}": values for name, values in case.inputs.items()}
                arrays |= {f"out__{name}": values for name, values in case.expected.items()}
                np.savez_compressed(folder / f"{case.name}.npz", allow_pickle=False, **arrays)
                count += 1
    except OSError as error:
        raise ReportError(
            f"cannot write {folder}: {error.strerror or error}", hint="give another folder"
        ) from None
    print(f"{folder}: {count} cases")
    return 0


def _before(source: Path | None) -> tuple[Run, ...]:
    from esp_hil.results.journal import read_runs

    return () if source is None else read_runs(source).runs


def _tell(session: Session, before: Sequence[Run], broken: Sequence[HilError]) -> int:
    """Page, table, and on the terminal what is not exact and what changed."""
    from esp_hil.report.conformance import write_conformance
    from esp_hil.results.conformance import changes_since, conformance, outcome_of, why_of

    written = write_conformance(session.rows, session.options.results, before) if session.rows else {}
    status = 1 if broken else 0
    for table in conformance(session.rows):
        print(f"{table.first.runtime} on {table.first.target}, board {table.first.board}: {table.engine}")
        print(table.summary)
        for entry in table.entries:
            for row in entry.rows:
                if outcome_of(row) in {"differs", "fails", "not judged"}:
                    print(f"  {outcome_of(row):10} {entry.title:24} {row.model}: {why_of(row)}")
                    status = 1
        for change in changes_since(table, before):
            print(f"  {change.kind:10} {change.title:24} {change.case}: {change.words}")
            status = status or (1 if change.kind == "worse" else 0)
    for error in broken:
        print(f"  {type(error).__name__}: {error}")
    for name, path in sorted({**session.published.reports, **written}.items()):
        print(f"{name:15} {path}")
    return status
