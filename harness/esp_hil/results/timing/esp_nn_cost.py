"""Instructions of ESP-NN's assembly for a call: how the time of a `.tflite` divides among its operators.

Interpolated from kernels that were executed instruction by instruction (1.2.3), with a requantization for every
output: the more multiply-accumulates an output has, the fewer instructions each costs. C around the kernels
(im2col, sums of filters, requantization in C) is not among them, so they tell shares better than times.
"""

from __future__ import annotations

from esp_hil.exact.esp_nn import EspNnCall, layer_of
from esp_hil.formats.tflite.model import TfliteModel

COUNTED = frozenset({"esp32s3", "esp32p4"})
"""Chips with assembly in ESP-NN; the others run its generic C."""

_S3_PER_ELEMENT = {"add": 35.0, "mul": 15.4, "max pool": 10.3, "average pool": 21.9, "softmax": 90.0}
_P4_PER_ELEMENT = {"add": 35.0, "mul": 20.0, "max pool": 1.8, "average pool": 1.9, "softmax": 90.0}


def instructions_of(model: TfliteModel, chip: str) -> tuple[float | None, ...]:
    """Of each operator of the first subgraph; None where TFLM's reference kernel runs, or the chip has no assembly."""
    graph = model.subgraphs[0]
    calls = [layer_of(graph, operator) for operator in graph.operators]
    if chip not in COUNTED:
        return tuple(None for _ in calls)
    return tuple(None if call is None else call_instructions(call, chip) for call in calls)


def run_by_esp_nn(model: TfliteModel) -> tuple[bool, ...]:
    """Whether each operator of the first subgraph has a kernel of ESP-NN; TFLM's reference kernel runs the others."""
    graph = model.subgraphs[0]
    return tuple(layer_of(graph, operator) is not None for operator in graph.operators)


def call_instructions(call: EspNnCall, chip: str) -> float:
    """Of one call, batches included."""
    made = call.out_w * call.out_h * call.out_c
    if call.kernel == "conv":
        macs = made * call.f_w * call.f_h * call.f_c
        return call.batch * macs * (_s3_conv(call) if chip == "esp32s3" else _p4_conv(call))
    if call.kernel == "depthwise":
        macs = made * call.f_w * call.f_h
        return call.batch * macs * (_s3_depthwise(call) if chip == "esp32s3" else _p4_depthwise(call))
    if call.kernel == "fully connected":
        return call.batch * call.in_c * call.out_c * (0.26 + 13.4 / call.in_c)
    per_element = _S3_PER_ELEMENT if chip == "esp32s3" else _P4_PER_ELEMENT
    elements = call.in_c * call.out_h if call.kernel == "softmax" else made
    return call.batch * elements * per_element[call.kernel]


def _s3_conv(call: EspNnCall) -> float:
    """For a multiply-accumulate: 1.77, 0.99, 0.61, 0.41 for 1x1 of 16 to 128 channels; 1.01 to 0.39 for 3x3."""
    taps = call.f_w * call.f_h
    if taps == 1:
        return 0.22 + 24.8 / call.in_c
    if call.f_w * call.in_c < 16 <= taps * call.in_c:
        return 0.13 + 13.5 / (taps * call.in_c)
    return 0.19 + 13.1 / call.in_c * 3 / call.f_w


def _p4_conv(call: EspNnCall) -> float:
    """0.81, 0.53, 0.39, 0.32 for 1x1 of 16 to 128 channels; 0.27 to 0.21 for 3x3; few channels by im2col."""
    taps = call.f_w * call.f_h
    if taps == 1:
        return 0.25 + 9 / call.in_c
    if call.f_w * call.in_c < 16:
        return 0.2 + 6.5 / (taps * call.in_c)
    return 0.19 + 1.28 / call.in_c * 9 / taps


def _s3_depthwise(call: EspNnCall) -> float:
    """4.0 for 3x3 of a multiple of 16 channels, of which 71 % are requantization; 5.4 for other channels."""
    if call.ch_mult > 1:
        return 5.5 if call.ch_mult % 8 == 0 else 9.8
    each = 4.01 if call.in_c % 16 == 0 else 5.4
    return each * (0.29 + 0.71 * 9 / (call.f_w * call.f_h))


def _p4_depthwise(call: EspNnCall) -> float:
    if call.ch_mult > 1:
        return 4.0  # C
    each = 0.5 if call.in_c % 16 == 0 else 0.67 if call.in_c > 8 else 1.0
    return each * (0.7 + 0.3 * 9 / (call.f_w * call.f_h))
