"""LSTM and GRU: int16 gates with `gate_exponent`, float32 sigmoid and tanh from tables.

Only a batch of 1 is computed; `direction` "reverse" runs forward; biases are added in int16, which wraps.
Steps run in an ONNX Scan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import helper

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.arithmetic import clipped, dl_rescale, dl_scale, rounded, rounded_and_clipped
from esp_hil.exact.lowering import Lowering, attribute_int, attribute_text, quantized_dtype
from esp_hil.exact.onnx_graph import element_type
from esp_hil.exact.operators import activation, float_function
from esp_hil.exact.operators.iterate import sequential_sum
from esp_hil.exact.operators.table import Table
from esp_hil.exact.proof import DTYPE_BOUNDS, FLOAT32_LIMIT, FLOAT64_LIMIT
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.model import Node

F32 = np.float32
_REACH = 1 << 16
_SIGMOID_REACH, _TANH_REACH = 6.3, 3.5


@dataclass(frozen=True, slots=True)
class RecurrentCell:
    """What all steps of one direction share.

    Attributes:
        node: the node.
        dtype: int8, int16 or float32.
        gates: 4 for LSTM, 3 for GRU.
        hidden: size of the hidden state.
        direction: 0, or 1 for the way back of a bidirectional node.
    """

    node: Node
    dtype: str
    gates: int
    hidden: int
    direction: int


@operator("LSTM", "GRU")
def lower_recurrent(lowering: Lowering, node: Node) -> None:
    """One Scan per direction."""
    onnx, dtype = lowering.onnx, quantized_dtype(node)
    _check(lowering, node)
    hidden, x = attribute_int(node, "hidden_size", 0), lowering.shape(node.inputs[0])
    gates = 4 if node.op_type == "LSTM" else 3
    ways = 2 if attribute_text(node, "direction", "forward") == "bidirectional" else 1
    steps = x[1] if attribute_int(node, "layout", 0) else x[0]
    shapes = [(steps, ways, 1, hidden), (ways, 1, hidden), (ways, 1, hidden)]
    parts = [_direction(lowering, RecurrentCell(node, dtype, gates, hidden, way)) for way in range(ways)]
    for index, name in enumerate(node.outputs[: 3 if gates == 4 else 2]):
        if name:
            values = [part[index] for part in parts]
            axis = 1 if index == 0 else 0
            value = values[0] if ways == 1 else onnx.op("Concat", values, axis=axis)
            lowering.set_shape(name, shapes[index])
            value = onnx.op(
                "Reshape", [value, onnx.constant(np.array(shapes[index]), "shape")], hint=f"{name}:rnn"
            )
            lowering.write(name, value)
    depth = max(x[-1], hidden)
    bound = 0 if dtype == "float32" else depth * DTYPE_BOUNDS[dtype].magnitude ** 2
    note = "exact dot products; gates from tables of expf, which may differ in the last bit on the device"
    lowering.prove(node, "float", bound=bound, limit=FLOAT64_LIMIT if bound else 0, note=note)


def _check(lowering: Lowering, node: Node) -> None:
    x = lowering.shape(node.inputs[0])
    layout = attribute_int(node, "layout", 0)
    wanted = 3 if node.op_type == "LSTM" else 2
    problem = ""
    if len(x) != 3 or x[0 if layout else 1] != 1:
        problem = f"input {x}: ESP-DL computes a batch of 1 only"
    elif len(node.outputs) < wanted:
        problem = f"{len(node.outputs)} outputs: ESP-DL writes {wanted}"
    elif node.op_type == "GRU" and not attribute_int(node, "linear_before_reset", 0):
        problem = "linear_before_reset must be 1"
    elif attribute_int(node, "input_forget", 0):
        problem = "input_forget must be 0"
    if problem:
        raise UnsupportedOperator(f"{node.op_type} {node.name!r}: {problem}")


def _direction(lowering: Lowering, cell: RecurrentCell) -> list[str]:
    """Outputs of one direction: (steps, 1, H) hidden states, (1, H) the last, and LSTM's last cell."""
    onnx, node = lowering.onnx, cell.node
    depth = lowering.shape(node.inputs[0])[-1]
    x = onnx.op("Reshape", [lowering.read(node.inputs[0]), onnx.constant(np.array([-1, depth]), "steps")])
    seen = _dot_products(lowering, cell, x, _matrix(lowering, cell, 1))
    recall = _matrix(lowering, cell, 2)
    bias = _biases(lowering, cell)
    first = [_initial(lowering, cell, 5)]
    if cell.gates == 4:
        first.append(_initial(lowering, cell, 6))
    with lowering.body() as body:
        names = [body.fresh(f"{node.name}:{state}") for state in ("h", "c")[: len(first)]]
        row = body.fresh(f"{node.name}:x")
        gates = Gates(row, _dot_products(lowering, cell, names[0], recall), bias, names)
        step = _lstm_step if cell.gates == 4 else _gru_step
        following = step(lowering, cell, gates)
        outputs = [*following, body.op("Identity", [following[0]])]
        graph = body.subgraph(
            f"{node.name}:step",
            inputs=[helper.make_tensor_value_info(name, 1, None) for name in (*names, row)],
            outputs=[helper.make_tensor_value_info(name, 1, None) for name in outputs],
        )
    back = [cell.direction]
    hints = [f"{node.name}:{name}" for name in (*("last_h", "last_c")[: len(first)], "all_h")]
    scanned = onnx.ops(
        "Scan",
        [*first, seen],
        hints=hints,
        body=graph,
        num_scan_inputs=1,
        scan_input_directions=back,
        scan_output_directions=back,
    )
    return [scanned[-1], *scanned[:-1]]


