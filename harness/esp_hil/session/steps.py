"""The steps of a run on a board that is ready: each asks the device something and returns a frozen value.

The conformance suite shares those that need no catalogue's model, such as `profile_layers`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from esp_hil.counters import CLOCK_CYCLES, CLOCK_TIMER
from esp_hil.device.device import RUN_S
from esp_hil.device.resident import infer_all
from esp_hil.errors import DeviceFault, QuantizeError, RuntimeFailed, UnsupportedOperator
from esp_hil.goldens.build import find_data
from esp_hil.goldens.references import (
    Answers,
    DeviceFileReference,
    FloatReference,
    ReferenceOutput,
    quantized_reference,
)
from esp_hil.models.boxes import Boxes
from esp_hil.models.catalogue import GoldenSet
from esp_hil.models.device_file import DeviceFile
from esp_hil.models.pipeline import NAME as BOXES
from esp_hil.progress import Progress
from esp_hil.results.record import ClockCheck
from esp_hil.results.timing.profiling import layers_of, predicted_latency, predicted_memory
from esp_hil.results.timing.work import total_macs, work_of
from esp_hil.session.board_session import BoardSession
from esp_hil.session.options import Options
from esp_hil.session.prepared_board import HEAPS, PreparedBoard
from esp_hil.session.run_builder import Answered, Figures, Judged, Located, OnBoard, Profiled, Timed
from esp_hil.session.shown import shown_inputs
from esp_hil.tensors import Affine, Array, Arrays
from esp_hil.verdict.measures import Measure, Source, measured
from esp_hil.verdict.verdict import judge
from esp_hil.wire.info import LayerCycles

CLOCKS = (CLOCK_CYCLES, CLOCK_TIMER)
"""Counters that tell nothing by themselves: what passed between two readings does."""

PROFILES = 3
"""Profiled runs: enough for a median of each layer."""

PROFILE_S = 5.0
"""Profiling stops when it has taken so long."""


def on_board(session: BoardSession, file: DeviceFile, *, macs: int | None = None) -> OnBoard:
    """What the device says of itself, with this file loaded."""
    return OnBoard(info=session.device.info(), model_sha256=file.sha256, macs=macs)


def on_prepared(board: PreparedBoard) -> OnBoard:
    """The same of a model of the catalogue."""
    found = on_board(board.session, board.file, macs=board.model.expected.macs or None)
    return replace(found, labels=board.model.labels)


def golden_of(board: PreparedBoard, options: Options) -> GoldenSet:
    """The golden inputs, or the test images that the options name."""
    if options.data is None:
        return board.model.golden(options.inputs)
    return board.model.test_set(find_data(board.model, options.data), options.inputs)


def answer_inputs(board: PreparedBoard, golden: GoldenSet, options: Options, progress: Progress) -> Answered:
    """Send all inputs; keep the device's answers (integers, device layout)."""
    started_s = time.monotonic()
    encoded = board.encode(golden.arrays)
    pre_ms = golden.made_ms + 1e3 * (time.monotonic() - started_s) / len(golden)
    what = "golden inputs" if options.data is None else "test images"
    title = f"{board.model.name}-{board.recipe.name}-{board.target.name}: {what}"
    began_s = time.monotonic()
    with progress.task(title, total=len(golden), unit="inputs") as advance:
        if board.steps:
            outputs, encoded = board.answer_steps(encoded, golden.starts, advance)
        else:
            # a test set is seen once: to keep it would only wear the flash
            resident = options.resident and options.data is None
            outputs = _answers(board, encoded, len(golden), resident=resident, advance=advance)
    return Answered(
        inputs=len(golden),
        outputs=outputs,
        sent=encoded,
        golden_sha256=golden.sha256,
        what="" if options.data is None else f"{len(golden)} test images of {board.model.data.file}",
        pre_ms=pre_ms,
        seconds=time.monotonic() - began_s,
    )


def allowed_s(answered: Answered, options: Options) -> float:
    """Seconds that the timed runs may take; yolo11n in an ESP32-S3's flash needs 26 of them for each."""
    each_s = answered.seconds / max(1, answered.inputs)
    return max(RUN_S, _SLOWER * each_s * (1 + options.warmup + options.runs))


_SLOWER = 3.0
"""Than the mean of the answers an inference can be before the board is taken for hung."""


def _answers(
    board: PreparedBoard, encoded: Arrays, count: int, *, resident: bool, advance: Callable[[int], None]
) -> dict[str, Array]:
    """Inferences that know nothing of each other: while one is computed the next is already on its way."""
    singles = [board.tensors.single(encoded, row) for row in range(count)]
    answers: dict[str, list[Array]] = {}
    for inference in infer_all(board.device, singles, resident=resident):
        for name, values in inference.outputs.items():
            answers.setdefault(name, []).append(values.reshape(board.tensors.outputs[name].item))
        advance(1)
    return {name: np.stack(values) for name, values in answers.items()}


