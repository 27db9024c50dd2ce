"""MODEL as people type it: the name of a model of golden/, its folder, or a file.

All commands that take a model read it here, so that `hil lint mnist`, `hil lint golden/mnist` and
`hil lint golden/mnist/w8a8/esp32p4.espdl` mean the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from esp_hil.errors import ConfigError
from esp_hil.models import catalogue
from esp_hil.models.catalogue import Model, artifact_name
from esp_hil.models.device_file import SUFFIXES
from esp_hil.models.recipe import Recipe
from esp_hil.targets import Family, Target

_FILE_SUFFIXES = frozenset({*SUFFIXES.values(), ".onnx"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """What was named.

    Attributes:
        name: the model's, or that of the file without its suffix.
        path: the file.
        model: whose device file it is; None: a file of its own.
        recipe: of that model; "" of a file.
        family: of the device file; None: the file tells, if anything does.
    """

    name: str
    path: Path
    model: Model | None = None
    recipe: str = ""
    family: Family | None = None

    @property
    def title(self) -> str:
        """As `mnist w8a8 esp32p4`, or the file's name."""
        return " ".join(part for part in (self.name, self.recipe, self.family or "") if part)


def find(
    given: str, *, recipe: str | None = None, chip: Target | None = None, family: str | None = None
) -> NamedModel:
    """The file that was named.

    Args:
        given: a name, a folder with a model.toml, or a file.
        recipe: which of a model's; None: the first that is made for the chip.
        chip: that it is for; None: the first family of the recipe.
        family: instead of a chip.

    Raises:
        UnknownModel: neither a model of that name nor such a file.
        ConfigError: the model has no such recipe, or none for the chip, or `recipe` was given with a file.
        GoldenError: the device file is missing or changed.
    """
    path = Path(given)
    if not _is_path(given, path):
        return of_model(catalogue.load(given), recipe=recipe, chip=chip, family=family)
    if catalogue.is_model(path):
        model = catalogue.load(path.resolve().name, (path.resolve().parent,))
        return of_model(model, recipe=recipe, chip=chip, family=family)
    if recipe is not None:
        raise ConfigError(
            f"{given} is a file, which has no recipes", hint="leave --recipe out, or name a model"
        )
    return NamedModel(name=path.stem, path=path)


def of_model(
    model: Model, *, recipe: str | None = None, chip: Target | None = None, family: str | None = None
) -> NamedModel:
    """The device file of a model; see `find`."""

    def wanted(one: Recipe) -> str:
        return family or (chip.family_of(one.runtime) if chip else one.targets[0])

    chosen = [model.recipe(recipe)] if recipe else list(model.recipes.values())
    made = [one for one in chosen if wanted(one) in one.targets]
    if not made:
        what = family or (chip.name if chip else "")
        made_for = dict.fromkeys(name for one in chosen for name in one.targets)
        raise ConfigError(
            f"model {model.name} has no device file for {what}" + (f" by recipe {recipe}" if recipe else ""),
            hint=f"there are files for: {', '.join(made_for)}",
        )
    first = made[0]
    told = next(name for name in first.targets if name == wanted(first))
    path = model.artifact(first.name, told)
    return NamedModel(name=model.name, path=path, model=model, recipe=first.name, family=told)


def with_model(named: NamedModel) -> NamedModel:
    """The same file with the model it belongs to, where it lies in a model's folder under the name of a device file.

    Raises:
        ConfigError: that folder's model.toml cannot be used.
        GoldenError: the file is not the one that the model's manifest has.
    """
    folder = named.path.resolve().parent.parent
    if named.model is not None or not catalogue.is_model(folder):
        return named
    model = catalogue.load(folder.name, (folder.parent,))
    for recipe in model.recipes.values():
        for family in recipe.targets:
            if folder / artifact_name(recipe.name, family) == named.path.resolve():
                path = model.artifact(recipe.name, family)
                return NamedModel(name=model.name, path=path, model=model, recipe=recipe.name, family=family)
    return named


def _is_path(given: str, path: Path) -> bool:
    return path.suffix.lower() in _FILE_SUFFIXES or len(path.parts) != 1 or path.is_file()
