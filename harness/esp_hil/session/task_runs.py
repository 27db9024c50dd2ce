"""A task on a board: its networks there, pre- and postprocessing here; one row for each network."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.models.device_file import DeviceFile, open_device_file
from esp_hil.results.provenance import provenance_of
from esp_hil.results.record import DeviceInfo as DeviceRow
from esp_hil.results.record import Run
from esp_hil.session.board_session import BoardSession
from esp_hil.session.options import Combination
from esp_hil.targets import Target
from esp_hil.tasks import Image, Results, Task, Trace
from esp_hil.tasks.match import Match, match
from esp_hil.tasks.network import Arrays
from esp_hil.tasks.replay import answer_all
from esp_hil.verdict.verdict import Verdict, judge

RECIPE = "zoo"
_ALLOWED_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskMeasured:
    """What a task gave on one board.

    Attributes:
        device: results by picture, the networks on the board.
        exact: results by picture, the networks on the exact reference.
        matches: both compared, by picture.
        verdicts: device against exact, integer for integer, by network.
        runs: rows, one for each network.
        inferences: of each network, over all pictures.
    """

    device: Mapping[str, Results]
    exact: Mapping[str, Results]
    matches: Mapping[str, Match]
    verdicts: Mapping[str, Verdict]
    runs: tuple[Run, ...]
    inferences: Mapping[str, int]


def combination(task: str, target: Target, board: str | None) -> Combination:
    """How the board is asked for, and the rows are named."""
    return Combination(model=task, recipe=RECIPE, runtime="espdl", target=target, board=board)


@dataclass(slots=True, kw_only=True)
class TaskMeasurement:
    """One task on one open board.

    Attributes:
        task: with its weights for the board's chip.
        combination: as the rows name it.
        board: open.
        session_id: of the rows.
        repeats: timed inferences of each network.
        warmup: inferences before them.
    """

    task: Task
    combination: Combination
    board: BoardSession
    session_id: str
    repeats: int = 30
    warmup: int = 3
    _asked: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    _answered: dict[str, list[Arrays]] = field(default_factory=dict)
    _rows: dict[str, Run] = field(default_factory=dict)

    def run(self, pictures: Mapping[str, Image]) -> TaskMeasured:
        """Answer all pictures with the networks on the board, and again on the exact reference.

        Raises:
            HilError: the board, the link or a network failed.
        """
        traces = {name: Trace() for name in pictures}
        device = answer_all(self.task, pictures, self._ask, traces)
        exact = {name: self.task.run(image) for name, image in pictures.items()}
        thresholds = self.task.spec.thresholds
        return TaskMeasured(
            device=device,
            exact=exact,
            matches={name: match(device[name], exact[name], thresholds) for name in pictures},
            verdicts={name: row.verdict for name, row in self._rows.items() if row.verdict is not None},
            runs=tuple(self._rows.values()),
            inferences={
                name: sum(trace.inferences.get(name, 0) for trace in traces.values())
                for name in self.task.networks
            },
        )

    def _ask(self, network: str, inputs: Sequence[NDArray[Any]]) -> Sequence[Arrays]:
        """Load the network, infer every input, time the first; make or renew its row."""
        started, began_s = datetime.now(UTC), time.monotonic()
        device, file = self.board.device, open_device_file(self.task.networks[network].path)
        name = file.inputs[0].name
        self._prepare(file, f"{self.task.name} {network}")
        answers = [
            dict(one.outputs) for one in device.infer_many(({name: x} for x in inputs), timeout_s=_ALLOWED_S)
        ]
        timed = device.infer(
            {name: inputs[0]}, repeats=self.repeats, warmup=self.warmup, timeout_s=_ALLOWED_S
        )
        self._asked.setdefault(network, []).extend(inputs)
        self._answered.setdefault(network, []).extend(answers)
        row = self._row(network, file, started)
        counters: dict[str, tuple[int | float, str]] = {
            counter.name: (counter.value, counter.unit) for counter in device.counters().values()
        }
        self._rows[network] = replace(
            row,
            cycles=timed.cycles,
            counters=counters,
            verdict=self._judged(network),
            duration_s=time.monotonic() - began_s,
        )
        return answers

    def _prepare(self, file: DeviceFile, name: str) -> None:
        self.board.put(file, name=name)

    def _judged(self, network: str) -> Verdict:
        tensor = self.task.networks[network].input
        stacked = np.concatenate(self._asked[network])
        exact = self.task.networks[network].exact.run_batch({tensor.name: stacked})
        answers = self._answered[network]
        device = {name: np.concatenate([answer[name] for answer in answers]) for name in exact}
        outputs = self.task.networks[network].outputs
        exponents = {name: outputs[name].exponent for name in exact}
        return judge(device, exact, None, None, labels=None, exponents=exponents)

    def _row(self, network: str, file: DeviceFile, started: datetime) -> Run:
        info = self.board.device.info()
        return Run(
            run_id=str(uuid.uuid4()),
            session_id=self.session_id,
            started_utc=started.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            duration_s=0.0,
            model=f"{self.task.name}-{network}",
            recipe=RECIPE,
            runtime="espdl",
            target=self.combination.target.name,
            board=self.board.id,
            kind=self.board.board.kind,
            location=info.model.location if info.model else "",
            cores_used=1,
            inputs=len(self._asked[network]),
            warmup=self.warmup,
            macs=self.task.spec.networks[network].macs,
            counters={},
            device=DeviceRow(**{f.name: getattr(info, f.name) for f in fields(DeviceRow)}),
            provenance=provenance_of(
                model_sha256=file.sha256, golden_sha256="", inputs="golden pictures of the task"
            ),
        )
