"""ESP-DL's memory planner, replayed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esp_hil.cli import main
from esp_hil.errors import ConfigError, UnsupportedOperator
from esp_hil.formats.espdl import EspdlModel, Graph, Node, read_espdl
from esp_hil.formats.espdl.chunks import Pool
from esp_hil.formats.espdl.memory import MemoryPlan, plan_memory
from esp_hil.targets import target
from tests.formats.espdl.examples import conv_graph
from tests.formats.espdl.writer import edl, graph, node, tensor, value

P4, C3, S3 = target("esp32p4"), target("esp32c3"), target("esp32s3")


def _chain(nodes: list[Node], *, sizes: dict[str, int], outputs: tuple[str, ...] = ("y",)) -> EspdlModel:
    values = [value(name, (1, size)) for name, size in sizes.items()]
    return read_espdl(edl(graph(nodes, values, outputs=outputs)))


def _on_c3(model: EspdlModel) -> MemoryPlan:
    return plan_memory(model, C3)


def _where(plan: MemoryPlan) -> dict[str, int]:
    return {place.name: place.offset_bytes for place in plan.placements}


def test_value_is_freed_after_its_last_user_and_its_place_taken_again() -> None:
    """Softmax makes float32: a takes 64 bytes behind x, b goes where x was."""
    model = _chain(
        [node("Sub", ("x", "x"), ("a",)), node("Sub", ("a", "a"), ("b",)), node("Sub", ("b", "b"), ("y",))],
        sizes={"x": 16, "a": 16, "b": 16, "y": 16},
    )
    plan = _on_c3(model)
    assert _where(plan) == {"x": 0, "a": 16, "b": 0, "y": 16}
    assert plan.variable.internal_bytes == 32


def test_sizes_are_rounded_up_to_16_bytes() -> None:
    pads = tensor("p", np.array([0, 0, 0, 16], np.int64))
    values = [value("x", (1, 1)), value("y", (1, 17))]
    model = read_espdl(edl(graph([node("Pad", ("x", "p"), ("y",))], values, initializers=[pads])))
    assert _on_c3(model).variable.internal_bytes == 16 + 32


def test_sizes_come_from_the_operators_and_not_from_the_file() -> None:
    """A streaming model describes 24 frames and runs on 3."""
    model = _chain([node("Sub", ("x", "x"), ("y",))], sizes={"x": 16, "y": 1600})
    assert _on_c3(model).variable.internal_bytes == 32


def test_in_place_operator_writes_over_its_input() -> None:
    model = _chain([node("Relu", ("x",), ("y",))], sizes={"x": 16, "y": 16})
    plan = _on_c3(model)
    assert plan.variable.internal_bytes == 16
    assert [place.shares for place in plan.placements] == ["", "x"]


def test_operator_may_not_write_over_what_a_later_node_needs() -> None:
    model = _chain(
        [node("Relu", ("x",), ("a",)), node("Add", ("x", "a"), ("y",))],
        sizes={"x": 16, "a": 16, "y": 16},
    )
    plan = _on_c3(model)
    assert _where(plan) == {"x": 0, "a": 16, "y": 0}


def test_operator_may_not_write_over_what_a_later_node_that_is_not_in_place_needs() -> None:
    model = _chain(
        [node("Relu", ("x",), ("a",)), node("Sub", ("x", "a"), ("y",))],
        sizes={"x": 16, "a": 16, "y": 16},
    )
    assert _where(_on_c3(model)) == {"x": 0, "a": 16, "y": 32}


def test_graph_output_lives_to_the_end_although_a_node_uses_it() -> None:
    model = _chain(
        [node("Sub", ("x", "x"), ("a",)), node("Sub", ("a", "a"), ("b",)), node("Sub", ("b", "b"), ("y",))],
        sizes={"x": 16, "a": 16, "b": 16, "y": 16},
        outputs=("a", "y"),
    )
    assert _where(_on_c3(model)) == {"x": 0, "a": 16, "b": 0, "y": 32}


def test_operator_may_not_write_over_a_graph_output() -> None:
    model = _chain(
        [node("Sub", ("x", "x"), ("a",)), node("Relu", ("a",), ("y",))],
        sizes={"x": 16, "a": 16, "y": 16},
        outputs=("a", "y"),
    )
    assert _where(_on_c3(model)) == {"x": 0, "a": 16, "y": 0}


def test_operator_may_not_write_over_memory_that_a_reshape_looks_at() -> None:
    shape = tensor("s", np.array([1, 16], np.int64))
    nodes = [
        node("Reshape", ("x", "s"), ("a",)),
        node("Relu", ("x",), ("b",)),
        node("Add", ("a", "b"), ("y",)),
    ]
    values = [value(name, (1, 16)) for name in "xaby"]
    plan = _on_c3(read_espdl(edl(graph(nodes, values, initializers=[shape]))))
    places = {place.name: place for place in plan.placements}
    assert places["a"].shares == "x"
    assert places["b"].shares == ""
    assert places["b"].offset_bytes != places["a"].offset_bytes


def test_wider_output_gets_memory_of_its_own() -> None:
    nodes = [node("Relu", ("x",), ("y",), quant_type="S16")]
    values = [value("x", (1, 16)), value("y", (1, 16), dtype="int16")]
    plan = _on_c3(read_espdl(edl(graph(nodes, values))))
    assert _where(plan) == {"x": 0, "y": 16}


class _Block:
    """Something of a size that can live in a pool."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes, self.offset_bytes = size_bytes, -1
        self.pool: Pool | None = None


