"""What stops a float model on its way to ESP-DL: the one answer of `hil new --check` and of `hil new` itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from esp_hil.errors import ConfigError
from esp_hil.goldens.prepare import prepare
from esp_hil.lint import Finding, lint_onnx
from esp_hil.targets import Target

if TYPE_CHECKING:
    import onnx

_PUT_RIGHT_LATER = frozenset({"dynamic-matmul", "shared-matmul-input"})
"""Rules about what the quantizer's process puts right, beside `prepare`."""
_STOPS = frozenset({"missing-attribute", "auto-pad", "gemm-scale", "split-count"})
"""Rules about what `prepare` puts right where it can: what is left of it afterwards stops the run."""


def findings_of(
    proto: onnx.ModelProto, float_operators: Collection[str] = (), *, target: Target | None = None
) -> tuple[Finding, ...]:
    """What the rules say of a float model once it is prepared as `hil new` prepares it; errors stop it.

    Args:
        proto: with its weights inside; it stays as it is. An open batch counts as 1, which is what is quantized.
        float_operators: ONNX operator types that may stay in float.
        target: the chip; None: any.
    """
    model = _with_batch_of_one(proto)
    prepare(model)
    operators = {node.name or f"{node.op_type}_{i}": node.op_type for i, node in enumerate(model.graph.node)}
    found = [
        _judged(finding, operators, float_operators)
        for finding in lint_onnx(model, target=target)
        if finding.rule not in _PUT_RIGHT_LATER
    ]
    return tuple(sorted(found, key=lambda finding: finding.severity != "error"))


def require_runnable(proto: onnx.ModelProto, float_operators: Collection[str], name: str) -> None:
    """Refuse a float model before anything is calibrated.

    Args:
        proto: with its weights inside.
        float_operators: ONNX operator types that may stay in float.
        name: of the model, for the hint.

    Raises:
        ConfigError: something stops it: the first finding, and how many there are.
    """
    errors = [finding for finding in findings_of(proto, float_operators) if finding.severity == "error"]
    if not errors:
        return
    first = errors[0]
    more = f"; and {len(errors) - 1} more" if len(errors) > 1 else ""
    whole = f"; hil new {name} --onnx FILE --check lists all" if more else ""
    raise ConfigError(f"the model will not run: {sentence(first)}{more}", hint=f"{first.todo}{whole}")


def sentence(finding: Finding) -> str:
    """What a finding says, with its rule and node."""
    where = f" at {finding.node}" if finding.node else ""
    return f"{finding.rule}{where}: {finding.why}"


def _with_batch_of_one(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the batch that esp-ppq is told, and shapes inferred anew from that."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(proto)
    constants = {tensor.name for tensor in model.graph.initializer}
    opened = False
    for value in model.graph.input:
        sizes = value.type.tensor_type.shape.dim
        if value.name not in constants and sizes and not sizes[0].dim_value:
            sizes[0].dim_value = 1
            opened = True
    if opened:
        del model.graph.value_info[:]
        for value in model.graph.output:
            sizes = value.type.tensor_type.shape.dim
            if sizes and not sizes[0].dim_value:
                sizes[0].dim_value = 1
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    return model


def _judged(finding: Finding, operators: dict[str, str], allowed: Collection[str]) -> Finding:
    """A finding with the weight that it has here."""
    if finding.rule in _STOPS:
        return replace(finding, severity="error")
    if finding.rule == "float-operator" and finding.severity == "warning":
        op_type = operators.get(finding.node, "")
        if op_type not in allowed:
            way = f"allow it with --float-operators {op_type}, or {finding.todo}"
            return replace(finding, severity="error", why=f"{finding.why}, and nobody allowed it", todo=way)
    return finding


def unknown_operators(proto: onnx.ModelProto, names: Collection[str]) -> Iterator[str]:
    """Those names that no node of the model has as its type."""
    there = {node.op_type for node in proto.graph.node}
    return (name for name in names if name not in there)
