"""Make inputs.npz: 64x64 gray crops of photographs that scikit-image carries, half of them of a cat.

    python golden/cat_or_not/goldens.py [--out inputs.npz] [--each 16] [--seed 0]

`skimage.data.chelsea()` is a photograph of a cat (Stefan van der Walt, CC0). Astronaut (NASA), coffee (Rachel
Michetti, CC0), rocket (SpaceX), camera (CC0) and coins show none. A crop is a square of a random place and
size, the cat's always around its face; it is averaged down to 32x32 and enlarged to 64x64, because that is
how the training images came about (`harness.dataset.doubled`). Some are mirrored. Labels alternate. No crop
is chosen or left out because of what a model says about it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.dataset import doubled

HERE = Path(__file__).resolve().parent
SIDE = 32
OTHERS = ("astronaut", "coffee", "rocket", "camera", "coins")
CAT_FACE = (110, 225)
"""Row and column of the middle of chelsea's face."""


def gray(name: str) -> NDArray[np.float64]:
    """A photograph of scikit-image as brightness from 0 to 255 (ITU-R BT.601 weights)."""
    from skimage import data

    picture = np.asarray(getattr(data, name)(), np.float64)
    return picture if picture.ndim == 2 else picture[..., :3] @ np.array([0.299, 0.587, 0.114])


def shrunk(square: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A square averaged down to 32x32; its side is a multiple of 32."""
    factor = len(square) // SIDE
    mean = square.reshape(SIDE, factor, SIDE, factor).mean(axis=(1, 3))
    return np.clip(np.rint(mean), 0, 255).astype(np.uint8)


def cat(picture: NDArray[np.float64], generator: np.random.Generator) -> tuple[NDArray[np.uint8], str]:
    """A crop of 192 to 256 pixels with the face near its middle."""
    side = SIDE * int(generator.integers(6, 9))
    top, left = (int(at - side // 2 + generator.integers(-20, 21)) for at in CAT_FACE)
    top, left = (
        min(max(at, 0), extent - side) for at, extent in zip((top, left), picture.shape, strict=True)
    )
    return shrunk(picture[top : top + side, left : left + side]), f"chelsea {side} at {top},{left}"


def other(
    name: str, picture: NDArray[np.float64], generator: np.random.Generator
) -> tuple[NDArray[np.uint8], str]:
    """A crop of 96 to 256 pixels anywhere."""
    side = SIDE * int(generator.integers(3, 9))
    top, left = (int(generator.integers(0, extent - side + 1)) for extent in picture.shape)
    return shrunk(picture[top : top + side, left : left + side]), f"{name} {side} at {top},{left}"


def main() -> int:
    """Write inputs.npz."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "inputs.npz")
    parser.add_argument("--each", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    chelsea, others = gray("chelsea"), {name: gray(name) for name in OTHERS}
    images, labels, ids = [], [], []
    for number in range(options.each):
        name = OTHERS[number % len(OTHERS)]
        for label, (image, title) in enumerate(
            (other(name, others[name], generator), cat(chelsea, generator))
        ):
            mirror = bool(generator.integers(0, 2))
            images.append(image[:, ::-1] if mirror else image)
            labels.append(label)
            ids.append(title + (" mirrored" if mirror else ""))
    np.savez_compressed(
        options.out, images=doubled(np.stack(images)), labels=np.array(labels, np.uint8), ids=np.array(ids)
    )
    print(f"wrote {options.out}: {len(images)} crops")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