def time_inference(
    session: BoardSession, inputs: Arrays, *, runs: int, warmup: int, cores: int, timeout_s: float = RUN_S
) -> Timed:
    """Load twice, for a leak and for a cold first run; then repeat one input; read the counters.

    Args:
        session: with the model loaded.
        inputs: the one that is repeated, by name, in the device's shape and dtype.
        runs: that are kept.
        warmup: before them.
        cores: 1 or 2.
        timeout_s: for all runs.

    Raises:
        HilError: the device refused, or the line failed.
    """
    loaded = load_twice(session)
    before = read_counters(session)
    started_s = time.monotonic()
    job = session.device.infer(inputs, repeats=runs, warmup=warmup, cores=cores, timeout_s=timeout_s)
    timed_s = time.monotonic() - started_s
    after = read_counters(session)
    clock = None
    if CLOCK_CYCLES in after and CLOCK_TIMER in after:
        cycles, timer_us = (int(after[n][0] - before[n][0]) for n in CLOCKS)
        clock = ClockCheck(cycles=cycles, timer_us=timer_us)
    return replace(
        loaded,
        warmup=warmup,
        cold_cycles=job.cold_cycles,
        cycles=tuple(job.cycles),
        timed_s=timed_s,
        counters={name: figure for name, figure in after.items() if name not in CLOCKS},
        clock=clock,
    )


def load_twice(session: BoardSession) -> Timed:
    """Load the model again, and once more: the time of a load, and what it takes of the heap for good."""
    session.reload()
    once = read_counters(session)
    started_s = time.monotonic()
    session.reload()
    load_ms = 1e3 * (time.monotonic() - started_s)
    twice = read_counters(session)
    heaps = [name for name in HEAPS if name in once and name in twice]
    leak = int(sum(once[name][0] - twice[name][0] for name in heaps)) if heaps else None
    return Timed(load_ms=load_ms, leak_bytes=leak)


def read_counters(session: BoardSession) -> dict[str, tuple[int | float, str]]:
    """All counters of the device now: value and unit by name."""
    return {one.name: (one.value, one.unit) for one in session.device.counters().values()}


def profile_layers(
    session: BoardSession, file: DeviceFile, inputs: Arrays, *, cores: int, profiles: int = PROFILES
) -> Profiled:
    """Cycles of each layer, from runs of their own, beside the work that the graph says it is."""
    notes: list[str] = []
    macs: int | None = None
    predicted: Figures = {}
    try:
        work = work_of(file)
        macs = total_macs(work)
        device = session.device.info()
        predicted = {
            **predicted_memory(file, session.target, psram_bytes=device.psram_bytes),
            **predicted_latency(file, session.target, clock_hz=device.clock_hz),
        }
    except UnsupportedOperator as error:
        work = ()
        notes.append(f"no work of the layers: {error}")
    started_s = time.monotonic()
    taken: list[tuple[LayerCycles, ...]] = []
    try:
        while len(taken) < profiles and time.monotonic() - started_s < PROFILE_S:
            taken.append(session.device.profile(inputs, cores=cores))
    except DeviceFault as error:
        notes.append(f"no profile of the layers: {error}")
    return Profiled(layers=layers_of(taken, work) or None, macs=macs, predicted=predicted, notes=tuple(notes))


def judge_answers(board: PreparedBoard, golden: GoldenSet, answered: Answered) -> Judged:
    """Ask the references that there are for the same inputs and compare; what is missing is said."""
    model, recipe, notes = board.model, board.recipe.name, list[str]()
    reference = DeviceFileReference(model, recipe, board.family, esp_dl=board.session.esp_dl)
    exact, whole = reference.run_whole(golden.arrays, golden.starts)
    quantized = float_ = None
    try:
        quantized = _quantized(board, whole, golden.starts, notes)
    except (QuantizeError, RuntimeFailed) as error:
        notes.append(f"no quantized reference: {error}")
    if model.float_file:
        float_ = FloatReference(model, board.tensors.outputs, board.tensors.inputs).run(
            golden.arrays, golden.starts
        )
    else:
        notes.append("no float model: what quantization costs is not known")
    labelled = model.classifier
    device = {
        name: ReferenceOutput.of(tensor, answered.outputs[name])
        for name, tensor in board.tensors.outputs.items()
    }
    measures, post_ms = _measures(
        board, golden, {"device": device, "exact": exact, "quantized": quantized, "float": float_}
    )
    verdict = judge(
        answered.outputs,
        _values(exact),
        _values(quantized) if quantized else None,
        _values(float_) if float_ else None,
        labels=golden.labels if labelled else None,
        exponents={name: a.meaning or Affine(scale=1.0) for name, a in exact.items()},
        tolerance_lsb=model.tolerance_of(recipe).device_vs_exact_lsb,
        tolerance_reason=model.tolerance_of(recipe).reason,
        classes=labelled.name if labelled else None,
        decide=model.postprocess.classes if model.postprocess.threshold is not None else None,
        headroom=reference.headroom,
        doubts=reference.doubts,
        measures=measures,
    )
    table: tuple[tuple[int, int, int], ...] = ()
    if labelled and golden.labels is not None:
        started_s = time.monotonic()
        chosen = model.postprocess.classes(device[labelled.name].real())
        post_ms = 1e3 * (time.monotonic() - started_s) / max(1, len(chosen))
        table = confusion(golden.labels, chosen)
    return Judged(
        verdict=verdict,
        confusion=table,
        shown=shown_inputs(device[labelled.name], golden, model) if labelled else (),
        post_ms=post_ms,
        notes=tuple(notes),
    )


