"""ESP-DL's binding under MicroPython: its six classes on a board against the tasks on the exact reference."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from esp_hil import tasks
from esp_hil.errors import (
    ConfigError,
    DeviceReset,
    FormatError,
    HilError,
    InputError,
    LinkClosed,
    ScriptFailed,
)
from esp_hil.micropython import face_database
from esp_hil.micropython.bindings import BINDINGS
from esp_hil.micropython.boards import Opened, opened
from esp_hil.micropython.driver import MicroPythonBoard
from esp_hil.micropython.faults import Findings, embeddings, explanations
from esp_hil.micropython.firmware import ALIASES
from esp_hil.micropython.picture import Jpeg
from esp_hil.micropython.record import PictureRecord
from esp_hil.micropython.virtual import missing
from esp_hil.micropython.virtual.quirks import named
from esp_hil.plugin import options_of
from esp_hil.targets import target
from esp_hil.tasks import Image, PixelFormat, Recognizer, Results, Task, pictures
from esp_hil.tasks.match import match

CLASSES = {
    "FaceDetector": "face_detect",
    "FaceRecognizer": "face_recognize",
    "HumanDetector": "pedestrian",
    "CatDetector": "cat",
    "COCODetector": "coco",
    "ImageNet": "imagenet",
}
KNOWN, STRANGER = ("astronaut", "admiral"), "author"
CHANGES = ("mirrored", "turned", "scaled", "dark")
DATABASE = "/face.db"
META_BYTES, RECORD_BYTES = 6, 2082
FRAMES = ("QQVGA", "QVGA", "VGA", "HD")
# of single times under other load; a network that saw the frame would need 48 times as long
ALLOWED_SPREAD = 8.0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test once for each chip."""
    if "chip" not in metafunc.fixturenames:
        return
    try:
        chips = [target(name).name for name in options_of(metafunc.config).targets]
        if not chips:
            raise ConfigError("the suite needs to know which chip to test", hint="pytest --target esp32s3")
    except HilError as error:
        raise pytest.UsageError(str(error)) from None
    metafunc.parametrize("chip", chips, scope="session")


@pytest.fixture(scope="session")
def zoo(request: pytest.FixtureRequest) -> Path:
    try:
        return tasks.zoo_folder(options_of(request.config).zoo)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def hand(chip: str, zoo: Path, request: pytest.FixtureRequest) -> Iterator[Opened]:
    options = options_of(request.config)
    if options.board == "virtual" and (why := missing()):
        pytest.skip(why)
    made = opened(
        target(chip),
        board=options.board,
        port=options.port,
        baud=options.baud,
        zoo=zoo,
        quirks=options.micropython_quirks,
        image=options.micropython_image,
        binding=options.micropython_binding,
        usb=options.micropython_usb,
        wait_s=options.wait_s,
    )
    yield made
    made.board.close()


@pytest.fixture(scope="session")
def findings(hand: Opened, request: pytest.FixtureRequest) -> Iterator[Findings]:
    """What was seen of the binding's own faults; at the end a page that can be sent upstream."""
    made = Findings()
    yield made
    if not made.rows:
        return
    folder = options_of(request.config).results
    path = made.write(folder, hand.board.firmware)
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.write_line(f"\n{len(made.rows)} known faults of the binding were seen: {path}")


@pytest.fixture
def board(hand: Opened) -> MicroPythonBoard:
    return hand.board


@pytest.fixture(params=CLASSES)
def name(request: pytest.FixtureRequest, board: MicroPythonBoard) -> str:
    """A class of the binding; skipped where the firmware was built without it."""
    found: str = request.param
    return _there(board, found)


def _there(board: MicroPythonBoard, name: str) -> str:
    if board.firmware.has(name):
        return name
    known = BINDINGS.get(board.firmware.binding)
    if known is not None and ALIASES.get(name, name) not in known.classes:
        pytest.skip(f"the binding at {known.name} has no {name} yet")
    pytest.skip(f"the firmware has no {name} (a virtual board: no weights of it in the zoo)")


