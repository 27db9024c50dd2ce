"""golden/<model>/model.toml, parsed strictly: an unknown, missing or mistyped key is an error."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from harness.dataset import Split
from harness.errors import ConfigError
from harness.postprocess import Activation, Postprocess
from harness.targets import FAMILIES_OF, Family, Runtime
from harness.tensors import InputSpec, Layout
from harness.toml_table import Table

Task = Literal["classification"]
QuantType = Literal["w8a8", "w8a16", "w16a16"]
Io = Literal["integer", "float32"]
Observer = Literal["kl", "minmax", "percentile", "mse"]
Rewrite = Literal["clip_to_relu"]
Pass = Literal["equalization", "tqt", "lsq", "bias_correction", "weight_split", "adaround"]
PassOption = bool | int | float | str | list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Which images the quantizer looks at, and how it chooses a range from them.

    Attributes:
        split: split of the data set.
        count: number of images, the same number of each label.
        seed: of the choice of images.
        observer: esp-ppq's calibration algorithm for activations.
    """

    split: Split
    count: int
    seed: int
    observer: Observer


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far integers may differ, in LSB, and why if that is not 0."""

    device_vs_exact_lsb: int
    exact_vs_quantized_lsb: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to make device files from the float model.

    Attributes:
        name: key under [recipes].
        title: for people.
        runtime: what runs the result on the chip.
        quant_type: bits of weights and activations.
        targets: families to make a file for.
        calibration: see there.
        dispatch: operator name of the ONNX file -> bits (8 or 16), for mixed precision.
        passes: esp-ppq's optional passes, in its names' short form, with their settings.
        float_operators: ONNX operator types that may stay in float; any other that does is an error.
        io: of TFLM: inputs and outputs as integers, or float32 with QUANTIZE and DEQUANTIZE in the model.
        rewrites: changes to a copy of the float model before it is quantized, see `harness.rewrites`.
        rewrite_loss: how much float top-1 on the test images they may cost, 0..1.
        committed: whether its device files are kept; if not, `hil golden build` makes them where wanted.
        tolerance: instead of the model's.
    """

    name: str
    title: str
    runtime: Runtime
    quant_type: QuantType
    targets: tuple[Family, ...]
    calibration: Calibration
    dispatch: Mapping[str, int]
    passes: Mapping[str, Mapping[str, PassOption]]
    float_operators: tuple[str, ...]
    io: Io = "integer"
    rewrites: tuple[Rewrite, ...] = ()
    rewrite_loss: float = 0.0
    committed: bool = True
    tolerance: Tolerance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
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
class Data:
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
    golden_inputs: Golden
    data: Data
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
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise ConfigError(f"{path}: {cause}") from None
    top = Table(path, "", values)
    runtime = top.choice("runtime", Runtime)
    recipes = top.table("recipes")
    spec = ModelSpec(
        title=top.take("title", str),
        source=top.take("source", str),
        task=top.choice("task", Task),
        labels=top.many("labels", str),
        float_file=top.take("float", str),
        output=top.take("output", str),
        input=_input(top.table("input")),
        golden_inputs=_golden(top.table("golden")),
        data=_data(top.table("data")),
        tolerance=_tolerance(top.table("tolerance")),
        thresholds=_thresholds(top.table("thresholds")),
        expected=_expected(top.table("expected")),
        postprocess=_postprocess(top.optional("postprocess")),
        recipes=MappingProxyType(
            {name: _recipe(name, runtime, recipes.table(name)) for name in list(recipes.values)}
        ),
    )
    top.done()
    if not spec.recipes:
        raise top.fail("recipes", "is empty", "declare at least one recipe")
    if len(spec.labels) < 2 or len(set(spec.labels)) != len(spec.labels):
        raise top.fail("labels", "needs two or more different labels")
    return spec


def _input(table: Table) -> InputSpec:
    layout: Layout = table.choice("layout", Layout)
    table.choice("dtype", Literal["uint8"])
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


def _golden(table: Table) -> Golden:
    golden = Golden(
        inputs=table.take("inputs", str), answers=table.take("answers", str), origin=table.take("origin", str)
    )
    table.done()
    return golden


def _data(table: Table) -> Data:
    data = Data(
        file=table.take("file", str),
        origin=table.take("origin", str),
        enlarge=table.take("enlarge", int, 1),
        classes=table.many("classes", int, []),
        test_images=table.take("test_images", str, ""),
    )
    table.done()
    if data.enlarge not in {1, 2}:
        raise table.fail("enlarge", f"is {data.enlarge}", "1 or 2")
    return data


def _postprocess(table: Table) -> Postprocess:
    activation: Activation = table.choice("activation", Activation, "none")
    threshold = table.share("threshold") if "threshold" in table.values else None
    table.known.append("threshold")
    table.done()
    return Postprocess(activation=activation, threshold=threshold)


