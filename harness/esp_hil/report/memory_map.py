"""A picture of what lies in each memory while a network runs: time to the right, addresses upwards; one SVG file."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from esp_hil.formats.espdl.memory import MemoryPlan
from esp_hil.formats.espdl.model import EspdlModel
from esp_hil.models.arena import Arena
from esp_hil.report.view import size as in_words

_WIDTH, _HEIGHT, _MARGIN, _TOP, _GAP = 900, 200, 90, 64, 46
_COLOURS = {
    "value": "#66c2a5",
    "scratch": "#fc8d62",
    "records": "#a6761d",
    "weights": "#8da0cb",
    "rest": "#dfe4ee",
}
_WORDS = {
    "value": "activations",
    "scratch": "scratch",
    "records": "records",
    "weights": "weights, being read",
    "rest": "weights",
}
_TITLES = {"internal": "internal RAM", "psram": "PSRAM", "flash": "flash"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBox:
    """Something that lies in a memory from the beginning of one node to the beginning of another.

    Attributes:
        name: of the value, or the layer.
        kind: value, scratch, records, weights (while they are read) or rest (while they are not).
        memory: internal, psram or flash.
        offset_bytes, size_bytes: where in its block.
        first: index of the node from which on it is there.
        end: index of the first node that is without it.
    """

    name: str
    kind: str
    memory: str
    offset_bytes: int
    size_bytes: int
    first: int
    end: int


def boxes_of_plan(
    model: EspdlModel, plan: MemoryPlan, weights: Sequence[int], *, copied: str
) -> list[MemoryBox]:
    """Of an `.espdl`: the planned values, and each node's weights where they are read from.

    Args:
        model: the file.
        plan: of its memory.
        weights: bytes of parameters that each node reads.
        copied: the memory of the copies; "flash" without any.
    """
    steps = len(model.graph.nodes)
    found = [
        MemoryBox(
            name=place.name,
            kind="value",
            memory=place.memory,
            offset_bytes=place.offset_bytes,
            size_bytes=place.size_bytes,
            first=place.first_step,
            end=steps if place.end_step is None else place.end_step,
        )
        for place in plan.placements
        if not place.shares
    ]
    used = max((box.offset_bytes + box.size_bytes for box in found if box.memory == copied), default=0)
    return found + _weights([node.name for node in model.graph.nodes], weights, memory=copied, start=used)


def boxes_of_arena(arena: Arena, weights: Sequence[int], *, memory: str) -> list[MemoryBox]:
    """Of a `.tflite`: for each operator what is alive, its scratch above that, TFLM's records at the end."""
    found = []
    for number, step in enumerate(arena.steps):
        for kind, offset, count in (
            ("value", 0, step.live_bytes),
            ("scratch", step.live_bytes, step.scratch_bytes),
        ):
            if count:
                found.append(
                    MemoryBox(
                        name=step.label,
                        kind=kind,
                        memory=memory,
                        offset_bytes=offset,
                        size_bytes=count,
                        first=number,
                        end=number + 1,
                    )
                )
    if arena.tail_bytes:
        found.append(
            MemoryBox(
                name="TFLM's records",
                kind="records",
                memory=memory,
                offset_bytes=arena.head_bytes,
                size_bytes=arena.tail_bytes,
                first=0,
                end=len(arena.steps),
            )
        )
    return found + _weights([step.label for step in arena.steps], weights, memory="flash", start=0)


def _weights(names: Sequence[str], sizes: Sequence[int], *, memory: str, start: int) -> list[MemoryBox]:
    found = []
    for number, (name, count) in enumerate(zip(names, sizes, strict=True)):
        if count:
            for kind, first, end in (("rest", 0, len(names)), ("weights", number, number + 1)):
                found.append(
                    MemoryBox(
                        name=name,
                        kind=kind,
                        memory=memory,
                        offset_bytes=start,
                        size_bytes=count,
                        first=first,
                        end=end,
                    )
                )
            start += count
    return found


def svg(
    title: str, boxes: Sequence[MemoryBox], node_ms: Sequence[float], limits: Mapping[str, tuple[int, str]]
) -> str:
    """The picture.

    Args:
        title: the network and the chip.
        boxes: what lies where.
        node_ms: what each node takes; equal numbers if that is not known.
        limits: by memory: bytes, and what they are, drawn as a line.
    """
    memories = [name for name in _TITLES if any(box.memory == name for box in boxes)]
    height = _TOP + len(memories) * (_HEIGHT + _GAP)
    kinds = [kind for kind in _COLOURS if any(box.kind == kind for box in boxes)]
    legend = "".join(
        f'<rect x="{_MARGIN + 160 * at}" y="34" width="12" height="12" fill="{_COLOURS[kind]}"/>'
        f'<text x="{_MARGIN + 160 * at + 18}" y="44">{_WORDS[kind]}</text>'
        for at, kind in enumerate(kinds)
    )
    panels = "".join(
        _panel(name, [box for box in boxes if box.memory == name], node_ms, limits.get(name), number)
        for number, name in enumerate(memories)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{_WIDTH}" height="{height}" fill="white"/>'
        f'<text x="{_MARGIN}" y="20" font-size="14">{html.escape(title)}</text>{legend}{panels}</svg>\n'
    )


def _panel(
    memory: str,
    boxes: Sequence[MemoryBox],
    node_ms: Sequence[float],
    limit: tuple[int, str] | None,
    number: int,
) -> str:
    top = _TOP + number * (_HEIGHT + _GAP)
    bottom, right = top + _HEIGHT, _WIDTH - 20
    ends = [0.0]
    for ms in node_ms:
        ends.append(ends[-1] + ms)
    whole = ends[-1] or 1.0
    used = max(box.offset_bytes + box.size_bytes for box in boxes)
    shown = max(used, limit[0]) if limit and limit[0] <= 1.5 * used else used
    across, up = (right - _MARGIN) / whole, _HEIGHT / shown
    shapes = [
        f'<rect x="{_MARGIN + across * ends[box.first]:.1f}" '
        f'y="{bottom - up * (box.offset_bytes + box.size_bytes):.1f}" '
        f'width="{max(0.3, across * (ends[box.end] - ends[box.first])):.1f}" '
        f'height="{max(0.3, up * box.size_bytes):.1f}" '
        f'fill="{_COLOURS[box.kind]}" stroke="white" stroke-width="0.3">'
        f"<title>{html.escape(box.name)}: {box.size_bytes:,} bytes</title></rect>"
        for box in boxes
    ]
    said = f"{_TITLES[memory]}: {in_words(used)}"
    if limit is not None:
        said += f"; {limit[1]} {in_words(limit[0])}"
        if limit[0] <= shown:
            y = bottom - up * limit[0]
            shapes.append(
                f'<line x1="{_MARGIN}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#b2182b" stroke-dasharray="4 3"/>'
            )
    return (
        f'<text x="{_MARGIN}" y="{top - 6}">{html.escape(said)}</text>'
        f'<rect x="{_MARGIN}" y="{top}" width="{right - _MARGIN}" height="{_HEIGHT}" fill="none" stroke="#bbb"/>'
        f"{''.join(shapes)}"
        f'<text x="{_MARGIN}" y="{bottom + 16}">0 ms</text>'
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{ends[-1]:.3g} ms</text>'
        f'<text x="{_MARGIN - 6}" y="{top + 12}" text-anchor="end">{in_words(shown)}</text>'
    )
