"""Golden and calibration inputs of a new model: a person's own, or invented ones, which is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from esp_hil.errors import ConfigError, GoldenError
from esp_hil.goldens.new_ports import ModelPort
from esp_hil.goldens.samples import IMAGES, UNKNOWN, read_samples
from esp_hil.models.golden_set import EXTRAS
from esp_hil.npz import read_npy, read_npz
from esp_hil.tensors import Array, invented_integers, invented_range

Say = Callable[[str], None]
LEAST = 10
"""Inputs of a person that calibrate; fewer are not enough to tell a range."""
MOST_GOLDEN = 32
INVENTED_CALIBRATION = 32
INVENTED_GOLDEN = 16
SEED = 20240229
_SATURATING = 8.0
"""Invented floats are normal with deviation 1; this is far outside what noise calibrates to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenInputs:
    """What a person gave.

    Attributes:
        npz: golden inputs by name, with labels, expected/NAME, ids and sequence as golden inputs have them.
        folders: of calibration inputs, by input; "" stands for the only input, or for an .npz with all of them.
        mean: of images.
        std: of images.
    """

    npz: Path | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def archive(self) -> Path | None:
        """The .npz that holds the calibration inputs of all inputs."""
        alone = next(iter(self.folders.values())) if len(self.folders) == 1 else None
        return alone if alone is not None and alone.suffix == ".npz" else None

    @property
    def source(self) -> Path | None:
        """The .npz that the golden inputs come from."""
        return self.npz or self.archive


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenInputs:
    """The inputs that a model's folder gets.

    Attributes:
        ports: the inputs, images marked as such.
        golden: arrays of inputs.npz.
        calibration: arrays by input; those of the golden inputs if nothing else was given.
        origin: of the golden inputs, for people.
        invented: whether calibration is noise.
        labelled: whether the class of each golden input is known.
        shared: whether golden inputs calibrate too.
    """

    ports: tuple[ModelPort, ...]
    golden: dict[str, Array]
    calibration: dict[str, Array]
    origin: str
    invented: bool
    labelled: bool = False
    shared: bool = False


def choose(
    inputs: tuple[ModelPort, ...],
    classes: tuple[str, ...],
    given: GivenInputs,
    *,
    calibrates: bool,
    streams: bool,
    say: Say,
) -> ChosenInputs:
    """Find golden and calibration inputs.

    Args:
        inputs: of the model.
        classes: names of the classes, for folders that are named so.
        given: what there is.
        calibrates: whether a quantizer will look at them.
        streams: whether the model keeps state: then invented goldens are two sequences.
        say: is told what was assumed.

    Raises:
        ConfigError: too few, of another number for each input, of an input that the model does not have, or a mean
            or divisor of images where none are given.
        GoldenError: a file cannot be read, or has another shape.
    """
    folders = _by_input(inputs, given)
    if given.npz is None and not folders:
        _require_images(given, ())
        return _invented(inputs, streams=streams, calibrates=calibrates, say=say)
    ports, arrays, beside = inputs, dict[str, Array](), dict[str, Array]()
    if given.archive is not None:
        ports, held = _from_npz(inputs, replace(given, npz=given.archive), say, fixed=set())
        arrays = {port.name: held.pop(port.name) for port in ports}
        beside = held
    elif folders:
        ports, arrays, beside = _from_folders(inputs, folders, classes, given, say)
    if given.npz is not None:
        ports, golden = _from_npz(ports, given, say, fixed=set(arrays))
        calibration = _complete(ports, arrays, golden)
        chosen = ChosenInputs(
            ports=ports,
            golden=golden,
            calibration=calibration,
            origin=f"given to hil new as {given.npz.name}",
            invented=False,
            labelled="labels" in golden,
            shared=not arrays,
        )
    else:
        chosen = _divided(ports, arrays, beside, streams=streams)
    _require_images(given, chosen.ports)
    counted = arrays or {port.name: chosen.golden[port.name] for port in ports}
    count = min(map(len, counted.values()))
    if calibrates and count < LEAST:
        raise ConfigError(
            f"{count} inputs to calibrate with", hint=f"give {LEAST} or more; 100 calibrate better"
        )
    return chosen


def _require_images(given: GivenInputs, ports: tuple[ModelPort, ...]) -> None:
    """Refuse a mean and divisor that nothing would be divided by."""
    if (given.mean or given.std) and not any(port.layout for port in ports):
        option = "--mean" if given.mean else "--std"
        kept = "these inputs are no images of bytes" if ports else "no inputs are given"
        raise ConfigError(
            f"{option} is for images, and {kept}",
            hint="leave it out, or give images: --calibration FOLDER, or arrays of uint8",
        )


