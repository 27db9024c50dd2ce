"""All figures of the simulated link in one report, as tables and as a plot."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np

from benchmarks._link_efficiency import (
    Efficiency,
    Overlap,
    ResidentFigures,
    connected,
    efficiency,
    overlap,
    resident_figures,
)
from benchmarks._link_faults import CAMPAIGNS, FaultCount, run_campaign
from benchmarks._link_rivals import RIVALS
from benchmarks._link_roundtrip import RoundTripFigures, measure_round_trips
from esp_hil.virtual.simline import LineModel
from esp_hil.virtual.simulated import CoreSettings, SimulatedDevice, answer

BAUDS = (115_200, 921_600, 2_000_000, 3_000_000)
OBJECT_BYTES = 16_384
OBJECTS = 32
WORKLOADS = ((784, 10), (27_648, 10), (230_400, 10))
"""Input and output bytes: a 28x28 digit, a 96x96 RGB image, a QVGA RGB image."""
OURS = "esp-hil"
GROWTH_BAUD = 921_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Inferences without computing time, one way of talking.

    Attributes:
        way: of talking.
        baud: of the line.
        input_bytes: of each input.
        output_bytes: of each output.
        inferences: how many.
        each_s: seconds of the line's clock for each.
        share: of the line rate that inputs and outputs made up in the busier direction.
    """

    way: str
    baud: int
    input_bytes: int
    output_bytes: int
    inferences: int
    each_s: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Seconds on the line's clock for one object, or for inferences of 784 bytes, against the bare bytes."""

    what: str
    amount: int
    seconds: float
    bare_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkReport:
    """What `hil bench link` measures."""

    series: tuple[Efficiency, ...]
    single: tuple[Efficiency, ...]
    noisy: tuple[Efficiency, ...]
    overlap: tuple[Overlap, ...]
    exchanges: tuple[Exchange, ...]
    faults: tuple[FaultCount, ...]
    growth: tuple[Growth, ...]
    round_trips: RoundTripFigures | None
    resident: tuple[ResidentFigures, ...]


def measure(*, transfers: int, seed: int) -> LinkReport:
    """Everything; deterministic."""
    core = CoreSettings()
    series, single = (
        tuple(
            efficiency(baud=baud, latency_s=latency_s, object_bytes=OBJECT_BYTES, objects=objects, core=core)
            for baud in BAUDS
            for latency_s in (0.001, 0.016)
        )
        for objects in (OBJECTS, 1)
    )
    noisy = tuple(
        efficiency(
            baud=GROWTH_BAUD,
            latency_s=0.001,
            object_bytes=OBJECT_BYTES,
            objects=4 * OBJECTS,
            core=core,
            bit_error_rate=rate,
        )
        for rate in (0.0, 1e-5, 1e-4)
    )
    overlaps = tuple(
        overlap(baud=baud, input_bytes=size, output_bytes=output, compute_ratio=ratio)
        for baud in (115_200, 2_000_000)
        for size, output in ((784, 10), (16_384, 10), (16_384, 16_384))
        for ratio in (0.5, 1.0, 3.0)
    )
    return LinkReport(
        series=series,
        single=single,
        noisy=noisy,
        overlap=overlaps,
        exchanges=_exchanges(),
        faults=tuple(run_campaign(c, transfers=transfers, seed=seed) for c in CAMPAIGNS),
        growth=_growth(),
        round_trips=None if sys.platform == "win32" else measure_round_trips(),
        resident=tuple(resident_figures(baud) for baud in (115_200, 921_600)),
    )


def _ours_s(model: LineModel, data: bytes, output_bytes: int, inferences: int) -> float:
    board = SimulatedDevice(input_bytes=len(data), output_bytes=output_bytes)
    link, device = connected(model, board)
    device.info()
    began_s = link.now()
    inputs = [{"x": np.frombuffer(data, np.uint8)}] * inferences
    for made in device.infer_many(inputs):
        assert made.outputs["y"].tobytes() == answer(data, output_bytes)
    board.close()
    return link.now() - began_s


def _exchanges() -> tuple[Exchange, ...]:
    rows: list[Exchange] = []
    for baud in (115_200, 921_600, 3_000_000):
        model = LineModel(baud=baud)
        for size, output in WORKLOADS:
            data = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8).tobytes()
            inferences = 50 if size < 1000 else 10
            for way, seconds in ({OURS: _ours_s} | RIVALS).items():
                each_s = seconds(model, data, output, inferences) / inferences
                rows.append(
                    Exchange(
                        way=way,
                        baud=baud,
                        input_bytes=size,
                        output_bytes=output,
                        inferences=inferences,
                        each_s=each_s,
                        share=max(size, output) * model.byte_s / each_s,
                    )
                )
    return tuple(rows)


def _incompressible(size: int) -> bytes:
    """Bytes that packing does not shrink."""
    return np.random.default_rng(1).bytes(size)


