from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from esp_hil.errors import UnsupportedOperator
from esp_hil.formats.tflite import read_tflite
from esp_hil.goldens.from_onnx import float_tflite
from esp_hil.goldens.litert import LiteRt
from tests.formats.tflite.networks import Head, Network, images, needs_tflm, small

pytestmark = needs_tflm


@pytest.mark.parametrize("head", ["Softmax", "Sigmoid", "none"])
def test_the_converted_net_answers_what_onnxruntime_answers(tmp_path: Path, head: Head) -> None:
    path, x = small(tmp_path / "net.onnx", head=head), images(20)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"input": x})
    (answered,) = LiteRt(float_tflite(path)).run([np.ascontiguousarray(x.transpose(0, 2, 3, 1))])
    np.testing.assert_allclose(answered, expected, rtol=1e-5, atol=1e-6)


def test_relu_is_fused_and_no_transpose_is_left(tmp_path: Path) -> None:
    model = read_tflite(float_tflite(small(tmp_path / "net.onnx")))
    assert [operator.name for operator in model.operators] == [
        "CONV_2D", "MAX_POOL_2D", "CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX",
    ]  # fmt: skip


def test_the_same_net_gives_the_same_bytes(tmp_path: Path) -> None:
    path = small(tmp_path / "net.onnx")
    assert float_tflite(path) == float_tflite(path)


def test_a_relu_that_two_nodes_read_stays_an_operator(tmp_path: Path) -> None:
    net = Network().conv(3, 2).add("Relu").add("Flatten", axis=1).gemm(4, 3 * 36)
    net.nodes[0].output[0] = "output_before"
    net.nodes[1].input[0] = "output_before"
    path = net.save(tmp_path / "net.onnx")
    assert "RELU" not in read_tflite(float_tflite(path)).operator_names


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (Network().add("Tanh"), "Tanh n0: the operator is not converted"),
        (Network().conv(3, 2, pads=[1, 0, 0, 1]), "neither SAME nor VALID"),
        (Network().conv(2, 1, group=2), "attribute group = 2"),
        (Network().conv(2, 2, dilations=[2, 2]), r"attribute dilations = \[2, 2\]"),
        (Network().conv(2, 2).add("Flatten", axis=1), "its order would change"),
    ],
)
def test_what_is_not_converted_is_refused_by_name(tmp_path: Path, net: Network, says: str) -> None:
    with pytest.raises(UnsupportedOperator, match=says):
        float_tflite(net.save(tmp_path / "net.onnx"))
