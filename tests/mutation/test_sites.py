"""What a seed draws is the same tomorrow, and what is said of survivors is of changes that can still be made."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from tests.conftest import ROOT
from tests.mutation.__main__ import known, numbers
from tests.mutation.near import PACKAGE, stages
from tests.mutation.sites import Line, cpp_sites, draws, lines_of, python_sites

MOST_EQUIVALENTS = 5


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    return lines_of(ROOT)


def test_a_change_elsewhere_does_not_move_what_a_seed_draws(lines: list[Line]) -> None:
    fewer = [line for number, line in enumerate(lines) if number % 10]
    for seed in range(1, 101):
        drawn, site = next(draws(lines, seed))
        if drawn in fewer:
            assert next(draws(fewer, seed)) == (drawn, site)


def test_lines_are_drawn_alike_from_all_parts_of_the_scope(lines: list[Line]) -> None:
    parts = Counter(line.file.split("/")[2] for line in lines)
    drawn = Counter(next(draws(lines, seed))[0].file.split("/")[2] for seed in range(1, 101))
    for part, count in parts.items():
        share = count / len(lines)
        assert abs(drawn[part] / 100 - share) < 4 * (share / 100) ** 0.5, part


def test_each_known_survivor_is_a_change_that_can_still_be_made(lines: list[Line]) -> None:
    possible = {(line.file, line.text, site.said) for line in lines for site in line.sites}
    assert known().keys() - possible == set()
    assert set(known().values()) <= {"survivor", "equivalent"}
    assert list(known().values()).count("equivalent") <= MOST_EQUIVALENTS


def test_a_change_is_made_where_it_is_said() -> None:
    source = 'def f(a: int) -> bool:\n    """Not a < b."""\n    return a < 3  # a < 4\n'
    assert {site.applied_to(source).splitlines()[2] for site in python_sites("f.py", source)} == {
        "    return a <= 3  # a < 4",
        "    return a < 4  # a < 4",
    }
    made = cpp_sites("f.cpp", 'if (a && b) say("a && b");  // a && b\n')
    assert "if (a || b) say" in {
        site.applied_to('if (a && b) say("a && b");  // a && b\n')[:15] for site in made
    }


def test_every_module_of_the_scope_meets_tests_of_its_own_layer_first(lines: list[Line]) -> None:
    for file in sorted({line.file for line in lines if line.file.startswith(PACKAGE)}):
        first = next(stages(ROOT, file))
        layer = "/".join(file.removeprefix(f"{PACKAGE}/").split("/")[:1])
        assert any(test.startswith(f"tests/{layer}/") for test in first), file


def test_seeds_are_read_as_numbers_and_ranges() -> None:
    assert numbers("1,5-7") == [1, 5, 6, 7]


def test_the_lot_of_a_line_depends_on_all_of_it(lines: list[Line]) -> None:
    line = lines[0]
    others = [
        dataclasses.replace(line, file="x"),
        dataclasses.replace(line, text="x"),
        dataclasses.replace(line, nth=9),
    ]
    assert len({one.lot(1) for one in (line, *others)} | {line.lot(2)}) == 5
