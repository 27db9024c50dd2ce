"""Steps of sequences: state is carried from step to step and forgotten between sequences, on both sides."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from esp_hil.commands import new as command
from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import Graph, read_espdl
from esp_hil.goldens.references import DeviceFileReference, FloatReference
from esp_hil.models.catalogue import Model
from esp_hil.models.device_file import open_device_file
from esp_hil.targets import Family
from tests.formats.espdl.writer import edl, graph, node, value
from tests.formats.tflite.graphs import variable
from tests.formats.tflite.networks import needs_tflm
from tests.networks.folders import Outcome, folder, integers, suites

SEQUENCE = np.array([0] * 5 + [1] * 3 + [2])

CACHED = """
[[inputs]]
name = "x"
dtype = "int8"
shape = [1, 4]

[[outputs]]
name = "y"
meaning = "raw"
"""

FED = """
[[inputs]]
name = "x"
dtype = "int8"
shape = [4]

[[inputs]]
name = "before"
dtype = "float32"
shape = [4]
state = "after"

[[outputs]]
name = "after"
meaning = "values"
"""

ADDING = """
[[inputs]]
name = "x"
dtype = "float32"
shape = [4]

[[outputs]]
name = "y"
meaning = "values"
"""


def cached() -> Graph:
    """x (1,1,4) -> the last three of it (1,3,4), from ESP-DL's own cache."""
    return graph(
        [node("StreamingCache", ("x",), ("y",), window_size=3, frame_axis=1)],
        (value("x", (1, 1, 4), -4), value("y", (1, 3, 4), -4)),
    )


def fed() -> Graph:
    """after = x * before + x, by the host's feeding: `before` is what `after` was."""
    values = [value(name, (1, 4), exponent) for name, exponent in (("x", -4), ("before", -3), ("p", -3))]
    values += [value("q", (1, 4), -3), value("after", (1, 4), -3)]
    nodes = [
        node("Mul", ("x", "before"), ("p",)),
        node("Mul", ("x", "x"), ("q",)),
        node("Add", ("p", "q"), ("after",)),
    ]
    return graph(nodes, values, inputs=["x", "before"], outputs=["after"])


def windows(x: NDArray[np.int8], starts: NDArray[np.bool_]) -> NDArray[np.int8]:
    """What a cache of two frames gives, in numpy."""
    kept: list[NDArray[np.int8]] = []
    found = []
    for frame, fresh in zip(x, starts, strict=True):
        if fresh:
            kept = [np.zeros_like(frame)] * 2
        found.append(np.concatenate([*kept, frame]))
        kept = [kept[1], frame]
    return np.stack(found)


def planted(root: Path, tensor: str) -> Path:
    """A plan of faults: one LSB in an output."""
    path = root / "faults.json"
    fault = {"tensor": tensor, "index": 2, "add_lsb": 1}
    path.write_text(json.dumps({"engine": {"output": [fault]}}), encoding="utf-8")
    return path


def exact(found: Outcome) -> None:
    assert found.status == 0, found.text
    assert found.run.verdict is not None
    assert found.run.verdict.bit_exact


def test_a_cache_of_the_file_is_kept_over_steps_and_emptied_between_sequences(tmp_path: Path) -> None:
    x = integers(len(SEQUENCE), 1, 4)
    model = folder(tmp_path, CACHED, {"esp32p4": edl(cached())}, {"x": x, "sequence": SEQUENCE})
    golden = model.golden()
    answers = DeviceFileReference(model, "given", "esp32p4").run(golden.arrays, golden.starts)
    np.testing.assert_array_equal(answers["y"].values, windows(x, golden.starts))
    exact(suites(tmp_path, target="esp32p4"))


