"""Make inputs.npz: 64x64 gray versions of photographs that scikit-image carries, half of them of a cat.

    python golden/cat_or_not/goldens.py [--out inputs.npz] [--each 16] [--seed 0]

`skimage.data.chelsea()` is a photograph of a cat (Stefan van der Walt, CC0); the pictures of OTHERS show none
(their licences are in scikit-image's documentation: CC0, public domain or without known restrictions). Each
golden is a picture cut to a random part of 80 to 100 percent of its height and width, squeezed to 32x32 (the
training images show whole objects, and their aspect is not kept either) and enlarged to 64x64 as they are
(`esp_hil.models.dataset.doubled`); half are mirrored. Labels alternate. No picture or part of one is chosen or left
out because of what a model says about it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esp_hil.models.dataset import doubled

HERE = Path(__file__).resolve().parent
SIDE = 32
OTHERS = (
    "astronaut", "brick", "camera", "clock", "coffee", "coins", "grass", "gravel", "moon", "page", "rocket",
)  # fmt: skip
LEAST_SHARE = 0.8


def gray(name: str) -> NDArray[np.float64]:
    """A photograph of scikit-image as brightness from 0 to 255 (ITU-R BT.601 weights)."""
    from skimage import data

    picture = np.asarray(getattr(data, name)(), np.float64)
    return picture if picture.ndim == 2 else picture[..., :3] @ np.array([0.299, 0.587, 0.114])


def squeezed(picture: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A picture of any size averaged to 32x32: each new pixel is the mean of its rectangle of old ones."""
    sums = picture
    for axis in (0, 1):
        edges = np.arange(SIDE + 1) * picture.shape[axis] // SIDE
        sums = np.add.reduceat(sums, edges[:-1], axis=axis)
        counts = np.diff(edges).astype(np.float64)
        sums = sums / (counts[:, None] if axis == 0 else counts)
    return np.clip(np.rint(sums), 0, 255).astype(np.uint8)


def part(picture: NDArray[np.float64], generator: np.random.Generator) -> tuple[NDArray[np.uint8], str]:
    """A random part of a picture, squeezed and perhaps mirrored, and what it is."""
    slices = []
    for extent in picture.shape:
        length = int(extent * generator.uniform(LEAST_SHARE, 1))
        start = int(generator.integers(0, extent - length + 1))
        slices.append(slice(start, start + length))
    image = squeezed(picture[tuple(slices)])
    where = ", ".join(f"{piece.start}:{piece.stop}" for piece in slices)
    return (image[:, ::-1], f"[{where}] mirrored") if generator.integers(0, 2) else (image, f"[{where}]")


def main() -> int:
    """Write inputs.npz."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "inputs.npz")
    parser.add_argument("--each", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    pictures = {name: gray(name) for name in ("chelsea", *OTHERS)}
    images, labels, ids = [], [], []
    for number in range(options.each):
        for label, name in enumerate((OTHERS[number % len(OTHERS)], "chelsea")):
            image, where = part(pictures[name], generator)
            images.append(image)
            labels.append(label)
            ids.append(name + where)
    np.savez_compressed(
        options.out, images=doubled(np.stack(images)), labels=np.array(labels, np.uint8), ids=np.array(ids)
    )
    print(f"wrote {options.out}: {len(images)} images")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
