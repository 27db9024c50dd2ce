"""golden/<model>/model.toml, parsed strictly: an unknown, missing or mistyped key is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from esp_hil.models.postprocess import Activation, Postprocess
from esp_hil.models.recipe import Recipe, Tolerance, parse_recipe, parse_tolerance
from esp_hil.targets import Runtime
from esp_hil.tensors import InputSpec, Layout
from esp_hil.toml_table import TomlTable

Task = Literal["classification"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenInputs:
    """The committed inputs: file names in the model's folder, and where the inputs come from."""

    inputs: str
    answers: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Least shares (0..1) that a run over the golden inputs must reach.

    Attributes:
        top1_agreement: device's top-1 equals the float model's.
        accuracy: device's top-1 equals the label.
        cosine: cosine similarity of quantized and float outputs, least over the inputs.
    """

    top1_agreement: float
    accuracy: float
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Figures of the float model.

    Attributes:
        parameters: numbers in the initializers of the ONNX file.
        macs: multiply-accumulates of one inference, in Conv and Gemm.
        test_top1: accuracy on the data set's test split, 0..1.
    """

    parameters: int
    macs: int
    test_top1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """The data set that the model was made from. It is not committed; `hil golden` looks for `file`.

    Attributes:
        file: its name.
        origin: where to get it.
        enlarge: factor by which its images are enlarged to the model's input, 1 or 2.
        classes: labels of the data set that the model knows, in the order of its own; empty: all.
        test_images: file in the model's folder with the digests of the test images, see `dataset.load_split`;
            "": the published split.
    """

    file: str
    origin: str
    enlarge: int
    classes: tuple[int, ...] = ()
    test_images: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What model.toml says."""

    title: str
    source: str
    task: Task
    labels: tuple[str, ...]
    float_file: str
    output: str
    input: InputSpec
    golden_inputs: GoldenInputs
    data: DataSource
    tolerance: Tolerance
    thresholds: Thresholds
    expected: Expected
    postprocess: Postprocess
    recipes: Mapping[str, Recipe]

    def tolerance_of(self, recipe: str) -> Tolerance:
        """How far integers may differ with a recipe: its own tolerance, else the model's."""
        return self.recipes[recipe].tolerance or self.tolerance


def parse(path: Path) -> ModelSpec:
    """Read a model.toml.

    Raises:
        ConfigError: no TOML, or a key that is unknown, missing or of the wrong type or value.
    """
    top = TomlTable.of_file(path)
    runtime = top.choice("runtime", Runtime)
    recipes = top.table("recipes")
    spec = ModelSpec(
        title=top.take("title", str),
        source=top.take("source", str),
        task=top.choice("task", Task),
        labels=top.many("labels", str),
        float_file=top.file("float"),
        output=top.take("output", str),
        input=_input(top.table("input")),
        golden_inputs=_golden(top.table("golden")),
        data=_data(top.table("data")),
        tolerance=parse_tolerance(top.table("tolerance")),
        thresholds=_thresholds(top.table("thresholds")),
        expected=_expected(top.table("expected")),
        postprocess=_postprocess(top.optional("postprocess")),
        recipes=MappingProxyType(
            {name: parse_recipe(name, runtime, recipes.table(name)) for name in recipes.names()}
        ),
    )
    top.done()
    if not spec.recipes:
        raise top.fail("recipes", "is empty", "declare at least one recipe")
    if len(spec.labels) < 2 or len(set(spec.labels)) != len(spec.labels):
        raise top.fail("labels", "needs two or more different labels")
    return spec


def _input(table: TomlTable) -> InputSpec:
    if table.choice("dtype", Literal["uint8", "float32"]) == "float32":
        return _float_input(table)
    layout: Layout = table.choice("layout", Layout)
    device_layout = table.choice("device_layout", Layout) if "device_layout" in table.values else None
    table.known.append("device_layout")
    spec = InputSpec(
        name=table.take("name", str),
        layout=layout,
        shape=table.many("shape", int),
        scale=table.take("scale", float),
        mean=table.many("mean", float),
        std=table.many("std", float),
        device_layout=device_layout,
    )
    table.done()
    if len(spec.shape) != 3 or min(spec.shape) < 1:
        raise table.fail("shape", f"is {list(spec.shape)}", "three positive sizes, without the batch axis")
    channels = spec.shape[0] if layout == "NCHW" else spec.shape[2]
    for key, values in (("mean", spec.mean), ("std", spec.std)):
        if len(values) != channels:
            raise table.fail(key, f"has {len(values)} values", f"one for each of the {channels} channels")
    if min(spec.std) <= 0 or spec.scale <= 0:
        raise table.fail("std", "and scale must be positive")
    return spec


def _float_input(table: TomlTable) -> InputSpec:
    """An input that is stored as the float model takes it: any shape, nothing to scale."""
    device_layout = table.choice("device_layout", Layout) if "device_layout" in table.values else None
    table.known.append("device_layout")
    spec = InputSpec(
        name=table.take("name", str),
        layout="NCHW",
        shape=table.many("shape", int),
        scale=1.0,
        mean=(),
        std=(),
        device_layout=device_layout,
        dtype="float32",
    )
    table.done()
    if not spec.shape or min(spec.shape) < 1:
        raise table.fail("shape", f"is {list(spec.shape)}", "positive sizes, without the batch axis")
    return spec


def _golden(table: TomlTable) -> GoldenInputs:
    golden = GoldenInputs(
        inputs=table.file("inputs"), answers=table.file("answers"), origin=table.take("origin", str)
    )
    table.done()
    return golden


def _data(table: TomlTable) -> DataSource:
    data = DataSource(
        file=table.file("file"),
        origin=table.take("origin", str),
        enlarge=table.take("enlarge", int, 1),
        classes=table.many("classes", int, []),
        test_images=table.file("test_images", ""),
    )
    table.done()
    if data.enlarge not in {1, 2}:
        raise table.fail("enlarge", f"is {data.enlarge}", "1 or 2")
    return data


def _postprocess(table: TomlTable) -> Postprocess:
    activation: Activation = table.choice("activation", Activation, "none")
    threshold = table.share("threshold") if "threshold" in table.values else None
    table.known.append("threshold")
    table.done()
    return Postprocess(activation=activation, threshold=threshold)


def _thresholds(table: TomlTable) -> Thresholds:
    thresholds = Thresholds(
        top1_agreement=table.share("top1_agreement"),
        accuracy=table.share("accuracy"),
        cosine=table.share("cosine"),
    )
    table.done()
    return thresholds


def _expected(table: TomlTable) -> Expected:
    expected = Expected(
        parameters=table.count("parameters"), macs=table.count("macs"), test_top1=table.share("test_top1")
    )
    table.done()
    return expected
