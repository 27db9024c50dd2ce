from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esp_hil.errors import FormatError
from esp_hil.exact.tflite import labels
from esp_hil.formats.tflite import read_tflite
from esp_hil.models import catalogue
from esp_hil.models.device_file import open_device_file
from esp_hil.tensors import Affine
from tests.conftest import ROOT

FASHION = ROOT / "golden" / "fashion" / "int8" / "tflm.tflite"
IMAGE = FASHION.read_bytes()


def test_a_file_is_read_as_its_converter_wrote_it() -> None:
    model = read_tflite(FASHION)
    assert model.version == 3
    assert [operator.name for operator in model.operators] == [
        "CONV_2D", "MAX_POOL_2D", "CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX",
    ]  # fmt: skip
    (given,), (made,) = model.input_tensors, model.output_tensors
    assert (given.name, given.dtype, given.shape) == ("input", "int8", (1, 28, 28, 1))
    assert made.affine == Affine(scale=1 / 256, zero_point=-128)
    filters = model.tensors[model.operators[0].inputs[1]]
    assert (filters.shape, len(filters.scales), filters.axis) == ((6, 3, 3, 1), 6, 0)


def test_parameters_and_multiply_accumulates_are_those_of_the_catalogue() -> None:
    expected = catalogue.load("fashion", (ROOT / "golden",)).expected
    model = read_tflite(FASHION)
    assert (model.weights(), model.macs()) == (expected.parameters, expected.macs) == (7_660, 82_968)


def test_a_device_file_is_told_by_its_first_bytes() -> None:
    file = open_device_file(FASHION)
    assert file.runtime == "tflm"
    assert file.inputs[0].exponent is None
    assert file.inputs[0].affine is not None
    assert open_device_file(ROOT / "golden" / "fashion" / "w8a8" / "c.espdl").runtime == "espdl"


def test_any_truncation_is_a_format_error() -> None:
    for length in range(0, len(IMAGE) - 1, 7):
        with pytest.raises(FormatError):
            read_tflite(IMAGE[:length])


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(IMAGE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_file_is_read_or_refused_but_nothing_else(changes: list[tuple[int, int]]) -> None:
    data = bytearray(IMAGE)
    for at, value in changes:
        data[at] = value
    try:
        model = read_tflite(bytes(data))
    except FormatError:
        return
    for operator in model.operators:
        assert all(-1 <= index < len(model.tensors) for index in operator.inputs + operator.outputs)


def test_a_constant_of_the_wrong_length_is_refused(tmp_path: Path) -> None:
    shape = np.array([6, 3, 3, 1], "<i4").tobytes()
    at = IMAGE.index(shape)
    changed = IMAGE[:at] + np.array([6, 3, 3, 2], "<i4").tobytes() + IMAGE[at + len(shape) :]
    path = tmp_path / "x.tflite"
    path.write_bytes(changed)
    with pytest.raises(FormatError, match=r"int8 \[6, 3, 3, 2\] has 54 bytes"):
        read_tflite(path)


def test_tensors_without_a_name_of_their_own_go_by_number() -> None:
    model = read_tflite(FASHION)
    assert labels(model)[model.inputs[0]] == "input"
    # both names have eight characters less than the longest, so that one can be written over the other
    twice = IMAGE.replace(b"/relu2/Relu_output_0", b"/relu1/Relu_output_0")
    names = labels(read_tflite(twice))
    assert "/relu1/Relu_output_0" not in names
    assert sum(name.startswith("#") for name in names) == 2
    assert len(set(names)) == len(names)
