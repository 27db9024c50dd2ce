"""Resource variables of a `.tflite` file: what reads and assigns which, followed through the calls of subgraphs.

A variable is known by container and shared name, given by VAR_HANDLE. TFLM gives it memory when ASSIGN_VARIABLE is
prepared, in whichever subgraph that stands, and fills it with the zero point of the assigned tensor; a variable
without such an operator has no memory, and READ_VARIABLE copies from address 0
(tensorflow/lite/micro/micro_resource_variable.cc).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from esp_hil.formats.tflite.model import Operator, Subgraph, TfliteModel

Name = tuple[str, str]
"""Container and shared name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable. Readers and assigners are (subgraph, operator), in the order of the file.

    Attributes:
        name: its shared name, "container/name" if it has a container.
        reads: READ_VARIABLE operators.
        assigns: ASSIGN_VARIABLE operators.
        assigned_when_run: one of those stands in a subgraph that an inference runs or CALL_ONCE calls.
    """

    name: str
    reads: tuple[tuple[Subgraph, Operator], ...]
    assigns: tuple[tuple[Subgraph, Operator], ...]
    assigned_when_run: bool


def variables(model: TfliteModel) -> tuple[Variable, ...]:
    """The variables of a file, by their first mention."""
    handles = _handles(model)
    reached = _reached(model)
    found: dict[Name, tuple[list[tuple[Subgraph, Operator]], list[tuple[Subgraph, Operator]]]] = {}
    for graph, operator in model.everywhere():
        if operator.name == "VAR_HANDLE":
            found.setdefault(_name(operator), ([], []))
        side = {"READ_VARIABLE": 0, "ASSIGN_VARIABLE": 1}.get(operator.name)
        if side is None or not operator.inputs:
            continue
        for name in sorted(handles[graph.index].get(operator.inputs[0], set())):
            found.setdefault(name, ([], []))[side].append((graph, operator))
    return tuple(
        Variable(
            name="/".join(part for part in name if part),
            reads=tuple(reads),
            assigns=tuple(assigns),
            assigned_when_run=any(graph.index in reached for graph, _ in assigns),
        )
        for name, (reads, assigns) in found.items()
    )


def keeps_state(model: TfliteModel) -> bool:
    """Whether an inference depends on those before it: a variable that is read, or a tensor that keeps its value."""
    kept = any(tensor.variable for graph in model.subgraphs for tensor in graph.tensors)
    return kept or any(variable.reads for variable in variables(model))


def unassigned(model: TfliteModel) -> Iterator[tuple[Variable, Subgraph, Operator]]:
    """Variables that are read and have no ASSIGN_VARIABLE anywhere, each with its first reader."""
    for variable in variables(model):
        if variable.reads and not variable.assigns:
            yield variable, *variable.reads[0]


def _name(operator: Operator) -> Name:
    return str(operator.options["container"]), str(operator.options["shared_name"])


def _reached(model: TfliteModel) -> set[int]:
    """Subgraphs that an inference may run: the first and what it calls, directly or not."""
    reached, waiting = {0}, [0]
    while waiting:
        for operator in model.subgraphs[waiting.pop()].operators:
            new = set(operator.calls) - reached
            reached |= new
            waiting += new
    return reached


def _handles(model: TfliteModel) -> list[Mapping[int, set[Name]]]:
    """For each subgraph the variables that a tensor may be a handle of; handles travel as arguments of calls."""
    found: list[dict[int, set[Name]]] = [{} for _ in model.subgraphs]
    for graph, operator in model.everywhere():
        if operator.name == "VAR_HANDLE":
            found[graph.index].setdefault(operator.outputs[0], set()).add(_name(operator))
    for _ in model.subgraphs:  # calls are not recursive, so each level needs one round
        for graph, operator in model.everywhere():
            for called in operator.calls:
                given = operator.inputs[1:] if operator.name == "IF" else operator.inputs
                for outer, inner in zip(given, model.subgraphs[called].inputs, strict=False):
                    names = found[graph.index].get(outer, set())
                    if names:
                        found[called].setdefault(inner, set()).update(names)
    return list(found)
