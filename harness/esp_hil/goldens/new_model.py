"""A model folder from a person's own ONNX file and a folder of inputs.

The folder is made elsewhere and moved into place when everything has succeeded: what goes wrong leaves nothing.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import ConfigError, GoldenError
from esp_hil.goldens.build import build
from esp_hil.goldens.new_toml import InputFacts, ModelFacts, model_toml
from esp_hil.goldens.samples import Samples, read_samples
from esp_hil.models import catalogue
from esp_hil.targets import Family

if TYPE_CHECKING:
    import onnx

Say = Callable[[str], None]
LEAST = 10
MOST_GOLDEN = 32
MOST_CALIBRATION = 128
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_IMAGE_CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person asks for.

    Attributes:
        name: of the model and its folder.
        onnx: the float model.
        inputs: folder of inputs, see `esp_hil.goldens.samples`.
        classes: names of the classes, in the model's order; empty: their numbers.
        families: to make device files for.
        output: which output holds the scores; "": the only one.
        mean: subtracted from byte / 255, one value a channel; empty: 0.
        std: divisor after that; empty: 1.
    """

    name: str
    onnx: Path
    inputs: Path
    classes: tuple[str, ...]
    families: tuple[Family, ...]
    output: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def create(wish: Wish, root: Path, say: Say) -> Path:
    """Make the folder `root`/`wish.name`.

    Raises:
        ConfigError: the name, the model or the inputs cannot be used; the hint says what to change.
        GoldenError: a file cannot be read.
        QuantizeError: esp-ppq refuses the model.
    """
    if not _NAME.fullmatch(wish.name):
        raise ConfigError(f"model name {wish.name!r}", hint="small letters, digits and _, a letter first")
    target = root / wish.name
    if target.exists():
        raise ConfigError(f"{target} is there already", hint="choose another name, or remove the folder")
    proto = read_onnx(wish.onnx)
    facts = facts_of(proto, wish)
    samples = read_samples(
        wish.inputs, shape=facts.input.shape, image_shape=facts.input.image_shape, classes=facts.classes
    )
    if len(samples.labels) < LEAST:
        raise ConfigError(
            f"{len(samples.labels)} inputs in {wish.inputs}",
            hint=f"give {LEAST} or more; 100 calibrate better",
        )
    for note in samples.notes:
        say(note)
    with tempfile.TemporaryDirectory(prefix="hil-new-") as name:
        folder = Path(name) / wish.name
        folder.mkdir()
        _write(folder, proto, facts, samples)
        build(catalogue.load(wish.name, (Path(name),)), say=say)
        root.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, target)
    return target


def read_onnx(path: Path) -> onnx.ModelProto:
    """An ONNX model with its weights inside, wherever they were kept, and the shapes of its values.

    Raises:
        GoldenError: it cannot be read, or a file of its weights is missing.
    """
    import onnx

    if not path.is_file():
        raise GoldenError(f"no file {path}", hint='torch.onnx.export(model, x, "model.onnx")')
    try:
        _require_weights(path, onnx.load(path, load_external_data=False))
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
        return onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except GoldenError:
        raise
    except Exception as cause:  # protobuf, onnx.checker and shape inference have no common base
        raise GoldenError(f"{path} is not an ONNX model that can be used: {cause}") from None


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


