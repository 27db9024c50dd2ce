"""Operator models of our own, written by our own writer: what no recorded case covers, and edges.

Each is one node, in the form that esp-ppq gives it (attributes, filter layouts, tables), with constants drawn from
a generator that its name seeds. `own_models` gives a general model of every operator and width that ESP-DL registers
and no recorded case has, and the edges of those whose arithmetic has some: ties, saturation, long sums, paddings,
broadcasts, channels that fill no block.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.formats.espdl import Attribute, TensorData, ValueInfo
from esp_hil.formats.espdl.operators import REGISTERED
from esp_hil.targets import Family
from tests.formats.espdl.writer import edl, graph, node, tensor, value

Shape = tuple[int, ...]
X: Shape = (1, 5, 7)
"""Of what goes element by element: fewer than a vector in the innermost axis."""


@dataclass(slots=True)
class Maker:
    """Makes models of one family and width.

    Attributes:
        family: of the chip.
        bits: of the integers.
        random: seeded by the model's name.
        finer: so much finer than usual is the output of operators that scale, which therefore saturate.
    """

    family: Family
    bits: int
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    finer: int = 0

    @property
    def dtype(self) -> str:
        """Of activations and weights."""
        return f"int{self.bits}"

    @property
    def one(self) -> int:
        """Exponent at which the whole range is about 4."""
        return 3 - self.bits

    @property
    def lanes(self) -> int:
        """Channels of a block."""
        return 128 // self.bits

    def integers(self, *shape: int, dtype: str = "") -> NDArray[Any]:
        """Of the whole range."""
        limits = np.iinfo(dtype or self.dtype)
        return self.random.integers(limits.min, limits.max, shape, dtype or self.dtype, endpoint=True)

    def model(
        self,
        op: str,
        inputs: Mapping[str, Shape | NDArray[Any] | TensorData],
        outputs: Mapping[str, Shape],
        *,
        exponents: Mapping[str, int] | None = None,
        dtypes: Mapping[str, str] | None = None,
        **attributes: Attribute,
    ) -> bytes:
        """A file of one node.

        Args:
            op: its type.
            inputs: in order: a shape is an activation, values are a constant; a name "" is left out.
            outputs: in order.
            exponents: other than `one`.
            dtypes: of activations, other than `dtype`.
            attributes: beside quant_type.
        """
        given, types = dict(exponents or {}), dtypes or {}
        if op in SCALING:
            given |= {name: given.get(name, self.one) - self.finer for name in outputs}
        values: list[ValueInfo] = []
        constants: list[TensorData] = []
        names: list[str] = []
        for name, what in {**inputs, **outputs}.items():
            if isinstance(what, TensorData):
                constants.append(what)
            elif isinstance(what, np.ndarray):
                scaled = what.dtype.name in {"int8", "int16", "int32"} or what.dtype.name == self.dtype
                constants.append(
                    tensor(
                        name, what, exponents=(given.get(name, self.one),) if scaled else (), shape=what.shape
                    )
                )
            else:
                names.append(name)
                values.append(value(name, what, given.get(name, self.one), types.get(name, self.dtype)))
        kind = attributes.pop("quant_type", f"S{self.bits}")
        one = node(
            op,
            [n.partition("@")[0] for n in inputs],
            list(outputs),
            name=op.lower(),
            quant_type=kind,
            **attributes,
        )
        written = graph(
            [one],
            values,
            inputs=[name for name in names if name in inputs],
            outputs=list(outputs),
            initializers=constants,
        )
        return edl(written)

    # filters

    def filter_of(self, weights: NDArray[Any], *, depthwise: bool, exponents: Sequence[int]) -> TensorData:
        """Weights (N, H, W, C), 1-D (N, W, C), as the family packs them; C is 1 of depthwise ones."""
        count, kernel, channels = len(weights), weights.shape[1:-1], weights.shape[-1]
        shape = (*kernel, count, 1) if depthwise else (*kernel, channels, count)
        rank = "HW" if len(kernel) == 2 else "W"
        if self.family == "c":
            layout = f"{rank}CN" if depthwise else f"N{rank}C"
            data = np.moveaxis(weights, 0, -1) if depthwise else weights
            return tensor("w", data.reshape(-1), exponents=exponents, layout=layout, shape=shape)
        lanes, whole = self.lanes, count // self.lanes * self.lanes
        blocks = np.moveaxis(weights[:whole].reshape(-1, lanes, *weights.shape[1:]), 1, -1).reshape(-1)
        rest = weights[whole:]
        tail = (np.moveaxis(rest, 0, -1) if depthwise else rest).reshape(-1)
        layout = f"(N/{lanes}){rank}C{lanes}" + ("_UNALIGNED" if whole != count or channels % lanes else "")
        if depthwise:
            layout = f"(N/{lanes}){rank}C{lanes}" + ("_UNALIGNED" if whole != count else "")
        return tensor("w", np.concatenate([blocks, tail]), exponents=exponents, layout=layout, shape=shape)

    def scales(self, count: int, exponent: int) -> tuple[int, ...]:
        """Exponents of filters: one for each channel on the chips that have them."""
        if self.family != "esp32p4":
            return (exponent,)
        return tuple(int(exponent - down) for down in self.random.integers(0, 3, count))

    def window(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: Shape = (3, 3),
        size: int = 6,
        stride: int = 1,
        dilation: int = 1,
        pads: Shape | None = None,
        depthwise: bool = False,
        relu: bool = False,
        shift: int | None = None,
        weights: Callable[[Shape], NDArray[Any]] | None = None,
        bias: int | None = None,
    ) -> bytes:
        """A Conv.

        Args:
            inputs, outputs: channels.
            kernel: one or two extents.
            size: of every spatial axis of the input.
            stride, dilation: of every axis.
            pads: before all axes, then behind; None: half a kernel all round.
            depthwise: outputs is inputs.
            relu: fused.
            shift: to the right; None: so that the results fill the range.
            weights: makes those; None: of the whole range.
            bias: of all channels; None: of the size of some products.
        """
        rank = len(kernel)
        around = pads if pads is not None else tuple(k // 2 for k in kernel) * 2
        taps = math.prod(kernel) * (1 if depthwise else inputs)
        shape = (outputs, *kernel, 1 if depthwise else inputs)
        w = weights(shape) if weights else self.integers(*shape)
        down = self.bits - 1 + round(math.log2(taps) / 2) if shift is None else shift
        x, f = self.one, self.one
        exponents = self.scales(outputs, f)
        extents = [
            (size + around[i] + around[rank + i] - dilation * (kernel[i] - 1) - 1) // stride + 1
            for i in range(rank)
        ]
        wide = np.int32 if self.bits == 8 else np.int64
        reach = 1 << (2 * self.bits - 3)
        b = self.random.integers(-reach, reach, outputs).astype(wide)
        b = b if bias is None else np.full(outputs, bias, wide)
        return self.model(
            "Conv",
            {
                "x": (1, *[size] * rank, inputs),
                "w": self.filter_of(w, depthwise=depthwise, exponents=exponents),
                "b": tensor("b", b, exponents=[x + e for e in exponents]),
            },
            {"y": (1, *extents, outputs)},
            exponents={"y": x + f + down},
            activation="Relu" if relu else "Linear",
            dilations=(dilation,) * rank,
            kernel_shape=kernel,
            pads=around,
            strides=(stride,) * rank,
            group=inputs if depthwise else 1,
        )

    def gemm(
        self,
        inputs: int,
        outputs: int,
        *,
        relu: bool = False,
        shift: int | None = None,
        weights: Callable[[Shape], NDArray[Any]] | None = None,
        bias: int | None = None,
    ) -> bytes:
        """A Gemm; the arguments are those of `window`."""
        w = weights((outputs, inputs)) if weights else self.integers(outputs, inputs)
        down = self.bits - 1 + round(math.log2(inputs) / 2) if shift is None else shift
        exponents = self.scales(outputs, self.one)
        wide = np.int32 if self.bits == 8 else np.int64
        b = np.full(outputs, 0 if bias is None else bias, wide)
        return self.model(
            "Gemm",
            {
                "x": (1, inputs),
                "w": self.filter_of(w.reshape(outputs, 1, 1, inputs), depthwise=False, exponents=exponents),
                "b": tensor("b", b, exponents=[self.one + e for e in exponents]),
            },
            {"y": (1, outputs)},
            exponents={"y": 2 * self.one + down},
            activation="Relu" if relu else "Linear",
            transB=0,
        )

    # tables

    def table(self, of: Callable[[NDArray[np.float64]], NDArray[np.float64]], made: int) -> TensorData:
        """A function's table: 256 entries, of int16 every 32nd of 65,536."""
        step = 1 if self.bits == 8 else 32
        low = -(1 << (self.bits - 1))
        q = np.arange(low, -low + (self.bits == 16), step)
        with np.errstate(all="ignore"):  # of Log the left half
            real = np.nan_to_num(of(np.asarray(q * 2.0**self.one, np.float64)), nan=0.0)
        limits = np.iinfo(self.dtype)
        real = np.clip(real, -1e6, 1e6)
        entries = np.clip(np.floor(real / 2.0**made + 0.5), limits.min, limits.max).astype(self.dtype)
        return tensor("t", entries, exponents=(made,))


