"""The committed MNIST model: what a clean clone has is what model.toml promises."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference

from esp_hil.formats.espdl import read_espdl
from esp_hil.goldens.build import build, calibration_images
from esp_hil.goldens.references import DeviceFileReference, FloatReference
from esp_hil.models import catalogue
from esp_hil.models.catalogue import Model
from esp_hil.models.dataset import load_split
from esp_hil.models.device_file import open_device_file
from esp_hil.models.manifest import check_file
from esp_hil.targets import FAMILIES, Family
from esp_hil.verdict.verdict import accuracy, agreement
from tests.conftest import ROOT

FOLDER = ROOT / "golden" / "mnist"


@pytest.fixture(scope="module")
def mnist() -> Model:
    return catalogue.load("mnist", (ROOT / "golden",))


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return catalogue.load("mnist", (ROOT / "golden",)).golden().images


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"mnist_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def macs_of(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of Conv and Gemm for one input, from the inferred shapes."""
    graph = shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += weights[node.input[1]][0].size * int(np.prod(shapes[node.output[0]]))
        elif node.op_type == "Gemm":
            total += weights[node.input[1]].size
    return total


def test_every_file_is_the_one_that_was_made(mnist: Model) -> None:
    manifest = mnist.manifest()
    assert len(manifest.files) == 6
    for name in manifest.files:
        check_file(mnist.folder, name, manifest)
    assert manifest.tools["esp-ppq"] == "1.3.12"


def test_the_float_model_has_the_parameters_and_macs_that_are_promised(mnist: Model) -> None:
    model = onnx.load(mnist.float_path)
    onnx.checker.check_model(model, full_check=True)
    parameters = sum(numpy_helper.to_array(tensor).size for tensor in model.graph.initializer)
    assert parameters == mnist.expected.parameters == 421_642
    assert macs_of(model) == mnist.expected.macs == 4_241_152
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_a_clean_clone_has_at_least_a_hundred_balanced_goldens(mnist: Model) -> None:
    golden = mnist.golden()
    assert golden.labels is not None
    assert len(golden.inputs) >= 100
    assert len(set(golden.ids)) == len(golden.ids)
    assert set(np.bincount(golden.labels)) == {len(golden.labels) // 10}
    assert golden.labels[:10].tolist() == list(range(10))


def test_goldens_have_mnist_s_framing(images: NDArray[np.uint8]) -> None:
    for image in images:
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        assert rows[-1] - rows[0] < 20
        assert columns[-1] - columns[0] < 20
        assert max(rows[-1] - rows[0], columns[-1] - columns[0]) >= 14
        assert image.max() == 255
        weights = image.astype(float)
        centre_y = (weights.sum(axis=1) @ np.arange(28)) / weights.sum()
        centre_x = (weights.sum(axis=0) @ np.arange(28)) / weights.sum()
        assert abs(centre_y - 13.5) < 1.5
        assert abs(centre_x - 13.5) < 1.5


@pytest.mark.parametrize("family", FAMILIES)
def test_each_device_file_keeps_the_thresholds_of_model_toml(mnist: Model, family: Family) -> None:
    golden = mnist.golden()
    assert golden.labels is not None
    exact = DeviceFileReference(mnist, "w8a8", family).run(golden.inputs)["output"].real()
    floats = FloatReference(mnist).run(golden.inputs)["output"].real()
    assert agreement(exact, floats).share >= mnist.thresholds.top1_agreement
    assert accuracy(exact, golden.labels).share >= mnist.thresholds.accuracy
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(floats, axis=1)
    assert ((exact * floats).sum(axis=1) / norms).min() >= mnist.thresholds.cosine


@pytest.mark.parametrize("family", FAMILIES)
def test_each_device_file_says_its_family_and_saturates_no_pixel(mnist: Model, family: Family) -> None:
    espdl = read_espdl(mnist.artifact("w8a8", family))
    assert espdl.family == family
    tensor = mnist.device_input(open_device_file(mnist.artifact("w8a8", family)))
    assert tensor.shape == (1, 28, 28, 1)
    every_pixel = np.resize(np.arange(256, dtype=np.uint8), (1, 28, 28))
    integers = tensor.to_device(mnist.input.preprocess(every_pixel), "half_even")
    assert integers.max() < 127


@pytest.mark.parametrize("family", FAMILIES)
def test_the_exact_reference_gives_the_answer_stored_inside_the_file(mnist: Model, family: Family) -> None:
    espdl = read_espdl(mnist.artifact("w8a8", family))
    (given,), (wanted,) = espdl.graph.test_inputs.values(), espdl.graph.test_outputs.values()
    from esp_hil.exact import ExactReference as Exact

    answers = Exact(espdl, family).run({given.name: given.data.reshape(given.shape)})
    assert np.array_equal(answers[wanted.name], wanted.data.reshape(wanted.shape))


def mnist_data(shared: Path) -> Path:
    path = shared / "data" / "mnist.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path


def test_accuracy_on_the_ten_thousand_test_images_is_what_is_promised(mnist: Model, shared: Path) -> None:
    test = load_split(mnist_data(shared), "test")
    inputs = mnist.input.preprocess(test.images)
    floats = FloatReference(mnist).run(inputs)["output"].values
    measured = accuracy(floats, test.labels)
    assert measured.total == 10_000
    assert measured.share == pytest.approx(mnist.expected.test_top1, abs=2e-4)
    assert measured.share >= 0.993
    exact = DeviceFileReference(mnist, "w8a8", "esp32p4").run(inputs)["output"].values
    assert accuracy(exact, test.labels).share >= 0.99


def test_calibration_used_training_images_only(mnist: Model, shared: Path) -> None:
    data = mnist_data(shared)
    recipe = mnist.recipe("w8a8")
    chosen = calibration_images(load_split(data, "train"), recipe)
    digest = hashlib.sha256(mnist.input.preprocess(chosen).tobytes()).hexdigest()
    assert digest == mnist.manifest().calibration["w8a8"]
    test = {image.tobytes() for image in load_split(data, "test").images}
    assert not any(image.tobytes() in test for image in chosen)


@pytest.mark.quantize
def test_the_committed_goldens_come_from_scikit_learn(images: NDArray[np.uint8], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits

    goldens, digits = script("goldens"), load_digits()
    chosen = goldens.choose(digits.target, 12, 0)
    assert np.array_equal(np.stack([goldens.framed(digits.images[i]) for i in chosen]), images)


@pytest.mark.quantize
def test_the_export_answers_as_the_network_it_folds(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from esp_hil.goldens import training

    train: Any = script("train")
    torch.manual_seed(1)
    model = train.MnistCnn()
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 421_834
    x = torch.randn(64, 1, 28, 28)
    model.train()(x)  # BatchNorm sees data: its running figures are no longer 0 and 1
    model.eval()
    with torch.inference_mode():
        expected = model(x).numpy()
    training.export(train.folded(model), 28, tmp_path / "model.onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {"input": x.numpy()})
    np.testing.assert_allclose(answers, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.quantize
@pytest.mark.timeout(600)
def test_a_rebuild_gives_every_file_byte_for_byte(mnist: Model, shared: Path) -> None:
    for package in ("torch", "esp_ppq", "sklearn"):
        pytest.importorskip(package)
    made = build(mnist, data=mnist_data(shared), check=True, say=lambda line: None)
    assert {row.name: row.state for row in made} == dict.fromkeys(
        [*mnist.manifest().files, "manifest.json"], "same"
    )
