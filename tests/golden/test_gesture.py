"""The committed gesture model: its recipes, and faults planted in it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from esp_hil.counters import HEAP_INTERNAL_FREE, HEAP_PSRAM_FREE
from esp_hil.device.device import Device
from esp_hil.device.ports import open_link
from esp_hil.formats.espdl import read_espdl
from esp_hil.goldens.build import build, calibration_images
from esp_hil.goldens.references import DeviceFileReference, FloatReference, QuantizedReference
from esp_hil.models import catalogue
from esp_hil.models.catalogue import Model
from esp_hil.models.dataset import image_digest, load_split, read_digests
from esp_hil.models.device_file import open_device_file
from esp_hil.models.manifest import check_file
from esp_hil.results.timing.work import total_macs, work_of
from esp_hil.targets import FAMILIES, Family, target
from esp_hil.verdict.difference import IntegerDiff, compare_answers
from esp_hil.verdict.verdict import accuracy, agreement
from esp_hil.virtual import VirtualBoard
from esp_hil.virtual.faults import FlippedBit, NodeFault
from esp_hil.wire.objects import Location
from tests.conftest import ROOT
from tests.verdict.planted import Broken, Case
from tests.verdict.test_diverge import check, faults, golden_inputs

FOLDER = ROOT / "golden" / "gesture"
COMMITTED = ("w8a8", "w16a16", "mixed", "equalized")
SWITCHES = 100


@pytest.fixture(scope="module")
def gesture() -> Model:
    return catalogue.load("gesture", (ROOT / "golden",))


def data_set(shared: Path) -> Path:
    path = shared / "data" / "sign_digits_96.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"gesture_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_what_is_committed_is_what_was_made(gesture: Model) -> None:
    manifest = gesture.manifest()
    committed = {recipe.name for recipe in gesture.recipes.values() if recipe.committed}
    assert committed == set(COMMITTED)
    for name in manifest.files:
        if name.split("/")[0] not in set(gesture.recipes) - committed:
            check_file(gesture.folder, name, manifest)
    for recipe in gesture.recipes.values():
        for family in FAMILIES:
            assert catalogue.artifact_name(recipe.name, family) in manifest.files


def test_the_float_model_has_the_parameters_and_macs_that_are_promised(gesture: Model) -> None:
    model = onnx.load(gesture.float_path)
    onnx.checker.check_model(model, full_check=True)
    parameters = sum(numpy_helper.to_array(tensor).size for tensor in model.graph.initializer)
    assert parameters == gesture.expected.parameters == 37_976
    file = open_device_file(gesture.artifact("w8a8", "c"))
    assert total_macs(work_of(file)) == gesture.expected.macs == 15_282_688


def test_a_clean_clone_has_balanced_drawings(gesture: Model) -> None:
    golden = gesture.golden()
    assert golden.labels is not None
    assert len(golden.inputs) == 96
    assert golden.labels[:8].tolist() == list(range(8))
    assert np.bincount(golden.labels).tolist() == [12] * 8


def test_the_committed_drawings_are_those_of_the_script(gesture: Model) -> None:
    goldens: Any = script("goldens")
    random = np.random.default_rng(0)
    drawn = [goldens.draw(int(label), random) for label in np.tile(np.arange(8), 12)]
    off = np.abs(np.stack(drawn).astype(int) - gesture.golden().images)
    assert off.max() <= 3, "another processor may round a gray to its neighbour, no more"
    assert (off > 0).mean() < 1e-3


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("recipe", COMMITTED)
def test_a_recipe_keeps_its_thresholds_and_tolerance(gesture: Model, recipe: str, family: Family) -> None:
    golden = gesture.golden()
    assert golden.labels is not None
    floats = FloatReference(gesture).run(golden.inputs)["output"].real()
    answer = DeviceFileReference(gesture, recipe, family).run(golden.inputs)["output"]
    exact = answer.real()
    assert agreement(exact, floats).share >= gesture.thresholds.top1_agreement
    assert accuracy(exact, golden.labels).share >= gesture.thresholds.accuracy
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(floats, axis=1)
    assert ((exact * floats).sum(axis=1) / norms).min() >= gesture.thresholds.cosine
    believed = QuantizedReference(gesture, recipe, family).run(golden.inputs)["output"]
    off = compare_answers(answer.values, believed.values)
    assert isinstance(off, IntegerDiff)
    assert off.max_lsb <= gesture.tolerance_of(recipe).exact_vs_quantized_lsb


def test_mixed_precision_is_in_the_file(gesture: Model) -> None:
    espdl = read_espdl(gesture.artifact("mixed", "esp32s3"))
    kinds = {node.name: node.attributes.get("quant_type") for node in espdl.graph.nodes}
    assert kinds["/stem/Conv"] == "S16"
    assert kinds["/fc/Gemm"] == "S8"
    assert espdl.graph.inputs[0].dtype == "int16"


def test_equalizing_had_relu_to_work_with(gesture: Model) -> None:
    operators = [node.op_type for node in read_espdl(gesture.artifact("equalized", "c")).graph.nodes]
    assert "Clip" not in operators
    assert "Clip" in [node.op_type for node in read_espdl(gesture.artifact("w8a8", "c")).graph.nodes]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("number", range(8))
def test_a_fault_is_found_and_named(family: Family, number: int) -> None:
    case = faults(
        family,
        convs=("/block0/expand/Conv", "/block2/project/Conv"),
        gemm="/fc/Gemm",
        wide="/block1/depthwise_act/Clip",
        previous="/block1/Add",
        padded="/block1/depthwise/Conv",
    )[number]
    model, inputs = golden_inputs("gesture", "w8a8", family)
    broken = Broken(model, family, case.fault)
    check(broken.search(inputs)[1], case, broken)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_flipped_bit_is_found_in_its_layer(family: Family) -> None:
    model, inputs = golden_inputs("gesture", "w8a8", family)
    tensor = next(node for node in model.graph.nodes if node.name == "/block2/expand/Conv").inputs[1]
    fault = FlippedBit(tensor=tensor, index=100, bit=6)
    broken = Broken(model, family, fault)
    case = Case(fault=fault, node="/block2/expand/Conv", kind="parameter", summary="bit 6 of weight")
    check(broken.search(inputs)[1], case, broken)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fault_of_the_int16_recipe_is_found_too(family: Family) -> None:
    model, inputs = golden_inputs("gesture", "w16a16", family)
    fault = NodeFault(node="/block1/project/Conv", fault="exponent", amount=1)
    broken = Broken(model, family, fault)
    case = Case(fault=fault, node="/block1/project/Conv", kind="shift", summary="shifts its sums by +1")
    check(broken.search(inputs[:3])[1], case, broken)


def test_switching_recipes_a_hundred_times_loses_no_byte_of_heap(gesture: Model) -> None:
    """Upload and load three recipes in turn, without a reset; each answers as it must each time."""
    chip = target("esp32s3")
    names = ("w8a8", "mixed", "equalized")
    files = {name: open_device_file(gesture.artifact(name, chip.family)) for name in names}
    golden = gesture.golden(1).inputs
    sent = {
        name: {"input": gesture.device_input(file).to_device(golden, chip.rounding)}
        for name, file in files.items()
    }
    wanted = {name: file.exact(chip.family).run(sent[name]) for name, file in files.items()}
    free: dict[str, set[tuple[int, int]]] = {name: set() for name in names}
    with VirtualBoard(chip) as board, Device(open_link(board.url)) as device:
        device.connect()
        for number in range(SWITCHES):
            name = names[number % len(names)]
            device.upload_model(files[name].image)
            info = device.load()
            assert info.model is not None
            assert info.model.sha256 == files[name].sha256
            answer = device.infer(sent[name]).outputs
            assert all(np.array_equal(answer[output], wanted[name][output]) for output in wanted[name])
            counters = device.counters()
            free[name].add(
                (counters["heap_internal_free_bytes"].value, counters["heap_psram_free_bytes"].value)
            )
    assert all(len(figures) == 1 for figures in free.values()), free


def test_switching_between_all_places_a_hundred_times_loses_no_byte_of_heap(gesture: Model) -> None:
    """Linked in, in the partition, in a file, uploaded to PSRAM: a recipe each, in turn, without a reset."""
    chip = target("esp32s3")
    names = {
        Location.PARTITION: "w8a8",
        Location.RODATA: "mixed",
        Location.FILE: "equalized",
        Location.RAM: "w16a16",
    }
    files = {place: open_device_file(gesture.artifact(name, chip.family)) for place, name in names.items()}
    golden = gesture.golden(1).inputs
    sent = {
        place: {"input": gesture.device_input(file).to_device(golden, chip.rounding)}
        for place, file in files.items()
    }
    wanted = {place: file.exact(chip.family).run(sent[place]) for place, file in files.items()}
    free: dict[Location, set[tuple[int | float, ...]]] = {place: set() for place in names}
    with VirtualBoard(chip) as board, Device(open_link(board.url)) as device:
        board.link_model(files[Location.RODATA].image)
        path = board.put_file("gesture.espdl", files[Location.FILE].image)
        device.connect()
        for place in (Location.PARTITION, Location.RAM):
            device.upload_model(files[place].image, location=place)
        for number in range(SWITCHES):
            place = list(names)[number % len(names)]
            info = device.load(place, path=path if place == Location.FILE else "")
            assert info.model is not None
            assert info.model.sha256 == files[place].sha256
            assert info.model.location == place.name.lower()
            answer = device.infer(sent[place]).outputs
            assert all(np.array_equal(answer[output], wanted[place][output]) for output in wanted[place])
            counters = device.counters()
            free[place].add(tuple(counters[name].value for name in (HEAP_INTERNAL_FREE, HEAP_PSRAM_FREE)))
    assert all(len(figures) == 1 for figures in free.values()), free


def test_the_split_keeps_sittings_apart_and_calibration_out_of_the_test(gesture: Model, shared: Path) -> None:
    source = data_set(shared)
    test, train = gesture.data_split(source, "test"), gesture.data_split(source, "train")
    assert (len(train.images), len(test.images)) == (1306, 344)
    assert set(train.labels) == set(test.labels) == set(range(8))
    whole = (load_split(source, "train", classes=range(8)), load_split(source, "test", classes=range(8)))
    images = np.concatenate([part.images for part in whole])
    split: Any = script("split")
    assert split.held_out(images) == list(read_digests(FOLDER / "test_images.txt"))
    held = {image_digest(image) for image in test.images}
    assert held.isdisjoint(image_digest(image) for image in train.images)
    for recipe in gesture.recipes.values():
        chosen = calibration_images(train, recipe)
        assert held.isdisjoint(image_digest(image) for image in chosen)


def test_float_accuracy_on_the_test_photographs_is_what_is_promised(gesture: Model, shared: Path) -> None:
    test = gesture.data_split(data_set(shared), "test")
    inputs = gesture.input.preprocess(test.images)
    measured = accuracy(FloatReference(gesture).run(inputs)["output"].values, test.labels)
    assert measured.total == 344
    assert measured.share >= gesture.expected.test_top1
    for recipe in COMMITTED:
        exact = DeviceFileReference(gesture, recipe, "esp32s3").run(inputs)["output"].values
        assert accuracy(exact, test.labels).share >= 0.99


@pytest.mark.quantize
def test_the_architecture_has_the_parameters_of_the_tutorial(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from esp_hil.goldens import training

    train: Any = script("train")
    torch.manual_seed(1)
    model = train.light_gesture_net()
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 39_256
    x = torch.rand(8, 1, 96, 96)
    model.train()(x)  # BatchNorm sees data: its running figures are no longer 0 and 1
    model.eval()
    with torch.inference_mode():
        expected = model(x).numpy()
    training.export(train.folded(model), 96, tmp_path / "model.onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {"input": x.numpy()})
    np.testing.assert_allclose(answers, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.quantize
@pytest.mark.timeout(3600)  # three minutes of work, on a machine that may be busy
def test_a_rebuild_gives_every_file_of_the_chips_byte_for_byte(gesture: Model, shared: Path) -> None:
    for package in ("torch", "esp_ppq"):
        pytest.importorskip(package)
    made = {
        row.name: row.state
        for row in build(gesture, data=data_set(shared), check=True, say=lambda line: None)
    }
    assert made.keys() == {*gesture.manifest().files, "manifest.json"}
    # what esp-ppq's executor answers is summed in float in the order of the processor's vectors: another processor
    # may give other integers there, and the manifest their digest; the files of the chips must not depend on it
    executor = {"answers.npz", "manifest.json"}
    assert {name: state for name, state in made.items() if name not in executor} == dict.fromkeys(
        [name for name in made if name not in executor], "same"
    )
    assert {made[name] for name in executor} <= {"same", "changed"}
