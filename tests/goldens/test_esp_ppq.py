from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from esp_hil.errors import InputError, QuantizeError
from esp_hil.formats.espdl import read_espdl
from esp_hil.goldens import esp_ppq as quantizer
from esp_hil.goldens.esp_ppq import Quantized, _check_it, _tail, executor_answers, native_path, quantize
from esp_hil.models.model_toml import parse
from esp_hil.models.recipe import Recipe
from esp_hil.targets import Family
from tests.golden.tiny import float_model, images, write_folder

needs_quantizer = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "esp_ppq")),
    reason="esp-ppq and torch are not installed: pip install 'esp-hil[quantize]'",
)


def floats(count: int, seed: int) -> NDArray[np.float32]:
    return (images(count, seed)[:, np.newaxis] / np.float32(128) - 1).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("golden")) / "tiny"


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    return parse(folder / "model.toml").recipes["w8a8"]


def run(folder: Path, recipe: Recipe, out: Path, family: Family = "esp32p4", **more: Any) -> Quantized:
    return quantize(folder / "model.onnx", recipe, family, floats(12, 1), espdl=out, **more)


@needs_quantizer
@pytest.mark.quantize
def test_the_same_job_gives_the_same_bytes_and_leaves_the_onnx_alone(
    folder: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / "model.onnx").read_bytes()
    said: list[str] = []
    monkeypatch.setenv("PYTHONHASHSEED", "1")  # a parent's own seed must not matter
    first = run(folder, recipe, tmp_path / "a" / "1.espdl", say=said.append)
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    second = run(folder, recipe, tmp_path / "2.espdl")
    assert first.espdl.read_bytes() == second.espdl.read_bytes()
    assert (folder / "model.onnx").read_bytes() == before
    assert any("12 calibration inputs" in line for line in said)
    assert first.versions["esp-ppq"]
    assert read_espdl(first.espdl).metadata["target"] == "esp32p4"


