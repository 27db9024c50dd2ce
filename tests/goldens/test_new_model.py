"""A person's own files: a whole folder from an ONNX, .tflite or .espdl file, or an error that says what to change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from esp_hil.cli import main
from esp_hil.commands import new as command
from esp_hil.errors import ConfigError, GoldenError, HilError, RuntimeFailed
from esp_hil.goldens.new_check import check
from esp_hil.goldens.new_inputs import GivenInputs, choose, chosen_goldens
from esp_hil.goldens.new_model import Wish, create, facts_of, macs_of, read_labels, read_sources
from esp_hil.goldens.new_ports import ModelPort, ModelPorts, joined, meanings_of, read_onnx, with_states
from esp_hil.goldens.new_toml import model_toml
from esp_hil.goldens.references import DeviceFileReference, FloatReference
from esp_hil.models import catalogue
from esp_hil.models.catalogue import Model
from esp_hil.models.model_toml import parse
from tests.conftest import ROOT
from tests.formats.espdl.writer import edl, graph, node, value
from tests.golden.tiny import float_model
from tests.networks.folders import fusion_file

Say = Callable[[str], None]


def quiet(line: str) -> None:
    """Nobody listens."""


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
        given=GivenInputs(folders={"": tmp_path / "inputs"}),
        classes=("a", "b", "c"),
        families=("c",),
    )


def changed(wish: Wish, change: str) -> Wish:
    """The wish with a network that has one thing wrong."""
    model = float_model()
    given = model.graph.input[0].type.tensor_type
    if change == "batch":
        given.shape.dim[0].dim_value = 4
    elif change == "free size":
        given.shape.dim[2].dim_param = "height"
    elif change in {"integers", "half"}:
        given.elem_type = TensorProto.INT64 if change == "integers" else TensorProto.FLOAT16
        cast = helper.make_node("Cast", ["input"], ["real"], to=TensorProto.FLOAT)
        model.graph.node.insert(0, cast)
        model.graph.node[1].input[0] = "real"
    assert wish.onnx is not None
    path = wish.onnx.with_name("changed.onnx")
    onnx.save(model, path)
    return replace(wish, onnx=path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("batch", "batch of 1"),
        ("free size", "dimension height has no fixed size"),
        ("integers", "int64, not float32 (export with float32 inputs; look up tokens"),
        ("half", "float16, not float32 (export the model in float32: model.float()"),
    ],
)
def test_a_network_that_cannot_be_used_is_told_what_to_change(wish: Wish, change: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_sources(changed(wish, change))
    assert words in str(caught.value)
    assert caught.value.hint


def test_weights_of_halves_are_refused_before_anything_is_quantized(wish: Wish, tmp_path: Path) -> None:
    model = float_model()
    first = model.graph.initializer[0]
    halves = numpy_helper.to_array(first).astype(np.float16)
    first.CopyFrom(numpy_helper.from_array(halves, first.name))
    onnx.save(model, tmp_path / "half.onnx")
    said: list[str] = []
    with pytest.raises(ConfigError, match="weights are float16 or bfloat16") as caught:
        create(replace(wish, onnx=tmp_path / "half.onnx"), tmp_path / "golden", said.append)
    assert "model.float()" in caught.value.hint
    assert said == []


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "My Net", "'My Net' cannot be a model's name"),
        ("classes", ("a", "b"), "2 different labels for 3 scores"),
        ("output", "logits", "no output 'logits'"),
        ("meanings", {"logits": "values"}, "no output 'logits'"),
        ("onnx", None, "no model file"),
    ],
)
def test_a_wish_that_does_not_fit_leaves_nothing_behind(
    wish: Wish, tmp_path: Path, field: str, value: object, words: str
) -> None:
    with pytest.raises(HilError, match=words):
        create(replace(wish, **{field: value}), tmp_path / "golden", quiet)  # type: ignore[arg-type]
    assert not (tmp_path / "golden").exists()


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ({"other": "inputs"}, "no such input"),
        ({"": "nowhere"}, "no folder"),
        ({"": "inputs/a"}, "5 inputs to calibrate with"),
    ],
)
def test_inputs_that_do_not_fit_leave_nothing_behind(
    wish: Wish, tmp_path: Path, folders: dict[str, str], words: str
) -> None:
    given = GivenInputs(folders={name: tmp_path / place for name, place in folders.items()})
    with pytest.raises(HilError, match=words):
        create(replace(wish, given=given), tmp_path / "golden", quiet)
    assert not (tmp_path / "golden").exists()


def test_a_failure_in_the_middle_leaves_neither_a_folder_nor_a_part_of_one(
    wish: Wish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_arguments: Any, **_options: Any) -> None:
        raise GoldenError("the disk is full")

    monkeypatch.setattr("esp_hil.goldens.new_model.build", fails)
    monkeypatch.setattr("esp_hil.goldens.new_model.require_quantizer", lambda: None)
    with pytest.raises(GoldenError, match="the disk is full"):
        create(wish, tmp_path / "golden", quiet)
    assert not (tmp_path / "golden").exists()
    monkeypatch.setattr("esp_hil.goldens.new_model.build", lambda *_a, **_o: None)
    monkeypatch.setattr("esp_hil.goldens.new_model._looked_over", lambda *_a: [])
    monkeypatch.setattr("esp_hil.goldens.new_model.os.replace", fails)
    with pytest.raises(GoldenError, match="the disk is full"):
        create(wish, tmp_path / "golden", quiet)
    assert list((tmp_path / "golden").iterdir()) == []


def test_a_model_that_cannot_be_looked_over_leaves_nothing_behind(tmp_path: Path) -> None:
    """Where nothing here can look into its file: the second try must not find the first one's folder."""
    (tmp_path / "net.espdl").write_bytes(fusion_file())
    seen: list[str] = []

    def look(model: Model, *_a: Any) -> None:
        seen.append(model.name)
        raise RuntimeFailed("running .tflite files needs tflite-micro")

    asked = Wish(name="mine", files=(tmp_path / "net.espdl",), families=("esp32s3",))
    with pytest.raises(RuntimeFailed, match="tflite-micro"):
        create(asked, tmp_path / "golden", quiet, look=look)
    assert seen == ["mine"]
    assert not (tmp_path / "golden").exists()


