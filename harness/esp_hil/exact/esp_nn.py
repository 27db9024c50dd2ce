"""ESP-NN: what TFLM runs on a chip in place of its reference kernels, and where that is known to be wrong.

`layer_of` reads an operator as ESP-NN is called for it by esp-tflite-micro 1.4.0; what that leaves to the reference
kernels (broadcasts, dilations, pools of a depth that is not a multiple of 4, other types) is not a layer. `FAULTS`
lists what is wrong, each with the condition on a layer, the chip and the versions in which it was seen.
`wrong_answer` computes what the chip answers where that is defined.

Source: Espressif's assembly of 1.1.2, 1.2.0 and 1.2.3, executed instruction by instruction against the C reference,
which equals TFLM's. Later versions were not run: what an upstream issue calls fixed after 1.2.3 counts as fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import ConfigError
from esp_hil.exact import esp_nn_softmax
from esp_hil.formats.tflite.model import Operator, Subgraph, Tensor, TfliteModel
from esp_hil.formats.tflite.reader import SAME

Kernel = Literal["conv", "depthwise", "fully connected", "add", "mul", "max pool", "average pool", "softmax"]
Chip = Literal["esp32s3", "esp32p4"]
Effect = Literal["wrong answer", "overwrites memory", "crash"]
Version = tuple[int, ...]

KNOWN_VERSIONS = ("1.1.2", "1.2.0", "1.2.3")
"""Versions that were executed."""
NEWEST = "1.2.3"

_TILE_BYTES = 49152
_STRIP_BYTES = 40960


def version_of(text: str) -> Version:
    """A version as numbers: "1.2.3" or "v1.2.3" as (1, 2, 3).

    Raises:
        ConfigError: it is none.
    """
    parts = text.removeprefix("v").split("~")[0].split("-")[0].split(".")
    if not parts or not all(part.isdigit() for part in parts):
        raise ConfigError(f"{text!r} is not a version", hint="such as 1.2.3")
    return tuple(int(part) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class EspNnCall:
    """One call of ESP-NN; widths and heights in pixels, offsets in integers of the tensors.

    Attributes:
        kernel: which function.
        batch: how often it is called with the next slice of its input.
        in_w, in_h, in_c: of the input; of a fully connected layer in_c is the row length, of a softmax the width.
        f_w, f_h: of the window; f_c: channels that a filter spans.
        out_w, out_h, out_c: of the output; of a softmax out_h counts rows.
        stride_w, stride_h, pad_w, pad_h: pad is what lies before the first pixel.
        ch_mult: channels that a depthwise layer makes of one.
        in_offset, in2_offset: added to the input's integers, the second for `mul`.
        out_offset: added to the result.
        act_min, act_max: the result is clipped to these.
        out_shift: of `mul`'s requantization: 2^out_shift, negative to the right.
        has_bias: a bias is given.
    """

    kernel: Kernel
    batch: int = 1
    in_w: int = 1
    in_h: int = 1
    in_c: int = 1
    f_w: int = 1
    f_h: int = 1
    f_c: int = 1
    out_w: int = 1
    out_h: int = 1
    out_c: int = 1
    stride_w: int = 1
    stride_h: int = 1
    pad_w: int = 0
    pad_h: int = 0
    ch_mult: int = 1
    in_offset: int = 0
    in2_offset: int = 0
    out_offset: int = 0
    act_min: int = -128
    act_max: int = 127
    out_shift: int = -1
    has_bias: bool = True

    @property
    def trailing_w(self) -> int:
        """Pixels that the last window needs behind the last column; negative if it ends before."""
        return (self.out_w - 1) * self.stride_w + self.f_w - self.in_w - self.pad_w

    @property
    def trailing_h(self) -> int:
        """Pixels that the last window needs below the last row."""
        return (self.out_h - 1) * self.stride_h + self.f_h - self.in_h - self.pad_h

    @property
    def padded(self) -> bool:
        """Whether there is padding before the first row or column."""
        return self.pad_w > 0 or self.pad_h > 0

    @property
    def size(self) -> int:
        """Elements of one input slice."""
        return self.in_w * self.in_h * self.in_c


@dataclass(frozen=True, slots=True, kw_only=True)
class EspNnFault:
    """Something that ESP-NN is known to do wrong.

    Attributes:
        name: of the rule and in verdicts.
        issue: upstream's, "" if none is known.
        chip: where.
        since: the first version that has it.
        fixed: the first version without it, or "" if the newest that was run has it.
        mended: an upstream issue says that a version after the newest run one has it no more.
        effect: what comes of it.
        applies: whether a layer is hit, in a version.
        summary: what it does, in one clause.
        way: how the network can avoid it, in the imperative.
    """

    name: str
    chip: Chip
    since: str
    effect: Effect
    applies: Callable[[EspNnCall, Version], bool]
    summary: str
    way: str
    issue: str = ""
    fixed: str = ""
    mended: bool = False

    def in_version(self, version: Version) -> bool:
        """Whether a version has it, as far as is known."""
        if version < version_of(self.since) or (self.fixed and version >= version_of(self.fixed)):
            return False
        return not (self.mended and version > version_of(NEWEST))

    @property
    def versions(self) -> str:
        """In words: "since 1.0, fixed in 1.2.1"."""
        end = (
            f"fixed in {self.fixed}"
            if self.fixed
            else f"fixed after {NEWEST}"
            if self.mended
            else f"still in {NEWEST}"
        )
        return f"since {self.since}, {end}"

    @property
    def todo(self) -> str:
        """What to do about it."""
        newer = f"take ESP-NN {self.fixed} or newer, or " if self.fixed else ""
        newer = f"take an ESP-NN newer than {NEWEST}, or " if self.mended else newer
        return f"{newer}{self.way}, or build with the profile esp-nn-off"

    @property
    def label(self) -> str:
        """Upstream's issue if there is one, else our name."""
        return self.issue or f"ESP-NN {self.name}"


