"""`.tflite` files of the kinds that exist as nothing else: a streaming wake word, a recurrent loop."""

from __future__ import annotations

import numpy as np

from tests.formats.tflite.graphs import Graph, Graphs

_STATE = (0.05, -3)
"""Scale and zero point of the stream."""


def wake_word() -> bytes:
    """int8, as microWakeWord's are: three new frames join four that a variable kept; Conv, Dense, a probability.

    The variable is filled by CALL_ONCE; in each inference it is read, joined with what is new, cut and assigned.
    """
    file = Graphs()
    random = np.random.default_rng(5)
    main = file.graph("main")
    given = main.tensor("features", (1, 3, 1, 8), "INT8", quantized=_STATE)
    handle = main.tensor("stream", (1,), "RESOURCE")
    held = main.tensor("held", (1, 4, 1, 8), "INT8", quantized=_STATE)
    window = main.tensor("window", (1, 7, 1, 8), "INT8", quantized=_STATE)
    kept = main.tensor("kept", (1, 4, 1, 8), "INT8", quantized=_STATE)
    main.operator("CALL_ONCE", [], [], "CallOnceOptions", initSubgraphIndex=1)
    main.operator("VAR_HANDLE", [], [handle], "VarHandleOptions", container="c", sharedName="stream")
    main.operator("READ_VARIABLE", [handle], [held])
    main.operator("CONCATENATION", [held, given], [window], "ConcatenationOptions", axis=1)
    places = [
        main.tensor(name, (4,), "INT32", np.array(values, "<i4"))
        for name, values in (("begin", [0, 3, 0, 0]), ("end", [1, 7, 1, 8]), ("strides", [1, 1, 1, 1]))
    ]
    main.operator("STRIDED_SLICE", [window, *places], [kept], "StridedSliceOptions")
    main.operator("ASSIGN_VARIABLE", [handle, kept], [])
    answer = _head(main, window, random)
    main.ends([given], [answer])
    init = file.graph("init")
    zeros = init.tensor(
        "zeros", (1, 4, 1, 8), "INT8", np.full((1, 4, 1, 8), _STATE[1], np.int8), quantized=_STATE
    )
    place = init.tensor("place", (1,), "RESOURCE")
    init.operator("VAR_HANDLE", [], [place], "VarHandleOptions", container="c", sharedName="stream")
    init.operator("ASSIGN_VARIABLE", [place, zeros], [])
    return file.image()


def _head(main: Graph, window: int, random: np.random.Generator) -> int:
    """Conv over time with ReLU, Dense, LOGISTIC; returns the probability's tensor."""
    relu = main.fb.ActivationFunctionType.RELU
    valid = main.fb.Padding.VALID
    filters = main.tensor("filters", (6, 3, 1, 8), "INT8", _weights(random, 6, 3, 1, 8), quantized=(0.01, 0))
    bias = main.tensor("bias", (6,), "INT32", np.arange(-300, 300, 100).astype("<i4"), quantized=(0.0005, 0))
    seen = main.tensor("seen", (1, 5, 1, 6), "INT8", quantized=(0.03, -128))
    main.operator(
        "CONV_2D", [window, filters, bias], [seen], "Conv2DOptions",
        padding=valid, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1, fusedActivationFunction=relu,
    )  # fmt: skip
    flat = main.tensor("flat", (1, 30), "INT8", quantized=(0.03, -128))
    shape = main.tensor("shape", (2,), "INT32", np.array([1, 30], "<i4"))
    main.operator("RESHAPE", [seen, shape], [flat], "ReshapeOptions", newShape=[1, 30])
    dense = main.tensor("dense", (1, 30), "INT8", _weights(random, 1, 30), quantized=(0.01, 0))
    offset = main.tensor("offset", (1,), "INT32", np.array([-200], "<i4"), quantized=(0.0003, 0))
    logit = main.tensor("logit", (1, 1), "INT8", quantized=(0.08, 4))
    main.operator("FULLY_CONNECTED", [flat, dense, offset], [logit], "FullyConnectedOptions")
    answer = main.tensor("probability", (1, 1), "INT8", quantized=(1 / 256, -128))
    main.operator("LOGISTIC", [logit], [answer])
    return answer


def _weights(random: np.random.Generator, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    return random.integers(-90, 91, shape).astype(np.int8)


def recurrent(*, steps: int = 5, size: int = 8) -> bytes:
    """float32, as Keras writes an RNN: WHILE i < steps: i + 1, h = tanh(W h + b + x); y = h."""
    file = Graphs()
    random = np.random.default_rng(6)
    main = file.graph("main")
    x, y = main.tensor("x", (1, size)), main.tensor("y", (1, size))
    first = main.tensor("zero", (1,), "INT32", np.array([0], "<i4"))
    start = main.tensor("start", (1, size), data=np.zeros((1, size), np.float32))
    count, same = main.tensor("count", (1,), "INT32"), main.tensor("x_again", (1, size))
    main.operator(
        "WHILE", [first, start, x], [count, y, same], "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2
    )
    main.ends([x], [y])
    condition = file.graph("condition")
    i, h, given = _arguments(condition, size)
    limit = condition.tensor("steps", (1,), "INT32", np.array([steps], "<i4"))
    less = condition.tensor("less", (1,), "BOOL")
    condition.operator("LESS", [i, limit], [less], "LessOptions")
    condition.ends([i, h, given], [less])
    body = file.graph("body")
    i, h, given = _arguments(body, size)
    one = body.tensor("one", (1,), "INT32", np.array([1], "<i4"))
    weights = body.tensor("w", (size, size), data=random.normal(0, 0.4, (size, size)).astype(np.float32))
    bias = body.tensor("b", (size,), data=random.normal(0, 0.2, size).astype(np.float32))
    after, product = body.tensor("after", (1,), "INT32"), body.tensor("product", (1, size))
    total, state = body.tensor("total", (1, size)), body.tensor("state", (1, size))
    body.operator("ADD", [i, one], [after], "AddOptions")
    body.operator("FULLY_CONNECTED", [h, weights, bias], [product], "FullyConnectedOptions")
    body.operator("ADD", [product, given], [total], "AddOptions")
    body.operator("TANH", [total], [state])
    body.ends([i, h, given], [after, state, given])
    return file.image()


def _arguments(graph: Graph, size: int) -> tuple[int, int, int]:
    return (
        graph.tensor("i", (1,), "INT32"),
        graph.tensor("h", (1, size)),
        graph.tensor("given", (1, size)),
    )
