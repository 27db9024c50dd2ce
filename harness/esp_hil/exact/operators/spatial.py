"""Operators that rearrange NHWC tensors: DepthToSpace, SpaceToDepth, InsertZeros, ReverseSequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.lowering import (
    CHANNEL_FIRST,
    DEVICE_FLOAT,
    Form,
    Lowering,
    attribute_int,
    attribute_ints,
    attribute_text,
)
from esp_hil.exact.operators.conv import with_zero
from esp_hil.exact.registry import operator
from esp_hil.formats.espdl.memory import leftovers
from esp_hil.formats.espdl.model import Node


def _four(lowering: Lowering, node: Node) -> tuple[int, int, int, int]:
    shape = lowering.shape(node.inputs[0])
    if len(shape) != 4:
        raise UnsupportedOperator(
            f"{node.op_type} {node.name!r}: input {shape}", hint="ESP-DL wants (N, H, W, C)"
        )
    return shape[0], shape[1], shape[2], shape[3]


def _reshape(lowering: Lowering, value: str, shape: list[int]) -> str:
    return lowering.onnx.op("Reshape", [value, lowering.onnx.constant(np.array([-1, *shape[1:]]), "shape")])


def _regrouped(lowering: Lowering, node: Node, split: list[int], perm: list[int], shape: list[int]) -> None:
    y = node.outputs[0]
    value = _reshape(lowering, lowering.read(node.inputs[0]), split)
    value = _reshape(lowering, lowering.onnx.op("Transpose", [value], perm=perm), shape)
    lowering.set_shape(y, tuple(shape))
    bounds = None if lowering.is_float(y) else lowering.bounds(node.inputs[0])
    lowering.write(y, value, bounds=bounds)
    lowering.prove(node, "move")


@operator("SpaceToDepth", batches=True)
def lower_space_to_depth(lowering: Lowering, node: Node) -> None:
    """Output channel c b b + (y % b) b + x % b: PyTorch's pixel_unshuffle, not ONNX's order.

    Source: dl_module_space_to_depth.hpp.
    """
    n, height, width, channels = _four(lowering, node)
    block = attribute_int(node, "blocksize", 0)
    if block < 1 or height % block or width % block:
        raise UnsupportedOperator(f"SpaceToDepth {node.name!r}: {height}x{width} in blocks of {block}")
    rows, columns = height // block, width // block
    split = [n, rows, block, columns, block, channels]
    _regrouped(lowering, node, split, [0, 1, 3, 5, 2, 4], [n, rows, columns, channels * block * block])


@operator("DepthToSpace", batches=True)
def lower_depth_to_space(lowering: Lowering, node: Node) -> None:
    """CRD as in ONNX. DCR as ESP-DL computes it, which is right for exactly `blocksize` output channels.

    For another number of output channels ESP-DL writes some elements twice, some outside the tensor and some not at
    all (depth_to_space_dcr, dl_module_depth_to_space.hpp). The latter keep what was in that memory before.
    """
    n, height, width, channels = _four(lowering, node)
    block = attribute_int(node, "blocksize", 0)
    if block < 1 or channels % (block * block):
        raise UnsupportedOperator(f"DepthToSpace {node.name!r}: {channels} channels in blocks of {block}")
    outputs = channels // (block * block)
    shape = [n, height * block, width * block, outputs]
    if attribute_text(node, "mode", "DCR") == "CRD":
        split = [n, height, width, outputs, block, block]
        _regrouped(lowering, node, split, [0, 1, 4, 2, 5, 3], shape)
        return
    if block != outputs:
        if n != 1:
            raise UnsupportedOperator(
                f"DepthToSpace {node.name!r}: a batch of {n}, and {outputs} output channels in blocks of {block}",
                hint="ESP-DL scatters the elements of the first sample only; export the model with a batch of 1",
            )
        lowering.set_shape(node.outputs[0], tuple(shape))
        _scattered(lowering, node, dcr_sources((height, width, channels), block))
        return
    _regrouped(lowering, node, [n, height, width, block, block, outputs], [0, 1, 3, 2, 4, 5], shape)


def dcr_sources(size: tuple[int, int, int], block: int) -> NDArray[np.int64]:
    """For each output element the index of the input element that ESP-DL's DCR writes there last, -1 for none."""
    height, width, channels = size
    outputs = channels // (block * block)
    channel = np.arange(channels)
    rows = np.arange(height)[:, None, None] * block + channel // (block * block)
    columns = np.arange(width)[None, :, None] * block + channel % (block * block) // block
    where = (rows * (width * block) + columns) * outputs + channel % block
    sources = np.full(height * width * channels, -1, np.int64)
    inside = where.reshape(-1) < sources.size
    # numpy assigns in order, so that the last writer wins, as in the loop
    sources[where.reshape(-1)[inside]] = np.arange(where.size)[inside]
    return sources


