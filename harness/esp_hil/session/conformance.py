"""The conformance suite on a board: each case loaded, answered, compared, timed, profiled; one row each.

A case that the board refuses, or that crashes it, fails alone: the board is brought back, and the next one goes on.
Lint does not keep a case from a board here: what it says of an operator is what the suite is to find out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from esp_hil.errors import DeviceFault, HilError, UnsupportedOperator
from esp_hil.exact.esp_nn import FAULTS, faults_of, layer_of, version_of
from esp_hil.formats.espdl.model import EspdlModel
from esp_hil.formats.espdl.versions import changes_since
from esp_hil.lint.preflight import esp_nn_of
from esp_hil.models.device_file import DeviceFile
from esp_hil.models.operators import ORIGINS, OperatorCase
from esp_hil.results.conformance import outcome_of
from esp_hil.results.record import Failure, OperatorRow, Run
from esp_hil.session import steps
from esp_hil.session.options import Combination, Options
from esp_hil.session.run_builder import (
    Answered,
    Attempt,
    Judged,
    Located,
    OnBoard,
    RunBuilder,
    Timed,
)
from esp_hil.session.session import Session
from esp_hil.session.supervision import is_trouble, is_worth_a_retry
from esp_hil.targets import Family
from esp_hil.tensors import Array, Arrays
from esp_hil.verdict.diverge import Divergence, find
from esp_hil.verdict.verdict import judge

RUNS = 10
"""Timed repetitions of a case: enough for a median, short enough for hundreds of cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorMeasured:
    """What the cases of one operator and width gave on one board.

    Attributes:
        runs: rows, one for each case.
    """

    runs: tuple[Run, ...]

    @property
    def wrong(self) -> tuple[Run, ...]:
        """Those whose answer is not allowed, or that failed, and not by an operator before theirs."""
        return tuple(run for run in self.runs if outcome_of(run) in {"differs", "fails"})

    @property
    def behind(self) -> tuple[Run, ...]:
        """Those that cannot be judged, because an operator before theirs is wrong."""
        return tuple(run for run in self.runs if outcome_of(run) == "not judged")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorMeasurement:
    """Some cases on one open board.

    Attributes:
        cases: to run.
        attempt: the board and where the rows go.
        options: of the session.
    """

    cases: Sequence[OperatorCase]
    attempt: Attempt
    options: Options

    def run(self) -> OperatorMeasured:
        """All of them, in their order.

        Raises:
            BoardUnavailable: the board did not come back.
            HandshakeError: it is another chip, or its firmware has another runtime.
        """
        session = self.attempt.session
        session.connect()
        for family in {session.target.family_of(case.file.runtime) for case in self.cases[:1]}:
            session.device.require(target=session.target, family=family)
        for case in self.cases:
            if case.name not in self.attempt.finished:
                self.attempt.finished[case.name] = self._row(case)
        return OperatorMeasured(runs=tuple(self.attempt.finished.values()))

    def _row(self, case: OperatorCase) -> Run:
        """The row of a case; what broke the board is tried once more where that may end otherwise."""
        builder, failure = self.attempt.builder.of_network(case.name), None
        for again in (True, False):
            try:
                self._measure(case, builder)
            except HilError as error:
                self.attempt.session.explain(error)
                failure = Failure.of(error)
                if is_trouble(error):
                    self.attempt.session.recover(error)
                if again and is_worth_a_retry(error):
                    continue
            else:
                failure = None
            break
        located = builder.part(Located).divergence
        return replace(
            builder.build(failure),
            case=OperatorRow(
                name=case.name,
                operator=case.operator,
                bits=case.bits,
                what=case.what,
                origin=case.origin,
                elements=case.elements,
                wrong_in=located.node.op_type if located is not None and located.node is not None else "",
                fault=self._known_fault(case, builder, located),
            ),
        )

    def _measure(self, case: OperatorCase, builder: RunBuilder) -> None:
        session, file = self.attempt.session, case.file
        family = session.target.family_of(file.runtime)
        session.connect()
        session.upload(file.image, name=case.name)
        session.device.require(
            target=session.target, family=family, model_sha256=file.sha256, inputs=file.inputs
        )
        builder.add(steps.on_board(session, file))
        # the first inference after loading: some operators keep a state
        outputs = dict(session.device.infer(case.inputs, cores=self.options.cores).outputs)
        builder.add(Answered(inputs=1, outputs=_stacked(outputs), what=ORIGINS[case.origin]))
        verdict = judge(
            _stacked(outputs),
            _stacked(case.expected),
            None,
            None,
            labels=None,
            exponents={},
            tolerance_lsb=case.tolerance_lsb,
            tolerance_abs=case.tolerance_abs,
            tolerance_reason=case.why,
        )
        builder.add(Judged(verdict=verdict))
        if not verdict.ok:
            builder.add(self._located(case, file, family, outputs))
        profiled = steps.profile_layers(session, file, case.inputs, cores=self.options.cores, profiles=1)
        builder.add(self._timed(case), profiled)

    def _timed(self, case: OperatorCase) -> Timed:
        runs, warmup = min(self.options.runs, RUNS), min(self.options.warmup, 1)
        job = self.attempt.session.device.infer(
            case.inputs, repeats=runs, warmup=warmup, cores=self.options.cores
        )
        return Timed(warmup=warmup, cold_cycles=job.cold_cycles, cycles=tuple(job.cycles))

    def _located(self, case: OperatorCase, file: DeviceFile, family: Family, outputs: Arrays) -> Located:
        """Which node is wrong, and why; our reference must agree with what is expected."""
        exact = file.exact(family, esp_dl=self.attempt.session.esp_dl)
        right = exact.run(case.inputs, tensors=exact.tensor_names)
        if any(not np.allclose(right[name], values, rtol=0, atol=case.tolerance_lsb + 1e-6, equal_nan=True)
               for name, values in case.expected.items()):  # fmt: skip
            return Located(notes=("the exact reference itself disagrees with the recorded answer",))
        device = self.attempt.session.device
        wrong = [
            name
            for name, values in outputs.items()
            if not np.array_equal(values, right[name], equal_nan=True)
        ]
        try:
            found = find(
                file.content,
                family,
                case.inputs,
                right,
                lambda name: device.tensor(name, case.inputs),
                wrong=wrong,
                given={name: device.read_input(name) for name in case.inputs},
                tolerance_lsb=case.tolerance_lsb,
            )
        except (DeviceFault, UnsupportedOperator) as error:
            return Located(notes=(f"no first wrong layer: {error}",))
        return Located(divergence=found)

    def _known_fault(self, case: OperatorCase, builder: RunBuilder, found: Divergence | None) -> str:
        """The fault of ESP-NN behind a wrong answer: by its values, or because it hits the layer in this version."""
        content = case.file.content
        verdict = builder.part(Judged).verdict
        if verdict is None or verdict.ok:
            return ""
        if isinstance(content, EspdlModel):
            version = self.attempt.session.esp_dl
            found_changes = changes_since(version, content.graph)
            return next((f"ESP-DL {version} {change.before}" for _, change in found_changes), "")
        if found is not None and found.diagnosis.kind == "known fault":
            said = found.diagnosis.summary
            return next((fault.label for fault in FAULTS if fault.summary in said), "")
        info = builder.part(OnBoard).info
        version = esp_nn_of(info.engine_version) if info is not None else ""
        if not version or version == "off":
            return ""
        for operator in content.operators:
            layer = layer_of(content.subgraphs[0], operator)
            if layer is not None:
                chip = self.attempt.session.target.name
                return next((fault.label for fault in faults_of(layer, chip, version_of(version))), "")
        return ""


def _stacked(outputs: Arrays) -> dict[str, Array]:
    """As one input's answers, the batch of 1 in front; truth values as integers."""
    return {
        name: (values.astype(np.uint8) if values.dtype.kind == "b" else values)[None]
        for name, values in outputs.items()
    }


def run_operator(session: Session, combination: Combination) -> OperatorMeasured | HilError:
    """Run the cases of an operator on its board and record their rows; or why the board cannot go on."""

    def measure(attempt: Attempt) -> OperatorMeasured:
        return OperatorMeasurement(cases=combination.cases, attempt=attempt, options=session.options).run()

    return session.run(combination, measure)