@needs_quantizer
@pytest.mark.quantize
def test_the_kept_graph_answers_as_the_one_that_was_exported(
    folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    inputs, native = floats(5, 9), tmp_path / "graph.native"
    made = run(folder, recipe, tmp_path / "m.espdl", "c", inputs=inputs, native=native)
    assert made.answers["output"].dtype == np.int8
    assert made.answers["output"].shape == (5, 3)
    again = executor_answers(native, made.espdl, "c", inputs)
    assert np.array_equal(again["output"], made.answers["output"])
    assert len({row.tobytes() for row in again["output"]}) > 1


@needs_quantizer
@pytest.mark.quantize
def test_mixed_precision_reaches_the_file(folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    mixed = replace(recipe, dispatch=MappingProxyType({"/fc/Gemm": 16}))
    graph = read_espdl(run(folder, mixed, tmp_path / "m.espdl").espdl).graph
    assert graph.outputs[0].dtype == "int16"
    assert graph.inputs[0].dtype == "int8"
    assert "RequantizeLinear" in [node.op_type for node in graph.nodes]


@needs_quantizer
@pytest.mark.quantize
def test_a_pass_with_its_settings_changes_the_file(folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    passes = {"bias_correction": {"steps": 12, "block_size": 2}}
    corrected = replace(recipe, passes=MappingProxyType(passes))
    plain = run(folder, recipe, tmp_path / "plain.espdl").espdl
    assert run(folder, corrected, tmp_path / "corrected.espdl").espdl.read_bytes() != plain.read_bytes()


@needs_quantizer
@pytest.mark.quantize
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dispatch": {"/fc/Gem": 16}}, ("names operator '/fc/Gem'", "/fc/Gemm")),
        ({"passes": {"tqt": {"stepps": 5}}}, ("tqt has no setting 'stepps'", "steps")),
        (
            {"passes": {"tqt": {"steps": 2, "interested_layers": ["/x"]}}},
            ("names operator '/x'", "/conv/Conv"),
        ),
    ],
)
def test_names_that_esp_ppq_would_ignore_are_errors(
    folder: Path, recipe: Recipe, tmp_path: Path, changes: dict[str, Any], says: tuple[str, str]
) -> None:
    with pytest.raises(QuantizeError) as caught:
        run(folder, replace(recipe, **changes), tmp_path / "m.espdl")
    assert says[0] in caught.value.message
    assert says[1] in caught.value.hint
    assert not (tmp_path / "m.espdl").exists()


@needs_quantizer
@pytest.mark.quantize
def test_an_operator_that_stays_in_float_is_an_error_unless_allowed(
    folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "softplus.onnx"
    onnx.save(float_model("Softplus"), path)
    with pytest.raises(QuantizeError, match=r"stayed in float: /extra/Softplus \(Softplus\)"):
        quantize(path, recipe, "c", floats(6, 1), espdl=tmp_path / "m.espdl")
    allowed = replace(recipe, float_operators=("Softplus",))
    made = quantize(path, allowed, "c", floats(6, 1), espdl=tmp_path / "m.espdl")
    assert read_espdl(made.espdl).graph.outputs[0].dtype == "float32"


@needs_quantizer
@pytest.mark.quantize
def test_what_esp_ppq_raises_becomes_an_error_of_ours(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no onnx")
    with pytest.raises(QuantizeError, match="esp-ppq: ") as caught:
        quantize(tmp_path / "broken.onnx", recipe, "c", floats(6, 1), espdl=tmp_path / "m.espdl")
    assert "--check says what to change" in caught.value.hint
    assert "Traceback" not in str(caught.value)
    assert ".py" not in str(caught.value)


def test_what_a_worker_printed_is_told_without_its_tracebacks(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text(
        """\x1b[38;5;3m[WARNING] input 4 is None\x1b[m
[01:02:03] Calibration ...   12 of 20\r[01:02:04] Calibration ... Finished.
Traceback (most recent call last):
  File "/a/default.py", line 60, in forward
    return run()
KeyError: 'keepdims'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/a/defs.py", line 60, in wrapped
RuntimeError: Op Execution Error
""",
        encoding="utf-8",
    )
    assert _tail(log).split(" | ")[::2] == [
        "[WARNING] input 4 is None",
        "[01:02:04] Calibration ... Finished.",
    ]
    assert _check_it(log).endswith("the last that esp-ppq printed: [01:02:04] Calibration ... Finished.")
    log.write_text("", encoding="utf-8")
    assert _check_it(log) == "hil new NAME --onnx FILE --check says what to change"


@needs_quantizer
@pytest.mark.quantize
def test_a_quantizer_that_takes_too_long_is_killed(folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match="still running after"):
        run(folder, recipe, tmp_path / "m.espdl", deadline_s=0.01)
    assert not (tmp_path / "m.espdl").exists()


def test_a_missing_quantizer_says_how_to_install_it(
    folder: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(QuantizeError, match="needs torch and esp_ppq") as caught:
        run(folder, recipe, tmp_path / "m.espdl")
    assert "esp-hil[quantize]" in caught.value.hint


@pytest.mark.skipif(shutil.which("false") is None, reason="no program `false` on this system")
def test_a_worker_that_dies_without_a_word_is_an_error(
    folder: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantizer, "require_quantizer", lambda: None)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(QuantizeError, match="died with status 1: it printed nothing"):
        run(folder, recipe, tmp_path / "m.espdl")


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 1, 8, 8)), np.zeros(4, np.float32), np.zeros((0, 1, 8, 8), np.float32)]
)
def test_a_calibration_input_of_another_kind_is_refused(
    folder: Path, recipe: Recipe, tmp_path: Path, wrong: NDArray[Any]
) -> None:
    with pytest.raises(InputError, match="calibration input"):
        quantize(folder / "model.onnx", recipe, "c", wrong, espdl=tmp_path / "m.espdl")


def test_a_family_that_is_none_is_refused_instead_of_exported_as_float(
    folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    family: Any = "esp32h2"
    with pytest.raises(QuantizeError, match="esp32h2"):
        run(folder, recipe, tmp_path / "m.espdl", family)


def test_a_graph_that_was_never_kept_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match="no quantized graph") as caught:
        executor_answers(tmp_path / "none", tmp_path / "m.espdl", "c", floats(1, 1))
    assert "hil golden build" in caught.value.hint


def test_kept_graphs_are_named_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_CACHE", str(tmp_path / "cache"))
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    first, same, other = (native_path(tmp_path / name) for name in "abc")
    assert first == same != other
    assert first.is_relative_to(tmp_path / "cache")


@pytest.mark.quantize
def test_the_roots_that_equalization_divides_by_are_rounded_correctly_on_every_processor() -> None:
    pytest.importorskip("torch")
    code = """
import numpy as np, torch
from esp_hil.goldens.esp_ppq_worker import _round_correctly
_round_correctly(torch)
values = np.random.default_rng(0).uniform(0.01, 100, 100_000).astype(np.float32)
exact = np.sqrt(values.astype(np.float64)).astype(np.float32)
assert np.array_equal(torch.sqrt(torch.from_numpy(values)).numpy(), exact)
assert torch.sqrt(torch.tensor(2.0)).shape == ()
trained = torch.tensor([4.0], requires_grad=True)
torch.sqrt(trained).sum().backward()
assert trained.grad.item() == 0.25
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True
    )  # its own process: torch stays as it is in this one
