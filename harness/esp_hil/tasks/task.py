"""A task: networks with what goes before and after them, and the four kinds there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.targets import Rounding, rounding_of
from esp_hil.tasks import classify, decode, recognise
from esp_hil.tasks.decode import Head
from esp_hil.tasks.image import Image
from esp_hil.tasks.network import Compute, Network
from esp_hil.tasks.pixels import Pixels
from esp_hil.tasks.preprocess import Crop, InputArea, framed, place, resized, tables, to_tensor
from esp_hil.tasks.results import Detection, Embedding, Results
from esp_hil.tasks.spec import Decoder, NetworkSpec, TaskSpec
from esp_hil.tasks.trace import Trace
from esp_hil.tensors import Arrays

_DECODERS: Mapping[Decoder, Callable[[Head, float, InputArea, Rounding], list[Detection]]] = {
    "espdet": decode.espdet,
    "yolo11": decode.yolo11,
    "pico": decode.pico,
}

Finder = Callable[[Arrays], list[Detection]]
"""What a network's integers (by name, in the device's shapes) say is where: ranked, suppressed as task.toml says, in
pixels of the network's input."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """A picture while a task works on it.

    Attributes:
        rgb: uint8 (height, width, 3), converted from its format as ESP-DL does.
        trace: where steps and times go.
        compute: what runs the networks.
    """

    rgb: Pixels
    trace: Trace
    compute: Compute


class Task(ABC):
    """A network or two with their pre- and postprocessing.

    Args:
        spec: what task.toml says.
        networks: read, by name.
    """

    def __init__(self, spec: TaskSpec, networks: Mapping[str, Network]) -> None:
        self.spec = spec
        self.networks = networks
        self._tables: dict[str, NDArray[Any]] = {}

    @property
    def name(self) -> str:
        """The folder's name below golden/."""
        return self.spec.name

    def exact(self, network: str, inputs: Arrays) -> Arrays:
        """A network's outputs by the exact reference: a `Compute`."""
        return self.networks[network].run(inputs)

    def run(self, image: Image, *, compute: Compute | None = None, trace: Trace | None = None) -> Results:
        """Answer one picture.

        Args:
            image: in any of the pixel formats except gray.
            compute: what runs the networks; None: the exact reference.
            trace: where steps and times go; None: nowhere.

        Raises:
            InputError: a gray picture.
        """
        trace = trace or Trace()
        with trace.phase("decode"):
            rgb = image.rgb()
        trace.step("image.rgb888", rgb)
        answer = self._answer(Prepared(rgb=rgb, trace=trace, compute=compute or self.exact))
        return replace(answer, task=self.name, width=image.width, height=image.height)

    def steps(self, image: Image, *, compute: Compute | None = None) -> dict[str, NDArray[Any]]:
        """Every intermediate array by name, in the order they are made; see docs/tasks.md for the names.

        Raises:
            InputError: a gray picture.
        """
        trace = Trace(keep=True)
        self.run(image, compute=compute, trace=trace)
        return trace.arrays

    @abstractmethod
    def _answer(self, picture: Prepared) -> Results:
        """The results, without the picture's size."""

    def _infer(
        self, name: str, picture: Prepared, *, crop: Crop | None = None, step: str = ""
    ) -> tuple[Arrays, InputArea]:
        """Resize (a part of) the picture, quantize it, run the network."""
        network, spec = self.networks[name], self.spec.networks[name]
        wanted = spec.preprocessing
        with picture.trace.phase("resize"):
            height, width, _ = picture.rgb.shape
            placement = place(
                (width, height), network.size, crop=crop, letterbox=wanted.letterbox is not None
            )
            shown = resized(picture.rgb, placement, network.size, wanted.resize)
            if wanted.letterbox is not None:
                shown = framed(shown, placement, network.size, wanted.letterbox)
        return self._run(name, picture, shown, step=step), placement

    def _run(self, name: str, picture: Prepared, shown: Pixels, *, step: str = "") -> Arrays:
        """Quantize RGB of the input's size and run the network."""
        network, trace, step = self.networks[name], picture.trace, step or name
        with trace.phase("resize"):
            channels = self.spec.networks[name].preprocessing.channels
            tensor = to_tensor(shown, self._table(network, self.spec.networks[name]), channels)
        trace.step(f"{step}.resized", shown)
        trace.step(f"{step}.input", tensor)
        with trace.phase("network"):
            outputs = picture.compute(name, {network.input.name: tensor})
        trace.inferences[name] = trace.inferences.get(name, 0) + 1
        for output, values in outputs.items():
            trace.step(f"{step}.output.{output}", values)
        return outputs

    def _table(self, network: Network, spec: NetworkSpec) -> NDArray[Any]:
        if spec.name not in self._tables:
            self._tables[spec.name] = tables(
                spec.preprocessing, network.input.exponent, network.input.dtype, rounding_of(network.family)
            )
        return self._tables[spec.name]

    @property
    def finders(self) -> Mapping[str, Finder]:
        """The networks whose outputs are boxes, and what each finds in its own input before another looks at it."""
        return {}

    def _in_its_input(self, network: str, found: list[Detection]) -> list[Detection]:
        width, height = self.networks[network].size
        kept = decode.suppress(decode.ranked(found), self.spec.decode.nms, self.spec.decode.top)
        return [decode.inside(one, width, height) for one in kept]

    def _named(self, found: Detection) -> Detection:
        labels = self.spec.labels
        return replace(found, name=labels[found.index]) if found.index < len(labels) else found


