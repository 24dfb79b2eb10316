"""Annotations of GitHub Actions: what is shown of a run, and that no text of it can be a command."""

from __future__ import annotations

import pytest
from cards import card_of_rows, row

from mlff_probes.cli import main
from mlff_probes.scorecard.changes import Change, Comparison, Trend
from mlff_probes.scorecard.reports.annotations import MOST, annotate


def with_changes(card, *changes, fail_on="both"):
    comparison = Comparison(calculator="a", baseline="b", source="old.json", changes=changes)
    options = card.options.model_copy(update={"fail_on": fail_on})
    return card.model_copy(update={"comparisons": (comparison,), "options": options})


def change(quantity, trend=Trend.WORSE, **more):
    return Change(
        calculator="a", family="migration", case="hop", quantity=quantity, unit="eV", trend=trend,
        regression=trend in (Trend.WORSE, Trend.NEWLY_FAILING), **more,
    )  # fmt: skip


def test_the_verdict_comes_first_then_each_failure():
    lines = annotate(card_of_rows(row("a", "barrier", 0.2), row("a", "outcome", 0.0)))
    assert lines[0].startswith("::error title=force field%3A failed::verdict: FAILED (1 passed, 1 failed)")
    said = "barrier: measured 1.200, reference 1.000 eV: off by +0.200, tolerance 0.1%0A"
    assert lines[1].startswith(f"::error title=a%2C hop%3A barrier::{said}")
    assert len(lines) == 2


def test_a_green_scorecard_has_none():
    green = card_of_rows(row("a", "barrier", 0.0)).model_copy(update={"verdict": "passed"})
    assert annotate(green) == []


def test_no_text_can_end_its_annotation():
    lines = annotate(card_of_rows(row("a", "barrier", state="error", reason="100 %\r\n::set-env name=PATH::/evil")))
    assert all(line.startswith("::error ") and len(line.splitlines()) == 1 for line in lines)
    assert "100 %25\ufffd%0A::set-env" in lines[1]


def test_changes_for_the_worse_come_before_other_failures_and_once():
    card = with_changes(
        card_of_rows(row("a", "barrier", 0.2), row("a", "outcome", 0.3)),
        change("outcome", change=0.25, note="seen on image 3"), change("reverse", Trend.SAME),
    )  # fmt: skip
    _, first, second = annotate(card)
    assert first == "::error title=a%2C hop%3A outcome::worse: error +0.250 eV against the baseline: seen on image 3"
    assert "barrier" in second


@pytest.mark.parametrize(("fail_on", "shown"), [("tolerance", "barrier"), ("regression", "outcome")])
def test_only_what_the_run_is_to_fail_on_is_shown(fail_on, shown):
    card = with_changes(
        card_of_rows(row("a", "barrier", 0.2), row("a", "outcome", 0.0)), change("outcome"), fail_on=fail_on
    )
    _, only = annotate(card)
    assert shown in only


def test_failures_of_the_baseline_do_not_count():
    card = card_of_rows(row("a", "barrier", 0.0), row("b", "barrier", 0.2))
    green = card.model_copy(update={"baseline": "b", "verdict": "passed"})
    assert annotate(green) == []


@pytest.mark.parametrize("failures", [MOST - 1, MOST, 40])
def test_no_failure_is_dropped_without_a_word(failures):
    lines = annotate(card_of_rows(*(row("a", f"q{n}", 0.2) for n in range(failures))))
    assert len(lines) == MOST
    left_out = failures + 1 - (MOST - 1)
    assert (f"::{left_out} more quantities" in lines[-1]) == (failures >= MOST)


def test_the_command_prints_them(tmp_path, capsys):
    card = card_of_rows(row("a", "barrier", 0.2))
    (tmp_path / "card.json").write_text(card.model_dump_json())
    assert main(["annotate", str(tmp_path / "card.json")]) == 0
    assert capsys.readouterr().out.splitlines() == annotate(card)
    (tmp_path / "card.json").write_text("{")
    assert main(["annotate", str(tmp_path / "card.json")]) == 4
    assert "card.json: no scorecard" in capsys.readouterr().err
