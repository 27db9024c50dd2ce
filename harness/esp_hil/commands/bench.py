"""`hil bench NAME`: one subcommand for each module of the repository's `benchmarks/`.

They measure esp-hil itself, so they come with a checkout and not with a wheel.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from esp_hil.errors import ConfigError
from esp_hil.settings import checkout

HELP = "measure esp-hil itself (in a checkout)"


def add_arguments(parser: ArgumentParser) -> None:
    """A subparser for each benchmark."""
    root = checkout()
    subparsers = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=root is not None)
    if root is None:
        return
    if str(root) not in sys.path:
        sys.path.append(str(root))
    package = importlib.import_module("benchmarks")
    # some other project's `benchmarks` may come first on the path
    if Path(str(package.__file__)).parent != root / "benchmarks":
        return
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"benchmarks.{info.name}")
        sub = subparsers.add_parser(info.name, help=module.HELP, description=module.HELP)
        module.add_arguments(sub)
        sub.set_defaults(measure=module.run)


def run(args: Namespace) -> int:
    """Run the benchmark.

    Raises:
        ConfigError: an installed package has no benchmarks.
    """
    if not hasattr(args, "measure"):
        raise ConfigError(
            "the benchmarks come with a checkout of esp-hil, not with the package", hint="git clone it"
        )
    status: int = args.measure(args)
    return status
