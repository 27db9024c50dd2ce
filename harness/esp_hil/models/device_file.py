"""A file that a board is sent: `.espdl` or `.tflite`, told apart by their first bytes.

What the upper layers need of either: its digest, its inputs and outputs, and what a chip must answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from esp_hil.errors import FormatError
from esp_hil.formats.espdl import EspdlModel, ValueInfo, read_espdl
from esp_hil.formats.espdl.shapes import computed_outputs
from esp_hil.formats.kinds import kind_of, read_bytes
from esp_hil.formats.tflite import TfliteModel, read_tflite
from esp_hil.formats.tflite.variables import keeps_state
from esp_hil.targets import Family, Runtime
from esp_hil.tensors import Affine, Array, Arrays

SUFFIXES: dict[Runtime, str] = {"espdl": ".espdl", "tflm": ".tflite"}
"""Of the device files, by runtime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTensor:
    """An input or output of a device file: integers have an exponent or an affine scale, floats neither."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    exponent: int | None
    affine: Affine | None


class Exact(Protocol):
    """What a chip must answer to a device file, integer for integer, in the device's layout."""

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """All tensors that `run` can give, in execution order."""
        ...

    @property
    def streams(self) -> bool:
        """Whether an inference depends on those before it."""
        ...

    def run(
        self, inputs: Arrays, *, tensors: Sequence[str] | None = None, keep_state: bool = False
    ) -> dict[str, Array]:
        """One inference; arrays of the device's shapes by name. `tensors`: None gives the outputs.

        `keep_state`: go on from the run before with `keep_state`, or from `reset`; else start without any state.
        """
        ...

    def reset(self) -> None:
        """Forget the state, as loading the model again does on a device."""
        ...

    def run_batch(self, inputs: Arrays) -> dict[str, Array]:
        """Many inferences that know nothing of each other: (N, *item) by name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceFile:
    """A device file that was read.

    Attributes:
        runtime: what runs it.
        sha256: hex digest of the image.
        inputs: in the file's order.
        outputs: in the file's order.
        content: the parsed file.
        image: its bytes.
    """

    runtime: Runtime
    sha256: str
    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]
    content: EspdlModel | TfliteModel
    image: bytes

    @property
    def keeps_state(self) -> bool:
        """Whether an inference depends on those before it: StreamingCache of ESP-DL, variables of TFLM."""
        if isinstance(self.content, EspdlModel):
            return any(node.op_type == "StreamingCache" for node in self.content.graph.nodes)
        return keeps_state(self.content)

    def exact(self, family: Family, *, esp_dl: str = "") -> Exact:
        """The exact reference of this file.

        Args:
            family: whose numerics.
            esp_dl: version of ESP-DL on the board; "" for the newest known. TFLM's kernels know nothing of it.

        Raises:
            UnsupportedOperator: the runtime does not have an operator, or what that version makes of one is not
                reproduced.
            RuntimeFailed: what it needs is not installed.
        """
        if isinstance(self.content, EspdlModel):
            from esp_hil.exact import ExactReference
            from esp_hil.formats.espdl.versions import NEWEST, before

            older = esp_dl if before(esp_dl, NEWEST) else ""
            return ExactReference(self.content, family, esp_dl=older)
        from esp_hil.exact.tflite import TflmReference

        return TflmReference(self.image)


def open_device_file(source: Path | bytes, *, name: str | None = None) -> DeviceFile:
    """Read a device file.

    Args:
        source: the file, or its bytes.
        name: of the model in a pack of .espdl models; None: there is only one.

    Raises:
        FormatError: it cannot be read, is neither kind, or is damaged.
    """
    image = source if isinstance(source, bytes) else read_bytes(source)
    kind = kind_of(image, "" if isinstance(source, bytes) else source.name)
    if kind == "onnx":
        raise FormatError(
            "this is an ONNX file, which no board runs",
            hint="quantize it: hil quantize, or hil new for a model of its own",
        )
    return _tflite(image) if kind == "tflite" else _espdl(image, name)


def _espdl(image: bytes, name: str | None) -> DeviceFile:
    model = read_espdl(image, name=name)
    return DeviceFile(
        runtime="espdl",
        sha256=model.sha256,
        inputs=tuple(map(_of_value, model.graph.inputs)),
        outputs=tuple(map(_of_value, computed_outputs(model.graph))),
        content=model,
        image=image,
    )


def _of_value(value: ValueInfo) -> FileTensor:
    return FileTensor(
        name=value.name,
        dtype=value.dtype,
        shape=value.shape,
        exponent=value.exponents[0] if value.exponents else None,
        affine=None,
    )


def _tflite(image: bytes) -> DeviceFile:
    from esp_hil.exact.tflite import io_tensors

    model = read_tflite(image)

    def tensors(numbers: Sequence[int]) -> tuple[FileTensor, ...]:
        return tuple(
            FileTensor(name=name, dtype=tensor.dtype, shape=tensor.shape, exponent=None, affine=tensor.affine)
            for name, tensor in io_tensors(model, numbers)
        )

    return DeviceFile(
        runtime="tflm",
        sha256=model.sha256,
        inputs=tensors(model.inputs),
        outputs=tensors(model.outputs),
        content=model,
        image=image,
    )
