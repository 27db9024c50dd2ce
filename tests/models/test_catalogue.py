from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.errors import ConfigError, GoldenError, UnknownModel
from esp_hil.models import catalogue
from esp_hil.models.golden_set import GoldenSet, read_golden
from esp_hil.models.manifest import FILE_NAME, Manifest, check_file, file_entry
from esp_hil.tensors import InputSpec, StoredDtype
from tests.conftest import ROOT
from tests.golden.tiny import MODEL_TOML, write_folder

FILES = ("model.onnx", "inputs.npz", "answers.npz", "w8a8/c.espdl", "w8a8/esp32p4.espdl")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """golden/ with the tiny model, its device files replaced by a few bytes, and a manifest of all."""
    root = write_folder(tmp_path / "golden")
    folder = root / "tiny"
    (folder / "w8a8").mkdir()
    for name in FILES[2:]:
        (folder / name).write_bytes(name.encode())
    manifest = Manifest(tools={}, files={name: file_entry(folder / name) for name in FILES}, calibration={})
    manifest.write(folder)
    return root


def load_with(tmp_path: Path, old: str, new: str) -> catalogue.Model:
    assert old in MODEL_TOML
    return catalogue.load("tiny", (write_folder(tmp_path, toml=MODEL_TOML.replace(old, new)),))


def test_an_unknown_model_names_the_near_one_and_where_it_looked(root: Path) -> None:
    with pytest.raises(UnknownModel) as caught:
        catalogue.load("tinny", (root,))
    assert str(root) in str(caught.value)
    assert "did you mean 'tiny'?" in caught.value.hint
    assert catalogue.models((root,)) == ("tiny",)


def test_a_name_cannot_leave_the_folder(root: Path) -> None:
    with pytest.raises(UnknownModel):
        catalogue.load("../golden/tiny", (root,))


