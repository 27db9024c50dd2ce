"""Which numeric family a file was made for, as far as the file itself tells."""

from __future__ import annotations

from collections.abc import Mapping

from esp_hil.formats.espdl.model import Graph, TensorData
from esp_hil.targets import FAMILIES, Family, targets

_PLAIN_LAYOUTS = frozenset({"NHWC", "HWCN", "NWC", "WCN"})
_PER_CHANNEL_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm"})
_S3_BIAS_LIMIT = 1 << 19


def possible_families(graph: Graph, metadata: Mapping[str, str]) -> tuple[Family, ...]:
    """The families that this file can have been made for, in the order of `FAMILIES`.

    What tells, strongest first:

    1. the metadata entry `target`, where the exporter was told to write it;
    2. one exponent per output channel: esp-ppq does so for esp32p4 and esp32s31 only, and no other kernel
       reads it;
    3. filters in plain order (NHWC, HWCN): only the portable kernels of the c targets read them;
    4. filters packed for SIMD (a 16 or 8 in the layout): esp32s3 or esp32p4. Current esp-ppq gives filters one
       exponent per channel for esp32p4 and one per tensor for esp32s3, but that is a habit: older versions wrote one
       for both, and both chips run such a file, each with its own rounding. A bias beyond 20 bits excludes esp32s3,
       whose bias esp-ppq clamps to that.
    """
    named = _family_named(metadata.get("target", ""))
    if named is not None:
        return (named,)
    initializers = graph.initializers.values()
    if any(len(tensor.exponents) > 1 for tensor in initializers):
        return ("esp32p4",)
    filters = [tensor for tensor in initializers if _is_filter(tensor)]
    if any(tensor.layout in _PLAIN_LAYOUTS for tensor in filters):
        return ("c",)
    if not filters:
        return FAMILIES
    if _bias_beyond_20_bits(graph):
        return ("esp32p4",)
    return ("esp32s3", "esp32p4")


def family_of(graph: Graph, metadata: Mapping[str, str]) -> Family | None:
    """The family the file was made for, None if it does not tell which of several."""
    possible = possible_families(graph, metadata)
    return possible[0] if len(possible) == 1 else None


def _family_named(target: str) -> Family | None:
    if target in targets():
        return targets()[target].family
    return next((family for family in FAMILIES if family == target), None)


def _is_filter(tensor: TensorData) -> bool:
    return "WC" in tensor.layout


def _bias_beyond_20_bits(graph: Graph) -> bool:
    for node in graph.nodes:
        if node.op_type not in _PER_CHANNEL_OPERATORS or len(node.inputs) < 3:
            continue
        bias = graph.initializers.get(node.inputs[2])
        if bias is not None and bias.dtype == "int32" and bias.data.size:
            low, high = int(bias.data.min()), int(bias.data.max())
            if low < -_S3_BIAS_LIMIT or high >= _S3_BIAS_LIMIT:
                return True
    return False
