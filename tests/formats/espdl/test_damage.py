"""Damaged `.espdl` files: the reader refuses them and says at which byte."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esp_hil.errors import FormatError, HilError, UnsupportedOperator
from esp_hil.formats.espdl import read_espdl
from esp_hil.formats.espdl.flat import FlatBuffer
from tests.formats.espdl.examples import conv_graph, same_graph, tiny_graph
from tests.formats.espdl.writer import edl, graph, node, value

TINY = edl(tiny_graph())
CONV = edl(conv_graph())


@pytest.mark.parametrize("data", [TINY, CONV], ids=["tiny", "conv"])
def test_file_cut_at_any_byte_is_refused_with_an_offset(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(FormatError) as caught:
            read_espdl(data[:length])
        assert 0 <= caught.value.offset <= len(data)


def test_flatbuffer_cut_at_any_byte_is_refused_or_reads_the_same() -> None:
    """The header's length is mended here, so that the offsets inside are what must notice."""
    whole = read_espdl(TINY)
    refused = 0
    for length in range(16, len(TINY)):
        cut = bytearray(TINY[:length])
        cut[8:12] = struct.pack("<I", length - 16)
        try:
            model = read_espdl(bytes(cut))
        except FormatError as error:
            assert 0 <= error.offset <= len(TINY)  # noqa: PT017 - both outcomes are right
            refused += 1
        else:
            assert same_graph(model.graph, whole.graph)
    assert refused > 0.9 * (len(TINY) - 16)


@given(st.lists(st.tuples(st.integers(0, len(CONV) - 1), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=400)
def test_changed_bytes_give_a_model_or_a_typed_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(CONV)
    for at, byte in changes:
        data[at] = byte
    try:
        model = read_espdl(bytes(data))
    except HilError:
        return
    for item in model.graph.initializers.values():
        assert item.data.size == np.prod(item.shape, dtype=np.int64)


def test_every_byte_set_to_its_complement_gives_a_model_or_a_typed_error() -> None:
    for at in range(len(TINY)):
        data = bytearray(TINY)
        data[at] ^= 0xFF
        assert "at byte -" not in _refusal(bytes(data))


def test_parts_that_overlap_a_million_times_are_refused_early() -> None:
    """A vector of 16,000 references to one long vector: following them all would visit a gigabyte."""
    names = ["n" * 60_000] * 16_000
    crowded = bytearray(
        edl(graph([node("Relu", ("x",), ("y",), texts=tuple("ab"))], (value("x", (1,)), value("y", (1,)))))
    )
    at = crowded.index(b"\x01\x00\x00\x00a")
    # Point every reference of a new vector at the end of the file to one text after it.
    vector_at = len(crowded) + (-len(crowded) % 4)
    crowded += bytes(vector_at - len(crowded)) + struct.pack("<I", len(names))
    text_at = vector_at + 4 + 4 * len(names)
    for index in range(len(names)):
        item = vector_at + 4 + 4 * index
        crowded += struct.pack("<I", text_at - item)
    crowded += struct.pack("<I", len(names[0])) + names[0].encode()
    reference = next(
        where
        for where in range(16, at, 4)
        if where + struct.unpack_from("<I", crowded, where)[0] == _vector_of(bytes(crowded), at)
    )
    crowded[reference : reference + 4] = struct.pack("<I", vector_at - reference)
    crowded[8:12] = struct.pack("<I", len(crowded) - 16)
    with pytest.raises(FormatError, match="overlap"):
        read_espdl(bytes(crowded))


def _vector_of(data: bytes, text_at: int) -> int:
    """Offset of the vector of two references whose first leads to the text at `text_at`."""
    return next(
        where
        for where in range(16, text_at, 4)
        if struct.unpack_from("<I", data, where)[0] == 2
        and where + 4 + struct.unpack_from("<I", data, where + 4)[0] == text_at
    )


def test_attribute_kind_that_esp_dl_lacks_is_refused() -> None:
    """Each 2 of the file becomes a 5: one of them is the kind of an INT attribute, 5 is a subgraph."""
    data = edl(graph([node("Relu", ("x",), ("y",), one=1)], tuple(tiny_graph().values.values())))
    messages = [
        _refusal(data[:at] + struct.pack("<I", 5) + data[at + 4 :])
        for at in range(16, len(data) - 4, 4)
        if data[at : at + 4] == struct.pack("<I", 2)
    ]
    assert any("'one' is of kind 5, which ESP-DL does not use" in message for message in messages)


def _refusal(data: bytes) -> str:
    try:
        read_espdl(data)
    except FormatError as error:
        return str(error)
    return ""


def test_reference_of_zero_is_refused() -> None:
    """It leads to itself, where a text of no length would be read."""
    vtable, table = struct.pack("<HHH", 6, 8, 4), struct.pack("<iI", 8, 0)
    buffer = FlatBuffer(struct.pack("<I", 12) + vtable + bytes(2) + table)
    with pytest.raises(FormatError, match="points outside"):
        buffer.root().text(0, "name")


def test_field_outside_its_table_is_refused() -> None:
    vtable, table = struct.pack("<HHH", 6, 8, 8), struct.pack("<iI", 8, 0)
    with pytest.raises(FormatError, match="names a field outside its table"):
        FlatBuffer(struct.pack("<I", 12) + vtable + bytes(2) + table + bytes(16)).root()


@pytest.mark.parametrize("size", [0, 2, 5])
def test_vtable_of_an_impossible_size_is_refused(size: int) -> None:
    vtable, table = struct.pack("<HHH", size, 8, 4), struct.pack("<iI", 8, 0)
    with pytest.raises(FormatError, match="vtable of root table"):
        FlatBuffer(struct.pack("<I", 12) + vtable + bytes(2) + table).root()


def test_tensor_data_out_of_alignment_are_refused() -> None:
    """Kernels load 16 bytes at an aligned address; four bytes more in front of the model shift them all."""
    flat = bytearray(TINY[16:])
    root = struct.unpack_from("<I", flat, 0)[0]
    shifted = struct.pack("<I", root + 4) + bytes(4) + flat[4:]
    data = b"EDL2" + struct.pack("<III", 0, len(shifted), 0) + shifted
    with pytest.raises(FormatError, match="not aligned to 16 bytes"):
        read_espdl(data)


def test_local_functions_are_unsupported() -> None:
    import flatbuffers

    builder = flatbuffers.Builder(64)
    builder.StartObject(1)
    function = builder.EndObject()
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(function)
    functions = builder.EndVector()
    builder.StartObject(10)
    builder.PrependUOffsetTRelativeSlot(9, functions, 0)
    builder.Finish(builder.EndObject())
    flat = bytes(builder.Output())
    with pytest.raises(UnsupportedOperator, match="local functions"):
        read_espdl(b"EDL2" + struct.pack("<III", 0, len(flat), 0) + flat)


@pytest.mark.parametrize("flips", range(20))
def test_real_files_with_changed_bytes_give_a_model_or_a_typed_error(shared: Path, flips: int) -> None:
    data = bytearray((shared / "zoo" / "esp32s3" / "tutorial_streaming.espdl").read_bytes())
    chance = random.Random(flips)
    for _ in range(50):
        at = chance.randrange(len(data))
        kept, data[at] = data[at], chance.randrange(256)
        try:
            read_espdl(bytes(data))
        except HilError as error:
            assert str(error)  # noqa: PT017 - both outcomes are right
        data[at] = kept
