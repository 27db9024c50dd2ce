"""onnxruntime's integer kernels: which this machine may use, and that those are exact at full scale."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.exact import ExactReference, probe
from esp_hil.exact.probe import IntegerKernels
from tests.exact.literal import conv_model, gemm_model, patches, shifted

KINDS: tuple[probe.WeightType, ...] = ("int8", "uint8")
EXACT_HERE = [
    IntegerKernels(dense, depthwise)
    for dense, depthwise in product(KINDS, KINDS)
    if probe._dense_is_exact(dense) and probe._depthwise_is_exact(depthwise)
]


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    probe.available.cache_clear()
    yield
    probe.available.cache_clear()


def use(monkeypatch: pytest.MonkeyPatch, kernels: IntegerKernels) -> None:
    monkeypatch.setattr(probe, "_dense_is_exact", lambda kind: kind == kernels.dense)
    monkeypatch.setattr(probe, "_depthwise_is_exact", lambda kind: kind == kernels.depthwise)


def test_processors_whose_signed_kernels_saturate_are_given_unsigned_filters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, IntegerKernels("uint8", "int8"))
    assert probe.available() == ("uint8", "int8")


@pytest.mark.parametrize("name", ["pointwise", "square", "many", "single", "matmul", "depthwise"])
def test_one_kind_of_kernel_that_saturates_is_enough_to_use_none(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    honest = probe._Probe.run

    def saturated(self: probe._Probe, x: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        answers = honest(self, x)
        if name in answers:
            answers[name].reshape(-1)[0] ^= 1
        return answers

    monkeypatch.setattr(probe._Probe, "run", saturated)
    assert probe.available() is None


@pytest.mark.parametrize("kernels", EXACT_HERE, ids="-".join)
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("depth", [2, 31, 64, 300])
def test_full_scale_products_of_a_gemm_do_not_saturate(
    monkeypatch: pytest.MonkeyPatch, kernels: IntegerKernels, rows: int, depth: int
) -> None:
    use(monkeypatch, kernels)
    random = np.random.default_rng(depth)
    weights = random.choice(np.array([-128, 127], np.int8), (19, depth))
    weights[0], weights[1] = 127, -128
    x = random.choice(np.array([-128, 127], np.int8), (rows, 1, depth))
    x[0] = 127
    model = gemm_model(weights, np.zeros(19, np.int32), exponents=(-7, -7, -1))
    sums = x[:, 0].astype(np.int64) @ weights.T.astype(np.int64)
    reference = ExactReference(model, "c", threads=1, integer=True)
    assert {proof.path for proof in reference.proofs} == {"integer"}
    answer = np.stack([reference.run({"x": row})["y"][0] for row in x])
    assert np.array_equal(answer, np.clip(shifted(sums, 13, "half_up"), -128, 127))


@pytest.mark.parametrize("kernels", EXACT_HERE, ids="-".join)
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("channels", [2, 9, 48])
def test_full_scale_products_of_a_conv_do_not_saturate(
    monkeypatch: pytest.MonkeyPatch, kernels: IntegerKernels, channels: int, depthwise: bool
) -> None:
    use(monkeypatch, kernels)
    random = np.random.default_rng(channels)
    shape = (channels, 3, 3, 1) if depthwise else (21, 3, 3, channels)
    weights = random.choice(np.array([-128, 127], np.int8), shape)
    weights[0] = 127
    x = random.choice(np.array([-128, 127], np.int8), (1, 5, 5, channels))
    x[0, :3] = 127
    layout = "HWCN" if depthwise else "NHWC"
    bias = np.zeros(shape[0], np.int32)
    model = conv_model(weights, bias, layout=layout, size=5, exponents=(-7, -7, -1), depthwise=depthwise)
    seen = patches(x, 3, 1, 1)
    flat = weights.reshape(shape[0], -1).astype(np.int64)
    sums = np.einsum("ijtc,ct->ijc", seen.reshape(5, 5, 9, channels), flat) if depthwise else seen @ flat.T
    reference = ExactReference(model, "c", threads=1, integer=True)
    assert {proof.path for proof in reference.proofs} == {"integer"}
    assert np.array_equal(reference.run({"x": x})["y"][0], np.clip(shifted(sums, 13, "half_up"), -128, 127))


def test_every_machine_finds_some_integer_kernels_or_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_dense_is_exact", lambda _kind: False)
    model = gemm_model(np.full((3, 40), 127, np.int8), np.zeros(3, np.int32), exponents=(-7, -7, -1))
    reference = ExactReference(model, "c", threads=1, integer=True)
    assert {proof.path for proof in reference.proofs} == {"float32"}
