"""Boards that are not used until somebody has looked at them: why, since when, and how they come back.

A supervised run puts a board here that did not recover; `hil boards --lift ID` takes it out. Kept in a file of
the user's, which all runs on this machine share: `HIL_STATE` names another folder for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from esp_hil.errors import ConfigError
from esp_hil.json_text import read_json
from esp_hil.settings import state_folder

FILE = "quarantine.json"
LOCK_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Why a board is not used, and since when (ISO 8601, UTC)."""

    reason: str
    since_utc: str


def state_file() -> Path:
    """Where it is kept: `HIL_STATE`, else the user's folder for such things."""
    return state_folder() / FILE


def quarantined() -> dict[str, Quarantined]:
    """All boards in quarantine, by id.

    Raises:
        ConfigError: the file cannot be read.
    """
    path = state_file()
    try:
        table = read_json(path)
        return {name: Quarantined(**row) for name, row in table.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}: {error}", hint="correct it, or delete it: then no board is in quarantine"
        ) from None


def put(board: str, reason: str) -> Quarantined:
    """Put a board into quarantine; one that is there stays as it is.

    Raises:
        ConfigError: the file cannot be read or written.
    """
    with _changing() as table:
        return table.setdefault(board, Quarantined(reason=reason, since_utc=_now()))


def lift(board: str) -> bool:
    """Take a board out again; whether it was there.

    Raises:
        ConfigError: the file cannot be read or written.
    """
    with _changing() as table:
        return table.pop(board, None) is not None


@contextmanager
def _changing() -> Iterator[dict[str, Quarantined]]:
    """The table, written back at the end; one process at a time."""
    path = state_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=LOCK_S):
            table = quarantined()
            yield table
            fresh = path.with_suffix(".new")
            rows = {name: asdict(row) for name, row in table.items()}
            fresh.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
            fresh.replace(path)
    except OSError as error:
        hint = "HIL_STATE names another folder"
        raise ConfigError(f"cannot write {path}: {error.strerror or error}", hint=hint) from None


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
