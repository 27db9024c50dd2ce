"""Which worker of pytest-xdist runs which test: all tests of one board go to one worker, in their order.

What a test reads was measured once, by the worker that has the board; and a board has one owner at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScheduling, LoadScopeScheduling

from esp_hil.session.options import Combination

if TYPE_CHECKING:
    import pytest


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
        groups: of `groups_of`.
    """

    def __init__(self, config: pytest.Config, log: Any, groups: Mapping[str, str]) -> None:  # noqa: ANN401
        super().__init__(config, log)
        self._groups = groups

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid, self._groups)


class Scheduling:
    """Pytest-xdist's own scheduling, until the workers tell that they found tests of a board.

    Args:
        config: of the controlling process.
        log: of pytest-xdist.
        groups: of `groups_of`.
        found: called once if there are tests of a board, before any is handed out.
    """

    def __init__(
        self,
        config: pytest.Config,
        log: Any,  # noqa: ANN401
        groups: Mapping[str, str],
        found: Callable[[], None],
    ) -> None:
        self._chosen: Any = LoadScheduling(config, log)
        self._decided = False
        self._boards: Callable[[], Any] = lambda: BoardScheduling(config, log, groups)
        self._groups, self._found = groups, found

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of whichever was chosen
        return getattr(self._chosen, name)

    def schedule(self) -> None:
        """Hand out tests; the first call decides how."""
        if not self._decided:
            self._decided = True
            plain = self._chosen
            nodeids = [nodeid for collected in plain.node2collection.values() for nodeid in collected]
            if any(group_of(nodeid, self._groups) != nodeid for nodeid in nodeids):
                self._found()
                self._chosen = self._boards()
                for node in plain.nodes:
                    self._chosen.add_node(node)
                for node, collected in plain.node2collection.items():
                    self._chosen.add_node_collection(node, collected)
        self._chosen.schedule()
