from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from esp_hil.errors import FormatError
from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import Graph, read_espdl
from esp_hil.lint import lint_file
from esp_hil.targets import target
from tests.formats.espdl.examples import same_graph
from tests.formats.espdl.writer import edl, graph, node, tensor, value

KINDS = ["int8", "uint8", "int16", "int32", "int64", "float32", "float64", "bool"]


def constants(sizes: tuple[int, ...]) -> Graph:
    """A graph with a constant of each element type and size, all of them odd in bytes or alignment."""
    generator = np.random.default_rng(0)
    tensors = [
        tensor(
            f"{kind}_{size}",
            generator.integers(0, 2, size).astype(kind),
            exponents=(0,) if "int" in kind else (),
        )
        for kind in KINDS
        for size in sizes
    ]
    return graph([node("Relu", ["x"], ["y"])], [value("x", (1, 4)), value("y", (1, 4))], initializers=tensors)


@pytest.mark.parametrize("listed", [0, 4, 1000])
@pytest.mark.parametrize("sizes", [(1, 2, 3), (5, 15, 16, 17), (250, 256)])
def test_tensors_of_the_old_schema_are_read_at_any_length_and_alignment(
    sizes: tuple[int, ...], listed: int
) -> None:
    written = constants(sizes)
    model = read_espdl(edl(written, container="EDL1", old_schema=True, listed=listed))
    assert same_graph(model.graph, written)


def test_an_edl1_file_of_the_present_schema_is_read_as_before() -> None:
    written = constants((1, 16, 17, 256))
    assert same_graph(read_espdl(edl(written, container="EDL1")).graph, written)


def test_the_old_schema_in_the_present_container_is_damage() -> None:
    with pytest.raises(FormatError, match=r"not aligned|bytes instead of|no data|beyond the end"):
        read_espdl(edl(constants((17,)), container="EDL2", old_schema=True))


def test_a_list_of_the_wrong_length_or_range_is_damage() -> None:
    image = bytearray(edl(constants((3,)), container="EDL1", old_schema=True, listed=9))
    read_espdl(bytes(image))
    written = graph(
        [node("Relu", ["x"], ["y"])],
        [value("x", (1, 4)), value("y", (1, 4))],
        initializers=[tensor("w", np.array([1, 2, 77], np.int8))],
    )
    image = bytearray(edl(written, container="EDL1", old_schema=True, listed=9))
    at = image.index(np.array([1, 2, 77], "<i4").tobytes())
    image[at + 8 : at + 12] = np.array([300], "<i4").tobytes()
    with pytest.raises(FormatError, match="'w' is int8 and has numbers beyond that"):
        read_espdl(bytes(image))
    image[at - 4 : at] = np.array([2], "<u4").tobytes()
    with pytest.raises(FormatError, match="of shape 3 has 2 numbers"):
        read_espdl(bytes(image))


def test_a_file_of_esp_dl_3_0_gives_its_stored_answer(shared: Path) -> None:
    path = shared / "cases" / "edl1_old_schema" / "small_edl1.espdl"
    model = read_espdl(path)
    stored = model.graph
    given = {name: np.asarray(item.data).reshape(item.shape) for name, item in stored.test_inputs.items()}
    answers = ExactReference(model, "esp32s3").run(given)
    for name, item in stored.test_outputs.items():
        assert np.array_equal(answers[name].reshape(-1), item.data)
    assert lint_file(path, target=target("esp32s3")).passed
