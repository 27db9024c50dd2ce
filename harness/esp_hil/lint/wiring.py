"""Rules about exponents, shifts and tables: what ESP-DL computes with without asking whether it fits."""

from __future__ import annotations

from collections.abc import Iterator

from esp_hil.formats.espdl.model import Graph, Node, TensorData, ValueInfo
from esp_hil.formats.espdl.operators import REGISTERED
from esp_hil.lint.finding import Finding, Subject, rule

_SAME_EXPONENTS = frozenset({"Add", "Sub"})
_COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
_MULTIPLIERS = frozenset({"Conv", "Gemm", "MatMul"})
_BIASED = frozenset({"Conv", "Gemm"})
# DL_SCALE and DL_RESCALE shift a 32-bit 1 by the exponent (dl_define.hpp:76,80).
_EXPONENT_LIMIT = 31
_LUT_ENTRIES_INT8 = 256


@rule("two-exponents-of-input")
def two_exponents_of_input(subject: Subject) -> Iterator[Finding]:
    """A graph input feeds an Add, Sub or comparison whose other side has another exponent."""
    for node, names in _mixed(subject.graph, _SAME_EXPONENTS | _COMPARISONS):
        fed = [name for name in names if _is_input(subject.graph, name)]
        if fed:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"{node.op_type} adds raw integers, but {_listed(subject.graph, names)}: esp-ppq puts no "
                f"RequantizeLinear behind graph input {fed[0]!r}, so the answer is wrong without any message",
                todo=f"put an operator that does nothing (a Mul by 1 or a Relu) between {fed[0]!r} and this "
                "node",
            )


@rule("unequal-exponents")
def unequal_exponents(subject: Subject) -> Iterator[Finding]:
    """An operator that does not rescale has inputs and output of different exponents."""
    for node, names in _mixed(subject.graph, _SAME_EXPONENTS | _COMPARISONS | _passive()):
        if not any(_is_input(subject.graph, name) for name in names):
            yield Finding(
                severity="error",
                node=node.name,
                why=f"{node.op_type} works on raw integers, but {_listed(subject.graph, names)}",
                todo="export again with the current esp-ppq, which inserts RequantizeLinear here",
            )


@rule("passive-on-input")
def passive_on_input(subject: Subject) -> Iterator[Finding]:
    """An operator that only moves values sits on a graph input and was given an exponent of its own."""
    for node, names in _mixed(subject.graph, _passive()):
        if any(_is_input(subject.graph, name) for name in names):
            yield Finding(
                severity="error",
                node=node.name,
                why=f"{node.op_type} copies integers as they are, but {_listed(subject.graph, names)}: every "
                "value "
                "is off by a power of two",
                todo="put an operator that rescales (Conv, Mul by 1) between the graph input and this node",
            )


@rule("neg-exponents")
def neg_exponents(subject: Subject) -> Iterator[Finding]:
    """Neg between different exponents: ESP-DL turns the sign of the integers and does not rescale them."""
    for node, names in _mixed(subject.graph, frozenset({"Neg"})):
        yield Finding(
            severity="error",
            node=node.name,
            why=f"Neg does not rescale, but {_listed(subject.graph, names)}: every value is off by a power of two "
            "(esp-ppq's executor rescales)",
            todo="multiply by -1 instead: Mul rescales",
        )


@rule("exponent-range")
def exponent_range(subject: Subject) -> Iterator[Finding]:
    """An exponent is so large that the scale factor computed from it is undefined."""
    weights = {
        name for node in subject.graph.nodes if node.op_type in _MULTIPLIERS for name in node.inputs[1:]
    }
    tensors = (item for item in subject.graph.initializers.values() if item.name not in weights)
    items: tuple[ValueInfo | TensorData, ...] = (*subject.graph.values.values(), *tensors)
    for item in items:
        worst = max(item.exponents, key=abs, default=0)
        if abs(worst) >= _EXPONENT_LIMIT:
            yield Finding(
                severity="error",
                node=item.name,
                why=f"exponent {worst}: ESP-DL computes the scale as 1 << {abs(worst)} in 32 bits, which is "
                "undefined",
                todo="the tensor is all but zero in calibration: remove it, or calibrate with data that "
                "excite it",
            )


@rule("shift-range")
def shift_range(subject: Subject) -> Iterator[Finding]:
    """The shift behind a multiply-accumulate is negative on esp32s3, or wider than the accumulator."""
    on_s3 = subject.may_be("esp32s3")
    for node, shifts in _mac_shifts(subject.graph):
        if on_s3 and min(shifts) < 0:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"its accumulator is shifted left by {-min(shifts)}, which the esp32s3 kernels take for "
                "a "
                "per-channel scheme",
                todo="calibrate again so that the output exponent is not below input plus filter exponent",
            )
        if max(shifts) > _EXPONENT_LIMIT:
            yield Finding(
                severity="warning",
                node=node.name,
                why=f"its accumulator is shifted right by {max(shifts)} bits: nothing is left of it; the esp32s3 "
                f"shifts by {max(shifts) & 31} instead, and what the esp32p4 does is not known"
                if node.attributes.get("quant_type") == "S8"
                else f"its accumulator is shifted right by {max(shifts)} bits: nothing of it is left",
                todo="weights of such a channel are all but zero: prune it",
            )


