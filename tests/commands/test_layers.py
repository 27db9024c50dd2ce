"""`hil layers` over the line of a virtual board with a planted fault: node, diagnosis, requests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from esp_hil.cli import main
from esp_hil.exact.tflite import labels
from esp_hil.formats.tflite import read_tflite
from esp_hil.targets import target
from esp_hil.virtual import EngineFaults, FaultPlan, VirtualBoard
from esp_hil.virtual.faults import FlippedBit, NodeFault, OffByLsb
from tests.conftest import ROOT
from tests.formats.tflite.networks import needs_tflm

CHIP = "esp32s3"
CASES: dict[str, tuple[NodeFault | FlippedBit, str, str]] = {
    "rounding": (
        NodeFault(node="/conv2/Conv", fault="rounding", mode="half_even"),
        "/conv2/Conv",
        "it rounds half to even, not half up",
    ),
    "exponent": (
        NodeFault(node="/fc1/Gemm", fault="exponent", amount=-1),
        "/fc1/Gemm",
        "it shifts its sums by -1: an exponent is off",
    ),
    "layout": (
        NodeFault(node="/pool1/MaxPool", fault="layout"),
        "/pool1/MaxPool",
        "the bytes are in NCHW order where NHWC is right",
    ),
    "bit": (FlippedBit(tensor="conv2.weight", index=1234, bit=6), "/conv2/Conv", "bit 6 of weight"),
    "accumulator": (
        NodeFault(node="/conv1/Conv", fault="accumulator", amount=12),
        "/conv1/Conv",
        "its accumulator saturates at 12 bits",
    ),
    "padding": (
        NodeFault(node="/conv2/Conv", fault="padding", amount=1),
        "/conv2/Conv",
        "its windows lie one pixel further up and left: padding is off by one",
    ),
}


@contextmanager
def board(*faults: NodeFault | FlippedBit) -> Iterator[str]:
    engine = EngineFaults(
        node=tuple(fault for fault in faults if isinstance(fault, NodeFault)),
        bit=tuple(fault for fault in faults if isinstance(fault, FlippedBit)),
    )
    with VirtualBoard(target(CHIP), faults=FaultPlan(engine=engine)) as opened:
        yield opened.url


def layers(url: str, *arguments: str) -> int:
    return main(["layers", "mnist", "--recipe", "w8a8", "--target", CHIP, "--port", url, *arguments])


@pytest.mark.parametrize("name", CASES)
def test_a_planted_fault_is_found_over_the_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    fault, node, words = CASES[name]
    with board(fault) as url:
        assert layers(url) == 1
    told = capsys.readouterr().out
    first = told.splitlines()[0]
    assert re.search(rf"first wrong at node \d+ of 8, \w+ {node}: ", first), told
    assert words in first
    requests = re.search(r"^requests +(\d+):", told, re.MULTILINE)
    assert requests is not None
    assert int(requests[1]) <= 3 + 3, "log2 of 8 nodes, and 3"


def test_both_tensors_are_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fault, *_ = CASES["exponent"]
    with board(fault) as url:
        assert layers(url, "--save", str(tmp_path / "found.npz")) == 1
    assert str(tmp_path / "found.npz") in capsys.readouterr().out
    with np.load(tmp_path / "found.npz") as arrays:
        assert not np.array_equal(arrays["got"], arrays["expected"])


def test_a_right_board_has_no_wrong_layer(capsys: pytest.CaptureFixture[str]) -> None:
    with board() as url:
        assert layers(url, "--input", "3") == 0
        assert layers(url, "--all") == 0
    told = capsys.readouterr().out
    assert "no layer is wrong" in told
    assert "tensors of input 0: none wrong" in told


def test_all_tensors_of_a_wrong_board_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    fault, *_ = CASES["exponent"]
    with board(fault) as url:
        assert layers(url, "--all") == 1
    told = capsys.readouterr().out.splitlines()
    states = ["WRONG" in line for line in told[:-1]]
    first = states.index(True)
    assert "/fc1/" in told[first] or "/relu3/" in told[first]
    assert not any(states[:first])


def test_an_input_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert layers("/dev/null", "--input", "9999") != 0
    assert "--input 9999" in capsys.readouterr().err


@needs_tflm
def test_a_wrong_layer_of_a_tflite_model_is_found_too(capsys: pytest.CaptureFixture[str]) -> None:
    """A bias of the second convolution is another: six operators, found in no more than 3 + 3 requests."""
    model = read_tflite(ROOT / "golden" / "fashion" / "int8" / "tflm.tflite")
    second = [operator for operator in model.operators if operator.name == "CONV_2D"][1]
    fault = OffByLsb(tensor=labels(model)[second.inputs[2]], index=2, add_lsb=4000)
    plan = FaultPlan(engine=EngineFaults(parameter=(fault,)))
    command = ["layers", "fashion", "--recipe", "int8", "--target", "esp32c3", "--port"]
    with VirtualBoard(target("esp32c3"), runtime="tflm", faults=plan) as opened:
        assert main([*command, opened.url]) == 1
    told = capsys.readouterr().out
    assert f"first wrong at node 3 of 6, CONV_2D {second.index}:CONV_2D: " in told
    assert "only channel 2 differs" in told
    assert "zero point" in told
    requests = re.search(r"^requests +(\d+):", told, re.MULTILINE)
    assert requests is not None
    assert int(requests[1]) <= 3 + 3
