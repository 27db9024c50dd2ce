"""Which numeric family a file was made for, as far as the file itself tells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from esp_hil.formats.espdl.model import Graph, Node, Tensor
from esp_hil.targets import FAMILIES, Family, targets

_PER_TENSOR_P4_PREFIX = "N16"
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
    4. filters packed for SIMD (a 16 or 8 in the layout): esp32s3 or esp32p4. With one exponent, a Conv or
       Gemm of more
       than one output channel speaks for esp32s3, because current esp-ppq writes one per channel for esp32p4;
       but older versions wrote one per tensor for both. Their layout name `N16HWC16` shows that; so does a
       Conv1d, which came with the new names but, at first, with one exponent. A bias beyond 20 bits excludes
       esp32s3, whose bias esp-ppq clamps to that.
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
    return ("esp32s3",) if _would_be_per_channel_today(graph, filters) else ("esp32s3", "esp32p4")


def family_of(graph: Graph, metadata: Mapping[str, str]) -> Family | None:
    """The family the file was made for, None if it does not tell which of several."""
    possible = possible_families(graph, metadata)
    return possible[0] if len(possible) == 1 else None


def _family_named(target: str) -> Family | None:
    if target in targets():
        return targets()[target].family
    return next((family for family in FAMILIES if family == target), None)


def _is_filter(tensor: Tensor) -> bool:
    return "WC" in tensor.layout


def _would_be_per_channel_today(graph: Graph, filters: Iterable[Tensor]) -> bool:
    """Whether current esp-ppq, exporting for esp32p4, would give one of these filters several exponents."""
    by_name = {tensor.name: tensor for tensor in filters}
    layouts = [tensor.layout for tensor in by_name.values()]
    if any(layout.startswith(_PER_TENSOR_P4_PREFIX) or "H" not in layout for layout in layouts):
        return False
    return any(
        _output_channels(node, by_name[node.inputs[1]]) > 1
        for node in graph.nodes
        if node.op_type in _PER_CHANNEL_OPERATORS and len(node.inputs) > 1 and node.inputs[1] in by_name
    )


def _output_channels(node: Node, tensor: Tensor) -> int:
    """Output channels of a filter: HWCN has them last, depthwise HWNC (C = 1) before that."""
    if len(tensor.shape) < 2:
        return 1
    return tensor.shape[-1] if node.attributes.get("group", 1) == 1 else tensor.shape[-2]


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
