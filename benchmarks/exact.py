"""`hil bench exact`: the exact reference, float onnxruntime and esp-ppq's executor, interleaved."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.errors import ConfigError, GoldenError, QuantizeError

if TYPE_CHECKING:
    import onnxruntime

    from esp_hil.exact import ExactReference
    from esp_hil.formats.espdl import EspdlModel
    from esp_hil.targets import Family

HELP = "speed of the exact reference against float onnxruntime and esp-ppq's executor"
SLICE_S = 0.05

Infer = Callable[[], float]
"""Infers once; the seconds that took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Inferences per second of one contender.

    Attributes:
        median_ips: of the rounds' medians.
        low_ips: slowest round.
        high_ips: fastest round.
        inferences: how many were timed.
    """

    median_ips: float
    low_ips: float
    high_ips: float
    inferences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was measured for one model.

    Attributes:
        model: its name; `sha256` its image.
        family: numerics of the exact reference.
        threads: of onnxruntime and torch, 0: one per core.
        float_source: the ONNX file, or "derived from the .espdl".
        lowering_s: seconds to lower it, without a cache.
        paths: nodes by the arithmetic they take.
        speeds: "exact", "float" and, if it ran, "executor".
        exact_per_float: ratio of the medians.
        exact_per_executor: the same, None if esp-ppq was not asked for.
    """

    model: str
    sha256: str
    family: str
    threads: int
    float_source: str
    lowering_s: float
    paths: Mapping[str, int]
    speeds: Mapping[str, Speed]
    exact_per_float: float
    exact_per_executor: float | None


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil bench exact`."""
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.espdl")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--target", metavar="T", help="chip whose numerics to use (default: what the file is for)"
    )
    parser.add_argument(
        "--float", type=Path, metavar="M.onnx", help="float model (default: derived from the file)"
    )
    parser.add_argument(
        "--native", type=Path, metavar="M.native", help="esp-ppq's quantized graph, for its executor"
    )
    parser.add_argument(
        "--onnx", type=Path, metavar="M.onnx", help="float model to quantize for esp-ppq's executor"
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="of onnxruntime and torch (default: one per core)"
    )
    parser.add_argument(
        "--rounds", type=int, default=20, help="rounds in which all take their turn (default: 20)"
    )


def run(args: Namespace) -> int:
    """Measure every model; with several, the geometric mean too."""
    if len(args.models) > 1 and (args.float or args.native or args.onnx):
        raise ConfigError("--float, --native and --onnx belong to one model", hint="give one MODEL.espdl")
    outcomes = []
    for path in args.models:
        outcomes.append(_measure(path, args))
        if not args.json:
            print(_line(outcomes[-1]), flush=True)
    mean = math.exp(statistics.fmean(math.log(outcome.exact_per_float) for outcome in outcomes))
    if args.json:
        rows = [asdict(outcome) for outcome in outcomes]
        print(json.dumps({"models": rows, "exact_per_float_geometric_mean": mean}, indent=2))
    elif len(outcomes) > 1:
        print(f"geometric mean over {len(outcomes)} models: exact / float {mean:.2f}")
    return 0


def _line(outcome: Outcome) -> str:
    parts = [f"{name} {speed.median_ips:.1f}/s" for name, speed in outcome.speeds.items()]
    ratios = [f"exact / float {outcome.exact_per_float:.2f}"]
    if outcome.exact_per_executor is not None:
        ratios.append(f"exact / executor {outcome.exact_per_executor:.1f}")
    return f"{outcome.model} ({outcome.family}): {', '.join(parts)}; {', '.join(ratios)}"


def _measure(path: Path, args: Namespace) -> Outcome:
    from esp_hil.exact import ExactReference, lower
    from esp_hil.formats.espdl import read_espdl
    from esp_hil.targets import target

    model = read_espdl(path)
    reference = ExactReference(
        model, target(args.target).family if args.target else None, threads=args.threads
    )
    start = time.perf_counter()
    lower(model, reference.family)
    lowering_s = time.perf_counter() - start
    session = _float_session(model, args)
    with ExitStack() as stack:
        contenders = {"exact": _exact(reference), "float": _float(session)}
        if args.native or args.onnx:
            contenders["executor"] = _executor(stack, session, reference.family, args)
        speeds = _interleaved(contenders, args.rounds)
    paths: dict[str, int] = {}
    for proof in reference.proofs:
        paths[proof.path] = paths.get(proof.path, 0) + 1
    medians = {name: speed.median_ips for name, speed in speeds.items()}
    return Outcome(
        model=model.name,
        sha256=model.sha256,
        family=reference.family,
        threads=args.threads,
        float_source=str(args.float) if args.float else "derived from the .espdl",
        lowering_s=lowering_s,
        paths=paths,
        speeds=speeds,
        exact_per_float=medians["exact"] / medians["float"],
        exact_per_executor=medians["exact"] / medians["executor"] if "executor" in medians else None,
    )


def _float_session(model: EspdlModel, args: Namespace) -> onnxruntime.InferenceSession:
    from esp_hil.exact.float_twin import float_twin
    from esp_hil.exact.session import open_session

    if args.float is None:
        return open_session(float_twin(model).SerializeToString(), args.threads)
    try:
        data = args.float.read_bytes()
    except OSError as error:
        raise GoldenError(f"cannot read {args.float}: {error.strerror}", hint="check --float") from error
    return open_session(data, args.threads)


def _exact(reference: ExactReference) -> Infer:
    import numpy as np

    random = np.random.default_rng(0)
    inputs = {}
    for value in reference.inputs:
        limits = np.iinfo(value.dtype) if value.dtype.startswith("int") else None
        shape, dtype = value.shape, np.dtype(value.dtype)
        values = (
            random.normal(size=shape) if limits is None else random.integers(limits.min, limits.max, shape)
        )
        inputs[value.name] = values.astype(dtype)
    return _timed(lambda: reference.run(inputs))


def _float(session: onnxruntime.InferenceSession) -> Infer:
    import numpy as np

    random = np.random.default_rng(0)
    feed = {name: random.normal(size=shape).astype(np.float32) for name, shape in _shapes(session).items()}
    return _timed(lambda: session.run(None, feed))


def _shapes(session: onnxruntime.InferenceSession) -> dict[str, list[int]]:
    """Input shapes, a symbolic axis taken as 1."""
    return {
        value.name: [size if isinstance(size, int) else 1 for size in value.shape]
        for value in session.get_inputs()
    }


def _timed(call: Callable[[], object]) -> Infer:
    def infer() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return infer


def _executor(
    stack: ExitStack, session: onnxruntime.InferenceSession, family: Family, args: Namespace
) -> Infer:
    """esp-ppq's executor in a subprocess that infers on demand.

    Raises:
        QuantizeError: it did not start; its last words.
    """
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    job = {
        "native": str(args.native) if args.native else None,
        "onnx": str(args.onnx) if args.onnx else None,
        "family": family,
        "shapes": _shapes(session),
        "threads": args.threads,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    words = stack.enter_context((folder / "stderr").open("w+", encoding="utf-8"))
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks._quantized_executor", str(folder / "job.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stack.callback(process.kill)
    ask, answer = process.stdin, process.stdout

    def reply() -> str:
        line = answer.readline().strip()
        if not line:
            words.seek(0)
            last = words.read().strip().splitlines()[-1:]
            raise QuantizeError(
                f"esp-ppq's executor ended: {' '.join(last)}", hint="pip install 'esp-hil[quantize]'"
            )
        return line

    def infer() -> float:
        ask.write("\n")
        ask.flush()
        return float(reply())

    reply()  # ready
    return infer


def _interleaved(contenders: Mapping[str, Infer], rounds: int) -> dict[str, Speed]:
    """All take turns, call by call, for a slice of time each: what slows the machine slows all of them."""
    medians: dict[str, list[float]] = {name: [] for name in contenders}
    counts = dict.fromkeys(contenders, 0)
    for infer in contenders.values():
        infer()  # first call: memory, thread pools
    for _ in range(rounds):
        times: dict[str, list[float]] = {name: [] for name in contenders}
        while any(sum(spent) < SLICE_S for spent in times.values()):
            for name, infer in contenders.items():
                if sum(times[name]) < SLICE_S:
                    times[name].append(infer())
        for name, spent in times.items():
            medians[name].append(statistics.median(spent))
            counts[name] += len(spent)
    return {
        name: Speed(
            median_ips=1 / statistics.median(values),
            low_ips=1 / max(values),
            high_ips=1 / min(values),
            inferences=counts[name],
        )
        for name, values in medians.items()
    }
