"""MODEL as people type it: what `esp_hil.models.named.find` takes, and what a session runs beside golden/.

`hil plan face_detect-msr` and `pytest suites --hil-model face_detect-msr` mean the same network.
"""

from __future__ import annotations

from esp_hil import tasks
from esp_hil.errors import ConfigError, UnknownModel, did_you_mean
from esp_hil.models import catalogue, named
from esp_hil.models.benchmarks import BENCHMARKS, PREFIX, entries
from esp_hil.models.named import NamedModel
from esp_hil.session.benchmark_model import benchmark_model
from esp_hil.session.task_networks import is_network, named_network, network_names
from esp_hil.settings import variable_path
from esp_hil.targets import Target


def find(
    given: str, *, recipe: str | None = None, chip: Target | None = None, family: str | None = None
) -> NamedModel:
    """The file that was named; a network of a task is looked for in HIL_ZOO, a benchmark in HIL_MLPERF_TINY.

    Args:
        given: a model of golden/, its folder, a file, a network as `face_detect-msr`, or a benchmark as
            `mlperf-tiny-kws`.
        recipe: which of a model's; None: the first that is made for the chip.
        chip: that it is for; a network needs it.
        family: instead of a chip.

    Raises:
        UnknownModel: nothing of that name.
        ConfigError: no weights for the chip, or no folder of weights was named; see `named.find`.
        GoldenError: a file is missing or changed.
    """
    try:
        return named.find(given, recipe=recipe, chip=chip, family=family)
    except UnknownModel as error:
        if given.startswith(PREFIX):
            return _benchmark(given, error)
        if not is_network(given):
            raise _nearest(given, error) from None
    if chip is None:
        raise ConfigError(f"{given} has other weights for each chip", hint="name one: --target esp32s3")
    model = named_network(given, None, chip.name).model
    return named.of_model(model, recipe=recipe, chip=chip, family=family)


def unknown(given: str) -> UnknownModel:
    """The error for a name that nothing has, with what was probably meant."""
    try:
        catalogue.load(given)
    except UnknownModel as error:
        return _nearest(given, error)
    raise AssertionError(f"{given} is a model")


def _nearest(given: str, error: UnknownModel) -> UnknownModel:
    """The same error; where a name that golden/ does not have is nearer than those it has, with that one."""
    if given in tasks.names():
        networks = ", ".join(f"{given}-{network}" for network in tasks.network_names(given))
        return UnknownModel(error.message, hint=f"its networks are models: {networks}; {error.hint}")
    others = [*network_names(), *(f"{PREFIX}{benchmark.key}" for benchmark in BENCHMARKS)]
    meant = did_you_mean(given, [*catalogue.names(), *others])
    if not meant:
        return error
    there = ", ".join(catalogue.names())
    return UnknownModel(error.message, hint=f"{meant} there are: {there}; networks of tasks: hil task list")


def _benchmark(given: str, error: UnknownModel) -> NamedModel:
    folder = variable_path("HIL_MLPERF_TINY")
    if folder is None:
        raise UnknownModel(
            error.message, hint="HIL_MLPERF_TINY names the folder with MLPerf Tiny's .tflite files"
        )
    there = {entry.name: entry for entry in entries(folder)}
    if given not in there:
        raise UnknownModel(f"no {given} in {folder}", hint=f"there are: {', '.join(there)}")
    return named.of_model(benchmark_model(there[given], "closed"))
