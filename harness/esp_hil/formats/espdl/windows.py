"""What ESP-DL's loops over windows and samples do not reach, for Conv and the pools.

The loops over output positions have three parts: `head` outputs whose window begins in the padding, `body`
outputs whose window lies within the input, and a tail (dl_base.hpp, dl_base_pool2d.hpp). Two of the counts
can be wrong:

- the body is (size + head padding - window) / stride + 1 - head in C, where a quotient of a small negative
  number is 0 and not -1: a window larger than the input, without padding before it, is taken for one that
  fits, and the kernel reads past the input;
- the head is ceil(head padding / stride); Conv takes no more than there are outputs, the pools do: their tail
  is then negative, the loop's counter unsigned, and the kernel writes past the output.
"""

from __future__ import annotations

FIRST_SAMPLE_ONLY = frozenset(["Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "PRelu"])
"""Operators whose kernels compute sample 0 of a batch and leave the others as the memory was."""


def unreached(op_type: str, *, size: int, window: int, stride: int, head: int, outputs: int) -> str:
    """What goes wrong along one axis, "" if nothing does.

    Args:
        op_type: Conv, MaxPool or AveragePool.
        size: length of the input.
        window: dilation * (kernel - 1) + 1.
        stride: distance of outputs in the input.
        head: padding before the input.
        outputs: how many outputs there are.
    """
    if op_type != "Conv" and -(-head // stride) > outputs:
        return f"a padding of {head} is more than its {outputs} outputs at stride {stride} reach"
    if head == 0 and 0 < window - size < stride:
        return f"a window of {window} without padding before it reads past an input of {size}"
    return ""
