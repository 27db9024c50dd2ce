"""What TFLM runs without ESP-NN: counted by its own loops, at the reference kernels' rate, with a wide band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from esp_hil.errors import UnsupportedOperator
from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.results.timing.forecast import forecast
from esp_hil.results.timing.work import total_macs, work_of
from esp_hil.targets import target
from tests.formats.tflite.graphs import Graphs

S3 = target("esp32s3")
UNIT = (1.0, 0)


def one(
    name: str, inputs: Sequence[tuple[tuple[int, ...], bool]], made: tuple[int, ...], kind: str = "INT8"
) -> DeviceFile:
    """A model of one operator: its inputs as (shape, constant)."""
    file = Graphs()
    graph = file.graph()
    dtype = np.int8 if kind == "INT8" else np.float32
    numbers = [
        graph.tensor(
            f"t{at}",
            shape,
            kind,
            np.zeros(shape, dtype) if constant else None,
            UNIT,
        )
        for at, (shape, constant) in enumerate(inputs)
    ]
    out = graph.tensor("y", made, kind, None, UNIT)
    graph.operator(name, numbers, [out])
    graph.graph.inputs = [
        number for number, (_, constant) in zip(numbers, inputs, strict=True) if not constant
    ]
    graph.graph.outputs = [out]
    return open_device_file(file.image())


CASES = {
    "BATCH_MATMUL": (one("BATCH_MATMUL", [((1, 6, 20), False), ((1, 20, 9), False)], (1, 6, 9)), 6 * 9 * 20),
    "SVDF": (one("SVDF", [((1, 40), False), ((16, 40), True), ((16, 8), True)], (1, 16)), 16 * 40 + 16 * 8),
    "TRANSPOSE_CONV": (
        one("TRANSPOSE_CONV", [((4,), True), ((8, 3, 3, 4), True), ((1, 5, 5, 4), False)], (1, 10, 10, 8)),
        5 * 5 * 4 * 8 * 9,
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (
        one(
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
            [((1, 7, 12), False), *[((16, 12), True)] * 4, *[((16, 16), True)] * 4],
            (1, 7, 16),
        ),
        7 * 4 * 16 * (12 + 16),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_its_multiply_accumulates_are_those_of_its_loops_and_the_band_says_that_nothing_is_published(
    name: str,
) -> None:
    file, macs = CASES[name]
    assert total_macs(work_of(file)) == macs
    found = forecast(file, S3)
    assert found.high_ms / found.low_ms > 6
    assert any(name in reason and "reference kernel" in reason for reason in found.reasons)
    assert found.ms == pytest.approx(forecast(file, S3, kernels="portable").ms)


def test_floats_take_the_rate_of_reference_kernels_not_of_vectors() -> None:
    shapes = [((1, 64), False), ((32, 64), True), ((32,), True)]
    narrow = forecast(one("FULLY_CONNECTED", shapes, (1, 32)), S3)
    wide = forecast(one("FULLY_CONNECTED", shapes, (1, 32), kind="FLOAT32"), S3)
    assert wide.ms > 5 * narrow.ms
    assert "in floats" in wide.reasons[-1]


def test_a_model_of_nothing_that_is_published_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedOperator, match="no published figure tells of CUMSUM"):
        forecast(one("CUMSUM", [((1, 8), False), ((1,), True)], (1, 8)), S3)
