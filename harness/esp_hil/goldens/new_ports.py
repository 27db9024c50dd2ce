"""Inputs and outputs of a person's model file: what model.toml has to say of them, and what it may mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from esp_hil.errors import ConfigError, GoldenError
from esp_hil.formats.kinds import ESPDL, TFLITE, kind_of, read_bytes
from esp_hil.models.device_file import DeviceFile, FileTensor
from esp_hil.tensors import StoredDtype
from esp_hil.verdict.measures import Meaning

if TYPE_CHECKING:
    import onnx

_IMAGE_CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPort:
    """An input or output.

    Attributes:
        name: on the device.
        shape: of one inference, in the float model's layout (the device's without a float model), without a leading 1.
        dtype: "float32" if it takes real values, else the device's integer type.
        float_name: in the float model, if it is another; "": the same, or there is none.
        layout: of an image that is stored as bytes: "NCHW" or "NHWC"; "" of anything else.
        mean: of such an image, one value a channel: subtracted from byte / 255.
        std: divisor after that.
        state: the output that it is fed with, of the step before; "": it is given.
        device_layout: order of its axes on the device, where the shapes do not tell: "NHWC", "NCHW"; else "".
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    float_name: str = ""
    layout: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    state: str = ""
    device_layout: str = ""

    @property
    def same_when_moved(self) -> bool:
        """Whether its shape is the same with the channels first and last, as of (1, 8, 8, 8)."""
        axes = self.shape[1:] if self.shape[:1] == (1,) else self.shape
        return len(axes) > 1 and axes[0] > 1 and len(set(axes)) == 1

    @property
    def stored_dtype(self) -> str:
        """Type of the arrays that are kept for it."""
        return "uint8" if self.layout else self.dtype

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(H, W) or (H, W, C) if it could be an image, None if it could not."""
        layout = self.layout or image_layout(self.shape)
        if not layout or self.dtype != "float32":
            return None
        channels, *rest = self.shape if layout == "NCHW" else (self.shape[2], *self.shape[:2])
        return tuple(rest) if channels == 1 else (*rest, channels)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of what is kept for one inference."""
        images = self.image_shape
        return images if self.layout and images is not None else self.shape

    def as_image(self, mean: tuple[float, ...], std: tuple[float, ...]) -> ModelPort:
        """The same, stored as images of bytes.

        Raises:
            ConfigError: another number of means or divisors than channels, or a divisor that is not positive.
        """
        layout = image_layout(self.shape)
        channels = self.shape[0] if layout == "NCHW" else self.shape[2]
        for option, values in (("--mean", mean), ("--std", std)):
            if values and len(values) != channels:
                raise ConfigError(
                    f"{option} has {len(values)} values for {channels} channels",
                    hint="give one for each channel",
                )
        if std and min(std) <= 0:
            raise ConfigError(f"--std {min(std):g} cannot be divided by", hint="give positive numbers")
        return replace(self, layout=layout, mean=mean or (0.0,) * channels, std=std or (1.0,) * channels)


def image_layout(shape: tuple[int, ...]) -> str:
    """Layout of a shape that is one of an image of 1 or 3 channels, else ""."""
    if len(shape) != 3:
        return ""
    if shape[0] in _IMAGE_CHANNELS:
        return "NCHW"
    return "NHWC" if shape[2] in _IMAGE_CHANNELS else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPorts:
    """All inputs and outputs of a model, in the file's order."""

    inputs: tuple[ModelPort, ...]
    outputs: tuple[ModelPort, ...]


def read_onnx(path: Path) -> onnx.ModelProto:
    """An ONNX model with its weights inside, wherever they were kept, and the shapes of its values.

    Raises:
        GoldenError: it cannot be read, is another kind of model, or a file of its weights is missing.
        FormatError: it is no model at all; says what it is.
    """
    import onnx

    if path.is_dir():
        raise GoldenError(f"{path} is a folder", hint="give the .onnx file itself")
    if not path.is_file():
        raise GoldenError(f"no file {path}", hint="check the path; torch.onnx.export makes such a file")
    data = read_bytes(path)
    for kind, known in (("espdl", data[:4] in ESPDL), ("tflite", data[4:8] == TFLITE)):
        if known:
            raise GoldenError(f"{path} is a .{kind} file, not ONNX", hint=f"give it with --{kind}")
    try:
        _require_weights(path, onnx.load(path, load_external_data=False))
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
        return onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except GoldenError:
        raise
    except Exception as cause:  # protobuf, onnx.checker and shape inference have no common base
        # a checkpoint, a web page, an LFS pointer: then the file is named as what it is
        kind_of(data, str(path))
        reason = str(cause).strip().partition("\n")[0]
        raise GoldenError(
            f"{path} is not an ONNX model that can be used: {reason}",
            hint="export or download it again; python -c 'import onnx; onnx.checker.check_model(FILE)' says more",
        ) from None


