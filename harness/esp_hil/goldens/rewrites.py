"""Changes to a copy of a float model before it is quantized: what a recipe may ask for under `rewrites`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.errors import QuantizeError
from esp_hil.models.recipe import Rewrite

if TYPE_CHECKING:
    import onnx


def rewrite(source: Path, rewrites: Sequence[Rewrite], target: Path) -> Path:
    """Write a float model with changes; the source stays as it is.

    Returns:
        `target`, or `source` itself if there is nothing to change.

    Raises:
        QuantizeError: a rewrite finds nothing to do, or something that it must not change.
    """
    if not rewrites:
        return source
    import onnx

    model = onnx.load(source)
    for name in rewrites:
        _REWRITES[name](model, source)
    onnx.checker.check_model(model)
    onnx.save(model, target)
    return target


def _clip_to_relu(model: onnx.ModelProto, source: Path) -> None:
    """Every Clip from 0 (ReLU6) becomes a Relu, which esp-ppq can fuse and equalize across."""
    from onnx import numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    clips = [node for node in model.graph.node if node.op_type == "Clip"]
    if not clips:
        raise QuantizeError(
            f"{source.name} has no Clip to turn into Relu", hint="leave the rewrite out of the recipe"
        )
    for node in clips:
        low = constants.get(node.input[1]) if len(node.input) > 1 else None
        if low is None or float(low) != 0:
            raise QuantizeError(
                f"Clip {node.name} does not begin at 0: it is not a ReLU6",
                hint="leave the rewrite out of the recipe",
            )
        node.op_type = "Relu"
        del node.input[1:]
    _drop_unused_constants(model)


def _drop_unused_constants(model: onnx.ModelProto) -> None:
    graph = model.graph
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    for node in [node for node in graph.node if node.op_type == "Constant" and node.output[0] not in used]:
        graph.node.remove(node)


_REWRITES: dict[Rewrite, Callable[[onnx.ModelProto, Path], None]] = {"clip_to_relu": _clip_to_relu}
