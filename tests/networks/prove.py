"""`tox run -e proof-networks`: networks nobody prepared, each from its file to a verdict on virtual boards.

    python -m tests.networks.prove [NAME...] [--keep FOLDER] [--whole] [--table docs/networks.md]

Each network is made (tests/networks/nets.py by torch, tflites.py byte by byte), given to `hil new` as a person would,
and run by the suites on every chip. A row is right if

    device == exact      in every output; on a virtual board this proves the path from the file to the verdict
    exact ~ quantizer    within 1 LSB in 99.9 % of the outputs: esp-ppq's executor, or LiteRT's reference kernels
    seconds              from the file to the verdict; counted is what the processes of the network used, since the
                         wall clock tells of the machine's other work as well
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from esp_hil.results.journal import read_runs
from esp_hil.results.record import Run
from esp_hil.verdict.difference import FloatDiff, IntegerDiff
from tests.networks import nets, tflites

ESPDL_CHIPS = ("esp32s3", "esp32p4")
TFLM_CHIPS = ("esp32", "esp32s3", "esp32p4")
LEAST_SHARE = 0.999
LIMIT_S = 60.0
LIMITS_S: Mapping[str, float] = {"transformer": 90.0, "qkv": 90.0}
_FLOAT_ERROR = 1e-5
"""Of float outputs beside LiteRT's: tanh and exp of two libraries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What came of one network on one chip: its figures in words, and what is wrong."""

    network: str
    chip: str
    port: str
    quantizer: str
    beside_float: str
    wall_s: float
    cpu_s: float
    wrong: tuple[str, ...]


def _tflite(make: Callable[[], bytes]) -> Callable[[str, Path], list[str]]:
    def write(name: str, folder: Path) -> list[str]:
        path = folder / f"{name}.tflite"
        path.write_bytes(make())
        return ["--tflite", str(path)]

    return write


def _actor(name: str, folder: Path) -> list[str]:
    """The .espdl files of another network, and nothing beside them."""
    made = folder / "golden" / "sensors" / "w8a8"
    if not made.is_dir():
        _hil_new("sensors", nets.export("sensors", folder), folder, ESPDL_CHIPS)
    files = []
    for family in ESPDL_CHIPS:
        path = folder / f"{name}-{family}.espdl"
        shutil.copyfile(made / f"{family}.espdl", path)
        files += ["--espdl", str(path)]
    return files


MAKERS: Mapping[str, Callable[[str, Path], list[str]]] = {
    **dict.fromkeys(nets.NETWORKS, nets.export),
    "actor": _actor,
    "wake_word": _tflite(tflites.wake_word),
    "recurrent": _tflite(tflites.recurrent),
}


KINDS: Mapping[str, str] = {
    "sensors": "MLP on six sensors",
    "fusion": "picture and sensors, two inputs",
    "two_heads": "class and pose, two outputs",
    "keywords": "1-D convolutions, keyword spotter",
    "cached": "TCN, 50 steps, its cache given as an input",
    "streaming": "TCN, 50 steps, its cache fed by `--state`",
    "autoencoder": "autoencoder",
    "landmarks": "landmark regressor",
    "unet": "U-Net, 64x64, class of each pixel",
    "transformer": "torch's TransformerEncoderLayer, GELU",
    "qkv": "attention written by hand, ReLU",
    "lstm": "LSTM classifier",
    "gru": "GRU, an embedding",
    "detector": "detector head, scores and boxes",
    "actor": ".espdl files alone",
    "wake_word": ".tflite with variables, streaming",
    "recurrent": ".tflite with WHILE, float32",
}
"""What a reader of the table should know a network as."""


def prove(name: str, folder: Path, *, chips: tuple[str, ...] = (), whole: bool = False) -> list[Proof]:
    """Make a network, its folder, and a verdict on each of `chips`, or on all that it is for.

    Args:
        name: of MAKERS.
        folder: to work in.
        chips: only these.
        whole: all suites, not only those of the numbers.
    """
    arguments = MAKERS[name](name, folder)
    chips = chips or (TFLM_CHIPS if "--tflite" in arguments else ESPDL_CHIPS)
    started_s, used_s = time.monotonic(), _children_s()
    _hil_new(name, arguments, folder, () if "--tflite" in arguments or "--espdl" in arguments else chips)
    new_wall_s, new_cpu_s = time.monotonic() - started_s, _children_s() - used_s
    rows = []
    for chip in chips:
        started_s, used_s = time.monotonic(), _children_s()
        out = folder / "out" / f"{name}-{chip}"
        words = f"-q -p no:cacheprovider --target {chip} --hil-board virtual --hil-model {name} --hil-runs 3"
        words += "" if whole else " -k test_numerics"
        command = [sys.executable, "-m", "pytest", *words.split(), "--hil-results", str(out)]
        said = _run(command, folder)
        run = next(iter(read_runs(out).runs), None) if (out / "runs.jsonl").is_file() else None
        # the folder is made once for all chips: each bears its share
        wall_s = time.monotonic() - started_s + new_wall_s / len(chips)
        cpu_s = _children_s() - used_s + new_cpu_s / len(chips)
        rows.append(_judged(name, chip, run, said, (wall_s, cpu_s)))
    return rows


