"""Golden pictures that everybody has: photographs from installable packages, and what is made of them.

No picture is committed. scikit-image, matplotlib and mahotas bring photographs inside their wheels (the extra
`tasks`); everything else is computed from these. Three people can be told apart:

- `astronaut`: Eileen Collins, NASA (scikit-image);
- `admiral`: Grace Hopper, US Navy (matplotlib);
- `author`: Luis Pedro Coelho, who wrote mahotas (mahotas).

That is one photograph of each. Pictures of "the same person" are therefore that photograph mirrored, turned,
scaled or darkened, not another one: they prove the pipeline, not the network's accuracy.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import ConfigError, GoldenError
from esp_hil.tasks.image import Image

Pixels = NDArray[np.uint8]

_FILES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "astronaut": ("skimage", "data/astronaut.png"),
        "cat": ("skimage", "data/chelsea.png"),
        "coffee": ("skimage", "data/coffee.png"),
        "rocket": ("skimage", "data/rocket.jpg"),
        "motorcycle": ("skimage", "data/motorcycle_left.png"),
        "admiral": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
        "author": ("mahotas", "demos/data/luispedro.jpg"),
        "cameraman": ("skimage", "data/camera.png"),
    }
)
_DISTRIBUTIONS = {"skimage": "scikit-image"}


def names() -> tuple[str, ...]:
    """All pictures, photographs first."""
    return (*_FILES, *_MADE)


def picture(name: str) -> Image:
    """A picture by name; RGB888 except `cameraman`, which is gray.

    Raises:
        ConfigError: no such picture.
        GoldenError: the package that brings it is not installed or does not bring it.
    """
    if name in _FILES:
        return Image.of_file(_path(name))
    if name not in _MADE:
        raise ConfigError(f"no picture {name!r}", hint=f"one of: {', '.join(names())}")
    return Image.of_rgb(_MADE[name]())


def are_there(wanted: Iterable[str]) -> bool:
    """Whether the packages are installed that bring these pictures."""
    try:
        for name in wanted:
            for photograph in _FILES:
                if name.partition("_")[0] == photograph or name in {"two_faces", "many_faces"}:
                    _path(photograph)
    except GoldenError:
        return False
    return True


def scaled(rgb: Pixels, width: int, height: int) -> Pixels:
    """Another size, every pixel the mean of those that it covers (Pillow's box filter)."""
    from PIL import Image as Pillow

    return np.asarray(Pillow.fromarray(rgb).resize((width, height), Pillow.Resampling.BOX))


def turned(rgb: Pixels, degrees: float) -> Pixels:
    """Turned counter-clockwise about the middle, the corners filled with gray."""
    from PIL import Image as Pillow

    image = Pillow.fromarray(rgb)
    return np.asarray(image.rotate(degrees, Pillow.Resampling.BILINEAR, fillcolor=(128, 128, 128)))


def _path(name: str) -> Path:
    package, file = _FILES[name]
    found = importlib.util.find_spec(package)
    where = Path(found.origin).parent / file if found is not None and found.origin else None
    if where is None or not where.is_file():
        distribution = _DISTRIBUTIONS.get(package, package)
        raise GoldenError(
            f"picture {name!r} is part of {distribution}, which is not installed or does not bring it",
            hint='pip install "esp-hil[tasks]"',
        )
    return where


@cache
def _photograph(name: str) -> Pixels:
    rgb = Image.of_file(_path(name)).rgb()
    rgb.flags.writeable = False
    return rgb


def _portrait(name: str, side: int) -> Pixels:
    """The head of one of the three people as a square of `side` pixels."""
    x, y, size = {"astronaut": (130, 10, 200), "admiral": (90, 40, 380), "author": (0, 20, 300)}[name]
    return scaled(_photograph(name)[y : y + size, x : x + size], side, side)


def _beside(columns: int, *tiles: Pixels) -> Pixels:
    """Tiles of one size, row by row, the last row filled with gray."""
    gray = np.full_like(tiles[0], 128)
    filled = [*tiles, *[gray] * (-len(tiles) % columns)]
    rows = [np.hstack(filled[start : start + columns]) for start in range(0, len(filled), columns)]
    return np.vstack(rows)


def _two_faces() -> Pixels:
    """The admiral large on the left, the astronaut smaller on the right."""
    canvas = np.full((240, 400, 3), 128, np.uint8)
    canvas[0:240, 0:240] = _portrait("admiral", 240)
    canvas[50:210, 240:400] = _portrait("astronaut", 160)
    return canvas


def _many_faces() -> Pixels:
    """Four heads in two rows, the lower ones mirrored."""
    upper = [_portrait(name, 200) for name in ("astronaut", "admiral")]
    return _beside(2, *upper, *[tile[:, ::-1] for tile in upper])


def _dark(name: str, share: float) -> Pixels:
    return (_photograph(name).astype(np.float32) * np.float32(share)).astype(np.uint8)


def _smaller(name: str, share: float) -> Pixels:
    height, width, _ = _photograph(name).shape
    return scaled(_photograph(name), round(width * share), round(height * share))


def _black() -> Pixels:
    return np.zeros((240, 320, 3), np.uint8)


def _noise() -> Pixels:
    return np.random.default_rng(9).integers(0, 256, (240, 320, 3), np.uint8)


_MADE: Mapping[str, Callable[[], Pixels]] = MappingProxyType(
    {
        **{
            f"{name}_{change}": make
            for name in ("astronaut", "admiral", "author")
            for change, make in (
                ("mirrored", lambda name=name: _photograph(name)[:, ::-1]),
                ("turned", lambda name=name: turned(_photograph(name), 10)),
                ("scaled", lambda name=name: _smaller(name, 0.6)),
                ("dark", lambda name=name: _dark(name, 0.4)),
            )
        },
        "cat_mirrored": lambda: _photograph("cat")[:, ::-1],
        "cat_dark": lambda: _dark("cat", 0.4),
        "two_faces": _two_faces,
        "two_faces_mirrored": lambda: _two_faces()[:, ::-1],
        "many_faces": _many_faces,
        "black": _black,
        "noise": _noise,
    }
)
