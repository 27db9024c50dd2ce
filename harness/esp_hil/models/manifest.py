"""manifest.json of a model: the sha256 of every file that was made, and the tools that made it.

`hil golden build` writes it; everybody else reads artefacts through it, so that a changed or half-written
file is noticed before it reaches a board.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from esp_hil.errors import GoldenError
from esp_hil.json_text import read_json
from esp_hil.toml_table import stays_inside

FILE_NAME = "manifest.json"
_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of the model's folder, by its path relative to it."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was made, from what, with which tools.

    Attributes:
        tools: package -> version that made the files.
        files: path in the model's folder -> sha256 and size.
        calibration: recipe -> sha256 of its calibration input (float32, C order).
    """

    tools: Mapping[str, str]
    files: Mapping[str, FileEntry]
    calibration: Mapping[str, str]

    def write(self, folder: Path) -> None:
        """Write manifest.json, keys sorted, so that the same content is the same file."""
        content = {"schema": _SCHEMA, **asdict(self)}
        text = json.dumps(content, indent=1, sort_keys=True)
        (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Manifest:
    """Read manifest.json of a model's folder.

    Raises:
        GoldenError: it is missing, no JSON, or of another schema.
    """
    path = folder / FILE_NAME
    hint = f"hil golden build {folder.name}, or git checkout -- {folder.name}"
    try:
        content = read_json(path)
        if content["schema"] != _SCHEMA:
            raise GoldenError(f"{path}: schema {content['schema']}, this version reads {_SCHEMA}", hint=hint)
        return Manifest(
            tools=content["tools"],
            files={name: FileEntry(**entry) for name, entry in content["files"].items()},
            calibration=content["calibration"],
        )
    except FileNotFoundError:
        raise GoldenError(f"{path} is missing", hint=hint) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise GoldenError(f"{path} is damaged: {type(cause).__name__} {cause}", hint=hint) from None


def file_entry(path: Path) -> FileEntry:
    """Digest and size of a file."""
    data = path.read_bytes()
    return FileEntry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


def inside(folder: Path, name: str) -> Path:
    """The path of a file in a model's folder.

    Raises:
        GoldenError: it lies elsewhere, by its name or because it is a link.
    """
    path = folder / name
    if not stays_inside(name) or (path.is_symlink() and not path.resolve().is_relative_to(folder.resolve())):
        raise GoldenError(
            f"{path} is not inside {folder}", hint="put the file itself into the model's folder"
        )
    return path


def check_file(folder: Path, name: str, manifest: Manifest) -> Path:
    """The path of a file whose content is what the manifest says.

    Raises:
        GoldenError: it is missing, not in the manifest, or changed.
    """
    path = inside(folder, name)
    hint = f"hil golden build {folder.name}, or git checkout -- {folder.name}/{name} in {folder.parent}"
    if name not in manifest.files:
        raise GoldenError(f"{path} is not in {FILE_NAME}", hint=hint)
    if not path.is_file():
        raise GoldenError(f"{path} is missing", hint=hint)
    expected, found = manifest.files[name], file_entry(path)
    if found != expected:
        raise GoldenError(
            f"{path} is not the file that was made: {found.bytes} bytes, sha256 {found.sha256[:12]}..., "
            f"{FILE_NAME} says {expected.bytes} bytes, {expected.sha256[:12]}...",
            hint=hint,
        )
    return path
