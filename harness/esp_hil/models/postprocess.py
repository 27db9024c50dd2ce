"""From a model's output to a decision: activation, threshold, class.

What a device answers are integers. Their real values are the raw scores; `shares` turns those into
probabilities as model.toml declares, `classes` into labels' numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import InputError

Activation = Literal["none", "softmax", "sigmoid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Postprocess:
    """What follows the model.

    Attributes:
        activation: what the caller has to apply; "none": the model's output is a share already.
        threshold: of a model with one output value: class 1 from this share on, else class 0. None: the
            class is that of the largest value.
    """

    activation: Activation = "none"
    threshold: float | None = None

    def shares(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        """Probabilities of raw real scores, same shape (N, C), float64.

        Softmax is that of x - max(x), so that no exponential overflows; sigmoid is 1 / (1 + e^-x).
        """
        values = raw.astype(np.float64)
        if self.activation == "softmax":
            grown = np.exp(values - values.max(axis=-1, keepdims=True))
            soft: NDArray[np.float64] = grown / grown.sum(axis=-1, keepdims=True)
            return soft
        if self.activation == "sigmoid":
            # tanh never overflows: 1 / (1 + e^-x) == (1 + tanh(x / 2)) / 2
            sigmoid: NDArray[np.float64] = (1 + np.tanh(values / 2)) / 2
            return sigmoid
        return values

    def shown_shares(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        """Shares as people read them, same shape (N, C): those of `shares`, and of logits their softmax.

        A model whose file ends before the softmax is often declared without one: the class is the same, but
        value x 100 is no share. One value an input gets a sigmoid.
        """
        values = self.shares(raw)
        if self.activation != "none" or (
            values.min(initial=0.0) >= -0.01 and values.max(initial=0.0) <= 1.01
        ):
            return values
        kind: Activation = "softmax" if raw.shape[-1] > 1 else "sigmoid"
        return Postprocess(activation=kind).shares(raw)

    def classes(self, raw: NDArray[Any]) -> NDArray[np.int64]:
        """Class of each input from raw real scores (N, ...); of equal scores the first wins.

        Raises:
            InputError: a threshold, and more than one value an input.
        """
        flat = raw.reshape(len(raw), -1)
        if self.threshold is None:
            largest: NDArray[np.int64] = np.argmax(flat, axis=1).astype(np.int64)
            return largest
        if flat.shape[1] != 1:
            raise InputError(
                f"a threshold for {flat.shape[1]} values an input", hint="it is for models with one output"
            )
        return (self.shares(flat)[:, 0] >= self.threshold).astype(np.int64)
