"""The conformance suite on virtual boards: right kernels are green, wrong ones red, and no others.

A sample of the operators here; all of them, fault by fault, by `tox run -e proof-conformance`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from esp_hil import cli
from esp_hil.report.conformance import write_conformance
from esp_hil.results.conformance import Table, compared, conformance, outcome_of, why_of
from esp_hil.results.journal import read_runs
from esp_hil.results.record import OperatorRow, Run
from esp_hil.session.options import Options, combinations
from esp_hil.targets import target
from esp_hil.virtual.board import VirtualBoard
from tests.formats.tflite.networks import needs_tflm

PROOF = bool(os.environ.get("HIL_PROOF_CONFORMANCE"))
TARGETS = ("esp32s3", "esp32p4", "esp32c3")
SAMPLE = ("Mul", "MaxPool", "Sigmoid", "Neg", "Pad", "Add", "Relu", "PRelu")
MOST_S = 120.0


def run(folder: Path, target: str, faults: Sequence[dict[str, Any]] = (), *more: str) -> tuple[int, Table]:
    """`hil conformance` on a virtual board: status and table."""
    words = ["conformance", "--target", target, "--board", "virtual", "--out", str(folder), "--runs", "2"]
    if faults:
        words += ["--virtual-faults", json.dumps({"engine": {"operator": list(faults)}})]
    if not PROOF and "--operator" not in more:
        words += ["--operator", ",".join(SAMPLE)]
    status = cli.main([*words, *more])
    (table,) = conformance(read_runs(folder).runs)
    return status, table


def red(table: Table) -> set[tuple[str, int]]:
    return {(e.operator, e.bits) for e in table.entries if e.outcome in {"differs", "fails"}}


@dataclass(frozen=True)
class Ran:
    target: str
    folder: Path
    status: int
    table: Table
    seconds: float


@pytest.fixture(scope="module", params=TARGETS)
def right(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder, began_s = tmp_path_factory.mktemp("right"), time.monotonic()
    status, table = run(folder, request.param)
    return Ran(request.param, folder, status, table, time.monotonic() - began_s)


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("wrong")
    status, table = run(folder, "esp32s3", MIXED)
    return Ran("esp32s3", folder, status, table, 0.0)


MIXED = (
    {"operator": "Mul", "bits": 8, "fault": "rounding"},
    {"operator": "MaxPool", "fault": "minimum"},
    {"operator": "Sigmoid", "bits": 16, "fault": "broken"},
    {"operator": "Neg", "bits": 16, "fault": "crash"},
    {"operator": "Pad", "bits": 8, "fault": "refused"},
)
WRONG = {("Mul", 8), ("MaxPool", 8), ("MaxPool", 16), ("Sigmoid", 16), ("Neg", 16), ("Pad", 8)}


def test_right_kernels_are_exact_on_every_family(right: Ran) -> None:
    assert right.status == 0
    assert red(right.table) == set()
    # softmax with float answers: this PC's C library is not the one that they were recorded with
    within = [row.model for row in right.table.rows if outcome_of(row) == "within"]
    assert all(name.startswith("Softmax-") for name in within)
    assert right.table.count("exact") == len(right.table.rows) - len(within)
    assert right.table.count("exact", recorded=True) > 0
    assert right.table.count("exact", recorded=False) > 0
    if PROOF:
        assert right.seconds < MOST_S


def test_every_operator_tells_what_it_costs(right: Ran) -> None:
    for entry in right.table.entries:
        assert entry.cycles_per_element is not None, entry.title
        assert (entry.cycles_per_mac is not None) == (
            entry.operator in {"Conv", "Gemm", "MatMul", "GRU", "LSTM"}
        )


def test_exactly_the_wrong_kernels_are_red(wrong: Ran) -> None:
    assert wrong.status == 1
    assert red(wrong.table) == WRONG


def test_a_crash_and_a_refusal_fail_alone_and_the_board_goes_on(wrong: Ran) -> None:
    found = {entry.title: entry for entry in wrong.table.entries}
    assert {outcome_of(row) for row in found["Neg int16"].rows} == {"fails"}
    assert all("crash" in why_of(row) for row in found["Neg int16"].rows)
    assert all("Do not support Pad" in why_of(row) for row in found["Pad int8"].rows)
    assert found["Neg int8"].outcome == "exact"
    assert found["Relu int16"].outcome == "exact"


def test_a_difference_from_our_own_reference_is_worded_so_and_one_from_a_recorded_answer_is_not(
    wrong: Ran,
) -> None:
    rows = [row for row in wrong.table.rows if outcome_of(row) == "differs"]
    origins = {row.case.origin for row in rows if row.case is not None}
    assert origins == {"assembly", "reference"}
    for row in rows:
        assert row.case is not None
        assert ("our reference may be wrong" in why_of(row)) == (row.case.origin == "reference")
    assert "it rounds half even" in next(why_of(row) for row in rows if row.model.startswith("Mul-"))


def test_page_and_table_say_what_is_wrong_and_are_safe_to_pass_on(wrong: Ran, tmp_path: Path) -> None:
    hostile = [replace(row, board="<script>alert(1)</script>") for row in wrong.table.rows]
    written = write_conformance(hostile, tmp_path)
    page, table = (written[name].read_text(encoding="utf-8") for name in ("conformance", "conformance-md"))
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "&lt;script&gt;" in page
    assert "http://" not in page
    assert "https://" not in page
    for text in (page, table):
        assert "SIM" in text
        assert "recorded answers: " in text
        assert "answers of our reference: " in text
        for operator, _ in WRONG:
            assert operator in text
    line = next(line for line in table.splitlines() if line.startswith("| Mul | int8 "))
    assert "differs" in line
    assert "1 LSB" in line


def test_an_earlier_table_tells_what_became_worse_and_what_was_mended(wrong: Ran, tmp_path: Path) -> None:
    before = tmp_path / "before"
    status, old = run(before, "esp32s3")
    assert status == 0
    worse = [change for change in compared(wrong.table, old) if change.kind == "worse"]
    assert {change.case for change in worse} == {
        row.case.name for row in wrong.table.rows if row.case is not None and outcome_of(row) != "exact"
    }
    assert {change.kind for change in compared(old, wrong.table)} == {"mended"}
    written = write_conformance(wrong.table.rows, tmp_path, old.rows)
    assert "worse" in written["conformance-md"].read_text(encoding="utf-8")
    status, _ = run(tmp_path / "again", "esp32s3", MIXED[:1], "--operator", "Mul", "--against", str(before))
    assert status == 1


def test_cycles_are_compared_on_like_boards_only(wrong: Ran) -> None:
    def slow(row: Run, **changes: Any) -> Run:
        return replace(row, cycles=tuple(2 * count for count in row.cycles), **changes)

    (now,) = conformance([slow(row) for row in wrong.table.rows])
    slower = [change for change in compared(now, wrong.table) if change.kind == "slower"]
    assert len(slower) == sum(bool(row.cycles) for row in wrong.table.rows)
    assert slower[0].words == "2.00 times the cycles"
    (other,) = conformance([slow(row, kind="silicon") for row in wrong.table.rows])
    assert not [change for change in compared(other, wrong.table) if change.kind == "slower"]


def test_an_operator_behind_a_wrong_one_is_not_blamed(tmp_path: Path) -> None:
    """esp32s3 has PRelu behind a Conv; nearest Resize as well."""
    faults = [{"operator": "Conv", "fault": "broken"}]
    _, table = run(tmp_path, "esp32s3", faults, "--operator", "Resize")
    behind = [row for row in table.rows if outcome_of(row) == "not judged"]
    assert behind
    assert red(table) == set()
    assert all("Conv before it is wrong" in why_of(row) for row in behind)


def test_the_suite_is_left_out_unless_it_is_named() -> None:
    options = Options(targets=("esp32s3",), board="virtual")
    found = combinations(options, "operator")
    assert {(one.model, one.recipe) for one in found} > {
        ("Conv", "int8"),
        ("Conv", "int16"),
        ("Resize", "int8"),
    }
    assert ("Resize", "int16") not in {(one.model, one.recipe) for one in found}
    only = Options(targets=("esp32s3",), board="virtual", models=("Conv",), recipes=("int16",))
    assert [one.id for one in combinations(only, "operator")] == ["Conv-int16-esp32s3"]
    assert combinations(only) == ()


def test_rows_of_operators_are_read_again(wrong: Ran) -> None:
    for row in wrong.table.rows:
        assert Run.from_json(row.to_json()) == row
        assert isinstance(row.case, OperatorRow)


FAULTS = [
    ({"operator": "Conv", "bits": 8, "fault": "rounding"}, {("Conv", 8)}),
    ({"operator": "Gemm", "fault": "rounding"}, {("Gemm", 8), ("Gemm", 16)}),
    ({"operator": "Mul", "fault": "rounding"}, {("Mul", 8), ("Mul", 16)}),
    ({"operator": "AveragePool", "fault": "rounding"}, {("AveragePool", 8), ("AveragePool", 16)}),
    ({"operator": "RequantizeLinear", "bits": 8, "fault": "rounding"}, {("RequantizeLinear", 8)}),
    ({"operator": "Add", "fault": "minimum"}, {("Add", 8), ("Add", 16)}),
    ({"operator": "MaxPool", "bits": 8, "fault": "minimum"}, {("MaxPool", 8)}),
    ({"operator": "ReduceMax", "fault": "minimum"}, {("ReduceMax", 8), ("ReduceMax", 16)}),
    ({"operator": "LUT", "fault": "broken"}, {("LUT", 8), ("LUT", 16)}),
    ({"operator": "ScatterND", "bits": 16, "fault": "broken"}, {("ScatterND", 16)}),
    ({"operator": "LSTM", "fault": "crash"}, {("LSTM", 8), ("LSTM", 16)}),
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("fault", "wanted"),
    FAULTS,
    ids=lambda value: str(value.get("operator")) if isinstance(value, dict) else "",
)
def test_each_fault_turns_its_operators_red_and_no_others(
    target: str, fault: dict[str, Any], wanted: set[tuple[str, int]], tmp_path: Path
) -> None:
    if not PROOF:
        pytest.skip("all operators for each fault: tox run -e proof-conformance")
    status, table = run(tmp_path, target, [fault])
    assert status == 1
    assert red(table) == wanted


OLD = json.dumps({"engine": {"kernels": "esp-dl 3.3.5"}})


def test_a_board_with_an_older_esp_dl_differs_where_that_one_did_and_the_version_is_named(
    tmp_path: Path,
) -> None:
    chosen = ("--operator", "LUT,Gelu,LpNormalization,Relu", "--bits", "16", "--virtual-faults", OLD)
    status, table = run(tmp_path, "esp32s3", (), *chosen)
    assert status == 1
    outcomes = {(entry.operator, outcome_of(row)) for entry in table.entries for row in entry.rows}
    assert {outcome for operator, outcome in outcomes if operator == "Relu"} == {"exact"}
    assert {outcome for operator, outcome in outcomes if operator == "LpNormalization"} == {"fails"}
    wrong = [row for row in table.rows if outcome_of(row) == "differs"]
    assert {row.case.operator for row in wrong if row.case is not None} == {"LUT", "Gelu"}
    assert all("ESP-DL 3.3.5 interpolates between the entries" in why_of(row) for row in wrong)


# TFLM

FAULTY = {
    "tflm_s8_conv_same_stride2": "esp-nn#31",
    "tflm_s8_avgpool_wide": "ESP-NN average-pool-pitch",
    "tflm_s8_maxpool_four": "ESP-NN max-pool-minimum",
    "tflm_s8_depthwise_tiled": "ESP-NN depthwise-tiled-padding",
}
KERNELS = json.dumps({"engine": {"kernels": "esp-nn 1.2.3"}})


@needs_tflm
@pytest.mark.parametrize("target", ["esp32", "esp32s3"] if PROOF else ["esp32"])
def test_tflm_s_operators_are_exact_on_its_reference_kernels(target: str, tmp_path: Path) -> None:
    operators = () if PROOF else ("--operator", "CONV_2D,MUL,SOFTMAX,EQUAL,DEQUANTIZE")
    status, table = run(tmp_path, target, (), "--runtime", "tflm", *operators)
    assert status == 0
    assert red(table) == set()
    assert table.count("exact", recorded=True) == len(table.rows)


@needs_tflm
def test_esp_nn_s_known_faults_are_named_and_nothing_else_is_red(tmp_path: Path) -> None:
    chosen = "CONV_2D,AVERAGE_POOL_2D,MAX_POOL_2D,DEPTHWISE_CONV_2D,ADD"
    more = ("--runtime", "tflm", "--operator", chosen, "--virtual-faults", KERNELS)
    status, table = run(tmp_path, "esp32s3", (), *more)
    assert status == 1
    wrong = [row for row in table.rows if outcome_of(row) != "exact"]
    assert {row.case.name: row.case.fault for row in wrong if row.case is not None} == FAULTY
    page = (tmp_path / "conformance.html").read_text(encoding="utf-8")
    assert "known fault esp-nn#31" in page


@needs_tflm
def test_firmware_of_the_other_runtime_is_the_board_s_error_and_not_the_operators(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with VirtualBoard(target("esp32s3"), runtime="tflm") as board:
        words = ["conformance", "--target", "esp32s3", "--port", board.url, "--out", str(tmp_path)]
        assert cli.main([*words, "--operator", "Relu"]) == 1
    assert "HandshakeError" in capsys.readouterr().out
    assert conformance(read_runs(tmp_path).runs) == ()


def test_measured_rows_of_operators_correct_a_prediction(
    wrong: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [replace(row, kind="silicon") for row in wrong.table.rows if row.layers]
    (tmp_path / "runs.jsonl").write_text("".join(row.to_json() + "\n" for row in rows), encoding="utf-8")
    words = ["predict", "gesture", "--target", "esp32s3", "--recipe", "w8a8"]
    assert cli.main([*words, "--learn", str(tmp_path)]) == 0
    assert "operators corrected by your own rows" in capsys.readouterr().out
    assert cli.main([*words, "--learn", str(wrong.folder)]) != 0  # a virtual board's time tells nothing


def test_cases_are_written_as_files(tmp_path: Path) -> None:
    words = [
        "conformance",
        "--target",
        "esp32c3",
        "--operator",
        "Mul",
        "--bits",
        "8",
        "--export",
        str(tmp_path),
    ]
    assert cli.main(words) == 0
    names = {path.stem for path in tmp_path.glob("*.espdl")}
    assert names
    assert names == {path.stem for path in tmp_path.glob("*.npz")}
