"""Boards of a labgrid farm: places, by name or by tags, acquired for as long as this process has the board.

    labgrid:desk-s3                       the place of that name
    labgrid:target=esp32s3,psram=8MB      any place with these tags

Each place is held by a process of its own (`esp_hil.boards.labgrid_keeper`), which releases it when this process ends,
however it ends. A place with the tag `quarantine` is not used by anybody. docs/adr tells why it is done like this.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from esp_hil.boards.labgrid_identity import identity, in_words
from esp_hil.boards.labgrid_keeper import QUARANTINE
from esp_hil.boards.lease import Holder, this_process
from esp_hil.errors import BoardInUse, BoardUnavailable, ConfigError, HilError
from esp_hil.settings import labgrid_coordinator, variable

PREFIX = "labgrid:"
END_S = 40.0
"""For a release: an exporter may take its time, and the keeper waits for it."""
REMEMBERED_S = 5.0
NOTICED_S = 1.0
"""So long after a line broke the coordinator may take to notice that the exporter is gone."""
_ERRORS: dict[str, type[HilError]] = {
    "BoardInUse": BoardInUse,
    "BoardUnavailable": BoardUnavailable,
    "ConfigError": ConfigError,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place of a farm.

    Attributes:
        name: of the place.
        tags: as labgrid has them; `target` is the chip.
        acquired: by whom, as labgrid has it; "" if it is free.
        why_not: why it cannot be used, whoever has it; "" if it can.
        power: whether something switches its power.
        ports: of its serial ports, what the exporters say.
    """

    name: str
    tags: dict[str, str]
    acquired: str
    why_not: str
    power: bool
    ports: tuple[dict[str, Any], ...] = field(default=())

    @property
    def board(self) -> str:
        """Its name as a board."""
        return PREFIX + self.name

    @property
    def holder(self) -> str:
        """Who has it, for people; "" if nobody."""
        return in_words(self.acquired) if self.acquired else ""

    def port(self) -> dict[str, Any]:
        """Its serial port.

        Raises:
            ConfigError: there are several, and none is named `board`.
        """
        named = [port for port in self.ports if port["name"] == "board"]
        if len(named or self.ports) != 1:
            raise ConfigError(
                f"place {self.name} has {len(self.ports)} serial ports",
                hint="name the board's: labgrid-client -p PLACE add-named-match EXPORTER/GROUP/CLS/NAME board",
                board=self.board,
                step="lock",
            )
        return (named or list(self.ports))[0]

    def url(self) -> str:
        """Where its port is while it is acquired."""
        port = self.port()
        way = "socket" if port["protocol"] == "raw" else "rfc2217"
        return f"{way}://{port['host']}:{port['port']}"


def board_words(text: str) -> tuple[str, ...]:
    """The boards of an option; `tag=value` belongs to the `labgrid:` before it."""
    found: list[str] = []
    for word in text.split(","):
        if found and found[-1].startswith(PREFIX) and "=" in word and ":" not in word:
            found[-1] += f",{word.strip()}"
        else:
            found.append(word)
    return tuple(dict.fromkeys(word.strip() for word in found if word.strip()))


def wish_of(words: str) -> dict[str, str]:
    """What is written behind `labgrid:`: tags, or `{"name": PLACE}`.

    Raises:
        ConfigError: neither.
    """
    if re.fullmatch(r"[\w.-]+", words):
        return {"name": words}
    pairs = [pair.partition("=") for pair in words.split(",")]
    if not words or not all(re.fullmatch(r"[a-z][a-z0-9_]+", key) and value for key, _, value in pairs):
        raise ConfigError(
            f"labgrid:{words} is neither a place nor tags",
            hint="labgrid:PLACE or labgrid:target=esp32s3,psram=8MB",
        )
    return {key: value for key, _, value in pairs}


def places() -> tuple[Place, ...]:
    """All places of the farm, by name.

    Raises:
        BoardUnavailable: the coordinator does not answer. ConfigError: the extra `farm` is not installed.
    """
    address = labgrid_coordinator()
    known = _LISTED.get(address)
    if known is None or known[0] < time.monotonic():
        found: tuple[Place, ...] | BoardUnavailable
        try:
            with _Keeper({"do": "list"}) as keeper:
                found = tuple(_place(row) for row in keeper.answer()["places"])
        except BoardUnavailable as error:
            found = error
        known = _LISTED[address] = time.monotonic() + REMEMBERED_S, found
    if isinstance(known[1], BoardUnavailable):
        raise known[1]
    return known[1]


_LISTED: dict[str, tuple[float, tuple[Place, ...] | BoardUnavailable]] = {}
"""Until when, and what the coordinator said; that it did not answer, too: each row of boards.toml asks."""


def fitting(wish: dict[str, str]) -> tuple[Place, ...]:
    """The places that a wish means; see `places` for its errors."""
    return tuple(place for place in places() if wish.items() <= ({"name": place.name} | place.tags).items())


def chip_of(board: str) -> str:
    """The chip of `labgrid:...`, as the wish or the tag of its place says; "" if neither does."""
    wish = wish_of(board.removeprefix(PREFIX))
    if said := wish.get("target"):
        return said
    chips = {place.tags.get("target", "") for place in fitting(wish)}
    return chips.pop() if len(chips) == 1 else ""


def set_quarantine(place: str, reason: str) -> None:
    """Put a place into quarantine, or take it out with an empty reason.

    Raises:
        BoardUnavailable: there is no such place, or the coordinator does not answer.
    """
    with _Keeper({"do": "tag", "place": place, "tags": {QUARANTINE: _tag(reason)}}) as keeper:
        keeper.answer()
    _LISTED.clear()


