"""The tables: the same columns and types whatever the rows hold, and each figure says where it comes from."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from esp_hil.errors import ReportError
from esp_hil.results import frames
from esp_hil.results.frames import COLUMNS, checks, compare, documentation, frame, layers, load, repetitions
from esp_hil.results.history import History
from esp_hil.results.journal import Recorder
from esp_hil.results.metrics import counter_column, figures
from esp_hil.results.record import Check, Layer, Run
from tests.conftest import ROOT
from tests.report.samples import a_night, failed_run, sample_run


def test_a_table_has_one_row_a_run_in_their_order() -> None:
    runs = a_night()
    table = frame(runs)
    assert table["run_id"].tolist() == [run.run_id for run in runs]
    assert table["status"].tolist() == ["ok", "wrong", "ok", "ok", "ok", "broken"]
    assert table["failure_class"].tolist()[-1] == "timeout"


def test_columns_and_types_are_those_that_are_documented_whatever_the_rows_hold() -> None:
    said = {column.name: column.dtype for column in COLUMNS}
    for runs in (a_night(), [failed_run()], [sample_run(kind="virtual")], []):
        dtypes = {str(name): str(dtype) for name, dtype in frame(runs).dtypes.items()}
        assert {name: dtypes[name] for name in said} == said
        assert list(dtypes)[: len(said)] == list(said)


def test_the_bytes_of_the_firmware_are_a_column_for_each_memory_and_their_total() -> None:
    sizes = {"flash_code": 700_000, "diram": 120_000, "total": 1_050_000}
    table = frame([sample_run(sizes=sizes), sample_run(sizes={}), sample_run(sizes={"iram": 16, "diram": 8})])
    assert table["size_flash_code"].tolist() == [700_000, pd.NA, pd.NA]
    assert table["size_diram"].tolist() == [120_000, pd.NA, 8]
    assert table["size_total"].dtype == "Int64"
    assert table["firmware_bytes"].tolist() == [1_050_000, pd.NA, 24]


def test_one_latency_column_says_what_was_measured_and_what_simulated() -> None:
    table = frame([sample_run(), sample_run(kind="virtual"), sample_run(kind="emulated")])
    assert table["figure"].tolist() == ["measured", "simulated", "measured"]
    assert table["latency_ms"].notna().tolist() == [True, True, False]  # an emulator's time is no time
    assert table["arena_bytes"].tolist() == [131_072] * 3


def test_whole_figures_are_whole_and_may_be_missing() -> None:
    table = frame([sample_run(), failed_run()])
    assert str(table["arena_bytes"].dtype) == "Int64"
    assert table["arena_bytes"].isna().tolist() == [False, True]
    assert str(table["started"].dtype) == "datetime64[us, UTC]"
    assert table["started"].dt.year.tolist() == [2026, 2026]


def test_a_start_that_is_no_time_is_missing_and_breaks_nothing() -> None:
    assert frame([sample_run(started_utc="yesterday")])["started"].isna().tolist() == [True]


def test_correctness_is_the_same_on_every_board() -> None:
    assert figures(sample_run(kind="virtual", wrong=3))["port_different"] == 3


def test_a_counter_that_firmware_added_is_a_column_by_itself() -> None:
    table = frame([sample_run(counters={"cache_misses": (17, "")}), sample_run()])
    assert table["cache_misses"].tolist()[0] == 17
    assert table["cache_misses"].isna().tolist() == [False, True]


def test_a_counter_never_takes_the_name_of_another_column() -> None:
    table = frame([sample_run(counters={"model": (1, ""), "latency_ms": (2.5, "")}, model="net")])
    assert table["model"].tolist() == ["net"]
    assert table["counter_model"].tolist() == [1]
    assert table["counter_latency_ms"].tolist() == [2.5]


def test_a_counter_says_its_unit_once() -> None:
    assert counter_column("load_us", "us") == counter_column("load", "us") == "load_us"
    assert counter_column("arena_bytes", "B") == counter_column("arena", "B") == "arena_bytes"
    assert counter_column("errors", "") == "errors"


def test_text_is_clean_in_the_table() -> None:
    assert frame([sample_run(model="a\x1b[31m\udc80\n")])["model"].tolist() == ["a\\x1b[31m\\udc80\\x0a"]


def recorded(folder: Path, runs: list[Run]) -> Path:
    recorder = Recorder(folder / "runs.jsonl")
    for run in runs:
        recorder.append(run)
    return folder


def test_folder_file_history_and_rows_give_the_same_table(tmp_path: Path) -> None:
    runs = a_night()
    folder = recorded(tmp_path, runs)
    url = f"sqlite:///{tmp_path / 'history.sqlite'}"
    with History.open(url) as history:
        history.add(runs)
    wanted = frame(runs).sort_values("run_id", ignore_index=True)
    for source in (folder, folder / "runs.jsonl", str(folder), url, str(tmp_path / "history.sqlite"), runs):
        found = load(source).sort_values("run_id", ignore_index=True)
        pd.testing.assert_frame_equal(found, wanted)


def test_a_folder_without_rows_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"no runs\.jsonl in"):
        load(tmp_path)


def test_layers_repetitions_and_checks_are_long_tables_that_name_their_run() -> None:
    leak = Check(suite="memory", name="test_leak", outcome="failed", message="64 B", seconds=0.5)
    layer = Layer(name="/conv", operator="Conv", cycles=(10, 30, 20), macs=100)
    run = sample_run(layers=(layer, dataclasses.replace(layer, name="/fc", cycles=(60,)))).judged(leak)
    found = layers([run])
    assert found["median_cycles"].tolist() == [20, 60]
    assert found["share_pct"].tolist() == [25.0, 75.0]
    assert found["run_id"].tolist() == [run.run_id] * 2
    assert len(repetitions([run, failed_run()])) == len(run.cycles)
    row = checks([run]).iloc[0]
    assert (row["suite"], row["check"], row["outcome"], row["seconds"]) == (
        "memory",
        "test_leak",
        "failed",
        0.5,
    )
    for table in (layers([]), repetitions([]), checks([])):
        assert len(table) == 0
        assert list(table.columns)[:2] == ["run_id", "model"]


def test_what_got_slower_is_the_first_row_of_a_comparison() -> None:
    base = [sample_run(model=name, seed=seed) for seed, name in enumerate(("a", "b", "c"), start=1)]
    new = [
        sample_run(model=name, seed=seed, median_ms=2.75 if name == "b" else 2.5)
        for seed, name in enumerate(("a", "b", "c"), start=1)
    ]
    worst = compare(base, new).iloc[0]
    assert (worst["model"], worst["metric"], worst["judgement"]) == ("b", "latency_ms", "worse")
    assert worst["change_pct"] == pytest.approx(10, abs=1)
    assert worst["low_pct"] < worst["change_pct"] < worst["high_pct"]


def test_what_was_not_compared_is_in_the_table_with_its_reason() -> None:
    found = compare([sample_run(kind="virtual")], [sample_run(kind="virtual", seed=2)])
    left_out = found[found["judgement"] == "not compared"]
    assert "latency" in left_out["metric"].tolist() or not math.isnan(found["base"].iloc[0])


def test_the_documentation_has_every_column() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert documentation() in text, "docs/results.md: put the output of `hil report --columns` into it"
    functions = [
        name for name in ("load", "layers", "repetitions", "checks", "compare") if hasattr(frames, name)
    ]
    assert set(functions) <= set(re.findall(r"`(\w+)\(", text))


def test_parquet_carries_unit_and_meaning_of_each_column(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from esp_hil.report import write_reports

    path = write_reports(a_night(), tmp_path, formats=["parquet"])["parquet"]
    field = pq.read_schema(path).field("latency_ms")
    assert field.metadata[b"unit"] == b"ms"
    assert field.metadata[b"meaning"] == b"median of the timed inferences"
