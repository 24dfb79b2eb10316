"""The HTML page as a browser shows it: on a phone, on a desk, in the dark, on paper, and without scripts.

``make browser-test``; needs a Chromium (``apt install chromium``, or ``playwright install chromium``), or its path in
MLFF_PROBES_CHROMIUM. MLFF_PROBES_SCREENSHOTS names a directory for pictures to look at, MLFF_PROBES_SCORECARD a
scorecard to take instead of the small one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cards import HOSTILE, card_of, hostile_card, lift, named

from mlff_probes.scorecard import files
from mlff_probes.scorecard.baseline import baseline_of
from mlff_probes.scorecard.comparison import compare
from mlff_probes.scorecard.regression import load_regression
from mlff_probes.scorecard.reports import page as report
from mlff_probes.scorecard.reports.page import Source

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
CONTRAST = 4.5
"""Between text and ground, as WCAG 2.2 asks for at level AA."""

CONTRASTS = """() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = rgb(c).slice(0, 3).map(v => {
    v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126*r + .7152*g + .0722*b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if ((rgb(c)[3] ?? 1) > 0) return c; } return getComputedStyle(document.documentElement).backgroundColor; };
  return [...document.querySelectorAll('h1,h2,h3,h4,p,li,td,th,a,summary,caption,b,span')].map(e => {
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
    return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.outerHTML.slice(0, 80)]; })
    .filter(([ratio]) => ratio < %s);
}"""


@pytest.fixture(scope="session")
def card():
    given = os.environ.get("MLFF_PROBES_SCORECARD")
    if given:
        return files.read(Path(given))
    before = card_of([named("production", lambda f: 0.2 * (f.info.get("path") == "deep"))])
    after = card_of([named("production"), named("candidate", lift)])
    found = compare(baseline_of(before, "production.json"), after, "candidate", load_regression(None))
    return after.model_copy(update={"comparisons": (found,)})


@pytest.fixture(scope="session")
def address(card, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(report.render([Source("card", card)]), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def opened(browser, address):
    """Opens the page in a context of its own, and fails if it asks for anything or complains."""
    contexts, heard = [], []

    def open_page(url=address, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("request", lambda request: heard.append(request.url) if request.url not in (url,) else None)
        page.on("console", lambda message: heard.append(message.text))
        page.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [said for said in heard if not said.startswith("data:")] == []


def keep(page, name):
    if folder := os.environ.get("MLFF_PROBES_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESK, {"width": 320, "height": 568}], ids=["phone", "desk", "small"])
def test_the_page_never_scrolls_sideways_and_can_be_read(opened, viewport, scheme):
    page = opened(viewport=viewport, color_scheme=scheme)
    keep(page, f"{viewport['width']}-{scheme}")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= viewport["width"]
    assert page.evaluate(CONTRASTS % CONTRAST) == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    grounds = page.eval_on_selector_all(".figure", "all => all.map(e => getComputedStyle(e).backgroundColor)")
    filters = page.eval_on_selector_all(".figure svg", "all => all.map(e => getComputedStyle(e).filter)")
    assert set(grounds) == {"rgb(255, 255, 255)" if scheme == "light" else "rgb(26, 26, 26)"}
    assert set(filters) == {"none" if scheme == "light" else "invert(0.9) hue-rotate(180deg)"}


@pytest.mark.parametrize("width", [320, 390, 599])
def test_on_a_phone_every_cell_and_every_link_of_the_contents_is_on_the_screen(opened, width):
    page = opened(viewport={"width": width, "height": 844})
    page.eval_on_selector_all("details", "all => all.forEach(e => e.open = true)")
    outside = """all => all.map(e => [e.getBoundingClientRect(), e.outerHTML.slice(0, 120)])
        .filter(([r, _]) => r.left < 0 || r.right > innerWidth).map(([_, text]) => text)"""
    assert page.locator("tbody td").count() > 100
    assert page.eval_on_selector_all("tbody th, tbody td, nav a, caption", outside) == []
    cut = "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.outerHTML.slice(0, 120))"
    assert page.eval_on_selector_all("tbody th, tbody td, tbody tr, .scroll:not(.figure)", cut) == []
    said = "all => all.map(e => getComputedStyle(e, '::before').content)"
    assert all("measured" in content for content in page.eval_on_selector_all("td[data-label=measured]", said))


def test_pictures_are_white_on_paper_in_the_dark_too(opened):
    page = opened(viewport=DESK, color_scheme="dark")
    page.emulate_media(media="print")
    assert set(page.eval_on_selector_all("svg", "all => all.map(e => getComputedStyle(e).filter)")) == {"none"}


def test_a_date_is_one_word(opened):
    page = opened(viewport={"width": 320, "height": 568})
    assert page.eval_on_selector_all("time", "all => all.map(e => e.getClientRects().length)") == [1]


def test_wide_things_scroll_in_their_own_box(opened):
    page = opened(viewport=PHONE)
    boxes = page.eval_on_selector_all(".scroll", "all => all.map(e => [e.clientWidth, e.scrollWidth])")
    assert boxes
    assert all(inside <= PHONE["width"] for inside, _ in boxes)
    assert any(whole > inside for inside, whole in boxes)


def test_every_picture_is_drawn(opened, card):
    page = opened(viewport=DESK)
    sizes = page.eval_on_selector_all(
        "svg", "all => all.map(e => e.getBoundingClientRect()).map(r => [r.width, r.height])"
    )
    assert len(sizes) >= len({row.case for row in card.results if row.measured}) / 2
    assert all(width > 300 and height > 100 for width, height in sizes)
    lines = page.eval_on_selector_all("svg", "all => all.map(e => e.querySelectorAll('path, use, image').length)")
    assert min(lines) > 10
    dead = "all => all.filter(e => !document.getElementById(e.getAttribute('href').slice(1))).length"
    assert page.eval_on_selector_all("use", dead) == 0


def test_without_scripts_everything_opens_and_every_link_leads_somewhere(opened):
    page = opened(viewport=PHONE, java_script_enabled=False)
    for what in ("td", "li"):  # the other changes, and what is the same
        inside = page.locator(f"details {what}").first
        assert not inside.is_visible()
        page.locator("details", has=page.locator(what)).first.locator("summary").click()
        assert inside.is_visible()
    page.locator("nav a", has_text="models").click()
    assert 0 <= page.locator("#models").bounding_box()["y"] < PHONE["height"]
    assert page.locator("nav").bounding_box()["y"] == 0
    for link in page.locator(".cases a").all():
        target = page.locator(f'[id="{link.get_attribute("href")[1:].replace("%25", "%")}"]')
        assert target.count() == 1


def test_on_paper_everything_is_open_and_nothing_sticks(opened):
    page = opened(viewport=DESK, color_scheme="dark")
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.locator("details td").count() > 0
    assert all(item.is_visible() for item in page.locator("details li, details td").all())
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(CONTRASTS % CONTRAST) == []
    if folder := os.environ.get("MLFF_PROBES_SCREENSHOTS"):
        page.pdf(path=Path(folder) / "paper.pdf", format="A4")


@pytest.fixture(scope="module")
def hostile():
    return hostile_card()


def test_what_names_and_messages_try_does_not_happen(opened, hostile, tmp_path):
    file = tmp_path / "hostile.html"
    file.write_text(report.render([Source(HOSTILE, hostile)]), encoding="utf-8")
    page = opened(file.as_uri(), viewport=PHONE)
    assert page.locator("script, img").count() == 0
    assert page.locator("h1").inner_text().count("<script>alert(1)</script>") == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for link in page.locator(".cases a").all():
        link.click()
        assert page.evaluate("document.querySelector(':target') !== null")
