"""The combinations of model, recipe and target that the options of a run ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import get_args

from esp_hil.boards.emulator import named
from esp_hil.boards.pool import places
from esp_hil.errors import ConfigError
from esp_hil.models import catalogue
from esp_hil.models.benchmarks import PREFIX, WINDOW_S, Entry, entries
from esp_hil.models.catalogue import Kind
from esp_hil.models.operators import OperatorCase, operator_names, read_cases
from esp_hil.models.recipe import Recipe
from esp_hil.results.conformance import width
from esp_hil.session.benchmark_model import benchmark_model
from esp_hil.session.named_model import unknown
from esp_hil.session.option_rows import Options, words
from esp_hil.session.task_networks import TaskNetwork, is_network, named_network, networks_of
from esp_hil.targets import FAMILIES_OF, Runtime, Target, target
from esp_hil.tasks import network_names, read_spec
from esp_hil.tasks.as_models import RECIPE as ZOO_RECIPE

__all__ = ["Combination", "Options", "all_combinations", "combinations", "words"]

VIRTUAL_WINDOW_S = 0.2
"""Length of MLPerf Tiny's windows on virtual boards: their time is not a chip's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """One thing to run: a model by a recipe, a task or a benchmark, on a board of a target.

    A network of a task is a model. The task itself only puts together what its networks answered.

    Attributes:
        kind: which of them.
        pooled: whether the run has several boards.
        place: sorts combinations of one board before their names do; operators that others need come first, networks
            of a task in the order they run, and the task last.
        resolved: what the catalogue has under the name, so that it is asked once; None: it was not asked.
        parts: of a task, its networks in the order they run.
    """

    model: str
    recipe: str
    runtime: Runtime
    target: Target
    board: str | None
    kind: Kind = "model"
    pooled: bool = False
    place: str = ""
    resolved: catalogue.Model | Entry | TaskNetwork | None = field(default=None, compare=False, repr=False)
    parts: tuple[Combination, ...] = field(default=(), compare=False, repr=False)

    @property
    def catalogued(self) -> catalogue.Model:
        """The model, whatever it comes from.

        Raises:
            HilError: it cannot be read.
        """
        found = self.resolved
        if isinstance(found, TaskNetwork):
            return found.model
        if isinstance(found, Entry):
            return benchmark_model(found, self.recipe)
        return found or catalogue.load(self.model)

    @property
    def unsuited(self) -> str:
        """Why the chip cannot hold the model, as its recipe says; "" if it does not say so."""
        model = self.resolved
        if (
            not isinstance(model, catalogue.Model)
            or self.target.name not in model.recipe(self.recipe).unsuited
        ):
            return ""
        return f"model.toml of {self.model} says that {self.recipe} is unsuited for {self.target.name}"

    @property
    def id(self) -> str:
        """The test id's part, e.g. `mnist-w8a8-esp32p4`; with its board where it is one of several."""
        return f"{self.model}-{self.recipe}-{self.target.name}" + (f"@{self.board}" if self.pooled else "")

    @property
    def group(self) -> str:
        """Combinations of one group run one after the other: those that share a board.

        Virtual and emulated boards are as many as are asked for, so each combination has its own; operators are so
        small that they share one, and the networks of a task have one together.
        """
        if self.kind == "operator":
            return f"operators {self.runtime} {self.target.name} {self.board or ''}"
        many = self.board is not None and (self.board == "virtual" or named(self.board) is not None)
        if not many:
            return f"{self.target.name} {self.board or ''}"
        task = self.resolved.task if isinstance(self.resolved, TaskNetwork) else self.model
        return replace(self, model=task).id

    @property
    def sort_key(self) -> tuple[str, str, str, str, str, str]:
        """Combinations in this order change the board, its firmware, then the model as seldom as can be."""
        return (self.target.name, self.board or "", self.runtime, self.place, self.model, self.recipe)

    @property
    def cases(self) -> tuple[OperatorCase, ...]:
        """Of an operator: the cases of its width."""
        every = read_cases(self.target.family_of(self.runtime))
        return tuple(case for case in every if (case.operator, width(case.bits)) == (self.model, self.recipe))


