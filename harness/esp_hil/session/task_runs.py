"""A task on a board: its networks there, pre- and postprocessing here; one row for each network."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.models.device_file import open_device_file
from esp_hil.results.record import Run
from esp_hil.session import steps
from esp_hil.session.options import Options
from esp_hil.session.run_builder import Answered, Attempt, Judged, RunBuilder
from esp_hil.tasks import Image, Results, Task, Trace
from esp_hil.tasks.match import Match, match
from esp_hil.tasks.replay import answer_all
from esp_hil.tensors import Arrays
from esp_hil.verdict.verdict import Verdict, judge

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


@dataclass(slots=True, kw_only=True)
class TaskMeasurement:
    """One task on one open board.

    Attributes:
        task: with its weights for the board's chip.
        attempt: the board and where the rows go.
        options: of the session.
    """

    task: Task
    attempt: Attempt
    options: Options
    _asked: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    _answered: dict[str, list[Arrays]] = field(default_factory=dict)
    _builders: dict[str, RunBuilder] = field(default_factory=dict)

    def run(self, pictures: Mapping[str, Image]) -> TaskMeasured:
        """Answer all pictures with the networks on the board, and again on the exact reference.

        Raises:
            HilError: the board, the link or a network failed.
        """
        traces = {name: Trace() for name in pictures}
        device = answer_all(self.task, pictures, self._ask, traces)
        exact = {name: self.task.run(image) for name, image in pictures.items()}
        thresholds = self.task.spec.thresholds
        self._share_host_time(traces.values())
        rows = self.attempt.finished
        return TaskMeasured(
            device=device,
            exact=exact,
            matches={name: match(device[name], exact[name], thresholds) for name in pictures},
            verdicts={name: row.verdict for name, row in rows.items() if row.verdict is not None},
            runs=tuple(rows.values()),
            inferences={
                name: sum(trace.inferences.get(name, 0) for trace in traces.values())
                for name in self.task.networks
            },
        )

    def _ask(self, network: str, inputs: Sequence[NDArray[Any]]) -> Sequence[Arrays]:
        """Load the network, infer every input, time and profile the first; make or renew its row."""
        whole, session, options = self.attempt.builder, self.attempt.session, self.options
        builder = self._builders.get(network) or whole.of_network(network)
        self._builders[network] = self.attempt.builder = builder
        file = open_device_file(self.task.networks[network].path)
        name = file.inputs[0].name
        session.put(file, name=f"{self.task.name} {network}")
        builder.add(steps.on_board(session, file, macs=self.task.spec.networks[network].macs))
        jobs = session.device.infer_many(
            ({name: x} for x in inputs), cores=options.cores, timeout_s=_ALLOWED_S
        )
        answers = [dict(one.outputs) for one in jobs]
        self._asked.setdefault(network, []).extend(inputs)
        self._answered.setdefault(network, []).extend(answers)
        answered = self._all_answers(network)
        builder.add(answered)
        first = {name: inputs[0]}
        builder.add(
            steps.time_inference(
                session,
                first,
                runs=options.runs,
                warmup=options.warmup,
                cores=options.cores,
                timeout_s=_ALLOWED_S,
            )
        )
        builder.add(steps.profile_layers(session, file, first, cores=options.cores))
        builder.add(self._judged(network, answered))
        self.attempt.finished[network] = builder.build()
        self.attempt.builder = whole
        return answers

    def _share_host_time(self, traces: Collection[Trace]) -> None:
        """Into each row: what this PC does before and after the networks, a picture's time over its inferences."""
        count = max(1, sum(sum(trace.inferences.values()) for trace in traces))
        before_s = sum(trace.seconds.get(name, 0.0) for trace in traces for name in ("decode", "resize"))
        after_s = sum(trace.seconds.get("post", 0.0) for trace in traces)
        for network, builder in self._builders.items():
            answered = self._all_answers(network)
            judged = self._judged(network, answered)
            builder.add(
                replace(answered, pre_ms=1e3 * before_s / count),
                replace(judged, post_ms=1e3 * after_s / count),
            )
            self.attempt.finished[network] = builder.build()

    def _all_answers(self, network: str) -> Answered:
        """Of every round so far."""
        asked, answered = self._asked[network], self._answered[network]
        return Answered(
            inputs=len(asked),
            outputs={name: np.concatenate([one[name] for one in answered]) for name in answered[0]},
            what="golden pictures of the task",
        )

    def _judged(self, network: str, answered: Answered) -> Judged:
        tensor, outputs = self.task.networks[network].input, self.task.networks[network].outputs
        stacked = np.concatenate(self._asked[network])
        reference = self.task.networks[network].exact_of(self.attempt.session.esp_dl)
        exact = reference.run_batch({tensor.name: stacked})
        exponents = {name: outputs[name].exponent for name in exact}
        verdict = judge(
            {name: answered.outputs[name] for name in exact},
            exact,
            None,
            None,
            labels=None,
            exponents=exponents,
        )
        return Judged(verdict=verdict)
