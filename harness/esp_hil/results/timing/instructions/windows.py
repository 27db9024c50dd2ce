"""The windows that a convolution or pooling computes: which kernel, of what size, how often.

ESP-DL computes an output position whose whole window lies in the input with the kernel of that size (1x1, 3x3),
and one that touches the padding with the kernel for any size, over the part of the window that lies inside.
Source: ESP-DL 3.3.9, dl/base/dl_base.hpp, `conv_operation_shell`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowAxis:
    """One axis of a window operator, in elements.

    Attributes:
        size: of the input.
        made: of the output.
        window: of the filter.
        stride: between outputs.
        dilation: between taps.
        before: padding before the first element.
        after: padding behind the last one.
    """

    size: int
    made: int
    window: int
    stride: int
    dilation: int
    before: int
    after: int

    def spans(self) -> list[tuple[int, bool]]:
        """For each output position: taps inside the input, and whether the whole window is inside."""
        head = min(-(-self.before // self.stride), self.made)
        reach = self.dilation * (self.window - 1)
        body = max((self.size + self.before - reach - 1) // self.stride + 1 - head, 0)
        tail = max(self.made - head - body, 0)
        found = [(self._head(place), False) for place in range(head)]
        found += [(self.window, True)] * body
        ends = self.before + self.size
        for place in range(head + body, head + body + tail):
            found.append((-(-(ends - place * self.stride) // self.dilation), False))
        return found[: self.made]

    def _head(self, place: int) -> int:
        """Taps inside, where the window begins before the input and may end behind it too."""
        outside = self.before - place * self.stride
        inside = self.window - -(-outside // self.dilation)
        excess = self.window - -(-(self.size + outside) // self.dilation)
        return inside - max(excess, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Positions that are computed alike: rows and columns inside, whether all are, and where the output begins."""

    rows: int
    columns: int
    whole: bool
    offset: int


def axes_of(
    input_shape: Shape, output_shape: Shape, window: Sequence[int], attributes: Mapping[str, Sequence[int]]
) -> tuple[WindowAxis, WindowAxis]:
    """Rows and columns of an operator on NHWC; a 1-D operator (NWC) has one row.

    Args:
        input_shape: (1, height, width, channels) or (1, width, channels).
        output_shape: likewise.
        window: taps along each spatial axis.
        attributes: `strides`, `dilations`, `pads` (all heads, then all tails), as in ONNX; missing: 1, 1, 0.
    """
    spatial = len(input_shape) - 2
    strides = attributes.get("strides") or (1,) * spatial
    dilations = attributes.get("dilations") or (1,) * spatial
    pads = attributes.get("pads") or (0,) * 2 * spatial
    made = [
        WindowAxis(
            size=input_shape[1 + axis],
            made=output_shape[1 + axis],
            window=window[axis],
            stride=strides[axis],
            dilation=dilations[axis],
            before=pads[axis],
            after=pads[axis + spatial],
        )
        for axis in range(spatial)
    ]
    one = WindowAxis(size=1, made=1, window=1, stride=1, dilation=1, before=0, after=0)
    return (one, made[0]) if spatial == 1 else (made[0], made[1])


def windows_of(rows: WindowAxis, columns: WindowAxis, position_bytes: int) -> Counter[Window]:
    """All windows of one inference; `position_bytes`: the channels of one output position."""
    if any((rows.before, rows.after, columns.before, columns.after)):
        down, across = rows.spans(), columns.spans()
    else:
        down, across = [(rows.window, True)] * rows.made, [(columns.window, True)] * columns.made
    found: Counter[Window] = Counter()
    if position_bytes % 16 == 0:
        for (height, whole_y), many_y in Counter(down).items():
            for (width, whole_x), many_x in Counter(across).items():
                window = Window(rows=height, columns=width, whole=whole_y and whole_x, offset=0)
                found[window] += many_y * many_x
        return found
    offset = 0
    for height, whole_y in down:
        for width, whole_x in across:
            found[Window(rows=height, columns=width, whole=whole_y and whole_x, offset=offset)] += 1
            offset = (offset + position_bytes) % 16
    return found
