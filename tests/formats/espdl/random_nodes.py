"""Random nodes of every operator that ESP-DL registers, as ESP-DL holds them and as ONNX does, and their true shapes.

    python -m tests.formats.espdl.random_nodes --count 15000 --seed 1

The truth is ONNX's strict shape inference; where that is silent, and for nodes that were broken on purpose (inference
lets many pass), what onnxruntime returns for zeros; for ESP-DL's own operators, what onnxruntime returns for the
graph that `esp_hil.exact` lowers them to. Broken nodes are those of operators whose shape depends on what was broken.
"""

from __future__ import annotations

import argparse
import collections
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from esp_hil.errors import HilError
from esp_hil.exact.lower import lower
from esp_hil.formats.espdl import EspdlModel, Graph, Node
from esp_hil.formats.espdl.operators import REGISTERED
from esp_hil.formats.espdl.shapes import Shape, output_shapes
from tests.formats.espdl.writer import graph, node, tensor, value

Random = np.random.Generator
OPSET = 20
SPATIAL = frozenset(
    [
        "Conv",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "DepthToSpace",
        "SpaceToDepth",
        "Resize",
        "InsertZeros",
    ]
)
OWN = frozenset(["LUT", "Swish", "RequantizeLinear", "RMSNormalization", "InsertZeros", "StreamingCache"])
BREAKABLE = frozenset(
    [
        "Conv",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "Gemm",
        "MatMul",
        "Concat",
        "Split",
        "Slice",
        "Gather",
        "Pad",
        "Flatten",
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "DepthToSpace",
        "SpaceToDepth",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Greater",
        "Less",
        "ReduceSum",
        "ReduceMax",
        "ReduceMean",
    ]
)
ONE_FOR_SCALAR = frozenset(["MatMul", *(name for name in REGISTERED if name.startswith("Reduce"))])
"""ESP-DL's modules of these make shape (1,) of what is a scalar in ONNX."""


@dataclass(slots=True)
class Case:
    """A node.

    Attributes:
        op_type: ESP-DL's name.
        inputs: shapes as on the device; None: left out, or a constant.
        constants: by number of the input; integers, or float32 (a Resize's scales).
        attributes: as both have them.
        outputs: how many.
        broken: whether something was changed at random afterwards.
    """

    op_type: str
    inputs: list[Shape | None]
    constants: dict[int, NDArray[Any]] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    broken: bool = False

    def names(self) -> list[str]:
        """Of the inputs, "" for one that is left out."""
        count = max(len(self.inputs), *(index + 1 for index in self.constants), 0)
        return [
            f"c{i}"
            if i in self.constants
            else f"x{i}"
            if i < len(self.inputs) and self.inputs[i] is not None
            else ""
            for i in range(count)
        ]


def dims(random: Random, low: int = 1, high: int = 5, largest: int = 7) -> Shape:
    """A shape of `low` to `high` dimensions."""
    return tuple(int(n) for n in random.integers(1, largest + 1, int(random.integers(low, high + 1))))


def integers(*values: int) -> NDArray[np.int64]:
    """A constant."""
    return np.array(values, np.int64)


def one_of(random: Random, *values: Any) -> Any:
    """Any of them."""
    return values[int(random.integers(len(values)))]


def window(random: Random, rank: int) -> tuple[list[int], dict[str, Any]]:
    """Sizes, and attributes of a window that fits them."""
    kernel, stride = (random.integers(1, 4, rank).tolist() for _ in range(2))
    pads = random.integers(0, 2, 2 * rank).tolist()
    sizes = [int(random.integers(3 * k, 3 * k + 6)) for k in kernel]
    return sizes, {"kernel_shape": tuple(kernel), "strides": tuple(stride), "pads": tuple(pads)}


def conv(random: Random, op_type: str) -> Case:
    """1-D or 2-D, ordinary or depthwise."""
    rank, batch, given, made = (int(n) for n in random.integers(1, [3, 3, 7, 7]))
    sizes, attributes = window(random, rank)
    kernel = attributes["kernel_shape"]
    attributes |= {"dilations": tuple(random.integers(1, 3, rank).tolist())}
    depthwise = given > 1 and random.random() < 0.4
    attributes["group"] = given if depthwise else 1
    filters = (*kernel, given, 1) if depthwise else (*kernel, given, made)
    inputs: list[Shape | None] = [(batch, *sizes, given), filters]
    if random.random() < 0.5:
        inputs.append((given if depthwise else made,))
    return Case(op_type, inputs, attributes=attributes)


