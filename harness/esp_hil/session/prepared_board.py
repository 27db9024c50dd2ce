"""One board with one model on it: what the suites talk to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from esp_hil.counters import HEAP_INTERNAL_FREE, HEAP_PSRAM_FREE
from esp_hil.device.device import Device
from esp_hil.device.inference import Inference
from esp_hil.errors import HilError
from esp_hil.goldens.file_tensors import FileTensors, PreparedInputs, run_steps
from esp_hil.models.catalogue import Model
from esp_hil.models.device_file import DeviceFile, Exact, open_device_file
from esp_hil.models.recipe import Recipe
from esp_hil.session.board_session import BoardSession
from esp_hil.session.file_on_board import FileOnBoard
from esp_hil.targets import Target
from esp_hil.tensors import Array, Arrays
from esp_hil.verdict.diverge import Divergence

Level = Literal["lowest", "zero", "highest"]

HEAPS = (HEAP_INTERNAL_FREE, HEAP_PSRAM_FREE)


class PreparedBoard:
    """A board with one recipe of a model on it.

    Args:
        session: holds the board.
        model: the catalogue's model.
        recipe: which of its device files.
        file: that device file; None: read it.
    """

    def __init__(
        self, session: BoardSession, model: Model, recipe: Recipe, file: DeviceFile | None = None
    ) -> None:
        self.session = session
        self.model = model
        self.recipe = recipe
        self._earlier: dict[str, Array] = {}
        self.family = session.target.family_of(recipe.runtime)
        self.file = file or open_device_file(model.artifact(recipe.name, self.family))
        tolerance = model.tolerance_of(recipe.name).device_vs_exact_lsb
        self.on_board = FileOnBoard(session, self.file, name=model.name, tolerance_lsb=tolerance)

    @property
    def device(self) -> Device:
        """What answers there."""
        return self.session.device

    @property
    def board(self) -> str:
        """Its name, for messages."""
        return self.session.id

    @property
    def target(self) -> Target:
        """Its chip."""
        return self.session.target

    @property
    def model_bytes(self) -> bytes:
        """The device file."""
        return self.file.image

    @property
    def exact(self) -> Exact:
        """The exact reference of the same file."""
        return self.on_board.exact

    @cached_property
    def tensors(self) -> FileTensors:
        """The model's inputs and outputs as the device has them."""
        return FileTensors.of(self.model, self.file, self.family)

    def prepare(self) -> None:
        """Put the model on the board; see `FileOnBoard.prepare`."""
        self.on_board.prepare()

    def upload(self, image: bytes) -> None:
        """Write an image into the model partition and load it."""
        self.session.upload(image, name=self.model.name)

    def restore(self) -> None:
        """Prepare the board again after a reset or a refused model."""
        self.prepare()

    def reload(self) -> None:
        """Load the model from where it is."""
        self.session.reload()

    def encode(self, arrays: PreparedInputs) -> dict[str, Array]:
        """Prepared inputs (N, *shape) as the device gets them: quantized as the chip rounds, (N, *item) by name."""
        return self.tensors.encode(arrays)

    def first_inputs(self) -> dict[str, Array]:
        """The first golden inputs as the device has them."""
        return dict(self._first)

    @cached_property
    def _first(self) -> Arrays:
        encoded = self.encode(self.model.golden(limit=1).arrays)
        states = {name: item[np.newaxis] for name, item in self.tensors.zero_states().items()}
        return self.tensors.single({**encoded, **states}, 0)

    @property
    def steps(self) -> bool:
        """Whether its inferences follow one another: the file keeps state, or outputs are fed to inputs."""
        return self.file.keeps_state or bool(self.tensors.states)

    def answer_steps(
        self, encoded: Arrays, starts: NDArray[np.bool_], advance: Callable[[int], None]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Make all inferences in turn, each sequence from a fresh state: outputs, and inputs as they were sent.

        Args:
            encoded: (N, *item) by name, of the inputs that are not fed.
            starts: (N,), where a sequence starts.
            advance: called with 1 after each.
        """

        def step(single: dict[str, Array], fresh: bool) -> Arrays:
            if fresh and self.file.keeps_state:
                self.reload()
            outputs = self.on_board.step(single)
            advance(1)
            return outputs

        return run_steps(self.tensors, encoded, starts, step)

    def constant_inputs(self, level: Level) -> dict[str, Array]:
        """Inputs that are everywhere the lowest, zero or the highest value of their type.

        Integers of more than 16 bits count or index: of them the lowest and highest are those of the golden inputs. The
        lowest int32 in the counter of a WHILE would be two thousand million steps.
        """
        made: dict[str, Array] = {}
        for value in self.file.inputs:
            dtype = np.dtype(value.dtype)
            low, high = _limits(dtype)
            if dtype.kind in "iu" and dtype.itemsize > 2 and value.name in self._golden_arrays:
                found = self._golden_arrays[value.name]
                low, high = int(found.min()), int(found.max())
            number = {"lowest": low, "zero": 0, "highest": high}[level]
            made[value.name] = np.full(value.shape, number, dtype)
        return made

    @cached_property
    def _golden_arrays(self) -> Arrays:
        return self.model.golden().arrays

    def infer(self, inputs: Arrays) -> dict[str, Array]:
        """Run once: integers in, integers out, device layout."""
        return self.on_board.infer(inputs)

    def tensor(self, name: str, inputs: Arrays, *, like: Array) -> Array:
        """An intermediate tensor; see `FileOnBoard.tensor`."""
        return self.on_board.tensor(name, inputs, like=like)

    def infer_first(self) -> dict[str, Array]:
        """Run the first golden input once; the first answer is what `check_alive` asks for."""
        found = self.infer(self.first_inputs())
        if not self._earlier:
            self._earlier = found
        return found

    def timed(self, *, runs: int, warmup: int, cores: int) -> Inference:
        """Run the first golden input `warmup` + `runs` times on the device, which keeps the cycles."""
        return self.device.infer(self.first_inputs(), repeats=runs, warmup=warmup, cores=cores)

    def free_heap(self) -> int:
        """Free heap in bytes, internal and PSRAM together, as the device counts it."""
        counters = self.device.counters()
        found = [counters[name].value for name in HEAPS if name in counters]
        if not found:
            raise HilError(
                "the device has no counter of its free heap",
                hint=f"its firmware must report {HEAP_INTERNAL_FREE}",
                step="counters",
                board=self.board,
            )
        return int(sum(found))

    def write_raw_input(self, data: bytes) -> None:
        """Send bytes as the first input without the host's own check of their size."""
        self.device.set_input_bytes(0, data)

    def diverge(self, inputs: Arrays, *, before: Sequence[Arrays] = ()) -> Divergence | None:
        """Find the first tensor that the device computes wrongly; see `FileOnBoard.diverge`."""
        return self.on_board.diverge(inputs, before=before)

    def check_alive(self) -> None:
        """One inference that answers as `infer_first` did before: the device goes on after what was just tried.

        A device that computes wrongly all the time is not blamed for the request; without an answer from before
        it is the exact reference that is asked.

        Raises:
            HilError: it answers, and otherwise.
        """
        inputs = self.first_inputs()
        wanted = self._earlier or self.exact.run(inputs)
        answered = self.infer(inputs)
        wrong = [name for name in wanted if not np.array_equal(wanted[name], answered[name])]
        if wrong:
            raise HilError(
                f"the outputs {', '.join(wrong)} are not what they were before",
                hint="the firmware let what was tried change its state",
                step="infer",
                board=self.board,
            )


def _limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    """The lowest and the highest number of a type."""
    if dtype.kind == "b":
        return 0, 1
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return limits.min, limits.max