@pytest.fixture
def recognizer(board: MicroPythonBoard) -> MicroPythonBoard:
    """A board that recognises, with an empty database."""
    _there(board, "FaceRecognizer")
    board.remove_file(DATABASE)
    board.reload_models()
    return board


_TASKS: dict[tuple[str, Path, str, str], Task] = {}


def _task(board: MicroPythonBoard, name: str, zoo: Path, chip: str) -> Task:
    """The task with the weights and ways of the ESP-DL that the binding is built with."""
    return _task_of(CLASSES[name], zoo, chip, board.firmware.espdl)


def _task_of(name: str, zoo: Path, chip: str, espdl: str) -> Task:
    key = (name, zoo, chip, espdl)
    if key not in _TASKS:
        _TASKS[key] = tasks.load(name, zoo, chip, espdl=espdl)
    return _TASKS[key]


_ANSWERED: dict[tuple[MicroPythonBoard, str, str], PictureRecord] = {}


def _answered(board: MicroPythonBoard, name: str, picture: str) -> PictureRecord:
    """What the board answered to a golden picture; asked once, read by many tests."""
    key = (board, name, picture)
    if key not in _ANSWERED:
        _ANSWERED[key] = board.run(name, _photograph(picture))
    return _ANSWERED[key]


_WANTED: dict[tuple[str, str, str, str], Results] = {}


def _wanted(board: MicroPythonBoard, name: str, zoo: Path, chip: str, picture: str) -> Results:
    """What the exact reference answers; without the embedding, which the binding does not give."""
    key = (name, chip, picture, board.firmware.espdl)
    if key not in _WANTED:
        answer = _task(board, name, zoo, chip).run(pictures.picture(picture))
        _WANTED[key] = replace(answer, embedding=None)
    return _WANTED[key]


def _jpeg(image: Image, quality: int = 95) -> Jpeg:
    from PIL import Image as Pillow

    made = io.BytesIO()
    Pillow.fromarray(image.rgb()).save(made, "JPEG", quality=quality)
    return Jpeg.of(made.getvalue())


def _photograph(name: str) -> Image:
    return pictures.picture(name)


def _problems(name: str, task: Task, record: PictureRecord, wanted: Results) -> list[str]:
    found = match(_comparable(record, wanted), wanted, task.spec.thresholds).problems
    return [f"{name}: {problem}" for problem in found]


def _comparable(record: PictureRecord, wanted: Results) -> Results:
    got = replace(record.results, task=wanted.task)
    if got.labels:
        # two of ImageNet's classes share a name, so that the name alone is compared
        got = replace(got, labels=tuple(replace(one, index=_index(one.name, wanted)) for one in got.labels))
    return got


def _explained(
    board: MicroPythonBoard, name: str, zoo: Path, chip: str, *, image: Image, record: PictureRecord
) -> list[str]:
    """Which known fault answers so, if one does: it is tried on the exact reference."""
    task = _task(board, name, zoo, chip)
    for quirk, answer in explanations(
        task, image, lambda espdl: _task_of(CLASSES[name], zoo, chip, espdl), board.firmware.espdl
    ):
        wanted = replace(answer, embedding=None)
        if not match(_comparable(record, wanted), wanted, task.spec.thresholds).problems:
            return [f"this is how a board answers with {named(quirk)}"]
    return []


def _index(name: str, wanted: Results) -> int:
    return next((label.index for label in wanted.labels if label.name == name), -1)


def _fail(wrong: list[str]) -> None:
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


# the six classes


def test_golden_pictures_are_answered_as_by_the_exact_reference(
    board: MicroPythonBoard, name: str, zoo: Path, chip: str
) -> None:
    """Boxes by overlap, landmarks by pixels, scores, the best class; nothing found is an empty answer."""
    task, wrong = _task(board, name, zoo, chip), list[str]()
    for picture in task.spec.golden:
        record = _answered(board, name, picture)
        found = _problems(picture, task, record, _wanted(board, name, zoo, chip, picture))
        if found and not wrong:
            found += _explained(board, name, zoo, chip, image=_photograph(picture), record=record)
        wrong += found
    _fail(wrong)


