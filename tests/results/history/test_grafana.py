"""The panels of docs/grafana: their queries run on the tables that there are, and find what was measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sql

from esp_hil.results.history import History
from esp_hil.results.history.figures import COUNTERS, SHOWN
from tests.conftest import ROOT
from tests.report.samples import a_night, failed_run
from tests.results.history import postgres

DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "docs" / "grafana" / "esp-hil.json").read_text(encoding="utf-8")
)
FILLED = {
    "$__timeFrom()": "'2026-03-01T00:00:00Z'",
    "$__timeTo()": "'2026-04-01T00:00:00Z'",
}


@pytest.fixture(scope="module")
def connection() -> Iterator[sql.Connection]:
    if reason := postgres.why_not():
        pytest.skip(reason)
    with postgres.server() as url:
        rows = [*a_night(), failed_run()]
        with History.open(url) as history:
            history.add(
                dataclasses.replace(run, run_id=f"{day}-{n}", started_utc=f"2026-03-{day:02}T02:00:{n:02}Z")
                for day in (1, 2)
                for n, run in enumerate(rows)
            )
        engine = sql.create_engine(url)
        with engine.connect() as opened:
            yield opened
        engine.dispose()


def filled(query: str, connection: sql.Connection) -> str:
    """As Grafana fills it in, with all values picked."""
    for name, value in FILLED.items():
        query = query.replace(name, value)
    for variable in DASHBOARD["templating"]["list"]:
        if f"${variable['name']}" in query:
            rows = connection.execute(sql.text(filled(variable["query"], connection))).scalars()
            query = query.replace(f"${variable['name']}", ",".join(f"'{value}'" for value in rows))
    return query


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_each_panel_finds_what_was_measured(panel: dict[str, Any], connection: sql.Connection) -> None:
    (target,) = panel["targets"]
    query = filled(target["rawSql"], connection)
    assert "$" not in query
    found = connection.execute(sql.text(query.replace(":", "\\:"))).mappings().all()
    assert found
    if target["format"] == "time_series":
        assert all(row["time"] is not None for row in found)
        assert [row["time"] for row in found] == sorted(row["time"] for row in found)


def test_each_figure_that_a_panel_shows_is_kept() -> None:
    shown = {
        word.partition("'")[0]
        for panel in DASHBOARD["panels"]
        for word in panel["targets"][0]["rawSql"].split("f.metric = '")[1:]
    }
    assert shown
    assert shown <= {*SHOWN, *COUNTERS}


def test_the_panels_ask_the_data_source_that_is_provisioned() -> None:
    said = (ROOT / "docs" / "grafana" / "datasource.yaml").read_text(encoding="utf-8")
    for panel in DASHBOARD["panels"]:
        assert f"uid: {panel['datasource']['uid']}\n" in said
        assert f"type: {panel['datasource']['type']}\n" in said
