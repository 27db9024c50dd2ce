"""The context in which operators are lowered: tensors in the forms that ONNX kernels want."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import FormatError, UnsupportedOperator
from esp_hil.exact.onnx_graph import OnnxGraph, element_type
from esp_hil.exact.proof import DTYPE_BOUNDS, Bounds, Doubt, Headroom, Proof
from esp_hil.formats.espdl.model import FLOAT_DTYPES, Attribute, Graph, Node, TensorData, ValueInfo
from esp_hil.targets import Family, Rounding, rounding_of

if TYPE_CHECKING:
    from esp_hil.exact.filters import Kernels
    from esp_hil.exact.probe import IntegerKernels


@dataclass(frozen=True, slots=True)
class Form:
    """How a tensor's numbers are held in the ONNX graph.

    Attributes:
        dtype: element type; float32 and float64 hold the tensor's integers (or its floats, if it is a float
            tensor).
        channel_first: axes in the order (0, last, 1 ...): NCHW for an NHWC tensor. False: the device's order.
        zero: what stands for the integer 0.
    """

    dtype: str = "float32"
    channel_first: bool = False
    zero: int = 0


DEVICE_FLOAT = Form("float32")
CHANNEL_FIRST = Form("float32", channel_first=True)
_OFFSET = 128
OFFSET = Form("uint8", zero=_OFFSET)
"""int8 integers q as uint8 q + 128, in the device's order: what onnxruntime's integer kernels take."""
POSITIVE = Form("uint8")
"""int8 integers of a tensor that has no negative ones as uint8, in the device's order: for the same kernels."""
_BYTES = (OFFSET, POSITIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a StreamingCache remembers: a further input and output of the graph, at first full of `empty`."""

    input_name: str
    output_name: str
    dtype: str
    shape: tuple[int, ...]
    empty: int = 0


class Lowering:
    """One graph on its way to ONNX.

    Operators ask for inputs with `read` in the form they want, and give outputs with `write` in the form they
    have; transposes and casts in between are made here, each at most once per tensor.

    Attributes:
        headroom: of esp32s3's 20-bit lanes, by node name.
        integer: how filters must be held for onnxruntime's integer kernels to be exact on this machine; they are
            used where a layer is proved exact. None: they are not used.
        raw: let int8 inputs and outputs of the ONNX graph be uint8 q + 128.
        offset_names: which inputs and outputs are.
        kernels: whose answers where those of a chip and of ESP-DL compiled for a PC differ; see `Kernels`.
        esp_dl: version of ESP-DL to reproduce; "" for the newest known.
        careful: sum lanes that can saturate with saturation, instead of guarding them.
        guards: ONNX scalar bools: a lane may have saturated.
        saturations: with `careful`, node names and ONNX counts of how often its lanes saturated.
        doubts: what is not known of the chip, and the ONNX count of how often it came up, "" for always.
    """

    def __init__(
        self,
        graph: Graph,
        family: Family,
        *,
        batched: bool,
        careful: bool = False,
        kernels: Kernels = "chip",
        integer: IntegerKernels | None = None,
        raw: bool = False,
        esp_dl: str = "",
    ) -> None:
        self.graph = graph
        self.family = family
        self.rounding: Rounding = rounding_of(family)
        self.batched = batched
        self.onnx = OnnxGraph()
        self.proofs: list[Proof] = []
        self.states: list[State] = []
        self.careful = careful
        self.kernels: Kernels = kernels
        self.integer = integer
        self.raw = raw
        self.esp_dl = esp_dl
        self.offset_names: set[str] = set()
        self.headroom: dict[str, Headroom] = {}
        self.guards: list[str] = []
        self.saturations: list[tuple[str, str]] = []
        self.doubts: list[tuple[Doubt, str]] = []
        self._forms: dict[str, dict[Form, str]] = {}
        self._bounds: dict[str, Bounds] = {}
        self._infos: dict[str, ValueInfo] = dict(graph.values)

    # ---- what the file says
    # ------------------------------------------------------------------------------------------

    def info(self, name: str) -> ValueInfo:
        """Type, shape and exponent of an activation or a constant.

        Raises:
            FormatError: nothing in the file has this name.
        """
        if name in self._infos:
            return self._infos[name]
        if name in self.graph.initializers:
            tensor = self.graph.initializers[name]
            return ValueInfo(
                name=name, dtype=tensor.dtype, shape=tensor.shape, exponents=tensor.exponents[:1]
            )
        raise FormatError(f"a node reads {name!r}, which is neither a value nor an initializer")

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape on the device, batch of 1 included."""
        return self.info(name).shape

    def exponent(self, name: str) -> int:
        """Exponent of a tensor; 0 for a float tensor."""
        exponents = self.info(name).exponents
        return exponents[0] if exponents else 0

    def dtype(self, name: str) -> str:
        """Numpy name of the tensor's element type on the device."""
        return self.info(name).dtype

    def set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Correct an activation's shape to what ESP-DL computes for it (`get_output_shape`)."""
        info = self.info(name)
        if info.shape != shape:
            self._infos[name] = ValueInfo(name=name, dtype=info.dtype, shape=shape, exponents=info.exponents)

    def is_float(self, name: str) -> bool:
        """Whether the device holds this tensor in floating point."""
        return self.dtype(name) in FLOAT_DTYPES

    def constant_tensor(self, name: str) -> TensorData | None:
        """The initializer of that name; None for an activation or an input left out."""
        return self.graph.initializers.get(name)

    def constant(self, name: str) -> NDArray[Any] | None:
        """Values of an initializer in its own shape; None for an activation or an input left out."""
        tensor = self.constant_tensor(name)
        return None if tensor is None else np.asarray(tensor.data).reshape(tensor.shape)

    def constant_input(self, node: Node, index: int) -> NDArray[Any] | None:
        """Values of an input that must be constant; None if it is left out.

        Raises:
            UnsupportedOperator: it is computed by the graph.
        """
        if index >= len(node.inputs) or not node.inputs[index]:
            return None
        values = self.constant(node.inputs[index])
        if values is None:
            raise UnsupportedOperator(
                f"{node.op_type} {node.name!r}: input {node.inputs[index]!r} is not a constant",
                hint="ESP-DL reads it when the model is loaded; make it a constant in the float model",
            )
        return values

    def bounds(self, name: str) -> Bounds:
        """Smallest and largest integer that the tensor can hold."""
        if name in self._bounds:
            return self._bounds[name]
        constant = self.constant(name)
        if constant is not None and constant.size and constant.dtype.kind in "iub":
            return Bounds(int(constant.min()), int(constant.max()))
        return DTYPE_BOUNDS[self.dtype(name)]

    # ---- tensors in the ONNX graph
    # -------------------------------------------------------------------------------------

    def declare_input(self, name: str, form: Form | None = None) -> None:
        """Make a graph input available, in the device's type and order unless told otherwise."""
        self.onnx.fresh(name)
        if self.raw and self.dtype(name) == "int8":
            form = OFFSET
            self.offset_names.add(name)
        self._forms[name] = {form or Form(self.dtype(name)): name}

    def has(self, name: str, form: Form) -> bool:
        """Whether the tensor is there in that form without a conversion."""
        return form in self._forms.get(name, {})

    def held_channel_first(self, name: str) -> bool:
        """Whether the tensor is there in channel-first order and not in the device's."""
        forms = self._forms.get(name, {})
        return bool(forms) and all(form.channel_first for form in forms)

    @property
    def filters_held(self) -> IntegerKernels:
        """How filters are held for integer kernels; only to be asked where `integer` says that they are used."""
        assert self.integer is not None, "no integer kernels wanted"
        return self.integer

    def has_bytes(self, name: str) -> bool:
        """Whether the int8 tensor is there as uint8."""
        return self.dtype(name) == "int8" and any(self.has(name, form) for form in _BYTES)

    def prefers_bytes(self, *names: str) -> bool:
        """Whether all these int8 tensors are there as uint8, or as cheaply to be had so."""
        if self.integer is None:
            return False
        return all(
            self.dtype(name) == "int8"
            and (self.has_bytes(name) or not any(f.dtype == "float32" for f in self._forms.get(name, {})))
            for name in names
        )

    def bytes_form(self, *names: str) -> Form:
        """The uint8 form that all these int8 tensors are there in, or one to be had: `POSITIVE` or `OFFSET`."""
        return POSITIVE if all(self.has(name, POSITIVE) for name in names) else OFFSET

    def read(self, name: str, form: Form = DEVICE_FLOAT) -> str:
        """ONNX name of a tensor in the form wanted; converts it if it is not there yet."""
        forms = self._forms.setdefault(name, {})
        if form not in forms:
            forms[form] = self._constant_form(name, form) if not forms else self._convert(name, form)
        return forms[form]

    def read_here(self, name: str, form: Form) -> str:
        """As `read`, for the body of an If: what is converted there is not known outside."""
        before = dict(self._forms.get(name, {}))
        try:
            return self.read(name, form)
        finally:
            self._forms[name] = before

    def write(
        self, name: str, value: str, form: Form = DEVICE_FLOAT, *, bounds: Bounds | None = None
    ) -> None:
        """Say which ONNX value is the tensor, and in which form."""
        self._forms.setdefault(name, {})[form] = value
        if bounds is not None and name not in self._bounds:
            limits = DTYPE_BOUNDS.get(self.dtype(name))
            self._bounds[name] = bounds.clipped(limits) if limits else bounds

    def alias(self, name: str, source: str) -> None:
        """Let `name` be the same numbers as `source`, in every form that there is.

        The shapes must be equal.
        """
        self._forms[name] = dict(self._forms.get(source, {}))
        if not self._forms[name]:
            self.write(name, self.read(source))
        if not self.is_float(source):
            self._bounds[name] = self.bounds(source)

    def _constant_form(self, name: str, form: Form) -> str:
        values = self.constant(name)
        if values is None:
            raise FormatError(f"tensor {name!r} is read before a node makes it")
        if form.channel_first and values.ndim > 2:
            values = values.transpose(channel_first_perm(values.ndim))
        if form.zero:
            values = values.astype(np.int16) + form.zero
        return self.onnx.constant(values.astype(form.dtype), name)

    def _convert(self, name: str, form: Form) -> str:
        forms = self._forms[name]
        rank = len(self.shape(name))
        if self.dtype(name) == "int8" and (form in _BYTES or not set(forms).difference(_BYTES)):
            return self._from_or_to_bytes(name, form)
        source = min(
            (have for have in forms if have.dtype != "uint8" or self.dtype(name) == "uint8"),
            key=lambda have: (have.channel_first != form.channel_first, have.dtype != form.dtype),
        )
        value, have = forms[source], source
        if have.channel_first != form.channel_first and rank > 2:
            have = Form(have.dtype, form.channel_first)
            if have not in forms:
                perm = channel_first_perm(rank) if form.channel_first else channel_last_perm(rank)
                suffix = "nchw" if form.channel_first else "nhwc"
                forms[have] = self.onnx.op("Transpose", [value], hint=f"{name}:{suffix}", perm=perm)
            value = forms[have]
        if have.dtype != form.dtype:
            value = self._cast(value, have.dtype, form.dtype, f"{name}:{form.dtype}")
        return value

    def _from_or_to_bytes(self, name: str, form: Form) -> str:
        """To or from uint8: the int8 as it is, or with its highest bit turned over."""
        forms = self._forms[name]
        have = next((known for known in _BYTES if known in forms), None)
        if form in _BYTES:
            if have is None:
                bits = self._cast(self.read(name, Form("int8")), "int8", "uint8", f"{name}:bits")
                return self._moved_by(bits, form.zero, f"{name}:u8")
            return self._moved_by(forms[have], form.zero ^ have.zero, f"{name}:u8")
        assert have is not None, "no form at all"
        if form == Form("int8"):
            return self._cast(
                self._moved_by(forms[have], have.zero, f"{name}:bits"), "uint8", "int8", f"{name}:int8"
            )
        if DEVICE_FLOAT not in forms:
            value = self._cast(forms[have], "uint8", "float32", f"{name}:wide")
            if have.zero:
                zero = self.onnx.constant(np.float32(have.zero), "offset")
                value = self.onnx.op("Sub", [value, zero], hint=f"{name}:float32")
            forms[DEVICE_FLOAT] = value
        return self.read(name, form)

    def _moved_by(self, value: str, bit: int, hint: str) -> str:
        """A uint8 value with its highest bit turned over, if `bit` is that one and not 0."""
        if not bit:
            return value
        return self.onnx.op("BitwiseXor", [value, self.onnx.constant(np.uint8(bit), "top_bit")], hint=hint)

    def _cast(self, value: str, source: str, target: str, hint: str) -> str:
        return self.onnx.op("Cast", [value], hint=hint, to=element_type(target))

    def output(self, name: str) -> None:
        """Give the ONNX graph an output of this name, in the device's type and order.

        With `raw`, int8 tensors that are there as uint8 q + 128 are given so.
        """
        if self.raw and self.has(name, OFFSET):
            value = self.read(name, OFFSET)
            if value != name:
                self.onnx.ops("Identity", [value], hints=[name])
            self.offset_names.add(name)
            return
        value = self.read(name, Form(self.dtype(name)))
        if value != name:
            self.onnx.ops("Identity", [value], hints=[name])

    @contextmanager
    def body(self) -> Iterator[OnnxGraph]:
        """Append nodes to the body of a Scan or Loop instead of the graph, as long as the context lasts."""
        outer = self.onnx
        self.onnx = OnnxGraph(outer)
        try:
            yield self.onnx
        finally:
            self.onnx = outer

    # ---- helpers of the operators
    # --------------------------------------------------------------------------------------

    def prove(self, node: Node, path: str, *, bound: int = 0, limit: int = 0, note: str = "") -> None:
        """Record why a layer is exact."""
        self.proofs.append(
            Proof(node=node.name, op_type=node.op_type, path=path, bound=bound, limit=limit, note=note)
        )

    @property
    def simd(self) -> bool:
        """Whether SIMD kernels are to be reproduced."""
        return self.kernels == "chip" and self.family != "c"

    def doubt(self, node: Node, why: str, count: str = "") -> None:
        """Record that a node's output is not certain: always, or as often as an ONNX scalar int64 counts."""
        self.doubts.append((Doubt(node=node.name, why=why, seen=0 if count else None), count))

    def batch_axis_kept(self, node: Node) -> bool:
        """Whether all activations around a node have a first axis of 1, so that it can be a batch."""
        names = [
            name for name in (*node.inputs, *node.outputs) if name and name not in self.graph.initializers
        ]
        return all(self.shape(name)[:1] == (1,) for name in names)


def channel_first_perm(rank: int) -> list[int]:
    """(0, last, 1 ...): from the device's order to channel-first."""
    return [0, rank - 1, *range(1, rank - 1)]


def channel_last_perm(rank: int) -> list[int]:
    """(0, 2 ..., 1): back from channel-first."""
    return [0, *range(2, rank), 1]


def attribute_int(node: Node, name: str, default: int) -> int:
    """An INT attribute."""
    return int(_typed(node, name, default, int))


def attribute_float(node: Node, name: str, default: float) -> float:
    """A FLOAT (or INT) attribute."""
    return float(_typed(node, name, default, (int, float)))


def attribute_text(node: Node, name: str, default: str) -> str:
    """A STRING attribute."""
    value = _typed(node, name, default, (str, bytes))
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def attribute_ints(node: Node, name: str, default: Sequence[int]) -> tuple[int, ...]:
    """An INTS attribute."""
    value = _typed(node, name, tuple(default), tuple)
    return tuple(int(item) for item in value)


def _typed(node: Node, name: str, default: Attribute, kind: Any) -> Any:  # noqa: ANN401 - an attribute
    value = node.attributes.get(name, default)
    if not isinstance(value, kind):
        raise FormatError(f"{node.op_type} {node.name!r}: attribute {name!r} has the wrong type: {value!r}")
    return value


def quantized_dtype(node: Node, *, floats: bool = True) -> str:
    """Element type that a node computes in, from its `quant_type`.

    Raises:
        UnsupportedOperator: a type that ESP-DL's operator does not have.
    """
    kinds = {"S8": "int8", "S16": "int16", **({"F32": "float32"} if floats else {})}
    kind = attribute_text(node, "quant_type", "")
    if kind not in kinds:
        raise UnsupportedOperator(
            f"Do not support {node.op_type} with quant_type {kind or 'missing'!r} (node {node.name!r})",
            hint=f"ESP-DL 3.3.9 has {node.op_type} for {', '.join(kinds)}",
        )
    return kinds[kind]


def size_of(shape: Sequence[int]) -> int:
    """Number of elements."""
    return math.prod(shape)
