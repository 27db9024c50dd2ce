"""What a model says about one input, class by class: the device's numbers, their real values, shares, bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.goldens.references import ReferenceOutput
from esp_hil.models.postprocess import Postprocess

WIDTH = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One class.

    Attributes:
        label: of the class.
        raw: the number that the device answers: an integer, or a float.
        real: what it stands for.
        share: after the postprocessing that model.toml declares, 0..1; of logits their softmax.
        chosen: the decision falls on this class.
    """

    label: str
    raw: float
    real: float
    share: float
    chosen: bool


def scores_of(
    answer: ReferenceOutput, row: int, labels: Sequence[str], postprocess: Postprocess
) -> tuple[Score, ...]:
    """The classes of one input, in the order of the labels; a model with one output has two classes.

    Args:
        answer: of the output that holds the scores.
        row: which input.
        labels: names of the classes; empty: their numbers.
        postprocess: of model.toml.
    """
    names = labels or tuple(map(str, range(max(2, answer.values[row].size))))
    raw: NDArray[Any] = answer.values[row].reshape(1, -1)
    real = answer.real()[row].reshape(1, -1)
    shares = postprocess.shown_shares(real)
    chosen = int(postprocess.classes(real)[0])
    if raw.size == 1:
        # the model gives the share of class 1; class 0 has what is left, and no number of its own
        only, share = float(raw[0, 0]), float(shares[0, 0])
        numbers = [(np.nan, np.nan, 1 - share), (only, float(real[0, 0]), share)]
    else:
        numbers = [(float(a), float(b), float(c)) for a, b, c in zip(raw[0], real[0], shares[0], strict=True)]
    return tuple(
        Score(label=label, raw=number[0], real=number[1], share=number[2], chosen=index == chosen)
        for index, (label, number) in enumerate(zip(names, numbers, strict=True))
    )


def bars(scores: Sequence[Score]) -> str:
    """A line a class: two bars, of the raw number within its range and of the share, and the numbers."""
    known = [score.raw for score in scores if not np.isnan(score.raw)]
    low, high = min([*known, 0.0]), max([*known, 0.0])
    width = max(len(score.label) for score in scores)
    lines = [f"{'':{width + 2}}{'raw':>8}  {'':{WIDTH}}  {'value':>9}  {'share':>7}"]
    for score in scores:
        filled = 0.0 if np.isnan(score.raw) or high == low else (score.raw - low) / (high - low)
        raw, real = ("", "") if np.isnan(score.raw) else (f"{score.raw:g}", f"{score.real:.4f}")
        lines.append(
            f"{'>' if score.chosen else ' '} {score.label:{width}}{raw:>8}  {_bar(filled)}  {real:>9}  "
            f"{100 * score.share:6.2f}% {_bar(score.share)}".rstrip()
        )
    return "\n".join(lines)


def _bar(share: float) -> str:
    return ("#" * round(WIDTH * min(max(share, 0.0), 1.0))).ljust(WIDTH)
