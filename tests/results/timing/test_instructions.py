"""Instructions by formulas: against those that were executed, node by node, and against loops counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from esp_hil.formats.espdl import Node, ValueInfo, read_espdl
from esp_hil.formats.espdl.shapes import propagate
from esp_hil.results.timing.instructions import KernelCalls, kernel_calls, simd_chip
from esp_hil.results.timing.instructions.copies import copy_instructions
from esp_hil.results.timing.instructions.kernels import alignment, blocks, kernel_names, quantity_names
from esp_hil.results.timing.instructions.windows import WindowAxis, windows_of
from esp_hil.results.timing.latency import quantile
from tests.formats.espdl.writer import edl, graph, node, tensor, value
from tests.results.timing.make_executed import FILE, away, by_formula, cases, cloned


def axis(size: int, window: int, *, stride: int = 1, before: int = 0, after: int = 0) -> WindowAxis:
    made = (size + before + after - window) // stride + 1
    return WindowAxis(
        size=size, made=made, window=window, stride=stride, dilation=1, before=before, after=after
    )


def test_a_padded_window_is_computed_over_the_part_that_lies_inside() -> None:
    same = axis(4, 3, before=1, after=1)
    assert same.spans() == [(2, False), (3, True), (3, True), (2, False)]


def test_a_filter_larger_than_its_input_has_no_position_that_lies_inside() -> None:
    wide = axis(2, 5, before=2, after=2)
    assert wide.spans() == [(2, False), (2, False)]


def test_positions_that_begin_at_other_offsets_are_told_apart_only_where_channels_do_not_fill_vectors() -> (
    None
):
    one = axis(4, 1)
    assert {window.offset for window in windows_of(one, one, 32)} == {0}
    assert {window.offset for window in windows_of(one, one, 24)} == {0, 8}


def test_a_copy_between_aligned_places_takes_its_rounds_and_nothing_for_the_head() -> None:
    small = copy_instructions("s3", 32, destination=0, source=0)
    assert copy_instructions("s3", 64, destination=0, source=0) == small + 4
    assert copy_instructions("s3", 64, destination=0, source=1) > small + 4
    assert copy_instructions("p4", 32, destination=3, source=0) > copy_instructions(
        "p4", 32, destination=0, source=0
    )


def counted_by_hand(op: Node, values: tuple[ValueInfo, ...], chip: str) -> tuple[KernelCalls, ...]:
    model = read_espdl(edl(graph([op], values, inputs=("x",), outputs=("y",))))
    return kernel_calls(model.graph, model.graph.nodes[0], propagate(model.graph), chip)


@pytest.mark.parametrize("chip", ["s3", "p4"])
def test_inserted_zeros_are_copies_of_one_pixel_each_to_every_place_of_the_stride(chip: str) -> None:
    """Two rows of two pixels of 36 bytes: they come from 0, 36, 72, 108 and go to 0, 108, 216, 324, modulo 16."""
    op = node("InsertZeros", ("x",), ("y",), stride=(3, 3), output_padding=(0, 1))
    values = (value("x", (1, 2, 2, 36)), value("y", (1, 4, 5, 36)))
    found = counted_by_hand(op, values, chip)
    assert {made.kernel for made in found} == {"memcpy"}
    places = [(108 * pixel % 16, 36 * pixel % 16) for pixel in range(4)]
    wanted = sum(copy_instructions(chip, 36, destination=into, source=out_of) for into, out_of in places)
    assert sum(made.calls for made in found) == 4
    assert sum(made.instructions for made in found) == pytest.approx(wanted)


@pytest.mark.parametrize(("chip", "block"), [("s3", 16), ("p4", 8)])
def test_a_table_is_read_in_blocks_of_the_chip_and_the_rest_in_c(chip: str, block: int) -> None:
    def instructions(count: int) -> float:
        op = node("LUT", ("x",), ("y",), lut="t")
        model_values = (value("x", (1, count)), value("y", (1, count)))
        table = tensor("t", np.arange(256).astype(np.int8))
        model = read_espdl(
            edl(graph([op], model_values, inputs=("x",), outputs=("y",), initializers=[table]))
        )
        made = kernel_calls(model.graph, model.graph.nodes[0], propagate(model.graph), chip)
        return sum(kernel.instructions for kernel in made)

    one = instructions(10 * block) - instructions(9 * block)
    assert one > 0
    assert instructions(20 * block) == pytest.approx(instructions(9 * block) + 11 * one)
    assert instructions(10 * block + block - 1) == instructions(10 * block)
    assert instructions(block - 1) == 0


def test_chips_without_vectors_have_no_kernels_to_count() -> None:
    assert simd_chip("c") is None
    assert simd_chip("tflm") is None


@pytest.fixture(scope="module")
def counted(shared: Path) -> list[tuple[str, str, float, int]]:
    """(case, operator, by formula, executed) of every node."""
    return [
        (case, *formula[name], count)
        for case, model, executed in cases(shared)
        for formula in (by_formula(case, model),)
        for name, count in executed
    ]


CLONED: dict[str, list[tuple[str, int, int]]] = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CLONED)
def test_no_node_lies_farther_from_what_was_executed_than_it_did(case: str) -> None:
    """In a clean clone: half of the nodes to the instruction, the others as near as they came."""
    model = cloned(case)
    assert model is not None, "tests/results/timing/make_executed.py"
    formula = by_formula(case, model)
    far = {
        f"{name} ({formula[name][0]}): {formula[name][1]:.0f} by formula, {count} executed"
        for name, count, thousandths in CLONED[case]
        if away(formula[name][1], count) > thousandths / 1000 + 1e-9
    }
    assert not far


def test_a_clean_clone_has_executed_nodes_of_both_chips() -> None:
    operators = {chip: set[str]() for chip in ("s3", "p4")}
    for case in CLONED:
        model = cloned(case)
        assert model is not None
        operators[case[:2]] |= {node.op_type for node in model.graph.nodes}
    assert len(CLONED) >= 100
    assert {"Conv", "Gemm", "Add", "MaxPool", "Transpose"} <= operators["s3"] & operators["p4"]


def test_nodes_lie_within_two_percent_of_the_executed_instructions(
    counted: list[tuple[str, str, float, int]],
) -> None:
    errors = sorted(abs(formula / executed - 1) for _, _, formula, executed in counted if executed)
    assert len(errors) > 2000
    assert median(errors) <= 0.02
    assert quantile(errors, 0.95) <= 0.10


def test_a_node_that_calls_no_kernel_counts_none(counted: list[tuple[str, str, float, int]]) -> None:
    assert [row for row in counted if not row[3] and row[2]] == []


def test_networks_lie_within_three_percent(counted: list[tuple[str, str, float, int]]) -> None:
    totals: dict[str, list[float]] = {}
    for name, _, formula, executed in counted:
        total = totals.setdefault(name, [0.0, 0.0])
        total[0] += formula
        total[1] += executed
    networks = {name: total for name, total in totals.items() if "_zoo_" in name or "golden" in name}
    assert len(networks) >= 12
    for name, (reckoned, by_chip) in networks.items():
        assert reckoned == pytest.approx(by_chip, rel=0.03), name


@pytest.mark.parametrize("kind", ["unaligned", "depthwise", "requantize", "lut", "prelu", "pool"])
def test_every_kind_of_kernel_is_counted(kind: str) -> None:
    for chip in ("s3", "p4"):
        assert any(name.startswith(chip) and kind in name for name in kernel_names())


def test_every_quantity_of_the_table_is_one_that_the_dispatch_gives() -> None:
    given = {
        *blocks(20, 16, "c"),
        *blocks(20, 16, "n"),
        *alignment(0),
        *("1", "h", "p", "w1", "we", "h1", "bias", "relu", "pc"),
        *("n", "quads", "blocks", "lr", "any_lr"),
    }
    assert quantity_names() <= given
