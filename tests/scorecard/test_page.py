"""The HTML page: complete, self-contained, readable without colour, and deaf to what names and messages try."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import matplotlib as mpl
import pytest
from cards import HOSTILE, RIGHT_TO_LEFT, card_of, counted, hostile_card, lift, named
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlff_probes import cli
from mlff_probes.cases.load import load_cases
from mlff_probes.core.case import BrokenCase
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import ProbeResult, State, Verdict
from mlff_probes.scorecard import files
from mlff_probes.scorecard.baseline import baseline_of
from mlff_probes.scorecard.changes import Comparison
from mlff_probes.scorecard.comparison import compare
from mlff_probes.scorecard.model import Spread
from mlff_probes.scorecard.regression import load_regression
from mlff_probes.scorecard.reports import figures, inline_svg, pictures
from mlff_probes.scorecard.reports import page as report
from mlff_probes.scorecard.reports.page import Source
from mlff_probes.scorecard.reports.worst import TEMPLATES

VOID = {"meta", "br", "link", "img", "input", "hr"}
MOST_BYTES = 1_500_000
"""For the paths, slides and parity plots of four calculators; all quick probes are held to 5 MB by a benchmark."""


class Page(HTMLParser):
    """All elements of a page with their attributes and the elements around them, and its text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), tuple(self.open)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        self.words.append((data, tuple(self.open)))

    def all(self, *tags):
        return [(tag, attributes) for tag, attributes, _ in self.elements if tag in tags]

    def text(self, inside=None):
        return "".join(data for data, around in self.words if inside is None or inside in around)


@pytest.fixture(scope="module")
def card():
    return card_of([named("old", lift), named("new")])


@pytest.fixture(scope="module")
def text(card):
    return report.render([Source("card", card)])


@pytest.fixture(scope="module")
def shown(text):
    return Page(text)


def test_the_page_is_whole_and_needs_nothing_beside_it(text, shown):
    assert text.startswith("<!DOCTYPE html>")
    assert not shown.open
    assert shown.all("html") == [("html", {"lang": "en"})]
    assert not shown.all("script", "link", "iframe", "object", "embed", "img", "base", "form")
    for tag, attributes in shown.all(*{tag for tag, _, _ in shown.elements}):
        assert not {name for name in attributes if name.startswith("on")}
        for name in ("src", "href", "xlink:href", "data", "action", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)
    assert not re.findall(r"@import|url\((?!#)", text)


