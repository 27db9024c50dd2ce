"""Matches rows, asks every gate, corrects for the number of questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from esp_hil.results.metrics import figure_of
from esp_hil.results.record import Run
from esp_hil.results.regress.change import Change, Comparison, Judgement, Refusal
from esp_hil.results.regress.comparable import (
    CONDITIONS,
    GROUPS,
    Difference,
    Group,
    Identity,
    Value,
    differences,
    identity_of,
)
from esp_hil.results.regress.gates import GATES, Gate
from esp_hil.results.regress.ranks import Correction, adjusted
from esp_hil.results.regress.reasons import causes_of, culprits_of
from esp_hil.results.regress.series import Series, judged_shift, series_of
from esp_hil.results.validity import check

BASE_ROWS = 10
"""So many of the latest comparable rows of the base are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How to compare.

    Attributes:
        gates: what is gated.
        across: conditions that may differ, because their effect is what is asked for.
        alpha: probability of calling chance a change of latency or energy, after `correction`.
        correction: see `esp_hil.results.regress.ranks.adjusted`.
        gate_simulated: whether the latency of simulated rows is gated too: it is the host's; and the energy that a
            simulated meter told. Their line never is.
    """

    gates: tuple[Gate, ...] = GATES
    across: frozenset[str] = frozenset()
    alpha: float = 0.01
    correction: Correction = "holm"
    gate_simulated: bool = False

    def groups_of(self, run: Run) -> tuple[Group, ...]:
        """The groups of figures that a row is gated for."""
        without: set[Group] = set()
        if run.simulated:
            without |= {"link"} if self.gate_simulated else {"link", "latency"}
        if run.energy is not None and run.energy.simulated and not self.gate_simulated:
            without.add("energy")
        return tuple(group for group in GROUPS if group not in without)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    """New rows of one identity under one set of conditions: the first run and those that repeat it."""

    identity: Identity
    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        return self.runs[0]


def compare(
    base: Sequence[Run], new: Sequence[Run], rules: Rules | None = None, *, tests: int = 0
) -> Comparison:
    """Compare the rows of two runs of the suites.

    Args:
        base: rows to compare with, of one session or of several.
        new: rows to judge; those of a higher `attempt` confirm or refute the first one.
        rules: how; the defaults if None.
        tests: how many rows are compared in all, if more than these: one of several calls corrects for all of
            them.

    Returns:
        What changed, and what could not be compared.
    """
    rules = rules or Rules()
    known = _by_identity(base)
    sets = list(_sets(new))
    changes: list[Change] = []
    refusals: list[Refusal] = []
    for found in sets:
        if found.identity in known:
            told, refused = _compare_set(known[found.identity], found, rules)
            changes += told
            refusals += refused
    fresh = {identity_of(run) for run in new}
    return Comparison(
        changes=_corrected(changes, rules, tests),
        refusals=tuple(refusals),
        missing=tuple(sorted(known.keys() - fresh)),
        added=tuple(sorted(fresh - known.keys())),
        broken=tuple(_broken(known, new)),
        not_gated=tuple(
            words
            for found in sets
            if found.identity in known
            for words in _not_gated(known[found.identity], found, rules)
        ),
    )


def _finished(run: Run) -> bool:
    return run.failure is None or run.failure.kind == "numerics"


def _by_identity(runs: Iterable[Run]) -> dict[Identity, list[Run]]:
    """Finished rows by identity, the latest first."""
    found: dict[Identity, list[Run]] = {}
    for run in sorted(filter(_finished, runs), key=lambda run: run.started_utc, reverse=True):
        found.setdefault(identity_of(run), []).append(run)
    return found


def _sets(runs: Iterable[Run]) -> Iterator[_Set]:
    """Finished rows of a session that share identity and all conditions, in the order of their making.

    Where several sessions have them, the last one is what is judged.
    """
    found: dict[tuple[Identity, tuple[Value, ...]], list[Run]] = {}
    for run in sorted(filter(_finished, runs), key=lambda run: run.started_utc):
        conditions = tuple(condition.of(run) for condition in CONDITIONS)
        found.setdefault((identity_of(run), conditions), []).append(run)
    for (identity, _), same in found.items():
        last = [run for run in same if run.session_id == same[-1].session_id]
        yield _Set(identity=identity, runs=tuple(sorted(last, key=lambda run: run.attempt)))


def _broken(known: Mapping[Identity, Sequence[Run]], new: Sequence[Run]) -> Iterator[str]:
    """New runs that came to no end, where the base did and no other attempt does."""
    finished = {identity_of(run) for run in new if _finished(run)}
    for run in new:
        identity = identity_of(run)
        if not _finished(run) and identity in known and identity not in finished:
            yield f"{identity.summary}: {run.failure_words}"


def _not_gated(base: Sequence[Run], found: _Set, rules: Rules) -> Iterator[str]:
    """What a row has that nobody measured and nobody judges: latency and energy, unless that is asked for."""
    for gate in rules.gates:
        new, old = gate.of(found.first).get(gate.name), gate.of(base[0]).get(gate.name)
        if not gate.statistical or gate.group in rules.groups_of(found.first) or new is None or old is None:
            continue
        change = 100 * (new / old - 1)
        said = figure_of(found.first) if gate.group == "latency" else "simulated"
        yield (
            f"{found.identity.summary}: {gate.name} {old:.4g} -> {new:.4g} {gate.unit} ({change:+.1f} %) is "
            f"{said} and not gated: --gate-simulated, with pytest --hil-gate-simulated, gates it"
        )


def _compare_set(base: Sequence[Run], found: _Set, rules: Rules) -> tuple[list[Change], list[Refusal]]:
    """All gates of one set of new rows; base rows are the latest first."""
    changes: list[Change] = []
    refused: dict[tuple[Difference, ...], list[Group]] = {}
    refusals: list[Refusal] = []
    for group in rules.groups_of(found.first):
        gates = [gate for gate in rules.gates if gate.group == group]
        matching, obstacles = _matching(base, found.first, group, rules)
        if not any(gate.of(run) for gate in gates for run in (*base, found.first)):
            continue
        if obstacles:
            refused.setdefault(obstacles, []).append(group)
            continue
        if group in _RULED:
            matching, reason = _valid(matching, found.first, group)
            if reason:
                refusals.append(_refusal(found, (group,), reason=reason))
                continue
        for gate in gates:
            changes += _ask(gate, matching, found, rules)
    refusals += [_refusal(found, tuple(groups), obstacles) for obstacles, groups in refused.items()]
    return changes, refusals


def _refusal(
    found: _Set, groups: tuple[Group, ...], obstacles: tuple[Difference, ...] = (), reason: str = ""
) -> Refusal:
    return Refusal(
        identity=found.identity,
        board=found.first.board,
        groups=groups,
        differences=obstacles,
        reason=reason,
    )


def _matching(
    base: Sequence[Run], new: Run, group: Group, rules: Rules
) -> tuple[list[Run], tuple[Difference, ...]]:
    """Comparable rows of the base; or none, and in what the nearest one differs."""
    apart = [(differences(run, new, group, across=rules.across), run) for run in base]
    nearest = min((obstacles for obstacles, _ in apart), key=len)
    if nearest:
        return [], nearest
    matching = [run for obstacles, run in apart if not obstacles]
    # what may differ from the new row must still be one thing among those of the base: the latest row's
    latest = [run for run in matching if not differences(run, matching[0], group)]
    return latest[:BASE_ROWS], ()


def _latency_trouble(run: Run) -> str:
    validity = check(run)
    return f"({', '.join(validity.codes)}): {validity.summary}" if validity.valid is False else ""


def _energy_trouble(run: Run) -> str:
    found = run.energy
    if found is None or found.valid:
        return ""
    return f"({', '.join(found.codes)}): {found.summary}"


_RULED: Mapping[Group, Callable[[Run], str]] = {"latency": _latency_trouble, "energy": _energy_trouble}
"""Groups whose figures rules of measuring can refuse: why, or ""."""


def _valid(base: Sequence[Run], new: Run, group: Group) -> tuple[list[Run], str]:
    """Rows of the base whose figures can be believed, and why there is nothing to compare, or ""."""
    trouble_of = _RULED[group]
    good = [run for run in base if not trouble_of(run)]
    for name, run in (("new", new), *((("base", base[0]),) if not good else ())):
        if trouble := trouble_of(run):
            return [], f"the {name} {group} is not valid {trouble}"
    return good, ""


def _ask(gate: Gate, base: Sequence[Run], found: _Set, rules: Rules) -> Iterator[Change]:
    if gate.statistical:
        series = series_of(base, gate)
        if series is not None and gate.of(found.first):
            yield _repeated_change(gate, series, base[0], found, rules)
        return
    before = gate.of(base[0])
    for name, figure in gate.of(found.first).items():
        if name in before:
            again = [gate.of(run).get(name) for run in found.runs[1:]]
            yield _exact_change(gate, name, before[name], [figure, *again], latest=base[0], found=found)


def _repeated_change(gate: Gate, base: Series, latest: Run, found: _Set, rules: Rules) -> Change:
    attempts = [judged_shift(base, run, gate) for run in found.runs if gate.repetitions_of(run)]
    first = attempts[0]
    agree = [again.worse(rules.alpha) for again in attempts[1:]]
    judgement: Judgement = "same"
    if first.worse(rules.alpha):
        judgement = "worse" if all(agree) else "unconfirmed"
    elif first.better(rules.alpha):
        judgement = "better"
    return Change(
        identity=found.identity,
        board=found.first.board,
        simulated=_simulated(found.first, gate),
        metric=gate.name,
        group=gate.group,
        unit=gate.unit,
        base=base.median,
        new=base.median * first.shift.ratio,
        allowed=first.allowed_share * base.median,
        judgement=judgement,
        probability=first.shift.probability,
        low=first.shift.low,
        high=first.shift.high,
        reruns=sum(agree),
        causes=causes_of(latest, found.first) if judgement != "same" else (),
        culprits=culprits_of(latest, found.first)
        if gate.group == "latency" and judgement in {"worse", "unconfirmed"}
        else (),
    )


def _simulated(run: Run, gate: Gate) -> bool:
    if gate.group == "energy":
        return run.energy is not None and run.energy.simulated
    return run.simulated


def _exact_change(
    gate: Gate, name: str, before: float, attempts: Sequence[float | None], *, latest: Run, found: _Set
) -> Change:
    def judge(figure: float | None) -> Judgement:
        if figure is None:
            return "worse"
        worse_by = figure - before if gate.better.value == "lower" else before - figure
        allowed = gate.allowance(before)
        return "worse" if worse_by > allowed else "better" if -worse_by > allowed else "same"

    figure = attempts[0]
    assert figure is not None
    judgement = judge(figure)
    agree = [judge(again) == "worse" for again in attempts[1:]]
    if judgement == "worse" and not all(agree):
        judgement = "unconfirmed"
    return Change(
        identity=found.identity,
        board=found.first.board,
        simulated=_simulated(found.first, gate),
        metric=name,
        group=gate.group,
        unit=gate.unit,
        base=before,
        new=figure,
        allowed=gate.allowance(before),
        judgement=judgement,
        reruns=sum(agree),
        causes=causes_of(latest, found.first) if judgement != "same" else (),
    )


def _corrected(changes: Sequence[Change], rules: Rules, tests: int) -> tuple[Change, ...]:
    """Probabilities corrected for all comparisons of repeated figures; what is no longer beyond chance is the same."""
    asked = [change for change in changes if change.probability is not None]
    raw = [change.probability or 0.0 for change in asked]
    others = [1.0] * max(0, tests * len({change.metric for change in asked}) - len(raw))
    corrected = iter(adjusted([*raw, *others], rules.correction))
    found = []
    for change in changes:
        if change.probability is None:
            found.append(change)
            continue
        probability = next(corrected)
        chance = probability >= rules.alpha and change.judgement in {"worse", "better", "unconfirmed"}
        found.append(
            replace(change, probability=probability, judgement="same")
            if chance
            else replace(change, probability=probability)
        )
    return tuple(found)
