"""The process that holds a place of a labgrid farm for another one, and lets go of it when that is gone.

    python -m esp_hil.boards.labgrid_keeper

labgrid leaves a place with whoever acquired it, for ever. This process lives as long as the run does, outlives its
Ctrl-C and `kill -9` by half a second, and releases. It speaks to the coordinator by its gRPC interface, whose
messages the coordinator itself describes (reflection): labgrid is not installed beside us, for its `pyserial-labgrid`
owns the same module as `pyserial`. Requests and answers are lines of JSON on its standard input and output, see
`esp_hil.boards.labgrid`, which starts it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from esp_hil.boards.labgrid_identity import in_words, is_gone

SERVICE = "labgrid.Coordinator"
ANSWER_S = 30.0
"""So long an exporter may take for what belongs to a place; the coordinator gives each resource ten seconds."""
CONNECT_S = 5.0
ASK_AGAIN_S = 0.25
REFRESH_S = 10.0
"""A reservation that nobody asks for expires after a minute."""
SAY_AGAIN_S = 60.0
TRIES = 3
"""To acquire: an exporter picks a TCP port that another program may take just then."""
ALIVE_S = 0.5
WAITING, ALLOCATED = 0, 1
"""States of a reservation."""
QUARANTINE = "quarantine"
"""The tag of a place that must not be used."""
PORT = "NetworkSerialPort"


class FarmRefused(Exception):
    """What is said instead of an answer; `kind` is the error's name on the other side."""

    def __init__(self, kind: str, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.kind, self.text, self.hint = kind, text, hint


class Coordinator:
    """A connection to the coordinator, and what it tells of places and resources.

    Args:
        address: host and port.
        identity: by which places are acquired, `host/user`.

    Raises:
        FarmRefused: it does not answer.
    """

    def __init__(self, address: str, identity: str) -> None:
        import grpc
        from google.protobuf.descriptor_pool import DescriptorPool
        from google.protobuf.message_factory import GetMessageClass
        from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
            ProtoReflectionDescriptorDatabase,
        )

        self.address, self.identity = address, identity
        self._errors = grpc.RpcError
        self._channel = grpc.insecure_channel(
            address,
            options=[("grpc.keepalive_time_ms", 7500), ("grpc.keepalive_timeout_ms", 10000)],
        )
        try:
            grpc.channel_ready_future(self._channel).result(timeout=CONNECT_S)
            service = DescriptorPool(ProtoReflectionDescriptorDatabase(self._channel)).FindServiceByName(
                SERVICE
            )
        except (grpc.FutureTimeoutError, grpc.RpcError, KeyError):
            raise FarmRefused(
                "BoardUnavailable",
                f"labgrid's coordinator at {address} does not answer",
                "is it up? HIL_LABGRID names its HOST:PORT",
            ) from None
        self._methods = service.methods_by_name
        self._message = GetMessageClass
        self.places: dict[str, Any] = {}
        self.resources: dict[tuple[str, str, str], Any] = {}
        self.lost = False
        self._synced = threading.Event()
        self._listen()

    def _listen(self) -> None:
        wants = self._message(self._methods["ClientStream"].input_type)
        started = wants()
        started.startup.version = "esp-hil"
        started.startup.name = self.identity
        places, resources, sync = wants(), wants(), wants()
        places.subscribe.all_places = True
        resources.subscribe.all_resources = True
        sync.sync.id = 1
        first = [started, places, resources, sync]

        def say() -> Iterator[Any]:
            yield from first
            threading.Event().wait()  # the stream stays open for as long as this process lives

        self._updates = self._call("ClientStream", self._channel.stream_stream)(say())
        threading.Thread(target=self._follow, daemon=True).start()
        if not self._synced.wait(CONNECT_S) or self.lost:
            raise FarmRefused("BoardUnavailable", f"labgrid's coordinator at {self.address} does not answer")

    def _follow(self) -> None:
        with contextlib.suppress(self._errors):
            for message in self._updates:
                for update in message.updates:
                    self._take(update)
                if message.HasField("sync"):
                    self._synced.set()
        self.lost = True
        self._synced.set()

    def close(self) -> None:
        """Leave; what was acquired stays so."""
        self._channel.close()

    def _take(self, update: Any) -> None:  # noqa: ANN401 - made from the coordinator's description
        kind = update.WhichOneof("kind")
        if kind == "place":
            self.places[update.place.name] = update.place
        elif kind == "del_place":
            self.places.pop(update.del_place, None)
        elif kind == "resource":
            path = update.resource.path
            self.resources[path.exporter_name, path.group_name, path.resource_name] = update.resource
        elif kind == "del_resource":
            path = update.del_resource
            self.resources.pop((path.exporter_name, path.group_name, path.resource_name), None)

    def _call(self, name: str, way: Any) -> Any:  # noqa: ANN401
        method = self._methods[name]
        return way(
            f"/{SERVICE}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=self._message(method.output_type).FromString,
        )

    def ask(self, method: str, /, **fields: Any) -> Any:  # noqa: ANN401
        """Call a method of the coordinator.

        Raises:
            FarmRefused: it did not do it; in its words.
        """
        request = self._message(self._methods[method].input_type)(**fields)
        try:
            return self._call(method, self._channel.unary_unary)(request, timeout=ANSWER_S)
        except self._errors as error:
            said = getattr(error, "details", lambda: None)() or str(error)
            raise FarmRefused("BoardUnavailable", f"labgrid: {said}") from None

    def reserve(self, wish: dict[str, str]) -> Any:  # noqa: ANN401
        """A reservation of one place with these tags; a place's name is its tag `name`."""
        return self.ask("CreateReservation", filters={"main": {"filter": wish}}, prio=0.0).reservation

    def fitting(self, wish: dict[str, str]) -> list[Any]:
        """The places that a wish means."""
        known = [(place, {**place.tags, "name": place.name}) for place in list(self.places.values())]
        return [place for place, tags in known if wish.items() <= tags.items()]

    def resources_of(self, place: Any) -> dict[tuple[str, str, str], Any]:  # noqa: ANN401
        """What the exporters that are there have for a place: by exporter, group and name."""
        return {
            path: resource
            for path, resource in sorted(self.resources.items())
            if any(_matches(match, path, resource.cls) for match in place.matches)
        }

    def why_not(self, place: Any) -> str:  # noqa: ANN401
        """Why a place cannot be used whoever has it; "" if it can."""
        if why := place.tags.get(QUARANTINE, ""):
            return f"in quarantine: {why}"
        there = self.resources_of(place).values()
        exporters = sorted({match.exporter for match in place.matches})
        if not there:
            return f"no exporter of it is there ({', '.join(exporters) or 'it matches nothing'})"
        if not any(resource.cls == PORT for resource in there):
            return "it has no serial port"
        if any(resource.acquired == "<broken>" or not resource.avail for resource in there):
            return "its exporter says that the port is not there"
        return ""