def test_what_this_machine_lacks_is_not_said_of_the_chip(wish: Wish, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "golden" / "fashion" / "int8" / "tflm.tflite"

    def lacking(*_a: Any, **_o: Any) -> None:
        raise RuntimeFailed("running .tflite files needs tflite-micro")

    monkeypatch.setattr("esp_hil.models.device_file.DeviceFile.exact", lacking)
    with pytest.raises(RuntimeFailed, match="tflite-micro"):
        list(check(replace(wish, onnx=None, files=(path,), given=GivenInputs()), ["esp32"]))


def test_a_folder_that_is_there_is_not_touched(wish: Wish, tmp_path: Path) -> None:
    (tmp_path / "golden" / "mine").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is there already"):
        create(wish, tmp_path / "golden", quiet)
    assert list((tmp_path / "golden" / "mine").iterdir()) == []


def test_weights_in_a_file_of_their_own_are_found_or_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "apart" / "net.onnx"
    path.parent.mkdir()
    onnx.save(float_model(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    assert read_onnx(path).graph.initializer[0].raw_data
    (path.parent / "net.data").unlink()
    with pytest.raises(GoldenError, match=r"net\.data, which is not beside it"):
        read_onnx(path)


def test_the_text_of_model_toml_is_one_that_the_parser_takes(wish: Wish, tmp_path: Path) -> None:
    sources = read_sources(wish)
    chosen = choose(sources.ports.inputs, wish.classes, wish.given, calibrates=True, streams=False, say=quiet)
    facts = facts_of(wish, sources, chosen, quiet)
    text = model_toml(facts, calibration=10, origin="here", labelled=True, gated=True)
    (tmp_path / "model.toml").write_text(text, encoding="utf-8")
    spec = parse(tmp_path / "model.toml")
    assert spec.labels == ("a", "b", "c")
    assert (spec.input.shape, spec.input.dtype) == ((1, 8, 8), "uint8")
    assert (spec.expected.macs, spec.recipes["w8a8"].targets) == (1248, ("c",))
    assert macs_of(read_onnx(tmp_path / "net.onnx")) == 2 * 9 * 64 + 32 * 3


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


# inputs

IMU = ModelPort(name="imu", shape=(6,), dtype="float32")
PICTURE = ModelPort(name="picture", shape=(3, 4, 4), dtype="float32")
BYTES = ModelPort(name="bytes", shape=(5,), dtype="int8")


def test_each_input_has_a_folder_or_all_are_in_one_file(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    for name, shape in (("imu", (12, 6)), ("picture", (12, 3, 4, 4))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "all.npy", random.standard_normal(shape).astype(np.float32))
    folders = {"imu": tmp_path / "imu", "picture": tmp_path / "picture"}
    found = choose(
        (IMU, PICTURE), (), GivenInputs(folders=folders), calibrates=True, streams=False, say=quiet
    )
    assert found.golden["imu"].shape == (4, 6)
    assert found.calibration["picture"].shape == (8, 3, 4, 4)
    assert not found.invented
    with pytest.raises(ConfigError, match="no calibration inputs for picture") as caught:
        choose(
            (IMU, PICTURE), (), GivenInputs(folders={"imu": folders["imu"]}), calibrates=True, streams=False, say=quiet
        )  # fmt: skip
    assert "--calibration picture=FOLDER" in caught.value.hint
    with pytest.raises(ConfigError, match="2 inputs: imu, picture") as caught:
        choose(
            (IMU, PICTURE), (), GivenInputs(folders={"": tmp_path}), calibrates=True, streams=False, say=quiet
        )
    assert "--calibration imu=FOLDER --calibration picture=FOLDER" in caught.value.hint


def archive(path: Path) -> Path:
    """Twelve inputs of IMU and BYTES, with what is known of them."""
    random = np.random.default_rng(3)
    right: Any = {"expected/y": np.arange(12, dtype=np.float32).reshape(12, 1)}
    np.savez(
        path,
        imu=random.standard_normal((12, 6)).astype(np.float32),
        bytes=random.integers(-128, 128, (12, 5)).astype(np.int8),
        labels=np.arange(12) % 5,
        **right,
    )
    return path


def test_one_npz_calibrates_all_inputs_and_a_third_of_it_becomes_golden(tmp_path: Path) -> None:
    path = archive(tmp_path / "all.npz")
    given = GivenInputs(folders={"": path})
    found = choose((IMU, BYTES), (), given, calibrates=True, streams=False, say=quiet)
    chosen = chosen_goldens(12)
    assert found.golden["labels"].tolist() == (chosen % 5).tolist()
    assert found.golden["expected/y"][:, 0].tolist() == chosen.tolist()
    assert {name: len(array) for name, array in found.calibration.items()} == {"imu": 8, "bytes": 8}
    assert found.labelled
    both = replace(given, npz=path)
    found = choose((IMU, BYTES), (), both, calibrates=True, streams=False, say=quiet)
    assert (len(found.golden["imu"]), len(found.calibration["imu"])) == (12, 12)


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("imu", "all.npz", "--calibration imu=all.npz: an .npz holds all inputs"),
        ("imu", "all.npy", "all.npy is a file (give its folder, or an .npz"),
        ("", "none.npz", "none.npz: not a readable .npz: No such file"),
    ],
)
def test_a_file_that_cannot_calibrate_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, path: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    archive(Path("all.npz"))
    np.save("all.npy", np.zeros((12, 6), np.float32))
    ports = (IMU,) if path == "all.npy" else (IMU, BYTES)
    with pytest.raises(HilError) as caught:
        choose(ports, (), GivenInputs(folders={name: Path(path)}), calibrates=True, streams=False, say=quiet)
    assert words in str(caught.value)


def test_as_many_of_each_input(tmp_path: Path) -> None:
    for name, shape in (("imu", (12, 6)), ("bytes", (11, 5))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "all.npy", np.zeros(shape, np.float32 if name == "imu" else np.int8))
    folders = {"imu": tmp_path / "imu", "bytes": tmp_path / "bytes"}
    with pytest.raises(ConfigError, match="12 of imu, 11 of bytes"):
        choose((IMU, BYTES), (), GivenInputs(folders=folders), calibrates=True, streams=False, say=quiet)


def test_a_file_of_inputs_keeps_what_it_says_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    random = np.random.default_rng(3)
    right: Any = {"expected/y": np.zeros((12, 2), np.float32)}
    np.savez(
        path,
        picture=random.integers(0, 256, (12, 4, 4, 3)).astype(np.uint8),
        imu=random.standard_normal((12, 1, 6)),  # float64, with the batch of 1
        sequence=np.arange(12) // 4,
        **right,
    )
    given = GivenInputs(npz=path, mean=(0.5, 0.5, 0.5))
    found = choose((IMU, PICTURE), (), given, calibrates=True, streams=False, say=quiet)
    assert [port.layout for port in found.ports] == ["", "NCHW"]
    assert found.ports[1].mean == (0.5, 0.5, 0.5)
    assert found.golden["imu"].shape == (12, 6)
    assert found.golden["imu"].dtype == np.float32
    assert {"sequence", "expected/y"} <= set(found.golden)
    assert found.calibration["picture"].dtype == np.uint8


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            {"imu": np.zeros((12, 7), np.float32), "bytes": np.zeros((12, 5), np.int8)},
            r"imu is float32 \(12, 7\)",
        ),
        ({"imu": np.zeros((12, 6), np.float32)}, "has no bytes"),
        ({"imu": np.full((12, 6), np.nan, np.float32), "bytes": np.zeros((12, 5), np.int8)}, "NaN"),
        ({"imu": np.zeros((12, 6), np.float32), "bytes": np.zeros((12, 5), np.int16)}, "bytes is int16"),
        (
            {"imu": np.zeros((12, 6), np.float32), "bytes": np.zeros((10, 5), np.int8)},
            "12 of imu, 10 of bytes",
        ),
    ],
)
def test_a_file_of_inputs_that_does_not_fit_is_told_why(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, **arrays)
    with pytest.raises(GoldenError, match=words):
        choose((IMU, BYTES), (), GivenInputs(npz=path), calibrates=True, streams=False, say=quiet)


