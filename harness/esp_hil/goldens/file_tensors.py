"""Inputs and outputs between the catalogue and a device file, and inferences that follow one another.

Two kinds of state pass from step to step. A file may keep its own (ESP-DL's StreamingCache, TFLM's variables): it is
emptied by loading the model again. And the host may carry it: an input whose `state` names an output gets what that
output gave in the step before; each sequence starts with zeros there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import ConfigError, HilError, InputError
from esp_hil.models.catalogue import Model
from esp_hil.models.device_file import DeviceFile
from esp_hil.models.golden_set import read_golden
from esp_hil.npz import read_npz
from esp_hil.targets import Family, Rounding, rounding_of
from esp_hil.tensors import Array, Arrays, DeviceTensor, InputSpec

PreparedInputs = Array | Arrays
"""(N, *shape) by input name, as `GoldenSet.arrays` has them; or those of the only input."""

Step = Callable[[dict[str, Array], bool], Arrays]
"""One inference, arrays in the device's shapes by name; the flag says that a sequence starts, without any state."""


def run_steps(
    tensors: FileTensors, encoded: Arrays, starts: NDArray[np.bool_], step: Step
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Make N inferences in turn, carrying the host's states.

    Args:
        tensors: of the device file.
        encoded: (N, *item) by name, of the inputs that are not fed.
        starts: (N,), whether a sequence starts there.
        step: makes one inference.

    Returns:
        Outputs (N, *item) by name, and all inputs as they were sent, fed ones too, (N, *item) by name.
    """
    made: dict[str, list[Array]] = {name: [] for name in tensors.outputs}
    sent: dict[str, list[Array]] = {name: [] for name in tensors.inputs}
    carried: dict[str, Array] = {}
    for row, fresh in enumerate(starts):
        if fresh:
            carried = tensors.zero_states()
        items = {name: carried[name] if name in carried else encoded[name][row] for name in tensors.inputs}
        outputs = step(
            {name: item.reshape(tensors.inputs[name].shape) for name, item in items.items()}, bool(fresh)
        )
        for name, tensor in tensors.outputs.items():
            made[name].append(outputs[name].reshape(tensor.item))
        for name, item in items.items():
            sent[name].append(item)
        carried = tensors.next_states({name: values[-1] for name, values in made.items()})
    return _stacked(made), _stacked(sent)


def _stacked(rows: Mapping[str, list[Array]]) -> dict[str, Array]:
    return {name: np.stack(items) for name, items in rows.items()}


def all_starts(count: int, starts: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """The starts of N steps; without any they are one sequence.

    Raises:
        InputError: not one for each.
    """
    if starts is None:
        starts = np.arange(count) == 0
    if starts.shape != (count,):
        raise InputError(f"{starts.shape} starts of {count} steps")
    return starts


def _has(inputs: PreparedInputs, name: str) -> bool:
    return not isinstance(inputs, np.ndarray) and name in inputs


def by_name(known: Mapping[str, InputSpec], inputs: PreparedInputs) -> Arrays:
    """Prepared inputs by name, in the order of `known`.

    Raises:
        InputError: a name is missing or unknown, a dtype or shape is another, or they are not as many of each.
    """
    if isinstance(inputs, np.ndarray):
        if len(known) != 1:
            raise InputError(f"one array for {len(known)} inputs", hint=f"give by name: {', '.join(known)}")
        inputs = dict.fromkeys(known, inputs)
    if set(inputs) != set(known):
        raise InputError(
            f"inputs {', '.join(inputs) or 'none'} given", hint=f"the model has {', '.join(known)}"
        )
    for name, spec in known.items():
        spec.require(inputs[name])
    lengths = {name: len(inputs[name]) for name in known}
    if len(set(lengths.values())) != 1:
        raise InputError(f"as many of each input, not {lengths}", hint="N comes first")
    return {name: inputs[name] for name in known}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldenSteps:
    """Golden inputs of a model as its device file gets them.

    Attributes:
        tensors: of the file.
        encoded: (N, *item) by name, of the inputs that are not fed with outputs.
        starts: (N,), whether a sequence starts there.
    """

    tensors: FileTensors
    encoded: Arrays
    starts: NDArray[np.bool_]


def golden_steps(model: Model, file: DeviceFile, family: Family, path: Path) -> GoldenSteps | None:
    """What an .npz holds if it is in the form of the model's golden inputs; None if it is not, or in the device's.

    Arrays that are one inference in the device's layout, type and shape are taken for that.
    """
    arrays, device = read_npz(path), model.device_inputs(file)
    if all(
        name in arrays and (arrays[name].dtype, arrays[name].shape) == (np.dtype(tensor.dtype), tensor.shape)
        for name, tensor in device.items()
    ):
        return None
    try:
        golden = read_golden(path, model.inputs, model.outputs, pipeline=model.opened_pipeline())
        tensors = FileTensors.of(model, file, family)
        return GoldenSteps(tensors=tensors, encoded=tensors.encode(golden.arrays), starts=golden.starts)
    except HilError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTensors:
    """What model.toml says of the inputs beside what a device file has, and its outputs.

    Attributes:
        specs: of the inputs, by name, in the file's order.
        inputs: likewise.
        outputs: in the file's order.
        rounding: of the chip.
    """

    specs: Mapping[str, InputSpec]
    inputs: Mapping[str, DeviceTensor]
    outputs: Mapping[str, DeviceTensor]
    rounding: Rounding

    @staticmethod
    def of(model: Model, file: DeviceFile, family: Family) -> FileTensors:
        """Of a device file of a model.

        Raises:
            ConfigError: they do not belong together.
            GoldenError: the float model is missing or changed.
        """
        inputs, outputs = model.device_inputs(file), model.device_outputs(file)
        declared = {spec.name: spec for spec in model.inputs}
        for name, tensor in inputs.items():
            state = declared[name].state
            if state and math.prod(outputs[state].item) != math.prod(tensor.item):
                raise ConfigError(
                    f"input {name} {list(tensor.shape)} cannot be fed with output {state} {list(outputs[state].shape)}",
                    hint="state names the output that gives its next value",
                )
        return FileTensors(
            specs={name: declared[name] for name in inputs},
            inputs=inputs,
            outputs=outputs,
            rounding=rounding_of(family),
        )

    def named(self, inputs: PreparedInputs) -> Arrays:
        """Prepared inputs by name, in the file's order, fed ones only if they are given; see `by_name`."""
        there = {name: spec for name, spec in self.specs.items() if not spec.state or _has(inputs, name)}
        return by_name(there, inputs)

    @property
    def states(self) -> dict[str, str]:
        """Inputs that are fed with an output of the step before, and which."""
        return {name: spec.state for name, spec in self.specs.items() if spec.state}

    def zero_states(self) -> dict[str, Array]:
        """What the fed inputs get at the start of a sequence, *item by name: zeros, as integers their zero point."""
        return {
            name: self._fed(name, np.zeros((1, *self.inputs[name].float_item), np.float32))
            for name in self.states
        }

    def next_states(self, outputs: Arrays) -> dict[str, Array]:
        """What the fed inputs get after a step, *item by name: real values of its outputs on the inputs' grid.

        Args:
            outputs: of the step, *item by name.
        """
        found = {}
        for name, output in self.states.items():
            tensor, values = self.outputs[output], outputs[output][np.newaxis]
            plain = tensor.meaning is None and tensor.dtype != "float32"
            real = tensor.restore(values) if plain else tensor.to_float(values)
            found[name] = self._fed(name, real.reshape(1, *self.inputs[name].float_item))
        return found

    def _fed(self, name: str, values: Array) -> Array:
        tensor = self.inputs[name]
        if tensor.meaning is None:
            values = values.astype(tensor.dtype)
        item: Array = tensor.to_device(values, self.rounding)[0]
        return item

    def fed_floats(self, sent: Arrays) -> dict[str, Array]:
        """Fed inputs as they were sent, (N, *item) by name, as the catalogue would prepare them."""
        return {
            name: self.inputs[name].to_float(sent[name]).reshape(-1, *self.specs[name].shape)
            for name in self.states
        }

    def encode(self, inputs: PreparedInputs) -> dict[str, Array]:
        """Prepared inputs as the chip gets them: (N, *item) by name.

        Raises:
            InputError: as `by_name`; raw integers of another type than the file's; a value that is not finite.
        """
        return {
            name: self.inputs[name].to_device(array, self.rounding)
            for name, array in self.named(inputs).items()
        }

    def single(self, encoded: Arrays, row: int) -> dict[str, Array]:
        """One of N encoded inferences, each input in the device's shape."""
        return {name: encoded[name][row].reshape(tensor.shape) for name, tensor in self.inputs.items()}

    def real(self, name: str, array: Array) -> NDArray[np.float32]:
        """What a prepared input stands for, in the float model's layout."""
        return real_input(self.inputs[name], array)


def real_input(tensor: DeviceTensor, array: Array) -> NDArray[np.float32]:
    """What a prepared input stands for, in the float model's layout: raw integers mean what the file says."""
    if array.dtype == np.float32:
        return array
    arranged = tensor.arrange(array)
    return tensor.restore(arranged if tensor.meaning is None else tensor.meaning.real(arranged)).astype(
        np.float32
    )
