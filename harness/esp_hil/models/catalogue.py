"""The models: one folder of golden/ each, found by its model.toml.

model = catalogue.load("mnist")
model.artifact("w8a8", "esp32p4")      Path of the device file, its sha256 checked
model.golden(limit=20).inputs          float32 (20, 1, 28, 28)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, Protocol, cast, get_args

import numpy as np

from esp_hil.errors import ConfigError, GoldenError, UnknownModel, did_you_mean
from esp_hil.models import benchmarks
from esp_hil.models import manifest as manifests
from esp_hil.models.dataset import Labelled, Split, load_split, read_digests
from esp_hil.models.device_file import SUFFIXES, DeviceFile, FileTensor
from esp_hil.models.golden_set import GoldenSet, read_golden
from esp_hil.models.manifest import Manifest
from esp_hil.models.model_toml import ModelSpec, parse
from esp_hil.models.pipeline import Pipeline, open_pipeline
from esp_hil.models.recipe import Recipe
from esp_hil.settings import shipped, variable
from esp_hil.targets import Family
from esp_hil.tensors import DeviceTensor, Dtype, InputSpec, Layout, device_permutation

__all__ = [
    "GoldenSet",
    "InputSpec",
    "Model",
    "Recipe",
    "artifact_name",
    "is_model",
    "load",
    "models",
    "names",
    "roots_searched",
]

Kind = Literal["model", "task", "benchmark", "operator"]

_MODEL_FILE = "model.toml"
_FILES: Mapping[Kind, str] = {"task": "task.toml", "model": _MODEL_FILE}
_FOLDER = "golden"


class Origin(Protocol):
    """Where a model comes from that has no folder of golden/: its device file, its inputs, what stands around it."""

    def file(self, family: Family) -> Path:
        """The device file for a family of chips."""
        ...

    def golden(self, limit: int | None) -> GoldenSet:
        """The inputs; `limit`: only so many."""
        ...

    def pipeline(self) -> Pipeline | None:
        """What makes boxes of the outputs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(ModelSpec):
    """A model: what its model.toml says, and where its files are.

    Attributes:
        name: in rows.
        folder: with its files.
        origin: of a network of a task or a benchmark's model, which have no model.toml; None: the folder is its own.
    """

    name: str
    folder: Path
    origin: Origin | None = None

    @staticmethod
    def of(spec: ModelSpec, *, name: str, folder: Path, origin: Origin | None = None) -> Model:
        """What a model.toml says, or would say, of a model in this folder."""
        said = {entry.name: getattr(spec, entry.name) for entry in fields(ModelSpec)}
        return Model(name=name, folder=folder, origin=origin, **said)

    @property
    def float_path(self) -> Path:
        """The float ONNX file.

        Raises:
            ConfigError: the model has none.
            GoldenError: it is missing or changed.
        """
        if not self.float_file:
            raise ConfigError(
                f"model {self.name} has no float model",
                hint='float = "model.onnx" in its model.toml names one',
            )
        return manifests.check_file(self.folder, self.float_file, self.manifest())

    def manifest(self) -> Manifest:
        """The model's manifest.json.

        Raises:
            GoldenError: missing or damaged.
        """
        return manifests.read(self.folder)

    def recipe(self, name: str) -> Recipe:
        """The recipe of that name.

        Raises:
            ConfigError: there is none; the hint lists those there are.
        """
        if name not in self.recipes:
            hint = f"{did_you_mean(name, self.recipes)} it has: {', '.join(self.recipes)}".strip()
            raise ConfigError(f"model {self.name} has no recipe {name!r}", hint=hint)
        return self.recipes[name]

    def artifact(self, recipe: str, family: Family) -> Path:
        """The device file of a recipe for a family of chips, its sha256 checked against the manifest.

        Raises:
            ConfigError: no such recipe, or it is not made for that family.
            GoldenError: the file is missing or changed.
        """
        targets = self.recipe(recipe).targets
        if family not in targets:
            raise ConfigError(
                f"recipe {recipe} of model {self.name} is not made for {family}",
                hint=f"it is made for: {', '.join(targets)}",
            )
        if self.origin is not None:
            return self.origin.file(family)
        return manifests.check_file(self.folder, artifact_name(recipe, family), self.manifest())

    def device_input(self, file: DeviceFile) -> DeviceTensor:
        """The only input as a device file has it.

        Raises:
            ConfigError: there are several, the file has other inputs than model.toml, or its layout cannot be told.
        """
        return self.device_inputs(file)[self.input.name]

    def device_inputs(self, file: DeviceFile) -> dict[str, DeviceTensor]:
        """The inputs as a device file has them, in its order.

        Raises:
            ConfigError: the file has other inputs than model.toml, or their layout cannot be told.
        """
        declared = {spec.name: spec for spec in self.inputs}
        there = [value.name for value in file.inputs]
        if set(there) != set(declared):
            raise ConfigError(
                f"model {self.name} declares input {', '.join(declared)}, its file has {', '.join(there) or 'none'}"
            )
        return {value.name: self._input_tensor(value, declared[value.name]) for value in file.inputs}

    def _input_tensor(self, value: FileTensor, spec: InputSpec) -> DeviceTensor:
        layout = spec.device_layout
        if not self.float_file and layout is None and spec.shape in {value.shape, value.shape[1:]}:
            layout = "NCHW"  # without a float model the shape is the file's, and nothing is moved
        return _device_tensor(value, _whole(spec.shape, value.shape), layout)

    def device_outputs(self, file: DeviceFile) -> dict[str, DeviceTensor]:
        """The outputs as a device file has them, in its order; without a float model they stay as they are there.

        Raises:
            ConfigError: the file has other outputs than the float model, or their layout cannot be told.
            GoldenError: the float model is missing or changed.
        """
        outputs = {value.name: value for value in file.outputs}
        unknown = [spec.name for spec in self.outputs if spec.name not in outputs]
        if unknown:
            raise ConfigError(
                f"model {self.name} declares output {', '.join(unknown)}, its file has {', '.join(outputs)}"
            )
        if not self.float_file:
            return {name: _device_tensor(value, value.shape, "NCHW") for name, value in outputs.items()}
        floats = _output_shapes(self.folder / self.float_file)
        shapes = {
            name: floats[self.output_spec(name).float_name or name]
            for name in outputs
            if (self.output_spec(name).float_name or name) in floats
        }
        if set(outputs) != set(shapes) or len(shapes) != len(floats):
            raise ConfigError(
                f"the float model {self.name} has outputs {', '.join(floats)}, "
                f"its device file {', '.join(outputs)}",
                hint="float_name in [[outputs]] says which is which",
            )
        return {
            name: _device_tensor(
                value, _whole(shapes[name], value.shape), self.output_spec(name).device_layout
            )
            for name, value in outputs.items()
        }

    def data_split(self, source: Path, split: Split) -> Labelled:
        """One split of the data set, as this model divides it.

        Raises:
            GoldenError: it cannot be read, or lacks what model.toml names.
        """
        if not self.data.file:
            raise ConfigError(
                f"model {self.name} has no data set",
                hint="[data] in its model.toml names one; golden inputs need none",
            )
        held_out = self.data.test_images
        return load_split(
            source,
            split,
            enlarge=self.data.enlarge,
            classes=self.data.classes,
            test_images=read_digests(self.folder / held_out) if held_out else None,
        )

    def test_set(self, source: Path, limit: int | None = None) -> GoldenSet:
        """The real test images of the data set, preprocessed; `limit` of them are spread over the whole set.

        Raises:
            ConfigError: `limit` is below 1 or above what there is.
            GoldenError: the data set cannot be read, or lacks what model.toml names.
        """
        tests = self.data_split(source, "test")
        if limit is not None and not 1 <= limit <= len(tests.images):
            raise ConfigError(
                f"{limit} test images of model {self.name} asked for", hint=f"there are {len(tests.images)}"
            )
        chosen = np.linspace(0, len(tests.images) - 1, limit or len(tests.images)).astype(np.int64)
        images = tests.images[chosen]
        labels = tests.labels[chosen].astype(np.int64)
        return GoldenSet(
            arrays={self.input.name: self.input.preprocess(images)},
            stored={self.input.name: images},
            labels=labels,
            ids=tuple(f"{source.name} test {number}" for number in chosen),
            expected={self.output: labels} if self.classifier else {},
        )

    def golden(self, limit: int | None = None) -> GoldenSet:
        """The committed inputs, preprocessed; labels often alternate, so that the first `limit` are balanced.

        Raises:
            ConfigError: `limit` is below 1 or above what there is.
            GoldenError: the file is missing, changed or not what it should be.
        """
        if self.origin is not None:
            return self.origin.golden(limit)
        path = manifests.check_file(self.folder, self.golden_inputs.inputs, self.manifest())
        return read_golden(path, self.inputs, self.outputs, limit=limit, pipeline=self.opened_pipeline())

    def opened_pipeline(self) -> Pipeline | None:
        """What stands before and after the network, ready to be called.

        Raises:
            ConfigError: its file cannot be used.
        """
        if self.origin is not None:
            return self.origin.pipeline()
        return open_pipeline(self.folder, self.pipeline) if self.pipeline else None


