"""Rows as a night of runs would leave them, made with a fixed seed."""

from __future__ import annotations

import dataclasses
import uuid

import numpy as np

from esp_hil.models.boxes import as_boxes
from esp_hil.models.pipeline import Pipeline, PipelineSpec
from esp_hil.results.record import DeviceRow, Failure, Layer, LinkStats, Provenance, Run, Steps
from esp_hil.targets import target
from esp_hil.verdict.measures import Measure, Reading, measured
from esp_hil.verdict.verdict import Verdict, judge

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def sample_verdict(*, wrong: int = 0, inputs: int = 100, seed: int = 1, tolerance_lsb: int = 0) -> Verdict:
    """A verdict over `inputs` inputs of 10 classes, with `wrong` elements of the device's answer off."""
    rng = np.random.default_rng(seed)
    float_ = rng.normal(0, 8, (inputs, 10)).astype(np.float32)
    exact = np.clip(np.round(float_ * 4), -128, 127).astype(np.int8)
    device = exact.copy()
    off = rng.choice(device.size, wrong, replace=False)
    device.reshape(-1)[off] ^= rng.integers(1, 32, wrong).astype(np.int8)
    labels = np.argmax(float_, axis=1)
    return judge(
        {"prob": device},
        {"prob": exact},
        {"prob": exact},
        {"prob": float_},
        labels=labels,
        exponents={"prob": -2},
        tolerance_lsb=tolerance_lsb,
    )


def sample_measures(seed: int = 1) -> tuple[Measure, ...]:
    """Figures of a regression and of a segmentation, against the float model and against what is expected."""
    rng = np.random.default_rng(seed)
    angle = rng.normal(0, 8, (20, 3)).astype(np.float32)
    mask = rng.normal(0, 8, (20, 2, 4, 4)).astype(np.float32)
    found: tuple[Measure, ...] = ()
    for name, reading, right, expected in (
        ("angle", Reading(meaning="values", tolerance=0.5, unit="deg"), angle, angle + 0.25),
        ("mask", Reading(meaning="dense"), mask, mask.argmax(axis=1)),
    ):
        noise = rng.normal(0, 0.3, right.shape).astype(np.float32)
        found += measured(name, reading, {"device": right + noise, "float": right}, expected)
    seen = [as_boxes([[0, 0, 2, 2, 0.9, 1]])]
    pipeline = Pipeline(spec=PipelineSpec(file="pipeline.py", iou=0.5, gates=()), before=None, after=len)
    return found + pipeline.measures({"device": seen, "float": seen}, np.array([[[0, 0, 2, 2, 1]]]))


def sample_run(
    *,
    model: str = "mnist",
    target_name: str = "esp32p4",
    kind: str = "silicon",
    wrong: int = 0,
    median_ms: float = 2.5,
    seed: int = 1,
    **changes: object,
) -> Run:
    """One row; `changes` replace fields of the finished row."""
    chip = target(target_name)
    rng = np.random.default_rng(seed)
    base = median_ms * 1e-3 * chip.clock_hz
    noise = 1 + 0.004 * np.abs(rng.standard_normal(100))
    run = Run(
        run_id=str(uuid.UUID(int=int(rng.integers(1 << 62)), version=4)),
        session_id="6e2f3f2e-0d2b-4a63-9a39-2f7a5d6b1c11",
        started_utc="2026-03-14T02:00:00Z",
        duration_s=4.25,
        model=model,
        recipe="w8a8",
        runtime="espdl",
        target=target_name,
        board="virtual" if kind == "virtual" else f"{target_name}-a",
        kind=kind,  # type: ignore[arg-type]
        location="partition",
        cores_used=1,
        inputs=100,
        warmup=3,
        cold_cycles=int(1.8 * base),
        cycles=tuple(int(base * factor) for factor in noise),
        macs=3_871_744,
        counters={"arena_bytes": (131_072, "B"), "heap_low_bytes": (201_344, "B"), "load_us": (8123.5, "us")},
        device=DeviceRow(
            chip=target_name,
            revision=102,
            cores=chip.cores,
            clock_hz=chip.clock_hz,
            flash_bytes=chip.flash_bytes,
            psram_bytes=chip.psram_bytes,
            idf="v5.5.1",
            engine="espdl",
            engine_version="3.3.9",
            protocol=1,
            sdkconfig_sha256=SHA,
            image_sha256=SHA[::-1],
            mac="30:ed:a0:00:00:01",
        ),
        provenance=Provenance(
            git_sha="0123456789abcdef0123456789abcdef01234567",
            dirty=False,
            model_sha256=SHA,
            golden_sha256=SHA,
            tools={"python": "3.11.9", "onnxruntime": "1.22.0"},
        ),
        link=LinkStats(
            bytes_up=429_456,
            bytes_down=12_400,
            frames_up=440,
            frames_down=210,
            retransmissions=2,
            errors=1,
            seconds=3.9,
        ),
        verdict=sample_verdict(wrong=wrong, seed=seed),
        steps=Steps(load_ms=225.0, pre_ms=0.75, post_ms=0.25),
        leak_bytes=0,
        layers=(
            Layer(
                name="/conv1/Conv",
                operator="Conv",
                cycles=(400_000, 401_000),
                macs=2_000_000,
                parameter_bytes=1200,
                activation_bytes=2000,
            ),
            Layer(name="/fc/Gemm", operator="Gemm", cycles=(90_000, 90_100)),
        ),
    )
    return dataclasses.replace(run, **changes)  # type: ignore[arg-type]


def failed_run(*, model: str = "mnist", message: str = "no answer within 2 s", **changes: object) -> Run:
    """A row of a run that broke before its handshake."""
    broken = dataclasses.replace(
        sample_run(model=model),
        device=None,
        verdict=None,
        layers=None,
        link=None,
        cycles=(),
        cold_cycles=None,
        counters={},
        steps=None,
        leak_bytes=None,
        failure=Failure(kind="timeout", message=message, step="load"),
    )
    return dataclasses.replace(broken, **changes)  # type: ignore[arg-type]


def a_night() -> list[Run]:
    """Silicon, virtual and broken rows, one of them wrong."""
    return [
        sample_run(),
        sample_run(target_name="esp32s3", median_ms=6.1, seed=2, wrong=7),
        sample_run(target_name="esp32c3", median_ms=41.0, seed=3, cores_used=1),
        sample_run(kind="virtual", median_ms=2.4, seed=4),
        sample_run(kind="virtual", target_name="esp32s3", median_ms=5.9, seed=5),
        failed_run(board="esp32s3-b", target="esp32s3", run_id="00000000-0000-4000-8000-000000000006"),
    ]


def with_cycles(run: Run, factor: float) -> Run:
    """The run made again in another session, each of its cycles `factor` times as many."""
    again = dataclasses.replace(
        run, run_id=f"again-{run.run_id}", session_id="again", started_utc="2030-01-01T00:00:00Z"
    )
    return dataclasses.replace(again, cycles=tuple(int(factor * cycles) for cycles in run.cycles))
