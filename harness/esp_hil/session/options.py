"""The combinations of model, recipe and target that the options of a run ask for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from esp_hil.boards.emulator import named
from esp_hil.errors import ConfigError
from esp_hil.models import catalogue
from esp_hil.models.recipe import Recipe
from esp_hil.session.option_rows import Options, words
from esp_hil.targets import FAMILIES_OF, Runtime, Target, target

__all__ = ["Combination", "Options", "combinations", "words"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """One thing to run: a model by a recipe on a board of a target."""

    model: str
    recipe: str
    runtime: Runtime
    target: Target
    board: str | None

    @property
    def id(self) -> str:
        """The test id's part, e.g. `mnist-w8a8-esp32p4`."""
        return f"{self.model}-{self.recipe}-{self.target.name}"

    @property
    def group(self) -> str:
        """Combinations of one group run one after the other: those that share a board.

        Virtual and emulated boards are as many as are asked for, so each combination has its own.
        """
        many = self.board is not None and (self.board == "virtual" or named(self.board) is not None)
        return self.id if many else f"{self.target.name} {self.board or ''}"

    @property
    def sort_key(self) -> tuple[str, str, str, str, str]:
        """Combinations in this order change the board, its firmware, then the model as seldom as can be."""
        return (self.target.name, self.board or "", self.runtime, self.model, self.recipe)


def combinations(options: Options) -> tuple[Combination, ...]:
    """All combinations of the options, sorted so that each board is prepared once for each model.

    Tasks that the options name are left to suites/tasks; if they name nothing else there is none.

    Raises:
        ConfigError: no target given; an unknown target, model or recipe; nothing left to run.
    """
    if not options.targets:
        raise ConfigError(
            "the suites need to know which chip to test",
            hint="e.g. pytest --target esp32s3, or without a board: pytest --target esp32s3 --hil-board virtual",
        )
    kinds = catalogue.names()
    names = [name for name in options.models or catalogue.own_models() if kinds.get(name) != "task"]
    if options.models and not names:
        return ()
    found = [
        Combination(model=name, recipe=recipe.name, runtime=recipe.runtime, target=chip, board=options.board)
        for chip in map(target, options.targets)
        for name in names
        for recipe in _recipes(name, chip, options.recipes)
        if not options.runtimes or recipe.runtime in options.runtimes
    ]
    unknown = [name for name in options.runtimes if name not in FAMILIES_OF]
    if unknown:
        raise ConfigError(f"unknown runtime {unknown[0]!r}", hint=f"one of: {', '.join(FAMILIES_OF)}")
    if not found:
        raise ConfigError(
            f"no model in {', '.join(names)} has an artefact for {', '.join(options.targets)}",
            hint="hil golden list shows what there is",
        )
    return tuple(sorted(found, key=lambda combination: combination.sort_key))


def _recipes(name: str, chip: Target, wanted: Iterable[str]) -> list[Recipe]:
    model = catalogue.load(name)
    there = [row for row in model.recipes.values() if chip.family_of(row.runtime) in row.targets]
    for recipe in wanted:
        if recipe not in model.recipes:
            close = difflib.get_close_matches(recipe, model.recipes, n=1)
            guess = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(
                f"model {name} has no recipe {recipe!r}", hint=f"it has: {', '.join(model.recipes)}{guess}"
            )
    return [recipe for recipe in there if _runs(recipe, model, chip, tuple(wanted))]


def _runs(recipe: Recipe, model: catalogue.Model, chip: Target, wanted: tuple[str, ...]) -> bool:
    """Whether a recipe is run: what is named, else what is committed or was made here."""
    if wanted:
        return recipe.name in wanted
    name = catalogue.artifact_name(recipe.name, chip.family_of(recipe.runtime))
    return recipe.committed or (model.folder / name).is_file()
