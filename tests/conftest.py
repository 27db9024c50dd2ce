"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from esp_hil.session.option_rows import ROWS

ROOT = Path(__file__).resolve().parent.parent

# A property is about values, never about time: on a busy machine any example may take longer than hypothesis expects.
settings.register_profile("hil", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("hil")

# options of the shell that the tests are started from must not change what they start; HIL_ZOO names their weights
for _row in ROWS.values():
    if _row.name != "zoo":
        os.environ.pop(_row.variable, None)


def shared_folder() -> Path | None:
    """The folder of ground truth beside the project, if there is one (HIL_SHARED overrides where)."""
    folder = Path(os.environ.get("HIL_SHARED", ROOT.parent / "shared"))
    return folder if (folder / "vectors").is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of ground truth, or a skip that says how to give one."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("no ground truth: set HIL_SHARED to a folder with vectors/, zoo/ and data/")
    return folder
