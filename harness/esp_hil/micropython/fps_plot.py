"""The plot of frame rates: parts of the time over the frame's pixels, published frame rates as dots; one SVG file."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from esp_hil.micropython.fps import FrameRate

_WIDTH, _HEIGHT, _MARGIN, _GAP, _TOP = 760, 240, 72, 30, 60
_SHARES = (0.0, 0.5, 1.0)
_PARTS = (
    ("decode_ms", "decode", "#8da0cb"),
    ("resize_ms", "resize", "#66c2a5"),
    ("network_ms", "network", "#d95f02"),
    ("post_ms", "post-processing", "#a6761d"),
)
_DOT = "#444444"


def svg(rows: Sequence[FrameRate], *, format_name: str) -> str:
    """One panel for each class: ms of each part over the frame's pixels, 1000 / published fps as dots.

    A virtual board's times are not a chip's: the dots then have an axis of their own, on the right.

    Args:
        rows: measured ones.
        format_name: the pictures' format that is drawn.
    """
    chosen = [row for row in rows if row.format == format_name]
    classes = list(dict.fromkeys(row.class_name for row in chosen))
    panels = [
        _panel([row for row in chosen if row.class_name == name], name, number)
        for number, name in enumerate(classes)
    ]
    height = _TOP + len(panels) * (_HEIGHT + _GAP)
    whose = (
        "this machine's, of a virtual board (left axis)"
        if any(r.simulated for r in chosen)
        else "the board's"
    )
    legend = "".join(
        f'<rect x="{_MARGIN + 120 * at}" y="12" width="12" height="12" fill="{colour}"/>'
        f'<text x="{_MARGIN + 120 * at + 18}" y="22">{name}</text>'
        for at, (_, name, colour) in enumerate(_PARTS)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12">'
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>{legend}'
        f'<text x="{_MARGIN}" y="42">{html.escape(format_name)}: times are {whose}; '
        f"dots: 1000 / published fps of the chip</text>{''.join(panels)}</svg>\n"
    )


def _panel(rows: Sequence[FrameRate], name: str, number: int) -> str:
    ordered = sorted(rows, key=lambda row: row.pixels)
    top = _TOP + number * (_HEIGHT + _GAP)
    bottom, right = top + _HEIGHT - 24, _WIDTH - _MARGIN
    measured_ms = max(row.decode_ms + row.run_ms for row in ordered) or 1.0
    published_ms = max(map(_published_ms, ordered)) or measured_ms
    if not ordered[0].simulated:
        measured_ms = published_ms = max(measured_ms, published_ms)
    least, largest = math.log(ordered[0].pixels), math.log(ordered[-1].pixels)

    def x(row: FrameRate) -> float:
        return _MARGIN + (math.log(row.pixels) - least) / ((largest - least) or 1) * (right - _MARGIN)

    def y(ms: float, most_ms: float) -> float:
        return bottom - ms / most_ms * (bottom - top - 16)

    shapes = [f'<text x="{_MARGIN}" y="{top + 8}" font-weight="bold">{html.escape(name)}</text>']
    below = [0.0] * len(ordered)
    for attribute, part, colour in _PARTS:
        above = [low + getattr(row, attribute) for low, row in zip(below, ordered, strict=True)]
        points = [f"{x(row):.1f},{y(ms, measured_ms):.1f}" for row, ms in zip(ordered, above, strict=True)]
        back = reversed(list(zip(ordered, below, strict=True)))
        points += [f"{x(row):.1f},{y(ms, measured_ms):.1f}" for row, ms in back]
        shapes.append(f'<polygon points="{" ".join(points)}" fill="{colour}"><title>{part}</title></polygon>')
        below = above
    for row in ordered:
        if row.published_fps:
            words = html.escape(f"{row.frame}: {row.fps:.1f} fps, published {row.published_fps:g}")
            shapes.append(
                f'<circle cx="{x(row):.1f}" cy="{y(_published_ms(row), published_ms):.1f}" r="4" '
                f'fill="{_DOT}"><title>{words}</title></circle>'
            )
        shapes.append(
            f'<text x="{x(row):.1f}" y="{bottom + 14}" font-size="9" text-anchor="end" '
            f'transform="rotate(-24 {x(row):.1f} {bottom + 14})">{html.escape(row.frame)}</text>'
        )
    shapes += _scale(_MARGIN - 8, "end", measured_ms, [y(share, 1.0) for share in _SHARES])
    if ordered[0].simulated and any(row.published_fps for row in ordered):
        shapes += _scale(right + 8, "start", published_ms, [y(share, 1.0) for share in _SHARES])
    return "".join(shapes)


def _scale(x: float, anchor: str, most_ms: float, heights: Sequence[float]) -> list[str]:
    return [
        f'<text x="{x}" y="{height + 4:.1f}" text-anchor="{anchor}">{most_ms * share:.3g} ms</text>'
        for share, height in zip(_SHARES, heights, strict=True)
    ]


def _published_ms(row: FrameRate) -> float:
    return 1e3 / row.published_fps if row.published_fps else 0.0