def _row_kernel(layer: EspNnCall, version: Version) -> bool:
    """Conv by rows: neither the reference (grouped), 1x1 nor im2col, which came with 1.2.1."""
    if layer.kernel != "conv" or layer.f_c != layer.in_c or _one_by_one(layer):
        return False
    return not (version >= (1, 2, 1) and _im2col(layer))


def _one_by_one(layer: EspNnCall) -> bool:
    return layer.f_w == layer.f_h == layer.stride_w == layer.stride_h == 1 and not layer.padded


def _im2col(layer: EspNnCall) -> bool:
    return layer.f_w * layer.in_c < 16 <= layer.f_w * layer.f_h * layer.in_c


def _trailing_pixel(layer: EspNnCall, version: Version) -> bool:
    """Padding before is taken for the padding behind, and more is needed there."""
    short = layer.trailing_w > layer.pad_w or layer.trailing_h > layer.pad_h
    return _row_kernel(layer, version) and layer.padded and short


def _unpadded_trailing(layer: EspNnCall, version: Version) -> bool:
    return _row_kernel(layer, version) and not layer.padded and (layer.trailing_w > 0 or layer.trailing_h > 0)


def _transpose_buffer(layer: EspNnCall, version: Version) -> bool:
    del version
    rounded = -(-layer.in_c // 8) * 8
    positions = layer.in_w * layer.in_h
    if layer.kernel != "conv" or layer.f_c != layer.in_c or not _one_by_one(layer) or layer.in_c % 8 == 0:
        return False
    return positions >= 8 and rounded * (layer.out_c + positions) % 16 == 8


def _im2col_small(layer: EspNnCall, version: Version) -> bool:
    """An input smaller than the window: a negative quotient is rounded to 0, not down."""
    del version
    if layer.kernel != "conv" or layer.f_c != layer.in_c or _one_by_one(layer) or not _im2col(layer):
        return False
    return _truncates(layer.in_w, layer.f_w, layer.pad_w, layer.stride_w) or _truncates(
        layer.in_h, layer.f_h, layer.pad_h, layer.stride_h
    )


def _truncates(extent: int, taps: int, pad: int, stride: int) -> bool:
    """(extent - taps + pad) / stride is 0 in C where it is -1: window 0 counts as inside, and is not."""
    room = extent - taps + pad
    return -stride < room < 0 and pad == 0 and taps > extent


def _one_channel_out(layer: EspNnCall) -> bool:
    return layer.kernel == "depthwise" and layer.ch_mult == 1


def _three_by_three(layer: EspNnCall) -> bool:
    return layer.f_w == 3 and layer.f_h == 3


def _missing_bias(layer: EspNnCall, version: Version) -> bool:
    if not _one_channel_out(layer) or not _three_by_three(layer) or layer.has_bias:
        return False
    if version < (1, 2, 1):
        return layer.in_c % 16 == 0
    return layer.in_c >= 12 and layer.in_c % 8 == 0


def _tiled(layer: EspNnCall, version: Version) -> bool:
    del version
    if not _one_channel_out(layer) or _three_by_three(layer) or layer.in_c % 8 or layer.pad_h == 0:
        return False
    return 2 * (layer.f_w * layer.f_h * layer.in_c + layer.size) > _TILE_BYTES


def _mixed_pads(layer: EspNnCall, version: Version) -> bool:
    del version
    if not _one_channel_out(layer) or not _three_by_three(layer) or layer.in_c % 16:
        return False
    return (layer.pad_w > 0) != (layer.pad_h > 0)


def _strip(layer: EspNnCall, version: Version) -> bool:
    """No padding before, some behind, and an image above 40 KB: the size is that of three rows."""
    del version
    if not _one_channel_out(layer) or not _three_by_three(layer) or layer.in_c % 16 or layer.padded:
        return False
    right, below = max(0, layer.trailing_w), max(0, layer.trailing_h)
    return (right > 0 or below > 0) and (layer.in_w + right) * (
        layer.in_h + below
    ) * layer.in_c > _STRIP_BYTES


def _unaligned_slices(layer: EspNnCall, version: Version) -> bool:
    """The second slice of a batch does not begin at a multiple of 16 bytes, which the vector loads need."""
    del version
    if layer.batch == 1 or layer.kernel != "depthwise" or layer.size % 16 == 0:
        return False
    return (layer.ch_mult == 1 and layer.in_c % 8 == 0) or layer.ch_mult % 4 == 0


def _output_pitch(layer: EspNnCall, version: Version) -> bool:
    del version
    return layer.kernel == "average pool" and layer.out_w != layer.out_h and layer.out_h > 1


def _lost_minimum(layer: EspNnCall, version: Version) -> bool:
    del version
    return layer.kernel == "max pool" and layer.in_c % 8 == 4 and layer.act_min > -128


def _leftover_mul(layer: EspNnCall, version: Version) -> bool:
    """Without a shift to the right, and after vectors, there is nothing to round wrongly."""
    del version
    leftover = layer.kernel == "mul" and layer.size % 8 != 0
    return leftover and (layer.out_shift < 0 or layer.size < 8)


def _softmax_window(layer: EspNnCall, version: Version) -> bool:
    del version
    return layer.kernel == "softmax" and layer.in_c >= 32 and layer.in_c % 16 != 0 and layer.out_h > 1


def _unaligned_rows(layer: EspNnCall, version: Version) -> bool:
    del version
    return layer.kernel == "fully connected" and layer.batch > 1 and layer.in_c % 8 != 0


def _p4_pool(layer: EspNnCall, version: Version) -> bool:
    del version
    return layer.kernel == "max pool" and layer.in_c > 16 and layer.in_c % 16 != 0


def _p4_trailing_row(layer: EspNnCall, version: Version) -> bool:
    """The row kernel of unpadded images gives the last row an image of two rows, right for windows of three."""
    del version
    if layer.kernel != "conv" or layer.f_c != layer.in_c or _one_by_one(layer) or layer.padded:
        return False
    return layer.f_w * layer.in_c >= 16 and layer.trailing_h > 0 and layer.f_h != 3


def _p4_small_window(layer: EspNnCall, version: Version) -> bool:
    del version
    if layer.kernel != "conv" or layer.f_c != layer.in_c or _one_by_one(layer):
        return False
    return layer.f_w * layer.f_h * layer.in_c < 16 and (
        layer.padded or layer.trailing_w > 0 or layer.trailing_h > 0
    )


FAULTS: tuple[EspNnFault, ...] = (
    EspNnFault(
        name="conv-trailing-pixel",
        way="pad with an operator of its own (ZeroPadding2D) and VALID",
        issue="esp-nn#31",
        chip="esp32s3",
        since="1.0",
        mended=True,
        effect="wrong answer",
        applies=_trailing_pixel,
        summary="the trailing pixel of its SAME padding is missing: the last column reads the next row, the last row "
        "memory behind the image",
    ),
    EspNnFault(
        name="conv-unpadded-trailing",
        way="pad with an operator of its own (ZeroPadding2D) and VALID",
        chip="esp32s3",
        since="1.0",
        fixed="1.2.1",
        effect="wrong answer",
        applies=_unpadded_trailing,
        summary="SAME padding that is only behind the image is not there: rows are read beyond their end",
    ),
    EspNnFault(
        name="conv-transpose-buffer",
        way="use a multiple of 8 input channels",
        chip="esp32s3",
        since="1.0",
        fixed="1.2.1",
        effect="wrong answer",
        applies=_transpose_buffer,
        summary="its transposed input does not begin at a multiple of 16 bytes, which the vector loads need",
    ),
    EspNnFault(
        name="conv-im2col-small",
        way="use a window no larger than its input",
        chip="esp32s3",
        since="1.2.1",
        effect="wrong answer",
        applies=_im2col_small,
        summary="its input is smaller than its window, and the first window counts as inside",
    ),
    EspNnFault(
        name="depthwise-no-bias",
        way="give the layer a bias (zeros will do)",
        chip="esp32s3",
        since="1.0",
        effect="crash",
        applies=_missing_bias,
        summary="without a bias it stores 64 bytes at a wild address: StoreProhibited",
    ),
    EspNnFault(
        name="depthwise-tiled-padding",
        way="pad with an operator of its own (ZeroPadding2D) and VALID, or use a 3x3 window",
        chip="esp32s3",
        since="1.2.1",
        effect="wrong answer",
        applies=_tiled,
        summary="rows of padding above and below hold the input offset instead of 0",
    ),
    EspNnFault(
        name="depthwise-mixed-padding",
        way="pad with an operator of its own (ZeroPadding2D) and VALID",
        issue="esp-nn#30",
        chip="esp32s3",
        since="1.0",
        mended=True,
        effect="overwrites memory",
        applies=_mixed_pads,
        summary="it has padding before it in one direction only, and its scratch buffer is too small: what lies behind "
        "is overwritten",
    ),
    EspNnFault(
        name="depthwise-strip",
        way="pad with an operator of its own (ZeroPadding2D) and VALID",
        issue="esp-nn#30",
        chip="esp32s3",
        since="1.2.1",
        mended=True,
        effect="overwrites memory",
        applies=_strip,
        summary="it asks for a scratch buffer of three rows and fills the whole padded image",
    ),
    EspNnFault(
        name="depthwise-batch",
        way="run one image at a time",
        chip="esp32s3",
        since="1.0",
        effect="wrong answer",
        applies=_unaligned_slices,
        summary="images after the first of its batch do not begin at multiples of 16 bytes, as the vector loads need",
    ),
    EspNnFault(
        name="average-pool-pitch",
        way="pool to a square output, or take the mean (GlobalAveragePooling2D as MEAN)",
        chip="esp32s3",
        since="1.0",
        effect="wrong answer",
        applies=_output_pitch,
        summary="rows of its output lie as far apart as the output is high, not as it is wide",
    ),
    EspNnFault(
        name="max-pool-minimum",
        way="use a multiple of 8 channels, or no fused activation",
        chip="esp32s3",
        since="1.0",
        effect="wrong answer",
        applies=_lost_minimum,
        summary="with 4 channels beyond a multiple of 8 its result is not clipped from below",
    ),
    EspNnFault(
        name="mul-leftover",
        way="allow 1 LSB, or use a multiple of 8 elements",
        chip="esp32s3",
        since="1.1.0",
        effect="wrong answer",
        applies=_leftover_mul,
        summary="the last elements beyond a multiple of 8 sometimes round negative values up by 1 LSB",
    ),
    EspNnFault(
        name="softmax-window",
        way="use a multiple of 16 classes, or one row at a time",
        chip="esp32s3",
        since="1.2.1",
        effect="wrong answer",
        applies=_softmax_window,
        summary="rows after the first take their maximum over a window that begins before them",
    ),
    EspNnFault(
        name="fully-connected-rows",
        way="use a multiple of 8 features, or one row at a time",
        issue="esp-nn#34",
        chip="esp32s3",
        since="1.0",
        mended=True,
        effect="wrong answer",
        applies=_unaligned_rows,
        summary="rows after the first do not begin at a multiple of 8 bytes, and are read from before",
    ),
    EspNnFault(
        name="max-pool-channels",
        way="use a multiple of 16 channels",
        chip="esp32p4",
        since="1.2.3",
        effect="wrong answer",
        applies=_p4_pool,
        summary="channels beyond a multiple of 16 are stored at the sixteenth before them, over their neighbours",
    ),
    EspNnFault(
        name="conv-trailing-row",
        way="pad with an operator of its own (ZeroPadding2D) and VALID",
        chip="esp32p4",
        since="1.2.3",
        effect="wrong answer",
        applies=_p4_trailing_row,
        summary="the last row of windows, which reaches below the image, gets an image of two rows",
    ),
    EspNnFault(
        name="conv-small-window-scratch",
        way="pad with an operator of its own (ZeroPadding2D) and VALID",
        chip="esp32p4",
        since="1.2.3",
        effect="overwrites memory",
        applies=_p4_small_window,
        summary="its scratch buffer is too small for a padded image: what lies behind is overwritten",
    ),
)
"""Every fault that a `.tflite` file can meet. Faults of functions that esp-tflite-micro does not call (average pools of
a depth that is not a multiple of 4, hard_swish, mean, relu6) are left out."""


def faults_of(layer: EspNnCall, chip: str, version: Version) -> Iterator[EspNnFault]:
    """The faults that hit a layer on a chip with a version of ESP-NN."""
    for fault in FAULTS:
        if fault.chip == chip and fault.in_version(version) and fault.applies(layer, version):
            yield fault


# operators of a .tflite file as calls of ESP-NN


def layer_of(graph: Subgraph, operator: Operator) -> EspNnCall | None:
    """The call of ESP-NN that runs an operator; None where TFLM's reference kernel does."""
    build = _BUILDERS.get(operator.name)
    if build is None or not operator.inputs or operator.inputs[0] < 0 or not operator.outputs:
        return None
    given, made = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    if given.dtype != "int8" or made.dtype != "int8" or given.affine is None or made.affine is None:
        return None
    return build(graph, operator, given, made)


def _offsets(operator: Operator, given: Tensor, made: Tensor) -> dict[str, Any]:
    assert given.affine is not None
    assert made.affine is not None
    low, high = activation_range(operator, made)
    return {
        "in_offset": -given.affine.zero_point,
        "out_offset": made.affine.zero_point,
        "act_min": low,
        "act_max": high,
    }


def activation_range(operator: Operator, made: Tensor) -> tuple[int, int]:
    """The integers that a fused activation leaves: none, RELU, RELU_N1_TO_1 or RELU6, by the schema's numbers."""
    assert made.affine is not None
    scale, zero = made.affine.scale, made.affine.zero_point
    low, high = {1: (0.0, math.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}.get(
        int(operator.options.get("fused_activation_function", 0)), (-math.inf, math.inf)
    )

    def integer(real: float, otherwise: int) -> int:
        return otherwise if math.isinf(real) else zero + math.floor(real / scale + 0.5)

    return max(-128, integer(low, -128)), min(127, integer(high, 127))


def _windowed(
    operator: Operator, given: Tensor, made: Tensor, window: tuple[int, int]
) -> dict[str, Any] | None:
    if len(given.shape) != 4 or len(made.shape) != 4:
        return None
    batch, in_h, in_w, in_c = given.shape
    _, out_h, out_w, out_c = made.shape
    f_h, f_w = window
    stride_w, stride_h = operator.option("stride_w"), operator.option("stride_h")
    same = operator.option("padding") == SAME
    pads = (
        max(0, ((out - 1) * stride + taps - extent)) // 2 if same else 0
        for out, stride, taps, extent in ((out_w, stride_w, f_w, in_w), (out_h, stride_h, f_h, in_h))
    )
    pad_w, pad_h = pads
    return {
        "batch": batch, "in_w": in_w, "in_h": in_h, "in_c": in_c, "f_w": f_w, "f_h": f_h,
        "out_w": out_w, "out_h": out_h, "out_c": out_c, "stride_w": stride_w, "stride_h": stride_h,
        "pad_w": pad_w, "pad_h": pad_h,
    }  # fmt: skip


def _convolution(graph: Subgraph, operator: Operator, given: Tensor, made: Tensor) -> EspNnCall | None:
    weights = graph.tensors[operator.inputs[1]]
    dilated = operator.option("dilation_w_factor") != 1 or operator.option("dilation_h_factor") != 1
    if weights.dtype != "int8" or dilated or len(weights.shape) != 4:
        return None
    sizes = _windowed(operator, given, made, (weights.shape[1], weights.shape[2]))
    if sizes is None:
        return None
    depthwise = operator.name == "DEPTHWISE_CONV_2D"
    return EspNnCall(
        kernel="depthwise" if depthwise else "conv",
        f_c=1 if depthwise else weights.shape[3],
        ch_mult=sizes["out_c"] // sizes["in_c"] if depthwise else 1,
        has_bias=len(operator.inputs) > 2 and operator.inputs[2] >= 0,
        **sizes,
        **_offsets(operator, given, made),
    )


def _pool(graph: Subgraph, operator: Operator, given: Tensor, made: Tensor) -> EspNnCall | None:
    del graph
    window = operator.option("filter_height"), operator.option("filter_width")
    sizes = _windowed(operator, given, made, window)
    if sizes is None or sizes["in_c"] % 4:
        return None
    kernel: Kernel = "max pool" if operator.name == "MAX_POOL_2D" else "average pool"
    return EspNnCall(kernel=kernel, **sizes, **_offsets(operator, given, made))


def _fully_connected(graph: Subgraph, operator: Operator, given: Tensor, made: Tensor) -> EspNnCall | None:
    weights = graph.tensors[operator.inputs[1]]
    if weights.dtype != "int8" or len(weights.shape) != 2:
        return None
    out_c, row = weights.shape
    has_bias = len(operator.inputs) > 2 and operator.inputs[2] >= 0
    return EspNnCall(
        kernel="fully connected", batch=max(1, given.count // max(1, row)), in_c=row, out_c=out_c, has_bias=has_bias,
        **_offsets(operator, given, made),
    )  # fmt: skip


def _elementwise(graph: Subgraph, operator: Operator, given: Tensor, made: Tensor) -> EspNnCall | None:
    other = graph.tensors[operator.inputs[1]]
    if other.shape != given.shape or other.dtype != "int8" or other.affine is None:
        return None  # broadcasts go to the reference
    assert given.affine is not None
    assert made.affine is not None
    _, shift = multiplier_of(given.affine.scale * other.affine.scale / made.affine.scale)
    kernel: Kernel = "add" if operator.name == "ADD" else "mul"
    return EspNnCall(
        kernel=kernel, in_c=given.count, out_c=made.count, in2_offset=-other.affine.zero_point, out_shift=shift,
        **_offsets(operator, given, made),
    )  # fmt: skip


def multiplier_of(real: float) -> tuple[int, int]:
    """A real factor as TFLM's QuantizeMultiplier has it: integer m and shift with real = m * 2^(shift - 31)."""
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier, shift = multiplier // 2, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def operands_of(
    graph: Subgraph,
    operator: Operator,
    constants: Callable[[int], Any],
    x: NDArray[Any],
    y: NDArray[Any] | None = None,
) -> CallOperands:
    """What an operator that is a `EspNnCall` computes with.

    Args:
        graph: where it stands.
        operator: the operator.
        constants: gives the values of a constant by tensor number.
        x: its input, one image.
        y: the second input of a MUL.
    """
    given, made = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    assert given.affine is not None
    assert made.affine is not None
    if operator.name == "MUL":
        other = graph.tensors[operator.inputs[1]].affine
        assert other is not None
        multiplier, shift = multiplier_of(given.affine.scale * other.scale / made.affine.scale)
        return CallOperands(x=x, y=y, multipliers=np.array([multiplier]), shifts=np.array([shift]))
    if operator.name == "SOFTMAX":
        multiplier, shift = softmax_factor(float(operator.options.get("beta", 0)), given.affine.scale)
        return CallOperands(x=x, multipliers=np.array([multiplier]), shifts=np.array([shift]))
    if operator.name not in {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}:
        return CallOperands(x=x)
    weights = graph.tensors[operator.inputs[1]]
    channels = made.shape[-1]
    scales = weights.scales if len(weights.scales) == channels else weights.scales[:1] * channels
    factors = [
        multiplier_of(float(np.float64(given.affine.scale) * scale / made.affine.scale)) for scale in scales
    ]
    bias = operator.inputs[2] if len(operator.inputs) > 2 else -1
    return CallOperands(
        x=x,
        weights=constants(operator.inputs[1]),
        bias=constants(bias) if bias >= 0 else None,
        multipliers=np.array([multiplier for multiplier, _ in factors]),
        shifts=np.array([shift for _, shift in factors]),
    )


def softmax_factor(beta: float, scale: float) -> tuple[int, int]:
    """What TFLM multiplies differences from the maximum with, as `multiplier_of`; exponents have 5 integer bits."""
    return multiplier_of(min(beta * scale * 2.0**_EXPONENT_BITS, float(2**31 - 1)))


_EXPONENT_BITS = 31 - 5


def _softmax(graph: Subgraph, operator: Operator, given: Tensor, made: Tensor) -> EspNnCall | None:
    del graph, operator, made
    if not given.shape:
        return None
    width = given.shape[-1]
    return EspNnCall(kernel="softmax", in_c=width, out_h=given.count // max(1, width), out_c=width)


_BUILDERS: dict[str, Callable[[Subgraph, Operator, Tensor, Tensor], EspNnCall | None]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _elementwise,
    "MUL": _elementwise,
    "SOFTMAX": _softmax,
}


# what a chip answers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CallOperands:
    """What a layer computes with.

    Attributes:
        x: int8 input, (in_h, in_w, in_c), (batch, in_c) of a fully connected layer, or flat for `mul`.
        y: int8 second input of `mul`, flat.
        weights: int8 (out_c, f_h, f_w, in_c) of a conv, (f_h, f_w, out_c) of a depthwise layer, (out_c, in_c) of a
            fully connected one.
        bias: int32 (out_c,).
        multipliers, shifts: of the requantization, one a channel; (1,) for `mul`, and of a softmax's differences.
    """

    x: NDArray[Any]
    y: NDArray[Any] | None = None
    weights: NDArray[Any] | None = None
    bias: NDArray[Any] | None = None
    multipliers: NDArray[Any] | None = None
    shifts: NDArray[Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChipAnswer:
    """What the chip gives: int8 values, flat, and which of them are certain; the others depend on what memory held."""

    values: NDArray[np.int8]
    known: NDArray[np.bool_]


def wrong_answer(
    fault: EspNnFault, layer: EspNnCall, operands: CallOperands, right: NDArray[np.int8]
) -> ChipAnswer | None:
    """What a chip with a fault answers for one image; None if that is not modelled (a crash, memory elsewhere).

    Args:
        fault: one that applies to the layer.
        layer: the layer.
        operands: what it computes with.
        right: the reference's answer, flat.
    """
    model = _MODELS.get(fault.name)
    return None if model is None else model(layer, operands, right)


def modelled(fault: EspNnFault) -> bool:
    """Whether `wrong_answer` computes a fault."""
    return fault.name in _MODELS


def constant_of(model: TfliteModel, graph: Subgraph, number: int) -> NDArray[Any]:
    """The values of a constant, in its shape; of bytes only where its type is a numpy type."""
    tensor = graph.tensors[number]
    return np.frombuffer(model.buffers[tensor.buffer].data, np.dtype(tensor.dtype).newbyteorder("<")).reshape(
        tensor.shape
    )


def answer_of(
    model: TfliteModel,
    graph: Subgraph,
    operator: Operator,
    fault: EspNnFault,
    *,
    inputs: Sequence[NDArray[Any] | None],
    right: NDArray[Any],
) -> ChipAnswer | None:
    """What a chip with a fault answers for an operator; None if that is not modelled, or it has a batch.

    Args:
        model: the file.
        graph: the subgraph.
        operator: one of its operators, which the fault hits.
        fault: the fault.
        inputs: values of the operator's inputs in order; None for one that is left out or a constant.
        right: the reference's answer.
    """
    layer = layer_of(graph, operator)
    if layer is None or (layer.batch != 1 and layer.kernel != "fully connected"):
        return None
    given: list[Any] = [
        constant_of(model, graph, number) if value is None and number >= 0 else value
        for number, value in zip(operator.inputs, inputs, strict=True)
    ]
    second = given[1] if operator.name == "MUL" else None
    operands = operands_of(
        graph, operator, lambda number: constant_of(model, graph, number), given[0], second
    )
    return wrong_answer(fault, layer, operands, right.reshape(-1))


def rounded_product(values: NDArray[np.int64], multiplier: Any, nudge: int = 1 << 30) -> NDArray[np.int64]:  # noqa: ANN401
    """Gemmlowp's SaturatingRoundingDoublingHighMul as ESP-NN computes it: (v * m + 2^30) >> 31."""
    product: NDArray[np.int64] = values * np.int64(1) * multiplier + nudge
    return product >> 31


def requantized(values: NDArray[np.int64], multipliers: Any, shifts: Any) -> NDArray[np.int64]:  # noqa: ANN401
    """Times multiplier * 2^(shift - 31), rounded twice: the product half up, the shift half away from zero."""
    multipliers, shifts = np.asarray(multipliers, np.int64), np.asarray(shifts, np.int64)
    left, right = np.maximum(shifts, 0), np.maximum(-shifts, 0)
    shifted = (values << left).astype(np.int32).astype(np.int64)  # wraps, as C does
    high = rounded_product(shifted, multipliers)
    half = np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)
    return np.where(right > 0, (high + half - (high < 0)) >> right, high)


def _finished(layer: EspNnCall, sums: NDArray[np.int64], operands: CallOperands) -> NDArray[np.int8]:
    if operands.bias is not None and operands.bias.size:
        sums = sums + operands.bias.astype(np.int64)
    values = requantized(sums, operands.multipliers, operands.shifts) + layer.out_offset
    return np.clip(values, layer.act_min, layer.act_max).astype(np.int8)


def _conv_rows(layer: EspNnCall, operands: CallOperands, right: NDArray[np.int8]) -> ChipAnswer:
    """Windows that reach beyond the symmetric padding read on in memory: the next row, then what lies behind."""
    del right
    assert operands.weights is not None
    x = operands.x.reshape(layer.in_h, layer.in_w, layer.in_c).astype(np.int64) + layer.in_offset
    x = np.pad(x, ((layer.pad_h,) * 2, (layer.pad_w,) * 2, (0, 0)))
    height, width, _ = x.shape
    pixels = x.reshape(height * width, layer.in_c)
    out = (np.arange(layer.out_h) * layer.stride_h)[:, None, None, None] + np.arange(layer.f_h)[
        None, None, :, None
    ]
    across = (np.arange(layer.out_w) * layer.stride_w)[None, :, None, None] + np.arange(layer.f_w)[
        None, None, None, :
    ]
    places = out * width + across
    inside = places < len(pixels)
    taken = pixels[np.where(inside, places, 0)]  # (out_h, out_w, f_h, f_w, in_c)
    sums = np.einsum("abhwc,ohwc->abo", taken, operands.weights.astype(np.int64), optimize=True)
    known = np.repeat(np.all(inside, axis=(2, 3), keepdims=True)[:, :, 0], layer.out_c, axis=2)
    return ChipAnswer(values=_finished(layer, sums, operands).reshape(-1), known=known.reshape(-1))


def _depthwise_tiles(layer: EspNnCall, operands: CallOperands, right: NDArray[np.int8]) -> ChipAnswer:
    """Taps in rows of padding, and in columns of the image, see the input offset where they should see 0."""
    assert operands.weights is not None
    x = operands.x.reshape(layer.in_h, layer.in_w, layer.in_c).astype(np.int64) + layer.in_offset
    below, behind = max(0, layer.trailing_h), max(0, layer.trailing_w)
    rows = np.pad(x, ((layer.pad_h, below), (0, 0), (0, 0)), constant_values=layer.in_offset)
    full = np.pad(rows, ((0, 0), (layer.pad_w, behind), (0, 0)))
    sums = np.zeros((layer.out_h, layer.out_w, layer.in_c), np.int64)
    for row in range(layer.f_h):
        for column in range(layer.f_w):
            part = full[
                row : row + layer.out_h * layer.stride_h : layer.stride_h,
                column : column + layer.out_w * layer.stride_w : layer.stride_w,
            ][: layer.out_h, : layer.out_w]
            sums += part * operands.weights.reshape(layer.f_h, layer.f_w, -1)[row, column].astype(np.int64)
    return ChipAnswer(values=_finished(layer, sums, operands).reshape(-1), known=np.ones(right.size, bool))


def _pool_pitch(layer: EspNnCall, operands: CallOperands, right: NDArray[np.int8]) -> ChipAnswer:
    """Row after row is written out_h * channels after the one before; what no row reaches keeps what it held."""
    del operands
    row, pitch = layer.out_w * layer.out_c, layer.out_h * layer.out_c
    values, known = right.reshape(-1).copy(), np.zeros(right.size, bool)
    for number, pixels in enumerate(right.reshape(layer.out_h, row)):
        start = number * pitch
        room = max(0, min(row, right.size - start))
        values[start : start + room], known[start : start + room] = pixels[:room], True
    return ChipAnswer(values=values, known=known)


def _pool_minimum(layer: EspNnCall, operands: CallOperands, right: NDArray[np.int8]) -> ChipAnswer:
    x = operands.x.reshape(layer.in_h, layer.in_w, layer.in_c)
    below, behind = max(0, layer.trailing_h), max(0, layer.trailing_w)
    edges = ((layer.pad_h, below), (layer.pad_w, behind), (0, 0))
    padded = np.pad(x, edges, constant_values=-128)
    best = np.full((layer.out_h, layer.out_w, layer.in_c), -128, np.int8)
    for row in range(layer.f_h):
        for column in range(layer.f_w):
            part = padded[
                row : row + layer.out_h * layer.stride_h : layer.stride_h,
                column : column + layer.out_w * layer.stride_w : layer.stride_w,
            ][: layer.out_h, : layer.out_w]
            best = np.maximum(best, part)
    return ChipAnswer(
        values=np.minimum(best, layer.act_max).astype(np.int8).reshape(-1), known=np.ones(right.size, bool)
    )


def mul_leftover(
    layer: EspNnCall, operands: CallOperands, right: NDArray[np.int8], *, aligned: bool = True
) -> ChipAnswer:
    """The leftover loop adds the sign before the shift; below 8 elements, or unaligned, the first nudge is lost too."""
    assert operands.y is not None
    assert operands.multipliers is not None
    assert operands.shifts is not None
    multiplier, shift = int(operands.multipliers.reshape(-1)[0]), int(operands.shifts.reshape(-1)[0])
    vectors = right.size // 8 * 8 if aligned and right.size >= 8 else 0
    x = operands.x.reshape(-1)[vectors:].astype(np.int64) + layer.in_offset
    y = operands.y.reshape(-1)[vectors:].astype(np.int64) + layer.in2_offset
    exponent = max(-shift, 0)
    nudge = 1 << 30 if vectors else exponent
    high = rounded_product((x * y) << max(shift, 0), multiplier, nudge)
    half = 1 << (exponent - 1) if exponent else 0
    loose = (high + half + (high < 0)) >> exponent if exponent else high
    values = right.reshape(-1).copy()
    values[vectors:] = np.clip(loose + layer.out_offset, layer.act_min, layer.act_max)
    return ChipAnswer(values=values, known=np.ones(right.size, bool))


def _im2col_inside(layer: EspNnCall, operands: CallOperands, right: NDArray[np.int8]) -> ChipAnswer:
    """Windows that count as inside are read without a look at the borders: over the end of a row, and of the image."""
    assert operands.weights is not None
    x = operands.x.reshape(-1, layer.in_c).astype(np.int64) + layer.in_offset
    values, known = right.reshape(layer.out_h, layer.out_w, layer.out_c).copy(), np.ones(right.size, bool)
    known = known.reshape(values.shape)
    for row, column in np.ndindex(layer.out_h, layer.out_w):
        if not (_counts_inside(row, layer, "h") and _counts_inside(column, layer, "w")):
            continue
        rows = row * layer.stride_h - layer.pad_h + np.arange(layer.f_h)[:, None]
        places = rows * layer.in_w + column * layer.stride_w - layer.pad_w + np.arange(layer.f_w)
        inside = (places >= 0) & (places < len(x))
        window = x[np.where(inside, places, 0)]
        sums = np.einsum("hwc,ohwc->o", window, operands.weights.astype(np.int64))
        values[row, column] = _finished(layer, sums, operands)
        known[row, column] = bool(inside.all())
    return ChipAnswer(values=values.reshape(-1), known=known.reshape(-1))


def _counts_inside(number: int, layer: EspNnCall, axis: Literal["w", "h"]) -> bool:
    """Whether a window is in what the kernel takes for the inside: quotients are cut off towards 0."""
    extent, taps, pad, stride, outputs = (
        (layer.in_w, layer.f_w, layer.pad_w, layer.stride_w, layer.out_w)
        if axis == "w"
        else (layer.in_h, layer.f_h, layer.pad_h, layer.stride_h, layer.out_h)
    )
    start = min((pad + stride - 1) // stride, outputs)
    end = min(int((extent - taps + pad) / stride) + 1, outputs)
    return start <= number < end


def _fc_rows(layer: EspNnCall, operands: CallOperands, right: NDArray[np.int8]) -> ChipAnswer:
    """Vectors of 8 are loaded from the multiple of 8 bytes before their place; what remains is read where it lies.

    A row at a multiple of 16 takes another path, from 16 features on.
    """
    assert operands.weights is not None
    x = operands.x.reshape(-1).astype(np.int64)
    weights = operands.weights.reshape(layer.out_c, layer.in_c).astype(np.int64)
    values = right.reshape(layer.batch, layer.out_c).copy()
    vectors = layer.in_c // 8 * 8
    for row in range(layer.batch):
        start = row * layer.in_c
        back = start % 8
        if not back:
            continue
        taken = np.concatenate(
            [x[start - back : start - back + vectors], x[start + vectors : start + layer.in_c]]
        )
        values[row] = _finished(layer, weights @ (taken + layer.in_offset), operands)
    return ChipAnswer(values=values.reshape(-1), known=np.ones(right.size, bool))


def _softmax_rows(layer: EspNnCall, operands: CallOperands, right: NDArray[np.int8]) -> ChipAnswer:
    """The maximum of a row is looked for from the multiple of 16 bytes before it on, but for what no vector holds."""
    assert operands.multipliers is not None
    assert operands.shifts is not None
    factor = int(operands.multipliers.reshape(-1)[0]), int(operands.shifts.reshape(-1)[0])
    x, width = operands.x.reshape(-1).astype(np.int64), layer.in_c
    values, known = right.reshape(-1).copy(), np.ones(right.size, bool)
    vectors = width // 16 * 16
    for start in range(width, layer.out_h * width, width):
        first = start // 16 * 16
        row = x[start : start + width]
        seen = np.concatenate([x[first : first + vectors], row[vectors:]])
        answer = esp_nn_softmax.row(row, int(seen.max()), *factor)
        if answer is None:
            known[start : start + width] = False
        else:
            values[start : start + width] = answer
    return ChipAnswer(values=values, known=known)


_MODELS: dict[str, Callable[[EspNnCall, CallOperands, NDArray[np.int8]], ChipAnswer]] = {
    "conv-trailing-pixel": _conv_rows,
    "depthwise-tiled-padding": _depthwise_tiles,
    "average-pool-pitch": _pool_pitch,
    "max-pool-minimum": _pool_minimum,
    "mul-leftover": mul_leftover,
    "conv-im2col-small": _im2col_inside,
    "fully-connected-rows": _fc_rows,
    "softmax-window": _softmax_rows,
}