def combinations(options: Options, kind: Kind = "model", *, of: str = "") -> tuple[Combination, ...]:
    """All combinations of the options, sorted so that each board is prepared once for each model.

    Args:
        options: of the session.
        kind: models, tasks, benchmarks or operators; what the options name of another kind is left to that.
        of: only tasks of this kind, as their task.toml has it; "": all.

    Returns:
        None at all if the options name only things of another kind, or no folder of benchmarks.

    Raises:
        ConfigError: no target given; an unknown target, model or recipe; nothing left to run.
    """
    if kind == "benchmark" and options.mlperf_tiny is None and not _benchmark_named(options):
        return ()
    if not options.targets:
        raise ConfigError(
            "the suites need to know which chip to test",
            hint="e.g. pytest --target esp32s3, or without a board: pytest --target esp32s3 --hil-board virtual",
        )
    where = places(options.boards, [target(name) for name in options.targets])
    if kind == "operator":
        return _sorted(options, _operators(options, where))
    if kind == "task":
        names = [name for name in _names(options, kind) if _is_of(name, of)]
        return _sorted(
            options, [_task(name, chip, board, options) for chip, board in where for name in names]
        )
    benchmarks = _benchmarks(options, where)
    if kind == "benchmark":
        return _sorted(options, benchmarks)
    # the suites of every model are those of networks that come from elsewhere too
    networks = [part for task in combinations(options, "task") for part in task.parts]
    networks += [
        _network(named_network(name, options.zoo, chip.name), chip, board)
        for chip, board in where
        for name in options.models
        if name not in operator_names() and is_network(name)
    ]
    own = _models(options, _names(options, kind), where)
    return _sorted(
        options, [*own, *dict.fromkeys(replace(part, pooled=False) for part in networks), *benchmarks]
    )


def _sorted(options: Options, found: Iterable[Combination]) -> tuple[Combination, ...]:
    """In the order that changes boards least; told apart by board where there are several."""
    if len(options.boards) > 1:
        found = [replace(combination, pooled=True) for combination in found]
    return tuple(sorted(found, key=lambda combination: combination.sort_key))


def all_combinations(options: Options) -> tuple[Combination, ...]:
    """Those of every kind.

    Raises:
        ConfigError: as `combinations`.
    """
    every = (found for kind in get_args(Kind) for found in combinations(options, kind))
    return tuple(dict.fromkeys(every))


def window_s(options: Options) -> float:
    """Length of MLPerf Tiny's windows in seconds."""
    return options.mlperf_window or (VIRTUAL_WINDOW_S if options.board == "virtual" else WINDOW_S)


def _benchmark_named(options: Options) -> bool:
    return any(name.startswith(PREFIX) for name in options.models)


def _names(options: Options, kind: Kind) -> list[str]:
    """What is asked for of a kind; all of it if nothing is named."""
    kinds = catalogue.names(mlperf_tiny=options.mlperf_tiny)
    if options.mlperf_tiny is None and _benchmark_named(options):
        raise ConfigError("MLPerf Tiny's models are given by path", hint="--hil-mlperf-tiny DIR")
    for name in options.models:
        if name.startswith(PREFIX) and name not in kinds:
            there = ", ".join(one for one, what in kinds.items() if what == "benchmark")
            raise ConfigError(f"no {name} in {options.mlperf_tiny}", hint=f"there are: {there}")
        if name not in kinds and name not in operator_names() and not is_network(name):
            raise unknown(name)
    # unnamed, a folder with models of its own has only those run
    every = catalogue.own_models() if kind == "model" else kinds
    return [name for name in options.models or every if kinds.get(name) == kind]


