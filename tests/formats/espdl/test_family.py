"""What a file tells of the chip family it was made for."""

from __future__ import annotations

import pytest

from esp_hil.formats.espdl import possible_families
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


def test_packed_filters_with_one_exponent_run_on_both_and_mean_neither() -> None:
    assert possible_families(conv_graph(layout="(N/16)HWC16"), NOTHING) == SIMD
    assert family_of(conv_graph(layout="(N/16)HWC16"), NOTHING) is None


def test_bias_beyond_20_bits_cannot_be_s3() -> None:
    assert family_of(conv_graph(layout="(N/16)HWC16", bias=1 << 19), NOTHING) == "esp32p4"
    assert family_of(conv_graph(layout="(N/16)HWC16", bias=(1 << 19) - 1), NOTHING) is None
    assert family_of(conv_graph(layout="(N/16)HWC16", bias=-(1 << 19)), NOTHING) is None


def test_old_packed_layout_may_be_either() -> None:
    assert possible_families(conv_graph(layout="N16HWC16"), NOTHING) == SIMD


def test_graph_without_filters_tells_nothing() -> None:
    assert family_of(tiny_graph(), NOTHING) is None
