"""Several calculators beside each other: the table, the rank by family, and the picture of all barriers."""

from __future__ import annotations

import pytest
from cards import card_of_rows, row
from matplotlib.figure import Figure

from mlff_probes.core.records import State
from mlff_probes.measure import styles
from mlff_probes.scorecard.ranks import LEGEND, compared, rank_table, side_by_side, standings
from mlff_probes.scorecard.reports import barriers, figures, markdown, terminal


def known_failure(result):
    verdict = result.verdict.model_copy(update={"state": State.KNOWN_FAILURE})
    return result.model_copy(update={"verdict": verdict})


def table(card):
    """The columns of the calculators by case and quantity."""
    return {(texts[0], texts[1]): texts[4:] for texts in side_by_side(card).rows}


def places(card, family="migration"):
    return {each.calculator: each.place for each in standings(card) if each.family == family}


def test_each_quantity_has_a_row_with_every_calculator():
    card = card_of_rows(
        row("a", "barrier", 0.2), row("a", "outcome", 0.0), row("b", "barrier", -0.05), row("b", "outcome", 0.0)
    )
    texts = side_by_side(card)
    assert texts.head == ("case", "quantity", "tolerance", "unit", "a", "b")
    assert texts.rows == [
        ["hop", "barrier", "0.1", "eV", "+0.200 ✗", "▸-0.050 ✓"],
        ["hop", "outcome", "0.1", "eV", "+0.000 ✓", "+0.000 ✓"],
    ]


def test_what_has_no_number_says_why_in_a_mark():
    card = card_of_rows(
        row("a", "barrier", 0.01),
        row("b", "barrier", state="error"),
        row("c", "barrier", state="not applicable"),
        row("d", "barrier", 0.02, level="it learned r2SCAN"),
        known_failure(row("e", "barrier", 0.3)),
        row("f", "outcome", 0.0),
    )
    found = table(card)
    assert found["hop", "barrier"] == ["▸+0.010 ✓", "— !", "— –", "+0.020 ≠", "+0.300 ~", ""]
    assert found["hop", "outcome"] == ["", "", "", "", "", "+0.000 ✓"]
    assert all(mark in LEGEND for mark in "▸✓✗!~–≠")


@pytest.mark.parametrize(
    ("one", "other", "marked"),
    [(0.010, 0.0101, False), (0.010, -0.010, False), (0.010, -0.018, False), (0.010, -0.022, True), (0.0, 0.0, False)],
)
def test_a_tie_within_the_margin_has_no_nearest(one, other, marked):
    (texts,) = table(card_of_rows(row("a", "barrier", one), row("b", "barrier", other))).values()
    assert [text.startswith("▸") for text in texts] == [marked, False]


def test_a_difference_within_the_uncertainties_has_no_nearest():
    unsure = card_of_rows(row("a", "barrier", 0.01, uncertainty=0.03), row("b", "barrier", 0.05, uncertainty=0.03))
    sure = card_of_rows(row("a", "barrier", 0.01, uncertainty=0.02), row("b", "barrier", 0.05, uncertainty=0.02))
    assert table(unsure)["hop", "barrier"] == ["+0.010 ✓", "+0.050 ✓"]
    assert table(sure)["hop", "barrier"] == ["▸+0.010 ✓", "+0.050 ✓"]


def test_below_a_noise_floor_nothing_is_nearer():
    below = card_of_rows(*(row(name, "jump", off, family="physicality") for name, off in (("a", 0.0), ("b", 0.09))))
    above = card_of_rows(*(row(name, "jump", off, family="physicality") for name, off in (("a", 0.0), ("b", 0.11))))
    assert table(below)["hop", "jump"] == ["+0.000 ✓", "+0.090 ✓"]
    assert table(above)["hop", "jump"] == ["▸+0.000 ✓", "+0.110 ✗"]


