"""Where ESP-DL's answer is not what ONNX would say: its own rules, on small numbers written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil.errors import FormatError, UnsupportedOperator
from esp_hil.exact import ExactReference
from esp_hil.exact.operators.spatial import dcr_sources
from esp_hil.exact.registry import operator_names
from esp_hil.formats.espdl import Node, TensorData, ValueInfo, read_espdl
from esp_hil.formats.espdl.memory import leftovers
from esp_hil.formats.espdl.operators import REGISTERED
from esp_hil.targets import FAMILIES, Family
from tests.formats.espdl.writer import edl, graph, node, tensor, value

I8 = np.int8


def answer(
    op: Node,
    values: Sequence[ValueInfo],
    inputs: dict[str, Any],
    *,
    constants: Sequence[TensorData] = (),
    family: Family = "c",
) -> NDArray[Any]:
    """What one node answers; every kernel path of this machine gives the same."""
    written = graph([op], values, inputs=tuple(inputs), outputs=tuple(op.outputs), initializers=constants)
    model = read_espdl(edl(written))
    given = {v.name: np.asarray(inputs[v.name], v.dtype).reshape(v.shape) for v in values if v.name in inputs}
    answers = [
        ExactReference(model, family, integer=integer).run(given)[op.outputs[0]] for integer in (False, True)
    ]
    assert np.array_equal(answers[0], answers[1])
    return answers[0]


def test_every_registered_operator_can_be_lowered() -> None:
    assert set(operator_names()) == set(REGISTERED)


@pytest.mark.parametrize("op_type", ["Max", "Erf", "GlobalMaxPool", "Attention", "Softplus"])
def test_an_operator_that_esp_dl_does_not_register_is_refused_in_its_words(op_type: str) -> None:
    with pytest.raises(
        UnsupportedOperator, match=f"Do not support {op_type}, please implement and register it first"
    ):
        answer(node(op_type, ("x",), ("y",)), (value("x", (1, 4)), value("y", (1, 4))), {"x": [1, 2, 3, 4]})


@pytest.mark.parametrize(
    ("op_type", "kind"), [("Conv", "F32"), ("Gemm", "W8A16"), ("MaxPool", "F32"), ("Resize", "S16")]
)
def test_a_type_that_the_operator_does_not_have_is_refused(op_type: str, kind: str) -> None:
    op = node(
        op_type,
        ("x", "", "w"),
        ("y",),
        quant_type=kind,
        kernel_shape=(1, 1),
        strides=(1, 1),
        dilations=(1, 1),
        mode="nearest",
    )
    weights = tensor("w", np.ones((1, 1, 2, 2), np.float32))
    values = (value("x", (1, 2, 2, 2)), value("y", (1, 2, 2, 2)))
    with pytest.raises((UnsupportedOperator, FormatError)):
        answer(op, values, {"x": np.ones(8)}, constants=(weights,))


@pytest.mark.parametrize(
    ("family", "wanted"),
    [("c", [-2, -1, 0, 1, 2, 3]), ("esp32s3", [-2, -1, 0, 1, 2, 3]), ("esp32p4", [-2, -2, 0, 0, 2, 2])],
)
def test_ties_go_up_on_most_chips_and_to_even_on_esp32_p4(family: Family, wanted: list[int]) -> None:
    values = (value("x", (1, 6), -2), value("y", (1, 6), -1))
    assert (
        answer(node("RequantizeLinear", ("x",), ("y",)), values, {"x": [-5, -3, -1, 1, 3, 5]}, family=family)[
            0
        ].tolist()
        == wanted
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shift", range(-9, 10))
def test_requantization_of_every_integer(family: Family, shift: int) -> None:
    values = (value("x", (1, 256), shift), value("y", (1, 256), 0))
    x = np.arange(-128, 128)
    y = answer(node("RequantizeLinear", ("x",), ("y",)), values, {"x": x}, family=family)[0]
    real = x * 2.0**shift
    rounded = np.rint(real) if family == "esp32p4" else np.floor(real + 0.5)
    assert np.array_equal(y, np.clip(rounded, -128, 127))


def test_add_does_not_rescale_whatever_the_exponents() -> None:
    values = (value("a", (1, 3), -5), value("b", (1, 3), -3), value("y", (1, 3), -2))
    assert answer(node("Add", ("a", "b"), ("y",)), values, {"a": [100, -100, 5], "b": [100, -100, -7]})[
        0
    ].tolist() == [127, -128, -2]


@pytest.mark.parametrize("family", FAMILIES)
def test_mul_of_all_pairs(family: Family) -> None:
    values = (value("a", (1, 256, 1), -5), value("b", (1, 1, 256), -6), value("y", (1, 256, 256), -3))
    q = np.arange(-128, 128)
    y = answer(node("Mul", ("a", "b"), ("y",)), values, {"a": q, "b": q}, family=family)[0]
    real = q[:, None] * q[None, :] / 2.0**8
    wanted = np.rint(real) if family == "esp32p4" else np.floor(real + 0.5)
    assert np.array_equal(y, np.clip(wanted, -128, 127))


def test_division_by_zero_saturates_and_zero_by_zero_is_zero() -> None:
    values = (value("a", (1, 2, 3), 0), value("b", (1, 2, 3), 0), value("y", (1, 2, 3), 0))
    y = answer(node("Div", ("a", "b"), ("y",)), values, {"a": [5, -5, 0, 7, -7, 9], "b": [0, 0, 0, 2, 2, -9]})
    assert y.reshape(-1).tolist() == [127, -128, 0, 4, -3, -1]


def test_prelu_floors_negatives_and_does_not_rescale_the_rest() -> None:
    slopes = tensor("s", np.array([[[3]], [[-2]]], I8), exponents=(-2,))
    values = (value("x", (1, 2, 1, 2), -4), value("y", (1, 2, 1, 2), -3))
    y = answer(node("PRelu", ("x", "s"), ("y",)), values, {"x": [-5, -5, 100, -1]}, constants=(slopes,))
    assert y.reshape(-1).tolist() == [-5 * 3 >> 3, -5 * -2 >> 3, 100, -1 * -2 >> 3]


def test_prelu_of_int16_with_another_number_of_slopes_takes_the_first_for_all() -> None:
    slopes = tensor("s", np.array([[[1 << 14]], [[1 << 13]]], np.int16), exponents=(-15,))
    values = (value("x", (1, 2, 1, 3), -8, "int16"), value("y", (1, 2, 1, 3), -8, "int16"))
    op = node("PRelu", ("x", "s"), ("y",), quant_type="S16")
    assert answer(op, values, {"x": [-5, -6, -7, 8, 9, -9]}, constants=(slopes,)).reshape(-1).tolist() == [
        -3,
        -3,
        -4,
        8,
        9,
        -5,
    ]


@pytest.mark.parametrize(("family", "wanted"), [("c", [0, 1, 1, 2]), ("esp32p4", [0, 0, 1, 2])])
def test_a_coarse_int16_table_takes_the_nearest_entry(family: Family, wanted: list[int]) -> None:
    table = tensor("t", np.arange(2049).astype(np.int16), exponents=(0,))
    values = (value("x", (1, 4), 0, "int16"), value("y", (1, 4), 0, "int16"))
    op = node("LUT", ("x",), ("y",), lut="t", quant_type="S16")
    x = [-32768 + 15, -32768 + 16, -32768 + 17, -32768 + 48]
    assert answer(op, values, {"x": x}, constants=(table,), family=family)[0].tolist() == wanted


def test_a_coarse_int16_table_was_interpolated_and_cut_off_by_older_versions() -> None:
    entries = np.zeros(2049, np.int16)
    entries[:3] = [0, -10, 7]
    values = (value("x", (1, 4), 0, "int16"), value("y", (1, 4), 0, "int16"))
    op = node("LUT", ("x",), ("y",), lut="t", quant_type="S16")
    model = read_espdl(edl(graph([op], values, initializers=[tensor("t", entries, exponents=(0,))])))
    x = np.array([[-32768, -32768 + 15, -32768 + 32, -32768 + 33]], np.int16)
    found = {
        version: ExactReference(model, "c", esp_dl=version).run({"x": x})["y"][0].tolist()
        for version in ("3.2.0", "3.3.7", "3.3.8", "")
    }
    assert found["3.2.0"] == found["3.3.7"] == [0, -4, -10, -10]  # 15 * -10 / 32 = -4.7, 17 / 32 = 0.5
    assert found["3.3.8"] == found[""] == [0, 0, -10, -10]


def test_what_an_older_version_computes_in_an_unknown_way_is_refused() -> None:
    op = node("Mod", ("x", "x"), ("y",), fmod=1)
    model = read_espdl(edl(graph([op], (value("x", (1, 4)), value("y", (1, 4))))))
    with pytest.raises(UnsupportedOperator, match=r"ESP-DL 3\.2\.3 does not register Mod"):
        ExactReference(model, "c", esp_dl="3.2.3")
    pool = node("MaxPool", ("x",), ("y",), kernel_shape=(1,), strides=(1,), pads=(0, 0))
    model = read_espdl(edl(graph([pool], (value("x", (1, 4, 2)), value("y", (1, 4, 2))))))
    with pytest.raises(UnsupportedOperator, match=r"ESP-DL 3\.1\.3 has no 1-D pools"):
        ExactReference(model, "c", esp_dl="3.1.3")


def test_neg_reads_no_table_and_saturates() -> None:
    values = (value("x", (1, 3), -5), value("y", (1, 3), -2))
    table = tensor("t", np.zeros(256, I8), exponents=(-2,))
    assert answer(node("Neg", ("x",), ("y",), lut="t"), values, {"x": [-128, 5, 0]}, constants=(table,))[
        0
    ].tolist() == [127, -5, 0]


def test_an_average_divides_by_the_whole_window_at_the_border_too() -> None:
    op = node("AveragePool", ("x",), ("y",), kernel_shape=(2, 2), strides=(2, 2), pads=(1, 1, 1, 1))
    values = (value("x", (1, 2, 2, 1)), value("y", (1, 2, 2, 1)))
    assert answer(op, values, {"x": [40, 80, 120, 4]}).reshape(-1).tolist() == [10, 20, 30, 1]


def test_int16_sums_are_computed_as_long_as_their_bytes_fit_float32() -> None:
    """256 * 65,536 = 2**24, the last integer that float32 counts up to; one row more is refused, not wrong."""
    op = node("GlobalAveragePool", ("x",), ("y",), quant_type="S16")
    values = (value("x", (1, 256, 256, 1), dtype="int16"), value("y", (1, 1, 1, 1), dtype="int16"))
    assert answer(op, values, {"x": np.full(65_536, 32_767)}).item() == 32_767
    values = (value("x", (1, 257, 256, 1), dtype="int16"), value("y", (1, 1, 1, 1), dtype="int16"))
    with pytest.raises(UnsupportedOperator, match="a window of"):
        answer(op, values, {"x": np.full(65_792, 32_767)})


def test_space_to_depth_has_pytorch_s_channel_order() -> None:
    values = (value("x", (1, 2, 2, 2)), value("y", (1, 1, 1, 8)))
    assert answer(node("SpaceToDepth", ("x",), ("y",), blocksize=2), values, {"x": range(8)}).reshape(
        -1
    ).tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


@pytest.mark.parametrize(("block", "channels"), [(2, 4), (2, 12), (2, 16), (3, 9), (3, 18)])
def test_depth_to_space_dcr_writes_as_esp_dl_s_loop(block: int, channels: int) -> None:
    rows, columns, outputs = 2, 3, channels // block**2
    count = rows * columns * channels
    made: dict[int, int] = {}
    order = [(h, w, c) for h in range(rows) for w in range(columns) for c in range(channels)]
    for read, (h, w, c) in enumerate(order):
        row, column = h * block + c // block**2, w * block + c % block**2 // block
        made[(row * columns * block + column) * outputs + c % block] = read
    sources = dcr_sources((rows, columns, channels), block)
    assert sources.tolist() == [made.get(at, -1) for at in range(count)]


def test_elements_that_depth_to_space_dcr_leaves_out_keep_what_was_in_their_memory() -> None:
    values = (value("x", (1, 1, 16, 2)), value("t", (1, 1, 2, 16)), value("y", (1, 2, 4, 4)))
    nodes = [
        node("Transpose", ("x",), ("t",), perm=(0, 1, 3, 2)),
        node("DepthToSpace", ("t",), ("y",), blocksize=2),
    ]
    x = np.arange(1, 33, dtype=np.int8).reshape(1, 1, 16, 2)
    model = read_espdl(edl(graph(nodes, values, outputs=("y",))))
    reference = ExactReference(model, "c", threads=1)
    sources = dcr_sources((1, 2, 16), 2)
    kept = leftovers(model.graph, "y")
    assert {name for name, _ in kept} == {"x"}
    assert (sources < 0).any()
    y = reference.run({"x": x})["y"].reshape(-1)
    made, before = x.transpose(0, 1, 3, 2).reshape(-1), x.reshape(-1)
    wanted = [made[at] if at >= 0 else before[kept[index][1]] for index, at in enumerate(sources)]
    assert y.tolist() == wanted
    assert np.array_equal(reference.run_batch({"x": np.concatenate([x, x])})["y"][1].reshape(-1), y)
    assert reference.doubts == ()


def test_a_slice_with_a_negative_step_counts_from_the_other_end() -> None:
    constants = tuple(
        tensor(n, np.array([v], np.int64)) for n, v in (("s", -1), ("e", -(2**31)), ("a", 1), ("t", -2))
    )
    values = (value("x", (1, 4)), value("y", (1, 2)))
    y = answer(
        node("Slice", ("x", "s", "e", "a", "t"), ("y",)), values, {"x": [1, 2, 3, 4]}, constants=constants
    )
    assert y[0].tolist() == [3, 1]  # ONNX says [4, 2]


def test_a_negative_gather_index_is_refused() -> None:
    indices = tensor("i", np.array([-1], np.int64))
    with pytest.raises(UnsupportedOperator, match="indices"):
        answer(
            node("Gather", ("x", "i"), ("y",), axis=1),
            (value("x", (1, 4)), value("y", (1, 1))),
            {"x": range(4)},
            constants=(indices,),
        )


def test_scatter_adds_one_update_after_the_other_and_saturates_each_time() -> None:
    indices = tensor("i", np.array([[1], [1], [3]], np.int64))
    op = node("ScatterND", ("x", "i", "u"), ("y",), reduction="add")
    values = (value("x", (4,)), value("u", (3,)), value("y", (4,)))
    y = answer(op, values, {"x": [0, 100, 0, -100], "u": [100, -50, -100]}, constants=(indices,))
    assert y.tolist() == [0, 77, 0, -128]


def test_insert_zeros_spreads_and_appends() -> None:
    op = node("InsertZeros", ("x",), ("y",), stride=(2, 3), output_padding=(1, 0))
    values = (value("x", (1, 2, 2, 1)), value("y", (1, 4, 4, 1)))
    assert answer(op, values, {"x": [1, 2, 3, 4]}).reshape(4, 4).tolist() == [
        [1, 0, 0, 2],
        [0] * 4,
        [3, 0, 0, 4],
        [0] * 4,
    ]


def test_insert_zeros_appends_more_zeros_than_a_stride_has() -> None:
    op = node("InsertZeros", ("x",), ("y",), stride=(2, 2), output_padding=(2, 1))
    values = (value("x", (1, 2, 2, 1)), value("y", (1, 5, 4, 1)))
    assert answer(op, values, {"x": [1, 2, 3, 4]}).reshape(5, 4).tolist() == [
        [1, 0, 2, 0],
        [0] * 4,
        [3, 0, 4, 0],
        [0] * 4,
        [0] * 4,
    ]


def test_reverse_sequence_reverses_the_first_steps_of_each_sample() -> None:
    lengths = tensor("l", np.array([3, 1], np.int64))
    op = node("ReverseSequence", ("x", "l"), ("y",), batch_axis=1, time_axis=0)
    values = (value("x", (3, 2, 1)), value("y", (3, 2, 1)))
    assert answer(op, values, {"x": [1, 2, 3, 4, 5, 6]}, constants=(lengths,)).reshape(-1).tolist() == [
        5,
        2,
        3,
        4,
        1,
        6,
    ]


def test_rms_normalization_takes_its_scale_as_floats() -> None:
    scale = tensor("s", np.array([1.0, 2.0], np.float32), exponents=())
    values = (value("x", (1, 2), -2), value("y", (1, 2), -5))
    y = answer(node("RMSNormalization", ("x", "s"), ("y",)), values, {"x": [3, 4]}, constants=(scale,))
    real = np.array([0.75, 1.0]) / np.sqrt(np.mean([0.75**2, 1.0]) + 1e-5) * [1, 2]
    assert y[0].tolist() == np.floor(real * 32 + 0.5).tolist()


@pytest.mark.parametrize(
    ("op_type", "attributes"), [("Conv", {"dilations": (1, 1)}), ("Conv", {"strides": (1, 1)})]
)
def test_a_missing_attribute_is_refused_because_esp_dl_crashes(
    op_type: str, attributes: dict[str, Any]
) -> None:
    weights = tensor("w", np.ones((1, 1, 1, 1), I8), exponents=(0,), layout="NHWC")
    values = (value("x", (1, 2, 2, 1)), value("y", (1, 2, 2, 1)))
    with pytest.raises(UnsupportedOperator, match="no default"):
        answer(node(op_type, ("x", "w"), ("y",), **attributes), values, {"x": range(4)}, constants=(weights,))


def test_groups_that_esp_dl_computes_wrongly_are_refused() -> None:
    weights = tensor("w", np.ones((1, 1, 4, 1), I8), exponents=(0,), layout="HWCN")
    values = (value("x", (1, 2, 2, 4)), value("y", (1, 2, 2, 4)))
    op = node("Conv", ("x", "w"), ("y",), strides=(1, 1), dilations=(1, 1), pads=(0,) * 4, group=2)
    with pytest.raises(UnsupportedOperator, match="group 2"):
        answer(op, values, {"x": range(16)}, constants=(weights,))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_average_is_scaled_after_it_was_summed_in_the_optimized_graph_too(family: Family) -> None:
    random = np.random.default_rng(5)
    x = random.integers(-32768, 32768, (1, 40, 40, 3), np.int16)
    op = node("AveragePool", ("x",), ("y",), quant_type="S16", kernel_shape=(3, 4), strides=(1, 1))
    values = (value("x", x.shape, -15, "int16"), value("y", (1, 38, 37, 3), -13, "int16"))
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.int64), (3, 4), axis=(1, 2))
    scaled = windows.sum(axis=(-1, -2)).astype(np.float32) * (np.float32(1) / np.float32(12) / np.float32(4))
    wanted = np.rint(scaled) if family == "esp32p4" else np.floor(scaled + np.float32(0.5))
    assert (scaled % 1 == 0.5).sum() > 20  # ties, which a sum of scaled summands misses
    assert np.array_equal(answer(op, values, {"x": x}, family=family), wanted)


def resized_to(exponent: int, family: Family) -> list[int]:
    """Nearest Resize by 2x2 of five values of exponent 0 in 16 channels."""
    op = node("Resize", ("x", "", "scales"), ("y",), mode="nearest")
    scales = tensor("scales", np.array([1, 1, 2, 2], np.float32))
    x = np.broadcast_to(np.array([-128, -33, 1, 32, 127], I8)[None, None, :, None], (1, 1, 5, 16))
    values = (value("x", (1, 1, 5, 16)), value("y", (1, 2, 10, 16), exponent))
    found = answer(op, values, {"x": x}, constants=(scales,), family=family)
    assert (found == found[:, :1, :, :1]).all()
    return [int(number) for number in found[0, 0, ::2, 0]]


def test_nearest_resize_to_a_finer_scale_saturates_on_simd_chips_and_wraps_on_others() -> None:
    for family in ("esp32s3", "esp32p4"):
        assert resized_to(-2, family) == [-128, -128, 4, 127, 127]
    assert resized_to(-2, "c") == [0, 124, 4, -128, -4]
    with pytest.raises(UnsupportedOperator, match="exponent 0 to -7"):
        resized_to(-7, "esp32s3")


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "PRelu"])
def test_a_batch_is_refused_where_esp_dl_computes_its_first_sample_only(op_type: str) -> None:
    inputs = ("x", "s") if op_type == "PRelu" else ("x",)
    op = node(op_type, inputs, ("y",), kernel_shape=(1, 1), strides=(1, 1), mode="nearest")
    values = (value("x", (2, 2, 2, 2)), value("y", (2, 2, 2, 2)))
    slopes = tensor("s", np.ones((2, 1, 1), I8))
    with pytest.raises(UnsupportedOperator, match="a batch of 2"):
        answer(op, values, {"x": np.zeros(16)}, constants=(slopes,))


@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "reason"),
    [
        (4, 2, (0, 1), "reads past an input of 3"),
        (4, 2, (0, 3), "reads past an input of 3"),
        (3, 1, (2, 1), ""),
        (5, 1, (3, 0), "a padding of 3 is more than its 2 outputs"),
        (4, 1, (0, 1), ""),
        (5, 2, (0, 2), ""),
    ],
)
def test_windows_that_esp_dl_takes_for_whole_are_refused(
    kernel: int, stride: int, pads: tuple[int, int], reason: str
) -> None:
    """ESP-DL's body loop counts (3 - 4) / 2 + 1 = 1 whole window; (3 - 4) / 1 + 1 and (3 - 5) / 2 + 1 are 0."""
    outputs = (3 + sum(pads) - kernel) // stride + 1
    op = node("MaxPool", ("x",), ("y",), kernel_shape=(kernel,), strides=(stride,), pads=pads)
    values = (value("x", (1, 3, 1)), value("y", (1, outputs, 1)))
    if reason:
        with pytest.raises(UnsupportedOperator, match=reason):
            answer(op, values, {"x": [1, 2, 3]})
    else:
        assert answer(op, values, {"x": [1, 2, 3]}).max() == 3


