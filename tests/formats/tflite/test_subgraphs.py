from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from esp_hil.errors import FormatError, InputError, UnsupportedOperator
from esp_hil.exact.tflite import TflmReference
from esp_hil.formats.tflite import read_tflite
from esp_hil.formats.tflite.operators import IMAGE_OPERATORS, resolver_lines
from esp_hil.formats.tflite.variables import variables
from esp_hil.lint.tflite import lint_tflite
from esp_hil.models.device_file import open_device_file
from esp_hil.results.timing.work import work_of
from tests.formats.tflite.graphs import Graphs, calls_itself, counting_loop, sum_of_two, variable
from tests.formats.tflite.networks import needs_tflm

pytestmark = needs_tflm


def errors(image: bytes) -> dict[str, str]:
    """Node by rule of each error, but for those about the firmware's own list of operators."""
    operators = IMAGE_OPERATORS | set(read_tflite(image).operator_names)
    found = lint_tflite(image, operators=frozenset(operators))[1]
    return {finding.rule: finding.node for finding in found if finding.severity == "error"}


def test_the_resolver_lists_operators_of_every_subgraph() -> None:
    assert set(read_tflite(counting_loop()).operator_names) == {"WHILE", "LESS", "ADD"}
    missing = [f.node for f in lint_tflite(counting_loop())[1] if f.rule == "tflm-resolver"]
    assert sorted(missing) == ["LESS", "WHILE"]


def test_a_keras_rnn_needs_the_operators_of_its_loop(shared: Path) -> None:
    model = read_tflite(shared / "cases" / "tflm_while_resolver" / "while.tflite")
    words = resolver_lines(model.operator_names).split()
    assert words == [
        f"HIL_TFLM_OPERATOR(Add{name})" for name in ("Add", "FullyConnected", "Less", "Tanh", "While")
    ]


def test_an_operator_without_kernel_is_found_inside_a_loop() -> None:
    image = counting_loop(body="BITWISE_XOR")
    assert errors(image) == {"tflm-no-kernel": "BITWISE_XOR 0 of subgraph 2"}
    with pytest.raises(UnsupportedOperator, match=r"operator BITWISE_XOR \(number 0 of subgraph 2\)"):
        TflmReference(image)


def test_a_loop_runs_as_often_as_its_condition_says() -> None:
    reference = TflmReference(counting_loop())
    assert reference.run({"x": np.array([0], np.int32)})["y"].tolist() == [3]
    assert reference.run({"x": np.array([7], np.int32)})["y"].tolist() == [7]


def test_a_subgraph_that_calls_itself_is_refused() -> None:
    with pytest.raises(FormatError, match="subgraph 0 calls itself"):
        read_tflite(calls_itself())


@pytest.mark.parametrize("assigned", ["init", "main", "branch"])
def test_a_variable_that_something_assigns_is_no_error(assigned: str) -> None:
    assert errors(variable(assigned=assigned)) == {}
    (found,) = variables(read_tflite(variable(assigned=assigned)))
    assert (found.name, len(found.reads), len(found.assigns), found.assigned_when_run) == (
        "c/state",
        1,
        1,
        True,
    )


@pytest.mark.parametrize("change", [{"assigned": "no"}, {"other": "another"}])
def test_a_variable_that_nothing_assigns_is_an_error_before_tflm_reads_address_0(
    change: dict[str, str],
) -> None:
    image = variable(**change)
    (rule, node), *others = errors(image).items()
    assert (rule, others) == ("tflm-variables", [])
    assert node.startswith("READ_VARIABLE")
    with pytest.raises(
        UnsupportedOperator, match=r"reads variable 'c/state', and nothing in the file assigns it"
    ):
        TflmReference(image)


def test_a_variable_that_only_an_uncalled_subgraph_assigns_is_a_warning() -> None:
    found = lint_tflite(variable(assigned="uncalled"))[1]
    (warning,) = [finding for finding in found if finding.rule == "tflm-variables"]
    assert warning.severity == "warning"
    assert "ASSIGN_VARIABLE 1 of subgraph 1 alone, which nothing calls" in warning.why


def test_the_initial_value_of_a_variable_is_in_the_answer() -> None:
    answer = TflmReference(variable()).run({"x": np.arange(4, dtype=np.float32)})
    assert answer["y"].tolist() == [0.5, 1.5, 2.5, 3.5]