def test_what_is_not_known_well_enough_is_never_the_nearest():
    unresolved = row("b", "barrier", 0.01, uncertainty=0.09)
    assert unresolved.verdict.state is State.ERROR
    bound = known_failure(row("c", "barrier", 0.01, upper_bound=True))
    card = card_of_rows(row("a", "barrier", 0.05), unresolved, bound, row("d", "barrier", 0.2))
    assert table(card)["hop", "barrier"] == ["▸+0.050 ✓", "+0.010 !", "+0.010 ~", "+0.200 ✗"]


def test_what_nobody_can_be_judged_by_is_shown_and_not_ranked():
    card = card_of_rows(row("a", "barrier", 0.01, level="r2SCAN"), row("b", "barrier", 0.02, level="r2SCAN"))
    assert table(card)["hop", "barrier"] == ["+0.010 ≠", "+0.020 ≠"]
    assert standings(card) == []


def test_what_nobody_has_is_left_out_and_one_calculator_alone_has_no_table():
    nobody = card_of_rows(row("a", "barrier", state="not applicable"), row("b", "barrier", state="not applicable"))
    assert side_by_side(nobody).rows == []
    assert standings(nobody) == []
    alone = card_of_rows(row("a", "barrier", 0.2))
    assert compared(alone) == []
    assert side_by_side(alone).rows == rank_table(alone).rows == []
    for text in (terminal.render(alone), markdown.render(alone)):
        assert "side by side" not in text.lower()
        assert "rank" not in text.lower()


def test_fewer_failures_win_then_the_median():
    card = card_of_rows(
        row("a", "barrier", 0.2), row("a", "outcome", 0.0), row("a", "reverse", 0.0),
        row("b", "barrier", 0.09), row("b", "outcome", 0.09), row("b", "reverse", 0.09),
        row("c", "barrier", 0.02), row("c", "outcome", 0.02), row("c", "reverse", 0.05),
    )  # fmt: skip
    assert places(card) == {"c": 1, "b": 2, "a": 3}
    medians = {each.calculator: each.median for each in standings(card)}
    assert medians == {"a": pytest.approx(0.0), "b": pytest.approx(0.9), "c": pytest.approx(0.2)}


def test_an_error_is_never_an_advantage():
    card = card_of_rows(
        row("honest", "barrier", 0.2), row("honest", "outcome", 0.01),
        row("errs", "barrier", state="error"), row("errs", "outcome", 0.011),
    )  # fmt: skip
    assert places(card) == {"honest": 1, "errs": 1}  # wrong, both of them
    honest = card_of_rows(row("honest", "barrier", 0.09), row("errs", "barrier", state="error"))
    assert places(honest) == {"honest": 1, "errs": 2}


LACKS = {
    "an element": row("specialist", "barrier", state="not applicable"),
    "a level": row("specialist", "barrier", 0.0, level="it learned r2SCAN"),
    "left out": None,
}


@pytest.mark.parametrize("lack", LACKS)
@pytest.mark.parametrize(
    ("barrier", "outcome", "expected"),
    [
        (0.2, 0.02, {"general": 1, "specialist": 1}),  # a failure where nobody else was asked ranks nobody
        (0.0, 0.02, {"general": 1, "specialist": 1}),
        (0.2, 0.05, {"general": 1, "specialist": 2}),
        (0.0, 0.001, {"specialist": 1, "general": 2}),
    ],
)
def test_calculators_are_ranked_on_what_both_were_asked(lack, barrier, outcome, expected):
    """What a specialist never claimed is shown, and neither lifts nor lowers it."""
    rows = [row("general", "barrier", barrier), row("general", "outcome", 0.02), row("specialist", "outcome", outcome)]
    card = card_of_rows(*rows, *filter(None, [LACKS[lack]]))
    found = {each.calculator: each for each in standings(card)}
    assert {name: each.place for name, each in found.items()} == expected
    assert (found["general"].not_asked, found["specialist"].not_asked) == (0, 1)
    ranks = rank_table(card)
    assert ranks.rows[[line[2] for line in ranks.rows].index("specialist")][ranks.head.index("not asked")] == "1"


