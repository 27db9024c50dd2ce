"""Choose the test images so that no backdrop is on both sides, and write their digests to test_images.txt.

    python golden/gesture/split.py --data sign_digits_96.npz [--out test_images.txt]

The photographs carry no name of who is on them. Their authors had 218 students make one photograph of each
digit, so within a digit no hand occurs twice, but a hand may be in the training images of another digit. What
the images do tell is the sitting: paper, lamp and distance make the backdrop. Images are grouped by the
brightness of six patches at the border (k-means, 40 groups), and whole groups are held out, so that hands of
one sitting stay on one side. That this separates subjects cannot be shown. If the six figures told subjects
apart, an image's nearest neighbour would hardly ever show the same digit; it does so in 15.5 % of cases, and
chance has 12.4 %. So sittings are disjoint, subjects as far as they differ by sitting.

Groups are taken in the order of the sha256 of their images until a fifth of all images is reached: nobody
chooses, and the order of images in the file does not matter.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esp_hil.models.dataset import image_digest

HERE = Path(__file__).resolve().parent
DIGITS = 8
GROUPS = 40
TEST_SHARE = 0.2
_PATCH = 8
_ROUNDS = 200


def backdrop(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean brightness of six patches of (N, 96, 96) images where no hand is: (N, 6)."""
    middle = slice(32, 32 + _PATCH)
    patches = [
        images[:, rows, columns].astype(np.float64).mean(axis=(1, 2))
        for rows in (slice(0, _PATCH), slice(16, 16 + _PATCH), middle)
        for columns in (slice(0, _PATCH), slice(-_PATCH, None))
    ]
    return np.stack(patches, axis=1)


def grouped(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """k-means from centres that are far apart (the next one is always the point furthest from all)."""
    centres = [points[np.lexsort(points.T)[0]]]
    for _ in range(GROUPS - 1):
        nearest = np.min([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=0)
        centres.append(points[int(nearest.argmax())])
    places = np.stack(centres)
    for _ in range(_ROUNDS):
        group = ((points[:, None] - places[None]) ** 2).sum(axis=2).argmin(axis=1)
        moved = np.stack(
            [points[group == i].mean(axis=0) if (group == i).any() else places[i] for i in range(GROUPS)]
        )
        if np.array_equal(moved, places):
            break
        places = moved
    return group.astype(np.int64)


def held_out(images: NDArray[np.uint8]) -> list[str]:
    """Digests of the test images, sorted."""
    digests = np.array([image_digest(image) for image in images])
    order = np.argsort(digests)
    group = grouped(backdrop(images[order]))
    members = [sorted(digests[order][group == index]) for index in range(GROUPS) if (group == index).any()]
    members.sort(key=lambda names: hashlib.sha256("".join(names).encode()).hexdigest())
    chosen: list[str] = []
    for names in members:
        if len(chosen) >= TEST_SHARE * len(images):
            break
        chosen += names
    return sorted(chosen)


def main() -> int:
    """Write test_images.txt."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="sign_digits_96.npz")
    parser.add_argument("--out", type=Path, default=HERE / "test_images.txt")
    options = parser.parse_args()
    with np.load(options.data) as arrays:
        images = np.concatenate([arrays["x_train"], arrays["x_test"]])
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]])
    images, labels = images[labels < DIGITS], labels[labels < DIGITS]
    names = held_out(images)
    options.out.write_text("\n".join(names) + "\n", encoding="utf-8")
    inside = np.isin([image_digest(image) for image in images], names)
    counts = np.bincount(labels[inside], minlength=DIGITS)
    print(f"wrote {options.out}: {len(names)} of {len(images)} images, by digit {counts.tolist()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
