"""Which kernels ESP-DL calls for a node, with what shapes, and what they execute.

Source: the dispatch of ESP-DL 3.3.9 (dl/base/*.cpp, dl/module/include/*.hpp). Vectors hold 16 bytes. A kernel for
aligned data is called where channels fill whole vectors, since the planner aligns every tensor to 16 bytes; else
its unaligned twin. A node of which ESP-DL computes all in C++ calls none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from esp_hil.formats.espdl.attributes import constant_integers, integer, text
from esp_hil.formats.espdl.model import Graph, Node, TensorData
from esp_hil.results.timing.instructions.copies import copy_instructions
from esp_hil.results.timing.instructions.kernels import alignment, blocks, instructions_of, known
from esp_hil.results.timing.instructions.windows import Shape, Window, axes_of, windows_of
from esp_hil.targets import Family

VECTOR = 16
"""Bytes of a vector register."""

_LEAST_REQUANTIZED = 50
"""Tensors of this size or smaller are requantized in C++ (dl_tensor_base.cpp:338)."""

_SET_ROUNDING = 7
"""Instructions of `dl_esp32p4_cfg_round`, which the P4 calls before kernels that round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCalls:
    """Calls of one kernel in a node.

    Attributes:
        kernel: its name without chip, such as `s8 conv unaligned 33`.
        calls: in one inference.
        instructions: of all of them.
    """

    kernel: str
    calls: int
    instructions: float


def simd_chip(family: Family) -> str | None:
    """`s3` or `p4`, whose kernels are counted; None for a chip that computes in portable C++."""
    return {"esp32s3": "s3", "esp32p4": "p4"}.get(family)


def kernel_calls(graph: Graph, node: Node, shapes: Mapping[str, Shape], chip: str) -> tuple[KernelCalls, ...]:
    """Calls of SIMD kernels in one inference of a node; () if ESP-DL computes it in C++.

    Args:
        graph: that has the node.
        node: any operator.
        shapes: of all values, see `esp_hil.formats.espdl.shapes.propagate`.
        chip: `s3` or `p4`.
    """
    counter = _COUNTERS.get(node.op_type, _lut)
    call = _Call(graph=graph, node=node, shapes=shapes, chip=chip)
    if call.item not in (1, 2):
        return ()
    found: dict[str, KernelCalls] = {}
    for made in counter(call):
        seen = found.get(made.kernel)
        found[made.kernel] = made if seen is None else _joined(seen, made)
    return tuple(found.values())


