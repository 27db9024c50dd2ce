"""ESP-NN's kernels as an axis of builds: each profile asks for what its Kconfig has, and rows tell which it was."""

from __future__ import annotations

import pytest

from esp_hil.esp.sdkconfig import parse_sdkconfig
from tests.conftest import ROOT

FIRMWARE = ROOT / "firmware"
# Kconfig.projbuild of esp-nn 1.2: a choice of two, and NN_SKIP_NUDGE, which depends on the second
CHOICE = {"CONFIG_NN_ANSI_C", "CONFIG_NN_OPTIMIZED"}


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [
        ("esp-nn-off", {"CONFIG_NN_ANSI_C"}),
        ("esp-nn-skip-nudge", {"CONFIG_NN_OPTIMIZED", "CONFIG_NN_SKIP_NUDGE"}),
    ],
)
def test_a_profile_asks_for_one_kind_of_kernels(profile: str, wanted: set[str]) -> None:
    values = parse_sdkconfig((FIRMWARE / "profiles" / profile).read_text(encoding="utf-8"))
    assert {name if name.startswith("CONFIG_") else f"CONFIG_{name}" for name in values} == wanted
    assert set(values.values()) == {True}
    assert len(wanted & CHOICE) == 1


def test_the_engine_s_version_in_a_row_tells_the_kernels() -> None:
    text = (FIRMWARE / "engines" / "tflm" / "CMakeLists.txt").read_text(encoding="utf-8")
    for symbol, kernels in (("NN_ANSI_C", "ansi-c"), ("NN_SKIP_NUDGE", "skip-nudge")):
        after = text.partition(f"if(CONFIG_{symbol})")[2]
        assert after.splitlines()[1].split("#")[0].split() == ["set(kernels", f'"{kernels}")']
