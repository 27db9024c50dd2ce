"""The networks of a task as models of the catalogue: suites, rows and reports of every model are theirs too.

    pictures = GoldenPictures(load("face_detect", zoo, "esp32s3"))
    models(pictures)["msr"]        catalogue.Model "face_detect-msr", recipe "zoo"

What the golden pictures become at a network on the exact reference are its golden inputs, so that a second network is
judged on right inputs whatever the first one answers. Its pipeline finds boxes in pixels of the network's own input.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from esp_hil.errors import ConfigError
from esp_hil.models.catalogue import GoldenSet, Model
from esp_hil.models.model_toml import given_spec
from esp_hil.models.outputs import OutputSpec
from esp_hil.models.pipeline import Pipeline, PipelineSpec
from esp_hil.models.recipe import given_recipe
from esp_hil.targets import Family
from esp_hil.tasks.network import Network
from esp_hil.tasks.pictures import picture
from esp_hil.tasks.results import Results
from esp_hil.tasks.task import Classifier, Task
from esp_hil.tasks.trace import Trace
from esp_hil.tensors import Array, Arrays, InputSpec

RECIPE = "zoo"
"""Of the networks: they come as ESP-DL made them."""

_ONE_OBJECT = 0.5


class GoldenPictures:
    """A task's golden pictures on the exact reference: answered once, and not before somebody asks.

    Args:
        task: with its weights.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._results: dict[str, Results] = {}
        self._seen: dict[str, dict[str, Array]] = {name: {} for name in task.networks}
        self._trace = Trace()

    @property
    def results(self) -> dict[str, Results]:
        """What the task answers, by picture."""
        while self._next():
            pass
        return self._results

    def inputs(self, network: str, limit: int | None = None) -> dict[str, Array]:
        """What a network is asked, (1, height, width, 3) each, by picture: `two_faces[1]` is its second time there.

        Raises:
            ConfigError: `limit` is below 1 or above what there is.
            GoldenError: a picture's package is not installed.
        """
        seen = self._seen[network]
        while (limit is None or len(seen) < limit) and self._next():
            pass
        if limit is not None and not 1 <= limit <= len(seen):
            raise ConfigError(
                f"{limit} golden inputs of {self.task.name}-{network} asked for",
                hint=f"there are {len(seen)}",
            )
        return dict(list(seen.items())[:limit])

    @property
    def preparing_ms(self) -> float:
        """Mean of what this PC took so far from a picture's bytes to the integers of one inference."""
        count = sum(self._trace.inferences.values())
        return 1e3 * (self._trace.seconds["decode"] + self._trace.seconds["resize"]) / max(1, count)

    def _next(self) -> bool:
        """Answer the next picture; False if all are."""
        name = next((name for name in self.task.spec.golden if name not in self._results), None)
        if name is None:
            return False

        def compute(network: str, inputs: Arrays) -> Arrays:
            seen, (values,) = self._seen[network], inputs.values()
            times = sum(known.partition("[")[0] == name for known in seen)
            seen[f"{name}[{times}]" if times else name] = values
            return self.task.exact(network, inputs)

        self._results[name] = self.task.run(picture(name), compute=compute, trace=self._trace)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _NetworkFiles:
    """See `esp_hil.models.catalogue.Origin`."""

    pictures: GoldenPictures
    network: str
    path: Path

    def file(self, family: Family) -> Path:
        del family  # the weights are for one
        return self.path

    def golden(self, limit: int | None) -> GoldenSet:
        task = self.pictures.task
        asked = self.pictures.inputs(self.network, limit)
        arrays = {task.networks[self.network].input.name: np.concatenate(list(asked.values()))}
        labels = None
        if isinstance(task, Classifier):
            labels = np.array([task.spec.labels.index(task.spec.golden[name][0]) for name in asked], np.int64)
        output = next(iter(task.networks[self.network].outputs))
        return GoldenSet(
            arrays=arrays,
            stored=arrays,
            labels=labels,
            ids=tuple(asked),
            expected={} if labels is None else {output: labels},
            made_ms=self.pictures.preparing_ms,
        )

    def pipeline(self) -> Pipeline | None:
        task, network = self.pictures.task, self.pictures.task.networks[self.network]
        find = task.finders.get(self.network)
        if find is None:
            return None

        def after(outputs: dict[str, Array]) -> object:
            found = find(_integers(network, outputs))
            return [(*one.box, one.score, one.index) for one in found]

        return Pipeline(spec=PipelineSpec(file="", iou=_ONE_OBJECT, gates=()), before=None, after=after)


def models(pictures: GoldenPictures) -> dict[str, Model]:
    """All networks of a task, by their names in it, in the order they run."""
    return {name: _model(pictures, name) for name in pictures.task.networks}


def _model(pictures: GoldenPictures, name: str) -> Model:
    task, network, spec = pictures.task, pictures.task.networks[name], pictures.task.spec
    classifier = isinstance(task, Classifier)
    described = given_spec(
        title=f"{spec.title}: {name}",
        source=f"{spec.component}, {spec.source}",
        inputs=(InputSpec.raw_nhwc(network.input.name, network.input.shape[1:], network.input.dtype),),
        outputs=tuple(
            OutputSpec(name=output, meaning="scores", labels=spec.labels)
            if classifier
            else OutputSpec(name=output, meaning="raw")
            for output in network.outputs
        ),
        recipe=given_recipe(RECIPE, f"as {spec.component} has it", "espdl", (network.family,)),
        macs=spec.networks[name].macs,
    )
    origin = _NetworkFiles(pictures=pictures, network=name, path=network.path)
    return Model.of(described, name=f"{task.name}-{name}", folder=network.path.parent, origin=origin)


def _integers(network: Network, outputs: Arrays) -> dict[str, Array]:
    """Real values of one inference back to the integers they are; exact, since both are powers of two apart."""
    return {
        name: np.ldexp(outputs[name], -tensor.exponent).astype(tensor.dtype).reshape(tensor.shape)
        for name, tensor in network.outputs.items()
    }