def facts_of(proto: onnx.ModelProto, wish: Wish) -> ModelFacts:
    """What model.toml needs to know of a float model.

    Raises:
        ConfigError: several inputs, a free size, a batch, no vector of scores; says what to change.
    """
    graph = proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ConfigError(
            f"{wish.onnx.name} has {len(inputs)} inputs: {names}",
            hint="export the part of the network that has one input",
        )
    shape = _sizes(inputs[0], "input")
    output, classes = _scores(graph, wish)
    known = wish.classes or tuple(str(number) for number in range(classes))
    if len(known) != classes or len(set(known)) != classes:
        raise ConfigError(
            f"{len(set(known))} different labels for {classes} scores",
            hint="give one a line, in the model's order",
        )
    return ModelFacts(
        name=wish.name,
        source=wish.onnx.name,
        output=output,
        classes=known,
        input=_input_facts(inputs[0].name, shape, wish),
        parameters=_parameters(proto),
        macs=macs_of(proto),
        families=wish.families,
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
        raise ConfigError(
            f"{role} {value.name}: {', '.join(free)} has no fixed size",
            hint="a chip needs fixed sizes: export without dynamic_axes or dynamic_shapes for them",
        )
    return tuple(sizes[1:])


def _scores(graph: onnx.GraphProto, wish: Wish) -> tuple[str, int]:
    """The output that holds one score a class, and how many."""
    outputs = {value.name: value for value in graph.output}
    if wish.output and wish.output not in outputs:
        raise ConfigError(f"no output {wish.output!r}", hint=f"it has: {', '.join(outputs)}")
    if not wish.output and len(outputs) != 1:
        raise ConfigError(f"{len(outputs)} outputs: {', '.join(outputs)}", hint="choose one with --output")
    name = wish.output or next(iter(outputs))
    sizes = _sizes(outputs[name], "output")
    if max(sizes) != int(np.prod(sizes)) or max(sizes) < 2:
        raise ConfigError(
            f"output {name} has shape {sizes} for each input: these are not class scores",
            hint="hil new makes classifiers; end the network with (1, classes)",
        )
    return name, max(sizes)


def _input_facts(name: str, shape: tuple[int, ...], wish: Wish) -> InputFacts:
    layout = ""
    if len(shape) == 3 and shape[0] in _IMAGE_CHANNELS:
        layout = "NCHW"
    elif len(shape) == 3 and shape[2] in _IMAGE_CHANNELS:
        layout = "NHWC"
    if _stored_dtype(wish.inputs) == np.float32:
        layout = ""  # they are stored as the model takes them
    channels = 0 if not layout else shape[0] if layout == "NCHW" else shape[2]
    for option, values in (("--mean", wish.mean), ("--std", wish.std)):
        if values and len(values) != channels:
            what = f"{channels} channels" if channels else "inputs that are stored as floats"
            raise ConfigError(f"{option} has {len(values)} values for {what}")
    return InputFacts(
        name=name,
        shape=shape,
        layout=layout,
        mean=wish.mean or (0.0,) * channels,
        std=wish.std or (1.0,) * channels,
    )


def _stored_dtype(folder: Path) -> np.dtype[Any] | None:
    """Type of the first array in a folder, None if there is none."""
    first = min((path for path in folder.rglob("*") if path.suffix.lower() == ".npy"), default=None)
    if first is None:
        return None
    try:
        stored: np.dtype[Any] = np.load(first, mmap_mode="r", allow_pickle=False).dtype
    except (OSError, ValueError) as cause:
        raise GoldenError(f"{first}: {cause}", hint="save it with numpy.save") from None
    return stored


def _parameters(proto: onnx.ModelProto) -> int:
    return max(1, sum(int(np.prod(tensor.dims)) for tensor in proto.graph.initializer))


def macs_of(proto: onnx.ModelProto) -> int:
    """Multiply-accumulates of one inference in Conv, Gemm and MatMul with constant weights; at least 1."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    sizes = {
        value.name: [dimension.dim_value or 1 for dimension in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.value_info, *proto.graph.output)
    }
    total = 0
    for node in proto.graph.node:
        taps = weights.get(node.input[1]) if len(node.input) > 1 else None
        if taps is None or node.output[0] not in sizes:
            continue
        made = int(np.prod(sizes[node.output[0]]))
        if node.op_type == "Conv":
            total += made * int(np.prod(taps[1:]))
        elif node.op_type in {"Gemm", "MatMul"}:
            total += made * int(np.prod(taps)) // sizes[node.output[0]][-1]
    return max(1, total)


def _write(folder: Path, proto: onnx.ModelProto, facts: ModelFacts, samples: Samples) -> None:
    """What a person would write: the float model, the inputs, model.toml."""
    import onnx

    onnx.save(proto, folder / "model.onnx")
    golden = chosen_goldens(len(samples.labels))
    rest = np.setdiff1d(np.arange(len(samples.labels)), golden)
    rest = rest[:: max(1, len(rest) // MOST_CALIBRATION)][:MOST_CALIBRATION]
    np.savez_compressed(
        folder / "inputs.npz",
        images=samples.values[golden],
        labels=samples.labels[golden],
        ids=np.array(samples.ids)[golden],
    )
    # one label for all: the calibration inputs are taken as they are, not balanced by class
    np.savez_compressed(
        folder / "data.npz",
        x_train=samples.values[rest],
        y_train=np.zeros(len(rest), np.int64),
        x_test=samples.values[golden],
        y_test=samples.labels[golden],
    )
    told = bool((samples.labels >= 0).all())
    text = model_toml(facts, calibration=len(rest), goldens=len(golden), labelled=told)
    (folder / "model.toml").write_text(text, encoding="utf-8")


def chosen_goldens(count: int) -> NDArray[np.int64]:
    """Which of so many inputs become golden ones: a third at most, spread evenly; the rest calibrates."""
    wanted = min(MOST_GOLDEN, max(1, count // 3))
    return np.linspace(0, count - 1, wanted).astype(np.int64)


def read_labels(path: Path) -> tuple[str, ...]:
    """Names of classes, one a line.

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """
    try:
        lines: Sequence[str] = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{path}: {cause}", hint="a text file, one class a line") from None
    names = tuple(line for line in lines if line)
    if not names:
        raise ConfigError(f"{path} is empty", hint="one class a line, in the model's order")
    return names