class Detector(Task):
    """One network that finds objects: pedestrians, cats, the classes of COCO, faces without landmarks."""

    def _answer(self, picture: Prepared) -> Results:
        (name,) = self.networks
        outputs, placement = self._infer(name, picture)
        with picture.trace.phase("post"):
            found = self._read(name, outputs, placement)
            kept = _finish(found, self.spec.decode.nms, self.spec.decode.top, picture, name)
        return _results(tuple(map(self._named, kept)))

    @property
    def finders(self) -> Mapping[str, Finder]:
        """Its network."""
        return {network: partial(self._seen, network) for network in self.networks}

    def _seen(self, network: str, outputs: Arrays) -> list[Detection]:
        return self._in_its_input(network, self._read(network, outputs, _whole(self.networks[network])))

    def _read(self, name: str, outputs: Arrays, placement: InputArea) -> list[Detection]:
        network, rules = self.networks[name], self.spec.decode
        assert rules.decoder is not None
        reader = _DECODERS[rules.decoder]
        found: list[Detection] = []
        for head in decode.heads(rules.stages, outputs, network.outputs):
            found += reader(head, rules.score, placement, rounding_of(network.family))
        return found


class FaceDetection(Task):
    """MSR proposes faces on the whole picture, MNP looks at each of them and finds the landmarks."""

    def _answer(self, picture: Prepared) -> Results:
        return _results(tuple(map(self._named, self._faces(picture))))

    def _faces(self, picture: Prepared) -> list[Detection]:
        first, second = self.networks
        rules = self.spec.decode
        outputs, placement = self._infer(first, picture)
        with picture.trace.phase("post"):
            candidates = _finish(
                self._proposed(first, outputs, placement), rules.nms, rules.top, picture, first
            )
        found = [
            face
            for index, candidate in enumerate(candidates)
            if (face := self._looked_at(second, candidate, picture, f"{second}[{index}]")) is not None
        ]
        with picture.trace.phase("post"):
            return _finish(found, rules.nms, rules.top, picture, second)

    @property
    def finders(self) -> Mapping[str, Finder]:
        """Both: proposals of the first network, at most one face of the second."""
        return {network: partial(self._seen, network) for network in self.networks}

    def _seen(self, network: str, outputs: Arrays) -> list[Detection]:
        placement = _whole(self.networks[network])
        if network == next(iter(self.networks)):
            return self._in_its_input(network, self._proposed(network, outputs, placement))
        face = self._face(network, outputs, placement)
        return [] if face is None else self._in_its_input(network, [face])

    def _proposed(self, name: str, outputs: Arrays, placement: InputArea) -> list[Detection]:
        network, rules = self.networks[name], self.spec.decode
        proposed: list[Detection] = []
        for head in decode.heads(rules.stages, outputs, network.outputs):
            proposed += decode.msr(head, rules.score, placement, rounding_of(network.family))
        return proposed

    def _face(self, name: str, outputs: Arrays, placement: InputArea) -> Detection | None:
        network = self.networks[name]
        return decode.mnp(outputs, network.outputs, self.spec.decode.score, placement, network.size[0])

    def _looked_at(self, name: str, candidate: Detection, picture: Prepared, step: str) -> Detection | None:
        height, width, _ = picture.rgb.shape
        crop = square(candidate, width, height)
        picture.trace.step(f"{step}.crop", crop)
        outputs, placement = self._infer(name, picture, crop=crop, step=step)
        with picture.trace.phase("post"):
            return self._face(name, outputs, placement)