def _hil_new(name: str, arguments: list[str], folder: Path, chips: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "esp_hil.cli", "new", name, *arguments]
    command += ["--target", ",".join(chips)] if chips else []
    said = _run(command, folder)
    if said.returncode:
        raise SystemExit(f"hil new {name}: {said.stdout[-1500:]}{said.stderr[-1500:]}")


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("HIL_")}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900
    )


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _judged(
    name: str,
    chip: str,
    run: Run | None,
    said: subprocess.CompletedProcess[str],
    seconds: tuple[float, float],
) -> Proof:
    wall_s, cpu_s = seconds
    wrong = []
    if said.returncode:
        wrong.append(f"pytest ended with {said.returncode}: {said.stdout[-800:]}")
    limit_s = LIMITS_S.get(name, LIMIT_S)
    if cpu_s > limit_s:
        wrong.append(f"{cpu_s:.0f} s, {limit_s:.0f} s are allowed")
    verdict = run.verdict if run is not None else None
    if verdict is None:
        return Proof(
            network=name, chip=chip, port="none", quantizer="", beside_float="", wall_s=wall_s, cpu_s=cpu_s,
            wrong=(*wrong, "there is no verdict"),
        )  # fmt: skip
    if not verdict.bit_exact:
        wrong.append("device is not exact")
    near, count, least = 0, 0, []
    for output in verdict.outputs:
        diff = output.exact_vs_quantized
        if isinstance(diff, IntegerDiff):
            near += sum(number for lsb, number in diff.histogram_lsb.items() if abs(lsb) <= 1)
            count += diff.count
            least.append(f"{diff.max_lsb} LSB")
        elif isinstance(diff, FloatDiff):
            near += diff.count if diff.max_abs <= _FLOAT_ERROR else diff.count - diff.different
            count += diff.count
            least.append(f"{diff.max_abs:.1e}")
    if count and near < LEAST_SHARE * count:
        wrong.append(f"exact is the quantizer's in {near} of {count} outputs")
    if not count and name != "actor":
        wrong.append("nothing was compared with the quantizer")
    figures = [
        f"{one.output} {one.name} {one.words}"
        for one in verdict.measures
        if one.source == "device"
        and one.against == "float"
        and one.name in {"top1", "rmse", "cosine", "pixels"}
    ]
    return Proof(
        network=name,
        chip=chip,
        port="bit-exact" if verdict.bit_exact else "DIFFERS",
        quantizer=f"{near}/{count} within 1, most {', '.join(least)}"
        if count
        else "an .espdl alone has none",
        beside_float="; ".join(figures) or "no float model",
        wall_s=wall_s,
        cpu_s=cpu_s,
        wrong=tuple(wrong),
    )


_HEAD = """# Networks that nobody prepared

Made by `python -m tests.networks.prove --table docs/networks.md` (`tox run -e proof-networks` does the same without the
table). torch or a few bytes make each network, `hil new` takes its file, the suites judge it on virtual boards of each
chip. On a virtual board "device = exact" proves the path from the file to the verdict, not a port.

"quantizer" is esp-ppq's executor for ESP-DL and LiteRT's reference kernels for TFLM: how many integers of the exact
reference lie within 1 LSB of it (float outputs: within 1e-5), and the largest difference. Seconds are those that the
processes of a network used, from the file to the verdict, and wall-clock time on a machine with other work.

| network | | chip | device = exact | quantizer | beside the float model | seconds | wall clock |
|---|---|---|---|---|---|---:|---:|
"""


def _table(rows: Sequence[Proof]) -> str:
    lines = [
        f"| {row.network} | {KINDS[row.network]} | {row.chip} | {row.port} | {row.quantizer or 'not compared'} | "
        f"{row.beside_float} | {row.cpu_s:.1f} | {row.wall_s:.1f} |"
        for row in rows
    ]
    right = sum(not row.wrong for row in rows)
    names = len({row.network for row in rows})
    return _HEAD + "\n".join(lines) + f"\n\n{names} networks, {len(rows)} rows, {right} of them right.\n"


def main(argv: list[str] | None = None) -> int:
    """Prove the networks named, or all; 1 if one is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.networks.prove", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MAKERS)}")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work there, and leave everything")
    parser.add_argument("--whole", action="store_true", help="all suites, not only those of the numbers")
    parser.add_argument("--table", type=Path, metavar="FILE.md", help="write a page about it")
    args = parser.parse_args(argv)
    unknown = [name for name in args.names if name not in MAKERS]
    if unknown:
        parser.error(f"no network {unknown[0]}: {', '.join(MAKERS)}")
    rows: list[Proof] = []
    with tempfile.TemporaryDirectory(prefix="hil-networks-") as scratch:
        folder = (args.keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for name in args.names or MAKERS:
            for row in prove(name, folder, whole=args.whole):
                rows.append(row)
                print(
                    f"{'WRONG' if row.wrong else 'ok':6}{row.network:12} {row.chip:8} {row.port:10} {row.quantizer:34} "
                    f"{row.cpu_s:5.1f} s ({row.wall_s:5.1f} s on the wall)  {row.beside_float}",
                    flush=True,
                )
                for line in row.wrong:
                    print(f"      {line}", flush=True)
    if args.table is not None:
        args.table.write_text(_table(rows), encoding="utf-8")
    return 1 if any(row.wrong for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