def test_what_is_in_the_picture_is_found(board: MicroPythonBoard, name: str, zoo: Path, chip: str) -> None:
    """The astronaut's face is found, the cat is a cat and no human."""
    task, wrong = _task(board, name, zoo, chip), list[str]()
    for picture, wanted in task.spec.golden.items():
        results = _answered(board, name, picture).results
        found = [one.name or "face" for one in results.detections]
        if task.spec.kind == "classification":
            found = [label.name for label in results.labels[:1]]
        if sorted(found) != sorted(wanted):
            wrong.append(f"{picture}: {found or 'nothing'} found, {list(wanted) or 'nothing'} expected")
    _fail(wrong)


def test_repeated_runs_answer_the_same(board: MicroPythonBoard, name: str, zoo: Path, chip: str) -> None:
    picture = next(iter(_task(board, name, zoo, chip).spec.golden))
    assert board.run(name, _photograph(picture), runs=3).differ == 0


def test_loading_a_network_is_told_apart_from_running_it(board: MicroPythonBoard, name: str) -> None:
    """The first picture pays for it and says so; the times of its runs and of the next picture do not hold it."""
    board.reload_models()
    first, second = (board.run(name, _photograph(picture)) for picture in ("cat", "cat"))
    assert first.load_us > 0
    assert second.load_us == 0


def test_landmarks_can_be_left_out(board: MicroPythonBoard) -> None:
    found = board.run(_there(board, "FaceDetector"), _photograph("astronaut"), features=False)
    assert [one.landmarks for one in found.results.detections] == [()]


# pictures


@pytest.mark.parametrize("pixel_format", ["rgb888", "rgb565le", "rgb565be"])
def test_each_pixel_format_gives_the_same_faces(
    board: MicroPythonBoard, zoo: Path, chip: str, pixel_format: PixelFormat
) -> None:
    """The exact reference reads the same bytes: the wrong byte order would be silently bad detections."""
    image = _photograph("two_faces").to(pixel_format)
    task = _task(board, _there(board, "FaceDetector"), zoo, chip)
    try:
        board.firmware.constant(pixel_format)
    except InputError as error:
        pytest.skip(str(error))
    record = board.run("FaceDetector", image)
    found = _problems("two_faces", task, record, task.run(image))
    _fail(found + (_explained(board, "FaceDetector", zoo, chip, image=image, record=record) if found else []))


def test_a_jpeg_is_decoded_on_the_board(board: MicroPythonBoard, zoo: Path, chip: str) -> None:
    task, jpeg = _task(board, _there(board, "FaceDetector"), zoo, chip), _jpeg(_photograph("two_faces"))
    if not board.firmware.has_jpeg:
        pytest.skip("the firmware has no module jpeg")
    record = board.run("FaceDetector", jpeg)
    thresholds = replace(task.spec.thresholds, score=0.05)
    wanted = task.run(Image.of_file(jpeg.data))
    assert match(record.results, wanted, thresholds).problems == ()
    assert record.decode_us != (0,) or board.firmware.kind == "virtual"


def test_a_damaged_jpeg_does_not_spoil_the_next_one(board: MicroPythonBoard) -> None:
    """A decoder object that failed fails again at the next picture of the same length: the driver takes a new one."""
    name = _there(board, "FaceDetector")
    if not board.firmware.has_jpeg:
        pytest.skip("the firmware has no module jpeg")
    jpeg = _jpeg(_photograph("admiral"))
    damaged = replace(jpeg, data=jpeg.data[:2] + b"\0" * (len(jpeg.data) - 2))
    with pytest.raises(HilError):
        board.run(name, damaged)
    assert board.run(name, jpeg).results.detections


