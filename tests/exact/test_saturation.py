"""The chips' accumulators of 20, 32 and 40 bits, against loops that saturate after every addition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esp_hil.exact import ExactReference, save_onnx
from esp_hil.exact.session import open_session
from esp_hil.targets import Family, rounding_of
from tests.exact.literal import Integers, conv_model, gemm_model, patches, saturating_sums, shifted

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


def limited_sums(x: Integers, weights: Integers, bias: int, bits: int, together: int) -> int:
    """One channel: `together` products at a time onto the bias, cut to so many bits after each addition."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    held: int = (bias - low) % 2**bits + low
    for start in range(0, x.size, together):
        added = int(np.dot(x[start : start + together], weights[start : start + together]))
        held = min(max(held + added, low), high)
    return held


@pytest.mark.parametrize("family", ["esp32s3", "esp32p4"])
@pytest.mark.parametrize("seed", range(3))
def test_int16_sums_saturate_at_40_bits_in_esp32s3_s_lanes_and_both_chips_leftover_channels(
    family: Family, seed: int
) -> None:
    random = np.random.default_rng(seed)
    outputs, depth, shift = 19, 2000, 25
    weights = random.integers(20000, 32768, (outputs, depth)).astype(np.int16)
    weights[:, 1200:] *= -1  # sums run into the limit and come back
    bias = random.integers(-(2**33), 2**33, outputs)
    x = random.integers(20000, 32768, (1, depth)).astype(np.int16)
    model = gemm_model(weights, bias, layout="(N/8)HWC8_UNALIGNED", exponents=(-7, -7, shift - 14))
    wide = x[0].astype(np.int64), weights.astype(np.int64)
    sums = np.empty(outputs, np.int64)
    for channel in range(outputs):
        bits = 64 if family == "esp32p4" and channel < 16 else 40
        together = 1 if channel < 16 else 8
        sums[channel] = limited_sums(wide[0], wide[1][channel], int(bias[channel]), bits, together)
    exact = wide[0] @ wide[1].T + bias
    rounding = rounding_of(family)
    wanted = np.clip(shifted(sums, shift, rounding), -32768, 32767)
    differs = wanted != np.clip(shifted(exact, shift, rounding), -32768, 32767)
    assert differs[16:].any()
    assert differs[:16].any() == (family == "esp32s3")
    reference = ExactReference(model, family, threads=1)
    assert np.array_equal(reference.run({"x": x})["y"][0], wanted)
    assert reference.saturated["Gemm_y"] > 0
    small = (x // 64).astype(np.int16)
    sums = small[0].astype(np.int64) @ wide[1].T + bias
    before = dict(reference.saturated)
    answer = reference.run({"x": small})["y"][0]
    assert np.array_equal(answer, np.clip(shifted(sums, shift, rounding), -32768, 32767))
    assert reference.saturated == before, "a guard clears small inputs"


@pytest.mark.parametrize(("family", "flipped"), [("esp32s3", 19), ("esp32p4", 3)])
def test_a_bias_of_2_39_turns_its_sign_where_it_is_held_in_40_bits(family: Family, flipped: int) -> None:
    weights = np.ones((19, 4), np.int16)
    bias = np.full(19, 2**39)
    model = gemm_model(weights, bias, layout="(N/8)HWC8_UNALIGNED", exponents=(-7, -7, 14))
    reference = ExactReference(model, family, threads=1)
    y = reference.run({"x": np.full((1, 4), 100, np.int16)})["y"][0]
    assert (y[19 - flipped :] == -2048).all()
    assert (y[: 19 - flipped] == 2048).all()
    assert reference.saturated == {}, "channels that have one output only are settled without a sum"


@pytest.mark.parametrize("integer", [False, True], ids=["float32", "integer"])
def test_a_lane_of_32_bits_saturates_on_esp32p4_and_a_leftover_channel_does_not(integer: bool) -> None:
    weights = np.full((18, 8), -100, np.int8)
    bias = np.full(18, -(2**31) + 50_000, np.int32)
    model = gemm_model(weights, bias, layout="(N/16)HWC16_UNALIGNED", exponents=(-7, -7, 10))
    reference = ExactReference(model, "esp32p4", threads=1, integer=integer)
    for value in (100, -100, 3):
        x = np.full((1, 8), value, np.int8)
        exact = -800 * value - 2**31 + 50_000
        wanted = [max(exact, -(2**31))] * 16 + [exact] * 2
        assert np.array_equal(
            reference.run({"x": x})["y"][0], np.clip(shifted(np.array(wanted), 24, "half_even"), -128, 127)
        )


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1), family=st.sampled_from(["esp32s3", "esp32p4"]), depthwise=st.booleans()
)
def test_any_conv_at_the_edges_of_its_accumulators_is_summed_in_the_kernel_s_order(
    seed: int, family: Family, depthwise: bool
) -> None:
    random = np.random.default_rng(seed)
    # a filter of one channel and one group is an ordinary one to ESP-DL
    channels, outputs, size = int(random.integers(1 + depthwise, 20)), int(random.integers(1, 20)), 4
    outputs = channels if depthwise else outputs
    shape = (outputs, 3, 3, 1 if depthwise else channels)
    weights = random.integers(-32768, 32768, shape).astype(np.int16)
    edge = 2**39
    near = random.integers(-(2**34), 2**34, outputs)
    bias = (
        random.choice(np.array([-edge, edge - 1, edge, 0]), outputs) + random.choice([0, 1], outputs) * near
    )
    bias = np.clip(bias, -edge, edge)
    shift = int(random.integers(22, 30))
    x = random.integers(-32768, 32768, (1, size, size, channels)).astype(np.int16)
    model = conv_model(
        weights,
        bias,
        layout="(N/8)HWC8_UNALIGNED" if not depthwise else "HWCN",
        size=size,
        exponents=(-7, -7, shift - 14),
        depthwise=depthwise,
    )
    if depthwise:
        layouts = {**model.graph.initializers}
        layouts["w"] = replace(layouts["w"], layout="")  # plain order, of no family
        model = replace(model, graph=replace(model.graph, initializers=layouts))
    seen = patches(x, 3, 1, 1).reshape(-1, 9, channels)
    wanted = np.empty((size * size, outputs), np.int64)
    for place, channel in np.ndindex(size * size, outputs):
        in_lane = depthwise or channel < outputs // 8 * 8
        bits = 64 if family == "esp32p4" and in_lane else 40
        taps = weights[channel].reshape(9, -1).astype(np.int64)
        factors = seen[place][:, channel : channel + 1] if depthwise else seen[place]
        held = int(bias[channel])
        pad = 0 if in_lane else -factors.shape[1] % 8
        wanted[place, channel] = limited_sums(
            np.pad(factors, ((0, 0), (0, pad))).reshape(-1),
            np.pad(taps, ((0, 0), (0, pad))).reshape(-1),
            held,
            bits,
            1 if in_lane else 8,
        )
    rounding = rounding_of(family)
    answer = ExactReference(model, family, threads=1).run({"x": x})["y"]
    expected = np.clip(shifted(wanted, shift, rounding), -32768, 32767)
    assert np.array_equal(answer.reshape(-1, outputs), expected)
