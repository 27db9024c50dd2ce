"""The latency of a model, node by node, from what it executes and moves; with a band, and with reasons.

For chips with published figures of ESP-DL (esp32s3, esp32p4) the numbers are `esp_hil.results.timing.physics`;
for portable C++ nothing is published, so the band is wide and says why; for TFLM the published latencies tell cycles
for a multiply-accumulate of its kernels (`esp_hil.results.timing.predict`), which the nodes share by their work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from esp_hil.errors import ConfigError, UnsupportedOperator
from esp_hil.formats.espdl.model import EspdlModel
from esp_hil.formats.tflite.model import TfliteModel
from esp_hil.models.device_file import DeviceFile
from esp_hil.results.timing.cost import NodeCost, costs_of
from esp_hil.results.timing.esp_nn_cost import instructions_of, run_by_esp_nn
from esp_hil.results.timing.physics import Physics, half_width, physics_of
from esp_hil.results.timing.predict import fit_of
from esp_hil.results.timing.published import group_of, published
from esp_hil.results.timing.setup import Setup, setup_of
from esp_hil.results.timing.work import LayerWork, work_of
from esp_hil.targets import Target, target

KIN = {"esp32s31": "esp32p4"}
"""Chips with the kernels of another, whose numbers serve with a wider band."""

_UNMEASURED = math.log(2.5)
"""Half width of a band, as a logarithm, where no figure is published: a factor of 2.5 either way."""

SECOND_CORE = 0.9
"""Share of a split node that the second core takes off one half. Of its weights too, as far as the bus can give
them: what they cost beyond its peak is waiting, and both cores wait at the same time."""

_TFLM_ELEMENT_CYCLES = 25.0
"""Of TFLM for an output element of an operator without multiply-accumulates (facts of ESP-NN: pools 10-33, add 35)."""

_TFLM_UNCOUNTED = frozenset(
    {
        "BATCH_MATMUL",
        "SVDF",
        "TRANSPOSE_CONV",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "WHILE",
        "IF",
        "CALL_ONCE",
    }
)
"""Operators of TFLM that no published figure tells of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeForecast:
    """One node; its time is the sum of the four parts, all in ms."""

    name: str
    op: str
    instructions: float
    bytes: int
    kernels: tuple[str, ...]
    compute_ms: float
    weights_ms: float
    activations_ms: float
    cpp_ms: float

    @property
    def ms(self) -> float:
        """Its whole time."""
        return self.compute_ms + self.weights_ms + self.activations_ms + self.cpp_ms

    def scaled(self, factor: float) -> NodeForecast:
        """The same with every time multiplied."""
        return replace(
            self,
            compute_ms=self.compute_ms * factor,
            weights_ms=self.weights_ms * factor,
            activations_ms=self.activations_ms * factor,
            cpp_ms=self.cpp_ms * factor,
        )

    @property
    def why(self) -> str:
        """What takes most of its time."""
        parts = {
            "compute": self.compute_ms,
            "weights": self.weights_ms,
            "activations": self.activations_ms,
            "C++": self.cpp_ms,
        }
        return max(parts, key=lambda name: parts[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A predicted latency.

    Attributes:
        nodes: in the file's order.
        ms: of one inference.
        low_ms: four of five models lie above this.
        high_ms: and below this, so that 80 % lie between.
        setup: what it is for.
        reasons: why the band is wider than that of published networks; () if it is not.
    """

    nodes: tuple[NodeForecast, ...]
    ms: float
    low_ms: float
    high_ms: float
    setup: Setup
    reasons: tuple[str, ...]

    @property
    def instructions(self) -> float:
        """Of SIMD kernels (ESP-DL's, or ESP-NN's assembly), all nodes together."""
        return sum(node.instructions for node in self.nodes)

    @property
    def summary(self) -> str:
        """As `predicted 5.1 ms (4.1 to 6.4 ms)`."""
        return f"predicted {self.ms:.3g} ms ({self.low_ms:.3g} to {self.high_ms:.3g} ms)"

    @property
    def dominant(self) -> str:
        """Which part of the whole inference takes most: `weights 68 %`."""
        parts = {
            "compute": sum(node.compute_ms for node in self.nodes),
            "weights": sum(node.weights_ms for node in self.nodes),
            "activations": sum(node.activations_ms for node in self.nodes),
            "C++": sum(node.cpp_ms for node in self.nodes),
        }
        name = max(parts, key=lambda part: parts[part])
        return f"{name} {100 * parts[name] / self.ms:.0f} %" if self.ms else "nothing"

    def scaled(self, factor: float, *, half: float, reason: str) -> Forecast:
        """The same with every time multiplied, and a band of its own; for what a user's boards have told."""
        nodes = tuple(node.scaled(factor) for node in self.nodes)
        ms = self.ms * factor
        return replace(
            self,
            nodes=nodes,
            ms=ms,
            low_ms=ms * math.exp(-half),
            high_ms=ms * math.exp(half),
            reasons=(*self.reasons, reason),
        )


def of_operators(found: Forecast, pairs: Mapping[str, Sequence[tuple[float, float]]]) -> Forecast:
    """A prediction corrected operator by operator, by what rows of the conformance suite say of each; the band stays.

    Args:
        found: what is predicted without them.
        pairs: by operator: (measured ms, predicted ms) of its own layer in each case, of one chip and settings.
    """
    factors = {
        op: math.exp(median(math.log(measured / predicted) for measured, predicted in each))
        for op, each in pairs.items()
        if each
    }
    nodes = tuple(node.scaled(factors.get(node.op, 1.0)) for node in found.nodes)
    before = sum(node.ms for node in found.nodes)
    change = sum(node.ms for node in nodes) / before if before else 1.0
    known = {node.op for node in found.nodes} & set(factors)
    said = (
        f"{len(known)} of its {len({node.op for node in found.nodes})} operators corrected by your own rows"
    )
    return replace(
        found,
        nodes=nodes,
        ms=found.ms * change,
        low_ms=found.low_ms * change,
        high_ms=found.high_ms * change,
        reasons=(*found.reasons, said),
    )


def forecast(
    file: DeviceFile, chip: Target, *, setup: Setup | None = None, kernels: str = "esp-nn"
) -> Forecast:
    """Predict the latency of a device file.

    Args:
        file: `.espdl` or `.tflite`.
        chip: the target.
        setup: what to predict for; None: the settings of ESP-DL's own examples.
        kernels: of TFLM: esp-nn or portable.

    Raises:
        UnsupportedOperator: operators that the runtime lacks, or that nothing is known of.
        ConfigError: too little is published for this chip and runtime.
    """
    setup = setup or setup_of(chip)
    if not isinstance(file.content, EspdlModel):
        return _tflm(file, chip, setup, kernels)
    costs = costs_of(file, chip.family, setup, isa=chip.isa)
    if chip.family == "c":
        return _joined([_node(cost, _PORTABLE, setup) for cost in costs], setup, _UNMEASURED, _portable())
    name = KIN.get(chip.name, chip.name)
    half, reasons = _band(costs, half_width(name), chip.name)
    return _joined([_node(cost, physics_of(name), setup) for cost in costs], setup, half, reasons)


_PORTABLE = Physics(cycles=1.0, weights=2.0, activations=1.2, flash=1.2, models=0)


def _portable() -> tuple[str, ...]:
    return (
        "portable C++: no network is published for this chip, its loops are those of six published operators",
    )


def _node(cost: NodeCost, physics: Physics, setup: Setup) -> NodeForecast:
    share = 1 - SECOND_CORE / 2 if cost.parallel and setup.cores > 1 else 1.0
    clock = setup.clock_hz / 1e3
    return NodeForecast(
        name=cost.name,
        op=cost.op,
        instructions=cost.instructions,
        bytes=cost.bytes,
        kernels=cost.kernels,
        compute_ms=share * physics.cycles * cost.instructions / clock,
        weights_ms=_moved_ms(
            max(1.0, share * (physics.weights if setup.copied else physics.flash)),
            cost.weight_bytes + cost.streamed_bytes,
            setup.weight_bytes_per_s,
        ),
        activations_ms=_moved_ms(physics.activations, cost.activation_bytes, setup.psram_bytes_per_s),
        cpp_ms=share * cost.c_cycles / clock,
    )


def _moved_ms(factor: float, count: int, bytes_per_s: float) -> float:
    """Internal RAM, where there is no external memory, costs what its instructions cost: nothing more."""
    return 1e3 * factor * count / bytes_per_s if bytes_per_s else 0.0


def _band(costs: tuple[NodeCost, ...], half: float, chip: str) -> tuple[float, tuple[str, ...]]:
    reasons = []
    if chip in KIN:
        half = math.hypot(half, math.log(1.5))
        reasons.append(f"the numbers are those of {KIN[chip]}")
    total = sum(cost.instructions + cost.c_cycles for cost in costs) or 1.0
    guessed = [cost for cost in costs if not cost.known_c and cost.c_cycles]
    share = sum(cost.c_cycles for cost in guessed) / total
    if share > 0.02:
        half = math.hypot(half, share * _UNMEASURED)
        names = ", ".join(sorted({cost.op for cost in guessed}))
        reasons.append(f"{names}: C++ without a measured figure, {100 * share:.0f} % of the cycles")
    return half, tuple(reasons)


def _joined(nodes: list[NodeForecast], setup: Setup, half: float, reasons: tuple[str, ...]) -> Forecast:
    ms = sum(node.ms for node in nodes)
    return Forecast(
        nodes=tuple(nodes),
        ms=ms,
        low_ms=ms * math.exp(-half),
        high_ms=ms * math.exp(half),
        setup=setup,
        reasons=reasons,
    )


def _tflm(file: DeviceFile, chip: Target, setup: Setup, kernels: str) -> Forecast:
    assert isinstance(file.content, TfliteModel), "an .espdl is not TFLM's"
    layers = work_of(file)
    if not any(layer.macs for layer in layers):
        named = ", ".join(sorted({layer.operator for layer in layers}))
        raise UnsupportedOperator(
            f"no prediction: no published figure tells of {named}", hint="measure it: hil run"
        )
    rate, half, reasons = _tflm_rate(chip, kernels)
    fast = [kernels == "esp-nn" and has for has in run_by_esp_nn(file.content)]
    slow_rate = rate if kernels == "portable" else _tflm_rate(chip, "portable")[0]
    nodes = [
        _tflm_node(layer, rate if has else slow_rate, setup) for layer, has in zip(layers, fast, strict=True)
    ]
    if kernels == "esp-nn":
        nodes = _by_instructions(nodes, instructions_of(file.content, chip.name))
    whole = sum(node.ms for node in nodes) or 1.0
    for said, numbers in _not_published(layers, fast, kernels).items():
        share = sum(nodes[number].ms for number in numbers) / whole
        half = math.hypot(half, share * _UNMEASURED)
        reasons.append(f"{said}, {100 * share:.0f} % of the time")
    unknown = sorted(
        {layer.operator for layer in layers if layer.operator in _TFLM_UNCOUNTED and not layer.macs}
    )
    if unknown:
        half = math.hypot(half, math.log(2))
        reasons.append(f"{', '.join(unknown)}: no published figure tells of it")
    return _joined(nodes, setup, half, tuple(reasons))


def _not_published(layers: Sequence[LayerWork], fast: Sequence[bool], kernels: str) -> dict[str, list[int]]:
    """Layers with multiply-accumulates that no figure is published of, by what is to be said of them."""
    found: dict[str, list[int]] = {}
    names: dict[str, set[str]] = {}
    for number, (layer, has) in enumerate(zip(layers, fast, strict=True)):
        if not layer.macs or has:
            continue
        if layer.bits > 16:
            why = "in floats: the figures are of int8 kernels"
        elif layer.bits == 16:
            why = "at 16 bits: ESP-NN has no such kernels"
        elif layer.operator in _TFLM_UNCOUNTED:
            why = "by TFLM's reference kernel: no published figure tells of it"
        elif kernels == "esp-nn":
            why = "by TFLM's reference kernel: ESP-NN has none for it"
        else:
            continue
        names.setdefault(why, set()).add(layer.operator)
        found.setdefault(why, []).append(number)
    return {f"{', '.join(sorted(names[why]))} {why}": numbers for why, numbers in found.items()}


def _tflm_rate(chip: Target, kernels: str) -> tuple[float, float, list[str]]:
    """Cycles for a multiply-accumulate of TFLM, the half width of the band, and why it is wide."""
    try:
        fit = fit_of(published(), group_of("tflm", kernels, chip.name))
        return fit.cycles_per_mac, math.log(fit.high / fit.low) / 2, []
    except ConfigError:
        pass
    rows = [row for row in published() if row.runtime == "tflm" and row.kernels == kernels]
    own = [row.cycles_per_mac for row in rows if row.target == chip.name]
    if own:
        models = len({row.model for row in rows if row.target == chip.name})
        return (
            median(own),
            _UNMEASURED,
            [f"{models} network of TFLM is published for {chip.name}: no spread is known"],
        )
    kin = [row.cycles_per_mac for row in rows if (target(row.target).int8_lanes > 1) == (chip.int8_lanes > 1)]
    what = "with vectors" if chip.int8_lanes > 1 else "without vectors"
    said = f"no latency of TFLM is published for {chip.name}: those of other chips {what} serve"
    return median(kin), _UNMEASURED, [said]


def _by_instructions(nodes: list[NodeForecast], counts: Sequence[float | None]) -> list[NodeForecast]:
    """The same time in all, divided by instructions instead of multiply-accumulates where they are known."""
    known = [number for number, count in enumerate(counts) if count]
    compute_ms = sum(nodes[number].compute_ms + nodes[number].cpp_ms for number in known)
    whole = sum(count for count in counts if count)
    found = list(nodes)
    for number in known:
        count = counts[number] or 0.0
        found[number] = replace(
            nodes[number], instructions=count, compute_ms=compute_ms * count / whole, cpp_ms=0.0
        )
    return found


def _tflm_node(layer: LayerWork, cycles_per_mac: float, setup: Setup) -> NodeForecast:
    clock = setup.clock_hz / 1e3
    elements = layer.activation_bytes * 8 / max(layer.bits, 8) / 2
    plain = 0.0 if layer.macs else _TFLM_ELEMENT_CYCLES * elements
    return NodeForecast(
        name=layer.name,
        op=layer.operator,
        instructions=0.0,
        bytes=layer.bytes,
        kernels=(),
        compute_ms=cycles_per_mac * layer.macs / clock,
        weights_ms=0.0,
        activations_ms=0.0,
        cpp_ms=plain / clock,
    )


_FEW_ROWS = math.log(1.5)
"""Half width of the band, as a logarithm, that one row of one's own leaves to other models; more rows leave less."""


def learned(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """What a user's own rows say: the factor to multiply predictions by, and the half width of the band.

    Args:
        pairs: (measured ms, predicted ms) of one chip and settings.

    Raises:
        ConfigError: no pair.
    """
    if not pairs:
        raise ConfigError(
            "none of the rows has a latency that was measured on this chip",
            hint="run the suites on a board of this chip first; simulated rows tell nothing",
        )
    ratios = [math.log(measured / predicted) for measured, predicted in pairs]
    middle = median(ratios)
    spread = median(abs(ratio - middle) for ratio in ratios)
    return math.exp(middle), max(math.log(1.15), 2 * spread, _FEW_ROWS / math.sqrt(len(pairs)))
