"""All files of a run in one archive with a manifest of their SHA-256, for keeping."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from esp_hil.errors import ReportError
from esp_hil.json_text import parse_json
from esp_hil.settings import VERSION

MANIFEST = "manifest.json"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Of every entry: the same files give the same bytes."""


def make_bundle(folder: Path, bundle: Path) -> int:
    """Pack a results folder; returns the number of files.

    Args:
        folder: rows and reports; files whose name begins with a dot are left out.
        bundle: the archive, replaced if it is there; it may lie in the folder.

    Raises:
        ReportError: nothing to pack, or a file that cannot be read or written.
    """
    try:
        files = [path for path in _files(folder) if path.resolve() != bundle.resolve()]
        if not files:
            raise ReportError(f"nothing to pack in {folder}", step="bundle")
        bundle.parent.mkdir(parents=True, exist_ok=True)
        fresh = bundle.with_name(f".{bundle.name}.{os.getpid()}")
        digests = {}
        with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for path in files:
                name, content = path.relative_to(folder).as_posix(), path.read_bytes()
                digests[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
                archive.writestr(_entry(name), content)
            manifest = {"esp_hil": VERSION, "files": digests}
            archive.writestr(_entry(MANIFEST), json.dumps(manifest, indent=1, sort_keys=True))
        fresh.replace(bundle)
    except OSError as error:
        raise ReportError(
            f"cannot pack {error.filename or folder}: {error.strerror or error}", step="bundle"
        ) from None
    return len(files)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not path.is_symlink() and not hidden and path.name != MANIFEST:
            yield path


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def problems_of(bundle: Path) -> tuple[str, ...]:
    """What is wrong with an archive: files that are missing, changed or not in its manifest; nothing if sound.

    Raises:
        ReportError: it is not an archive of ours.
    """
    try:
        with zipfile.ZipFile(bundle) as archive:
            listed = parse_json(archive.read(MANIFEST))["files"]
            contents = {name: archive.read(name) for name in archive.namelist() if name != MANIFEST}
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise ReportError(f"{bundle} is not a bundle of esp-hil: {error}", step="bundle") from None
    found = [f"{name}: missing" for name in sorted(listed.keys() - contents.keys())]
    found += [f"{name}: not in the manifest" for name in sorted(contents.keys() - listed.keys())]
    found += [
        f"{name}: changed"
        for name in sorted(listed.keys() & contents.keys())
        if hashlib.sha256(contents[name]).hexdigest() != listed[name].get("sha256")
    ]
    return tuple(found)
