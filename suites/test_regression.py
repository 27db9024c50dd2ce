"""Did anything get worse than the baseline?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from esp_hil.results.regress import Comparison


def test_the_run_can_be_compared_with_the_baseline(hil_against: Comparison) -> None:
    """All figures of the run meet figures of the baseline that were made under the same conditions."""
    if hil_against.refusals:
        pytest.fail("\n".join(refusal.summary for refusal in hil_against.refusals), pytrace=False)


def test_nothing_got_worse_than_the_baseline(hil_against: Comparison) -> None:
    """No figure beyond its allowance; a worse latency also beyond chance, and again when run once more."""
    if hil_against.regressions:
        pytest.fail("\n".join(change.summary for change in hil_against.regressions), pytrace=False)
