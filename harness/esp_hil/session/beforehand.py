"""What a session can know of its options before a board is opened: said once, at its start.

A value that no model or chip of the session can take is the user's mistake; one that some of them cannot take is
said by their own tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from esp_hil.boards.build import check_profile
from esp_hil.device.recording import check_place
from esp_hil.errors import ConfigError, GoldenError, HilError
from esp_hil.goldens.build import find_data
from esp_hil.models.catalogue import Model
from esp_hil.session.options import Combination, Options
from esp_hil.targets import Target


def check_options(options: Options, found: Iterable[Combination]) -> None:
    """Look at the options of a session; nothing is opened or written.

    Raises:
        ConfigError: no chip has so many cores, no model so many inputs, no such build profile, or the recording
            has no place.
        GoldenError: there are no test images where they were said to be.
    """
    used = [combination for combination in found if not combination.unsuited]
    _check_cores(options.cores, list({one.target.name: one.target for one in used}.values()))
    models = list({one.model: one.resolved for one in used if isinstance(one.resolved, Model)}.values())
    _check_inputs(options, models)
    check_profile(options.build_profile)
    if options.record is not None:
        check_place(options.record)


def _check_cores(cores: int, chips: Sequence[Target]) -> None:
    if chips and all(chip.cores < cores for chip in chips):
        most = max(chip.cores for chip in chips)
        raise ConfigError(
            f"--hil-cores {cores}: {', '.join(chip.name for chip in chips)} has fewer", hint=f"at most {most}"
        )


def _check_inputs(options: Options, models: Sequence[Model]) -> None:
    """Of the first model that takes them nothing is to be said of the others."""
    errors: list[HilError] = []
    for model in models if options.inputs is not None or options.data is not None else ():
        try:
            if options.data is not None:
                find_data(model, options.data)
            else:
                model.golden(options.inputs)
        except ConfigError as error:
            errors.append(error)
        except GoldenError as error:
            if options.data is None:
                return  # a file of the model's is damaged: its own tests say so
            errors.append(error)
        else:
            return
    if errors:
        raise errors[0]
