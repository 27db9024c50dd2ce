"""What a report says of one run, in words and printed figures; shared by every format that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from esp_hil.report.memory import arena_of
from esp_hil.results.metrics import figure_of, latency_of
from esp_hil.results.outcome import SEVERITY, Status, deciding, reason_of, status_of
from esp_hil.results.record import BoardKind, Run
from esp_hil.results.text import clean
from esp_hil.results.timing.latency import Latency
from esp_hil.results.validity import Validity, check
from esp_hil.verdict.measures import FIRST_FIGURE, MEASURES, Measure
from esp_hil.verdict.verdict import FloatDiff

SIMULATED_MARK = "SIM"

EMULATED_MARK = "EMU"

PREDICTED_MARK = "PRED"
"""A virtual board whose latency is predicted for its chip."""

MARKS: Mapping[BoardKind, str] = {"silicon": "", "emulated": EMULATED_MARK, "virtual": SIMULATED_MARK}
"""What stands beside every figure of a board that is not a chip."""

EMULATED_BANNER = (
    f"Runs marked {EMULATED_MARK} were answered by a chip emulated on a PC, which ran its own firmware: numbers and "
    "memory are real, time is not, and no figure of time is given."
)

SIMULATED_BANNER = (
    f"Runs marked {SIMULATED_MARK} were answered by a PC, not by a chip. The latency and memory of virtual "
    "boards are simulated. And on a virtual board, device == exact proves the path from the file to the "
    "verdict, not a port: its engine is the exact reference itself."
)

PREDICTED_BANNER = (
    f"Runs marked {PREDICTED_MARK} were answered by a PC. Their latency is what `hil predict` says of the model on "
    "that chip, from the instructions and bytes of each node; 80 % of published models lie in its band. "
    "Their memory is simulated. "
    "And on a virtual board, device == exact proves the path from the file to the verdict, not a port: its "
    "engine is the exact reference itself."
)


def mark_of(run: Run) -> str:
    """What stands beside the figures of a run: nothing beside a chip's."""
    return PREDICTED_MARK if figure_of(run) == "predicted" else MARKS[run.kind]


WORDS: Mapping[Status, str] = {
    "ok": "ok",
    "worse": "WORSE than baseline",
    "failed": "failed",
    "wrong": "wrong",
    "broken": "broken",
}
"""Of a tally; what is worst is said first."""


def numbers_of(runs: Sequence[Run], most: int) -> list[int]:
    """Numbers, from 0, of at most so many rows, the worst first, otherwise in their order.

    Attempts that do not count (`deciding`) come after the rows that do.
    """
    counts = deciding(runs)
    ranked = sorted(
        range(len(runs)), key=lambda number: (not counts[number], -SEVERITY[status_of(runs[number])])
    )
    return ranked[:most]


def milliseconds(value: float) -> str:
    """Four significant digits, as `2.504 ms`; never in powers of ten."""
    digits = 3 if value < 10 else 2 if value < 100 else 1 if value < 1000 else 0
    return f"{value:.{digits}f} ms" if value >= 0.1 else f"{1e3 * value:.1f} us"


def rate(fps: float) -> str:
    """Three significant digits, as `6.27 fps`; never in powers of ten."""
    return f"{fps:.2f} fps" if fps < 10 else f"{fps:.1f} fps" if fps < 100 else f"{fps:,.0f} fps"


def size(count: float) -> str:
    """Bytes, KiB or MiB."""
    if count < 1024:
        return f"{count:.0f} B"
    return f"{count / 1024:.1f} KiB" if count < 1024**2 else f"{count / 1024**2:.2f} MiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedRun:
    """One run as printed; every text is clean, and "" where the run has no such figure.

    Attributes:
        mark: of MARKS.
        port: device against exact, short.
        quantizer: exact against quantized, short.
        top1: accuracy of float and device, or their agreement without labels.
        latency: median.
        spread: the median's 95 % interval and p99.
        validity: what the rules of measuring say.
        memory: the arena.
        fps: inferences per second, from the median.
        attempt: as `attempt 2`; "" for the first.
        summary: why it is not ok, the diagnosis first; else the verdict's sentence.
    """

    run: Run
    status: Status
    mark: str
    model: str
    recipe: str
    runtime: str
    target: str
    board: str
    port: str
    quantizer: str
    top1: str
    latency: str
    fps: str
    attempt: str
    spread: str
    cold: str
    validity: str
    memory: str
    summary: str


def line_of(run: Run, latency: Latency | None = None, validity: Validity | None = None) -> PrintedRun:
    """The run as printed; what a report has computed of it already is passed on."""
    latency = latency or latency_of(run)
    arena = arena_of(run)
    return PrintedRun(
        run=run,
        status=status_of(run),
        mark=mark_of(run),
        model=clean(run.model),
        recipe=clean(run.recipe),
        runtime=clean(run.runtime),
        target=clean(run.target),
        board=clean(run.board),
        port=port_words(run),
        quantizer=quantizer_words(run),
        top1=top1_words(run),
        latency=milliseconds(latency.median_ms) if latency else "",
        fps=rate(latency.fps) if latency else "",
        attempt=f"attempt {run.attempt}" if run.attempt > 1 else "",
        spread=(
            f"95 % {milliseconds(latency.median_low_ms)} to {milliseconds(latency.median_high_ms)}, "
            f"p99 {milliseconds(latency.p99_ms)}, n {latency.n}"
            if latency
            else ""
        ),
        cold=milliseconds(latency.cold_ms) if latency and latency.cold_ms is not None else "",
        validity=(validity or check(run)).summary,
        memory=size(arena) if arena is not None else "",
        summary=words_of(run),
    )


