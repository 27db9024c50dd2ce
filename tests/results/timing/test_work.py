"""MACs and bytes of layers, against the definitions written out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.models import catalogue
from esp_hil.models.device_file import open_device_file
from esp_hil.results.timing.work import LayerWork, total_bytes, total_macs, work_of
from esp_hil.targets import FAMILIES, Family


def mnist(family: Family) -> tuple[LayerWork, ...]:
    return work_of(open_device_file(catalogue.load("mnist").artifact("w8a8", family)))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_macs_of_mnist_are_those_of_its_layers(family: Family) -> None:
    layers = mnist(family)
    weighted = {layer.name: layer.macs for layer in layers if layer.macs}
    assert list(weighted.values()) == [
        28 * 28 * 32 * 3 * 3 * 1,
        14 * 14 * 64 * 3 * 3 * 32,
        3136 * 128,
        128 * 10,
    ]
    assert total_macs(layers) == catalogue.load("mnist").expected.macs


def test_a_layer_moves_its_weights_and_both_its_activations() -> None:
    conv, pool = mnist("c")[:2]
    assert (conv.operator, pool.operator) == ("Conv", "MaxPool")
    assert conv.parameter_bytes == 3 * 3 * 32 + 4 * 32  # int8 filter, int32 bias
    assert conv.activation_bytes == 28 * 28 * (1 + 32)
    assert (pool.macs, pool.parameter_bytes, pool.activation_bytes) == (0, 0, (28 * 28 + 14 * 14) * 32)
    assert {layer.bits for layer in mnist("c")} == {8}


def test_a_layer_that_only_renames_moves_nothing() -> None:
    renames = [layer for layer in mnist("c") if layer.operator in {"Flatten", "Reshape"}]
    assert renames
    assert all(layer.bytes == 0 for layer in renames)
    assert total_bytes(mnist("c")) == sum(layer.bytes for layer in mnist("c"))


ZOO = {
    "imagenet_cls_mobilenetv2_s8_v1": 300_774_272,
    "human_face_detect_msr_s8_v1": 8_108_568,
    "human_face_detect_mnp_s8_v1": 2_358_512,
    "pedestrian_detect_pico_s8_v1": 67_686_725,
}
"""MACs by counting depthwise and pointwise layers of the published architectures (MobileNetV2: 300.8 M)."""


@pytest.mark.parametrize("name", ZOO)
def test_models_of_the_zoo_have_their_published_work(shared: Path, name: str) -> None:
    for family in ("esp32s3", "esp32p4"):
        layers = work_of(open_device_file(shared / "zoo" / family / f"{name}.espdl"))
        assert total_macs(layers) == ZOO[name]


def test_recurrent_layers_count_every_gate_in_every_step(shared: Path) -> None:
    found = []
    for path in sorted((shared / "zoo" / "ops" / "c").glob("*.espdl")):
        file = open_device_file(path)
        found += [layer for layer in work_of(file) if layer.operator in {"LSTM", "GRU"}]
    if not found:
        pytest.skip("no recurrent operator among the ground truth")
    assert all(layer.macs > 0 for layer in found)


def test_a_tflite_file_has_its_published_work(shared: Path) -> None:
    layers = work_of(open_device_file(shared / "mlperf_tiny" / "kws_ref_model.tflite"))
    assert total_macs(layers) == 2_656_768  # MLPerf Tiny's DS-CNN: 2.7 M
    assert layers[0].name.startswith("0:")
