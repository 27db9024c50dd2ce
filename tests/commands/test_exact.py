"""`hil exact` and `hil bench exact`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.cli import main
from esp_hil.exact import ExactReference
from esp_hil.exact.session import open_session
from esp_hil.formats.espdl import read_espdl
from esp_hil.goldens.references import DeviceFileReference
from esp_hil.models import catalogue
from tests.conftest import ROOT
from tests.exact.literal import gemm_model
from tests.formats.espdl.examples import conv_graph
from tests.formats.espdl.writer import edl, graph, node, tensor, value
from tests.formats.tflite.networks import needs_tflm
from tests.verdict.test_esp_nn import NETS


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.espdl"
    path.write_bytes(edl(conv_graph()))
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    path = tmp_path / "in.npz"
    np.savez(path, x=np.random.default_rng(0).integers(-128, 128, (1, 6, 6, 3)).astype(np.int8))
    return path


def test_outputs_are_written_by_name_in_the_device_s_type(model: Path, inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    assert main(["exact", str(model), "--inputs", str(inputs), "--outputs", str(out)]) == 0
    with np.load(inputs) as given, np.load(out) as answers:
        wanted = ExactReference(read_espdl(model), "c").run({"x": given["x"]})
        assert answers.files == ["y"]
        assert answers["y"].dtype == np.int8
        assert np.array_equal(answers["y"], wanted["y"])


def test_all_tensors_are_written_when_asked_for(model: Path, inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    assert main(["exact", str(model), "--inputs", str(inputs), "--outputs", str(out), "--all-tensors"]) == 0
    with np.load(out) as answers:
        assert sorted(answers.files) == ["h", "y"]


def test_a_tensor_may_be_called_file_or_lie_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    values = (value("x", (1, 2)), value("file", (1, 2)), value("/a/b", (1, 2)))
    nodes = [node("Identity", ("x",), ("file",)), node("Identity", ("file",), ("/a/b",))]
    (tmp_path / "m.espdl").write_bytes(edl(graph(nodes, values, outputs=("/a/b",))))
    np.savez(tmp_path / "in.npz", x=np.array([[1, 2]], np.int8))
    paths = [str(tmp_path / name) for name in ("m.espdl", "in.npz", "out.npz")]
    command = ["exact", paths[0], "--inputs", paths[1], "--outputs", paths[2], "--all-tensors"]
    assert main([*command, "--target", "esp32c3"]) == 0
    with np.load(tmp_path / "out.npz") as answers:
        assert answers["file"].tolist() == answers["/a/b"].tolist() == [[1, 2]]


def test_the_graph_is_saved_for_onnxruntime_alone(model: Path, inputs: Path, tmp_path: Path) -> None:
    path = tmp_path / "exact.onnx"
    assert main(["exact", str(model), "--save", str(path)]) == 0
    with np.load(inputs) as given:
        x = given["x"]
    saved = open_session(path.read_bytes(), 1).run(["y"], {"x": x})[0]
    assert np.array_equal(saved, ExactReference(read_espdl(model), "c").run({"x": x})["y"])


def test_explain_says_per_layer_which_arithmetic_and_how_near_its_limit(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["exact", str(model), "--explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "numerics: c (file)"
    assert any(line.startswith("Conv_h") and "%" in line for line in lines)
    assert any(line.startswith("Sigmoid_y") and "table" in line for line in lines)


def test_explain_shows_the_headroom_of_esp32s3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    weights = np.full((16, 300), 127, np.int8)
    written = gemm_model(weights, np.zeros(16, np.int32), layout="(N/16)HWC16", exponents=(-7, -7, 0)).graph
    (tmp_path / "m.espdl").write_bytes(edl(written))
    np.savez(tmp_path / "in.npz", x=np.full((1, 300), 127, np.int8))
    paths = [str(tmp_path / name) for name in ("m.espdl", "in.npz", "out.npz")]
    command = [
        "exact",
        paths[0],
        "--inputs",
        paths[1],
        "--outputs",
        paths[2],
        "--explain",
        "--target",
        "esp32s3",
    ]
    assert main(command) == 0
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last[:3] == ["Gemm_y", "16", "16"]
    assert int(last[-1]) == 16 * (300 - 2**19 // 127**2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to do"),
        (["--inputs", "IN"], "go together"),
        (["--inputs", "missing.npz", "--outputs", "OUT"], "missing.npz"),
        (["--inputs", "IN", "--outputs", "no/folder/out.npz"], "cannot write"),
        (["--explain", "--target", "esp32s9"], "unknown target 'esp32s9'"),
        (["--explain", "--target", "esp32p4"], "not for esp32p4"),
        (["--explain", "--esp-nn", "1.2.3"], "--esp-nn is for a .tflite model"),
        (["--explain", "--esp-dl", "three"], "'three' is no version of ESP-DL"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    model: Path, inputs: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    real = {"IN": str(inputs), "OUT": str(model.with_name("out.npz"))}
    assert main(["exact", str(model), *(real.get(item, item) for item in arguments)]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert words in error[0]


def test_a_file_that_does_not_tell_its_family_needs_a_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    written = graph(
        [node("RequantizeLinear", ("x",), ("y",))], (value("x", (1, 2), -2), value("y", (1, 2), -1))
    )
    (tmp_path / "m.espdl").write_bytes(edl(written))
    command = ["exact", str(tmp_path / "m.espdl"), "--explain"]
    assert main(command) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "does not tell" in said
    assert "--target esp32p4" in said
    assert main([*command, "--target", "esp32p4"]) == 0
    assert capsys.readouterr().out.startswith("numerics: esp32p4 (caller)")


def test_a_file_whose_stored_answer_only_one_family_gives_needs_no_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    written = graph(
        [node("RequantizeLinear", ("x",), ("y",))],
        (value("x", (1, 2), -2), value("y", (1, 2), -1)),
        test_inputs=(tensor("x", np.array([[1, 5]], np.int8), exponents=(-2,)),),
        test_outputs=(tensor("y", np.array([[0, 2]], np.int8), exponents=(-1,)),),
    )
    (tmp_path / "m.espdl").write_bytes(edl(written))
    assert main(["exact", str(tmp_path / "m.espdl"), "--explain"]) == 0
    assert capsys.readouterr().out.startswith("numerics: esp32p4 (test tensors)")


def test_the_benchmark_reports_both_contenders_and_their_ratio(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "exact", str(model), "--json", "--rounds", "1", "--threads", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    (outcome,) = report["models"]
    assert set(outcome["speeds"]) == {"exact", "float"}
    speeds = {name: speed["median_ips"] for name, speed in outcome["speeds"].items()}
    assert outcome["exact_per_float"] == pytest.approx(speeds["exact"] / speeds["float"])
    assert report["exact_per_float_geometric_mean"] == pytest.approx(outcome["exact_per_float"])
    assert sum(outcome["paths"].values()) == 2


def test_a_float_model_belongs_to_one_file(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "exact", str(model), str(model), "--float", "m.onnx"]) == 2
    assert "one model" in capsys.readouterr().err


def test_an_unknown_version_is_answered_as_the_newest_and_said(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["exact", str(model), "--explain", "--esp-dl", "4.0.0"]) == 0
    assert "ESP-DL 4.0.0 was not looked into: answered as 3.3.9" in capsys.readouterr().err


@needs_tflm
def test_a_tflite_model_is_answered_by_the_reference_or_with_the_faults_of_esp_nn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, given, out = tmp_path / "net.tflite", tmp_path / "in.npz", tmp_path / "out.npz"
    path.write_bytes(NETS["ESP-NN average-pool-pitch"][1]())
    np.savez(given, x=np.random.default_rng(0).integers(-128, 128, (1, 8, 14, 8)).astype(np.int8))
    words = ["exact", str(path), "--inputs", str(given), "--outputs", str(out)]

    def answered(*more: str) -> NDArray[np.int8]:
        assert main([*words, *more]) == 0
        with np.load(out) as answers:
            made: NDArray[np.int8] = answers["a"]
            return made

    right = answered()
    assert right.shape == (1, 4, 7, 8)
    wrong = answered("--esp-nn", "1.2.3", "--target", "esp32s3")
    assert (right != wrong).any()
    # the second row is written after as many pixels as the output is high, not as it is wide
    assert np.array_equal(wrong.reshape(28, 8)[4:8], right[0, 1, :4])
    assert np.array_equal(answered("--esp-nn", "1.2.3", "--target", "esp32c3"), right)
    assert "was not looked into" not in capsys.readouterr().err
    answered("--esp-nn", "9.0.0", "--target", "esp32s3")
    assert "ESP-NN 9.0.0 was not looked into: answered as 1.2.3" in capsys.readouterr().err
    assert main([*words, "--esp-nn", "1.2.3"]) == 2
    assert "--esp-nn needs --target" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["mnist", "golden/mnist/w8a8/esp32s3.espdl"])
def test_the_golden_file_of_a_model_is_made_into_the_device_s_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    """What `hil golden` keeps, float model's side up, is answered input by input as the suites answer it."""
    model = catalogue.load("mnist", (ROOT / "golden",))
    out = tmp_path / "out.npz"
    path = str(ROOT / given) if "/" in given else given
    asked = ["exact", path, "--inputs", str(ROOT / "golden" / "mnist" / "inputs.npz"), "--target", "esp32s3"]
    assert main([*asked, "--outputs", str(out), "--all-tensors"]) == 0
    assert "120 golden inputs of mnist w8a8 esp32s3" in capsys.readouterr().out
    wanted = DeviceFileReference(model, "w8a8", "esp32s3").run(model.golden().arrays)["output"].values
    with np.load(out) as answers:
        assert answers["output"].shape == (120, 1, 10)
        assert np.array_equal(answers["output"].reshape(wanted.shape), wanted)
        assert len(answers.files) == len(read_espdl(ROOT / "golden/mnist/w8a8/esp32s3.espdl").graph.nodes)


def test_scores_of_a_golden_file_says_how_to_name_one_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scores", "mnist", "--inputs", str(ROOT / "golden" / "mnist" / "inputs.npz")]) != 0
    assert "--input N" in capsys.readouterr().err
