"""LiteRT (TensorFlow Lite) on this machine: what the converter's own runtime answers.

Its reference kernels agree with TFLM's integer for integer in convolutions, pooling and additions; a fully
connected layer in int8 may differ by up to 3 LSB, because TFLM rounds it otherwise.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import FormatError, InputError, RuntimeFailed
from esp_hil.formats.tflite.model import TfliteModel
from esp_hil.formats.tflite.reader import read_tflite
from esp_hil.tensors import Array

INSTALL = "pip install 'esp-hil[tflm]'"
Kernels = Literal["reference", "optimized"]


def require_litert() -> None:
    """Make sure that ai-edge-litert is installed, without importing it.

    Raises:
        RuntimeFailed: it is not.
    """
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise RuntimeFailed("the quantized reference needs ai-edge-litert", hint=INSTALL)


class LiteRt:
    """A `.tflite` model in LiteRT, one thread.

    Args:
        image: the bytes of the file.
        kernels: "reference", or "optimized" as an application would use (without XNNPACK).

    Raises:
        RuntimeFailed: ai-edge-litert is not installed. FormatError: it refuses the file.
    """

    def __init__(self, image: bytes, *, kernels: Kernels = "reference") -> None:
        require_litert()
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.model: TfliteModel = read_tflite(image)
        resolver = {
            "reference": OpResolverType.BUILTIN_REF,
            "optimized": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        }[kernels]

        def opened() -> Any:  # noqa: ANN401 - of LiteRT
            made = Interpreter(model_content=image, experimental_op_resolver_type=resolver, num_threads=1)
            made.allocate_tensors()
            return made

        self._open = opened
        try:
            self._interpreter: Any = opened()
        except (RuntimeError, ValueError) as error:
            raise FormatError(f"LiteRT refuses the model: {str(error).splitlines()[0]}") from None

    def run(self, inputs: Sequence[Array], starts: NDArray[np.bool_] | None = None) -> list[Array]:
        """Infer N inputs one after the other.

        Args:
            inputs: for each input of the model its N values: (N, *item_shape), of its dtype.
            starts: (N,), where variables are as after loading; None: nowhere.

        Returns:
            For each output (N, *item_shape).

        Raises:
            InputError: another number, dtype or shape. RuntimeFailed: LiteRT refuses while it infers, as it does for
                a variable that nothing has assigned yet.
        """
        wanted = self.model.input_tensors
        if len(inputs) != len(wanted) or any(
            array.dtype != np.dtype(tensor.dtype) or array.shape[1:] != tensor.item_shape or not len(array)
            for array, tensor in zip(inputs, wanted, strict=True)
        ):
            given = ", ".join(f"{array.dtype} {array.shape}" for array in inputs)
            raise InputError(f"LiteRT was given {given}", hint=f"its inputs: {[t.shape for t in wanted]}")
        rows: list[list[Array]] = []
        for row in range(len(inputs[0])):
            if starts is not None and starts[row]:
                self._interpreter = self._open()
            for detail, array in zip(self._interpreter.get_input_details(), inputs, strict=True):
                self._interpreter.set_tensor(detail["index"], array[row].reshape(detail["shape"]))
            try:
                self._interpreter.invoke()
            except (RuntimeError, ValueError) as error:
                raise RuntimeFailed(f"LiteRT fails in an inference: {str(error).splitlines()[0]}") from None
            outputs = self._interpreter.get_output_details()
            rows.append([self._interpreter.get_tensor(detail["index"]) for detail in outputs])
        shapes = [tensor.item_shape for tensor in self.model.output_tensors]
        return [
            np.stack([part.reshape(shape) for part in parts])
            for parts, shape in zip(zip(*rows, strict=True), shapes, strict=True)
        ]