def test_invented_inputs_are_the_same_each_time_saturate_and_are_said() -> None:
    said: list[str] = []
    counter = ModelPort(name="i", shape=(), dtype="int32")
    ports = (IMU, BYTES, counter)
    first = choose(ports, (), GivenInputs(), calibrates=True, streams=True, say=said.append)
    again = choose(ports, (), GivenInputs(), calibrates=True, streams=True, say=quiet)
    assert all(np.array_equal(first.golden[name], again.golden[name]) for name in first.golden)
    assert {first.golden["bytes"].min(), first.golden["bytes"].max()} == {-128, 127}
    assert (first.golden["bytes"][-4:-1].reshape(3, -1) == [[-128], [0], [127]]).all()
    assert set(first.golden["i"].tolist()) == {0, 1}
    assert first.golden["sequence"].max() == 1
    assert any("calibrated ON SEEDED NOISE" in line for line in said)
    said.clear()
    choose(ports, (), GivenInputs(), calibrates=False, streams=False, say=said.append)
    assert not any("calibrated" in line for line in said)


@pytest.mark.parametrize("given", [GivenInputs(mean=(0.5,)), GivenInputs(std=(0.5,))], ids=["mean", "std"])
@pytest.mark.parametrize("stored", ["nothing", "folder", "npz"])
def test_a_mean_that_nothing_would_use_is_refused(tmp_path: Path, given: GivenInputs, stored: str) -> None:
    values = np.zeros((12, 6), np.float32)
    if stored == "folder":
        (tmp_path / "imu").mkdir()
        np.save(tmp_path / "imu" / "all.npy", values)
        given = replace(given, folders={"": tmp_path / "imu"})
    elif stored == "npz":
        np.savez(tmp_path / "in.npz", imu=values)
        given = replace(given, npz=tmp_path / "in.npz")
    with pytest.raises(ConfigError, match=r"--(mean|std) is for images"):
        choose((IMU,), (), given, calibrates=True, streams=False, say=quiet)


