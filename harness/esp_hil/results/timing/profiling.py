"""What the graph of a device file tells beside what the device measured: work of layers, predicted memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from esp_hil import counters
from esp_hil.errors import ConfigError, UnsupportedOperator
from esp_hil.formats.espdl.memory import plan_memory
from esp_hil.formats.espdl.model import EspdlModel
from esp_hil.models.device_file import DeviceFile
from esp_hil.results.record import Layer
from esp_hil.results.timing.forecast import forecast
from esp_hil.results.timing.setup import setup_of
from esp_hil.results.timing.work import LayerWork
from esp_hil.targets import Target
from esp_hil.wire.info import LayerCycles

Profile = Sequence[LayerCycles]


def layers_of(profiles: Sequence[Profile], work: Sequence[LayerWork]) -> tuple[Layer, ...]:
    """The layers of one or more profiled runs, each with its work where the graph has it.

    Args:
        profiles: one a run, each with the same layers in the same order.
        work: of the graph's layers. They belong to the device's by name; or, where a runtime names layers
            otherwise, by order, if there are as many of the same types.

    Returns:
        One `Layer` a layer; its work is None where it is not known.
    """
    if not profiles:
        return ()
    first = profiles[0]
    known = {layer.name: layer for layer in work}
    in_order = [layer.operator for layer in work] == [layer.type for layer in first]
    found = []
    for number, layer in enumerate(first):
        cycles = tuple(profile[number].cycles for profile in profiles if number < len(profile))
        mine = known.get(layer.name) or (work[number] if in_order else None)
        found.append(_layer(layer, cycles, mine))
    return tuple(found)


def _layer(layer: LayerCycles, cycles: tuple[int, ...], work: LayerWork | None) -> Layer:
    if work is None:
        return Layer(name=layer.name, operator=layer.type, cycles=cycles)
    return Layer(
        name=layer.name,
        operator=layer.type,
        cycles=cycles,
        macs=work.macs,
        parameter_bytes=work.parameter_bytes,
        activation_bytes=work.activation_bytes,
        bits=work.bits,
    )


def predicted_latency(file: DeviceFile, target: Target, *, clock_hz: int) -> Mapping[str, tuple[float, str]]:
    """What `hil predict` says of a file on a chip, with the band: `latency_ms`, `latency_low_ms`, `latency_high_ms`.

    Returns:
        Name -> (value, "ms"); {} where there is no prediction.
    """
    try:
        found = forecast(file, target, setup=setup_of(target, clock_hz=clock_hz))
    except (ConfigError, UnsupportedOperator):
        return {}
    return {
        "latency_ms": (found.ms, "ms"),
        "latency_low_ms": (found.low_ms, "ms"),
        "latency_high_ms": (found.high_ms, "ms"),
    }


def predicted_memory(
    file: DeviceFile, target: Target, *, psram_bytes: int
) -> Mapping[str, tuple[int | float, str]]:
    """What `hil plan` says of a file on a board, under the names of the device's counters.

    Args:
        file: the device file.
        target: the chip.
        psram_bytes: that the board reports; without any, parameters stay in flash.

    Returns:
        Counter -> (bytes, "bytes"); only the file's own for a runtime whose planner is not replayed (TFLM).

    Raises:
        UnsupportedOperator: an operator that ESP-DL does not register.
    """
    if not isinstance(file.content, EspdlModel):
        return {counters.MODEL_FLASH: (len(file.image), counters.COUNTERS[counters.MODEL_FLASH])}
    has_psram = psram_bytes > 0
    plan = plan_memory(file.content, target, psram=has_psram, param_copy=has_psram)
    sizes = {
        counters.ARENA: plan.variable.total_bytes,
        counters.ARENA_INTERNAL: plan.variable.internal_bytes,
        counters.ARENA_PSRAM: plan.variable.psram_bytes,
        counters.PARAMETERS_FLASH: plan.parameter.flash_bytes,
        counters.PARAMETERS_COPIED_INTERNAL: plan.parameter_copy.internal_bytes,
        counters.PARAMETERS_COPIED_PSRAM: plan.parameter_copy.psram_bytes,
        counters.MODEL_FLASH: plan.needed_bytes("flash"),
    }
    return {name: (size, counters.COUNTERS[name]) for name, size in sizes.items()}