def _matches(match: Any, path: tuple[str, str, str], cls: str) -> bool:  # noqa: ANN401
    exporter, group, name = path
    asked = (match.exporter, match.group, match.cls, match.name if match.HasField("name") else "*")
    return all(want in {"*", have} for want, have in zip(asked, (exporter, group, cls, name), strict=True))


def told(coordinator: Coordinator, place: Any) -> dict[str, Any]:  # noqa: ANN401
    """What a place is, as JSON has it."""
    there = coordinator.resources_of(place)
    ports = [
        {
            "name": _given_name(place, path) or path[2],
            "exporter": path[0],
            **{name: _value(resource.params.get(name)) for name in ("host", "port", "speed", "protocol")},
            "cable": _value(resource.extra.get("path")) or "",
        }
        for path, resource in there.items()
        if resource.cls == PORT
    ]
    return {
        "name": place.name,
        "tags": dict(place.tags),
        "acquired": place.acquired,
        "why_not": coordinator.why_not(place),
        "ports": ports,
        "power": any("Power" in resource.cls for resource in there.values()),
    }


def _given_name(place: Any, path: tuple[str, str, str]) -> str:  # noqa: ANN401
    """By which a match of the place calls a resource."""
    for match in place.matches:
        if match.HasField("rename") and _matches(match, path, PORT):
            return str(match.rename)
    return ""


