"""The straight line of one run: board, model, inputs, answers, figures, verdict, row.

select the board -> open -> hello -> upload what changed -> load -> infer all inputs -> timed runs -> counters
-> references -> judge -> record at once
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from esp_hil.boards.select import find_port, select
from esp_hil.errors import BoardUnavailable, ConfigError, HilError, HistoryUnreachable, ReportError
from esp_hil.models.benchmarks import Entry
from esp_hil.models.catalogue import Model
from esp_hil.progress import Progress
from esp_hil.report.comment import keep_left_out
from esp_hil.results.configs import keep_config
from esp_hil.results.history_url import shown
from esp_hil.results.journal import RUNS_FILE, Recorder, read_runs
from esp_hil.results.outcome import deciding, reason_of, status_of
from esp_hil.results.record import Addendum, Check, Failure, Run
from esp_hil.results.regress import Comparison, Rules
from esp_hil.results.regress.comparable import check_names
from esp_hil.results.regress.gates import with_thresholds
from esp_hil.session import steps
from esp_hil.session.baseline import Baseline, base_rows
from esp_hil.session.board_session import BoardSession
from esp_hil.session.checks import Causes
from esp_hil.session.energy import Wiring, measure_energy
from esp_hil.session.fleet import Fleet
from esp_hil.session.mlperf_tiny import BenchmarkResult, measure_windows, rated
from esp_hil.session.options import Combination, Options, combinations, window_s
from esp_hil.session.prepared_board import PreparedBoard
from esp_hil.session.publishing import Publication, check_history, publish
from esp_hil.session.run_builder import Answered, Attempt, HasRuns, RunBuilder
from esp_hil.session.supervision import is_trouble, is_worth_a_retry, keep_log
from esp_hil.verdict.diverge import Divergence
from esp_hil.verdict.verdict import Verdict
from esp_hil.virtual import load_plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one run gave: the row, and what the tests of the suites ask beside it.

    Attributes:
        run: the row.
        verdict: of the device's answers.
        model: that was run.
        options: of the session.
        answered: what was sent and answered.
        divergence: where a wrong device first goes wrong.
        benchmark: of MLPerf Tiny's models, what its rules say.
    """

    run: Run
    verdict: Verdict
    model: Model
    options: Options
    answered: Answered = field(repr=False)
    divergence: Divergence | None = None
    benchmark: BenchmarkResult | None = None

    @property
    def runs(self) -> tuple[Run, ...]:
        """Its one row."""
        return (self.run,)

    @property
    def story(self) -> str:
        """The verdict with its table and, if the device is wrong, where it first goes wrong and why."""
        text = self.verdict.text()
        return text if self.divergence is None else f"{text}\n{self.divergence.text()}"


R = TypeVar("R", bound=HasRuns)

if TYPE_CHECKING:
    from pytest_embedded_serial.dut import SerialDut as Dut


def baseline_of(options: Options) -> Baseline | None:
    """What the options ask to compare with.

    Raises:
        ReportError: it cannot be read. ConfigError: a condition or a threshold has no meaning.
    """
    rules = Rules(
        gates=with_thresholds(options.thresholds),
        across=check_names(options.across),
        gate_simulated=options.gate_simulated,
    )
    if options.baseline is None:
        return None
    kept = options.history == options.baseline
    rows = base_rows(options.baseline, first=kept, create=kept)
    return Baseline(rows, rules, tests=max(1, len(combinations(options))))


def check_boards(options: Options, found: Iterable[Combination]) -> None:
    """Look for the boards of a session before anything is run; none is opened.

    Where some of several chips have a board those are tested, and the first test of the others says what is wrong.

    Raises:
        ConfigError: no such board, or it has another chip.
        BoardUnavailable: no chip of the session has a board.
    """
    asked = {
        (combination.target.name, combination.board): combination
        for combination in found
        if not combination.unsuited
    }
    gone: list[BoardUnavailable] = []
    for combination in asked.values():
        try:
            find_port(
                select(combination.target, board=combination.board, port=options.port, baud=options.baud)
            )
        except BoardUnavailable as error:
            gone.append(error)
    if asked and len(gone) == len(asked):
        raise gone[0]


