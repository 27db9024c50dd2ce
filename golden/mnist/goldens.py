"""Make inputs.npz: real handwritten digits in MNIST's framing, from scikit-learn's `load_digits`.

    python golden/mnist/goldens.py [--out inputs.npz] [--per-label 12] [--seed 0]

`load_digits` is part of scikit-learn's package (1,797 digits by 13 people, 8x8 pixels of 0..16, Alpaydin and
Kaynak, UCI, CC BY 4.0), so anyone can make the goldens again without a download. MNIST's framing, as its
authors describe it: the digit fitted into a box of 20x20 pixels with its aspect ratio kept, then placed so
that its centre of mass is the centre of 28x28; white on black, uint8.
8x8 pixels enlarged are softer than MNIST, so contrast is doubled about mid-gray: then 35 % of the inked
pixels are saturated, MNIST's training images have 38 %.

The same number of digits of each label is drawn with a seeded generator; labels alternate 0..9, so that the
first n inputs are balanced. No digit is chosen or left out because of what a model says about it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
BOX, SIDE = 20, 28
CONTRAST = 2.0


def framed(digit: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Bring one 8x8 digit of 0..16 to a 28x28 image of 0..255."""
    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    ink = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / 16.0
    scale = BOX / max(ink.shape)
    height, width = (max(1, round(size * scale)) for size in ink.shape)
    grown = _spline(ink.shape[0], height) @ ink @ _spline(ink.shape[1], width).T
    image = np.zeros((SIDE, SIDE))
    total = grown.sum()
    centre_y = (grown.sum(axis=1) @ (np.arange(height) + 0.5)) / total
    centre_x = (grown.sum(axis=0) @ (np.arange(width) + 0.5)) / total
    top = min(max(round(SIDE / 2 - centre_y), 0), SIDE - height)
    left = min(max(round(SIDE / 2 - centre_x), 0), SIDE - width)
    image[top : top + height, left : left + width] = grown
    sharp = (image / image.max() - 0.5) * CONTRAST + 0.5
    return np.clip(np.rint(sharp * 255), 0, 255).astype(np.uint8)


def _spline(old: int, new: int) -> NDArray[np.float64]:
    """Matrix (new, old) that resamples by Catmull-Rom splines, pixel centres aligned, black outside."""
    at = (np.arange(new) + 0.5) * old / new - 0.5
    distance = np.abs(at[:, None] - np.arange(old)[None, :])
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))


def choose(labels: NDArray[np.int64], per_label: int, seed: int) -> NDArray[np.int64]:
    """Indexes of `per_label` digits of each label, labels alternating."""
    generator = np.random.default_rng(seed)
    drawn = [
        generator.choice(np.flatnonzero(labels == label), per_label, replace=False) for label in range(10)
    ]
    return np.stack(drawn, axis=1).reshape(-1)


def main() -> int:
    """Write inputs.npz."""
    from sklearn.datasets import load_digits

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "inputs.npz")
    parser.add_argument("--per-label", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    digits = load_digits()
    chosen = choose(digits.target, options.per_label, options.seed)
    images = np.stack([framed(digit) for digit in digits.images[chosen]])
    np.savez_compressed(
        options.out,
        images=images,
        labels=digits.target[chosen].astype(np.uint8),
        ids=np.array([f"load_digits[{index}]" for index in chosen]),
    )
    print(f"wrote {options.out}: {len(images)} digits")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
