"""What boards say: tracebacks, firmware, results in the binding's forms, JPEG headers."""

from __future__ import annotations

import io

import numpy as np
import pytest

from esp_hil.errors import HandshakeError, InputError, OutOfMemory, ScriptFailed, WireError
from esp_hil.micropython.bindings import BINDINGS
from esp_hil.micropython.firmware import FLAGS, MicroPythonFirmware
from esp_hil.micropython.picture import Jpeg
from esp_hil.micropython.record import results_of
from esp_hil.micropython.traceback import error_of, exception_of
from esp_hil.micropython.virtual.quirks import place_of

TRACE = 'Traceback (most recent call last):\n  File "<stdin>", line 1, in <module>\n  File "a.py", line 7, in run\n'


def firmware(**changes: object) -> MicroPythonFirmware:
    said: dict[str, object] = {
        "version": "MicroPython v1.26.0 on 2025-08-09",
        "machine": "Generic ESP32S3 module with Octal-SPIRAM with ESP32S3",
        "platform": "esp32",
        "espdl": ["FaceDetector", "CocoDetector"],
        "formats": {"RGB888": 0, "RGB565": 6, "GRAYSCALE": 3},
        "jpeg": True,
        "free": 8_000_000,
    }
    return MicroPythonFirmware.of(said | changes)


@pytest.mark.parametrize(
    ("last", "name", "words"),
    [
        ("ValueError: No face detected.", "ValueError", "No face detected."),
        (
            "MemoryError: memory allocation failed, allocating 230400 bytes",
            "MemoryError",
            "memory allocation",
        ),
        ("KeyboardInterrupt: ", "KeyboardInterrupt", ""),
        ("OSError: [Errno 2] ENOENT", "OSError", "[Errno 2] ENOENT"),
        ("ValueError: first\nsecond line", "ValueError", "first second line"),
    ],
)
def test_the_exception_is_found_behind_the_frames(last: str, name: str, words: str) -> None:
    found = exception_of(TRACE + last + "\n")
    assert found[0] == name
    assert found[1].startswith(words)


def test_exceptions_become_errors_of_the_harness() -> None:
    frame = "ValueError: Frame buffer size does not match the image size with the selected pixel format."
    assert isinstance(error_of(TRACE + frame, board="b"), InputError)
    assert isinstance(error_of(TRACE + "MemoryError: ", board="b"), OutOfMemory)
    assert isinstance(error_of(TRACE + "ValueError: a gray picture", board="b"), InputError)
    told = error_of(TRACE + "AttributeError: no such attribute", board="b", classes=("ImageNet",))
    assert isinstance(told, ScriptFailed)
    assert told.exception == "AttributeError"
    assert told.traceback.startswith("Traceback")
    assert str(told) == "b: script: AttributeError: no such attribute (espdl offers: ImageNet)"


def test_a_firmware_names_its_chip_and_what_it_offers() -> None:
    made = firmware()
    assert (made.target, made.kind) == ("esp32s3", "silicon")
    assert made.class_of("FaceDetector") == "FaceDetector"
    assert made.class_of("COCODetector") == "CocoDetector"
    assert made.has("COCODetector")
    assert not made.has("ImageNet")
    assert firmware(machine="Generic ESP32P4 module with ESP32P4").target == "esp32p4"
    assert firmware(machine="ESP32C6 module").target == "esp32c6"
    assert firmware(machine="ESP module with ESP32").target == "esp32"


def test_a_class_that_is_missing_names_its_flag() -> None:
    with pytest.raises(HandshakeError, match="MP_DL_CAT_DETECTOR_ENABLED"):
        firmware().class_of("CatDetector")
    with pytest.raises(HandshakeError, match="no module espdl"):
        firmware(espdl=None).class_of("CatDetector")
    with pytest.raises(InputError, match="no class 'DogDetector'"):
        firmware().class_of("DogDetector")
    assert set(FLAGS) == {
        "FaceDetector",
        "FaceRecognizer",
        "HumanDetector",
        "CatDetector",
        "COCODetector",
        "ImageNet",
    }


