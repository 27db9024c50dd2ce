"""Where a network's milliseconds go, and what would change that: text for people, from predictions alone.

`hil predict MODEL --target T --page` prints it; docs/time/ has the pages of the five systems this project grew
from, and a test compares them with what is predicted today.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from esp_hil.errors import HilError
from esp_hil.formats.espdl.model import EspdlModel
from esp_hil.models.device_file import DeviceFile
from esp_hil.results.timing.forecast import Forecast, NodeForecast, forecast
from esp_hil.results.timing.physics import figures_of, networks, physics_of
from esp_hil.results.timing.published import PublishedLatency
from esp_hil.results.timing.setup import FLASH_BYTES_PER_S, PSRAM_BYTES_PER_S, Setup, setup_of
from esp_hil.results.timing.work import work_of
from esp_hil.targets import Target, target

MOST_NODES = 8
_LEAST_GAIN = 0.02
"""A change that gains less is not worth a line."""

_HEAVY = 0.25
"""Share of an inference that the weights of one node take before fewer of them are advised."""

_OTHER_CHIPS = ("esp32s3", "esp32p4")
"""Chips that are worth naming where a `.tflite` is too slow: those with vector kernels in ESP-NN."""

_ALIGNED = 0.085
"""Instructions for a multiply-accumulate of ESP-DL's aligned int8 convolutions, on both chips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyChange:
    """Something that one could do, and what an inference then takes; ms.

    Attributes:
        what: in the imperative.
        ms: predicted afterwards.
        of_model: the network changes, so it has to be quantized again; else settings do.
        other_chip: it takes another board.
    """

    what: str
    ms: float
    of_model: bool
    other_chip: bool = False


def changes_for(
    file: DeviceFile, chip: Target, found: Forecast, *, kernels: str = "esp-nn"
) -> tuple[LatencyChange, ...]:
    """What would make it faster, the most effective first; each alone."""
    now = found.ms
    made = [*_settings(file, chip, found, kernels), *_of_model(file, found), *_of_chip(file, chip, kernels)]
    gains = [change for change in made if change.ms < (1 - _LEAST_GAIN) * now]
    return tuple(sorted(gains, key=lambda change: change.ms))


def _settings(file: DeviceFile, chip: Target, found: Forecast, kernels: str) -> Iterator[LatencyChange]:
    setup = found.setup
    # what one's own rows have taught lies between the plain prediction and the one that is changed
    taught = found.ms / forecast(file, chip, setup=setup, kernels=kernels).ms
    for what, other in _other_setups(chip, setup):
        try:
            ms = forecast(file, chip, setup=other, kernels=kernels).ms
        except HilError:
            continue
        yield LatencyChange(what=what, ms=ms * taught, of_model=False)


def _other_setups(chip: Target, setup: Setup) -> Iterator[tuple[str, Setup]]:
    usual = setup_of(chip)
    if setup.optimize != "O2":
        yield f"compile with -O2 instead of -{setup.optimize}", replace(setup, optimize="O2")
    if setup.clock_hz < chip.fastest_hz:
        yield f"run at {chip.fastest_hz / 1e6:g} MHz", replace(setup, clock_hz=chip.fastest_hz)
    if setup.psram != "none" and PSRAM_BYTES_PER_S[usual.psram] > setup.psram_bytes_per_s:
        yield (
            f"run the PSRAM in mode {usual.psram} instead of {setup.psram}",
            replace(setup, psram=usual.psram),
        )
    if not setup.copied:
        if setup.psram != "none":
            yield "copy the parameters to PSRAM (param_copy)", replace(setup, param_copy=True)
        if FLASH_BYTES_PER_S[usual.flash] > FLASH_BYTES_PER_S[setup.flash]:
            yield f"run the flash in mode {usual.flash}", replace(setup, flash=usual.flash)
    if setup.cache_bytes < usual.cache_bytes:
        yield f"give the cache {usual.cache_bytes // 1024} KB", replace(setup, cache_bytes=usual.cache_bytes)
    if chip.cores > setup.cores:
        yield f"let {chip.cores} cores compute (RUNTIME_MODE_MULTI_CORE)", replace(setup, cores=chip.cores)


def _of_model(file: DeviceFile, found: Forecast) -> Iterator[LatencyChange]:
    if not isinstance(file.content, EspdlModel):
        return
    looked_up = clip_nodes(file)
    saved = sum(node.ms for node in found.nodes if node.name in looked_up)
    if saved:
        yield LatencyChange(
            what=f"make {len(looked_up)} Clip Relu before export: Clip is a table look-up, a Relu costs nothing",
            ms=found.ms - saved,
            of_model=True,
        )
    for node, layer in zip(found.nodes, work_of(file), strict=True):
        if node.weights_ms > _HEAVY * found.ms:
            yield LatencyChange(
                what=f"halve the {layer.parameter_bytes:,} bytes of weights of {node.name}",
                ms=found.ms - node.weights_ms / 2,
                of_model=True,
            )
        gain = _aligned_gain(node, layer.macs, layer.bits)
        if gain:
            yield LatencyChange(
                what=f"give {node.name} multiples of 16 channels: its kernel is the unaligned one",
                ms=found.ms - gain,
                of_model=True,
            )