def pool(random: Random, op_type: str) -> Case:
    """1-D or 2-D."""
    rank = int(random.integers(1, 3))
    sizes, attributes = window(random, rank)
    least = min(attributes["kernel_shape"])
    attributes["pads"] = tuple(min(pad, least - 1) for pad in attributes["pads"])
    return Case(
        op_type, [(int(random.integers(1, 3)), *sizes, int(random.integers(1, 7)))], attributes=attributes
    )


def global_pool(random: Random, op_type: str) -> Case:
    """Batch of 1: of a larger one ESP-DL pools the first sample only."""
    return Case(op_type, [(1, *dims(random, 2, 3))])


def gemm(random: Random, op_type: str) -> Case:
    """Over the last axis of any rank."""
    given, made = dims(random, 2, 4), int(random.integers(1, 9))
    bias: list[Shape | None] = [(made,)] if random.random() < 0.5 else []
    return Case(op_type, [given, (1, 1, given[-1], made), *bias])


def matmul(random: Random, op_type: str) -> Case:
    """Up to four dimensions, vectors among them."""
    inner, outer = int(random.integers(1, 6)), dims(random, 2, 2)
    left = (*outer[: int(random.integers(0, 3))], int(random.integers(1, 6)), inner)
    right = (*(one_of(random, 1, n) for n in left[:-2]), inner, int(random.integers(1, 6)))
    right = right[int(random.integers(0, len(right) - 1)) :]
    if random.random() < 0.2:
        left = (inner,)
    if random.random() < 0.2:
        right = (inner,)
    return Case(op_type, [left, right])


def binary(random: Random, op_type: str) -> Case:
    """Shapes that broadcast both ways."""
    whole = dims(random, 0, 4)
    sides = [
        tuple(n if random.random() < 0.7 else 1 for n in whole)[int(random.integers(0, 2)) :] for _ in "ab"
    ]
    return Case(op_type, [*sides], attributes={"fmod": 1} if op_type == "Mod" else {})


def concat(random: Random, op_type: str) -> Case:
    """Two to four inputs."""
    first = list(dims(random))
    axis = int(random.integers(-len(first), len(first)))
    inputs: list[Shape | None] = []
    for _ in range(int(random.integers(2, 5))):
        first[axis] = int(random.integers(1, 6))
        inputs.append(tuple(first))
    return Case(op_type, inputs, attributes={"axis": axis})


def split(random: Random, op_type: str) -> Case:
    """By sizes."""
    shape, parts = list(dims(random)), random.integers(1, 5, int(random.integers(1, 4)))
    axis = int(random.integers(-len(shape), len(shape)))
    shape[axis] = int(parts.sum())
    return Case(op_type, [tuple(shape)], {1: integers(*parts)}, {"axis": axis}, outputs=len(parts))


def slice_(random: Random, op_type: str) -> Case:
    """Forwards and backwards, from either end, ends beyond the axis."""
    shape = tuple(n + 1 for n in dims(random))
    axes = random.permutation(len(shape))[: int(random.integers(1, len(shape) + 1))]
    rows = []
    for axis in axes:
        size, step = shape[axis], int(one_of(random, 1, 1, 2, 3, -1, -2))
        start, end = sorted(random.choice(size + 1, 2, replace=False).tolist())
        end = end if end < size else int(one_of(random, size, size + 5, 2**31 - 1, 2**63 - 1))
        if step < 0:
            start, end = -start - 1, max(-end - 1, -(2**63))
        elif random.random() < 0.3:
            start -= size
        rows.append((start, end, int(axis) - int(one_of(random, 0, len(shape))), step))
    constants = {1 + i: integers(*column) for i, column in enumerate(zip(*rows, strict=True))}
    return Case(op_type, [shape], constants)


def gather(random: Random, op_type: str) -> Case:
    """Indices of any rank, a scalar among them."""
    shape = dims(random)
    axis = int(random.integers(-len(shape), len(shape)))
    indices = random.integers(0, shape[axis], dims(random, 0, 2), dtype=np.int64)
    return Case(op_type, [shape], {1: np.array(indices)}, {"axis": axis})


def pad(random: Random, op_type: str) -> Case:
    """Of every axis."""
    shape = dims(random)
    return Case(op_type, [shape], {1: random.integers(0, 4, 2 * len(shape))}, {"mode": "constant"})


def flatten(random: Random, op_type: str) -> Case:
    """At any axis."""
    shape = dims(random, 0, 5)
    return Case(op_type, [shape], attributes={"axis": int(random.integers(-len(shape), len(shape) + 1))})