def test_a_specialist_does_not_hide_who_of_the_others_is_better():
    """Each pair is held against each other on what both were asked, however little a third one has."""
    card = card_of_rows(
        row("a", "barrier", 0.01), row("a", "outcome", 0.01), row("a", "reverse", 0.01),
        row("b", "barrier", 0.2), row("b", "outcome", 0.01), row("b", "reverse", 0.01),
        row("specialist", "outcome", 0.011),
    )  # fmt: skip
    assert places(card) == {"a": 1, "specialist": 1, "b": 2}


def test_calculators_without_a_common_quantity_have_no_place():
    card = card_of_rows(row("a", "barrier", 0.2), row("b", "outcome", 0.0))
    assert places(card) == {"a": None, "b": None}


def test_a_known_failure_ranks_as_one():
    card = card_of_rows(row("a", "barrier", 0.2), known_failure(row("b", "barrier", 0.15)), row("c", "barrier", 0.11))
    assert places(card) == {"c": 1, "b": 2, "a": 3}
    unmeasured = known_failure(row("b", "barrier", state="error"))
    assert places(card_of_rows(row("a", "barrier", 0.05), unmeasured)) == {"a": 1, "b": 2}


def test_what_is_not_applicable_by_nature_costs_nothing():
    card = card_of_rows(
        row("a", "barrier", 0.05), row("a", "batch", 0.2),
        row("b", "barrier", 0.05), row("b", "batch", state="not applicable", by_nature=True),
    )  # fmt: skip
    found = {each.calculator: each for each in standings(card)}
    assert (found["b"].place, found["b"].not_asked, found["b"].not_judged) == (1, 0, 1)
    assert (found["a"].place, found["a"].common) == (1, 1)  # nor does it lower one that has it


def test_one_without_any_verdict_has_no_place_and_takes_nothing_from_the_others():
    card = card_of_rows(
        row("a", "barrier", 0.05), row("b", "barrier", 0.02), row("c", "barrier", state="not applicable"),
        row("c", "atop", 0.0, family="sliding", case="slide"),
    )  # fmt: skip
    assert places(card) == {"b": 1, "a": 2, "c": None}
    assert [each.common for each in standings(card) if each.family == "migration"] == [1, 1, 0]
    first = card_of_rows(
        row("c", "barrier", state="not applicable"), row("c", "atop", 0.0, family="sliding", case="slide"),
        row("a", "barrier", 0.2),
    )  # fmt: skip
    assert places(first) == {"a": 1, "c": None}
    assert [row[:3] for row in rank_table(first).rows[:2]] == [["migration", "1", "a"], ["migration", "—", "c"]]


def test_equals_share_a_place():
    card = card_of_rows(row("a", "barrier", 0.05), row("b", "barrier", -0.055), row("c", "barrier", 0.07))
    assert places(card) == {"a": 1, "b": 1, "c": 3}


def test_no_median_below_a_noise_floor_ranks():
    def of(family, *offs):
        return card_of_rows(*(row(name, "jump", off, family=family) for name, off in zip("ab", offs, strict=True)))

    assert places(of("physicality", 0.0, 0.09), "physicality") == {"a": 1, "b": 1}
    assert places(of("inference", 0.09, 0.0), "inference") == {"a": 1, "b": 1}
    assert places(of("migration", 0.09, 0.0)) == {"b": 1, "a": 2}
    assert places(of("physicality", 0.0, 0.11), "physicality") == {"a": 1, "b": 2}  # a verdict ranks
    assert places(of("physicality", 0.35, 0.12), "physicality") == {"b": 1, "a": 2}  # and a median far above it


@pytest.mark.parametrize(
    ("uncertainty", "expected"), [(None, {"a": 1, "b": 2}), (0.02, {"a": 1, "b": 2}), (0.03, {"a": 1, "b": 1})]
)
def test_a_verdict_that_chance_may_have_made_ranks_nobody(uncertainty, expected):
    """0.07 passes and 0.11 does not, but with ± 0.03 both may be the same."""
    card = card_of_rows(
        row("a", "peak", 0.07, family="dynamics", uncertainty=uncertainty),
        row("b", "peak", 0.11, family="dynamics", uncertainty=uncertainty),
    )
    assert places(card, "dynamics") == expected


