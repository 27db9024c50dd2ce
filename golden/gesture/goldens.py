"""Make inputs.npz: hands that this script draws, eight signs, 96x96 pixels, uint8.

    python golden/gesture/goldens.py [--out inputs.npz] [--per-label 12] [--seed 0]

A hand is a palm, a wrist and five fingers, all of them capsules (a line with a radius) in a unit square,
drawn with shading and creases on a bright backdrop that darkens towards the corners, like the photographs
that the network was trained on. Which fingers are raised is the sign; how a hand is turned, how large, how
bright it is and how its fingers spread is drawn by a seeded generator. So a clean clone has inputs for which
the right sign is known. How well the network reads drawings is another matter than how well it reads
photographs, and says nothing about it. No drawing is chosen or left out because of what a model says.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
SIDE = 96
FINGERS = ("thumb", "index", "middle", "ring", "little")
RAISED: dict[int, tuple[str, ...]] = {
    1: ("index",),
    2: ("index", "middle"),
    3: ("thumb", "index", "middle"),
    4: ("index", "middle", "ring", "little"),
    5: FINGERS,
    6: ("index", "middle", "ring"),
    7: ("index", "middle", "little"),
}
"""Fingers that are raised, by digit; 0 is a ring of all fingers, seen from the side."""

Canvas = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """A capsule: from (x, y) to (x, y) in the unit square, y downwards, thick at both ends as given."""

    start: tuple[float, float]
    end: tuple[float, float]
    radius: float
    end_radius: float


def hand(digit: int, random: np.random.Generator) -> tuple[list[Stroke], list[Stroke]]:
    """The strokes of a hand that shows a digit, and those that lie on top of it (folded fingers)."""
    if digit == 0:
        return _ring(random), []
    strokes = [
        Stroke(start=(0.5, 0.98), end=(0.5, 0.72), radius=0.085, end_radius=0.1),
        Stroke(start=(0.46, 0.66), end=(0.54, 0.66), radius=0.125, end_radius=0.125),
    ]
    folded = []
    spread = random.uniform(0.8, 1.25)
    bases = {"index": -0.115, "middle": -0.04, "ring": 0.04, "little": 0.11}
    lengths = {"index": 0.29, "middle": 0.32, "ring": 0.29, "little": 0.24}
    for finger, base in bases.items():
        x, y = 0.5 + base, 0.585 + 0.35 * base**2
        if finger in RAISED[digit]:
            angle = base * 2.6 * spread + random.uniform(-0.04, 0.04)
            length = lengths[finger] * random.uniform(0.93, 1.07)
            tip = (x + length * np.sin(angle), y - length * np.cos(angle))
            strokes.append(Stroke(start=(x, y + 0.04), end=tip, radius=0.04, end_radius=0.032))
        else:
            folded.append(
                Stroke(start=(x, y - 0.02), end=(x * 0.9 + 0.05, y + 0.08), radius=0.042, end_radius=0.036)
            )
    if "thumb" in RAISED[digit]:
        angle = -random.uniform(0.85, 1.15)
        tip = (0.39 + 0.24 * np.sin(angle), 0.68 - 0.24 * np.cos(angle))
        strokes.append(Stroke(start=(0.41, 0.72), end=tip, radius=0.052, end_radius=0.036))
    else:
        down = [finger for finger in bases if finger not in RAISED[digit]]
        towards = 0.5 + (bases[down[0]] if down else 0.06) * 0.7
        folded.append(Stroke(start=(0.4, 0.74), end=(towards, 0.64), radius=0.045, end_radius=0.036))
    return strokes, folded


def _ring(random: np.random.Generator) -> list[Stroke]:
    """All fingertips meet the thumb: a ring seen from the side, the wrist below."""
    strokes = [Stroke(start=(0.44, 0.98), end=(0.44, 0.74), radius=0.085, end_radius=0.095)]
    across, high = random.uniform(0.12, 0.15), random.uniform(0.16, 0.2)
    angles = np.linspace(0.55 * np.pi, 2.35 * np.pi, 10)
    points = [(0.52 + across * np.cos(a), 0.5 + high * np.sin(a)) for a in angles]
    radii = np.concatenate((np.linspace(0.1, 0.062, 6), np.linspace(0.055, 0.045, 4)))
    for i in range(len(points) - 1):
        strokes.append(Stroke(start=points[i], end=points[i + 1], radius=radii[i], end_radius=radii[i + 1]))
    return strokes


def coverage(stroke: Stroke, x: Canvas, y: Canvas) -> tuple[Canvas, Canvas]:
    """How much of each pixel a stroke covers (0..1), and how deep inside it lies (0 edge, 1 core)."""
    (ax, ay), (bx, by) = stroke.start, stroke.end
    dx, dy = bx - ax, by - ay
    along = np.clip(((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
    radius = stroke.radius + (stroke.end_radius - stroke.radius) * along
    distance = np.hypot(x - ax - along * dx, y - ay - along * dy)
    edge = 0.9 / SIDE
    return np.clip((radius - distance) / edge + 0.5, 0, 1), np.clip(1 - distance / radius, 0, 1)


def draw(digit: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """One hand: uint8 (96, 96)."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    x, y = (columns + 0.5) / SIDE, (rows + 0.5) / SIDE
    backdrop = random.uniform(0.78, 0.95) - random.uniform(0.35, 0.75) * ((x - 0.5) ** 2 + (y - 0.45) ** 2)
    turn, size = random.uniform(-0.2, 0.2), random.uniform(0.95, 1.2)
    shift_x, shift_y = random.uniform(-0.06, 0.06), random.uniform(-0.03, 0.06)
    # mirrored: the photographs show the palm with the thumb on the right
    u, v = -(x - 0.5 - shift_x) / size, (y - 0.62 - shift_y) / size
    x, y = np.cos(turn) * u + np.sin(turn) * v + 0.5, -np.sin(turn) * u + np.cos(turn) * v + 0.62
    strokes, folded = hand(digit, random)
    skin, rim = random.uniform(0.45, 0.62), random.uniform(0.16, 0.26)
    image = backdrop
    cover, depth = np.zeros_like(x), np.zeros_like(x)
    for stroke in strokes:
        part, inside = coverage(stroke, x, y)
        cover, depth = np.maximum(cover, part), np.maximum(depth, inside)
    image = image * (1 - cover) + cover * (skin - rim * (1 - depth) ** 2)
    for stroke in folded:
        part, inside = coverage(stroke, x, y)
        image = image * (1 - part) + part * (skin * 1.04 - 1.2 * rim * (1 - inside) ** 2)
    return (np.clip(np.rint(image * 85), 0, 85) * 3).astype(np.uint8)  # 86 grays: half the file


def main() -> int:
    """Write inputs.npz; labels alternate, so that the first n are balanced."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "inputs.npz")
    parser.add_argument("--per-label", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    labels = np.tile(np.arange(8, dtype=np.uint8), options.per_label)
    images = np.stack([draw(int(label), random) for label in labels])
    ids = np.array([f"drawing {i} of sign {label}" for i, label in enumerate(labels)])
    np.savez_compressed(options.out, images=images, labels=labels, ids=ids)
    print(f"wrote {options.out}: {len(images)} hands")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
