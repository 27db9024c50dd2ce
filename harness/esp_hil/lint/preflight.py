"""`hil lint` as a gate: a model with a known hazard meets no chip."""

from __future__ import annotations

import re
from collections import OrderedDict

from esp_hil.errors import DoesNotFit, LintError
from esp_hil.formats.espdl.model import EspdlModel
from esp_hil.formats.espdl.versions import esp_dl_of
from esp_hil.lint import Finding, lint_model
from esp_hil.lint.tflite import lint_tflite
from esp_hil.models.device_file import DeviceFile
from esp_hil.targets import Target

_KEPT = 32
_OF_SIZE = frozenset({"memory", "model-size", "tflm-arena", "tflm-size"})
"""Rules that compare what a model needs with what the board has."""

_seen: OrderedDict[tuple[str, str, int | None, int | None, str], tuple[Finding, ...]] = OrderedDict()


def preflight(
    file: DeviceFile,
    target: Target,
    *,
    psram_bytes: int | None = None,
    partition_bytes: int | None = None,
    engine_version: str = "",
    any_operator: bool = False,
) -> tuple[Finding, ...]:
    """Examine a model before it is flashed or uploaded.

    Args:
        file: the model.
        target: the chip that it is to run on.
        psram_bytes: of the board; None: of the target's usual module.
        partition_bytes: size of its model partition; None: unknown.
        engine_version: of the board's handshake, for rules that depend on it; "": the newest known is assumed.
        any_operator: the board has all operators of its runtime, as a virtual one has: what our firmware's list
            lacks does not gate.

    Returns:
        What is not an error: warnings and notes.

    Raises:
        LintError: a rule found an error; the message has the rule's words, the hint what to do.
        DoesNotFit: the same, where it is memory that the board lacks.
    """
    key = (file.sha256, target.name, psram_bytes, partition_bytes, engine_version)
    if key not in _seen:
        # TFLM's rules try arenas in a process: once for each model and chip is enough
        _seen[key] = _examine(file, target, psram_bytes, partition_bytes, engine_version)
        while len(_seen) > _KEPT:
            _seen.popitem(last=False)
    errors = [finding for finding in _seen[key] if finding.severity == "error" and finding.gates]
    if any_operator:
        errors = [finding for finding in errors if finding.rule != RESOLVER]
    if errors:
        first, others = errors[0], len(errors) - 1
        where = f" at {first.node}" if first.node else ""
        more = f" (and {others} more: hil lint lists them)" if others else ""
        kind = DoesNotFit if first.rule in _OF_SIZE else LintError
        raise kind(f"{first.rule}{where}: {first.why}{more}", hint=first.todo, step="lint")
    return _seen[key]


RESOLVER = "tflm-resolver"
"""The rule about the list of operators that firmware is built with."""


def esp_nn_of(engine_version: str) -> str:
    """ESP-NN's version in the words of our TFLM firmware, "1.4.0 esp-nn 1.2.3 optimized"; "off" with its C kernels.

    "" if the words tell none: another firmware, or a virtual board, which runs TFLM's reference kernels.
    """
    found = re.search(r"\besp-nn v?(\d+(?:\.\d+)*)\S*(?: (\S+))?", engine_version)
    if found is None:
        return ""
    return "off" if found[2] == "ansi-c" else found[1]


def _examine(
    file: DeviceFile,
    target: Target,
    psram_bytes: int | None,
    partition_bytes: int | None,
    engine_version: str,
) -> tuple[Finding, ...]:
    if isinstance(file.content, EspdlModel):
        return lint_model(
            file.content,
            target=target,
            psram_bytes=psram_bytes,
            partition_bytes=partition_bytes,
            esp_dl=esp_dl_of(engine_version),
        ).findings
    return lint_tflite(
        file.image,
        target=target,
        psram_bytes=psram_bytes,
        partition_bytes=partition_bytes,
        esp_nn=esp_nn_of(engine_version),
    )[1]
