"""A model folder from a person's own files: a float ONNX, device files, inputs, or as little as one of them.

The folder is made elsewhere and moved into place when everything has succeeded: what goes wrong leaves nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esp_hil.errors import ConfigError, FormatError, GoldenError
from esp_hil.formats.espdl import EspdlModel
from esp_hil.formats.espdl.family import possible_families
from esp_hil.formats.kinds import kind_of, read_bytes
from esp_hil.formats.tflite import TfliteModel
from esp_hil.goldens.build import build
from esp_hil.goldens.esp_ppq import require_quantizer
from esp_hil.goldens.float_check import require_runnable, unknown_operators
from esp_hil.goldens.new_inputs import ChosenInputs, GivenInputs, choose
from esp_hil.goldens.new_ports import (
    ModelPort,
    ModelPorts,
    joined,
    meanings_of,
    ports_of_file,
    ports_of_onnx,
    read_onnx,
    require_float_weights,
    with_states,
)
from esp_hil.goldens.new_toml import ModelFacts, model_toml
from esp_hil.goldens.quantizer_gap import ExactAnswers, QuantizerGap, gap_of
from esp_hil.goldens.references import Answers, DeviceFileReference
from esp_hil.models import catalogue
from esp_hil.models.catalogue import Model, artifact_name
from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.models.float_model import FloatModel
from esp_hil.models.golden_set import read_golden
from esp_hil.models.model_toml import parse
from esp_hil.models.pipeline import Pipeline, PipelineSpec, open_pipeline
from esp_hil.targets import FAMILIES, FAMILIES_OF, Family, Runtime
from esp_hil.verdict.measures import Meaning

if TYPE_CHECKING:
    import onnx

Say = Callable[[str], None]
Look = Callable[[Model, str, Family, Answers], None]
"""Shown a model, a recipe, a family, and what the exact reference answers to the golden inputs."""
MOST_CALIBRATION = 128
PIPELINE = "pipeline.py"
"""Name of a detector's Python file in the model's folder."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person asks for.

    Attributes:
        name: of the model and its folder.
        onnx: the float model, if there is one.
        files: device files: one .tflite, or an .espdl for each family; empty: made from the float model.
        chips: what a device file is for, where a person said it.
        given: inputs.
        classes: names of the classes, in the model's order; empty: their numbers.
        families: to make device files for, or what a given .espdl is for if it does not tell; empty: all.
        output: which output holds the scores; "": see `meanings_of`.
        meanings: of outputs, by name.
        float_operators: ONNX operator types that may stay in float.
        states: inputs that are fed with an output of the step before, and which.
        pipeline: a detector's Python file, see `esp_hil.models.pipeline`.
    """

    name: str
    onnx: Path | None = None
    files: tuple[Path, ...] = ()
    chips: Mapping[Path, Family] = field(default_factory=dict)
    given: GivenInputs = field(default_factory=GivenInputs)
    classes: tuple[str, ...] = ()
    families: tuple[Family, ...] = ()
    output: str = ""
    meanings: Mapping[str, Meaning] = field(default_factory=dict)
    float_operators: tuple[str, ...] = ()
    states: Mapping[str, str] = field(default_factory=dict)
    pipeline: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSources:
    """A person's model files, read.

    Attributes:
        proto: the float model.
        files: device files by family; of a .tflite its only family.
        ports: inputs and outputs of all of them.
        runtime: of the device files.
    """

    proto: onnx.ModelProto | None
    files: Mapping[Family, DeviceFile]
    ports: ModelPorts
    runtime: Runtime

    @property
    def streams(self) -> bool:
        """Whether state passes from one inference to the next: by a device file, or by the host."""
        fed = any(port.state for port in self.ports.inputs)
        return fed or any(_streams(file) for file in self.files.values())


def create(wish: Wish, root: Path, say: Say, look: Look = lambda *_: None) -> Path:
    """Make the folder `root`/`wish.name`.

    Args:
        wish: what is asked for.
        root: the folder of models.
        say: called with a line now and then.
        look: called for each device file before the model is put into its place; what it raises leaves nothing
            behind.

    Raises:
        ConfigError: the name, the model or the inputs cannot be used; the hint says what to change.
        GoldenError, FormatError: a file cannot be read.
        QuantizeError: esp-ppq refuses the model.
    """
    if not _NAME.fullmatch(wish.name):
        raise ConfigError(
            f"{wish.name!r} cannot be a model's name",
            hint="use lower-case letters, digits and _, starting with a letter",
        )
    target = root / wish.name
    if target.exists():
        raise ConfigError(f"{target} is there already", hint="choose another name, or remove the folder")
    pipeline = _pipeline(wish)
    sources = read_sources(wish)
    if sources.proto is not None and not sources.files:
        require_float_weights(sources.proto)
        require_runnable(sources.proto, wish.float_operators, wish.name)
    chosen = choose(
        tuple(port for port in sources.ports.inputs if not port.state),
        _all_classes(wish, sources.ports),
        wish.given,
        calibrates=not sources.files,
        streams=sources.streams,
        say=say,
    )
    chosen = replace(chosen, ports=_in_order(sources.ports.inputs, chosen.ports))
    facts = facts_of(wish, sources, chosen, say)
    if facts.quantizes:
        # last: what is wrong with the wish itself is said also where no quantizer is installed
        require_quantizer()
    tries = _with_layouts(facts, chosen)
    for attempt, (some, its_inputs) in enumerate(tries, start=1):
        with tempfile.TemporaryDirectory(prefix="hil-new-") as name:
            folder = Path(name) / wish.name
            folder.mkdir()
            _write(folder, wish, sources, some, its_inputs)
            _check_golden(folder, wish, some, pipeline)
            build(catalogue.load(wish.name, (Path(name),)), say=say)
            gaps = _looked_over(catalogue.load(wish.name, (Path(name),)), say, look)
            if attempt < len(tries) and any(not gap.reason for gap in gaps):
                say(
                    "where the channels are on the device is not told by the shapes: once more, in another order"
                )
                continue
            if explained := [gap for gap in gaps if gap.reason]:
                allowed = replace(
                    some,
                    tolerance_lsb=max(gap.lsb for gap in explained),
                    tolerance_reason="; ".join(dict.fromkeys(gap.reason for gap in explained)),
                )
                _write_toml(folder, allowed, its_inputs)
            _move(folder, target)
            break
    return target


def _with_layouts(facts: ModelFacts, chosen: ChosenInputs) -> list[tuple[ModelFacts, ChosenInputs]]:
    """What to try where a port has the same shape with its channels first and last.

    ESP-DL moves them last where a network has spatial operators, so that is tried first; the exact reference,
    against the quantizer, tells whether it was right. If neither order is, the usual one is kept, and the gap is said.
    """
    ports = (*facts.inputs, *facts.outputs)
    if not facts.quantizes or not any(port.same_when_moved for port in ports):
        return [(facts, chosen)]

    def laid(ports: tuple[ModelPort, ...], layout: str) -> tuple[ModelPort, ...]:
        return tuple(replace(port, device_layout=layout) if port.same_when_moved else port for port in ports)

    return [
        (
            replace(facts, inputs=laid(facts.inputs, layout), outputs=laid(facts.outputs, layout)),
            replace(chosen, ports=laid(chosen.ports, layout)),
        )
        for layout in ("NHWC", "NCHW", "NHWC")
    ]


def _pipeline(wish: Wish) -> Pipeline | None:
    """The person's file, run where it lies: what is wrong with it is said of that."""
    if wish.pipeline is None:
        return None
    if not wish.pipeline.is_file():
        raise ConfigError(f"no file {wish.pipeline}", hint="--pipeline: a Python file with after(outputs)")
    return open_pipeline(wish.pipeline.parent, PipelineSpec(file=wish.pipeline.name, iou=0.5, gates=()))


