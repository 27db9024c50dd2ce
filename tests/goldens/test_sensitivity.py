"""The noise of layers: where it is made, what it does, and that the suggestion helps."""

from __future__ import annotations

import numpy as np
import pytest

from esp_hil.errors import ConfigError
from esp_hil.formats.espdl import read_espdl
from esp_hil.goldens.sensitivity import LayerNoise, measure, noise_to_signal, suggest
from esp_hil.models import catalogue
from esp_hil.models.catalogue import Model
from tests.conftest import ROOT
from tests.formats.espdl.writer import node


@pytest.fixture(scope="module")
def gesture() -> Model:
    return catalogue.load("gesture", (ROOT / "golden",))


@pytest.fixture(scope="module")
def layers(gesture: Model) -> dict[str, LayerNoise]:
    return {row.node: row for row in measure(gesture, "w8a8", "esp32s3", gesture.golden(16).inputs)}


def layer(name: str, brought: float, *, op_type: str = "Conv", dtype: str = "int8") -> LayerNoise:
    return LayerNoise(
        node=name,
        op_type=op_type,
        tensor=f"{name}_out",
        dtype=dtype,
        exponent=-4,
        own=0.1,
        reached=0.1,
        brought=brought,
    )


def test_noise_is_relative_to_the_signal() -> None:
    signal = np.array([3.0, 4.0])
    assert noise_to_signal(signal + np.array([0.5, 0.0]), signal) == pytest.approx(0.25 / 25)
    assert noise_to_signal(signal, signal) == 0
    assert noise_to_signal(np.zeros(2), np.zeros(2)) == 0
    assert noise_to_signal(signal, np.zeros(2)) == np.inf


def test_noise_adds_up_along_the_network(layers: dict[str, LayerNoise]) -> None:
    first, last = layers["/stem/Conv"], layers["/fc/Gemm"]
    assert first.own == pytest.approx(first.reached, rel=1e-6), "nothing comes before the first layer"
    assert last.own < last.reached / 10, "the last layer is quiet, what it is given is not"
    assert last.own == pytest.approx(last.brought, rel=1e-3), "its result is the scores"
    assert all(row.own > 0 for row in layers.values() if row.op_type == "Conv")


def test_the_first_layer_s_own_noise_is_that_of_its_input_and_weights(
    gesture: Model, layers: dict[str, LayerNoise]
) -> None:
    quiet = {row.node: row for row in measure(gesture, "w16a16", "esp32s3", gesture.golden(16).inputs)}
    for name in ("/stem/Conv", "/fc/Gemm"):
        assert quiet[name].own < layers[name].own / 1000
    assert quiet["/fc/Gemm"].reached < layers["/fc/Gemm"].reached / 1000


def test_the_fewest_layers_that_bring_half_of_the_noise_are_suggested() -> None:
    rows = [layer("a", 1.0), layer("b", 5.0), layer("c", 3.0), layer("d", 1.0)]
    assert suggest(rows, (), share=0.5) == ("b",)
    assert suggest(rows, (), share=0.8) == ("b", "c")
    assert suggest(rows, (), share=1.0, most=2) == ("b", "c")


def test_an_activation_that_follows_is_lifted_with_its_layer() -> None:
    nodes = (node("Clip", ("b_out",), ("y",), name="b_clip"), node("Add", ("b_out",), ("z",), name="add"))
    assert suggest([layer("b", 1.0)], nodes) == ("b", "b_clip")


def test_what_has_16_bits_or_no_weights_is_not_suggested() -> None:
    rows = [layer("wide", 9.0, dtype="int16"), layer("pool", 9.0, op_type="MaxPool"), layer("conv", 1.0)]
    assert suggest(rows, ()) == ("conv",)
    with pytest.raises(ConfigError, match="no layer with 8 bits"):
        suggest(rows[:2], ())
    with pytest.raises(ConfigError, match="share 0"):
        suggest(rows, (), share=0)


def test_lifting_the_first_layer_takes_its_noise_away(gesture: Model, layers: dict[str, LayerNoise]) -> None:
    """The committed mixed recipe lifts the stem: it is quieter there, and no louder at the scores."""
    mixed = {row.node: row for row in measure(gesture, "mixed", "esp32s3", gesture.golden(16).inputs)}
    assert mixed["/stem/Conv"].own < layers["/stem/Conv"].own / 100
    assert mixed["/fc/Gemm"].reached <= layers["/fc/Gemm"].reached


def test_a_recipe_that_scales_layers_cannot_be_laid_beside_the_float_model(gesture: Model) -> None:
    with pytest.raises(ConfigError, match="changes the float values"):
        measure(gesture, "equalized", "esp32s3", gesture.golden(1).inputs)


def test_the_suggestion_names_operators_that_a_recipe_can_dispatch(
    gesture: Model, layers: dict[str, LayerNoise]
) -> None:
    import onnx

    nodes = read_espdl(gesture.artifact("w8a8", "esp32s3")).graph.nodes
    names = {found.name for found in onnx.load(gesture.float_path).graph.node}
    chosen = suggest(layers.values(), nodes)
    assert chosen
    assert set(chosen) <= names