def test_a_gray_frame_is_refused(board: MicroPythonBoard) -> None:
    """ESP-DL has no conversion from gray to RGB: whatever a network said of such a frame would be noise."""
    gray = Image(width=320, height=240, format="gray", data=bytes(320 * 240))
    with pytest.raises(InputError, match="gray"):
        board.run(_there(board, "FaceDetector"), gray)


def test_a_frame_of_the_wrong_size_is_refused(board: MicroPythonBoard) -> None:
    name = board.firmware.class_of(_there(board, "FaceDetector"))
    board.upload(bytes(100))
    with pytest.raises(InputError, match="bytes are not those"):
        board._said(f"_hil_run({name!r}, {{'width': 64, 'height': 64}}, '', 1)")


def test_an_upload_arrives_as_it_was_sent(board: MicroPythonBoard) -> None:
    """Every value of a byte, control characters of the REPL too, more than any buffer on the way holds."""
    data = bytes(range(256)) * 300 + b"\x03\x04\x01" * 100
    assert board.upload(data).bytes == len(data)
    assert board._script("print(_hil_data[:256] == bytes(range(256)), len(_hil_data))").split() == [
        b"True",
        str(len(data)).encode(),
    ]


# the network's time


def test_the_time_of_the_network_does_not_depend_on_the_frame(board: MicroPythonBoard) -> None:
    """A frame is scaled to the network's input first: what grows with it is decoding and scaling."""
    photograph = _photograph("astronaut").rgb()
    least: dict[str, int] = {}
    for frame in FRAMES:
        image = Image.of_rgb(pictures.scaled(photograph, *tasks.FRAMES[frame]))
        record = board.run(_there(board, "FaceDetector"), image, runs=5)
        faces = len(record.results.detections)
        if not record.phases_us:
            pytest.skip("this firmware does not tell its phases apart; `hil fps` derives them")
        # one run of the second stage for each candidate; the least of several runs is free of other load
        least[frame] = min(round(phases["network"] / phases["inferences"]) for phases in record.phases_us[1:])
        assert faces == 1, frame
    spread = max(least.values()) / min(least.values())
    assert spread < ALLOWED_SPREAD, f"{least}: {named('frame_size_counts')}"


# recognition


def _enroll(board: MicroPythonBoard, names: tuple[str, ...] = KNOWN) -> None:
    for number, name in enumerate(names, start=1):
        # pictures of another size make another object, which reads the database anew
        found = board.enroll(_photograph(name), name)
        assert found == number, f"{name} is number {found}, not {number}: {named('forgets')}"


def _database(board: MicroPythonBoard) -> face_database.FaceDatabase:
    return face_database.parse(board.read_file(DATABASE), length=512, flavour="binding")


def test_known_faces_are_recognised_and_a_stranger_is_not(recognizer: MicroPythonBoard) -> None:
    _enroll(recognizer)
    for number, name in enumerate(KNOWN, start=1):
        for change in CHANGES:
            (person,) = recognizer.run("FaceRecognizer", _photograph(f"{name}_{change}")).people
            assert person is not None, f"{name}_{change}"
            assert (person.id, person.name) == (number, name)
    for picture in (STRANGER, *(f"{STRANGER}_{change}" for change in CHANGES)):
        people = recognizer.run("FaceRecognizer", _photograph(picture)).people
        assert people == (None,), f"{picture}: a stranger is known: {named('everybody_known')}"


def _embedding(board: MicroPythonBoard, task: Task, image: Image) -> NDArray[np.float32]:
    """The embedding that a board of this binding puts into its database."""
    assert isinstance(task, Recognizer)
    ((_, values),) = embeddings(task, image, board.firmware.quirks)
    return values


