"""`hil task` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from esp_hil.cli import main
from tests.tasks.test_clean_clone import folders  # noqa: F401 - a fixture
from tests.tasks.test_tasks import zoo

PICTURES = ("skimage", "matplotlib", "mahotas")


def hil(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["task", *words])
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.fixture
def red(tmp_path: Path) -> str:
    from PIL import Image as Pillow

    path = tmp_path / "red.png"
    Pillow.new("RGB", (32, 24), (230, 10, 10)).save(path)
    return str(path)


def test_a_picture_is_named(
    folders: tuple[Path, Path],  # noqa: F811 - the fixture
    red: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    golden, zoo_ = folders
    monkeypatch.setenv("HIL_GOLDEN", str(golden))
    saved, dump = tmp_path / "out.png", tmp_path / "dump"
    status, out, _ = hil(capsys, "colour", red, "--zoo", str(zoo_), "--save", str(saved), "--dump", str(dump))
    assert status == 0
    assert "red" in out.splitlines()[1]
    assert saved.is_file()
    assert (dump / "red" / "002_colour.input.npy").is_file()
    status, out, _ = hil(
        capsys, "colour", red, "--zoo", str(zoo_), "--json", "--format", "YUYV", "--size", "QVGA"
    )
    answer = json.loads(out)
    assert (status, answer["labels"][0]["name"], answer["width"]) == (0, "red", 320)


def test_frames_are_timed_at_every_size(
    folders: tuple[Path, Path],  # noqa: F811 - the fixture
    red: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    golden, zoo_ = folders
    monkeypatch.setenv("HIL_GOLDEN", str(golden))
    table = tmp_path / "rows.csv"
    status, out, _ = hil(capsys, "colour", red, "--zoo", str(zoo_), "--frames", "--csv", str(table))
    assert status == 0
    assert "while the frame grows 56 times" in out
    lines = table.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 12 * 4
    assert any(line.startswith("colour,HD,1280,720,yuyv,1843200,") for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cats", "x.png"], "no task 'cats' (did you mean 'cat'?"),
        (["cat"], "no picture given"),
        (["cat", "a.png", "b.png", "--save", "c.png"], "--save draws one picture"),
        (["cat", "x.png"], "give --zoo DIR (pytest: --hil-zoo DIR) or HIL_ZOO"),
        (["cat", "x.png", "--zoo", "nowhere"], "zoo nowhere is not a folder"),
    ],
)
def test_wrong_words_are_answered_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIL_ZOO", raising=False)
    status, _, err = hil(capsys, *words)
    assert status != 0
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.png"], "missing.png cannot be read"),
        (["@nobody"], "no picture 'nobody'"),
        (["@black", "--format", "rgb444"], "--format rgb444"),
        (["@black", "--size", "big"], "--size big"),
        (["@black", "--target", "esp32c3"], "not made for esp32c3"),
        (["@black", "--variant", "espdet_512"], "no variant 'espdet_512'"),
    ],
)
def test_wrong_pictures_are_answered_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = hil(capsys, "cat", *words, "--zoo", str(zoo()))
    assert status != 0
    assert message in err


def test_tasks_and_pictures_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = hil(capsys, "list")
    assert "face_detect" in out
    assert "espressif/cat_detect" in out
    _, out, _ = hil(capsys, "cat", "@list")
    assert "@two_faces" in out.split()


def test_several_faces_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    for package in PICTURES:
        pytest.importorskip(package)
    status, out, err = hil(capsys, "face_recognize", "@astronaut", "@admiral", "--zoo", str(zoo()))
    if "no human_face_feat" in err:
        pytest.skip(err)
    assert status == 0
    assert "above 0.5: the same person" in out
    assert out.splitlines()[-1].split()[1:] == ["1.000", "@admiral"]


def test_what_an_update_of_esp_dl_changes_is_a_table_of_the_golden_pictures(
    folders: tuple[Path, Path],  # noqa: F811 - the fixture
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    golden, zoo_ = folders
    monkeypatch.setenv("HIL_GOLDEN", str(golden))
    status, out, err = hil(capsys, "colour", "--update-from", "3.1.5", "--zoo", str(zoo_))
    assert (status, out) == (2, "")
    assert "colour is the same in ESP-DL 3.1.5 and newest" in err
    description = golden / "colour" / "task.toml"
    older = '\n[espdl."3.1".network.colour]\nmean = [0, 0, -255]\n'
    description.write_text(description.read_text(encoding="utf-8") + older, encoding="utf-8")
    status, out, _ = hil(capsys, "all", "--update-from", "3.1.5", "--zoo", str(zoo_))
    assert status == 0
    assert ": 1 of 1 answered otherwise" in out
    (row,) = [line for line in out.splitlines() if line.startswith("| black")]
    assert row.split(" | ")[1].startswith("blue")
    assert row.endswith("| no |")
    # no version against itself, and no pictures of one's own
    assert hil(capsys, "all", "--update-from", "3.1.5", "--espdl", "3.1", "--zoo", str(zoo_))[0] != 0
    assert hil(capsys, "colour", "x.png", "--update-from", "3.1.5", "--zoo", str(zoo_))[0] != 0
