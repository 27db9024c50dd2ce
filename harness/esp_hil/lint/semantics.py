"""Rules about kernels that compute something else than ONNX says."""

from __future__ import annotations

from collections.abc import Iterator

from esp_hil.formats.espdl.model import Node
from esp_hil.lint.finding import Finding, Subject, rule

_PAD_MODES = ("constant", "edge", "reflect")
_RESIZE_MODES = ("nearest", "linear")
_RNN_NEEDS = {"LSTM": (7, 3), "GRU": (6, 2)}
_POOLS = frozenset({"AveragePool", "MaxPool"})


@rule("conv-groups", "espdl", "onnx")
def conv_groups(subject: Subject) -> Iterator[Finding]:
    """A Conv has groups, but is neither dense nor depthwise: it is computed as depthwise."""
    for node, group, given, made in _grouped(subject):
        if group not in (1, given):
            yield Finding(
                severity="error",
                node=node.name,
                why=f"group={group} with {given} input channels: ESP-DL knows 1 and {given} and computes "
                "this one as "
                "depthwise, wrong and without a message",
                todo="split it into dense convolutions with Slice and Concat",
            )
        elif group > 1 and made != given:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"a depthwise multiplier of {made / given:g}: ESP-DL computes {given} output channels, "
                f"not {made}",
                todo="use a multiplier of 1, followed by a 1x1 convolution",
            )


@rule("pool-padding", "espdl", "onnx")
def pool_padding(subject: Subject) -> Iterator[Finding]:
    """AveragePool leaves out the padding when it divides; ESP-DL divides by the whole window."""
    for node in subject.graph.nodes:
        pads = node.attributes.get("pads", ())
        padded = isinstance(pads, tuple) and any(pads)
        if node.op_type == "AveragePool" and padded and node.attributes.get("count_include_pad", 0) != 1:
            yield Finding(
                severity="warning",
                node=node.name,
                why="ONNX averages over the values inside, ESP-DL over the whole window (as "
                "count_include_pad=1): "
                "borders differ by up to the full range. esp-ppq does as ESP-DL, so it will not show there",
                todo="train and export with count_include_pad=True, or pad with an operator of its own",
            )


@rule("pool-ceil", "espdl", "onnx")
def pool_ceil(subject: Subject) -> Iterator[Finding]:
    """A pool asks for ceil_mode or dilations, which ESP-DL does not look at."""
    for node in subject.graph.nodes:
        if node.op_type not in _POOLS:
            continue
        dilations = node.attributes.get("dilations", ())
        dilated = isinstance(dilations, tuple) and any(item != 1 for item in dilations)
        for name, asked in (("ceil_mode", node.attributes.get("ceil_mode", 0) == 1), ("dilations", dilated)):
            if asked:
                yield Finding(
                    severity="error",
                    node=node.name,
                    why=f"ESP-DL ignores {name} of {node.op_type}: shape or values differ from ONNX",
                    todo=f"train and export without {name}",
                )


@rule("resize", "espdl", "onnx")
def resize(subject: Subject) -> Iterator[Finding]:
    """Resize in a mode that ESP-DL does not have."""
    for node in subject.graph.nodes:
        mode = node.attributes.get("mode")
        if node.op_type == "Resize" and mode is not None and mode not in _RESIZE_MODES:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"mode {mode!r}: ESP-DL has {' and '.join(_RESIZE_MODES)}",
                todo="export with one of those",
            )


@rule("pad-mode", "espdl", "onnx")
def pad_mode(subject: Subject) -> Iterator[Finding]:
    """Pad in a mode that ESP-DL does not have: it asserts at load."""
    for node in subject.graph.nodes:
        mode = node.attributes.get("mode")
        if node.op_type == "Pad" and mode is not None and mode not in _PAD_MODES:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"mode {mode!r}: ESP-DL asserts one of {', '.join(_PAD_MODES)}",
                todo="export with one of those",
            )