def _scattered(lowering: Lowering, node: Node, sources: NDArray[np.int64]) -> None:
    """Output elements from input elements, or from whatever lay in their memory."""
    onnx, x, y = lowering.onnx, node.inputs[0], node.outputs[0]
    before = leftovers(lowering.graph, y)
    parts, first = [_flat(lowering, x)], {x: 0}
    size = int(np.prod(lowering.shape(x)))
    indices = sources.copy()
    unknown = 0
    for position in np.flatnonzero(sources < 0):
        name, index = before[position]
        if name not in first:
            first[name], size = size, size + int(np.prod(lowering.shape(name)) if name else 1)
            parts.append(_flat(lowering, name) if name else _zero(lowering, parts[0]))
        indices[position] = first[name] + index
        unknown += not name
    joined = onnx.op("Concat", parts, axis=1) if len(parts) > 1 else parts[0]
    value = onnx.op("Gather", [joined, onnx.constant(indices, "sources")], axis=1)
    lowering.write(y, _reshape(lowering, value, list(lowering.shape(y))))
    kept = int((sources < 0).sum())
    lowering.prove(node, "move", note=f"as ESP-DL's DCR, which leaves {kept} elements as they were in memory")
    if unknown:
        lowering.doubt(node, f"{unknown} elements keep what an earlier inference left in memory; taken for 0")


def _flat(lowering: Lowering, name: str) -> str:
    return _reshape(lowering, lowering.read(name), [1, int(np.prod(lowering.shape(name)))])


def _zero(lowering: Lowering, like: str) -> str:
    """One 0 for each sample."""
    onnx = lowering.onnx
    first = onnx.op("Slice", [like, *(onnx.constant(np.array([n]), "cut") for n in (0, 1, 1))])
    return onnx.op("Mul", [first, onnx.constant(np.float32(0), "zero")])


@operator("InsertZeros", batches=True)
def lower_insert_zeros(lowering: Lowering, node: Node) -> None:
    """Zeros between neighbours and `output_padding` behind the last: what makes a Conv a ConvTranspose."""
    x, y = node.inputs[0], node.outputs[0]
    shape = lowering.shape(x)
    rank = len(shape) - 2
    strides, extra = (attribute_ints(node, name, ()) for name in ("stride", "output_padding"))
    strides, extra = (values * rank if len(values) == 1 else values for values in (strides, extra))
    if rank not in (1, 2) or len(strides) != rank or len(extra) != rank:
        raise UnsupportedOperator(
            f"InsertZeros {node.name!r}: input {shape}, stride {strides}, padding {extra}"
        )
    form = CHANNEL_FIRST if lowering.held_channel_first(x) else DEVICE_FLOAT
    form = lowering.bytes_form(x) if lowering.prefers_bytes(x) else form
    value = lowering.read(x, form)
    sizes = list(shape[1:-1])
    for index, (stride, padding) in enumerate(zip(strides, extra, strict=True)):
        value = _spread(lowering, value, _Spread(form, shape[-1], tuple(sizes), index, stride, padding))
        sizes[index] = (sizes[index] - 1) * stride + 1 + padding
    lowering.set_shape(y, (shape[0], *sizes, shape[-1]))
    bounds = None if lowering.is_float(x) else with_zero(lowering.bounds(x))
    lowering.write(y, value, form, bounds=bounds)
    lowering.prove(node, "move")


