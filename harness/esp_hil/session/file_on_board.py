"""One board with one device file on it, whoever the file belongs to: inferences, tensors, where it goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from esp_hil.errors import InputError
from esp_hil.models.device_file import DeviceFile, Exact
from esp_hil.session.board_session import BoardSession
from esp_hil.tensors import Array, Arrays
from esp_hil.verdict.diverge import Divergence, find


class FileOnBoard:
    """A board with one device file on it.

    Args:
        session: holds the board.
        file: that runs there.
        name: of the model, for people.
        tolerance_lsb: by how much the device may differ from the exact reference.
    """

    def __init__(self, session: BoardSession, file: DeviceFile, *, name: str, tolerance_lsb: int = 0) -> None:
        self.session = session
        self.file = file
        self.name = name
        self.family = session.target.family_of(file.runtime)
        self._tolerance_lsb = tolerance_lsb

    @cached_property
    def exact(self) -> Exact:
        """The exact reference of the same file, as the board's ESP-DL computes."""
        return self.file.exact(self.family, esp_dl=self.session.esp_dl)

    def prepare(self) -> None:
        """Connect unless that is done, put the model on the board unless it is there, check the handshake's contract.

        Raises:
            HandshakeError: the device disagrees about chip, family, model or tensors.
            LintError: the model has a known hazard on this chip.
            DeviceFault: it refused the model.
        """
        self.session.put(self.file, name=self.name, family=self.family)

    def infer(self, inputs: Arrays) -> dict[str, Array]:
        """Run once: integers in, integers out, device layout; a model that keeps state begins without any."""
        if self.file.keeps_state:
            self.session.reload()
        return self.step(inputs)

    def step(self, inputs: Arrays) -> dict[str, Array]:
        """Run once, from the state that the run before has left."""
        return dict(self.session.device.infer(inputs).outputs)

    def tensor(self, name: str, inputs: Arrays, *, like: Array) -> Array:
        """An intermediate tensor for these inputs, in the dtype and shape of `like`.

        Raises:
            DeviceFault: the device cannot give it.
            InputError: it has another size there.
        """
        if self.file.keeps_state:
            self.session.reload()
        data = self.session.device.tensor(name, inputs)
        if len(data) != like.nbytes:
            raise InputError(f"the device gave {len(data)} bytes of {name!r}, expected {like.nbytes}")
        array = np.frombuffer(data, like.dtype.newbyteorder("<")).astype(like.dtype)
        return array.reshape(like.shape)

    def diverge(self, inputs: Arrays, *, before: Sequence[Arrays] = ()) -> Divergence | None:
        """Find the first tensor that the device computes wrongly.

        Args:
            inputs: that it answers wrongly, the device's integers.
            before: what it was sent before, the last one last; that one is sent again before each request,
                so that what is left over from it shows. Of a model that keeps state: all steps of the sequence
                before, which are made again before each request.

        Returns:
            None if it answers these inputs rightly now.

        Raises:
            HilError: the board or the link failed.
        """
        device = self.session.device
        exact, earlier = self._exact_after(inputs, before)
        answered = self._infer_after(inputs, before)
        wrong = [name for name, values in answered.items() if not np.array_equal(values, exact[name])]
        if not wrong:
            return None
        given = {name: device.read_input(name) for name in inputs}

        def fetch(name: str) -> bytes:
            self._replay(before if self.file.keeps_state else before[-1:])
            return device.tensor(name, inputs)

        return find(
            self.file.content,
            self.family,
            inputs,
            exact,
            fetch,
            wrong=wrong,
            given=given,
            earlier=earlier,
            tolerance_lsb=self._tolerance_lsb,
        )

    def _exact_after(self, inputs: Arrays, before: Sequence[Arrays]) -> tuple[Arrays, list[Arrays]]:
        """All tensors of the exact reference, and those of the inferences before, the nearest first."""
        names, keep = self.exact.tensor_names, self.file.keeps_state
        if keep:
            self.exact.reset()
            for arrays in before[:-1]:
                self.exact.run(arrays, keep_state=True)
        nearest = before[-1:] if keep else before
        earlier = [{**self.exact.run(one, tensors=names, keep_state=keep), **one} for one in nearest]
        return self.exact.run(inputs, tensors=names, keep_state=keep), list(reversed(earlier))

    def _replay(self, before: Sequence[Arrays]) -> None:
        """Make the inferences before again, from a fresh state if the model keeps any."""
        if self.file.keeps_state:
            self.session.reload()
        for arrays in before:
            self.step(arrays)

    def _infer_after(self, inputs: Arrays, before: Sequence[Arrays]) -> dict[str, Array]:
        self._replay(before)
        return self.step(inputs)
