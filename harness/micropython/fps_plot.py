"""The plot of frame rates: parts of the time over the frame's pixels, published frame rates as dots; one SVG file."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from harness.micropython.fps import FrameRate

_WIDTH, _HEIGHT, _MARGIN, _GAP = 720, 300, 56, 44
_PARTS = (
    ("decode_ms", "decode", "#8da0cb"),
    ("resize_ms", "resize", "#66c2a5"),
    ("network_ms", "network", "#d95f02"),
    ("post_ms", "post-processing", "#a6761d"),
)
_DOT = "#444444"


def svg(rows: Sequence[FrameRate], *, format_name: str) -> str:
    """One panel for each class: ms of each part over megapixels, 1000 / published fps as dots.

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
    height = len(panels) * (_HEIGHT + _GAP) + _GAP
    simulated = "times of the machine that ran the virtual board" if any(r.simulated for r in chosen) else ""
    legend = " · ".join(name for _, name, _ in _PARTS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12">'
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>'
        f'<text x="{_MARGIN}" y="20">{html.escape(format_name)}: {legend}; '
        f"dots: 1000 / published fps. {simulated}</text>{''.join(panels)}</svg>\n"
    )


def _panel(rows: Sequence[FrameRate], name: str, number: int) -> str:
    ordered = sorted(rows, key=lambda row: row.pixels)
    top = _GAP + number * (_HEIGHT + _GAP)
    bottom, right = top + _HEIGHT - 24, _WIDTH - _MARGIN / 2
    most = max([row.decode_ms + row.run_ms for row in ordered] + [_published_ms(row) for row in ordered])
    least, largest = math.log(ordered[0].pixels), math.log(ordered[-1].pixels)

    def x(row: FrameRate) -> float:
        return _MARGIN + (math.log(row.pixels) - least) / ((largest - least) or 1) * (right - _MARGIN)

    def y(ms: float) -> float:
        return bottom - ms / (most or 1) * (bottom - top - 16)

    shapes = [f'<text x="{_MARGIN}" y="{top + 8}" font-weight="bold">{html.escape(name)}</text>']
    below = [0.0] * len(ordered)
    for attribute, part, colour in _PARTS:
        above = [low + getattr(row, attribute) for low, row in zip(below, ordered, strict=True)]
        points = [f"{x(row):.1f},{y(ms):.1f}" for row, ms in zip(ordered, above, strict=True)]
        points += [
            f"{x(row):.1f},{y(ms):.1f}" for row, ms in reversed(list(zip(ordered, below, strict=True)))
        ]
        shapes.append(f'<polygon points="{" ".join(points)}" fill="{colour}"><title>{part}</title></polygon>')
        below = above
    for row in ordered:
        words = f"{row.frame}: {row.fps:.1f} fps" + (
            f", published {row.published_fps:g}" if row.published_fps else ""
        )
        if row.published_fps:
            shapes.append(
                f'<circle cx="{x(row):.1f}" cy="{y(_published_ms(row)):.1f}" r="4" fill="{_DOT}">'
                f"<title>{html.escape(words)}</title></circle>"
            )
        shapes.append(
            f'<text x="{x(row):.1f}" y="{bottom + 14}" font-size="9" text-anchor="end" '
            f'transform="rotate(-24 {x(row):.1f} {bottom + 14})">{html.escape(row.frame)}</text>'
        )
    for share in (0.0, 0.5, 1.0):
        shapes.append(
            f'<text x="{_MARGIN - 6}" y="{y(most * share) + 4:.1f}" text-anchor="end">{most * share:.0f} ms</text>'
        )
    return "".join(shapes)


def _published_ms(row: FrameRate) -> float:
    return 1e3 / row.published_fps if row.published_fps else 0.0
