from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from esp_hil.errors import FormatError, InputError, OutOfMemory, RuntimeFailed, UnsupportedOperator
from esp_hil.formats.tflite.interpreter import Interpreter
from esp_hil.formats.tflite.writer import inline_buffers, operators_apart, pack, schema
from esp_hil.goldens.ai_edge import quantize_tflite
from esp_hil.goldens.from_onnx import float_tflite
from esp_hil.goldens.litert import LiteRt
from esp_hil.tensors import quantize_affine
from tests.conftest import ROOT
from tests.formats.tflite.networks import Network, images, needs_tflm, recipe, small

pytestmark = needs_tflm

FASHION = (ROOT / "golden" / "fashion" / "int8" / "tflm.tflite").read_bytes()


def integers(count: int, seed: int = 2) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-128, 128, (count, 28, 28, 1), np.int8)


def test_the_arena_that_is_reported_is_the_smallest_that_serves() -> None:
    with Interpreter(FASHION) as first:
        use = first.memory
    assert use.recorded_bytes == use.head_bytes + use.tail_bytes
    assert abs(use.arena_bytes - use.recorded_bytes) <= 16  # alignment depends on the size that was given
    with Interpreter(FASHION, arena_limit_bytes=use.arena_bytes) as again:
        assert again.memory.arena_bytes == use.arena_bytes
    with pytest.raises(OutOfMemory, match=f"takes {use.arena_bytes:,} bytes, there are"):
        Interpreter(FASHION, arena_limit_bytes=use.arena_bytes - 16)


def test_a_batch_answers_as_its_inputs_do_one_by_one() -> None:
    x = integers(5)
    with Interpreter(FASHION) as interpreter:
        (whole,) = interpreter.run([x])
        for row in range(5):
            np.testing.assert_array_equal(interpreter.run([x[row : row + 1]])[0], whole[row : row + 1])


def test_intermediate_tensors_are_those_of_the_same_inference(tmp_path: Path) -> None:
    path = small(tmp_path / "net.onnx", head="none")
    x = np.ascontiguousarray(images(1).transpose(0, 2, 3, 1))
    with Interpreter(float_tflite(path)) as interpreter:
        last, pooled = interpreter.model.operators[-1], interpreter.model.operators[1]
        (answer,) = interpreter.run([x])
        np.testing.assert_array_equal(interpreter.tensor([x], last.outputs[0]), answer)
        before = interpreter.tensor([x], pooled.inputs[0])
        after = interpreter.tensor([x], pooled.outputs[0])
    np.testing.assert_array_equal(before.reshape(1, 4, 2, 4, 2, 4).max(axis=(2, 4)), after)


def test_a_dynamic_range_model_is_refused_with_operator_and_reason(tmp_path: Path) -> None:
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer import recipe as recipes

    path = tmp_path / "float.tflite"
    path.write_bytes(float_tflite(small(tmp_path / "net.onnx")))
    hybrid = quantizer.Quantizer(str(path), recipes.dynamic_wi8_afp32()).quantize().quantized_model
    with pytest.raises(
        UnsupportedOperator, match=r"TFLM refuses CONV_2D \(number 0\): .*Hybrid models are not"
    ):
        Interpreter(bytes(hybrid))


def changed(code: str | None = None, version: int = 3) -> bytes:
    """Fashion with its last operator replaced, or with another schema version."""
    fb = schema()
    model = fb.ModelT.InitFromPackedBuf(bytearray(FASHION), 0)
    model.version = version
    if code is not None:
        number = getattr(fb.BuiltinOperator, code, None)
        entry = model.operatorCodes[model.subgraphs[0].operators[-1].opcodeIndex]
        entry.builtinCode = fb.BuiltinOperator.CUSTOM if number is None else number
        entry.deprecatedBuiltinCode = min(entry.builtinCode, 127)
        entry.customCode = code if number is None else None
    return pack(model)


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (changed("GELU"), UnsupportedOperator, r"no kernel for operator GELU \(number 5\)"),
        (changed("MyOwn"), UnsupportedOperator, "no kernel for custom operator MyOwn"),
        (changed(version=2), FormatError, "schema version 2, TFLM reads 3"),
        (FASHION[: len(FASHION) // 2], FormatError, "beyond the end|points outside"),
    ],
)
def test_what_tflm_would_misread_is_refused_before_it_gets_it(
    data: bytes, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Interpreter(data)


@pytest.mark.filterwarnings("ignore:Warning. Enabling `experimental_preserve_all_tensors`")
def test_constants_outside_the_flatbuffer_are_refused_and_right_once_inside(tmp_path: Path) -> None:
    """ai-edge-quantizer writes them so from 256 KiB of weights on; TFLM alone would answer garbage."""
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer import recipe as recipes

    onnx = (
        Network().add("Flatten", axis=1).gemm(2200, 128).add("Relu").gemm(4, 2200).save(tmp_path / "net.onnx")
    )
    path = tmp_path / "float.tflite"
    path.write_bytes(float_tflite(onnx))
    rows = np.ascontiguousarray(images(20).transpose(0, 2, 3, 1))
    work = quantizer.Quantizer(str(path), recipes.static_wi8_ai8())
    samples = work.calibrate({"serving_default": [{"input": row[None]} for row in rows]})
    outside = bytes(work.quantize(samples).quantized_model)
    with pytest.raises(FormatError, match="lie outside the FlatBuffer"):
        Interpreter(outside)
    x = np.random.default_rng(3).integers(-128, 128, (20, 8, 8, 2), np.int8)
    with Interpreter(inline_buffers(outside)) as interpreter:
        (answered,) = interpreter.run([x])
    (expected,) = LiteRt(outside).run([x])
    assert np.abs(answered.astype(int) - expected).max() <= 3
    assert len(np.unique(answered)) > 8


def test_litert_and_tflm_agree_exactly_without_a_fully_connected_layer(tmp_path: Path) -> None:
    net = (
        Network()
        .conv(4, 2, pads=[1, 1, 1, 1])
        .add("Relu")
        .add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    )
    path = net.conv(3, 4).save(tmp_path / "net.onnx")
    quantize_tflite(path, recipe(), images(16), tflite=tmp_path / "q.tflite")
    image = (tmp_path / "q.tflite").read_bytes()
    x = np.random.default_rng(4).integers(-128, 128, (50, 8, 8, 2), np.int8)
    with Interpreter(image) as interpreter:
        np.testing.assert_array_equal(interpreter.run([x])[0], LiteRt(image).run([x])[0])


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((1, 28, 28, 1), np.float32), np.zeros((1, 28, 28), np.int8), np.zeros((0, 28, 28, 1), np.int8)],
)
def test_an_input_of_another_type_or_shape_never_reaches_tflm(wrong: NDArray[np.generic]) -> None:
    with Interpreter(FASHION) as interpreter:
        with pytest.raises(InputError, match="give int8 of shape"):
            interpreter.run([wrong])
        with pytest.raises(InputError, match="no tensor 99"):
            interpreter.tensor([integers(1)], 99)
        interpreter.run([integers(1)])


