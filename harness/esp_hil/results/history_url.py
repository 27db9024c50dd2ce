"""URLs of histories: as people write them, as SQLAlchemy wants them, and as they may be shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from esp_hil.errors import ReportError

if TYPE_CHECKING:
    import sqlalchemy as sql

HINT = "FILE.sqlite, sqlite:///FILE or postgresql://USER@HOST/DATABASE"

BACKENDS = ("sqlite", "postgresql")

SUFFIXES = (".sqlite", ".sqlite3", ".db")
"""Of a history that is a file; anything else is more likely a mistyped URL."""

_PASSWORD = re.compile(r"(?<=//)([^/@:\s]*):(.*)@(?=[^@]*$)")
_POSTGRES = re.compile(r"^(postgres|postgresql)://")


def shown(text: str) -> str:
    """The text without the password of a URL in it; everything that is shown or logged goes through here."""
    return _PASSWORD.sub(r"\1:***@", text)


def parsed(text: str) -> sql.URL:
    """The URL that a text stands for: of SQLAlchemy, or the path of a SQLite file.

    `postgres://` and `postgresql://`, as databases print them, mean the driver that the extra installs.

    Raises:
        ReportError: it is not a URL; the message has no password.
    """
    import sqlalchemy as sql
    from sqlalchemy.exc import ArgumentError

    if "://" not in text:
        if not text.endswith(SUFFIXES):
            raise ReportError(
                f"{shown(text)!r} is neither a URL nor a file that ends in {' or '.join(SUFFIXES)}",
                hint=HINT,
                step="history",
            )
        text = f"sqlite:///{text}"
    try:
        url = sql.make_url(_POSTGRES.sub("postgresql+psycopg://", text))
        if url.get_backend_name() not in BACKENDS:
            raise ReportError(
                f"no histories in {url.get_backend_name()}",
                hint=f"{' or '.join(BACKENDS)}: {HINT}",
                step="history",
            )
        url.get_dialect()
        if "@" in (url.host or ""):
            raise ValueError("an @ of the password was taken for its end")
    except ModuleNotFoundError as error:
        raise ReportError(
            f"no driver for {text.partition('://')[0]}: {error}",
            hint='for PostgreSQL: pip install "esp-hil[postgresql]"',
            step="history",
        ) from None
    except (ArgumentError, ValueError):
        # their messages quote the URL, or a piece of a password with a character that belongs percent-encoded
        raise ReportError(
            f"{shown(text)!r} is not the URL of a history",
            hint=f"{HINT}; @ : / % in a password are written %40 %3A %2F %25",
            step="history",
        ) from None
    return url
