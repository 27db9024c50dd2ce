"""Making a model's folder: weights, golden inputs, device files, stored answers, manifest.

Everything is made in a scratch folder first. A file whose content came out as it was keeps its bytes; a check
compares and changes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import ConfigError, GoldenError
from esp_hil.goldens.ai_edge import quantize_tflite, require_converter
from esp_hil.goldens.esp_ppq import Say, native_path, quantize, require_quantizer
from esp_hil.goldens.references import write_answers
from esp_hil.goldens.rewrites import rewrite
from esp_hil.models import manifest as manifests
from esp_hil.models.catalogue import Model, artifact_name
from esp_hil.models.dataset import Labelled
from esp_hil.models.device_file import open_device_file
from esp_hil.models.float_model import FloatModel
from esp_hil.models.golden_set import read_golden
from esp_hil.models.manifest import FILE_NAME, Manifest, file_entry
from esp_hil.models.recipe import Recipe
from esp_hil.npz import read_npz
from esp_hil.settings import variable_path
from esp_hil.targets import Family
from esp_hil.tensors import Array, Arrays
from esp_hil.verdict.difference import accuracy

State = Literal["same", "changed", "new"]
_TOOLS = ("onnxruntime", "scikit-learn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What became of one file: the `same` bytes as before, `changed`, or `new`."""

    name: str
    state: State
    bytes: int
    sha256: str


def build(
    model: Model, *, data: Path | None = None, retrain: bool = False, check: bool = False, say: Say
) -> tuple[Made, ...]:
    """Make a model's files again from its scripts, its float model and the data set.

    Args:
        model: of the catalogue.
        data: data set; see `find_data`.
        retrain: make the float model too, with the folder's train.py.
        check: compare with what is there instead of replacing it.
        say: called with a line now and then.

    Returns:
        One row a file, the manifest's last.

    Raises:
        GoldenError: no data set, or a script failed. QuantizeError: see `quantize`.
    """
    runtimes = {recipe.runtime for recipe in model.recipes.values() if not recipe.given}
    if "espdl" in runtimes:
        require_quantizer()
    if "tflm" in runtimes:
        require_converter()
    data = find_data(model, data) if runtimes else Path()
    with tempfile.TemporaryDirectory(prefix="hil-golden-") as name:
        stage = Path(name)
        files = _stage(model, data, stage, retrain=retrain, say=say)
        known = manifests.read(model.folder) if (model.folder / FILE_NAME).is_file() else None
        kept = _not_committed(model)
        made = tuple(_state(model.folder, stage, file, known if file in kept else None) for file in files)
        if not check:
            for row in made:
                if row.state != "same" or not (model.folder / row.name).is_file():
                    target = model.folder / row.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(stage / row.name, target)
            _keep_natives(model, stage)
        return made


def find_data(model: Model, given: Path | None) -> Path:
    """The model's data set: as given, else in the folder HIL_DATA, else in data/ of HIL_SHARED.

    Raises:
        GoldenError: it is nowhere; says where it looked and where to get it.
    """
    if given is not None:
        if not given.exists():
            raise GoldenError(f"no data set at {given}", hint="give the file or the folder that has it")
        return given / model.data.file if (given / model.data.file).is_file() else given
    folders = [model.folder]
    if (data := variable_path("HIL_DATA")) is not None:
        folders.append(data)
    if (shared := variable_path("HIL_SHARED")) is not None:
        folders.append(shared / "data")
    for folder in folders:
        if (folder / model.data.file).exists():
            return folder / model.data.file
    looked = f" in {', '.join(map(str, folders))}" if folders else ""
    raise GoldenError(
        f"no {model.data.file}{looked}",
        hint=f"give --data FILE|FOLDER, or set HIL_DATA to its folder; {model.data.origin}",
    )


def calibration_inputs(model: Model, data: Path, recipe: Recipe) -> Array | Arrays:
    """A recipe's calibration inputs, prepared: float32 (N, *shape), by name if the model has several inputs.

    They are chosen from a split of a data set, or are the first `count` of an .npz with an array for each input.

    Raises:
        ConfigError: there are fewer than `count`. GoldenError: the data cannot be read.
    """
    if _has_splits(model, data):
        split = model.data_split(data, recipe.quantized.split)
        return model.input.preprocess(calibration_images(split, recipe))
    arrays = read_npz(data, [spec.name for spec in model.inputs], hint="an array for each input, N first")
    prepared = {spec.name: spec.preprocess(arrays[spec.name]) for spec in model.inputs}
    count = recipe.quantized.count
    least = min(map(len, prepared.values()))
    if least < count:
        raise ConfigError(f"recipe {recipe.name}: {count} calibration inputs, {data.name} has {least}")
    chosen = {name: array[:count] for name, array in prepared.items()}
    return chosen if len(chosen) > 1 else next(iter(chosen.values()))