def test_the_work_of_a_net_with_variables_can_be_told() -> None:
    assert [layer.bits for layer in work_of(open_device_file(variable()))] == [8, 8, 32, 32]


def test_a_published_net_with_variables_is_read_linted_and_run(shared: Path) -> None:
    path = shared / "cases" / "tflm_resource_traceback" / "vars_assigned.tflite"
    assert errors(path.read_bytes()) == {}
    assert "ASSIGN_VARIABLE" in read_tflite(path).operator_names
    reference = TflmReference(path.read_bytes())
    (given,) = reference.model.input_tensors
    reference.run({given.name: np.ones(given.shape, given.dtype)})


@pytest.mark.parametrize(
    "shapes", [((64,), (64,)), ((1, 64), (1, 64)), ((64,), (1, 64)), ((3, 4), (3, 4)), ((), (2,))]
)
def test_each_input_has_the_shape_of_the_file(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    generator = np.random.default_rng(0)
    reference = TflmReference(sum_of_two(*shapes))
    a, b = (generator.random(shape, np.float32) for shape in shapes)
    answer = reference.run({"a": a, "b": b})["y"]
    assert answer.shape == np.broadcast_shapes(*shapes)
    assert np.array_equal(answer, a + b)
    items = [tensor.item_shape for tensor in reference.model.input_tensors]
    many_a, many_b = (generator.random((5, *item), np.float32) for item in items)
    batch = reference.run_batch({"a": many_a, "b": many_b})["y"]
    single = [
        reference.run({"a": x.reshape(shapes[0]), "b": y.reshape(shapes[1])})["y"]
        for x, y in zip(many_a, many_b, strict=True)
    ]
    assert np.array_equal(batch.reshape(-1), np.stack(single).reshape(-1))


def test_an_input_of_another_shape_says_which_is_wanted() -> None:
    reference = TflmReference(sum_of_two((64,), (64,)))
    wrong = {"a": np.zeros((1, 64), np.float32), "b": np.zeros(64, np.float32)}
    with pytest.raises(InputError, match=r"float32 \(1, 64\) for input 'a', which has float32 \(64,\)"):
        reference.run(wrong)
    with pytest.raises(InputError, match=r"give each as many"):
        reference.run_batch({"a": np.zeros((2, 64), np.float32), "b": np.zeros((3, 64), np.float32)})


@pytest.mark.parametrize("name", ["add_64", "add_1x64"])
def test_nets_without_and_with_a_batch_axis_answer_the_same(name: str, shared: Path) -> None:
    image = (shared / "cases" / "tflm_input_without_batch" / f"{name}.tflite").read_bytes()
    reference = TflmReference(image)
    tensors = reference.model.input_tensors
    inputs = {tensor.name: np.arange(64).astype(tensor.dtype).reshape(tensor.shape) for tensor in tensors}
    (answer,) = reference.run(inputs).values()
    assert answer.shape == reference.model.output_tensors[0].shape
    assert answer.size == 64


@pytest.mark.parametrize(("kind", "rule"), [("VARIANT", "tflm-types"), ("STRING", "tflm-types")])
def test_types_that_tflm_has_no_size_for_are_errors(kind: str, rule: str) -> None:
    file = Graphs()
    main = file.graph()
    x, inner, y = main.tensor("x", (1, 4)), main.tensor("list", (1,), kind), main.tensor("y", (1, 4))
    main.operator("ADD", [x, x], [y], "AddOptions")
    main.operator("RESHAPE", [inner], [inner], "ReshapeOptions")
    main.ends([x], [y])
    assert errors(file.image()) == {rule: "list"}
    with pytest.raises(UnsupportedOperator, match=f"of type {kind.lower()}"):
        TflmReference(file.image())


@pytest.mark.parametrize("kind", ["RESOURCE", "INT4"])
def test_an_input_that_is_no_number_is_an_error(kind: str) -> None:
    file = Graphs()
    main = file.graph()
    x, y = main.tensor("x", (1, 4), kind), main.tensor("y", (1, 4), kind)
    main.operator("RESHAPE", [x], [y], "ReshapeOptions")
    main.ends([x], [y])
    assert "tflm-types" in errors(file.image())
    with pytest.raises(UnsupportedOperator, match=f"input 'x' is of type {kind.lower()}"):
        TflmReference(file.image())


def test_a_file_without_any_suffix_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "MODEL.TFL"
    path.write_bytes(counting_loop())
    assert open_device_file(path).runtime == "tflm"
