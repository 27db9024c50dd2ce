"""The text of a new model's model.toml, with comments for the person who will change it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from esp_hil.goldens.new_ports import ModelPort
from esp_hil.targets import FAMILIES_OF, Family, Runtime
from esp_hil.verdict.measures import Meaning


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of a model.

    Attributes:
        name: of the folder.
        source: name of the file that it was made from.
        inputs: as model.toml has them.
        outputs: in the file's order.
        meanings: of the outputs.
        classes: names of the classes; empty: not known.
        families: that there are device files for.
        runtime: of the device files.
        has_float: whether there is a float model.
        quantizes: whether the device files are made from it, and not given.
        parameters: of the float model; 0: not known.
        macs: of one inference; 0: not known.
        float_operators: types that may stay in float.
        tolerance_lsb: how far the exact reference is from the quantizer.
        tolerance_reason: the rule that explains it.
        pipeline: name of the detector's Python file; "": there is none.
    """

    name: str
    source: str
    inputs: tuple[ModelPort, ...]
    outputs: tuple[ModelPort, ...]
    meanings: Mapping[str, Meaning]
    classes: tuple[str, ...]
    families: tuple[Family, ...]
    runtime: Runtime = "espdl"
    has_float: bool = True
    quantizes: bool = True
    parameters: int = 0
    macs: int = 0
    float_operators: tuple[str, ...] = ()
    tolerance_lsb: int = 0
    tolerance_reason: str = ""
    pipeline: str = ""


def model_toml(facts: ModelFacts, *, calibration: int, origin: str, labelled: bool, gated: bool) -> str:
    """The text.

    Args:
        facts: of the model.
        calibration: number of calibration inputs.
        origin: of the golden inputs.
        labelled: whether the class of each golden input is known.
        gated: whether the float model's answers are a limit: not where noise calibrated.
    """
    suffix = "tflite" if facts.runtime == "tflm" else "espdl"
    files = [
        "inputs.npz     golden inputs: an array for each input, N first",
        *(["model.onnx     the float model"] if facts.has_float else []),
        *(["data.npz       calibration inputs"] if facts.quantizes else []),
        *(["answers.npz    what esp-ppq's executor answers"] if _answers(facts) else []),
        *([f"{facts.pipeline:14} what makes boxes of the outputs"] if facts.pipeline else []),
        f"{_recipe(facts)}/<family>.{suffix}   the device files",
        "manifest.json  sha256 of all files, tool versions",
    ]
    listed = "\n".join(f"#   {line}" for line in files)
    top = [
        f"title = {json.dumps(facts.name)}",
        f"source = {json.dumps(facts.source)}",
        f'runtime = "{facts.runtime}"',
        *(['float = "model.onnx"'] if facts.has_float else []),
    ]
    parts = [
        f"# {facts.name}: made by `hil new`. Change what you like; an unknown key is an error.\n#\n{listed}\n#\n"
        f"# After a change: hil golden build {facts.name}",
        "\n".join(top),
        *map(_input, facts.inputs),
        *(_output(facts, port, labelled=labelled, gated=gated) for port in facts.outputs),
        *([_pipeline(facts, gated=gated)] if facts.pipeline else []),
        _golden(facts, origin),
        _tolerance(facts),
        *([_expected(facts)] if facts.parameters else []),
        _recipe_table(facts, calibration),
    ]
    return "\n\n".join(parts) + "\n"


def _answers(facts: ModelFacts) -> bool:
    """Whether the quantizer's answers can be kept: what a fed input gets only a run tells."""
    return facts.quantizes and not any(port.state for port in facts.inputs)


def _recipe(facts: ModelFacts) -> str:
    return "w8a8" if facts.quantizes else "given"


def _input(port: ModelPort) -> str:
    lines = ["[[inputs]]", f"name = {json.dumps(port.name)}"]
    if port.layout:
        lines += [
            'dtype = "uint8"         # images; (byte * scale - mean) / std is what the float model takes',
            f'layout = "{port.layout}"',
            f"shape = {list(port.shape)}",
            "scale = 0.00392156862745098   # 1 / 255",
            f"mean = {list(port.mean)}",
            f"std = {list(port.std)}",
        ]
    elif port.dtype == "float32":
        lines += [
            'dtype = "float32"        # real values, as the float model takes them',
            f"shape = {list(port.shape)}",
        ]
    else:
        lines += [
            f'dtype = "{port.dtype}"        # the device gets them as they are',
            f"shape = {list(port.shape)}",
        ]
    if port.float_name:
        lines.append(f"float_name = {json.dumps(port.float_name)}   # in the float model")
    lines += _device_layout(port)
    if port.state:
        lines.append(
            f"state = {json.dumps(port.state)}   # gets what that output gave in the step before, at first zeros"
        )
    return "\n".join(lines)