@dataclass(frozen=True, slots=True)
class Matrix:
    """W or R of one direction: ONNX value (K, rows), right shift of its products, K."""

    value: str
    shift: int
    depth: int


@dataclass(frozen=True, slots=True)
class Gates:
    """What goes into one step: input products, recurrent products, both biases if any, states before."""

    seen: str
    recurrent: str
    bias: tuple[str, str] | None
    state: list[str]


def _matrix(lowering: Lowering, cell: RecurrentCell, index: int) -> Matrix:
    """W (index 1) or R (2) of this direction; the hidden state has the exponent of output h."""
    onnx, node = lowering.onnx, cell.node
    name = node.inputs[index]
    part = onnx.op("Gather", [lowering.read(name), onnx.constant(np.int64(cell.direction), "way")], axis=0)
    exponent = lowering.exponent(node.inputs[0] if index == 1 else node.outputs[1])
    shift = attribute_int(node, "gate_exponent", -8) - exponent - lowering.exponent(name)
    value = onnx.op("Transpose", [part], perm=[1, 0], hint=f"{name}:t")
    return Matrix(value, shift, lowering.shape(name)[-1])


def _dot_products(lowering: Lowering, cell: RecurrentCell, x: str, matrix: Matrix) -> str:
    """X times a matrix (K, rows): an exact integer, rounded to float32, times 2**-shift, rounded, int16.

    Source: dl_base_dotprod.cpp.
    """
    onnx = lowering.onnx
    if cell.dtype == "float32":
        rows = onnx.op("Unsqueeze", [x, onnx.constant(np.array([2]), "axis")])
        return onnx.op(
            "Squeeze",
            [
                sequential_sum(lowering, onnx.op("Mul", [rows, matrix.value]), 1, matrix.depth),
                onnx.constant(np.array([1]), "axis"),
            ],
        )
    if matrix.depth * DTYPE_BOUNDS[cell.dtype].magnitude ** 2 <= FLOAT32_LIMIT:
        total = onnx.op("MatMul", [x, matrix.value])
    else:
        wide = [onnx.op("Cast", [value], to=element_type("float64")) for value in (x, matrix.value)]
        total = onnx.op("Cast", [onnx.op("MatMul", wide)], to=element_type("float32"))
    value = onnx.op("Mul", [total, onnx.constant(dl_rescale(matrix.shift), "scale")])
    return rounded_and_clipped(lowering, value, DTYPE_BOUNDS["int16"])


def _biases(lowering: Lowering, cell: RecurrentCell) -> tuple[str, str] | None:
    """Input bias and recurrent bias, (gates * H,) each."""
    node, size = cell.node, cell.gates * cell.hidden
    if len(node.inputs) < 4 or not node.inputs[3]:
        return None
    onnx = lowering.onnx
    flat = onnx.op("Reshape", [lowering.read(node.inputs[3]), onnx.constant(np.array([-1, size]), "halves")])
    halves = [onnx.constant(np.int64(2 * cell.direction + half), "half") for half in (0, 1)]
    first, second = (onnx.op("Gather", [flat, half], axis=0) for half in halves)
    return first, second


def _initial(lowering: Lowering, cell: RecurrentCell, index: int) -> str:
    """(1, H) initial state as it stands in the file; zeros if it is left out."""
    node, onnx = cell.node, lowering.onnx
    if index >= len(node.inputs) or not node.inputs[index]:
        return onnx.constant(np.zeros((1, cell.hidden), np.float32), "zeros")
    rows = onnx.op(
        "Reshape", [lowering.read(node.inputs[index]), onnx.constant(np.array([-1, cell.hidden]), "rows")]
    )
    return onnx.op("Gather", [rows, onnx.constant(np.array([cell.direction]), "way")], axis=0)


def _wrapped(lowering: Lowering, cell: RecurrentCell, value: str) -> str:
    """A whole number as int16 arithmetic leaves it; floats unchanged."""
    if cell.dtype == "float32":
        return value
    onnx = lowering.onnx
    turns = onnx.op("Add", [value, onnx.constant(F32(32768), "half_turn")])
    turns = onnx.op("Floor", [onnx.op("Mul", [turns, onnx.constant(F32(1 / 65536), "1/turn")])])
    return onnx.op("Sub", [value, onnx.op("Mul", [turns, onnx.constant(F32(65536), "turn")])])