def artifact_name(recipe: str, family: Family) -> str:
    """Path of a device file in its model's folder, with forward slashes."""
    return f"{recipe}/{family}{SUFFIXES['tflm' if family == 'tflm' else 'espdl']}"


def roots_searched(roots: Sequence[Path] | None = None) -> tuple[Path, ...]:
    """The folders that are searched for models, first come first served.

    Given roots; else those of the environment variable HIL_GOLDEN; else the nearest golden/ from the current
    folder upwards and the one beside the installed package.
    """
    if roots is not None:
        return tuple(Path(root) for root in roots)
    if said := variable("HIL_GOLDEN"):
        return tuple(Path(part) for part in said.split(os.pathsep) if part)
    here = Path.cwd()
    upward = next(
        (
            folder / _FOLDER
            for folder in (here, *here.parents)
            if any((folder / _FOLDER).glob(f"*/{_MODEL_FILE}"))
        ),
        here / _FOLDER,
    )
    beside = shipped(_FOLDER)
    return tuple(dict.fromkeys((upward, *([beside] if beside is not None else []))))


def names(roots: Sequence[Path] | None = None, *, mlperf_tiny: Path | None = None) -> dict[str, Kind]:
    """All that `--hil-model` can name, sorted, and what each is.

    Args:
        roots: folders of folders with a model.toml or a task.toml; None: see `roots_searched`.
        mlperf_tiny: folder with MLPerf Tiny's models; None: none of them.

    Raises:
        ConfigError: `mlperf_tiny` has none.
    """
    found: dict[str, Kind] = {}
    if mlperf_tiny is not None:
        found |= {entry.name: "benchmark" for entry in benchmarks.entries(mlperf_tiny)}
    for kind, file in _FILES.items():
        for root in roots_searched(roots):
            found |= {path.parent.name: kind for path in root.glob(f"*/{file}")}
    return dict(sorted(found.items()))


