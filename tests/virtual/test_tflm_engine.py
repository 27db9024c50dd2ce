from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.exact.tflite import TflmReference
from esp_hil.targets import Target, target
from esp_hil.virtual.engine import EngineError
from esp_hil.virtual.faults import EngineFaults, OffByLsb
from esp_hil.virtual.tflm_engine import TflmEngine
from esp_hil.wire.status import Status
from tests.conftest import ROOT
from tests.formats.tflite.networks import needs_tflm

pytestmark = needs_tflm

FASHION = (ROOT / "golden" / "fashion" / "int8" / "tflm.tflite").read_bytes()
ESPDL = (ROOT / "golden" / "fashion" / "w8a8" / "c.espdl").read_bytes()
C3 = target("esp32c3")


def loaded(image: bytes = FASHION, *, chip: Target = C3, faults: EngineFaults | None = None) -> TflmEngine:
    engine = TflmEngine(chip, faults or EngineFaults(), lambda number: None)
    engine.load(image, location=0, path="", cores=1, options=0)
    return engine


@pytest.fixture
def engine() -> Iterator[TflmEngine]:
    made = loaded()
    yield made
    made.unload()


def picture(seed: int = 0) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-128, 128, (1, 28, 28, 1), np.int8)


def run(engine: TflmEngine, capture: str | None = None) -> tuple[bytes, bytes | None]:
    result = engine.run([picture().tobytes()], cores=1, capture=capture, profile=False)
    return result.outputs[0], result.captured


def test_its_tensors_carry_scale_and_zero_point_instead_of_an_exponent() -> None:
    engine = TflmEngine(C3, EngineFaults(), lambda number: None)
    model = engine.load(FASHION, location=0, path="", cores=1, options=0)
    engine.unload()
    given, made = model.tensors
    assert (model.family, given.role, given.name, given.exponent) == ("tflm", "input", "input", None)
    assert (made.scale, made.zero_point, made.nbytes) == (1 / 256, -128, 10)


def test_outputs_and_intermediate_tensors_are_those_of_the_exact_reference(engine: TflmEngine) -> None:
    reference = TflmReference(FASHION)
    expected = reference.run_all({"input": picture()})
    reference.close()
    for name, tensor in expected.items():
        output, captured = run(engine, capture=name)
        assert output == expected["output"].tobytes()
        assert captured == tensor.tobytes()


@pytest.mark.parametrize("name", ["no such tensor", "input", "/conv1/Conv_output_0/filter"])
def test_what_no_operator_makes_cannot_be_captured(engine: TflmEngine, name: str) -> None:
    assert run(engine, capture=name)[1] is None


def test_the_arena_is_a_counter_and_taken_from_the_internal_heap(engine: TflmEngine) -> None:
    counters = {name: value for name, _, value in engine.counters()}
    assert counters["arena_bytes"] == engine.needed_bytes("internal") > 5_000
    assert engine.needed_bytes("psram") == 0
    engine.unload()
    assert all(value == 0 for _, _, value in engine.counters())


@pytest.mark.parametrize(
    ("image", "status", "says"),
    [
        (ESPDL, Status.WRONG_FAMILY, "an .espdl file"),
        (FASHION[:5000], Status.LOAD_FAILED, "beyond the end|points outside"),
        (b"not a model at all", Status.LOAD_FAILED, "not a model file"),
    ],
)
def test_what_it_cannot_run_is_refused_with_a_status(image: bytes, status: Status, says: str) -> None:
    with pytest.raises(EngineError, match=says) as caught:
        loaded(image)
    assert caught.value.status == status


def test_a_model_that_fits_neither_memory_is_refused_and_psram_takes_what_internal_cannot() -> None:
    small = replace(C3, internal_bytes=100 * 1024, psram_bytes=0)
    with pytest.raises(EngineError, match="the arena takes") as caught:
        loaded(chip=small)
    assert caught.value.status == Status.OUT_OF_MEMORY
    engine = loaded(chip=replace(small, psram_bytes=1 << 20))
    assert engine.needed_bytes("internal") == 0
    assert engine.needed_bytes("psram") > 5_000
    engine.unload()


def test_a_planted_fault_in_a_weight_changes_what_it_computes(engine: TflmEngine) -> None:
    fault = OffByLsb(tensor="/fc/Gemm_output_0/weights", index=3, add_lsb=100)
    broken = loaded(faults=EngineFaults(parameter=(fault,)))
    logits = "/fc/Gemm_output_0"
    right, wrong = (np.frombuffer(run(e, capture=logits)[1] or b"", np.int8) for e in (engine, broken))
    broken.unload()
    assert np.flatnonzero(right != wrong).tolist() == [0]  # weight 3 belongs to output 0
    with pytest.raises(EngineError, match="planted fault: no parameter 'nothing'"):
        loaded(faults=EngineFaults(parameter=(OffByLsb(tensor="nothing", index=0, add_lsb=1),)))


def test_a_planted_fault_in_the_output_is_one_lsb(engine: TflmEngine) -> None:
    broken = loaded(faults=EngineFaults(output=(OffByLsb(tensor="output", index=9, add_lsb=1),)))
    right, wrong = (np.frombuffer(run(e)[0], np.int8) for e in (engine, broken))
    broken.unload()
    assert (wrong.astype(int) - right).tolist() == [0] * 9 + [1]


def test_without_a_model_it_says_so(engine: TflmEngine) -> None:
    engine.unload()
    with pytest.raises(EngineError, match="no model is loaded") as caught:
        run(engine)
    assert caught.value.status == Status.NO_MODEL


def test_the_profile_has_each_operator_and_shares_the_run_s_cycles_among_them(engine: TflmEngine) -> None:
    result = engine.run([picture().tobytes()], cores=1, capture=None, profile=True)
    assert [name for name, *_ in result.profile] == [
        f"{index}:{name}"
        for index, name in enumerate(
            ("CONV_2D", "MAX_POOL_2D", "CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX")
        )
    ]
    assert sum(cycles for *_, cycles in result.profile) <= result.cycles + len(result.profile)
    heaviest = max(result.profile, key=lambda row: row[2])
    assert heaviest[1] == "CONV_2D"