def test_headings_tables_and_pictures_can_be_found_without_eyes(card, shown):
    levels = [int(tag[1]) for tag, _ in shown.all("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(attributes.get("scope") in ("row", "col") for _, attributes in shown.all("th"))
    assert len(shown.all("caption")) == len(shown.all("table"))
    pictures = [attributes for _, attributes in shown.all("svg")]
    assert [p["aria-label"] for p in pictures] == [
        "Errors of all barriers", *(f"Picture of {case.id}: {case.title}" for case in card.cases)
    ]  # fmt: skip
    assert {p["role"] for p in pictures} == {"img"}
    assert all("aria-label" in a and a["tabindex"] == "0" for _, a in shown.all("div") if a.get("role") == "region")


def test_every_link_and_every_reference_inside_a_picture_has_its_one_target(text, shown):
    ids = [attributes["id"] for _, attributes, _ in shown.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for _, a in shown.all("a", "use", "image") if a["href"].startswith("#")]
    assert {unquote(link) for link in links} <= set(map(unquote, ids))
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    assert {a["aria-labelledby"] for _, a, _ in shown.elements if "aria-labelledby" in a} <= set(ids)


def test_two_panels_of_the_same_points_share_no_id():
    figure = Figure(figsize=(6, 4))
    for column in (0, 0.5):
        figure.add_axes((column, 0, 0.5, 1)).plot(range(2 * inline_svg.DENSE), "o")
    page = Page(inline_svg.inline(figure, "twice", "f0"))
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(page.all("image")) == 2
    assert ids
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("title", ["a $x^^$ b", r"$\frac{1}$ x", "$x_1$"])
def test_a_title_is_no_formula(card, title):
    found = card.model_copy(update={"cases": (card.cases[0].model_copy(update={"title": title}),)})
    drawn = pictures.draw_all(found)
    assert not drawn.problems
    assert title in Page(drawn.pictures[found.cases[0].id]).text("svg")


def test_the_verdict_comes_first_and_says_what_the_exit_code_is(card, shown):
    said = " ".join(shown.text("body").split())
    order = [
        "Scorecard of old, new", "FAILED", "The exit code is 1: a quantity is further from its reference",
        "verdict: FAILED ({} passed, {} failed, {} reported)".format(*counted(card)),
        "Side by side", "Rank by family", "one more than the number of calculators",
        "Deviations", "Deviations from the reference; ▸",
        "Migration {} ✓ passed, {} ✗ failed, {} · reported".format(*counted(card, "migration")),
        "cr_sb2te3_in_gap 12", f"Sliding {counted(card, 'sliding')[0]} ✓ passed", "Models and machines", "Time time:",
    ]  # fmt: skip
    places = [said.index(words) for words in order]
    assert places == sorted(places)


def test_a_case_says_what_failed_why_and_what_to_look_at(shown):
    said = shown.text("article")
    for words in (
        "✗ old: barrier: measured 1.705, reference 1.505 eV: off by +0.200, tolerance 0.1",
        "Look first at it.",
        "Material: Sb2Te3.",
        "force perpendicular to the path at its inner images: 0.57, 0.88, 0.71 eV/A",
        "factor of about 7",  # the reason of a tolerance
        "Context, not judged:",
    ):
        assert words in said, words
    assert "cr_sb2te3_in_gap 12 ✓ passed, 2 ✗ failed" in " ".join(said.split())
    cells = [data for data, around in shown.words if around[-1:] == ("td",)]
    assert {"✗ failed", "✓ passed", "· reported"} <= set(cells)


@pytest.mark.parametrize(
    ("selected", "interrupted", "says"),
    [(500, "Ctrl-C", "The exit code is not 0: the run ended"), (None, "", "The exit code is 0: nothing that counts")],
)
def test_other_verdicts(selected, interrupted, says):
    found = card_of([named("new")], interrupted=interrupted, **({"selected": selected} if selected else {}))
    assert says in Page(report.render([Source("a", found)])).text()


def test_nothing_measured_is_a_page_too_and_not_green():
    nothing = card_of([named("new")], results=[], selected=0)
    page = Page(report.render([Source("a", nothing)]))
    assert "NOTHING JUDGED" in page.text()
    assert ("div", {"class": "verdict odd"}) in page.all("div")


def test_many_failures_are_folded_and_say_whose_they_are():
    def twice(f):
        return 2.0 * (f.info.get("path") is not None and f.info["image"] % 2)

    found = card_of([named("a", twice), named("b", twice), named("c")], kinds=("fixed_path",))
    page = Page(report.render([Source("card", found)]))
    for case in found.cases:
        failed = Counter(r.calculator for r in found.results if r.case == case.id and r.verdict.state is State.FAILED)
        assert set(failed) == {"a", "b"}
        of_each = f"a {failed['a']}, b {failed['b']}"
        assert f"✗ {of_each}" in page.text("p")
        assert f"✗ {failed.total()} failed: {of_each}" in page.text("summary")


@pytest.mark.parametrize(("count", "title"), [(3, "Scorecard of m0, m1, m2"), (4, "Scorecard of 4 calculators")])
def test_a_title_names_no_more_than_three(count, title):
    found = card_of([named(f"m{i}") for i in range(count)], kinds=("fixed_gap_slide",))
    page = Page(report.render([Source("card", found)]))
    assert page.text("h1") == title
    assert all(f"m{i}" in page.text("h3") for i in range(count))


def test_every_cell_says_its_column_and_the_verdict_comes_first(shown):
    labels = [attributes["data-label"] for _, attributes in shown.all("td")]
    quantities = ["verdict", "measured", "reference", "deviation", "tolerance", "unit"]
    places = [i for i, label in enumerate(labels) if label == "verdict"]
    assert len(places) == len([1 for words, _ in shown.words if words in ("✓ passed", "✗ failed", "· reported")])
    assert all(labels[i : i + len(quantities)] == quantities for i in places)


def test_changes_stand_before_the_cases_the_worst_first(card):
    policy = load_regression(None)
    before, after = card_of([named("a")]), card_of([named("b", lift)])
    found = compare(baseline_of(before, "a.json"), after, "b", policy)
    found = found.model_copy(update={"left_out": (f"some_case: not in {HOSTILE}",)})
    page = Page(report.render([Source("card", after.model_copy(update={"comparisons": (found,)}))]))
    said = page.text("main")
    assert said.index("b against a") < said.index("Regressions") < said.index("Left out") < said.index("Migration")
    assert "✗ newly failing" in page.text("td")
    assert f"some_case: not in {HOSTILE}" in said
    assert f"{sum(c.trend == 'same' for c in found.changes)} the same" in page.text("summary")


def test_a_remark_on_what_is_the_same_is_seen_and_improvements_are_folded(card):
    before, after = card_of([named("a", lambda f: 5 * lift(f))]), card_of([named("b", lift)])
    found = compare(baseline_of(before, "a.json"), after, "b", load_regression(None))
    first = next(i for i, change in enumerate(found.changes) if change.trend == "same")
    remarked = found.changes[first].model_copy(update={"note": "another verdict, by less than chance"})
    changes = (*found.changes[:first], remarked, *found.changes[first + 1 :])
    found = found.model_copy(update={"changes": changes})
    page = Page(report.render([Source("card", after.model_copy(update={"comparisons": (found,)}))]))
    line = f"= same: {remarked.case}, {remarked.quantity}: "
    (around,) = [around for words, around in page.words if words.startswith(line) and remarked.note in words]
    assert "details" not in around
    better = [around for words, around in page.words if words == "▲ better" and around[-1] == "td"]
    assert better
    assert all("details" in around for around in better)
    others = sum(change.trend not in ("same", "reported") for change in changes)
    assert f"{others} other changes" in page.text("summary")


@pytest.fixture(scope="module")
def hostile():
    return hostile_card()


def test_what_names_and_messages_try_is_shown_and_not_done(hostile):
    text = report.render([Source(HOSTILE, hostile), Source("other", hostile)])
    page = Page(text)
    assert not page.open
    assert not page.all("script", "img")
    assert "<script" not in text
    assert not [a for _, a, _ in page.elements if any(name.startswith("on") for name in a)]
    assert "{{ 7 * 7 }}" in Page(report.render([Source(HOSTILE, hostile)])).text("h1")
    for inside in ("h3", "td", "th", "li", "svg"):
        assert HOSTILE in page.text(inside), inside
    assert RIGHT_TO_LEFT in page.text("svg")
    assert any(HOSTILE in a.get("aria-label", "") for _, a in page.all("svg"))


def test_a_case_file_that_could_not_be_read_is_on_the_page():
    broken = BrokenCase("mine.toml", "migration", InputError("mine.toml", "no title"))
    row = ProbeResult(
        calculator="new", family="migration", case="mine.toml", quantity="case", measured=None, expectation=None,
        verdict=Verdict(state=State.ERROR, reason="mine.toml: no title"),
    )  # fmt: skip
    found = card_of([named("new")], cases=[*load_cases(), broken], kinds=(), results=[row], selected=1)
    assert "✗ case: error: mine.toml: no title" in Page(report.render([Source("a", found)])).text("article")


def test_several_scorecards_become_one_page(card):
    one, other = card_of([named("m", lift)]), card_of([named("m")])
    page = Page(report.render([Source("a.json", one), Source("b.json", other)]))
    said = page.text("body")
    assert "Scorecard of m, m (b.json)" in said
    meanings = [" ".join(words.split()) for words, around in page.words if around[-3:] == ("div", "ul", "li")]
    assert [re.sub(r".*\. The", "The", words) for words in meanings if "The exit code" in words] == [
        "The exit code is 1: a quantity is further from its reference than its tolerance, or could not be measured.",
        "The exit code is 0: nothing that counts failed.",
    ]
    assert "a.json, verdict: FAILED ({} passed, {} failed, {} reported)".format(*counted(one)) in said
    passed, failed, reported = counted(other)
    assert not failed and f"b.json, verdict: PASSED ({passed} passed, {reported} reported)" in said
    assert "m (b.json)" in page.text("svg")
    assert len(page.all("svg")) == 1 + len(one.cases)


def test_labels_are_unique_however_often_they_come(card):
    one = card_of([named("m")], kinds=("fixed_path",))
    page = Page(report.render([Source("a", one)] * 3))
    assert "Scorecard of m, m (a), m (a 2)" in page.text("h1")


def test_a_label_that_is_as_another_becomes_stays_apart():
    one, both = (card_of([named(label) for label in labels], kinds=("fixed_path",)) for labels in ("m", ("m", "m (b)")))
    page = Page(report.render([Source("a", one), Source("b", both)]))
    assert "Scorecard of m, m (b), m (b) (b)" in page.text("h1")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fingerprint": "0123456789abcdef"}, "has other structures than in a.json"),
        ({"kind": "relaxed_path"}, "has another protocol than in a.json"),
        ({"level_of_theory": "SCAN"}, "has another reference than in a.json"),
    ],
)
def test_another_case_of_the_same_name_is_refused(card, change, says):
    case = card.cases[0].model_copy(update=change)
    other = card.model_copy(update={"cases": (case, *card.cases[1:])})
    with pytest.raises(InputError, match=f"b.json: {case.id} {says}"):
        report.render([Source("a.json", card), Source("b.json", other)])


