"""Which function lowers which operator."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from esp_hil.errors import UnsupportedOperator
from esp_hil.formats.espdl.model import Node

if TYPE_CHECKING:
    from esp_hil.exact.lowering import Lowering


_operators: dict[str, OperatorLowering] = {}


@dataclass(frozen=True, slots=True)
class OperatorLowering:
    """How one operator is lowered.

    Attributes:
        lower: appends the nodes that compute the operator to the ONNX graph.
        batches: whether inputs stacked on axis 0 give outputs stacked on axis 0, for this node.
    """

    lower: Callable[[Lowering, Node], None]
    batches: Callable[[Lowering, Node], bool]


def operator(
    *op_types: str, batches: bool | Callable[[Lowering, Node], bool] = False
) -> Callable[[Callable[[Lowering, Node], None]], Callable[[Lowering, Node], None]]:
    """Register the decorated function for these operators."""

    def asks(_lowering: Lowering, _node: Node) -> bool:
        return bool(batches)

    def register(lower: Callable[[Lowering, Node], None]) -> Callable[[Lowering, Node], None]:
        for op_type in op_types:
            _operators[op_type] = OperatorLowering(lower, batches if callable(batches) else asks)
        return lower

    return register


@cache
def _load() -> None:
    from esp_hil.exact import operators

    for info in pkgutil.iter_modules(operators.__path__):
        importlib.import_module(f"{operators.__name__}.{info.name}")


def operator_of(node: Node) -> OperatorLowering:
    """The operator of a node.

    Raises:
        UnsupportedOperator: ESP-DL 3.3.9 does not register it (dl_module_creator.hpp).
    """
    _load()
    try:
        return _operators[node.op_type]
    except KeyError:
        raise UnsupportedOperator(
            f"Do not support {node.op_type}, please implement and register it first (node {node.name!r})",
            hint="ESP-DL 3.3.9 does not register it; replace it in the float model and quantize again",
        ) from None


def operator_names() -> tuple[str, ...]:
    """All operators that can be lowered."""
    _load()
    return tuple(sorted(_operators))