def test_a_crash_of_the_kernels_is_a_typed_error_of_this_model_only() -> None:
    with Interpreter(FASHION) as broken, Interpreter(FASHION) as sound:
        broken._process._process.kill()
        with pytest.raises(RuntimeFailed, match="crashed with signal 9"):
            broken.run([integers(1)])
        sound.run([integers(1)])


def test_quantizing_is_reproducible_and_keeps_the_names_of_the_float_model(tmp_path: Path) -> None:
    onnx = small(tmp_path / "net.onnx")
    for io, dtype in (("integer", "int8"), ("float32", "float32")):
        made = []
        for number in range(2):
            path = tmp_path / f"{io}{number}.tflite"
            versions = quantize_tflite(onnx, recipe(io), images(16), tflite=path)  # type: ignore[arg-type]
            assert set(versions) == {"ai-edge-litert", "ai-edge-quantizer"}
            made.append(path.read_bytes())
        assert made[0] == made[1]
        with Interpreter(made[0]) as interpreter:
            model = interpreter.model
        edges = (*model.input_tensors, *model.output_tensors)
        assert [(tensor.name, tensor.dtype) for tensor in edges] == [("input", dtype), ("output", dtype)]


def test_a_single_output_keeps_its_range(tmp_path: Path) -> None:
    """Averaging each image's minimum and maximum, as the quantizer does by itself, would leave it no range."""
    net = Network().add("Flatten", axis=1).gemm(1, 128)
    net.constants[0].CopyFrom(numpy_helper.from_array(np.full((1, 128), 0.05, np.float32), "w1_0"))
    onnx = net.save(tmp_path / "net.onnx")
    x = images(64) * np.linspace(0, 1, 64, dtype=np.float32)[:, None, None, None]
    quantize_tflite(onnx, recipe(), x, tflite=tmp_path / "q.tflite")
    nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    (expected,) = LiteRt(float_tflite(onnx)).run([nhwc])
    with Interpreter((tmp_path / "q.tflite").read_bytes()) as interpreter:
        given, made = interpreter.model.input_tensors[0].affine, interpreter.model.output_tensors[0].affine
        assert given is not None
        assert made is not None
        (answered,) = interpreter.run([quantize_affine(nhwc, given, "int8")])
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(made.real(answered), expected, atol=0.05 * np.ptp(expected))


def test_each_operator_is_timed_on_what_it_gets_in_an_inference() -> None:
    x = np.random.default_rng(5).integers(-128, 128, (1, 28, 28, 1), np.int8)
    with Interpreter(FASHION) as interpreter:
        times = interpreter.operator_times_ns([x])
        assert len(times) == len(interpreter.model.operators)
        names = [operator.name for operator in interpreter.model.operators]
        assert min(times) > 0
        # 75,708 multiplications beside a reshape
        assert times[names.index("CONV_2D")] > times[names.index("RESHAPE")]


def test_an_operator_alone_answers_as_in_its_model() -> None:
    x = np.random.default_rng(6).integers(-128, 128, (1, 28, 28, 1), np.int8)
    with Interpreter(FASHION) as whole:
        for operator, image in zip(whole.model.operators, operators_apart(FASHION), strict=True):
            read = [n for n in operator.inputs if n >= 0 and not whole.model.tensors[n].constant]
            values = [x if n in whole.model.inputs else whole.tensor([x], n) for n in read]
            with Interpreter(image) as alone:
                assert [made.name for made in alone.model.operators] == [operator.name]
                np.testing.assert_array_equal(
                    alone.run(values)[0], whole.tensor([x], operator.outputs[0]), err_msg=operator.name
                )