def test_a_divisor_of_zero_is_refused_before_a_folder_is_made() -> None:
    with pytest.raises(ConfigError, match="--std 0 cannot be divided by"):
        PICTURE.as_image((), (1.0, 0.0, 1.0))


def test_an_array_of_another_name_is_taken_aloud_and_one_too_many_is_named(tmp_path: Path) -> None:
    values = np.zeros((12, 6), np.float32)
    said: list[str] = []
    np.savez(tmp_path / "in.npz", image=values)
    given = GivenInputs(folders={"": tmp_path / "in.npz"})
    choose((IMU,), (), given, calibrates=True, streams=False, say=said.append)
    assert said == ["in.npz: its only array 'image' is taken for the model's only input 'imu'"]
    said.clear()
    np.savez(tmp_path / "in.npz", imu=values)
    choose((IMU,), (), given, calibrates=True, streams=False, say=said.append)
    assert said == []
    np.savez(tmp_path / "in.npz", imu=values, gyro=values)
    choose((IMU,), (), given, calibrates=True, streams=False, say=said.append)
    assert said == ["in.npz: 'gyro' is not read, the model has no such input"]


def test_operators_that_nobody_looks_at_are_refused(wish: Wish, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Lgo: the model has no such operator") as caught:
        read_sources(replace(wish, float_operators=("Lgo",)))
    assert "Gemm" in caught.value.hint
    (tmp_path / "net.espdl").write_bytes(fusion_file())
    with pytest.raises(ConfigError, match="a device file is taken as it is"):
        read_sources(Wish(name="m", files=(tmp_path / "net.espdl",), float_operators=("Log",)))


# meanings


def ports(*outputs: tuple[str, tuple[int, ...]]) -> ModelPorts:
    return ModelPorts(
        inputs=(IMU,), outputs=tuple(ModelPort(name=n, shape=s, dtype="float32") for n, s in outputs)
    )


@pytest.mark.parametrize(
    ("outputs", "labels", "output", "found"),
    [
        ([("y", (5,))], 0, "", {"y": "scores"}),
        ([("y", (1,))], 0, "", {"y": "values"}),
        ([("y", (2, 8, 8))], 0, "", {"y": "values"}),
        ([("a", (3,)), ("b", (2,))], 0, "", {"a": "values", "b": "values"}),
        ([("a", (3,)), ("b", (2,))], 2, "", {"a": "values", "b": "scores"}),
        ([("a", (3,)), ("b", (3,))], 3, "", {"a": "scores", "b": "values"}),
        ([("a", (3,)), ("b", (3,))], 3, "b", {"a": "values", "b": "scores"}),
    ],
)
def test_what_an_output_means_is_guessed_and_said(
    outputs: list[tuple[str, tuple[int, ...]]], labels: int, output: str, found: dict[str, str]
) -> None:
    meanings, said = meanings_of(ports(*outputs), {}, labels, output)
    assert meanings == found
    assert all(
        any(line.startswith(f"{name}: ") for line in said) for name in found if found[name] == "values"
    )


def test_a_persons_word_is_not_guessed_over() -> None:
    meanings, said = meanings_of(ports(("y", (5,))), {"y": "embedding"}, 5, "")
    assert (meanings, said) == ({"y": "embedding"}, [])


def test_device_and_float_model_are_joined_by_name_else_by_size() -> None:
    device = ModelPorts(
        inputs=(
            ModelPort(name="serving_x", shape=(8, 8, 3), dtype="int8"),
            ModelPort(name="imu", shape=(6,), dtype="int8"),
        ),
        outputs=(ModelPort(name="out:0", shape=(4,), dtype="int8"),),
    )
    floats = ModelPorts(
        inputs=(IMU, ModelPort(name="x", shape=(3, 8, 8), dtype="float32")),
        outputs=(ModelPort(name="y", shape=(4,), dtype="float32"),),
    )
    found = joined(device, floats)
    assert [(port.name, port.float_name, port.shape) for port in found.inputs] == [
        ("serving_x", "x", (3, 8, 8)),
        ("imu", "", (6,)),
    ]
    assert found.outputs[0].float_name == "y"
    with pytest.raises(ConfigError, match="is none of the float model's"):
        joined(device, ports(("y", (5,))))


@pytest.mark.parametrize(
    ("extras", "words"),
    [
        ({"sequence": np.array([0, 1])}, "sequence is [2], there are 3 inputs"),
        ({"labels": np.array([0, 1])}, "labels is [2], there are 3 inputs"),
        ({"expected/nope": np.zeros(3)}, "expected/nope"),
        ({"expected/gate": np.zeros((3, 5))}, "expected/gate"),
    ],
)
def test_what_is_wrong_beside_the_inputs_is_said_of_the_person_s_file(
    tmp_path: Path, extras: dict[str, Any], words: str
) -> None:
    """Not of a scratch folder's, which is gone when the error is read."""
    (tmp_path / "net.espdl").write_bytes(fusion_file())
    arrays: dict[str, Any] = {**{name: np.zeros((3, 6), np.int8) for name in ("imu", "audio")}, **extras}
    np.savez(tmp_path / "mine.npz", **arrays)
    given = GivenInputs(npz=tmp_path / "mine.npz")
    asked = Wish(name="mine", files=(tmp_path / "net.espdl",), families=("esp32s3",), given=given)
    with pytest.raises(GoldenError) as caught:
        create(asked, tmp_path / "golden", quiet)
    assert str(tmp_path / "mine.npz") in caught.value.message
    assert words in caught.value.message
    assert "hil-" not in caught.value.message.replace(str(tmp_path), "")
    assert not (tmp_path / "golden").exists()


# device files


def test_an_espdl_alone_becomes_a_model_with_two_inputs_and_two_outputs(tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_bytes(fusion_file())
    asked = Wish(name="given", files=(tmp_path / "net.bin",), families=("esp32s3",))
    said: list[str] = []
    create(asked, tmp_path / "golden", said.append)
    model = catalogue.load("given", (tmp_path / "golden",))
    assert [spec.name for spec in model.inputs] == ["imu", "audio"]
    golden = model.golden()
    assert {array.dtype for array in golden.arrays.values()} == {np.dtype(np.int8)}
    assert set(DeviceFileReference(model, "given", "esp32s3").run(golden.arrays)) == {"product", "gate"}
    assert not any("calibrated" in line for line in said)


def test_an_espdl_that_does_not_tell_its_chip_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "net.espdl").write_bytes(fusion_file())
    with pytest.raises(ConfigError, match="does not tell which chip") as caught:
        create(Wish(name="given", files=(tmp_path / "net.espdl",)), tmp_path / "golden", quiet)
    assert "--target" in caught.value.hint
    assert not (tmp_path / "golden").exists()


def test_of_two_espdl_files_that_do_not_tell_each_is_told_its_chip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.espdl").write_bytes(fusion_file())
    (tmp_path / "b.espdl").write_bytes(fusion_file())
    a, b, into = str(tmp_path / "a.espdl"), str(tmp_path / "b.espdl"), str(tmp_path / "golden")
    assert main(["new", "mine", "--espdl", a, "--espdl", b, "--into", into]) != 0
    assert f"--espdl c={a}" in capsys.readouterr().err
    assert main(["new", "mine", "--espdl", f"c={a}", "--espdl", f"esp32p4={b}", "--into", into]) == 0
    assert catalogue.load("mine", (Path(into),)).recipe("given").targets == ("c", "esp32p4")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"const unsigned char model[] = { 0x1c, 0x00 };", "C source"),
        (b"", "empty file"),
    ],
)
def test_what_is_no_model_file_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "net.tflite").write_bytes(content)
    with pytest.raises(HilError, match=words):
        create(Wish(name="given", files=(tmp_path / "net.tflite",)), tmp_path / "golden", quiet)
    assert not (tmp_path / "golden").exists()