def _value(field: Any) -> Any:  # noqa: ANN401
    kind = field.WhichOneof("kind") if field is not None else None
    return getattr(field, kind) if kind else None


class Keeper:
    """Serves one request, and holds what it asks for until it is told, or until whoever asked is gone."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._lines: queue.Queue[str] = queue.Queue()
        self._place = ""
        self._tokens: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self._lines.put(line.strip())
        self._lines.put("")

    def _next(self, seconds: float) -> str | None:
        """The next line; None: none has come; "": whoever asked is gone."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return "" if os.getppid() != self._parent else None

    def serve(self) -> None:
        """Do what the first line says."""
        asked = json.loads(self._next(CONNECT_S) or "{}")
        try:
            self._coordinator = Coordinator(asked["coordinator"], asked["identity"])
            if asked["do"] == "list":
                places = sorted(self._coordinator.places.values(), key=lambda place: place.name)
                answer({"places": [told(self._coordinator, place) for place in places]})
            elif asked["do"] == "tag":
                self._coordinator.ask("SetPlaceTags", placename=asked["place"], tags=asked["tags"])
                answer({"done": True})
            elif asked["do"] == "free":
                self._free(asked["place"], asked["identity"])
                answer({"done": True})
            else:
                self._hold(asked)
        except FarmRefused as error:
            answer({"error": error.kind, "text": error.text, "hint": error.hint})

    def _hold(self, asked: dict[str, Any]) -> None:
        try:
            self._place = self._acquire(asked["wish"], time.monotonic() + asked["wait_s"])
            if not self._place:
                return
            answer({"held": self._told()})
            self._stay()
        finally:
            if self._place:
                self._coordinator.ask(
                    "ReleasePlace", placename=self._place, fromuser=self._coordinator.identity
                )
            self._cancel()
        answer({"done": True})

    def _told(self) -> dict[str, Any]:
        """The place, once its exporter has said where its port is."""
        until = time.monotonic() + ANSWER_S
        while True:
            found = told(self._coordinator, self._coordinator.places[self._place])
            mine = found["acquired"] == self._coordinator.identity
            if mine and any(port["port"] for port in found["ports"]):
                return found
            if time.monotonic() > until:
                raise FarmRefused("BoardUnavailable", f"the exporter of {self._place} opened no port")
            time.sleep(0.02)

    def _stay(self) -> None:
        """Until the end of whoever asked; a line `where` is answered with what the place is now."""
        while True:
            line = self._next(ALIVE_S)
            if line == "where":
                answer({"held": self._now()})
            elif line is not None and line.startswith("{"):
                self._coordinator.ask("SetPlaceTags", placename=self._place, tags=json.loads(line))
                answer({"done": True})
            elif line is not None:
                return

    def _now(self) -> dict[str, Any]:
        """What the place is; why it cannot be reached any more is in `lost`."""
        coordinator = self._coordinator
        if coordinator.lost:
            return {"lost": f"labgrid's coordinator at {coordinator.address} is gone"}
        place = coordinator.places.get(self._place)
        if place is None or place.acquired != coordinator.identity:
            return {"lost": "somebody released its place"}
        why = coordinator.why_not(place)
        return told(coordinator, place) | ({"lost": why} if why and QUARANTINE not in why else {})

    def _acquire(self, wish: dict[str, str], until: float) -> str:
        """A place that fits; "" if whoever asked is gone."""
        left_out: dict[str, str] = {}
        while True:
            name = self._allocated(wish, until, left_out)
            if not name:
                return ""
            why = self._coordinator.why_not(self._coordinator.places[name]) or self._take(name)
            if not why:
                return name
            # the reservation is kept, so that the next one is not given the same place
            left_out[name] = why

    def _allocated(self, wish: dict[str, str], until: float, left_out: dict[str, str]) -> str:
        """The place that a reservation is given, once it is free; "" if whoever asked is gone."""
        say_at = refresh_at = time.monotonic()
        token = ""
        while True:
            fitting = self._usable(wish, left_out)
            self._free_what_nobody_has(fitting)
            token, reservation = self._reservation(wish, token)
            if reservation.state == ALLOCATED:
                return str(reservation.allocations["main"])
            now = time.monotonic()
            if now >= until:
                raise FarmRefused(
                    "BoardInUse",
                    self._who(fitting, wish),
                    "hil run --wait 30m waits for it (pytest: --hil-wait 30m)",
                )
            if now >= say_at:
                say_at = now + SAY_AGAIN_S
                answer({"say": f"waiting: {self._who(fitting, wish)}; {until - now:.0f} s at most"})
            if now >= refresh_at:
                refresh_at = now + REFRESH_S
                for other in self._tokens:
                    self._coordinator.ask("PollReservation", token=other)
            if self._next(min(ASK_AGAIN_S, until - now)) == "":
                return ""

    def _reservation(self, wish: dict[str, str], token: str) -> tuple[str, Any]:
        """What a reservation is now; a new one if there is none, or if it has expired."""
        if token:
            found = self._coordinator.ask("PollReservation", token=token).reservation
            if found.state in {WAITING, ALLOCATED}:
                return token, found
            self._tokens.remove(token)
        made = self._coordinator.reserve(wish)
        self._tokens.append(made.token)
        return made.token, made

    def _usable(self, wish: dict[str, str], left_out: dict[str, str]) -> list[Any]:
        """The places that fit and can be used.

        Raises:
            FarmRefused: there are none.
        """
        if self._coordinator.lost:
            raise FarmRefused(
                "BoardUnavailable", f"labgrid's coordinator at {self._coordinator.address} is gone"
            )
        fitting = self._coordinator.fitting(wish)
        words = text_of(wish)
        if not fitting:
            there = ", ".join(sorted(self._coordinator.places)) or "none"
            raise FarmRefused("ConfigError", f"labgrid has no place {words}", f"its places: {there}")
        reasons = {place.name: self._coordinator.why_not(place) for place in fitting} | left_out
        usable = [place for place in fitting if not reasons[place.name]]
        if not usable:
            raise FarmRefused(
                "BoardUnavailable",
                "; ".join(f"place {name}: {why}" for name, why in sorted(reasons.items())),
                "hil boards shows the places; hil boards --lift labgrid:PLACE ends a quarantine",
            )
        return usable

    def _take(self, name: str) -> str:
        """Acquire a place; why that failed."""
        why = ""
        for _ in range(TRIES):
            try:
                self._coordinator.ask("AcquirePlace", placename=name)
            except FarmRefused as error:
                why = error.text
            else:
                break
        else:
            return why
        self._place = name
        # acquired is acquired: what waits in the queue has to be free for others when it is released
        self._cancel()
        return ""

    def _cancel(self) -> None:
        for token in self._tokens:
            with contextlib.suppress(FarmRefused):
                self._coordinator.ask("CancelReservation", token=token)
        self._tokens = []

    def _free_what_nobody_has(self, places: list[Any]) -> None:
        """Release places of processes of this machine that are not there any more, and had no time to."""
        for place in places:
            if place.acquired and is_gone(place.acquired):
                self._free(place.name, place.acquired)

    def _free(self, place: str, identity: str) -> None:
        with contextlib.suppress(FarmRefused):
            self._coordinator.ask("ReleasePlace", placename=place, fromuser=identity)

    def _who(self, places: list[Any], wish: dict[str, str]) -> str:
        has = [
            f"{place.name} is in use by {in_words(place.acquired)}"
            if place.acquired
            else f"{place.name} is reserved"
            for place in places
        ]
        return f"place {text_of(wish)}: {'; '.join(has)}"


def text_of(wish: dict[str, str]) -> str:
    """A wish as it is written behind `labgrid:`."""
    return wish.get("name") or ",".join(f"{key}={value}" for key, value in wish.items())


def answer(what: dict[str, Any]) -> None:
    """One line to whoever asked, who may be gone."""
    with contextlib.suppress(OSError, ValueError):
        print(json.dumps(what), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Keeper().serve()
    sys.stdout.flush()
    os._exit(0)  # gRPC's threads have nothing left to say