def _of_chip(file: DeviceFile, chip: Target, kernels: str) -> Iterator[LatencyChange]:
    """Another chip, for a `.tflite`: an `.espdl` would have to be made for it first."""
    if isinstance(file.content, EspdlModel):
        return
    for name in _OTHER_CHIPS:
        if name != chip.name:
            other = forecast(file, target(name), kernels=kernels)
            yield LatencyChange(
                what=f"take an {name} with ESP-NN", ms=other.ms, of_model=False, other_chip=True
            )


def clip_nodes(file: DeviceFile) -> frozenset[str]:
    """Nodes that clip by a table what a fused Relu would clip for nothing: a Clip right behind a Conv or Gemm."""
    assert isinstance(file.content, EspdlModel), "a .tflite fuses its activations"
    graph = file.content.graph
    makers = {name: node for node in graph.nodes for name in node.outputs}
    return frozenset(
        node.name
        for node in graph.nodes
        if node.op_type == "Clip"
        and (maker := makers.get(node.input(0)))
        and maker.op_type in {"Conv", "Gemm"}
    )


def _aligned_gain(node: NodeForecast, macs: int, bits: int) -> float:
    """How many ms an aligned kernel would save with the same multiply-accumulates; 0 where there is nothing to gain."""
    if node.op != "Conv" or bits != 8 or not any("unaligned" in kernel for kernel in node.kernels):
        return 0.0
    if any("depthwise" in kernel or "dw" in kernel for kernel in node.kernels) or not node.instructions:
        return 0.0
    return max(0.0, node.compute_ms * (1 - _ALIGNED * macs / node.instructions))


PARTS = ("compute", "weights", "activations", "C++")


def part_of(node: NodeForecast, part: str) -> float:
    """What one of PARTS takes, in ms."""
    return {
        "compute": node.compute_ms,
        "weights": node.weights_ms,
        "activations": node.activations_ms,
        "C++": node.cpp_ms,
    }[part]


def page(
    title: str,
    file: DeviceFile,
    chip: Target,
    found: Forecast,
    *,
    published: Sequence[PublishedLatency] = (),
    kernels: str = "esp-nn",
) -> str:
    """The page of one network on one chip, as Markdown.

    Args:
        title: its first line.
        file: the device file.
        chip: the target.
        found: what is predicted.
        published: figures of this network on this chip, each explained by its settings or said not to be.
        kernels: of TFLM.
    """
    lines = [f"# {title}", "", f"{_sentence(found.summary)} at {found.setup.summary}."]
    lines += [f"The band is that wide because: {reason}." for reason in found.reasons]
    lines += ["", "## Where the time goes", "", "| part | ms | share |", "|---|---:|---:|"]
    for part in PARTS:
        ms = sum(part_of(node, part) for node in found.nodes)
        if ms:
            lines.append(f"| {part} | {ms:.3g} | {100 * ms / found.ms:.0f} % |")
    lines += ["", "| node | operator | ms | share | mostly |", "|---|---|---:|---:|---|"]
    longest = sorted(found.nodes, key=lambda node: -node.ms)[:MOST_NODES]
    for node in longest:
        lines.append(
            f"| {node.name} | {node.op} | {node.ms:.3g} | {100 * node.ms / found.ms:.0f} % | {node.why} |"
        )
    rest = len(found.nodes) - len(longest)
    if rest:
        ms = found.ms - sum(node.ms for node in longest)
        lines.append(f"| {rest} others | | {ms:.3g} | {100 * ms / found.ms:.0f} % | |")
    lines += _change_lines(file, chip, found, kernels)
    for row in published:
        lines += _published_lines(file, chip, found, row)
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _change_lines(file: DeviceFile, chip: Target, found: Forecast, kernels: str) -> list[str]:
    changes = changes_for(file, chip, found, kernels=kernels)
    lines = ["", "## What would change it", ""]
    if not changes:
        return [
            *lines,
            "Nothing that is known: every setting is the fastest already, and no node wastes its kernel.",
        ]
    lines += ["| change (each alone) | ms | of today's |", "|---|---:|---:|"]
    for change in changes:
        lines.append(f"| {change.what} | {change.ms:.3g} | {100 * change.ms / found.ms:.0f} % |")
    half = [change for change in changes if change.ms <= found.ms / 2]
    together = found.ms * _together(changes, found.ms)
    if half:
        said = f"One change halves it: {half[0].what}."
    elif together <= found.ms / 2:
        said = f"No change alone halves it; all together might, to about {together:.3g} ms."
    else:
        said = f"Nothing here halves it: all together come to about {together:.3g} ms."
    return [*lines, "", said]