def test_what_has_no_number_is_never_chance():
    card = card_of_rows(
        row("a", "peak", 0.09, family="dynamics", uncertainty=0.03), row("b", "peak", state="error", family="dynamics")
    )
    assert places(card, "dynamics") == {"a": 1, "b": 2}


def test_medians_within_their_uncertainties_share_a_place():
    def of(uncertainty):
        return card_of_rows(
            *(row("a", q, 0.01, family="dynamics", uncertainty=uncertainty) for q in ("peak", "width", "drift")),
            *(row("b", q, 0.04, family="dynamics", uncertainty=uncertainty) for q in ("peak", "width", "drift")),
        )

    assert places(of(0.02), "dynamics") == {"a": 1, "b": 1}
    assert places(of(0.01), "dynamics") == {"a": 1, "b": 2}


@pytest.mark.parametrize(("uncertainty", "expected"), [(0.0, {"a": 1, "b": 2}), (0.04, {"a": 1, "b": 1})])
def test_nobody_is_nearer_than_the_reference_is_known(uncertainty, expected):
    known = [
        found.model_copy(update={"expectation": found.expectation.model_copy(update={"uncertainty": uncertainty})})
        for found in (row("a", "barrier", 0.02), row("b", "barrier", 0.05))
    ]
    assert places(card_of_rows(*known)) == expected
    assert ("▸" in side_by_side(card_of_rows(*known)).rows[0][4]) == (uncertainty == 0.0)


def test_a_rank_counts_those_that_are_clearly_better():
    """a and b, b and c are alike, a is better than c."""
    card = card_of_rows(row("c", "barrier", 0.036), row("b", "barrier", 0.028), row("a", "barrier", 0.02))
    assert places(card) == {"a": 1, "b": 1, "c": 2}
    assert [row[1:3] for row in rank_table(card).rows] == [["1", "a"], ["1", "b"], ["2", "c"]]


def test_families_are_ranked_apart():
    card = card_of_rows(
        row("a", "barrier", 0.2), row("a", "atop", 0.0, family="sliding", case="slide"),
        row("b", "barrier", 0.0), row("b", "atop", 0.3, family="sliding", case="slide"),
    )  # fmt: skip
    assert rank_table(card).head == ("family", "rank", "calculator", "passed", "failed", "median deviation / tolerance")
    assert rank_table(card).rows == [
        ["migration", "1", "b", "1", "0", "0 (of 1)"],
        ["migration", "2", "a", "0", "1", "2 (of 1)"],
        ["sliding", "1", "a", "1", "0", "0 (of 1)"],
        ["sliding", "2", "b", "0", "1", "3 (of 1)"],
    ]


def many(count):
    names = [f"fine-tuned_checkpoint.of_the_{n}th_epoch" for n in range(count)]
    quantities = ("barrier", "migrating_force_mae")
    return card_of_rows(*(row(name, q, 0.012 * (n + 1)) for n, name in enumerate(names) for q in quantities))


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("count", [2, 4, 8])
def test_the_terminal_shows_all_of_them_within_its_width(count, width):
    card = many(count)
    text = terminal.render(card, width=width)
    lines = text[text.index("side by side") :].splitlines()
    assert max(map(len, lines)) <= width
    shown = [word for line in lines if line.startswith("barrier ") for word in line.split() if word[0] in "▸+"]
    assert shown == ["▸+0.012", *(f"+{0.012 * n:.3f}" for n in range(2, count + 1))]
    assert "rank by family" in lines
    assert text.count("epoch") >= count  # no name is broken where it is explained
    first = next(i for i, line in enumerate(lines) if line.startswith("migration "))
    ranks = lines[first : first + count]
    assert [line.removeprefix("migration").split()[0] for line in ranks] == [str(n + 1) for n in range(count)]