def test_the_database_has_the_embedding_of_the_exact_reference(
    recognizer: MicroPythonBoard, zoo: Path, chip: str, findings: Findings
) -> None:
    _enroll(recognizer)
    assert len(recognizer.read_file(DATABASE)) == META_BYTES + len(KNOWN) * RECORD_BYTES
    task = _task(recognizer, "FaceRecognizer", zoo, chip)
    for face, name in zip(_database(recognizer).faces, KNOWN, strict=True):
        assert face.name == name
        right = task.run(_photograph(name)).embedding
        assert right is not None
        if tasks.cosine(face.feature, right.values) >= task.spec.thresholds.cosine:
            continue
        wanted = _embedding(recognizer, task, _photograph(name))
        similar = tasks.cosine(face.feature, wanted)
        assert similar >= task.spec.thresholds.cosine, f"{name}: cosine {similar:.3f}"
        cosine = tasks.cosine(face.feature, right.values)
        findings.saw(
            "rgb_features", f"the embedding has a cosine of {cosine:.3f} with the right one of {name}"
        )


@pytest.mark.parametrize("model", ["MFN", "MBF"])
def test_either_network_for_features_can_be_chosen(
    recognizer: MicroPythonBoard, zoo: Path, chip: str, model: str
) -> None:
    if "one_features_network" in recognizer.firmware.quirks:
        pytest.skip("FaceRecognizer of this binding has no `model`: its images have one network for features")
    try:
        task = tasks.load("face_recognize", zoo, chip, variant=model.lower(), espdl=recognizer.firmware.espdl)
    except ConfigError as error:
        pytest.skip(str(error))
    try:
        recognizer.enroll(_photograph("admiral"), "admiral", model=model)
    except ScriptFailed as error:
        if error.exception != "TypeError":
            raise
        pytest.skip("FaceRecognizer of this image has no `model`: it was built with one network for features")
    (face,) = _database(recognizer).faces
    wanted = _embedding(recognizer, task, _photograph("admiral"))
    assert tasks.cosine(face.feature, wanted) >= task.spec.thresholds.cosine


def _two_faces(board: MicroPythonBoard, zoo: Path, chip: str) -> Image:
    """A picture in which the reference finds both: ESP-DL 3.1 misses one of them in the first."""
    task = _task(board, "FaceDetector", zoo, chip)
    for name in ("two_faces", "two_faces_mirrored"):
        image = _photograph(name)
        if len(task.run(image).detections) == 2:
            return image
    raise AssertionError("the reference finds two faces in neither picture")


def test_of_two_faces_none_or_the_larger_is_enrolled(
    recognizer: MicroPythonBoard, zoo: Path, chip: str
) -> None:
    """The binding refuses; ESP-DL takes the largest. Whoever takes the smaller one enrols the wrong person."""
    try:
        recognizer.enroll(_two_faces(recognizer, zoo, chip), "larger")
    except ScriptFailed as error:
        refused = error.message
    else:
        refused = ""
    if refused:
        assert "one face" in refused
        return
    # the larger face of that picture is the admiral's
    (person,) = recognizer.run("FaceRecognizer", _photograph("admiral")).people
    assert person is not None, f"the smaller face was enrolled: {named('smallest_face')}"
    assert person.name == "larger"


def test_each_of_two_faces_is_recognised_for_itself(
    recognizer: MicroPythonBoard, zoo: Path, chip: str
) -> None:
    _enroll(recognizer)
    record = recognizer.run("FaceRecognizer", _two_faces(recognizer, zoo, chip))
    people = zip(record.results.detections, record.people, strict=True)
    by_size = sorted(people, key=lambda row: -row[0].area)
    assert [person.name if person else None for _, person in by_size] == ["admiral", "astronaut"]


def test_a_face_that_is_enrolled_is_refused_with_validate(recognizer: MicroPythonBoard) -> None:
    _enroll(recognizer, KNOWN[:1])
    again = recognizer.enroll(_photograph(KNOWN[0]), "again", validate=True)
    assert again is None, f"enrolled as {again}: {named('ignores_validate')}"
    assert len(_database(recognizer).records) == 1


def test_a_picture_without_a_face_cannot_be_enrolled(recognizer: MicroPythonBoard) -> None:
    with pytest.raises(ScriptFailed, match="No face"):
        recognizer.enroll(_photograph("cat"), "cat")


