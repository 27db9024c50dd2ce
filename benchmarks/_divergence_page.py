"""The table of `hil bench divergence` as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from esp_hil.errors import ConfigError

if TYPE_CHECKING:
    from benchmarks.divergence import Outcome

_HEADING = ("network", "nodes", "planted", "at", "found at", "requests", "allowed", "diagnosis")

_TEXT = """\
# Where does it first go wrong?

`hil layers MODEL --recipe R --target T --board B` sends golden inputs until a board answers other integers than the
exact reference. Then it asks for intermediate tensors, one for each request, halving the part of the graph that is in
question: about log2 of the nodes. The first wrong tensor's values are laid beside those that each known fault would
give. A diagnosis that explains every value is certain; any other begins with "perhaps". `--save FILE.npz` keeps the
wrong tensor, the right one and the layer's inputs. The suites do the same when a device is wrong.

## Planted faults

Made by `hil bench divergence --family {family}{files} --out FILE.md`. Each fault is in the engine of a virtual board;
the networks of this repository get golden inputs, others random ones. {right} were found at their node and called by
their name. Allowed are log2 of the nodes, rounded up, and 3 more.

{table}
"""


def write(outcomes: Sequence[Outcome], path: Path) -> Path:
    """Write the page; returns its path.

    Raises:
        ConfigError: it cannot be written.
    """
    from benchmarks.divergence import MODELS, summary

    rows = [_HEADING, ("---",) * 5 + ("---:",) * 2 + ("---",), *map(_cells, outcomes)]
    others = dict.fromkeys(outcome.network for outcome in outcomes if outcome.network not in MODELS)
    text = _TEXT.format(
        family=outcomes[0].family,
        files="".join(f" --file {name}.espdl" for name in others),
        right=summary(outcomes),
        table="\n".join(f"| {' | '.join(row)} |" for row in rows),
    )
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    return path


def _cells(outcome: Outcome) -> tuple[str, ...]:
    same = outcome.found == outcome.planted.node
    return (
        outcome.network,
        str(outcome.nodes),
        outcome.planted.title,
        f"`{outcome.planted.node}`",
        "there" if same else f"`{outcome.found}`" if outcome.found else "nowhere",
        str(outcome.requests),
        str(outcome.budget),
        outcome.words,
    )
