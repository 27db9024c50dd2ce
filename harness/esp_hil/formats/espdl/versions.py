"""Versions of ESP-DL as an axis: what each registers, as far as it differs from the newest that is known.

Source: `register_module` in dl_module_creator.hpp of each release's tag; of 3.1.x, which have none, of the commit that
set the version.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from esp_hil.errors import ConfigError

Version = tuple[int, ...]

NEWEST = "3.3.9"
OLDEST = "3.1.0"

_NEW_IN: tuple[tuple[str, str], ...] = (
    ("3.1.0", "Equal Gather Greater GreaterOrEqual Identity Less LessOrEqual ReverseSequence"),
    ("3.1.5", "Swish"),
    (
        "3.2.0",
        "GRU LSTM Neg Pow ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin",
    ),
    ("3.2.0", "ReduceProd ReduceSum ReduceSumSquare"),
    ("3.2.1", "DepthToSpace ScatterND SpaceToDepth StreamingCache"),
    ("3.2.2", "InsertZeros LayerNormalization"),
    ("3.3.0", "LogSoftmax Mod"),
    ("3.3.6", "LpNormalization RMSNormalization"),
)

SINCE: Mapping[str, str] = MappingProxyType(
    {name: version for version, names in _NEW_IN for name in names.split()}
)
"""The first version that registers an operator; those that are not here came before 3.1."""


def version_of(text: str) -> Version:
    """A version as numbers: "3.3.9" or "v3.3.9" as (3, 3, 9).

    Raises:
        ConfigError: it is none.
    """
    parts = text.removeprefix("v").split("~")[0].split("-")[0].split(".")
    if not all(part.isdigit() for part in parts):
        raise ConfigError(f"{text!r} is no version of ESP-DL", hint=f"such as {NEWEST}")
    return tuple(int(part) for part in parts)


def known(text: str) -> bool:
    """Whether a version lies between the oldest and the newest that were looked into."""
    return version_of(OLDEST) <= version_of(text) <= version_of(NEWEST)