def test_a_name_that_the_binding_would_cut_is_refused(recognizer: MicroPythonBoard) -> None:
    with pytest.raises(InputError, match="31"):
        recognizer.enroll(_photograph(KNOWN[0]), "x" * 32)
    recognizer.enroll(_photograph(KNOWN[0]), "x" * 31)
    assert _database(recognizer).faces[0].name == "x" * 31, named("cuts_names")


def test_a_deleted_face_stays_away(recognizer: MicroPythonBoard) -> None:
    _enroll(recognizer)
    recognizer.delete_face(1, **_size(KNOWN[1]))
    try:
        left = [face.id for face in _database(recognizer).records]
    except FormatError as error:
        # it counts the face no longer, but has its record
        pytest.fail(f"{error}; {named('delete_keeps')}", pytrace=False)
    assert left == [0, 2], named("delete_keeps")
    recognizer.reset()
    assert recognizer.run("FaceRecognizer", _photograph(KNOWN[0])).people == (None,)
    (person,) = recognizer.run("FaceRecognizer", _photograph(KNOWN[1])).people
    assert person is not None
    assert person.id == 2
    with pytest.raises(ScriptFailed):
        recognizer.delete_face(1, **_size(KNOWN[1]))


def _size(picture: str) -> dict[str, int]:
    image = _photograph(picture)
    return {"width": image.width, "height": image.height}


@pytest.mark.parametrize("how", ["hard reset", "soft reset", "power cycle"])
def test_the_database_survives(recognizer: MicroPythonBoard, hand: Opened, how: str) -> None:
    _enroll(recognizer)
    before = recognizer.read_file(DATABASE)
    if how == "power cycle":
        if hand.machine is None:
            pytest.skip("nothing here can cut the power of this board")
        hand.machine.power_cycle()
        recognizer.reconnect()
    else:
        recognizer.reset(hard=how == "hard reset")
    assert recognizer.read_file(DATABASE) == before
    assert len(before) == META_BYTES + len(KNOWN) * RECORD_BYTES, named("forgets")
    (person,) = recognizer.run("FaceRecognizer", _photograph("admiral_scaled")).people
    assert person is not None
    assert person.name == "admiral"


@pytest.mark.parametrize("written_bytes", [3, 6, 7, 300, RECORD_BYTES])
def test_a_database_is_whole_or_mendable_after_lost_power(
    recognizer: MicroPythonBoard, hand: Opened, written_bytes: int
) -> None:
    """The power goes in the middle of the third enrolment; the two faces before it are not lost."""
    if hand.machine is None:
        pytest.skip("nothing here can cut the power of this board")
    _enroll(recognizer)
    before = recognizer.read_file(DATABASE)
    hand.machine.cut_power_after(written_bytes)
    with pytest.raises(HilError):
        recognizer.enroll(_photograph(STRANGER), STRANGER)
    recognizer.reconnect()
    torn = recognizer.read_file(DATABASE)
    if torn != before:
        # a file system that takes each write at once; LittleFS keeps the old file until the new one is closed
        with pytest.raises(HilError) as told:
            face_database.parse(torn, length=512, flavour="binding")
        assert "mend" in told.value.hint
        torn = face_database.mend(torn).to_bytes()
        recognizer.write_file(DATABASE, torn)
        recognizer.reload_models()
    left = face_database.parse(torn, length=512, flavour="binding")
    assert [face.name for face in left.faces] == list(KNOWN)
    assert recognizer.enroll(_photograph(STRANGER), STRANGER) == 3
    for number, name in enumerate((*KNOWN, STRANGER), start=1):
        (person,) = recognizer.run("FaceRecognizer", _photograph(name)).people
        assert person is not None, name
        assert person.id == number


