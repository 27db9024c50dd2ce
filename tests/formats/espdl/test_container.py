"""The containers around `.espdl` models."""

from __future__ import annotations

import struct

import pytest

from esp_hil.errors import EncryptedModel, FormatError, InputError
from esp_hil.formats.espdl import images, read_espdl
from tests.formats.espdl.examples import conv_graph, tiny_graph
from tests.formats.espdl.writer import edl, pack

TINY, CONV = edl(tiny_graph()), edl(conv_graph())
OLD_TINY, OLD_CONV = edl(tiny_graph(), container="EDL1"), edl(conv_graph(), container="EDL1")
PACKS = {
    "PDL1": pack("PDL1", {"tiny": OLD_TINY, "conv": OLD_CONV}),
    "PDL2": pack("PDL2", {"tiny": TINY, "conv": CONV}),
    "PDL3": pack("PDL3", {"tiny": TINY, "conv": CONV}),
}


def test_plain_file_holds_one_image_without_a_name() -> None:
    assert images(TINY) == [("", TINY)]


@pytest.mark.parametrize("magic", PACKS)
def test_pack_gives_its_images_by_name_without_their_padding(magic: str) -> None:
    tiny, conv = (OLD_TINY, OLD_CONV) if magic == "PDL1" else (TINY, CONV)
    assert images(PACKS[magic]) == [("tiny", tiny), ("conv", conv)]


@pytest.mark.parametrize("magic", PACKS)
def test_model_of_a_pack_is_picked_by_name_or_index(magic: str) -> None:
    by_name, by_index = read_espdl(PACKS[magic], name="conv"), read_espdl(PACKS[magic], name=1)
    assert by_name.sha256 == by_index.sha256
    assert by_name.name == by_index.name == "conv"
    assert read_espdl(CONV).sha256 == by_name.sha256 or magic == "PDL1"


@pytest.mark.parametrize("name", [None, "none", 2, -1])
def test_pack_of_several_needs_a_name_that_it_has(name: str | int | None) -> None:
    with pytest.raises(InputError, match="2 models") as caught:
        read_espdl(PACKS["PDL2"], name=name)
    assert caught.value.hint == "one of: tiny, conv"


def test_pack_of_one_needs_no_name() -> None:
    assert read_espdl(pack("PDL3", {"only": TINY})).name == "only"


def test_pack_with_a_wrong_name_for_its_one_model_is_refused() -> None:
    with pytest.raises(InputError, match="none is 'other'"):
        read_espdl(pack("PDL3", {"only": TINY}), name="other")


@pytest.mark.parametrize("magic", PACKS)
def test_pack_cut_at_any_byte_is_refused_or_lacks_only_padding(magic: str) -> None:
    data = PACKS[magic]
    whole = images(data)
    for length in range(len(data)):
        try:
            found = images(data[:length])
        except FormatError as error:
            assert 0 <= error.offset <= len(data)  # noqa: PT017 - both outcomes are right
        else:
            assert found == whole
            assert length > len(data) - 16


def test_pdl3_notices_any_changed_byte() -> None:
    data = PACKS["PDL3"]
    for at in range(4, len(data), 7):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(FormatError):
            images(bytes(changed))


def test_pdl3_may_be_followed_by_the_rest_of_its_partition() -> None:
    assert images(PACKS["PDL3"] + b"\xff" * 100) == images(PACKS["PDL3"])


@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_model_may_be_followed_by_the_rest_of_its_partition(filler: bytes) -> None:
    assert images(TINY + filler * 100) == [("", TINY)]


def test_model_followed_by_something_else_is_refused() -> None:
    with pytest.raises(FormatError, match="3 bytes after the model"):
        images(TINY + b"abc")


def test_encrypted_model_names_the_missing_key() -> None:
    with pytest.raises(EncryptedModel, match=r"'secret' is encrypted .* 16-byte key is missing"):
        read_espdl(pack("PDL2", {"secret": edl(tiny_graph(), mode=1)}))


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(FormatError, match="unknown mode 2 at byte 4"):
        read_espdl(edl(tiny_graph(), mode=2))


def test_header_with_junk_is_refused() -> None:
    with pytest.raises(FormatError, match="bytes 12 to 15"):
        read_espdl(TINY[:12] + b"abcd" + TINY[16:])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "an empty file, not a model file"),
        (b"EDL", "text that starts with 'EDL', not a model file"),
        (bytes(4) + b"TFL3" + bytes(30), r"an \.tflite file, not an \.espdl file"),
        (b"TFL3" + bytes(30), r"neither an \.espdl"),
        (b"PK\x03\x04", "a ZIP archive"),
    ],
)
def test_other_files_are_named_as_no_espdl(data: bytes, says: str) -> None:
    with pytest.raises(FormatError, match=says) as caught:
        images(data)
    assert caught.value.hint


def test_pack_that_promises_a_billion_models_is_refused() -> None:
    data = bytearray(PACKS["PDL2"])
    data[4:8] = struct.pack("<I", 1 << 30)
    with pytest.raises(FormatError, match="more than its size allows"):
        images(bytes(data))


def test_pack_with_two_models_of_one_name_is_refused() -> None:
    data = PACKS["PDL2"].replace(b"tinyconv", b"tinytiny")
    with pytest.raises(FormatError, match="two models of the pack are named 'tiny'"):
        images(data)


def test_pack_without_models_is_refused() -> None:
    with pytest.raises(FormatError, match="holds no model"):
        read_espdl(b"PDL2" + bytes(4))
