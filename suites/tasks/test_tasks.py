"""Detection, recognition and classification with the networks on a board, pre- and postprocessing here."""

from __future__ import annotations

import pytest

from esp_hil import tasks
from esp_hil.errors import ConfigError, GoldenError, HilError
from esp_hil.plugin import PROBLEM, options_of
from esp_hil.session.session import Session
from esp_hil.session.task_runs import TaskMeasured, TaskMeasurement, combination
from esp_hil.targets import target
from esp_hil.tasks import Task, cosine, pictures

Case = tuple[str, str]
_RESULTS = pytest.StashKey[dict[Case, TaskMeasured | HilError]]()
KNOWN, STRANGER = ("astronaut", "admiral"), "author"
CHANGES = ("mirrored", "turned", "scaled", "dark")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test once for each chip and each task that the test is about."""
    if "task_case" not in metafunc.fixturenames:
        return
    there = tasks.names()
    try:
        options = options_of(metafunc.config)
        chips = [target(name).name for name in options.targets]
        if not chips:
            raise ConfigError("the tasks need to know which chip to test", hint="pytest --target esp32s3")
    except HilError as error:
        # said once for all suites, when all tests are collected
        metafunc.config.stash.setdefault(PROBLEM, error)
        metafunc.parametrize("task_case", (), scope="session")
        return
    wanted = [name for name in there if not options.models or name in options.models]
    if "recognizer" in metafunc.fixturenames:
        wanted = [name for name in wanted if tasks.read_spec(name).kind == "recognition"]
    if not wanted:
        why = f"--hil-model names no such task; there are: {', '.join(there)}"
        none = pytest.param(None, marks=pytest.mark.skip(reason=why))
        metafunc.parametrize("task_case", [none], ids=["none"], scope="session")
        return
    cases = [(name, chip) for chip in chips for name in wanted]
    ids = [f"{name}-{chip}" for name, chip in cases]
    metafunc.parametrize("task_case", cases, ids=ids, scope="session")


@pytest.fixture(scope="session")
def task(task_case: Case, request: pytest.FixtureRequest) -> Task:
    """The task with its weights; skips where they were not given."""
    name, chip = task_case
    try:
        return tasks.load(name, tasks.zoo_folder(options_of(request.config).zoo), chip)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def recognizer(task: Task) -> Task:
    """The task, for tests that are about recognition."""
    return task


@pytest.fixture(scope="session")
def measured(
    task: Task, task_case: Case, hil_session: Session, request: pytest.FixtureRequest
) -> TaskMeasured:
    """What the task gave on the board; measured once."""
    results = request.config.stash.setdefault(_RESULTS, {})
    if task_case not in results:
        results[task_case] = _measure(task, task_case[1], hil_session)
    result = results[task_case]
    if isinstance(result, HilError):
        raise result
    return result


def _measure(task: Task, chip: str, session: Session) -> TaskMeasured | HilError:
    try:
        golden = {name: pictures.picture(name) for name in task.spec.golden}
    except GoldenError as error:
        pytest.skip(str(error))
    return session.run(
        combination(task.name, target(chip), session.options.board),
        lambda attempt: TaskMeasurement(task=task, attempt=attempt, options=session.options).run(golden),
    )


def test_every_network_answers_as_the_exact_reference(measured: TaskMeasured) -> None:
    """Integer for integer, on what the golden pictures become."""
    wrong = [f"{name}: {verdict.text()}" for name, verdict in measured.verdicts.items() if not verdict.ok]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def test_the_results_are_those_of_the_exact_reference(measured: TaskMeasured) -> None:
    """Boxes by overlap, landmarks by pixels, scores, classes, embeddings by cosine."""
    wrong = [f"{name}: {problem}" for name, one in measured.matches.items() for problem in one.problems]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def test_what_is_in_the_picture_is_found(measured: TaskMeasured, task: Task) -> None:
    """As task.toml says of each golden picture: the class of the picture, or all that is to be found."""
    wrong = []
    for name, wanted in task.spec.golden.items():
        answer = measured.device[name]
        found = sorted(one.name for one in answer.detections) or [one.name for one in answer.labels[:1]]
        if found != sorted(wanted):
            wrong.append(f"{name}: {found or 'nothing'} found, {list(wanted) or 'nothing'} expected")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def test_a_known_face_is_recognised_and_a_stranger_is_not(measured: TaskMeasured, recognizer: Task) -> None:
    """Two people are enrolled with one photograph each; their changed photographs and a third person come."""
    least = recognizer.spec.thresholds.same_person
    points = {name: found.embedding.values for name, found in measured.device.items() if found.embedding}
    known = [(number, points[name]) for number, name in enumerate(KNOWN, start=1)]
    for number, name in enumerate(KNOWN, start=1):
        for change in CHANGES:
            found = tasks.query(points[f"{name}_{change}"], known, threshold=least)
            assert [row[0] for row in found] == [number], f"{name}_{change}: {found}"
    strange = {name: values for name, values in points.items() if name.startswith(STRANGER)}
    assert strange
    for name, values in strange.items():
        assert tasks.query(values, known, threshold=least) == [], (
            f"{name} is taken for one of {KNOWN}: {[cosine(values, other) for _, other in known]}"
        )
