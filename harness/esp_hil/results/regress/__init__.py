"""Did anything get worse? Two sets of rows, matched by all that makes them comparable, judged gate by gate.

    comparison = compare(base_runs, new_runs, Rules())
    comparison.regressions        what got worse
    comparison.refusals           what cannot be compared, and which difference stands in the way

A change of latency must be large enough to matter *and* too large for chance; every other figure is the same
each time it is measured, and its gate is a threshold alone. A regression is a value, not an exception.
"""

from __future__ import annotations

from esp_hil.results.regress.change import Change, Comparison, Refusal
from esp_hil.results.regress.comparing import Rules, compare
from esp_hil.results.regress.gates import GATES, Gate

__all__ = ["GATES", "Change", "Comparison", "Gate", "Refusal", "Rules", "compare"]