def _has_splits(model: Model, data: Path) -> bool:
    """Whether it is a data set with a training and a test split, and not plain arrays by the names of the inputs."""
    if len(model.inputs) > 1:
        return False
    name = model.input.name
    return not (data.is_file() and data.suffix == ".npz" and name in read_npz(data))


def calibration_images(data: Labelled, recipe: Recipe) -> NDArray[np.uint8]:
    """Choose a recipe's calibration images: of each label those with the lowest sha256 of seed and pixels.

    So the choice depends on the images alone, not on the order in which a data set happens to keep them.
    Labels alternate.

    Raises:
        ConfigError: `count` is not a multiple of the number of labels, or more than there are.
    """
    calibration = recipe.quantized
    labels = np.unique(data.labels)
    each, rest = divmod(calibration.count, len(labels))
    if rest or min(np.count_nonzero(data.labels == label) for label in labels) < each:
        raise ConfigError(
            f"recipe {recipe.name}: cannot choose {calibration.count} calibration images",
            hint=f"give a multiple of {len(labels)} labels, no more than the {calibration.split} split has",
        )
    salt = str(calibration.seed).encode()

    def rank(index: int) -> bytes:
        return hashlib.sha256(salt + data.images[index].tobytes()).digest()

    chosen = [sorted(map(int, np.flatnonzero(data.labels == label)), key=rank)[:each] for label in labels]
    images: NDArray[np.uint8] = data.images[np.array(chosen).T.reshape(-1)]
    return images


def _tools() -> dict[str, str]:
    """Versions of what files may depend on, of what is installed: a given device file needs no scikit-learn."""
    found = dict[str, str]()
    for name in _TOOLS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _stage(model: Model, data: Path, stage: Path, *, retrain: bool, say: Say) -> list[str]:
    """Make all files in the folder `stage`; returns their names, the manifest's last."""
    golden, staged = model.golden_inputs, replace(model, folder=stage)
    float_path = stage / model.float_file
    if not model.float_file:
        pass  # the device files were given, and nothing more is known
    elif retrain or not (model.folder / model.float_file).is_file():
        _script(model, "train.py", ["--data", str(data), "--out", str(float_path)], say)
    else:
        shutil.copyfile(model.folder / model.float_file, float_path)
    if (model.folder / "goldens.py").is_file():
        _script(model, "goldens.py", ["--out", str(stage / golden.inputs)], say)
    else:
        shutil.copyfile(model.folder / golden.inputs, stage / golden.inputs)
    _keep_bytes_of_equal_values(model.folder / golden.inputs, stage / golden.inputs)
    inputs = read_golden(
        stage / golden.inputs, model.inputs, model.outputs, pipeline=model.opened_pipeline()
    ).arrays
    files, versions, calibration = [golden.inputs], dict[str, str](), dict[str, str]()
    files += [model.float_file] if model.float_file else []
    answers: dict[tuple[str, Family], dict[str, NDArray[Any]]] = {}
    # what an input gets that is fed with an output, only a run tells: the quantizer is then asked while it is judged
    fed = any(spec.state for spec in model.inputs)
    made_here = [recipe for recipe in model.recipes.values() if not recipe.given]
    files += _given(model, stage)
    _check_tests(model, data, float_path, made_here, say)
    for recipe in made_here:
        images = calibration_inputs(model, data, recipe)
        calibration[recipe.name] = _digest(images)
        for family in recipe.targets:
            name = artifact_name(recipe.name, family)
            files.append(name)
            if recipe.runtime == "tflm":
                say(f"{name}: converting")
                versions |= quantize_tflite(float_path, recipe, _only(images, recipe), tflite=stage / name)
                continue
            made = quantize(
                float_path,
                recipe,
                family,
                images,
                espdl=stage / name,
                inputs=None if fed else inputs,
                native=(stage / name).with_suffix(".native"),
                say=lambda text, name=name: say(f"{name}: {text}"),  # type: ignore[misc]
            )
            versions |= made.versions
            if fed:
                continue
            outputs = staged.device_outputs(open_device_file(stage / name))
            answers[recipe.name, family] = {
                output: tensor.arrange(made.answers[output]) for output, tensor in outputs.items()
            }
    if golden.answers and not fed:
        write_answers(stage / golden.answers, inputs, answers)
        _keep_bytes_of_equal_values(model.folder / golden.answers, stage / golden.answers)
        files.append(golden.answers)
    versions |= _tools() | {"python": sys.version.split()[0]}
    manifest = Manifest(
        tools=versions, files={name: file_entry(stage / name) for name in files}, calibration=calibration
    )
    known = manifests.read(model.folder) if (model.folder / FILE_NAME).is_file() else None
    if known is not None and (known.files, known.calibration) == (manifest.files, manifest.calibration):
        manifest = known  # the same bytes, perhaps by other versions: the first ones stay on record
    manifest.write(stage)
    return [*files, FILE_NAME]


