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
    """One network of a task, with the weights for a chip.

    Attributes:
        task: of golden/.
        network: its name there.
        zoo: folder with its file.
        chip: a target.
        variant: where the task has several networks for one purpose and this is not its first: itself; else "".
    """

    task: str
    network: str
    zoo: Path
    chip: str
    variant: str = ""

    @property
    def name(self) -> str:
        """Of its model, in rows."""
        return f"{self.task}-{self.network}"

    @property
    def pictures(self) -> GoldenPictures:
        """The task on its golden pictures, shared by its networks."""
        return _pictures(self.task, self.zoo, self.chip, self.variant)

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


def network_names() -> tuple[str, ...]:
    """The names in rows of all networks of all tasks, variants among them; no weights are needed."""
    return tuple(f"{task}-{network}" for task in tasks.names() for network in _networks(task))


def is_network(name: str) -> bool:
    """Whether a name is that of a task's network, as rows have it: `face_detect-msr`."""
    return _split(name) is not None


def named_network(name: str, zoo: Path | None, chip: str) -> TaskNetwork:
    """The network of a task by its name in rows; `is_network` says whether there is one.

    Raises:
        ConfigError: no weights for the chip, or no folder of weights.
        GoldenError: another file than the one expected.
    """
    found = _split(name)
    assert found is not None
    task, network = found
    folder = tasks.zoo_folder(zoo)
    first = network in tasks.network_names(task)
    variant = "" if first else network
    tasks.network_files(task, folder, chip, variant=variant)
    return TaskNetwork(task=task, network=network, zoo=folder, chip=chip, variant=variant)


def _split(name: str) -> tuple[str, str] | None:
    for task in tasks.names():
        network = name.removeprefix(f"{task}-")
        if network != name and network in _networks(task):
            return task, network
    return None


def _networks(task: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*tasks.network_names(task), *tasks.read_spec(task).networks)))


@cache
def _names(task: str, zoo: Path, chip: str) -> tuple[str, ...]:
    return tuple(tasks.network_files(task, zoo, chip))


@cache
def _pictures(task: str, zoo: Path, chip: str, variant: str) -> GoldenPictures:
    return GoldenPictures(tasks.load(task, zoo, chip, variant=variant))