def _quantized(
    board: PreparedBoard, inputs: Arrays, starts: NDArray[np.bool_], notes: list[str]
) -> Answers | None:
    """What the quantizer believes; None, and a note, where nobody can tell."""
    if board.recipe.given and board.recipe.runtime == "espdl":
        notes.append("quantizer: not checked: an .espdl file does not hold what esp-ppq's executor answers")
        return None
    return quantized_reference(board.model, board.recipe.name, board.family).run(inputs, starts)


def _measures(
    board: PreparedBoard, golden: GoldenSet, answers: Mapping[Source, Answers | None]
) -> tuple[tuple[Measure, ...], float | None]:
    """Figures of every output by its meaning; milliseconds that the pipeline took for one of the device's answers."""
    found: list[Measure] = []
    post_ms: float | None = None
    reals: dict[Source, dict[str, Array]] = {}
    for name, tensor in board.tensors.outputs.items():
        spec = board.model.output_spec(name)
        sources: dict[Source, Array] = {
            source: tensor.restore(given[name].real())
            for source, given in answers.items()
            if given is not None
        }
        found += measured(name, spec.reading, sources, golden.expected.get(name), spec.limits)
        for source, values in sources.items():
            reals.setdefault(source, {})[name] = values
    pipeline = board.model.opened_pipeline()
    if pipeline is not None:
        started_s = time.monotonic()
        boxes: dict[Source, list[Boxes]] = {"device": pipeline.find(reals["device"])}
        post_ms = 1e3 * (time.monotonic() - started_s) / len(golden)
        boxes |= {source: pipeline.find(outputs) for source, outputs in reals.items() if source != "device"}
        found += pipeline.measures(boxes, golden.expected.get(BOXES))
    return tuple(found), post_ms


def locate(
    board: PreparedBoard, golden: GoldenSet, answered: Answered, judged: Judged, options: Options
) -> Located:
    """Where a wrong device first goes wrong, by the first input it answered wrongly; saves tensors."""
    assert judged.verdict is not None
    worst = [output.device_vs_exact for output in judged.verdict.outputs]
    firsts = [diff.first_input for diff in worst if diff.first_input is not None]
    if judged.verdict.ok or not firsts:
        return Located()
    first = min(firsts)
    began = max(0, first - 1)
    if board.file.keeps_state:
        began = int(np.flatnonzero(golden.starts[: first + 1])[-1])
    before = [board.tensors.single(answered.sent, row) for row in range(began, first)]
    try:
        found = board.diverge(board.tensors.single(answered.sent, first), before=before)
    except UnsupportedOperator as error:
        return Located(notes=(f"no first wrong layer: {error}",))
    if found is None:
        return Located(
            notes=(f"input {first} was answered wrongly and, asked again, rightly: not repeatable",)
        )
    title = f"{board.model.name}-{board.recipe.name}-{board.target.name}"
    file = f"divergence/{title}.npz"
    saved = found.save(options.results / file)
    return Located(divergence=found, file=file, notes=(f"{found.summary}; both tensors in {saved}",))


def confusion(labels: NDArray[np.int64], chosen: NDArray[np.int64]) -> tuple[tuple[int, int, int], ...]:
    """How often each pair of (label, chosen class) happened, sorted; pairs that did not are left out."""
    pairs, counts = np.unique(np.stack([labels, chosen]), axis=1, return_counts=True)
    return tuple(
        (int(label), int(choice), int(count)) for (label, choice), count in zip(pairs.T, counts, strict=True)
    )


def _values(answers: Answers) -> dict[str, Array]:
    return {name: answer.values for name, answer in answers.items()}
