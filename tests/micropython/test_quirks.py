"""Each thing that is wrong with a virtual board on purpose is noticed by the suite, or the driver allows for it.

They need ESP-DL's weights (HIL_ZOO) and the pictures of the extra `tasks`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from esp_hil.micropython.virtual import missing
from esp_hil.micropython.virtual.quirks import PUBLISHED, QUIRKS

VARIABLE = "HIL_ZOO"

SUITE = Path(__file__).resolve().parents[2] / "suites" / "micropython" / "test_micropython.py"
GOLDEN = "test_golden_pictures_are_answered_as_by_the_exact_reference[esp32s3-{}]"
FORMAT = "test_each_pixel_format_gives_the_same_faces[esp32s3-{}]"
NOTICED = {
    "smallest_face": "test_of_two_faces_none_or_the_larger_is_enrolled[esp32s3]",
    "swapped_rgb565": FORMAT.format("rgb565be"),
    "blue_first": FORMAT.format("rgb888"),
    "frame_size_counts": "test_the_time_of_the_network_does_not_depend_on_the_frame[esp32s3]",
    "finds_nothing": GOLDEN.format("HumanDetector"),
    "shifted_boxes": GOLDEN.format("HumanDetector"),
    "wrong_scores": GOLDEN.format("HumanDetector"),
    "eyes_for_mouth": GOLDEN.format("FaceDetector"),
    "wrong_top": GOLDEN.format("ImageNet"),
    "wrong_category": GOLDEN.format("COCODetector"),
    "other_weights": GOLDEN.format("FaceDetector"),
    "everybody_known": "test_known_faces_are_recognised_and_a_stranger_is_not[esp32s3]",
    "forgets": "test_the_database_survives[esp32s3-soft reset]",
    "delete_keeps": "test_a_deleted_face_stays_away[esp32s3]",
    "ignores_validate": "test_a_face_that_is_enrolled_is_refused_with_validate[esp32s3]",
    "cuts_names": "test_a_name_that_the_binding_would_cut_is_refused[esp32s3]",
}
"""The suite's test that fails, and names the quirk."""
REFUSED = {
    "stale_constants": (
        FORMAT.format("rgb565be"),
        "a constant such as espdl.RGB565 may be of another ESP-DL",
    ),
    "drops_bytes": ("test_an_upload_arrives_as_it_was_sent[esp32s3]", "bytes were lost"),
}
"""What the driver notices, and its words."""
PUBLISHED_SEEN = {
    "rgb_features": "test_the_database_has_the_embedding_of_the_exact_reference[esp32s3]",
    "panics": "test_a_network_that_the_image_does_not_have_is_noticed[esp32s3]",
}
"""Faults of published bindings that the suite judges by, and reports."""
ALLOWED_FOR = {
    "nested_features": FORMAT.format("rgb888"),
    "old_decoder_keyword": "test_a_jpeg_is_decoded_on_the_board[esp32s3]",
    "big_endian_rgb565": FORMAT.format("rgb565be"),
    "gray_is_noise": "test_a_gray_frame_is_refused[esp32s3]",
    "poisoned_decoder": "test_a_damaged_jpeg_does_not_spoil_the_next_one[esp32s3]",
    "one_features_network": "test_known_faces_are_recognised_and_a_stranger_is_not[esp32s3]",
    "old_signatures": "test_landmarks_can_be_left_out[esp32s3]",
}
"""What the driver deals with: the test passes."""

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=missing() or "it is there"),
    pytest.mark.skipif(not os.environ.get(VARIABLE), reason=f"no weights: set {VARIABLE}"),
]


def outcome(test: str, quirks: str, *more: str) -> str:
    """What pytest says of one test of the suite on a board with quirks."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        f"{SUITE}::{test}",
        "-q",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
    ]
    command += ["--target", "esp32s3", "--hil-board", "virtual", "--hil-micropython-quirks", quirks, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return done.stdout + done.stderr


def unless_skipped(said: str) -> str:
    if " skipped" in f" {said}" and "failed" not in said:
        pytest.skip("the zoo has not the weights that this needs")
    return said


def test_every_quirk_is_in_one_of_the_lists() -> None:
    assert sorted([*NOTICED, *REFUSED, *PUBLISHED_SEEN, *ALLOWED_FOR]) == sorted(QUIRKS)
    assert set(PUBLISHED_SEEN) < set(PUBLISHED)


@pytest.mark.parametrize("quirk", NOTICED)
def test_the_suite_notices_a_quirk_and_names_it(quirk: str) -> None:
    said = unless_skipped(outcome(NOTICED[quirk], quirk))
    assert "1 failed" in said, said
    assert f"`{quirk}`" in said, said


@pytest.mark.parametrize("quirk", REFUSED)
def test_the_driver_notices_a_quirk(quirk: str) -> None:
    test, words = REFUSED[quirk]
    said = unless_skipped(outcome(test, quirk))
    assert "1 failed" in said or "1 error" in said, said
    assert words in said, said


@pytest.mark.parametrize("quirk", PUBLISHED_SEEN)
def test_a_fault_of_the_published_binding_is_reported_and_not_taken_for_the_model_s(
    quirk: str, tmp_path: Path
) -> None:
    said = unless_skipped(outcome(PUBLISHED_SEEN[quirk], "", "--hil-results", str(tmp_path)))
    assert "1 passed" in said, said
    page = (tmp_path / "micropython-faults.md").read_text(encoding="utf-8")
    assert QUIRKS[quirk] in page
    assert PUBLISHED[quirk][1] in page


@pytest.mark.parametrize("test", sorted({*NOTICED.values(), *(test for test, _ in REFUSED.values())}))
def test_without_a_quirk_the_same_test_passes(test: str) -> None:
    assert "1 passed" in unless_skipped(outcome(test, ""))


@pytest.mark.parametrize("quirk", ALLOWED_FOR)
def test_the_driver_allows_for(quirk: str) -> None:
    binding = ["--hil-micropython-binding", "6012426"] if quirk == "old_signatures" else []
    assert "1 passed" in unless_skipped(outcome(ALLOWED_FOR[quirk], "" if binding else quirk, *binding))
