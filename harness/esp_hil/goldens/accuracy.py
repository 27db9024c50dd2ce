"""Top-1 accuracy over a whole test set: what the float model, and each device file, get right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.goldens.references import DeviceFileReference, FloatReference, Reference
from esp_hil.models.catalogue import Model
from esp_hil.targets import Family
from esp_hil.verdict.verdict import Accuracy, accuracy, agreement

BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRow:
    """One reference over the test set.

    Attributes:
        reference: "float" or "exact".
        recipe: of the device file, "" for float.
        family: of the device file, None for float.
        accuracy: its top-1 is the label.
        agreement: its top-1 is the float model's.
    """

    reference: str
    recipe: str
    family: Family | None
    accuracy: Accuracy
    agreement: Accuracy


def measure(model: Model, data: Path, *, limit: int | None = None) -> Iterator[AccuracyRow]:
    """Run the float model and the exact reference of every device file over the test split.

    Args:
        model: of the catalogue.
        data: its data set.
        limit: only so many images, spread evenly over the split; None: all.

    Yields:
        A row as soon as it is measured, the float model's first.

    Raises:
        GoldenError: the data set or an artefact cannot be read.
        UnsupportedOperator: the exact reference does not know an operator.
    """
    split = model.data_split(data, "test")
    step = 1 if limit is None else max(1, len(split.images) // limit)
    images, labels = split.images[::step][:limit], split.labels[::step][:limit]
    inputs = model.input.preprocess(images)

    def scores(reference: Reference) -> NDArray[Any]:
        batches = [
            reference.run(inputs[at : at + BATCH])[model.output].real() for at in range(0, len(inputs), BATCH)
        ]
        return np.concatenate(batches)

    decide = model.postprocess.classes
    floats = scores(FloatReference(model))
    yield AccuracyRow(
        reference="float",
        recipe="",
        family=None,
        accuracy=accuracy(floats, labels, decide),
        agreement=agreement(floats, floats, decide),
    )
    for recipe in model.recipes.values():
        for family in recipe.targets:
            answers = scores(DeviceFileReference(model, recipe.name, family))
            yield AccuracyRow(
                reference="exact",
                recipe=recipe.name,
                family=family,
                accuracy=accuracy(answers, labels, decide),
                agreement=agreement(answers, floats, decide),
            )