def test_a_conv_with_more_padding_than_outputs_is_computed() -> None:
    """Unlike a pool's, its loop takes no more outputs for the head than there are."""
    weights = tensor("w", np.array([1, 2, 3, 4, 5], I8), exponents=(0,), layout="NWC", shape=(5, 1, 1))
    more = {"kernel_shape": (5,), "strides": (1,), "dilations": (1,), "pads": (2, 2), "group": 1}
    op = node("Conv", ("x", "w"), ("y",), **more)  # type: ignore[arg-type]
    values = (value("x", (1, 1, 1)), value("y", (1, 1, 1)))
    assert answer(op, values, {"x": [7]}, constants=(weights,)).ravel().tolist() == [21]


def test_zero_divided_by_zero_is_the_lowest_value_in_the_table_of_a_single_dividend() -> None:
    values = (value("x", (1,)), value("d", (1, 3)), value("y", (1, 3)))
    op = node("Div", ("x", "d"), ("y",))
    assert answer(op, values, {"x": [0], "d": [0, 1, -1]}).ravel().tolist() == [-128, 0, 0]
    assert answer(op, values, {"x": [3], "d": [0, 1, -1]}).ravel().tolist() == [127, 3, -3]
    swapped = node("Div", ("d", "x"), ("y",))
    assert answer(swapped, values, {"x": [0], "d": [0, 1, -1]}).ravel().tolist() == [0, 127, -128]


