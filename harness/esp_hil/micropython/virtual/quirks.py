"""What can be wrong with a virtual MicroPython board: what published bindings do, and what is planted.

A board is of a binding (`bindings.py`) and does what that one does; more can be planted on purpose, and the suite must
notice each and name it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from esp_hil.errors import ConfigError
from esp_hil.tasks import Results

PUBLISHED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "big_endian_rgb565": (
            "RGB565 is read big-endian",
            "esp-dl 9d5f56d, models/human_face_detect/human_face_detect.cpp:34 (DL_IMAGE_CAP_RGB565_BIG_ENDIAN)",
        ),
        "gray_is_noise": (
            "a gray frame is taken without an error, and the answer is that to the frame before it",
            "esp-dl 9d5f56d, vision/image/dl_image_preprocessor.cpp:73: the assert is compiled out of MicroPython",
        ),
        "rgb_features": (
            "the network for features gets red, green, blue where it wants blue, green, red",
            "mp_esp_dl_models 102d875, src/lib/mp_esp_dl_human_face_recognition.cpp:33: "
            "no DL_IMAGE_CAP_RGB_SWAP on the ESP32-S3",
        ),
        "panics": (
            "a lack of memory and a network that the image does not have end in a panic, not in an exception",
            "mp_esp_dl_models 102d875, src/mp_esp_dl.hpp (make_shared without exceptions); "
            "esp-dl 9d5f56d, models/coco_detect/coco_detect.cpp:52: only an ESP_LOGE",
        ),
        "one_features_network": (
            "FaceRecognizer has no option `model`: the image has one network for features",
            "mp_esp_dl_models 102d875, src/esp_face_recognition.cpp:28; esp-dl 9d5f56d, "
            "models/human_face_recognition/Kconfig: a choice of one of both",
        ),
        "old_signatures": (
            "no option `pixel_format`; FaceRecognizer takes keywords only",
            "mp_esp_dl_models 6012426, src/esp_face_recognition.cpp:26",
        ),
        "old_decoder_keyword": (
            "the JPEG decoder's keyword is `format`, not `pixel_format`",
            "mp_jpeg before b8bceec",
        ),
        "poisoned_decoder": (
            "after a damaged JPEG a decoder object fails at the next one of the same length as well",
            "mp_jpeg 560d825, src/jpeg_esp.c:166: the header is not parsed anew",
        ),
    }
)
"""What published bindings do otherwise than they should: in words, and where that stands in their source."""

_ELSEWHERE: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("6012426", "rgb_features"): (
            "mp_esp_dl_models 6012426, src/lib/mp_esp_dl_human_face_recognition.cpp:34: "
            "no DL_IMAGE_CAP_RGB_SWAP on the ESP32-S3"
        ),
        ("6012426", "gray_is_noise"): (
            "esp-dl 9d62c32, vision/image/dl_image_preprocessor.cpp:79: the assert is compiled out of MicroPython"
        ),
        ("6012426", "panics"): (
            "mp_esp_dl_models 6012426, src/mp_esp_dl.hpp:57 (make_shared without exceptions)"
        ),
    }
)
"""Where a fault stands in another state of the binding than the newest."""


def place_of(quirk: str, binding: str) -> str:
    """Where a fault stands in the source of a state of the binding; "" for one that is planted."""
    return _ELSEWHERE.get((binding, quirk), PUBLISHED.get(quirk, ("", ""))[1])


PLANTED: Mapping[str, str] = MappingProxyType(
    {
        # what another binding or its README makes people expect
        "nested_features": "landmarks come as pairs, as the binding's README says, not as ten numbers",
        "stale_constants": "espdl.RGB565 and GRAYSCALE are numbers of ESP-DL before March 2026",
        "frame_size_counts": "the network's time grows with the frame, as the published table suggests",
        # what a wrong port does
        "swapped_rgb565": "RGB565 is read with its bytes in the other order than the binding's",
        "smallest_face": "of several faces the smallest is enrolled and recognised",
        "finds_nothing": "no detector finds anything",
        "shifted_boxes": "boxes are an eighth of their width too far to the right",
        "wrong_scores": "scores are 0.05 too low",
        "eyes_for_mouth": "landmarks in the order of the README: both eyes, nose, both corners of the mouth",
        "wrong_top": "the classifier's first two answers are swapped",
        "wrong_category": "categories are counted from one",
        "other_weights": "the networks and thresholds are those of another ESP-DL",
        "blue_first": "frames are read blue first",
        "everybody_known": "any face is taken for the most similar one enrolled",
        "forgets": "enrolled faces are not written to the database",
        "delete_keeps": "a deleted face keeps its id in the database",
        "ignores_validate": "`validate` does not refuse a face that is enrolled",
        "cuts_names": "names are cut at 15 bytes",
        "drops_bytes": "the receiver loses a byte in each 4096",
    }
)
"""What can be planted."""

QUIRKS: Mapping[str, str] = MappingProxyType(
    {**{name: said[0] for name, said in PUBLISHED.items()}, **PLANTED}
)
"""All, in words."""


def named(quirk: str) -> str:
    """A quirk with its words, for messages."""
    return f"`{quirk}`: {QUIRKS[quirk]}"


def parse_quirks(given: Iterable[str]) -> frozenset[str]:
    """The names of quirks.

    Raises:
        ConfigError: an unknown one.
    """
    wanted = frozenset(given)
    for name in sorted(wanted):
        if name not in QUIRKS:
            raise ConfigError(f"no quirk {name!r}", hint=f"there are: {', '.join(QUIRKS)}")
    return wanted


BENDING = ("finds_nothing", "shifted_boxes", "wrong_scores", "wrong_category", "eyes_for_mouth", "wrong_top")
"""Those that only change results; see `bent`."""


def bent(results: Results, quirks: frozenset[str]) -> Results:
    """The results with what is wrong on purpose."""
    found = () if "finds_nothing" in quirks else results.detections
    if "shifted_boxes" in quirks:
        found = tuple(replace(one, box=_shifted(one.box)) for one in found)
    if "wrong_scores" in quirks:
        found = tuple(replace(one, score=one.score - 0.05) for one in found)
    if "wrong_category" in quirks:
        found = tuple(replace(one, index=one.index + 1) for one in found)
    if "eyes_for_mouth" in quirks:
        found = tuple(
            replace(one, landmarks=tuple(one.landmarks[i] for i in (0, 3, 2, 1, 4))) if one.landmarks else one
            for one in found
        )
    labels = results.labels
    if "wrong_top" in quirks and len(labels) > 1:
        labels = (labels[1], labels[0], *labels[2:])
    return replace(results, detections=found, labels=labels)


def _shifted(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = box
    by = max(1, (x2 - x1) // 8)
    return (x1 + by, y1, x2 + by, y2)
