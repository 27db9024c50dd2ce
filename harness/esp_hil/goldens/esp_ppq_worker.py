"""The process in which esp-ppq works: `python -m esp_hil.goldens.esp_ppq_worker JOB.json`.

esp-ppq keeps module-level state, is not thread-safe, prints a banner, rewrites the ONNX file it is given
and writes initializers in set order. So each job has its own process with PYTHONHASHSEED=0, works on a copy
in a scratch folder, and talks over files: JOB.json in, RESULT.json and arrays out. Lines on standard output
are progress; whatever esp-ppq prints goes to standard error, which the parent keeps for the error message.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esp_hil.errors import ConfigError, HilError, QuantizeError
from esp_hil.formats.espdl import EspdlModel, ValueInfo, read_espdl
from esp_hil.formats.espdl.operators import INSTEAD, REGISTERED, WAYS_OUT
from esp_hil.targets import rounding_of
from esp_hil.tensors import Array, Arrays, dequantize, quantize_input

Job = Mapping[str, Any]
Say = Callable[[str], None]

PACKAGES = ("esp-ppq", "numpy", "onnx", "onnxsim", "torch")

# name in model.toml -> switch and settings in esp-ppq's QuantizationSetting
PASSES = {
    "equalization": ("equalization", "equalization_setting"),
    "tqt": ("tqt_optimization", "tqt_optimization_setting"),
    "lsq": ("lsq_optimization", "lsq_optimization_setting"),
    "bias_correction": ("bias_correct", "bias_correct_setting"),
    "weight_split": ("weight_split", "weight_split_setting"),
    "adaround": ("blockwise_reconstruction", "blockwise_reconstruction_setting"),
}
_ACTIVATION_BITS = {"w8a8": 8, "w8a16": 16, "w16a16": 16}


def main(argv: list[str]) -> int:
    """Do the job of a JSON file; the result, or the error, is written beside it as RESULT.json."""
    job_path = Path(argv[0])
    say = _progress_on_the_real_stdout()
    try:
        result = _do(json.loads(job_path.read_text(encoding="utf-8")), say)
        status = 0
    except HilError as error:
        result, status = {"error": error.message, "hint": error.hint}, 1
    except Exception as error:  # esp-ppq raises whatever it likes: say it in the parent as a QuantizeError
        cause = f", because: {error.__cause__}" if error.__cause__ else ""
        # some of its messages have several lines, or hold a traceback
        said = " ".join(f"{error}{cause}".partition("Traceback (most recent call last)")[0].split())
        result, status = {"error": f"esp-ppq: {type(error).__name__}: {said}", "hint": ""}, 1
        import traceback

        traceback.print_exc()
    job_path.with_name("RESULT.json").write_text(json.dumps(result), encoding="utf-8")
    return status


def _progress_on_the_real_stdout() -> Say:
    """Keep standard output for progress; give esp-ppq, and C code, standard error in its place."""
    progress = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def say(text: str) -> None:
        print(text, file=progress, flush=True)

    return say


def _do(job: Job, say: Say) -> dict[str, Any]:
    say("importing torch and esp-ppq")
    import esp_ppq.api
    import torch

    torch.set_num_threads(1)
    _round_correctly(torch)
    torch.manual_seed(0)
    random.seed(0)
    graph = (
        _quantized(job, say) if job["action"] == "quantize" else esp_ppq.api.load_native_graph(job["native"])
    )
    if job["inputs"] is not None:
        espdl = read_espdl(Path(job["espdl"]))
        with np.load(job["inputs"]) as given:
            answers: Any = _answers(graph, espdl, {name: given[name] for name in given.files}, job, say)
        np.savez(job["answers"], **answers)
    return {"versions": {name: metadata.version(name) for name in PACKAGES}}


def _round_correctly(torch: Any) -> None:  # noqa: ANN401
    """Give torch the square root of IEEE 754 in this process, so that all processors make the same file.

    torch takes its roots of float tensors from MKL's vector library, which is an ulp off for a sixth of all values on
    some processors and not on others. Equalization divides weights by them, and a weight that comes to lie at a
    tie between two integers there goes to one or the other. NumPy's root is the processor's own instruction, which is
    correctly rounded on all of them. A tensor that is being trained keeps torch's, which has a gradient.
    """
    of_mkl = torch.sqrt

    def sqrt(tensor: Any, **options: Any) -> Any:  # noqa: ANN401
        kept = options or tensor.requires_grad or tensor.is_cuda
        if kept or tensor.dtype not in (torch.float32, torch.float64):
            return of_mkl(tensor, **options)
        return torch.from_numpy(np.asarray(np.sqrt(tensor.numpy())))

    torch.sqrt = sqrt


def _quantized(job: Job, say: Say) -> Any:  # noqa: ANN401
    """Quantize, refuse what stayed in float, export; returns esp-ppq's graph."""
    import torch
    from esp_ppq import TargetPlatform
    from esp_ppq.api import espdl_quantize_onnx, export_ppq_graph, get_target_platform
    from torch.utils.data import DataLoader, TensorDataset

    family, quant_type = job["family"], job["quant_type"]
    platform = get_target_platform(family, quant_type)
    if platform == TargetPlatform.FP32:
        raise QuantizeError(f"esp-ppq has no {quant_type} for {family}: it would export floats")
    scratch = Path(job["scratch"])
    onnx_copy = shutil.copy(job["onnx"], scratch / "model.onnx")  # esp-ppq overwrites the file it reads
    with np.load(job["calibration"]) as given:
        arrays = _in_order(onnx_copy, {name: given[name] for name in given.files})
    values: Any = [torch.from_numpy(array) for array in arrays]
    say(f"quantizing {quant_type} for {family} with {len(values[0])} calibration inputs")
    prepared: list[str] = []
    _fit_to_esp_dl(prepared)
    graph = espdl_quantize_onnx(
        onnx_import_file=str(onnx_copy),
        espdl_export_file=job["espdl"],
        calib_dataloader=DataLoader(
            values[0] if len(values) == 1 else TensorDataset(*values), batch_size=1, shuffle=False
        ),
        calib_steps=len(values[0]),
        input_shape=[[1, *array.shape[1:]] for array in values],
        # becomes the test vector inside the file; without it, random numbers would
        inputs=[array[:1] for array in values],
        target=family,
        quant_type=quant_type,
        setting=_setting(job),
        device="cpu",
        error_report=False,
        export_config=False,
        export_test_values=True,
        verbose=0,
        metadata_props={"target": family},
    )
    for line in dict.fromkeys(prepared):
        say(line)
    _check(graph, job)
    if job["native"] is not None:
        export_ppq_graph(graph, platform=TargetPlatform.NATIVE, graph_save_to=job["native"], copy_graph=True)
    return graph