def _in_order(inputs: tuple[ModelPort, ...], chosen: tuple[ModelPort, ...]) -> tuple[ModelPort, ...]:
    """All inputs in the file's order, those that are given as they were chosen."""
    found = {port.name: port for port in chosen}
    return tuple(found.get(port.name, port) for port in inputs)


def _looked_over(model: Model, say: Say, look: Look) -> list[QuantizerGap]:
    """Let every device file answer the golden inputs; where it is not what the quantizer believed."""
    golden, gaps = model.golden(), []
    for recipe in model.recipes.values():
        for family in recipe.targets:
            reference = DeviceFileReference(model, recipe.name, family)
            exact, whole = reference.run_whole(golden.arrays, golden.starts)
            look(model, recipe.name, family, exact)
            answered = ExactAnswers(
                recipe=recipe.name, family=family, reference=reference, answers=exact, whole=whole
            )
            gap = gap_of(model, golden, answered)
            if gap is not None:
                gaps.append(gap)
                say(f"{family:8} exact is not what the quantizer believed: {gap.words}")
                say(f"{family:8} {_told(gap)}")
    return gaps


def _told(gap: QuantizerGap) -> str:
    if gap.reason:
        return f"because of {gap.reason}. model.toml allows {gap.lsb} LSB, with this reason"
    return "no rule explains it: the suites will call it an error. hil layers finds where it begins"