def _tolerance(table: Table) -> Tolerance:
    tolerance = Tolerance(
        device_vs_exact_lsb=table.count("device_vs_exact_lsb", least=0),
        exact_vs_quantized_lsb=table.count("exact_vs_quantized_lsb", least=0),
        reason=table.take("reason", str, ""),
    )
    table.done()
    if (tolerance.device_vs_exact_lsb or tolerance.exact_vs_quantized_lsb) and not tolerance.reason:
        raise table.fail("reason", "is missing", "a tolerance above 0 LSB needs its reason")
    return tolerance


def _thresholds(table: Table) -> Thresholds:
    thresholds = Thresholds(
        top1_agreement=table.share("top1_agreement"),
        accuracy=table.share("accuracy"),
        cosine=table.share("cosine"),
    )
    table.done()
    return thresholds


def _expected(table: Table) -> Expected:
    expected = Expected(
        parameters=table.count("parameters"), macs=table.count("macs"), test_top1=table.share("test_top1")
    )
    table.done()
    return expected


def _recipe(name: str, runtime: Runtime, table: Table) -> Recipe:
    chosen: Runtime = table.choice("runtime", Runtime, runtime)
    families = FAMILIES_OF[chosen]
    everywhere: list[str] | None = None if chosen == "espdl" else list(families)
    targets = table.many("targets", str, everywhere)
    for target in targets:
        if target not in families:
            raise table.fail("targets", f"has {target!r}", f"families of {chosen}: {', '.join(families)}")
    dispatch = table.optional("dispatch")
    bits = {operator: dispatch.take(operator, int) for operator in list(dispatch.values)}
    for operator, width in bits.items():
        if width not in {8, 16}:
            raise dispatch.fail(operator, f"is {width}", "8 or 16 bits")
    recipe = Recipe(
        name=name,
        title=table.take("title", str),
        runtime=chosen,
        quant_type=table.choice("quant_type", QuantType),
        targets=tuple(family for family in families if family in targets),
        calibration=_calibration(table.table("calibration")),
        dispatch=MappingProxyType(bits),
        passes=_passes(table.optional("passes")),
        float_operators=table.many("float_operators", str, []),
        io=table.choice("io", Io, "integer"),
        rewrites=_rewrites(table),
        rewrite_loss=table.share("rewrite_loss") if table.values.get("rewrites") else 0.0,
        committed=table.take("committed", bool, True),
        tolerance=_tolerance(table.table("tolerance")) if "tolerance" in table.values else None,
    )
    table.known.append("tolerance")
    table.done()
    if not recipe.targets:
        raise table.fail("targets", "is empty", f"families: {', '.join(families)}")
    if chosen == "tflm":
        _check_tflm(table, recipe)
    elif recipe.io != "integer":
        raise table.fail("io", f"is {recipe.io!r}", "only TFLM's models can have float32 there")
    return recipe


def _check_tflm(table: Table, recipe: Recipe) -> None:
    """ai-edge-quantizer has fewer choices than esp-ppq; none may be given in vain."""
    if recipe.quant_type == "w16a16":
        raise table.fail("quant_type", "is 'w16a16'", "w8a8 or w8a16 with TFLM")
    if recipe.calibration.observer != "minmax":
        raise table.fail("calibration.observer", f"is {recipe.calibration.observer!r}", "minmax with TFLM")
    for key in ("dispatch", "passes", "float_operators", "rewrites"):
        if getattr(recipe, key):
            raise table.fail(key, "is esp-ppq's", "leave it out with TFLM")


def _rewrites(table: Table) -> tuple[Rewrite, ...]:
    names = table.many("rewrites", str, [])
    for name in names:
        if name not in get_args(Rewrite):
            raise table.fail("rewrites", f"has {name!r}", f"one of: {', '.join(get_args(Rewrite))}")
    return tuple(rewrite for rewrite in get_args(Rewrite) if rewrite in names)


def _calibration(table: Table) -> Calibration:
    calibration = Calibration(
        split=table.choice("split", Split),
        count=table.count("count"),
        seed=table.count("seed", least=0),
        observer=table.choice("observer", Observer),
    )
    table.done()
    return calibration


def _passes(table: Table) -> Mapping[str, Mapping[str, PassOption]]:
    known = get_args(Pass)
    passes: dict[str, Mapping[str, PassOption]] = {}
    for name in table.values:
        if name not in known:
            raise table.fail(name, "is not a pass", f"one of: {', '.join(known)}")
        options = table.table(name).values
        for option, value in options.items():
            if not isinstance(value, (bool, int, float, str, list)):
                raise table.fail(f"{name}.{option}", f"is {value!r}", "a number, a string or a list of names")
        passes[name] = MappingProxyType(options)
    return MappingProxyType(passes)
