"""What the members of a committee would give each by itself, beside what their mean gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlff_probes.core.records import Value
from mlff_probes.measure.results import Result


def with_spread(result: Result, members: Sequence[Result]) -> Result:
    """The result of a committee, each number with its spread over the members.

    The spread is the standard deviation (n - 1 in the denominator) of the numbers that the members give, each alone,
    for the very structures of which `result` was made. A number that some of them do not give has no spread, and says
    so.
    """
    values = {
        name: _spread(value, [member.values[name] for member in members if name in member.values])
        for name, value in result.values.items()
    }
    return replace(result, values=values)


def _spread(value: Value, of_members: Sequence[Value]) -> Value:
    numbers = [each.value for each in of_members if each.value is not None]
    if value.value is None or not numbers:
        return value
    if len(numbers) < len(of_members):
        silent = len(of_members) - len(numbers)
        lacking = f"no spread: {silent} of {len(of_members)} members give no number by themselves"
        return value.model_copy(update={"caveat": "; ".join(filter(None, (value.caveat, lacking)))})
    return value.model_copy(update={"spread": float(np.std(numbers, ddof=1))})
