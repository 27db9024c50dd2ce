from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from esp_hil.cli import main
from esp_hil.errors import ConfigError, GoldenError
from esp_hil.goldens.accuracy import measure
from esp_hil.goldens.build import build, calibration_images, find_data
from esp_hil.goldens.references import DeviceFileReference, FloatReference, QuantizedReference
from esp_hil.models import catalogue
from esp_hil.models.dataset import Labelled, load_split
from esp_hil.models.manifest import Manifest, file_entry
from esp_hil.models.model_toml import parse
from esp_hil.models.recipe import Recipe
from tests.golden.tiny import write_data, write_folder

needs_quantizer = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "esp_ppq", "sklearn")),
    reason="esp-ppq, torch and scikit-learn are not installed: pip install 'esp-hil[quantize]'",
)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return parse(write_folder(tmp_path / "golden") / "tiny" / "model.toml").recipes["w8a8"]


def quiet(line: str) -> None:
    del line


def test_calibration_images_do_not_depend_on_the_order_of_the_data(tmp_path: Path, recipe: Recipe) -> None:
    data = load_split(write_data(tmp_path / "tiny.npz"), "train")
    order = np.random.default_rng(3).permutation(len(data.images))
    shuffled = Labelled(images=data.images[order], labels=data.labels[order])
    chosen = calibration_images(data, recipe)
    assert len(chosen) == 12
    assert np.array_equal(chosen, calibration_images(shuffled, recipe))


def test_calibration_images_have_as_many_of_each_label_and_follow_the_seed(
    tmp_path: Path, recipe: Recipe
) -> None:
    data = load_split(write_data(tmp_path / "tiny.npz"), "train")
    labels = {image.tobytes(): label for image, label in zip(data.images, data.labels, strict=True)}
    chosen = calibration_images(data, recipe)
    assert [labels[image.tobytes()] for image in chosen] == [0, 1, 2] * 4
    other = replace(recipe, calibration=replace(recipe.quantized, seed=1))
    assert not np.array_equal(chosen, calibration_images(data, other))


@pytest.mark.parametrize("count", [10, 33])
def test_a_calibration_set_that_cannot_be_balanced_is_an_error(
    tmp_path: Path, recipe: Recipe, count: int
) -> None:
    data = load_split(write_data(tmp_path / "tiny.npz"), "train")
    wrong = replace(recipe, calibration=replace(recipe.quantized, count=count))
    with pytest.raises(ConfigError, match=f"cannot choose {count}"):
        calibration_images(data, wrong)


def test_data_is_looked_for_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = catalogue.load("tiny", (write_folder(tmp_path / "golden"),))
    monkeypatch.delenv("HIL_DATA", raising=False)
    monkeypatch.delenv("HIL_SHARED", raising=False)
    with pytest.raises(GoldenError, match=r"no tiny\.npz") as caught:
        find_data(model, None)
    assert "--data" in caught.value.hint
    assert model.data.origin in caught.value.hint
    data = write_data(tmp_path / "tiny.npz")
    assert find_data(model, data) == find_data(model, tmp_path) == data
    monkeypatch.setenv("HIL_DATA", str(tmp_path))
    assert find_data(model, None) == data
    with pytest.raises(GoldenError, match="no data set at"):
        find_data(model, tmp_path / "other")


@needs_quantizer
@pytest.mark.quantize
def test_a_folder_is_built_checked_and_found_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    root, data = write_folder(tmp_path / "golden"), write_data(tmp_path / "tiny.npz")
    monkeypatch.setenv("HIL_GOLDEN", str(root))
    model = catalogue.load("tiny", (root,))
    states = {row.name: row.state for row in build(model, data=data, say=quiet)}
    assert states == {
        "model.onnx": "same",
        "inputs.npz": "same",
        "w8a8/c.espdl": "new",
        "w8a8/esp32p4.espdl": "new",
        "answers.npz": "new",
        "manifest.json": "new",
    }
    assert main(["golden", "verify", "tiny"]) == 0
    golden = model.golden()
    for family in model.recipe("w8a8").targets:
        quantized = QuantizedReference(model, "w8a8", family)
        exact = DeviceFileReference(model, "w8a8", family)
        assert np.array_equal(
            quantized.run(golden.inputs)["output"].values, exact.run(golden.inputs)["output"].values
        )
        unseen = golden.inputs[:2] * np.float32(0.5)  # not stored: a live run of the kept graph
        live = quantized.run(unseen)["output"].values
        assert np.array_equal(live, exact.run(unseen)["output"].values)
    damaged = root / "tiny" / "w8a8" / "c.espdl"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    capsys.readouterr()
    assert main(["golden", "build", "tiny", "--check", "--data", str(data)]) == 1
    assert "not as made: w8a8/c.espdl" in capsys.readouterr().out
    assert main(["golden", "verify"]) == 1
    assert "w8a8/c.espdl is not the file that was made" in capsys.readouterr().out
    assert main(["golden", "build", "tiny", "--data", str(data)]) == 0
    assert "replaced: w8a8/c.espdl" in capsys.readouterr().out
    assert main(["golden", "verify"]) == 0
    out = tmp_path / "one.espdl"
    arguments = ["quantize", "tiny", "--recipe", "w8a8", "--target", "esp32p4", "--data", str(data)]
    assert main([*arguments, "--out", str(out)]) == 0
    assert out.read_bytes() == (root / "tiny" / "w8a8" / "esp32p4.espdl").read_bytes()


