"""The table: the same columns and types whatever the rows hold, and simulated figures apart."""

from __future__ import annotations

import math

import pandas as pd

from esp_hil.report.table import counter_column, figures, frame
from esp_hil.results.record import Run
from tests.report.samples import a_night, failed_run, sample_run

TWIN = "simulated_latency_median_ms"


def test_a_table_has_one_row_a_run_in_their_order() -> None:
    runs = a_night()
    table = frame(runs)
    assert table["run_id"].tolist() == [run.run_id for run in runs]
    assert table["status"].tolist() == ["ok", "wrong", "ok", "ok", "ok", "broken"]
    assert table["failure_class"].tolist()[-1] == "timeout"


def test_columns_and_types_do_not_depend_on_the_rows() -> None:
    def types(runs: list[Run]) -> dict[str, str]:
        return {
            str(name): str(dtype) for name, dtype in frame(runs).dtypes.items() if "counter_" not in str(name)
        }

    full = types(a_night())
    assert types([failed_run()]) == full
    assert types([sample_run(kind="virtual")]) == full
    assert full["simulated"] == "bool"
    assert full["port_max_lsb"] == "Int64"
    assert full["latency_median_ms"] == full[TWIN] == "float64"


def test_simulated_latency_and_memory_stand_in_columns_of_their_own() -> None:
    table = frame([sample_run(), sample_run(kind="virtual")])
    assert table["simulated"].tolist() == [False, True]
    measured, simulated = table["latency_median_ms"].tolist(), table[TWIN].tolist()
    assert measured[0] > 0
    assert math.isnan(measured[1])
    assert math.isnan(simulated[0])
    assert simulated[1] > 0
    assert table["counter_arena_bytes"].isna().tolist() == [False, True]
    assert table["simulated_counter_arena_bytes"].isna().tolist() == [True, False]
    assert table["latency_unit"].tolist() == ["ms", "ms (simulated)"]


def test_correctness_is_not_simulated() -> None:
    found = figures(sample_run(kind="virtual", wrong=3))
    assert found["port_different"] == 3
    assert not [name for name in found if name.startswith("simulated_") and "lsb" in name]


def test_a_counter_that_firmware_added_is_a_column_by_itself() -> None:
    table = frame([sample_run(counters={"cache_misses": (17, "")}), sample_run()])
    assert table["counter_cache_misses"].tolist()[0] == 17
    assert math.isnan(table["counter_cache_misses"].tolist()[1])


def test_the_same_counter_in_other_units_is_another_column() -> None:
    assert counter_column("load_us", "us") == "counter_load_us"
    assert counter_column("load", "us") == "counter_load_us"
    assert counter_column("load", "ms") == "counter_load_ms"
    assert counter_column("arena_bytes", "B") == counter_column("arena", "B") == "counter_arena_bytes"
    assert counter_column("errors", "") == "counter_errors"


def test_text_is_clean_in_the_table() -> None:
    table = frame([sample_run(model="a\x1b[31m\udc80\n")])
    assert table["model"].tolist() == ["a\\x1b[31m\\udc80\\x0a"]


def test_an_empty_table_still_has_its_columns() -> None:
    assert isinstance(frame([]), pd.DataFrame)
    assert list(frame([]).columns)[:3] == ["run_id", "model", "recipe"]


def test_an_emulator_s_memory_stands_in_columns_of_its_own_and_it_has_no_latency() -> None:
    table = frame([sample_run(kind="emulated"), sample_run(kind="virtual"), sample_run()])
    assert table["emulated_counter_arena_bytes"].isna().tolist() == [False, True, True]
    assert table["simulated_counter_arena_bytes"].isna().tolist() == [True, False, True]
    assert table["latency_median_ms"].isna().tolist() == [True, True, False]
    assert table[TWIN].isna().tolist() == [True, False, True]
    assert table["latency_unit"].tolist() == ["", "ms (simulated)", "ms"]