def reshape(random: Random, op_type: str) -> Case:
    """To factors in another order, with -1 and 0."""
    shape = dims(random)
    wanted = list(random.permutation(shape))
    if len(wanted) > 1 and random.random() < 0.5:
        wanted[:2] = [wanted[0] * wanted[1]]
    wanted = [
        0 if i < len(shape) and n == shape[i] and random.random() < 0.3 else n for i, n in enumerate(wanted)
    ]
    if random.random() < 0.5:
        wanted[int(random.integers(len(wanted)))] = -1
    return Case(op_type, [shape], {1: integers(*wanted)}, {"allowzero": 0})


def transpose(random: Random, op_type: str) -> Case:
    """Any order."""
    shape = dims(random)
    return Case(op_type, [shape], attributes={"perm": tuple(random.permutation(len(shape)).tolist())})


def squeeze(random: Random, op_type: str) -> Case:
    """Some axes of size 1, from either end, or all."""
    shape = tuple(one_of(random, 1, n) for n in dims(random))
    axes = [
        axis - int(one_of(random, 0, len(shape)))
        for axis, n in enumerate(shape)
        if n == 1 and random.random() < 0.7
    ]
    return Case(op_type, [shape], {1: integers(*axes)} if axes else {})


def unsqueeze(random: Random, op_type: str) -> Case:
    """Several axes from the front, or one from either end."""
    shape = dims(random, 0, 4)
    count = int(random.integers(1, 4))
    rank = len(shape) + count
    axes = random.permutation(rank)[:count]
    if count == 1 and random.random() < 0.5:
        axes = axes - rank
    return Case(op_type, [shape], {1: integers(*axes)})


def blocks(random: Random, op_type: str) -> Case:
    """Channels or sizes divisible."""
    block = int(random.integers(1, 4))
    batch, height, width, channels = (int(n) for n in random.integers(1, 5, 4))
    deep = op_type == "DepthToSpace"
    shape = (
        (batch, height, width, channels * block**2)
        if deep
        else (batch, height * block, width * block, channels)
    )
    return Case(op_type, [shape], attributes={"blocksize": block})


def resize(random: Random, op_type: str) -> Case:
    """By sizes or by scales."""
    shape = (int(random.integers(1, 3)), *dims(random, 2, 3))
    rank = len(shape) - 2
    common = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if random.random() < 0.5:
        return Case(
            op_type, [shape], {3: integers(shape[0], shape[-1], *random.integers(1, 12, rank))}, common
        )
    scales = np.array([1, 1, *(one_of(random, 1, 2, 1.7, 2 / 3, 3.3) for _ in range(rank))], np.float32)
    least = tuple(max(n, 2) for n in shape[1:-1])
    return Case(op_type, [(shape[0], *least, shape[-1])], {2: scales}, common)


def reduce(random: Random, op_type: str) -> Case:
    """Some axes, or all where none are given."""
    shape = dims(random)
    axes = random.permutation(len(shape))[: int(random.integers(0, len(shape) + 1))]
    axes = axes - len(shape) * random.integers(0, 2, len(axes))
    attributes = {"keepdims": int(random.integers(0, 2)), "noop_with_empty_axes": 0}
    return Case(op_type, [shape], {1: integers(*axes)} if len(axes) else {}, attributes)


def recurrent(random: Random, op_type: str) -> Case:
    """One way or both."""
    steps, batch, features, hidden = (int(n) for n in random.integers(1, 6, 4))
    ways = int(random.integers(1, 3))
    gates = hidden * (4 if op_type == "LSTM" else 3)
    attributes = {
        "hidden_size": hidden,
        "direction": "forward" if ways == 1 else "bidirectional",
        "layout": 0,
    }
    inputs: list[Shape | None] = [(steps, batch, features), (ways, gates, features), (ways, gates, hidden)]
    return Case(op_type, inputs, attributes=attributes, outputs=3 if op_type == "LSTM" else 2)


def normalization(random: Random, op_type: str) -> Case:
    """Over the last axis."""
    shape = dims(random, 2, 4)
    return Case(op_type, [shape, shape[-1:]], attributes={"axis": -1, "epsilon": 1e-5})


def scatter(random: Random, op_type: str) -> Case:
    """Rows."""
    shape = dims(random, 1, 4)
    rows = random.integers(0, shape[0], (2, 1), dtype=np.int64)
    return Case(op_type, [shape, None, (2, *shape[1:])], {1: rows})


