"""golden/<model>/model.toml, parsed strictly: an unknown, missing or mistyped key is an error."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args

from harness.dataset import Split
from harness.errors import ConfigError
from harness.targets import FAMILIES, Family
from harness.tensors import InputSpec, Layout

Task = Literal["classification"]
Runtime = Literal["espdl"]
QuantType = Literal["w8a8", "w8a16", "w16a16"]
Observer = Literal["kl", "minmax", "percentile", "mse"]
Pass = Literal["equalization", "tqt", "lsq", "bias_correction", "weight_split", "adaround"]
PassOption = bool | int | float | str | list[str]

T = TypeVar("T")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """The committed inputs: file names in the model's folder, and where the inputs come from."""

    inputs: str
    answers: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far integers may differ, in LSB, and why if that is not 0."""

    device_vs_exact_lsb: int
    exact_vs_quantized_lsb: int
    reason: str


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
    """The data set that the model was made from. It is not committed; `hil golden` looks for `file`."""

    file: str
    origin: str


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
    recipes: Mapping[str, Recipe]


class _Table:
    """One table of the file, that knows which keys were asked for."""

    def __init__(self, path: Path, where: str, values: object) -> None:
        self.path, self.where = path, where
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: [{where}] must be a table")
        self.values: dict[str, Any] = values
        self.known: list[str] = []

    def name(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def fail(self, key: str, problem: str, hint: str = "") -> ConfigError:
        return ConfigError(f"{self.path}: {self.name(key)} {problem}", hint=hint)

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        """Value of `key`; an integer serves as a float; without a default the key must be there."""
        self.known.append(key)
        value = self.values.get(key, default)
        if value is None:
            raise self.fail(key, "is missing")
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise self.fail(key, f"is {value!r}", f"give a {kind.__name__}")
        return value

    def choice(self, key: str, kind: object, default: str | None = None) -> Any:  # noqa: ANN401
        """A string that is one of the Literal `kind`."""
        value = self.take(key, str, default)
        if value not in get_args(kind):
            raise self.fail(key, f"is {value!r}", f"one of: {', '.join(get_args(kind))}")
        return value

    def many(self, key: str, kind: type[T], default: list[T] | None = None) -> tuple[T, ...]:
        """A list whose elements are all of `kind`."""
        values = self.take(key, list, default)
        if any(type(value) is not kind for value in values):
            raise self.fail(key, f"is {values!r}", f"give a list of {kind.__name__}")
        return tuple(values)

    def share(self, key: str) -> float:
        """A number from 0 to 1."""
        value = self.take(key, float)
        if not 0 <= value <= 1:
            raise self.fail(key, f"is {value}", "give a share from 0 to 1")
        return value

    def count(self, key: str, *, least: int = 1) -> int:
        """A whole number not below `least`."""
        value = self.take(key, int)
        if value < least:
            raise self.fail(key, f"is {value}", f"give {least} or more")
        return value

    def table(self, key: str) -> _Table:
        """The table under `key`, which must be there."""
        self.known.append(key)
        if key not in self.values:
            raise self.fail(key, "is missing")
        return _Table(self.path, self.name(key), self.values[key])

    def optional(self, key: str) -> _Table:
        """The table under `key`, empty if it is not there."""
        self.values.setdefault(key, {})
        return self.table(key)

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self.values:
            if key not in self.known:
                near = difflib.get_close_matches(key, self.known, 1)
                guess = f"did you mean {near[0]!r}? " if near else ""
                known = ", ".join(sorted(self.known))
                raise self.fail(key, "is not a key of model.toml", f"{guess}known here: {known}")


def parse(path: Path) -> ModelSpec:
    """Read a model.toml.

    Raises:
        ConfigError: no TOML, or a key that is unknown, missing or of the wrong type or value.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise ConfigError(f"{path}: {cause}") from None
    top = _Table(path, "", values)
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


def _input(table: _Table) -> InputSpec:
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


def _golden(table: _Table) -> Golden:
    golden = Golden(
        inputs=table.take("inputs", str), answers=table.take("answers", str), origin=table.take("origin", str)
    )
    table.done()
    return golden


def _data(table: _Table) -> Data:
    data = Data(file=table.take("file", str), origin=table.take("origin", str))
    table.done()
    return data


def _tolerance(table: _Table) -> Tolerance:
    tolerance = Tolerance(
        device_vs_exact_lsb=table.count("device_vs_exact_lsb", least=0),
        exact_vs_quantized_lsb=table.count("exact_vs_quantized_lsb", least=0),
        reason=table.take("reason", str, ""),
    )
    table.done()
    if (tolerance.device_vs_exact_lsb or tolerance.exact_vs_quantized_lsb) and not tolerance.reason:
        raise table.fail("reason", "is missing", "a tolerance above 0 LSB needs its reason")
    return tolerance


def _thresholds(table: _Table) -> Thresholds:
    thresholds = Thresholds(
        top1_agreement=table.share("top1_agreement"),
        accuracy=table.share("accuracy"),
        cosine=table.share("cosine"),
    )
    table.done()
    return thresholds


def _expected(table: _Table) -> Expected:
    expected = Expected(
        parameters=table.count("parameters"), macs=table.count("macs"), test_top1=table.share("test_top1")
    )
    table.done()
    return expected


def _recipe(name: str, runtime: Runtime, table: _Table) -> Recipe:
    targets = table.many("targets", str)
    for target in targets:
        if target not in FAMILIES:
            raise table.fail("targets", f"has {target!r}", f"families: {', '.join(FAMILIES)}")
    dispatch = table.optional("dispatch")
    bits = {operator: dispatch.take(operator, int) for operator in list(dispatch.values)}
    for operator, width in bits.items():
        if width not in {8, 16}:
            raise dispatch.fail(operator, f"is {width}", "8 or 16 bits")
    recipe = Recipe(
        name=name,
        title=table.take("title", str),
        runtime=table.choice("runtime", Runtime, runtime),
        quant_type=table.choice("quant_type", QuantType),
        targets=tuple(family for family in FAMILIES if family in targets),
        calibration=_calibration(table.table("calibration")),
        dispatch=MappingProxyType(bits),
        passes=_passes(table.optional("passes")),
        float_operators=table.many("float_operators", str, []),
    )
    table.done()
    if not recipe.targets:
        raise table.fail("targets", "is empty", f"families: {', '.join(FAMILIES)}")
    return recipe


def _calibration(table: _Table) -> Calibration:
    calibration = Calibration(
        split=table.choice("split", Split),
        count=table.count("count"),
        seed=table.count("seed", least=0),
        observer=table.choice("observer", Observer),
    )
    table.done()
    return calibration


def _passes(table: _Table) -> Mapping[str, Mapping[str, PassOption]]:
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
