"""The device's layers meet the graph's: by name, else by order; and memory predicted beside counted."""

from __future__ import annotations

from esp_hil.models import catalogue
from esp_hil.models.device_file import open_device_file
from esp_hil.results.timing.profiling import layers_of, predicted_memory
from esp_hil.results.timing.work import LayerWork
from esp_hil.targets import target
from esp_hil.wire.info import LayerCycles


def work(name: str, operator: str, macs: int = 7) -> LayerWork:
    return LayerWork(name=name, operator=operator, macs=macs, parameter_bytes=3, activation_bytes=5, bits=16)


def cycles(*rows: tuple[str, str, int]) -> tuple[LayerCycles, ...]:
    return tuple(LayerCycles(name=name, type=kind, cycles=count) for name, kind, count in rows)


def test_layers_meet_by_name_whatever_their_order() -> None:
    profile = cycles(("b", "Gemm", 20), ("a", "Conv", 10))
    found = layers_of([profile, profile], [work("a", "Conv", 100), work("b", "Gemm", 200)])
    assert [(layer.name, layer.macs, layer.cycles) for layer in found] == [
        ("b", 200, (20, 20)),
        ("a", 100, (10, 10)),
    ]
    assert (found[0].parameter_bytes, found[0].activation_bytes, found[0].bits) == (3, 5, 16)


def test_layers_of_other_names_meet_by_order_if_all_types_agree() -> None:
    profile = cycles(("CONV_2D", "CONV_2D", 10), ("SOFTMAX", "SOFTMAX", 1))
    found = layers_of([profile], [work("0:CONV_2D", "CONV_2D"), work("1:SOFTMAX", "SOFTMAX", 0)])
    assert [layer.macs for layer in found] == [7, 0]


def test_layers_that_do_not_meet_have_no_work() -> None:
    profile = cycles(("x", "Conv", 10), ("y", "Relu", 1))
    found = layers_of([profile], [work("a", "Conv"), work("b", "Conv")])
    assert [layer.macs for layer in found] == [None, None]
    assert layers_of([], [work("a", "Conv")]) == ()


def test_memory_is_predicted_under_the_names_of_the_device_s_counters() -> None:
    file = open_device_file(catalogue.load("mnist").artifact("w8a8", "esp32s3"))
    chip = target("esp32s3")
    outside = predicted_memory(file, chip, psram_bytes=8 << 20)
    assert outside["arena_bytes"] == outside["arena_psram_bytes"]
    assert outside["arena_internal_bytes"] == (0, "bytes")
    assert outside["parameters_copied_psram_bytes"][0] > 420_000
    inside = predicted_memory(file, chip, psram_bytes=0)
    assert inside["arena_bytes"] == inside["arena_internal_bytes"]
    # the biases, which esp32s3 packs; its weights stay in flash
    assert inside["parameters_copied_internal_bytes"][0] < 2_000