def reverse(random: Random, op_type: str) -> Case:
    """Time first."""
    shape = dims(random, 2, 4)
    lengths = random.integers(1, shape[0] + 1, shape[1], dtype=np.int64)
    return Case(op_type, [shape], {1: lengths}, {"time_axis": 0, "batch_axis": 1})


def streaming(random: Random, op_type: str) -> Case:
    """A cache of one frame or more."""
    shape = dims(random, 2, 4)
    axis = int(random.integers(-len(shape), len(shape)))
    return Case(op_type, [shape], attributes={"frame_axis": axis, "window_size": int(random.integers(2, 6))})


def zeros_between(random: Random, op_type: str) -> Case:
    """One number for all axes, or one each."""
    shape = (1, *dims(random, 2, 3))
    rank = len(shape) - 2
    stride, extra = (tuple(random.integers(low, 4, one_of(random, 1, rank)).tolist()) for low in (1, 0))
    return Case(op_type, [shape], attributes={"stride": stride, "output_padding": extra})


def unary(random: Random, op_type: str) -> Case:
    """As its input."""
    more: list[Shape | None] = [(1,)] if op_type in ("QuantizeLinear", "DequantizeLinear", "PRelu") else []
    more = [(), *more[1:]] if op_type in ("QuantizeLinear", "DequantizeLinear") else more
    return Case(op_type, [dims(random), *more])


MAKERS: dict[str, Callable[[Random, str], Case]] = {
    **dict.fromkeys(REGISTERED, unary),
    **dict.fromkeys(
        [
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Mod",
            "Pow",
            "Equal",
            "Greater",
            "GreaterOrEqual",
            "Less",
            "LessOrEqual",
        ],
        binary,
    ),
    **dict.fromkeys((name for name in REGISTERED if name.startswith("Reduce")), reduce),
    **dict.fromkeys(["MaxPool", "AveragePool"], pool),
    **dict.fromkeys(["DepthToSpace", "SpaceToDepth"], blocks),
    **dict.fromkeys(["LSTM", "GRU"], recurrent),
    **dict.fromkeys(["LayerNormalization", "RMSNormalization"], normalization),
    "Concat": concat,
    "Conv": conv,
    "Flatten": flatten,
    "Gather": gather,
    "Gemm": gemm,
    "GlobalAveragePool": global_pool,
    "InsertZeros": zeros_between,
    "MatMul": matmul,
    "Pad": pad,
    "Reshape": reshape,
    "Resize": resize,
    "ReverseSequence": reverse,
    "ScatterND": scatter,
    "Slice": slice_,
    "Split": split,
    "Squeeze": squeeze,
    "StreamingCache": streaming,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}


_FLAGS = frozenset(["fmod", "keepdims", "noop_with_empty_axes", "allowzero"])
"""0 or 1; what another number means has nothing to do with shapes."""
_COUNTS = frozenset(["kernel_shape", "strides", "dilations", "group", "blocksize"])
"""At least 1: onnxruntime divides by them and ends the process."""


def broken(random: Random, case: Case) -> Case:
    """The case with one number changed: a dimension, a constant's or an attribute's."""
    case.broken = True
    kind = int(random.integers(3))
    step = int(one_of(random, -3, -1, 1, 2, 9))
    lists = [name for name, item in case.attributes.items() if isinstance(item, tuple) and item]
    numbers = [name for name, item in case.attributes.items() if type(item) is int and name not in _FLAGS]
    if kind == 1 and case.constants:
        flat = next(iter(case.constants.values())).reshape(-1)
        if flat.size and flat.dtype == np.int64:
            at = int(random.integers(flat.size))
            flat[at] = max(min(int(flat[at]) + step, 2**63 - 1), -(2**63))
            return case
    if kind == 2 and (lists or numbers):
        name = one_of(random, *lists, *numbers)
        least = 1 if name in _COUNTS else -99
        if name in numbers:
            case.attributes[name] = max(case.attributes[name] + step, least)
        else:
            changed = list(case.attributes[name])
            at = int(random.integers(len(changed)))
            changed[at] = max(changed[at] + step, least)
            case.attributes[name] = tuple(changed)
        return case
    which = [index for index, shape in enumerate(case.inputs) if shape]
    if which:
        index = one_of(random, *which)
        shape = list(case.inputs[index] or ())
        at = int(random.integers(len(shape)))
        shape[at] = max(1, shape[at] + step)
        case.inputs[index] = tuple(shape)
    return case