@pytest.mark.parametrize(
    "case",
    [
        ("--onnx", b"\x1c\0\0\0TFL3" + bytes(64), "net is a .tflite file, not ONNX (give it with --tflite)"),
        ("--onnx", b"EDL2" + bytes(64), "net is a .espdl file, not ONNX (give it with --espdl)"),
        ("--onnx", b"PK\x03\x04" + bytes(64), "net is a ZIP archive (a torch checkpoint"),
        ("--onnx", None, "net is a folder (give the .onnx file itself)"),
        ("--tflite", float_model().SerializeToString(), "net is an ONNX file (give it with --onnx"),
        ("--espdl", float_model().SerializeToString(), "net is an ONNX file (give it with --onnx"),
        ("--tflite", b"hello", "net is text that starts with 'hello', not a model file (give the .onnx,"),
    ],
)
def test_a_file_of_another_kind_names_the_option_that_takes_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: tuple[str, bytes | None, str],
) -> None:
    option, content, words = case
    monkeypatch.chdir(tmp_path)
    if content is None:
        Path("net").mkdir()
    else:
        Path("net").write_bytes(content)
    assert main(["new", "mine", option, "net"]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert told.count("net ") == 1, "the file is named once"


def test_what_is_said_of_a_file_names_the_place_where_it_will_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the scratch folder's, which is gone when a person types the line."""
    monkeypatch.chdir(tmp_path)
    Path("net.espdl").write_bytes(fusion_file())
    monkeypatch.setattr(
        "esp_hil.goldens.new_check.changes_of", lambda _found, path: (f"hil resolver {path}",)
    )
    assert main(["new", "mine", "--espdl", "net.espdl", "--target", "esp32p4"]) == 0
    told = capsys.readouterr().out
    assert "hil resolver golden/mine/given/esp32p4.espdl" in told.replace("\\", "/")
    assert "pytest --target esp32p4 --hil-board virtual --hil-model mine" in told


# detectors

BOXES_OF = """
def after(outputs):
    high = outputs["gate"].max()
    return [(0, 0, 8, 8, 0.9, 0), (20, 20, 28, 28, 0.8, 1)] if high > -1e9 else []
"""


def test_a_detector_s_pipeline_comes_along_and_is_tried_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.espdl").write_bytes(fusion_file())
    right: Any = {"expected/boxes": np.zeros((3, 1, 5))}
    np.savez("in.npz", imu=np.zeros((3, 6), np.int8), audio=np.zeros((3, 6), np.int8), **right)
    asked = ["new", "mine", "--espdl", "net.espdl", "--target", "esp32s3", "--inputs", "in.npz"]
    Path("mine.py").write_text("def before(stored): ...", encoding="utf-8")
    assert main([*asked, "--pipeline", "mine.py"]) == 2
    assert "mine.py has no function after(outputs)" in capsys.readouterr().err
    Path("mine.py").write_text("def after(outputs):\n    return outputs['none']", encoding="utf-8")
    assert main([*asked, "--pipeline", "mine.py"]) == 2
    assert "after of the pipeline failed: KeyError: 'none'" in capsys.readouterr().err
    assert not Path("golden/mine").exists()
    Path("mine.py").write_text(BOXES_OF, encoding="utf-8")
    assert main([*asked, "--pipeline", "mine.py"]) == 0
    assert "pipeline: 6 boxes in 3 golden inputs" in capsys.readouterr().out
    model = catalogue.load("mine", (Path("golden"),))
    assert model.pipeline is not None
    assert model.opened_pipeline() is not None
    assert model.golden().expected["boxes"].shape == (3, 1, 5)


def test_boxes_are_no_meaning_of_an_output_but_a_pipeline_s() -> None:
    with pytest.raises(ConfigError) as caught:
        command._meanings(["box=boxes"])
    assert "--pipeline" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        command._meanings(["box=regression"])
    assert "boxes" not in caught.value.hint
    assert "values is a regression" in caught.value.hint


# hil new --check


def test_check_finds_nothing_to_change_in_a_free_batch(
    wish: Wish, capsys: pytest.CaptureFixture[str]
) -> None:
    model = float_model()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    assert wish.onnx is not None
    path = wish.onnx.with_name("free.onnx")
    onnx.save(model, path)
    assert main(["new", "mine", "--onnx", str(path), "--check", "--target", "esp32s3"]) == 0
    assert "->" not in capsys.readouterr().out


def test_check_says_what_to_change_on_which_chip_and_makes_nothing(
    wish: Wish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "mine", "--onnx", str(wish.onnx), "--check", "--target", "esp32s3,esp32"]) == 0
    assert [
        line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.startswith("esp32")
    ] == [["will", "run"]] * 2
    softplus = tmp_path / "softplus.onnx"
    onnx.save(float_model("Softplus"), softplus)
    assert main(["new", "mine", "--onnx", str(softplus), "--check", "--target", "esp32s3"]) == 1
    told = capsys.readouterr().out
    assert "WILL NOT RUN" in told
    assert "-> /extra/Softplus: use Relu or Swish" in told
    assert not (tmp_path / "golden").exists()


