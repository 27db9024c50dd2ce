"""The operators that ESP-DL 3.3.9 registers: the element types each accepts, and where its output may lie.

Source: ESP-DL 3.3.9, dl/module/include/dl_module_creator.hpp (what is registered) and each module's
`deserialize` and `forward` (which quant types, which in-place mode).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

QuantType = Literal["S8", "S16", "F32"]
InPlace = Literal["no", "unchanged", "changed"]

_ANY: frozenset[QuantType] = frozenset({"S8", "S16", "F32"})
_INTEGER: frozenset[QuantType] = frozenset({"S8", "S16"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EspDlOperator:
    """What ESP-DL does with an operator.

    Attributes:
        quant_types: values of the attribute `quant_type` that have a kernel.
        in_place: where the planner may put a single output: "no" in memory of its own, "unchanged" on an
            input whose bytes stay as they are (Reshape), "changed" on an input that is overwritten (Add).
        passive: moves or picks values without rescaling them, so input and output must have one exponent.
    """

    quant_types: frozenset[QuantType]
    in_place: InPlace
    passive: bool = False


def _rows(
    names: str, quant_types: frozenset[QuantType], in_place: InPlace, *, passive: bool = False
) -> dict[str, EspDlOperator]:
    operator = EspDlOperator(quant_types=quant_types, in_place=in_place, passive=passive)
    return dict.fromkeys(names.split(), operator)


REGISTERED: Mapping[str, EspDlOperator] = MappingProxyType(
    {
        **_rows("Conv Gemm MatMul", _INTEGER, "no"),
        # The kernel for 16 bits exists but is empty (dl_base_resize.cpp:298), so S16 is not listed.
        **_rows("Resize", frozenset({"S8"}), "no"),
        **_rows("MaxPool", _INTEGER, "no", passive=True),
        **_rows("AveragePool GlobalAveragePool Div Mul Pow Softmax LogSoftmax Sub LSTM GRU", _ANY, "no"),
        **_rows("Concat DepthToSpace SpaceToDepth Gather InsertZeros Pad", _ANY, "no", passive=True),
        **_rows("Slice Split StreamingCache Transpose", _ANY, "no", passive=True),
        **_rows("Reshape Flatten Squeeze Unsqueeze Identity", _ANY, "unchanged", passive=True),
        **_rows("Add Mod LayerNormalization LpNormalization RMSNormalization", _ANY, "changed"),
        **_rows("Clip Elu Exp HardSigmoid HardSwish LeakyRelu Log Neg PRelu Relu", _ANY, "changed"),
        **_rows("Sigmoid Sqrt Swish Tanh", _ANY, "changed"),
        **_rows("ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMean", _ANY, "changed"),
        **_rows("ReduceProd ReduceSum ReduceSumSquare", _ANY, "changed"),
        **_rows("ReduceMax ReduceMin ScatterND", _ANY, "changed", passive=True),
        **_rows("ReverseSequence", _INTEGER, "changed", passive=True),
        **_rows("Equal Greater GreaterOrEqual Less LessOrEqual Gelu LUT", _INTEGER, "changed"),
        # `deserialize` does not look at the quant type, and `forward` is output->assign(input) of any types.
        **_rows("RequantizeLinear QuantizeLinear DequantizeLinear", _ANY, "changed"),
    }
)


ASSIGNS = frozenset(
    "RequantizeLinear QuantizeLinear DequantizeLinear Reshape Flatten Squeeze Unsqueeze Identity".split()  # noqa: SIM905
)
"""Operators that are `output->assign(input)`, from any element type to any, whatever their quant type says."""


WAYS_OUT: Mapping[str, str] = MappingProxyType(
    {
        "Where": "blend with a Mul and an Add of masks computed outside, or choose outside the model",
        "Cast": "leave the type as it is: ESP-DL's values are integers of one type inside the model",
        "Tile": "broadcast in the operator that follows, or Concat the value with itself",
        "Expand": "broadcast in the operator that follows (Add, Mul ...)",
        "GlobalMaxPool": "use MaxPool with the size of its input as window",
        "Max": "use Relu: max(a, b) = a + relu(b - a)",
        "Min": "use Relu: min(a, b) = a - relu(a - b)",
        "Abs": "use Relu twice: |x| = relu(x) + relu(-x)",
        "Softplus": "use Relu or Swish, or Exp and Log: softplus(x) = log(1 + exp(x))",
        "Mish": "use Swish, which becomes a table",
        "Einsum": "write it as Transpose, Reshape and MatMul",
        "TopK": "end the model before it, and choose outside",
        "ArgMax": "end the model before it, and choose outside",
        "NonMaxSuppression": "end the model before it: boxes are chosen outside",
        "GridSample": "use Resize, or ConvTranspose",
        "InstanceNormalization": "use BatchNormalization, or LayerNormalization",
        "GroupNormalization": "use BatchNormalization, or LayerNormalization",
        "Attention": "export with opset 22 or below: MatMul, Softmax and MatMul are computed",
    }
)
"""What to do about operators that ESP-DL does not have."""

INSTEAD = "replace it by operators that ESP-DL has"


def refusal(op_type: str) -> str:
    """ESP-DL's own words when it meets an operator that it has not registered."""
    return f"Do not support {op_type}, please implement and register it first."
