"""What the rows of the conformance suite say, operator by operator; nothing else is read.

table = conformance(rows)
table.entries[0].outcome           "exact", "within", "differs", "fails" or "not judged"
compared(table, earlier)           what is wrong now and was not, what was mended, what became slower
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from esp_hil.errors import ReportError
from esp_hil.results.outcome import deciding
from esp_hil.results.record import OperatorRow, Run
from esp_hil.verdict.difference import IntegerDiff

Outcome = Literal["exact", "within", "not judged", "differs", "fails"]
WORST: Mapping[Outcome, int] = {"exact": 0, "within": 1, "not judged": 2, "differs": 3, "fails": 4}
RECORDED = frozenset({"assembly", "portable", "tflite-micro"})
"""Origins of answers that this harness did not make itself."""

SLOWER = 1.05
"""A case whose median grew by more than this factor is told."""


def outcome_of(run: Run) -> Outcome:
    """How a case came out.

    Exact: bit for bit. Within: by no more than its tolerance. Differs: by more. Not judged: it differs because an
    operator before it in its model does. Fails: refused, crashed, or did not answer.
    """
    case = _case(run)
    if run.failure is not None or run.verdict is None:
        return "fails"
    if run.verdict.bit_exact:
        return "exact"
    if run.verdict.ok:
        return "within"
    return "not judged" if case.wrong_in not in {"", case.operator} else "differs"


def worst_of(run: Run) -> str:
    """By how much its worst element is off, in words; "" if it is exact or did not answer."""
    if run.verdict is None or run.verdict.bit_exact:
        return ""
    diffs = [output.device_vs_exact for output in run.verdict.outputs]
    lsb = max((diff.max_lsb for diff in diffs if isinstance(diff, IntegerDiff)), default=0)
    off = max((diff.max_abs for diff in diffs if not isinstance(diff, IntegerDiff)), default=0.0)
    words = ([f"{lsb} LSB"] if lsb else []) + ([f"{off:.3g}"] if off else [])
    return ", ".join(words) or "not finite"


def why_of(run: Run) -> str:
    """Why a case is not exact, in words; a reference of ours is doubted too."""
    case = _case(run)
    outcome = outcome_of(run)
    if outcome == "exact":
        return ""
    if outcome == "fails":
        return run.failure_words or "no answer"
    assert run.verdict is not None
    said = [f"known fault {case.fault}"] if case.fault else []
    if outcome == "within":
        said.append(f"allowed: {run.verdict.tolerance_reason}")
    elif outcome == "not judged":
        said.append(f"{case.wrong_in} before it is wrong")
    said.append(run.divergence or run.verdict.summary.partition(";")[0])
    if outcome == "differs" and case.origin == "reference":
        said.append("our reference may be wrong: no recorded answer stands behind it")
    return "; ".join(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorEntry:
    """One operator and width.

    Attributes:
        operator: as the runtime names it.
        bits: 8 or 16; 32 of floats.
        rows: of its cases, the worst first.
    """

    operator: str
    bits: int
    rows: tuple[Run, ...]

    @property
    def title(self) -> str:
        """Such as "Conv int8"."""
        return f"{self.operator} {width(self.bits)}"

    @property
    def outcome(self) -> Outcome:
        """The worst of its cases."""
        return max((outcome_of(run) for run in self.rows), key=WORST.__getitem__)

    @property
    def worst(self) -> str:
        """Of the first case, which is the worst."""
        return worst_of(self.rows[0])

    @property
    def recorded(self) -> int:
        """Cases with an answer that was recorded."""
        return sum(_case(run).origin in RECORDED for run in self.rows)

    @property
    def cycles_per_mac(self) -> float | None:
        """Median over its cases, of the operator's own layer; None where it has no MACs, or none was profiled."""
        found = [
            layer.cycles / layer.macs
            for layer in map(own_layer, self.rows)
            if layer is not None and layer.macs
        ]
        return statistics.median(found) if found else None

    @property
    def cycles_per_element(self) -> float | None:
        """The same for each element of its outputs."""
        found = [
            layer.cycles / _case(run).elements
            for run, layer in zip(self.rows, map(own_layer, self.rows), strict=True)
            if layer is not None and _case(run).elements
        ]
        return statistics.median(found) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """An operator's own layer in a case: its median cycles and its MACs."""

    cycles: float
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of one board and runtime.

    Attributes:
        entries: by operator and width.
        rows: all, one a case.
    """

    entries: tuple[OperatorEntry, ...]
    rows: tuple[Run, ...]

    def count(self, outcome: Outcome, *, recorded: bool | None = None) -> int:
        """Cases that came out so; `recorded`: only those whose answers were recorded, or were not."""
        return sum(
            outcome_of(run) == outcome and recorded in {None, _case(run).origin in RECORDED}
            for run in self.rows
        )

    @property
    def first(self) -> Run:
        """One of its rows, for what they share."""
        return next((run for run in self.rows if run.device is not None), self.rows[0])

    @property
    def engine(self) -> str:
        """The runtime and its version, in the device's words."""
        device = self.first.device
        return f"{device.engine} {device.engine_version}" if device is not None else self.first.runtime

    @property
    def summary(self) -> str:
        """Counts in one sentence; cases of our own reference are counted apart."""
        parts = []
        for recorded, name in ((True, "recorded answers"), (False, "answers of our reference")):
            total = sum((_case(run).origin in RECORDED) == recorded for run in self.rows)
            if not total:
                continue
            counts = {kind: self.count(kind, recorded=recorded) for kind in WORST}
            said = [f"{count} {words}" for kind, words in _WORDS.items() if (count := counts[kind])]
            parts.append(f"{name}: {', '.join(said)} of {total}")
        return "; ".join(parts)


