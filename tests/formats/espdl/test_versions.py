"""What older versions of ESP-DL compute otherwise: which nodes that is, and since when it is as today."""

from __future__ import annotations

import numpy as np
import pytest

from esp_hil.formats.espdl import Graph
from esp_hil.formats.espdl.versions import CHANGES, NEWEST, changes_since
from tests.formats.espdl.writer import graph, node, tensor, value


def sliced(axis: int, step: int) -> Graph:
    limits = [
        tensor(name, np.array([n], np.int64)) for name, n in (("s", 0), ("e", 4), ("a", axis), ("p", step))
    ]
    values = (value("x", (1, 4, 4, 3)), value("y", (1, 4, 4, 3)))
    return graph([node("Slice", ("x", "s", "e", "a", "p"), ("y",))], values, initializers=limits)


def looked_up(entries: int, dtype: str) -> Graph:
    table = tensor("t", np.zeros(entries, dtype))
    values = (value("x", (1, 4), 0, dtype), value("y", (1, 4), 0, dtype))
    return graph([node("LUT", ("x",), ("y",), lut="t")], values, initializers=[table])


def convolved(exponents: tuple[int, ...], rank: int = 4, bias: str = "int32") -> Graph:
    shape = (1, *[5] * (rank - 2), 2)
    weights = tensor("w", np.zeros((1, 1, 2, 2), np.int8), exponents=exponents)
    constants = [weights, tensor("b", np.zeros(2, bias))]
    return graph(
        [node("Conv", ("x", "w", "b"), ("y",))],
        (value("x", shape), value("y", shape)),
        initializers=constants,
    )


def averaged(size: int, dtype: str) -> Graph:
    values = (value("x", (1, size, size, 2), 0, dtype), value("y", (1, 1, 1, 2), 0, dtype))
    return graph([node("GlobalAveragePool", ("x",), ("y",))], values)


def pooled(rank: int) -> Graph:
    shape = (1, *[4] * (rank - 2), 2)
    return graph([node("MaxPool", ("x",), ("y",), kernel_shape=(1,))], (value("x", shape), value("y", shape)))


def resized(factor: int, mode: str) -> Graph:
    values = (value("x", (1, 4, 4, 2)), value("y", (1, 4 * factor, 4 * factor, 2)))
    return graph([node("Resize", ("x",), ("y",), mode=mode)], values)


@pytest.mark.parametrize(
    ("since", "changed", "same"),
    [
        ("3.3.8", looked_up(2049, "int16"), looked_up(65536, "int16")),
        ("3.3.8", looked_up(257, "int16"), looked_up(256, "int8")),
        ("3.3.7", sliced(2, 2), sliced(3, 2)),
        ("3.3.7", sliced(-3, -2), sliced(1, 1)),
        ("3.3.1", convolved((-7, -6)), convolved((-7,))),
        ("3.2.2", averaged(23, "int16"), averaged(22, "int16")),
        ("3.2.2", averaged(30, "int16"), averaged(30, "int8")),
        ("3.1.4", pooled(3), pooled(4)),
        ("3.1.3", convolved((-7,), rank=3), convolved((-7,), rank=4)),
        ("3.1.2", resized(3, "nearest"), resized(2, "nearest")),
        ("3.1.2", resized(2, "linear"), resized(2, "nearest")),
        ("3.1.2", convolved((-7,), bias="int64"), convolved((-7,), bias="int32")),
    ],
)
def test_a_node_is_judged_by_the_version_before_its_change(since: str, changed: Graph, same: Graph) -> None:
    major, minor, patch = (int(part) for part in since.split("."))
    older = f"{major}.{minor}.{patch - 1}"
    assert {change.since for _, change in changes_since(older, changed)} == {since}
    assert not list(changes_since(since, changed))
    assert not list(changes_since(older, same))


def test_the_newest_version_and_an_untold_one_compute_everything_as_today() -> None:
    for version in (NEWEST, ""):
        assert not list(changes_since(version, looked_up(2049, "int16")))


def test_every_change_has_its_source_and_a_version_that_is_known() -> None:
    assert all(change.source and change.before for change in CHANGES)
    ordered = [tuple(map(int, change.since.split("."))) for change in CHANGES]
    assert ordered == sorted(ordered, reverse=True)
