"""Which worker of pytest-xdist runs which test: all tests of one board go to one worker, in their order.

What a test reads was measured once, by the worker that has the board; and a board has one owner at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScopeScheduling

from esp_hil.session.options import Combination, combinations

if TYPE_CHECKING:
    import pytest

    from esp_hil.session.options import Options


def groups_of(found: Iterable[Combination]) -> Mapping[str, str]:
    """Group of each combination by its id."""
    return {combination.id: combination.group for combination in found}


def group_of(nodeid: str, groups: Mapping[str, str]) -> str:
    """The group of a test: that of the combination in its id; a test without one is alone.

    Args:
        nodeid: such as `suites/test_numerics.py::test_x[mnist-w8a8-esp32p4]`; other parameters may stand
            before or after the combination.
        groups: of `groups_of`.
    """
    parameters = nodeid.partition("[")[2].removesuffix("]")
    fitting = [
        name
        for name in groups
        if parameters == name or parameters.startswith(f"{name}-") or parameters.endswith(f"-{name}")
    ]
    return groups[max(fitting, key=len)] if fitting else nodeid


class BoardScheduling(LoadScopeScheduling):  # type: ignore[misc]  # has no types
    """Hands out the tests of a board as one piece of work.

    Args:
        config: of the controlling process.
        log: of pytest-xdist.
        options: of the run; they tell the combinations.
    """

    def __init__(self, config: pytest.Config, log: Any, options: Options) -> None:  # noqa: ANN401
        super().__init__(config, log)
        self._groups = groups_of(combinations(options))

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid, self._groups)