Make = Callable[[Maker], bytes]
_SCALING = "AveragePool GlobalAveragePool Div Mul MatMul Gemm LayerNormalization LpNormalization RMSNormalization Pow"
_SUMMING = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceProd ReduceSum ReduceSumSquare QuantizeLinear"
)
SCALING = frozenset(f"{_SCALING} {_SUMMING}".split())
"""Operators whose output may have any exponent."""
FINER = 4


def binary(op: str, one: Shape = X, other: Shape = X, **attributes: Any) -> Make:
    """Two activations that broadcast."""
    compares = op in {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}

    def make(m: Maker) -> bytes:
        shape = np.broadcast_shapes(one, other)
        exponents = {"a": m.one, "b": m.one, "y": m.one}
        if op == "Mul":
            exponents["y"] = 2 * m.one + m.bits - 1
        if op == "Div":
            exponents["y"] = -m.bits // 2
        types = {"y": "bool"} if compares else {}
        return m.model(
            op, {"a": one, "b": other}, {"y": shape}, exponents=exponents, dtypes=types, **attributes
        )

    return make


def mul_by_signs(m: Maker) -> bytes:
    """An activation by 1 and -1, shifted by one bit: every odd product is a half."""
    signs = m.random.choice([-1, 1], (1, 1, 32)).astype(m.dtype)
    return m.model("Mul", {"a": (1, 4, 32), "b": signs}, {"y": (1, 4, 32)}, exponents={"y": 2 * m.one + 1})


