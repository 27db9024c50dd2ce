"""Which layers does quantization hurt, and which of them deserve 16 bits?

For each layer three ratios of noise to signal, sum((quantized - float)^2) / sum(float^2) over a set of inputs:

- own: the layer alone. It gets the float model's values, rounded to its input's grid, and computes as the chip.
- reached: the layer's result in the whole quantized network, with the noise of all layers before it.
- brought: what the layer's own noise does to the scores: it is added to the layer's result in the float model.

`brought` says what would be won by more bits there; the layers that together bring most of the noise are the
suggestion. It is an estimate (noise of different layers is taken as independent), so it is checked by
quantizing again with these layers at 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import ConfigError, UnsupportedOperator
from esp_hil.exact import ExactReference
from esp_hil.exact.subgraph import activations_read, computed_infos, part_of
from esp_hil.formats.espdl import EspdlModel, Node, ValueInfo
from esp_hil.models.catalogue import Model
from esp_hil.models.device_file import open_device_file
from esp_hil.models.float_model import FloatModel
from esp_hil.targets import Family, Rounding, rounding_of
from esp_hil.tensors import Dtype, dequantize, quantize_input

Floats = NDArray[np.float32]
_CHANNELS_LAST = {3: (0, 2, 1), 4: (0, 2, 3, 1)}
_ACTIVATIONS = frozenset({"Clip", "Relu", "LeakyRelu", "Sigmoid", "HardSwish", "Swish", "Tanh", "PRelu"})
_SCALING = frozenset({"equalization", "weight_split"})
_LIFTABLE = frozenset({"Conv", "Gemm", "ConvTranspose"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNoise:
    """The noise of one layer; ratios of noise to signal.

    Attributes:
        node: name of the node, as in the ONNX file.
        op_type: its operator.
        tensor: its result.
        dtype: of the result on the device.
        exponent: likewise, None if float.
        own: noise that the layer makes of float inputs.
        reached: noise of its result in the quantized network.
        brought: noise of the scores when only this layer's own noise is there.
    """

    node: str
    op_type: str
    tensor: str
    dtype: str
    exponent: int | None
    own: float
    reached: float
    brought: float


def measure(model: Model, recipe: str, family: Family, inputs: Floats) -> tuple[LayerNoise, ...]:
    """Measure the noise of every layer whose result the float model has as well.

    Args:
        model: of the catalogue.
        recipe: which device file.
        family: for which chips.
        inputs: float32 (N, *shape) as the float model's input.

    Raises:
        ConfigError: the recipe scales or rewrites layers, so that they cannot be laid beside the float model's.
        UnsupportedOperator: the recipe is another runtime's.
        GoldenError: an artefact is missing or changed.
    """
    chosen = model.recipe(recipe)
    scaling = _SCALING.intersection(chosen.passes)
    if scaling or chosen.rewrites:
        raise ConfigError(
            f"recipe {recipe} changes the float values of layers ({', '.join((*scaling, *chosen.rewrites))})",
            hint="measure a recipe that does not; its weak layers are mostly the same",
        )
    file = open_device_file(model.artifact(recipe, family))
    if not isinstance(file.content, EspdlModel):
        raise UnsupportedOperator("the layers of a .tflite model cannot be taken apart yet")
    return measure_file(
        model.float_path, file.content, family, inputs, score=model.output, input_name=model.input.name
    )


def measure_file(
    float_path: Path, espdl: EspdlModel, family: Family, inputs: Floats, *, score: str, input_name: str
) -> tuple[LayerNoise, ...]:
    """As `measure`, for a float model and a device file.

    Args:
        float_path: the float ONNX file.
        espdl: the device file.
        family: for which chips.
        inputs: float32 (N, ...) as the float model's input.
        score: the output whose noise `brought` is.
        input_name: the only input.
    """
    tensors = _common_tensors(float_path, espdl)
    floats = FloatModel(float_path, tensors).run(inputs)
    floats[input_name] = inputs
    network = _Network(espdl, family)
    ideal = network.ideal(floats)
    reached = network.whole({input_name: ideal[input_name]}, tensors)
    return tuple(_noises(float_path, network, floats, ideal, reached, score=score))


def suggest(
    layers: Iterable[LayerNoise], nodes: Sequence[Node], *, share: float = 0.5, most: int = 3
) -> tuple[str, ...]:
    """Names of the operators that deserve 16 bits: the fewest layers that bring `share` of the noise.

    Args:
        layers: as measured.
        nodes: of the device file's graph; an activation that follows a chosen layer is chosen with it,
            because its result would be rounded to 8 bits otherwise.
        share: of the noise of all layers that can be lifted, 0..1.
        most: at most so many layers.

    Raises:
        ConfigError: `share` is not a share, or no layer could be lifted.
    """
    if not 0 < share <= 1 or most < 1:
        raise ConfigError(f"share {share} of the noise in at most {most} layers")
    liftable = [layer for layer in layers if layer.op_type in _LIFTABLE and layer.dtype == "int8"]
    if not liftable:
        raise ConfigError("no layer with 8 bits to lift", hint="Conv, Gemm and ConvTranspose can be lifted")
    liftable.sort(key=lambda layer: (-layer.brought, layer.node))
    total, brought, chosen = sum(layer.brought for layer in liftable), 0.0, list[str]()
    for layer in liftable[:most]:
        chosen.append(layer.node)
        chosen += [
            node.name for node in nodes if node.op_type in _ACTIVATIONS and layer.tensor in node.inputs
        ]
        brought += layer.brought
        if brought >= share * total:
            break
    return tuple(chosen)


def noise_to_signal(got: NDArray[Any], wanted: NDArray[Any]) -> float:
    """sum((got - wanted)^2) / sum(wanted^2), in float64; infinite where only the signal is zero."""
    noise = float(np.square(got.astype(np.float64) - wanted).sum())
    signal = float(np.square(wanted.astype(np.float64)).sum())
    return noise / signal if signal else (np.inf if noise else 0.0)


class _Network:
    """A device file, whole and node by node, on batches of real values in the device's layout."""

    def __init__(self, model: EspdlModel, family: Family) -> None:
        self.model, self.family = model, family
        self.infos = computed_infos(model, family)
        self.rounding: Rounding = rounding_of(family)
        self._exact = ExactReference(model, family)
        self._own: dict[str, Floats] = {}

    def whole(self, ideal: Mapping[str, Floats], tensors: Sequence[str]) -> dict[str, Floats]:
        """Tensors of the quantized network, as real values."""
        integers = {name: self._on_device(name, values) for name, values in ideal.items()}
        return self._real(self._exact.run_batch(integers, tensors=tensors))

    def ideal(self, floats: Mapping[str, Floats]) -> dict[str, Floats]:
        """What each tensor should be, in the device's layout.

        It is the float model's where that has it; else (a Transpose that the exporter put in) what the node
        makes of what its inputs should be.
        """
        found = {
            value.name: _arranged(floats[value.name], self.infos[value.name], None)
            for value in self.model.graph.inputs
        }
        for number, node in enumerate(self.model.graph.nodes):
            answers = self._alone(number, node, found)
            for name, answer in answers.items():
                self._own[name] = answer
                found[name] = _arranged(floats[name], self.infos[name], answer) if name in floats else answer
        return found

    def own(self, tensor: str) -> Floats:
        """What the node that makes a tensor makes of ideal inputs."""
        return self._own[tensor]

    def _alone(self, number: int, node: Node, ideal: Mapping[str, Floats]) -> dict[str, Floats]:
        outputs = [name for name in node.outputs if name]
        part = part_of(self.model, number, number + 1, infos=self.infos, outputs=outputs)
        sources = activations_read(self.model.graph, node)
        integers = {name: self._on_device(name, ideal[name]) for name in sources}
        return self._real(ExactReference(part, self.family).run_batch(integers))

    def _on_device(self, name: str, values: Floats) -> NDArray[Any]:
        info = self.infos[name]
        if not info.exponents:
            return values.astype(info.dtype)
        dtype: Dtype = "int16" if info.dtype == "int16" else "int8"
        return quantize_input(values, info.exponents[0], dtype, self.rounding)

    def _real(self, answers: Mapping[str, NDArray[Any]]) -> dict[str, Floats]:
        return {
            name: dequantize(values, self.infos[name].exponents[0])
            if self.infos[name].exponents
            else values.astype(np.float32)
            for name, values in answers.items()
        }