def _growth() -> tuple[Growth, ...]:
    model = LineModel(baud=GROWTH_BAUD)
    rows: list[Growth] = []
    for exponent in range(10, 23, 2):
        size = 1 << exponent
        board = SimulatedDevice(input_bytes=size, output_bytes=16, core=CoreSettings(slots_bytes=size + 4096))
        link, device = connected(model, board)
        device.info()
        began_s = link.now()
        device.set_input_bytes(0, _incompressible(size))
        rows.append(
            Growth(what="bytes", amount=size, seconds=link.now() - began_s, bare_s=size * model.byte_s)
        )
    data = _incompressible(784)
    for exponent in range(5):
        count = 10**exponent
        seconds = _ours_s(model, data, 10, count)
        rows.append(
            Growth(what="inputs", amount=count, seconds=seconds, bare_s=count * len(data) * model.byte_s)
        )
    return tuple(rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def as_markdown(report: LinkReport) -> str:
    """The tables of docs/performance.md."""
    singles = {(row.baud, row.latency_s): row for row in report.single}
    rows = []
    for row in report.series:
        one = singles[row.baud, row.latency_s]
        rows.append(
            (
                f"{row.baud:,}",
                f"{row.latency_s * 1e3:.0f} ms",
                *(f"{share:.1%}" for share in (row.downward, row.upward, one.downward, one.upward)),
            )
        )
    clean = report.noisy[0]
    parts = [
        _table(
            ("baud", "bridge", f"{OBJECTS} x 16 kB down", "up", "one 16 kB down", "up"),
            rows,
        ),
        _table(
            ("direction", "clean", "bit errors 1e-5", "1e-4"),
            [
                (
                    "down",
                    *(f"{row.downward:.1%} ({row.downward / clean.downward:.1%})" for row in report.noisy),
                ),
                ("up", *(f"{row.upward:.1%} ({row.upward / clean.upward:.1%})" for row in report.noisy)),
            ],
        ),
        _table(
            ("baud", "input", "output", "compute", "each", "over max(transfer, compute)"),
            [
                (
                    f"{o.baud:,}",
                    f"{o.input_bytes:,} B",
                    f"{o.output_bytes:,} B",
                    f"{o.compute_s * 1e3:.2f} ms",
                    f"{o.each_s * 1e3:.2f} ms",
                    f"{o.factor - 1:+.1%}",
                )
                for o in report.overlap
            ],
        ),
        _table(
            ("baud", "input", "way", "each", "line used"),
            [
                (
                    f"{e.baud:,}",
                    f"{e.input_bytes:,} B",
                    e.way,
                    f"{e.each_s * 1e3:,.1f} ms",
                    f"{e.share:.1%}",
                )
                for e in report.exchanges
            ],
        ),
        _table(
            ("line", "transfers", "right", "typed errors", "wrong", "late", "line time"),
            [
                (
                    f.name,
                    f"{f.transfers:,}",
                    f"{f.right:,}",
                    ", ".join(f"{n} {name}" for name, n in f.errors.items()) or "0",
                    str(f.wrong),
                    str(f.late),
                    f"{f.line_s:,.0f} s",
                )
                for f in report.faults
            ],
        ),
        _table(
            ("baud", "1,000 inputs of 784 B", "to the device", "line time"),
            [
                (f"{r.baud:,}", what, f"{size:,} B", f"{seconds:,.2f} s")
                for r in report.resident
                for what, (size, seconds) in (
                    ("sent each time", r.each_time),
                    ("stored once", r.storing),
                    ("found on the device", r.resident),
                )
            ],
        ),
        *_round_trips(report.round_trips),
    ]
    return "\n\n".join(parts) + "\n"


def _round_trips(found: RoundTripFigures | None) -> list[str]:
    if found is None:
        return []
    row = (
        f"{found.median_s * 1e3:.3f} ms",
        f"{found.p99_s * 1e3:.2f} ms",
        f"{found.downward_bytes_per_s / 1e6:.0f} MB/s",
        f"{found.upward_bytes_per_s / 1e6:.0f} MB/s",
        f"{found.load:.1f}",
    )
    return [_table(("overhead, median", "p99", "16 MB down", "up", "load per core"), [row])]


def growth_svg(report: LinkReport) -> str:
    """Seconds against amount, both axes logarithmic: measured as points, the bare bytes as lines."""
    width, height, margin = 720, 320, 50
    panels = []
    for number, what in enumerate(("bytes", "inputs")):
        rows = [row for row in report.growth if row.what == what]
        left = margin + number * width / 2
        low, high = math.log10(rows[0].amount), math.log10(rows[-1].amount)
        values = [value for row in rows for value in (row.seconds, row.bare_s)]
        bottom, top = math.log10(min(values)), math.log10(max(values))

        def place(
            amount: int,
            seconds: float,
            of: tuple[float, float, float, float, float] = (left, low, high, bottom, top),
        ) -> tuple[float, float]:
            start, least, most, floor, ceiling = of
            x = start + (math.log10(amount) - least) / (most - least) * (width / 2 - 1.6 * margin)
            y = height - margin - (math.log10(seconds) - floor) / (ceiling - floor) * (height - 2 * margin)
            return x, y

        line = " ".join("{:.1f},{:.1f}".format(*place(row.amount, row.bare_s)) for row in rows)
        panels.append(f'<polyline points="{line}" fill="none" stroke="#888"/>')
        for row in rows:
            x, y = place(row.amount, row.seconds)
            panels.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#c33"/>'
                f'<text x="{x:.1f}" y="{height - margin + 18}" text-anchor="middle">{row.amount:,}</text>'
                f'<text x="{x + 6:.1f}" y="{y + 14:.1f}">{row.seconds:.3g} s</text>'
            )
        title = "one object of so many bytes" if what == "bytes" else "inferences of 784 bytes"
        panels.append(f'<text x="{left:.0f}" y="24" font-size="13">{title}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="8">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>' + "".join(panels) + "</svg>\n"
    )
