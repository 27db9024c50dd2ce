"""The scratch memory that ESP-NN's kernels ask TFLM's arena for, by chip and version.

The formulas are those of its own `esp_nn_get_*_scratch_size` functions (1.1.2, 1.2.0, 1.2.3), which say what is
asked for, not what is written: where that is too little, `esp_hil.exact.esp_nn.FAULTS` says so. Between 1.2.0
and 1.2.3 the history tells what came when; what boards printed of two networks (esphome#7242: 19,440 and 17,840
bytes) confirms it. Chips other than the esp32s3 and the esp32p4 have the generic C kernels, which need none but
for softmax.
"""

from __future__ import annotations

from dataclasses import dataclass

from esp_hil.exact.esp_nn import NEWEST, EspNnCall, Version, layer_of, version_of
from esp_hil.formats.tflite.model import TfliteModel

_TILED = (1, 2, 1)
"""First version with im2col, tiles and strips."""

_WIDER_MARGIN = (1, 2, 3)
"""First version whose convolutions leave 48 bytes for reads beyond the end, beside 16 for alignment."""

_DEPTHWISE_STRIP_BYTES = 40 * 1024
_DEPTHWISE_TILE_BYTES = 48 * 1024
_P4_L1_BYTES = 32768


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScratch:
    """Scratch of one operator of the first subgraph: its place in the file, its label, and bytes."""

    place: int
    label: str
    bytes: int


def scratch_of(model: TfliteModel, chip: str, version: str = "") -> tuple[LayerScratch, ...]:
    """What each operator asks for while it runs, in the file's order; operators that ask for nothing are left out.

    Args:
        model: the file.
        chip: name of the target.
        version: of ESP-NN; "" for the newest that was examined; "off" for TFLM's reference kernels, which need none.

    Raises:
        ConfigError: `version` is no version.
    """
    if version == "off":
        return ()
    numbers = version_of(version or NEWEST)
    graph = model.subgraphs[0]
    found = []
    for place, operator in enumerate(graph.operators):
        layer = layer_of(graph, operator)
        size = scratch_bytes(layer, chip, numbers) if layer is not None else 0
        if size:
            found.append(LayerScratch(place=place, label=graph.label(operator), bytes=size))
    return tuple(found)


def scratch_bytes(layer: EspNnCall, chip: str, version: Version) -> int:
    """Bytes that one call asks for."""
    if layer.kernel == "softmax":
        return 4 * layer.in_c
    if layer.kernel == "conv":
        if chip == "esp32s3":
            return _s3_conv(layer, version)
        return _p4_conv(layer, version) if chip == "esp32p4" else 0
    if layer.kernel == "depthwise" and chip == "esp32s3":
        return _s3_depthwise(layer, version)
    return 0


