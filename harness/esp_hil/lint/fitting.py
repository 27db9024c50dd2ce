"""Rules about the chip: the right family, enough memory, and data that suit the model's exponents."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from esp_hil.errors import HilError, InputError
from esp_hil.formats.espdl.family import possible_families
from esp_hil.formats.espdl.memory import plan_memory
from esp_hil.formats.espdl.model import ValueInfo
from esp_hil.lint.finding import Finding, Subject, rule
from esp_hil.targets import FAMILIES, Target, psram_for_model, targets

_SATURATED_SHARE_WARNED = 0.001


@rule("unknown-target")
def unknown_target(subject: Subject) -> Iterator[Finding]:
    """The file names a target that esp-ppq and this tool do not know."""
    named = subject.model.metadata.get("target", "") if subject.model is not None else ""
    if named and named not in targets() and named not in FAMILIES:
        yield Finding(
            severity="error",
            node="",
            why=f"it was exported for {named!r}: esp-ppq makes unknown targets float and only logs a warning",
            todo=f"export it for one of: c, {', '.join(targets())}",
        )


@rule("wrong-family")
def wrong_family(subject: Subject) -> Iterator[Finding]:
    """The file was made for chips with other kernels, layouts or rounding."""
    model, chip = subject.model, subject.target
    if model is None or chip is None:
        return
    possible = possible_families(model.graph, model.metadata)
    if chip.family not in possible:
        yield Finding(
            severity="error",
            node="",
            why=f"it was made for {' or '.join(possible)}; {chip.name} needs {chip.family}: filters lie in "
            "another order, "
            "or have exponents that its kernels do not read",
            todo=f"quantize it again for {chip.name}",
        )
    elif model.family is None and set(possible) != set(FAMILIES):
        yield Finding(
            severity="note",
            node="",
            why=f"the file fits {' and '.join(possible)} and does not tell which it was made for",
            todo='export with metadata_props={"target": ...}, so that a mistake is noticed',
        )


@rule("model-size")
def model_size(subject: Subject) -> Iterator[Finding]:
    """The file is larger than its partition or the flash."""
    if subject.model is None:
        return
    size = subject.model.size_bytes
    limits = []
    if subject.partition_bytes is not None:
        limits.append(("its partition", subject.partition_bytes))
    if subject.target is not None:
        limits.append((f"the flash of {subject.target.name}", subject.target.flash_bytes))
    for what, limit in limits:
        if size > limit:
            yield Finding(
                severity="error",
                node="",
                why=f"the file has {size:,} bytes, {what} {limit:,}",
                todo="enlarge the partition, take a module with more flash, or a smaller model",
            )


@rule("memory")
def memory(subject: Subject) -> Iterator[Finding]:
    """Arena and copied parameters are larger than the board's RAM."""
    model, chip = subject.model, subject.target
    if model is None or chip is None:
        return
    psram_bytes = chip.psram_bytes if subject.psram_bytes is None else subject.psram_bytes
    try:
        plan = plan_memory(model, chip, psram=psram_bytes > 0)
    except HilError:
        return  # unregistered-operator or shapes says why
    have = psram_for_model(psram_bytes) if psram_bytes else chip.internal_bytes
    said = (
        f"{psram_bytes:,} bytes of PSRAM, {have:,} of them for a model"
        if psram_bytes
        else f"{have:,} bytes of internal RAM"
    )
    if not psram_bytes and plan.variable.total_bytes > chip.largest_block_bytes:
        yield _no_block(plan.variable.total_bytes, chip)
        return
    arena, copies = plan.variable.total_bytes, plan.parameter_copy.total_bytes
    if arena + copies <= have:
        return
    fits_in_flash = arena <= have
    yield Finding(
        severity="warning" if fits_in_flash else "error",
        node="",
        why=f"values take {arena:,} bytes and copied parameters {copies:,}; {chip.name} has {said}",
        todo="load it with param_copy=false: parameters then stay in flash, slower"
        if fits_in_flash
        else "take a board with more PSRAM, a smaller input, or a smaller model",
    )


def _no_block(arena: int, chip: Target) -> Finding:
    """ESP-DL asks for the arena in one piece."""
    return Finding(
        severity="error",
        node="",
        why=f"values take one block of {arena:,} bytes; the largest of {chip.name}'s internal RAM has about "
        f"{chip.largest_block_bytes:,} in a freshly booted image",
        todo="take a board with PSRAM, a smaller input, or a smaller model",
    )


@rule("no-test-vector")
def no_test_vector(subject: Subject) -> Iterator[Finding]:
    """The file holds no test vector, so that `dl::Model::test()` cannot run."""
    graph = subject.graph
    if not graph.test_outputs or {value.name for value in graph.inputs} - set(graph.test_inputs):
        yield Finding(
            severity="note",
            node="",
            why="there is no test vector in the file: dl::Model::test() will fail, and nothing checks a "
            "flash copy",
            todo="export with export_test_values=True",
        )


@rule("input-saturation")
def input_saturation(subject: Subject) -> Iterator[Finding]:
    """The given data do not fit the exponent of the input.

    Real numbers are compared with what the integers can hold; integers are counted at the ends of their
    range.
    """
    known = {value.name: value for value in subject.graph.inputs}
    for name, data in subject.inputs.items():
        value = known.get(name)
        if value is None:
            raise InputError(f"the model has no input {name!r}", hint=f"inputs: {', '.join(known)}")
        if not value.exponents or value.dtype not in ("int8", "int16"):
            continue
        share = _saturated_share(value, data)
        if share > 0:
            limits = np.iinfo(value.dtype)
            highest = limits.max * 2.0 ** value.exponents[0]
            yield Finding(
                severity="warning" if share > _SATURATED_SHARE_WARNED else "note",
                node=name,
                why=f"{share:.2%} of the data lie beyond ±{highest:.6g}, the range of {value.dtype} with "
                "exponent "
                f"{value.exponents[0]}",
                todo="calibrate with data like these, and check that they are normalized as in training",
            )


def _saturated_share(value: ValueInfo, data: np.ndarray) -> float:
    limits = np.iinfo(value.dtype)
    if np.issubdtype(data.dtype, np.floating):
        scaled = data.astype(np.float64) * 2.0 ** -value.exponents[0]
        outside = (scaled > limits.max + 0.5) | (scaled < limits.min - 0.5) | ~np.isfinite(scaled)
    else:
        outside = (data >= limits.max) | (data <= limits.min)
    return float(outside.mean()) if data.size else 0.0