def _move(folder: Path, target: Path) -> None:
    """Copy beside the place, then rename: an interrupted copy is never taken for a model."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".hil-new-", dir=target.parent) as name:
        beside = Path(name) / target.name
        shutil.copytree(folder, beside)
        os.replace(beside, target)


def read_sources(wish: Wish) -> ModelSources:
    """Read the model files of a wish and lay their inputs and outputs beside each other.

    Raises:
        ConfigError: there is none, they are of different networks, or one cannot be used.
        GoldenError, FormatError: a file cannot be read.
    """
    if wish.onnx is None and not wish.files:
        raise ConfigError("no model file", hint="give one of --onnx FILE, --tflite FILE, --espdl FILE")
    proto = read_onnx(wish.onnx) if wish.onnx is not None else None
    _require_floats(wish, proto)
    opened = [(path, _opened(path)) for path in wish.files]
    files = _by_family(opened, wish)
    found = [ports_of_file(file) for file in files.values()]
    for other in found[1:]:
        if _names(other) != _names(found[0]):
            raise ConfigError(
                "the device files have other inputs or outputs", hint="give those of one network"
            )
    if proto is None:
        ports = found[0]
    else:
        floats = ports_of_onnx(proto)
        ports = joined(found[0], floats) if found else floats
    ports = with_states(ports, wish.states)
    runtime: Runtime = next(iter(files.values())).runtime if files else "espdl"
    return ModelSources(proto=proto, files=files, ports=ports, runtime=runtime)


def _require_floats(wish: Wish, proto: onnx.ModelProto | None) -> None:
    """Refuse --float-operators that nothing would look at."""
    if not wish.float_operators:
        return
    if wish.files or proto is None:
        raise ConfigError(
            "--float-operators is for a model that is quantized here, and a device file is taken as it is",
            hint="leave it out, or give the float model with --onnx alone",
        )
    if unknown := sorted(unknown_operators(proto, wish.float_operators)):
        there = ", ".join(sorted({node.op_type for node in proto.graph.node}))
        raise ConfigError(
            f"--float-operators {','.join(unknown)}: the model has no such operator", hint=f"it has: {there}"
        )


def _names(ports: ModelPorts) -> tuple[set[str], set[str]]:
    return {port.name for port in ports.inputs}, {port.name for port in ports.outputs}


def _opened(path: Path) -> DeviceFile:
    try:
        if kind_of(read_bytes(path), str(path)) == "onnx":
            raise ConfigError(f"{path} is an ONNX file", hint="give it with --onnx: it is quantized first")
        return open_device_file(path)
    except FormatError as error:
        said = error.message if str(path) in error.message else f"{path}: {error.message}"
        raise FormatError(said, hint=error.hint) from None


def _by_family(opened: Sequence[tuple[Path, DeviceFile]], wish: Wish) -> dict[Family, DeviceFile]:
    """Which family each device file is for.

    Raises:
        ConfigError: two are for one family, runtimes are mixed, or a file does not tell and nobody said it.
    """
    if len({file.runtime for _, file in opened}) > 1:
        raise ConfigError("an .espdl and a .tflite file", hint="one runtime a model: make two models")
    found: dict[Family, DeviceFile] = {}
    for path, file in opened:
        said = (wish.chips[path],) if path in wish.chips else ()
        for family in _families_of(path, file, said or wish.families, alone=bool(said) or len(opened) == 1):
            if family in found:
                raise ConfigError(
                    f"{path} is a second file for {family}", hint="one device file for each family"
                )
            found[family] = file
    return found


def _families_of(
    path: Path, file: DeviceFile, wished: tuple[Family, ...], *, alone: bool
) -> tuple[Family, ...]:
    if not isinstance(file.content, EspdlModel):
        return FAMILIES_OF["tflm"]
    possible = possible_families(file.content.graph, file.content.metadata)
    fitting = tuple(family for family in possible if not wished or family in wished)
    if len(fitting) == 1:
        return fitting
    if not fitting:
        raise ConfigError(
            f"{path} is for {' or '.join(possible)}, not for {', '.join(wished)}",
            hint="leave the chip's name out",
        )
    if alone and wished == fitting:
        return fitting
    raise ConfigError(
        f"{path} does not tell which chip it is for: {' or '.join(fitting)}",
        hint=f"--target {fitting[0]} says it" if alone else f"--espdl {fitting[0]}={path} says it",
    )


def facts_of(wish: Wish, sources: ModelSources, chosen: ChosenInputs, say: Say) -> ModelFacts:
    """What model.toml needs to know.

    Raises:
        ConfigError: labels that fit no output.
    """
    meanings, assumed = meanings_of(
        sources.ports, _wished(wish, sources.ports), len(wish.classes), wish.output
    )
    for line in assumed:
        say(line)
    if wish.classes:
        _check_labels(wish.classes, sources.ports, meanings)
    origin = wish.onnx or wish.files[0]
    return ModelFacts(
        name=wish.name,
        source=origin.name,
        inputs=chosen.ports,
        outputs=sources.ports.outputs,
        meanings=meanings,
        classes=_classes_of(wish, sources.ports, meanings),
        families=tuple(sources.files) or wish.families or FAMILIES,
        runtime=sources.runtime,
        has_float=sources.proto is not None,
        quantizes=not sources.files,
        parameters=_parameters(sources.proto) if sources.proto is not None else 0,
        macs=max(1, macs_of(sources.proto)) if sources.proto is not None else 0,
        float_operators=wish.float_operators,
        pipeline=PIPELINE if wish.pipeline else "",
    )


def _wished(wish: Wish, ports: ModelPorts) -> dict[str, Meaning]:
    """A person's words; an output that is only a state means nothing else."""
    states = set(wish.states.values()) if len(ports.outputs) > 1 else set()
    return {**dict.fromkeys(states - {wish.output}, "raw"), **wish.meanings}


