"""Measured against expected within a tolerance: the only place where a verdict is made."""

from __future__ import annotations

import math

from mlff_probes.core.records import Expectation, State, Value, Verdict

RESOLVED = 0.5
"""A value must be known to this part of its tolerance, within 95 %: one that sits in the middle then fails once in
ten thousand runs, and one at twice the tolerance passes as rarely."""


def judge(
    measured: Value,
    expectation: Expectation | None,
    *,
    not_comparable: str | None = None,
    why_reported: str = "",
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
    why_reported
        Why a quantity without expectation is only reported, where there is more to say than that nobody expects it.

    Returns
    -------
    Verdict
        `passed` exactly if ``abs(measured - reference) <= tolerance``. NaN, infinity and a missing
        value are `error`, whatever the tolerance; so is a value that is not resolved (only an upper bound, or not
        known to half the tolerance, unless all of its interval lies outside), and one that stands on too few of its
        samples. What could not be measured is `not comparable` too where the reference does not bind the calculator.
    """
    unmeasured = _unmeasured(measured, reported=expectation is None, not_comparable=not_comparable)
    if unmeasured is not None:
        return unmeasured
    assert measured.value is not None
    if expectation is None:
        return Verdict(state=State.REPORTED, reason=why_reported)
    if measured.unit != expectation.unit:
        reason = f"measured in {measured.unit}, but the reference is in {expectation.unit}"
        return Verdict(state=State.ERROR, reason=reason)
    deviation = measured.value - expectation.value
    state, reason = State.NOT_COMPARABLE, not_comparable or ""
    if not_comparable is None:
        reason = _remnant(measured, expectation) or _unresolved(measured, expectation, abs(deviation))
        passed = abs(deviation) <= expectation.tolerance.value
        state = State.ERROR if reason else State.PASSED if passed else State.FAILED
    return Verdict(state=state, deviation=deviation, reason=reason)


def _unmeasured(measured: Value, *, reported: bool, not_comparable: str | None) -> Verdict | None:
    """The verdict on what has no finite value; None where there is one."""
    problem = measured.problem
    if problem is None:
        finite = measured.value is not None and math.isfinite(measured.value)
        return None if finite else Verdict(state=State.ERROR, reason="no finite value was measured")
    if problem.unresolved and reported:
        return Verdict(state=State.REPORTED, reason=problem.reason)
    if problem.state == "error" and not_comparable is not None:
        return Verdict(state=State.NOT_COMPARABLE, reason=f"{not_comparable}; no number: {problem.reason}")
    return Verdict(state=State(problem.state), reason=problem.reason)


def _remnant(measured: Value, expectation: Expectation) -> str:
    """Why a value stands on too few of its samples to be judged; "" where it does not."""
    samples, least = measured.samples, expectation.minimum_share
    if samples is None or least is None or samples.share >= least.value:
        return ""
    remedy = f"{samples.remedy}, or state" if samples.remedy else "mend what left them out, or state"
    return (
        f"judged on {samples.used} of {samples.of} {samples.what}, {math.floor(100 * samples.share)} %, but at least "
        f"{100 * least.value:g} % are needed: {samples.why}; {remedy} a smaller minimum_share with its reason"
    )


def _unresolved(measured: Value, expectation: Expectation, off: float) -> str:
    """Why a value is not known well enough to be judged; "" where it is, or where its interval lies outside."""
    if measured.upper_bound:
        return "unresolved: only an upper bound is known"
    tolerance = expectation.tolerance.value
    most = RESOLVED * tolerance
    if measured.uncertainty is None or measured.uncertainty <= most or off - measured.uncertainty > tolerance:
        return ""
    return (
        f"unresolved: known to {measured.uncertainty:.2g} {measured.unit} within 95 %, and must be to {most:g}, half "
        "its tolerance; simulate longer, or with more replicas"
    )
