"""What `hil task` writes, where it cannot."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from esp_hil.commands import task
from esp_hil.errors import ReportError
from esp_hil.tasks import Image

NOTHING: Any = SimpleNamespace(detections=(), labels=())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "none/o.png",
            r"cannot write .*o\.png: there is no folder .*none \(make it, or choose another path\)",
        ),
        ("o.pgn", r"\(a name that ends in \.png\)"),
        ("folder.png", r"Is a directory \(choose another path\)"),
    ],
)
def test_a_picture_that_cannot_be_saved_says_what_is_wrong_with_its_path(
    name: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.png").mkdir()
    picture = Image.of_rgb(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ReportError, match=said):
        task._draw(picture, NOTHING, tmp_path / name)
    with pytest.raises(ReportError, match="there is no folder"):
        task._write_rows(tmp_path / "none" / "o.csv", [])
