"""What a number stands on is shown beside it in every report, also where it passed."""

from __future__ import annotations

import csv
import io

import pytest
from cards import card_of, card_of_rows, named, row

from mlff_probes.core.judge import judge
from mlff_probes.core.records import MinimumShare, Samples
from mlff_probes.scorecard.model import Scorecard
from mlff_probes.scorecard.ranks import side_by_side
from mlff_probes.scorecard.reports import markdown, notebook, page, terminal
from mlff_probes.scorecard.reports.csv import as_csv
from mlff_probes.scorecard.reports.text import failure_text
from mlff_probes.session.fixture import properties


def on(used, of, *, calculator="a"):
    """A result off by 0.05 of 0.1 that stands on some of its samples."""
    left_out = {"alone in their composition": of - used} if of > used else {}
    plain = row(calculator, "barrier", 0.05)
    measured = plain.measured.model_copy(
        update={"samples": Samples(used=used, of=of, what="frames", left_out=left_out)}
    )
    expected = plain.expectation.model_copy(update={"minimum_share": MinimumShare(value=0.9, reason="so it is")})
    update = {"measured": measured, "expectation": expected, "verdict": judge(measured, expected)}
    return plain.model_copy(update=update)


@pytest.mark.parametrize(("used", "state"), [(38, "passed"), (3, "error")])
def test_every_report_says_what_was_left_out(used, state):
    card = card_of_rows(on(used, 40))
    counts = f"{40 - used} alone in their composition"
    for text in (
        terminal.render(card),
        markdown.render(card),
        notebook.table(card),
        page.render([page.Source("card.json", card)]),
    ):
        flat = " ".join(text.split())
        assert f"{used} of 40 frames" in flat
        assert counts in flat
        assert state in flat
    assert f"({used} of 40)" in next(line for line in terminal.render(card).splitlines() if "barrier" in line)
    (line,) = csv.DictReader(io.StringIO(as_csv(card)))
    assert (line["samples"], line["samples_of"], line["samples_left_out"]) == (str(used), "40", counts)
    assert Scorecard.model_validate_json(card.model_dump_json(), strict=False).results == card.results
    assert ("samples", f"{used} of 40 frames; {counts}") in properties(card.results[0])
    assert counts in failure_text(card.results[0])


def test_nothing_is_said_where_nothing_was_left_out():
    card = card_of_rows(on(40, 40))
    for text in (terminal.render(card), markdown.render(card), page.render([page.Source("card.json", card)])):
        assert "of 40" not in text


def test_what_is_said_already_is_not_said_twice():
    assert terminal.render(card_of_rows(on(3, 40))).count("37 alone in their composition") == 1


def test_side_by_side_shows_who_was_judged_on_less():
    assert side_by_side(card_of_rows(on(38, 40), on(40, 40, calculator="b"))).rows[0][4:] == [
        "+0.050 (38 of 40) ✓",
        "+0.050 ✓",
    ]


def test_a_share_that_somebody_set_is_shown_with_its_reason():
    found = on(30, 40)
    for origin in ("case", "override"):
        least = MinimumShare(value=0.7, reason="the rest is odd", origin=origin)
        mine = found.model_copy(update={"expectation": found.expectation.model_copy(update={"minimum_share": least})})
        card = card_of([named("a")], kinds=("fixed_path",), options={"tolerances": "mine.toml"})
        case = card.cases[0].id
        card = card.model_copy(update={"results": (mine.model_copy(update={"case": case}),)})
        said = "judged on at least 70 % of its samples: the rest is odd"
        for text in (markdown.render(card), page.render([page.Source("card.json", card)])):
            assert said in text
        note = "note: share of the samples that is enough, by mine.toml: migration 70 %"
        assert (note in terminal.render(card)) == (origin == "override")
