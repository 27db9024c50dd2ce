"""Will it run there? What can be told of a model file in seconds, before anything is calibrated or flashed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from esp_hil.errors import HilError, RuntimeFailed
from esp_hil.formats.espdl import EspdlModel
from esp_hil.goldens.float_check import findings_of, sentence
from esp_hil.goldens.new_model import ModelSources, Wish, macs_of, read_sources
from esp_hil.lint import Finding, lint_file
from esp_hil.models.device_file import DeviceFile
from esp_hil.targets import Target, target

if TYPE_CHECKING:
    import onnx

RESOLVER = "tflm-resolver"

DEFAULT = {"espdl": ("esp32s3", "esp32p4"), "tflm": ("esp32", "esp32s3", "esp32p4")}
"""Chips that are looked at if nobody named one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipOutlook:
    """What is to be expected on one chip.

    Attributes:
        chip: its name.
        runs: whether nothing speaks against it.
        why: sizes, or what speaks against it, a sentence each.
        changes: what to change, beside the node that it is about.
    """

    chip: str
    runs: bool
    why: tuple[str, ...]
    changes: tuple[str, ...]


def check(wish: Wish, chips: Sequence[str]) -> Iterator[ChipOutlook]:
    """Look at a person's model files for each chip.

    Args:
        wish: what `create` would be asked.
        chips: names; empty: the usual ones of the runtime.

    Raises:
        ConfigError, GoldenError, FormatError: the files cannot be used at all; the hint says what to change.
        RuntimeFailed: this machine cannot run files of that kind; the hint says what to install.
    """
    sources = read_sources(wish)
    for name in chips or DEFAULT[sources.runtime]:
        chip = target(name)
        family = chip.family_of(sources.runtime)
        if sources.files and family not in sources.files:
            there = ", ".join(sources.files)
            why = f"the device files are for {there}, and {name} needs one for {family}"
            yield ChipOutlook(
                chip=name, runs=False, why=(why,), changes=("give the float model with --onnx",)
            )
        elif sources.files:
            place = wish.files[list(sources.files).index(family)] if len(wish.files) > 1 else wish.files[0]
            yield _of_file(place, sources.files[family], chip)
        else:
            yield _of_onnx(wish, sources, chip)


def _of_file(path: Path, file: DeviceFile, chip: Target) -> ChipOutlook:
    findings = lint_file(path, target=chip, psram_bytes=chip.psram_bytes).findings
    why: list[str] = []
    errors = [one for one in findings if one.severity == "error" and one.gates and one.rule != RESOLVER]
    try:
        why.append(_memory(file, chip))
    except HilError as error:
        why.append(f"its memory is not known: {error.message}")
    try:
        file.exact(chip.family_of(file.runtime))
    except RuntimeFailed:
        # this machine lacks what runs the file: it says nothing of the chip
        raise
    except HilError as error:
        return ChipOutlook(
            chip=chip.name, runs=False, why=(error.message,), changes=(error.hint,) if error.hint else ()
        )
    return ChipOutlook(
        chip=chip.name,
        runs=not errors,
        why=(*why, *map(sentence, errors)),
        changes=changes_of(findings, path),
    )


def changes_of(findings: Sequence[Finding], path: Path) -> tuple[str, ...]:
    """What to change, beside the node that it is about; operators that only the firmware's build must know in one."""
    lacking = [one.node for one in findings if one.rule == RESOLVER]
    changes = [_change(one) for one in findings if one.severity != "note" and one.rule != RESOLVER]
    if lacking:
        changes.append(
            f"build the firmware with {', '.join(dict.fromkeys(lacking))}: hil resolver {path} --out ops.inc, then "
            "-DHIL_TFLM_OPERATORS=ops.inc; a virtual board has all"
        )
    return tuple(changes)


def _memory(file: DeviceFile, chip: Target) -> str:
    """Arena and file beside what the chip has."""
    size = f"the file takes {len(file.image):,} bytes of flash"
    if isinstance(file.content, EspdlModel):
        from esp_hil.formats.espdl.memory import plan_memory

        plan = plan_memory(file.content, chip)
        return f"{size}, its arena {plan.variable.total_bytes:,} bytes of RAM"
    from esp_hil.models.arena import arena_of

    arena = arena_of(file.content, file.image, chip=chip.name, esp_nn="")
    return f"{size}, its arena {arena.how} {arena.bytes:,} bytes of RAM"


def _of_onnx(wish: Wish, sources: ModelSources, chip: Target) -> ChipOutlook:
    assert wish.onnx is not None
    assert sources.proto is not None
    findings = findings_of(sources.proto, wish.float_operators, target=chip)
    errors = [one for one in findings if one.severity == "error"]
    weights, live = sizes_of(sources.proto)
    room = max(chip.largest_block_bytes, chip.psram_bytes)
    why = [_sizes(weights, live, macs_of(sources.proto))]
    changes = list(changes_of(findings, wish.onnx))
    if weights > chip.flash_bytes:
        why.append(f"the weights do not fit the usual {chip.flash_bytes:,} bytes of flash")
        changes.append("fewer parameters, or a module with more flash")
    if live > room:
        why.append(f"one layer alone needs {live:,} bytes; the largest memory has {room:,}")
        changes.append("a smaller input, or fewer channels where it is largest")
    why += map(sentence, errors)
    return ChipOutlook(
        chip=chip.name,
        runs=not errors and weights <= chip.flash_bytes and live <= room,
        why=tuple(why),
        changes=tuple(changes),
    )


def sizes_of(proto: onnx.ModelProto) -> tuple[int, int]:
    """(bytes of the weights, most bytes that one node reads and makes), both in 8 bits: lower bounds."""
    graph = proto.graph
    values = (*graph.value_info, *graph.output, *graph.input)
    sizes = {
        value.name: int(np.prod([max(1, d.dim_value) for d in value.type.tensor_type.shape.dim]))
        for value in values
    }
    constants = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    live = [
        sum(sizes.get(name, 0) for name in {*node.input, *node.output} if name not in constants)
        for node in graph.node
    ]
    return sum(constants.values()), max(live, default=0)


def _sizes(weights: int, live: int, macs: int) -> str:
    """Lower bounds in words; what a network does not have is not given as a figure."""
    flash = (
        f"its weights take at least {weights:,} bytes of flash in 8 bits (the device file has a few KB more)"
        if weights
        else "it has no weights"
    )
    work = f"{macs:,} MACs in Conv, Gemm and MatMul" if macs else "no MACs (it has no Conv, Gemm or MatMul)"
    return f"{flash}; one layer takes up to {live:,} bytes of RAM; {work}"


def _change(finding: Finding) -> str:
    """What to do, and of what is no error, which is told above, also why."""
    where = f"{finding.node}: " if finding.node else ""
    why = "" if finding.severity == "error" else f" ({finding.why})"
    return f"{where}{finding.todo}{why}"
