"""Which components a build of the firmware takes: exact versions, those that were seen to work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from esp_hil.exact.esp_nn import KNOWN_VERSIONS
from tests.conftest import ROOT

ENGINES = ROOT / "firmware" / "engines"
MANIFESTS = sorted(ENGINES.glob("*/idf_component.yml"))


def wanted(manifest: str) -> dict[str, str]:
    """The components that a manifest asks for, with their versions; ESP-IDF itself is none."""
    return dict(re.findall(r"^  ([\w-]+/[\w-]+): \"?([^\"\n]+)\"?$", manifest, re.MULTILINE))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_every_component_has_an_exact_version(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = [line for line in text.partition("dependencies:")[2].splitlines() if line.strip()]
    components = wanted(text)
    assert len(components) == len(lines) - 1 > 0  # all but ESP-IDF
    assert all(re.fullmatch(r"==\d+\.\d+\.\d+(~\d+)?", version) for version in components.values())


def test_a_range_would_be_told() -> None:
    assert wanted('dependencies:\n  idf: ">=5.3"\n  espressif/esp-nn: ">=1.2"\n') == {
        "espressif/esp-nn": ">=1.2"
    }


def test_the_kernels_are_of_a_version_that_was_executed() -> None:
    manifest = (ENGINES / "tflm" / "idf_component.yml").read_text(encoding="utf-8")
    assert wanted(manifest)["espressif/esp-nn"].removeprefix("==") in KNOWN_VERSIONS


def test_the_documentation_names_the_versions_that_were_seen() -> None:
    page = (ROOT / "docs" / "verified.md").read_text(encoding="utf-8")
    for path in MANIFESTS:
        versions = wanted(path.read_text(encoding="utf-8"))
        for name, said in (
            ("esp-dl", "ESP-DL"),
            ("esp-tflite-micro", "esp-tflite-micro"),
            ("esp-nn", "ESP-NN"),
        ):
            if version := versions.get(f"espressif/{name}"):
                assert f"{said} {version.removeprefix('==')}" in page
