"""Measured layers beside predicted ones: which takes longer than its instructions and bytes, and why.

What holds a layer is told from its own graph: its bytes of weights over the time that its instructions leave
say how fast they came, and that speed says from which memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import median

from esp_hil.errors import HilError
from esp_hil.esp.sdkconfig import Value
from esp_hil.models import catalogue
from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.results.record import Layer, Run
from esp_hil.results.timing.forecast import Forecast, NodeForecast, forecast
from esp_hil.results.timing.setup import (
    FLASH_BYTES_PER_S,
    PSRAM_BYTES_PER_S,
    Setup,
    setup_of,
)
from esp_hil.targets import Runtime, Target, targets

OUTLIER = 2.0
"""A layer that takes so many times its prediction, the run's own general factor taken out, is named."""

_WORTH = 0.05
"""Share of an inference that a layer must take to be named."""

_HEAVY_BYTES = 0.25
"""Bytes of weights for a multiply-accumulate above which a layer is held by them: each is used at most four times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """One layer: measured and predicted, in ms; `node` is its prediction."""

    name: str
    measured_ms: float
    node: NodeForecast

    @property
    def factor(self) -> float:
        """Measured over predicted."""
        return self.measured_ms / self.node.ms if self.node.ms else 0.0


def setup_of_run(run: Run, chip: Target, config: Mapping[str, Value] | None = None) -> Setup:
    """The settings that a run tells of: its clock and cores, and its firmware's configuration if that is kept.

    Args:
        run: with a device.
        chip: its target.
        config: entries of its sdkconfig without CONFIG_; None: those of ESP-DL's examples are taken.
    """
    assert run.device is not None, "the caller has looked"
    changes: dict[str, object] = {
        "clock_hz": min(run.device.clock_hz, chip.fastest_hz),
        "cores": run.cores_used,
    }
    if run.device.psram_bytes == 0:
        changes["psram"] = "none"
    changes |= config_changes(config or {}, chip)
    return setup_of(chip, **changes)


def config_changes(config: Mapping[str, Value], chip: Target) -> dict[str, object]:
    """Entries of an sdkconfig as `setup_of` takes them; what it does not tell stays the examples'."""
    found: dict[str, object] = {}
    if not config:
        return found
    for entry, optimize in (("PERF", "O2"), ("SIZE", "Os"), ("DEBUG", "Og")):
        if config.get(f"COMPILER_OPTIMIZATION_{entry}"):
            found["optimize"] = optimize
    if not config.get("SPIRAM"):
        found["psram"] = "none"
    elif speed := config.get("SPIRAM_SPEED"):
        lines = "hex" if chip.name == "esp32p4" else "octal" if config.get("SPIRAM_MODE_OCT") else "quad"
        found["psram"] = f"{lines}{speed}"
    flash = _flash_of(config)
    if flash:
        found["flash"] = flash
    if cache := config.get("CACHE_L2_CACHE_SIZE") or config.get("ESP32S3_DATA_CACHE_SIZE"):
        found["cache_bytes"] = int(cache)
    known = {"psram": PSRAM_BYTES_PER_S, "flash": FLASH_BYTES_PER_S}
    return {name: value for name, value in found.items() if name not in known or value in known[name]}


def _flash_of(config: Mapping[str, Value]) -> str:
    clock = str(config.get("ESPTOOLPY_FLASHFREQ", "")).removesuffix("m")
    if config.get("ESPTOOLPY_OCT_FLASH"):
        return f"opi{clock}"
    fast = config.get("ESPTOOLPY_FLASHMODE_QIO") or config.get("ESPTOOLPY_FLASHMODE_QOUT")
    return f"{'qio' if fast else 'dio'}{clock}" if clock else ""


def expected(run: Run, config: Mapping[str, Value] | None = None) -> tuple[DeviceFile, Forecast] | None:
    """The prediction for a run with its own settings; None without its model's file, or where nothing predicts it."""
    chip = targets().get(run.target)
    if chip is None or run.device is None:
        return None
    try:
        path = catalogue.load(run.model).artifact(run.recipe, chip.family_of(_runtime(run)))
        file = _opened(path)
        if file.content.sha256 != run.provenance.model_sha256:
            return None  # another file of that name
        return file, forecast(file, chip, setup=setup_of_run(run, chip, config))
    except (HilError, KeyError):
        return None


def _runtime(run: Run) -> Runtime:
    return "tflm" if run.runtime == "tflm" else "espdl"


@lru_cache(maxsize=32)
def _opened(path: Path) -> DeviceFile:
    return open_device_file(path)


