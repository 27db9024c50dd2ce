"""A person's own model: a whole folder from an ONNX file and inputs, or an error that says what to change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from esp_hil.errors import ConfigError, GoldenError, HilError
from esp_hil.goldens.new_model import Wish, chosen_goldens, create, facts_of, macs_of, read_labels, read_onnx
from esp_hil.goldens.new_toml import model_toml
from esp_hil.goldens.references import DeviceFileReference, FloatReference
from esp_hil.models import catalogue
from esp_hil.models.model_toml import parse
from tests.golden.tiny import float_model


@pytest.fixture
def wish(tmp_path: Path) -> Wish:
    """The tiny network (1x8x8 to 3 classes) and fifteen images of bytes, five in a folder for each class."""
    onnx.save(float_model(), tmp_path / "net.onnx")
    random = np.random.default_rng(1)
    for label in "abc":
        (tmp_path / "inputs" / label).mkdir(parents=True)
        for i in range(5):
            np.save(tmp_path / "inputs" / label / f"{i}.npy", random.integers(0, 256, (8, 8), dtype=np.uint8))
    return Wish(
        name="mine",
        onnx=tmp_path / "net.onnx",
        inputs=tmp_path / "inputs",
        classes=("a", "b", "c"),
        families=("c",),
    )


def changed(wish: Wish, change: str) -> Wish:
    """The wish with a network that has one thing wrong."""
    model = float_model()
    graph = model.graph
    if change == "batch":
        graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    elif change == "free size":
        graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    elif change == "two inputs":
        graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 2]))
    elif change == "two outputs":
        graph.output.append(helper.make_tensor_value_info("/flat", TensorProto.FLOAT, ["N", 32]))
    elif change == "no scores":
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info("/relu", TensorProto.FLOAT, ["N", 2, 8, 8]))
    path = wish.onnx.with_name("changed.onnx")
    onnx.save(model, path)
    return replace(wish, onnx=path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("batch", "batch of 1"),
        ("free size", "height"),
        ("two inputs", "2 inputs: input, other"),
        ("two outputs", "choose one with --output"),
        ("no scores", "these are not class scores"),
    ],
)
def test_a_network_that_cannot_be_used_is_told_what_to_change(wish: Wish, change: str, words: str) -> None:
    other = changed(wish, change)
    with pytest.raises(ConfigError) as caught:
        facts_of(read_onnx(other.onnx), other)
    assert words in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "My Net", "small letters"),
        ("classes", ("a", "b"), "2 different labels for 3 scores"),
        ("mean", (0.1, 0.2), "--mean has 2 values for 1 channels"),
        ("output", "logits", "no output 'logits'"),
    ],
)
def test_a_wish_that_does_not_fit_leaves_nothing_behind(
    wish: Wish, tmp_path: Path, field: str, value: object, words: str
) -> None:
    with pytest.raises(HilError, match=words):
        create(replace(wish, **{field: value}), tmp_path / "golden", lambda line: None)  # type: ignore[arg-type]
    assert not (tmp_path / "golden").exists()


def test_weights_in_a_file_of_their_own_are_found_or_asked_for(wish: Wish, tmp_path: Path) -> None:
    path = tmp_path / "apart" / "net.onnx"
    path.parent.mkdir()
    onnx.save(float_model(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    assert read_onnx(path).graph.initializer[0].raw_data
    (path.parent / "net.data").unlink()
    with pytest.raises(GoldenError, match=r"net\.data, which is not beside it"):
        read_onnx(path)


def test_the_text_of_model_toml_is_one_that_the_parser_takes(wish: Wish, tmp_path: Path) -> None:
    facts = facts_of(read_onnx(wish.onnx), wish)
    (tmp_path / "model.toml").write_text(model_toml(facts, calibration=10, goldens=5, labelled=True))
    spec = parse(tmp_path / "model.toml")
    assert spec.labels == ("a", "b", "c")
    assert (spec.input.shape, spec.input.dtype) == ((1, 8, 8), "uint8")
    assert (spec.expected.macs, spec.recipes["w8a8"].targets) == (1248, ("c",))
    assert macs_of(read_onnx(wish.onnx)) == 2 * 9 * 64 + 32 * 3


def test_goldens_are_a_third_at_most_and_spread_over_all() -> None:
    assert chosen_goldens(10).tolist() == [0, 4, 9]
    assert len(chosen_goldens(1000)) == 32
    assert len(set(chosen_goldens(1000).tolist())) == 32


def test_labels_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("left\n\n right \n", encoding="utf-8")
    assert read_labels(path) == ("left", "right")
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="is empty"):
        read_labels(path)


@pytest.mark.quantize
@pytest.mark.parametrize("stored", ["bytes", "floats"])
def test_a_whole_folder_is_made(wish: Wish, tmp_path: Path, stored: str) -> None:
    for package in ("torch", "esp_ppq"):
        pytest.importorskip(package)
    if stored == "floats":
        for path in wish.inputs.rglob("*.npy"):
            np.save(path, (np.load(path)[np.newaxis] / 128 - 1).astype(np.float32))
    create(wish, tmp_path / "golden", lambda line: None)
    model = catalogue.load("mine", (tmp_path / "golden",))
    golden = model.golden()
    assert golden.labels is not None
    assert sorted(set(golden.labels.tolist())) == [0, 1, 2]
    exact = DeviceFileReference(model, "w8a8", "c").run(golden.inputs)["output"].real()
    floats = FloatReference(model).run(golden.inputs)["output"].real()
    assert np.square(exact - floats).sum() < 0.05 * np.square(floats).sum()