def _gate(lowering: Lowering, cell: RecurrentCell, value: str, kind: str) -> str:
    """Sigmoid or tanh of a gate: a table over its integers (SigmoidLUT, TanhLUT), a function for floats."""
    if cell.dtype == "float32":
        return (float_function.sigmoid if kind == "sigmoid" else float_function.tanh)(lowering, value)
    onnx = lowering.onnx
    table = onnx.constant(_gate_table(attribute_int(cell.node, "gate_exponent", -8), kind), f"{kind}:table")
    offset = onnx.op("Add", [value, onnx.constant(F32(_REACH), "reach")])
    return onnx.op("Gather", [table, onnx.op("Cast", [offset], to=element_type("int32"))], hint=kind)


def _gate_table(exponent: int, kind: str) -> Table:
    """The function at every index from -65536 to 65535, cut at the ends of ESP-DL's table.

    Source: dl_math.hpp:324.
    """
    scale = dl_scale(exponent)
    reach = _SIGMOID_REACH if kind == "sigmoid" else _TANH_REACH
    last = int(F32(reach) / scale) + 1
    index = np.arange(-_REACH, _REACH)
    far = np.minimum(np.abs(index), last)
    function = activation.sigmoid if kind == "sigmoid" else activation.tanh
    values = function(far.astype(np.float32) * scale)
    negative = F32(1) - values if kind == "sigmoid" else -values
    return np.where(index >= 0, values, negative).astype(np.float32)


def _slices(lowering: Lowering, cell: RecurrentCell, value: str, count: int) -> list[str]:
    """The first `count` gates of (1, gates * H)."""
    onnx, limits = lowering.onnx, []
    for index in range(count):
        cut = [
            onnx.constant(np.array([n]), "cut") for n in (index * cell.hidden, (index + 1) * cell.hidden, -1)
        ]
        limits.append(onnx.op("Slice", [value, *cut]))
    return limits


def _lstm_step(lowering: Lowering, cell: RecurrentCell, gates: Gates) -> list[str]:
    """New h and c; gates in the order i, o, f, g."""
    onnx, node = lowering.onnx, cell.node
    total = onnx.op("Add", [gates.seen, gates.recurrent])
    for part in gates.bias or ():
        total = onnx.op("Add", [total, part])
    inputs = _slices(lowering, cell, _wrapped(lowering, cell, total), 4)
    i, o, f = (_gate(lowering, cell, value, "sigmoid") for value in inputs[:3])
    g = _gate(lowering, cell, inputs[3], "tanh")
    fresh = onnx.op("Mul", [i, g])
    if cell.dtype != "float32":
        fresh = onnx.op(
            "Mul", [fresh, onnx.constant(dl_rescale(lowering.exponent(node.outputs[2])), "rescale_c")]
        )
    c = onnx.op("Add", [onnx.op("Mul", [f, gates.state[1]]), fresh])
    if cell.dtype != "float32":
        c = _wrapped(lowering, cell, rounded(lowering, c))
    h = onnx.op("Mul", [o, _gate(lowering, cell, c, "tanh")])
    return [_hidden(lowering, cell, h, rescaled=False), c]


def _gru_step(lowering: Lowering, cell: RecurrentCell, gates: Gates) -> list[str]:
    """New h; gates in the order z, r, n."""
    onnx = lowering.onnx
    seen, recurrent = gates.seen, gates.recurrent
    if gates.bias is not None:
        seen = _wrapped(lowering, cell, onnx.op("Add", [seen, gates.bias[0]]))
        recurrent = _wrapped(lowering, cell, onnx.op("Add", [recurrent, gates.bias[1]]))
    inputs, recalls = _slices(lowering, cell, seen, 3), _slices(lowering, cell, recurrent, 3)
    z, r = (
        _gate(lowering, cell, onnx.op("Add", [a, b]), "sigmoid")
        for a, b in zip(inputs[:2], recalls, strict=False)
    )
    n = onnx.op("Add", [inputs[2], onnx.op("Mul", [r, recalls[2]])])
    if cell.dtype != "float32":
        n = clipped(lowering, rounded(lowering, n), DTYPE_BOUNDS["int16"])
    n = _gate(lowering, cell, n, "tanh")
    new = onnx.op("Mul", [onnx.op("Sub", [onnx.constant(F32(1), "one"), z]), n])
    if cell.dtype != "float32":
        new = onnx.op(
            "Mul", [new, onnx.constant(dl_rescale(lowering.exponent(cell.node.outputs[0])), "rescale")]
        )
    return [
        _hidden(lowering, cell, onnx.op("Add", [new, onnx.op("Mul", [z, gates.state[0]])]), rescaled=True)
    ]


def _hidden(lowering: Lowering, cell: RecurrentCell, value: str, *, rescaled: bool) -> str:
    """The hidden state as an integer of output y's exponent."""
    if cell.dtype == "float32":
        return value
    if not rescaled:
        factor = dl_rescale(lowering.exponent(cell.node.outputs[0]))
        value = lowering.onnx.op("Mul", [value, lowering.onnx.constant(factor, "rescale_y")])
    return rounded_and_clipped(lowering, value, DTYPE_BOUNDS[cell.dtype])