def layer_times(run: Run, found: Forecast) -> tuple[LayerTime, ...]:
    """Measured layers with their predictions, in the order of the row; () where they are not the same layers."""
    layers = run.layers or ()
    if run.device is None or not layers or not all(layer.cycles for layer in layers):
        return ()
    nodes = {node.name: node for node in found.nodes}
    if len(nodes) != len(found.nodes) or any(layer.name not in nodes for layer in layers):
        if [layer.operator for layer in layers] != [node.op for node in found.nodes]:
            return ()
        matched: Sequence[NodeForecast] = found.nodes
    else:
        matched = [nodes[layer.name] for layer in layers]
    return tuple(
        LayerTime(name=layer.name, measured_ms=ms_of(layer, run.device.clock_hz), node=node)
        for layer, node in zip(layers, matched, strict=True)
    )


def ms_of(layer: Layer, clock_hz: int) -> float:
    """Median time of a layer."""
    return 1e3 * median(layer.cycles) / clock_hz


def outlier_of(run: Run, file: DeviceFile, found: Forecast) -> str:
    """The layer that takes most beyond its prediction, the reason and the way out; "" if none does."""
    times = layer_times(run, found)
    whole = sum(row.measured_ms for row in times)
    told = [row for row in times if row.node.ms > 0]
    if not told or not whole:
        return ""
    # of more than a hundred alike, none is a hundredth
    weighty = [row.factor for row in told if row.node.ms >= 0.01 * found.ms]
    general = median(weighty or [row.factor for row in told])
    far = [
        row for row in told if row.measured_ms >= _WORTH * whole and row.factor > OUTLIER * max(general, 1.0)
    ]
    if not far:
        return ""
    worst = max(far, key=lambda row: row.measured_ms - row.node.ms)
    layer = next(layer for layer in run.layers or () if layer.name == worst.name)
    return (
        f"{worst.name} takes {worst.factor:.2g}x its prediction ({worst.measured_ms:.3g} ms for {worst.node.ms:.3g}): "
        f"{_reason(worst, layer)}{_way_out(worst, file, found, targets()[run.target])}"
    )


def _reason(row: LayerTime, layer: Layer) -> str:
    rest = row.node
    left_ms = row.measured_ms - rest.compute_ms - rest.activations_ms - rest.cpp_ms
    count = layer.parameter_bytes or 0
    if held_by_weights(layer) and left_ms > 0:
        rate = 1e3 * count / left_ms
        return f"its {count:,} bytes of weights come at {rate / 1e6:.2g} MB/s, {memory_of(rate)}"
    kernels = ", ".join(rest.kernels) or "C++"
    return f"its weights and activations do not account for that: look at its kernel ({kernels})"


def _way_out(row: LayerTime, file: DeviceFile, found: Forecast, chip: Target) -> str:
    """What the settings that move weights faster would give for this node."""
    setup = found.setup
    if row.node.weights_ms == 0:
        return ""
    said = []
    for what, other in (
        ("a copy in PSRAM", replace(setup, param_copy=True)),
        ("parameters in flash at QIO 80 MHz", replace(setup, param_copy=False, flash="qio80")),
    ):
        node = next(node for node in forecast(file, chip, setup=other).nodes if node.name == row.node.name)
        if node.ms < 0.8 * row.measured_ms:
            said.append(f"{what} would give {node.ms:.3g} ms")
    return f"; {' and '.join(said)}" if said else ""


def held_by_weights(layer: Layer) -> bool:
    """Whether each byte of its weights serves so few multiply-accumulates that their memory decides."""
    return bool(layer.macs and layer.parameter_bytes and layer.parameter_bytes > _HEAVY_BYTES * layer.macs)


def memory_of(bytes_per_s: float) -> str:
    """The slowest memory that could give bytes so fast, in words: `as flash in dio80 does at most 20 MB/s`."""
    modes = [("flash", *item) for item in FLASH_BYTES_PER_S.items()]
    modes += [("PSRAM", *item) for item in PSRAM_BYTES_PER_S.items() if item[1]]
    able = [mode for mode in modes if mode[2] >= bytes_per_s]
    if not able:
        return "faster than any external memory: out of a cache or internal RAM"
    kind, name, peak = min(able, key=lambda mode: (mode[2], mode[0] != "flash"))
    return f"as from {kind} in mode {name} (at most {peak / 1e6:g} MB/s)"


def why_slower(before: Layer, after: Layer, clocks: tuple[int, int]) -> str:
    """Why a layer got slower, told from its own bytes and multiply-accumulates; "" where the row does not tell them."""
    old, new = ms_of(before, clocks[0]), ms_of(after, clocks[1])
    if not after.macs or not old or not new:
        return ""
    count = after.parameter_bytes or 0
    if held_by_weights(after):
        rate = 1e3 * count / new
        return (
            f"weights came at {count / old / 1e3:.3g} MB/s, now at {rate / 1e6:.3g} MB/s, {memory_of(rate)}"
        )
    cycles = [ms * clock / 1e3 / after.macs for ms, clock in zip((old, new), clocks, strict=True)]
    return f"{cycles[0]:.3g} cycles for a multiply-accumulate, now {cycles[1]:.3g}: its kernel or where activations lie"
