"""What a task finds with its networks on a board, pre- and postprocessing here.

The networks themselves are models: the other suites say of each whether it is right, how fast and how large.
"""

from __future__ import annotations

import pytest

from esp_hil import tasks
from esp_hil.errors import ConfigError, GoldenError
from esp_hil.session.options import Combination
from esp_hil.session.session import Session
from esp_hil.session.task_runs import TaskFound, find
from esp_hil.tasks import Task, cosine, pictures

pytestmark = pytest.mark.hil_kind("task")
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
def found(task: Task, hil_combination: Combination, hil_session: Session) -> TaskFound:
    """What the task finds in its golden pictures, its networks on the board."""
    try:
        for name in task.spec.golden:
            pictures.picture(name)
    except GoldenError as error:
        pytest.skip(str(error))
    return find(hil_session, hil_combination)


def test_the_results_are_those_of_the_exact_reference(found: TaskFound) -> None:
    """Boxes by overlap, landmarks by pixels, scores, classes, embeddings by cosine."""
    wrong = [f"{name}: {problem}" for name, one in found.matches.items() for problem in one.problems]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def test_what_is_in_the_picture_is_found(found: TaskFound, task: Task) -> None:
    """As task.toml says of each golden picture: the class of the picture, or all that is to be found."""
    wrong = []
    for name, wanted in task.spec.golden.items():
        answer = found.device[name]
        seen = sorted(one.name for one in answer.detections) or [one.name for one in answer.labels[:1]]
        if seen != sorted(wanted):
            wrong.append(f"{name}: {seen or 'nothing'} found, {list(wanted) or 'nothing'} expected")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.mark.hil_kind("task", of="recognition")
def test_a_known_face_is_recognised_and_a_stranger_is_not(found: TaskFound, task: Task) -> None:
    """Two people are enrolled with one photograph each; their changed photographs and a third person come."""
    least = task.spec.thresholds.same_person
    points = {name: one.embedding.values for name, one in found.device.items() if one.embedding}
    known = [(number, points[name]) for number, name in enumerate(KNOWN, start=1)]
    for number, name in enumerate(KNOWN, start=1):
        for change in CHANGES:
            near = tasks.query(points[f"{name}_{change}"], known, threshold=least)
            assert [row[0] for row in near] == [number], f"{name}_{change}: {near}"
    strange = {name: values for name, values in points.items() if name.startswith(STRANGER)}
    assert strange
    for name, values in strange.items():
        assert tasks.query(values, known, threshold=least) == [], (
            f"{name} is taken for one of {KNOWN}: {[cosine(values, other) for _, other in known]}"
        )