def _models(options: Options, names: list[str], where: list[tuple[Target, str | None]]) -> list[Combination]:
    if options.models and not names:
        return []
    if not names:
        raise ConfigError(
            "there are no models here", hint="hil new NAME begins one; HIL_GOLDEN names other folders"
        )
    unknown = [name for name in options.runtimes if name not in FAMILIES_OF]
    if unknown:
        raise ConfigError(f"unknown runtime {unknown[0]!r}", hint=f"one of: {', '.join(FAMILIES_OF)}")
    models = {name: catalogue.load(name) for name in names}
    found = [
        Combination(
            model=model.name,
            recipe=recipe.name,
            runtime=recipe.runtime,
            target=chip,
            board=board,
            resolved=model,
        )
        for chip, board in where
        for model in models.values()
        for recipe in _recipes(model, chip, options.recipes)
        if not options.runtimes or recipe.runtime in options.runtimes
    ]
    if not found:
        raise ConfigError(
            f"no model in {', '.join(names)} has an artefact for {', '.join(options.targets)}",
            hint="hil golden list shows what there is",
        )
    return found


def _task(name: str, chip: Target, board: str | None, options: Options) -> Combination:
    pooled = len(options.boards) > 1
    networks = networks_of(name, options.zoo, chip.name)
    parts = tuple(replace(_network(network, chip, board), pooled=pooled) for network in networks)
    return Combination(
        model=name,
        recipe=ZOO_RECIPE,
        runtime="espdl",
        target=chip,
        board=board,
        kind="task",
        place=_LAST,
        parts=parts,
    )


def _network(network: TaskNetwork, chip: Target, board: str | None) -> Combination:
    order = (*network_names(network.task), network.network).index(network.network)
    return Combination(
        model=network.name,
        recipe=ZOO_RECIPE,
        runtime="espdl",
        target=chip,
        board=board,
        place=f"{network.task} {order}",
        resolved=network,
    )


_LAST = "~"
"""Of tasks: by then their networks were measured."""


FEEDS = ("Conv", "Relu", "MaxPool", "Transpose", "DequantizeLinear")
"""Operators that stand before others in the models of some cases; their own cases come first."""


def _operators(options: Options, where: Iterable[tuple[Target, str | None]]) -> Iterator[Combination]:
    """Operators and widths that have cases; TFLM's only if that runtime is named: it needs another firmware."""
    for chip, board in where:
        for runtime in FAMILIES_OF:
            if runtime not in (options.runtimes or ("espdl",)):
                continue
            known = {(case.operator, case.bits): None for case in read_cases(chip.family_of(runtime))}
            for operator, bits in known:
                if options.models and operator not in options.models:
                    continue
                if options.recipes and width(bits) not in options.recipes:
                    continue
                yield Combination(
                    model=operator,
                    recipe=width(bits),
                    runtime=runtime,
                    target=chip,
                    board=board,
                    kind="operator",
                    place=str(FEEDS.index(operator)) if operator in FEEDS else str(len(FEEDS)),
                )


def _is_of(task: str, kind: str) -> bool:
    return not kind or read_spec(task).kind == kind


def _benchmarks(options: Options, where: Iterable[tuple[Target, str | None]]) -> list[Combination]:
    if options.mlperf_tiny is None:
        return []
    names = _names(options, "benchmark")
    there = [entry for entry in entries(options.mlperf_tiny) if entry.name in names]
    return [_benchmark(entry, chip, board, options) for chip, board in where for entry in there]


def _benchmark(entry: Entry, chip: Target, board: str | None, options: Options) -> Combination:
    """The recipe tells whether the rules were scaled down."""
    length_s = window_s(options)
    return Combination(
        model=entry.name,
        recipe="closed" if length_s >= WINDOW_S else f"scaled-{length_s:g}s",
        runtime="tflm",
        target=chip,
        board=board,
        kind="benchmark",
        resolved=entry,
    )


def _recipes(model: catalogue.Model, chip: Target, wanted: Iterable[str]) -> list[Recipe]:
    there = [row for row in model.recipes.values() if chip.family_of(row.runtime) in row.targets]
    for recipe in wanted:
        model.recipe(recipe)
    return [recipe for recipe in there if _runs(recipe, model, chip, tuple(wanted))]


def _runs(recipe: Recipe, model: catalogue.Model, chip: Target, wanted: tuple[str, ...]) -> bool:
    """Whether a recipe is run: what is named, else what is committed or was made here."""
    if wanted:
        return recipe.name in wanted
    name = catalogue.artifact_name(recipe.name, chip.family_of(recipe.runtime))
    return recipe.committed or (model.folder / name).is_file()
