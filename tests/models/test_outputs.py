"""[[inputs]] and [[outputs]] of model.toml, and goldens by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.errors import ConfigError, GoldenError, InputError
from esp_hil.models.golden_set import GoldenSet, read_golden
from esp_hil.models.model_toml import ModelSpec, parse
from esp_hil.tensors import DeviceTensor, InputSpec

LONG = """
title = "net"
runtime = "espdl"
golden.inputs = "inputs.npz"
recipes.given = {title = "as it came", targets = ["c"]}

[[inputs]]
name = "x"
dtype = "int8"
shape = [4]

[[inputs]]
name = "image"
dtype = "uint8"
layout = "NCHW"
shape = [3, 2, 2]
scale = 0.5
mean = [0, 0, 1]
std = [1, 1, 2]

[[outputs]]
name = "kind"
meaning = "scores"
labels = ["a", "b"]

[[outputs]]
name = "where"
meaning = "values"
tolerance = 0.5
unit = "mm"
against_expected = {within = 0.9, rmse = 0.1}
"""


def spec_of(folder: Path, text: str) -> ModelSpec:
    folder.mkdir(exist_ok=True)
    (folder / "model.toml").write_text(text, encoding="utf-8")
    return parse(folder / "model.toml")


def test_the_long_form_needs_nothing_that_is_not_there(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, LONG)
    x, image = spec.inputs
    assert (x.raw, x.image, image.raw, image.image) == (True, False, False, True)
    assert image.image_shape == (2, 2, 3)
    assert (spec.float_file, spec.data.file, spec.golden_inputs.answers) == ("", "", "")
    assert spec.recipes["given"].given
    assert spec.output == "kind"
    assert spec.labels == ("a", "b")
    assert spec.output_spec("where").limits == {("expected", "within"): 0.9, ("expected", "rmse"): 0.1}
    assert spec.output_spec("another").meaning == "raw"


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ('name = "image"', 'name = "x"', "inputs has 'x' twice", "one entry"),
        (
            'dtype = "int8"',
            'dtype = "float16"',
            "inputs[0].dtype is 'float16'",
            "int8, uint8, int16, int32, bool",
        ),
        ("shape = [4]", "shape = [0]", "inputs[0].shape is [0]", "positive sizes"),
        ("shape = [4]", "shape = [4]\nmean = [1.0]", "inputs[0].scale is missing", "the integers are raw"),
        ("shape = [4]", "shape = [4]\nscale = 0.5\nmean = [1.0, 2.0]", "have one value each", "only images"),
        ('dtype = "int8"', 'dtype = "bool"\nscale = 2.0', "inputs[0].scale is given for bool", "integers"),
        ("shape = [4]", 'shape = [4]\nstate = "where"', "inputs[0].state is fed", "float32"),
        ('meaning = "values"', 'meaning = "value"', "outputs[1].meaning is 'value'", "values"),
        ('labels = ["a", "b"]', 'unit = "mm"', "outputs[0].unit is for values", "this output is scores"),
        ('labels = ["a", "b"]', 'labels = ["a"]', "outputs[0].labels needs two", "leave it out"),
        (
            "within = 0.9",
            "wihtin = 0.9",
            "against_expected.wihtin is no figure of values",
            "did you mean 'within'?",
        ),
        ("within = 0.9", "within = 90", "against_expected.within is 90", "0 to 1"),
        ("tolerance = 0.5\n", "", "outputs[1].tolerance is missing", "how far off"),
        ("tolerance = 0.5", "tolerance = -1", "outputs[1].tolerance is -1", "positive"),
        ("within = 0.9", "iou = 0.9", "iou is no figure of values", "rmse"),
        ('labels = ["a", "b"]', "against_expected = {cosine = 1}", "cosine is no figure of scores", "top1"),
        ("golden.inputs", 'task = "classification"\ngolden.inputs', "task is not a key", "known here"),
        (
            ', targets = ["c"]}',
            ', targets = ["c"], passes = {tqt = {}}}',
            "passes is for the quantizer",
            "calibration",
        ),
    ],
)
def test_a_mistake_in_the_long_form_is_one_line_with_a_way_out(
    tmp_path: Path, old: str, new: str, message: str, hint: str
) -> None:
    assert old in LONG
    with pytest.raises(ConfigError) as caught:
        spec_of(tmp_path, LONG.replace(old, new, 1))
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message


def test_a_recipe_that_is_calibrated_needs_something_to_quantize(tmp_path: Path) -> None:
    calibrated = (
        '\n[recipes.w8a8]\ntitle = "int8"\nquant_type = "w8a8"\ntargets = ["c"]\n'
        'calibration = {split = "train", count = 10, seed = 0, observer = "minmax"}\n'
    )
    with pytest.raises(ConfigError, match="no float model"):
        spec_of(tmp_path, LONG.replace("recipes.given", "recipes.other") + calibrated)
    with pytest.raises(ConfigError, match="data is missing"):
        spec_of(tmp_path, 'float = "model.onnx"\n' + LONG + calibrated)


def test_a_state_names_an_output(tmp_path: Path) -> None:
    fed = LONG.replace('dtype = "int8"\nshape = [4]', 'dtype = "float32"\nshape = [4]\nstate = "nothing"')
    with pytest.raises(ConfigError, match="state of 'x' is 'nothing'"):
        spec_of(tmp_path, fed)


ARRAYS: dict[str, NDArray[Any]] = {
    "x": np.arange(12, dtype=np.int8).reshape(3, 4),
    "image": np.full((3, 2, 2, 3), 4, np.uint8),
}


def golden(folder: Path, **more: NDArray[Any]) -> GoldenSet:
    spec = spec_of(folder, LONG)
    arrays: Any = {name.replace("__", "/"): array for name, array in (ARRAYS | more).items()}
    np.savez(folder / "inputs.npz", **arrays)
    return read_golden(folder / "inputs.npz", spec.inputs, spec.outputs)


def test_goldens_are_an_array_for_each_input_and_what_is_known(tmp_path: Path) -> None:
    found = golden(
        tmp_path, labels=np.array([0, 1, 0]), expected__where=np.ones((3, 2)), sequence=np.array([7, 7, 8])
    )
    np.testing.assert_array_equal(found.arrays["x"], ARRAYS["x"])
    assert found.arrays["image"].shape == (3, 3, 2, 2)
    np.testing.assert_array_equal(found.arrays["image"][0, :, 0, 0], [2.0, 2.0, 0.5])
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 0]
    assert found.expected["where"].dtype == np.float32
    assert found.starts.tolist() == [True, False, True]
    assert found.ids == ("0", "1", "2")
    assert len(found) == 3
    with pytest.raises(ConfigError, match="2 inputs"):
        _ = found.inputs


def test_each_kind_of_golden_changes_the_digest(tmp_path: Path) -> None:
    plain = golden(tmp_path)
    others = [golden(tmp_path, x=ARRAYS["x"] + 1), golden(tmp_path, sequence=np.arange(3))]
    assert len({plain.sha256, *(one.sha256 for one in others)}) == 3
    assert golden(tmp_path, labels=np.array([0, 1, 0])).sha256 == plain.sha256


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"x": np.zeros((2, 4), np.int8)}, "as many of each input"),
        ({"x": np.zeros((3, 5), np.int8)}, "values of int8 (3, 5) for input 'x'"),
        ({"x": np.zeros((3, 4), np.int16)}, "values of int16"),
        ({"labels": np.array([0, 1])}, "there are 3 inputs"),
        ({"labels": np.array([0, 1, 2])}, "label 2, model.toml names 2 classes"),
        ({"labels": np.array([0.0, 1, 1])}, "not integers"),
        ({"expected__nothing": np.zeros(3)}, "is for no output of the model"),
        ({"sequence": np.zeros(2, np.int64)}, "sequence is [2]"),
        ({"sequence": np.zeros(3)}, "sequence is float64"),
    ],
)
def test_goldens_that_do_not_belong_together_are_one_line(
    tmp_path: Path, more: dict[str, NDArray[Any]], message: str
) -> None:
    with pytest.raises(GoldenError) as caught:
        golden(tmp_path, **more)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, LONG)
    np.savez(tmp_path / "inputs.npz", x=ARRAYS["x"])
    with pytest.raises(GoldenError, match="has no image, only x"):
        read_golden(tmp_path / "inputs.npz", spec.inputs, spec.outputs)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "bool", "float32"])
def test_raw_numbers_of_every_type_reach_the_device_as_they_are(dtype: Any) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    spec = InputSpec(name="x", layout="NCHW", shape=(3,), scale=0.0, mean=(0.0,), std=(1.0,), dtype=dtype)
    for shape in ((1, 3), (3,)):
        tensor = DeviceTensor(
            name="x", dtype=dtype, shape=shape, exponent=None, permutation=tuple(range(len(shape)))
        )
        sent = tensor.to_device(spec.preprocess(values), "half_even")
        np.testing.assert_array_equal(sent, values)
        assert sent.dtype == values.dtype
        assert tensor.item == (3,)


def test_raw_integers_of_another_type_than_the_device_s_are_refused() -> None:
    tensor = DeviceTensor(name="x", dtype="int8", shape=(1, 3), exponent=-4, permutation=(0, 1))
    with pytest.raises(InputError, match="uint8") as caught:
        tensor.to_device(np.zeros((2, 3), np.uint8), "half_even")
    assert "float32 or int8" in caught.value.hint


def test_scaled_integers_become_real_values() -> None:
    spec = InputSpec(
        name="x", layout="NCHW", shape=(2,), scale=1 / 32768, mean=(0.5,), std=(2.0,), dtype="int16"
    )
    floats = spec.preprocess(np.array([[-32768, 16384]], np.int16))
    assert floats.tolist() == [[-0.75, 0.0]]
    assert floats.dtype == np.float32


@pytest.mark.parametrize("shape", [(2, 5), (7,), (3, 4, 2)])
def test_a_shape_without_a_batch_of_one_has_n_before_it(shape: tuple[int, ...]) -> None:
    tensor = DeviceTensor(
        name="x", dtype="int8", shape=shape, exponent=0, permutation=tuple(range(len(shape)))
    )
    values = np.random.default_rng(0).integers(-9, 9, (3, *shape)).astype(np.float32)
    sent = tensor.to_device(values, "half_even")
    assert sent.shape == (3, *shape)
    np.testing.assert_array_equal(tensor.to_float(sent), values)


def test_a_leading_one_may_be_said_or_left_out() -> None:
    tensor = DeviceTensor(name="x", dtype="int8", shape=(1, 2, 3), exponent=0, permutation=(0, 2, 1))
    values = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    np.testing.assert_array_equal(
        tensor.to_device(values[:, np.newaxis], "half_even"), tensor.to_device(values, "half_even")
    )