def _together(changes: Sequence[LatencyChange], now: float) -> float:
    """All changes, as if each gained its share of what the others leave."""
    left = 1.0
    for change in changes:
        if change.other_chip:
            continue
        left *= change.ms / now
    return left


def _published_lines(file: DeviceFile, chip: Target, found: Forecast, row: PublishedLatency) -> list[str]:
    """A published figure: with its own settings, and whether these explain it."""
    lines = ["", f"## Published: {row.latency_ms:g} ms", "", f"{row.version}, {row.source}."]
    if row.runtime != "espdl":
        inside = found.low_ms <= row.latency_ms <= found.high_ms
        return [*lines, f"It lies {'in' if inside else 'outside'} the band."]
    setup = setup_of(chip, **row.changes)
    theirs = forecast(file, chip, setup=setup)
    lines.append(f"With its settings ({setup.summary}): {theirs.summary}.")
    lines += _steps(file, chip, row.changes)
    if theirs.low_ms <= row.latency_ms <= theirs.high_ms:
        return [*lines, "", "Its settings explain it."]
    beyond = row.latency_ms - (theirs.high_ms if row.latency_ms > theirs.high_ms else theirs.low_ms)
    return [
        *lines,
        "",
        f"Its settings do not explain it: {abs(beyond):.3g} ms lie {'above' if beyond > 0 else 'below'} the band.",
    ]


def _steps(file: DeviceFile, chip: Target, changes: Mapping[str, object]) -> list[str]:
    """What each of its settings adds to the examples' settings, one after the other."""
    if not changes:
        return []
    lines = ["", "| setting | ms |", "|---|---:|"]
    given: dict[str, object] = {}
    lines.append(f"| ESP-DL's examples | {forecast(file, chip).ms:.3g} |")
    for name, value in changes.items():
        given[name] = value
        lines.append(
            f"| {_setting(name, value)} | {forecast(file, chip, setup=setup_of(chip, **given)).ms:.3g} |"
        )
    return lines


def _setting(name: str, value: object) -> str:
    if name == "clock_hz" and isinstance(value, int):
        return f"{value / 1e6:g} MHz"
    if name == "cache_bytes" and isinstance(value, int):
        return f"cache {value // 1024} KB"
    if name == "optimize":
        return f"-{value}"
    if name == "param_copy":
        return "parameters in flash" if not value else "parameters copied"
    return f"{name} {value}"


def networks_page(
    title: str, chip: Target, names: Sequence[str], fps: Mapping[str, tuple[float, Sequence[str]]]
) -> str:
    """The page of published networks whose files are not at hand, from their counted instructions and bytes.

    Args:
        title: its first line.
        chip: the target.
        names: of networks.csv.
        fps: of an application: what is published, and the networks that one of its frames runs through.
    """
    counted = {network.model: network for network in networks() if network.target == chip.name}
    told = {figure.network.model: figure.ms for figure in figures_of(chip.name)}
    physics, usual = physics_of(chip.name), setup_of(chip)
    lines = [f"# {title}", "", f"At {usual.summary}.", "", "## Where the time goes", ""]
    lines += ["| network | predicted ms | compute | weights | activations | C++ | published ms |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|"]
    for name in names:
        parts = physics.parts(counted[name].parts())
        cells = (parts.compute_ms, parts.weights_ms, parts.activations_ms, parts.cpp_ms)
        whole = physics.ms(counted[name])
        shares = " | ".join(f"{100 * cell / whole:.0f} %" for cell in cells)
        lines.append(f"| {name} | {whole:.3g} | {shares} | {told[name]:.4g} |")
    lines += ["", "## Frames a second", ""]
    lines += [
        "| application | published | networks alone allow | of a frame's time |",
        "|---|---:|---:|---:|",
    ]
    for application, (published, run) in fps.items():
        ms = sum(physics.ms(counted[name]) for name in run)
        lines.append(
            f"| {application} ({', '.join(run)}) | {published:g} | {1000 / ms:.3g} | "
            f"{100 * ms * published / 1000:.0f} % |"
        )
    lines += ["", "## What would change it", "", "| change (each alone) | " + " | ".join(names) + " |"]
    lines.append("|---|" + "---:|" * len(names))
    for what, setup in (
        ("run the PSRAM in mode octal120", replace(usual, psram="octal120")),
        ("run the PSRAM in mode octal40", replace(usual, psram="octal40")),
        ("leave the parameters in flash (qio80)", replace(usual, param_copy=False)),
    ):
        times = " | ".join(f"{physics.ms(counted[name], setup):.3g} ms" for name in names)
        lines.append(f"| {what} | {times} |")
    return "\n".join(lines) + "\n"