STRANGERS = {
    "results": lambda card: {"results": tuple(map(strange, card.results))},
    "measurements": lambda card: {"measurements": tuple(map(strange, card.measurements))},
    "comparisons": lambda card: {"comparisons": (Comparison(calculator="x", baseline="o", source="o", changes=()),)},
    "replicates": lambda card: {"replicates": (Spread.over("x", list(card.results[:1])),)},
    "baseline": lambda card: {"baseline": "x"},
}


def strange(record):
    return record.model_copy(update={"calculator": "x"})


@pytest.mark.parametrize("where", STRANGERS)
def test_what_belongs_to_no_calculator_is_refused(card, where, tmp_path):
    file = tmp_path / "edited.json"
    file.write_text(card.model_copy(update=STRANGERS[where](card)).model_dump_json())
    said = rf"edited.json: {where} names 'x', which is none of its calculators \(old, new\); correct it"
    with pytest.raises(InputError, match=said):
        files.read(file)


def test_another_reference_of_a_quantity_is_refused(card):
    def moved(row):
        wrong = row.expectation and row.quantity == "barrier"
        return (
            row.model_copy(update={"expectation": row.expectation.model_copy(update={"value": 9.0})}) if wrong else row
        )

    other = card.model_copy(update={"results": tuple(map(moved, card.results))})
    with pytest.raises(InputError, match="has another reference of barrier than in a"):
        report.render([Source("a", card), Source("b", other)])