class Recognizer(Task):
    """Finds the largest face, aligns it by its landmarks and gives it an embedding.

    Args:
        spec: what task.toml says.
        networks: the one that makes embeddings.
        detector: the task that finds faces with landmarks.
    """

    def __init__(self, spec: TaskSpec, networks: Mapping[str, Network], detector: FaceDetection) -> None:
        super().__init__(spec, {**detector.networks, **networks})
        self.detector = detector
        self._feature = next(iter(networks))

    def _answer(self, picture: Prepared) -> Results:
        faces = self.detector._answer(picture).detections
        face = recognise.largest(faces)
        if face is None:
            return _results(faces)
        return replace(_results(faces), embedding=self.embed(picture, face))

    @property
    def finders(self) -> Mapping[str, Finder]:
        """The detector's networks."""
        return self.detector.finders

    def embed(self, picture: Prepared, face: Detection) -> Embedding:
        """The embedding of one face of a picture."""
        name, network = self._feature, self.networks[self._feature]
        with picture.trace.phase("resize"):
            aligned, matrix = recognise.align(picture.rgb, face.landmarks, network.size)
        picture.trace.step(f"{name}.matrix", matrix)
        outputs = self._run(name, picture, aligned)
        with picture.trace.phase("post"):
            ((output, integers),) = outputs.items()
            values = recognise.normalised(network.outputs[output].real(integers.reshape(-1)))
        picture.trace.step(f"{name}.embedding", values)
        return Embedding(face=face, values=values)


class Classifier(Task):
    """One network that names the picture."""

    def _answer(self, picture: Prepared) -> Results:
        (name,) = self.networks
        outputs, _ = self._infer(name, picture)
        with picture.trace.phase("post"):
            ((output, integers),) = outputs.items()
            logits = self.networks[name].outputs[output].real(integers.reshape(-1))
            picture.trace.step(f"{name}.softmax", classify.softmax(logits))
            labels = classify.best(logits, self.spec.labels, self.spec.decode.top)
        return Results(task="", width=0, height=0, labels=labels)


def _whole(network: Network) -> InputArea:
    """Where a picture lies that is just as large as the network's input."""
    return place(network.size, network.size, crop=None, letterbox=False)


def square(candidate: Detection, width: int, height: int) -> Crop:
    """The square around a candidate that the second stage looks at, held inside the picture.

    ESP-DL holds the far corner at the last pixel and then takes it as the first one outside: a face at the
    right or lower edge loses one column or row.
    """
    x1, y1, x2, y2 = candidate.box
    side = max(x2 - x1, y2 - y1)
    left, top = ((x1 + x2) >> 1) - (side >> 1), ((y1 + y2) >> 1) - (side >> 1)
    held = decode.inside(replace(candidate, box=(left, top, left + side, top + side)), width, height)
    return held.box


def _finish(found: list[Detection], nms: float, top: int, picture: Prepared, step: str) -> list[Detection]:
    """Rank, suppress, hold inside the picture; the boxes before and after are steps."""
    height, width, _ = picture.rgb.shape
    ranked = decode.ranked(found)
    picture.trace.step(f"{step}.boxes", np.array([one.box for one in ranked], np.int64).reshape(-1, 4))
    picture.trace.step(f"{step}.scores", np.array([one.score for one in ranked], np.float32))
    kept = [decode.inside(one, width, height) for one in decode.suppress(ranked, nms, top)]
    picture.trace.step(f"{step}.kept", np.array([one.box for one in kept], np.int64).reshape(-1, 4))
    return kept


def _results(found: tuple[Detection, ...]) -> Results:
    return Results(task="", width=0, height=0, detections=found)