def words_of(run: Run) -> str:
    """Why it is not ok, or the verdict's sentence."""
    return clean(reason_of(run))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many runs came out how.

    Attributes:
        total: combinations that were run; further attempts at one are not counted again.
        counts: how many of them by status.
        attempts: rows that are further attempts.
    """

    total: int
    counts: Mapping[Status, int]
    attempts: int
    simulated: int
    predicted: int = 0
    emulated: int

    @property
    def troubles(self) -> Sequence[tuple[Status, str, int]]:
        """Status, words and number of what is not ok, the worst first; those of which there are none are left out."""
        worst = sorted(self.counts, key=lambda status: -SEVERITY[status])
        found = [status for status in worst if status != "ok" and self.counts[status]]
        return [(status, WORDS[status], self.counts[status]) for status in found]

    @property
    def red(self) -> int:
        """Runs that are not ok."""
        return self.total - self.counts["ok"]

    @property
    def banners(self) -> Mapping[str, str]:
        """What has to be said of the marks that these runs have, by mark."""
        found = {EMULATED_MARK: EMULATED_BANNER} if self.emulated else {}
        if self.predicted:
            found[PREDICTED_MARK] = PREDICTED_BANNER
        return found | {SIMULATED_MARK: SIMULATED_BANNER} if self.simulated else found

    @property
    def summary(self) -> str:
        """As `6 runs: 4 ok, 1 broken, 1 wrong; 2 of them simulated; 1 of them emulated`."""
        parts = [f"{self.counts['ok']} ok"]
        parts += [f"{count} {words}" for _, words, count in self.troubles]
        parts += (
            [f"{self.attempts} further attempt{'s' if self.attempts != 1 else ''}"] if self.attempts else []
        )
        kinds = [
            (self.predicted, "predicted"),
            (self.simulated, "simulated"),
            (self.emulated, "emulated"),
        ]
        marked = [f"{count} of them {kind}" for count, kind in kinds if count]
        return "; ".join([f"{self.total} run{'s' if self.total != 1 else ''}: {', '.join(parts)}", *marked])


def tally(runs: Sequence[Run]) -> Tally:
    """Count the runs by status."""
    counted = [run for run, counts in zip(runs, deciding(runs), strict=True) if counts]
    statuses = [status_of(run) for run in counted]
    return Tally(
        total=len(counted),
        counts={status: statuses.count(status) for status in SEVERITY},
        attempts=len(runs) - len(counted),
        simulated=sum(figure_of(run) == "simulated" for run in runs),
        predicted=sum(figure_of(run) == "predicted" for run in runs),
        emulated=sum(run.kind == "emulated" for run in runs),
    )


def port_words(run: Run) -> str:
    """Device against exact, short; "" without a verdict."""
    if run.verdict is None:
        return ""
    if run.verdict.bit_exact:
        return "bit-exact"
    diffs = [output.device_vs_exact for output in run.verdict.outputs]
    different, count = sum(diff.different for diff in diffs), sum(diff.count for diff in diffs)
    lsb = max((diff.max_lsb for diff in diffs if not isinstance(diff, FloatDiff)), default=0)
    error = max((diff.max_abs for diff in diffs if isinstance(diff, FloatDiff)), default=0.0)
    far = " and ".join(
        part for part in (f"{lsb} LSB" if lsb else "", f"{error:.3g}" if error else "") if part
    )
    return f"{different} of {count} differ" + (f", up to {far}" if far else "")


def quantizer_words(run: Run) -> str:
    """Exact against quantized, short; "" without a verdict."""
    if run.verdict is None:
        return ""
    if run.verdict.honest is None:
        return "not checked"
    return "honest" if run.verdict.honest else f"off by up to {run.verdict.worst_quantized_lsb} LSB"


def top1_words(run: Run) -> str:
    """Accuracy of float and device, or their agreement; of outputs without classes their telling figure; else ""."""
    if run.verdict is None:
        return ""
    accuracies, agreement = run.verdict.accuracies, run.verdict.agreements.get("device/float")
    if "device" in accuracies:
        device = f"{100 * accuracies['device'].share:.2f} %"
        return f"{100 * accuracies['float'].share:.2f} -> {device}" if "float" in accuracies else device
    return f"{100 * agreement.share:.2f} % as float" if agreement else _meaning_words(run.verdict.measures)


def _meaning_words(measures: Sequence[Measure]) -> str:
    """The first telling figure of the device's answers, against what is expected if that is known."""
    telling = [
        one for one in measures if one.source == "device" and one.name == FIRST_FIGURE.get(one.meaning)
    ]
    chosen = [one for one in telling if one.against == "expected"] or telling
    if not chosen:
        return ""
    first, more = chosen[0], len({one.output for one in chosen}) - 1
    against = {"float": " to float", "exact": " as exact"}.get(first.against, "")
    return clean(f"{MEASURES[first.name].title} {first.words}{against}") + (f" (+{more})" if more else "")
