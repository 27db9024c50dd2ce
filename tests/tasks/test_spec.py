"""task.toml is read strictly, and a zoo is searched by name and digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from esp_hil import tasks
from esp_hil.errors import ConfigError, GoldenError, UnknownModel
from esp_hil.results.timing.published import published_of
from esp_hil.tasks import pictures
from esp_hil.tasks.spec import parse
from esp_hil.tasks.zoo import find_file
from tests.conftest import ROOT

TEXT = (ROOT / "golden" / "face_detect" / "task.toml").read_text(encoding="utf-8")


def written(folder: Path, text: str) -> Path:
    (folder / "labels.txt").write_text("face\n", encoding="utf-8")
    path = folder / "task.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "two_stage_faces"', 'kind = "faces"', "kind is 'faces'"),
        ("iou = 0.9", "iou = 9", "thresholds.iou is 9"),
        ("score = 0.02", "skore = 0.02", "thresholds.score is missing"),
        ("top = 10", "top = 10\nbottom = 1", "decode.bottom is not a key"),
        ("std = [1, 1, 1]", "std = [1, 0, 1]", "std must be positive"),
        ("mean = [0, 0, 0]", "mean = [0, 0]", "three numbers"),
        ('esp32s3 = "ab7', 'esp32s3 = "', "a SHA-256 of 64 digits"),
        ("esp32s3 =", "esp32x =", "not a numeric family"),
        ("stride = 8", "stride = 0", "stages\\[0\\].stride is 0"),
        ("QVGA = 15.2", "QVAG = 15.2", "not a frame size"),
        ('labels = "labels.txt"', 'labels = "names.txt"', "labels cannot be read"),
        ('kind = "two_stage_faces"', 'kind = "recognition"', "decode is not a key|detector is ''"),
    ],
)
def test_a_wrong_task_toml_is_refused_with_the_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    parse(written(tmp_path, TEXT))
    assert old in TEXT
    with pytest.raises(ConfigError, match=message):
        parse(written(tmp_path, TEXT.replace(old, new, 1)))


def test_the_six_tasks_are_declared_and_their_pictures_exist() -> None:
    assert tasks.names() == ("cat", "coco", "face_detect", "face_recognize", "imagenet", "pedestrian")
    for name in tasks.names():
        spec = tasks.read_spec(name)
        assert set(spec.golden) <= set(pictures.names())
        assert all(set(network.sha256) == {"esp32s3", "esp32p4"} for network in spec.networks.values())
    assert len(tasks.read_spec("imagenet").labels) == 1000
    assert len(set(tasks.read_spec("coco").labels)) == 80


def test_older_versions_of_esp_dl_lie_over_the_newest_part_by_part() -> None:
    newest = tasks.read_spec("cat")
    older = newest.of_espdl("3.1.5")
    assert newest.of_espdl("") is newest.of_espdl("3.3.9") is newest
    assert older is newest.of_espdl("3.1")
    assert (older.espdl, newest.espdl) == ("3.1", "")
    assert (older.decode.score, newest.decode.score) == (0.25, 0.6)
    assert older.decode.stages == newest.decode.stages
    preprocessing = older.networks["espdet_224"].preprocessing
    assert (preprocessing.letterbox, preprocessing.resize) == (None, "nearest_half")
    assert newest.networks["espdet_224"].preprocessing.letterbox == (114, 114, 114)
    assert older.networks["espdet_224"].sha256 != newest.networks["espdet_224"].sha256
    # not written again: what did not change
    assert older.golden["black"] == newest.golden["black"]


def test_a_misspelt_key_of_an_older_version_is_refused_where_it_stands(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"espdl\.3\.1\.network\.msr\.resise"):
        parse(written(tmp_path, TEXT.replace("msr = { resize", "msr = { resise")))


def test_an_unknown_task_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownModel, match="did you mean 'face_detect'"):
        tasks.read_spec("face_detekt")


@pytest.mark.parametrize(
    "place",
    [
        "esp32s3/n.espdl",
        "s3/n.espdl",
        "n.espdl",
        "espressif__x/models/s3/n.espdl",
        "models/x/models/s3/n.espdl",
        "3.1.5/esp32s3/n.espdl",
        "esp-dl-3.1.5/models/x/models/s3/n.espdl",
    ],
)
def test_a_file_is_found_where_people_have_it(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert find_file(tmp_path, "n.espdl", "esp32s3", digest, "espressif/x 1") == path


def test_a_missing_file_names_its_component_and_another_one_is_refused(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(ConfigError, match=r"no n\.espdl for esp32s3 .* espressif/x 1"):
        find_file(tmp_path, "n.espdl", "esp32s3", digest, "espressif/x 1")
    (tmp_path / "n.espdl").write_bytes(b"newer weights")
    with pytest.raises(GoldenError, match="is not the file that is expected"):
        find_file(tmp_path, "n.espdl", "esp32s3", digest, "espressif/x 1")


def test_the_right_file_is_taken_though_another_of_that_name_comes_first(tmp_path: Path) -> None:
    (tmp_path / "esp32s3").mkdir()
    (tmp_path / "esp32s3" / "n.espdl").write_bytes(b"other")
    (tmp_path / "n.espdl").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert find_file(tmp_path, "n.espdl", "esp32s3", digest, "x").parent == tmp_path


def test_without_a_zoo_it_is_said_what_to_give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HIL_ZOO", raising=False)
    with pytest.raises(ConfigError, match=r"give --zoo DIR \(pytest: --hil-zoo DIR\) or HIL_ZOO"):
        tasks.zoo_folder(None)
    with pytest.raises(ConfigError, match="is not a folder"):
        tasks.zoo_folder(tmp_path / "nowhere")
    monkeypatch.setenv("HIL_ZOO", str(tmp_path))
    assert tasks.zoo_folder(None) == tmp_path


def test_every_network_stands_beside_its_published_latencies() -> None:
    for name in tasks.names():
        for key, network in tasks.read_spec(name).networks.items():
            assert published_of(f"{name}-{key}", "esp32s3", "espdl", network.macs), (name, key)
