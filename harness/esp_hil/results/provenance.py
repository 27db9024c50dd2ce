"""Where a row comes from: the harness's commit and the versions of the tools that made its references."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

from esp_hil.results.record import Provenance

TOOLS = (
    "ai-edge-litert",
    "esp-ppq",
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "pyserial",
    "pytest",
    "pytest-embedded",
    "tflite-micro",
)


INPUTS = "inputs"
"""Among a row's tools: which inputs were sent, if not the golden ones."""

BRANCH = "branch"
"""Among a row's tools: the branch that was checked out, if one was."""


def provenance_of(*, model_sha256: str, golden_sha256: str, inputs: str = "") -> Provenance:
    """The provenance of a row about that model file and those inputs (hex digests).

    Args:
        model_sha256: of the device file.
        golden_sha256: of the inputs.
        inputs: what they are, in words; "": the model's golden inputs.
    """
    sha, dirty = git_state(Path.cwd())
    told = {BRANCH: git_branch(Path.cwd()), INPUTS: inputs}
    return Provenance(
        git_sha=sha,
        dirty=dirty,
        model_sha256=model_sha256,
        golden_sha256=golden_sha256,
        tools=tool_versions() | {name: value for name, value in told.items() if value},
        machine=machine(),
    )


@cache
def machine() -> str:
    """Twelve hex digits that name this host and its processor without telling them."""
    said = "\n".join((platform.node(), platform.machine(), platform.processor()))
    return hashlib.sha256(said.encode()).hexdigest()[:12]


@cache
def tool_versions() -> dict[str, str]:
    """Installed version of each host tool that is installed."""
    versions = {}
    for tool in TOOLS:
        try:
            versions[tool] = metadata.version(tool)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _git(folder: Path, *words: str) -> str | None:
    """What git says of a checkout; None if it says nothing."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def git_state(folder: Path) -> tuple[str, bool]:
    """Commit of the checkout around `folder` and whether it has changes; ("", False) outside one."""
    sha = _git(folder, "rev-parse", "HEAD")
    if sha is None:
        return "", False
    return sha, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))


@cache
def git_branch(folder: Path) -> str:
    """Branch of the checkout around `folder`; "" outside one, or where no branch is checked out."""
    return _git(folder, "symbolic-ref", "--short", "-q", "HEAD") or ""