def _require_weights(path: Path, proto: onnx.ModelProto) -> None:
    """Make sure that the files with the weights lie beside the model."""
    places = {
        entry.value
        for tensor in proto.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for place in sorted(places):
        if not (path.parent / place).is_file():
            raise GoldenError(
                f"{path}: its weights are in {place}, which is not beside it",
                hint="keep both files together, or export with external_data=False",
            )


def ports_of_onnx(proto: onnx.ModelProto) -> ModelPorts:
    """Inputs and outputs of a float model.

    Raises:
        ConfigError: no input, a free size, a batch, or a type that is not float32; says what to change.
    """
    graph = proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if not inputs:
        raise ConfigError("the float model has no input", hint="a network without one cannot be tested")
    for value in inputs:
        _require_float(value)
    return ModelPorts(
        inputs=tuple(ModelPort(name=v.name, shape=_sizes(v, "input"), dtype="float32") for v in inputs),
        outputs=tuple(
            ModelPort(name=v.name, shape=_sizes(v, "output"), dtype="float32") for v in graph.output
        ),
    )


def require_float_weights(proto: onnx.ModelProto) -> None:
    """Make sure that the quantizer, which computes in float32, need not mix that with halves.

    Raises:
        ConfigError: weights are float16 or bfloat16.
    """
    import onnx

    halves = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    found = [tensor.name for tensor in proto.graph.initializer if tensor.data_type in halves]
    if found:
        raise ConfigError(
            f"weights are float16 or bfloat16, {found[0]!r} among them",
            hint="export the model in float32: model.float() before torch.onnx.export",
        )


def _require_float(value: onnx.ValueInfoProto) -> None:
    import onnx

    kind = value.type.tensor_type.elem_type
    if kind != onnx.TensorProto.FLOAT:
        name = onnx.TensorProto.DataType.Name(kind).lower()
        real = kind in {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}
        raise ConfigError(
            f"input {value.name} is {name}, not float32",
            hint="export the model in float32: model.float() before torch.onnx.export"
            if real
            else "export with float32 inputs; look up tokens or indices (Gather, Embedding) outside the model",
        )


def _sizes(value: onnx.ValueInfoProto, role: str) -> tuple[int, ...]:
    """Sizes without the batch axis."""
    dimensions = value.type.tensor_type.shape.dim
    sizes = [dimension.dim_value for dimension in dimensions]
    if len(sizes) < 2 or sizes[0] > 1:
        raise ConfigError(
            f"{role} {value.name} has shape {sizes}",
            hint="export with a batch of 1 in front: x of shape (1, ...)",
        )
    free = [d.dim_param or f"axis {i}" for i, d in enumerate(dimensions) if i and not d.dim_value]
    if free:
        which = f"dimension {free[0]} has" if len(free) == 1 else f"dimensions {', '.join(free)} have"
        raise ConfigError(
            f"{role} {value.name}: {which} no fixed size",
            hint="a chip needs fixed sizes: export without dynamic_axes or dynamic_shapes for them",
        )
    return tuple(sizes[1:])


def ports_of_file(file: DeviceFile) -> ModelPorts:
    """Inputs and outputs of a device file, as the device has them.

    Raises:
        ConfigError: an input of a type that no golden input can have.
    """
    return ModelPorts(
        inputs=tuple(map(_of_tensor, file.inputs)),
        outputs=tuple(map(_of_tensor, file.outputs)),
    )


def _of_tensor(tensor: FileTensor) -> ModelPort:
    if tensor.dtype not in get_args(StoredDtype):
        raise ConfigError(
            f"tensor {tensor.name} is {tensor.dtype}", hint=f"hil has: {', '.join(get_args(StoredDtype))}"
        )
    return ModelPort(name=tensor.name, shape=_item(tensor.shape), dtype=tensor.dtype)


def _item(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[1:] if shape[:1] == (1,) else shape


def joined(device: ModelPorts, floats: ModelPorts) -> ModelPorts:
    """The device's ports with the float model's names and layouts.

    Raises:
        ConfigError: the two files are not of the same network.
    """
    return ModelPorts(
        inputs=_matched(device.inputs, floats.inputs, "input"),
        outputs=_matched(device.outputs, floats.outputs, "output"),
    )


def _matched(
    device: tuple[ModelPort, ...], floats: tuple[ModelPort, ...], role: str
) -> tuple[ModelPort, ...]:
    """By name where the names are the same; else by size, where that leaves no choice; else in their order."""
    left = {port.name: port for port in floats}
    found: dict[str, ModelPort] = {port.name: left.pop(port.name) for port in device if port.name in left}
    for port in device:
        if port.name in found:
            continue
        same = [one for one in left.values() if sorted(one.shape) == sorted(port.shape)]
        if not same:
            there = ", ".join(f"{one.name} {one.shape}" for one in floats)
            raise ConfigError(
                f"{role} {port.name} {port.shape} of the device file is none of the float model's: {there}",
                hint="give the float model that the device file was made from",
            )
        found[port.name] = left.pop(same[0].name)
    if left:
        raise ConfigError(
            f"the float model has {role} {', '.join(left)}, and the device file has not",
            hint="give the float model that the device file was made from",
        )
    return tuple(
        replace(
            port,
            shape=found[port.name].shape,
            float_name="" if found[port.name].name == port.name else found[port.name].name,
        )
        for port in device
    )


def with_states(ports: ModelPorts, states: Mapping[str, str]) -> ModelPorts:
    """The same, with inputs that are fed with outputs of the step before marked as such.

    Args:
        ports: of the model.
        states: output by input, as a person gave them.

    Raises:
        ConfigError: an input or output that the model has not, of different sizes, or no input is left to be given.
    """
    inputs = {port.name: port for port in ports.inputs}
    outputs = {port.name: port for port in ports.outputs}
    for name, output in states.items():
        if name not in inputs or output not in outputs:
            wrong = f"no input {name!r}" if name not in inputs else f"no output {output!r}"
            there = ", ".join(inputs if name not in inputs else outputs)
            raise ConfigError(f"--state {name}={output}: {wrong}", hint=f"it has: {there}")
        takes, gives = inputs[name].shape, outputs[output].shape
        if np.prod(takes) != np.prod(gives):
            raise ConfigError(
                f"--state {name}={output}: the input is {list(takes)}, the output {list(gives)}",
                hint="name the output that holds its next value",
            )
        inputs[name] = replace(inputs[name], dtype="float32", state=output)
    if states and len(states) == len(inputs):
        raise ConfigError("every input is a state: nothing is left to be given", hint="leave one --state out")
    return replace(ports, inputs=tuple(inputs.values()))


def meanings_of(
    ports: ModelPorts, wished: Mapping[str, Meaning], labels: int, chosen: str
) -> tuple[dict[str, Meaning], list[str]]:
    """What each output means, and what was assumed.

    A person's word counts. Else the output that `--output` names, the one with as many numbers as there are labels, or
    the only one if it is a vector, holds class scores; what is left holds values.

    Args:
        ports: of the model.
        wished: meanings by output, as a person gave them.
        labels: how many labels were given; 0: none.
        chosen: the output that was named as that of the scores, or "".

    Raises:
        ConfigError: an output that the model has not.
    """
    there = {port.name: port for port in ports.outputs}
    for name in (*wished, *([chosen] if chosen else [])):
        if name not in there:
            raise ConfigError(f"no output {name!r}", hint=f"it has: {', '.join(there)}")
    found: dict[str, Meaning] = {}
    said: list[str] = []
    for name, port in there.items():
        vector = int(np.prod(port.shape)) == max(port.shape, default=1) >= 2
        if name in wished:
            found[name] = wished[name]
            continue
        if chosen:
            scores = name == chosen
        elif labels and len(there) > 1:
            taken = "scores" in (*found.values(), *wished.values())
            scores = vector and max(port.shape) == labels and not taken
        else:
            scores = vector and len(there) == 1
        found[name] = "scores" if scores else "values"
        if scores and not (labels or chosen):
            numbers = max(port.shape)
            said.append(
                f"{name}: {numbers} numbers, taken as class scores; --meaning {name}=values if they are quantities"
            )
        elif not scores:
            said.append(
                f"{name}: taken as values (a regression); --meaning {name}=scores|embedding|dense|raw if it is not"
            )
    return found, said
