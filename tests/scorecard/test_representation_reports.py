"""What reports say of how alike models are, and of what fine-tuning moved."""

from __future__ import annotations

from dataclasses import replace

import pytest
from faults import ForgottenElement, load

from mlff_probes import Benchmark
from mlff_probes.scorecard import files
from mlff_probes.scorecard.reports import terminal


@pytest.fixture(scope="module")
def card():
    tuned = replace(load(ForgottenElement), foundation=load())
    return Benchmark(model={"own": load(), "tuned": tuned}).run("representation").scorecard


@pytest.fixture(scope="module")
def written(card, tmp_path_factory):
    """The text of each kind of report."""
    folder = tmp_path_factory.mktemp("reports")
    for name in ("card.md", "card.html", "card.json"):
        files.write(card, folder / name)
    return folder


SAID = "of own, shells and of tuned, shells: linear CKA"


def test_how_alike_two_models_are_is_said_everywhere(card, written):
    shown = " ".join(terminal.render(card, width=160).split())
    assert f"sb2te3_paths: features {SAID}" in shown
    for name in ("card.md", "card.html"):
        assert f"Features {SAID}" in (written / name).read_text(encoding="utf-8")
    assert "forgetting: features" not in shown


def test_points_of_the_page_say_which_structure_and_atom_they_are(written):
    page = (written / "card.html").read_text(encoding="utf-8")
    points = page.count("<g><title>cr_sb2te3_deep.extxyz, frame 8: farthest ")
    assert points == 1, "Q of the model that has it"


def test_what_is_kept_is_small_and_survives_the_file(card, written):
    again = files.read(written / "card.json")
    assert terminal.render(again, width=160) == terminal.render(card, width=160)
    assert (written / "card.json").stat().st_size < 500_000


def test_there_is_a_picture_of_what_fine_tuning_moved_where_a_foundation_is_named(written, card):
    assert (written / "card_figures" / "forgetting.png").exists()
    own, tuned = (card.measurement(label, "forgetting") for label in ("own", "tuned"))
    assert own.arrays == {}
    found = dict(zip(tuned.arrays["element"], tuned.arrays["cka"], strict=True))
    assert found["Te"] is None, "of tellurium nothing is left to be alike"
    assert found["Sb"] == pytest.approx(1)
    assert "Sb2Te3" in tuned.arrays["frame"], "a crystal of the retention set, by its formula"
    assert len(tuned.arrays["frame"]) == len(tuned.arrays["force_change"])
    assert set(tuned.arrays["force_change"]) == {0.0}
