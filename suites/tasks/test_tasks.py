"""Detection, recognition and classification with the networks on a board, pre- and postprocessing here."""

from __future__ import annotations

import pytest

from esp_hil import tasks
from esp_hil.errors import ConfigError, GoldenError, HilError
from esp_hil.session.options import Combination
from esp_hil.session.session import Session
from esp_hil.session.task_runs import TaskMeasured, TaskMeasurement
from esp_hil.tasks import Task, cosine, pictures

pytestmark = pytest.mark.hil_kind("task")
_RESULTS = pytest.StashKey[dict[Combination, TaskMeasured | HilError]]()
KNOWN, STRANGER = ("astronaut", "admiral"), "author"
CHANGES = ("mirrored", "turned", "scaled", "dark")


@pytest.fixture(scope="session")
def task(hil_combination: Combination, hil_session: Session) -> Task:
    """The task with its weights; skips where they were not given."""
    zoo = hil_session.options.zoo
    try:
        return tasks.load(hil_combination.model, tasks.zoo_folder(zoo), hil_combination.target.name)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def measured(
    task: Task, hil_combination: Combination, hil_session: Session, request: pytest.FixtureRequest
) -> TaskMeasured:
    """What the task gave on the board; measured once."""
    results = request.config.stash.setdefault(_RESULTS, {})
    if hil_combination not in results:
        results[hil_combination] = _measure(task, hil_combination, hil_session)
    result = results[hil_combination]
    if isinstance(result, HilError):
        raise result
    return result


def _measure(task: Task, combination: Combination, session: Session) -> TaskMeasured | HilError:
    try:
        golden = {name: pictures.picture(name) for name in task.spec.golden}
    except GoldenError as error:
        pytest.skip(str(error))
    return session.run(
        combination,
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


@pytest.mark.hil_kind("task", of="recognition")
def test_a_known_face_is_recognised_and_a_stranger_is_not(measured: TaskMeasured, task: Task) -> None:
    """Two people are enrolled with one photograph each; their changed photographs and a third person come."""
    least = task.spec.thresholds.same_person
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