def _in_order(onnx_path: str | Path, arrays: dict[str, Array]) -> list[Array]:
    """Calibration arrays in the order of the graph's inputs; a single one whatever its name.

    Raises:
        QuantizeError: the model has other inputs.
    """
    import onnx

    graph = onnx.load(onnx_path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    names = [value.name for value in graph.input if value.name not in constants]
    if len(names) == len(arrays) == 1:
        return list(arrays.values())
    if set(names) != set(arrays):
        raise QuantizeError(
            f"calibration data for {', '.join(arrays)}; the model's inputs are {', '.join(names)}"
        )
    return [arrays[name] for name in names]


def _fit_to_esp_dl(said: list[str]) -> None:
    """Make esp-ppq 1.3.12 write what ESP-DL 3.3.9 runs.

    Its simplifier is followed by `prepare`; onnxsim's pass that joins query, key and value aborts the process on some
    graphs and is left out. A MatMul of two computed operands is exported as packed, as esp-ppq 1.3.5 did:
    "native_kn", which 1.3.12 writes, is misread by ESP-DL 3.3.9. `said` gets what `prepare` did.
    """
    import onnxsim
    from esp_ppq.api import espdl_interface
    from esp_ppq.parser.espdl import export_patterns

    from esp_hil.goldens.prepare import prepare

    def simplify(model: Any) -> Any:  # noqa: ANN401
        simple, ok = onnxsim.simplify(model, skipped_optimizers=["fuse_qkv"])
        said.extend(prepare(simple))
        return simple, ok

    espdl_interface.simplify = simplify
    pattern: Any = export_patterns.InsertPreNodeOfMatMulPattern
    native = pattern.export

    def packed(self: Any, op: Any, graph: Any, **options: Any) -> Any:  # noqa: ANN401
        if op.type != "MatMul" or op.inputs[1].is_parameter:
            return native(self, op, graph, **options)
        kept = op.attributes.get("activation", "Linear")
        op.attributes["activation"] = "packed"  # no activation that the pattern would leave in natural order
        try:
            return native(self, op, graph, **options)
        finally:
            op.attributes["activation"] = kept

    pattern.export = packed


def _setting(job: Job) -> Any:  # noqa: ANN401
    """esp-ppq's setting object for a recipe.

    Raises:
        ConfigError: a pass has no such setting.
    """
    from esp_ppq import QuantizationSettingFactory
    from esp_ppq.api import get_target_platform

    setting = QuantizationSettingFactory.espdl_setting(num_of_bits=_ACTIVATION_BITS[job["quant_type"]])
    setting.quantize_activation_setting.calib_algorithm = job["observer"]
    setting.espdl_attention_fusion = False  # ESP-DL 3.3.9 has no Attention: loading would fail
    for operator, bits in job["dispatch"].items():
        setting.dispatching_table.append(operator, get_target_platform(job["family"], bits))
    for name, options in job["passes"].items():
        switch, settings = PASSES[name]
        setattr(setting, switch, True)
        target = getattr(setting, settings)
        if hasattr(target, "collecting_device"):
            target.collecting_device = "cpu"  # two passes default to a GPU and fail without one
        for option, value in options.items():
            if not hasattr(target, option):
                known = ", ".join(sorted(vars(target)))
                raise ConfigError(f"pass {name} has no setting {option!r}", hint=f"it has: {known}")
            setattr(target, option, value)
    return setting


def _check(graph: Any, job: Job) -> None:  # noqa: ANN401
    """Refuse what esp-ppq passes over in silence: unknown names, operators left in float or at other bits.

    Raises:
        QuantizeError: see above.
    """
    operators = graph.operations
    named = [*job["dispatch"], *(n for o in job["passes"].values() for n in o.get("interested_layers", []))]
    for name in named:
        if name not in operators:
            raise QuantizeError(
                f"the recipe names operator {name!r}, which the simplified graph does not have",
                hint=f"it has: {', '.join(operators)}",
            )
    for name, bits in job["dispatch"].items():
        configs = operators[name].config.output_quantization_config
        if any(config.num_of_bits != bits for config in configs):
            raise QuantizeError(f"esp-ppq did not put {name} at {bits} bits")
    floats = [
        op
        for op in operators.values()
        if op.platform.name == "FP32" and op.type not in job["float_operators"]
    ]
    if floats:
        names = _names_in(Path(job["onnx"]))
        listed = ", ".join(f"{names(op)} ({op.type})" for op in floats)
        raise QuantizeError(
            f"these operators stayed in float: {listed}", hint=_way_out({op.type for op in floats})
        )


def _names_in(onnx_path: Path) -> Callable[[Any], str]:
    """What an operator of esp-ppq's graph is called in the user's file; simplifying renames nodes, not outputs."""
    import onnx

    nodes = onnx.load(onnx_path, load_external_data=False).graph.node
    by_output = {output: node.name or output for node in nodes for output in node.output}
    named = {node.name for node in nodes if node.name}

    def name(operator: Any) -> str:  # noqa: ANN401
        if operator.name in named:
            return str(operator.name)
        outputs = (by_output.get(variable.name) for variable in operator.outputs)
        return str(next((found for found in outputs if found), operator.name))

    return name


def _way_out(types: set[str]) -> str:
    """What to do about operator types that stayed in float."""
    able = {name for name in types if name in REGISTERED and "F32" in REGISTERED[name].quant_types}
    ways = [f"{name}: {WAYS_OUT.get(name, INSTEAD)}" for name in sorted(types - able)]
    if able:
        listed = ",".join(sorted(able))
        ways.append(f"ESP-DL computes {listed} in float, slowly: allow it with --float-operators {listed}")
    return "; ".join(ways)


def _answers(
    graph: Any,  # noqa: ANN401
    espdl: EspdlModel,
    inputs: Arrays,
    job: Job,
    say: Say,
) -> dict[str, NDArray[Any]]:
    """What esp-ppq's executor answers: integers (N, ...) in the float model's layout; floats stay floats.

    The executor gets the values of the integers that a device would be sent, not the raw floats, so that it
    and the device start from the same numbers even at a rounding tie.

    Raises:
        QuantizeError: the file and the graph disagree about an output's exponent.
    """
    import torch
    from esp_ppq import PPQLinearQuant_toInt, TorchExecutor

    named = (
        inputs
        if len(inputs) > 1
        else {value.name: next(iter(inputs.values())) for value in espdl.graph.inputs}
    )
    on_grid = {
        value.name: torch.from_numpy(_on_grid(value, named[value.name], job)) for value in espdl.graph.inputs
    }
    count = len(next(iter(on_grid.values())))
    executor = TorchExecutor(graph, device="cpu")
    collected: dict[str, list[NDArray[Any]]] = {name: [] for name in graph.outputs}
    with torch.inference_mode():
        for index in range(count):  # batch 1: a Reshape in the graph may fix the batch
            single = {name: values[index : index + 1] for name, values in on_grid.items()}
            for name, value in zip(graph.outputs, executor.forward(single), strict=True):
                config = _output_config(graph.variables[name], espdl)
                answer = value if config is None else PPQLinearQuant_toInt(value, config=config)
                collected[name].append(answer.numpy())
            if (index + 1) % 100 == 0 or index + 1 == count:
                say(f"esp-ppq executor: {index + 1} of {count} inputs")
    return {name: np.concatenate(parts) for name, parts in collected.items()}


def _on_grid(value: ValueInfo, floats: Array, job: Job) -> Array:
    """The values of the integers that a device is sent for one input, (N, ...) in the float model's layout."""
    if not value.exponents or floats.dtype != np.float32:
        return floats
    dtype: Any = value.dtype
    return dequantize(
        quantize_input(floats, value.exponents[0], dtype, rounding_of(job["family"])), value.exponents[0]
    )


def _output_config(variable: Any, espdl: EspdlModel) -> Any:  # noqa: ANN401
    """Quantization config of a graph output, None for a float one; checked against the exported file."""
    (value,) = [value for value in espdl.graph.outputs if value.name == variable.name]
    if not value.exponents:
        return None
    source = variable.source_op
    config = source.config.output_quantization_config[source.outputs.index(variable)]
    if float(config.scale) != 2.0 ** value.exponents[0]:
        raise QuantizeError(
            f"output {variable.name}: the file says exponent {value.exponents[0]}, "
            f"the quantizer scale {float(config.scale)}"
        )
    return config


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
