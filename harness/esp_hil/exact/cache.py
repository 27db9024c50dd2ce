"""Lowered graphs on disk, by content: the model's bytes, the options, and the code that lowers.

Each is an ONNX file, which onnxruntime opens itself, and a JSON file beside it with the rest and the SHA-256 of
both. They are written beside and moved into place; what is damaged in any way is as good as none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import onnx

from esp_hil.exact.filters import Kernels
from esp_hil.exact.lower import Lowered, lower
from esp_hil.exact.lowering import State
from esp_hil.exact.probe import IntegerKernels
from esp_hil.exact.proof import Doubt, Headroom, Proof
from esp_hil.formats.espdl.model import EspdlModel, ValueInfo
from esp_hil.json_text import parse_json
from esp_hil.settings import PACKAGE, cache_folder
from esp_hil.targets import Family

KEPT_BYTES = 512 << 20


def folder() -> Path:
    """Where lowered graphs are kept, in the user's cache."""
    return cache_folder() / "exact"


def sources() -> tuple[Path, ...]:
    """The files that decide what is lowered: our code, the reader with its tables, the chips."""
    folders = ("exact", "formats/espdl")
    modules = (path for folder in folders for path in (PACKAGE / folder).rglob("*.py"))
    return tuple(
        sorted(
            [
                *modules,
                *(
                    PACKAGE / name
                    for name in ("formats/kinds.py", "targets.py", "targets.toml", "tensors.py")
                ),
            ]
        )
    )


@cache
def _code_digest() -> bytes:
    """Of the modules that lower: another version of the code must not find this one's graphs."""
    digest = hashlib.sha256()
    for path in sources():
        content = path.read_bytes()
        digest.update(f"{path.relative_to(PACKAGE).as_posix()} {len(content)} ".encode() + content)
    return digest.digest()


def lower_cached(
    model: EspdlModel,
    family: Family,
    *,
    tensors: Sequence[str] | None = None,
    batched: bool = False,
    careful: bool = False,
    kernels: Kernels = "chip",
    integer: IntegerKernels | None = None,
    raw: bool = False,
    esp_dl: str = "",
) -> tuple[Lowered, Path | bytes]:
    """`lower`, or what it gave before for the same model, options and code.

    Returns:
        What was lowered, its `model` empty, and the ONNX model: a file, or its bytes where none can be kept.
        Neither Python nor protobuf holds the weights then while onnxruntime reads them.

    Raises:
        HilError: as `lower`.
    """
    wanted = None if tensors is None else list(tensors)
    key = hashlib.sha256(_code_digest())
    key.update(
        json.dumps(
            [model.sha256, model.name, family, wanted, batched, careful, kernels, integer, raw, esp_dl]
        ).encode()
    )
    path = folder() / f"{key.hexdigest()}.onnx"
    found = _read(path)
    if found is not None:
        return found, path
    lowered = lower(
        model,
        family,
        tensors=wanted,
        batched=batched,
        careful=careful,
        kernels=kernels,
        integer=integer,
        raw=raw,
        esp_dl=esp_dl,
    )
    data: bytes = lowered.model.SerializeToString()
    lowered.model.Clear()
    return lowered, path if _write(path, lowered, data) else data


def _description(path: Path) -> Path:
    return path.with_suffix(".json")


def _read(path: Path) -> Lowered | None:
    try:
        described = parse_json(_description(path).read_bytes())
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        for part in (path, _description(path)):
            os.utime(part)
        said, body = described["sha256"], described["lowered"]
        same = hashlib.sha256(json.dumps(body).encode()).hexdigest() == described["sha256_lowered"]
        return _unpack(body) if said == digest and same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, lowered: Lowered, data: bytes) -> bool:
    """Store, the model before its description; a full or read-only disk is no reason to fail."""
    body = {
        field.name: getattr(lowered, field.name)
        for field in dataclasses.fields(lowered)
        if field.name != "model"
    }
    body = json.loads(json.dumps(body, default=dataclasses.asdict))
    described = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "sha256_lowered": hashlib.sha256(json.dumps(body).encode()).hexdigest(),
        "lowered": body,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for where, content in ((path, data), (_description(path), json.dumps(described).encode())):
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                file.write(content)
            os.replace(file.name, where)
        _prune(path.parent)
    except OSError:
        return False
    return path.exists()


def _prune(where: Path) -> None:
    """Remove the files used longest ago until the rest fits."""
    files = sorted((entry.stat().st_mtime, entry.stat().st_size, entry) for entry in where.iterdir())
    excess = sum(size for _, size, _ in files) - KEPT_BYTES
    for _, size, entry in files:
        if excess <= 0:
            return
        entry.unlink(missing_ok=True)
        excess -= size


def _unpack(described: dict[str, Any]) -> Lowered:
    return Lowered(
        model=onnx.ModelProto(),
        family=described["family"],
        inputs=tuple(_value(item) for item in described["inputs"]),
        outputs=tuple(_value(item) for item in described["outputs"]),
        proofs=tuple(Proof(**item) for item in described["proofs"]),
        headroom=tuple(Headroom(**item) for item in described["headroom"]),
        states=tuple(State(**{**item, "shape": tuple(item["shape"])}) for item in described["states"]),
        batched=described["batched"],
        offset_names=tuple(described["offset_names"]),
        guard=described["guard"],
        saturations=described["saturations"],
        doubts=tuple(Doubt(**item) for item in described["doubts"]),
        doubt_counts={name: Doubt(**item) for name, item in described["doubt_counts"].items()},
    )


def _value(item: dict[str, Any]) -> ValueInfo:
    return ValueInfo(
        name=item["name"], dtype=item["dtype"], shape=tuple(item["shape"]), exponents=tuple(item["exponents"])
    )