@rule("bias-exponent")
def bias_exponent(subject: Subject) -> Iterator[Finding]:
    """A bias does not have the type or exponent that is added to the accumulator as it is."""
    graph = subject.graph
    for node in graph.nodes:
        bias = graph.initializers.get(node.input(2))
        if node.op_type not in _BIASED or bias is None:
            continue
        wanted = "int32" if node.attributes.get("quant_type") == "S8" else "int64"
        if bias.dtype != wanted:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"its bias is {bias.dtype}, ESP-DL asserts {wanted}",
                todo="export again with esp-ppq 1.2 or newer",
            )
        given, kernel = _exponents(graph, node.input(0)), _exponents(graph, node.input(1))
        expected = {given[0] + exponent for exponent in kernel} if given else set()
        if expected and set(bias.exponents) - expected:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"its bias has exponent {bias.exponents[0]}, the accumulator {sorted(expected)[0]}",
                todo="export again: bias and accumulator must have the exponent of input plus filter",
            )


@rule("lookup-table")
def lookup_table(subject: Subject) -> Iterator[Finding]:
    """A node's lookup table is missing, has the wrong length, or another exponent than its output."""
    for node in subject.graph.nodes:
        name = node.attributes.get("lut")
        if not isinstance(name, str):
            continue
        table = subject.graph.initializers.get(name)
        problem = (
            f"its table {name!r} is not in the file"
            if table is None
            else _table_problem(subject.graph, node, table)
        )
        if problem:
            yield Finding(
                severity="error",
                node=node.name,
                why=problem,
                todo="export again with one version of esp-ppq from start to end",
            )


def _table_problem(graph: Graph, node: Node, table: TensorData) -> str:
    entries = table.data.size
    if node.attributes.get("quant_type") == "S8" and entries != _LUT_ENTRIES_INT8:
        return f"its table has {entries} entries, int8 needs {_LUT_ENTRIES_INT8}"
    steps = entries - 1
    if node.attributes.get("quant_type") == "S16" and (
        steps < 1 or 65536 % steps or (65536 // steps).bit_count() != 1
    ):
        return f"its table has {entries} entries, int16 needs 65536 / step + 1 with a power of two as step"
    made = _exponents(graph, node.output(0))
    if made and table.exponents and made[0] != table.exponents[0]:
        return (
            f"table exponent {table.exponents[0]}, output exponent {made[0]}: ESP-DL asserts they are equal"
        )
    return ""


def _passive() -> frozenset[str]:
    return frozenset(name for name, operator in REGISTERED.items() if operator.passive)


def _mixed(graph: Graph, op_types: frozenset[str]) -> Iterator[tuple[Node, list[str]]]:
    """Integer nodes of those types whose data do not all have one exponent, with the names of the data."""
    for node in graph.nodes:
        copies = node.op_type == "Relu" and "lut" not in node.attributes and "Relu" in op_types
        if node.op_type not in op_types and not copies:
            continue
        if node.attributes.get("quant_type") not in ("S8", "S16"):
            continue
        names = [*_data_inputs(node), *([] if node.op_type in _COMPARISONS else node.outputs)]
        found = {_exponents(graph, name)[0] for name in names if _exponents(graph, name)}
        if len(found) > 1:
            yield node, names


def _data_inputs(node: Node) -> list[str]:
    """Inputs that carry values (not indices, pads or sizes)."""
    if node.op_type in _SAME_EXPONENTS | _COMPARISONS or node.op_type == "Concat":
        return [name for name in node.inputs if name]
    if node.op_type == "ScatterND":
        return [name for name in (node.input(0), *node.inputs[2:3]) if name]
    return list(node.inputs[:1])


def _exponents(graph: Graph, name: str) -> tuple[int, ...]:
    item: ValueInfo | TensorData | None = graph.values.get(name) or graph.initializers.get(name)
    return item.exponents if item is not None else ()


def _is_input(graph: Graph, name: str) -> bool:
    return any(value.name == name for value in graph.inputs)


def _listed(graph: Graph, names: list[str]) -> str:
    said = [
        f"{name!r} has exponent {_exponents(graph, name)[0]}" for name in names if _exponents(graph, name)
    ]
    return ", ".join(dict.fromkeys(said))


def _mac_shifts(graph: Graph) -> Iterator[tuple[Node, list[int]]]:
    """Nodes that multiply and accumulate, with e_out - e_filter - e_in for each channel (dl_base.hpp:260)."""
    for node in graph.nodes:
        if node.op_type not in _MULTIPLIERS:
            continue
        given, kernel, made = (
            _exponents(graph, name) for name in (node.input(0), node.input(1), node.output(0))
        )
        if given and kernel and made:
            yield node, [made[0] - exponent - given[0] for exponent in kernel]