def test_negative_axes_of_unsqueeze_count_as_esp_dl_counts_them() -> None:
    """ESP-DL adds the input's dimensions + 1, however many axes there are."""
    axes = tensor("axes", np.array([-1, 1], np.int64))
    op = node("Unsqueeze", ("x", "axes"), ("y",))
    values = (value("x", (2, 3)), value("y", (2, 1, 1, 3)))
    assert answer(op, values, {"x": np.arange(6)}, constants=(axes,)).shape == (2, 1, 1, 3)
    below = tensor("axes", np.array([-4, 1], np.int64))
    with pytest.raises(UnsupportedOperator, match="Unsqueeze"):
        answer(op, values, {"x": np.arange(6)}, constants=(below,))


def test_a_table_is_refused_for_a_constant_of_another_type() -> None:
    table = tensor("t", np.arange(-128, 128).astype(I8))
    wide = tensor("w", np.array([[-(2**31), 1, 2, 3]], np.int32))
    values = (value("x", (1, 4)), value("y", (1, 4)))
    op = node("Tanh", ("w",), ("y",), lut="t")
    with pytest.raises(FormatError, match="256 entries for int32"):
        answer(op, values, {"x": [1, 2, 3, 4]}, constants=(table, wide))


def test_broadcasting_that_needs_a_fifth_loop_is_refused_as_esp_dl_asserts() -> None:
    def add(first: tuple[int, ...], second: tuple[int, ...]) -> NDArray[Any]:
        inputs = {"a": np.ones(first, I8), "b": np.ones(second, I8)}
        shape = np.broadcast_shapes(first, second)
        values = [value("a", first), value("b", second), value("y", shape)]
        return answer(node("Add", ["a", "b"], ["y"]), values, inputs)

    assert (add((2, 1, 2, 1), (1, 2, 1, 2)) == 2).all(), "four loops"
    assert (add((2, 1, 2, 1, 1, 1), (1, 2, 1, 2, 3, 4)) == 2).all(), "six axes that merge to four"
    with pytest.raises(UnsupportedOperator, match="needs 5 loops; ESP-DL has 4"):
        add((2, 1, 2, 1, 2), (1, 2, 1, 2, 1))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"scales": [1, 1, 2, 2]}, (1, 2, 4, 16)),
        ({"sizes": [1, 16, 3, 5]}, (1, 3, 5, 16)),
        ({}, None),
    ],
)
def test_resize_takes_its_sizes_before_its_scales_and_needs_one_of_them(
    given: dict[str, list[int]], wanted: tuple[int, ...] | None
) -> None:
    dtypes = {"scales": np.float32, "sizes": np.int64}
    constants = [tensor(name, np.array(values, dtypes[name])) for name, values in given.items()]
    named = tuple(name if name in given else "" for name in ("scales", "sizes"))
    op = node("Resize", ("x", "", *named), ("y",), mode="linear")
    values = (value("x", (1, 1, 2, 16)), value("y", wanted or (1, 1, 2, 16)))
    x = np.zeros((1, 1, 2, 16), I8)
    if wanted is None:
        with pytest.raises(UnsupportedOperator, match="Resize"):
            answer(op, values, {"x": x}, constants=constants)
    else:
        assert answer(op, values, {"x": x}, constants=constants).shape == wanted


@pytest.mark.parametrize("number", [100, -7])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_quotient_with_a_constant_number_on_either_side_is_looked_up(number: int, family: Family) -> None:
    x = np.arange(-128, 128)
    constant = tensor("n", np.array([number], I8), exponents=(-2,), shape=(1,))
    shapes = (value("x", (1, 256), -3), value("y", (1, 256), -1))
    rounded = np.rint if family == "esp32p4" else lambda real: np.floor(real + 0.5)
    with np.errstate(divide="ignore"):
        for names, real in ((("n", "x"), 4 * number / x), (("x", "n"), x / number)):
            wanted = np.clip(rounded(real), -128, 127)
            found = answer(node("Div", names, ("y",)), shapes, {"x": x}, constants=(constant,), family=family)
            assert np.array_equal(found[0], wanted), names


def test_two_vectors_have_one_product() -> None:
    values = (value("a", (16,)), value("b", (16,)), value("y", (1,), 4))
    a, b = np.arange(16) - 4, np.arange(16) * 3 - 20
    found = answer(node("MatMul", ("a", "b"), ("y",)), values, {"a": a, "b": b})
    assert found.tolist() == [int(np.floor(a @ b / 16 + 0.5))]
