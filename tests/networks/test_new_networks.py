"""A sample of `tox run -e proof-networks`: networks nobody prepared, from their file to a verdict."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.networks.prove import KINDS, MAKERS, prove

needs_quantizer = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "esp_ppq")),
    reason="esp-ppq and torch are not installed: pip install 'esp-hil[quantize]'",
)


@needs_quantizer
@pytest.mark.quantize
@pytest.mark.parametrize("name", ["fusion", "qkv", "streaming"])
def test_an_onnx_of_torch_reaches_a_verdict_that_is_exact(tmp_path: Path, name: str) -> None:
    """Two inputs, a transformer, a cache: device == exact, exact ~ quantizer, on both chips."""
    assert [line for row in prove(name, tmp_path) for line in row.wrong] == []


@pytest.mark.parametrize("name", ["wake_word", "recurrent"])
def test_a_tflite_that_exists_as_nothing_else_reaches_a_verdict(tmp_path: Path, name: str) -> None:
    for package in ("tflite_micro", "ai_edge_litert"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'esp-hil[tflm]'")
    (row, *_) = prove(name, tmp_path, chips=("esp32s3",))
    assert row.wrong == ()


def test_the_proof_has_fourteen_networks_or_more_of_all_kinds() -> None:
    assert len(MAKERS) >= 14
    assert set(KINDS) == set(MAKERS)
    assert {
        "fusion",
        "two_heads",
        "cached",
        "unet",
        "transformer",
        "lstm",
        "detector",
        "wake_word",
        "actor",
    } <= set(MAKERS)
