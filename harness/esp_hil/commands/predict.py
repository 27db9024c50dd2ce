"""`hil predict`: the latency of a model on a chip that one does not have; a prediction, not a measurement."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.commands import add_model, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from esp_hil.models.device_file import DeviceFile
    from esp_hil.results.record import Run
    from esp_hil.results.timing.forecast import Forecast
    from esp_hil.results.timing.setup import Setup
    from esp_hil.targets import Target

HELP = "predict the latency of a model on a chip, node by node, with the band of its error"
EXAMPLES = """
  hil predict mnist --target esp32p4
  hil predict my.espdl --target esp32s3 --psram quad80 --param-copy off    what another board would take
  hil predict my.espdl --target esp32s3 --learn reports/out                corrected by what yours measured
"""

_TEACHES = 0.01
"""Share of an inference that a layer must have to teach anything of its operator."""

_BAR = 24
"""Width of the longest bar, in characters."""


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `hil predict`."""
    add_model(parser, optional=True)
    parser.add_argument("--target", help="the chip: esp32, esp32s3, esp32p4 ...")
    parser.add_argument(
        "--kernels", choices=("esp-nn", "portable"), default="esp-nn", help="which of TFLM's (default esp-nn)"
    )
    what_if = parser.add_argument_group("what if (default: the settings of ESP-DL's own examples)")
    what_if.add_argument("--clock-mhz", type=int, help="the CPU's clock (default: the chip's fastest)")
    what_if.add_argument("--psram", help="mode of the PSRAM: octal80, octal40, quad80, hex200 ...")
    what_if.add_argument("--flash", help="mode of the flash: qio80, dio80, qio120 ...")
    what_if.add_argument(
        "--cache-kb", type=int, help="data cache (esp32s3: 16, 32, 64) or L2 (esp32p4: 128, 256, 512)"
    )
    what_if.add_argument(
        "--param-copy", choices=("on", "off"), help="parameters copied to PSRAM (default), or read from flash"
    )
    what_if.add_argument("--opt", choices=("O2", "Os", "Og"), help="the compiler's level (default O2)")
    what_if.add_argument(
        "--cores", type=int, choices=(1, 2), help="how many an inference may use (default 1)"
    )
    parser.add_argument("--learn", type=Path, metavar="RESULTS", help="correct by your own measured rows")
    parser.add_argument(
        "--page", action="store_true", help="print where the time goes and what would change it, as Markdown"
    )
    parser.add_argument("--json", action="store_true", help="print it for a program to read")
    parser.add_argument("--error", action="store_true", help="print how well held-out models are predicted")


def run(args: Namespace) -> int:
    """Print the prediction and the published figures of the same model."""
    if args.error:
        return _errors()
    require(args, MODEL=args.model, target=args.target)
    from esp_hil.models.device_file import open_device_file
    from esp_hil.results.timing.forecast import forecast
    from esp_hil.session.named_model import find
    from esp_hil.targets import target

    chip = target(args.target)
    named = find(args.model, recipe=args.recipe, chip=chip)
    name, file = named.name, open_device_file(named.path)
    found = forecast(file, chip, setup=_setup(args, chip), kernels=args.kernels)
    if args.learn:
        found = _learned(args.learn, chip, found)
    if args.page:
        print(_page(args, chip, name, file, found), end="")
    elif args.json:
        print(json.dumps(_as_json(name, chip, found), indent=1))
    else:
        _print(name, chip, file, found)
    return 0


def _page(args: Namespace, chip: Target, name: str, file: DeviceFile, found: Forecast) -> str:
    from esp_hil.results.timing.page import page
    from esp_hil.results.timing.published import published_of
    from esp_hil.results.timing.work import total_macs, work_of

    rows = published_of(name, chip.name, file.runtime, total_macs(work_of(file)))
    return page(f"{name} on {chip.name}", file, chip, found, published=rows, kernels=args.kernels)


def _setup(args: Namespace, chip: Target) -> Setup:
    from esp_hil.results.timing.setup import check_possible, setup_of

    setup = setup_of(
        chip,
        clock_hz=None if args.clock_mhz is None else args.clock_mhz * 1_000_000,
        psram=args.psram,
        flash=args.flash,
        cache_bytes=None if args.cache_kb is None else args.cache_kb * 1024,
        optimize=args.opt,
        cores=args.cores,
        param_copy=None if args.param_copy is None else args.param_copy == "on",
    )
    check_possible(setup, chip)
    return setup


