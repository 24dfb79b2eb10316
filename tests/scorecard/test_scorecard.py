"""The rendered scorecard: what a reader sees, from data whose numbers are known."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from cards import card_of, counted, lookup
from support import STORED, tally

from mlff_probes.cases.load import load_cases
from mlff_probes.cases.tolerances import load_policy
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import State, Verdict
from mlff_probes.core.units import number
from mlff_probes.measure import BY_KIND
from mlff_probes.scorecard import files
from mlff_probes.scorecard.reports import figures, markdown, terminal
from mlff_probes.scorecard.reports.annotations import annotate
from mlff_probes.scorecard.reports.text import failure_text, identity_lines, verdict_line
from mlff_probes.scorecard.schema import json_schema
from mlff_probes.session.suite import Suite

ROOT = Path(__file__).parents[2]
PATHS_AND_SLIDES = [case for case in STORED if case.family in ("migration", "sliding")]
MEASURED = sum(len(case.quantities) for case in PATHS_AND_SLIDES)


@pytest.fixture(scope="module")
def card():
    return card_of([lookup(lambda f: 0.2 * (f.info.get("path") == "ingap" and f.info["image"] == 2))])


def test_table_has_every_column_and_number(card):
    text = terminal.render(card, width=130)
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith("family"))
    assert " ".join(head.split()) == "family case quantity measured reference deviation tolerance unit verdict"
    row = next(line for line in lines if "cr_sb2te3_in_gap" in line)
    assert row.split() == ["cr_sb2te3_in_gap", "barrier", "1.705", "1.505", "+0.200", "0.1", "eV", "✗", "failed"]
    passed = next(line for line in lines if "reaction_energy" in line)
    assert passed.split() == ["reaction_energy", "0.241", "0.241", "+0.000", "0.1", "eV", "✓", "passed"]
    assert lines[-1] == f"verdict: FAILED ({tally(PATHS_AND_SLIDES, failed=2)})"
    assert all(len(line) <= 130 for line in lines)


def test_a_narrow_terminal_gets_whole_words_and_numbers(card):
    text = terminal.render(card, width=80)
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines)
    at = lines.index("sb2te3_relaxed_gap")
    assert lines[at + 1].split() == ["atop_energy", "0.0381", "0.0381", "+0.0000", "0.015*", "eV/cell", "✓", "passed"]
    for row in card.results:
        assert any(line.startswith(f"{row.quantity} ") for line in lines)


def test_summary_counts_and_time_add_up(card):
    text = terminal.render(card, width=130)
    summary = text[text.index("by family") :].splitlines()
    assert summary[1].split() == ["family", "passed", "failed", "reported"]
    assert summary[3].split() == ["migration", *map(str, counted(card, "migration"))]
    assert summary[4].split() == ["sliding", *map(str, counted(card, "sliding"))]
    assert counted(card, "migration")[1] == 2 and counted(card, "sliding")[1] == 0
    spent = card.time.model_s
    assert f"{spent:.2f} s inside the model, {2 - spent:.2f} s outside ({50 * (2 - spent):.1f} %) of 2.00 s" in text
    called = card.time.model_calls
    assert called > len(card.cases) and f"model calls: {called} structures in {called} forward passes" in text


def test_color_only_where_it_is_wanted(card):
    assert "\x1b[" not in terminal.render(card)
    assert "\x1b[31m✗ failed" in terminal.render(card, color=True)


def test_failure_text_is_the_whole_account(card):
    row = next(r for r in card.results if r.quantity == "barrier")
    text = failure_text(row)
    assert text.splitlines()[0] == "barrier: measured 1.705, reference 1.505 eV: off by +0.200, tolerance 0.1"
    for part in (
        "measured   1.705 eV",
        "reference  1.505 ± 0.08 eV  (PBE)",
        "deviation  +0.200 eV",
        "factor of about 7",
        "source     mlff-probes: CP2K",
        "Look first at it.",
    ):
        assert part in text
    slide = next(r for r in card.results if r.quantity == "atop_energy")
    assert "J/m^2" in failure_text(slide)


def test_numbers():
    assert number(-0.0001, "eV") == "0.000"
    assert number(0.00049, "eV/cell", sign=True) == "+0.0005"
    assert number(None, "eV") == "—"
    assert number(-1.23456, "eV", sign=True) == "-1.235"
    assert number(-2.5e300, "eV", sign=True) == "-2.5e+300"


def test_json_round_trip_and_schema(card, tmp_path):
    (path,) = files.write(card, tmp_path / "card.json")
    assert files.read(path) == card
    data = json.loads(path.read_text())
    assert data["schema_version"] == 1
    jsonschema.Draft202012Validator(json_schema()).validate(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json_schema()).validate({**data, "verdict": "fine"})


def test_committed_schema_is_current():
    committed = json.loads((ROOT / "docs" / "scorecard.schema.json").read_text())
    assert committed == json_schema(), "run: make schema"


def test_a_file_that_is_no_scorecard(tmp_path):
    (tmp_path / "card.json").write_text('{"schema_version": 2}')
    with pytest.raises(InputError, match="a scorecard of schema version 2, and this mlff-probes reads 1"):
        files.read(tmp_path / "card.json")
    with pytest.raises(InputError, match=r"absent\.json"):
        files.read(tmp_path / "absent.json")


def test_markdown_links_a_figure_for_every_case(card, tmp_path):
    written = files.write(card, tmp_path / "card.md")
    text = written[0].read_text()
    assert text.startswith(f"# Scorecard\n\n**verdict: FAILED ({tally(PATHS_AND_SLIDES, failed=2)})**")
    assert len(written) == 1 + len(card.cases) == 1 + len(PATHS_AND_SLIDES)
    for figure in written[1:]:
        assert figure.read_bytes().startswith(b"\x89PNG")
        assert f"](card_figures/{figure.name})" in text
    assert "| cr_sb2te3_in_gap | barrier | 1.705 | 1.505 | +0.200 | 0.1 | eV | ✗ failed |" in text
    assert "force perpendicular to the path at its inner images: 0.57, 0.88, 0.71 eV/A" in text
    assert "Context, not judged: in-gap barrier by relaxed NEB, MACE foundation: 0.41 eV" in text


def test_figures_draw_reference_and_every_calculator():
    card = card_of([lookup(), lookup(lambda _: 1.0, label="shifted")])
    levels = {case.id: case.level_of_theory for case in STORED}
    for case in card.cases:
        figure = figures.draw_cases(card, [case])
        labels = {text.get_text() for axes in figure.axes for legend in [axes.get_legend()] if legend
                  for text in legend.get_texts()}  # fmt: skip
        assert {levels[case.id], "LookupCalculator", "shifted"} <= labels
        assert figure.subfigs[0].get_suptitle().split() == case.title.split()


def test_overrides_and_forced_comparisons_are_shown(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[migration.barrier]\nvalue = 0.3\nunit = "eV"\nreason = "a first look"\n')
    card = card_of(
        [lookup()], cases=load_cases(policy=load_policy(file)), options={"tolerances": str(file)}, kinds=("fixed_path",)
    )
    text = terminal.render(card, width=130)
    assert " 0.3† " in text
    assert f"note: tolerances overridden by {file}: migration.barrier 0.3 eV" in " ".join(text.split())
    assert "tolerances overridden" in markdown.render(card)


@pytest.mark.parametrize(
    ("more", "interrupted", "says"),
    [(0, "", f"verdict: PASSED ({tally(PATHS_AND_SLIDES)})"),
     (11, "", f"verdict: INCOMPLETE ({tally(PATHS_AND_SLIDES)}): {MEASURED} of {MEASURED + 11} quantities have a"),
     (11, "interrupted", f"{MEASURED} of {MEASURED + 11} quantities have a verdict, interrupted")],
)  # fmt: skip
def test_a_run_cut_short_says_so(more, interrupted, says):
    card = card_of([lookup()], selected=MEASURED + more, interrupted=interrupted)
    assert says in verdict_line(card)
    assert says in terminal.render(card, width=130)
    assert card.complete == (not more)


def test_nothing_judged_is_not_green():
    card = card_of([lookup(elements=("Cu",))])
    assert {row.verdict.state for row in card.results} == {State.NOT_APPLICABLE}
    assert card.verdict == "nothing judged"
    text = terminal.render(card, width=130)
    assert "– not applicable [1]" in text
    assert "LookupCalculator does not know Cr, Sb, Te" in text


def test_another_level_of_theory_is_shown_but_not_judged():
    other = lookup(level_of_theory="r2SCAN")
    card = card_of([other], kinds=("fixed_gap_slide",))
    states = {row.quantity: row.verdict.state for row in card.results}
    assert states["atop_energy"] is State.NOT_COMPARABLE
    assert states["periodicity"] is State.PASSED  # an exact law binds every level of theory
    assert card.verdict == "nothing judged"  # but laws alone are no comparison with DFT
    assert all(row.verdict.deviation is not None for row in card.results)
    suite = Suite([other], load_cases(), any_level_of_theory=True)
    forced = {suite.result(request).verdict.state for request in suite.requests("fixed_gap_slide")}
    assert forced == {State.PASSED}


def test_two_calculators_of_one_name_are_refused():
    with pytest.raises(InputError, match="two calculators are called 'LookupCalculator'"):
        Suite([lookup(), lookup()], load_cases())


@pytest.mark.parametrize(
    ("path", "says"), [("card.htm", "known are .json, .md"), ("card", "unknown format ''"), ("", "is a directory")]
)
def test_unusable_scorecard_paths(path, says, tmp_path):
    with pytest.raises(InputError, match=says):
        files.check_path(tmp_path / path)


def test_checking_a_path_leaves_no_file_behind(tmp_path):
    files.check_path(tmp_path / "new" / "card.json")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        files.check_path(tmp_path / "file" / "card.json")


def test_a_table_that_nobody_could_read_shows_what_did_not_pass():
    card = card_of([lookup(lambda f: 0.2 * (f.info.get("path") == "ingap" and f.info["image"] == 2))])
    many = card.model_copy(update={"results": card.results * (terminal.MOST_ROWS // len(card.results) + 1)})
    text = terminal.render(many, width=130)
    assert "✓ passed" not in text
    assert text.count("✗ failed") == many.results.count(card.results[0]) * sum(
        row.verdict.state is State.FAILED for row in card.results
    )
    assert f"of {len(many.results)} rows are not shown, all that passed among them" in text


ODD = "a\x1b[2Jb\x9b1m\u202ec\u2066\u2028d"
"""Clears a terminal, colours it, turns the direction of what follows, and ends a line."""

WRITERS = {
    "terminal": terminal.render,
    "coloured": lambda card: re.sub(r"\x1b\[[\d;]+m", "", terminal.render(card, color=True)),
    "markdown": markdown.render,
    "annotations": lambda card: "\n".join(annotate(card)),
    "failure": lambda card: failure_text(card.results[0]),
    "header": lambda card: "\n".join(identity_lines(card.calculators[0])),
    "verdict": verdict_line,
}


def with_texts(card, text):
    """`card` with this label, reason, title, note and so on."""
    verdict = Verdict(state=State.ERROR, reason=text)
    rows = [row.model_copy(update={"calculator": text, "look_first": text, "verdict": verdict}) for row in card.results]
    cases = [case.model_copy(update={"title": text, "notes": (text,)}) for case in card.cases]
    identity = card.calculators[0].model_copy(update={"label": text, "spec": text})
    return card.model_copy(
        update={"calculators": (identity,), "cases": tuple(cases), "results": tuple(rows), "interrupted": text}
    )


@pytest.mark.parametrize("writer", WRITERS)
def test_no_text_of_a_scorecard_commands_a_terminal(card, writer):
    text = WRITERS[writer](with_texts(card, ODD))
    assert "a\ufffd[2Jb\ufffd1m\ufffdc\ufffd\ufffdd" in text
    assert not set(text) & set(ODD) - set("a[2Jb1mcd")


def test_no_text_of_a_scorecard_ends_a_row_or_an_item_of_markdown(card):
    lines = markdown.render(with_texts(card, "one\ntwo | three")).splitlines()
    assert len(lines) == len(markdown.render(with_texts(card, "one")).splitlines())
    rows = [line for line in lines if "| ! error: one two \\| three |" in line]
    assert len(rows) == len(card.results)
    assert "- one two | three" in lines


def test_a_broken_figure_costs_no_other_and_not_the_text(tmp_path, monkeypatch):
    card = card_of([lookup()])

    def broken(*_):
        raise ValueError("no such colour")

    kind = BY_KIND["relaxed_gap_slide"]
    monkeypatch.setitem(BY_KIND, kind.name, replace(kind, drawing=replace(kind.drawing, draw=broken)))
    written = files.write(card, tmp_path / "card.md")
    spoilt = sum(case.protocol.kind == kind.name for case in STORED)
    assert len(written) == 1 + len(card.cases) - spoilt
    assert "the figure of sb2te3_relaxed_gap could not be drawn: ValueError: no such colour" in written[0].read_text()


def test_what_a_calculator_left_behind_and_what_it_claims_is_said_once():
    found = lookup(label="leaky", dtype="float64", left_behind=("numpy's random state",))
    card = card_of([found])
    seen = [
        each.model_copy(
            update={"diagnostics": {"left_behind": ["the working directory (to /tmp)"], "computed_in": "float32"}}
        )
        for each in card.measurements
    ]
    noted = terminal.notes(card.model_copy(update={"measurements": tuple(seen)}))
    said = [note for note in noted if note.startswith("leaky ") and "level of theory" not in note]
    assert said == [
        "leaky says that it computes in float64, and computes in float32: mend what makes it",
        "leaky changes numpy's random state and the working directory (to /tmp): so it is in its own calls, and put "
        "back for all else",
    ]