def _tag(text: str) -> str:
    """A text as a tag's value; "" takes a tag away, so that a reason in other letters is at least a yes."""
    return re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_")[:120] or ("yes" if text else "")


def _place(row: dict[str, Any]) -> Place:
    return Place(
        name=row["name"],
        tags=row["tags"],
        acquired=row["acquired"],
        why_not=row["why_not"],
        power=row["power"],
        ports=tuple(row["ports"]),
    )


class PlaceLease:
    """A place that this process has acquired.

    Args:
        keeper: holds it.
        place: as it was when it was acquired.
    """

    def __init__(self, keeper: _Keeper, place: Place) -> None:
        self._keeper = keeper
        self.place = place
        self.holder: Holder = this_process()

    def url(self) -> str:
        """Where its port is now.

        Raises:
            BoardUnavailable: the farm has lost the place.
        """
        found = self._now()
        if "lost" in found:
            raise BoardUnavailable(
                f"the farm lost place {self.place.name}: {found['lost']}",
                hint="hil boards shows the places",
                board=self.place.board,
                step="link",
            )
        return _place(found).url()

    def trouble(self) -> str:
        """What a broken line may come from: that the farm has lost the place, else where it is."""
        until = time.monotonic() + NOTICED_S
        try:
            while "lost" not in (found := self._now()):
                if time.monotonic() > until:
                    return f"place {self.place.name} of {self.place.port()['exporter']}"
                time.sleep(0.1)
        except BoardUnavailable as error:
            return error.message
        return f"the farm lost place {self.place.name}: {found['lost']}"

    def _now(self) -> dict[str, Any]:
        self._keeper.say("where")
        found: dict[str, Any] = self._keeper.answer()["held"]
        return found

    @property
    def power_cycle(self) -> str:
        """The command that cuts its power by the place's power port; "" if there is none, or no labgrid-client."""
        program = variable("HIL_LABGRID_CLIENT") or shutil.which("labgrid-client") or ""
        if not self.place.power or not program:
            return ""
        host, _, user = identity().partition("/")
        return shlex.join(
            [
                *("env", f"LG_HOSTNAME={host}", f"LG_USERNAME={user}"),
                *(program, "-x", labgrid_coordinator(), "-p", self.place.name, "power", "cycle"),
            ]
        )

    def quarantine(self, reason: str) -> bool:
        """Set its tag, so that nobody uses it; not of a place that the farm has lost. Whether it is set."""
        try:
            if "lost" in self._now():
                return False
            self._keeper.say(json.dumps({QUARANTINE: _tag(reason)}))
            self._keeper.answer()
        except BoardUnavailable:
            return False
        _LISTED.clear()
        return True

    def release(self) -> None:
        """Let go of it; more than once does no harm."""
        if not self._keeper.end():
            # it was killed with the place in its hands
            with contextlib.suppress(HilError), _Keeper({"do": "free", "place": self.place.name}) as other:
                other.answer()


def acquire(
    wish: dict[str, str], board: str, *, wait_s: float = 0.0, say: Callable[[str], None] = lambda _: None
) -> PlaceLease:
    """Acquire a place; a reservation queues where somebody else has it.

    Args:
        wish: tags that it must have, or its name; see `wish_of`.
        board: for messages.
        wait_s: how long to wait for it.
        say: told who is waited for.

    Raises:
        BoardInUse: somebody else has what fits, and had it all the time.
        BoardUnavailable: nothing that fits can be used, or the coordinator does not answer.
        ConfigError: nothing fits, or the extra `farm` is not installed.
    """
    keeper = _Keeper({"do": "hold", "wish": wish, "wait_s": wait_s}, board=board)
    try:
        place = _place(keeper.answer(say)["held"])
        place.port()
    except BaseException:
        keeper.end()
        raise
    return PlaceLease(keeper, place)


class _Keeper:
    """The other process."""

    def __init__(self, request: dict[str, Any], *, board: str = "") -> None:
        if importlib.util.find_spec("grpc_reflection") is None:
            raise ConfigError("boards of labgrid need gRPC", hint='pip install "esp-hil[farm]"')
        self._board = board
        self._process = subprocess.Popen(
            [sys.executable, "-m", "esp_hil.boards.labgrid_keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # a Ctrl-C is for the run, which then lets go of its boards
        )
        self.say(json.dumps(request | {"coordinator": labgrid_coordinator(), "identity": identity()}))

    def __enter__(self) -> _Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def say(self, line: str) -> None:
        """A line to it; one that is dead is noticed when it does not answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def answer(self, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
        """Its answer; what it says before goes to `say`.

        Raises:
            HilError: it answers with one, or it is dead.
        """
        assert self._process.stdout is not None
        while True:
            try:
                found: dict[str, Any] = json.loads(self._process.stdout.readline())
            except (OSError, ValueError):
                raise BoardUnavailable(
                    "the process that holds its place was ended",
                    hint="hil boards shows who has it",
                    board=self._board,
                    step="lock",
                ) from None
            if "say" in found:
                say(f"{self._board}: {found['say']}")
            elif "error" in found:
                raise _ERRORS[found["error"]](
                    found["text"], hint=found["hint"], board=self._board, step="lock"
                )
            else:
                return found

    def end(self) -> bool:
        """Have it release and end; whether it did."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        return process.returncode == 0
