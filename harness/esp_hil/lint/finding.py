"""What a rule says, and how rules are registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from numpy.typing import NDArray

from esp_hil.formats.espdl.family import possible_families
from esp_hil.formats.espdl.model import EspdlModel, Graph
from esp_hil.targets import FAMILIES, Family, Target

Severity = Literal["error", "warning", "note"]
Stage = Literal["espdl", "onnx"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that goes wrong, or may.

    Attributes:
        severity: error: the model does not load, crashes or answers wrong; warning: it does so for some
            inputs or some tools; note: good to know.
        rule: id of the rule; whoever runs the rule fills it in.
        node: the node or tensor it is about, "" for the model as a whole.
        why: what happens and for what reason.
        todo: what to do about it.
        gates: whether an error keeps the model from a board. Not where the answers that come out tell more: whether
            the board's firmware has the faulty kernel is known for sure only then.
    """

    severity: Severity
    node: str
    why: str
    todo: str
    rule: str = ""
    gates: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is examined.

    Attributes:
        graph: the graph; of an ONNX file without exponents, float, in NCHW order.
        stage: "espdl", or "onnx" before quantization.
        model: the file, None for ONNX.
        target: the chip it is meant for, None if unsaid.
        inputs: data that will be fed, by graph input: real numbers, or the integers of the device.
        partition_bytes: size of the flash partition for the model, None if unsaid.
        psram_bytes: PSRAM of the board, None for that of the target's usual module.
        esp_dl: version of ESP-DL in the firmware, "" if unknown.
        declared: shapes that an ONNX file declares of what nodes make, by name; those of `graph` are inferred.
        inference: what onnx's strict inference of shapes and types has against an ONNX file, "" if nothing.
    """

    graph: Graph
    stage: Stage = "espdl"
    model: EspdlModel | None = None
    target: Target | None = None
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    partition_bytes: int | None = None
    psram_bytes: int | None = None
    esp_dl: str = ""
    declared: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    inference: str = ""

    def may_be(self, family: Family) -> bool:
        """Whether the model may run on chips of this family, as far as target and file tell.

        A file that tells nothing at all is taken for none.
        """
        if self.target is not None:
            return self.target.family == family
        if self.model is None:
            return False
        possible = possible_families(self.model.graph, self.model.metadata)
        return family in possible and len(possible) < len(FAMILIES)


Check = Callable[[Subject], Iterator[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A registered check: its id, what it is about in one line, and the stages it is for."""

    name: str
    about: str
    stages: frozenset[Stage]
    check: Check


RULES: dict[str, Rule] = {}


def rule(name: str, *stages: Stage) -> Callable[[Check], Check]:
    """Register a check under `name`; for `.espdl` files only, unless stages are given."""

    def register(check: Check) -> Check:
        about = (check.__doc__ or "").strip().splitlines()
        if name in RULES or not about:
            raise ValueError(f"rule {name!r} is registered twice or has no docstring")
        RULES[name] = Rule(
            name=name,
            about=about[0],
            stages=frozenset(stages or ("espdl",)),
            check=lambda subject: named(name, check(subject)),
        )
        return check

    return register


def named(name: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings of a rule with its id."""
    for finding in findings:
        yield replace(finding, rule=name)
