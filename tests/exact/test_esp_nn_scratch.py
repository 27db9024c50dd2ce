"""What ESP-NN asks of the arena: against what its own size functions returned, and what boards printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.errors import ConfigError
from esp_hil.exact.esp_nn import EspNnCall
from esp_hil.exact.esp_nn_scratch import scratch_bytes, scratch_of
from esp_hil.formats.tflite import read_tflite
from tests.exact.test_esp_nn import recorded

OLD, TILED, NEW = (1, 1, 2), (1, 2, 2), (1, 2, 3)


def test_every_recorded_size_is_that_of_the_formula(shared: Path) -> None:
    seen = 0
    for case, layer, _ in recorded(shared):
        if layer.kernel in {"conv", "depthwise", "softmax"}:
            assert scratch_bytes(layer, "esp32s3", NEW) == case["scratch_bytes"], case["file"]
            seen += 1
    assert seen >= 45


def test_a_layer_of_person_detection_asks_for_what_its_users_met() -> None:
    layer = EspNnCall(
        kernel="depthwise",
        in_w=48,
        in_h=48,
        in_c=16,
        f_w=3,
        f_h=3,
        out_w=24,
        out_h=24,
        out_c=16,
        stride_w=2,
        stride_h=2,
    )
    for version in (OLD, TILED, NEW):
        assert scratch_bytes(layer, "esp32s3", version) == 40_160
    assert scratch_bytes(layer, "esp32", NEW) == 0


@pytest.mark.parametrize(("channels", "live", "requested"), [(32, 3_632, 19_440), (30, 3_008, 17_840)])
def test_wake_words_ask_for_what_boards_printed(channels: int, live: int, requested: int) -> None:
    """esphome#7242: "Requested: 19440" and "17840", the whole head, of which `live` are activations."""
    layer = EspNnCall(
        kernel="conv",
        in_w=1,
        in_h=5,
        in_c=40,
        f_w=1,
        f_h=5,
        f_c=40,
        out_w=1,
        out_h=1,
        out_c=channels,
        stride_h=3,
    )
    assert live + -(-scratch_bytes(layer, "esp32s3", TILED) // 16) * 16 == requested
    assert scratch_bytes(layer, "esp32s3", NEW) == scratch_bytes(layer, "esp32s3", TILED) + 32
    assert scratch_bytes(layer, "esp32s3", OLD) < scratch_bytes(layer, "esp32s3", TILED) / 2


def test_a_model_is_asked_operator_by_operator_and_tflm_s_own_kernels_need_none(shared: Path) -> None:
    model = read_tflite(shared / "cases" / "arena_largest_block" / "conv_arena_200k.tflite")
    assert scratch_of(model, "esp32s3", "off") == ()
    assert scratch_of(model, "esp32c3") == ()
    assert [layer.label for layer in scratch_of(model, "esp32s3")]
    with pytest.raises(ConfigError, match="not a version"):
        scratch_of(model, "esp32s3", "newest")
