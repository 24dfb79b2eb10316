"""A time budget: the most telling first, nothing that will not end, and a scorecard that says what it left out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cards import card_of_rows, row
from support import DoubleWell

from mlff_probes.calculators.base import as_calculator
from mlff_probes.cases.load import load_cases
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import Measurement, Problem
from mlff_probes.measure import BY_KIND
from mlff_probes.scorecard.model import LeftOut, RunOptions, Scorecard
from mlff_probes.scorecard.reports.text import time_lines, verdict_line
from mlff_probes.session.budget import Budget, longest_first, most_telling_first, seconds_of
from mlff_probes.session.costs import ATOM_S, Costs
from mlff_probes.session.suite import Suite

CASES = load_cases([DIRECTORY])


def suite_of(*labels, **options):
    found = as_calculator(DoubleWell())
    models = [replace(found, identity=found.identity.model_copy(update={"label": label, "spec": label}))
              for label in labels]  # fmt: skip
    return Suite(models, CASES, **options)


def costs_of(suite):
    return Costs(suite, [request for kind in BY_KIND for request in suite.requests(kind)])


@pytest.fixture(scope="module")
def suite():
    return suite_of("one")


@pytest.mark.parametrize(("given", "seconds"), [
    (None, None), ("90", 90), ("90s", 90), ("10m", 600), ("10min", 600), ("1.5h", 5400), ("1h30m", 5400),
    ("1h 30m", 5400),
])  # fmt: skip
def test_times_are_read_as_people_write_them(given, seconds):
    assert seconds_of(given) == seconds


@pytest.mark.parametrize("given", ["", "soon", "10d", "-5m", "0", "0m", "1h30", "5m or so", "nan", "1e999", "inf"])
def test_what_is_no_time_is_refused(given):
    with pytest.raises(InputError, match=f"--probe-budget={given}"):
        seconds_of(given)


def test_every_case_has_a_guess_and_simulations_cost_most(suite):
    costs = costs_of(suite_of("one", tier="full"))
    guesses = {case: costs.guess_s((label, case)) for label, case in costs.pairs}
    assert all(seconds > 0 for seconds in guesses.values())
    assert max(guesses, key=guesses.__getitem__) in {"cr_sb2te3_300K_full", "cr_sb2te3_600K_full"}
    assert costs.guess_s(("one", "sb2te3_speed")) == 10.0
    assert costs.guess_s(("one", "sb2te3_fixed_gap_0.0")) == pytest.approx(13 * 5 * ATOM_S, rel=0.1)


def test_guesses_follow_what_the_calculator_took(suite):
    costs = costs_of(suite_of("one"))
    pair, before = ("one", "vacancy_Cu"), costs.expected_s(("one", "vacancy_Cu"))
    guess = costs.guess_s(("one", "sb2te3_frames"))
    made = Measurement(calculator="one", case="sb2te3_frames", wall_s=7 * guess)
    costs._suite.measurements["one", "sb2te3_frames"] = made
    assert costs.expected_s(pair) == pytest.approx(7 * before)
    assert costs.expected_s(("one", "sb2te3_frames")) == 0.0
    assert costs.left_s() == pytest.approx(sum(map(costs.expected_s, costs.pairs)))
    problem = Problem(state="not applicable", reason="it does not know Te")
    costs._suite.measurements["one", "sb2te3_frames"] = made.model_copy(update={"problem": problem})
    assert costs.expected_s(pair) == before


def test_what_is_in_the_store_costs_nothing(tmp_path):
    found = as_calculator(DoubleWell())
    model = replace(found, identity=found.identity.model_copy(update={"model_identity": "1", "label": "one"}))
    suite = Suite([model], CASES, store=tmp_path)
    costs = costs_of(suite)
    assert costs.expected_s(("one", "cr_sb2te3_in_gap")) > 0
    suite.measure("one", "cr_sb2te3_in_gap")
    again = costs_of(Suite([model], CASES, store=tmp_path))
    assert again.expected_s(("one", "cr_sb2te3_in_gap")) == 0.0


def test_what_does_not_apply_costs_nothing():
    found = as_calculator(DoubleWell())
    model = replace(found, identity=found.identity.model_copy(update={"label": "one", "elements": ("Cu",)}))
    costs = costs_of(Suite([model], CASES))
    assert costs.expected_s(("one", "sb2te3_300K_nve")) == 0.0
    assert costs.expected_s(("one", "symmetry")) > 0


def test_laws_alone_are_no_green_run_of_a_budget():
    card = card_of_rows(row("a", "barrier", 0.0))
    (passed,) = card.results
    law = passed.model_copy(update={"expectation": passed.expectation.model_copy(update={"level_of_theory": "exact"})})
    left = LeftOut(calculator="a", case="c", quantities=1, reason="expected to take 9 s")
    with_law = card.model_copy(update={"results": (law,)})
    assert with_law.judged() == "passed"
    assert with_law.model_copy(update={"left_out": (left,)}).judged() == "nothing judged"
    assert card.model_copy(update={"left_out": (left,)}).judged() == "passed"
    unseen = left.model_copy(update={"calculator": "b"})
    assert card.model_copy(update={"left_out": (unseen,)}).judged() == "nothing judged"


def test_each_family_of_each_calculator_comes_before_a_second_of_any():
    suite = suite_of("one", "two")
    places = most_telling_first(suite, costs_of(suite))
    ordered = sorted(places, key=places.__getitem__)
    families = {case.family for case in suite.cases}
    first = ordered[: 2 * len(families)]
    assert {(label, suite.case(case).family) for label, case in first} == {
        (n, f) for n in ("one", "two") for f in families
    }
    assert ordered[-1] == ("two", "short_range_wall")
    assert sorted(places.values()) == list(range(len(places)))


def test_workers_begin_with_what_takes_longest(suite):
    costs = costs_of(suite)
    places = longest_first(costs)
    takes = [costs.guess_s(pair) for pair in sorted(places, key=places.__getitem__)]
    assert takes == sorted(takes, reverse=True)


def test_nothing_is_begun_that_does_not_end_in_time(suite):
    now, costs = [0.0], costs_of(suite)
    budget = Budget(5.0, costs, clock=lambda: now[0])
    quick, slow = ("one", "sb2te3_fixed_gap_0.0"), ("one", "sb2te3_speed")
    assert budget.why_left_out(quick) == ""
    assert budget.why_left_out(slow) == "expected to take 10 s, and 5 s of the budget were left"
    now[0] = 6.0
    assert "0 s of the budget" in budget.why_left_out(quick)
    assert "and 5 s of" in budget.why_left_out(slow), "what was said is not unsaid"


def test_a_budget_too_short_for_anything_is_refused(suite):
    with pytest.raises(
        InputError, match=r"--probe-budget=1e-09s: is too short for anything: the shortest measurement, \w+"
    ):
        Budget(1e-9, costs_of(suite)).check()
    Budget(5.0, costs_of(suite)).check()


def test_a_scorecard_says_what_its_budget_left_out():
    card = Scorecard.build(
        calculators=[as_calculator(DoubleWell()).identity], cases=CASES, results=[], measurements=[], selected=7,
        measured_s=0.0, options=RunOptions(tier="quick", strict=False, any_level_of_theory=False, budget_s=600.0),
        left_out=[LeftOut(calculator="DoubleWell", case="vacancy_Cu", quantities=7, reason="expected to take 9 s")],
    )  # fmt: skip
    assert card.complete
    assert verdict_line(card).endswith("without 7 quantities of 1 measurement left out by the budget")
    assert time_lines(card)[-2:] == [
        "left out by the budget of 10 min:", "  vacancy_Cu of DoubleWell: expected to take 9 s",
    ]  # fmt: skip
    assert Scorecard.model_validate_json(card.model_dump_json(), strict=False) == card
