"""PReLU with a slope per channel, which each family computes in its own way.

The portable kernel copies positive values and shifts negative ones down without rounding (dl_base_prelu.cpp).
The SIMD kernels for int8 rescale positive values by an int8 factor, and round: half up on esp32s3
(tie728_s8_vector_round_result), by esp.vprelu on esp32p4. For int16 only esp32s3 has a SIMD kernel. Source:
ESP-DL 3.3.9, dl/base and dl/base/isa.
"""

from __future__ import annotations

from collections.abc import Iterator

from esp_hil.formats.espdl.model import Node
from esp_hil.lint.finding import Finding, Severity, Subject, rule
from esp_hil.targets import Family

_TODO = "use LeakyRelu or a PRelu with one slope: for int8 both become a table and are exact"
_RANK = 4
# The factor for positive values is 2^(e_in - e_out), kept in int8.
_LARGEST_SCALING = 6


@rule("prelu", "espdl", "onnx")
def prelu(subject: Subject) -> Iterator[Finding]:
    """PReLU with a slope per channel: exponents, rank and rounding."""
    for node in subject.graph.nodes:
        if node.op_type != "PRelu" or "lut" in node.attributes:
            continue
        slope = subject.graph.initializers.get(node.input(1))
        if subject.stage == "onnx":
            if slope is None or slope.data.size > 1:
                yield _finding(
                    node, "warning", "every family of chips rounds it in its own way, none as esp-ppq does"
                )
            continue
        yield from _exponent_findings(subject, node)
        yield from _shape_findings(subject, node, 0 if slope is None else slope.data.size)
        yield from _rounding_findings(subject, node)


def _exponent_findings(subject: Subject, node: Node) -> Iterator[Finding]:
    given, made = subject.graph.values.get(node.input(0)), subject.graph.values.get(node.output(0))
    if given is None or made is None or not given.exponents or not made.exponents:
        return
    before, after = given.exponents[0], made.exponents[0]
    if before != after and _portable(subject, node):
        why = (
            f"input exponent {before}, output exponent {after}: positive values are copied without rescaling"
        )
        yield _finding(node, "error", why)
    elif before - after > _LARGEST_SCALING:
        why = f"input exponent {before}, output exponent {after}: the factor between them does not fit int8"
        yield _finding(node, "error", why)


def _shape_findings(subject: Subject, node: Node, slopes: int) -> Iterator[Finding]:
    given = subject.graph.values.get(node.input(0))
    if given is None:
        return
    if len(given.shape) != _RANK:
        why = f"its input has {len(given.shape)} dimensions; ESP-DL reads the fourth without looking"
        yield _finding(node, "error", why)
    elif slopes > 1 and slopes != given.shape[-1]:
        why = f"it has {slopes} slopes; ESP-DL counts by the last axis, which has {given.shape[-1]} values"
        yield _finding(node, "error", why)


def _rounding_findings(subject: Subject, node: Node) -> Iterator[Finding]:
    given, made = subject.graph.values.get(node.input(0)), subject.graph.values.get(node.output(0))
    rescales = given is not None and made is not None and given.exponents != made.exponents
    if _portable(subject, node):
        why = "ESP-DL rounds negative values down, esp-ppq to the nearest: expect differences of 1 LSB"
        yield _finding(node, "warning", why)
    elif rescales:
        why = "the SIMD kernel rescales positive values, the portable one does not: a PC answers otherwise"
        yield _finding(node, "warning", why)
    else:
        why = (
            "the SIMD kernel rounds, the portable one does not: answers computed on a PC may differ by 1 LSB"
        )
        yield _finding(node, "note", why)


def _portable(subject: Subject, node: Node) -> bool:
    """Whether the portable kernel runs; also if nothing tells the family, so that the hazard is named."""
    family: Family | None = subject.target.family if subject.target is not None else None
    if family is None and subject.model is not None:
        family = subject.model.family
    simd: tuple[Family, ...] = (
        ("esp32s3", "esp32p4") if node.attributes.get("quant_type") == "S8" else ("esp32s3",)
    )
    return family not in simd


def _finding(node: Node, severity: Severity, why: str) -> Finding:
    return Finding(severity=severity, node=node.name, why=why, todo=_TODO)