def _as_json(name: str, chip: Target, found: Forecast) -> dict[str, object]:
    return {
        "model": name,
        "target": chip.name,
        "nodes": [
            {
                "name": node.name,
                "op": node.op,
                "instructions": round(node.instructions),
                "bytes": node.bytes,
                "ms": node.ms,
                "compute_ms": node.compute_ms,
                "weights_ms": node.weights_ms,
                "activations_ms": node.activations_ms,
                "cpp_ms": node.cpp_ms,
                "why": node.why,
                "kernels": list(node.kernels),
            }
            for node in found.nodes
        ],
        "instructions": round(found.instructions),
        "ms": found.ms,
        "low_ms": found.low_ms,
        "high_ms": found.high_ms,
        "settings": found.setup.summary,
        "reasons": list(found.reasons),
    }


def _print(name: str, chip: Target, file: DeviceFile, found: Forecast) -> None:
    from esp_hil.results.timing.published import published_of, spread_words
    from esp_hil.results.timing.work import total_macs, work_of

    macs = total_macs(work_of(file))
    print(f"{name} on {chip.name}: {macs:,} MACs, {round(found.instructions):,} instructions of SIMD kernels")
    print(f"{found.summary} at {found.setup.summary}; 80 % of published models lie in such a band")
    for reason in found.reasons:
        print(f"  {reason}")
    _print_bars(found)
    rows = published_of(name, chip.name, file.runtime, macs)
    if rows:
        print(f"published of this model: {spread_words(rows)}")
        for row in rows:
            print(f"  {row.summary}  {row.source}")


def _print_bars(found: Forecast) -> None:
    """A bar a node: c compute, w weights, a activations, + C++."""
    longest = max((node.ms for node in found.nodes), default=0.0)
    if not longest:
        return
    print(f"mostly {found.dominant}; bars: c instructions, w weights, a activations, + C++")
    for node in found.nodes:
        parts = (
            ("c", node.compute_ms),
            ("w", node.weights_ms),
            ("a", node.activations_ms),
            ("+", node.cpp_ms),
        )
        bar = "".join(sign * round(_BAR * part / longest) for sign, part in parts)
        print(f"  {node.ms:9.3f} ms  {bar:{_BAR + 2}} {node.op:18} {node.name}")


def _learned(results: Path, chip: Target, found: Forecast) -> Forecast:
    """What one's own boards say: operator by operator where layers were measured, then the whole, each at its settings.

    A row is set beside what is predicted with its own clock, cores and firmware configuration, not with what is asked
    for: so rows at 40 MHz of PSRAM teach a prediction at 80.
    """
    from esp_hil.results.configs import kept_configs
    from esp_hil.results.journal import read_runs
    from esp_hil.results.metrics import latency_of
    from esp_hil.results.timing.forecast import learned, of_operators
    from esp_hil.results.timing.layers import expected, layer_times

    rows = [row for row in read_runs(results).runs if row.target == chip.name and not row.simulated]
    configs = kept_configs(results)
    operators = _operators(rows, chip, found.setup)
    at_their_settings = []
    for row in rows:
        latency = latency_of(row) if row.case is None else None
        config = configs.get(row.device.sdkconfig_sha256) if row.device else None
        told = expected(row, config) if latency is not None else None
        if latency is None or told is None:
            continue  # a model that is not in this catalogue cannot be predicted, so it teaches nothing
        at_their_settings.append((latency.median_ms, told[1]))
        for layer in layer_times(row, told[1]):
            if layer.node.ms >= _TEACHES * told[1].ms:
                operators.setdefault(layer.node.op, []).append((layer.measured_ms, layer.node.ms))
    if operators:
        found = of_operators(found, operators)
    pairs = [(measured, of_operators(told, operators).ms) for measured, told in at_their_settings]
    if operators and not pairs:
        return found
    factor, half = learned(pairs)
    said = f"corrected by {len(pairs)} of your rows: boards take {factor:.2g} times what is predicted"
    return found.scaled(factor, half=half, reason=said)


def _operators(rows: Sequence[Run], chip: Target, setup: Setup) -> dict[str, list[tuple[float, float]]]:
    """By operator: measured and predicted ms of its own layer, in cases that were run on a chip of this kind."""
    from esp_hil.models.operators import case_of
    from esp_hil.results.conformance import own_layer
    from esp_hil.results.timing.forecast import forecast

    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.case is None or row.target != chip.name or row.simulated or row.device is None:
            continue
        case = case_of(chip.family_of("tflm" if row.runtime == "tflm" else "espdl"), row.case.name)
        layer = own_layer(row)
        if case is None or layer is None or not layer.cycles:
            continue
        nodes = forecast(case.file, chip, setup=setup).nodes
        expected = sum(node.ms for node in nodes if node.op == row.case.operator)
        if expected:
            measured = 1e3 * layer.cycles / row.device.clock_hz
            found.setdefault(row.case.operator, []).append((measured, expected))
    return found


def _errors() -> int:
    from esp_hil.results.timing.errors_table import print_errors

    print_errors()
    return 0