class Session:
    """All runs of one pytest session: opens each board once, records each run at once.

    Args:
        options: the command line.
        progress: where long work is shown.
        session_id: of the session that this is a part of (a worker of pytest-xdist); "": a new one.

    Raises:
        ReportError: the results folder cannot be written, the baseline not read, or the history not used.
        ConfigError: the plan of virtual faults, a condition or a threshold has no meaning.
    """

    def __init__(self, options: Options, progress: Progress, session_id: str = "") -> None:
        self.options = options
        self.id = session_id or str(uuid.uuid4())
        self.rows: list[Run] = []
        self.published = Publication()
        self.not_compared = ""
        self.left_out: list[str] = []
        self._progress = progress
        self._recorded = 0
        self._recorder = Recorder(options.results / RUNS_FILE)
        self._measured: dict[Combination, Measured | HilError] = {}
        self._judged: dict[Combination, str] = {}
        self._waiting: dict[Combination, list[Check]] = {}
        self.causes = Causes()
        self._compared: dict[Combination, Comparison] = {}
        faults = load_plan(options.virtual_faults) if options.virtual_faults else None
        self.fleet = Fleet(options, faults, progress)
        self.baseline: Baseline | None = None
        try:
            self.baseline = baseline_of(options)
        except HistoryUnreachable as error:
            self.not_compared = f"the baseline does not answer: {error.message}"
        for trouble in (self.not_compared, check_history(options.history)):
            if trouble:
                progress.say(f"ATTENTION: {trouble}")

    def open(self, combination: Combination) -> BoardSession:
        """The board of the combination, opened once; what is on it is the caller's business.

        Raises:
            HilError: it cannot be opened.
        """
        return self.fleet.held(combination)

    def leave(self, combination: Combination) -> None:
        """Let go of the combination's board: no more tests are on it."""
        self.fleet.leave(combination)

    @contextmanager
    def frames(self, combination: Combination, dut: Dut) -> Iterator[PreparedBoard]:
        """The board prepared for frames while the reader of pytest-embedded's `dut` pauses.

        Raises:
            ConfigError: the board is behind a socket, which takes one connection at a time.
            HilError: as `prepared`.
        """
        held = self.fleet.held(combination)
        if held.board.url.startswith("socket://"):
            raise ConfigError(
                "a socket takes one connection: frames and a dut need a serial port",
                hint="run console tests on a serial port or a pty",
                board=held.id,
            )
        with dut.serial.disable_redirect_thread():
            held.take_back()
            try:
                yield self.prepared(combination)
            finally:
                held.lend()

    def record(self, row: Run) -> None:
        """Write a row to the file at once and show its verdict; also one that a suite made itself."""
        self._recorder.append(row)
        self.rows.append(row)
        self._recorded += 1
        said = row.verdict.summary if row.verdict else row.failure.message if row.failure else "no verdict"
        if row.case is not None:
            said = said.partition(";")[0]  # there is no quantizer, and no price
        self._progress.say(f"{row.title}: {said}")

    def checked(self, combination: Combination, check: Check) -> None:
        """Keep what a test of the suites said of the combination's row, which may come later.

        Raises:
            ReportError: the file of rows cannot be written.
        """
        run_id = self._judged.get(combination)
        if run_id is None:
            self._waiting.setdefault(combination, []).append(check)
            return
        self._recorder.amend(Addendum(check_of=run_id, check=check))
        self.rows = [run.judged(check) if run.run_id == run_id else run for run in self.rows]

    def prepared(self, combination: Combination) -> PreparedBoard:
        """The board of the combination with its model loaded; a board that broke is brought back once.

        Raises:
            HilError: it cannot be opened, brought back or prepared.
        """
        held = self.fleet.held(combination)
        try:
            return self.fleet.prepared(combination)
        except HilError as error:
            held.explain(error)
            if not is_trouble(error) or not self._recovered(held, combination, error):
                raise
            return self.fleet.prepared(combination)

    def measure(self, combination: Combination) -> Measured:
        """Run the combination, record the row, judge it; a second call gives the first one's result.

        Raises:
            HilError: the board, the link or the model failed; a row that says so was recorded.
        """
        known = self._measured.get(combination)
        if known is None:
            known = self._measured[combination] = self._measure(combination)
        if isinstance(known, HilError):
            raise known
        return known

    def against(self, combination: Combination) -> Comparison:
        """Compare the combination with the baseline; what is worse is run again first, and must stay so.

        Raises:
            ReportError: there is no baseline.
            HilError: as `measure`.
        """
        if self.baseline is None:
            raise ReportError("no baseline", hint="give one with --hil-baseline", step="compare")
        if combination not in self._compared:
            attempts = [self.measure(combination).run]
            found = self.baseline.judge(attempts)
            if found.regressions:
                again = self._measure(combination, attempt=2)
                if isinstance(again, Measured):
                    found = self.baseline.judge([*attempts, again.run])
            self._compared[combination] = found
        return self._compared[combination]

    def _measure(self, combination: Combination, attempt: int = 1) -> Measured | HilError:
        return self.run(combination, self._measured_once, attempt)

    def run(
        self, combination: Combination, measure: Callable[[Attempt], R], attempt: int = 1
    ) -> R | HilError:
        """Run something on the combination's board and record its rows; once more if the board broke in between.

        Args:
            combination: what is run.
            measure: does it, once.
            attempt: the number of the first one.

        Returns:
            What `measure` gave, or the error of the last attempt, of which a row was recorded.
        """
        found = self._with_second_attempt(combination, measure, attempt)
        if attempt == 1:
            self._choose_judged(combination)
        return found

    def _choose_judged(self, combination: Combination) -> None:
        """Which row the tests of a combination judge: of the last attempt the first that is not right, else the first.

        Operators have a row for each of their cases.
        """
        last = self.rows[-self._recorded :]
        wrong = [row for row in last if not row.passed]
        self._judge(combination, (wrong or last)[0].run_id)

    def judge_with(self, combination: Combination, parts: Sequence[Combination]) -> None:
        """Put what tests say of a task into the row of its first network that is not right, else of its first."""
        ids = [self._judged[part] for part in parts]
        rows = {row.run_id: row for row in self.rows}
        wrong = [run_id for run_id in ids if not rows[run_id].passed]
        self._judge(combination, (wrong or ids)[0])

    def _judge(self, combination: Combination, run_id: str) -> None:
        self._judged[combination] = run_id
        for check in self._waiting.pop(combination, []):
            self.checked(combination, check)

    def _with_second_attempt(
        self, combination: Combination, measure: Callable[[Attempt], R], attempt: int
    ) -> R | HilError:
        found = self._attempt(combination, measure, attempt)
        if not isinstance(found, HilError):
            return found
        held = self.fleet.open_one(combination)
        if held is None or not is_trouble(found):
            return found
        if not self._recovered(held, combination, found) or not is_worth_a_retry(found):
            return found
        found = self._attempt(combination, measure, attempt + 1)
        if isinstance(found, HilError) and is_trouble(found) and (gone := held.supervisor.judge(found)):
            self.fleet.give_up(combination, gone)
        return found

    def _attempt(
        self, combination: Combination, measure: Callable[[Attempt], R], number: int
    ) -> R | HilError:
        builder = RunBuilder(combination, session_id=self.id, attempt=number, cores=self.options.cores)
        attempt: Attempt | None = None
        self._recorded = 0
        try:
            session = self.fleet.held(combination)
            attempt = Attempt(session=session, builder=builder)
            builder.opened(session)
            if session.image is not None:
                keep_config(self.options.results, session.image.folder)
            result = measure(attempt)
        except HilError as error:
            if attempt is None:
                self.record(builder.build(Failure.of(error)))
            else:
                self._record_failed(attempt, error)
            return error
        session.supervisor.fine()
        for row in result.runs:
            self.record(row)
        return result

    def _record_failed(self, attempt: Attempt, error: HilError) -> None:
        """The rows that were finished before, that of the step that failed, and its log if the board is in trouble."""
        attempt.session.explain(error)
        for finished in attempt.finished.values():
            self.record(finished)
        row = attempt.builder.build(Failure.of(error))
        self.record(row)
        if is_trouble(error):
            console = [line.text for line in attempt.session.device.console]
            self._progress.say(f"log: {keep_log(self.options.results, row, error, console)}")

    def _measured_once(self, attempt: Attempt) -> Measured:
        """The steps of one run of a model."""
        builder, options = attempt.builder, self.options
        board = self.fleet.prepared(builder.combination)
        builder.add(steps.on_prepared(board))
        golden = steps.golden_of(board, options)
        answered = steps.answer_inputs(board, golden, options, self._progress)
        builder.add(answered)
        first = board.first_inputs()
        timed = steps.time_inference(
            board.session,
            first,
            runs=options.runs,
            warmup=options.warmup,
            cores=options.cores,
            timeout_s=steps.allowed_s(answered, options),
        )
        wiring = Wiring.of(options, board.session.id)
        if wiring.meter:
            builder.add(measure_energy(board.session, timed, options, wiring))
        entry = builder.combination.resolved
        windows = None
        if isinstance(entry, Entry):
            timed, windows = measure_windows(
                board, first, timed, window_s=window_s(options), cores=options.cores
            )
        builder.add(timed)
        builder.add(steps.profile_layers(board.session, board.file, first, cores=options.cores))
        judged = steps.judge_answers(board, golden, answered)
        located = steps.locate(board, golden, answered, judged, options)
        builder.add(judged, located)
        benchmark = None
        if isinstance(entry, Entry) and windows is not None:
            benchmark = rated(board, entry, windows, answered)
            builder.add(replace(timed, counters={**timed.counters, **benchmark.figures}))
        assert judged.verdict is not None
        row = builder.build()
        for note in builder.notes:
            self._progress.say(f"{row.title}: {note}")
        return Measured(
            run=row,
            verdict=judged.verdict,
            model=board.model,
            options=options,
            answered=answered,
            divergence=located.divergence,
            benchmark=benchmark,
        )

    def _recovered(self, held: BoardSession, combination: Combination, error: HilError) -> bool:
        """Bring a board back; False if it is given up."""
        try:
            held.recover(error)
        except BoardUnavailable as gone:
            self.fleet.give_up(combination, gone)
            return False
        return True

    def gather(self) -> None:
        """Take over the rows that workers have recorded for this session."""
        self.rows = [run for run in read_runs(self._recorder.path).runs if run.session_id == self.id]

    def wrong(self, combination: Combination) -> str:
        """The test that said that the combination's answers are wrong; "" if they are right or none has said so."""
        judged = [run for run in self.rows if run.run_id == self._judged.get(combination)]
        red = [check.name for run in judged if status_of(run) == "wrong" for check in run.red_checks]
        return red[0] if red else ""

    def unasked(self) -> list[str]:
        """Rows that are not ok though all tests that were run may be green: nobody asked; one line each."""
        counts = deciding(self.rows)
        return [
            f"{run.title} is {status_of(run)}: {reason_of(run)}"
            for run, counted in zip(self.rows, counts, strict=True)
            if counted and status_of(run) != "ok"
        ]

    def publish(self, stopped: str = "") -> None:
        """Write the reports and the comparison from the rows, then put them into the history.

        Args:
            stopped: why the session ended before all was run; "": it did not.
        """
        if self.rows:
            keep_left_out(self.options.results, self.left_out)
            self.published = publish(
                self.rows,
                self.options.results,
                history=self.options.history,
                baseline=self.baseline,
                not_compared=self.not_compared,
                source=shown(self.options.baseline or ""),
                stopped=stopped,
            )

    def summary(self) -> list[str]:
        """The short table, what the baseline says, the paths of the reports, what could not be done, line by line."""
        from esp_hil.report import summary
        from esp_hil.report.changes import as_text

        lines = summary(self.rows).splitlines()
        done = self.published
        if done.comparison is not None:
            source = shown(str(self.options.baseline))
            lines += ["", f"compared with {source}:", *as_text(done.comparison).splitlines()]
        lines += [f"{name:8} {path}" for name, path in sorted(done.reports.items())]
        return [*lines, *(f"ATTENTION: {trouble}" for trouble in done.troubles)]

    def close(self) -> None:
        """Close the boards; virtual and emulated ones are ended."""
        self.fleet.close()
