"""The recipes of a model.toml: how device files are made from the float model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from esp_hil.errors import ConfigError, UnknownTarget
from esp_hil.models.dataset import Split
from esp_hil.targets import FAMILIES_OF, Family, Runtime, target
from esp_hil.toml_table import TomlTable

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
        quant_type: bits of weights and activations; None: not said of a file that was given.
        targets: families to make a file for.
        calibration: see there; None: the device files were given, nobody quantizes here.
        dispatch: operator name of the ONNX file -> bits (8 or 16), for mixed precision.
        passes: esp-ppq's optional passes, in its names' short form, with their settings.
        float_operators: ONNX operator types that may stay in float; any other that does is an error.
        io: of TFLM: inputs and outputs as integers, or float32 with QUANTIZE and DEQUANTIZE in the model.
        rewrites: changes to a copy of the float model before it is quantized, see `esp_hil.goldens.rewrites`.
        rewrite_loss: how much float top-1 on the test images they may cost, 0..1.
        committed: whether its device files are kept; if not, `hil golden build` makes them where wanted.
        tolerance: instead of the model's.
        unsuited: chips that cannot hold the result: the suites leave them out, and say so.
    """

    name: str
    title: str
    runtime: Runtime
    quant_type: QuantType | None
    targets: tuple[Family, ...]
    calibration: Calibration | None
    dispatch: Mapping[str, int]
    passes: Mapping[str, Mapping[str, PassOption]]
    float_operators: tuple[str, ...]
    io: Io = "integer"
    rewrites: tuple[Rewrite, ...] = ()
    rewrite_loss: float = 0.0
    committed: bool = True
    tolerance: Tolerance | None = None
    unsuited: tuple[str, ...] = ()

    @property
    def given(self) -> bool:
        """Whether its device files were given, and are not made from the float model."""
        return self.calibration is None

    @property
    def quantized(self) -> Calibration:
        """Its calibration.

        Raises:
            ConfigError: its device files were given.
        """
        if self.calibration is None:
            raise ConfigError(
                f"recipe {self.name} has no [calibration]: its device files were given",
                hint="only recipes with one are quantized here",
            )
        return self.calibration


def given_recipe(name: str, title: str, runtime: Runtime, targets: tuple[Family, ...]) -> Recipe:
    """The recipe of device files that were given."""
    return Recipe(
        name=name,
        title=title,
        runtime=runtime,
        quant_type=None,
        targets=targets,
        calibration=None,
        dispatch=MappingProxyType({}),
        passes=MappingProxyType({}),
        float_operators=(),
    )


def parse_recipe(name: str, runtime: Runtime, table: TomlTable) -> Recipe:
    """Parse [recipes.NAME].

    Raises:
        ConfigError: a key is unknown, missing or of the wrong type or value.
    """
    chosen: Runtime = table.choice("runtime", Runtime, runtime)
    families = FAMILIES_OF[chosen]
    everywhere: list[str] | None = None if chosen == "espdl" else list(families)
    targets = table.many("targets", str, everywhere)
    for family in targets:
        if family not in families:
            raise table.fail("targets", f"has {family!r}", f"families of {chosen}: {', '.join(families)}")
    given = "calibration" not in table.values
    dispatch = table.optional("dispatch")
    bits = {operator: dispatch.take(operator, int) for operator in list(dispatch.values)}
    for operator, width in bits.items():
        if width not in {8, 16}:
            raise dispatch.fail(operator, f"is {width}", "8 or 16 bits")
    recipe = Recipe(
        name=name,
        title=table.take("title", str),
        runtime=chosen,
        quant_type=_quant_type(table, given=given),
        targets=tuple(family for family in families if family in targets),
        calibration=None if given else _calibration(table.table("calibration")),
        dispatch=MappingProxyType(bits),
        passes=_passes(table.optional("passes")),
        float_operators=table.many("float_operators", str, []),
        io=table.choice("io", Io, "integer"),
        rewrites=_rewrites(table),
        rewrite_loss=table.share("rewrite_loss") if table.values.get("rewrites") else 0.0,
        committed=table.take("committed", bool, True),
        tolerance=parse_tolerance(table.table("tolerance")) if "tolerance" in table.values else None,
        unsuited=_unsuited(table),
    )
    table.known += ["tolerance", "calibration", "quant_type"]
    table.done()
    if given:
        _check_given(table, recipe)
    if not recipe.targets:
        raise table.fail("targets", "is empty", f"families: {', '.join(families)}")
    if chosen == "tflm" and not given:
        _check_tflm(table, recipe)
    elif chosen != "tflm" and recipe.io != "integer":
        raise table.fail("io", f"is {recipe.io!r}", "only TFLM's models can have float32 there")
    return recipe


def _quant_type(table: TomlTable, *, given: bool) -> QuantType | None:
    if given and "quant_type" not in table.values:
        return None
    chosen: QuantType = table.choice("quant_type", QuantType)
    return chosen


def _check_given(table: TomlTable, recipe: Recipe) -> None:
    """What steers a quantizer is in vain where there is none."""
    for key in ("dispatch", "passes", "rewrites"):
        if getattr(recipe, key):
            raise table.fail(
                key, "is for the quantizer", "add [calibration], or leave it out: the file was given"
            )


def _check_tflm(table: TomlTable, recipe: Recipe) -> None:
    """ai-edge-quantizer has fewer choices than esp-ppq; none may be given in vain."""
    if recipe.quant_type == "w16a16":
        raise table.fail("quant_type", "is 'w16a16'", "w8a8 or w8a16 with TFLM")
    if recipe.quantized.observer != "minmax":
        raise table.fail("calibration.observer", f"is {recipe.quantized.observer!r}", "minmax with TFLM")
    for key in ("dispatch", "passes", "float_operators", "rewrites"):
        if getattr(recipe, key):
            raise table.fail(key, "is esp-ppq's", "leave it out with TFLM")


def _unsuited(table: TomlTable) -> tuple[str, ...]:
    names = table.many("unsuited", str, [])
    for name in names:
        try:
            target(name)
        except UnknownTarget as error:
            raise table.fail("unsuited", f"has {name!r}", error.hint) from None
    return tuple(names)


def _rewrites(table: TomlTable) -> tuple[Rewrite, ...]:
    names = table.many("rewrites", str, [])
    for name in names:
        if name not in get_args(Rewrite):
            raise table.fail("rewrites", f"has {name!r}", f"one of: {', '.join(get_args(Rewrite))}")
    return tuple(rewrite for rewrite in get_args(Rewrite) if rewrite in names)


def _calibration(table: TomlTable) -> Calibration:
    calibration = Calibration(
        split=table.choice("split", Split),
        count=table.count("count"),
        seed=table.count("seed", least=0),
        observer=table.choice("observer", Observer),
    )
    table.done()
    return calibration


def _passes(table: TomlTable) -> Mapping[str, Mapping[str, PassOption]]:
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


def parse_tolerance(table: TomlTable) -> Tolerance:
    """Parse [tolerance].

    Raises:
        ConfigError: a tolerance without its reason, or a bad key.
    """
    tolerance = Tolerance(
        device_vs_exact_lsb=table.count("device_vs_exact_lsb", least=0),
        exact_vs_quantized_lsb=table.count("exact_vs_quantized_lsb", least=0),
        reason=table.take("reason", str, ""),
    )
    table.done()
    if (tolerance.device_vs_exact_lsb or tolerance.exact_vs_quantized_lsb) and not tolerance.reason:
        raise table.fail("reason", "is missing", "a tolerance above 0 LSB needs its reason")
    return tolerance
