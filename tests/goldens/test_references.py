from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from esp_hil.errors import GoldenError, InputError, QuantizeError
from esp_hil.goldens.references import (
    DeviceFileReference,
    FloatReference,
    QuantizedReference,
    Reference,
    ReferenceOutput,
    row_digests,
    write_answers,
)
from esp_hil.models import catalogue
from esp_hil.models.catalogue import Model
from esp_hil.models.device_file import open_device_file
from esp_hil.models.manifest import FILE_NAME, file_entry
from esp_hil.targets import FAMILIES, Family
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def mnist() -> Model:
    return catalogue.load("mnist", (ROOT / "golden",))


@pytest.fixture
def copy(tmp_path: Path) -> Model:
    """A copy of the MNIST folder that a test may damage."""
    shutil.copytree(ROOT / "golden" / "mnist", tmp_path / "mnist")
    return catalogue.load("mnist", (tmp_path,))


def inputs(count: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(5)
    return generator.uniform(-0.4, 2.8, (count, 1, 28, 28)).astype(np.float32)


def remake_manifest(model: Model) -> None:
    """Let the manifest agree with the folder again, as a build would."""
    manifest = model.manifest()
    for name in manifest.files:
        manifest.files[name] = file_entry(model.folder / name)  # type: ignore[index]
    manifest.write(model.folder)


def test_the_float_reference_gives_the_same_in_any_batch(mnist: Model) -> None:
    reference, x = FloatReference(mnist), inputs(300)
    whole = reference.run(x)["output"]
    assert whole.exponent is None
    assert whole.values.dtype == np.float32
    assert whole.values.shape == (300, 10)
    singly = np.concatenate([reference.run(x[i : i + 1])["output"].values for i in range(290, 300)])
    np.testing.assert_allclose(whole.values[290:], singly, rtol=1e-4, atol=1e-4)


def test_a_float_model_with_a_fixed_batch_runs_one_by_one(copy: Model) -> None:
    x, free = inputs(3), FloatReference(copy).run(inputs(3))["output"].values
    model = onnx.load(copy.folder / copy.float_file)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, copy.folder / copy.float_file)
    remake_manifest(copy)
    np.testing.assert_allclose(FloatReference(copy).run(x)["output"].values, free, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["float", "quantized", "exact"])
@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 28, 28, 1), np.float32),
        np.zeros((2, 1, 28, 28), np.float64),
        np.zeros((0, 1, 28, 28), np.float32),
    ],
)
def test_every_reference_refuses_inputs_of_another_shape_or_type(
    mnist: Model, kind: str, wrong: NDArray[np.float32]
) -> None:
    references: dict[str, Reference] = {
        "float": FloatReference(mnist),
        "quantized": QuantizedReference(mnist, "w8a8", "c"),
        "exact": DeviceFileReference(mnist, "w8a8", "c"),
    }
    assert references[kind].name == kind
    with pytest.raises(InputError, match="for input 'input'") as caught:
        references[kind].run(wrong)
    assert "(N, 1, 28, 28)" in caught.value.hint


@pytest.mark.parametrize("family", FAMILIES)
def test_exact_is_what_the_quantizer_believed_on_every_golden_input(mnist: Model, family: Family) -> None:
    golden = mnist.golden()
    exact = DeviceFileReference(mnist, "w8a8", family).run(golden.inputs)["output"]
    quantized = QuantizedReference(mnist, "w8a8", family).run(golden.inputs)["output"]
    assert exact.values.dtype == np.int8
    assert exact.exponent == quantized.exponent
    assert np.array_equal(exact.values, quantized.values)


def test_exact_and_float_answer_nearly_alike_in_real_values(mnist: Model) -> None:
    golden = mnist.golden(limit=30)
    exact = DeviceFileReference(mnist, "w8a8", "esp32p4").run(golden.inputs)["output"].real()
    floats = FloatReference(mnist).run(golden.inputs)["output"].real()
    assert np.corrcoef(exact.ravel(), floats.ravel())[0, 1] > 0.99
    assert np.abs(exact - floats).max() < 1.0