def test_pixel_formats_are_numbers_of_the_firmware() -> None:
    # one name for either order: big-endian on an ESP32-S3
    assert firmware().constant("rgb565be") == 6
    assert firmware(formats={"RGB565LE": 9, "RGB565BE": 10, "RGB888": 0}).constant("rgb565be") == 10
    assert firmware(formats={}).constant("rgb888") is None
    with pytest.raises(InputError, match="does not take rgb565le"):
        firmware().constant("rgb565le")
    with pytest.raises(InputError, match="RGB888 only"):
        firmware(formats={}).constant("rgb565le")


def test_nothing_found_is_an_empty_answer() -> None:
    nothing: tuple[list[object] | None, ...] = (None, [])
    for said in nothing:
        results, people = results_of("face_detect", said, 8, 6, ("face",))
        assert results.detections == ()
        assert results.labels == ()
        assert people == ()


def test_landmarks_come_flat_or_in_pairs() -> None:
    flat = list(range(10))
    pairs = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    for features in (flat, pairs):
        row = {"score": 0.5, "box": [1, 2, 3, 4], "features": features}
        (found,) = results_of("face_detect", [row], 8, 6, ("face",))[0].detections
        assert found.landmarks == ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
        assert found.name == "face"


def test_names_and_scores_by_turns_are_labels() -> None:
    results, _ = results_of("imagenet", ["cat", 0.7, "unknown", 0.1], 8, 6, ("dog", "cat"))
    assert [(label.index, label.name, label.score) for label in results.labels] == [
        (1, "cat", 0.7),
        (-1, "unknown", 0.1),
    ]


def test_people_come_with_their_faces() -> None:
    rows = [
        {"score": 0.5, "box": [1, 2, 3, 4], "person": {"id": 2, "similarity": 0.8, "name": None}},
        {"score": 0.5, "box": [1, 2, 3, 4], "person": None},
    ]
    _, people = results_of("face_recognize", rows, 8, 6, ())
    assert people[0] is not None
    assert (people[0].id, people[0].name) == (2, "")
    assert people[1] is None


@pytest.mark.parametrize(
    "said",
    [
        [{"box": [1, 2, 3, 4]}],
        [{"score": 1, "box": [1, 2, 3]}],
        ["cat", 0.5, "dog"],
        [{"score": 1, "box": [1, 2, 3, 4], "features": [1, 2, 3]}],
        [7],
    ],
)
def test_an_answer_of_another_form_is_no_answer(said: list[object]) -> None:
    with pytest.raises(WireError, match="form"):
        results_of("face_detect", said, 8, 6, ())


def test_the_size_of_a_jpeg_is_read_from_its_header() -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow makes the pictures")
    made = io.BytesIO()
    pillow.fromarray(np.zeros((30, 44, 3), np.uint8)).save(made, "JPEG")
    jpeg = Jpeg.of(made.getvalue())
    assert (jpeg.width, jpeg.height) == (44, 30)
    with pytest.raises(InputError, match="not a JPEG"):
        Jpeg.of(b"\x89PNG")
    with pytest.raises(InputError, match="cut short"):
        Jpeg.of(made.getvalue()[:40])
    progressive = io.BytesIO()
    pillow.fromarray(np.zeros((30, 44, 3), np.uint8)).save(progressive, "JPEG", progressive=True)
    with pytest.raises(InputError, match="progressive"):
        Jpeg.of(progressive.getvalue())


def test_a_fault_is_put_down_to_the_line_of_the_binding_that_has_it() -> None:
    assert "102d875, src/lib/mp_esp_dl_human_face_recognition.cpp:33" in place_of("rgb_features", "102d875")
    assert "6012426, src/lib/mp_esp_dl_human_face_recognition.cpp:34" in place_of("rgb_features", "6012426")
    assert place_of("forgets", "102d875") == ""
    for name, known in BINDINGS.items():
        for quirk in known.quirks_of("esp32s3"):
            place = place_of(quirk, name)
            assert place, quirk
            others = {other for other in BINDINGS if f"mp_esp_dl_models {other}" in place}
            assert others <= {name}, f"{quirk} of {name} is said to be in {place}"


def test_the_image_with_imagenet_of_6012426_has_both_networks_for_features() -> None:
    assert "one_features_network" not in BINDINGS["6012426"].quirks_of("esp32s3")
    assert "one_features_network" in BINDINGS["102d875"].quirks_of("esp32s3")