def test_an_output_has_the_shape_of_a_step_where_the_file_has_that_of_the_whole_clip(tmp_path: Path) -> None:
    """As esp-ppq exports streaming models: ESP-DL computes the shape anew when it loads the file."""
    stale = graph(
        [node("StreamingCache", ("x",), ("y",), window_size=3, frame_axis=1)],
        (value("x", (1, 1, 4), -4), value("y", (1, 44, 4), -4)),
    )
    assert [one.shape for one in open_device_file(edl(stale)).outputs] == [(1, 3, 4)]
    x = integers(len(SEQUENCE), 1, 4)
    model = folder(tmp_path, CACHED, {"esp32p4": edl(stale)}, {"x": x, "sequence": SEQUENCE})
    golden = model.golden()
    answers = DeviceFileReference(model, "given", "esp32p4").run(golden.arrays, golden.starts)
    np.testing.assert_array_equal(answers["y"].values, windows(x, golden.starts))
    exact(suites(tmp_path, target="esp32p4"))


_STREAMED = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np, torch
from torch import nn
import esp_ppq.api as api
from esp_ppq import PPQLinearQuant_toInt
from esp_ppq.executor import TorchExecutor

folder, family, frames = sys.argv[1], sys.argv[2], 50
torch.manual_seed(0)
torch.set_num_threads(1)
net = nn.Sequential(nn.Conv1d(8, 16, 3), nn.ReLU(), nn.Conv1d(16, 16, 3, dilation=2), nn.ReLU(), nn.Conv1d(16, 4, 1))
x = torch.randn(32, 8, frames)

def quantized(**more):
    path = folder + "/net.onnx"
    torch.onnx.export(
        net.eval(), torch.zeros(1, 8, frames), path,
        input_names=["x"], output_names=["y"], opset_version=18, dynamo=False,
    )
    return api.espdl_quantize_onnx(
        path, folder + "/" + ("streaming" if more else "whole") + ".espdl",
        torch.utils.data.DataLoader(x, batch_size=1, shuffle=False), 32, [1, 8, frames], inputs=[x[:1]],
        target=family, num_of_bits=8, error_report=False, verbose=0, **more,
    )

