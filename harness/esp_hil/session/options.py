"""The command line as one frozen value, and the combinations of model, recipe and target it asks for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from esp_hil.boards.emulator import named
from esp_hil.errors import ConfigError
from esp_hil.models import catalogue
from esp_hil.models.recipe import Recipe
from esp_hil.targets import FAMILIES_OF, Runtime, Target, target


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a run of the suites.

    Attributes:
        targets: names of chips, in the order given (`--target esp32s3,esp32p4`).
        board: `virtual`, `qemu`, `esp-emu`, an id of boards.toml, a URL, or None: the attached board.
        port: pytest-embedded's `--port`, or None.
        baud: pytest-embedded's `--baud`, or None: the board's own.
        models: names of models; empty: all that have an artefact for the target.
        recipes: names of recipes; empty: all.
        runtimes: what runs the models; empty: all.
        runs: timed repetitions.
        warmup: runs before the timed ones.
        inputs: number of golden inputs; None: all.
        data: where the models' data sets lie, whose test images are sent instead of the golden inputs; None:
            the golden inputs are sent.
        cores: cores that an inference may use.
        results: folder of this session's rows and reports.
        baseline: rows to compare with: folder, file, or history; None: none.
        across: conditions that may differ from the baseline's.
        thresholds: other allowances of gates, as `NAME=5%`.
        gate_simulated: gate the latency of simulated rows too.
        history: where all rows go at the end; None: nowhere.
        virtual_faults: a plan for virtual boards, see harness/esp_hil/virtual/faults.py; None: no faults.
        build_dir: pytest-embedded's `--build-dir`: a prebuilt image.
        app_path: pytest-embedded's `--app-path`.
        skip_flash: pytest-embedded's `--skip-autoflash`: boards have their firmware.
        build_profile: fragments of firmware/profiles; empty: what suits the board.
        emulator_args: further options of an emulator, one string as on a command line.
        record: file that keeps the bytes of the boards' lines with their times; None: nothing is kept.
        lint: whether a model with a known hazard is refused.
        resident: whether golden inputs stay on devices that keep them, so that they are sent once.
    """

    targets: tuple[str, ...]
    board: str | None = None
    port: str | None = None
    baud: int | None = None
    models: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    runs: int = 30
    warmup: int = 3
    inputs: int | None = None
    data: Path | None = None
    cores: int = 1
    results: Path
    baseline: str | None = None
    across: tuple[str, ...] = ()
    thresholds: tuple[str, ...] = ()
    gate_simulated: bool = False
    history: str | None = None
    virtual_faults: str | None = None
    build_dir: str | None = None
    app_path: str | None = None
    skip_flash: bool = False
    build_profile: tuple[str, ...] = ()
    emulator_args: str | None = None
    record: Path | None = None
    lint: bool = True
    resident: bool = True


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


def words(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """The words of a comma-separated option that may be given several times, without repetition."""
    if given is None:
        return ()
    texts = [given] if isinstance(given, str) else given
    return tuple(dict.fromkeys(word.strip() for text in texts for word in text.split(",") if word.strip()))


def combinations(options: Options) -> tuple[Combination, ...]:
    """All combinations of the options, sorted so that each board is prepared once for each model.

    Raises:
        ConfigError: no target given; an unknown target, model or recipe; nothing left to run.
    """
    if not options.targets:
        raise ConfigError(
            "the suites need to know which chip to test",
            hint="e.g. pytest --target esp32s3, or without a board: pytest --target esp32s3 --board virtual",
        )
    names = options.models or catalogue.models()
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
