"""What a task finds with its networks on a board: they are measured as every model; before and after is done here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from esp_hil.session.options import Combination
from esp_hil.session.session import Session
from esp_hil.session.task_networks import TaskNetwork
from esp_hil.tasks import Results
from esp_hil.tasks.match import Match, match
from esp_hil.tasks.pictures import picture
from esp_hil.tasks.replay import Key, answer_all, key_of
from esp_hil.tensors import Arrays


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskFound:
    """What a task found in its golden pictures.

    Attributes:
        device: results by picture, the networks on the board.
        matches: beside those of the exact reference, by picture.
    """

    device: Mapping[str, Results]
    matches: Mapping[str, Match]


def find(session: Session, combination: Combination) -> TaskFound:
    """Put what the board answered of each network together; what else a wrong answer leads to is asked of the board.

    Args:
        session: measures the networks, if no test has done so yet.
        combination: of the task; what tests say of it goes into the row of the first network that is not right.

    Raises:
        HilError: the board, the link or a network failed.
    """
    parts = combination.parts
    measured = {part: session.measure(part) for part in parts}
    session.judge_with(combination, parts)
    by_network: dict[str, Combination] = {}
    answers: dict[Key, Arrays] = {}
    for part, one in measured.items():
        network = _network(part)
        by_network[network.network] = part
        answers |= _answers(network.network, one.answered.sent, one.answered.outputs)

    def ask(network: str, inputs: Sequence[NDArray[Any]]) -> Sequence[Arrays]:
        board = session.prepared(by_network[network])
        (name,) = (value.name for value in board.file.inputs)
        return [board.infer({name: values}) for values in inputs]

    golden = _network(parts[0]).pictures
    task = golden.task
    device = answer_all(task, {name: picture(name) for name in task.spec.golden}, ask, answers)
    thresholds = task.spec.thresholds
    return TaskFound(
        device=device,
        matches={name: match(device[name], right, thresholds) for name, right in golden.results.items()},
    )


def _answers(network: str, sent: Arrays, outputs: Arrays) -> dict[Key, Arrays]:
    (inputs,) = sent.values()
    return {
        key_of(network, inputs[row]): {name: values[row : row + 1] for name, values in outputs.items()}
        for row in range(len(inputs))
    }


def _network(part: Combination) -> TaskNetwork:
    assert isinstance(part.resolved, TaskNetwork)
    return part.resolved