def _check_labels(classes: tuple[str, ...], ports: ModelPorts, meanings: Mapping[str, Meaning]) -> None:
    scores = [port for port in ports.outputs if meanings[port.name] == "scores"]
    sizes = [max(port.shape, default=1) for port in scores]
    if len(set(classes)) != len(classes) or len(classes) not in sizes:
        wanted = " or ".join(str(size) for size in sizes) or "no"
        raise ConfigError(
            f"{len(set(classes))} different labels for {wanted} scores",
            hint="give one a line, in the model's order",
        )


def _all_classes(wish: Wish, ports: ModelPorts) -> tuple[str, ...]:
    """Names that subfolders of inputs may have."""
    if wish.classes:
        return wish.classes
    meanings, _ = meanings_of(ports, _wished(wish, ports), 0, wish.output)
    return _classes_of(wish, ports, meanings)


def _classes_of(wish: Wish, ports: ModelPorts, meanings: Mapping[str, Meaning]) -> tuple[str, ...]:
    """The labels, or the numbers of the classes."""
    if wish.classes:
        return wish.classes
    scores = next((port for port in ports.outputs if meanings[port.name] == "scores"), None)
    count = max(scores.shape, default=1) if scores else 0
    return tuple(map(str, range(count))) if count >= 2 else ()


def _parameters(proto: onnx.ModelProto) -> int:
    return max(1, sum(int(np.prod(tensor.dims)) for tensor in proto.graph.initializer))


def macs_of(proto: onnx.ModelProto) -> int:
    """Multiply-accumulates of one inference in Conv, Gemm and MatMul with constant weights."""
    weights = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    sizes = {
        value.name: [dimension.dim_value or 1 for dimension in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.value_info, *proto.graph.output)
    }
    total = 0
    for node in proto.graph.node:
        taps = weights.get(node.input[1]) if len(node.input) > 1 else None
        if taps is None or not sizes.get(node.output[0]):
            continue
        made = int(np.prod(sizes[node.output[0]]))
        if node.op_type == "Conv":
            total += made * int(np.prod(taps[1:]))
        elif node.op_type in {"Gemm", "MatMul"}:
            total += made * int(np.prod(taps)) // sizes[node.output[0]][-1]
    return total


def _streams(file: DeviceFile) -> bool:
    if isinstance(file.content, TfliteModel):
        from esp_hil.formats.tflite.variables import variables

        return bool(variables(file.content)) or any(tensor.variable for tensor in file.content.tensors)
    return any(node.op_type == "StreamingCache" for node in file.content.graph.nodes)