def _placed(pool: Pool, *sizes: int) -> list[_Block]:
    blocks = [_Block(size) for size in sizes]
    assert all(pool.place(block) for block in blocks)
    return blocks


def test_best_fit_takes_the_smallest_free_chunk_that_holds_it() -> None:
    pool = Pool("psram")
    large, _, small, _, middle, _ = _placed(pool, 64, 16, 16, 16, 32, 16)
    for block in (large, middle, small):
        pool.free(block)
    (found,) = _placed(pool, 17)
    assert found.offset_bytes == middle.offset_bytes


def test_among_equal_free_chunks_the_first_freed_is_taken() -> None:
    pool = Pool("psram")
    first, _, second, _ = _placed(pool, 16, 16, 16, 16)
    pool.free(second)
    pool.free(first)
    assert _placed(pool, 16)[0].offset_bytes == second.offset_bytes


def test_rest_of_a_chunk_is_free_again() -> None:
    pool = Pool("psram")
    large, _ = _placed(pool, 64, 16)
    pool.free(large)
    assert [block.offset_bytes for block in _placed(pool, 16, 48)] == [0, 16]
    assert pool.size_bytes == 80


def test_neighbours_that_are_free_become_one_chunk() -> None:
    pool = Pool("psram")
    left, middle, right, _ = _placed(pool, 16, 16, 16, 16)
    for block in (left, right, middle):
        pool.free(block)
    assert _placed(pool, 48)[0].offset_bytes == 0


def test_last_free_chunk_is_extended_to_what_is_needed() -> None:
    pool = Pool("psram")
    _, last = _placed(pool, 16, 32)
    pool.free(last)
    assert _placed(pool, 48)[0].offset_bytes == 16
    assert pool.size_bytes == 64


def test_pool_of_fixed_size_refuses_what_does_not_fit() -> None:
    pool = Pool("internal", fixed_bytes=32)
    (block,) = _placed(pool, 17)
    assert not pool.place(_Block(1))
    pool.free(block)
    assert pool.place(_Block(32))
    assert pool.size_bytes == 32


def test_board_with_psram_keeps_the_arena_there() -> None:
    model = read_espdl(edl(conv_graph()))
    with_psram, without = plan_memory(model, P4), plan_memory(model, P4, psram=False)
    assert with_psram.variable.psram_bytes == without.variable.internal_bytes > 0
    assert with_psram.variable.internal_bytes == without.variable.psram_bytes == 0
    assert with_psram.parameter_copy.psram_bytes == without.parameter_copy.internal_bytes


def test_internal_budget_is_taken_whole_and_what_does_not_fit_goes_to_psram() -> None:
    model = read_espdl(edl(conv_graph()))  # x 108 -> 112 bytes, h and y 64 bytes in one place
    plan = plan_memory(model, P4, max_internal_bytes=96)
    assert (plan.variable.internal_bytes, plan.variable.psram_bytes) == (96, 112)
    assert {place.name: place.memory for place in plan.placements} == {
        "x": "psram",
        "h": "internal",
        "y": "internal",
    }


def test_internal_budget_of_one_unit_counts_as_none() -> None:
    plan = plan_memory(read_espdl(edl(conv_graph())), P4, max_internal_bytes=16)
    assert plan.variable.internal_bytes == 0


@pytest.mark.parametrize("size", [-16, 100])
def test_internal_budget_that_the_planner_cannot_handle_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=f"{size} bytes"):
        plan_memory(read_espdl(edl(conv_graph())), P4, max_internal_bytes=size)


def test_parameters_are_the_inputs_of_nodes_rounded_up_and_tables_are_not_among_them() -> None:
    plan = plan_memory(read_espdl(edl(conv_graph())), C3)
    filter_bytes, bias_bytes = 112, 16
    assert plan.parameter_copy.internal_bytes == filter_bytes + bias_bytes
    assert plan.parameter.flash_bytes == filter_bytes + bias_bytes


def test_parameters_without_copy_stay_in_flash_except_the_bias_that_s3_packs() -> None:
    packed = read_espdl(edl(conv_graph(layout="(N/16)HWC16")))
    on_s3 = plan_memory(packed, S3, param_copy=False)
    assert (on_s3.parameter.flash_bytes, on_s3.parameter_copy.psram_bytes) == (112, 16)
    on_p4 = plan_memory(packed, P4, param_copy=False)
    assert (on_p4.parameter.flash_bytes, on_p4.parameter_copy.psram_bytes) == (128, 0)


