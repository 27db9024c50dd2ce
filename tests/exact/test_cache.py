"""The key of a lowered graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.exact import cache
from esp_hil.settings import PACKAGE
from tests.test_house_rules import imported, modules

SAYS_NOTHING_OF_GRAPHS = {
    "esp_hil",
    "esp_hil.errors",
    "esp_hil.json_text",
    "esp_hil.settings",
    "esp_hil.toml_table",
    "esp_hil.formats",
}
"""Errors, folders and how tables and JSON are read: no number of a lowered graph depends on them."""


def test_every_module_that_lowering_imports_is_in_the_key() -> None:
    known = modules()
    reached, new = set[str](), {"esp_hil.exact.cache", "esp_hil.formats.espdl.reader"}
    while new:
        reached |= new
        new = {other for name in new for other in imported(known[name], known)} - reached
    hashed = set(cache.sources())
    missing = {name for name in reached - SAYS_NOTHING_OF_GRAPHS if known[name] not in hashed}
    assert missing == set()
    assert PACKAGE / "targets.toml" in hashed


def test_a_changed_file_changes_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "esp_hil"
    for path in cache.sources():
        copy = package / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(cache, "PACKAGE", package)
    digest = cache._code_digest.__wrapped__
    before = digest()
    (package / "formats" / "espdl" / "windows.py").write_text("# other limits\n")
    assert digest() != before
