"""The judge: a pure function of value, expectation and tolerance."""

from __future__ import annotations

import pytest

from mlff_probes.core.judge import judge
from mlff_probes.core.records import Expectation, Problem, State, Tolerance, Value, Verdict


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
        verdict = judge(value, expectation(), not_comparable="other level")
        assert (verdict.state.value, verdict.reason) == (state, "why")


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