def _noises(
    float_path: Path,
    network: _Network,
    floats: Mapping[str, Floats],
    ideal: Mapping[str, Floats],
    reached: Mapping[str, Floats],
    *,
    score: str,
) -> Iterator[LayerNoise]:
    (inputs,) = (floats[value.name] for value in network.model.graph.inputs)
    for node in network.model.graph.nodes:
        for tensor in node.outputs:
            if tensor not in reached:
                continue
            info = network.infos[tensor]
            own = network.own(tensor)
            error = _back(own - ideal[tensor], floats[tensor], ideal[tensor])
            disturbed = _disturbed(float_path, tensor, inputs, error, score)
            yield LayerNoise(
                node=node.name,
                op_type=node.op_type,
                tensor=tensor,
                dtype=info.dtype,
                exponent=info.exponents[0] if info.exponents else None,
                own=noise_to_signal(own, ideal[tensor]),
                reached=noise_to_signal(reached[tensor], ideal[tensor]),
                brought=noise_to_signal(disturbed, floats[score]),
            )


def _common_tensors(float_path: Path, espdl: EspdlModel) -> list[str]:
    """Results of the device file's nodes that the float model has under the same name."""
    import onnx

    made = {name for node in onnx.load(float_path).graph.node for name in node.output}
    return [name for node in espdl.graph.nodes for name in node.outputs if name in made]


