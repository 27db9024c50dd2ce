"""esp32s3's 20-bit accumulators, against a loop that saturates after every product."""

from __future__ import annotations

import numpy as np
import pytest

from esp_hil.exact import ExactReference, save_onnx
from esp_hil.exact.session import open_session
from tests.exact.literal import conv_model, gemm_model, patches, saturating_sums, shifted

LAYOUT = "(N/16)HWC16_UNALIGNED"


def clipped(
    sums: np.ndarray[tuple[int, ...], np.dtype[np.int64]], shift: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.clip(shifted(sums, shift, "half_up"), -128, 127)


@pytest.mark.parametrize("integer", [False, True], ids=["float32", "integer"])
@pytest.mark.parametrize("seed", range(4))
def test_a_large_positive_gemm_saturates_lane_by_lane_in_order(seed: int, integer: bool) -> None:
    random = np.random.default_rng(seed)
    outputs, depth = 35, 300
    weights = random.integers(20, 128, (outputs, depth)).astype(np.int8)
    weights[:, 200:] *= -1  # sums run into the limit and come back: the order counts
    bias = random.integers(-1000, 1000, outputs).astype(np.int32)
    x = random.integers(40, 128, (1, depth)).astype(np.int8)
    model = gemm_model(weights, bias, layout=LAYOUT, exponents=(-7, -7, -1))
    exact = x.astype(np.int64) @ weights.T.astype(np.int64) + bias
    cut, hits = saturating_sums(
        x.astype(np.int64), weights[:32].T.astype(np.int64), bias[:32].astype(np.int64)
    )
    wanted = clipped(np.concatenate([cut, exact[:, 32:]], axis=1), 13)
    assert not np.array_equal(wanted, clipped(exact, 13)), "the case must tell the two apart"
    reference = ExactReference(model, "esp32s3", integer=integer)
    assert np.array_equal(reference.run({"x": x})["y"], wanted)
    assert reference.saturations({"x": x}) == {"Gemm_y": hits}
    assert reference.saturated == {"Gemm_y": hits}, "counted by run, not by saturations"
    reference.run_batch({"x": np.repeat(x, 3, axis=0)})
    assert reference.saturated == {"Gemm_y": 4 * hits}
    (layer,) = reference.headroom
    assert (layer.lanes, layer.risky) == (32, 32)
    assert layer.margin_bits < 0


def test_small_inputs_of_a_layer_that_can_saturate_go_the_fast_way_and_are_right() -> None:
    random = np.random.default_rng(1)
    weights = random.integers(-128, 128, (32, 300)).astype(np.int8)
    model = gemm_model(weights, np.zeros(32, np.int32), layout="(N/16)HWC16", exponents=(-7, -7, -4))
    x = random.integers(-10, 11, (1, 300)).astype(np.int8)
    reference = ExactReference(model, "esp32s3")
    wanted = clipped(x.astype(np.int64) @ weights.T.astype(np.int64), 10)
    assert np.array_equal(reference.run({"x": x})["y"], wanted)
    assert reference.saturations({"x": x}) == {"Gemm_y": 0}
    assert reference.saturated == {}
    assert reference.headroom[0].risky > 0


def test_a_conv_saturates_in_the_order_row_column_channel() -> None:
    random = np.random.default_rng(2)
    weights = random.integers(90, 128, (16, 3, 3, 12)).astype(np.int8)
    weights[:, 2] *= -1
    bias = np.full(16, 300, np.int32)
    x = random.integers(60, 128, (1, 5, 5, 12)).astype(np.int8)
    model = conv_model(weights, bias, layout="(N/16)HWC16", size=5, exponents=(-7, -7, -1), depthwise=False)
    flat = weights.reshape(16, -1).T.astype(np.int64)
    cut, hits = saturating_sums(patches(x, 3, 1, 1), flat, bias.astype(np.int64))
    reference = ExactReference(model, "esp32s3")
    assert hits > 0
    assert np.array_equal(reference.run({"x": x})["y"][0], clipped(cut, 13))
    assert reference.saturations({"x": x}) == {"Conv_y": hits}


def test_the_bias_of_a_lane_is_cut_to_20_bits_and_that_of_a_leftover_channel_is_not() -> None:
    weights = np.ones((17, 4), np.int8)
    bias = np.full(17, 2**20 + 700, np.int32)
    model = gemm_model(weights, bias, layout=LAYOUT, exponents=(-7, -7, -4))
    y = ExactReference(model, "esp32s3").run({"x": np.zeros((1, 4), np.int8)})["y"][0]
    assert y[0] == 1  # 700 >> 10, rounded
    assert y[16] == 127


def test_other_families_do_not_saturate() -> None:
    weights = np.full((16, 300), 127, np.int8)
    model = gemm_model(weights, np.zeros(16, np.int32), layout="NHWC", exponents=(-7, -7, 2))
    y = ExactReference(model, "c").run({"x": np.full((1, 300), 127, np.int8)})["y"]
    assert (y == shifted(np.array(300 * 127 * 127), 16, "half_up")).all()


def test_the_saved_graph_saturates_without_this_package(tmp_path_factory: pytest.TempPathFactory) -> None:
    random = np.random.default_rng(9)
    weights = random.integers(60, 128, (16, 200)).astype(np.int8)
    model = gemm_model(weights, np.zeros(16, np.int32), layout="(N/16)HWC16", exponents=(-7, -7, -1))
    path = tmp_path_factory.mktemp("saved") / "exact.onnx"
    save_onnx(model, "esp32s3", path)
    session = open_session(path.read_bytes(), 1)
    reference = ExactReference(model, "esp32s3")
    for reach in (3, 127):
        x = random.integers(0, reach + 1, (1, 200)).astype(np.int8)
        assert np.array_equal(session.run(["y"], {"x": x})[0], reference.run({"x": x})["y"])
    assert reference.saturations({"x": x})["Gemm_y"] > 0
