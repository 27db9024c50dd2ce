"""MODEL is a name, a folder or a file, and means the same in every command that takes one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp_hil.cli import main
from esp_hil.errors import ConfigError, UnknownModel
from esp_hil.models.device_file import open_device_file
from esp_hil.models.named import find, with_model
from esp_hil.targets import target
from esp_hil.tensors import Array
from esp_hil.virtual import EngineFaults, FaultPlan, VirtualBoard
from esp_hil.virtual.faults import NodeFault
from tests.conftest import ROOT
from tests.formats.tflite.networks import needs_tflm

CHIP = "esp32s3"
FOLDER = ROOT / "golden" / "mnist"
FILE = FOLDER / "w8a8" / f"{CHIP}.espdl"
FASHION = ROOT / "golden" / "fashion" / "int8" / "tflm.tflite"
WAYS = {"name": "mnist", "folder": str(FOLDER), "file": str(FILE)}
COMMANDS = {
    "lint": ["--target", CHIP],
    "plan": ["--target", CHIP],
    "exact": ["--target", CHIP, "--explain"],
    "predict": ["--target", CHIP],
    "scores": ["--target", CHIP, "--input", "3"],
    "layers": ["--target", CHIP, "--input", "0", "--board", "virtual"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_a_folder_and_a_file_say_the_same(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for way, given in WAYS.items():
        assert main([command, given, *COMMANDS[command]]) == 0
        said[way] = (
            capsys.readouterr().out.replace(f"mnist w8a8 {CHIP}", "IT").replace(f"mnist on {CHIP}", "IT")
        )
    assert said["name"] == said["folder"]
    same = said["file"].replace(f"{CHIP} on {CHIP}", "IT")
    if command in {
        "lint",
        "predict",
    }:  # the file's own name stands there, and what is published is told by name
        same, said["name"] = (text.splitlines()[1] for text in (same, said["name"]))
    assert same == said["name"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("mnits", "did you mean 'mnist'?"),
        ("no/such.espdl", "cannot read no/such.espdl"),
        ("face_detect", "is a task, not a model"),
    ],
)
def test_what_is_neither_is_one_line(
    command: str, given: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, given, *COMMANDS[command]]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1


def test_the_first_recipe_for_the_chip_is_taken() -> None:
    named = find("fashion", chip=target("esp32c3"))
    assert (named.recipe, named.family, named.path) == ("int8", "tflm", FASHION)
    assert find("mnist").family == "c"
    assert find("mnist", family="esp32p4").path.name == "esp32p4.espdl"


def test_lint_of_a_model_says_which_files_it_did_not_look_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", "mnist", "--target", CHIP]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith("not looked at: ")
    assert "w8a8 c" in told
    assert f"w8a8 {CHIP}" not in told


def test_a_recipe_that_is_not_there_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"has no recipe 'w4a4'.*it has: w8a8"):
        find("mnist", recipe="w4a4")
    with pytest.raises(ConfigError, match=r"has no device file for esp32p9.*c, esp32s3, esp32p4"):
        find("mnist", family="esp32p9")
    with pytest.raises(ConfigError, match="is a file, which has no recipes"):
        find(str(FILE), recipe="w8a8")


def test_a_model_called_as_a_folder_here_is_still_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIL_GOLDEN", str(ROOT / "golden"))
    assert find("mnist").path == FOLDER / "w8a8" / "c.espdl"
    with pytest.raises(UnknownModel):
        find("other")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A device file that belongs to no model."""
    return Path(shutil.copy(FILE, tmp_path / "own.espdl"))


def write(path: Path, name: str, values: Array) -> None:
    arrays: dict[str, Any] = {name: values}
    np.savez(path, **arrays)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    (tensor,) = open_device_file(FILE).inputs
    path = tmp_path / "in.npz"
    write(path, tensor.name, np.random.default_rng(2).integers(-9, 99, tensor.shape).astype(np.int8))
    return path


def test_a_file_in_a_models_folder_has_its_labels_and_goldens(own: Path) -> None:
    named = with_model(find(str(FILE)))
    assert named.model is not None
    assert (named.name, named.recipe, named.family) == ("mnist", "w8a8", CHIP)
    assert with_model(find(str(own))).model is None


def test_the_scores_of_a_file_of_its_own_are_those_of_the_exact_reference(
    own: Path, inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scores", str(own), "--target", CHIP, "--inputs", str(inputs)]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    file = open_device_file(own)
    with np.load(inputs) as arrays:
        (wanted,) = file.exact("esp32s3").run(dict(arrays)).values()
    assert [int(line[2:].split()[1]) for line in lines] == wanted.ravel().tolist()
    assert lines[int(wanted.argmax())].startswith(">")


def test_a_file_without_goldens_asks_for_inputs(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scores", str(own), "--target", CHIP]) == 2
    assert "give --inputs IN.npz" in capsys.readouterr().err


def test_a_file_whose_family_nobody_told_asks_for_the_chip(
    own: Path, inputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scores", str(own), "--inputs", str(inputs)]) == 2
    assert "name the chip: --target" in capsys.readouterr().err


def test_the_wrong_layer_of_a_file_without_goldens_is_found_with_random_inputs(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = NodeFault(node="/conv2/Conv", fault="padding", amount=1)
    with VirtualBoard(target(CHIP), faults=FaultPlan(engine=EngineFaults(node=(fault,)))) as board:
        assert main(["layers", str(own), "--target", CHIP, "--port", board.url]) == 1
    assert "Conv /conv2/Conv: " in capsys.readouterr().out.splitlines()[0]


@needs_tflm
def test_a_tflite_file_is_run_by_its_own_kernels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = open_device_file(FASHION)
    (tensor,) = file.inputs
    given = np.random.default_rng(3).integers(-128, 128, tensor.shape).astype(np.int8)
    write(tmp_path / "in.npz", tensor.name, given)
    paths = [str(tmp_path / name) for name in ("in.npz", "out.npz")]
    assert main(["exact", "fashion", "--inputs", paths[0], "--outputs", paths[1]]) == 0
    (wanted,) = file.exact("tflm").run({tensor.name: given}).values()
    with np.load(paths[1]) as answers:
        assert np.array_equal(answers[file.outputs[0].name], wanted)
    assert main(["exact", "fashion", "--explain"]) == 2
    assert "are for .espdl files" in capsys.readouterr().err
