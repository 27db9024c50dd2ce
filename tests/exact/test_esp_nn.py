"""ESP-NN's known faults against its own assembly, executed instruction by instruction (shared/vectors/espnn)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp_hil.errors import ConfigError
from esp_hil.exact.esp_nn import (
    FAULTS,
    KNOWN_VERSIONS,
    CallOperands,
    EspNnCall,
    EspNnFault,
    Kernel,
    faults_of,
    layer_of,
    mul_leftover,
    multiplier_of,
    version_of,
    wrong_answer,
)
from esp_hil.exact.esp_nn_softmax import row as softmax_row
from esp_hil.formats.tflite import read_tflite
from tests.formats.tflite.graphs import Graphs
from tests.formats.tflite.networks import needs_tflm

KERNELS = {
    "conv": "conv",
    "dwconv": "depthwise",
    "fc": "fully connected",
    "fc_per_ch": "fully connected",
    "add": "add",
    "mul": "mul",
    "max_pool": "max pool",
    "avg_pool": "average pool",
    "softmax": "softmax",
}
NAMES = {"in1_offset": "in_offset", "row_len": "in_c", "out_ch": "out_c", "width": "in_c", "height": "out_h"}
S3 = (1, 2, 3)
LAYERS = int(os.environ.get("HIL_PROOF_LAYERS", "500"))
"""Random layers of each seed; `tox run -e proof-espnn` has more."""
# what a file cannot ask for: TFLM's arena begins tensors at multiples of 16 bytes
ALIGNED = {"input": 0, "filter_or_input2": 0, "output": 0}


def recorded(shared: Path) -> list[tuple[dict[str, Any], EspNnCall, dict[str, Any]]]:
    """Cases of kernels that esp-tflite-micro calls: meta, layer, arrays."""
    folder = shared / "vectors" / "espnn"
    found = []
    for case in json.loads((folder / "meta.json").read_text(encoding="utf-8"))["cases"]:
        path = folder / case["file"]
        if case["kernel"] in KERNELS and path.is_file():
            with np.load(path) as archive:
                arrays = {name: archive[name] for name in archive.files}
            found.append((case, layer(case, arrays), arrays))
    return found


def layer(case: dict[str, Any], arrays: dict[str, Any]) -> EspNnCall:
    """A recorded case as a layer."""
    kernel = KERNELS[case["kernel"]]
    values = {NAMES.get(name, name): value for name, value in case["params"].items()}
    if values.get("channels"):
        values["in_c"] = values["out_c"] = values["channels"]
    if kernel in ("add", "mul"):
        values["in_c"] = arrays["ansi"].size
    if kernel != "depthwise":
        values["ch_mult"] = 1
    fields = {name: value for name, value in values.items() if name in EspNnCall.__slots__}
    return EspNnCall(kernel=kernel, **fields)  # type: ignore[arg-type]


def operands(case: dict[str, Any], arrays: dict[str, Any]) -> CallOperands:
    """What it computes with."""
    scalar = case["params"]
    biased = scalar.get("has_bias") and "bias" in arrays
    return CallOperands(
        x=arrays["input"] if "input" in arrays else arrays["input1"],
        y=arrays.get("input2"),
        weights=arrays.get("filter"),
        bias=arrays["bias"] if biased else None,
        multipliers=arrays.get("mult", np.array([scalar.get("out_mult", scalar.get("mult", 0))])),
        shifts=arrays.get("shift", np.array([scalar.get("out_shift", scalar.get("shift", 0))])),
    )


def test_every_wrong_answer_of_an_s3_is_predicted_where_it_does_not_depend_on_memory(shared: Path) -> None:
    modelled, integers = 0, 0
    for case, one, arrays in recorded(shared):
        for fault in faults_of(one, "esp32s3", S3):
            answer = wrong_answer(fault, one, operands(case, arrays), arrays["ansi"])
            if answer is None or case["align"] != ALIGNED:
                continue
            modelled += 1
            integers += int(answer.known.sum())
            same = answer.values == arrays["s3"].reshape(-1)
            assert bool(same[answer.known].all()), (case["file"], fault.name)
    assert modelled >= 19
    assert integers > 30_000


def test_every_faulty_configuration_is_told_and_no_sound_one(shared: Path) -> None:
    told, sound = set(), 0
    for case, one, arrays in recorded(shared):
        found = [fault.name for fault in faults_of(one, "esp32s3", S3)]
        wrong = not case["equal"] or case["scratch_overrun"] or case["fault"]
        if case["align"] != ALIGNED:
            continue
        if wrong:
            assert found, case["file"]
            told.update(found)
        elif found:
            # a faulty configuration whose recorded numbers happen not to show it
            (name,) = found
            assert name in ("mul-leftover", "max-pool-minimum"), case["file"]
            answer = wrong_answer(
                next(f for f in FAULTS if f.name == name), one, operands(case, arrays), arrays["ansi"]
            )
            assert answer is not None
            assert np.array_equal(answer.values, arrays["s3"].reshape(-1))
        else:
            sound += 1
            assert np.array_equal(arrays["ansi"].reshape(-1), arrays["s3"].reshape(-1)), case["file"]
    assert len(told) >= 8
    assert sound >= 45


def test_the_softmax_of_a_row_with_its_right_maximum_is_the_reference_s(shared: Path) -> None:
    rows = 0
    for case, one, arrays in recorded(shared):
        if one.kernel != "softmax":
            continue
        scalar, wanted = case["params"], arrays["ansi"].reshape(-1, one.in_c)
        for values, right in zip(arrays["input"].reshape(-1, one.in_c), wanted, strict=True):
            answer = softmax_row(values, int(values.max()), scalar["mult"], scalar["shift"])
            assert answer is not None
            assert np.array_equal(answer, right), case["file"]
            rows += 1
    assert rows >= 9


def test_rows_of_a_fully_connected_batch_are_read_from_the_multiple_of_8_bytes_before_them() -> None:
    random = np.random.default_rng(5)
    one = EspNnCall(kernel="fully connected", batch=3, in_c=20, out_c=4, in_offset=3, out_offset=-7)
    x, weights = random.integers(-128, 128, (3, 20)), random.integers(-128, 128, (4, 20))
    given = CallOperands(
        x=x, weights=weights, multipliers=np.array([1 << 30]), shifts=np.array([-7]), bias=np.arange(4)
    )
    (fault,) = faults_of(one, "esp32s3", S3)
    right = np.zeros(12, np.int8)
    answer = wrong_answer(fault, one, given, right)
    assert answer is not None
    memory = x.reshape(-1)
    read = {
        1: [
            *memory[16:32],
            *memory[36:40],
        ],  # row 1 lies at 20, two vectors are taken from 16, 4 bytes from 36
        2: memory[40:60],  # row 2 lies at 40, a multiple of 8
    }
    sums = weights @ (np.array(read[1]) + 3) + np.arange(4)
    wanted = np.clip(np.floor(sums / 2**8 + 0.5) - 7, -128, 127)
    assert np.abs(answer.values.reshape(3, 4)[1] - wanted).max() <= 1  # rounded twice on the chip
    assert (answer.values.reshape(3, 4)[[0, 2]] == 0).all()


def test_a_mul_of_unaligned_inputs_lacks_the_first_nudge_too(shared: Path) -> None:
    cases = [item for item in recorded(shared) if item[1].kernel == "mul" and item[0]["align"] != ALIGNED]
    assert cases
    for case, one, arrays in cases:
        answer = mul_leftover(one, operands(case, arrays), arrays["ansi"], aligned=False)
        assert np.array_equal(answer.values, arrays["s3"].reshape(-1)), case["file"]


CONV = EspNnCall(kernel="conv", in_w=20, in_h=49, in_c=16, f_c=16, f_w=3, f_h=3, out_w=10, out_h=25, out_c=16,
             stride_w=2, stride_h=2, pad_w=0, pad_h=1)  # fmt: skip
DEPTHWISE = EspNnCall(kernel="depthwise", in_w=48, in_h=48, in_c=32, f_w=3, f_h=3, out_w=24, out_h=24, out_c=32,
                  stride_w=2, stride_h=2)  # fmt: skip
POOL = EspNnCall(kernel="average pool", in_w=16, in_h=13, in_c=16, f_w=3, f_h=3, out_w=16, out_h=13, out_c=16,
             pad_w=1, pad_h=1)  # fmt: skip


@pytest.mark.parametrize(
    ("one", "chip", "told", "silent"),
    [
        (CONV, "esp32s3", {"1.1.2", "1.2.0", "1.2.3"}, {"1.2.4", "1.3.0"}),
        (DEPTHWISE, "esp32s3", {"1.2.1", "1.2.3"}, {"1.1.2", "1.2.0", "1.2.4"}),
        (POOL, "esp32s3", {"1.0", "1.2.0", "1.2.3", "1.2.6"}, set()),
        (POOL, "esp32p4", set(), {"1.2.3"}),
    ],
)
def test_a_fault_is_judged_by_version_and_chip(
    one: EspNnCall, chip: str, told: set[str], silent: set[str]
) -> None:
    for text in told:
        assert list(faults_of(one, chip, version_of(text))), text
    for text in silent:
        assert not list(faults_of(one, chip, version_of(text))), text


def test_a_fault_names_its_versions_effect_and_way_out() -> None:
    (fault,) = faults_of(CONV, "esp32s3", S3)
    assert (fault.label, fault.versions) == ("esp-nn#31", "since 1.0, fixed after 1.2.3")
    assert "newer than 1.2.3" in fault.todo
    assert "esp-nn-off" in fault.todo
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert all(fault.summary and fault.way for fault in FAULTS)


@pytest.mark.parametrize("text", ["", "one", "1.x", "off"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a version"):
        version_of(text)
    assert [version_of(known) for known in KNOWN_VERSIONS] == [(1, 1, 2), (1, 2, 0), (1, 2, 3)]


def test_a_factor_becomes_tflm_s_multiplier_and_shift() -> None:
    assert multiplier_of(0.5) == (1 << 30, 0)
    assert multiplier_of(1.0) == (1 << 30, 1)
    assert multiplier_of(0.0) == (0, 0)
    multiplier, shift = multiplier_of(0.0123)
    assert multiplier * 2.0 ** (shift - 31) == pytest.approx(0.0123, rel=1e-9)


KINDS: tuple[Kernel, ...] = ("conv", "depthwise", "average pool", "max pool")


def random_layer(generator: np.random.Generator) -> EspNnCall:
    """A layer as TFLite shapes it: SAME or VALID of any size."""
    kernel: Kernel = KINDS[generator.integers(4)]
    in_w, in_h = (int(extent) for extent in generator.integers(1, 60, 2))
    f_w, f_h = (int(taps) for taps in generator.choice([1, 2, 3, 3, 4, 5, 7], 2))
    stride_w, stride_h = (int(step) for step in generator.choice([1, 1, 2, 2, 3], 2))
    if generator.integers(2):  # as most networks have them
        f_h, stride_h = f_w, stride_w
    if generator.integers(4) == 0:
        f_w = f_h = 3
    channels = int(generator.choice([1, 3, 4, 7, 8, 12, 16, 20, 24, 32, 64]))
    same = bool(generator.integers(2)) or f_w > in_w or f_h > in_h
    out_w, out_h = (
        -(-extent // step) if same else (extent - taps) // step + 1
        for extent, taps, step in ((in_w, f_w, stride_w), (in_h, f_h, stride_h))
    )
    pad_w, pad_h = (
        max(0, (out - 1) * step + taps - extent) // 2 if same else 0
        for out, step, taps, extent in ((out_w, stride_w, f_w, in_w), (out_h, stride_h, f_h, in_h))
    )
    return EspNnCall(
        kernel=kernel, in_w=in_w, in_h=in_h, in_c=channels, f_w=f_w, f_h=f_h, f_c=channels, out_w=out_w, out_h=out_h,
        out_c=channels, stride_w=stride_w, stride_h=stride_h, pad_w=pad_w, pad_h=pad_h,
        act_min=int(generator.choice([-128, -20])), has_bias=bool(generator.integers(8)),
    )  # fmt: skip


def conditions(one: EspNnCall) -> set[str]:
    """The faults of an S3 with 1.2.3, worked out by walking over every window instead of by formula."""
    reach_w = [x * one.stride_w - one.pad_w + one.f_w for x in range(one.out_w)]
    reach_h = [y * one.stride_h - one.pad_h + one.f_h for y in range(one.out_h)]
    if one.kernel == "conv":
        return conv_conditions(one, max(reach_w), max(reach_h))
    if one.kernel == "depthwise":
        return depthwise_conditions(one, max(one.in_w, *reach_w), max(one.in_h, *reach_h))
    if one.kernel == "average pool":
        return {"average-pool-pitch"} if one.out_h not in (1, one.out_w) else set()
    return {"max-pool-minimum"} if one.in_c in {4, 12, 20} and one.act_min != -128 else set()


def conv_conditions(one: EspNnCall, last_column: int, last_row: int) -> set[str]:
    plain = one.f_w == one.f_h == 1 and one.stride_w == one.stride_h == 1
    columns = -(-16 // one.in_c)  # pixels that 16 bytes take
    if plain or one.pad_w == one.pad_h == 0 or one.f_w < columns <= one.f_w * one.f_h:
        return set()
    inside = last_column <= one.in_w + one.pad_w and last_row <= one.in_h + one.pad_h
    return set() if inside else {"conv-trailing-pixel"}


def depthwise_conditions(one: EspNnCall, width: int, height: int) -> set[str]:
    found = set()
    if one.f_w == one.f_h == 3:
        if not one.has_bias and one.in_c in {16, 24, 32, 64}:
            found.add("depthwise-no-bias")
        if one.in_c % 16 == 0 and (one.pad_w == 0) != (one.pad_h == 0):
            found.add("depthwise-mixed-padding")
        grows = (width, height) != (one.in_w, one.in_h)
        if one.in_c % 16 == 0 and one.pad_w == one.pad_h == 0 and grows and width * height * one.in_c > 40960:
            found.add("depthwise-strip")
    elif one.in_c % 8 == 0 and one.pad_h and one.in_c * (one.f_w * one.f_h + one.in_w * one.in_h) > 24576:
        found.add("depthwise-tiled-padding")
    return found


@pytest.mark.parametrize("seed", range(2))
def test_predicates_agree_with_windows_walked_one_by_one(seed: int) -> None:
    generator = np.random.default_rng(seed)
    hit: set[str] = set()
    for _ in range(LAYERS):
        one = random_layer(generator)
        found = {fault.name for fault in faults_of(one, "esp32s3", S3)} - {"conv-im2col-small"}
        assert found == conditions(one), one
        hit |= found
    assert len(hit) >= 6


@needs_tflm
@pytest.mark.parametrize(
    ("dtype", "dilation", "called"),
    [("INT8", 1, True), ("INT16", 1, False), ("FLOAT32", 1, False), ("INT8", 2, False)],
)
def test_what_esp_tflite_micro_leaves_to_the_reference_is_no_layer(
    dtype: str, dilation: int, called: bool
) -> None:
    file = Graphs()
    main = file.graph()
    quantized = None if dtype == "FLOAT32" else (0.1, 0)
    x = main.tensor("x", (1, 49, 20, 16), dtype, quantized=quantized)
    weights = main.tensor("w", (16, 3, 3, 16), "INT8", np.ones((16, 3, 3, 16), np.int8), quantized=(0.1, 0))
    y = main.tensor("y", (1, 25, 10, 16), dtype, quantized=quantized)
    options = {
        "strideW": 2,
        "strideH": 2,
        "dilationWFactor": dilation,
        "dilationHFactor": dilation,
        "padding": 0,
    }
    main.operator("CONV_2D", [x, weights], [y], "Conv2DOptions", **options)
    main.ends([x], [y])
    model = read_tflite(file.image())
    found = layer_of(model.subgraphs[0], model.operators[0])
    assert (found is not None) is called
    if found is not None:
        assert (found.pad_w, found.pad_h, found.has_bias) == (0, 1, False)
        assert [fault.label for fault in faults_of(found, "esp32s3", S3)] == ["esp-nn#31"]


def test_each_fault_is_of_one_chip_and_one_effect() -> None:
    fault: EspNnFault
    for fault in FAULTS:
        assert fault.in_version(version_of("1.2.3")) or fault.fixed
