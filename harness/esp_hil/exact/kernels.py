"""The ONNX kernels that compute sums of products: Conv over NCHW (NCW) and Gemm over rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from esp_hil.exact.lowering import CHANNEL_FIRST, DEVICE_FLOAT, Lowering
from esp_hil.formats.espdl.shapes import window_outputs

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]


class Kernel(Protocol):
    """Emits the sums of products of a layer, over all or some of its output channels."""

    @property
    def depthwise(self) -> bool:
        """Whether every output channel reads only the input channel of its number."""

    @property
    def is_matrix(self) -> bool:
        """Whether the sums are those of a matrix product over the last axis of the device's tensor."""

    @property
    def axis(self) -> int:
        """Axis of the output channels in the result."""

    @property
    def rank(self) -> int:
        """Rank of the result."""

    def input(self, name: str) -> str:
        """A tensor as float32 in the layout that `sums` takes; may stand in the body of an If."""

    def energy(self, name: str) -> str:
        """Sums of squares of the tensor over the taps of each output position, or of more positions."""

    def sums(self, x: str, weights: Floats, bias: Floats | None, channels: Integers | None) -> str:
        """The ONNX value of the sums.

        Args:
            x: float32 value of the whole input.
            weights: (n, C, ...) of the channels.
            bias: (n,) or None.
            channels: which output channels of the layer these are; None: all.
        """

    def patches(self, x: str, channels: Integers) -> str:
        """Every tap's input in the device's order: (K, P, n), or (K, P, 1) where all channels share it.

        K taps, P output positions, n channels.
        """

    def taps(self, weights: Integers) -> Integers:
        """Weights as (K, n), in the same order."""

    def placed(self, value: str, count: int) -> str:
        """(P, n) back in the layout of `sums`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvKernel:
    """Conv.

    Attributes:
        lowering: where to append nodes.
        names: of filter, bias and output, for the names of ONNX values.
        size: spatial size of the input.
        kernel: spatial size of the filter.
        strides: one per spatial axis.
        dilations: one per spatial axis.
        pads: ONNX order.
        depthwise: every output channel reads the input channel of its number.
    """

    lowering: Lowering
    names: tuple[str, str, str]
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    depthwise: bool

    @property
    def is_matrix(self) -> bool:
        """A pointwise Conv; strides leave out rows, which a bound over all rows may ignore."""
        return not self.depthwise and max(self.kernel) == 1 and not any(self.pads)

    @property
    def axis(self) -> int:
        """Channels are axis 1."""
        return 1

    @property
    def rank(self) -> int:
        """N, C and the spatial axes."""
        return len(self.kernel) + 2

    def input(self, name: str) -> str:
        """See `Kernel.input`: NCHW."""
        return self.lowering.read_here(name, CHANNEL_FIRST)

    def energy(self, name: str) -> str:
        """See `Kernel.energy`."""
        onnx, first = self.lowering.onnx, self.lowering.held_channel_first(name)
        x = self.lowering.read(name, CHANNEL_FIRST if first else DEVICE_FLOAT)
        axis = onnx.constant(np.array([1 if first else -1]), "axis")
        energy = onnx.op("ReduceSumSquare", [x, axis], keepdims=0)
        energy = onnx.op("Unsqueeze", [energy, onnx.constant(np.array([1]), "axis")])
        if max(self.kernel) == 1 and not any(self.pads):
            return energy
        ones = onnx.constant(np.ones((1, 1, *self.kernel), np.float32), "ones")
        return onnx.op(
            "Conv",
            [energy, ones],
            kernel_shape=list(self.kernel),
            strides=list(self.strides),
            dilations=list(self.dilations),
            pads=list(self.pads),
        )

    def sums(self, x: str, weights: Floats, bias: Floats | None, channels: Integers | None) -> str:
        """See `Kernel.sums`."""
        onnx = self.lowering.onnx
        if self.depthwise and channels is not None:
            x = onnx.op("Gather", [x, onnx.constant(channels, "channels")], axis=1)
        inputs = [x, onnx.constant(weights, self.names[0])]
        if bias is not None:
            inputs.append(onnx.constant(bias, self.names[1]))
        return onnx.op(
            "Conv",
            inputs,
            hint=f"{self.names[2]}:conv",
            kernel_shape=list(self.kernel),
            strides=list(self.strides),
            dilations=list(self.dilations),
            pads=list(self.pads),
            group=weights.shape[0] if self.depthwise else 1,
        )

    def patches(self, x: str, channels: Integers) -> str:
        """See `Kernel.patches`: rows of the filter, then columns, then input channels."""
        onnx, rank = self.lowering.onnx, len(self.kernel)
        if self.depthwise:
            x = onnx.op("Gather", [x, onnx.constant(channels, "channels")], axis=1)
        pads = np.zeros((2, rank + 2), np.int64)
        pads[:, 2:] = np.array(self.pads).reshape(2, rank)
        x = onnx.op("Pad", [x, onnx.constant(pads.reshape(-1), "pads")])
        outputs = window_outputs(self.size, self.kernel, self.strides, self.pads, self.dilations)
        parts = []
        for tap in np.ndindex(*self.kernel):
            starts = np.array(tap) * self.dilations
            ends = starts + (np.array(outputs) - 1) * self.strides + 1
            cut = [starts, ends, np.arange(2, rank + 2), np.array(self.strides)]
            part = onnx.op("Slice", [x, *(onnx.constant(values.astype(np.int64), "cut") for values in cut)])
            part = onnx.op("Transpose", [part], perm=[1, 0, *range(2, rank + 2)])
            parts.append(onnx.op("Reshape", [part, onnx.constant(np.array([0, -1]), "positions")]))
        joined = onnx.op("Concat", parts, axis=0) if len(parts) > 1 else parts[0]
        if not self.depthwise:
            return onnx.op("Unsqueeze", [joined, onnx.constant(np.array([2]), "axis")])
        shape = onnx.constant(np.array([len(parts), channels.size, -1]), "taps")
        return onnx.op("Transpose", [onnx.op("Reshape", [joined, shape])], perm=[0, 2, 1])

    def taps(self, weights: Integers) -> Integers:
        """See `Kernel.taps`."""
        outputs = weights.shape[0]
        ordered: Integers = np.moveaxis(weights, 1, -1).reshape(outputs, -1).T
        return ordered

    def placed(self, value: str, count: int) -> str:
        """See `Kernel.placed`."""
        onnx = self.lowering.onnx
        outputs = window_outputs(self.size, self.kernel, self.strides, self.pads, self.dilations)
        value = onnx.op("Reshape", [value, onnx.constant(np.array([-1, *outputs, count]), "shape")])
        return onnx.op("Transpose", [value], perm=[0, self.rank - 1, *range(1, self.rank - 1)])


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmKernel:
    """Rows times a matrix.

    Attributes:
        lowering: where to append nodes.
        names: of matrix, bias and output, for the names of ONNX values.
    """

    lowering: Lowering
    names: tuple[str, str, str]

    @property
    def depthwise(self) -> bool:
        """Never."""
        return False

    @property
    def is_matrix(self) -> bool:
        """Always."""
        return True

    @property
    def axis(self) -> int:
        """Columns are channels."""
        return 1

    @property
    def rank(self) -> int:
        """Rows and columns."""
        return 2

    def input(self, name: str) -> str:
        """See `Kernel.input`: (rows, K)."""
        x = self.lowering.read_here(name, DEVICE_FLOAT)
        shape = self.lowering.shape(name)
        if len(shape) == 2:
            return x
        return self.lowering.onnx.op(
            "Reshape", [x, self.lowering.onnx.constant(np.array([-1, shape[-1]]), "rows")]
        )

    def energy(self, name: str) -> str:
        """See `Kernel.energy`."""
        onnx = self.lowering.onnx
        x = self.lowering.read(name, DEVICE_FLOAT)
        return onnx.op("ReduceSumSquare", [x, onnx.constant(np.array([-1]), "axis")])

    def sums(self, x: str, weights: Floats, bias: Floats | None, channels: Integers | None) -> str:
        """See `Kernel.sums`."""
        del channels
        onnx = self.lowering.onnx
        matrix = onnx.constant(np.ascontiguousarray(weights.T), self.names[0])
        if bias is None:
            return onnx.op("MatMul", [x, matrix], hint=f"{self.names[2]}:gemm")
        return onnx.op("Gemm", [x, matrix, onnx.constant(bias, self.names[1])], hint=f"{self.names[2]}:gemm")

    def patches(self, x: str, channels: Integers) -> str:
        """See `Kernel.patches`."""
        del channels
        onnx = self.lowering.onnx
        columns = onnx.op("Transpose", [x], perm=[1, 0])
        return onnx.op("Unsqueeze", [columns, onnx.constant(np.array([2]), "axis")])

    def taps(self, weights: Integers) -> Integers:
        """See `Kernel.taps`."""
        return weights.T

    def placed(self, value: str, count: int) -> str:
        """See `Kernel.placed`."""
        del count
        return value
