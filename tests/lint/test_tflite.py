from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from esp_hil.errors import UnsupportedOperator
from esp_hil.formats.espdl.versions import esp_dl_of
from esp_hil.formats.tflite import read_tflite
from esp_hil.formats.tflite.interpreter import Interpreter
from esp_hil.formats.tflite.operators import IMAGE_OPERATORS, REGISTERED, resolver_lines, resolver_method
from esp_hil.formats.tflite.writer import FloatWriter
from esp_hil.goldens.from_onnx import float_tflite
from esp_hil.lint import tflite as lint
from esp_hil.lint.preflight import esp_nn_of, preflight
from esp_hil.lint.tflite import lint_tflite
from esp_hil.models.arena import live_bytes
from esp_hil.models.device_file import open_device_file
from esp_hil.targets import target
from tests.conftest import ROOT
from tests.formats.tflite.networks import needs_tflm, small
from tests.formats.tflite.test_interpreter import changed
from tests.verdict.test_esp_nn import NETS

FASHION = ROOT / "golden" / "fashion" / "int8" / "tflm.tflite"


def rules(image: bytes | Path, **options: object) -> list[tuple[str, str]]:
    """(severity, rule) of each finding."""
    _, findings = lint_tflite(image, **options)  # type: ignore[arg-type]
    return [(finding.severity, finding.rule) for finding in findings]


def test_a_sound_int8_model_gives_no_finding_on_any_chip() -> None:
    for name in ("esp32", "esp32s3", "esp32c3", "esp32p4"):
        assert rules(FASHION, target=target(name)) == []


@needs_tflm
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: changed("GELU"), ("error", "tflm-no-kernel")),
        (lambda: changed("TANH"), ("error", "tflm-resolver")),
        (lambda: changed(version=2), ("error", "tflm-schema")),
    ],
)
def test_each_hazard_of_the_file_is_found(make: object, expected: tuple[str, str]) -> None:
    assert rules(make()) == [expected]  # type: ignore[operator]


@needs_tflm
@pytest.mark.filterwarnings("ignore:Warning. Enabling `experimental_preserve_all_tensors`")
def test_hybrid_kernels_are_found_where_tflm_would_refuse_them(tmp_path: Path) -> None:
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer import recipe as recipes

    path = tmp_path / "float.tflite"
    path.write_bytes(float_tflite(small(tmp_path / "net.onnx")))
    hybrid = quantizer.Quantizer(str(path), recipes.dynamic_wi8_afp32()).quantize().quantized_model
    found = lint_tflite(bytes(hybrid))[1]
    assert {finding.rule for finding in found if finding.severity == "error"} == {"tflm-hybrid"}
    assert "CONV_2D 0" in {finding.node for finding in found}


@needs_tflm
def test_the_float_classifier_of_64x64_pixels_fits_no_esp32_without_psram() -> None:
    writer = FloatWriter()
    given, made = writer.activation("input", (1, 64, 64, 1)), writer.activation("made", (1, 64, 64, 16))
    filters = writer.constant("f", np.zeros((16, 3, 3, 1), np.float32))
    bias = writer.constant("b", np.zeros(16, np.float32))
    options = {"padding": writer.padding(same=True), "strideH": 1, "strideW": 1}
    options |= {"dilationHFactor": 1, "dilationWFactor": 1}
    writer.operator("CONV_2D", [given, filters, bias], made, "Conv2DOptions", **options)
    pooled = writer.activation("pooled", (1, 32, 32, 16))
    window = {"padding": writer.padding(same=False), "strideH": 2, "strideW": 2}
    window |= {"filterHeight": 2, "filterWidth": 2}
    writer.operator("MAX_POOL_2D", [made], pooled, "Pool2DOptions", **window)
    image = writer.finish([given], [pooled])
    # conv and pooled side by side: 64 * 64 * 16 * 4 + 32 * 32 * 16 * 4 bytes
    assert live_bytes(read_tflite(image)) == 327_680
    without = rules(image, target=target("esp32"), psram_bytes=0)
    assert without == [("error", "tflm-arena"), ("warning", "tflm-float-io")]
    with_psram = rules(image, target=target("esp32"), psram_bytes=4 << 20)
    assert with_psram == [("warning", "tflm-float-io"), ("warning", "tflm-arena")]


@needs_tflm
def test_live_bytes_are_what_tflm_s_planner_places() -> None:
    with Interpreter(FASHION.read_bytes()) as interpreter:
        live = live_bytes(interpreter.model)
        assert live <= interpreter.memory.head_bytes < 1.1 * live