def test_cases_of_one_scorecard_alone_are_shown(card):
    paths, slides = (card_of([named(k)], kinds=(k,)) for k in ("fixed_path", "fixed_gap_slide"))
    page = Page(report.render([Source("a", slides), Source("b", paths)]))
    said = page.text("body")
    assert said.rindex("cr_sb2te3_deep") < said.rindex("sb2te3_fixed_gap_0.0")
    assert len(page.all("svg")) >= len(paths.cases) + len(slides.cases)


def test_a_picture_that_cannot_be_drawn_costs_no_other(card, monkeypatch):
    draw = figures.draw_cases

    def sometimes(found, cases):
        if cases[0].id == "cr_sb2te3_deep":
            raise ValueError("odd numbers")
        return draw(found, cases)

    monkeypatch.setattr(figures, "draw_cases", sometimes)
    page = Page(report.render([Source("card", card)]))
    assert "the figure of cr_sb2te3_deep could not be drawn: ValueError: odd numbers" in page.text("main")
    assert len(page.all("svg")) == len(card.cases)


def test_settings_of_another_library_do_not_reach_the_pictures(card, text):
    with mpl.rc_context({"font.size": 20.0, "axes.grid": True, "figure.autolayout": True}):  # as a calculator may set
        assert report.render([Source("card", card)]) == text


