"""The judge: a pure function of value, expectation and tolerance."""

from __future__ import annotations

import pytest

from mlff_probes.core.judge import judge
from mlff_probes.core.records import (
    Expectation,
    MinimumShare,
    Problem,
    Samples,
    State,
    Tolerance,
    Value,
    Verdict,
)


def expectation(value: float = 1.0, tolerance: float = 0.1, unit: str = "eV") -> Expectation:
    return Expectation(
        quantity="barrier", value=value, unit=unit, uncertainty=0.01, level_of_theory="PBE", source="here",
        tolerance=Tolerance(value=tolerance, unit=unit, reason="because"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("measured", "state"),
    [(1.0, State.PASSED), (1.0999, State.PASSED), (0.9001, State.PASSED), (1.1001, State.FAILED), (-1.0, State.FAILED)],
)
def test_verdict_by_distance(measured, state):
    verdict = judge(Value(value=measured, unit="eV"), expectation())
    assert verdict.state is state
    assert verdict.deviation == pytest.approx(measured - 1.0)


def test_a_deviation_equal_to_the_tolerance_passes():
    assert judge(Value(value=0.75, unit="eV"), expectation(value=0.5, tolerance=0.25)).state is State.PASSED


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), -float("inf")])
def test_no_finite_value_is_never_green(value):
    unchecked = Value.model_construct(value=value, unit="eV", also={}, problem=None)
    assert judge(unchecked, expectation()).state is State.ERROR
    assert judge(unchecked, None).state is State.ERROR
    assert judge(unchecked, expectation(), not_comparable="other level").state is State.ERROR


def test_a_problem_keeps_its_state_and_reason():
    for state in ("error", "not applicable"):
        value = Value(value=None, unit="eV", problem=Problem(state=state, reason="why"))
        verdict = judge(value, expectation())
        assert (verdict.state.value, verdict.reason) == (state, "why")


def test_what_is_not_comparable_anyway_is_no_error():
    """A model that learned another level of theory owes no number to this one's reference: its run is not red."""
    found = {}
    for state in ("error", "not applicable"):
        value = Value(value=None, unit="eV", problem=Problem(state=state, reason="not bracketed"))
        found[state] = judge(value, expectation(), not_comparable="it learned r2SCAN")
    assert found["error"].state is State.NOT_COMPARABLE
    assert found["error"].reason == "it learned r2SCAN; no number: not bracketed"
    assert (found["not applicable"].state.value, found["not applicable"].reason) == ("not applicable", "not bracketed")


def shared(used, of, minimum, value=1.0):
    """The verdict on a value that stands on some of its samples, where so large a part of them is needed."""
    samples = Samples(
        used=used, of=of, what="frames", left_out={"without forces": of - used} if of > used else {}, remedy="mend it"
    )
    least = None if minimum is None else MinimumShare(value=minimum, reason="as it is")
    return judge(
        Value(value=value, unit="eV", samples=samples), expectation().model_copy(update={"minimum_share": least})
    )


@pytest.mark.parametrize(
    ("used", "of", "minimum", "state"),
    [
        (9, 10, 0.9, State.PASSED),
        (10, 10, 1.0, State.PASSED),
        (899, 1000, 0.9, State.ERROR),
        (1, 3, 0.3, State.PASSED),
        (0, 3, 0.0, State.PASSED),
        (1, 3, None, State.PASSED),
    ],
)
def test_a_value_on_a_remnant_of_its_samples_is_an_error(used, of, minimum, state):
    assert shared(used, of, minimum).state is state


@pytest.mark.parametrize("value", [1.0, 7.0])
def test_a_remnant_neither_passes_nor_fails_and_says_how_to_mend_it(value):
    verdict = shared(3, 17, 0.9, value)
    assert (verdict.state, verdict.deviation) == (State.ERROR, value - 1.0)
    assert verdict.reason == (
        "judged on 3 of 17 frames, 17 %, but at least 90 % are needed: 14 without forces; mend it, or state a smaller "
        "minimum_share with its reason"
    )


def test_too_little_for_a_number_is_an_error_only_of_what_is_judged():
    problem = Problem(state="error", reason="unresolved: 9 independent samples", unresolved=True)
    unresolved = Value(value=None, unit="eV", problem=problem)
    assert judge(unresolved, expectation()).state is State.ERROR
    assert judge(unresolved, None) == Verdict(state=State.REPORTED, reason=problem.reason)
    wrong = Value(value=None, unit="eV", problem=Problem(state="error", reason="it blew up"))
    assert judge(wrong, None).state is State.ERROR


def test_another_unit_is_an_error():
    verdict = judge(Value(value=1.0, unit="meV"), expectation())
    assert verdict.state is State.ERROR
    assert "meV" in verdict.reason
    assert "eV" in verdict.reason


def test_not_comparable_is_shown_with_its_deviation():
    verdict = judge(Value(value=1.5, unit="eV"), expectation(), not_comparable="r2SCAN")
    assert (verdict.state, verdict.reason) == (State.NOT_COMPARABLE, "r2SCAN")
    assert verdict.deviation == pytest.approx(0.5)


def test_without_expectation_a_value_is_only_reported():
    assert judge(Value(value=1.5, unit="ms"), None).state is State.REPORTED
