from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.errors import ConfigError
from esp_hil.virtual import EngineFaults, FaultPlan, LineFaults, OffByLsb, load_plan
from esp_hil.virtual.line import BadLine, Happening

DATA = bytes(range(256)) * 40


def pass_on(line: BadLine, data: bytes, cuts: list[int]) -> tuple[bytes, list[Happening]]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    out, happened = b"", []
    for start, end in itertools.pairwise(edges):
        damaged, more = line.pass_on(data[start:end])
        out += damaged
        happened += more
    return out, happened


def test_a_line_without_faults_passes_everything_on() -> None:
    assert BadLine(LineFaults(), 1).pass_on(DATA) == (DATA, [])


@given(st.integers(0, 1000), st.lists(st.integers(0, len(DATA)), max_size=6))
def test_the_same_seed_damages_the_same_bytes_however_they_are_split(seed: int, cuts: list[int]) -> None:
    faults = LineFaults(
        bit_error_rate=1e-3, drop_rate=3e-3, duplicate_rate=3e-3, text="<text>", text_every_bytes=500
    )
    whole = BadLine(faults, seed).pass_on(DATA)
    assert pass_on(BadLine(faults, seed), DATA, cuts) == whole
    assert whole[0] != DATA


def test_rates_are_what_they_say() -> None:
    size = 400_000
    flipped, _ = BadLine(LineFaults(bit_error_rate=1e-3), 5).pass_on(bytes(size))
    assert sum(byte.bit_count() for byte in flipped) == pytest.approx(8e-3 * size, rel=0.1)
    dropped, _ = BadLine(LineFaults(drop_rate=1e-2), 5).pass_on(bytes(size))
    assert size - len(dropped) == pytest.approx(1e-2 * size, rel=0.1)
    doubled, _ = BadLine(LineFaults(duplicate_rate=1e-2), 5).pass_on(bytes(size))
    assert len(doubled) - size == pytest.approx(1e-2 * size, rel=0.1)
    assert BadLine(LineFaults(drop_rate=1.0), 5).pass_on(DATA)[0] == b""


def test_text_comes_every_so_many_bytes() -> None:
    out, _ = BadLine(LineFaults(text="#", text_every_bytes=10), 1).pass_on(b"." * 35)
    assert out == b"#" + (b"." * 10 + b"#") * 3 + b"." * 5


def test_what_happens_once_happens_once_and_in_its_place() -> None:
    line = BadLine(
        LineFaults(stall_after_bytes=15, stall_s=0.5, reset_after_bytes=5, disconnect_after_bytes=25), 1
    )
    assert [line.pass_on(bytes(10))[1] for _ in range(4)] == [
        [Happening("reset")],
        [Happening("stall", 0.5)],
        [Happening("disconnect")],
        [],
    ]


PLAN = FaultPlan(
    seed=3,
    engine=EngineFaults(delay_s=0.25, output=(OffByLsb(tensor="y", index=2, add_lsb=-1),)),
    to_device=LineFaults(bit_error_rate=1e-5),
    to_host=LineFaults(text="x\n", text_every_bytes=9),
)


def test_a_plan_survives_json_text() -> None:
    assert load_plan(PLAN.to_json()) == PLAN


def test_a_plan_comes_from_toml_or_json_files(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(PLAN.to_json(), encoding="utf-8")
    (tmp_path / "plan.toml").write_text(
        "seed = 3\n[engine]\ndelay_s = 0.25\n[[engine.output]]\ntensor = 'y'\nindex = 2\nadd_lsb = -1\n"
        '[line.to_device]\nbit_error_rate = 1e-5\n[line.to_host]\ntext = "x\\n"\ntext_every_bytes = 9\n',
        encoding="utf-8",
    )
    assert load_plan(str(tmp_path / "plan.json")) == PLAN
    assert load_plan(str(tmp_path / "plan.toml")) == PLAN


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"engin": {}}', "no 'engin'"),
        ('{"engine": {"delay": 1}}', "engine has no 'delay'"),
        ('{"engine": {"delay_s": "long"}}', "engine.delay_s should be float"),
        ('{"engine": {"output": [{"tensor": "y"}]}}', "engine.output"),
        ('{"line": {"bit_error_rate": 1}}', "line has no 'bit_error_rate'"),
        ('{"line": 5}', "line should be a table"),
        ("{", "fault plan"),
        ("nowhere.json", "nowhere.json"),
    ],
)
def test_a_plan_with_a_mistake_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_plan(text)
