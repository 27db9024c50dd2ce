from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from esp_hil.exact import ExactReference
from esp_hil.formats.espdl import read_espdl
from esp_hil.targets import Target, target, targets
from esp_hil.virtual.engine import EngineError, ExactEngine
from esp_hil.virtual.faults import EngineFaults, OffByLsb
from esp_hil.wire.requests import LOAD_PARAMETERS_IN_FLASH
from esp_hil.wire.status import Status
from tests.conftest import ROOT
from tests.formats.espdl.writer import edl, graph, node, value

ARTEFACTS = ROOT / "golden" / "mnist" / "w8a8"
P4 = target("esp32p4")


def image(family: str) -> bytes:
    return (ARTEFACTS / f"{family}.espdl").read_bytes()


def engine(chip: Target = P4, faults: EngineFaults | None = None) -> ExactEngine:
    return ExactEngine(chip, faults or EngineFaults(), lambda number: None)


def load(machine: ExactEngine, data: bytes) -> None:
    machine.load(data, location=0, path="", cores=1, options=0)


def picture(seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(-128, 128, 784, dtype=np.int8).tobytes()


@pytest.mark.parametrize("name", targets())
def test_each_chip_answers_as_the_exact_reference_of_its_family_and_refuses_the_other_families(
    name: str,
) -> None:
    chip = target(name)
    machine = engine(chip)
    for family in ("c", "esp32s3", "esp32p4"):
        if family == chip.family:
            continue
        with pytest.raises(EngineError, match=f"{name} runs {chip.family}") as caught:
            load(machine, image(family))
        assert caught.value.status == Status.WRONG_FAMILY
    data = image(chip.family)
    # a C3 has no room for a copy of the parameters
    model = machine.load(data, location=0, path="", cores=1, options=LOAD_PARAMETERS_IN_FLASH)
    assert [(spec.role, spec.dtype, spec.nbytes) for spec in model.tensors] == [
        ("input", "int8", 784),
        ("output", "int8", 10),
    ]
    reference = ExactReference(read_espdl(data), chip.family)
    x = np.frombuffer(picture(), np.int8).reshape(1, 28, 28, 1)
    (wanted,) = reference.run({"input": x}).values()
    result = machine.run([picture()], cores=1, capture=None, profile=False)
    assert result.outputs == [wanted.tobytes()]
    assert result.cycles > 0


def test_any_tensor_can_be_captured_and_a_layer_profile_adds_up_to_the_run() -> None:
    machine = engine()
    load(machine, image("esp32p4"))
    reference = ExactReference(read_espdl(image("esp32p4")), "esp32p4")
    x = np.frombuffer(picture(), np.int8).reshape(1, 28, 28, 1)
    for name, array in reference.run_all({"input": x}).items():
        result = machine.run([picture()], cores=1, capture=name, profile=True)
        assert result.captured == array.tobytes()
    assert machine.run([picture()], cores=1, capture="nothing", profile=False).captured is None
    assert [layer[0] for layer in result.profile] == [node.name for node in reference.model.graph.nodes]
    assert sum(layer[2] for layer in result.profile) == pytest.approx(result.cycles, rel=0.01)


def test_an_output_that_is_off_by_one_lsb_is_off_there_and_nowhere_else() -> None:
    plain, bad = (
        engine(),
        engine(faults=EngineFaults(output=(OffByLsb(tensor="output", index=3, add_lsb=1),))),
    )
    for machine in (plain, bad):
        load(machine, image("esp32p4"))
    good = np.frombuffer(plain.run([picture()], cores=1, capture=None, profile=False).outputs[0], np.int8)
    wrong = np.frombuffer(bad.run([picture()], cores=1, capture=None, profile=False).outputs[0], np.int8)
    assert (wrong.astype(int) - good).tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]


