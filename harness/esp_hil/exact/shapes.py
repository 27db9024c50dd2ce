"""The shapes of a graph on its way to ONNX: those that ESP-DL computes, which are what the device allocates.

They can differ from the shapes in the file: a streaming model is exported with the shapes of the whole clip. A node
whose output ESP-DL computes only in part, or from other memory, is refused.
"""

from __future__ import annotations

from esp_hil.errors import UnsupportedOperator
from esp_hil.exact.lowering import Lowering, attribute_ints
from esp_hil.formats.espdl.model import Node
from esp_hil.formats.espdl.shapes import Shape, output_shapes
from esp_hil.formats.espdl.windows import FIRST_SAMPLE_ONLY, unreached


def infer(lowering: Lowering, node: Node) -> None:
    """Set the shapes of the node's outputs.

    Raises:
        UnsupportedOperator: ESP-DL has no output of a valid shape, or leaves part of it uncomputed.
    """
    inputs = [lowering.shape(name) if name else () for name in node.inputs]
    _check_batch(node, inputs)
    made = output_shapes(lowering.graph, node, inputs)
    if node.op_type in ("Conv", "MaxPool", "AveragePool"):
        _check_windows(node, inputs, made[0])
    for name, shape in zip(node.outputs, made, strict=False):
        if name:
            lowering.set_shape(name, shape)


def _check_batch(node: Node, inputs: list[Shape]) -> None:
    if node.op_type in FIRST_SAMPLE_ONLY and inputs and inputs[0] and inputs[0][0] != 1:
        raise UnsupportedOperator(
            f"{node.op_type} {node.name!r}: a batch of {inputs[0][0]}; ESP-DL computes the first sample only",
            hint="export the model with a batch of 1",
        )


def _check_windows(node: Node, inputs: list[Shape], output: Shape) -> None:
    sizes = inputs[0][1:-1]
    conv = node.op_type == "Conv"
    kernel = inputs[1][:-2] if conv else attribute_ints(node, "kernel_shape", ())
    dilations = attribute_ints(node, "dilations", ()) if conv else (1,) * len(sizes)
    strides, pads = (
        attribute_ints(node, "strides", ()),
        attribute_ints(node, "pads", ()) or (0,) * (2 * len(sizes)),
    )
    for axis, size in enumerate(sizes):
        wrong = unreached(
            node.op_type,
            size=size,
            window=dilations[axis] * (kernel[axis] - 1) + 1,
            stride=strides[axis],
            head=pads[axis],
            outputs=output[1 + axis],
        )
        if wrong:
            raise UnsupportedOperator(
                f"{node.op_type} {node.name!r}: axis {axis}: {wrong}",
                hint="ESP-DL reads or writes other memory there; pad on both sides, or use a smaller kernel",
            )
