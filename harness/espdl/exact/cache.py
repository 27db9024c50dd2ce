"""Lowered graphs on disk, by content: the model's bytes, the options, and the code that lowers.

A file is a SHA-256 of what follows, then a pickle-free archive: JSON and the ONNX model. It is written beside
and moved into place; a file that is damaged in any way is as good as none.
"""

from __future__ import annotations

import contextlib
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
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from harness.espdl.exact.filters import Reading
from harness.espdl.exact.lower import Lowered, lower
from harness.espdl.exact.lowering import State
from harness.espdl.exact.proof import Proof
from harness.espdl.exact.saturation import Headroom
from harness.espdl.model import EspdlModel, ValueInfo
from harness.targets import Family

KEPT_BYTES = 512 << 20
_DIGEST_BYTES = 32
_LENGTH_BYTES = 8


def folder() -> Path:
    """Where lowered graphs are kept: HIL_CACHE_DIR, else the user's cache folder."""
    named = os.environ.get("HIL_CACHE_DIR")
    if named:
        return Path(named) / "exact"
    import platformdirs

    return Path(platformdirs.user_cache_dir("esp-hil")) / "exact"


@cache
def _code_digest() -> bytes:
    """Of the modules that lower: another version of the code must not find this one's graphs."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def lower_cached(
    model: EspdlModel,
    family: Family,
    *,
    tensors: Sequence[str] | None = None,
    batched: bool = False,
    careful: bool = False,
    old_names: Reading = "plain",
    integer: bool = False,
    raw: bool = False,
) -> Lowered:
    """`lower`, or what it gave before for the same model, options and code.

    Raises:
        HilError: as `lower`.
    """
    wanted = None if tensors is None else list(tensors)
    key = hashlib.sha256(_code_digest())
    key.update(
        json.dumps(
            [model.sha256, model.name, family, wanted, batched, careful, old_names, integer, raw]
        ).encode()
    )
    path = folder() / f"{key.hexdigest()}.lowered"
    found = _read(path)
    if found is not None:
        return found
    lowered = lower(
        model,
        family,
        tensors=wanted,
        batched=batched,
        careful=careful,
        old_names=old_names,
        integer=integer,
        raw=raw,
    )
    _write(path, lowered)
    return lowered


def _read(path: Path) -> Lowered | None:
    try:
        data = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    body = data[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != data[:_DIGEST_BYTES]:
        return None
    try:
        return _unpack(body)
    except (ValueError, KeyError, TypeError, DecodeError):
        return None


def _write(path: Path, lowered: Lowered) -> None:
    """Store; a full or read-only disk is no reason to fail."""
    body = _pack(lowered)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(body).digest() + body)
        os.replace(file.name, path)
        _prune(path.parent)


def _prune(where: Path) -> None:
    """Remove the files used longest ago until the rest fits."""
    files = sorted((entry.stat().st_mtime, entry.stat().st_size, entry) for entry in where.iterdir())
    excess = sum(size for _, size, _ in files) - KEPT_BYTES
    for _, size, entry in files:
        if excess <= 0:
            return
        entry.unlink(missing_ok=True)
        excess -= size


def _pack(lowered: Lowered) -> bytes:
    described = {
        field.name: getattr(lowered, field.name)
        for field in dataclasses.fields(lowered)
        if field.name != "model"
    }
    text = json.dumps(described, default=dataclasses.asdict).encode()
    proto: bytes = lowered.model.SerializeToString()
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + proto


def _unpack(body: bytes) -> Lowered:
    length = int.from_bytes(body[:_LENGTH_BYTES], "little")
    described = json.loads(body[_LENGTH_BYTES : _LENGTH_BYTES + length])
    model = onnx.ModelProto.FromString(body[_LENGTH_BYTES + length :])
    return Lowered(
        model=model,
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
    )


def _value(item: dict[str, Any]) -> ValueInfo:
    return ValueInfo(
        name=item["name"], dtype=item["dtype"], shape=tuple(item["shape"]), exponents=tuple(item["exponents"])
    )
