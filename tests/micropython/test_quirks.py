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
from esp_hil.micropython.virtual.quirks import QUIRKS

VARIABLE = "HIL_ZOO"

SUITE = Path(__file__).resolve().parents[2] / "suites" / "micropython" / "test_micropython.py"
NOTICED = {
    "smallest_face": "test_of_two_faces_none_or_the_larger_is_enrolled[esp32s3]",
    "stale_constants": "test_each_pixel_format_gives_the_same_faces[esp32s3-rgb565le]",
    "swapped_rgb565": "test_each_pixel_format_gives_the_same_faces[esp32s3-rgb565le]",
    "accepts_gray": "test_a_gray_frame_is_refused[esp32s3]",
    "frame_size_counts": "test_the_time_of_the_network_does_not_depend_on_the_frame[esp32s3]",
    "finds_nothing": "test_what_is_in_the_picture_is_found[esp32s3-HumanDetector]",
    "shifted_boxes": "test_golden_pictures_are_answered_as_by_the_exact_reference[esp32s3-CatDetector]",
    "wrong_scores": "test_golden_pictures_are_answered_as_by_the_exact_reference[esp32s3-CatDetector]",
    "eyes_for_mouth": "test_each_pixel_format_gives_the_same_faces[esp32s3-rgb888]",
    "wrong_top": "test_golden_pictures_are_answered_as_by_the_exact_reference[esp32s3-ImageNet]",
    "wrong_category": "test_what_is_in_the_picture_is_found[esp32s3-COCODetector]",
    "everybody_known": "test_known_faces_are_recognised_and_a_stranger_is_not[esp32s3]",
    "forgets": "test_the_database_survives[esp32s3-soft reset]",
    "delete_keeps": "test_a_deleted_face_stays_away[esp32s3]",
    "ignores_validate": "test_a_face_that_is_enrolled_is_refused_with_validate[esp32s3]",
    "drops_bytes": "test_an_upload_arrives_as_it_was_sent[esp32s3]",
}
ALLOWED_FOR = {
    "nested_features": "test_each_pixel_format_gives_the_same_faces[esp32s3-rgb888]",
    "old_decoder_keyword": "test_a_jpeg_is_decoded_on_the_board[esp32s3]",
}

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=missing() or "it is there"),
    pytest.mark.skipif(not os.environ.get(VARIABLE), reason=f"no weights: set {VARIABLE}"),
]


def outcome(test: str, quirks: str) -> str:
    """What pytest says of one test of the suite on a board with quirks: its last line."""
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
    command += ["--target", "esp32s3", "--hil-board", "virtual", "--hil-micropython-quirks", quirks]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return (done.stdout.strip().splitlines() or [done.stderr])[-1]


def unless_skipped(said: str) -> str:
    if " skipped" in f" {said}" and "failed" not in said:
        pytest.skip("the zoo has not the weights that this needs")
    return said


def test_every_quirk_is_in_one_of_the_lists() -> None:
    assert set(NOTICED) | set(ALLOWED_FOR) == set(QUIRKS)
    assert not set(NOTICED) & set(ALLOWED_FOR)


@pytest.mark.parametrize("quirk", NOTICED)
def test_the_suite_notices(quirk: str) -> None:
    said = unless_skipped(outcome(NOTICED[quirk], quirk))
    assert "1 failed" in said or "1 error" in said, said


@pytest.mark.parametrize("test", sorted(set(NOTICED.values())))
def test_without_a_quirk_the_same_test_passes(test: str) -> None:
    assert "1 passed" in unless_skipped(outcome(test, ""))


@pytest.mark.parametrize("quirk", ALLOWED_FOR)
def test_the_driver_allows_for(quirk: str) -> None:
    assert "1 passed" in unless_skipped(outcome(ALLOWED_FOR[quirk], quirk))