@dataclass(frozen=True, slots=True)
class _Spread:
    """One axis to spread.

    Attributes:
        form: of the value.
        channels: on the last device axis.
        sizes: spatial sizes so far.
        index: which of them to spread.
        stride: distance of neighbours afterwards.
        padding: zeros behind the last.
    """

    form: Form
    channels: int
    sizes: tuple[int, ...]
    index: int
    stride: int
    padding: int

    def full(self, sizes: tuple[int, ...]) -> list[int]:
        """Shape of the tensor in its form."""
        return [1, self.channels, *sizes] if self.form.channel_first else [1, *sizes, self.channels]

    @property
    def axis(self) -> int:
        """The axis in the form."""
        return self.index + (2 if self.form.channel_first else 1)


def _spread(lowering: Lowering, value: str, spread: _Spread) -> str:
    onnx, axis, size = lowering.onnx, spread.axis, spread.sizes[spread.index]
    shape = spread.full(spread.sizes)
    value = _reshape(lowering, value, [*shape[: axis + 1], 1, *shape[axis + 1 :]])
    zero = np.uint8(spread.form.zero) if spread.form.dtype == "uint8" else np.float32(0)
    value = _padded(lowering, value, zero, (axis + 1, len(shape) + 1), spread.stride - 1)
    shape[axis] = size * spread.stride
    value = _reshape(lowering, value, shape)
    wanted = (size - 1) * spread.stride + 1 + spread.padding
    if wanted > shape[axis]:
        return _padded(lowering, value, zero, (axis, len(shape)), wanted - shape[axis])
    if wanted < shape[axis]:
        limits = [onnx.constant(np.array([number]), "cut") for number in (0, wanted, axis)]
        return onnx.op("Slice", [value, *limits])
    return value


def _padded(lowering: Lowering, value: str, zero: np.generic, where: tuple[int, int], count: int) -> str:
    """`count` zeros behind the last element of an axis; `where` is the axis and the rank."""
    axis, rank = where
    if count == 0:
        return value
    pads = np.zeros(2 * rank, np.int64)
    pads[rank + axis] = count
    return lowering.onnx.op(
        "Pad", [value, lowering.onnx.constant(pads, "pads"), lowering.onnx.constant(zero, "zero")]
    )


@operator("ReverseSequence")
def lower_reverse_sequence(lowering: Lowering, node: Node) -> None:
    """The first `sequence_lens[b]` steps of every sample reversed (dl_module_reverse_sequence.hpp)."""
    onnx, x, y = lowering.onnx, node.inputs[0], node.outputs[0]
    lengths = lowering.constant_input(node, 1)
    axes = attribute_int(node, "batch_axis", 1), attribute_int(node, "time_axis", 0)
    shape = lowering.shape(x)
    if lengths is None or sorted(axes) != [0, 1] or len(shape) < 2:
        raise UnsupportedOperator(
            f"ReverseSequence {node.name!r}: batch and time axes {axes} of {shape}",
            hint="ESP-DL wants constant lengths and these two axes first",
        )
    batch, time = axes
    order = np.arange(shape[0] * shape[1]).reshape(shape[:2])
    steps = np.moveaxis(order, (batch, time), (0, 1))
    for sample, length in zip(steps, lengths.reshape(-1), strict=False):
        if not 0 <= length <= shape[time]:
            raise UnsupportedOperator(f"ReverseSequence {node.name!r}: length {length} of {shape[time]}")
        sample[:length] = sample[:length][::-1].copy()
    flat = [shape[0] * shape[1], *shape[2:]]
    value = onnx.op("Reshape", [lowering.read(x), onnx.constant(np.array(flat), "shape")])
    value = onnx.op("Gather", [value, onnx.constant(order.reshape(-1), "order")], axis=0)
    value = onnx.op("Reshape", [value, onnx.constant(np.array(shape), "shape")], hint=f"{y}:reversed")
    lowering.write(y, value, bounds=None if lowering.is_float(x) else lowering.bounds(x))
    lowering.prove(node, "move")
