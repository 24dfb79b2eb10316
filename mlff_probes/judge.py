"""Measured against expected within a tolerance: the only place where a verdict is made."""

from __future__ import annotations

import math

from mlff_probes.records import Expectation, State, Value, Verdict


def judge(
    measured: Value,
    expectation: Expectation | None,
    *,
    not_comparable: str | None = None,
) -> Verdict:
    """Judge one measured value.

    Parameters
    ----------
    measured
        The value, in the unit of the expectation, or the reason there is none.
    expectation
        Reference and tolerance; None for a quantity that is only reported.
    not_comparable
        Why the reference does not bind this calculator (another level of theory); None if it does.

    Returns
    -------
    Verdict
        `passed` exactly if ``abs(measured - reference) <= tolerance``. NaN, infinity and a missing
        value are `error`, whatever the tolerance.
    """
    if measured.problem is not None:
        return Verdict(state=State(measured.problem.state), reason=measured.problem.reason)
    if measured.value is None or not math.isfinite(measured.value):
        return Verdict(state=State.ERROR, reason="no finite value was measured")
    if expectation is None:
        return Verdict(state=State.REPORTED)
    if measured.unit != expectation.unit:
        reason = f"measured in {measured.unit}, but the reference is in {expectation.unit}"
        return Verdict(state=State.ERROR, reason=reason)
    deviation = measured.value - expectation.value
    if not_comparable is not None:
        return Verdict(state=State.NOT_COMPARABLE, deviation=deviation, reason=not_comparable)
    passed = abs(deviation) <= expectation.tolerance.value
    return Verdict(state=State.PASSED if passed else State.FAILED, deviation=deviation)
