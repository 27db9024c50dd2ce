"""The rows of a page as columns: texts as numbers into a list of their values, figures with five digits.

A hundred thousand rows are a few megabytes so, and a browser reads them in one go. Whatever is in here is data
in a JSON block: no text in it can end the block or become markup.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from esp_hil.report.memory import arena_of
from esp_hil.report.view import mark_of, port_words, quantizer_words, top1_words, words_of
from esp_hil.results.outcome import status_of
from esp_hil.results.record import Run
from esp_hil.results.text import clean
from esp_hil.results.timing.latency import Latency
from esp_hil.results.validity import Validity

Json = Any

TEXTS: Mapping[str, Callable[[Run], str]] = {
    "status": status_of,
    "model": lambda run: run.model,
    "recipe": lambda run: run.recipe,
    "runtime": lambda run: run.runtime,
    "target": lambda run: run.target,
    "board": lambda run: run.board,
    "kind": lambda run: run.kind,
    "mark": mark_of,
    "port": port_words,
    "quantizer": quantizer_words,
    "top1": top1_words,
    "words": lambda run: "" if run.passed else words_of(run),
}
"""Text columns by name."""

_LATENCY = ("median_ms", "median_low_ms", "median_high_ms", "min_ms", "p99_ms", "cold_ms", "fps")


def page_data(
    runs: Sequence[Run], latencies: Sequence[Latency | None], validities: Sequence[Validity], **more: Json
) -> str:
    """The JSON of a page.

    Args:
        runs: the rows, in their order.
        latencies: figures of each one's repetitions.
        validities: what the rules of measuring say of each.
        more: further keys: details of some rows, history, configurations.

    Returns:
        ASCII JSON without `<`, `>` and `&`, to stand between the tags of a script block of type
        application/json.
    """
    texts = {name: _coded([of(run) for run in runs]) for name, of in TEXTS.items()}
    texts["validity"] = _coded([" ".join(validity.codes) for validity in validities])
    numbers: dict[str, list[Json]] = {
        name: [_digits(getattr(found, name) if found else None) for found in latencies] for name in _LATENCY
    }
    numbers["arena_bytes"] = [arena_of(run) for run in runs]
    numbers["top1_pct"] = [_top1(run) for run in runs]
    document = {
        "count": len(runs),
        "texts": texts,
        "numbers": numbers,
        "started": _coded([run.started_utc[:19] for run in runs]),
        "attempt": [run.attempt for run in runs],
        **more,
    }
    said = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return said.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _coded(values: Sequence[str]) -> dict[str, Json]:
    """Distinct values in the order of their first use, and for each row the number of its value."""
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(value, len(numbers)) for value in values]
    return {"values": [clean(value) for value in numbers], "codes": codes}


def _digits(value: float | None) -> float | None:
    """Five significant digits: more than a median of noisy repetitions has."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")


def _top1(run: Run) -> float | None:
    if run.verdict is None:
        return None
    share = run.verdict.accuracies.get("device") or run.verdict.agreements.get("device/float")
    return _digits(100 * share.share) if share else None