def _by_input(inputs: tuple[ModelPort, ...], given: GivenInputs) -> dict[str, Path]:
    """Folders by input; an .npz with all of them by the name of each."""
    names, folders = [port.name for port in inputs], given.folders
    if given.archive is not None and ("" in folders or names == list(folders)):
        return dict.fromkeys(names, given.archive)
    for name, path in folders.items():
        if path.suffix == ".npz":
            raise ConfigError(
                f"--calibration {name}={path}: an .npz holds all inputs",
                hint=f"--calibration {path} alone, with an array for each input: {', '.join(names)}",
            )
    if "" in folders and len(names) > 1:
        each = " ".join(f"--calibration {name}=FOLDER" for name in names)
        raise ConfigError(
            f"the model has {len(names)} inputs: {', '.join(names)}",
            hint=f"{each}, or --calibration FILE.npz with an array for each",
        )
    found = {name or names[0]: folder for name, folder in folders.items()}
    strange = [name for name in found if name not in names]
    if strange:
        raise ConfigError(f"--calibration {strange[0]}=: no such input", hint=f"it has: {', '.join(names)}")
    missing = [name for name in names if name not in found]
    if found and missing:
        raise ConfigError(
            f"no calibration inputs for {', '.join(missing)}",
            hint=f"--calibration {missing[0]}=FOLDER as well, or all of them in --calibration FILE.npz",
        )
    return found


def _from_folders(
    inputs: tuple[ModelPort, ...],
    folders: dict[str, Path],
    classes: tuple[str, ...],
    given: GivenInputs,
    say: Say,
) -> tuple[tuple[ModelPort, ...], dict[str, Array], dict[str, Array]]:
    """Ports and samples of all inputs, and what the first one's files tell beside: ids, and labels if all have one."""
    found: dict[str, tuple[ModelPort, Array]] = {}
    beside: dict[str, Array] = {}
    for asked in inputs:
        port = _as_stored(asked, folders[asked.name])
        samples = read_samples(
            folders[port.name],
            shape=port.shape,
            image_shape=port.image_shape,
            classes=classes,
            dtype=port.dtype,
        )
        for note in samples.notes:
            say(note)
        images = samples.values.dtype == np.uint8 and port.dtype == "float32"
        found[port.name] = (port.as_image(given.mean, given.std) if images else port, samples.values)
        if not beside:
            beside["ids"] = np.array(samples.ids)
            if (samples.labels != UNKNOWN).all():
                beside["labels"] = samples.labels
    counts = {name: len(values) for name, (_, values) in found.items()}
    if len(set(counts.values())) > 1:
        raise ConfigError(
            f"--calibration: {_counted(counts)}",
            hint="give as many of each input; files belong together in the order of their names",
        )
    arrays = {name: values for name, (_, values) in found.items()}
    return tuple(found[port.name][0] for port in inputs), arrays, beside


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {name}" for name, count in counts.items())


def _as_stored(port: ModelPort, folder: Path) -> ModelPort:
    """A port of integers takes real values if that is what a person has: pictures, or arrays of floats."""
    files = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGES | {".npy"})
    first = min(files, default=None)
    if port.dtype == "float32" or first is None:
        return port
    if first.suffix.lower() == ".npy" and read_npy(first).dtype.kind != "f":
        return port
    return replace(port, dtype="float32")


def _from_npz(
    inputs: tuple[ModelPort, ...], given: GivenInputs, say: Say, *, fixed: set[str]
) -> tuple[tuple[ModelPort, ...], dict[str, Array]]:
    """ModelPorts, and what inputs.npz gets."""
    assert given.npz is not None
    arrays = read_npz(
        given.npz, hint="numpy.savez(FILE, NAME=array, ...) with an array for each input, N first"
    )
    extras = {name: array for name, array in arrays.items() if name in EXTRAS or name.startswith("expected/")}
    plain = {name: array for name, array in arrays.items() if name not in extras}
    if len(inputs) == 1 and len(plain) == 1 and inputs[0].name not in plain:
        ((name, array),) = plain.items()
        say(
            f"{given.npz.name}: its only array {name!r} is taken for the model's only input {inputs[0].name!r}"
        )
        plain = {inputs[0].name: array}
    missing = [port.name for port in inputs if port.name not in plain]
    if missing:
        raise GoldenError(
            f"{given.npz} has no {', '.join(missing)}, only {', '.join(plain) or 'nothing'}",
            hint=f"an array for each input: {', '.join(port.name for port in inputs)}",
        )
    strange = [name for name in plain if name not in {port.name for port in inputs}]
    if strange:
        say(f"{given.npz.name}: {', '.join(map(repr, strange))} is not read, the model has no such input")
    ports, golden = [], dict[str, Array]()
    for port in inputs:
        found, values = _fitted(port, plain[port.name], given, is_fixed=port.name in fixed)
        ports.append(found)
        golden[port.name] = values
    counts = {port.name: len(golden[port.name]) for port in ports}
    if len(set(counts.values())) > 1:
        raise GoldenError(
            f"{given.npz}: {_counted(counts)}",
            hint="give as many of each input: N is the first axis of an array",
        )
    count = next(iter(counts.values()))
    for name, array in extras.items():
        if array.shape[:1] != (count,):
            raise GoldenError(
                f"{given.npz}: {name} is {list(array.shape)}, there are {count} inputs",
                hint="one for each input",
            )
    return tuple(ports), golden | extras


