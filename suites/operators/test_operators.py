"""Each operator of the runtime in a model of its own: is the board's answer the recorded one, integer for integer?

Left out of a plain `pytest --target CHIP`: name the folder, or run `hil conformance`.
"""

from __future__ import annotations

import pytest

from esp_hil.errors import HilError
from esp_hil.results.conformance import conformance, outcome_of, why_of
from esp_hil.session.conformance import OperatorMeasured, run_operator
from esp_hil.session.options import Combination
from esp_hil.session.session import Session

pytestmark = pytest.mark.hil_kind("operator")
_RESULTS = pytest.StashKey[dict[Combination, OperatorMeasured | HilError]]()


@pytest.fixture(scope="session")
def measured(
    hil_combination: Combination, hil_session: Session, request: pytest.FixtureRequest
) -> OperatorMeasured:
    """What the operator's cases gave on the board; measured once."""
    results = request.config.stash.setdefault(_RESULTS, {})
    if hil_combination not in results:
        results[hil_combination] = run_operator(hil_session, hil_combination)
    result = results[hil_combination]
    if isinstance(result, HilError):
        raise result
    return result


def test_every_case_answers_as_expected(measured: OperatorMeasured, hil_session: Session) -> None:
    """Bit for bit, or within the tolerance of float code; a case behind another operator's fault is not judged."""
    if measured.wrong:
        pytest.fail("\n".join(f"{run.model}: {why_of(run)}" for run in measured.wrong), pytrace=False)
    if not measured.behind:
        return
    said = "\n".join(f"{run.model}: {why_of(run)}" for run in measured.behind)
    red = {
        entry.operator
        for table in conformance(hil_session.rows)
        for entry in table.entries
        if any(outcome_of(run) in {"differs", "fails"} for run in entry.rows)
    }
    blamed = {run.case.wrong_in for run in measured.behind if run.case is not None}
    if blamed <= red:
        pytest.skip(said)
    pytest.fail(said, pytrace=False)