quantized(auto_streaming=True, streaming_input_shape=[1, 8, 1])
whole = quantized()
answer = TorchExecutor(whole, device="cpu").forward(x[:1])[0]
operation = whole.outputs["y"].source_op
config = operation.output_quant_config[operation.outputs.index(whole.outputs["y"])]
np.savez(folder + "/executor.npz", x=x[0].numpy(), y=PPQLinearQuant_toInt(answer, config).numpy())
"""


@pytest.mark.quantize
@pytest.mark.parametrize("family", ["esp32s3", "esp32p4"])
def test_steps_of_a_streaming_export_are_what_the_executor_answers_to_the_whole_clip(
    tmp_path: Path, family: Family
) -> None:
    """esp-ppq's executor knows no cache; over a whole clip it answers what each full window of the stream must be."""
    for package in ("torch", "esp_ppq"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'esp-hil[quantize]'")
    asked = [sys.executable, "-c", _STREAMED, str(tmp_path), family]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    model = read_espdl(tmp_path / "streaming.espdl")
    assert sum(one.op_type == "StreamingCache" for one in model.graph.nodes) == 2
    with np.load(tmp_path / "executor.npz") as arrays:
        x, right = arrays["x"], arrays["y"][0]
    (given,) = model.graph.inputs
    scaled = x / 2.0 ** given.exponents[0]
    rounded = np.floor(scaled + 0.5) if family == "esp32s3" else np.rint(scaled)
    frames = np.clip(rounded, -128, 127).astype(np.int8).T.reshape(-1, *given.shape)
    reference = ExactReference(model, family)
    reference.reset()
    steps = [reference.run({given.name: frame}, keep_state=True)["y"].reshape(-1) for frame in frames]
    full = right.shape[1]
    assert full == 44
    np.testing.assert_array_equal(np.stack(steps[-full:], axis=1), right)


def test_without_sequences_all_steps_are_one(tmp_path: Path) -> None:
    x = integers(6, 1, 4)
    model = folder(tmp_path, CACHED, {"esp32p4": edl(cached())}, {"x": x})
    golden = model.golden()
    answers = DeviceFileReference(model, "given", "esp32p4").run(golden.arrays, golden.starts)
    np.testing.assert_array_equal(answers["y"].values, windows(x, np.arange(6) == 0))


def test_an_output_is_fed_to_an_input_by_the_host(tmp_path: Path) -> None:
    x = integers(len(SEQUENCE), 4)
    model = folder(tmp_path, FED, {"esp32s3": edl(fed())}, {"x": x, "sequence": SEQUENCE})
    golden = model.golden()
    reference = DeviceFileReference(model, "given", "esp32s3")
    answers, whole = reference.run_whole(golden.arrays, golden.starts)
    after = answers["after"].real()
    fresh = golden.starts
    np.testing.assert_array_equal(whole["before"][fresh], 0)
    np.testing.assert_array_equal(whole["before"][1:][~fresh[1:]], after[:-1][~fresh[1:]])
    exact(suites(tmp_path))


def fed_beside_float(root: Path) -> Model:
    """`fed` as a model with the float network it stands for, and golden inputs of three sequences."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 4)) for n in ("x", "before", "next")]
    nodes = [
        helper.make_node("Mul", ["x", "before"], ["p"]),
        helper.make_node("Mul", ["x", "x"], ["q"]),
        helper.make_node("Add", ["p", "q"], ["next"]),
    ]
    made = helper.make_graph(nodes, "g", values[:2], values[2:])
    onnx = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    ).SerializeToString()
    toml = FED.replace('name = "after"', 'name = "after"\nfloat_name = "next"')
    files = {"esp32s3": edl(fed()), "onnx": onnx}
    return folder(root, toml, files, {"x": integers(len(SEQUENCE), 4), "sequence": SEQUENCE})


def float_reference(model: Model) -> FloatReference:
    device = open_device_file(model.artifact("given", "esp32s3"))
    return FloatReference(model, model.device_outputs(device), model.device_inputs(device))


def test_the_float_model_is_fed_with_its_own_outputs(tmp_path: Path) -> None:
    """after = x * before + x * x, in onnxruntime step by step beside numpy."""
    model = fed_beside_float(tmp_path)
    golden = model.golden()
    found = float_reference(model).run(golden.arrays, golden.starts)["after"].values
    before = np.zeros(4, np.float32)
    for row, fresh in enumerate(golden.starts):
        real = golden.arrays["x"][row].astype(np.float32) / 16
        before = real * (0 if fresh else before) + real * real
        np.testing.assert_allclose(found[row], before, rtol=1e-5, err_msg=str(row))


def test_what_hil_new_says_of_the_price_begins_anew_with_each_sequence_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was the suites' figure only where all inputs are one sequence."""
    model = fed_beside_float(tmp_path)
    golden = model.golden()
    exact = DeviceFileReference(model, "given", "esp32s3").run(golden.arrays, golden.starts)["after"].real()
    command._beside_float(model, "given", "esp32s3", {"after": exact})
    off = exact - float_reference(model).run(golden.arrays, golden.starts)["after"].values
    assert (
        f"RMSE, exact vs float {np.sqrt(np.mean(off.astype(np.float64) ** 2)):.4g}" in capsys.readouterr().out
    )


@needs_tflm
def test_variables_of_a_tflite_file_begin_anew_with_each_sequence(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(len(SEQUENCE), 4)).astype(np.float32)
    folder(
        tmp_path, ADDING, {"tflm": variable(assigned="main")}, {"x": x, "sequence": SEQUENCE}, runtime="tflm"
    )
    exact(suites(tmp_path, target="esp32"))


@pytest.mark.parametrize("kind", ["cache", "fed"])
def test_a_wrong_step_is_found_with_the_state_that_it_had(tmp_path: Path, kind: str) -> None:
    toml, made, output = (CACHED, cached(), "y") if kind == "cache" else (FED, fed(), "after")
    x = integers(9, 1, 4) if kind == "cache" else integers(9, 4)
    folder(tmp_path, toml, {"esp32p4": edl(made)}, {"x": x, "sequence": SEQUENCE})
    found = suites(tmp_path, "--hil-virtual-faults", str(planted(tmp_path, output)), target="esp32p4")
    assert found.status == 1
    assert found.run.first_wrong is not None, found.text
    assert found.run.first_wrong.tensor == output
