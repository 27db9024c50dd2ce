"""A virtual board beside a simulated meter, through options, protocol and gate, to the row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from esp_hil.boards.meters import open_meter
from esp_hil.boards.select import rows
from esp_hil.errors import ConfigError
from esp_hil.models import catalogue
from esp_hil.models.device_file import open_device_file
from esp_hil.results.record import Run
from esp_hil.session import steps
from esp_hil.session.board_session import BoardSession, open_session
from esp_hil.session.energy import Wiring, measure_energy
from esp_hil.session.option_rows import Options
from esp_hil.session.run_builder import Metered, Timed
from esp_hil.targets import target
from tests.report.samples import sample_run

ACTIVE_W, IDLE_W = 0.31, 0.09


@pytest.fixture(scope="module")
def board() -> Iterator[BoardSession]:
    chip = target("esp32s3")
    model = catalogue.load("mnist")
    session = open_session(chip, board="virtual")
    session.put(open_device_file(model.artifact("w8a8", chip.family)), name="mnist")
    yield session
    session.close()


@pytest.fixture(scope="module")
def timed(board: BoardSession) -> Timed:
    info = board.device.info()
    inputs = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in info.inputs}
    return steps.time_inference(board, inputs, runs=3, warmup=0, cores=1)


def options(meter: str, **changes: object) -> Options:
    return Options(targets=("esp32s3",), meter=meter, energy_windows=2, **changes)  # type: ignore[arg-type]


def measured(board: BoardSession, timed: Timed, given: Options) -> Metered:
    return measure_energy(board, timed, given, Wiring.of(given, board.id))


@pytest.mark.parametrize("gate", [1, 0], ids=["gate", "marker"])
def test_a_virtual_board_s_energy_is_that_of_its_model_and_marked(
    board: BoardSession, timed: Timed, gate: int
) -> None:
    name = f"simulated:active_w={ACTIVE_W},idle_w={IDLE_W},noise=0.002,gate={gate}"
    energy = measured(board, timed, options(name)).energy
    assert energy is not None
    assert energy.valid, energy.summary
    assert energy.simulated
    assert energy.edges == ("gate" if gate else "marker")
    inference_s = sorted(timed.cycles)[1] / board.device.info().clock_hz
    assert energy.energy_mj == pytest.approx(1e3 * (ACTIVE_W - IDLE_W) * inference_s, rel=0.01)
    assert all(window.seconds >= 1 for window in energy.windows)
    row = sample_run(kind="virtual", energy=energy)
    assert Run.from_json(row.to_json()) == row


def test_a_real_meter_beside_a_virtual_board_gives_no_number(board: BoardSession, timed: Timed) -> None:
    found = measured(board, timed, options("program:cat /dev/null", supply=3.3))
    assert found.energy is not None
    assert found.energy.codes == ("not_silicon",)
    assert not found.energy.valid
    assert "not_silicon" in found.notes[0]


def test_without_a_meter_nothing_is_measured_and_one_that_is_not_there_is_a_note(
    board: BoardSession, timed: Timed
) -> None:
    assert measured(board, timed, options("none")).energy is None
    gone = measured(board, timed, options("ppk2:NOT-ATTACHED", supply=3.3))
    assert gone.energy is None
    assert "no PPK2 NOT-ATTACHED" in gone.notes[0]


def test_options_count_before_the_board_s_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "boards.toml"
    file.write_text(
        '[a]\ntarget = "esp32s3"\nurl = "/dev/ttyUSB0"\nmeter = "ppk2:1"\ngate_gpio = 4\nsupply_v = 3\n'
    )
    monkeypatch.setenv("HIL_BOARDS", str(file))
    assert rows()["a"].gate_gpio == 4
    plain = Options(targets=("esp32s3",))
    assert Wiring.of(plain, "a") == Wiring(meter="ppk2:1", gate_gpio=4, supply_v=3)
    changed = Options(targets=("esp32s3",), meter="none", gate_gpio=5, supply=5.0)
    assert Wiring.of(changed, "a") == Wiring(meter="", gate_gpio=5, supply_v=5.0)
    file.write_text('[a]\ntarget = "esp32s3"\nurl = "/dev/ttyUSB0"\ngate_gpio = "4"\n')
    with pytest.raises(ConfigError, match="gate_gpio should be int"):
        rows()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pkp2", "did you mean 'ppk2'?"),
        ("ppk2", "needs the voltage"),
        ("ina226:1:0x40", "INA|ina226:BUS:ADDRESS:OHM"),
        ("program@fast:x", "not a number above 0"),
        ("simulated:nose=1", "has no 'nose'"),
        ("simulated:noise=much", "not a number"),
    ],
)
def test_a_meter_s_text_that_means_nothing_is_told_with_what_would(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_meter(name, supply_v=None, gated=True)
