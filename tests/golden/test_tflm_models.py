"""The committed models for TFLM: what they are, what they answer, and that they can be made again."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from esp_hil.formats.tflite import TfliteModel
from esp_hil.goldens.ai_edge import quantize_tflite
from esp_hil.goldens.build import calibration_images
from esp_hil.goldens.references import DeviceFileReference, FloatReference, quantized_reference
from esp_hil.models import catalogue
from esp_hil.models.catalogue import Model
from esp_hil.models.dataset import load_split
from esp_hil.models.device_file import open_device_file
from esp_hil.npz import read_npz
from esp_hil.verdict.verdict import Accuracy, judge
from tests.conftest import ROOT
from tests.formats.tflite.networks import needs_tflm

CASES = [("cat_or_not", "int8"), ("fashion", "int8"), ("fashion", "int8_float_io")]


def load(name: str) -> Model:
    return catalogue.load(name, (ROOT / "golden",))


@pytest.mark.parametrize(("name", "parameters"), [("cat_or_not", 12_993), ("fashion", 7_660)])
def test_the_float_model_has_the_parameters_of_the_architecture(name: str, parameters: int) -> None:
    model = load(name)
    initializers = onnx.load(model.float_path).graph.initializer
    assert sum(numpy_helper.to_array(tensor).size for tensor in initializers) == parameters
    assert model.expected.parameters == parameters


@pytest.mark.parametrize(("name", "recipe"), CASES)
def test_the_device_file_has_the_same_work_and_the_declared_ends(name: str, recipe: str) -> None:
    model = load(name)
    file = open_device_file(model.artifact(recipe, "tflm"))
    assert isinstance(file.content, TfliteModel)
    assert (file.content.weights(), file.content.macs()) == (model.expected.parameters, model.expected.macs)
    kind = "float32" if model.recipe(recipe).io == "float32" else "int8"
    assert {tensor.dtype for tensor in (*file.inputs, *file.outputs)} == {kind}


@pytest.mark.parametrize("name", ["cat_or_not", "fashion"])
def test_every_pixel_has_an_integer_of_its_own(name: str) -> None:
    model = load(name)
    tensor = model.device_input(open_device_file(model.artifact("int8", "tflm")))
    ramp = np.resize(np.arange(256, dtype=np.uint8), model.input.image_shape)
    integers = tensor.to_device(model.input.preprocess(ramp[None]), "half_up")
    assert np.abs(integers.astype(int).reshape(ramp.shape) - (ramp.astype(int) - 128)).max() <= 1


@needs_tflm
@pytest.mark.parametrize(("name", "recipe"), CASES)
def test_the_goldens_keep_the_thresholds_of_model_toml(name: str, recipe: str) -> None:
    model = load(name)
    golden = model.golden()
    assert golden.labels is not None
    exact = DeviceFileReference(model, recipe, "tflm").run(golden.inputs)
    quantized = quantized_reference(model, recipe, "tflm").run(golden.inputs)
    file = open_device_file(model.artifact(recipe, "tflm"))
    floats = FloatReference(model, model.device_outputs(file)).run(golden.inputs)
    verdict = judge(
        {name: answer.values for name, answer in exact.items()},
        {name: answer.values for name, answer in exact.items()},
        {name: answer.values for name, answer in quantized.items()},
        {name: answer.values for name, answer in floats.items()},
        labels=golden.labels,
        exponents={name: answer.meaning for name, answer in exact.items() if answer.meaning},
        decide=model.postprocess.classes,
        classes=model.output,
    )
    assert verdict.worst_quantized_lsb <= model.tolerance.exact_vs_quantized_lsb
    assert verdict.accuracies["device"].share >= model.thresholds.accuracy
    assert verdict.agreements["device/float"].share >= model.thresholds.top1_agreement
    (price,) = (output.quantized_vs_float for output in verdict.outputs)
    assert price is not None
    assert price.cosine >= model.thresholds.cosine


@needs_tflm
@pytest.mark.parametrize(("name", "recipe"), CASES)
def test_the_device_file_is_made_again_byte_for_byte(
    name: str, recipe: str, shared: Path, tmp_path: Path
) -> None:
    model = load(name)
    split = load_split(shared / "data" / model.data.file, "train", enlarge=model.data.enlarge)
    images = model.input.preprocess(calibration_images(split, model.recipe(recipe)))
    made = tmp_path / "made.tflite"
    quantize_tflite(model.float_path, model.recipe(recipe), images, tflite=made)
    assert made.read_bytes() == model.artifact(recipe, "tflm").read_bytes()


@needs_tflm
@pytest.mark.parametrize(("name", "recipe"), CASES)
def test_quantization_costs_little_on_real_images(name: str, recipe: str, shared: Path) -> None:
    model = load(name)
    split = load_split(shared / "data" / model.data.file, "test", enlarge=model.data.enlarge)
    images, labels = split.images[:400], split.labels[:400]
    inputs, decide = model.input.preprocess(images), model.postprocess.classes
    shares = [
        Accuracy(correct=int((decide(answers) == labels).sum()), total=len(labels))
        for answers in (
            FloatReference(model).run(inputs)[model.output].real(),
            DeviceFileReference(model, recipe, "tflm").run(inputs)[model.output].real(),
        )
    ]
    assert abs(shares[0].share - shares[1].share) < 0.02
    low, high = shares[0].interval
    assert low <= model.expected.test_top1 <= high


@pytest.mark.parametrize(("name", "package"), [("fashion", "numpy"), ("cat_or_not", "skimage")])
def test_the_goldens_are_made_again_from_installable_packages(
    name: str, package: str, tmp_path: Path
) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}: pip install 'esp-hil[quantize]'")
    model, made = load(name), tmp_path / "inputs.npz"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(model.folder / "goldens.py"), "--out", str(made)]
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=120)
    again, committed = read_npz(made), read_npz(model.folder / model.golden_inputs.inputs)
    assert again.keys() == committed.keys()
    for key, values in committed.items():
        np.testing.assert_array_equal(again[key], values)
