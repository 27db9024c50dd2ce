"""The text of a new model's model.toml, with comments for the person who will change it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from esp_hil.targets import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFacts:
    """The model's input: sizes without the batch axis; `layout` is "" where it is not an image."""

    name: str
    shape: tuple[int, ...]
    layout: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """(H, W) or (H, W, C) of an image; None if it is none."""
        if not self.layout:
            return None
        channels, *rest = self.shape if self.layout == "NCHW" else (self.shape[2], *self.shape[:2])
        return tuple(rest) if channels == 1 else (*rest, channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of a float model."""

    name: str
    source: str
    output: str
    classes: tuple[str, ...]
    input: InputFacts
    parameters: int
    macs: int
    families: tuple[Family, ...]


def model_toml(facts: ModelFacts, *, calibration: int, goldens: int, labelled: bool) -> str:
    """The text.

    Args:
        facts: of the float model.
        calibration: number of calibration inputs.
        goldens: number of golden inputs.
        labelled: whether the class of each golden input is known.
    """
    families = json.dumps(list(facts.families))
    about = "raise it: device's top-1 is the label" if labelled else "no labels are known"
    return f"""# {facts.name}: made by `hil new`. Change what you like; an unknown key is an error.
#
#   model.onnx     the float model                    inputs.npz    golden inputs
#   data.npz       calibration and test inputs        answers.npz   what esp-ppq's executor answers to the golden inputs
#   <recipe>/<family>.espdl   the device files       manifest.json sha256 of all files, tool versions
#
# After a change: hil golden build {facts.name}

title = {json.dumps(facts.name)}
source = {json.dumps(facts.source)}
task = "classification"
labels = {json.dumps(list(facts.classes), ensure_ascii=False)}
runtime = "espdl"
float = "model.onnx"
output = {json.dumps(facts.output)}   # the output that holds one score for each label

{_input(facts.input)}
[golden]
inputs = "inputs.npz"
answers = "answers.npz"
origin = "{goldens} of the inputs given to hil new"

[data]
file = "data.npz"        # x_train to calibrate with, x_test the golden inputs
origin = "made by hil new, in this folder"

# How far integers may differ, in LSB. Above 0 a `reason` is required.
[tolerance]
device_vs_exact_lsb = 0
exact_vs_quantized_lsb = 0

# Least shares over the golden inputs.
[thresholds]
top1_agreement = 0.8     # device's top-1 is the float model's
accuracy = 0.0           # {about}
cosine = 0.8             # quantized against float outputs, least over the inputs

[expected]
parameters = {facts.parameters}
macs = {facts.macs}       # of one inference
test_top1 = 0.0          # float; `hil golden accuracy` checks it

# Eight bits everywhere. More recipes are more tables: quant_type = "w16a16"; [recipes.NAME.dispatch] for single
# operators at 16 bits (hil sensitivity suggests which); [recipes.NAME.passes.equalization], tqt ...
[recipes.w8a8]
title = "int8"
quant_type = "w8a8"
targets = {families}

[recipes.w8a8.calibration]
split = "train"
count = {calibration}
seed = 0
observer = "minmax"      # kl | minmax | percentile | mse
"""


def _input(facts: InputFacts) -> str:
    head = f"[input]\nname = {json.dumps(facts.name)}\n"
    if not facts.layout:
        return f'{head}dtype = "float32"        # stored as the float model takes them\nshape = {list(facts.shape)}\n'
    return (
        "# How a stored image becomes the float model's input: (byte * scale - mean) / std.\n"
        f'{head}dtype = "uint8"\nlayout = "{facts.layout}"\nshape = {list(facts.shape)}\n'
        f"scale = 0.00392156862745098   # 1 / 255\nmean = {list(facts.mean)}\nstd = {list(facts.std)}\n"
    )
