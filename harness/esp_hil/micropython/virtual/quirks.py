"""What can be wrong with a virtual MicroPython board on purpose; the suite must notice each.

Some are what a published firmware does, told by the facts of its source; the others are what a port does when
it is wrong. A board without any answers as cnadler86/mp_esp_dl_models does at 102d875.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from esp_hil.errors import ConfigError
from esp_hil.tasks import Results

QUIRKS: Mapping[str, str] = MappingProxyType(
    {
        # behaviour of published firmware
        "smallest_face": "of several faces the smallest is enrolled and recognised (binding at 6012426)",
        "nested_features": "landmarks come as pairs, as the binding's README says, not as ten numbers",
        "old_decoder_keyword": "the JPEG decoder's keyword is `format`, not `pixel_format`",
        "stale_constants": "espdl.RGB565 and GRAYSCALE are numbers of ESP-DL before March 2026",
        "swapped_rgb565": "RGB565 is read with its bytes swapped",
        "accepts_gray": "a gray frame is read as if it were RGB, without an error",
        "frame_size_counts": "the network's time grows with the frame, as the published table suggests",
        # what a wrong port does
        "finds_nothing": "no detector finds anything",
        "shifted_boxes": "boxes are an eighth of their width too far to the right",
        "wrong_scores": "scores are 0.05 too low",
        "eyes_for_mouth": "landmarks in the order of the README: both eyes, nose, both corners of the mouth",
        "wrong_top": "the classifier's first two answers are swapped",
        "wrong_category": "categories are counted from one",
        "everybody_known": "any face is taken for the most similar one enrolled",
        "forgets": "enrolled faces are not written to the database",
        "delete_keeps": "a deleted face keeps its id in the database",
        "ignores_validate": "`validate` does not refuse a face that is enrolled",
        "drops_bytes": "the receiver loses a byte in each 4096",
    }
)


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