def departs(case: Case) -> bool:
    """Whether ESP-DL is known to depart from ONNX here; `DEPARTURES` of the test has a row for each kind."""
    constant = case.constants.get(1)
    if case.op_type == "Unsqueeze" and constant is not None:
        return constant.size > 1 and bool((constant < 0).any())
    given = case.inputs[0] or ()
    if case.op_type == "Squeeze" and constant is not None:
        return any(-len(given) <= axis < len(given) and given[axis] != 1 for axis in constant)
    if case.op_type == "Transpose":
        return any(axis < 0 for axis in case.attributes["perm"])
    if case.op_type == "GlobalAveragePool":
        return given[:1] != (1,)
    return case.op_type == "Gather" and constant is not None and bool((constant < 0).any())


def random_case(seed: int) -> Case:
    """The node of that number; half of those that can be is broken."""
    random = np.random.default_rng(seed)
    while True:
        ruled = random.random() < 0.85
        op_type = one_of(
            random, *sorted(name for name, maker in MAKERS.items() if (maker is not unary) == ruled)
        )
        case = MAKERS[op_type](random, op_type)
        if op_type in BREAKABLE and random.random() < 0.5:
            case = broken(random, case)
        if not departs(case):
            return case


def as_espdl(case: Case) -> tuple[Graph, Node, list[Shape]]:
    """The node in a graph, and its inputs' shapes."""
    names = case.names()
    kind = "F32" if "F32" in REGISTERED[case.op_type].quant_types else "S8"
    dtype = {"F32": "float32", "S8": "int8"}[kind]
    made = node(
        case.op_type, names, [f"y{i}" for i in range(case.outputs)], **case.attributes, quant_type=kind
    )
    inputs = {f"x{i}": shape for i, shape in enumerate(case.inputs) if shape is not None and f"x{i}" in names}
    constants = [tensor(f"c{i}", array, exponents=()) for i, array in case.constants.items()]
    if case.op_type == "LUT":
        table = tensor("table", np.arange(256).astype(np.int8))
        made = node("LUT", names, ["y0"], lut="table", quant_type="S8")
        constants.append(table)
    if case.op_type == "RMSNormalization":
        constants.append(tensor("x1", np.ones(case.inputs[1] or (), np.float32), exponents=()))
    values = [value(name, shape, dtype=dtype) for name, shape in inputs.items()]
    values += [value(name, (1,), dtype=dtype) for name in made.outputs]
    fed = [name for name in inputs if name not in {constant.name for constant in constants}]
    holder = graph([made], values, inputs=fed, outputs=made.outputs, initializers=constants)
    shapes: list[Shape] = [
        inputs.get(name, case.constants[int(name[1:])].shape if name[:1] == "c" else ()) for name in names
    ]
    return holder, made, shapes


def first_to_last(shape: Shape) -> Shape:
    """NCHW to NHWC."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) > 2 else shape


def last_to_first(shape: Shape) -> Shape:
    """NHWC to NCHW."""
    return (shape[0], shape[-1], *shape[1:-1]) if len(shape) > 2 else shape


def as_onnx(case: Case) -> onnx.ModelProto:
    """The node as ONNX has it."""
    shapes, op_type, attributes = list(case.inputs), case.op_type, dict(case.attributes)
    if op_type in SPATIAL and shapes[0] is not None:
        shapes[0] = last_to_first(shapes[0])
    if op_type == "Conv" and shapes[1] is not None:
        *kernel, inner, outer = shapes[1]
        shapes[1] = (inner, outer, *kernel) if attributes["group"] > 1 else (outer, inner, *kernel)
    if op_type == "Gemm" and shapes[1] is not None:
        shapes[1] = shapes[1][2:] if shapes[1][:2] == (1, 1) else shapes[1]
    names = case.names()
    kinds = {"x0": TensorProto.INT8} if op_type == "DequantizeLinear" else {}
    inputs = [
        helper.make_tensor_value_info(f"x{i}", kinds.get(f"x{i}", TensorProto.FLOAT), shape)
        for i, shape in enumerate(shapes)
        if shape is not None and f"x{i}" in names
    ]
    nodes = [helper.make_node(op_type, names, [f"y{i}" for i in range(case.outputs)], **attributes)]
    if op_type == "Gemm" and (shapes[0] is None or len(shapes[0]) != 2):
        # ONNX's Gemm has two dimensions
        nodes = [helper.make_node("MatMul", names[:2], ["product" if names[2:] else "y0"])]
        nodes += [helper.make_node("Add", ["product", names[2]], ["y0"])] if names[2:] else []
    outputs = [helper.make_value_info(f"y{i}", onnx.TypeProto()) for i in range(case.outputs)]
    constants = [numpy_helper.from_array(array, f"c{i}") for i, array in case.constants.items()]
    built = helper.make_graph(nodes, "g", inputs, outputs, constants)
    return helper.make_model(built, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def inferred(model: onnx.ModelProto) -> list[Shape] | None:
    """Shapes by ONNX's strict inference; None where it is silent.

    Raises:
        onnx.shape_inference.InferenceError: the node is invalid.
    """
    found = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    shapes = []
    for output in found.graph.output:
        kind = output.type.tensor_type
        if not kind.HasField("shape") or not all(dim.HasField("dim_value") for dim in kind.shape.dim):
            return None
        shapes.append(tuple(dim.dim_value for dim in kind.shape.dim))
    return shapes


def computed(model: onnx.ModelProto) -> list[Shape]:
    """Shapes of the arrays that onnxruntime returns for zeros.

    Raises:
        Exception: it refuses the node.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    kinds = {"tensor(float)": np.float32, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8}
    given = {item.name: np.zeros(item.shape, kinds[item.type]) for item in session.get_inputs()}
    return [array.shape for array in session.run(None, given)]


