"""Several checkpoints under one label: judged one by one, summarised by mean and spread."""

from __future__ import annotations

import csv
import io
import re
import statistics
import sys
from dataclasses import replace

import pytest
from support import DoubleWell, double_well_path

from mlff_probes.calculators.base import as_calculator
from mlff_probes.core.case import Case
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import Expectation, State, Tolerance
from mlff_probes.measure.migration.protocols import FixedPath
from mlff_probes.scorecard.model import RunOptions, Scorecard
from mlff_probes.scorecard.reports import csv as rows
from mlff_probes.scorecard.reports import markdown, terminal
from mlff_probes.session.suite import Suite, number_replicates

HEIGHTS = (0.65, 0.70, 0.78)
TOLERANCE = Tolerance(value=0.06, unit="eV", reason="For the test.")
CASE = Case(
    id="hop",
    family="migration",
    title="A double well",
    tier="quick",
    protocol=FixedPath(kind="fixed_path", migrating_atom=1, path_made_by="hand"),
    frames=tuple(double_well_path()),
    stored=None,
    level_of_theory="PBE",
    source="test",
    expectations=(
        Expectation(
            quantity="barrier", value=0.7, unit="eV", uncertainty=0.0, level_of_theory="PBE", source="test",
            tolerance=TOLERANCE,
        ),
    ),
)  # fmt: skip


def calculator(height, label, *, labelled=True, spec=None, **said):
    found = as_calculator(DoubleWell(height))
    identity = found.identity.model_copy(update={"label": label, "spec": spec or f"well:{height}", **said})
    return replace(found, identity=identity, labelled=labelled)


def card_of(calculators):
    suite = Suite(calculators, [CASE])
    results = [suite.result(request) for request in suite.requests("fixed_path")]
    return Scorecard.build(
        calculators=[c.identity for c in suite.calculators], cases=[CASE], results=results,
        measurements=suite.measurements.values(), selected=len(results), measured_s=0.0,
        options=RunOptions(tier="quick", strict=False, any_level_of_theory=False),
    )  # fmt: skip


@pytest.fixture(scope="module")
def card():
    return card_of([*(calculator(h, "ft600k") for h in HEIGHTS), calculator(0.7, "alone")])


def test_each_replicate_is_judged_under_its_own_name(card):
    verdicts = {row.calculator: row.verdict.state for row in card.results}
    assert verdicts == {
        "ft600k.1": State.PASSED, "ft600k.2": State.PASSED, "ft600k.3": State.FAILED, "alone": State.PASSED,
    }  # fmt: skip
    assert card.verdict == "failed"


def test_mean_and_spread(card):
    (spread,) = card.replicates
    assert (spread.replicate_of, spread.case, spread.quantity) == ("ft600k", "hop", "barrier")
    assert spread.mean == pytest.approx(statistics.mean(HEIGHTS))
    assert spread.standard_deviation == pytest.approx(statistics.stdev(HEIGHTS))
    assert (spread.lowest, spread.highest, spread.reference) == pytest.approx((0.65, 0.78, 0.7))
    assert (spread.replicates, spread.measured, spread.passed) == (3, 3, 2)
    assert Scorecard.model_validate_json(card.model_dump_json()) == card


def test_what_the_reports_show(card):
    text = terminal.render(card, width=120)
    assert "ft600k: mean and spread (standard deviation) over 3 replicates" in text
    row = next(line for line in text.splitlines() if re.search(r"barrier +0\.710", line))
    assert row.split() == [
        "hop",
        "barrier",
        "0.710",
        "0.066",
        "0.650",
        "0.780",
        "0.700",
        "eV",
        "3",
        "of",
        "3",
        "2",
        "of",
        "3",
    ]
    assert "| hop | barrier | 0.710 | 0.066 | 0.650 | 0.780 | 0.700 | eV | 3 of 3 | 2 of 3 |" in markdown.render(card)


def test_a_replicate_without_a_value_is_not_hidden_in_the_mean():
    class Broken(DoubleWell):
        def calculate(self, *args, **kwargs):
            raise RuntimeError("broken")

    from dataclasses import replace

    broken = calculator(0.1, "ft600k")
    card = card_of([calculator(0.7, "ft600k"), replace(broken, ase=Broken())])
    (spread,) = card.replicates
    assert (spread.replicates, spread.measured, spread.passed) == (2, 1, 1)
    assert spread.standard_deviation is None
    assert card.verdict == "failed"


def test_csv_holds_every_row_and_the_means(card):
    found = list(csv.DictReader(io.StringIO(rows.as_csv(card))))
    assert [row["calculator"] for row in found] == ["ft600k.1", "ft600k.2", "ft600k.3", "alone", "ft600k"]
    assert [row["replicate_of"] for row in found] == ["ft600k"] * 3 + ["", "ft600k"]
    first, mean = found[0], found[-1]
    assert float(first["measured"]) == pytest.approx(0.65)
    assert (first["verdict"], first["tolerance_origin"], first["spread"]) == ("passed", "policy", "")
    assert float(mean["measured"]) == pytest.approx(0.71)
    assert float(mean["spread"]) == pytest.approx(statistics.stdev(HEIGHTS))
    assert (mean["replicates"], mean["verdict"]) == ("3", "2 of 3 passed")


def test_dataframe_has_the_columns_of_the_csv(card):
    frame = rows.as_dataframe(card)
    assert tuple(frame.columns) == rows.COLUMNS
    assert len(frame) == 5
    assert frame[frame.calculator == "alone"].measured.item() == pytest.approx(0.7)


def test_a_dataframe_without_pandas_says_how_to_install_it(card, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pip install 'path/to/mlff-probes\[notebook\]' \(a checkout or a wheel\)"):
        rows.as_dataframe(card)


@pytest.mark.parametrize(
    ("calculators", "says"),
    [
        ([calculator(0.7, "x", labelled=False), calculator(0.8, "x")], "two calculators are called 'x'; add ,label="),
        ([calculator(0.7, "x", spec="a"), calculator(0.8, "x", spec="a")], "two replicates called 'x' are the same"),
        ([calculator(0.7, "x"), calculator(0.8, "x"), calculator(0.9, "x.2")], "a replicate would be called 'x.2'"),
    ],
)
def test_names_that_cannot_be_told_apart(calculators, says):
    with pytest.raises(InputError, match=re.escape(says)):
        number_replicates(calculators)


FACTORY = {"sha256": "ab" * 32, "sha256_of": "calc.py, in which make() is, not of a model"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"sha256": "ab" * 32}, {"sha256": "ab" * 32}, True),
        ({"sha256": "ab" * 32}, {"sha256": "cd" * 32}, False),
        ({}, {}, False),
        (FACTORY, FACTORY, True),
        (FACTORY | {"options": {"seed": 1}}, FACTORY | {"options": {"seed": 2}}, False),
        (FACTORY | {"files": {"path": "12"}}, FACTORY | {"files": {"path": "34"}}, False),
        (FACTORY, FACTORY | {"sha256_of": "calc.py, in which other() is, not of a model"}, False),
    ],
)
def test_what_one_factory_makes_of_other_arguments_is_another_model(one, other, same):
    pair = [calculator(0.7, "x", **one), calculator(0.8, "x", **other)]
    if same:
        with pytest.raises(InputError, match="two replicates called 'x' are the same"):
            number_replicates(pair)
    else:
        assert [each.label for each in number_replicates(pair)] == ["x.1", "x.2"]
