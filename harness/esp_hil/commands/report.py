"""`hil report`: draws the reports again from rows that were recorded; no board is needed."""

from __future__ import annotations

import gc
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.commands import add_skip_damaged
from esp_hil.errors import ConfigError, cannot_write

if TYPE_CHECKING:
    from esp_hil.results.history import HistoryLine
    from esp_hil.results.record import Run
    from esp_hil.results.regress import Comparison

HELP = "write the reports of recorded runs again"
EXAMPLES = """
  hil report reports/out/latest
  hil report before/ after/ --comment comment.md
  hil report --columns
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil report`."""
    parser.add_argument(
        "runs", type=Path, nargs="?", metavar="DIR|RUNS.jsonl", help="folder or file of recorded rows"
    )
    parser.add_argument(
        "new",
        nargs="?",
        metavar="NEW",
        help="rows to set beside the first ones, before and after: a folder or file, or a history to compare with",
    )
    parser.add_argument(
        "--columns", action="store_true", help="what the columns of the tables mean, as Markdown"
    )
    add_skip_damaged(parser)
    parser.add_argument("--out", type=Path, help="folder for the reports (default: where the rows are)")
    parser.add_argument("--formats", nargs="+", metavar="NAME", help="only these formats (default: all)")
    parser.add_argument("--history", metavar="URL", help="show figures over time from this history")
    parser.add_argument(
        "--build-dir",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="further build folders whose sdkconfig the page may compare",
    )
    parser.add_argument(
        "--github",
        action="store_true",
        help="print annotations, and what a pull request should know to GITHUB_STEP_SUMMARY",
    )
    parser.add_argument(
        "--comment", type=Path, metavar="FILE", help="write what a pull request should know as Markdown"
    )
    parser.add_argument("--link", default="", metavar="URL", help="of the page, for the comment")
    parser.add_argument(
        "--bundle", type=Path, metavar="FILE.zip", help="pack rows and reports with a manifest"
    )
    parser.add_argument(
        "--check", action="store_true", help="RUNS is a bundle: check it against its manifest"
    )


def run(args: Namespace) -> int:
    """Write the reports and print the short table; 1 if a run is wrong or broken."""
    if args.columns:
        from esp_hil.results.frames import documentation

        print(documentation(), end="")
        return 0
    if args.runs is None:
        raise ConfigError("which rows?", hint="hil report DIR, or --columns", step="report")
    if args.check:
        return _check(args.runs)
    from esp_hil.esp.sdkconfig import read_build_config
    from esp_hil.report import summary, write_reports
    from esp_hil.report.bundle import make_bundle
    from esp_hil.report.view import tally
    from esp_hil.results.configs import kept_configs
    from esp_hil.results.journal import read_runs
    from esp_hil.results.outcome import judged
    from esp_hil.results.regress import compare

    base, source = _before(args)
    recorded = read_runs(args.runs, skip_damaged=args.skip_damaged)
    gc.freeze()  # rows stay until the end: looking at millions of them again and again takes as long as the page
    out = args.out or (args.runs if args.runs.is_dir() else args.runs.parent)
    if args.bundle and out.resolve() != (args.runs if args.runs.is_dir() else args.runs.parent).resolve():
        raise ConfigError("--bundle packs the folder of the rows", hint="leave out --out", step="report")
    configs = kept_configs(args.runs)
    configs |= {config.sha256: config.values for config in map(read_build_config, args.build_dir)}
    comparison = compare(base, recorded.runs) if base else None
    runs = recorded.runs if comparison is None else tuple(judged(recorded.runs, comparison))
    written = write_reports(
        runs,
        out,
        formats=args.formats,
        warnings=recorded.warnings,
        comparison=comparison,
        baseline=source,
        history=_history(args.history, runs),
        configs=configs,
    )
    for warning in recorded.warnings:
        print(f"warning: {warning}")
    _tell(args, runs, comparison)
    print(summary(runs))
    for name, path in sorted(written.items()):
        print(f"{name:11} {path}")
    if args.bundle:
        print(f"{'bundle':11} {args.bundle} ({make_bundle(out, args.bundle)} files)")
    return 1 if tally(runs).red else 0


def _tell(args: Namespace, runs: tuple[Run, ...], comparison: Comparison | None) -> None:
    """Say it where a pull request, or the page of a job, shows it."""
    from esp_hil.report.changes import as_annotations
    from esp_hil.report.comment import annotated_rows, as_comment, left_out_of

    text = as_comment(runs, comparison, link=args.link, left_out=left_out_of(args.runs))
    wanted = [args.comment] if args.comment else []
    if args.github:
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            wanted.append(Path(summary))
        lines = annotated_rows(runs)
        print("\n".join(lines if comparison is None else [*lines, as_annotations(comparison)]))
    for path in wanted:
        try:
            with path.open("a" if path != args.comment else "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise cannot_write(path, error, step="report") from None


def _before(args: Namespace) -> tuple[tuple[Run, ...], str]:
    """Rows of the baseline and what it is; `args.runs` becomes what is reported: the later of two."""
    if args.new is None:
        return (), ""
    from esp_hil.results.history_url import shown
    from esp_hil.results.journal import read_runs
    from esp_hil.results.rows import is_history
    from esp_hil.session.baseline import base_rows

    source, new = (args.new, args.runs) if is_history(args.new) else (str(args.runs), Path(args.new))
    oldest = min(run.started_utc for run in read_runs(new, skip_damaged=args.skip_damaged).runs)
    args.runs = new
    return base_rows(source, before_utc=oldest, first=True), shown(source)


def _history(url: str | None, runs: tuple[Run, ...]) -> tuple[HistoryLine, ...]:
    """Lines of what these runs are about."""
    if url is None:
        return ()
    from esp_hil.results.history import History, lines_about

    with History.open(url, create=False) as history:
        return lines_about(history, runs)


def _check(bundle: Path) -> int:
    from esp_hil.report.bundle import problems_of

    found = problems_of(bundle)
    for problem in found:
        print(problem)
    print(f"{bundle}: {len(found)} problems" if found else f"{bundle}: as its manifest says")
    return 1 if found else 0