def table(op: str, of: Callable[[NDArray[np.float64]], NDArray[np.float64]], **attributes: Any) -> Make:
    """A function by its table; of int16 only what ESP-DL computes by tables there, the others in float C code."""

    def make(m: Maker) -> bytes:
        made, more = m.one + (4 if op == "Exp" else 0) - m.finer, dict(attributes)
        constants = []
        if m.bits == 8 or op in {"LUT", "Gelu"}:
            constants.append(m.table(of, made))
            more["lut"] = "t"
            more |= {"int16_lut_step": 32} if m.bits == 16 else {}
        limits = []
        if op == "Clip":
            limits = [("lo", 0), ("hi", (1 << m.bits) // 5)]
        constants += [tensor(name, np.array(end, m.dtype), exponents=(m.one,)) for name, end in limits]
        names = ["x", *(name for name, _ in limits)]
        one = node(op, names, ["y"], name=op.lower(), quant_type=f"S{m.bits}", **more)
        values = [value("x", (1, 333), m.one, m.dtype), value("y", (1, 333), made, m.dtype)]
        return edl(graph([one], values, initializers=constants))

    return make


def plain(op: str, **attributes: Any) -> Make:
    """A function of int16 without a table: float C code."""
    return lambda m: m.model(op, {"x": (1, 333)}, {"y": (1, 333)}, **attributes)


def moved(op: str, given: Shape, made: Shape, *constants: Sequence[int], **attributes: Any) -> Make:
    """What picks or moves values; constants are int64."""

    def make(m: Maker) -> bytes:
        more = {f"k{i}": np.array(values, np.int64) for i, values in enumerate(constants)}
        return m.model(op, {"x": given, **more}, {"y": made}, **attributes)

    return make


def reduced(op: str) -> Make:
    """Over the last axis."""

    def make(m: Maker) -> bytes:
        width, exponents = 3 if op == "ReduceProd" else 12, {"y": m.one}
        sums = {
            "ReduceSum": 4,
            "ReduceL1": 4,
            "ReduceL2": 2,
            "ReduceSumSquare": 6,
            "ReduceProd": 3,
            "ReduceLogSumExp": 2,
        }
        exponents["y"] += sums.get(op, 0)
        axes = np.array([-1], np.int64)
        return m.model(
            op, {"x": (1, 6, width), "axes": axes}, {"y": (1, 6, 1)}, exponents=exponents, keepdims=1
        )

    return make


def scaled(source: str, made: str, down: int = 1) -> Make:
    """RequantizeLinear and its like: element types and how much coarser the result is."""

    def make(m: Maker) -> bytes:
        op = {"float32": "QuantizeLinear"}.get(
            source, "DequantizeLinear" if made == "float32" else "RequantizeLinear"
        )
        real = np.array(2.0 ** (m.one + down), np.float32)
        zero = tensor("z", np.array(0, m.dtype), exponents=(0,))
        own = {"self": m.dtype, "other": "int16" if m.bits == 8 else "int8"}
        types = {"x": own.get(source, source), "y": own.get(made, made)}
        wider = 8 if types["x"] == "int16" and types["y"] == "int8" else 0
        wider -= 8 if types["x"] == "int8" and types["y"] == "int16" else 0
        return m.model(
            op,
            {"x": (1, 9, 7), "s": real, "z": zero},
            {"y": (1, 9, 7)},
            exponents={"y": m.one + down + wider},
            dtypes=types,
        )

    return make


def recurrent(op: str) -> Make:
    """One way, all gates of the whole range of their scale."""

    def make(m: Maker) -> bytes:
        steps, inputs, hidden, gates = 4, 6, 8, 4 if op == "LSTM" else 3
        wide = -9

        def weights(name: str, *shape: int, kind: str = "", exponent: int = 0) -> TensorData:
            values = m.integers(*shape, dtype=kind or m.dtype)
            if kind:
                values = values // 64
            return tensor(name, values, exponents=(exponent or -m.bits,))

        inputs_: dict[str, Any] = {
            "x": (steps, 1, inputs),
            "w": weights("w", 1, gates * hidden, inputs),
            "r": weights("r", 1, gates * hidden, hidden),
            "b": weights("b", 1, 2 * gates * hidden, kind="int16", exponent=wide),
            "": (),
            "h0": tensor("h0", np.zeros((1, 1, hidden), m.dtype), exponents=(1 - m.bits,)),
        }
        outputs: dict[str, Shape] = {"y": (steps, 1, 1, hidden), "yh": (1, 1, hidden)}
        attributes: dict[str, Any] = {"direction": "forward", "gate_exponent": wide, "hidden_size": hidden}
        if op == "LSTM":
            inputs_["c0"] = tensor("c0", np.zeros((1, 1, hidden), np.int16), exponents=(wide,))
            outputs["yc"] = (1, 1, hidden)
        else:
            attributes["linear_before_reset"] = 1
        made = dict.fromkeys(outputs, 1 - m.bits) | {"yc": wide}
        names = [name for name in inputs_]
        one = node(op, names, list(outputs), name=op.lower(), quant_type=f"S{m.bits}", **attributes)
        values = [value("x", inputs_["x"], m.one, m.dtype)]
        values += [value(n, s, made[n], "int16" if n == "yc" else m.dtype) for n, s in outputs.items()]
        constants = [item for item in inputs_.values() if isinstance(item, TensorData)]
        return edl(graph([one], values, outputs=list(outputs), initializers=constants))

    return make


def layer_norm(m: Maker) -> bytes:
    """Over the last axis, with gain and offset."""
    gain = tensor("g", m.integers(16), exponents=(m.one - 1,))
    offset = tensor("o", m.integers(16), exponents=(m.one - 1,))
    return m.model(
        "LayerNormalization", {"x": (1, 6, 16), "g": gain, "o": offset}, {"y": (1, 6, 16)}, axis=-1
    )


def rms_norm(m: Maker) -> bytes:
    """Its gain is of floats."""
    gain = m.random.normal(1, 0.3, 16).astype(np.float32)
    return m.model("RMSNormalization", {"x": (1, 6, 16), "g": gain}, {"y": (1, 6, 16)}, axis=-1, epsilon=1e-5)


def split(m: Maker) -> bytes:
    """Into two, unevenly."""
    sizes = np.array([2, 5], np.int64)
    return m.model("Split", {"x": (1, 5, 7), "k": sizes}, {"y": (1, 5, 2), "z": (1, 5, 5)}, axis=2)


def matmul(m: Maker) -> bytes:
    """By a constant."""
    outputs, depth = m.lanes + 3, 20
    w = m.filter_of(m.integers(outputs, 1, 1, depth), depthwise=False, exponents=(m.one,))
    data = w.data if m.family != "c" else w.data.reshape(outputs, depth).T.reshape(-1)
    layout = w.layout if m.family != "c" else ""
    packed = tensor("w", data, exponents=(m.one,), layout=layout, shape=(depth, outputs))
    more: dict[str, Any] = {} if m.family == "c" else {"input1_layout": "packed"}
    return m.model(
        "MatMul",
        {"x": (1, 5, depth), "w": packed},
        {"y": (1, 5, outputs)},
        exponents={"y": 2 * m.one + m.bits + 1},
        activation="Linear",
        **more,
    )


def softmax(op: str) -> Make:
    """Its answer is of floats."""
    return lambda m: m.model(op, {"x": (1, 5, 9)}, {"y": (1, 5, 9)}, dtypes={"y": "float32"}, axis=-1)


def prelu(m: Maker) -> bytes:
    """A slope for each channel, below 1."""
    slopes = tensor("s", m.integers(9, 1, 1) // 2, exponents=(1 - m.bits,))
    return m.model("PRelu", {"x": (1, 4, 4, 9), "s": slopes}, {"y": (1, 4, 4, 9)})


def pool(op: str, **attributes: Any) -> Make:
    """2-D."""
    return lambda m: m.model(
        op,
        {"x": (1, 6, 6, 7)},
        {"y": (1, 3, 3, 7)},
        **{"kernel_shape": (2, 2), "pads": (0,) * 4, "strides": (2, 2), **attributes},
    )


def resize(mode: str, coordinates: str) -> Make:
    """Twice as large, channels that fill a block: nearest is broken in ESP-DL where they do not."""

    def make(m: Maker) -> bytes:
        scales = np.array([1, 1, 2, 2], np.float32)
        attributes: dict[str, Any] = {"coordinate_transformation_mode": coordinates, "mode": mode}
        if mode == "nearest":
            attributes["nearest_mode"] = "floor"
        inputs = {"x": (1, 3, 4, m.lanes), "": (), "k": scales}
        one = node("Resize", list(inputs), ["y"], name="resize", quant_type=f"S{m.bits}", **attributes)
        values = [
            value("x", (1, 3, 4, m.lanes), m.one, m.dtype),
            value("y", (1, 6, 8, m.lanes), m.one, m.dtype),
        ]
        return edl(graph([one], values, initializers=[tensor("k", scales, exponents=())]))

    return make


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + e^-x)."""
    return np.asarray(1 / (1 + np.exp(-x)))


FUNCTIONS: dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], dict[str, Any]]] = {
    "Clip": (lambda x: np.clip(x, 0, 1.5), {}),
    "Elu": (lambda x: np.where(x > 0, x, np.expm1(x)), {"alpha": 1.0}),
    "Exp": (np.exp, {}),
    "Gelu": (lambda x: x * np.array([0.5 * (1 + math.erf(v / 2**0.5)) for v in x]), {}),
    "HardSigmoid": (lambda x: np.clip(x / 6 + 0.5, 0, 1), {"alpha": 1 / 6, "beta": 0.5}),
    "HardSwish": (lambda x: x * np.clip(x / 6 + 0.5, 0, 1), {}),
    "LeakyRelu": (lambda x: np.where(x > 0, x, 0.1 * x), {"alpha": 0.1}),
    "Log": (np.log, {}),
    "LUT": (np.sin, {"original_op_type": "Sin"}),
    "Relu": (lambda x: np.maximum(x, 0), {}),
    "Sigmoid": (sigmoid, {}),
    "Sqrt": (np.sqrt, {}),
    "Swish": (lambda x: x * sigmoid(x), {}),
    "Tanh": (np.tanh, {}),
}

PAIRS = ("Add", "Sub", "Mul", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
GENERAL: dict[str, Make] = {
    **{name: binary(name) for name in PAIRS},
    "Mod": binary("Mod", fmod=1),
    "Pow": binary("Pow"),
    **{name: reduced(name) for name in REGISTERED if name.startswith("Reduce")},
    **{name: softmax(name) for name in ("Softmax", "LogSoftmax")},
    "AveragePool": pool("AveragePool"),
    "MaxPool": pool("MaxPool", ceil_mode=0, dilations=(1, 1)),
    "GlobalAveragePool": lambda m: m.model("GlobalAveragePool", {"x": (1, 6, 6, 7)}, {"y": (1, 1, 1, 7)}),
    "Concat": lambda m: m.model("Concat", {"a": (1, 5, 7), "b": (1, 5, 4)}, {"y": (1, 5, 11)}, axis=2),
    "Conv": lambda m: m.window(5, 7),
    "Gemm": lambda m: m.gemm(33, 17),
    "MatMul": matmul,
    "GRU": recurrent("GRU"),
    "LSTM": recurrent("LSTM"),
    "LayerNormalization": layer_norm,
    "LpNormalization": lambda m: m.model(
        "LpNormalization", {"x": (1, 6, 16)}, {"y": (1, 6, 16)}, axis=-1, p=2
    ),
    "RMSNormalization": rms_norm,
    "Neg": plain("Neg"),
    "PRelu": prelu,
    "Resize": resize("nearest", "asymmetric"),
    "DepthToSpace": moved("DepthToSpace", (1, 4, 3, 8), (1, 8, 6, 2), blocksize=2, mode="CRD"),
    "SpaceToDepth": moved("SpaceToDepth", (1, 4, 6, 3), (1, 2, 3, 12), blocksize=2),
    "InsertZeros": moved("InsertZeros", (1, 4, 3, 5), (1, 8, 6, 5), stride=(2, 2), output_padding=(1, 1)),
    "StreamingCache": moved("StreamingCache", (1, 4, 5), (1, 6, 5), frame_axis=1, window_size=3),
    "Flatten": moved("Flatten", (1, 3, 5, 2), (1, 30), axis=1),
    "Reshape": moved("Reshape", (1, 6, 5), (1, 10, 3), (1, 10, -1), allowzero=0),
    "Squeeze": moved("Squeeze", (1, 6, 1, 5), (1, 6, 5), (2,)),
    "Unsqueeze": moved("Unsqueeze", (1, 6, 5), (1, 6, 1, 5), (2,)),
    "Identity": moved("Identity", X, X),
    "Transpose": moved("Transpose", (1, 4, 3, 5), (1, 5, 4, 3), perm=(0, 3, 1, 2)),
    "Gather": moved("Gather", (1, 8, 6), (1, 3, 6), (5, 0, 5), axis=1),
    "Slice": moved("Slice", (1, 8, 9), (1, 3, 3), (1, 0), (7, 9), (1, 2), (2, 3)),
    "Pad": moved("Pad", (1, 4, 5), (1, 7, 9), (0, 1, 3, 0, 2, 1), mode="edge"),
    "ReverseSequence": moved("ReverseSequence", (4, 3, 5), (4, 3, 5), (4, 1, 3), batch_axis=1, time_axis=0),
    "ScatterND": lambda m: m.model(
        "ScatterND",
        {"x": (6, 5), "i": np.array([[1], [4]], np.int64), "u": (2, 5)},
        {"y": (6, 5)},
        reduction="none",
    ),
    "Split": split,
    "QuantizeLinear": scaled("float32", "self"),
    "DequantizeLinear": scaled("self", "float32", 0),
    "RequantizeLinear": scaled("self", "self", 2),
}


def _ends(m: Maker) -> Callable[[Shape], NDArray[Any]]:
    """Weights at both ends of their range."""
    limits = np.iinfo(m.dtype)
    return lambda shape: m.random.choice(np.array([limits.min, limits.max], m.dtype), shape)


def _largest(m: Maker) -> Callable[[Shape], NDArray[Any]]:
    return lambda shape: np.full(shape, np.iinfo(m.dtype).max, m.dtype)


def _units(m: Maker) -> Callable[[Shape], NDArray[Any]]:
    """Weights of -1, 0 and 1: halves are as frequent as can be."""
    return lambda shape: m.random.integers(-1, 2, shape).astype(m.dtype)


EDGES: dict[str, tuple[str, Make]] = {
    "conv_aligned": ("channels that fill blocks", lambda m: m.window(m.lanes, m.lanes, size=5)),
    "conv_pointwise": ("1x1", lambda m: m.window(m.lanes, 2 * m.lanes, kernel=(1, 1), size=4)),
    "conv_tail": ("three channels more than a block", lambda m: m.window(5, m.lanes + 3, relu=True, size=5)),
    "conv_ties": ("halves in every place", lambda m: m.window(5, 7, weights=_units(m), shift=1, bias=0)),
    "conv_saturation": (
        "both ends of the range, weights at the ends",
        lambda m: m.window(m.lanes, m.lanes + 1, weights=_ends(m), shift=m.bits, size=4),
    ),
    "conv_overflow": (
        "sums beyond 20 bits in a lane",
        lambda m: m.window(m.lanes, m.lanes, weights=_largest(m), shift=m.bits + 4, size=4),
    ),
    "conv_asymmetric": ("padding at one side only", lambda m: m.window(4, 6, stride=2, pads=(0, 0, 1, 1))),
    "conv_wide_padding": ("as much padding as kernel", lambda m: m.window(4, 6, pads=(2, 2, 2, 2), size=4)),
    "conv_dilated": ("", lambda m: m.window(4, 6, dilation=2, size=7)),
    "conv_1d": ("", lambda m: m.window(5, 9, kernel=(3,), size=12)),
    "depthwise": ("", lambda m: m.window(m.lanes, m.lanes, depthwise=True)),
    "depthwise_tail": (
        "three channels more than a block, stride 2",
        lambda m: m.window(m.lanes + 3, m.lanes + 3, kernel=(5, 5), depthwise=True, stride=2),
    ),
    "depthwise_overflow": (
        "weights at the ends",
        lambda m: m.window(
            m.lanes, m.lanes, depthwise=True, kernel=(5, 5), weights=_largest(m), shift=m.bits + 2
        ),
    ),
    "gemm_aligned": ("", lambda m: m.gemm(2 * m.lanes, m.lanes, relu=True)),
    "gemm_big_k": ("sums beyond 20 bits in a lane", lambda m: m.gemm(1024, m.lanes, weights=_ends(m))),
    "gemm_ties": ("halves in every place", lambda m: m.gemm(40, 9, weights=_units(m), shift=1)),
    "gemm_saturation": ("", lambda m: m.gemm(64, m.lanes + 1, weights=_ends(m), shift=m.bits - 1)),
    "add_saturation": ("as long as vectors", binary("Add", (1, 4, 32), (1, 4, 32))),
    "add_scalar": ("", binary("Add", (1, 6, 9), (1,))),
    "sub_broadcast": ("both sides", binary("Sub", (1, 1, 6, 9), (1, 4, 1, 1))),
    "mul_vectors": ("products rounded in vectors", binary("Mul", (1, 4, 32), (1, 4, 32))),
    "mul_scalar": ("", binary("Mul", (1, 6, 9), (1,))),
    "mul_ties": ("halves in every place", mul_by_signs),
    "mul_rows": ("", binary("Mul", (1, 8, 16), (1, 1, 16))),
    "div_zero": ("zeros among the divisors", binary("Div", (1, 6, 9), (1, 6, 9))),
    "requantize_ties": ("halves in every place, as long as vectors", scaled("self", "self", 1)),
    "requantize_finer": ("saturates", scaled("self", "self", -2)),
    "requantize_width": ("to the other width", scaled("self", "other", 1)),
    "resize_linear": ("", resize("linear", "half_pixel")),
    "maxpool_padded": (
        "",
        pool("MaxPool", kernel_shape=(3, 3), pads=(1, 1, 0, 0), ceil_mode=0, dilations=(1, 1)),
    ),
    "avgpool_padded": ("", pool("AveragePool", kernel_shape=(3, 3), pads=(1, 1, 0, 0))),
    "avgpool_ties": (
        "halves in every place",
        lambda m: m.model(
            "AveragePool",
            {"x": (1, 4, 4, m.lanes)},
            {"y": (1, 2, 4, m.lanes)},
            kernel_shape=(2, 1),
            pads=(0,) * 4,
            strides=(2, 1),
        ),
    ),
    "concat_first": (
        "",
        lambda m: m.model("Concat", {"a": (1, 2, 16), "b": (1, 3, 16)}, {"y": (1, 5, 16)}, axis=1),
    ),
    "pad_constant": ("", moved("Pad", (1, 4, 5), (1, 5, 8), (0, 0, 2, 0, 1, 1), mode="constant")),
    "neg_vectors": ("as long as vectors", lambda m: m.model("Neg", {"x": (1, 64)}, {"y": (1, 64)})),
}
"""Name: (what is special, maker); the name begins with the operator's."""


def own_models(family: Family, have: Mapping[tuple[str, int], int]) -> Iterator[tuple[str, bytes, str]]:
    """Name, file and what is special, of every model of ours for a family.

    Args:
        family: whose layouts.
        have: recorded cases by operator and width: what is there needs no general model.
    """
    for bits in (8, 16):
        maker = Maker(family, bits)
        general = dict(GENERAL)
        general |= {name: table(name, of, **more) for name, (of, more) in FUNCTIONS.items()}
        rows = [(f"{op.lower()}", "", general[op]) for op in REGISTERED if _wanted(op, bits, have)]
        rows += [(name, said, make) for name, (said, make) in EDGES.items()]
        for name, said, make in rows:
            if name == "resize_linear" and bits == 16:
                continue  # an empty function in ESP-DL
            full = f"own_s{bits}_{name}"
            maker.random = np.random.default_rng(zlib.crc32(full.encode()))
            yield full, make(maker), said


def saturating_models(family: Family) -> Iterator[tuple[str, bytes, str]]:
    """The general models again, with outputs so fine that runs of inputs at the ends of their range saturate."""
    general = dict(GENERAL)
    general |= {name: table(name, of, **more) for name, (of, more) in FUNCTIONS.items()}
    for bits in (8, 16):
        for op, make in general.items():
            if f"S{bits}" not in REGISTERED[op].quant_types:
                continue
            name = f"own_s{bits}_{op.lower()}_ends"
            maker = Maker(family, bits, np.random.default_rng(zlib.crc32(name.encode())), FINER)
            yield name, make(maker), "runs of inputs at the ends of their range"


def _wanted(op: str, bits: int, have: Mapping[tuple[str, int], int]) -> bool:
    return f"S{bits}" in REGISTERED[op].quant_types and not have.get((op, bits)) and op in GENERAL | FUNCTIONS