@rule("split-count", "espdl", "onnx")
def split_count(subject: Subject) -> Iterator[Finding]:
    """Split without sizes: ESP-DL takes num_outputs for the size of a part."""
    for node in subject.graph.nodes:
        # before opset 13 the sizes are an attribute, which esp-ppq turns into that input
        told = node.input(1) or (subject.stage == "onnx" and "split" in node.attributes)
        if node.op_type == "Split" and not told:
            yield Finding(
                severity="error" if subject.stage == "espdl" else "warning",
                node=node.name,
                why="it names a number of parts and no sizes; ESP-DL takes that number for the size of each "
                "part",
                todo="give the sizes as second input"
                + ("; hil new and hil quantize do" if subject.stage == "onnx" else ""),
            )


@rule("reduce-axes")
def reduce_axes(subject: Subject) -> Iterator[Finding]:
    """Axes of a reduction, Squeeze or Unsqueeze are an attribute: ESP-DL reads them from input 1."""
    for node in subject.graph.nodes:
        by_axes = node.op_type.startswith("Reduce") or node.op_type in ("Squeeze", "Unsqueeze")
        if by_axes and "axes" in node.attributes:
            yield Finding(
                severity="error",
                node=node.name,
                why=f"axes are an attribute; ESP-DL reads input 1 only, so {node.op_type} works on all axes",
                todo="export with ONNX opset 18 or newer",
            )


@rule("space-to-depth", "espdl", "onnx")
def space_to_depth(subject: Subject) -> Iterator[Finding]:
    """SpaceToDepth orders its channels as torch's pixel_unshuffle, not as ONNX."""
    for node in subject.graph.nodes:
        if node.op_type == "SpaceToDepth":
            yield Finding(
                severity="warning",
                node=node.name,
                why="ESP-DL and esp-ppq order the channels as torch's pixel_unshuffle, ONNX the other way: "
                "float and "
                "quantized answers differ unless the next layer's weights expect it",
                todo="train with pixel_unshuffle and compare against torch, not against onnxruntime",
            )


@rule("recurrent")
def recurrent(subject: Subject) -> Iterator[Finding]:
    """LSTM or GRU without initial state or outputs, with coupled gates, or with rounding of its own."""
    for node in subject.graph.nodes:
        if node.op_type not in _RNN_NEEDS:
            continue
        if node.attributes.get("input_forget") == 1:
            yield Finding(
                severity="error",
                node=node.name,
                why="input_forget=1: ESP-DL refuses coupled gates and does not load the model",
                todo="train with separate gates",
            )
        yield from _state_findings(subject, node)
        yield Finding(
            severity="note",
            node=node.name,
            why=f"gates are computed in float tables on the chip: {node.op_type} differs from esp-ppq by 1 "
            "LSB in int8, "
            "by tens in int16",
            todo="allow for it in the tolerance of this model, and say so there",
        )


@rule("recurrent-state", "onnx")
def recurrent_state(subject: Subject) -> Iterator[Finding]:
    """LSTM or GRU that esp-ppq cannot export: it needs the initial state and all outputs."""
    for node in subject.graph.nodes:
        if node.op_type in _RNN_NEEDS:
            yield from _state_findings(subject, node)


@rule("recurrent-kind", "onnx")
def recurrent_kind(subject: Subject) -> Iterator[Finding]:
    """LSTM or GRU of a kind that esp-ppq or ESP-DL does not compute."""
    for node in subject.graph.nodes:
        if node.op_type not in _RNN_NEEDS:
            continue
        for asked, todo in _unknown_kinds(subject, node):
            yield Finding(
                severity="error",
                node=node.name,
                why=f"{node.op_type} with {asked}: esp-ppq and ESP-DL have it as torch has it, without",
                todo=todo,
            )


