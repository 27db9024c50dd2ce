"""The contract between a run and the device that answers: chip, numeric family, model, inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from esp_hil.targets import Target
from esp_hil.wire.info import DeviceInfo

if TYPE_CHECKING:
    from esp_hil.models.device_file import FileTensor


def disagreements(
    info: DeviceInfo,
    *,
    target: Target | None = None,
    family: str | None = None,
    model_sha256: str | None = None,
    inputs: Sequence[FileTensor] | None = None,
) -> Iterator[tuple[str, str]]:
    """Each point in which the device is not what the run needs, and what to do about it.

    Args:
        info: what the device says of itself.
        target: the chip, and with it the numeric family.
        family: numeric family of the loaded model.
        model_sha256: hex digest of the image that must be loaded.
        inputs: of the model file: name, dtype, shape and scale.
    """
    if target is not None:
        family = family or target.family
        yield from _chip(info, target, family)
    if info.model is None:
        if model_sha256 is not None or inputs is not None:
            yield "no model is loaded", "upload and load it first"
        return
    if family is not None and info.model.family != family:
        yield (
            f"the loaded model is for {info.model.family}, not for {family}",
            "upload the artefact for this chip",
        )
    if model_sha256 is not None and info.model.sha256 != model_sha256:
        loaded, wanted = info.model.sha256[:12], model_sha256[:12]
        yield f"the loaded model is {loaded}, the run is for {wanted}", "upload and load it first"
    if inputs is not None:
        yield from _inputs(info, inputs)


def _chip(info: DeviceInfo, target: Target, family: str) -> Iterator[tuple[str, str]]:
    if info.chip != target.name:
        yield f"the device is an {info.chip}, the run is for {target.name}", "choose another board"
    if family not in info.families:
        has = ", ".join(info.families)
        yield (
            f"its engine runs models of {has}, not of {family}",
            "flash the firmware of this target and runtime",
        )


def _inputs(info: DeviceInfo, inputs: Sequence[FileTensor]) -> Iterator[tuple[str, str]]:
    hint = "is the file that was loaded the one of the run?"
    there = {spec.name: spec for spec in info.inputs}
    if set(there) != {value.name for value in inputs}:
        wanted = ", ".join(value.name for value in inputs)
        yield f"the device has inputs {', '.join(there)}, the model file {wanted}", hint
        return
    for value in inputs:
        spec = there[value.name]
        ours = (value.dtype, value.shape, value.exponent, value.affine)
        theirs = (spec.dtype, spec.shape, spec.exponent, spec.affine)
        if ours != theirs:
            yield f"input {value.name} is {theirs} on the device and {ours} in the model file", hint