def _rounded(count: int, unit: int) -> int:
    return -(-count // unit) * unit


def _pointwise(layer: EspNnCall) -> bool:
    return layer.f_w == layer.f_h == layer.stride_w == layer.stride_h == 1 and not layer.padded


def _pointwise_bytes(layer: EspNnCall, margin: int) -> int:
    """The input with channels filled up to 8, the filter likewise, and eight positions turned round."""
    channels = _rounded(layer.in_c, 8)
    pixels = layer.in_w * layer.in_h
    filled = pixels * channels if layer.in_c % 8 else 0
    turned = 16 * channels if pixels >= 8 else 0
    return filled + channels * layer.out_c + turned + margin


def _window(layer: EspNnCall) -> int:
    return layer.f_w * layer.f_h


def _padded_input(layer: EspNnCall) -> int:
    if not layer.padded:
        return 0
    return (layer.in_w + 2 * layer.pad_w) * (layer.in_h + 2 * layer.pad_h) * layer.in_c


def _s3_conv(layer: EspNnCall, version: Version) -> int:
    margin = 64 if version >= _WIDER_MARGIN else 32
    if _pointwise(layer):
        return _pointwise_bytes(layer, margin)
    taps = _window(layer) * layer.in_c
    row = layer.f_w * layer.in_c
    if version >= _TILED and row < 16 <= taps:
        window = _rounded(taps, 16)
        return 4 * layer.out_c + 16 + layer.out_c * window + 16 + window + margin
    plain = (
        _padded_input(layer)
        + _window(layer) * _rounded(layer.in_c, 16) * layer.out_c
        + margin
        + 4 * layer.out_c
    )
    if version < _TILED:
        return plain
    right, below = _extra(layer)
    behind = (layer.in_w + right) * (layer.in_h + below) * layer.in_c if right or below else 0
    return plain + _rounded(row, 16) * layer.f_h * layer.out_c + behind


def _extra(layer: EspNnCall) -> tuple[int, int]:
    """What ESP-NN takes for padding on the right and below: one stride more than the last window needs."""
    return (
        max(0, layer.out_w * layer.stride_w + layer.f_w - 1 - layer.in_w),
        max(0, layer.out_h * layer.stride_h + layer.f_h - 1 - layer.in_h),
    )


def _p4_conv(layer: EspNnCall, version: Version) -> int:
    newer = version >= _TILED
    if _pointwise(layer):
        return 20 * layer.out_c + 64 if newer and layer.in_c < 16 else _pointwise_bytes(layer, 32)
    sums = 4 * layer.out_c
    taps, row = _window(layer) * layer.in_c, layer.f_w * layer.in_c
    filters = _window(layer) * _rounded(layer.in_c, 16) * layer.out_c
    if not newer:
        return _padded_input(layer) + filters + 32 + sums
    if not layer.padded and row >= 16:
        return filters + 32 + sums
    if taps >= 16:
        return sums + taps + 32
    return _p4_small_window(layer, sums)


def _p4_small_window(layer: EspNnCall, sums: int) -> int:
    """Windows of less than 16 bytes: channels are filled up, in tiles of rows that fit the L1 cache."""
    channels = _rounded(-(-16 // layer.f_w), 16)
    filters = _window(layer) * channels * layer.out_c
    if not layer.padded:
        return sums + filters + layer.in_w * layer.in_h * channels + 32
    whole = _padded_input(layer)
    if whole + sums <= _P4_L1_BYTES:
        return whole + _window(layer) * _rounded(layer.in_c, 16) * layer.out_c + 32 + sums
    row = (layer.in_w + 2 * layer.pad_w) * channels
    room = _P4_L1_BYTES - sums - filters
    tile = 1
    if room > 0 and layer.f_h * row <= room:
        tile = min((room - layer.f_h * row) // (layer.stride_h * row) + 1, layer.out_h)
    rows = (tile - 1) * layer.stride_h + layer.f_h + 2 * layer.pad_h
    return rows * row + filters + 32 + sums


def _s3_depthwise(layer: EspNnCall, version: Version) -> int:
    three = layer.f_w == layer.f_h == 3
    if layer.ch_mult == 1 and three and layer.in_c % 16 == 0:
        return _s3_depthwise_bytes(layer, version)
    if version < _TILED:
        words = (layer.ch_mult == 1 and three and layer.in_c % 8 == 0) or layer.ch_mult % 4 == 0
        return _words(layer) + (16 if version < (1, 2, 0) else 32) if words else 32
    if layer.ch_mult == 1 and layer.in_c % 8 == 0:
        return _s3_depthwise_eights(layer, three)
    if layer.ch_mult == 1 and layer.in_c > 3:
        return _s3_depthwise_filled(layer)
    return _words(layer) + 32 if layer.ch_mult % 4 == 0 else 32


def _words(layer: EspNnCall) -> int:
    """Filter and input as 16-bit words."""
    return 2 * (_window(layer) * layer.in_c * layer.ch_mult + layer.size)


def _s3_depthwise_bytes(layer: EspNnCall, version: Version) -> int:
    """3x3 over a multiple of 16 channels: the filter, and the image with its padding."""
    filters = 9 * layer.in_c
    if layer.padded:
        right, below = 2 * layer.pad_w, 2 * layer.pad_h
    else:
        right = layer.out_w * layer.stride_w + 2 - layer.in_w
        below = layer.out_h * layer.stride_h + 2 - layer.in_h
    if not right and not below:
        return filters + 16
    image = (layer.in_w + right) * (layer.in_h + below) * layer.in_c
    if version >= _TILED and image > _DEPTHWISE_STRIP_BYTES:
        image = (layer.in_w + right) * 3 * layer.in_c
    return filters + image + 16


def _s3_depthwise_eights(layer: EspNnCall, three: bool) -> int:
    if three and layer.in_c >= 12:
        channels = _rounded(layer.in_c, 16)
        right = 2 * layer.pad_w + max(0, layer.out_w * layer.stride_w + 2 - layer.in_w)
        below = 2 * layer.pad_h + max(0, layer.out_h * layer.stride_h + 2 - layer.in_h)
        image = (layer.in_w + right) * (layer.in_h + below) * channels
        return 9 * channels + image + layer.out_w * layer.out_h * channels + 64
    if three or _words(layer) <= _DEPTHWISE_TILE_BYTES:
        return _words(layer) + 32
    return 2 * (_window(layer) + layer.in_w * layer.f_h) * layer.in_c + 32


def _s3_depthwise_filled(layer: EspNnCall) -> int:
    channels = _rounded(layer.in_c, 8)
    image = _rounded(2 * _window(layer) * channels, 16)
    made = _rounded(image + 2 * layer.in_w * layer.in_h * channels, 16)
    factors = _rounded(made + layer.out_w * layer.out_h * channels, 16)
    return factors + 12 * channels + 16