def _joined(one: KernelCalls, other: KernelCalls) -> KernelCalls:
    return KernelCalls(
        kernel=one.kernel,
        calls=one.calls + other.calls,
        instructions=one.instructions + other.instructions,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A node and what is asked of it again and again."""

    graph: Graph
    node: Node
    shapes: Mapping[str, Shape]
    chip: str

    def shape(self, index: int) -> Shape:
        return self.shapes.get(self.node.input(index), ())

    def made(self, index: int = 0) -> Shape:
        return self.shapes.get(self.node.output(index), ())

    def constant(self, index: int) -> TensorData | None:
        return self.graph.initializers.get(self.node.input(index))

    def dtype(self, name: str) -> str:
        if name in self.graph.initializers:
            return self.graph.initializers[name].dtype
        value = self.graph.values.get(name)
        return value.dtype if value else "int8"

    @property
    def item(self) -> int:
        """Bytes of an element of the data input; 0 for floats and other types."""
        return {"int8": 1, "int16": 2}.get(self.dtype(self.node.input(0)), 0)

    @property
    def lanes(self) -> int:
        return VECTOR // self.item

    @property
    def prefix(self) -> str:
        return f"{self.chip} s{8 * self.item}"

    def exponent(self, name: str) -> int:
        value = self.graph.values.get(name)
        exponents = value.exponents if value else self.graph.initializers[name].exponents
        return exponents[0] if exponents else 0

    def calls(self, kernel: str, many: int, quantities: Mapping[str, float]) -> KernelCalls:
        each = instructions_of(f"{self.chip} {kernel}", {"1": 1, **quantities})
        return KernelCalls(kernel=kernel, calls=many, instructions=many * each)

    def rounding(self, many: int = 1) -> list[KernelCalls]:
        """The P4 sets its rounding mode `many` times, the S3 has none to set."""
        if self.chip != "p4" or not many:
            return []
        return [KernelCalls(kernel="cfg_round", calls=many, instructions=_SET_ROUNDING * many)]

    def copy(self, count: int, *, destination: int, source: int, many: int = 1) -> KernelCalls:
        each = copy_instructions(self.chip, count, destination=destination, source=source)
        return KernelCalls(kernel="memcpy", calls=many, instructions=many * each)


# Convolutions and matrix products


def _conv(call: _Call) -> list[KernelCalls]:
    weight = call.shape(1)
    depthwise = integer(call.node, "group", 1) > 1
    spatial = len(call.shape(0)) - 2
    rows, columns = axes_of(call.shape(0), call.made(), weight[:spatial], _attributes(call.node))
    channels, made = call.shape(0)[-1], call.made()[-1]
    windows = windows_of(rows, columns, made * call.item)
    plain = rows.window * columns.window
    found = []
    for window, many in windows.items():
        kind = _kind(window, plain, rows.window == columns.window == 3, depthwise=depthwise)
        layer = _Layer(kind=kind, depthwise=depthwise, channels=channels, made=made)
        found.append(_window_calls(call, layer, window, many))
    return found + call.rounding() + _bias_copies(call, made, depthwise=depthwise)


def _kind(window: Window, taps: int, three: bool, *, depthwise: bool) -> str:
    if taps == 1 and not depthwise:
        return "11"
    return "33" if three and window.whole else "hw"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """What is the same for all windows of one kernel: `kind` is 11, 33 or hw; channels of input and output."""

    kind: str
    depthwise: bool
    channels: int
    made: int


def _window_calls(call: _Call, layer: _Layer, window: Window, many: int) -> KernelCalls:
    lanes, channels, made = call.lanes, layer.channels, layer.made
    data = "aligned" if channels % lanes == 0 and made % lanes == 0 else "unaligned"
    family = "depthwise" if layer.depthwise else "conv"
    name = f"s{8 * call.item} {family} {data} {layer.kind}"
    quantities = {
        **blocks(channels, lanes, "c"),
        **blocks(made, lanes, "n"),
        **alignment(window.offset),
        "h": window.rows,
        "p": window.rows * window.columns,
        "w1": window.columns == 1,
        "we": window.columns % 2 == 0,
        "h1": window.rows == 1,
        **_flags(call),
    }
    return call.calls(name, many, quantities)


def _flags(call: _Call) -> dict[str, float]:
    weight = call.constant(1)
    return {
        "bias": bool(call.node.input(2)),
        "relu": text(call.node, "activation", "Linear") == "Relu",
        "pc": call.chip == "p4" and weight is not None and len(weight.exponents) > 1,
    }


_BIAS_BYTES = 5
"""Of an int16 filter's bias, as the S3's kernels preload it: 40 bits."""


def _bias_copies(call: _Call, made: int, *, depthwise: bool) -> list[KernelCalls]:
    """The S3 packs an int16 bias to 40 bits, one channel a copy, when it first runs the node."""
    if call.chip != "s3" or call.item != 2 or not call.node.input(2):
        return []
    many = made if depthwise else made // call.lanes * call.lanes
    return [
        call.copy(_BIAS_BYTES, destination=_BIAS_BYTES * channel, source=8 * channel)
        for channel in range(many)
    ]


def _gemm(call: _Call) -> list[KernelCalls]:
    depth, made = call.shape(0)[-1], call.made()[-1]
    return [*_products(call, math.prod(call.made()[:-1]), depth, made), *call.rounding()]


def _matmul(call: _Call) -> list[KernelCalls]:
    depth, made = call.shape(0)[-1], call.made()[-1]
    batches = 1 if call.constant(1) is not None else math.prod(call.made()[:-2])
    return [*_products(call, math.prod(call.made()[:-1]), depth, made), *call.rounding(batches)]


def _products(call: _Call, rows: int, depth: int, made: int) -> list[KernelCalls]:
    """A product with a matrix is a 1x1 convolution over its rows."""
    offsets = _offsets(rows, made * call.item)
    layer = _Layer(kind="11", depthwise=False, channels=depth, made=made)
    return [
        _window_calls(call, layer, Window(rows=1, columns=1, whole=True, offset=offset), many)
        for offset, many in offsets.items()
    ] + _bias_copies(call, made, depthwise=False)


def _attributes(node: Node) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for name in ("strides", "dilations", "pads"):
        value = node.attributes.get(name)
        if isinstance(value, tuple):
            found[name] = tuple(item for item in value if isinstance(item, int))
    return found


def _recurrent(call: _Call) -> list[KernelCalls]:
    """Each gate of each step is a dot product of the input and one of the state, where they fill whole vectors."""
    steps, _, features = call.shape(0)
    hidden = integer(call.node, "hidden_size")
    directions = 2 if text(call.node, "direction", "forward") == "bidirectional" else 1
    gates = {"LSTM": 4, "GRU": 3}[call.node.op_type]
    kernel = "dotprod_i8k8o16" if call.item == 1 else "dotprod_i16k16o16"
    many, found = steps * directions * gates * hidden, []
    for length in (features, hidden):
        if length % call.lanes == 0:
            # the table counts both kernels in groups of 16 elements
            found.append(call.calls(kernel, many, {**blocks(length, 16, "c"), "cb": length / 16}))
    return found + call.rounding(many * len(found))


# Elementwise


def _elementwise(name: str) -> Callable[[_Call], list[KernelCalls]]:
    def count(call: _Call) -> list[KernelCalls]:
        first, second, made = _merged(call.shape(0), call.shape(1), call.made())
        run = made[-1]
        if run < call.lanes:
            return []
        kernel = _form(call, name, first[-1], second[-1], run)
        offsets = _offsets(math.prod(made[:-1]), run * call.item)
        found = [
            call.calls(kernel, many, {**blocks(run, call.lanes, "c"), **alignment(offset)})
            for offset, many in offsets.items()
        ]
        return found + (call.rounding() if name == "mul" else [])

    return count


def _form(call: _Call, name: str, first: int, second: int, run: int) -> str:
    """Which kernel of an elementwise operator: both inputs vectors, or one a scalar for the whole run."""
    lanes, kind = call.lanes, f"s{8 * call.item}_{name}"
    if first % lanes == 0 and second % lanes == 0:
        return f"s{8 * call.item}_add2d_11c" if name == "add" else f"{kind}_w1_{lanes}_w2_{lanes}"
    ending = "" if run % lanes == 0 else "_unaligned"
    if second == 1:
        return f"{kind}_w1_{lanes}_w2_1{ending}"
    if first == 1:
        return f"{kind}_w1_1_w2_{lanes}{ending}"
    return f"{kind}_w1_{lanes}_w2_{lanes}_unaligned"


def _merged(first: Shape, second: Shape, made: Shape) -> tuple[list[int], list[int], list[int]]:
    """Shapes with the axes joined that both inputs run through alike (get_elemwise_operation_args)."""
    rank = len(made)
    one = [1] * (rank - len(first)) + list(first)
    two = [1] * (rank - len(second)) + list(second)
    joined: list[tuple[int, int, int]] = []
    for a, b, c in zip(one, two, made, strict=True):
        if joined:
            d, e, f = joined[-1]
            alike = (d == e and a == b) or (d == 1 and a == 1) or (e == 1 and b == 1)
            if alike:
                joined[-1] = (d * a, e * b, f * c)
                continue
        joined.append((a, b, c))
    joined = joined or [(1, 1, 1)]
    return [a for a, _, _ in joined], [b for _, b, _ in joined], [c for _, _, c in joined]


def _lut(call: _Call) -> list[KernelCalls]:
    """Any activation that the file gives a table for; int16 tables are read at the nearest of their steps."""
    if "lut" not in call.node.attributes:
        return []
    count = math.prod(call.shape(0))
    if call.item == 1:
        rounds = count // (16 if call.chip == "s3" else 8)
        return [call.calls("s8_lut", 1, {"blocks": rounds})] if rounds else []
    if call.node.op_type != "LUT" or count < 8:
        return []
    return [call.calls("s16_lut_nearest_neighbor", 1, {"blocks": count // 8}), *call.rounding()]


def _prelu(call: _Call) -> list[KernelCalls]:
    if "lut" in call.node.attributes and call.item == 1:
        return _lut(call)
    *rows, channels = call.made()
    many = math.prod(rows)
    aligned = channels % call.lanes == 0
    kernel = f"s{8 * call.item}_{'' if aligned else 'unaligned_'}prelu_11c"
    if not known(f"{call.chip} {kernel}"):
        return []
    found = []
    for offset, share in _offsets(many, channels * call.item).items():
        found.append(call.calls(kernel, share, {**blocks(channels, call.lanes, "c"), **alignment(offset)}))
    return found + call.rounding()


def _offsets(many: int, step: int) -> dict[int, int]:
    """How many of `many` places, `step` bytes apart, begin at which offset from a multiple of 16."""
    found: dict[int, int] = {}
    period = VECTOR // math.gcd(VECTOR, step)
    for place in range(period):
        share = (many - place + period - 1) // period
        if share > 0:
            found[place * step % VECTOR] = share
    return found


def _requantize(call: _Call) -> list[KernelCalls]:
    name, made = call.node.input(0), call.node.output(0)
    count = math.prod(call.shape(0))
    into = {"int8": 1, "int16": 2}.get(call.dtype(made), 0)
    if not into:
        return []
    finer = call.exponent(made) - call.exponent(name)
    if finer == 0:
        if into != call.item:
            return []
        return [call.copy(count * into, destination=0, source=0)]
    if count <= _LEAST_REQUANTIZED or (into == call.item == 2 and finer < -14):
        return []
    left = "|left" if finer < 0 else ""
    lanes = VECTOR // into
    rest = count % call.lanes
    quantities = {**blocks(count, lanes, "c"), "lr": rest, "any_lr": rest > 0}
    kernel = f"s{8 * into}_s{8 * call.item}_requantize_linear{left}"
    return [call.calls(kernel, 1, quantities), *call.rounding()]


# Pooling and resizing


def _max_pool(call: _Call) -> list[KernelCalls]:
    *_, channels = call.made()
    shape = _ints(call.node, "kernel_shape")
    rows, columns = axes_of(call.shape(0), call.made(), shape, _attributes(call.node))
    square = rows.window == columns.window == 2
    start = f"s{8 * call.item}_{'' if channels % call.lanes == 0 else 'unaligned_'}max_pool2d_"
    found = []
    for window, many in windows_of(rows, columns, channels * call.item).items():
        kernel = start + ("22c1" if square and window.whole else "hwc1")
        if not known(f"{call.chip} {kernel}"):
            return []
        found.append(call.calls(kernel, many, _pool_quantities(call, channels, window)))
    return found


def _pool_quantities(call: _Call, channels: int, window: Window) -> dict[str, float]:
    return {
        **blocks(channels, call.lanes, "c"),
        **alignment(window.offset),
        "h": window.rows,
        "p": window.rows * window.columns,
        "w1": window.columns == 1,
    }


def _average_pool(call: _Call) -> list[KernelCalls]:
    """The P4 sums int8 with SIMD where channels fill whole vectors; everything else is C++ in float."""
    *_, channels = call.shape(0)
    if call.chip != "p4" or call.item != 1:
        return []
    if channels % call.lanes:
        return call.rounding()
    shape = call.shape(0)[1:-1]
    if call.node.op_type == "AveragePool":
        shape = _ints(call.node, "kernel_shape")
    rows, columns = axes_of(call.shape(0), call.made(), shape, _attributes(call.node))
    found = [
        call.calls("s8_avg_pool2d_hwc_sum", many, _pool_quantities(call, channels, window))
        for window, many in windows_of(rows, columns, VECTOR).items()
    ]
    return found + call.rounding()


def _resize(call: _Call) -> list[KernelCalls]:
    if text(call.node, "mode", "nearest") != "nearest" or call.item != 1:
        return []
    before, made = call.shape(0), call.made()
    channels = before[-1]
    doubled = len(before) == 4 and made[1] == 2 * before[1] and made[2] == 2 * before[2]
    many = math.prod(before[1:-1] if doubled else made[1:-1])
    kernel = (
        f"s8_{'' if channels % VECTOR == 0 else 'unaligned_'}resize_nearest_{'2x2_' if doubled else ''}c1"
    )
    return [
        call.calls(kernel, share, {**blocks(channels, VECTOR, "c"), **alignment(offset)})
        for offset, share in _offsets(many, channels).items()
    ]


def _ints(node: Node, name: str) -> tuple[int, ...]:
    value = node.attributes.get(name)
    return tuple(item for item in value if isinstance(item, int)) if isinstance(value, tuple) else ()


# Copies


def _concat(call: _Call) -> list[KernelCalls]:
    made = call.made()
    axis = integer(call.node, "axis") % len(made)
    parts = [math.prod(call.shape(index)[axis:]) * call.item for index in range(len(call.node.inputs))]
    start, found = 0, []
    for part in parts:
        found += _strided(call, math.prod(made[:axis]), part, into=(start, sum(parts)), out_of=(0, part))
        start += part
    return found


def _split(call: _Call) -> list[KernelCalls]:
    before = call.shape(0)
    axis = integer(call.node, "axis", 0) % len(before)
    whole = math.prod(before[axis:]) * call.item
    start, found = 0, []
    for index in range(len(call.node.outputs)):
        part = math.prod(call.made(index)[axis:]) * call.item
        found += _strided(call, math.prod(before[:axis]), part, into=(0, part), out_of=(start, whole))
        start += part
    return found


def _strided(
    call: _Call, many: int, count: int, *, into: tuple[int, int], out_of: tuple[int, int]
) -> list[KernelCalls]:
    """`many` copies of `count` bytes; `into` and `out_of`: first place and the step between places, in bytes."""
    pairs: dict[tuple[int, int], int] = {}
    for place in range(many):
        pair = ((into[0] + place * into[1]) % VECTOR, (out_of[0] + place * out_of[1]) % VECTOR)
        pairs[pair] = pairs.get(pair, 0) + 1
    return [
        call.copy(count, destination=destination, source=source, many=share)
        for (destination, source), share in pairs.items()
    ]


def _insert_zeros(call: _Call) -> list[KernelCalls]:
    before, made = call.shape(0), call.made()
    count = before[-1] * call.item
    step = made[-2] // max(before[-2], 1) + (made[-2] % max(before[-2], 1) > 0)
    return _strided(call, math.prod(before[:-1]), count, into=(0, step * count), out_of=(0, count))


def _streaming_cache(call: _Call) -> list[KernelCalls]:
    """The cache before the input, the input behind it, and the end of both to the cache."""
    new = math.prod(call.shape(0)) * call.item
    whole = math.prod(call.made()) * call.item
    kept = whole - new
    return [
        call.copy(kept, destination=0, source=0),
        call.copy(new, destination=kept, source=0),
        call.copy(kept, destination=0, source=new),
    ]


def _slice(call: _Call) -> list[KernelCalls]:
    """One copy for each run of elements that lie together in both tensors."""
    before, made = call.shape(0), call.made()
    last = _last_changed(before, made)
    many, count = math.prod(made[:last]), math.prod(made[last:]) * call.item
    steps = constant_integers(call.graph, call.node, 4) or ()
    if steps and abs(steps[-1]) != 1 and made[last] > 1:
        # elements that do not lie together are copied one at a time
        each = math.prod(made[last + 1 :]) * call.item
        many, count = many * made[last], each
    step = math.prod(before[last:]) * call.item
    return _strided(call, many, count, into=(0, count), out_of=(0, step))


def _last_changed(before: Shape, made: Shape) -> int:
    """The last axis along which the sizes differ."""
    return max((axis for axis, (a, b) in enumerate(zip(before, made, strict=True)) if a != b), default=0)


def _pad(call: _Call) -> list[KernelCalls]:
    """A copy for each row of the input; `edge` and `reflect` then copy what was made to each line outside."""
    before, made = call.shape(0), call.made()
    last = _last_changed(before, made)
    count = math.prod(before[last:]) * call.item
    step = math.prod(made[last:]) * call.item
    found = _strided(call, math.prod(before[:last]), count, into=(step - count, step), out_of=(0, count))
    if text(call.node, "mode", "constant") != "constant":
        for axis in range(last):
            line = math.prod(made[axis + 1 :]) * call.item
            outside = math.prod(before[:axis]) * (made[axis] - before[axis])
            found += _strided(call, outside, line, into=(0, line), out_of=(0, line))
    return found


# Reductions and norms

_L2_CHUNK = 256
"""Elements of an int16 sum of squares that the accumulator is sure to hold (dl_base_reduce.cpp:75)."""


def _squares(call: _Call) -> list[KernelCalls]:
    """Sums of squares along the last axis: whole vectors that begin aligned, the rest in C++."""
    shape = call.shape(0)
    size, rows = shape[-1], math.prod(shape[:-1])
    found = []
    kernel = f"reduce_l2_s{8 * call.item}_aligned"
    for offset, many in _offsets(rows, size * call.item).items():
        before = -offset % VECTOR // call.item
        left = max(size - before, 0) // call.lanes * call.lanes
        while left > 0:
            part = left if call.item == 1 else min(left, _L2_CHUNK)
            found.append(call.calls(kernel, many, {"cb": part / 16}))
            left -= part
    return found


def _lp_norm(call: _Call) -> list[KernelCalls]:
    axis = integer(call.node, "axis", -1) % len(call.shape(0))
    if integer(call.node, "p", 2) != 2 or axis != len(call.shape(0)) - 1:
        return []
    return _squares(call)


def _rms_norm(call: _Call) -> list[KernelCalls]:
    size, rows = call.shape(0)[-1], math.prod(call.shape(0)[:-1])
    norm = call.calls(f"rmsnorm_s{8 * call.item}", rows, {"n": size, "quads": size // 4})
    return [*_squares(call), norm]


def _none(call: _Call) -> list[KernelCalls]:
    return []


_COUNTERS: dict[str, Callable[[_Call], list[KernelCalls]]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "Add": _elementwise("add"),
    "Sub": _elementwise("sub"),
    "Mul": _elementwise("mul"),
    "Equal": _elementwise("equal"),
    "Greater": _elementwise("greater"),
    "GreaterOrEqual": _elementwise("greaterorequal"),
    "Less": _elementwise("less"),
    "LessOrEqual": _elementwise("lessorequal"),
    "PRelu": _prelu,
    "RequantizeLinear": _requantize,
    "QuantizeLinear": _requantize,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _average_pool,
    "Resize": _resize,
    "Concat": _concat,
    "Split": _split,
    "InsertZeros": _insert_zeros,
    "StreamingCache": _streaming_cache,
    "Slice": _slice,
    "Pad": _pad,
    "LpNormalization": _lp_norm,
    "RMSNormalization": _rms_norm,
    "Div": _none,
    "Neg": _none,
}