def test_the_environment_says_where_the_models_are(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_GOLDEN", str(root))
    assert catalogue.models() == ("tiny",)


def test_a_project_s_own_models_stand_beside_those_of_the_package(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIL_GOLDEN", raising=False)
    below = root.parent / "src" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert catalogue.roots_searched() == (root, ROOT / "golden")
    assert {"tiny", "mnist"} <= set(catalogue.models())
    assert catalogue.own_models() == ("tiny",), "the package's models are run by name only"
    assert catalogue.load("tiny").folder == root / "tiny"


def test_artefacts_are_given_when_their_sha256_is_right(root: Path) -> None:
    model = catalogue.load("tiny", (root,))
    assert model.artifact("w8a8", "esp32p4") == root / "tiny" / "w8a8" / "esp32p4.espdl"
    assert model.float_path == root / "tiny" / "model.onnx"


def test_a_changed_artefact_is_refused(root: Path) -> None:
    path = root / "tiny" / "w8a8" / "c.espdl"
    path.write_bytes(b"W" + path.read_bytes()[1:])
    with pytest.raises(GoldenError, match="is not the file that was made") as caught:
        catalogue.load("tiny", (root,)).artifact("w8a8", "c")
    assert "hil golden build tiny" in caught.value.hint


def test_a_missing_artefact_is_an_error(root: Path) -> None:
    (root / "tiny" / "w8a8" / "c.espdl").unlink()
    with pytest.raises(GoldenError, match="is missing"):
        catalogue.load("tiny", (root,)).artifact("w8a8", "c")


def test_a_family_or_recipe_that_the_model_lacks_is_an_error(root: Path) -> None:
    model = catalogue.load("tiny", (root,))
    with pytest.raises(ConfigError, match="not made for esp32s3") as caught:
        model.artifact("w8a8", "esp32s3")
    assert "c, esp32p4" in caught.value.hint
    with pytest.raises(ConfigError, match="no recipe 'w8a9'") as caught:
        model.artifact("w8a9", "c")
    assert "'w8a8'" in caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', '{"schema": 1, "files": {"a": {}}}'])
def test_a_damaged_manifest_is_one_line(root: Path, text: str) -> None:
    (root / "tiny" / FILE_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(GoldenError) as caught:
        catalogue.load("tiny", (root,)).artifact("w8a8", "c")
    assert "\n" not in str(caught.value)


def test_a_model_that_was_never_built_says_how(tmp_path: Path) -> None:
    model = catalogue.load("tiny", (write_folder(tmp_path),))
    with pytest.raises(GoldenError, match=r"manifest\.json is missing") as caught:
        model.golden()
    assert "hil golden build tiny" in caught.value.hint


def test_goldens_are_preprocessed_as_declared(root: Path) -> None:
    golden = catalogue.load("tiny", (root,)).golden()
    assert golden.inputs.shape == (6, 1, 8, 8)
    np.testing.assert_array_equal(golden.inputs[:, 0], golden.images.astype(np.float32) / 128 - 1)
    assert golden.ids[2] == "random[2]"
    assert golden.labels is not None
    assert golden.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_a_limit_takes_the_first_inputs_and_another_digest(root: Path) -> None:
    model = catalogue.load("tiny", (root,))
    all_of_them, two = model.golden(), model.golden(limit=2)
    assert np.array_equal(two.inputs, all_of_them.inputs[:2])
    assert len(two.ids) == 2
    assert two.sha256 != all_of_them.sha256
    assert two.sha256 == model.golden(limit=2).sha256


@pytest.mark.parametrize("limit", [0, 7])
def test_more_goldens_than_there_are_is_an_error(root: Path, limit: int) -> None:
    with pytest.raises(ConfigError, match=f"{limit} golden inputs") as caught:
        catalogue.load("tiny", (root,)).golden(limit=limit)
    assert "there are 6" in caught.value.hint


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ('title = "tiny"', 'titel = "tiny"', "title is missing", ""),
        ("mean = [1.0]", "mean = [1.0]\nmeen = 2", "input.meen is not a key", "did you mean 'mean'?"),
        ("mean = [1.0]", "mean = [1.0, 2.0]", "input.mean has 2 values", "1 channels"),
        ("std = [1.0]", "std = [0.0]", "input.std", ""),
        ("shape = [1, 8, 8]", "shape = [1, 8]", "input.shape is", ""),
        ("count = 12", 'count = "12"', "recipes.w8a8.calibration.count is '12'", "int"),
        ("count = 12", "count = true", "recipes.w8a8.calibration.count is True", "int"),
        ('observer = "minmax"', 'observer = "max"', "observer is 'max'", "kl, minmax"),
        ('split = "train"', 'split = "all"', "split is 'all'", "train, test"),
        ('"c", "esp32p4"', '"c", "esp32h2"', "has 'esp32h2'", "esp32p4"),
        ('"c", "esp32p4"', "", "targets is empty", ""),
        ('quant_type = "w8a8"', 'quant_type = "w4a8"', "quant_type is 'w4a8'", "w8a8"),
        ('runtime = "espdl"', 'runtime = "onnx"', "runtime is 'onnx'", "espdl"),
        ("exact_lsb = 0", "exact_lsb = 1", "tolerance.reason is missing", "needs its reason"),
        ("top1_agreement = 0.5", "top1_agreement = 50", "top1_agreement is 50", "0 to 1"),
        ('labels = ["a", "b", "c"]', 'labels = ["a", "a"]', "labels needs", ""),
    ],
)
def test_model_toml_is_read_strictly(tmp_path: Path, old: str, new: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_with(tmp_path, old, new)
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_recipe_may_declare_mixed_precision_and_passes(tmp_path: Path) -> None:
    extra = """
[recipes.w8a8.dispatch]
"/fc/Gemm" = 16
[recipes.w8a8.passes.equalization]
iterations = 4
value_threshold = 0.5
"""
    model = load_with(tmp_path, 'observer = "minmax"\n', 'observer = "minmax"\n' + extra)
    assert model.recipe("w8a8").dispatch == {"/fc/Gemm": 16}
    assert model.recipe("w8a8").passes == {"equalization": {"iterations": 4, "value_threshold": 0.5}}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ('[recipes.w8a8.dispatch]\n"/fc/Gemm" = 4', "is 4"),
        ("[recipes.w8a8.passes.equalisation]\n", "passes.equalisation is not a pass"),
    ],
)
def test_bits_and_passes_that_do_not_exist_are_errors(tmp_path: Path, extra: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_with(tmp_path, 'observer = "minmax"\n', 'observer = "minmax"\n' + extra)


def test_broken_toml_is_one_line_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.toml") as caught:
        load_with(tmp_path, "[input]", "[input")
    assert "\n" not in str(caught.value)


def test_the_manifest_is_the_same_file_for_the_same_content(root: Path) -> None:
    folder = root / "tiny"
    before = (folder / FILE_NAME).read_bytes()
    catalogue.load("tiny", (root,)).manifest().write(folder)
    assert (folder / FILE_NAME).read_bytes() == before
    assert json.loads(before)["files"]["model.onnx"]["bytes"] == (folder / "model.onnx").stat().st_size


def test_the_test_images_are_spread_over_the_whole_set_and_counted(tmp_path: Path) -> None:
    model = catalogue.load("fashion", (ROOT / "golden",))
    images = np.repeat(np.arange(12, dtype=np.uint8), 28 * 28).reshape(12, 28, 28)
    labels = np.arange(12) % 10
    path = tmp_path / model.data.file
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    whole, some = model.test_set(path), model.test_set(path, 3)
    assert len(whole.inputs) == 12
    assert some.images[:, 0, 0].tolist() == [0, 5, 11]
    assert some.labels is not None
    assert some.labels.tolist() == [0, 5, 1]
    assert some.sha256 != whole.sha256
    for wrong in (0, 13):
        with pytest.raises(ConfigError, match="test images of model fashion asked for"):
            model.test_set(path, wrong)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('float = "model.onnx"', 'float = "/etc/hostname"'),
        ('inputs = "inputs.npz"', 'inputs = "../.."'),
        ('inputs = "inputs.npz"', 'inputs = "a/../../x.npz"'),
        ('answers = "answers.npz"', 'answers = "C:/x.npz"'),
        ('answers = "answers.npz"', "answers = '..\\x.npz'"),
        ("[recipes.w8a8]", '[recipes."../../../x"]'),
        ("[recipes.w8a8]", '[recipes."a/b"]'),
        ("[recipes.w8a8]", '[recipes."-x"]'),
    ],
)
def test_a_model_toml_of_somebody_else_leads_nowhere_else(tmp_path: Path, old: str, new: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_with(tmp_path, old, new)
    assert "model.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_link_out_of_the_folder_is_not_followed(root: Path) -> None:
    outside = root.parent / "outside.npz"
    outside.write_bytes(b"inputs.npz")
    (root / "tiny" / "answers.npz").unlink()
    (root / "tiny" / "answers.npz").symlink_to(outside)
    with pytest.raises(GoldenError, match="is not inside"):
        check_file(root / "tiny", "answers.npz", catalogue.load("tiny", (root,)).manifest())


def golden_of(path: Path, dtype: StoredDtype, **arrays: NDArray[Any]) -> GoldenSet:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    shape = arrays["x"].shape[1:]
    spec = InputSpec(name="x", layout="NCHW", shape=shape, scale=0.0, mean=(0.0,), std=(1.0,), dtype=dtype)
    return read_golden(path, (spec,), ())


def test_golden_inputs_that_cannot_be_are_one_line_each(tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match="holds no inputs"):
        golden_of(tmp_path / "a.npz", "uint8", x=np.zeros((0, 2, 2), np.uint8))
    with pytest.raises(GoldenError, match="NaN"):
        golden_of(tmp_path / "b.npz", "float32", x=np.full((1, 2), np.nan, np.float32))