def test_four_calculators_make_a_small_page():
    kinds = ("fixed_path", "fixed_gap_slide", "relaxed_gap_slide", "parity")
    text = report.render([Source("card", card_of([named(f"model-{i}", lift) for i in range(4)], kinds=kinds))])
    assert len(text.encode()) < MOST_BYTES
    assert len(Page(text).all("image")) >= 4  # the dense scatters


@pytest.mark.parametrize("kind", ["fixed_path", "fixed_gap_slide", "relaxed_gap_slide"])
def test_curves_that_coincide_are_all_seen(kind):
    """Each is drawn over a wider one with larger open markers, the reference thinnest and on top."""
    found = card_of([named(f"m{i}") for i in range(4)], kinds=(kind,))
    axes = figures.draw_cases(found, found.cases[:1]).findobj(Axes)[0]
    drawn = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    reference, *models = [drawn[name] for name in (found.cases[0].level_of_theory, "m0", "m1", "m2", "m3")]
    widths = [line.get_linewidth() for line in (*models, reference)]
    sizes = [line.get_markersize() for line in (*models, reference)]
    for lengths in (widths, sizes):
        assert lengths == sorted(set(lengths), reverse=True)
    assert min(one - other for one, other in pairwise(widths)) >= 0.8
    assert all(line.get_markerfacecolor() == "none" for line in models)
    assert len({line.get_marker() for line in models}) == len({line.get_color() for line in models}) == 4
    assert reference.get_zorder() > max(line.get_zorder() for line in models)


def test_the_suffix_makes_the_page_and_the_command_makes_it_again(card, tmp_path, capsys):
    source, page = tmp_path / "card.json", tmp_path / "page.html"
    files.write(card, source)
    assert files.write(card, tmp_path / "card.html") == [tmp_path / "card.html"]
    assert cli.main(["report", str(source), "-o", str(page)]) == 0
    assert capsys.readouterr().out == f"wrote {page}\n"
    assert page.read_text().replace("card.json", "card") == (tmp_path / "card.html").read_text()


@pytest.mark.parametrize(
    ("content", "output", "says"),
    [
        (None, "page.html", "card.json: cannot be read"),
        ("{}", "page.html", "card.json: no scorecard"),
        ("{", "page.html", "card.json: no scorecard"),
        ("{}", "page.pdf", "unknown format '.pdf'; known are .html"),
        ("{}", ".", "is a directory"),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_4(tmp_path, capsys, content, output, says):
    if content is not None:
        (tmp_path / "card.json").write_text(content)
    assert cli.main(["report", str(tmp_path / "card.json"), "-o", str(tmp_path / output)]) == 4
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


def test_every_template_is_shipped():
    beside = {path.name for path in (Path(report.__file__).parent / "templates").iterdir()}
    assert beside == {"report.html.jinja", "report.css", "worst"}
    scripts = {path.name for path in (Path(report.__file__).parent / "templates" / "worst").iterdir()}
    assert scripts == {f"{name}.py.jinja" for name in {"base", "evaluations", "symmetry", *TEMPLATES.values()}}
