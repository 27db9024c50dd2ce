"""TFLM's operators by ESP-NN's instructions; chips with one figure, or none, by what is nearest."""

from __future__ import annotations

import pytest

from esp_hil.exact.esp_nn import EspNnCall
from esp_hil.models import catalogue
from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.results.timing.esp_nn_cost import call_instructions
from esp_hil.results.timing.forecast import Forecast, forecast
from esp_hil.results.timing.published import published
from esp_hil.targets import target


def cat_or_not() -> DeviceFile:
    return open_device_file(catalogue.load("cat_or_not").artifact("int8", "tflm"))


def on(chip: str, kernels: str = "esp-nn") -> Forecast:
    return forecast(cat_or_not(), target(chip), kernels=kernels)


def per_mac(chip: str, *, channels: int, taps: int = 1, depthwise: bool = False) -> float:
    call = EspNnCall(
        kernel="depthwise" if depthwise else "conv",
        in_w=16,
        in_h=16,
        in_c=channels,
        f_c=1 if depthwise else channels,
        f_w=taps,
        f_h=taps,
        out_w=16,
        out_h=16,
        out_c=channels,
    )
    return call_instructions(call, chip) / (16 * 16 * channels * taps * taps * (1 if depthwise else channels))


@pytest.mark.parametrize(
    ("chip", "channels", "taps", "depthwise", "executed"),
    [
        ("esp32s3", 16, 1, False, 1.77),
        ("esp32s3", 64, 1, False, 0.61),
        ("esp32s3", 128, 1, False, 0.41),
        ("esp32s3", 16, 3, False, 1.01),
        ("esp32s3", 64, 3, False, 0.39),
        ("esp32s3", 3, 3, False, 0.63),
        ("esp32s3", 3, 5, False, 0.31),
        ("esp32s3", 32, 3, True, 4.01),
        ("esp32s3", 32, 5, True, 2.5),
        ("esp32p4", 16, 1, False, 0.81),
        ("esp32p4", 128, 1, False, 0.32),
        ("esp32p4", 32, 3, False, 0.23),
        ("esp32p4", 16, 3, True, 0.50),
    ],
)
def test_a_multiply_accumulate_takes_what_was_executed(
    chip: str, channels: int, taps: int, depthwise: bool, executed: float
) -> None:
    assert per_mac(chip, channels=channels, taps=taps, depthwise=depthwise) == pytest.approx(
        executed, rel=0.15
    )


def test_the_time_is_that_of_the_published_figures_and_divides_by_instructions() -> None:
    vector, plain = on("esp32s3"), on("esp32s3", "portable")
    assert vector.instructions > 0
    assert plain.instructions == 0
    first, second = (node for node in vector.nodes if node.op == "CONV_2D")
    assert first.ms / second.ms == pytest.approx(first.instructions / second.instructions)
    slow_first, slow_second = (node for node in plain.nodes if node.op == "CONV_2D")
    assert first.ms / second.ms > 1.5 * slow_first.ms / slow_second.ms, (
        "one input channel leaves vectors empty"
    )


def test_a_chip_with_one_figure_is_predicted_by_it_and_says_so() -> None:
    (row,) = (r for r in published() if r.target == "esp32c3" and r.kernels == "esp-nn")
    found = on("esp32c3")
    macs = sum(node.ms for node in found.nodes if node.op != "MAX_POOL_2D")
    assert macs == pytest.approx(row.cycles_per_mac * 5_316_608 / 160e3, rel=0.02)
    assert found.high_ms / found.low_ms > 6
    assert "1 network of TFLM is published for esp32c3" in found.reasons[0]


def test_a_chip_without_figures_takes_those_of_its_kind() -> None:
    assert on("esp32c6").ms > 3 * on("esp32s31").ms
    assert "without vectors serve" in on("esp32c6").reasons[0]
    assert "with vectors serve" in on("esp32s31").reasons[0]
