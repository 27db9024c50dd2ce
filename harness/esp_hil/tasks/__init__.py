"""Detection, recognition and classification end to end: a picture in, faces or cats or names out.

    zoo = zoo_folder(None)                                  # --zoo DIR, else HIL_ZOO
    task = load("face_detect", zoo, "esp32s3")
    image = Image.of_file(Path("someone.jpg"))              # or Image(width=, height=, format=, data=)
    for face in task.run(image).detections:
        print(face.box, face.score, face.landmarks)
    task.steps(image)["msr.input"]                          # every intermediate array by name

The networks run on the exact reference; everything around them is numpy that follows ESP-DL's C++ step by
step. `Task.run(compute=...)` lets something else run the networks, such as a board: pre- and postprocessing
stay here. What a task consists of is declared in golden/<task>/task.toml; the weights are found by path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from esp_hil.errors import ConfigError, UnknownModel, did_you_mean
from esp_hil.models.catalogue import roots_searched
from esp_hil.targets import target
from esp_hil.tasks.image import Image
from esp_hil.tasks.network import Compute, Network
from esp_hil.tasks.pixels import FORMATS, PixelFormat
from esp_hil.tasks.recognise import cosine, query
from esp_hil.tasks.results import Detection, Embedding, Label, Results
from esp_hil.tasks.spec import FRAMES, TaskSpec, TaskTolerances, parse
from esp_hil.tasks.task import Classifier, Detector, FaceDetection, Recognizer, Task
from esp_hil.tasks.trace import Trace
from esp_hil.tasks.zoo import find_file, zoo_folder

__all__ = [
    "FORMATS",
    "FRAMES",
    "Compute",
    "Detection",
    "Embedding",
    "Image",
    "Label",
    "PixelFormat",
    "Recognizer",
    "Results",
    "Task",
    "TaskSpec",
    "TaskTolerances",
    "Trace",
    "cosine",
    "load",
    "names",
    "network_files",
    "network_names",
    "query",
    "read_spec",
    "zoo_folder",
]

_FILE = "task.toml"


def searched(roots: Sequence[Path] | None) -> tuple[Path, ...]:
    """The folders that tasks are looked for in: those of the catalogue, then those that came with the package."""
    return roots_searched(roots)


def names(roots: Sequence[Path] | None = None) -> tuple[str, ...]:
    """Names of all tasks, sorted: folders of golden/ with a task.toml."""
    return tuple(sorted({path.parent.name for root in searched(roots) for path in root.glob(f"*/{_FILE}")}))


def read_spec(name: str, roots: Sequence[Path] | None = None) -> TaskSpec:
    """What a task's task.toml says; no weights are needed.

    Raises:
        UnknownModel: no task of that name.
        ConfigError: its task.toml cannot be used.
    """
    for root in searched(roots):
        if (root / name / _FILE).is_file():
            return parse(root / name / _FILE)
    known = names(roots)
    hint = f"{did_you_mean(name, known)} there are: {', '.join(known) or 'none'}".strip()
    raise UnknownModel(f"no task {name!r}", hint=hint)


def load(
    name: str,
    zoo: Path,
    chip: str = "esp32s3",
    *,
    variant: str = "",
    espdl: str = "",
    roots: Sequence[Path] | None = None,
) -> Task:
    """A task with its weights for one chip.

    Args:
        name: of the task, e.g. `face_detect`.
        zoo: folder with the .espdl files, see `zoo_folder`.
        chip: a target that the weights are for.
        variant: of several networks that serve the same purpose, which one; "": the first.
        espdl: the version of ESP-DL whose weights, resizing and thresholds count, such as `3.1.5`; "": the newest.
        roots: folders with tasks; None: golden/.

    Raises:
        UnknownModel: no task of that name.
        ConfigError: no such variant, no weights for the chip, or a file is not in the zoo.
        GoldenError: a file is not the one expected.
    """
    spec = read_spec(name, roots).of_espdl(espdl)
    chosen = _chosen(spec, variant)
    networks = {key: _network(spec, key, zoo, chip) for key in chosen}
    if spec.kind == "recognition":
        detector = load(spec.detector, zoo, chip, espdl=espdl, roots=roots)
        assert isinstance(detector, FaceDetection)
        own = {**detector.spec.networks, **{key: spec.networks[key] for key in chosen}}
        return Recognizer(replace(spec, networks=own), networks, detector)
    kinds: dict[str, type[Task]] = {
        "two_stage_faces": FaceDetection,
        "detection": Detector,
        "classification": Classifier,
    }
    return kinds[spec.kind](replace(spec, networks={key: spec.networks[key] for key in chosen}), networks)


def network_names(name: str, variant: str = "", roots: Sequence[Path] | None = None) -> tuple[str, ...]:
    """The networks of a task in the order they run; of several for one purpose the first, or the variant.

    Raises:
        UnknownModel, ConfigError: as `load`.
    """
    spec = read_spec(name, roots)
    return (*(network_names(spec.detector, roots=roots) if spec.detector else ()), *_chosen(spec, variant))


def network_files(
    name: str, zoo: Path, chip: str, *, variant: str = "", roots: Sequence[Path] | None = None
) -> dict[str, Path]:
    """The files of a task's networks for one chip, in the order they run; nothing is read but for their digests.

    Raises:
        UnknownModel, ConfigError, GoldenError: as `load`.
    """
    spec = read_spec(name, roots)
    before = network_files(spec.detector, zoo, chip, roots=roots) if spec.detector else {}
    return {**before, **{key: _path(spec, key, zoo, chip) for key in _chosen(spec, variant)}}


def _chosen(spec: TaskSpec, variant: str) -> tuple[str, ...]:
    """The networks that run: all of a two-stage task, else the variant."""
    there = tuple(spec.networks)
    if variant and (variant not in there or spec.kind == "two_stage_faces"):
        raise ConfigError(
            f"task {spec.name} has no variant {variant!r}",
            hint="it has one form" if spec.kind == "two_stage_faces" else f"one of: {', '.join(there)}",
        )
    return there if spec.kind == "two_stage_faces" else (variant or there[0],)


def _network(spec: TaskSpec, key: str, zoo: Path, chip: str) -> Network:
    return Network(_path(spec, key, zoo, chip), target(chip).family)


def _path(spec: TaskSpec, key: str, zoo: Path, chip: str) -> Path:
    wanted, family = spec.networks[key], target(chip).family
    if family not in wanted.sha256:
        raise ConfigError(
            f"{wanted.file} is not made for {chip}", hint=f"it is made for: {', '.join(wanted.sha256)}"
        )
    return find_file(zoo, wanted.file, family, wanted.sha256[family], spec.component)
