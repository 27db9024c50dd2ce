"""The codec: lossless, and strict about types in both directions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.errors import ReportError
from esp_hil.results.codec import from_plain, to_plain


@dataclass(frozen=True, slots=True)
class Dot:
    x: int
    label: str = "none"


@dataclass(frozen=True, slots=True)
class Line:
    dots: tuple[Dot, ...]
    width: float


@dataclass(frozen=True, slots=True)
class Drawing:
    shape: Dot | Line | None
    bins: Mapping[int, tuple[int | float, str]]
    mode: Literal["flat", "round"]
    solid: bool


dots = st.builds(Dot, st.integers(), st.text())
lines = st.builds(Line, st.lists(dots).map(tuple), st.floats(allow_nan=False))
drawings = st.builds(
    Drawing,
    st.none() | dots | lines,
    st.dictionaries(st.integers(), st.tuples(st.integers() | st.floats(allow_nan=False), st.text())),
    st.sampled_from(["flat", "round"]),
    st.booleans(),
)


@given(drawings)
def test_a_value_comes_back_equal_and_of_the_same_types(drawing: Drawing) -> None:
    text = json.dumps(to_plain(Drawing, drawing), allow_nan=False)
    back = from_plain(Drawing, json.loads(text))
    assert back == drawing
    assert repr(back) == repr(drawing)


def test_nan_survives_as_a_string() -> None:
    plain = to_plain(Line, Line(dots=(), width=math.nan))
    assert plain["width"] == "NaN"
    assert math.isnan(from_plain(Line, plain).width)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Line(dots=(Dot(1), Dot(2.5)), width=1.0), "dots.1.x: 2.5 is float, must be int"),  # type: ignore[arg-type]
        (Line(dots=[Dot(1)], width=1.0), "dots: [Dot(x=1, label='none')] is list, must be a tuple"),  # type: ignore[arg-type]
        (Line(dots=(), width="wide"), "width: 'wide' is str, must be float"),  # type: ignore[arg-type]
        (Line(dots=(), width=True), "width: True is bool, must be float"),
    ],
)
def test_a_value_of_another_type_is_not_written(value: Line, words: str) -> None:
    with pytest.raises(ReportError) as caught:
        to_plain(Line, value)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"x": 1, "y": 2}, "unknown key y in Dot"),
        ({"label": "a"}, "no x in Dot"),
        ({"x": True}, "x: True is bool, must be int"),
        ({"x": None}, "x: None is NoneType, must be int"),
        ([], "[] is list, must be an object (Dot)"),
    ],
)
def test_what_does_not_fit_is_refused_by_field(plain: object, words: str) -> None:
    with pytest.raises(ReportError) as caught:
        from_plain(Dot, plain)
    assert str(caught.value) == words


def test_a_missing_key_with_a_default_takes_it() -> None:
    assert from_plain(Dot, {"x": 3}) == Dot(3)


def test_a_fault_deep_in_a_union_names_its_place() -> None:
    plain = {
        "shape": {"type": "Line", "dots": [{"x": "1"}], "width": 1.0},
        "bins": {},
        "mode": "flat",
        "solid": True,
    }
    with pytest.raises(ReportError, match=r"^shape\.dots\.0\.x: '1' is str, must be int$"):
        from_plain(Drawing, plain)
    with pytest.raises(ReportError, match=r"^shape: 'Blob' is str, must be one of Dot, Line$"):
        from_plain(Drawing, {**plain, "shape": {"type": "Blob"}})
    with pytest.raises(ReportError, match=r"^mode: 'odd' is str, must be one of flat, round$"):
        from_plain(Drawing, {**plain, "shape": None, "mode": "odd"})