@needs_quantizer
@pytest.mark.quantize
def test_a_script_that_fails_ends_the_build_with_its_last_line(tmp_path: Path) -> None:
    root, data = write_folder(tmp_path / "golden"), write_data(tmp_path / "tiny.npz")
    script = "import sys\nprint('half way')\nsys.exit('the digits are gone')\n"
    (root / "tiny" / "goldens.py").write_text(script, encoding="utf-8")
    with pytest.raises(GoldenError, match=r"goldens\.py ended with status 1: the digits are gone"):
        build(catalogue.load("tiny", (root,)), data=data, say=quiet)
    assert not (root / "tiny" / "manifest.json").exists()


def test_list_shows_models_and_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HIL_GOLDEN", str(write_folder(tmp_path / "golden")))
    assert main(["golden", "list"]) == 0
    out = capsys.readouterr().out
    assert "tasks:" not in out
    assert "tiny" in out
    assert "w8a8: int8, espdl for c, esp32p4\n" in out


def test_list_ends_with_the_tasks_and_says_no_word_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["golden", "list"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last.startswith("tasks: cat, ")
    assert any(line.endswith(", tflm") for line in lines)
    assert not any("tflm, tflm" in line for line in lines)


def test_commands_say_in_one_line_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HIL_GOLDEN", str(tmp_path))
    monkeypatch.delenv("HIL_DATA", raising=False)
    monkeypatch.delenv("HIL_SHARED", raising=False)
    write_folder(tmp_path)
    for arguments, says in (
        (["golden", "verify", "tinny"], "did you mean 'tiny'?"),
        (["golden", "accuracy", "tiny"], "--data"),
        (["golden", "accuracy", "tiny", "--limit", "0"], "at least 1"),
        (["quantize", "tiny", "--recipe", "w8", "--target", "c", "--out", "x.espdl"], "no recipe 'w8'"),
        (["quantize", "tiny", "--recipe", "w8a8", "--target", "esp32h2", "--out", "x.espdl"], "esp32h2"),
        (["quantize", "tiny", "--recipe", "w8a8", "--target", "c", "--out", "no/x.espdl"], "cannot write"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert says in error
        assert len(error.splitlines()) == 1


def test_verify_names_what_the_recipes_promise_and_nobody_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HIL_GOLDEN", str(write_folder(tmp_path)))
    assert main(["golden", "verify"]) == 1
    assert "manifest.json is missing" in capsys.readouterr().out


def test_accuracy_counts_what_the_float_model_gets_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_folder(tmp_path / "golden")
    folder = root / "tiny"
    Manifest(tools={}, files={"model.onnx": file_entry(folder / "model.onnx")}, calibration={}).write(folder)
    model, data = catalogue.load("tiny", (root,)), write_data(tmp_path / "tiny.npz")
    row = next(measure(model, data))
    test = load_split(data, "test")
    scores = FloatReference(model).run(model.input.preprocess(test.images))["output"].values
    assert row.accuracy.correct == sum(
        int(score.argmax() == label) for score, label in zip(scores, test.labels, strict=True)
    )
    assert (row.reference, row.accuracy.total, row.agreement.correct) == ("float", 9, 9)
    assert next(measure(model, data, limit=3)).accuracy.total == 3
    monkeypatch.setenv("HIL_GOLDEN", str(root))
    assert main(["golden", "accuracy", "tiny", "--data", str(data)]) == 2
    assert "w8a8/c.espdl" in capsys.readouterr().err
