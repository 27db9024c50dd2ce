"""The search asks for few tensors, and is not fooled by branches and by layers that hide a fault."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esp_hil.errors import DeviceFault, InputError
from esp_hil.formats.espdl import Graph, Node
from esp_hil.verdict.bisection import Search
from esp_hil.wire.status import Status

RIGHT = np.zeros(3, np.int8)
WRONG = np.ones(3, np.int8)


def graph(sources: Mapping[str, Iterable[str]]) -> Graph:
    """A graph with one node a tensor, which reads the tensors named."""
    nodes = tuple(
        Node(name=f"make {name}", op_type="Add", inputs=tuple(reads), outputs=(name,), attributes={})
        for name, reads in sources.items()
    )
    return Graph(
        name="",
        nodes=nodes,
        inputs=(),
        outputs=(),
        values={},
        initializers={},
        test_inputs={},
        test_outputs={},
    )


def chain(length: int) -> dict[str, list[str]]:
    return {f"t{i}": [f"t{i - 1}" if i else "input"] for i in range(length)}


def search(sources: Mapping[str, Iterable[str]], wrong: Iterable[str], hidden: Iterable[str] = ()) -> Search:
    wrong, hidden = set(wrong), set(hidden)

    def fetch(name: str) -> bytes:
        if name in hidden:
            raise DeviceFault("too large", status=Status.TOO_LARGE)
        return (WRONG if name in wrong else RIGHT).tobytes()

    return Search(graph(sources), dict.fromkeys(sources, RIGHT), fetch)


@given(st.integers(1, 300), st.data())
def test_a_chain_takes_no_more_requests_than_bisection_does(length: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, length - 1))
    found = search(chain(length), [f"t{i}" for i in range(first, length)])
    assert found.run([f"t{length - 1}"]) == f"t{first}"
    assert len(found.steps) <= math.ceil(math.log2(length)) + 1 if length > 1 else 1
    assert found.unconfirmed(f"t{first}") == ()


@given(st.data())
def test_in_any_graph_the_found_tensor_is_wrong_and_its_sources_are_right(data: st.DataObject) -> None:
    """Random graphs, one wrong node, and what is made from it is wrong or, here and there, hidden."""
    count = data.draw(st.integers(1, 40))
    sources: dict[str, list[str]] = {}
    for i in range(count):
        before = [f"t{j}" for j in range(max(0, i - 6), i)]
        reads = data.draw(st.lists(st.sampled_from(before), max_size=3, unique=True)) if before else []
        sources[f"t{i}"] = reads or (before[-1:] or ["input"])
    first = data.draw(st.integers(0, count - 1))
    wrong = {f"t{first}"}
    for name, reads in sources.items():
        hides = data.draw(st.booleans()) and name != f"t{count - 1}"
        if wrong.intersection(reads) and not hides:
            wrong.add(name)
    if f"t{count - 1}" not in wrong:
        return
    found = search(sources, wrong)
    found.budget = 10**6
    name_found = found.run([f"t{count - 1}"])
    assert name_found is not None
    assert name_found in wrong
    assert not wrong.intersection(sources[name_found])
    assert found.unconfirmed(name_found) == ()


def test_a_fault_that_a_later_layer_hides_is_found_on_the_other_path() -> None:
    """The pool of the left branch gives the right values by luck; the right branch carries the fault on."""
    sources = {"a": ["input"], "pool": ["a"], "b": ["pool"], "c": ["a"], "sum": ["b", "c"]}
    found = search(sources, {"a", "c", "sum"})
    assert found.run(["sum"]) == "a"


def test_tensors_that_are_not_given_are_left_out_and_named() -> None:
    found = search(chain(8), [f"t{i}" for i in range(4, 8)], hidden=["t3"])
    assert found.run(["t7"]) == "t4"
    assert found.unconfirmed("t4") == ("t3",)
    assert any(step.state == "not available" and step.note == "too large" for step in found.steps)


def test_outputs_that_are_right_when_asked_again_are_no_find() -> None:
    assert search(chain(5), []).run(["t4"]) is None


def test_the_search_ends_at_its_budget() -> None:
    """Sixty branches into one sum: no bisection, so it stops and says what it did not see."""
    sources: dict[str, list[str]] = {f"b{i}": ["input"] for i in range(60)}
    sources["sum"] = list(sources)
    found = search(sources, {"sum", "b59"})
    found.run(["sum"])
    assert len(found.steps) <= found.budget + 1


def test_a_tensor_of_another_size_is_an_error() -> None:
    found = Search(graph(chain(3)), dict.fromkeys(chain(3), RIGHT), lambda name: b"\0\0")
    with pytest.raises(InputError, match="2 bytes of tensor"):
        found.run(["t2"])


@pytest.mark.parametrize(("tolerance_lsb", "found"), [(0, "t0"), (1, None)])
def test_differences_within_the_tolerance_are_right(tolerance_lsb: int, found: str | None) -> None:
    small = Search(
        graph(chain(4)), dict.fromkeys(chain(4), RIGHT), lambda name: WRONG.tobytes(), tolerance_lsb
    )
    assert small.run(["t3"]) == found