def test_check_compares_sizes_with_the_chip(wish: Wish, tmp_path: Path) -> None:
    huge = float_model()
    huge.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 8192
    huge.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 8192
    del huge.graph.node[3:], huge.graph.output[:]
    huge.graph.output.append(helper.make_empty_tensor_value_info(huge.graph.node[-1].output[0]))
    path = tmp_path / "huge.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(huge), path)
    (answer,) = check(replace(wish, onnx=path), ["esp32s3"])
    assert not answer.runs
    assert any("one layer alone needs" in why for why in answer.why)


def test_check_of_a_device_file_for_another_chip_says_which(tmp_path: Path) -> None:
    one = graph(
        [node("Relu", ("x",), ("y",))],
        (value("x", (1, 4), -3), value("y", (1, 4), -3)),
        inputs=["x"],
        outputs=["y"],
    )
    (tmp_path / "net.espdl").write_bytes(edl(one))
    asked = Wish(name="given", files=(tmp_path / "net.espdl",), families=("esp32s3",))
    s3, p4 = check(asked, ["esp32s3", "esp32p4"])
    assert s3.runs
    assert not p4.runs
    assert "the device files are for esp32s3" in p4.why[0]


def test_the_command_reads_inputs_and_meanings_by_name(tmp_path: Path) -> None:
    assert command._pair("image=pictures") == ("image", "pictures")
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert command._pair(str(odd)) == ("", str(odd))
    assert command._meanings(["a=b=values"]) == {"a=b": "values"}
    with pytest.raises(ConfigError, match="--meaning y=regression"):
        command._meanings(["y=regression"])
    assert command._states(["cache=next"]) == {"cache": "next"}
    with pytest.raises(ConfigError, match="--state cache"):
        command._states(["cache"])