def _fitted(port: ModelPort, array: Array, given: GivenInputs, *, is_fixed: bool) -> tuple[ModelPort, Array]:
    """An array of a person as what is kept: float64 becomes float32, a batch of 1 after N goes, bytes are images."""
    assert given.npz is not None
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype == np.uint8 and port.dtype == "float32" and not port.layout:
        if port.image_shape is None or is_fixed:
            raise GoldenError(f"{given.npz}: {port.name} holds bytes, and is no image", hint="save float32")
        port = port.as_image(given.mean, given.std)
    elif array.dtype == np.float32 and port.dtype != "float32":
        port = replace(port, dtype="float32")
    wanted = port.stored_shape
    if array.shape[1:] == (1, *wanted):
        array = array.reshape(len(array), *wanted)
    if array.dtype != np.dtype(port.stored_dtype) or array.shape[1:] != wanted or not len(array):
        expected = ", ".join(map(str, wanted))
        raise GoldenError(
            f"{given.npz}: {port.name} is {array.dtype} {array.shape}",
            hint=f"the model takes {port.stored_dtype} (N, {expected})",
        )
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise GoldenError(f"{given.npz}: {port.name} holds NaN or infinite values", hint="take them out")
    return port, np.ascontiguousarray(array)


def _complete(
    ports: tuple[ModelPort, ...], samples: dict[str, Array], golden: dict[str, Array]
) -> dict[str, Array]:
    return samples or {port.name: golden[port.name] for port in ports}


def _divided(
    ports: tuple[ModelPort, ...],
    arrays: dict[str, Array],
    beside: dict[str, Array],
    *,
    streams: bool,
) -> ChosenInputs:
    """Some of the samples are golden inputs, the others calibrate; of a stream the first ones, as they follow."""
    count = len(next(iter(arrays.values())))
    golden = chosen_goldens(count)
    if streams or "sequence" in beside:
        golden = np.arange(len(golden))
    rest = np.setdiff1d(np.arange(count), golden)
    kept = {name: values[golden] for name, values in (arrays | beside).items()}
    return ChosenInputs(
        ports=ports,
        golden=kept,
        calibration={name: values[rest] for name, values in arrays.items()} if len(rest) else arrays,
        shared=not len(rest),
        origin=f"{len(golden)} of the {count} inputs given to hil new",
        invented=False,
        labelled="labels" in kept,
    )


def chosen_goldens(count: int) -> Array:
    """Which of so many inputs become golden ones: a third at most, spread evenly; the rest calibrates."""
    wanted = min(MOST_GOLDEN, max(1, count // 3))
    return np.linspace(0, count - 1, wanted).astype(np.int64)


def _invented(inputs: tuple[ModelPort, ...], *, streams: bool, calibrates: bool, say: Say) -> ChosenInputs:
    """Seeded noise, and inputs that drive the integers to both ends."""
    random = np.random.default_rng(SEED)
    calibration = {port.name: _noise(port, INVENTED_CALIBRATION, random) for port in inputs}
    golden = {
        port.name: np.concatenate([_noise(port, INVENTED_GOLDEN, random), _extremes(port, random)])
        for port in inputs
    }
    count = len(next(iter(golden.values())))
    golden["ids"] = np.array([f"noise {i}" if i < INVENTED_GOLDEN else f"extreme {i}" for i in range(count)])
    if streams:
        golden["sequence"] = (np.arange(count) >= count // 2).astype(np.int64)
    say(
        f"no inputs were given: {count} golden inputs are seeded noise, {count - INVENTED_GOLDEN} of them saturating"
    )
    if calibrates:
        say(
            "The model is therefore calibrated ON SEEDED NOISE. Device against exact is tested as well as with real "
            "data, but the distance from the float model means nothing; --calibration FOLDER|FILE.npz or --inputs "
            "FILE.npz gives it a meaning"
        )
    return ChosenInputs(
        ports=inputs,
        golden=golden,
        calibration=calibration,
        origin=f"seeded noise of hil new, seed {SEED}",
        invented=True,
    )


def _noise(port: ModelPort, count: int, random: np.random.Generator) -> Array:
    dtype = np.dtype(port.dtype)
    if dtype.kind == "f":
        return random.standard_normal((count, *port.shape)).astype(np.float32)
    return invented_integers((count, *port.shape), dtype, random)


def _extremes(port: ModelPort, random: np.random.Generator) -> Array:
    """Everywhere lowest, zero, highest; and lowest and highest at random."""
    dtype = np.dtype(port.dtype)
    low, high = (-_SATURATING, _SATURATING) if dtype.kind == "f" else invented_range(dtype)
    flat = [np.full(port.shape, value) for value in (low, 0, high)]
    mixed = np.where(random.integers(0, 2, port.shape) == 1, high, low)
    return np.stack([*flat, mixed]).astype(dtype)