def test_names_that_do_not_fit_are_numbers_and_split_tables_say_who_is_nearest():
    text = terminal.render(many(8), width=80)
    beside = text[text.index("side by side") :]
    assert "#8: fine-tuned_checkpoint.of_the_7th_epoch\n" in beside
    assert "#1" in beside[beside.index("rank by family") :].splitlines()[3].split()
    heads = [line.split() for line in beside.splitlines() if line.startswith("quantity")]
    assert len(heads) > 1
    assert all(head[3] == "▸" for head in heads)
    assert [line.split()[3] for line in beside.splitlines() if line.startswith("barrier ")] == ["#1"] * len(heads)
    assert "#" not in terminal.render(many(2), width=140)[-2000:]


def test_a_long_table_shows_what_did_not_pass():
    rows = [row(name, f"q{n}", 0.2 if n == 7 and name == "b" else 0.0)
            for name in "ab" for n in range(terminal.MOST_ROWS + 1)]  # fmt: skip
    text = terminal.render(card_of_rows(*rows))
    beside = text[text.index("side by side") :]
    assert f"{terminal.MOST_ROWS} of {terminal.MOST_ROWS + 1} rows are not shown, all that passed among them" in beside
    assert [line.split()[0] for line in beside.splitlines() if line.startswith("q") and "eV" in line] == ["q7"]


def test_markdown_has_both_tables_and_the_picture():
    card = many(2)
    text = markdown.render(card, figures={figures.BARRIER_ERRORS: "card_figures/barrier-errors.png"})
    assert "| hop | barrier | 0.1 | eV | ▸+0.012 ✓ | +0.024 ✓ |" in text
    assert "| migration | 1 | fine-tuned_checkpoint.of_the_0th_epoch | 2 | 0.12 (of 2) |" in text
    assert "![Errors of the barriers](card_figures/barrier-errors.png)" in text
    assert "![Errors" not in markdown.render(card)


def drawn(card):
    axes = Figure().subplots()
    return barriers.draw(axes, card), axes


def test_bars_are_the_errors_of_the_barriers():
    card = card_of_rows(
        row("a", "barrier", 0.2), row("a", "barrier", -0.3, case="other"), row("b", "barrier", -0.05),
        row("b", "barrier", state="error", case="other"), row("a", "atop", 9.0), row("b", "atop", 9.0),
    )  # fmt: skip
    found, axes = drawn(card)
    assert found
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0.2, -0.3, -0.05])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["hop", "other"]
    assert [text.get_text() for text in axes.texts] == ["it exploded: the path has no…"]
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"a", "b", "tolerance"}
    ends = {(line.get_color(), line.get_marker()) for line in axes.lines if line.get_marker() in styles.MARKERS}
    assert len(ends) == 2  # not by colour alone
    bands = [collection.get_paths()[0].get_extents() for collection in axes.collections]
    assert [(band.y0, band.y1) for band in bands] == [(-0.1, 0.1)] * 2


def test_only_what_migrates_and_is_known_well_enough_has_a_bar():
    unresolved = row("a", "barrier", 0.05, uncertainty=0.09)
    card = card_of_rows(unresolved, row("b", "barrier", 0.1), row("b", "barrier", 0.1, family="sliding", case="slide"))
    _, axes = drawn(card)
    assert len(axes.patches) == len(axes.get_xticks()) == 1
    assert [text.get_text() for text in axes.texts] == ["unresolved: known to 0.09 eV…"]


def test_bars_of_another_level_of_theory_are_hollow():
    _, axes = drawn(card_of_rows(row("a", "barrier", 0.2, level="it learned r2SCAN"), row("b", "barrier", 0.1)))
    assert [bar.get_facecolor()[3] for bar in axes.patches] == [0.0, 1.0]


@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_picture_is_written_for_several_calculators(count, tmp_path):
    card = many(count)
    written, problems = figures.write_figures(card, tmp_path)
    assert problems == []
    assert list(written) == ([figures.BARRIER_ERRORS] if count > 1 else [])
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in written.values())


def test_there_is_no_picture_without_a_barrier():
    assert figures.draw_barriers(card_of_rows(row("a", "atop", 0.1), row("b", "atop", 0.1))) is None