def models(roots: Sequence[Path] | None = None) -> tuple[str, ...]:
    """Names of all models, sorted."""
    return _in(roots_searched(roots))


def own_models() -> tuple[str, ...]:
    """Names of the models that are run when none is named, sorted: those of the first folder that has any.

    In a project with a golden/ of its own, its models; those that came with the package are run by name.
    """
    if variable("HIL_GOLDEN"):
        return models()  # whoever lists folders means all of them
    return next((found for root in roots_searched() if (found := _in((root,)))), ())


def _in(roots: Sequence[Path]) -> tuple[str, ...]:
    found = {path.parent.name for root in roots for path in root.glob(f"*/{_MODEL_FILE}")}
    return tuple(sorted(found))


def is_model(folder: Path) -> bool:
    """Whether a folder is a model's: it has a model.toml."""
    return (folder / _MODEL_FILE).is_file()


def load(name: str, roots: Sequence[Path] | None = None) -> Model:
    """Read a model's model.toml; its artefacts are checked when they are asked for.

    Raises:
        UnknownModel: no folder of that name; says where it looked and what there is.
        ConfigError: model.toml cannot be used.
    """
    searched = roots_searched(roots)
    for root in searched:
        if name in models((root,)):
            return Model.of(parse(root / name / _MODEL_FILE), name=name, folder=root / name)
    known = names(roots)
    if known.get(name) == "task":
        raise UnknownModel(
            f"{name!r} is a task, not a model",
            hint=f"hil task {name} IMAGE, or pytest suites --hil-model {name}",
        )
    where = ", ".join(map(str, searched))
    hint = f"{did_you_mean(name, known)} there are: {', '.join(known) or 'none'}".strip()
    raise UnknownModel(f"no model {name!r} in {where}", hint=hint)


def _whole(shape: tuple[int, ...], device: tuple[int, ...]) -> tuple[int, ...]:
    """A shape of one inference with the batch of 1 that the device has and a person leaves out."""
    return (1, *shape) if device[:1] == (1,) and len(shape) == len(device) - 1 else shape


def _device_tensor(value: FileTensor, float_shape: tuple[int, ...], declared: Layout | None) -> DeviceTensor:
    if value.dtype not in get_args(Dtype):
        raise ConfigError(
            f"tensor {value.name!r} is {value.dtype}", hint=f"known: {', '.join(get_args(Dtype))}"
        )
    return DeviceTensor(
        name=value.name,
        dtype=cast(Dtype, value.dtype),
        shape=value.shape,
        exponent=value.exponent,
        permutation=device_permutation(float_shape, value.shape, declared),
        affine=value.affine if value.dtype != "float32" else None,
    )


def _output_shapes(onnx_path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the float model's outputs, a free batch axis taken as 1."""
    import onnx

    if not onnx_path.is_file():
        raise GoldenError(f"{onnx_path} is missing", hint=f"git checkout -- {onnx_path}")
    outputs = onnx.load(onnx_path, load_external_data=False).graph.output
    return {
        output.name: tuple(
            dimension.dim_value or (1 if axis == 0 else 0)
            for axis, dimension in enumerate(output.type.tensor_type.shape.dim)
        )
        for output in outputs
    }
