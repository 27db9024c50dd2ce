"""Make inputs.npz: our own drawings of ten kinds of clothes in Fashion-MNIST's framing.

    python golden/fashion/goldens.py [--out inputs.npz] [--per-label 6] [--seed 0]

Anyone can make them again without a download. Each garment is a few polygons in a square of 28x28, light on
black, drawn with 8x8 samples a pixel; corners, size, place and brightness vary by a seeded generator, some
fabric noise is added. Labels alternate, so that the first n inputs are balanced. No drawing is chosen or left
out because of what a model says about it. They are drawings: the share that the model gets right says little
about photographs (model.toml has the accuracy on those).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
SIDE, SAMPLES = 28, 8
NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

Point = tuple[float, float]
Piece = tuple[float, list[Point]]
"""Brightness from 0 to 1, and the corners (x, y) in pixels, y downwards. Later pieces cover earlier ones."""


def mirrored(points: list[Point]) -> list[Point]:
    """The same corners on the other side of the middle."""
    return [(SIDE - x, y) for x, y in points]


def both(brightness: float, points: list[Point]) -> list[Piece]:
    """A piece and its mirror image."""
    return [(brightness, points), (brightness, mirrored(points))]


def top(sleeve: list[Point], hem: float) -> list[Piece]:
    """A body from shoulder to hem with two sleeves."""
    body = [(10.5, 3.5), (17.5, 3.5), (20, 6), (19.5, hem), (8.5, hem), (8, 6)]
    return [*both(0.8, sleeve), (0.85, body)]


def t_shirt() -> list[Piece]:
    """Short sleeves, round neck."""
    return [*top([(8.5, 5), (2.5, 10), (5, 13), (9, 10)], 24.5), (0.0, [(11.5, 3), (16.5, 3), (14, 5.5)])]


def pullover() -> list[Piece]:
    """Long sleeves, closed."""
    return top([(8.5, 4.5), (4.5, 9), (2.5, 24), (6, 24.5), (9, 11)], 25)


def coat() -> list[Piece]:
    """Long sleeves, open front, lapels."""
    sleeve = [(8.5, 4), (4.5, 8), (2.5, 25), (6.5, 25.5), (9, 11)]
    front = [(13.6, 4), (14.4, 4), (14.4, 26.5), (13.6, 26.5)]
    return [*top(sleeve, 26.5), (0.25, front), *both(0.5, [(10.5, 3), (13.5, 3.5), (13.5, 9)])]


def shirt() -> list[Piece]:
    """Sleeves, collar and buttons."""
    sleeve = [(8.5, 4.5), (5, 9), (4, 20), (7, 20.5), (9, 11)]
    buttons = [(0.3, [(13.6, y), (14.4, y), (14.4, y + 0.8), (13.6, y + 0.8)]) for y in (8, 12, 16, 20)]
    return [*top(sleeve, 25), *both(0.55, [(10.5, 2.8), (14, 4.2), (12, 6.5)]), *buttons]


def trouser() -> list[Piece]:
    """Two legs and a waistband."""
    leg = [(9, 2), (14, 2), (14, 6), (13, 26), (9.3, 26)]
    return [*both(0.8, leg), (0.6, [(9, 1.5), (19, 1.5), (19, 3), (9, 3)])]


def dress() -> list[Piece]:
    """Straps, narrow above, wide below."""
    return [
        (
            0.85,
            [(11, 2), (12.3, 2), (13, 5), (15, 5), (15.7, 2), (17, 2), (17, 10), (20, 26), (8, 26), (11, 10)],
        )
    ]


def sandal() -> list[Piece]:
    """A sole and straps, toes to the left."""
    sole = [(2, 19.5), (12, 19), (20, 15.5), (26, 12), (26, 16), (21, 19.5), (12, 21.5), (2, 21.5)]
    straps = [
        [(5, 19.5), (8, 14.5), (9.5, 14.8), (8, 19.5)],
        [(11, 19), (14, 12.5), (15.5, 13), (14, 18.5)],
        [(20, 16), (21, 9), (22.5, 9), (22, 15)],
        [(21, 9.5), (26, 8.5), (26, 10), (21, 10.7)],
    ]
    return [(0.7, sole), *((0.85, strap) for strap in straps)]


def sneaker() -> list[Piece]:
    """A low shoe on a light sole."""
    upper = [(2, 18), (8, 16), (13, 11.5), (17, 11), (20, 12.5), (25, 11), (26, 17), (26, 19), (2, 20)]
    return [(0.75, upper), (0.95, [(1.5, 19), (26.5, 18.5), (26.5, 21), (2, 21)])]


def bag() -> list[Piece]:
    """A box with a handle."""
    handle = [(8, 12), (9.5, 5), (18.5, 5), (20, 12), (18, 12), (17, 7), (11, 7), (10, 12)]
    return [
        (0.6, handle),
        (0.8, [(3, 11), (25, 11), (26, 24), (2, 24)]),
        (0.5, [(3, 14), (25, 14), (25, 15), (3, 15)]),
    ]


def ankle_boot() -> list[Piece]:
    """A shoe with a shaft and a heel."""
    shaft = [(14, 3), (24, 3), (25, 20), (25, 23), (2.5, 23), (2.5, 19), (8, 16), (13.5, 13)]
    return [(0.8, shaft), (0.5, [(2.5, 22), (25, 22), (25, 25), (19, 25), (18, 23.5), (2.5, 24)])]


DRAWINGS: dict[str, Callable[[], list[Piece]]] = dict(
    zip(
        NAMES, (t_shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle_boot), strict=True
    )
)


def inside(points: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether points lie in a polygon, by counting the edges to their right (even-odd rule)."""
    odd = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if ay != by:
            crosses = (ay > y) != (by > y)
            odd ^= crosses & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return odd


def draw(pieces: list[Piece], generator: np.random.Generator) -> NDArray[np.uint8]:
    """One 28x28 drawing, uint8, its corners moved by up to 0.5, the whole by 1 pixel and 8 percent."""
    axis = (np.arange(SIDE * SAMPLES) + 0.5) / SAMPLES
    x, y = np.meshgrid(axis, axis)
    scale, shift = 1 + generator.uniform(-0.08, 0.08, 2), generator.uniform(-1, 1, 2)
    brightness = generator.uniform(0.7, 1.1)
    fine = np.zeros(x.shape)
    for level, corners in pieces:
        moved = np.array(corners) + generator.uniform(-0.5, 0.5, (len(corners), 2))
        moved = (moved - SIDE / 2) * scale + SIDE / 2 + shift
        fine = np.where(inside(moved, x, y), level * brightness, fine)
    image = fine.reshape(SIDE, SAMPLES, SIDE, SAMPLES).mean(axis=(1, 3))
    fabric = 1 + generator.uniform(-0.12, 0.12, image.shape)
    return np.clip(np.rint(image * fabric * 255), 0, 255).astype(np.uint8)


def main() -> int:
    """Write inputs.npz."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "inputs.npz")
    parser.add_argument("--per-label", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    labels = [label for _ in range(options.per_label) for label in range(len(NAMES))]
    images = np.stack([draw(DRAWINGS[NAMES[label]](), generator) for label in labels])
    ids = [f"{NAMES[label]} {number // len(NAMES)}" for number, label in enumerate(labels)]
    np.savez_compressed(options.out, images=images, labels=np.array(labels, np.uint8), ids=np.array(ids))
    print(f"wrote {options.out}: {len(images)} drawings")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
