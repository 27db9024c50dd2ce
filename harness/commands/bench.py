"""`hil bench NAME`: one subcommand for each module of `harness.benchmarks`."""

from __future__ import annotations

import importlib
import pkgutil
from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness import benchmarks

HELP = "measure the harness itself"


def add_arguments(parser: ArgumentParser) -> None:
    """A subparser for each benchmark."""
    subparsers = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    # an editable install also searches a folder of the project with the same name
    for info in pkgutil.iter_modules([str(Path(benchmarks.__file__).parent)]):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{benchmarks.__name__}.{info.name}")
        sub = subparsers.add_parser(info.name, help=module.HELP, description=module.HELP)
        module.add_arguments(sub)
        sub.set_defaults(measure=module.run)


def run(args: Namespace) -> int:
    """Run the benchmark."""
    status: int = args.measure(args)
    return status
