"""The figures of a row that stand beside it in the database, for what asks in SQL: Grafana, a notebook.

The harness itself reads whole rows; these are for others, and can be made again from the rows at any time.
"""

from __future__ import annotations

from math import isfinite

from esp_hil.counters import ARENA, ARENA_INTERNAL, HEAP_INTERNAL_FREE, HEAP_PSRAM_FREE
from esp_hil.results.metrics import METRICS, counters_of
from esp_hil.results.record import Run
from esp_hil.results.validity import check

SHOWN = (
    "latency_ms",
    "latency_p95_ms",
    "fps",
    "top1_device_pct",
    "agreement_device_exact_pct",
    "agreement_device_float_pct",
    "link_bytes_per_s",
    "load_ms",
    "leak_bytes",
    "duration_s",
)
COUNTERS = (ARENA, ARENA_INTERNAL, HEAP_INTERNAL_FREE, HEAP_PSRAM_FREE)


def figures_of(run: Run) -> dict[str, float]:
    """By name; a latency that breaks a rule of measuring is left out."""
    believed = check(run).valid is not False
    found = {
        metric.name: metric.of(run)
        for metric in METRICS
        if metric.name in SHOWN and (believed or not metric.of_device)
    }
    found |= {name: value for name, value in counters_of(run).items() if name in COUNTERS}
    return {name: float(value) for name, value in found.items() if value is not None and isfinite(value)}
