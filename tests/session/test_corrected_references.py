"""A model with dispersion is judged by a reference without it, to which the term was added."""

from __future__ import annotations

import sys
from dataclasses import replace

import ase.io
import pytest
from ase.calculators.mixing import SumCalculator
from support import LookupCalculator

from mlff_probes.calculators.base import as_calculator
from mlff_probes.calculators.dispersion import term
from mlff_probes.cases.load import load_case
from mlff_probes.core.case import Case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.records import Problem, State, Value
from mlff_probes.scorecard.model import RunOptions, Scorecard
from mlff_probes.scorecard.reports import figures, markdown
from mlff_probes.session.suite import Suite

SLIDE = DIRECTORY / "sliding" / "sb2te3_fixed_gap_0.0.toml"
FRAMES = ase.io.read(SLIDE.with_suffix(".extxyz"), ":")
LEVEL = "PBE+D3(BJ)"


@pytest.fixture(scope="module")
def case() -> Case:
    return load_case(SLIDE)


def suite_of(calculator, level, *cases):
    found = as_calculator(calculator)
    identity = found.identity.model_copy(update={"label": "model", "level_of_theory": level})
    return Suite([replace(found, identity=identity)], cases, tier="full")


def results(suite, kind="fixed_gap_slide"):
    return {request.quantity: suite.result(request) for request in suite.requests(kind)}


def right():
    """A model that is PBE+D3(BJ)."""
    pytest.importorskip("dftd3")
    return SumCalculator([LookupCalculator(FRAMES), term("PBE", "D3(BJ)")])


@pytest.mark.parametrize("level", [LEVEL, "MP-D3BJ"])
def test_a_model_with_the_term_passes_and_one_without_fails(case, level):
    rows = results(suite_of(right(), level, case))
    assert {row.verdict.state for row in rows.values()} == {State.PASSED}
    assert max(abs(row.verdict.deviation) for row in rows.values()) < 1e-6
    bare = results(suite_of(LookupCalculator(FRAMES), level, case))
    assert min(abs(bare[name].verdict.deviation) for name in ("atop_energy", "profile_mae")) > 1e-3


def test_the_reference_is_the_stored_energy_with_the_term_of_each_frame(case):
    top, crystal = (next(f for f in FRAMES if abs(f.info["slide"] - u) < 1e-4) for u in (1 / 3, 0.0))
    rows, added = results(suite_of(right(), LEVEL, case)), term("PBE", "D3(BJ)")
    stored, with_term = ([sum(c.get_potential_energy(f) for c in of(f)) for f in (top, crystal)]
                         for of in (lambda f: [f.calc], lambda f: [f.calc, added]))  # fmt: skip
    expected = rows["atop_energy"].expectation
    assert expected.value == pytest.approx(with_term[0] - with_term[1], abs=1e-8)
    assert case.expectation("atop_energy").value == pytest.approx(stored[0] - stored[1], abs=1e-8)
    assert expected.level_of_theory == LEVEL
    assert "; D3(BJ) added by dftd3 " in expected.source
    assert rows["periodicity"].expectation.level_of_theory == "exact"
    assert case.level_of_theory == "PBE"


def test_another_damping_and_no_term_at_all_are_other_references(case):
    pytest.importorskip("dftd3")
    values = {
        level: results(suite_of(LookupCalculator(FRAMES), level, case))["atop_energy"].expectation.value
        for level in ("PBE", LEVEL, "PBE+D3(0)")
    }
    assert len({round(value, 3) for value in values.values()}) == 3


@pytest.mark.parametrize("level", ["PBE+D3", "PBE+D4", "r2SCAN+D3(BJ)", "PBE+U+D3(BJ)"])
def test_what_is_not_that_term_on_that_functional_stays_apart(case, level):
    rows = results(suite_of(LookupCalculator(FRAMES), level, case))
    assert rows["atop_energy"].verdict.state is State.NOT_COMPARABLE
    assert rows["atop_energy"].expectation.level_of_theory == "PBE"


def test_without_the_library_nothing_is_judged_and_one_line_says_why(case, monkeypatch):
    monkeypatch.setitem(sys.modules, "dftd3.ase", None)
    verdict = results(suite_of(LookupCalculator(FRAMES), LEVEL, case))["atop_energy"].verdict
    assert verdict.state is State.NOT_COMPARABLE
    assert "D3(BJ) is added by the package 'dftd3', which is not installed; pip install" in verdict.reason


def test_what_was_relaxed_without_the_term_gets_none():
    found = load_case(DIRECTORY / "migration" / "vacancy_Cu.toml")
    suite = suite_of(LookupCalculator(FRAMES), LEVEL, found)
    _, why_not = suite._case_for("model", found.id)
    says = "D3(BJ) can be added to energies of given structures, not to what was relaxed without it"
    assert set(why_not.values()) == {says}


@pytest.mark.parametrize(("stated", "says"), [
    (False, "with D3(BJ) the reference has no number for it: not bracketed"),
    (True, "its value is stated, and not worked out of energies to which D3(BJ) could be added"),
])  # fmt: skip
def test_what_the_reference_does_not_give_with_the_term_says_why(case, monkeypatch, stated, says):
    pytest.importorskip("dftd3")
    known = case.reference.values
    if stated:
        values = {name: value for name, value in known.items() if name != "atop_energy"}
        case = replace(case, reference=case.reference.model_copy(update={"values": values}))
    else:
        lost = Value(value=None, unit="meV/A^2", problem=Problem(state="error", reason="not bracketed"))
        given = case.reference.model_copy(update={"values": known | {"atop_energy": lost}})
        monkeypatch.setattr("mlff_probes.cases.dispersion.reference_measurement", lambda *_: given)
    suite = suite_of(LookupCalculator(FRAMES), LEVEL, case)
    (request,) = [each for each in suite.requests("fixed_gap_slide") if each.quantity == "atop_energy"]
    verdict = suite.result(request).verdict
    assert verdict.state is State.NOT_COMPARABLE
    assert f"the reference is PBE, model learned {LEVEL}; {says}; it is judged all the same" in verdict.reason


def test_the_scorecard_holds_and_draws_both_references(case):
    suite = suite_of(right(), LEVEL, case)
    rows = list(results(suite).values())
    card = Scorecard.build(
        calculators=[c.identity for c in suite.calculators], cases=suite.cases, results=rows, selected=len(rows),
        measurements=suite.measurements.values(), measured_s=0.0, corrected=suite.corrected([case.id]),
        options=RunOptions(tier="full", strict=False, any_level_of_theory=False),
    )  # fmt: skip
    assert card == Scorecard.model_validate_json(card.model_dump_json())
    (summary,) = card.cases
    (corrected,) = summary.corrected
    assert (summary.level_of_theory, corrected.calculator) == ("PBE", LEVEL)
    text = markdown.render(card)
    assert "- Also at PBE+D3(BJ): mlff-probes: CP2K 2023.1, PBE, 8x8x4 k-points" in text
    assert "D3(BJ) added by dftd3 " in text
    picture = figures.draw_cases(card, card.cases)
    (legend,) = (axes.get_legend() for axes in picture.subfigs[0].axes if axes.get_legend())
    assert {"PBE", LEVEL, "model"} == {text.get_text() for text in legend.get_texts()}