# streaming


def stream_ports() -> ModelPorts:
    port = ModelPort
    return ModelPorts(
        inputs=(port(name="x", shape=(4,), dtype="int8"), port(name="h", shape=(2, 3), dtype="int8")),
        outputs=(port(name="y", shape=(2,), dtype="float32"), port(name="next", shape=(6,), dtype="float32")),
    )


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ({"cache": "next"}, "--state cache=next: no input 'cache' (it has: x, h)"),
        ({"h": "state"}, "--state h=state: no output 'state' (it has: y, next)"),
        ({"h": "y"}, "the input is [2, 3], the output [2]"),
    ],
)
def test_a_state_that_does_not_fit_is_told_why(states: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_states(stream_ports(), states)
    assert words in f"{caught.value.message} ({caught.value.hint})"


def test_a_state_takes_real_values_and_something_is_left_to_be_given() -> None:
    x, h = with_states(stream_ports(), {"h": "next"}).inputs
    assert (x.dtype, x.state, h.dtype, h.state) == ("int8", "", "float32", "next")
    alone = replace(stream_ports(), inputs=stream_ports().inputs[1:])
    with pytest.raises(ConfigError, match="every input is a state"):
        with_states(alone, {"h": "next"})


def test_golden_steps_of_a_stream_follow_one_another(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    np.save(tmp_path / "x" / "all.npy", np.arange(30, dtype=np.float32).reshape(30, 1))
    port = ModelPort(name="x", shape=(1,), dtype="float32")
    given = GivenInputs(folders={"x": tmp_path / "x"})
    for streams, wanted in ((True, list(range(10))), (False, [0, 3, 6, 9, 12, 16, 19, 22, 25, 29])):
        chosen = choose((port,), (), given, calibrates=True, streams=streams, say=quiet)
        assert chosen.golden["x"][:, 0].tolist() == wanted
        assert len(chosen.calibration["x"]) == 20


def test_an_espdl_with_a_fed_input_becomes_two_sequences(tmp_path: Path) -> None:
    """`gate` to `imu`: the network of two inputs as if one were its state."""
    (tmp_path / "net.espdl").write_bytes(fusion_file())
    asked = ["new", "mine", "--espdl", str(tmp_path / "net.espdl"), "--target", "esp32s3"]
    assert main([*asked, "--state", "imu=gate", "--into", str(tmp_path / "golden")]) == 0
    model = catalogue.load("mine", (tmp_path / "golden",))
    assert [spec.state for spec in model.inputs] == ["gate", ""]
    golden = model.golden()
    assert list(golden.arrays) == ["audio"]
    assert golden.starts.sum() == 2
    meanings = {output.name: output.meaning for output in model.outputs}
    assert meanings == {"product": "values", "gate": "raw"}


# whole, with the quantizer


@pytest.mark.quantize
@pytest.mark.parametrize("stored", ["bytes", "floats"])
def test_a_whole_folder_is_made(wish: Wish, tmp_path: Path, stored: str) -> None:
    for package in ("torch", "esp_ppq"):
        pytest.importorskip(package)
    if stored == "floats":
        for path in (tmp_path / "inputs").rglob("*.npy"):
            np.save(path, (np.load(path)[np.newaxis] / 128 - 1).astype(np.float32))
    create(wish, tmp_path / "golden", quiet)
    model = catalogue.load("mine", (tmp_path / "golden",))
    golden = model.golden()
    assert golden.labels is not None
    assert sorted(set(golden.labels.tolist())) == [0, 1, 2]
    exact = DeviceFileReference(model, "w8a8", "c").run(golden.inputs)["output"].real()
    floats = FloatReference(model).run(golden.inputs)["output"].real()
    assert np.square(exact - floats).sum() < 0.05 * np.square(floats).sum()
