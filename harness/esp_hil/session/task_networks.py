"""The networks of a task that a session can run: known by their files before anything is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from esp_hil import tasks
from esp_hil.errors import ConfigError, GoldenError
from esp_hil.models.catalogue import Model
from esp_hil.tasks.as_models import GoldenPictures, models
from esp_hil.tasks.pictures import are_there


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskNetwork:
    """One network of a task, with the weights for a chip."""

    task: str
    network: str
    zoo: Path
    chip: str

    @property
    def name(self) -> str:
        """Of its model, in rows."""
        return f"{self.task}-{self.network}"

    @property
    def pictures(self) -> GoldenPictures:
        """The task on its golden pictures, shared by its networks."""
        return _pictures(self.task, self.zoo, self.chip)

    @property
    def model(self) -> Model:
        """As one of the catalogue."""
        return models(self.pictures)[self.network]


def networks_of(task: str, zoo: Path | None, chip: str) -> tuple[TaskNetwork, ...]:
    """The networks of a task in the order they run; none without weights or pictures: its tests say so."""
    try:
        folder = tasks.zoo_folder(zoo)
        networks = _names(task, folder, chip)
    except (ConfigError, GoldenError):
        return ()
    if not are_there(tasks.read_spec(task).golden):
        return ()
    return tuple(TaskNetwork(task=task, network=name, zoo=folder, chip=chip) for name in networks)


@cache
def _names(task: str, zoo: Path, chip: str) -> tuple[str, ...]:
    return tuple(tasks.network_files(task, zoo, chip))


@cache
def _pictures(task: str, zoo: Path, chip: str) -> GoldenPictures:
    return GoldenPictures(tasks.load(task, zoo, chip))
