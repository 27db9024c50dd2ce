"""Did anything get worse than the baseline?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from esp_hil.results.regress import Comparison


def test_the_run_can_be_compared_with_the_baseline(against: Comparison) -> None:
    """All figures of the run meet figures of the baseline that were made under the same conditions."""
    if against.refusals:
        pytest.fail("\n".join(refusal.words for refusal in against.refusals), pytrace=False)


def test_nothing_got_worse_than_the_baseline(against: Comparison) -> None:
    """No figure beyond its allowance; a worse latency also beyond chance, and again when run once more."""
    if against.regressions:
        pytest.fail("\n".join(change.words for change in against.regressions), pytrace=False)
