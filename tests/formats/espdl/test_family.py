"""What a file tells of the chip family it was made for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from esp_hil.formats.espdl import Graph, possible_families
from esp_hil.formats.espdl.family import family_of
from tests.formats.espdl.examples import conv_graph, tiny_graph

NOTHING: dict[str, str] = {}
SIMD = ("esp32s3", "esp32p4")


@pytest.mark.parametrize(
    ("target", "family"),
    [("esp32c3", "c"), ("c", "c"), ("esp32s3", "esp32s3"), ("esp32s31", "esp32p4"), ("esp32p4", "esp32p4")],
)
def test_metadata_decides(target: str, family: str) -> None:
    assert possible_families(tiny_graph(), {"target": target}) == (family,)


def test_unknown_metadata_target_decides_nothing() -> None:
    assert possible_families(tiny_graph(), {"target": "esp64"}) == ("c", "esp32s3", "esp32p4")


def test_exponents_per_channel_mean_p4() -> None:
    packed = conv_graph(layout="(N/16)HWC16", exponents=(-7, -7, -8, -6))
    assert family_of(packed, NOTHING) == "esp32p4"


def test_plain_filters_mean_c() -> None:
    assert family_of(conv_graph(layout="NHWC"), NOTHING) == "c"


def test_packed_filters_with_one_exponent_mean_s3() -> None:
    assert family_of(conv_graph(layout="(N/16)HWC16"), NOTHING) == "esp32s3"


def test_bias_beyond_20_bits_cannot_be_s3() -> None:
    assert family_of(conv_graph(layout="(N/16)HWC16", bias=1 << 19), NOTHING) == "esp32p4"
    assert family_of(conv_graph(layout="(N/16)HWC16", bias=(1 << 19) - 1), NOTHING) == "esp32s3"
    assert family_of(conv_graph(layout="(N/16)HWC16", bias=-(1 << 19)), NOTHING) == "esp32s3"


def test_old_packed_layout_may_be_either() -> None:
    assert possible_families(conv_graph(layout="N16HWC16"), NOTHING) == SIMD


def test_filter_of_one_channel_may_be_either() -> None:
    one = conv_graph(layout="(N/16)HWC16_UNALIGNED", channels=1)
    assert possible_families(one, NOTHING) == SIMD


def test_depthwise_filter_has_its_channels_before_the_last_axis() -> None:
    assert possible_families(_depthwise(conv_graph(layout="(N/16)HWC16")), NOTHING) == ("esp32s3",)


def _depthwise(graph: Graph) -> Graph:
    conv = replace(graph.nodes[0], attributes={**graph.nodes[0].attributes, "group": 16})
    old = graph.initializers["w"]
    weights = replace(old, shape=(3, 3, 16, 1), data=np.zeros(144, np.int8))
    return replace(graph, nodes=(conv, *graph.nodes[1:]), initializers={**graph.initializers, "w": weights})


def test_graph_without_filters_tells_nothing() -> None:
    assert family_of(tiny_graph(), NOTHING) is None
