"""One run as it happens: what is known of it so far, so that a row can be written whenever it ends."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.boards import emulator
from esp_hil.boards.opening import OpenBoard
from esp_hil.boards.select import rows
from esp_hil.counters import CLOCK_CYCLES, CLOCK_TIMER
from esp_hil.device.resident import infer_all
from esp_hil.errors import DeviceFault, QuantizeError, RuntimeFailed, UnsupportedOperator
from esp_hil.goldens.build import find_data
from esp_hil.goldens.references import Answers, ExactReference, FloatReference, quantized_reference
from esp_hil.models.catalogue import GoldenSet
from esp_hil.progress import Progress
from esp_hil.results.provenance import provenance_of
from esp_hil.results.record import BoardKind, ClockCheck, Failure, Layer, LinkStats, Run, ShownInput, Steps
from esp_hil.results.record import DeviceInfo as DeviceRow
from esp_hil.results.timing.profiling import layers_of, predicted_memory
from esp_hil.results.timing.work import total_macs, work_of
from esp_hil.session.options import Combination, Options
from esp_hil.session.prepared_board import HEAPS, PreparedBoard
from esp_hil.session.shown import shown_inputs
from esp_hil.verdict.diverge import Divergence
from esp_hil.verdict.verdict import Verdict, judge
from esp_hil.wire.calls import Statistics
from esp_hil.wire.info import DeviceInfo, LayerCycles

CLOCKS = (CLOCK_CYCLES, CLOCK_TIMER)
"""Counters that tell nothing by themselves: what passed between two readings does."""

PROFILES = 3
"""Profiled runs: enough for a median of each layer."""

PROFILE_S = 5.0
"""Profiling stops when it has taken so long."""


@dataclass(slots=True, kw_only=True)
class Measuring:
    """A run under way. Each step adds to it; `row` makes the row of what there is.

    Attributes:
        combination: what is run.
        options: how.
        session_id: shared by all rows of the session.
        failure: why it ended early, or None.
        verdict: the last step's result.
        notes: what a person should know beside the figures.
        sizes: of the firmware, see `Run.sizes`.
    """

    combination: Combination
    options: Options
    session_id: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    failure: Failure | None = None
    verdict: Verdict | None = None
    notes: list[str] = field(default_factory=list)
    _board: OpenBoard | None = None
    _bench: PreparedBoard | None = None
    _info: DeviceInfo | None = None
    _before: Statistics = field(default_factory=Statistics)
    _opened_s: float = 0.0
    _golden: GoldenSet | None = None
    _device: dict[str, NDArray[Any]] = field(default_factory=dict)
    _cold: int | None = None
    _cycles: tuple[int, ...] = ()
    _counters: Mapping[str, tuple[int | float, str]] = field(default_factory=dict)
    _timed_s: float | None = None
    _layers: tuple[Layer, ...] | None = None
    _predicted: Mapping[str, tuple[int | float, str]] = field(default_factory=dict)
    _macs: int | None = None
    _confusion: tuple[tuple[int, int, int], ...] = ()
    _shown: tuple[ShownInput, ...] = ()
    _clock: ClockCheck | None = None
    _load_ms: float | None = None
    _pre_ms: float | None = None
    _post_ms: float | None = None
    _leak: int | None = None
    divergence: Divergence | None = None
    attempt: int = 1
    sizes: Mapping[str, int] = field(default_factory=dict)

    def opened(self, board: OpenBoard) -> None:
        """The port is open; from here on the line is counted."""
        self._board = board
        self._before = board.device.link_statistics()
        self._opened_s = time.monotonic()

    def prepared(self, bench: PreparedBoard) -> None:
        """The board answers and the model is on it."""
        self._bench = bench
        self._info = bench.device.info()

    def run_golden(self, bench: PreparedBoard, progress: Progress) -> None:
        """Send all golden inputs, or the test images; keep the device's answers (integers, device layout)."""
        options = self.options
        self._golden = golden = (
            bench.model.golden(options.inputs)
            if options.data is None
            else bench.model.test_set(find_data(bench.model, options.data), options.inputs)
        )
        started_s = time.monotonic()
        encoded = bench.encode(golden.inputs)
        self._pre_ms = 1e3 * (time.monotonic() - started_s) / max(1, len(encoded))
        answers: dict[str, list[NDArray[Any]]] = {}
        title = f"{self.combination.id}: {'golden inputs' if options.data is None else 'test images'}"
        with progress.task(title, total=len(encoded), unit="inputs") as advance:
            singles = [{bench.input.name: encoded[i : i + 1]} for i in range(len(encoded))]
            # a test set is seen once: to keep it would only wear the flash
            resident = options.resident and options.data is None
            for inference in infer_all(bench.device, singles, resident=resident):
                for name, values in inference.outputs.items():
                    answers.setdefault(name, []).append(values)
                advance(1)
        self._device = {name: np.concatenate(values) for name, values in answers.items()}

    def time(self, bench: PreparedBoard) -> None:
        """Load twice: for a leak, and for a cold first run; then repeat the first input; read the counters."""
        bench.reload()
        once = self._read_counters(bench)
        started_s = time.monotonic()
        bench.reload()
        self._load_ms = 1e3 * (time.monotonic() - started_s)
        before = self._read_counters(bench)
        options = self.options
        started_s = time.monotonic()
        timed = bench.timed(runs=options.runs, warmup=options.warmup, cores=options.cores)
        self._timed_s = time.monotonic() - started_s
        self._cold = timed.cold_cycles
        self._cycles = tuple(timed.cycles)
        after = self._read_counters(bench)
        heaps = [name for name in HEAPS if name in once and name in before]
        self._leak = int(sum(once[name][0] - before[name][0] for name in heaps)) if heaps else None
        if CLOCK_CYCLES in after and CLOCK_TIMER in after:
            cycles, timer_us = (int(after[n][0] - before[n][0]) for n in (CLOCK_CYCLES, CLOCK_TIMER))
            self._clock = ClockCheck(cycles=cycles, timer_us=timer_us)
        self._counters = {name: figure for name, figure in after.items() if name not in CLOCKS}

    @staticmethod
    def _read_counters(bench: PreparedBoard) -> dict[str, tuple[int | float, str]]:
        return {c.name: (c.value, c.unit) for c in bench.device.counters().values()}

    def profile(self, bench: PreparedBoard) -> None:
        """Cycles of each layer, from runs of their own, beside the work that the graph says it is."""
        try:
            work = work_of(bench.file)
            self._macs = total_macs(work)
            self._predicted = predicted_memory(
                bench.file, bench.target, psram_bytes=bench.device.info().psram_bytes
            )
        except UnsupportedOperator as error:
            work = ()
            self.notes.append(f"no work of the layers: {error}")
        started_s = time.monotonic()
        profiles: list[tuple[LayerCycles, ...]] = []
        try:
            while len(profiles) < PROFILES and time.monotonic() - started_s < PROFILE_S:
                profiles.append(bench.device.profile(bench.first_inputs(), cores=self.options.cores))
        except DeviceFault as error:
            self.notes.append(f"no profile of the layers: {error}")
        self._layers = layers_of(profiles, work) or None

    def judge(self, bench: PreparedBoard) -> None:
        """Ask the three references for the same inputs and compare."""
        assert self._golden is not None
        golden, model, recipe = self._golden, bench.model, bench.recipe.name
        family = bench.family
        reference = ExactReference(model, recipe, family)
        exact = reference.run(golden.inputs)
        quantized = self._quantized(bench, golden)
        float_ = FloatReference(model, model.device_outputs(bench.file)).run(golden.inputs)
        self.verdict = judge(
            self._device,
            _values(exact),
            _values(quantized) if quantized else None,
            _values(float_),
            labels=golden.labels,
            exponents={name: a.meaning for name, a in exact.items() if a.meaning is not None},
            tolerance_lsb=model.tolerance_of(recipe).device_vs_exact_lsb,
            tolerance_reason=model.tolerance_of(recipe).reason,
            classes=model.output,
            decide=model.postprocess.classes if model.postprocess.threshold is not None else None,
            headroom=reference.headroom,
        )
        answered = replace(exact[model.output], values=self._device[model.output])
        if golden.labels is not None:
            started_s = time.monotonic()
            chosen = model.postprocess.classes(answered.real())
            self._post_ms = 1e3 * (time.monotonic() - started_s) / max(1, len(chosen))
            self._confusion = confusion(golden.labels, chosen)
        if model.labels:
            self._shown = shown_inputs(answered, golden, model)

    def locate(self, bench: PreparedBoard) -> None:
        """Where a wrong device first goes wrong, by the first input it answered wrongly; saves tensors."""
        assert self.verdict is not None
        assert self._golden is not None
        worst = [output.device_vs_exact for output in self.verdict.outputs]
        firsts = [diff.first_input for diff in worst if diff.first_input is not None]
        if self.verdict.ok or not firsts:
            return
        encoded = bench.encode(self._golden.inputs)
        first = min(firsts)
        before = [{bench.input.name: encoded[first - 1 : first]}] if first else []
        try:
            self.divergence = bench.diverge({bench.input.name: encoded[first : first + 1]}, before=before)
        except UnsupportedOperator as error:
            self.notes.append(f"no first wrong layer: {error}")
            return
        if self.divergence is None:
            self.notes.append(f"input {first} was answered wrongly and, asked again, rightly: not repeatable")
            return
        folder = self.options.results / "divergence"
        saved = self.divergence.save(folder / f"{self.combination.id}.npz")
        self.notes.append(f"{self.divergence.words}; both tensors in {saved}")

    def _quantized(self, bench: PreparedBoard, golden: GoldenSet) -> Answers | None:
        try:
            return quantized_reference(bench.model, bench.recipe.name, bench.family).run(golden.inputs)
        except (QuantizeError, RuntimeFailed) as error:
            self.notes.append(f"no quantized reference: {error}")
            return None

    def row(self, duration_s: float) -> Run:
        """The row of what is known now."""
        bench, board, combination = self._bench, self._board, self.combination
        info = self._info
        return Run(
            run_id=str(uuid.uuid4()),
            session_id=self.session_id,
            started_utc=self.started.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            duration_s=duration_s,
            model=combination.model,
            recipe=combination.recipe,
            runtime=combination.runtime,
            target=combination.target.name,
            board=board.id if board else combination.board or "",
            kind=board.kind if board else _kind_asked_for(combination),
            divergence=self.divergence.words if self.divergence else "",
            location=info.model.location if info and info.model else "",
            cores_used=self.options.cores,
            inputs=len(self._golden.inputs) if self._golden else 0,
            warmup=self.options.warmup,
            cold_cycles=self._cold,
            cycles=self._cycles,
            macs=self._macs if self._macs is not None else bench.model.expected.macs if bench else None,
            counters=self._counters,
            device=_device_row(info) if info else None,
            provenance=provenance_of(
                model_sha256=bench.file.sha256 if bench else "",
                golden_sha256=self._golden.sha256 if self._golden else "",
                inputs=self._inputs_words(),
            ),
            link=self._link_row(),
            verdict=self.verdict,
            failure=self.failure,
            layers=self._layers,
            attempt=self.attempt,
            timed_s=self._timed_s,
            sizes=self.sizes,
            predicted=self._predicted,
            confusion=self._confusion,
            shown=self._shown,
            labels=bench.model.labels if bench else (),
            clock=self._clock,
            steps=self._steps(),
            leak_bytes=self._leak,
        )

    def _inputs_words(self) -> str:
        if self._golden is None or self.options.data is None or self._bench is None:
            return ""
        return f"{len(self._golden.inputs)} test images of {self._bench.model.data.file}"

    def _steps(self) -> Steps | None:
        if self._load_ms is None or self._pre_ms is None:
            return None
        return Steps(load_ms=self._load_ms, pre_ms=self._pre_ms, post_ms=self._post_ms)

    def _link_row(self) -> LinkStats | None:
        if self._board is None:
            return None
        now, before = self._board.device.link_statistics(), self._before
        moved = {f.name: getattr(now, f.name) - getattr(before, f.name) for f in fields(Statistics)}
        return LinkStats(
            bytes_up=moved["sent_bytes"],
            bytes_down=moved["received_bytes"],
            frames_up=moved["sent_frames"],
            frames_down=moved["received_frames"],
            retransmissions=moved["repeated_requests"] + moved["restarted_transfers"],
            errors=moved["noise_segments"],
            seconds=time.monotonic() - self._opened_s,
        )


def confusion(labels: NDArray[np.int64], chosen: NDArray[np.int64]) -> tuple[tuple[int, int, int], ...]:
    """How often each pair of (label, chosen class) happened, sorted; pairs that did not are left out."""
    pairs, counts = np.unique(np.stack([labels, chosen]), axis=1, return_counts=True)
    return tuple(
        (int(label), int(choice), int(count)) for (label, choice), count in zip(pairs.T, counts, strict=True)
    )


def _values(answers: Answers) -> dict[str, NDArray[Any]]:
    return {name: answer.values for name, answer in answers.items()}


def _kind_asked_for(combination: Combination) -> BoardKind:
    if combination.board == "virtual":
        return "virtual"
    if combination.board and emulator.named(combination.board):
        return "emulated"
    row = rows().get(combination.board or "")
    return "emulated" if row is not None and row.kind == "emulated" else "silicon"


def _device_row(info: DeviceInfo) -> DeviceRow:
    return DeviceRow(**{f.name: getattr(info, f.name) for f in fields(DeviceRow)})
