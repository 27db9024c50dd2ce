"""golden/<model>/model.toml, parsed strictly: an unknown, missing or mistyped key is an error.

Two forms. The short one is for one image (or float array) in and one score vector out: `task`, `labels`, `output`,
`[input]`, `[thresholds]`, `[postprocess]`. The long one lists `[[inputs]]` and `[[outputs]]`, each with what it is;
`float`, `[data]`, `[expected]` and `answers` may be missing there, and what they would tell is then not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from esp_hil.errors import ConfigError
from esp_hil.models.outputs import (
    OutputGate,
    OutputSpec,
    parse_device_layout,
    parse_output,
    parse_postprocess,
)
from esp_hil.models.pipeline import PipelineSpec, parse_pipeline
from esp_hil.models.postprocess import Postprocess
from esp_hil.models.recipe import Recipe, Tolerance, parse_recipe, parse_tolerance
from esp_hil.targets import Runtime
from esp_hil.tensors import InputSpec, Layout, StoredDtype
from esp_hil.toml_table import TomlTable

Task = Literal["classification"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenInputs:
    """The committed inputs: file names in the model's folder, and where the inputs come from.

    `answers` is "" if the quantizer's answers are not kept.
    """

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
    """Figures of the float model; 0 where it is not known.

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
        file: its name; "": there is none.
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
    """What model.toml says.

    Attributes:
        title: for people.
        source: where the model comes from.
        inputs: in the file's order.
        outputs: those that something is said of; a further output of the device file is `raw`.
        float_file: "" without a float model.
        golden_inputs: what the board is asked.
        data: data set to calibrate and test with; its `file` is "" if there is none.
        tolerance: of recipes that have none of their own.
        thresholds: of the short form; all 0 in the long one, whose gates are the outputs'.
        expected: figures of the float model; 0: not known.
        recipes: at least one.
        pipeline: what stands before and after the network; None: nothing.
    """

    title: str
    source: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    float_file: str
    golden_inputs: GoldenInputs
    data: DataSource
    tolerance: Tolerance
    thresholds: Thresholds
    expected: Expected
    recipes: Mapping[str, Recipe]
    pipeline: PipelineSpec | None = None

    def tolerance_of(self, recipe: str) -> Tolerance:
        """How far integers may differ with a recipe: its own tolerance, else the model's."""
        return self.recipes[recipe].tolerance or self.tolerance

    @property
    def input(self) -> InputSpec:
        """The only input.

        Raises:
            ConfigError: there are several.
        """
        if len(self.inputs) != 1:
            names = ", ".join(spec.name for spec in self.inputs)
            raise ConfigError(
                f"model {self.title!r} has {len(self.inputs)} inputs ({names})",
                hint="this is for models with one",
            )
        return self.inputs[0]

    @property
    def classifier(self) -> OutputSpec | None:
        """The first output that holds class scores, None if there is none."""
        return next((output for output in self.outputs if output.meaning == "scores"), None)

    @property
    def output(self) -> str:
        """Name of the output with class scores; of a model without any that of its first output."""
        chosen = self.classifier or next(iter(self.outputs), None)
        return chosen.name if chosen else ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; empty without any."""
        return self.classifier.labels if self.classifier else ()

    @property
    def postprocess(self) -> Postprocess:
        """What follows the class scores."""
        return self.classifier.postprocess if self.classifier else Postprocess()

    def output_spec(self, name: str) -> OutputSpec:
        """What is said of an output; of one that model.toml does not name that it is raw."""
        found = (output for output in self.outputs if output.name == name)
        return next(found, None) or OutputSpec(name=name, meaning="raw")


def given_spec(
    *,
    title: str,
    source: str,
    inputs: tuple[InputSpec, ...],
    outputs: tuple[OutputSpec, ...],
    recipe: Recipe,
    macs: int,
) -> ModelSpec:
    """What a model.toml would say of a device file that was given: no float model, no data, nothing tolerated."""
    return ModelSpec(
        title=title,
        source=source,
        inputs=inputs,
        outputs=outputs,
        float_file="",
        golden_inputs=GoldenInputs(inputs="", answers="", origin=source),
        data=_NO_DATA,
        tolerance=_EXACT,
        thresholds=_NO_THRESHOLDS,
        expected=replace(_UNKNOWN, macs=macs),
        recipes=MappingProxyType({recipe.name: recipe}),
    )


def parse(path: Path) -> ModelSpec:
    """Read a model.toml.

    Raises:
        ConfigError: no TOML, or a key that is unknown, missing or of the wrong type or value.
    """
    top = TomlTable.of_file(path)
    runtime = top.choice("runtime", Runtime)
    recipes = top.table("recipes")
    long = "inputs" in top.values or "outputs" in top.values
    float_file = top.file("float", "" if long else None)
    thresholds = _NO_THRESHOLDS if long else _thresholds(top.table("thresholds"))
    spec = ModelSpec(
        title=top.take("title", str),
        source=top.take("source", str, "" if long else None),
        inputs=_inputs(top) if long else (_input(top.table("input")),),
        outputs=_outputs(top) if long else (_short_output(top, thresholds),),
        float_file=float_file,
        golden_inputs=_golden(top.table("golden"), long=long),
        data=_data(top.table("data")) if not long or "data" in top.values else _NO_DATA,
        tolerance=parse_tolerance(top.table("tolerance"))
        if not long or "tolerance" in top.values
        else _EXACT,
        thresholds=thresholds,
        expected=_expected(top.table("expected"), long=long)
        if not long or "expected" in top.values
        else _UNKNOWN,
        recipes=MappingProxyType(
            {name: parse_recipe(name, runtime, recipes.table(name)) for name in recipes.names()}
        ),
        pipeline=parse_pipeline(top.table("pipeline")) if "pipeline" in top.values else None,
    )
    top.known += ["data", "tolerance", "expected", "pipeline"]
    top.done()
    if not spec.recipes:
        raise top.fail("recipes", "is empty", "declare at least one recipe")
    _check_made(top, spec)
    return spec


_NO_DATA = DataSource(file="", origin="", enlarge=1)
_NO_THRESHOLDS = Thresholds(top1_agreement=0.0, accuracy=0.0, cosine=0.0)
_UNKNOWN = Expected(parameters=0, macs=0, test_top1=0.0)
_EXACT = Tolerance(device_vs_exact_lsb=0, exact_vs_quantized_lsb=0, reason="")


def _check_made(top: TomlTable, spec: ModelSpec) -> None:
    """A recipe that is calibrated needs a float model and data; one without is a device file that is there."""
    made = [recipe.name for recipe in spec.recipes.values() if not recipe.given]
    if made and not spec.float_file:
        raise top.fail(
            f"recipes.{made[0]}.calibration",
            "has no float model to quantize",
            'give float = "model.onnx", or leave '
            "the calibration out: the recipe is then the device file that lies in the folder",
        )
    if made and not spec.data.file:
        raise top.fail("data", "is missing", f"recipe {made[0]} is calibrated with it")
    outputs = {output.name for output in spec.outputs}
    for given in spec.inputs:
        if given.state and given.state not in outputs:
            raise top.fail("inputs", f"state of {given.name!r} is {given.state!r}", "name one of [[outputs]]")


def _short_output(top: TomlTable, thresholds: Thresholds) -> OutputSpec:
    """The only output of the short form: class scores."""
    top.choice("task", Task)
    labels = top.many("labels", str)
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise top.fail("labels", "needs two or more different labels")
    post = top.optional("postprocess")
    output = OutputSpec(
        name=top.take("output", str),
        meaning="scores",
        labels=labels,
        postprocess=parse_postprocess(post),
        gates=(
            OutputGate(against="float", measure="top1", limit=thresholds.top1_agreement),
            OutputGate(against="expected", measure="top1", limit=thresholds.accuracy),
        ),
    )
    post.done()
    return output


def _outputs(top: TomlTable) -> tuple[OutputSpec, ...]:
    outputs = tuple(parse_output(table) for table in top.tables("outputs"))
    _different(top, "outputs", [output.name for output in outputs])
    return outputs


def _inputs(top: TomlTable) -> tuple[InputSpec, ...]:
    tables = top.tables("inputs")
    if not tables:
        raise top.fail("inputs", "is empty", "declare each input: [[inputs]]")
    inputs = tuple(_input(table, long=True) for table in tables)
    _different(top, "inputs", [spec.name for spec in inputs])
    return inputs


def _different(top: TomlTable, key: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise top.fail(key, f"has {twice!r} twice", "one entry for each")


def _input(table: TomlTable, *, long: bool = False) -> InputSpec:
    if long:
        return _any_input(table)
    if table.choice("dtype", Literal["uint8", "float32"]) == "float32":
        return _float_input(table)
    spec = _image_input(table)
    table.done()
    return spec


def _any_input(table: TomlTable) -> InputSpec:
    """One of [[inputs]]: an image if it is bytes with a scale and three axes."""
    dtype: StoredDtype = table.choice("dtype", StoredDtype)
    scaled = "scale" in table.values
    shape = table.many("shape", int)
    float_name, state = table.take("float_name", str, ""), table.take("state", str, "")
    if scaled and dtype == "uint8" and len(shape) == 3:
        spec = replace(_image_input(table), float_name=float_name, state=state)
    else:
        spec = InputSpec(
            name=table.take("name", str),
            layout=table.choice("layout", Layout, "NCHW"),
            shape=shape,
            scale=table.take("scale", float, 0.0),
            mean=table.many("mean", float, [0.0]),
            std=table.many("std", float, [1.0]),
            device_layout=parse_device_layout(table),
            dtype=dtype,
            float_name=float_name,
            state=state,
        )
        _check_scaling(table, spec)
    table.done()
    if min(shape, default=1) < 1:
        raise table.fail("shape", f"is {list(shape)}", "positive sizes, of one inference")
    if spec.state and (scaled or dtype != "float32"):
        raise table.fail("state", "is fed with real values", 'dtype = "float32" and no scale, mean or std')
    return spec


def _check_scaling(table: TomlTable, spec: InputSpec) -> None:
    given = [key for key in ("scale", "mean", "std") if key in table.values]
    if spec.dtype in {"float32", "bool"} and given:
        raise table.fail(given[0], f"is given for {spec.dtype}", "it is for integers that become real values")
    if given and "scale" not in given:
        raise table.fail(
            "scale", "is missing", f"{given[0]} needs it; without any of them the integers are raw"
        )
    if given and (len(spec.mean) != 1 or len(spec.std) != 1):
        raise table.fail(
            "mean", "and std have one value each", "only images (uint8, three axes) have one a channel"
        )
    if given and (spec.scale <= 0 or min(spec.std) <= 0):
        raise table.fail("std", "and scale must be positive")


def _image_input(table: TomlTable) -> InputSpec:
    layout: Layout = table.choice("layout", Layout)
    spec = InputSpec(
        name=table.take("name", str),
        layout=layout,
        shape=table.many("shape", int),
        scale=table.take("scale", float),
        mean=table.many("mean", float),
        std=table.many("std", float),
        device_layout=parse_device_layout(table),
    )
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
    spec = InputSpec(
        name=table.take("name", str),
        layout="NCHW",
        shape=table.many("shape", int),
        scale=1.0,
        mean=(),
        std=(),
        device_layout=parse_device_layout(table),
        dtype="float32",
    )
    table.done()
    if not spec.shape or min(spec.shape) < 1:
        raise table.fail("shape", f"is {list(spec.shape)}", "positive sizes, without the batch axis")
    return spec


def _golden(table: TomlTable, *, long: bool) -> GoldenInputs:
    missing = "" if long else None
    golden = GoldenInputs(
        inputs=table.file("inputs"),
        answers=table.file("answers", missing),
        origin=table.take("origin", str, missing),
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


def _thresholds(table: TomlTable) -> Thresholds:
    thresholds = Thresholds(
        top1_agreement=table.share("top1_agreement"),
        accuracy=table.share("accuracy"),
        cosine=table.share("cosine"),
    )
    table.done()
    return thresholds


def _expected(table: TomlTable, *, long: bool) -> Expected:
    top1 = table.share("test_top1") if not long or "test_top1" in table.values else 0.0
    table.known.append("test_top1")
    expected = Expected(parameters=table.count("parameters"), macs=table.count("macs"), test_top1=top1)
    table.done()
    return expected
