"""Preflight: what is known to go wrong on the chip, found in the file.

One rule for each known hazard of esp-ppq 1.3.12 and ESP-DL 3.3.9. A rule is a small function in one of the
modules below, registered by `@rule`; a new one needs nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from esp_hil.errors import EncryptedModel, InputError
from esp_hil.formats.espdl.model import EspdlModel
from esp_hil.formats.espdl.reader import read_espdl
from esp_hil.formats.kinds import kind_of, read_bytes
from esp_hil.lint import (
    chips,
    fitting,
    headroom,
    kernels,
    loops,
    onnx_rules,
    onnx_shapes,
    prelu,
    semantics,
    wiring,
)
from esp_hil.lint.finding import RULES, SEVERITIES, Finding, Rule, Severity, Subject
from esp_hil.npz import read_npz
from esp_hil.targets import Target

if TYPE_CHECKING:
    import onnx

    from esp_hil.lint.onnx_graph import OnnxFile

__all__ = [
    "RULES",
    "Finding",
    "LintReport",
    "Rule",
    "Severity",
    "Subject",
    "lint_file",
    "lint_model",
    "lint_onnx",
    "run_rules",
]

RULE_MODULES = (wiring, kernels, chips, semantics, loops, prelu, fitting, headroom, onnx_rules, onnx_shapes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """All findings for one file, worst first. `sha256` is that of the EDL image, "" for ONNX."""

    name: str
    sha256: str
    target: str
    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """How many findings of that severity there are."""
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def passed(self) -> bool:
        """Whether there is no error."""
        return self.count("error") == 0


def run_rules(subject: Subject) -> tuple[Finding, ...]:
    """Findings of every rule for the stage of `subject`, errors first."""
    found = [
        finding
        for entry in RULES.values()
        if subject.stage in entry.stages
        for finding in entry.check(subject)
    ]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def lint_model(
    model: EspdlModel,
    *,
    target: Target | None = None,
    inputs: Mapping[str, NDArray[Any]] | None = None,
    partition_bytes: int | None = None,
    psram_bytes: int | None = None,
    esp_dl: str = "",
) -> LintReport:
    """Examine a model that was read; the arguments are those of `Subject`.

    Raises:
        InputError: `inputs` names no input of the model.
    """
    subject = Subject(
        graph=model.graph,
        model=model,
        target=target,
        inputs=inputs or {},
        partition_bytes=partition_bytes,
        psram_bytes=psram_bytes,
        esp_dl=esp_dl,
    )
    return LintReport(
        name=model.name,
        sha256=model.sha256,
        target=target.name if target else "",
        findings=run_rules(subject),
    )


def lint_onnx(model: onnx.ModelProto, *, target: Target | None = None) -> tuple[Finding, ...]:
    """Examine a float model that was read, with its weights inside; findings, errors first.

    Raises:
        FormatError: it holds no graph.
    """
    from esp_hil.lint.onnx_graph import look_at

    return run_rules(_subject_of(look_at(model, "the model"), target))


def _subject_of(file: OnnxFile, target: Target | None) -> Subject:
    return Subject(
        graph=file.graph, stage="onnx", target=target, declared=file.declared, inference=file.inference
    )


def lint_file(
    path: Path,
    *,
    name: str | None = None,
    target: Target | None = None,
    inputs: Path | None = None,
    partition_bytes: int | None = None,
    psram_bytes: int | None = None,
    esp_dl: str = "",
    esp_nn: str = "",
) -> LintReport:
    """Examine a model file: `.espdl`, `.tflite` or `.onnx`, told apart by what is in it.

    `esp_dl` and `esp_nn` are the versions that the firmware has ("" for the newest known; `esp_nn` may be "off").
    `inputs` (an npz with one array per graph input) and `name` (of a pack, which model) are for `.espdl` files.

    Raises:
        FormatError: there is no such file, it is no model, or it is damaged.
        InputError: `inputs` cannot be read or does not fit the model, or the file is of a kind that has none.
    """
    image = read_bytes(path)
    kind = kind_of(image, path.name)
    if kind != "espdl" and (inputs is not None or name is not None):
        raise InputError(f"{path.name} is an .{kind} file: inputs and a name are for .espdl files")
    chip = target.name if target else ""
    if kind == "tflite":
        from esp_hil.lint.tflite import lint_tflite

        tflite, findings = lint_tflite(
            path, target=target, partition_bytes=partition_bytes, psram_bytes=psram_bytes, esp_nn=esp_nn
        )
        return LintReport(name=path.stem, sha256=tflite.sha256, target=chip, findings=findings)
    if kind == "onnx":
        from esp_hil.lint.onnx_graph import read_onnx

        findings = run_rules(_subject_of(read_onnx(path), target))
        return LintReport(name=path.stem, sha256="", target=chip, findings=findings)
    try:
        model = read_espdl(path, name=name)
    except EncryptedModel as error:
        return LintReport(name=path.stem, sha256="", target="", findings=(_encrypted(error),))
    return lint_model(
        model,
        target=target,
        inputs=_arrays(inputs) if inputs else None,
        partition_bytes=partition_bytes,
        psram_bytes=psram_bytes,
        esp_dl=esp_dl,
    )


def _encrypted(error: EncryptedModel) -> Finding:
    return Finding(severity="error", rule="encrypted", node="", why=error.message, todo=error.hint)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    return read_npz(path, hint="an .npz with one array for each graph input")