def test_a_file_larger_than_its_partition_is_an_error() -> None:
    assert rules(FASHION, partition_bytes=10_000) == [("error", "tflm-size")]
    assert rules(FASHION, partition_bytes=20_000) == []


def test_float_ends_around_an_int8_model_are_a_note() -> None:
    assert rules(FASHION.parent.parent / "int8_float_io" / "tflm.tflite") == [("note", "tflm-float-io")]


def test_the_firmware_registers_what_the_catalogue_needs() -> None:
    used = {
        name for path in (ROOT / "golden").glob("*/*/*.tflite") for name in read_tflite(path).operator_names
    }
    assert used
    assert used <= IMAGE_OPERATORS
    committed = ROOT / "firmware" / "engines" / "tflm" / "operators.inc"
    assert committed.read_text(encoding="utf-8") == resolver_lines(IMAGE_OPERATORS)


def test_methods_of_the_resolver_are_spelt_as_in_its_header() -> None:
    # those whose spelling does not follow from the operator's name
    for name, method in {
        "BATCH_MATMUL": "AddBatchMatMul",
        "CONV_2D": "AddConv2D",
        "L2_POOL_2D": "AddL2Pool2D",
        "PADV2": "AddPadV2",
        "RELU6": "AddRelu6",
        "SPACE_TO_BATCH_ND": "AddSpaceToBatchNd",
        "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
        "SignalPCAN": "AddPCAN",
    }.items():
        assert resolver_method(name) == method
    assert len(REGISTERED) == 100
    with pytest.raises(UnsupportedOperator, match="no kernel for GELU"):
        resolver_lines(["GELU"])


def test_every_rule_says_what_it_is_about() -> None:
    assert len(lint.RULES) >= 9
    assert all(entry.about.endswith(".") for entry in lint.RULES.values())


def test_live_bytes_of_fashion_are_those_worked_out_by_hand() -> None:
    # conv1's 26x26x6 beside pool1's 13x13x6, each rounded up to 16
    assert live_bytes(read_tflite(FASHION)) == 4064 + 1024


@needs_tflm
@pytest.mark.parametrize(
    ("esp_nn", "found"),
    [
        ("", [("error", "version assumed: 1.2.3")]),
        ("1.2.3", [("error", "esp-nn#31 on esp32s3")]),
        ("1.2.4", [("warning", "is newer than 1.2.3")]),
        ("off", []),
    ],
)
def test_a_fault_of_esp_nn_is_judged_by_the_firmware_s_version(
    esp_nn: str, found: list[tuple[str, str]]
) -> None:
    image = NETS["esp-nn#31"][1]()
    told = [
        f for f in lint_tflite(image, target=target("esp32s3"), esp_nn=esp_nn)[1] if f.rule == "tflm-esp-nn"
    ]
    assert [finding.severity for finding in told] == [severity for severity, _ in found]
    assert all(words in finding.why for finding, (_, words) in zip(told, found, strict=True))
    assert not any(finding.gates for finding in told if finding.severity == "error")


@pytest.mark.parametrize(
    ("words", "esp_nn", "esp_dl"),
    [
        ("1.4.0 esp-nn 1.2.3 optimized", "1.2.3", ""),
        ("1.4.0 esp-nn 1.2.3 ansi-c", "off", ""),
        ("1.4.0 esp-nn v1.2.0 skip-nudge", "1.2.0", ""),
        ("0.dev20261023182759", "", ""),
        ("3.3.9", "", "3.3.9"),
        ("v3.2.1-dirty", "", "3.2.1"),
        ("0.1.0", "", ""),
        ("", "", ""),
    ],
)
def test_versions_are_read_out_of_the_handshake(words: str, esp_nn: str, esp_dl: str) -> None:
    assert (esp_nn_of(words), esp_dl_of(words)) == (esp_nn, esp_dl)


def test_a_layer_that_esp_nn_computes_wrongly_still_reaches_the_board() -> None:
    pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert: pip install 'esp-hil[tflm]'")
    file = open_device_file(NETS["ESP-NN average-pool-pitch"][1]())
    told = preflight(file, target("esp32s3"), engine_version="1.4.0 esp-nn 1.2.3 optimized")
    assert [finding.rule for finding in told if finding.severity == "error"] == ["tflm-esp-nn"]