def _arranged(values: Floats, info: ValueInfo, like: Floats | None) -> Floats:
    """A float model's tensor in the device's layout: as it is, or with the channels last.

    Where both give the device's shape, the one that is nearer to `like` is it.
    """
    last = _CHANNELS_LAST.get(values.ndim)
    orders = [values] if last is None else [values, values.transpose(last)]
    fitting = [array for array in orders if array.shape[1:] == tuple(info.shape[1:])]
    if not fitting:
        raise ConfigError(
            f"tensor {info.name!r} is {values.shape} in the float model, {info.shape} on the device"
        )
    if like is not None:
        fitting.sort(key=lambda array: noise_to_signal(like, array))
    return np.ascontiguousarray(fitting[0])


def _back(error: Floats, values: Floats, arranged: Floats) -> Floats:
    """An error in the device's layout, in the float model's."""
    if values.shape == arranged.shape and np.array_equal(values, arranged):
        return error
    return np.ascontiguousarray(error.transpose(np.argsort(_CHANNELS_LAST[values.ndim])))


def _disturbed(float_path: Path, tensor: str, inputs: Floats, error: Floats, score: str) -> Floats:
    """The scores of the float model with an error added to one of its tensors."""
    import onnx
    import onnxruntime

    model = onnx.load(float_path)
    graph, clean = model.graph, f"{tensor}:clean"
    for number, node in enumerate(graph.node):
        if tensor in node.output:
            node.output[list(node.output).index(tensor)] = clean
            add = onnx.helper.make_node("Add", [clean, "error"], [tensor], f"{tensor}:disturb")
            graph.node.insert(number + 1, add)
            break
    graph.input.append(onnx.helper.make_tensor_value_info("error", onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = next(given.name for given in session.get_inputs() if given.name != "error")
    fixed = session.get_inputs()[0].shape[0]
    step = fixed if isinstance(fixed, int) else len(inputs)
    parts = [
        session.run([score], {name: inputs[at : at + step], "error": error[at : at + step]})[0]
        for at in range(0, len(inputs), step)
    ]
    return np.concatenate(parts)
