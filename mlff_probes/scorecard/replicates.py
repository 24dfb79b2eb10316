"""A baseline that holds replicates, several seeds of one training: their mean, and what another seed does."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from mlff_probes.core.judge import judge
from mlff_probes.core.records import ProbeResult, State, Value
from mlff_probes.scorecard.chance import Scatter

JUDGED = (State.PASSED, State.FAILED, State.ERROR, State.KNOWN_FAILURE, State.REPORTED)
"""Verdicts of what was measured or should have been: of others there is no mean."""


def mean_over(label: str, rows: Sequence[ProbeResult]) -> tuple[ProbeResult, Scatter | None]:
    """One result for the replicates of one quantity, and their scatter: None for one of them, or without any number.

    The verdict is that on the mean. Its uncertainty is that of one of them, not of the mean: it is held against that of
    one candidate.
    """
    measured = [value for row in rows if row.verdict.state in JUDGED and (value := _number(row)) is not None]
    first = next((row for row in rows if row.verdict.state in JUDGED), rows[0])
    if not measured:
        return first.model_copy(update={"calculator": label}), None
    numbers = [float(value.value or 0.0) for value in measured]
    errors = [value.uncertainty for value in measured if value.uncertainty is not None]
    degrees = [value.degrees_of_freedom for value in measured if value.degrees_of_freedom is not None]
    mean = measured[0].model_copy(
        update={
            "value": statistics.fmean(numbers),
            "uncertainty": math.sqrt(statistics.fmean(error**2 for error in errors)) if errors else None,
            "degrees_of_freedom": min(degrees, default=None),
            "also": {},
            "note": f"the mean of {len(measured)} of {len(rows)} replicates",
        }
    )
    found = first.model_copy(
        update={"calculator": label, "measured": mean, "verdict": judge(mean, first.expectation), "look_first": ""}
    )
    if len(rows) < 2:
        return found, None
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    return found, Scatter(standard_deviation=deviation, measured=len(numbers), replicates=len(rows))


def _number(row: ProbeResult) -> Value | None:
    value = row.measured
    return value if value is not None and value.value is not None and not value.upper_bound else None
