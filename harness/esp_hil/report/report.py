"""What every format is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from esp_hil.report.view import PrintedRun, Tally, line_of, numbers_of, tally
from esp_hil.results.metrics import figures, latency_of
from esp_hil.results.record import Run
from esp_hil.results.text import clean
from esp_hil.results.timing.latency import Latency
from esp_hil.results.validity import Validity, check

if TYPE_CHECKING:
    import pandas as pd

    from esp_hil.report.details import Config
    from esp_hil.results.history import HistoryLine
    from esp_hil.results.regress import Comparison


class Report:
    """The rows of a report and, made once and only if a format asks, what is derived from all of them.

    Args:
        runs: the rows, in their order.
        warnings: what readers must know of rows that are missing.
        history: figures over time, if there is a history.
        configs: configurations of the firmware by their digest, as far as they are known.
        comparison: with what came before, if there is something.
        baseline: what that is, in words.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        warnings: Sequence[str] = (),
        *,
        history: Sequence[HistoryLine] = (),
        configs: Mapping[str, Config] = MappingProxyType({}),
        comparison: Comparison | None = None,
        baseline: str = "",
    ) -> None:
        self.runs = tuple(runs)
        self.history = tuple(history)
        self.configs = configs
        self.comparison = comparison
        self.baseline = baseline
        self.warnings = tuple(clean(warning) for warning in warnings)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The rows as `esp_hil.results.frames.frame` gives them."""
        from esp_hil.results.frames import frame

        return frame(self.runs, self.validities)

    @cached_property
    def _measured(self) -> tuple[tuple[Latency | None, dict[str, int | float]], ...]:
        """In one pass, because the figures ask for the latency again, which is remembered for a moment."""
        return tuple((latency_of(run), figures(run)) for run in self.runs)

    @cached_property
    def figures(self) -> tuple[dict[str, int | float], ...]:
        """The metrics and counters of each row, as `esp_hil.results.metrics.figures` gives them."""
        return tuple(figures for _, figures in self._measured)

    @cached_property
    def latencies(self) -> tuple[Latency | None, ...]:
        """Figures of each row's repetitions."""
        return tuple(latency for latency, _ in self._measured)

    @cached_property
    def validities(self) -> tuple[Validity, ...]:
        """What the rules of measuring say of each row."""
        return tuple(check(run) for run in self.runs)

    def line(self, number: int) -> PrintedRun:
        """The row with that number, from 0, as printed."""
        return line_of(self.runs[number], self.latencies[number], self.validities[number])

    def numbers(self, most: int) -> list[int]:
        """Numbers of at most so many rows, in their order; those that are not ok come first if there are more."""
        return numbers_of(self.runs, most)

    @cached_property
    def tally(self) -> Tally:
        """How many runs came out how."""
        return tally(self.runs)
