"""Small files to start from: every container, and operators that look at attributes and constants."""

from __future__ import annotations

import numpy as np

from tests.formats.espdl.examples import conv_graph, tiny_graph
from tests.formats.espdl.writer import edl, graph, node, pack, tensor, value
from tests.lint.builders import gru, packed_gemm, prelu, table
from tests.lint.cases import CASES


def shape_graph() -> bytes:
    """A chain of operators that take shapes and indices from constants."""
    constants = (
        tensor("p", np.array([0, 0, 0, 0, 0, 1, 1, 0], np.int64)),
        tensor("s", np.array([1, -1], np.int64)),
        tensor("a", np.array([1], np.int64)),
        tensor("e", np.array([9], np.int64)),
        tensor("i", np.array([0, 2], np.int64)),
    )
    nodes = (
        node("Pad", ("x", "p"), ("h1",), mode="constant"),
        node("Transpose", ("h1",), ("h2",), perm=(0, 3, 1, 2)),
        node("Slice", ("h2", "a", "e", "a"), ("h3",)),
        node("Reshape", ("h3", "s"), ("h4",)),
        node("Gather", ("h4", "i"), ("h5",), axis=1),
        node("ReduceMean", ("h5", "a"), ("y",), keepdims=1),
    )
    shapes = {
        "x": (1, 4, 4, 2),
        "h1": (1, 5, 5, 2),
        "h2": (1, 2, 5, 5),
        "h3": (1, 1, 5, 5),
        "h4": (1, 25),
        "h5": (1, 2),
        "y": (1, 1),
    }
    values = [value(name, shape, -3) for name, shape in shapes.items()]
    return edl(graph(nodes, values, initializers=constants))


def corpus() -> list[bytes]:
    """The files."""
    graphs = [
        tiny_graph(),
        conv_graph(),
        conv_graph(layout="(N/16)HWC16", channels=16),
        conv_graph(layout="(N/16)HWC16_UNALIGNED", channels=3, exponents=(-7, -8, -6)),
        gru(),
        packed_gemm(3),
        prelu((1, 4, 4, 2), 2),
        table(256),
    ]
    files = [edl(item, metadata={"target": "c"}) for item in graphs]
    files.append(shape_graph())
    files.append(edl(tiny_graph(), container="EDL1"))
    files += [
        pack("PDL1", {"a": edl(tiny_graph(), container="EDL1")}),
        pack("PDL2", {"a": files[0], "b": files[1]}),
        pack("PDL3", {"a": files[0]}),
    ]
    subjects = [case[0] for cases in CASES.values() for case in cases]
    files += [
        edl(subject.graph) for subject in subjects if subject.model is not None and subject.stage == "espdl"
    ]
    return files