def test_a_wrong_parameter_changes_its_layer_and_what_follows() -> None:
    model = read_espdl(image("esp32p4"))
    last = next(node for node in reversed(model.graph.nodes) if len(node.inputs) > 2)
    fault = OffByLsb(tensor=last.inputs[2], index=0, add_lsb=1 << 20)
    plain, bad = engine(), engine(faults=EngineFaults(parameter=(fault,)))
    for machine in (plain, bad):
        load(machine, image("esp32p4"))
    outputs = [
        machine.run([picture()], cores=1, capture=None, profile=False).outputs for machine in (plain, bad)
    ]
    assert outputs[0] != outputs[1]
    earlier = model.graph.nodes[0].outputs[0]
    captured = [
        machine.run([picture()], cores=1, capture=earlier, profile=False).captured for machine in (plain, bad)
    ]
    assert captured[0] == captured[1]


@pytest.mark.parametrize(
    "faults",
    [
        EngineFaults(parameter=(OffByLsb(tensor="nothing", index=0, add_lsb=1),)),
        EngineFaults(output=(OffByLsb(tensor="output", index=10, add_lsb=1),)),
    ],
)
def test_a_fault_that_cannot_be_planted_is_an_error_and_not_a_silent_pass(faults: EngineFaults) -> None:
    machine = engine(faults=faults)
    with pytest.raises(EngineError, match="planted fault"):  # noqa: PT012 - at load or at run
        load(machine, image("esp32p4"))
        machine.run([picture()], cores=1, capture=None, profile=False)


@pytest.mark.parametrize("length", [0, 3, 15, 100, 50_000])
def test_a_truncated_image_does_not_load(length: int) -> None:
    machine = engine()
    with pytest.raises(EngineError) as caught:
        load(machine, image("esp32p4")[:length])
    assert caught.value.status == Status.LOAD_FAILED


def test_a_model_that_does_not_fit_the_memory_is_refused() -> None:
    small = dataclasses.replace(P4, psram_bytes=100_000)
    with pytest.raises(EngineError, match="psram") as caught:
        load(engine(small), image("esp32p4"))
    assert caught.value.status == Status.OUT_OF_MEMORY


def test_parameters_that_stay_in_flash_need_no_ram() -> None:
    chip = target("esp32c3")
    with pytest.raises(EngineError, match="internal"):
        load(engine(chip), image("c"))
    machine = engine(chip)
    machine.load(image("c"), location=0, path="", cores=1, options=LOAD_PARAMETERS_IN_FLASH)
    assert (
        dict((name, value) for name, _, value in machine.counters())["parameters_copied_internal_bytes"] == 0
    )


def test_without_a_model_it_does_not_run() -> None:
    machine = engine()
    load(machine, image("esp32p4"))
    machine.unload()
    with pytest.raises(EngineError) as caught:
        machine.run([picture()], cores=1, capture=None, profile=False)
    assert caught.value.status == Status.NO_MODEL


def test_the_arena_is_the_planner_s_and_zero_without_a_model() -> None:
    machine = engine()
    assert dict((name, value) for name, _, value in machine.counters())["arena_bytes"] == 0
    load(machine, image("esp32p4"))
    # what ESP-DL 3.3.9 reported for this architecture on an emulated chip
    assert dict((name, value) for name, _, value in machine.counters())["arena_bytes"] == 32_144


def streaming_image() -> bytes:
    op = node("StreamingCache", ("x",), ("y",), window_size=3, frame_axis=1)
    return edl(graph([op], (value("x", (1, 2, 1)), value("y", (1, 4, 1)))))


def test_a_streaming_model_goes_on_from_its_last_inference_until_it_is_loaded_again() -> None:
    machine = engine(target("esp32c3"))
    load(machine, streaming_image())

    def run(first: int) -> list[int]:
        frames = np.array([first, first + 1], np.int8).tobytes()
        result = machine.run([frames], cores=1, capture=None, profile=False)
        return list(map(int, np.frombuffer(result.outputs[0], np.int8)))

    assert [run(1), run(3), run(5)] == [[0, 0, 1, 2], [1, 2, 3, 4], [3, 4, 5, 6]]
    load(machine, streaming_image())
    assert run(7) == [0, 0, 7, 8]


def test_the_artefacts_are_here() -> None:
    assert [Path(path).name for path in sorted(ARTEFACTS.glob("*.espdl"))] == [
        "c.espdl",
        "esp32p4.espdl",
        "esp32s3.espdl",
    ]
