"""`hil compare`: did anything get worse between two runs of the suites?"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.commands import add_skip_damaged
from esp_hil.errors import ReportError

if TYPE_CHECKING:
    from esp_hil.results.configs import Config
    from esp_hil.results.record import Run
    from esp_hil.results.regress import Comparison

HELP = "compare two runs; status 1 if something got worse, 3 if not everything was comparable"
EXAMPLES = """
  hil compare reports/baseline.jsonl reports/out/latest
  hil compare main/ branch/ --threshold latency_ms=5% --markdown comment.md
  hil compare main/ branch/ --across engine_version      an update of ESP-DL on purpose
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil compare`."""
    parser.add_argument(
        "base", metavar="BASE", help="folder or file of rows, or the URL or file of a history"
    )
    parser.add_argument("new", type=Path, metavar="NEW", help="folder or file of rows")
    add_skip_damaged(parser)
    parser.add_argument(
        "--across",
        action="append",
        default=[],
        metavar="CONDITION",
        help="compare although this differs, e.g. engine_version,sdkconfig_sha256",
    )
    parser.add_argument(
        "--threshold", action="append", default=[], metavar="NAME=5%", help="another allowance of a gate"
    )
    parser.add_argument(
        "--alpha", type=float, default=0.01, help="probability of a false alarm (default 0.01)"
    )
    parser.add_argument(
        "--correction", choices=("holm", "bh", "none"), default="holm", help="for many comparisons"
    )
    parser.add_argument(
        "--gate-simulated", action="store_true", help="gate the latency of simulated rows too"
    )
    parser.add_argument(
        "--build-dir",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="further build folders whose sdkconfig explains a change",
    )
    parser.add_argument("--all", action="store_true", help="print figures that did not change as well")
    parser.add_argument(
        "--allow-incomplete", action="store_true", help="status 0 despite refused or missing rows"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a summary for pull requests")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument(
        "--github", action="store_true", help="print annotations, and the summary to GITHUB_STEP_SUMMARY"
    )
    parser.add_argument(
        "--accept", action="store_true", help="make NEW the baseline: replace the file BASE by it"
    )


def run(args: Namespace) -> int:
    """Compare, write what was asked for, print the changes."""
    from esp_hil.errors import ConfigError
    from esp_hil.report.changes import as_text
    from esp_hil.results.configs import config_changes
    from esp_hil.results.journal import read_runs
    from esp_hil.results.regress import Rules, compare
    from esp_hil.results.regress.change import exit_status
    from esp_hil.results.regress.comparable import check_names
    from esp_hil.results.regress.gates import with_thresholds
    from esp_hil.session.baseline import base_rows

    if not 0 < args.alpha < 1:
        raise ConfigError(f"--alpha {args.alpha:g} is not a probability", hint="give one above 0 and below 1")
    across = [name for text in args.across for name in text.split(",") if name]
    rules = Rules(
        gates=with_thresholds(args.threshold),
        across=check_names(across),
        alpha=args.alpha,
        correction=args.correction,
        gate_simulated=args.gate_simulated,
    )
    new = read_runs(args.new, skip_damaged=args.skip_damaged)
    for warning in new.warnings:
        print(f"warning: {warning}")
    oldest = min(run.started_utc for run in new.runs)
    base = base_rows(args.base, before_utc=oldest)
    comparison = compare(base, new.runs, rules)
    print(as_text(comparison, every=args.all))
    for line in config_changes(base, new.runs, _configs(args)):
        print(f"config  {line}")
    _write(args, comparison)
    if args.accept:
        _accept(args.base, new.runs)
    return exit_status(comparison, allow_incomplete=args.allow_incomplete)


def _configs(args: Namespace) -> dict[str, Config]:
    """What is kept beside the rows of both sides, and in the build folders that were named."""
    from esp_hil.esp.sdkconfig import read_build_config
    from esp_hil.results.configs import kept_configs
    from esp_hil.results.rows import is_history

    found = kept_configs(args.new)
    if not is_history(args.base):
        found |= kept_configs(Path(args.base))
    return found | {config.sha256: config.values for config in map(read_build_config, args.build_dir)}


def _write(args: Namespace, comparison: Comparison) -> None:
    from esp_hil.report.changes import as_annotations, as_json, as_junit, as_markdown

    wanted = (
        (args.markdown, as_markdown),
        (args.junit, as_junit),
        (args.json, as_json),
    )
    for path, render in wanted:
        if path is not None:
            _put(path, render(comparison))
    if args.github:
        if annotations := as_annotations(comparison):
            print(annotations)
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            _put(Path(summary), as_markdown(comparison), append=True)


def _put(path: Path, text: str, *, append: bool = False) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if append else "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ReportError(f"cannot write {path}: {error.strerror or error}", step="compare") from None


def _accept(base: str, new: tuple[Run, ...]) -> None:
    """Replace a baseline file by the finished new rows."""
    from esp_hil.results.rows import is_history

    if is_history(base) or Path(base).suffix != ".jsonl":
        raise ReportError(
            f"--accept writes a .jsonl file, and {base} is not one",
            hint="a history needs no accepting: add the new rows with hil history add",
            step="compare",
        )
    path = Path(base)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    _put(fresh, "".join(run.to_json() + "\n" for run in new if run.failure is None))
    fresh.replace(path)
    print(f"{path}: now {sum(run.failure is None for run in new)} rows")
