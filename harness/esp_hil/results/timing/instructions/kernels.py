"""What one call of a kernel executes: `kernels.csv`, a sum of coefficient x product of quantities for each kernel.

The coefficients follow the loops of ESP-DL 3.3.9's assembly (dl/base/isa/tie728 and esp32p4): each kernel's
control flow was executed over some hundred shapes and the counts were decomposed into the quantities of its
loops. Most are whole numbers because they are the length of a loop body. Quantities, all for one call:

* `1`: the call itself; `p`, `h`, `w1`, `h1`, `we`: positions (rows x columns) of the window that is computed, its
  rows, and whether it is 1 wide, 1 high, of even width.
* `nb`, `nr`, `any_nb`, `any_nr`, `no_nb`, `nb_1`: blocks of 16 (int16: 8) output channels, channels beyond them,
  whether there are any, and blocks less one. A depthwise kernel counts its channels so.
* `cb`, `cr`, `any_cb`, `any_cr`, `no_cb`, `cr_one`, `cr8` ... `cr1`: the same for input channels (elements, in an
  elementwise kernel); `cr8` ... `cr1` are bits of the remainder, which the kernels test one by one. `cb_odd`,
  `two_cb`, `one_cb`: blocks that are left after pairs, whether there is a pair, whether there is one block alone;
  `no_cr`: no remainder.
* `bias`, `relu`, `pc`: whether a bias, a ReLU, one exponent per channel take part.
* `out0`, `out8`: whether the output begins at a multiple of 16 bytes, or 8 bytes beyond one.
* `n`, `quads`, `blocks`, `lr`, `any_lr`: elements, groups of four, loop rounds; remainder of the input where it
  is narrower than the output.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib import resources

Quantities = Mapping[str, float]


@cache
def _table() -> dict[str, tuple[tuple[tuple[str, ...], float], ...]]:
    folder = resources.files("esp_hil.results.timing.instructions")
    text = folder.joinpath("kernels.csv").read_text(encoding="utf-8")
    found: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for row in csv.DictReader(text.splitlines()):
        names = tuple(name for name in row["term"].split("*") if name != "1")
        found.setdefault(row["kernel"], []).append((names, float(row["instructions"])))
    return {kernel: tuple(terms) for kernel, terms in found.items()}


def kernel_names() -> tuple[str, ...]:
    """All kernels of the table, the chip first: `s3 s8_lut`."""
    return tuple(_table())


def quantity_names() -> set[str]:
    """All quantities that the table multiplies."""
    return {name for terms in _table().values() for names, _ in terms for name in names}


def known(kernel: str) -> bool:
    """Whether the table has this kernel."""
    return kernel in _table()


def instructions_of(kernel: str, quantities: Quantities) -> float:
    """Instructions of one call; a quantity that is not given counts 0. `kernel` must be `known`."""
    total = 0.0
    for names, coefficient in _table()[kernel]:
        value = coefficient
        for name in names:
            value *= quantities.get(name, 0)
            if not value:
                break
        total += value
    return total


def blocks(count: int, lanes: int, prefix: str) -> dict[str, float]:
    """The quantities of `count` channels (or elements) in vectors of `lanes`: prefix `c` or `n`."""
    whole, rest = divmod(count, lanes)
    found: dict[str, float] = {
        f"{prefix}b": whole,
        f"{prefix}r": rest,
        f"any_{prefix}b": whole > 0,
        f"any_{prefix}r": rest > 0,
        f"no_{prefix}b": whole == 0,
    }
    if prefix == "n":
        found["nb_1"] = max(whole - 1, 0)
    else:
        found |= {f"cr{bit}": float(rest & bit > 0) for bit in (8, 4, 2, 1)}
        found |= {
            "one_cb": whole == 1,
            "no_cr": rest == 0,
            "cr_one": rest == 1,
            "cb_odd": whole % 2,
            "two_cb": whole >= 2,
        }
    return found


def alignment(offset: int) -> dict[str, float]:
    """The quantities of an output that begins `offset` bytes beyond a multiple of 16."""
    return {"out0": offset % 16 == 0, "out8": offset % 16 == 8}
