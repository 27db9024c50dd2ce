"""Whether onnxruntime's integer kernels sum exactly on this machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from esp_hil.exact.onnx_graph import MICROSOFT, OnnxGraph, element_type

_CHANNELS, _OUTPUTS, _SIZE = 64, 32, 6


def integer_kernels_are_exact() -> bool:
    """Run a pointwise and a depthwise QLinearConv and a QGemm on full-scale numbers and compare with numpy.

    Kernels that add two uint8 x int8 products in 16 bits saturate at 255 * 127 * 2 and fail here.
    """
    random = np.random.default_rng(7)
    x = random.choice(np.array([0, 1, 254, 255], np.uint8), (1, _SIZE, _SIZE, _CHANNELS))
    x[0, 0] = 255
    dense = random.choice(np.array([-128, -127, 126, 127], np.int8), (_OUTPUTS, _CHANNELS))
    dense[:2] = [[127], [-128]]
    depthwise = random.choice(np.array([-128, 127], np.int8), (_CHANNELS, 9))
    rows = x.reshape(-1, _CHANNELS)
    wanted = _requantized((rows.astype(np.int64) - 128) @ dense.T.astype(np.int64))
    answers = _run(x, dense, depthwise)
    if not np.array_equal(answers["pointwise"].reshape(-1, _OUTPUTS), wanted):
        return False
    if not np.array_equal(answers["gemm"], wanted):
        return False
    patches = np.lib.stride_tricks.sliding_window_view(x[0].astype(np.int64) - 128, (3, 3), axis=(0, 1))
    sums = (patches.reshape(*patches.shape[:3], 9) * depthwise).sum(axis=-1)
    return np.array_equal(answers["depthwise"][0], _requantized(sums))


_SHIFT = 13


def _requantized(sums: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(sums / 2.0**_SHIFT) + 128, 0, 255), np.uint8)


def _run(
    x: NDArray[np.uint8], dense: NDArray[np.int8], depthwise: NDArray[np.int8]
) -> dict[str, NDArray[np.uint8]]:
    from esp_hil.exact.session import open_session

    graph = OnnxGraph()
    graph.fresh("x")
    one, zero = graph.constant(np.float32(1), "one"), graph.constant(np.uint8(128), "zero")
    scale, none = graph.constant(np.float32(2.0**-_SHIFT), "scale"), graph.constant(np.int8(0), "none")
    dense_conv = dense.reshape(_OUTPUTS, _CHANNELS, 1, 1)
    depthwise_conv = depthwise.reshape(_CHANNELS, 1, 3, 3)
    for name, weights, group, size in (
        ("pointwise", dense_conv, 1, 1),
        ("depthwise", depthwise_conv, _CHANNELS, 3),
    ):
        bias = graph.constant(np.zeros(weights.shape[0], np.int32), "bias")
        inputs = ["x", one, zero, graph.constant(weights, "w"), scale, none, one, zero, bias]
        sizes = {"kernel_shape": [size, size], "strides": [1, 1], "dilations": [1, 1], "pads": [0] * 4}
        graph.ops(
            "QLinearConv", inputs, hints=[name], domain=MICROSOFT, channels_last=1, group=group, **sizes
        )
    flat = graph.op("Reshape", ["x", graph.constant(np.array([-1, _CHANNELS]), "rows")])
    bias = graph.constant(np.zeros(_OUTPUTS, np.int32), "bias")
    inputs = [flat, one, zero, graph.constant(dense.T.copy(), "m"), scale, none, bias, one, zero]
    graph.ops("QGemm", inputs, hints=["gemm"], domain=MICROSOFT)
    names = ["pointwise", "depthwise", "gemm"]
    model = graph.model(
        name="probe",
        inputs=[helper.make_tensor_value_info("x", element_type("uint8"), list(x.shape))],
        outputs=[helper.make_tensor_value_info(name, element_type("uint8"), None) for name in names],
        metadata={},
    )
    session = open_session(model.SerializeToString(), 1)
    return dict(zip(names, session.run(names, {"x": x}), strict=True))
