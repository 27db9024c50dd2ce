"""What a comparison found: changes of figures, and what could not be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from esp_hil.results.regress.comparable import Difference, Group, Identity

Judgement = Literal["worse", "unconfirmed", "better", "same"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One figure of one identity, before and after.

    Attributes:
        identity: what was run.
        board: that the new row is from.
        simulated: whether the new figure is no chip's.
        metric: name of the figure.
        group: of the figure.
        unit: as printed.
        base: the figure before.
        new: the figure after.
        allowed: how much worse it may be, in its unit.
        judgement: "worse" counts; "unconfirmed" was worse at first and not when it was run again.
        probability: corrected for the number of comparisons; None without repetitions.
        low: lower end of the 95 % interval of new / base; None without repetitions.
        high: upper end of it.
        reruns: how many further runs were asked, and agree.
        causes: what else differs between the rows, in words: commit, image, and what was declared.
        culprits: layers that account for most of a change of latency, in words.
    """

    identity: Identity
    board: str
    simulated: bool
    metric: str
    group: Group
    unit: str
    base: float
    new: float
    allowed: float
    judgement: Judgement
    probability: float | None = None
    low: float | None = None
    high: float | None = None
    reruns: int = 0
    causes: tuple[str, ...] = ()
    culprits: tuple[str, ...] = ()

    @property
    def share(self) -> float | None:
        """Relative change; None from 0."""
        return self.new / self.base - 1 if self.base else None

    @property
    def summary(self) -> str:
        """One line, such as `mnist w8a8 espdl on esp32s3: latency_ms 6.10 -> 6.41 ms (+5.1 %...)`."""
        said = f"{self.identity.summary}: {self.metric} {self.figures}"
        details = [part for part in (self._how_sure(), self._how_often(), *self.culprits) if part]
        causes = f"; also changed: {', '.join(self.causes)}" if self.causes else ""
        return f"{said}{'; ' + '; '.join(details) if details else ''}{causes}"

    @property
    def figures(self) -> str:
        """As `6.1 -> 6.41 ms (+5.1 %)`."""
        unit = f" {self.unit}" if self.unit else ""
        share = f" ({100 * self.share:+.1f} %)" if self.share is not None else ""
        simulated = " (simulated)" if self.simulated and self.group in {"latency", "energy", "memory"} else ""
        return f"{' -> '.join(_apart(self.base, self.new))}{unit}{share}{simulated}"

    def _how_sure(self) -> str:
        if self.probability is None or self.low is None or self.high is None:
            return ""
        return f"95 % {100 * (self.low - 1):+.1f} to {100 * (self.high - 1):+.1f} %, p {self.probability:.2g}"

    def _how_often(self) -> str:
        if self.judgement == "unconfirmed":
            return "not confirmed by a re-run"
        times = f"{self.reruns} re-run{'s' if self.reruns != 1 else ''}"
        return f"confirmed by {times}" if self.reruns and self.judgement == "worse" else ""


def _apart(base: float, new: float) -> tuple[str, str]:
    """Both numbers with as few digits, five or more, as tell them apart."""
    for digits in (5, 7, 9, 17):
        found = _number(base, digits), _number(new, digits)
        if found[0] != found[1] or base == new:
            break
    return found


def _number(value: float, digits: int = 5) -> str:
    return f"{int(value)}" if float(value).is_integer() else f"{value:.{digits}g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Figures of one identity that are not compared, and why."""

    identity: Identity
    board: str
    groups: tuple[Group, ...]
    differences: tuple[Difference, ...] = ()
    reason: str = ""

    @property
    def summary(self) -> str:
        """One line that names the difference and what to do."""
        why = self.reason or ", ".join(difference.summary for difference in self.differences)
        said = f"{self.identity.summary}: {', '.join(self.groups)} not compared: {why}"
        names = ",".join(difference.name for difference in self.differences)
        return (
            f"{said} (--across {names}, with pytest --hil-across, compares all the same)" if names else said
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All of it.

    Attributes:
        changes: every gated figure that was compared.
        refusals: figures that were not.
        missing: identities that only the base has.
        added: identities that only the new rows have.
        broken: new runs that failed where the base has figures, in words.
        not_gated: figures that both sides have and nobody judged, in words with what gates them.
    """

    changes: tuple[Change, ...]
    refusals: tuple[Refusal, ...] = ()
    missing: tuple[Identity, ...] = ()
    added: tuple[Identity, ...] = ()
    broken: tuple[str, ...] = field(default_factory=tuple)
    not_gated: tuple[str, ...] = ()

    @property
    def regressions(self) -> tuple[Change, ...]:
        """Figures that got worse."""
        return self._judged("worse")

    @property
    def improvements(self) -> tuple[Change, ...]:
        """Figures that got better by more than their allowance."""
        return self._judged("better")

    @property
    def unconfirmed(self) -> tuple[Change, ...]:
        """Figures that were worse at first and not again."""
        return self._judged("unconfirmed")

    @property
    def of_one_board(self) -> tuple[str, ...]:
        """Figures that got worse on some boards and stayed on others of the same chip: look at the board first."""
        found = []
        for figure in dict.fromkeys((change.identity, change.metric) for change in self.regressions):
            mine = [change for change in self.changes if (change.identity, change.metric) == figure]
            worse = sorted({change.board for change in mine if change.judgement == "worse"})
            well = sorted({change.board for change in mine} - set(worse))
            if well and len(worse) <= len(well):
                found.append(
                    f"{figure[0].summary}: {figure[1]} is worse on {', '.join(worse)} only, not on {', '.join(well)}: "
                    "look at that board, its cable and its supply first"
                )
        return tuple(found)

    @property
    def complete(self) -> bool:
        """Whether everything that the base has was compared."""
        return not (self.refusals or self.missing or self.broken)

    @property
    def summary(self) -> str:
        """One line."""
        counts = [
            (len(self.regressions), "worse"),
            (len(self.broken), "broken"),
            (len(self.unconfirmed), "not confirmed"),
            (len(self.improvements), "better"),
            (len(self.refusals), "not comparable"),
            (len(self.missing), "missing"),
            (len(self.added), "new"),
            (len(self.not_gated), "not gated"),
        ]
        told = ", ".join(f"{count} {what}" for count, what in counts if count)
        figures = f"{len(self.changes)} figure{'s' if len(self.changes) != 1 else ''} compared"
        return f"{figures}: {told or 'nothing changed'}"

    def _judged(self, judgement: Judgement) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.judgement == judgement)


def exit_status(comparison: Comparison, *, allow_incomplete: bool = False) -> int:
    """0 nothing worse; 1 something is worse or broke; 3 not everything could be compared.

    Args:
        comparison: what was found.
        allow_incomplete: give 0 for refused and missing rows.
    """
    if comparison.regressions or comparison.broken:
        return 1
    return 0 if comparison.complete or allow_incomplete else 3


def worst_first(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Sorted by judgement, then by how far beyond the allowance the figure went."""
    order = {"worse": 0, "unconfirmed": 1, "better": 2, "same": 3}

    def key(change: Change) -> tuple[int, float]:
        beyond = abs(change.new - change.base) / (change.allowed or abs(change.base) or 1)
        return order[change.judgement], -beyond

    return tuple(sorted(changes, key=key))