def _write(folder: Path, wish: Wish, sources: ModelSources, facts: ModelFacts, chosen: ChosenInputs) -> None:
    """Everything that `build` needs: the given device files, inputs, data, model.toml."""
    if sources.proto is not None:
        _save_onnx(sources.proto, folder / "model.onnx")
    for family, file in sources.files.items():
        path = folder / artifact_name("given", family)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.image)
    golden: dict[str, Any] = dict(chosen.golden)
    np.savez_compressed(folder / "inputs.npz", **golden)
    if wish.pipeline is not None:
        shutil.copyfile(wish.pipeline, folder / PIPELINE)
    _write_toml(folder, facts, chosen)
    if facts.quantizes:
        calibration = {name: values[:MOST_CALIBRATION] for name, values in chosen.calibration.items()}
        if wish.states:
            calibration |= _states(folder, chosen, calibration)
        _save_data(folder / "data.npz", chosen, calibration)


def _check_golden(folder: Path, wish: Wish, facts: ModelFacts, pipeline: Pipeline | None) -> None:
    """Read what was written as the suites will; what is wrong with it is said of the file that the person gave."""
    path, spec = folder / "inputs.npz", parse(folder / "model.toml")
    given = str(wish.given.source or "the inputs")
    try:
        expected = read_golden(path, spec.inputs, spec.outputs, pipeline=pipeline).expected
    except GoldenError as error:
        said = error.message.replace(str(path), given).replace("model.toml names", "the model has")
        raise GoldenError(said, hint=error.hint.replace("model.toml names", "the model has")) from None
    for port in facts.outputs:
        shape = expected[port.name].shape[1:] if port.name in expected else port.shape
        if facts.meanings[port.name] in {"values", "embedding"} and np.prod(shape) != np.prod(port.shape):
            raise GoldenError(
                f"{given}: expected/{port.name} is (N, {', '.join(map(str, shape))})",
                hint=f"the output is {list(port.shape)}",
            )


def _states(folder: Path, chosen: ChosenInputs, calibration: Mapping[str, Any]) -> dict[str, Any]:
    """What fed inputs get while the float model answers the calibration inputs step by step, (N, *shape) by name."""
    specs = parse(folder / "model.toml").inputs
    model = FloatModel(folder / "model.onnx")
    given = {spec.name: spec.preprocess(calibration[spec.name]) for spec in specs if not spec.state}
    count = len(next(iter(given.values())))
    sequence = chosen.golden["sequence"][:count] if chosen.shared and "sequence" in chosen.golden else None
    found: dict[str, list[Any]] = {spec.name: [] for spec in specs if spec.state}
    before: dict[str, Any] = {}
    for row in range(count):
        fresh = row == 0 or (sequence is not None and sequence[row] != sequence[row - 1])
        for spec in specs:
            if spec.state:
                value = np.zeros(spec.shape, np.float32) if fresh else before[spec.state].reshape(spec.shape)
                found[spec.name].append(value)
        fed = {name: values[-1][np.newaxis] for name, values in found.items()}
        before = model.run({name: array[row : row + 1] for name, array in given.items()} | fed)
    return {name: np.stack(values) for name, values in found.items()}


def _write_toml(folder: Path, facts: ModelFacts, chosen: ChosenInputs) -> None:
    count = min(MOST_CALIBRATION, len(next(iter(chosen.calibration.values()))))
    text = model_toml(
        facts, calibration=count, origin=chosen.origin, labelled=chosen.labelled, gated=not chosen.invented
    )
    (folder / "model.toml").write_text(text, encoding="utf-8")


def _save_onnx(proto: onnx.ModelProto, path: Path) -> None:
    """The float model, with its weights inside."""
    import onnx

    onnx.save(proto, path)


def _save_data(path: Path, chosen: ChosenInputs, calibration: Mapping[str, Any]) -> None:
    """Of one labelled input a data set with splits, so that accuracy can be measured on it; else an array for each."""
    arrays: dict[str, Any] = dict(calibration)
    if len(arrays) == 1 and chosen.labelled and not chosen.shared:
        name = chosen.ports[0].name
        arrays = {
            "x_train": calibration[name],
            # one label for all: the calibration inputs are taken as they are, not balanced by class
            "y_train": np.zeros(len(calibration[name]), np.int64),
            "x_test": chosen.golden[name],
            "y_test": chosen.golden["labels"],
        }
    np.savez_compressed(path, **arrays)


def read_labels(path: Path) -> tuple[str, ...]:
    """Names of classes, one a line.

    Raises:
        ConfigError: the file cannot be read, or is empty.
    """
    try:
        lines: Sequence[str] = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as cause:
        said = cause.strerror if isinstance(cause, OSError) else "no text in UTF-8"
        raise ConfigError(f"{path}: {said}", hint="a text file, one class a line") from None
    names = tuple(line for line in lines if line)
    if not names:
        raise ConfigError(f"{path} is empty", hint="one class a line, in the model's order")
    return names