def _unknown_kinds(subject: Subject, node: Node) -> Iterator[tuple[str, str]]:
    """What is asked of a recurrent node that nothing computes, and what to do."""
    attributes = node.attributes
    if node.op_type == "GRU" and attributes.get("linear_before_reset", 0) == 0:
        yield (
            "linear_before_reset = 0",
            "train with linear_before_reset = 1, as torch.nn.GRU and Keras's reset_after do",
        )
    if attributes.get("direction", "forward") == "reverse":
        yield "direction = 'reverse'", "reverse the steps outside the model, or use a bidirectional one"
    for name in ("activations", "activation_alpha", "activation_beta", "clip"):
        if name in attributes:
            yield name, f"train and export without {name}"
    if attributes.get("input_forget", 0):
        yield "input_forget = 1", "train with separate gates"
    if node.input(7):
        yield "peepholes", "train without peepholes"
    layout = attributes.get("layout", 0)
    if layout:
        yield f"layout = {layout!r}", "export with layout = 0: steps first, then the batch"
    given = subject.graph.values.get(node.input(0))
    if given is not None and len(given.shape) == 3 and not layout and given.shape[1] > 1:
        yield (
            f"a batch of {given.shape[1]} (its input is {'x'.join(map(str, given.shape))}: steps, batch, features)",
            "put a Transpose before it that brings the steps to the front, or export with a batch of 1",
        )


def _state_findings(subject: Subject, node: Node) -> Iterator[Finding]:
    inputs, outputs = _RNN_NEEDS[node.op_type]
    has_state = len(node.inputs) >= inputs and all(node.inputs[5:inputs])
    if not has_state or len([name for name in node.outputs if name]) < outputs:
        stops = (
            "esp-ppq stops with an IndexError"
            if subject.stage == "onnx"
            else "ESP-DL reads state that is not there"
        )
        yield Finding(
            severity="error",
            node=node.name,
            why=f"{node.op_type} needs its initial state as input and {outputs} outputs: {stops}",
            todo="give the state as a graph input (a constant of zeros is folded away) and name every output",
        )


@rule("auto-pad", "espdl", "onnx")
def auto_pad(subject: Subject) -> Iterator[Finding]:
    """Padding is asked for by name; ESP-DL reads numbers."""
    for node in subject.graph.nodes:
        if node.attributes.get("auto_pad", "NOTSET") != "NOTSET":
            yield Finding(
                severity="error" if subject.stage == "espdl" else "warning",
                node=node.name,
                why=f"auto_pad={node.attributes['auto_pad']!r}: ESP-DL reads the attribute pads only",
                todo="export with explicit pads; hil new and hil quantize write them"
                if subject.stage == "onnx"
                else "export with explicit pads",
            )


@rule("gemm-scale", "espdl", "onnx")
def gemm_scale(subject: Subject) -> Iterator[Finding]:
    """Gemm with alpha, beta or transA, which ESP-DL does not read."""
    for node in subject.graph.nodes:
        if node.op_type != "Gemm":
            continue
        for name, usual in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
            if node.attributes.get(name, usual) != usual:
                yield Finding(
                    severity="error" if subject.stage == "espdl" or name == "transA" else "warning",
                    node=node.name,
                    why=f"{name}={node.attributes[name]!r}: ESP-DL computes x * w + b and nothing else",
                    todo="export the operand transposed"
                    if name == "transA"
                    else "multiply it into weights and bias before export; hil new and hil quantize do where those "
                    "are constants",
                )


def _grouped(subject: Subject) -> Iterator[tuple[Node, int, int, int]]:
    """Conv nodes with group, input channels and output channels."""
    graph = subject.graph
    for node in graph.nodes:
        group = node.attributes.get("group", 1)
        if node.op_type != "Conv" or not isinstance(group, int) or group == 1:
            continue
        if subject.stage == "onnx":
            kernel = graph.initializers.get(node.input(1))
            if kernel is not None and len(kernel.shape) > 2:
                yield node, group, kernel.shape[1] * group, kernel.shape[0]
            continue
        given, made = graph.values.get(node.input(0)), graph.values.get(node.output(0))
        if given is not None and made is not None and given.shape and made.shape:
            yield node, group, given.shape[-1], made.shape[-1]
