"""Which inputs a row shows with the device's scores for them, class by class."""

from __future__ import annotations

import numpy as np

from esp_hil.goldens.references import ReferenceOutput
from esp_hil.goldens.scores import scores_of
from esp_hil.models.catalogue import GoldenSet, Model
from esp_hil.results.record import ClassScore, ShownInput

WRONG_SHOWN = 2
CLASSES_SHOWN = 12
"""Of an input whose scores are kept in the row."""


def shown_inputs(answer: ReferenceOutput, golden: GoldenSet, model: Model) -> tuple[ShownInput, ...]:
    """The first input and, as far as labels tell, the first wrong ones: WRONG_SHOWN; of each the best classes.

    Args:
        answer: of the device, to all inputs.
        golden: those inputs.
        model: names of its classes and its postprocessing.
    """
    chosen = model.postprocess.classes(answer.real())
    labels = golden.labels
    wrong = [] if labels is None else np.flatnonzero(chosen != labels)[:WRONG_SHOWN].tolist()
    found = []
    for number in dict.fromkeys((0, *wrong)):
        scores = scores_of(answer, number, model.labels, model.postprocess)
        least = sorted((score.share for score in scores), reverse=True)[:CLASSES_SHOWN][-1]
        kept = [score for score in scores if score.share >= least or score.chosen][:CLASSES_SHOWN]
        found.append(
            ShownInput(
                input=golden.ids[number],
                label="" if labels is None else model.output_spec(model.output).label(int(labels[number])),
                scores=tuple(
                    ClassScore(
                        label=score.label,
                        raw=None if np.isnan(score.raw) else score.raw,
                        real=None if np.isnan(score.real) else score.real,
                        share=score.share,
                        chosen=score.chosen,
                    )
                    for score in kept
                ),
            )
        )
    return tuple(found)
