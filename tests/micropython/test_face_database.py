"""Both formats of face databases: written, read, changed, damaged, mended."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from esp_hil.errors import FormatError, InputError
from esp_hil.micropython.face_database import FaceDatabase, Flavour, mend, names, parse, record_bytes, same

LENGTH = 8
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=31).filter(
    lambda name: len(name.encode()) <= 31
)


def feature(seed: int, length: int = LENGTH) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    values = np.random.default_rng(seed).normal(size=length).astype(np.float32)
    made: np.ndarray[tuple[int], np.dtype[np.float32]] = values / np.float32(np.linalg.norm(values))
    return made


def of(count: int, flavour: Flavour = "binding", length: int = LENGTH) -> FaceDatabase:
    made = FaceDatabase(flavour=flavour, length=length)
    for number in range(count):
        made = made.enrolled(feature(number, length), f"face {number}" if flavour == "binding" else "")
    return made


@st.composite
def databases(draw: st.DrawFn) -> FaceDatabase:
    flavour: Flavour = draw(st.sampled_from(["binding", "espdl"]))
    made = FaceDatabase(flavour=flavour, length=LENGTH)
    for _ in range(draw(st.integers(1, 5))):
        numbers = draw(arrays(np.float32, LENGTH, elements=st.floats(0.25, 1, width=32)))
        made = made.enrolled(numbers / np.linalg.norm(numbers), draw(NAMES) if flavour == "binding" else "")
    for number in draw(st.sets(st.sampled_from([face.id for face in made.records]))):
        made = made.deleted(number)
    return made


def test_records_have_the_published_lengths() -> None:
    assert record_bytes("binding", 512) == 2082
    assert record_bytes("espdl", 512) == 2050
    assert len(of(3, length=512).to_bytes()) == 6 + 3 * 2082
    assert len(of(3, "espdl", length=512).to_bytes()) == 6 + 3 * 2050


def test_the_bytes_are_those_of_the_binding() -> None:
    made = of(2).deleted(1).to_bytes()
    size = record_bytes("binding", LENGTH)
    assert made[:6] == struct.pack("<HHH", 2, 1, LENGTH)
    assert made[6:8] == b"\0\0"
    assert made[6 + size : 8 + size] == b"\2\0"
    assert made[8 + size : 8 + size + 4 * LENGTH] == feature(1).tobytes()
    assert made[-32:] == b"face 1".ljust(32, b"\0")


@given(databases())
def test_what_is_written_is_read(made: FaceDatabase) -> None:
    assert same(parse(made.to_bytes()), made)
    assert same(parse(made.to_bytes(), length=LENGTH, flavour=made.flavour), made)
    assert names(parse(made.to_bytes()).faces) == names(made.faces)


@given(databases(), st.data())
@settings(max_examples=60)
def test_a_file_that_is_cut_is_never_taken_for_whole(made: FaceDatabase, data: st.DataObject) -> None:
    whole = made.to_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(FormatError):
        parse(cut, flavour=made.flavour)


@given(databases(), st.data())
@settings(max_examples=60)
def test_mending_keeps_the_whole_records_in_front_of_the_cut(made: FaceDatabase, data: st.DataObject) -> None:
    whole, size = made.to_bytes(), record_bytes(made.flavour, LENGTH)
    at = data.draw(st.integers(6, len(whole)))
    mended = mend(whole[:at], flavour=made.flavour)
    kept = (at - 6) // size
    assert mended.to_bytes()[6:] == whole[6 : 6 + kept * size]
    assert same(parse(mended.to_bytes(), flavour=made.flavour), mended)


@given(databases(), databases())
def test_a_torn_enrolment_never_costs_an_older_face(made: FaceDatabase, other: FaceDatabase) -> None:
    """The binding writes the header first: total and valid count a record that is not there."""
    more = made.enrolled(other.records[0].feature)
    torn = more.to_bytes()[:6] + made.to_bytes()[6:]
    with pytest.raises(FormatError):
        parse(torn, flavour=made.flavour)
    assert same(mend(torn, flavour=made.flavour), made)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_database_or_a_format_error(data: bytes) -> None:
    try:
        made = parse(data)
    except FormatError:
        return
    assert made.to_bytes() == data or made.flavour == "binding"


@given(databases(), st.data())
@settings(max_examples=60)
def test_a_database_that_is_changed_by_a_byte_is_read_differently_or_refused(
    made: FaceDatabase, data: st.DataObject
) -> None:
    whole = bytearray(made.to_bytes())
    # bytes of a name behind its end say nothing
    at = data.draw(st.integers(0, 5 + 2 + 4 * LENGTH))
    whole[at] ^= data.draw(st.integers(1, 255))
    try:
        read = parse(bytes(whole), flavour=made.flavour)
    except FormatError:
        return
    assert not same(read, made)


def test_the_length_tells_the_two_formats_apart() -> None:
    assert parse(of(2, "espdl").to_bytes()).flavour == "espdl"
    assert parse(of(2).to_bytes()).flavour == "binding"


def test_features_of_another_model_are_refused() -> None:
    with pytest.raises(FormatError, match="makes 512") as told:
        parse(of(1).to_bytes(), length=512)
    assert told.value.offset == 4


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (0, b"\x03\x00", "neither"),
        (2, b"\x01\x00", "1 valid records announced, 2 found"),
        (2, b"\x07\x00", "not a face database"),
        (4, b"\x00\x00", "not a face database"),
        (6, b"\x09\x00", "record 1 has the id 9"),
        (8, b"\x00\x00\xc0\x7f", "not finite"),
        (8, b"\x00\x00\x80\x44", "instead of 1"),
        (6 + 2 + 4 * LENGTH, b"\xff" * 32, "no name"),
    ],
)
def test_damage_is_named_with_its_place(offset: int, value: bytes, words: str) -> None:
    data = bytearray(of(2).to_bytes())
    data[offset : offset + len(value)] = value
    with pytest.raises(FormatError, match=words):
        parse(bytes(data))


def test_a_deleted_face_is_neither_found_nor_counted_and_its_number_not_given_again() -> None:
    made = of(3).deleted(2)
    assert [face.id for face in made.faces] == [1, 3]
    assert made.query(feature(1), threshold=0.9) is None
    found = made.query(feature(2), threshold=0.9)
    assert found is not None
    assert found[0] == 3
    assert found[1] == pytest.approx(1.0)
    assert made.enrolled(feature(9)).faces[-1].id == 4
    for wrong in (0, 2, 9):
        with pytest.raises(InputError, match="no face has the id"):
            made.deleted(wrong)


def test_a_stranger_is_nobody() -> None:
    assert of(0).query(feature(1)) is None
    assert of(3).query(-feature(1)) is None


@pytest.mark.parametrize("name", ["x" * 32, "ä" * 16, "a\0b"])
def test_a_name_that_does_not_fit_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="does not fit"):
        of(0).enrolled(feature(0), name)


def test_espdl_has_no_names_and_a_feature_must_have_the_length() -> None:
    with pytest.raises(InputError, match="no names"):
        of(0, "espdl").enrolled(feature(0), "somebody")
    with pytest.raises(InputError, match="shape"):
        of(0).enrolled(feature(0, 9))