_ABOUT: Mapping[Meaning, str] = {
    "scores": "one number a class: top-1",
    "values": "quantities: RMSE, MAE, R2; tolerance and unit are keys",
    "embedding": "a direction: cosine",
    "dense": "one number a class and pixel: pixel accuracy, mean IoU",
    "raw": "integers: device against exact only",
}


def _device_layout(port: ModelPort) -> list[str]:
    told = f'device_layout = "{port.device_layout}"   # its shape does not tell where the channels are'
    return [told] if port.device_layout else []


def _output(facts: ModelFacts, port: ModelPort, *, labelled: bool, gated: bool) -> str:
    meaning = facts.meanings[port.name]
    lines = [
        "[[outputs]]",
        f"name = {json.dumps(port.name)}",
        f'meaning = "{meaning}"      # {_ABOUT[meaning]}',
    ]
    numbers = max(port.shape, default=1)
    if meaning == "scores" and facts.classes and len(facts.classes) == numbers:
        lines.append(f"labels = {json.dumps(list(facts.classes), ensure_ascii=False)}")
    if port.float_name:
        lines.append(f"float_name = {json.dumps(port.float_name)}   # in the float model")
    lines += _device_layout(port)
    gated = gated and facts.has_float
    if meaning == "scores" and gated:
        lines += [
            "[outputs.against_float]   # least shares over the golden inputs",
            "top1 = 0.8",
            "cosine = 0.8",
        ]
    if meaning == "scores" and labelled:
        lines += [
            "[outputs.against_expected]",
            "top1 = 0.0               # raise it: the device's class is the label",
        ]
    elif meaning in {"values", "embedding", "dense"} and gated:
        lines += ["[outputs.against_float]   # least over the golden inputs", "cosine = 0.8"]
    return "\n".join(lines)


def _pipeline(facts: ModelFacts, *, gated: bool) -> str:
    lines = [
        "[pipeline]",
        f"file = {json.dumps(facts.pipeline)}",
        "iou = 0.5                # two boxes of a class are one object from this overlap on",
    ]
    if gated and facts.has_float:
        lines.append(
            "against_float = {recall = 0.8}   # share of the float model's boxes that the device finds"
        )
    return "\n".join(lines)


def _golden(facts: ModelFacts, origin: str) -> str:
    lines = ["[golden]", 'inputs = "inputs.npz"', f"origin = {json.dumps(origin)}"]
    if _answers(facts):
        lines.insert(2, 'answers = "answers.npz"')
    if facts.quantizes:
        lines += ["", "[data]", 'file = "data.npz"', 'origin = "made by hil new, in this folder"']
    return "\n".join(lines)


def _tolerance(facts: ModelFacts) -> str:
    lines = [
        "# How far integers may differ, in LSB. Above 0 a `reason` is required.",
        "[tolerance]",
        "device_vs_exact_lsb = 0",
        f"exact_vs_quantized_lsb = {facts.tolerance_lsb}",
    ]
    if facts.tolerance_lsb:
        lines.append(f"reason = {json.dumps(facts.tolerance_reason, ensure_ascii=False)}")
    return "\n".join(lines)


def _expected(facts: ModelFacts) -> str:
    return f"[expected]\nparameters = {facts.parameters}\nmacs = {facts.macs}       # of one inference"


def _recipe_table(facts: ModelFacts, calibration: int) -> str:
    # a .tflite is for every chip, and model.toml says so by default
    targets = (
        "" if facts.families == FAMILIES_OF["tflm"] else f"targets = {json.dumps(list(facts.families))}\n"
    )
    if not facts.quantizes:
        return f'[recipes.given]\ntitle = "as it came"\n{targets}'.rstrip()
    floats = f"float_operators = {json.dumps(list(facts.float_operators))}\n" if facts.float_operators else ""
    return f"""# Eight bits everywhere. More recipes are more tables: quant_type = "w16a16"; [recipes.NAME.dispatch]
# for single operators at 16 bits (hil sensitivity suggests which); [recipes.NAME.passes.equalization], tqt ...
[recipes.w8a8]
title = "int8"
quant_type = "w8a8"
{targets}{floats}
[recipes.w8a8.calibration]
split = "train"
count = {calibration}
seed = 0
observer = "minmax"      # kl | minmax | percentile | mse"""