def test_another_database_has_another_name(recognizer: MicroPythonBoard) -> None:
    recognizer.remove_file("/other.db")
    assert recognizer.enroll(_photograph("admiral"), "admiral", db_path="other.db") == 1
    assert len(recognizer.read_file("/other.db")) == META_BYTES + RECORD_BYTES
    assert recognizer.run("FaceRecognizer", _photograph("admiral")).people == (None,)
    recognizer.remove_file("/other.db")


def test_a_database_in_a_folder_that_is_not_there_is_an_error_of_the_constructor(
    recognizer: MicroPythonBoard,
) -> None:
    with pytest.raises(ScriptFailed, match="OSError"):
        recognizer.enroll(_photograph("admiral"), "admiral", db_path="nowhere/face.db")


def test_a_database_with_features_of_another_length_takes_no_face(recognizer: MicroPythonBoard) -> None:
    recognizer.write_file(DATABASE, face_database.FaceDatabase(flavour="binding", length=128).to_bytes())
    recognizer.reload_models()
    with pytest.raises(ScriptFailed, match="Failed to enroll"):
        recognizer.enroll(_photograph("admiral"), "admiral")


@pytest.mark.parametrize("free_bytes", [3, 7, 300])
def test_a_full_file_system_is_an_error_and_the_faces_before_are_not_lost(
    recognizer: MicroPythonBoard, hand: Opened, free_bytes: int
) -> None:
    """The binding writes the header first: what is left is the old database, or a torn one that can be mended."""
    if hand.machine is None:
        pytest.skip("nothing here can fill the file system of this board")
    _enroll(recognizer)
    hand.machine.leave_free(free_bytes)
    try:
        with pytest.raises(ScriptFailed, match="OSError"):
            recognizer.enroll(_photograph(STRANGER), STRANGER)
    finally:
        hand.machine.leave_free(None)
    recognizer.reset()
    left = face_database.mend(recognizer.read_file(DATABASE))
    assert [face.name for face in left.faces] == list(KNOWN)


def test_a_database_made_here_is_read_by_the_board(
    recognizer: MicroPythonBoard, zoo: Path, chip: str
) -> None:
    made = face_database.FaceDatabase(flavour="binding")
    for name in KNOWN:
        found = _embedding(recognizer, _task(recognizer, "FaceRecognizer", zoo, chip), _photograph(name))
        made = made.enrolled(np.asarray(found), name)
    recognizer.write_file(DATABASE, made.to_bytes())
    (person,) = recognizer.run("FaceRecognizer", _photograph("admiral_mirrored")).people
    assert person is not None
    assert (person.id, person.name) == (2, "admiral")


# failures


@pytest.mark.parametrize("operation", ["run", "decode", "store", "close", "recognize"])
def test_a_panic_is_noticed_and_the_board_is_used_again(
    recognizer: MicroPythonBoard, hand: Opened, operation: str
) -> None:
    """Whatever the chip was doing: the error says that it restarted, and the next call finds it ready."""
    if hand.machine is None:
        pytest.skip("nothing here can make this board panic")
    if operation == "decode" and not recognizer.firmware.has_jpeg:
        pytest.skip("the firmware has no module jpeg")
    image = _photograph("admiral")
    calls: dict[str, Callable[[], object]] = {
        "decode": lambda: recognizer.run("FaceDetector", _jpeg(image)),
        "run": lambda: recognizer.run("FaceDetector", image),
    }
    call = calls.get(operation, lambda: recognizer.enroll(image, "admiral"))
    hand.machine.panic_at(operation)
    with pytest.raises((DeviceReset, LinkClosed)):
        call()
    assert [person for person in recognizer.run("FaceRecognizer", image).people] == [None]


def test_a_network_that_the_image_does_not_have_is_noticed(
    board: MicroPythonBoard, findings: Findings
) -> None:
    name = _there(board, "COCODetector")
    try:
        board.run(name, _photograph("cat"), model=99)
    except (DeviceReset, LinkClosed):
        findings.saw("panics", "a network that is not in the image: the chip restarted")
    except (ScriptFailed, InputError):
        pass
    assert board.run(name, _photograph("cat")).results.detections
