"""onnxruntime's integer kernels: which this machine may use, and that those are exact at full scale."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.exact import ExactReference, probe
from esp_hil.exact.integer import _kind
from esp_hil.exact.lowering import OFFSET, POSITIVE, Form, Lowering
from esp_hil.exact.probe import IntegerKernels
from esp_hil.formats.espdl import read_espdl
from esp_hil.targets import Family, rounding_of
from tests.exact.literal import conv_model, gemm_model, packed, patches, shifted
from tests.formats.espdl.writer import edl, graph, node, tensor, value

KINDS: tuple[probe.WeightType, ...] = ("int8", "uint8")
EXACT_HERE = [
    IntegerKernels(dense, depthwise, narrow)
    for dense, depthwise, narrow in product(KINDS, KINDS, KINDS)
    if probe._dense_is_exact(dense)
    and probe._depthwise_is_exact(depthwise)
    and probe._narrow_is_exact(narrow)
]


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    probe.available.cache_clear()
    yield
    probe.available.cache_clear()


def use(monkeypatch: pytest.MonkeyPatch, kernels: IntegerKernels) -> None:
    monkeypatch.setattr(probe, "_dense_is_exact", lambda kind: kind == kernels.dense)
    monkeypatch.setattr(probe, "_depthwise_is_exact", lambda kind: kind == kernels.depthwise)
    monkeypatch.setattr(probe, "_narrow_is_exact", lambda kind: kind == kernels.narrow)


def test_processors_whose_signed_kernels_saturate_are_given_unsigned_filters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, IntegerKernels("uint8", "int8", "int8"))
    assert probe.available() == ("uint8", "int8", "int8")


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


SATURATING = IntegerKernels("uint8", "int8", "int8")
"""Of a processor that adds two products in 16 bits, and saturates."""


@pytest.mark.parametrize(
    ("form", "two", "kind"),
    [
        (POSITIVE, (127, 127), "int8"),
        (POSITIVE, (-128, -128), "int8"),
        (OFFSET, (64, 64), "int8"),
        (OFFSET, (64, 65), "uint8"),
        (OFFSET, (-64, -64), "int8"),
        (OFFSET, (-64, -65), "uint8"),
        (OFFSET, (127, -128), "int8"),  # of opposite signs: they never leave 16 bits together
    ],
)
def test_filters_are_signed_where_no_two_products_can_leave_16_bits_together(
    form: Form, two: tuple[int, int], kind: str
) -> None:
    model = gemm_model(np.zeros((3, 9), np.int8), np.zeros(3, np.int32))
    lowering = Lowering(model.graph, "c", batched=False, integer=SATURATING)
    weights = np.zeros((3, 9), np.int8)
    weights[1, [2, 7]] = two
    assert _kind(lowering, weights, form) == kind


@pytest.mark.parametrize("kernels", EXACT_HERE, ids="-".join)
@pytest.mark.parametrize("family", ["c", "esp32p4"])
def test_full_scale_weights_of_a_layer_after_a_relu_do_not_saturate(
    monkeypatch: pytest.MonkeyPatch, kernels: IntegerKernels, family: Family
) -> None:
    use(monkeypatch, kernels)
    layout = "NHWC" if family == "c" else "(N/16)HWC16_UNALIGNED"
    random = np.random.default_rng(3)
    weights = random.choice(np.array([-128, 127], np.int8), (17, 40))
    weights[0], weights[1] = 127, -128
    layers = {"r": (np.eye(40, dtype=np.int8) * 64, -6), "y": (weights, -7)}
    written = graph(
        [
            node("Gemm", ("x", "w_r"), ("r",), activation="Relu"),
            node("Gemm", ("r", "w_y"), ("y",), activation="Linear"),
        ],
        (value("x", (1, 40), -7), value("r", (1, 40), -7), value("y", (1, 17), -1)),
        initializers=[
            tensor(f"w_{name}", packed(w, layout), exponents=(e,), layout=layout, shape=(1, 1, 40, len(w)))
            for name, (w, e) in layers.items()
        ],
    )
    x = random.choice(np.array([-128, 127], np.int8), (6, 40))
    x[0] = 127
    reference = ExactReference(read_espdl(edl(written)), family, threads=1, integer=True)
    assert {proof.path for proof in reference.proofs} == {"integer"}
    sums = np.maximum(x, 0).astype(np.int64) @ weights.T.astype(np.int64)
    wanted = np.clip(shifted(sums, 13, rounding_of(family)), -128, 127)
    assert np.array_equal(reference.run_batch({"x": x})["y"], wanted)


def test_every_machine_finds_some_integer_kernels_or_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_dense_is_exact", lambda _kind: False)
    model = gemm_model(np.full((3, 40), 127, np.int8), np.zeros(3, np.int32), exponents=(-7, -7, -1))
    reference = ExactReference(model, "c", threads=1, integer=True)
    assert {proof.path for proof in reference.proofs} == {"float32"}