def test_stored_answers_are_found_by_input_in_any_order(mnist: Model) -> None:
    golden = mnist.golden()
    reference = QuantizedReference(mnist, "w8a8", "esp32s3")
    forward = reference.run(golden.inputs)["output"].values
    assert np.array_equal(reference.run(golden.inputs[::-1])["output"].values, forward[::-1])
    assert np.array_equal(reference.run(golden.inputs[7:8])["output"].values, forward[7:8])


def test_an_input_that_was_never_stored_is_not_answered_from_the_store(
    mnist: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_CACHE", str(tmp_path))
    reference = QuantizedReference(mnist, "w8a8", "c")
    changed = mnist.golden(limit=2).inputs.copy()
    changed[1, 0, 14, 14] += 0.5
    assert reference.stored(changed) is None
    with pytest.raises(QuantizeError):
        reference.run(changed)


def test_stored_answers_that_were_changed_are_refused(copy: Model) -> None:
    path = copy.folder / copy.golden_inputs.answers
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(GoldenError, match="is not the file that was made"):
        QuantizedReference(copy, "w8a8", "c").stored(copy.golden().inputs)


def test_a_wrong_stored_answer_shows_as_a_difference(copy: Model) -> None:
    golden, tensors = copy.golden(limit=4), {}
    for family in FAMILIES:
        file = open_device_file(copy.artifact("w8a8", family))
        assert set(copy.device_outputs(file)) == {"output"}
        stored = QuantizedReference(copy, "w8a8", family).run(golden.inputs)["output"].values.copy()
        stored[2, 3] += 1
        tensors["w8a8", family] = {"output": stored}
    write_answers(copy.folder / copy.golden_inputs.answers, golden.inputs, tensors)
    remake_manifest(copy)
    believed = QuantizedReference(copy, "w8a8", "esp32p4").run(golden.inputs)["output"].values
    exact = DeviceFileReference(copy, "w8a8", "esp32p4").run(golden.inputs)["output"].values
    assert np.argwhere(believed != exact).tolist() == [[2, 3]]


def test_answers_of_a_recipe_that_is_not_stored_are_an_error(copy: Model) -> None:
    golden = copy.golden(limit=2)
    write_answers(copy.folder / copy.golden_inputs.answers, golden.inputs, {})
    remake_manifest(copy)
    with pytest.raises(GoldenError, match="has no w8a8/c/output") as caught:
        QuantizedReference(copy, "w8a8", "c").run(golden.inputs)
    assert "hil golden build mnist" in caught.value.hint


def test_a_float_model_that_does_not_fit_model_toml_is_an_error(copy: Model) -> None:
    model = onnx.load(copy.folder / copy.float_file)
    model.graph.input[0].name = "image"
    model.graph.node[0].input[0] = "image"
    onnx.save(model, copy.folder / copy.float_file)
    remake_manifest(copy)
    with pytest.raises(GoldenError, match=r"model\.toml has input"):
        FloatReference(copy)
    (copy.folder / copy.float_file).write_bytes(b"no onnx")
    remake_manifest(copy)
    with pytest.raises(GoldenError, match="onnxruntime cannot load it"):
        FloatReference(copy)


def test_integers_are_given_their_real_value() -> None:
    answer = ReferenceOutput(values=np.array([[-128, 3, 127]], np.int8), exponent=-4)
    assert answer.real().tolist() == [[-8.0, 0.1875, 7.9375]]
    assert ReferenceOutput(values=np.array([[1.5]], np.float32), exponent=None).real().tolist() == [[1.5]]


def test_digests_of_rows_depend_on_values_alone() -> None:
    x = inputs(3)
    assert np.array_equal(row_digests(x), row_digests(np.asfortranarray(x)))
    assert len(np.unique(row_digests(x), axis=0)) == 3
    assert (ROOT / "golden" / "mnist" / FILE_NAME).is_file()
