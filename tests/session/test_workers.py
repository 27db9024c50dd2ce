"""Which worker runs which test; and a parallel run of the suites ends in one report."""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.session.options import Options, combinations
from esp_hil.session.workers import group_of, groups_of
from tests.test_plugin import QUICK, outcome, rows, suites

GROUPS = {"mnist-w8a8-esp32p4": "a", "mnist-w8a8-esp32p4x": "b", "kws-w8a8-esp32": "c"}


@pytest.mark.parametrize(
    ("parameters", "group"),
    [
        ("mnist-w8a8-esp32p4", "a"),
        ("mnist-w8a8-esp32p4x", "b"),
        ("lowest-mnist-w8a8-esp32p4", "a"),
        ("kws-w8a8-esp32-zero", "c"),
    ],
)
def test_a_test_belongs_to_the_combination_in_its_id(parameters: str, group: str) -> None:
    assert group_of(f"suites/test_x.py::test_y[{parameters}]", GROUPS) == group


def test_a_test_without_a_combination_is_alone() -> None:
    for nodeid in ("suites/test_x.py::test_y", "suites/test_x.py::test_y[esp32]"):
        assert group_of(nodeid, GROUPS) == nodeid


def test_virtual_boards_are_many_and_a_real_one_is_one() -> None:
    def groups(board: str | None) -> set[str]:
        options = Options(
            targets=("esp32p4", "esp32s3"), board=board, models=("mnist",), recipes=("w8a8",), results=Path()
        )
        return set(groups_of(combinations(options)).values())

    assert len(groups("virtual")) == 2
    assert groups("/dev/ttyUSB0") == {"esp32p4 /dev/ttyUSB0", "esp32s3 /dev/ttyUSB0"}
    assert len(groups(None)) == 2


def test_workers_measure_each_combination_once_and_make_one_report(tmp_path: Path) -> None:
    done = suites(
        "--target", "esp32p4,esp32s3,esp32c3", "--hil-board", "virtual", *QUICK,
        "--hil-results", str(tmp_path), "-n", "2",
        files=("suites/test_numerics.py", "suites/test_memory.py"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcome(done)["passed"] == 21
    found = rows(tmp_path)
    assert sorted(run.target for run in found) == ["esp32c3", "esp32p4", "esp32s3"]
    assert len({run.session_id for run in found}) == 1
    assert done.stdout.count("3 runs: 3 ok") == 1
    assert (tmp_path / "report.html").is_file()
