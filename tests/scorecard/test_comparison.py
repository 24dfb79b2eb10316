"""A scorecard against an older one: what counts as a change, and what is left out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mlff_probes.cases.load import load_case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import (
    Expectation,
    MinimumShare,
    ProbeResult,
    Problem,
    Samples,
    State,
    Tolerance,
    Value,
    Verdict,
)
from mlff_probes.core.trajectory import ReferenceDynamics
from mlff_probes.scorecard import files
from mlff_probes.scorecard.baseline import Baseline, baseline_of
from mlff_probes.scorecard.changes import Trend
from mlff_probes.scorecard.comparison import Comparer, compare, difference
from mlff_probes.scorecard.model import CaseSummary, Scorecard, Spread, reference_fingerprint
from mlff_probes.scorecard.regression import load_regression
from mlff_probes.scorecard.reports import markdown, terminal
from mlff_probes.scorecard.reports.page import Source, render
from mlff_probes.scorecard.reports.text import change_text, comparison_line, verdict_line

POLICY = load_regression()
TOLERANCE = 0.1


def row(value=None, *, family="migration", quantity="barrier", reference=1.0, uncertainty=None, degrees=None,
        state=None, **more):  # fmt: skip
    """A result with this value against a reference of 1 eV and a tolerance of 0.1."""
    expected = None
    if reference is not None:
        tolerance = Tolerance(value=TOLERANCE, unit="eV", reason="as it is.")
        expected = Expectation(
            quantity=quantity, value=reference, unit="eV", uncertainty=0.0, level_of_theory="PBE", source="a test",
            tolerance=tolerance,
        )  # fmt: skip
    problem = None
    if value is None:
        problem = Problem(state="not applicable" if state is State.NOT_APPLICABLE else "error", reason="no", **more)
        state = state or State.ERROR
    elif expected is None:
        state = State.REPORTED
    deviation = None if value is None or expected is None else value - reference
    passed = deviation is not None and abs(deviation) <= TOLERANCE
    measured = Value(value=value, unit="eV", uncertainty=uncertainty, degrees_of_freedom=degrees, problem=problem)
    verdict = Verdict(state=state or (State.PASSED if passed else State.FAILED), deviation=deviation,
                      reason="no" if problem else "")  # fmt: skip
    return ProbeResult(calculator="new", family=family, case="hop", quantity=quantity, measured=measured,
                       expectation=expected, verdict=verdict)  # fmt: skip


def case(**changes):
    given = {
        "id": "hop", "family": "migration", "title": "a hop", "kind": "fixed_path", "level_of_theory": "PBE",
        "source": "a test", "elements": ("Cr",), "protocol": {"migrating_atom": 0}, "fingerprint": "abc",
        "reference_fingerprint": "123",
    }  # fmt: skip
    return CaseSummary(**(given | changes))


def change(before, after, *, judged=10, then=None, now=None):
    rows = {} if before is None else {("hop", before.quantity): before}
    cases = None if then is None else {"hop": then}
    comparer = Comparer(Baseline("old", "old.json", rows, judged, cases), [now or case()], POLICY)
    return comparer.change(after)


@pytest.mark.parametrize(
    ("before", "after", "trend", "regression"),
    [
        (row(1.05), row(1.05), Trend.SAME, False),
        (row(1.05), row(0.95), Trend.SAME, False),  # as far off on the other side
        (row(1.05), row(1.059), Trend.SAME, False),  # within a tenth of the tolerance
        (row(1.05), row(1.065), Trend.WORSE, True),
        (row(1.05), row(1.03), Trend.BETTER, False),
        (row(1.5), row(1.7), Trend.WORSE, True),
        (row(1.5), row(1.3), Trend.BETTER, False),
        (row(1.09), row(1.2), Trend.NEWLY_FAILING, True),
        (row(1.0999), row(1.1005), Trend.NEWLY_FAILING, True),  # exact numbers have no chance
        (row(1.09999), row(1.10001), Trend.SAME, False),  # but a last digit
        (row(1.2), row(1.05), Trend.NEWLY_PASSING, False),
        (row(1.05), row(None), Trend.NEWLY_FAILING, True),
        (row(1.5), row(None), Trend.WORSE, True),
        (row(None), row(None), Trend.SAME, False),
        (row(None), row(1.0), Trend.NEWLY_PASSING, False),
        (row(None), row(1.5), Trend.SAME, False),
        (row(1.0), row(None, state=State.KNOWN_FAILURE), Trend.NEWLY_FAILING, True),  # known is not excused
        (row(None), row(None, state=State.KNOWN_FAILURE), Trend.SAME, False),
        (row(None, state=State.KNOWN_FAILURE), row(1.0), Trend.NEWLY_PASSING, False),
        (row(1.0), row(None, state=State.NOT_APPLICABLE), Trend.GONE, True),
        (row(1.0), row(None, state=State.NOT_APPLICABLE, by_nature=True), Trend.GONE, False),
        (row(1.0), row(None, state=State.NOT_COMPARABLE), Trend.GONE, True),
        (row(None), row(None, state=State.NOT_COMPARABLE), Trend.GONE, False),  # an error of an older scorecard
        (row(1.0, reference=None), row(None, reference=None, state=State.NOT_APPLICABLE), Trend.GONE, True),
        (
            row(1.0, reference=None),
            row(None, reference=None, state=State.NOT_APPLICABLE, by_nature=True),
            Trend.REPORTED,
            False,
        ),  # a size that there was no time for
        (
            row(None, reference=None, state=State.NOT_APPLICABLE, by_nature=True),
            row(1.0, reference=None),
            Trend.REPORTED,
            False,
        ),
        (None, row(1.5), Trend.NEW, False),
        (row(None, state=State.NOT_APPLICABLE), row(1.5), Trend.NEW, False),
        (row(5.0, reference=None), row(7.0, reference=None), Trend.REPORTED, False),
        (row(5.0, reference=None), row(None, reference=None), Trend.NEWLY_FAILING, True),
        (row(5.0, reference=None), row(None, reference=None, state=State.REPORTED), Trend.REPORTED, False),
        (row(None, reference=None, state=State.REPORTED), row(5.0, reference=None), Trend.REPORTED, False),
    ],
)
def test_trends(before, after, trend, regression):
    found = change(before, after)
    assert (found.trend, found.regression) == (trend, regression)


def test_a_change_is_that_of_the_error():
    found = change(row(1.05), row(0.91))
    assert found.change == pytest.approx(0.04)
    assert (found.before_state, found.after_state) == (State.PASSED, State.PASSED)
    assert change(row(5.0, reference=None), row(7.0, reference=None)).change == pytest.approx(2.0)


def test_what_chance_could_do_is_no_change():
    """Twice the scatter of a difference of two uncertain numbers, and more where more of them are compared."""
    sigma = 0.02 / 1.96
    wide = {"uncertainty": 0.02}
    found = change(row(1.0, **wide), row(1.08, **wide), judged=100)
    # false alarms of 0.001 in 100 comparisons: 1e-5 each, two-sided, 4.417 standard deviations
    assert found.uncertainty == pytest.approx(0.02 * 2**0.5)
    assert found.threshold == pytest.approx(0.01 + 4.417 * sigma * 2**0.5, rel=1e-3)
    assert found.trend is Trend.WORSE
    assert change(row(1.0, **wide), row(1.08, **wide), judged=10**9).trend is Trend.SAME
    crossing = change(row(1.09, **wide), row(1.12, **wide))
    assert (crossing.trend, crossing.regression) == (Trend.SAME, False)
    assert crossing.note == "another verdict, by less than chance"


@pytest.mark.parametrize(
    ("uncertainty", "after", "trend"),
    [
        (0.0, 1.045, Trend.WORSE),
        (0.005, 1.045, Trend.WORSE),  # below a tenth of the tolerance
        (0.05, 1.045, Trend.SAME),
        (0.05, 0.965, Trend.SAME),
        (0.05, 1.075, Trend.WORSE),
        (0.05, 1.101, Trend.NEWLY_FAILING),
    ],
)
def test_a_margin_is_never_below_the_uncertainty_of_the_reference(uncertainty, after, trend):
    """Where the reference is known to 0.05, an error of 0.045 is no worse than one of 0.02."""
    found = change(*(known_to(each, uncertainty) for each in (row(1.02), row(after))))
    assert found.trend is trend
    assert found.threshold == pytest.approx(max(0.01, uncertainty))


@pytest.mark.parametrize(
    ("uncertainty", "before", "after", "trend"),
    [
        (0.05, 1.0999, 1.1005, Trend.SAME),
        (0.05, 1.1005, 1.0999, Trend.SAME),
        (0.05, 1.08, 1.129, Trend.SAME),
        (0.05, 1.08, 1.131, Trend.NEWLY_FAILING),
        (0.05, 1.131, 1.08, Trend.NEWLY_PASSING),
        (0.0005, 1.0999, 1.1005, Trend.NEWLY_FAILING),
    ],
)
def test_another_verdict_within_the_uncertainty_of_the_reference_is_no_change(uncertainty, before, after, trend):
    """It counts which of the two references is known less well; chance comes on top."""
    rows = [row(before), row(after)]
    for known in ((uncertainty, 0.0), (0.0, uncertainty)):
        found = change(*map(known_to, rows, known))
        assert (found.trend, found.regression) == (trend, trend is Trend.NEWLY_FAILING)
        assert found.note == ("another verdict, by less than its reference is known to" if trend is Trend.SAME else "")


def test_chance_adds_to_the_uncertainty_of_the_reference():
    wide = {"uncertainty": 0.002}
    before, *after = (known_to(row(value, **wide), 0.05) for value in (1.09, 1.145, 1.17))
    found = [change(before, each) for each in after]
    assert [each.trend for each in found] == [Trend.SAME, Trend.NEWLY_FAILING]
    assert 0.055 < found[0].threshold < 0.08
    assert found[0].note == "another verdict, by less than chance"


def known_to(found, uncertainty):
    """The same result against a reference of this uncertainty."""
    return found.model_copy(update={"expectation": found.expectation.model_copy(update={"uncertainty": uncertainty})})


def seeds(*values, quantity="barrier", label="old", **more):
    """A scorecard of replicates, one for each value; None for one that exploded."""
    names = [f"{label}.{n}" for n in range(1, len(values) + 1)]
    cards = [
        card_of([row(value, quantity=quantity, **more)], label=name) for name, value in zip(names, values, strict=True)
    ]
    identities = [card.calculators[0].model_copy(update={"replicate_of": label}) for card in cards]
    results = [result for card in cards for result in card.results]
    return cards[0].model_copy(
        update={"calculators": tuple(identities), "results": tuple(results), "selected": len(cards),
                "replicates": (Spread.over(label, results),)}
    )  # fmt: skip


def against_seeds(value, *values, wanted=None, **more):
    """The change of a candidate with this value against replicates with those."""
    new = card_of([row(value, **more)])
    found = compare(baseline_of(seeds(*values, **more), "old.json", wanted), new, "new", POLICY)
    return found.changes[0], found


FIVE = (1.03, 1.05, 1.04, 1.06, 1.02)
SCATTER = np.std(FIVE, ddof=1)


def test_a_change_must_exceed_the_scatter_of_the_replicates():
    found, _ = against_seeds(1.04, *FIVE)
    # the prediction interval of Student's t with 4 degrees of freedom: t(0.995) = 4.604, t(0.975) = 2.776
    assert found.threshold == pytest.approx(0.01 + 4.604 * SCATTER * np.sqrt(1.2), rel=1e-3)
    assert found.uncertainty == pytest.approx(2.776 * SCATTER * np.sqrt(1.2), rel=1e-3)
    assert found.before.value == pytest.approx(1.04)
    assert found.before.note == "the mean of 5 of 5 replicates"
    for value, trend, regression in (
        (1.09, Trend.SAME, False),
        (1.109, Trend.SAME, False),
        (1.5, "newly failing", True),
    ):
        one, _ = against_seeds(value, *FIVE)
        assert (one.trend, one.regression) == (trend, regression)
    assert against_seeds(1.08, *FIVE)[0].note == "less than another seed does"
    assert not against_seeds(1.045, *FIVE)[0].note  # within the margin anyway
    assert against_seeds(1.109, *FIVE)[0].note == "another verdict, by less than chance"
    assert change(row(1.04), row(1.09)).trend is Trend.WORSE  # without replicates


def test_replicates_that_agree_leave_nothing_to_chance():
    assert against_seeds(1.06, 1.04, 1.04, 1.04)[0].trend is Trend.WORSE
    assert against_seeds(1.101, 1.0999, 1.0999)[0].trend is Trend.NEWLY_FAILING


def test_few_replicates_are_said_to_be_few():
    said = against_seeds(1.0, *FIVE)[1].remarks[-1]
    assert said.startswith("the baseline old is the mean of 5 replicates, and a change must exceed their scatter (")
    assert "few" not in said
    assert "3 are few" in against_seeds(1.0, *FIVE[:3])[1].remarks[-1]
    assert not against_seeds(1.0, 1.0)[1].remarks


def test_the_scatter_of_replicates_holds_that_of_their_measurements():
    """Each simulation scatters by itself too: the larger of the two counts, not both."""
    few, _ = against_seeds(1.04, *FIVE, uncertainty=0.002)
    assert few.threshold == pytest.approx(against_seeds(1.04, *FIVE)[0].threshold)
    alike, _ = against_seeds(1.04, *(1.04,) * 5, uncertainty=0.02)
    assert alike.threshold == pytest.approx(
        change(row(1.04, uncertainty=0.02), row(1.04, uncertainty=0.02), judged=1).threshold
    )


def test_a_replicate_without_a_number_is_not_part_of_the_mean():
    found, _ = against_seeds(1.05, 1.03, None, 1.05)
    assert found.before.note == "the mean of 2 of 3 replicates"
    assert found.before.value == pytest.approx(1.04)
    assert against_seeds(1.0, None, None)[0].trend is Trend.NEWLY_PASSING
    assert against_seeds(None, None, None)[0].trend is Trend.SAME
    assert against_seeds(None, *FIVE)[0].regression


def test_which_replicates_are_the_baseline():
    old = seeds(*FIVE)
    assert baseline_of(old, "old.json").label == baseline_of(old, "old.json", "old").label == "old"
    one = baseline_of(old, "old.json", "old.2")
    assert (one.label, one.rows["hop", "barrier"].measured.value, one.scatter) == ("old.2", 1.05, {})
    with pytest.raises(InputError, match=r"holds no calculator 'c'; it holds old, old\.1"):
        baseline_of(old, "old.json", "c")


def test_the_reports_say_what_replicates_do():
    _, found = against_seeds(1.09, *FIVE)
    card = card_of([row(1.09)]).model_copy(update={"comparisons": (found,)})
    text = terminal.render_comparisons(card)
    assert "note: the baseline old is the mean of 5 replicates" in text
    assert "no regression (1 same)" in text
    for said in (text, markdown.render(card), render([Source("card", card)])):
        assert "1.040 (seeds 0.016)" in said
        assert "hop, barrier: less than another seed does" in said or "(less than another seed does)" in said


def test_the_page_says_the_scatter_of_what_is_the_same():
    _, found = against_seeds(1.045, *FIVE)
    card = card_of([row(1.045)]).model_copy(update={"comparisons": (found,)})
    assert "hop: barrier: 1.040 (seeds 0.016) → 1.045 eV" in render([Source("card", card)])
    _, without = against_seeds(1.045, 1.04)
    assert "<li>hop: barrier</li>" in render([Source("card", card.model_copy(update={"comparisons": (without,)}))])


def test_the_scatter_of_the_candidates_seeds_is_said_too():
    new = seeds(1.02, None, 1.06, label="new")
    found = compare(baseline_of(seeds(*FIVE), "old.json"), new, "new.1", POLICY).changes[0]
    assert (found.seeds_after.measured, found.seeds_after.replicates) == (2, 3)
    assert "1.040 (seeds 0.016) → 1.020 (seeds 0.028, 2 of 3) eV" in change_text(found)


def test_a_scatter_that_is_not_known_is_said():
    """Of two seeds that err, one number is left: it says nothing of another seed, and the reader must know."""
    found, _ = against_seeds(1.0, 1.03, None, None)
    assert found.seeds_before.standard_deviation is None
    assert "1.030 (seeds ?, 1 of 3) → 1.000" in change_text(found)


def test_few_samples_leave_more_to_chance():
    """Two intervals of Student's t with 3 degrees of freedom each: Welch's 6 for their difference."""
    few = {"uncertainty": 0.02, "degrees": 3.0}
    found = change(row(1.0, **few), row(1.08, **few), judged=100)
    error = 0.02 / 3.1824 * 2**0.5  # t(0.975, 3)
    assert found.uncertainty == pytest.approx(2.4469 * error, rel=1e-3)  # t(0.975, 6)
    assert found.threshold == pytest.approx(0.01 + 13.555 * error, rel=1e-3)  # t(1 - 0.5e-5, 6)
    assert found.trend is Trend.SAME
    one = change(row(1.0, **few), row(1.08), judged=100)
    assert one.threshold > found.threshold  # t(1 - 0.5e-5, 3)


def test_a_wide_interval_hides_no_regression():
    """Known ten times worse than before is no chance: the same model would have been known as well."""
    narrow, wide = {"uncertainty": 0.001}, {"uncertainty": 0.1}
    found = change(row(1.0, **narrow), row(1.3, **wide))
    assert found.trend is Trend.NEWLY_FAILING
    assert found.uncertainty == pytest.approx(0.1, rel=1e-3)
    assert change(row(1.0, **wide), row(1.25, **wide)).trend is Trend.SAME


@pytest.mark.parametrize(
    ("quantity", "before", "after", "uncertainty", "trend"),
    [
        ("drift_of_crystals", 0.2, 0.45, None, Trend.WORSE),
        ("drift_of_crystals", 0.2, 0.35, None, Trend.REPORTED),
        ("drift_of_graphene", 0.4, 0.1, None, Trend.BETTER),
        ("drift_of_paths", 0.2, 2.0, None, Trend.REPORTED),  # may be for the better
        ("cka_of_crystals", 0.9, 0.8, 0.01, Trend.WORSE),
        ("cka_of_crystals", 0.9, 0.8, 0.2, Trend.REPORTED),  # chance
        ("cka_of_tis2", 0.8, 0.95, None, Trend.BETTER),
        ("q_ratio_of_deep", 3.0, 30.0, None, Trend.REPORTED),  # nobody says which way is worse
    ],
)
def test_what_has_no_reference_becomes_worse_where_the_policy_says_which_way(
    quantity, before, after, uncertainty, trend
):
    was, now = (
        row(value, family="representation", quantity=quantity, reference=None, uncertainty=uncertainty)
        for value in (before, after)
    )
    found = change(was, now)
    assert (found.trend, found.regression) == (trend, trend is Trend.WORSE)
    assert found.change == pytest.approx(after - before)
    if trend is Trend.WORSE:
        assert "error" not in change_text(found)


def test_what_was_compared_with_another_foundation_or_on_other_frames_says_nothing():
    was, now = (
        row(value, family="representation", quantity="drift_of_crystals", reference=None) for value in (0.2, 5.0)
    )
    whole = Samples(used=9, of=9, what="frames")
    was, now = (
        each.model_copy(update={"measured": each.measured.model_copy(update={"samples": whole})}) for each in (was, now)
    )
    for more in ({"note": "against another"}, {"samples": Samples(used=3, of=9, what="frames", left_out={"no": 6})}):
        other = now.model_copy(update={"measured": now.measured.model_copy(update=more)})
        assert not change(was, other).regression
    assert change(was, now).regression


def test_a_foundation_that_is_no_longer_named_is_a_loss():
    was = row(0.2, family="representation", quantity="drift_of_crystals", reference=None)
    now = row(family="representation", quantity="drift_of_crystals", reference=None, state=State.NOT_APPLICABLE,
              by_nature=True)  # fmt: skip
    found = change(was, now)
    assert (found.trend, found.regression) == (Trend.GONE, True)
    speed = [each.model_copy(update={"quantity": "q_ratio"}) for each in (was, now)]
    assert not change(*speed).regression


def test_a_users_margin_keeps_the_directions_and_names_are_checked(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[regression.representation]\nmargin = 2.0\nreason = "mine"\n')
    assert load_regression(file).direction("representation", "drift_of_crystals") == POLICY.direction(
        "representation", "drift_of_crystals"
    )
    wrong = '[regression.representation.reported.drfit]\nworse = "larger"\nmargin = 1.0\nreason = "mine"\n'
    file.write_text(file.read_text() + wrong)
    with pytest.raises(InputError, match=r"reported.drfit\] is no quantity; there are .*drift"):
        load_regression(file)


def test_laws_change_by_their_tolerance_or_their_verdict():
    assert change(row(1.0, family="physicality"), row(1.09, family="physicality")).trend is Trend.SAME
    assert change(row(1.09, family="physicality"), row(1.11, family="physicality")).trend is Trend.NEWLY_FAILING


@pytest.mark.parametrize(
    ("changes", "compared"),
    [
        ({}, True),
        ({"fingerprint": ""}, True),  # of a scorecard that is older than fingerprints
        ({"protocol": {"migrating_atom": 0, "seeds": [4, 5]}}, True),
        ({"title": "another title"}, True),
        ({"fingerprint": "def"}, False),
        ({"reference_fingerprint": "456"}, False),
        ({"protocol": {"migrating_atom": 1}}, False),
        ({"kind": "relaxed_path"}, False),
        ({"level_of_theory": "r2SCAN"}, False),
    ],
)
def test_what_was_measured_otherwise_is_not_compared(changes, compared):
    found = change(row(1.0), row(1.5), then=case(**changes))
    assert (found is not None) == compared


def test_another_reference_is_not_compared():
    assert change(row(1.0, reference=0.9), row(1.5)) is None


def card_of(rows, *, label="new", cases=(None,), **changes):
    rows = [r.model_copy(update={"calculator": label}) for r in rows]
    base = {
        "schema_version": 1, "created": "2026-11-21", "verdict": "failed", "selected": len(rows),
        "options": {"tier": "quick", "strict": False, "any_level_of_theory": False},
        "calculators": [{"spec": label, "label": label, "family": "py", "dtype": "float64", "device": "cpu",
                         "device_name": "cpu", "threads": 1}],
        "cases": [(c or case()).model_dump(mode="json") for c in cases],
        "results": [r.model_dump(mode="json") for r in rows], "measurements": [],
        "time": {"load_s": 0, "measured_s": 0, "model_s": 0, "model_calls": 0, "batches": 0},
    }  # fmt: skip
    return Scorecard.model_validate(base | changes, strict=False)


QUANTITIES = ("barrier", "reverse_barrier", "reaction_energy")


def three(*values):
    return [row(value, quantity=name) for value, name in zip(values, QUANTITIES, strict=True)]


def test_an_improvement_hides_no_regression():
    old, new = card_of(three(1.05, 1.09, 1.0), label="old"), card_of(three(1.0, 1.0, 1.03))
    found = compare(baseline_of(old, "old.json"), new, "new", POLICY)
    assert [c.trend for c in found.changes] == [Trend.BETTER, Trend.BETTER, Trend.WORSE]
    assert [c.quantity for c in found.regressions] == ["reaction_energy"]
    assert comparison_line(found) == "new against old (old.json): 1 regression (2 better, 1 worse)"
    judged = new.model_copy(update={
        "comparisons": (found,), "options": new.options.model_copy(update={"fail_on": "regression"}),
    })  # fmt: skip
    assert judged.judged() == "failed"
    text = terminal.render_comparisons(judged)
    assert text.index("reaction_energy") < text.index("reverse_barrier")  # the worst first
    assert "| migration | hop | reaction_energy | 1.000 | 1.030 | 1.000 | +0.030 | eV | ▼ worse |" in markdown.render(
        judged
    )


@pytest.mark.parametrize(
    ("fail_on", "values", "verdict"),
    [
        ("tolerance", (1.5, 1.0, 1.0), "failed"),
        ("regression", (1.5, 1.0, 1.0), "passed"),
        ("both", (1.5, 1.0, 1.0), "failed"),
        ("tolerance", (1.0, 1.0, 1.05), "passed"),
        ("regression", (1.0, 1.0, 1.05), "failed"),
        ("both", (1.0, 1.0, 1.05), "failed"),
        ("both", (1.0, 1.0, 1.0), "passed"),
    ],
)
def test_what_a_run_fails_on(fail_on, values, verdict):
    old, new = card_of(three(1.5, 1.0, 1.0), label="old"), card_of(three(*values))
    found = compare(baseline_of(old, "old.json"), new, "new", POLICY)
    options = new.options.model_copy(update={"fail_on": fail_on})
    judged = new.model_copy(update={"comparisons": (found,), "options": options})
    judged = judged.model_copy(update={"verdict": judged.judged()})
    assert judged.verdict == verdict
    assert verdict_line(judged).endswith("; only regressions count)") == (fail_on == "regression")


def test_what_is_left_out_is_said():
    other = case(id="other", protocol={"migrating_atom": 3})
    rows = three(1.0, 1.0, 1.0)
    more = [r.model_copy(update={"case": "other"}) for r in rows]
    old = card_of([*rows, *more], label="old", cases=(None, other))
    new = card_of([*rows[:2], *more], cases=(None, case(id="other")))
    found = compare(baseline_of(old, "old.json"), new, "new", POLICY)
    assert found.left_out == (
        "other: its protocol is another than in old.json",
        "1 quantity of the baseline is not part of this run (hop)",
    )
    assert len(found.changes) == 2


def against(old, new, fail_on="regression", policy=POLICY):
    """The verdict and the comparison of a scorecard against an older one."""
    found = compare(baseline_of(old, "old.json"), new, "new", policy)
    options = new.options.model_copy(update={"fail_on": fail_on})
    return new.model_copy(update={"comparisons": (found,), "options": options}).judged(), found


def test_nothing_to_compare_is_no_success():
    old, new = card_of(three(1.0, 1.0, 1.0), label="old"), card_of(three(1.0, 1.0, 1.0), cases=(case(fingerprint="d"),))
    verdict, found = against(old, new)
    assert verdict == "nothing judged"
    assert not found.compares(judged=True)
    assert found.left_out[0] == "hop: its structures are others than in old.json"


def test_what_is_only_reported_is_no_comparison_of_what_is_judged():
    """Every suite reports something: another reference of all else would be a success otherwise."""
    speed = row(5.0, reference=None, quantity="speed")
    old, new = card_of([row(1.0, reference=0.9), speed], label="old"), card_of([row(1.0), speed])
    for fail_on in ("regression", "both"):
        verdict, found = against(old, new, fail_on)
        assert verdict == "nothing judged"
    assert (found.compares(judged=True), found.compares(judged=False)) == (False, True)


def test_each_calculator_must_be_compared():
    old, new = card_of([row(1.0)], label="old"), card_of([row(1.0)])
    _, found = against(old, new)
    options = new.options.model_copy(update={"fail_on": "both"})
    empty = found.model_copy(update={"calculator": "other", "changes": ()})
    assert new.model_copy(update={"comparisons": (found, empty), "options": options}).judged() == "nothing judged"


def test_errors_before_and_after_are_no_success():
    broken = three(None, None, None)
    verdict, found = against(card_of(broken, label="old"), card_of(broken))
    assert verdict == "nothing judged"
    assert {(c.trend, c.note) for c in found.changes} == {(Trend.SAME, "no number, as before: no")}
    shown = terminal.render_comparisons(card_of(broken).model_copy(update={"comparisons": (found,)}))
    assert "no number, as before" in shown


def test_another_verdict_by_chance_is_shown():
    wide = {"uncertainty": 0.02}
    old, new = card_of([row(1.09, **wide)], label="old"), card_of([row(1.12, **wide)])
    verdict, found = against(old, new)
    assert verdict == "passed"
    shown = new.model_copy(update={"comparisons": (found,)})
    for text in (terminal.render_comparisons(shown), markdown.render(shown)):
        assert "hop, barrier: another verdict, by less than chance" in text


def test_a_value_that_is_no_longer_resolved_is_compared_all_the_same():
    """Known to a little more than half its tolerance it may be by chance, known to far more it is not."""
    known = {"uncertainty": 0.049, "degrees": 40.0}

    def unresolved(value, uncertainty):
        return row(value, uncertainty=uncertainty, degrees=40.0, state=State.ERROR)

    found = change(row(1.0, **known), unresolved(1.01, 0.051))
    assert (found.trend, found.regression) == (Trend.SAME, False)
    assert found.note.startswith("another verdict, by less than chance")
    assert change(row(1.0, **known), unresolved(1.01, 0.2)).trend is Trend.NEWLY_FAILING
    assert change(row(1.5, **known), unresolved(1.5, 0.2)).trend is Trend.WORSE
    assert change(unresolved(1.01, 0.2), row(1.0, **known)).trend is Trend.SAME
    assert change(row(1.0), unresolved(1.01, 0.001)).trend is Trend.NEWLY_FAILING  # exact before


def test_an_exact_baseline_leaves_nothing_to_chance():
    for exact in (None, 0.0):
        found = change(row(1.0, uncertainty=exact), row(1.4, uncertainty=0.3))
        assert (found.trend, found.regression) == (Trend.NEWLY_FAILING, True)


def with_tolerance(found, tolerance):
    """The same result, judged within another tolerance."""
    expected = found.expectation
    expected = expected.model_copy(update={"tolerance": expected.tolerance.model_copy(update={"value": tolerance})})
    state = State.PASSED if abs(found.verdict.deviation) <= tolerance else State.FAILED
    return found.model_copy(
        update={"expectation": expected, "verdict": found.verdict.model_copy(update={"state": state})}
    )


def test_another_tolerance_hides_no_regression():
    old, new = card_of([row(1.05)], label="old"), card_of([with_tolerance(row(1.3), 1000.0)])
    verdict, found = against(old, new)
    assert verdict == "failed"
    assert found.changes[0].trend is Trend.WORSE
    assert found.remarks == ("1 quantity has another tolerance than in old.json: margins are parts of the smaller one",)
    narrower = card_of([with_tolerance(row(1.05), 0.01)])
    assert against(old, narrower)[1].changes[0].trend is Trend.SAME  # it would have failed before


def test_references_are_the_same_but_for_rounding():
    assert change(row(1.05, reference=1.0), row(1.05, reference=1.0 + 2e-15)).trend is Trend.SAME


def test_another_unit_is_not_compared():
    after = row(1.0)
    after = after.model_copy(update={"measured": after.measured.model_copy(update={"unit": "meV"})})
    _, found = against(card_of([row(1.0)], label="old"), card_of([after]))
    assert found.left_out == ("hop, barrier: its unit is another than in old.json",)


def test_a_baseline_without_fingerprints_is_said_to_have_none():
    old = card_of([row(1.0)], label="old", cases=(case(reference_fingerprint=""),))
    (said,) = against(old, card_of([row(1.0)]))[1].remarks
    assert said.startswith("old.json is older than the fingerprints of structures and references")


@pytest.mark.parametrize(
    "changed",
    [
        lambda stored: replace(stored, energies=stored.energies + 1e-4),
        lambda stored: replace(stored, forces=(stored.forces[0] * 1.001, *stored.forces[1:])),
        lambda stored: replace(stored, stresses=np.zeros((len(stored.energies), 6))),
    ],
    ids=["energies", "forces", "stresses"],
)
def test_another_calculation_is_another_reference(changed):
    """Errors whose expected value is zero do not show it."""
    hop = load_case(DIRECTORY / "migration" / "cr_sb2te3_in_gap.toml")
    other = replace(hop, stored=changed(hop.stored))
    assert difference(CaseSummary.of(hop), CaseSummary.of(hop)) == ""
    assert difference(CaseSummary.of(hop), CaseSummary.of(other)) == "reference"


def test_another_curve_is_another_reference():
    moves = load_case(DIRECTORY / "dynamics" / "sb2te3_300K_nve.toml")
    x = np.linspace(1.0, 5.0, 9)
    curves = [replace(moves, dynamics=ReferenceDynamics({"rdf_all": (x, y)})) for y in (x, x**2)]
    assert len({reference_fingerprint(each) for each in (moves, *curves)}) == 3


def test_what_is_to_be_known_of_the_baseline_is_said():
    old = card_of(three(1.0, 1.0, 1.0), label="old", selected=5, interrupted="Ctrl-C")
    verdict, found = against(old, card_of(three(1.0, 1.0, 1.0)))
    assert (verdict, found.remarks) == ("passed", ("old.json is incomplete (3 of 5 quantities: Ctrl-C)",))


def with_state(found, state):
    return found.model_copy(update={"verdict": found.verdict.model_copy(update={"state": state})})


@pytest.mark.parametrize(
    ("edited", "says"),
    [
        (row(1.0).model_copy(update={"measured": None}), "passed, but without a number"),
        (row(1.0, reference=None).model_copy(update={"measured": None}), "reported, but without a number"),
        (with_state(row(1.0), State.REPORTED), "reported, but with a reference"),
        (with_state(row(1.0, reference=None), State.FAILED), "failed, but without a reference"),
    ],
)
def test_a_verdict_without_a_number_is_refused(edited, says):
    with pytest.raises(InputError, match=rf"old.json: hop, barrier: {says}"):
        baseline_of(card_of([edited], label="old"), "old.json")


def test_a_known_failure_may_be_an_error():
    known = card_of([row(None, state=State.KNOWN_FAILURE)], label="old")
    assert against(known, card_of([row(None, state=State.KNOWN_FAILURE)]))[1].changes[0].trend is Trend.SAME


def test_what_a_scorecard_holds_twice_is_refused(tmp_path):
    card = card_of([row(1.0)], label="old").model_dump(mode="json")
    for what, found, says in (
        ("results", [*card["results"], row(9.0).model_dump(mode="json") | {"calculator": "old"}],
         "two results of old, hop, barrier"),
        ("results", [row(9.0).model_dump(mode="json")], "results names 'new', which is none of its calculators"),
        ("results", [row(1.0, family="astrology").model_dump(mode="json") | {"calculator": "old"}],
         "there is no family 'astrology'"),
        ("calculators", card["calculators"] * 2, "two calculators are called 'old'"),
    ):  # fmt: skip
        file = tmp_path / "edited.json"
        file.write_text(json.dumps(card | {what: found}))
        with pytest.raises(InputError, match=says):
            files.read(file)


def test_a_number_that_stands_on_a_remnant_now_is_a_regression():
    """The same number, but on two frames instead of forty."""

    def on(used, state=None):
        found = row(1.0, state=state)
        samples = Samples(used=used, of=40, what="frames", left_out={"lost": 40 - used} if used < 40 else {})
        least = MinimumShare(value=0.9, reason="so it is")
        return found.model_copy(
            update={
                "measured": found.measured.model_copy(update={"samples": samples}),
                "expectation": found.expectation.model_copy(update={"minimum_share": least}),
            }
        )

    found = change(on(40), on(2, State.ERROR))
    assert (found.trend, found.regression) == (Trend.NEWLY_FAILING, True)
    assert change(on(2, State.ERROR), on(40)).trend is Trend.NEWLY_PASSING
    assert change(on(40), on(39)).trend is Trend.SAME


def test_huge_uncertainties_are_numbers_too():
    found = change(row(1.0, uncertainty=1e200), row(1.3, uncertainty=1e200))
    assert (found.trend, found.uncertainty) == (Trend.SAME, pytest.approx(2**0.5 * 1e200))


def test_a_case_that_cannot_be_read_any_more_is_a_regression():
    unreadable = row(None, quantity="case_file", reference=None).model_copy(update={"case": "hop.toml"})
    old = card_of([row(1.0)], label="old")
    verdict, found = against(old, card_of([unreadable], cases=()))
    assert verdict == "failed"
    assert [(c.trend, c.note) for c in found.regressions] == [(Trend.NEWLY_FAILING, "no")]
    elsewhere = unreadable.model_copy(update={"case": "elsewhere.toml"})
    assert not against(old, card_of([elsewhere], cases=()))[1].changes


def test_several_candidates_leave_more_to_chance():
    wide, baseline = row(1.0, uncertainty=0.02), {("hop", "barrier"): row(1.0, uncertainty=0.02)}
    four = Comparer(Baseline("old", "old.json", baseline, 10), [case()], POLICY, 4)
    assert four.change(wide).threshold == change(wide, wide, judged=40).threshold


def test_a_case_that_cannot_be_read_is_left_out():
    comparer = Comparer(baseline_of(card_of([row(1.0)], label="old"), "old.json"), [], POLICY)
    assert comparer.change(row(1.0)) is None
    assert comparer.not_comparable("hop") == "hop: could not be read"


def test_which_calculator_is_the_baseline():
    old = card_of(three(1.0, 1.0, 1.0), label="old")
    both = old.model_copy(
        update={"calculators": (old.calculators[0], old.calculators[0].model_copy(update={"label": "b"}))}
    )
    with pytest.raises(InputError, match="holds several calculators; name one with ,label=…: old, b"):
        baseline_of(both, "old.json")
    assert baseline_of(both, "old.json", "b").rows == {}
    with pytest.raises(InputError, match="holds no calculator 'c'; it holds old, b"):
        baseline_of(both, "old.json", "c")


BAD_FILES = {
    "truncated": (lambda text: text[: len(text) // 2], "no scorecard: no JSON, or cut short"),
    "empty": (lambda _: "", "no scorecard: no JSON, or cut short"),
    "list": (lambda _: "[1, 2]", "no scorecard: it has no schema_version"),
    "other JSON": (lambda _: '{"a": 1}', "no scorecard: it has no schema_version"),
    "newer": (
        lambda text: json.dumps(json.loads(text) | {"schema_version": 2}),
        "a scorecard of schema version 2, and this mlff-probes reads 1: install the one that wrote it",
    ),
    "mangled": (lambda text: json.dumps(json.loads(text) | {"results": 3}), "no scorecard: results: Input should be"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_is_no_scorecard(name, tmp_path):
    spoil, says = BAD_FILES[name]
    file = tmp_path / "card.json"
    file.write_text(spoil(card_of(three(1.0, 1.0, 1.0)).model_dump_json()))
    with pytest.raises(InputError) as raised:
        files.read(file)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_policy_can_be_changed(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[regression.migration]\nmargin = 0.5\nreason = "Mine."\n')
    policy = load_regression(file)
    assert policy.margin("migration") == 0.5
    assert policy.margin("sliding") == POLICY.margin("sliding")
    for text, says in (
        ('[regression.nothing]\nmargin = 0.5\nreason = "x"', "is no family"),
        ("[regression]\nfalse_alarms = 2", "false_alarms"),
        ("[regression.migration]\nmargin = 0.2", "'regression.migration.reason'"),
        ('[regression.migration]\nmargin = -1\nreason = "x"', "'regression.migration.margin'"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=says):
            load_regression(file)