_WORDS: Mapping[Outcome, str] = {
    "exact": "exact",
    "within": "within their tolerance",
    "differs": "differ",
    "fails": "fail",
    "not judged": "not judged",
}


def conformance(rows: Iterable[Run]) -> tuple[Table, ...]:
    """Tables of the rows that are about operators, one for each chip, board and runtime; a case's last row counts."""
    found = [run for run in rows if run.case is not None]
    kept = [run for run, counts in zip(found, deciding(found), strict=True) if counts]
    boards: dict[tuple[str, str, str], dict[str, Run]] = {}
    for run in kept:
        boards.setdefault((run.target, run.board, run.runtime), {})[_case(run).name] = run
    return tuple(_table(list(cases.values())) for cases in boards.values())


def _table(rows: Sequence[Run]) -> Table:
    groups: dict[tuple[str, int], list[Run]] = {}
    for run in rows:
        groups.setdefault((_case(run).operator, _case(run).bits), []).append(run)
    entries = [
        OperatorEntry(operator=operator, bits=bits, rows=tuple(sorted(group, key=_worst_first)))
        for (operator, bits), group in sorted(groups.items())
    ]
    return Table(entries=tuple(entries), rows=tuple(rows))


def _worst_first(run: Run) -> tuple[int, float, str]:
    off = 0.0
    if run.verdict is not None:
        diffs = [o.device_vs_exact for o in run.verdict.outputs]
        off = max(diff.max_lsb if isinstance(diff, IntegerDiff) else diff.max_abs for diff in diffs)
    return -WORST[outcome_of(run)], -off, _case(run).name


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseChange:
    """A case that is not as it was.

    Attributes:
        case: its name.
        title: operator and width.
        kind: what became of it.
        words: before -> now.
    """

    case: str
    title: str
    kind: Literal["worse", "mended", "slower", "faster", "new", "gone"]
    words: str


def earlier(table: Table, before: Sequence[Run]) -> Table | None:
    """The last table of the same chip and runtime in earlier rows; another board's will do. None without rows.

    Raises:
        ReportError: the rows have no such table.
    """
    if not before:
        return None
    key = (table.first.target, table.first.runtime)
    found = [old for old in conformance(before) if (old.first.target, old.first.runtime) == key]
    if not found:
        raise ReportError(
            f"the earlier rows have no operators of {key[1]} on {key[0]}",
            hint="give rows of `hil conformance` for the same chip and runtime",
            step="compare",
        )
    return max(found, key=lambda old: old.first.started_utc)


def changes_since(table: Table, before: Sequence[Run]) -> tuple[CaseChange, ...]:
    """What changed since the last of some earlier rows; nothing without any."""
    old = earlier(table, before)
    return () if old is None else compared(table, old)


def compared(now: Table, before: Table) -> tuple[CaseChange, ...]:
    """What changed since an earlier table of the same chip and runtime, the worst first; cycles only of like boards."""
    order = ("worse", "slower", "gone", "mended", "faster", "new")
    return tuple(sorted(_changes(now, before), key=lambda change: (order.index(change.kind), change.case)))


def _changes(now: Table, before: Table) -> Iterator[CaseChange]:
    earlier = {_case(run).name: run for run in before.rows}
    timed = _like(now.first, before.first)
    for run in now.rows:
        case, old = _case(run), earlier.pop(_case(run).name, None)
        title = f"{case.operator} {width(case.bits)}"
        if old is None:
            yield CaseChange(case=case.name, title=title, kind="new", words=outcome_of(run))
            continue
        was, is_ = outcome_of(old), outcome_of(run)
        if was != is_ or worst_of(old) != worst_of(run):
            better = (WORST[is_], _reach(run)) < (WORST[was], _reach(old))
            words = f"{_said(old)} -> {_said(run)}"
            yield CaseChange(case=case.name, title=title, kind="mended" if better else "worse", words=words)
        if timed and (ratio := _ratio(run, old)) is not None and not 1 / SLOWER <= ratio <= SLOWER:
            kind: Literal["slower", "faster"] = "slower" if ratio > 1 else "faster"
            yield CaseChange(case=case.name, title=title, kind=kind, words=f"{ratio:.2f} times the cycles")
    for name, old in earlier.items():
        title = f"{_case(old).operator} {width(_case(old).bits)}"
        yield CaseChange(case=name, title=title, kind="gone", words=f"was {outcome_of(old)}")


def _said(run: Run) -> str:
    return " ".join(filter(None, (outcome_of(run), worst_of(run))))


def _reach(run: Run) -> float:
    return -_worst_first(run)[1]


def _like(now: Run, before: Run) -> bool:
    """Whether cycles may be compared: the same kind of board at the same clock."""
    if now.device is None or before.device is None:
        return False
    return (now.kind, now.device.clock_hz) == (before.kind, before.device.clock_hz)


def _ratio(now: Run, before: Run) -> float | None:
    if not now.cycles or not before.cycles:
        return None
    old = statistics.median(before.cycles)
    return statistics.median(now.cycles) / old if old else None


def own_layer(run: Run) -> Work | None:
    """The layer of the operator that a row is about."""
    for layer in run.layers or ():
        if layer.operator == _case(run).operator:
            return Work(cycles=statistics.median(layer.cycles), macs=layer.macs or 0)
    return None


def _case(run: Run) -> OperatorRow:
    if run.case is None:
        raise ReportError(f"{run.title} is not a row of the conformance suite")
    return run.case


def width(bits: int) -> str:
    """In words: int8, int16, float."""
    return "float" if bits == 32 else f"int{bits}"
