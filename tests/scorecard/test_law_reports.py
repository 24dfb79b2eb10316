"""How broken laws are reported: the row, the picture, and the files of the worst example."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from cards import card_of
from matplotlib.text import Text

from mlff_probes.calculators.registry import load_calculator
from mlff_probes.cases.load import load_cases
from mlff_probes.core.records import Expectation, ProbeResult, State, Tolerance, Value, Verdict
from mlff_probes.scorecard import files
from mlff_probes.scorecard.model import overall_verdict
from mlff_probes.scorecard.reports import figures
from mlff_probes.scorecard.reports.text import cells, failure_text
from mlff_probes.scorecard.reports.worst import MARK

LAWS = ("symmetry", "derivatives", "smoothness", "short_range_wall", "reproducibility")


@pytest.fixture(scope="module")
def card():
    """Lennard-Jones breaks one law, that forces do not jump at the cutoff; EMT none."""
    cases = [case for case in load_cases() if case.family == "physicality"]
    return card_of([load_calculator("ase:LennardJones"), load_calculator("ase:EMT")], cases=cases, kinds=LAWS)


def test_lennard_jones_breaks_one_law_and_emt_none(card):
    states = {(row.calculator, row.quantity): row.verdict.state for row in card.results}
    unusual = {key: state for key, state in states.items() if state is not State.PASSED}
    assert unusual.pop(("LennardJones", "force_jump")) is State.FAILED
    assert set(unusual.values()) == {State.NOT_APPLICABLE}  # other precisions and batches, which ASE's own have not
    assert {quantity.rpartition("_")[0] for _, quantity in unusual} == {"batch", "float32"}


def test_the_jump_is_that_of_the_formula(card):
    (row,) = (row for row in card.results if (row.calculator, row.quantity) == ("LennardJones", "force_jump"))
    # 24 (2 / r^13 - 1 / r^7) at the cutoff of 3; two pairs of two atoms that cross it together feel it twice
    slope = 24 * (2 / 3**13 - 1 / 3**7)
    assert row.measured.value == pytest.approx(2e3 * abs(slope), rel=1e-3)
    assert "drawn apart" in row.measured.note
    assert row.measured.note in failure_text(row)


def test_every_law_has_a_picture_without_formulas_in_it(card, tmp_path):
    written, problems = figures.write_figures(card, tmp_path)
    assert set(written) == set(LAWS)
    assert not problems
    for case in card.cases:
        drawn = figures.draw_cases(card, [case])
        drawn.canvas.draw()
        assert not any("$" in text.get_text() for text in drawn.findobj(Text))


def test_the_worst_example_is_written_and_shows_what_is_wrong(card, tmp_path):
    folder = tmp_path / "card_worst"
    folder.mkdir()
    (folder / "old.py").write_text(f"{MARK}something else")
    (folder / "old.extxyz").write_text("")
    (folder / "mine.py").write_text("print('mine')")
    written = files.write(card, tmp_path / "card.md")
    names = ["LennardJones-smoothness-force_jump.extxyz", "LennardJones-smoothness-force_jump.py"]
    assert sorted(path.name for path in folder.iterdir()) == [*names, "mine.py"]
    assert {folder / name for name in names} <= set(written)
    assert f"([script](card_worst/{names[1]}))" in (tmp_path / "card.md").read_text()
    run = subprocess.run([sys.executable, folder / names[1]], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "the force jumps by 21.89 meV/A" in run.stdout


def test_a_run_without_broken_laws_leaves_nothing(card, tmp_path):
    emt = card.model_copy(update={"results": tuple(row for row in card.results if row.calculator == "EMT")})
    files.write(emt, tmp_path / "card.json")
    assert [path.name for path in tmp_path.iterdir()] == ["card.json"]


def test_all_examples_can_be_read_back(card):
    for measurement in card.measurements:
        for quantity, worst in measurement.diagnostics["worst"].items():
            assert worst["value"] == measurement.values[quantity].value == max(measurement.arrays[quantity])
            assert np.isfinite(measurement.arrays[quantity]).all()
            assert "Lattice=" in worst["extxyz"]


def row(state, *, level="exact", value=0.00004, tolerance=1e-4):
    expected = Expectation(
        quantity="rotation_energy", value=0.0, unit="meV/atom", uncertainty=0.0, level_of_theory=level, source="exact",
        tolerance=Tolerance(value=tolerance, unit="meV/atom", reason="a law."),
    )  # fmt: skip
    return ProbeResult(
        calculator="c", family="physicality", case="symmetry", quantity="rotation_energy",
        measured=Value(value=value, unit="meV/atom"), expectation=expected,
        verdict=Verdict(state=state, deviation=value if state is State.PASSED else None, reason="" if value else "why"),
    )  # fmt: skip


def test_a_small_number_is_shown_as_finely_as_it_is_judged():
    assert cells(row(State.PASSED))["measured"] == "0.00004"
    assert cells(row(State.PASSED, tolerance=0.1))["measured"] == "0.00"


@pytest.mark.parametrize(
    ("rows", "verdict"),
    [
        ([State.PASSED], "passed"),
        ([State.PASSED, State.NOT_APPLICABLE], "passed"),  # a law that cannot be tried takes no reference away
        ([State.NOT_APPLICABLE], "nothing judged"),
        ([State.PASSED, State.FAILED], "failed"),
    ],
)
def test_laws_alone_make_a_run_green_if_nothing_else_was_asked(rows, verdict):
    assert overall_verdict(map(row, rows), strict=False, incomplete=False) == verdict


def test_laws_alone_make_no_run_green_whose_references_were_left_out():
    rows = [row(State.PASSED), row(State.NOT_APPLICABLE, level="PBE")]
    assert overall_verdict(rows, strict=False, incomplete=False) == "nothing judged"
