"""What an ONNX graph needs before esp-ppq reads it, so that ESP-DL 3.3.9 can run what comes out.

Each change keeps what the network computes (a substitute says how closely), is made in a copy, and is said by name.
They look at a graph that onnxsim has been over: constants are initializers, shapes are folded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.goldens.written_out import write_out

if TYPE_CHECKING:
    import onnx

_SQRT_HALF = math.sqrt(0.5)
_TANH_GELU = 0.044715
"""Of GELU's approximation by tanh (Hendrycks and Gimpel 2016, equation 2)."""
_ERF_CUBE = 11 / 123
"""erf(x) is tanh(2 / sqrt(pi) (x + c x^3)) with this c to 4e-4, for all x: less than half an LSB of int8 outputs."""
_NEAR = 1e-3
_NORMALIZATION_OPSET = 17


class GraphView:
    """A view of an ONNX graph with what pattern search needs; changes go through it so that it stays right."""

    def __init__(self, proto: onnx.GraphProto) -> None:
        from onnx import numpy_helper

        self.proto = proto
        self.constants: dict[str, NDArray[Any]] = {
            t.name: numpy_helper.to_array(t) for t in proto.initializer
        }
        for node in proto.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.outputs = {value.name for value in proto.output}

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a value."""
        return next((node for node in self.proto.node if name in node.output), None)

    def users(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read a value."""
        return [node for node in self.proto.node if name in node.input]

    def only_user(self, name: str, op_type: str) -> onnx.NodeProto | None:
        """The node of that type that alone reads a value which is no output of the graph."""
        users = self.users(name)
        fits = len(users) == 1 and users[0].op_type == op_type and name not in self.outputs
        return users[0] if fits else None

    def scalar(self, name: str) -> float | None:
        """The value of a constant of one element."""
        value = self.constants.get(name)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    def with_scalar(self, node: onnx.NodeProto, wanted: float) -> str | None:
        """The input of a node of two that is not its constant near `wanted`; None if there is none such."""
        for place, name in enumerate(node.input):
            value = self.scalar(name)
            if value is not None and abs(value - wanted) <= _NEAR * abs(wanted):
                return str(node.input[1 - place])
        return None

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add an initializer; returns its name, which gets a number if it is taken."""
        from onnx import numpy_helper

        free = name
        while free in self.constants:
            free += "_"
        self.proto.initializer.append(numpy_helper.from_array(np.asarray(value), free))
        self.constants[free] = np.asarray(value)
        return free

    def replace(self, old: Sequence[onnx.NodeProto], new: Sequence[onnx.NodeProto]) -> None:
        """Put nodes where the last of some others was, and take those out."""
        nodes = list(self.proto.node)
        place = max(nodes.index(node) for node in old)
        kept = [node for node in nodes[:place] if node not in old]
        after = [node for node in nodes[place + 1 :] if node not in old]
        del self.proto.node[:]
        self.proto.node.extend([*kept, *new, *after])


def prepare(model: onnx.ModelProto) -> list[str]:
    """Change a model in place; returns what was done, a sentence each.

    What ONNX lets a node leave unsaid is written out first (`written_out`).
    GELU, by erf or by tanh, becomes one operator, which esp-ppq exports as a table; LayerNormalization written out
    becomes one operator; an erf that is left becomes tanh of a cubic; LSTM and GRU get the states that onnxsim takes
    away when they are zero, without which esp-ppq's exporter ends in an IndexError.
    """
    said = write_out(model)
    graph = GraphView(model.graph)
    for change in (_gelus_of_erf, _gelus_of_tanh, _layer_norms, _erfs, _states):
        said += change(graph)
    said += _positive_indices(model, graph)
    wanted = _opset_for(model.graph)
    for entry in model.opset_import:
        if entry.domain in {"", "ai.onnx"} and entry.version < wanted:
            entry.version = wanted
    return said


def _opset_for(graph: onnx.GraphProto) -> int:
    """LayerNormalization exists from opset 17 on. Gelu, from 20 on, is left as it is: esp-ppq reads no versions."""
    return _NORMALIZATION_OPSET if any(n.op_type == "LayerNormalization" for n in graph.node) else 0


def _gelu(graph: GraphView, x: str, last: onnx.NodeProto, old: Sequence[onnx.NodeProto], name: str) -> str:
    from onnx import helper

    graph.replace(old, [helper.make_node("Gelu", [x], [last.output[0]], name=name)])
    return f"{name}: GELU is one operator, a table on the chip"


def _gelus_of_erf(graph: GraphView) -> Iterator[str]:
    """Find x / sqrt(2) -> Erf -> + 1, multiplied by x and by 1/2 in any order."""
    for erf in [node for node in graph.proto.node if node.op_type == "Erf"]:
        scaled = graph.maker(erf.input[0])
        x = None
        if scaled is not None and scaled.op_type in {"Div", "Mul"}:
            x = graph.with_scalar(scaled, math.sqrt(2) if scaled.op_type == "Div" else _SQRT_HALF)
        plus = graph.only_user(erf.output[0], "Add")
        if x is None or scaled is None or plus is None or graph.with_scalar(plus, 1.0) is None:
            continue
        found = _times_half_of(graph, plus, x)
        if found is not None:
            products, last = found
            yield _gelu(graph, x, last, [scaled, erf, plus, *products], erf.name or erf.output[0])


def _times_half_of(
    graph: GraphView, plus: onnx.NodeProto, x: str
) -> tuple[list[onnx.NodeProto], onnx.NodeProto] | None:
    """The Muls of (1 + ...) with x and with 1/2: (them, the last one); half may have been applied to x before."""
    first = graph.only_user(plus.output[0], "Mul")
    if first is None:
        return None
    other = first.input[1] if first.input[0] == plus.output[0] else first.input[0]
    halved = graph.maker(other)
    if halved is not None and halved.op_type in {"Mul", "Div"} and x in halved.input:
        half = graph.with_scalar(halved, 0.5 if halved.op_type == "Mul" else 2.0)
        if half == x and len(graph.users(other)) == 1:
            return [halved, first], first
    second = graph.only_user(first.output[0], "Mul")
    if second is None:
        return None
    if other == x and graph.with_scalar(second, 0.5) == first.output[0]:
        return [first, second], second
    if graph.with_scalar(first, 0.5) == plus.output[0] and x in second.input:
        return [first, second], second
    return None


def _gelus_of_tanh(graph: GraphView) -> Iterator[str]:
    """Find tanh(sqrt(2 / pi) (x + 0.044715 x^3)), then as with erf. The table is that of erf: they differ by 5e-4."""
    for tanh in [node for node in graph.proto.node if node.op_type == "Tanh"]:
        scaled = graph.maker(tanh.input[0])
        plus = graph.only_user(tanh.output[0], "Add")
        if scaled is None or scaled.op_type != "Mul" or plus is None:
            continue
        inner_name = graph.with_scalar(scaled, math.sqrt(2 / math.pi))
        inner = graph.maker(inner_name) if inner_name else None
        if inner is None or inner.op_type != "Add" or graph.with_scalar(plus, 1.0) is None:
            continue
        for x, cubed in (inner.input, reversed(inner.input)):
            cube = graph.maker(cubed)
            power = (
                graph.with_scalar(cube, _TANH_GELU) if cube is not None and cube.op_type == "Mul" else None
            )
            if power is None or not (before := _cube_of(graph, power, x)):
                continue
            found = _times_half_of(graph, plus, x)
            if found is not None:
                products, last = found
                old = [*before, cube, inner, scaled, tanh, plus, *products]
                yield _gelu(
                    graph, x, last, [node for node in old if node is not None], tanh.name or tanh.output[0]
                )
            break


def _cube_of(graph: GraphView, name: str, x: str) -> list[onnx.NodeProto]:
    """The nodes that make x^3: a Pow, or two Muls; [] if they do not."""
    node = graph.maker(name)
    if node is None:
        return []
    if node.op_type == "Pow":
        return [node] if node.input[0] == x and graph.scalar(node.input[1]) == 3.0 else []
    if node.op_type != "Mul" or x not in node.input:
        return []
    rest = node.input[1] if node.input[0] == x else node.input[0]
    square = graph.maker(rest)
    return [square, node] if square is not None and list(square.input) == [x, x] else []


@dataclass(frozen=True, slots=True)
class _Normalization:
    x: str
    axis: int
    epsilon: float
    nodes: list[Any]
    last: Any


def _layer_norms(graph: GraphView) -> Iterator[str]:
    """Find (x - mean) / sqrt(var + epsilon), and the scale and bias after it."""
    from onnx import helper

    for mean in [node for node in graph.proto.node if node.op_type == "ReduceMean"]:
        norm = _norm_at(graph, mean)
        if norm is None:
            continue
        nodes, last = list(norm.nodes), norm.last
        scale = bias = None
        times = graph.only_user(last.output[0], "Mul")
        if times is not None and (scale := _vector(graph, times, last.output[0])) is not None:
            nodes.append(times)
            last = times
            plus = graph.only_user(last.output[0], "Add")
            if plus is not None and (bias := _vector(graph, plus, last.output[0])) is not None:
                nodes.append(plus)
                last = plus
        if scale is None:
            continue
        name = mean.name or mean.output[0]
        inputs = [norm.x, scale, *([bias] if bias is not None else [])]
        made = helper.make_node(
            "LayerNormalization", inputs, [last.output[0]], name=name, axis=norm.axis, epsilon=norm.epsilon
        )
        graph.replace(nodes, [made])
        yield f"{name}: LayerNormalization is one operator"


def _vector(graph: GraphView, node: onnx.NodeProto, beside: str) -> str | None:
    other = str(node.input[1] if node.input[0] == beside else node.input[0])
    value = graph.constants.get(other)
    return other if value is not None and value.ndim == 1 else None


def _norm_at(graph: GraphView, mean: onnx.NodeProto) -> _Normalization | None:
    """The normalization whose mean over the last axis this is."""
    axes = _axes(graph, mean)
    minus = graph.only_user(mean.output[0], "Sub")
    if axes not in ([-1],) or minus is None or list(minus.input) != [mean.input[0], mean.output[0]]:
        return None
    centred = minus.output[0]
    for square in graph.users(centred):
        squared = square.op_type == "Pow" and graph.scalar(square.input[1]) == 2.0
        if not squared and not (square.op_type == "Mul" and list(square.input) == [centred, centred]):
            continue
        variance = graph.only_user(square.output[0], "ReduceMean")
        plus = graph.only_user(variance.output[0], "Add") if variance is not None else None
        root = graph.only_user(plus.output[0], "Sqrt") if plus is not None else None
        divide = graph.only_user(root.output[0], "Div") if root is not None else None
        if variance is None or plus is None or root is None or divide is None or divide.input[0] != centred:
            continue
        epsilon = next((v for name in plus.input if (v := graph.scalar(name)) is not None), None)
        if epsilon is not None and _axes(graph, variance) == axes:
            nodes = [mean, minus, square, variance, plus, root, divide]
            return _Normalization(str(mean.input[0]), -1, epsilon, nodes, divide)
    return None


def _axes(graph: GraphView, node: onnx.NodeProto) -> list[int] | None:
    """Axes of a reduction, from its attribute (before opset 18) or its second input."""
    for attribute in node.attribute:
        if attribute.name == "axes":
            return list(attribute.ints)
    if len(node.input) > 1 and node.input[1] in graph.constants:
        return [int(axis) for axis in graph.constants[node.input[1]].reshape(-1)]
    return None


def _erfs(graph: GraphView) -> Iterator[str]:
    from onnx import helper

    for erf in [node for node in graph.proto.node if node.op_type == "Erf"]:
        name, x = erf.name or erf.output[0], erf.input[0]
        slope = 2 / math.sqrt(math.pi)
        values = {
            key: graph.constant(f"{name}/{key}", np.array(value, np.float32))
            for key, value in (("cube", slope * _ERF_CUBE), ("slope", slope))
        }
        made = [
            helper.make_node("Mul", [x, x], [f"{name}/x2"], name=f"{name}/square"),
            helper.make_node("Mul", [f"{name}/x2", values["cube"]], [f"{name}/c"], name=f"{name}/times_cube"),
            helper.make_node("Add", [f"{name}/c", values["slope"]], [f"{name}/s"], name=f"{name}/plus_slope"),
            helper.make_node("Mul", [f"{name}/s", x], [f"{name}/t"], name=f"{name}/times_x"),
            helper.make_node("Tanh", [f"{name}/t"], [erf.output[0]], name=name),
        ]
        graph.replace([erf], made)
        yield f"{name}: Erf, which ESP-DL does not have, becomes the tanh of a cubic (within 4e-4)"


def _positive_indices(model: onnx.ModelProto, graph: GraphView) -> Iterator[str]:
    """Count from the front what Gathers count from the end: ESP-DL does not know negative indices."""
    import onnx

    gathers = [
        node
        for node in graph.proto.node
        if node.op_type == "Gather"
        and node.input[1] in graph.constants
        and (graph.constants[node.input[1]] < 0).any()
    ]
    if not gathers:
        return
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
    shapes |= {name: list(value.shape) for name, value in graph.constants.items()}
    for node in gathers:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        shape = shapes.get(node.input[0], [])
        if not shape or not shape[axis]:
            continue
        indices = graph.constants[node.input[1]]
        name = node.name or node.output[0]
        positive = np.where(indices < 0, indices + shape[axis], indices)
        node.input[1] = graph.constant(f"{name}/indices", positive.astype(indices.dtype))
        yield f"{name}: its negative indices count from the front"


_GATES: Mapping[str, int] = {"LSTM": 4, "GRU": 3}


def _states(graph: GraphView) -> Iterator[str]:
    """Give recurrent nodes their zero initial states and all their outputs."""
    for node in graph.proto.node:
        if node.op_type not in _GATES:
            continue
        weights = graph.constants.get(node.input[2])
        if weights is None:
            continue
        states = 2 if node.op_type == "LSTM" else 1
        directions, _, hidden = weights.shape
        name, missing = node.name or node.output[0], False
        if len(node.input) < 4 or not node.input[3]:
            bias = np.zeros((directions, 2 * _GATES[node.op_type] * hidden), np.float32)
            _set(node.input, 3, graph.constant(f"{name}/bias", bias))
        for place in range(5, 5 + states):
            if len(node.input) <= place or not node.input[place]:
                zeros = np.zeros((directions, 1, hidden), np.float32)
                _set(node.input, place, graph.constant(f"{name}/initial_{place}", zeros))
                missing = True
        for place in range(1 + states):
            if len(node.output) <= place or not node.output[place]:
                _set(node.output, place, f"{name}/output_{place}")
        if missing:
            yield f"{name}: {node.op_type} starts from states of zero, written out"


def _set(names: Any, place: int, name: str) -> None:  # noqa: ANN401 - protobuf's list of strings
    while len(names) <= place:
        names.append("")
    names[place] = name
