"""A model of the Materials Project's mixture is judged by PBE in tellurides and by PBE+U in oxides of iron."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import DoubleWell, double_well_path

from mlff_probes.calculators.base import as_calculator
from mlff_probes.core.case import Case
from mlff_probes.core.records import Expectation, State, Tolerance
from mlff_probes.measure.migration.protocols import FixedPath
from mlff_probes.scorecard.model import RunOptions, Scorecard
from mlff_probes.scorecard.reports import terminal
from mlff_probes.session.suite import Suite


def case_of(id: str, symbols: str, level: str) -> Case:
    frames = double_well_path()
    for frame in frames:
        frame.symbols = symbols
    expected = Expectation(
        quantity="barrier", value=0.7, unit="eV", uncertainty=0.0, level_of_theory=level, source="test",
        tolerance=Tolerance(value=0.06, unit="eV", reason="For the test."),
    )  # fmt: skip
    return Case(
        id=id, family="migration", title="a hop", tier="quick", frames=tuple(frames), stored=None, source="test",
        protocol=FixedPath(kind="fixed_path", migrating_atom=1, path_made_by="hand"), level_of_theory=level,
        expectations=(expected,),
    )  # fmt: skip


CASES = [
    case_of("telluride", "TeCr", "PBE"), case_of("cathode", "OFe", "PBE+U"), case_of("oxide_without_u", "OFe", "PBE"),
    case_of("telluride_with_u", "TeCr", "PBE+U"), case_of("of_mp", "OFe", "MP"),
]  # fmt: skip


def run(level: str, cases=CASES) -> Scorecard:
    found = as_calculator(DoubleWell(0.7))
    model = replace(found, identity=found.identity.model_copy(update={"label": "model", "level_of_theory": level}))
    suite = Suite([model], cases)
    results = [suite.result(request) for request in suite.requests("fixed_path")]
    return Scorecard.build(
        calculators=[model.identity], cases=cases, results=results, measurements=suite.measurements.values(),
        selected=len(results), measured_s=0.0,
        options=RunOptions(tier="quick", strict=False, any_level_of_theory=False),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("level", "judged"),
    [
        ("MP", {"telluride", "cathode", "of_mp"}),
        ("PBE", {"telluride", "oxide_without_u"}),
        ("PBE+U", {"cathode", "telluride_with_u", "of_mp"}),
        ("MP+D3(BJ)", set()),
    ],
)
def test_each_case_is_judged_by_the_level_of_its_structures(level, judged):
    card = run(level)
    assert {row.case for row in card.results if row.verdict.state is State.PASSED} == judged
    others = [row for row in card.results if row.case not in judged]
    assert {row.verdict.state for row in others} == {State.NOT_COMPARABLE}


def test_the_scorecard_says_what_the_mixture_was():
    card = run("MP")
    here = {row.case: row.calculator_level for row in card.results}
    assert here["telluride"] == here["telluride_with_u"] == "PBE"
    assert here["cathode"] == here["oxide_without_u"] == "PBE+U"
    assert card == Scorecard.model_validate_json(card.model_dump_json())
    text = " ".join(terminal.render(card, width=400).split())
    assert "the reference is PBE, model learned MP (PBE+U here)" in text
    assert (
        "model learned MP, which depends on the structure: here it is PBE in telluride, telluride_with_u; "
        "PBE+U in cathode, oxide_without_u, of_mp"
    ) in text
    assert {row.calculator_level for row in run("PBE").results} == {""}


@pytest.mark.parametrize(
    ("reference", "learned", "says"),
    [
        ("MP", "MP", ""),
        (
            "PBE",
            "MP",
            "the reference is PBE, model learned MP (PBE and PBE+U here); a case with structures of both is judged",
        ),
        (
            "MP",
            "PBE",
            "the reference is MP (PBE and PBE+U here), model learned PBE; a case with structures of both is judged",
        ),
    ],
)
def test_a_case_of_both_is_judged_by_the_mixture_alone(reference, learned, says):
    plain, with_u = case_of("mixed", "TeCr", reference), case_of("mixed", "OFe", reference)
    mixed = replace(plain, frames=plain.frames[:1] + with_u.frames[1:])
    (row,) = run(learned, [mixed]).results
    assert (row.verdict.state is State.NOT_COMPARABLE) == bool(says)
    assert says in row.verdict.reason