def _given(model: Model, stage: Path) -> list[str]:
    """Take over the device files that were given; their names."""
    names = [
        artifact_name(recipe.name, family)
        for recipe in model.recipes.values()
        for family in recipe.targets
        if recipe.given
    ]
    for name in names:
        if not (model.folder / name).is_file():
            raise GoldenError(
                f"{model.folder / name} is missing",
                hint="its recipe has no [calibration]: put the device file there",
            )
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model.folder / name, stage / name)
    return names


def _check_tests(model: Model, data: Path, float_path: Path, recipes: list[Recipe], say: Say) -> None:
    """Where the data set has test images: they calibrate nothing, and a rewritten float model still knows them."""
    if not recipes or not _has_splits(model, data):
        return
    tests = model.data_split(data, "test")
    for recipe in recipes:
        _require_disjoint(model, data, tests.images, recipe)
        _require_accuracy_kept(model, float_path, recipe, tests, say)


def _only(calibration: Array | Arrays, recipe: Recipe) -> Array:
    if isinstance(calibration, np.ndarray):
        return calibration
    raise ConfigError(
        f"recipe {recipe.name}: no .tflite of several inputs is made here", hint="give the .tflite"
    )


def _digest(calibration: Array | Arrays) -> str:
    """SHA-256 of the values, of several inputs in their order."""
    arrays = [calibration] if isinstance(calibration, np.ndarray) else list(calibration.values())
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()


def _require_disjoint(model: Model, data: Path, tests: NDArray[np.uint8], recipe: Recipe) -> None:
    calibration = calibration_images(model.data_split(data, recipe.quantized.split), recipe)
    held_out = {image.tobytes() for image in tests}
    shared = sum(image.tobytes() in held_out for image in calibration)
    if shared:
        raise GoldenError(
            f"recipe {recipe.name}: {shared} of {len(calibration)} calibration images are test images",
            hint="calibrate with the training split; accuracy on seen images means nothing",
        )


def _require_accuracy_kept(model: Model, float_path: Path, recipe: Recipe, tests: Labelled, say: Say) -> None:
    """A rewritten float model is another model: its accuracy is measured again before it is quantized."""
    if not recipe.rewrites:
        return
    inputs = model.input.preprocess(tests.images)
    with tempfile.TemporaryDirectory(prefix="hil-rewrite-") as name:
        rewritten = rewrite(float_path, recipe.rewrites, Path(name) / "model.onnx")
        before, after = (
            accuracy(FloatModel(path).run(inputs)[model.output], tests.labels)
            for path in (float_path, rewritten)
        )
    say(
        f"{recipe.name}: float top-1 {before.summary} becomes {after.summary} by {', '.join(recipe.rewrites)}"
    )
    if before.share - after.share > recipe.rewrite_loss:
        raise GoldenError(
            f"recipe {recipe.name}: the rewritten float model loses {before.share - after.share:.2%} top-1, "
            f"rewrite_loss allows {recipe.rewrite_loss:.2%}",
            hint="train without ReLU6, or leave the rewrite out",
        )


def _script(model: Model, name: str, arguments: list[str], say: Say) -> None:
    """Run a script of the model's folder in its own process."""
    script = model.folder / name
    if not script.is_file():
        raise GoldenError(f"{script} is missing: it makes what {model.name} lacks")
    say(f"running {name}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
    ) as process:
        last = "it printed nothing"
        assert process.stdout is not None
        for line in _lines(process.stdout):
            last = line
            say(f"{name}: {line}")
    if process.returncode:
        raise GoldenError(f"{script} ended with status {process.returncode}: {last}")


def _lines(stream: Any) -> Iterator[str]:  # noqa: ANN401
    for line in stream:
        if line.strip():
            yield line.rstrip()


def _keep_bytes_of_equal_values(there: Path, made: Path) -> None:
    """Where an .npz has the values it had, take the old bytes: zlib's differ from version to version."""
    if there.is_file() and _arrays(there) == _arrays(made):
        shutil.copyfile(there, made)


def _arrays(path: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in read_npz(path).items()}


def _not_committed(model: Model) -> set[str]:
    """Device files that are made where they are wanted: only their digests are committed."""
    recipes = [recipe for recipe in model.recipes.values() if not recipe.committed]
    return {artifact_name(recipe.name, family) for recipe in recipes for family in recipe.targets}


def _state(folder: Path, stage: Path, name: str, known: Manifest | None) -> Made:
    """Beside what is there or, for a file that is not committed, beside what the manifest says of it."""
    entry = file_entry(stage / name)
    there = file_entry(folder / name) if (folder / name).is_file() else None
    if there is None and known is not None:
        there = known.files.get(name)
    state: State = "new" if there is None else "same" if there == entry else "changed"
    return Made(name=name, state=state, bytes=entry.bytes, sha256=entry.sha256)


def _keep_natives(model: Model, stage: Path) -> None:
    for recipe in model.recipes.values():
        for family in recipe.targets if recipe.runtime == "espdl" and not recipe.given else ():
            native = (stage / artifact_name(recipe.name, family)).with_suffix(".native")
            target = native_path(model.folder / artifact_name(recipe.name, family))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(native, target)
