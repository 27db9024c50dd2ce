"""Logits -> classes (vision/classification/dl_cls_postprocessor.cpp)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from esp_hil.tasks.results import Label


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shares that sum to one, float32 (classes,)."""
    powers = np.exp(logits - logits.max()).astype(np.float32)
    total = np.float32(0)
    for power in powers:
        total = total + power
    shares: NDArray[np.float32] = (powers / total).astype(np.float32)
    return shares


def best(logits: NDArray[np.float32], names: Sequence[str], top: int) -> tuple[Label, ...]:
    """The `top` classes by falling share.

    Integers often tie. Here the lower index comes first; ESP-DL sorts without keeping the order of ties.
    """
    shares = softmax(logits)
    order = np.argsort(-shares, kind="stable")[:top]
    return tuple(Label(index=int(i), name=names[int(i)], score=float(shares[i])) for i in order)
