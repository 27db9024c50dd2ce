"""Conv and Gemm against literal integer arithmetic, for any weights, biases and exponents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esp_hil.errors import FormatError, UnsupportedOperator
from esp_hil.exact import ExactReference
from esp_hil.exact.filters import Kernels
from esp_hil.exact.probe import available
from esp_hil.targets import Family, rounding_of
from tests.exact.literal import conv_model, gemm_model, packed, patches, shifted, wrapped

LAYOUTS: dict[Family, dict[str, str]] = {
    "c": {"int8": "NHWC", "int16": "NHWC"},
    "esp32s3": {"int8": "(N/16)HWC16_UNALIGNED", "int16": "(N/8)HWC8_UNALIGNED"},
    "esp32p4": {"int8": "(N/16)HWC16_UNALIGNED", "int16": "(N/8)HWC8_UNALIGNED"},
}
KERNELS = [False] + [True] * (available() is not None)


def layer(
    random: np.random.Generator, dtype: str, shape: tuple[int, ...], magnitude: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    limit = min(magnitude, np.iinfo(dtype).max)
    return random.integers(-limit - 1, limit + 1, shape).astype(dtype)


@pytest.mark.parametrize("integer", KERNELS, ids=lambda on: "integer" if on else "float32")
@given(
    seed=st.integers(0, 2**32 - 1),
    family=st.sampled_from(["c", "esp32p4"]),
    dtype=st.sampled_from(["int8", "int16"]),
    magnitude=st.sampled_from([1, 20, 127, 32767]),
    shift=st.integers(-3, 24),
    big_bias=st.booleans(),
)
@settings(max_examples=60)
def test_a_gemm_gives_the_rounded_and_saturated_sum(  # noqa: PLR0917 - hypothesis and pytest fill them by name
    seed: int, family: Family, dtype: str, magnitude: int, shift: int, big_bias: bool, integer: bool
) -> None:
    random = np.random.default_rng(seed)
    outputs, depth = int(random.integers(1, 40)), int(random.integers(1, 300))
    weights = layer(random, dtype, (outputs, depth), magnitude)
    reach = 2**31 - 1 if big_bias else 2 ** min(shift + 8, 30) if shift > 0 else 200
    bias = random.integers(-reach, reach + 1, outputs).astype("int32" if dtype == "int8" else "int64")
    model = gemm_model(weights, bias, layout=LAYOUTS[family][dtype], exponents=(-7, -7, shift - 14))
    x = layer(random, dtype, (1, depth), 32767)
    sums = x.astype(np.int64) @ weights.T.astype(np.int64) + bias
    if dtype == "int8":
        sums = wrapped(sums)
    limits = np.iinfo(dtype)
    wanted = np.clip(shifted(sums, shift, rounding_of(family)), limits.min, limits.max)
    reference = ExactReference(model, family, threads=1, integer=integer)
    assert np.array_equal(reference.run({"x": x})["y"], wanted)
    assert all(proof.bound <= proof.limit for proof in reference.proofs)


@pytest.mark.parametrize("integer", KERNELS, ids=lambda on: "integer" if on else "float32")
@given(
    seed=st.integers(0, 2**32 - 1),
    family=st.sampled_from(["c", "esp32p4"]),
    dtype=st.sampled_from(["int8", "int16"]),
    depthwise=st.booleans(),
)
@settings(max_examples=40)
def test_a_conv_gives_the_rounded_and_saturated_sum(
    seed: int, family: Family, dtype: str, depthwise: bool, integer: bool
) -> None:
    random = np.random.default_rng(seed)
    outputs, size = int(random.integers(1, 36)), int(random.integers(1, 6))
    channels = 1 if depthwise else int(random.integers(1, 9))
    weights = layer(random, dtype, (outputs, 3, 3, channels), 32767)
    bias = random.integers(-(2**18), 2**18, outputs).astype("int32" if dtype == "int8" else "int64")
    layout = LAYOUTS[family][dtype]
    if depthwise:
        layout = "HWCN" if family == "c" else layout.replace("_UNALIGNED", "")
        width = 16 if dtype == "int8" else 8
        if family != "c":
            weights = weights[: outputs // width * width]
            outputs = len(weights)
            bias = bias[:outputs]
            if not outputs:
                return
    shift = int(random.integers(0, 16))
    model = conv_model(
        weights, bias, layout=layout, size=size, exponents=(-7, -7, shift - 14), depthwise=depthwise
    )
    x = layer(random, dtype, (1, size, size, outputs if depthwise else channels), 32767)
    if depthwise:
        taps = patches(x, 3, 1, 1).reshape(size, size, 9, outputs)
        sums = (taps * weights.reshape(outputs, 9).T.astype(np.int64)).sum(axis=2) + bias
    else:
        sums = patches(x, 3, 1, 1) @ weights.reshape(outputs, -1).T.astype(np.int64) + bias
    limits = np.iinfo(dtype)
    wanted = np.clip(shifted(sums, shift, rounding_of(family)), limits.min, limits.max)
    assert np.array_equal(
        ExactReference(model, family, threads=1, integer=integer).run({"x": x})["y"][0], wanted
    )


def test_channels_of_their_own_exponent_are_shifted_by_it() -> None:
    random = np.random.default_rng(3)
    exponents = tuple(int(e) for e in random.integers(-12, -4, 17))
    weights = layer(random, "int8", (17, 50), 127)
    model = gemm_model(
        weights,
        np.zeros(17, np.int32),
        layout="(N/16)HWC16_UNALIGNED",
        exponents=(-7, 0, -6),
        per_channel=exponents,
    )
    x = layer(random, "int8", (1, 50), 127)
    sums = x.astype(np.int64) @ weights.T.astype(np.int64)
    wanted = [shifted(sums[:, n], -6 + 7 - e, "half_even") for n, e in enumerate(exponents)]
    assert np.array_equal(
        ExactReference(model, "esp32p4").run({"x": x})["y"][0], np.clip(np.concatenate(wanted), -128, 127)
    )


def test_one_exponent_per_channel_is_refused_for_chips_with_one_shift() -> None:
    weights = np.ones((2, 4), np.int8)
    model = gemm_model(weights, np.zeros(2, np.int32), per_channel=(-7, -8))
    with pytest.raises(UnsupportedOperator, match="esp32p4"):
        ExactReference(model, "c")


@pytest.mark.parametrize("kernels", ["chip", "portable"])
def test_a_dead_channel_with_a_saturated_bias_wraps_on_a_pc_and_saturates_in_a_lane_of_the_chip(
    kernels: Kernels,
) -> None:
    weights = np.full((16, 8), -1, np.int8)
    bias = np.zeros(16, np.int32)
    bias[3] = -(2**31)
    model = gemm_model(weights, bias, layout="(N/16)HWC16", exponents=(-6, -25, -3))
    x = np.full((1, 8), 1, np.int8)
    sums = x.astype(np.int64) @ weights.T.astype(np.int64) + bias
    held = wrapped(sums) if kernels == "portable" else np.maximum(sums, -(2**31))
    wanted = shifted(held, 28, "half_even")
    assert wanted[0, 3] == (8 if kernels == "portable" else -8)
    assert np.array_equal(ExactReference(model, "esp32p4", kernels=kernels).run({"x": x})["y"], wanted)


def test_a_filter_of_an_unknown_layout_is_damage() -> None:
    weights = np.ones((16, 4), np.int8)
    model = gemm_model(weights, np.zeros(16, np.int32), layout="NHWC")
    written = model.graph.initializers["w"]
    assert np.array_equal(packed(weights, "NHWC"), written.data)
    from dataclasses import replace

    odd = {**model.graph.initializers, "w": replace(written, layout="WHNC4")}
    damaged = replace(model, graph=replace(model.graph, initializers=odd))
    with pytest.raises(FormatError, match="WHNC4"):
        ExactReference(damaged, "c")


@pytest.mark.parametrize("reading", ["plain", "packed"])
def test_filters_under_an_old_name_are_read_as_told(reading: str) -> None:
    random = np.random.default_rng(5)
    weights = layer(random, "int8", (16, 20), 127)
    model = gemm_model(weights, np.zeros(16, np.int32), layout="N16HWC16", exponents=(-7, -7, -4))
    seen = weights if reading == "packed" else packed(weights, "N16HWC16").reshape(16, 20)
    x = layer(random, "int8", (1, 20), 127)
    wanted = np.clip(shifted(x.astype(np.int64) @ seen.T.astype(np.int64), 10, "half_up"), -128, 127)
    reference = ExactReference(model, "esp32s3", kernels="chip" if reading == "packed" else "portable")
    assert np.array_equal(reference.run({"x": x})["y"], wanted)