def test_old_container_always_copies() -> None:
    old = read_espdl(edl(conv_graph(), container="EDL1"))
    assert plan_memory(old, C3, param_copy=False).parameter_copy.internal_bytes == 128


def test_unregistered_operator_is_refused_in_esp_dls_words() -> None:
    model = _chain([node("Erf", ("x",), ("y",))], sizes={"x": 16, "y": 16})
    with pytest.raises(
        UnsupportedOperator, match="Do not support Erf, please implement and register it first"
    ):
        _on_c3(model)


@st.composite
def _graphs(draw: st.DrawFn) -> Graph:
    """Random chains and diamonds of operators with and without in-place modes."""
    names, nodes = ["x"], []
    for index in range(draw(st.integers(1, 12))):
        op_type = draw(st.sampled_from(["Relu", "Sub", "Add", "Identity", "Concat", "Neg"]))
        count = 2 if op_type in ("Sub", "Add", "Concat") else 1
        inputs = [draw(st.sampled_from(names)) for _ in range(count)]
        if op_type == "Concat":
            inputs = [inputs[0]]
        nodes.append(node(op_type, inputs, [f"v{index}"], axis=0))
        names.append(f"v{index}")
    outputs = draw(st.lists(st.sampled_from(names[1:]), min_size=1, max_size=3, unique=True))
    return graph(nodes, [value(name, (1, 24)) for name in names], outputs=outputs)


@given(_graphs(), st.sampled_from([0, 32, 64, 96]))
@settings(max_examples=150)
def test_values_alive_together_overlap_only_if_they_share(written: Graph, budget: int) -> None:
    plan = plan_memory(read_espdl(edl(written)), P4, max_internal_bytes=budget)
    steps = len(written.nodes)
    places = [place for place in plan.placements if not place.shares]
    for index, left in enumerate(places):
        for right in places[:index]:
            apart = (
                left.memory != right.memory
                or left.offset_bytes + left.size_bytes <= right.offset_bytes
                or right.offset_bytes + right.size_bytes <= left.offset_bytes
            )
            ends = [steps if place.end_step is None else place.end_step for place in (left, right)]
            assert apart or left.first_step >= ends[1] or right.first_step >= ends[0]
    assert plan.variable.total_bytes >= plan.peak_live_bytes


def test_arena_of_every_zoo_model_is_that_of_esp_dl(shared: Path) -> None:
    paths = sorted((shared / "vectors" / "zoo").glob("*/*/meta.json"))
    assert len(paths) == 16
    for path in paths:
        meta = json.loads(path.read_text())
        model = read_espdl(shared / "zoo" / meta["target"] / meta["model"])
        plan, measured = plan_memory(model, target(meta["target"]), psram=False), meta["memory"]
        assert plan.variable.internal_bytes == measured["variable"]["internal"], path
        assert plan.parameter_copy.internal_bytes == measured["parameter_copy"]["internal"], path
        assert plan.parameter.flash_bytes == measured["parameter"]["flash"], path
        assert plan.fbs_model.flash_bytes == measured["fbs_model"]["flash"], path


@pytest.mark.parametrize(
    ("name", "arena_bytes"), [("p4_s8_net_mnist", 32_144), ("p4_s8_net_gesture", 322_560)]
)
def test_arena_of_the_tutorial_networks_is_that_measured(shared: Path, name: str, arena_bytes: int) -> None:
    model = read_espdl(shared / "vectors" / "ops" / name / "model.espdl")
    assert plan_memory(model, P4, psram=False).variable.internal_bytes == arena_bytes
    assert plan_memory(model, P4).variable.psram_bytes == arena_bytes


def test_command_prints_a_table_and_says_that_it_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "conv.espdl"
    path.write_bytes(edl(conv_graph()))
    assert main(["plan", str(path), "--target", "esp32c3"]) == 0
    text = capsys.readouterr().out
    assert "conv on esp32c3" in text
    assert "variable" in text
    assert "does not fit" not in text


def test_command_prints_json_with_the_place_of_every_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "conv.espdl"
    path.write_bytes(edl(conv_graph()))
    assert main(["plan", str(path), "--target", "esp32p4", "--max-internal", "96", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["memory"]["variable"] == {"internal_bytes": 96, "psram_bytes": 112, "flash_bytes": 0}
    assert [place["name"] for place in document["values"]] == ["x", "h", "y"]


def test_command_says_no_when_the_model_is_too_large(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    huge = graph([node("Sub", ("x", "x"), ("y",))], [value("x", (1, 300_000)), value("y", (1, 300_000))])
    path = tmp_path / "huge.espdl"
    path.write_bytes(edl(huge))
    assert main(["plan", str(path), "--target", "esp32c3"]) == 1
    assert "does not fit: internal" in capsys.readouterr().out


def test_command_names_the_targets_that_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(tmp_path / "x.espdl"), "--target", "esp64"]) == 2
    assert "esp32s3" in capsys.readouterr().err