def truth(case: Case) -> list[Shape] | None:
    """The true shapes of the outputs on the device; None: there are none, because the node is invalid."""
    try:
        if case.op_type in OWN:
            holder, _, _ = as_espdl(case)
            return computed(lower(model_of(holder), "esp32p4").model)[: case.outputs]
        model = as_onnx(case)
        found = inferred(model)
        typed = onnx.shape_inference.infer_shapes(model) if found is None or case.broken else model
        shapes = computed(typed) if found is None or case.broken else found
    except Exception:
        return None
    if any(0 in shape for shape in shapes):
        return None  # ESP-DL has no empty tensor
    return [first_to_last(shape) for shape in shapes] if case.op_type in SPATIAL else shapes


def model_of(holder: Graph) -> EspdlModel:
    """The graph as a file would have it."""
    return EspdlModel(
        name="random", container="EDL2", sha256="", size_bytes=0, graph=holder, metadata={}, producer="",
        producer_version="", ir_version=1, opset={}, family="esp32p4",
    )  # fmt: skip


def engine(case: Case) -> list[Shape] | None:
    """The shapes that the harness computes; None: it refuses the node."""
    holder, made, shapes = as_espdl(case)
    try:
        return output_shapes(holder, made, shapes)[: case.outputs]
    except HilError:
        return None


def difference(seed: int) -> str:
    """What the engine says and should not of the node of that number; "" if they agree."""
    case = random_case(seed)
    wanted, said = truth(case), engine(case)
    if case.op_type in ONE_FOR_SCALAR and wanted is not None:
        wanted = [shape or (1,) for shape in wanted]
    if wanted == said or (wanted is not None and said is None and _beyond(case)):
        return ""
    return f"seed {seed}: {case}: {said}, should be {wanted}"


def _beyond(case: Case) -> bool:
    """Whether ONNX allows what ESP-DL has not: paddings that cut, a Gemm of several matrices or one bias,
    starts outside an axis.

    Only nodes that were broken get there.
    """
    constant = case.constants.get(1)
    cuts = case.op_type == "Pad" and constant is not None and bool((constant < 0).any())
    several = case.op_type == "Gemm" and (
        (case.inputs[1] or ())[:2] != (1, 1) or case.inputs[2:] not in ([], [(case.inputs[1] or ())[-1:]])
    )
    outside = case.op_type == "Slice" and any(
        not -size <= start <= size
        for start, axis in zip(*(case.constants[index].tolist() for index in (1, 3)), strict=True)
        for size in [(case.inputs[0] or ())[axis]]
    )
    return case.broken and (cuts or several or outside)


def main() -> int:
    """Compare many nodes; the status is 1 if one differs."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--count", type=int, default=15_000, help="how many nodes (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="number of the first (default: %(default)s)")
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + given.count)
    wrong = [found for seed in seeds if (found := difference(seed))]
    print("\n".join(wrong))
    kinds = collections.Counter((case.op_type, case.broken) for case in map(random_case, seeds))
    print(
        f"{given.count} nodes of {len({name for name, _ in kinds})} operators,"
        f" {sum(count for (_, bad), count in kinds.items() if bad)} broken on purpose: {len(wrong)} differ"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
