"""`.tflite` files of several subgraphs, tensor by tensor: what FloatWriter does not write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.formats.tflite.writer import pack, schema


class Graphs:
    """A file that grows subgraph by subgraph."""

    def __init__(self) -> None:
        self.fb = schema()
        self.model = self.fb.ModelT()
        self.model.version, self.model.description = 3, "tests"
        self.model.operatorCodes, self.model.subgraphs = [], []
        self.model.buffers = [self.fb.BufferT()]

    def graph(self, name: str = "") -> Graph:
        """Another subgraph."""
        return Graph(self, name)

    def code(self, name: str) -> int:
        """Number of an operator's code; an unknown name is a custom operator."""
        number = getattr(self.fb.BuiltinOperator, name, None)
        entry = self.fb.OperatorCodeT()
        entry.builtinCode = self.fb.BuiltinOperator.CUSTOM if number is None else number
        entry.deprecatedBuiltinCode = min(entry.builtinCode, 127)
        entry.customCode = name if number is None else None
        entry.version = 1
        self.model.operatorCodes.append(entry)
        return len(self.model.operatorCodes) - 1

    def image(self) -> bytes:
        """The file."""
        return pack(self.model)


class Graph:
    """One subgraph of it."""

    def __init__(self, file: Graphs, name: str) -> None:
        self.file, self.fb = file, file.fb
        self.graph = file.fb.SubGraphT()
        self.graph.name = name
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        file.model.subgraphs.append(self.graph)

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        kind: str = "FLOAT32",
        data: NDArray[Any] | None = None,
        quantized: tuple[float, int] | None = None,
    ) -> int:
        """A tensor; with `data` a constant, with `quantized` of that scale and zero point."""
        tensor = self.fb.TensorT()
        tensor.name, tensor.shape = name, list(shape)
        tensor.type = getattr(self.fb.TensorType, kind)
        tensor.buffer = 0
        if data is not None:
            buffer = self.fb.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.file.model.buffers.append(buffer)
            tensor.buffer = len(self.file.model.buffers) - 1
        if quantized is not None:
            tensor.quantization = self.fb.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [quantized[0]], [quantized[1]]
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: str = "", **values: Any
    ) -> None:
        """An operator with the fields of its options table, in the schema's Python spelling."""
        operator = self.fb.OperatorT()
        operator.opcodeIndex = self.file.code(name)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options:
            table = getattr(self.fb, f"{options}T")()
            for field, value in values.items():
                setattr(table, field, value)
            operator.builtinOptionsType = getattr(self.fb.BuiltinOptions, options)
            operator.builtinOptions = table
        self.graph.operators.append(operator)

    def ends(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        """Its inputs and outputs."""
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)


def variable(*, assigned: str = "init", shared: str = "state", other: str = "state") -> bytes:
    """A net that adds a variable to its input.

    Args:
        assigned: "init": CALL_ONCE assigns it in a subgraph; "uncalled": the subgraph is there, not called;
            "main": after it was read; "branch": in a branch of an IF, its handle an argument; "no": nothing does.
        shared: name of what is read.
        other: name of what is assigned.
    """
    file = Graphs()
    main = file.graph("main")
    given, made = main.tensor("x", (4,)), main.tensor("y", (4,))
    handle, held = main.tensor("handle", (1,), "RESOURCE"), main.tensor("held", (4,))
    if assigned == "init":
        main.operator("CALL_ONCE", [], [], "CallOnceOptions", initSubgraphIndex=1)
    main.operator("VAR_HANDLE", [], [handle], "VarHandleOptions", container="c", sharedName=shared)
    main.operator("READ_VARIABLE", [handle], [held])
    main.operator("ADD", [given, held], [made], "AddOptions")
    main.ends([given], [made])
    if assigned == "main":
        main.operator("ASSIGN_VARIABLE", [handle, made], [])
    if assigned == "branch":
        condition = main.tensor("condition", (1,), "BOOL", np.array([True]))
        main.operator(
            "IF", [condition, handle, made], [], "IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=2
        )
        for name in ("then", "else"):
            branch = file.graph(name)
            inner, value = branch.tensor("h", (1,), "RESOURCE"), branch.tensor("v", (4,))
            if name == "then":
                branch.operator("ASSIGN_VARIABLE", [inner, value], [])
            branch.ends([inner, value], [])
    if assigned in {"init", "uncalled"}:
        init = file.graph("init")
        start = init.tensor("start", (4,), data=np.full(4, 0.5, np.float32))
        place = init.tensor("place", (1,), "RESOURCE")
        init.operator("VAR_HANDLE", [], [place], "VarHandleOptions", container="c", sharedName=other)
        init.operator("ASSIGN_VARIABLE", [place, start], [])
    return file.image()


def counting_loop(*, body: str = "ADD") -> bytes:
    """WHILE i < 3: i = body(i, 1); as Keras writes an RNN, with its operators in subgraphs."""
    file = Graphs()
    main = file.graph("main")
    given, made = main.tensor("x", (1,), "INT32"), main.tensor("y", (1,), "INT32")
    main.operator("WHILE", [given], [made], "WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)
    main.ends([given], [made])
    condition = file.graph("condition")
    i, limit = (
        condition.tensor("i", (1,), "INT32"),
        condition.tensor("n", (1,), "INT32", np.array([3], "<i4")),
    )
    less = condition.tensor("less", (1,), "BOOL")
    condition.operator("LESS", [i, limit], [less], "LessOptions")
    condition.ends([i], [less])
    loop = file.graph("body")
    i, one = loop.tensor("i", (1,), "INT32"), loop.tensor("1", (1,), "INT32", np.array([1], "<i4"))
    after = loop.tensor("after", (1,), "INT32")
    loop.operator(body, [i, one], [after], "AddOptions" if body == "ADD" else "")
    loop.ends([i], [after])
    return file.image()


def calls_itself() -> bytes:
    """A WHILE whose body is the subgraph that it stands in."""
    file = Graphs()
    main = file.graph("main")
    given, made = main.tensor("x", (1,), "INT32"), main.tensor("y", (1,), "INT32")
    main.operator("WHILE", [given], [made], "WhileOptions", condSubgraphIndex=0, bodySubgraphIndex=0)
    main.ends([given], [made])
    return file.image()


def sum_of_two(first: Sequence[int], second: Sequence[int], kind: str = "FLOAT32") -> bytes:
    """y = a + b with shapes as given, broadcast by TFLM."""
    file = Graphs()
    main = file.graph("main")
    quantized = (0.5, 0) if kind == "INT8" else None
    a, b = (
        main.tensor(name, shape, kind, quantized=quantized) for name, shape in (("a", first), ("b", second))
    )
    made = main.tensor("y", np.broadcast_shapes(tuple(first), tuple(second)), kind, quantized=quantized)
    main.operator("ADD", [a, b], [made], "AddOptions")
    main.ends([a, b], [made])
    return file.image()
