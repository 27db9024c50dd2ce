"""What an output of a model means, and what is asked of it: `[[outputs]]` of model.toml.

scores     one number a class: the largest (or a threshold) decides; top-1
values     quantities: a regression, an autoencoder; RMSE, MAE, R2, share within a tolerance
embedding  a direction: cosine
dense      one number a class and pixel: pixel accuracy, mean IoU
raw        integers: device against exact only
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from esp_hil.errors import did_you_mean
from esp_hil.models.postprocess import Activation, Postprocess
from esp_hil.tensors import Layout
from esp_hil.toml_table import TomlTable
from esp_hil.verdict.measures import MEASURES, Against, Meaning, Reading, names_of


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputGate:
    """A limit of one figure of one output: the device's answers against the float model's or the expected ones.

    Attributes:
        against: "float" or "expected".
        measure: a name of `esp_hil.verdict.measures.MEASURES`.
        limit: least or most, as the measure is better.
    """

    against: Against
    measure: str
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """One output of the model.

    Attributes:
        name: on the device and, without `float_name`, in the float model.
        meaning: see the head of this module.
        labels: names of the classes of `scores` and `dense`; empty: their numbers, or it has none.
        postprocess: from scores to a decision.
        tolerance: of `values`, in `unit`: what counts as right.
        unit: of `values`, for people.
        class_axis: of `dense`: axis of the classes in one inference's float shape.
        float_name: name in the float model; "": the same.
        device_layout: layout on the device if the shapes alone do not tell, else None.
        gates: what the suites ask of it.
    """

    name: str
    meaning: Meaning
    labels: tuple[str, ...] = ()
    postprocess: Postprocess = field(default_factory=Postprocess)
    tolerance: float | None = None
    unit: str = ""
    class_axis: int = 0
    float_name: str = ""
    device_layout: Layout | None = None
    gates: tuple[OutputGate, ...] = ()

    def label(self, number: int) -> str:
        """Name of a class; its number where it has none."""
        return self.labels[number] if self.labels else str(number)

    @property
    def limits(self) -> dict[tuple[Against, str], float]:
        """Its gates by what they are against and measure."""
        return {(gate.against, gate.measure): gate.limit for gate in self.gates}

    @property
    def reading(self) -> Reading:
        """How its answers are read."""
        return Reading(
            meaning=self.meaning,
            threshold=self.postprocess.threshold,
            activation=self.postprocess.activation,
            tolerance=self.tolerance,
            unit=self.unit,
            class_axis=self.class_axis,
        )


def parse_device_layout(table: TomlTable) -> Layout | None:
    """Where the channels of an input or output are on the device, for shapes that do not tell; None: they tell."""
    found: Layout | None = table.choice("device_layout", Layout) if "device_layout" in table.values else None
    table.known.append("device_layout")
    return found


def parse_output(table: TomlTable) -> OutputSpec:
    """Parse one of [[outputs]].

    Raises:
        ConfigError: a key is unknown, missing, of the wrong type or value, or of another meaning.
    """
    meaning: Meaning = table.choice("meaning", Meaning)
    if meaning == "boxes":
        raise table.fail(
            "meaning", "is 'boxes'", "a [pipeline] makes boxes of outputs; these are raw or values"
        )
    layout: Layout = table.choice("layout", Layout, "NCHW")
    output = OutputSpec(
        name=table.take("name", str),
        meaning=meaning,
        labels=table.many("labels", str, []),
        postprocess=parse_postprocess(table),
        tolerance=table.take("tolerance", float) if "tolerance" in table.values else None,
        unit=table.take("unit", str, ""),
        class_axis=0 if layout == "NCHW" else -1,
        float_name=table.take("float_name", str, ""),
        device_layout=parse_device_layout(table),
        gates=(
            *parse_gates(table.optional("against_float"), "float", meaning),
            *parse_gates(table.optional("against_expected"), "expected", meaning),
        ),
    )
    table.known.append("tolerance")
    table.done()
    _refuse_strangers(table, meaning)
    if output.labels and (len(output.labels) < 2 or len(set(output.labels)) != len(output.labels)):
        raise table.fail("labels", "needs two or more different labels", "or leave it out")
    if output.tolerance is not None and output.tolerance <= 0:
        raise table.fail("tolerance", f"is {output.tolerance:g}", "a positive number, in the output's unit")
    if any(gate.measure == "within" for gate in output.gates) and output.tolerance is None:
        raise table.fail("tolerance", "is missing", "`within` needs it: how far off is still right")
    return output


def parse_postprocess(table: TomlTable) -> Postprocess:
    """The keys `activation` and `threshold` of a table.

    Raises:
        ConfigError: a wrong value.
    """
    activation: Activation = table.choice("activation", Activation, "none")
    threshold = table.share("threshold") if "threshold" in table.values else None
    table.known.append("threshold")
    return Postprocess(activation=activation, threshold=threshold)


_OF: Mapping[str, tuple[Meaning, ...]] = MappingProxyType(
    {
        "labels": ("scores", "dense"),
        "activation": ("scores",),
        "threshold": ("scores", "dense"),
        "tolerance": ("values",),
        "unit": ("values",),
        "layout": ("dense",),
    }
)


def _refuse_strangers(table: TomlTable, meaning: Meaning) -> None:
    """A key that says nothing of this meaning is a mistake."""
    for key, meanings in _OF.items():
        if key in table.values and meaning not in meanings:
            raise table.fail(
                key, f"is for {' and '.join(meanings)}", f"leave it out: this output is {meaning}"
            )


def parse_gates(table: TomlTable, against: Against, meaning: Meaning) -> list[OutputGate]:
    """Parse the limits of one table.

    Raises:
        ConfigError: a figure that the meaning does not have, or a limit that cannot be.
    """
    known = names_of(meaning)
    if against == "expected" and meaning in {"scores", "dense"}:
        known = tuple(name for name in known if name != "cosine")  # classes are expected, not their scores
    found = []
    for name in table.values:
        if name not in known:
            hint = f"{did_you_mean(name, known)} known: {', '.join(known) or 'none'}".strip()
            raise table.fail(name, f"is no figure of {meaning}", hint)
        limit = table.share(name) if MEASURES[name].share else table.take(name, float)
        found.append(OutputGate(against=against, measure=name, limit=limit))
    return found
