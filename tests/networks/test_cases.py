"""`hil new` on small files of the kinds that people are stuck with (../shared/cases): a model folder, or a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from esp_hil.errors import HilError
from esp_hil.goldens.new_check import check
from esp_hil.goldens.new_model import Wish, create
from esp_hil.goldens.references import DeviceFileReference
from esp_hil.models import catalogue
from tests.conftest import shared_folder

CASES = (shared_folder() or Path("nowhere")) / "cases"
pytestmark = pytest.mark.skipif(
    not CASES.is_dir(), reason="no ground truth: set HIL_SHARED to a folder with vectors/ and cases/"
)

_SUFFIXES = {".tflite", ".espdl"}
_FILES = {path.relative_to(CASES).as_posix(): path.suffix for path in CASES.glob("*/*")}
DEVICE_FILES = sorted(name for name, suffix in _FILES.items() if suffix in _SUFFIXES)
REFUSED = {"p4_per_tensor_refused/per_tensor.espdl": "--target"}
"""Files that need a word more, and which."""
ONNX = sorted(name for name, suffix in _FILES.items() if suffix == ".onnx")
WRONG = {
    "onnx_shape_conflict/channels.onnx": "export for this input size",
    "onnx_shape_conflict/reshape_cls.onnx": "export for this input size",
}
"""ONNX files that will not run, and what to change."""


@pytest.mark.parametrize("case", DEVICE_FILES)
def test_a_device_file_of_each_case_becomes_a_model_or_says_what_it_needs(case: str, tmp_path: Path) -> None:
    wish = Wish(name="case", files=(CASES / case,))
    if case in REFUSED:
        with pytest.raises(HilError) as caught:
            create(wish, tmp_path, lambda line: None)
        assert REFUSED[case] in caught.value.hint
        assert list(tmp_path.iterdir()) == []
        wish = Wish(name="case", files=(CASES / case,), families=("esp32p4",))
    create(wish, tmp_path, lambda line: None)
    model = catalogue.load("case", (tmp_path,))
    (family,) = model.recipe("given").targets
    golden = model.golden(limit=4)
    answers = DeviceFileReference(model, "given", family).run(golden.arrays)
    assert {len(answer.values) for answer in answers.values()} == {4}


@pytest.mark.parametrize("case", ONNX)
def test_check_tells_of_each_onnx_whether_it_will_run_and_what_to_change(case: str) -> None:
    for answer in check(Wish(name="case", onnx=CASES / case), ["esp32s3", "esp32p4"]):
        assert answer.runs == (case not in WRONG), answer
        if case in WRONG:
            assert any(WRONG[case] in change for change in answer.changes)
