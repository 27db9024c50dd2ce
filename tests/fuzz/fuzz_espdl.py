"""Feeds damaged `.espdl` files to the reader, the planner, the rules and the exact lowering.

    python -m tests.fuzz.fuzz_espdl --count 200000 [--seed 1] [--corpus FOLDER] [--keep FOLDER]

Half of the files are damaged in their bytes, half in what they say. Allowed outcomes are an answer or an
error of esp_hil.errors, within the time and memory limits. Anything else is written to --keep with its
traceback, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from esp_hil.errors import HilError
from esp_hil.exact import lower
from esp_hil.formats.espdl import EspdlModel, read_espdl
from esp_hil.formats.espdl.memory import plan_memory
from esp_hil.lint import lint_model
from esp_hil.targets import FAMILIES, Family, targets
from tests.formats.espdl.writer import edl
from tests.fuzz.corpus import corpus
from tests.fuzz.mutate import mutated
from tests.fuzz.mutate_graph import damaged

SECONDS_PER_FILE = 10
MEMORY_BYTES = 4 << 30
LARGEST_CORPUS_FILE = 32_768
STAGES = ("plan", "lint", "lower")


class Hang(BaseException):
    """A file took longer than SECONDS_PER_FILE; not an Exception, so that no handler swallows it."""


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise Hang


def stages(model: EspdlModel, chance: random.Random) -> dict[str, Callable[[], object]]:
    """What is done with a file that could be read."""
    chip = chance.choice(list(targets().values()))
    family: Family = chance.choice(FAMILIES) if model.family is None else model.family
    return {
        "plan": lambda: plan_memory(model, chip),
        "lint": lambda: lint_model(model, target=chip),
        "lower": lambda: lower(model, family),
    }


def outcome(work: Callable[[], object]) -> tuple[str, object]:
    """Name of what happened ("ok" or the error's class) and the result; foreign exceptions pass through."""
    try:
        return "ok", work()
    except HilError as error:
        return type(error).__name__, None


def examine(data: bytes, chance: random.Random, counts: Counter[str], wanted: Sequence[str]) -> None:
    """Take one file through the wanted stages and count what happens."""
    said, model = outcome(lambda: read_espdl(data, name=0))
    counts[f"read {said}"] += 1
    if isinstance(model, EspdlModel):
        for name, work in stages(model, chance).items():
            if name in wanted:
                counts[f"{name} {outcome(work)[0]}"] += 1


def files_of(folder: Path | None) -> list[bytes]:
    """The corpus: the built-in files, and the small ones of a folder."""
    found = corpus()
    if folder is not None:
        found += [
            path.read_bytes()
            for path in sorted(folder.rglob("*.espdl"))
            if path.stat().st_size <= LARGEST_CORPUS_FILE
        ]
    return found


class Fuzzer:
    """One run: makes file after file from `files` and counts what comes of it."""

    def __init__(self, files: list[bytes], seed: int, keep: Path, wanted: Sequence[str]) -> None:
        self.files, self.seed, self.keep, self.wanted = files, seed, keep, wanted
        self.graphs = [read_espdl(data, name=0).graph for data in files]
        self.counts: Counter[str] = Counter()
        self.slowest_s, self.failures = 0.0, 0

    def made(self, index: int, chance: random.Random) -> bytes:
        """The file of that index; it depends on nothing but seed and index."""
        if index % 2:
            return mutated(chance, self.files)
        return edl(damaged(chance, chance.choice(self.graphs)))

    def step(self, index: int) -> None:
        """Make and examine one file."""
        chance = random.Random(f"{self.seed}/{index}")
        data = self.made(index, chance)
        started = time.perf_counter()
        signal.alarm(SECONDS_PER_FILE)
        try:
            examine(data, chance, self.counts, self.wanted)
        except (Exception, Hang):
            self.failures += 1
            self.keep.mkdir(parents=True, exist_ok=True)
            (self.keep / f"{self.seed}-{index}.espdl").write_bytes(data)
            (self.keep / f"{self.seed}-{index}.txt").write_text(traceback.format_exc())
        finally:
            signal.alarm(0)
        self.slowest_s = max(self.slowest_s, time.perf_counter() - started)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 1 if a file ended in anything but an answer or a typed error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="folder with further .espdl files to start from")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
    args = parser.parse_args(argv)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGALRM, _stop)
    fuzzer = Fuzzer(files_of(args.corpus), args.seed, args.keep, args.stages)
    for index in range(args.count):
        fuzzer.step(index)
    for name, count in sorted(fuzzer.counts.items()):
        print(f"{count:>9,} {name}")
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{args.count:,} files, {fuzzer.failures} failures, slowest {fuzzer.slowest_s:.2f} s, "
        f"peak {peak_kib // 1024} MiB"
    )
    return 1 if fuzzer.failures else 0


if __name__ == "__main__":
    sys.exit(main())
