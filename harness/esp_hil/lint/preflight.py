"""`hil lint` as a gate: a model with a known hazard meets no chip."""

from __future__ import annotations

from collections import OrderedDict

from esp_hil.errors import LintError
from esp_hil.formats.espdl.model import EspdlModel
from esp_hil.lint import Finding, lint_model
from esp_hil.lint.tflite import lint_tflite
from esp_hil.models.device_file import DeviceFile
from esp_hil.targets import Target

_KEPT = 32
_seen: OrderedDict[tuple[str, str, int | None, int | None], tuple[Finding, ...]] = OrderedDict()


def preflight(
    file: DeviceFile,
    target: Target,
    *,
    psram_bytes: int | None = None,
    partition_bytes: int | None = None,
) -> tuple[Finding, ...]:
    """Examine a model before it is flashed or uploaded.

    Args:
        file: the model.
        target: the chip that it is to run on.
        psram_bytes: of the board; None: of the target's usual module.
        partition_bytes: size of its model partition; None: unknown.

    Returns:
        What is no error: warnings and notes.

    Raises:
        LintError: a rule found an error; the message has the rule's words, the hint what to do.
    """
    key = (file.sha256, target.name, psram_bytes, partition_bytes)
    if key not in _seen:
        # TFLM's rules try arenas in a process: once for each model and chip is enough
        _seen[key] = _examine(file, target, psram_bytes, partition_bytes)
        while len(_seen) > _KEPT:
            _seen.popitem(last=False)
    errors = [finding for finding in _seen[key] if finding.severity == "error" and finding.gates]
    if errors:
        first, others = errors[0], len(errors) - 1
        where = f" at {first.node}" if first.node else ""
        more = f" (and {others} more: hil lint lists them)" if others else ""
        raise LintError(f"{first.rule}{where}: {first.why}{more}", hint=first.todo, step="lint")
    return _seen[key]


def _examine(
    file: DeviceFile, target: Target, psram_bytes: int | None, partition_bytes: int | None
) -> tuple[Finding, ...]:
    if isinstance(file.content, EspdlModel):
        return lint_model(
            file.content, target=target, psram_bytes=psram_bytes, partition_bytes=partition_bytes
        ).findings
    return lint_tflite(file.image, target=target, psram_bytes=psram_bytes, partition_bytes=partition_bytes)[1]
