"""Several models as one calculator: the mean, what each member says, and what makes no committee."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from cards import card_of
from mace_models import random_mace
from support import STORED, refusal

from mlff_probes import evaluate, load_calculator
from mlff_probes.calculators import evaluation
from mlff_probes.calculators.evaluation import evaluate_with_stress
from mlff_probes.calculators.registry import each_head
from mlff_probes.core.errors import EvaluationError, InputError
from mlff_probes.scorecard.reports import csv, markdown, terminal
from mlff_probes.scorecard.reports.text import identity_lines
from mlff_probes.session.models import Loading, loaded_models

TOYS = """
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones


class Toy(LennardJones):
    elements = ["Cu", "Al"]
    level_of_theory = "PBE"
    dtype = "float64"


def made(epsilon, kind=Toy, **said):
    toy = kind(sigma=2.2, epsilon=epsilon, rc=6.0, smooth=True)
    for name, value in said.items():
        setattr(toy, name, value)
    return toy


def of_three(sigma):
    toy = made(0.1, elements=["Cr", "Sb", "Te"])
    toy.set(sigma=sigma)
    return toy


def narrow(): return of_three(2.3)
def middle(): return of_three(2.4)
def wide(): return of_three(2.6)
def one(): return made(0.1)
def two(): return made(0.2)
def three(): return made(0.6)
def other_elements(): return made(0.1, elements=["Cu"])
def no_elements(): return made(0.1, elements=None)
def other_level(): return made(0.1, level_of_theory="r2SCAN")
def other_dtype(): return made(0.1, dtype="float32")


class NoStress(Toy):
    implemented_properties = ["energy", "forces"]


class Breaks(Toy):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["forces"] = self.results["forces"][:1]


class NotANumber(Toy):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["energy"] = float("nan")


def no_stress(): return made(0.3, NoStress)
def breaks(): return made(0.1, Breaks)
def not_a_number(): return made(0.1, NotANumber)
"""
THREE = "committee=py:./toys.py:one+py:./toys.py:two+py:./toys.py:three"
EPSILON = np.array([0.1, 0.2, 0.6])


@pytest.fixture
def toys(tmp_path, monkeypatch):
    (tmp_path / "toys.py").write_text(TOYS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def frames():
    found = [bulk("Cu", a=3.6, cubic=True), bulk("Al", a=4.0, cubic=True).repeat((2, 1, 1))]
    for frame in found:
        frame.rattle(0.1, seed=1)
    return found


def of_unit_depth(frames):
    """Energies, forces and stresses of a Lennard-Jones of 1 eV, to which all others are proportional."""
    found = evaluate(load_calculator("ase:LennardJones,sigma=2.2,rc=6.0,smooth=True"), frames, stress=True)
    return found.energies, found.forces, found.stresses


@pytest.mark.usefixtures("toys")
def test_the_mean_is_judged_and_each_member_kept(frames):
    calculator = load_calculator(THREE)
    found = evaluate(calculator, frames, stress=True)
    energies, forces, stresses = of_unit_depth(frames)
    assert (found.calls, found.batches, len(found.members)) == (2, 2, 3)
    for factor, each in zip([EPSILON.mean(), *EPSILON], [found, *found.members], strict=True):
        np.testing.assert_allclose(each.energies, factor * energies)
        np.testing.assert_allclose(each.stresses, factor * stresses)
        for one, other in zip(each.forces, forces, strict=True):
            np.testing.assert_allclose(one, factor * other, atol=1e-12)
    frames[0].calc = calculator.ase
    assert frames[0].get_potential_energy(force_consistent=True) == pytest.approx(EPSILON.mean() * energies[0])
    np.testing.assert_allclose(frames[0].get_stress(), EPSILON.mean() * stresses[0])


@pytest.mark.usefixtures("toys")
def test_stresses_of_some_frames_are_those_of_these_frames_for_each_member(frames):
    found = evaluate_with_stress(load_calculator(THREE), frames, np.array([False, True]))
    energies, _, stresses = of_unit_depth(frames)
    for factor, each in zip([EPSILON.mean(), *EPSILON], [found, *found.members], strict=True):
        np.testing.assert_allclose(each.energies, factor * energies)
        assert each.stressed.tolist() == [False, True]
        np.testing.assert_allclose(each.stresses[1], factor * stresses[1])


@pytest.mark.usefixtures("toys")
def test_what_one_member_cannot_do_the_committee_cannot(frames):
    calculator = load_calculator("committee=py:./toys.py:one+py:./toys.py:no_stress")
    assert calculator.properties == {"energy", "forces"}
    with pytest.raises(EvaluationError, match="stress"):
        evaluate(calculator, frames, stress=True)
    with pytest.raises(EvaluationError, match="frame 0"):
        evaluate(load_calculator("committee=py:./toys.py:one+py:./toys.py:breaks"), frames)
    with pytest.raises(EvaluationError, match="the energy of frame 0 is nan"):
        evaluate(load_calculator("committee=py:./toys.py:one+py:./toys.py:not_a_number"), frames)


@pytest.mark.usefixtures("toys")
def test_the_identity_names_all_members():
    identity = load_calculator(THREE).identity
    assert (identity.family, identity.version, identity.label) == ("committee", "of 3", "one+two+three")
    assert (identity.level_of_theory, identity.elements) == ("PBE", ("Cu", "Al"))
    text = "\n".join(identity_lines(identity))
    assert "member 2 py:./toys.py:two" in text
    other = load_calculator("committee=py:./toys.py:one+py:./toys.py:two").identity
    assert other.sha256 != identity.sha256
    turned = load_calculator("committee=py:./toys.py:two+py:./toys.py:one,label=x").identity
    assert (turned.sha256, turned.label) == (other.sha256, "x")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("committee=", "two members or more, and this names none"),
        ("committee=py:./toys.py:one", "two members or more, and this names py:./toys.py:one"),
        ("committee=toys*", "two members or more, and this names toys.py"),
        ("committee=*.model", "no file matches *.model (looked from"),
        ("committee=py:./toys.py:one+py:./toys.py:one", "py:./toys.py:one is a member twice"),
        ("committee=toys.py+./toys.*", "toys.py is a member twice"),
        ("committee=py:./toys.py:one+gone.model", "gone.model: there is no file gone.model"),
        ("committee=py:./toys.py:one+py:./toys.py:other_elements",
         "py:./toys.py:one knows Al, py:./toys.py:other_elements does not"),
        ("committee=py:./toys.py:other_elements+py:./toys.py:one",
         "py:./toys.py:one knows Al, py:./toys.py:other_elements does not"),
        ("committee=py:./toys.py:one+py:./toys.py:no_elements",
         "py:./toys.py:no_elements does not say which elements it knows"),
        ("committee=py:./toys.py:one+py:./toys.py:other_level",
         "the level of theory of py:./toys.py:one is PBE, that of py:./toys.py:other_level r2SCAN"),
        ("committee=py:./toys.py:one+py:./toys.py:other_dtype", "is float64, that of py:./toys.py:other_dtype float32"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("toys")
def test_what_is_no_committee_is_refused_in_one_line(spec, says):
    said = refusal(spec)
    assert said.startswith(f"--calculator={spec}: ")
    assert says in said
    assert "\n" not in said


@pytest.mark.usefixtures("toys")
def test_a_key_holds_for_all_members():
    assert load_calculator("committee=py:./toys.py:one+py:./toys.py:other_level,level=PBEsol").identity.level_of_theory
    assert "takes no argument 'hardness'" in refusal(f"{THREE},hardness=2")


# what the scorecard says


def shown(card):
    return terminal.render(card), markdown.render(card), csv.as_csv(card)


@pytest.mark.usefixtures("toys")
def test_the_spread_over_the_members_stands_beside_each_number():
    members = [f"py:./toys.py:{name}" for name in ("narrow", "middle", "wide")]
    calculators = [load_calculator(spec) for spec in (f"committee={'+'.join(members)}", *members)]
    kinds = ("fixed_path", "fixed_gap_slide", "parity")
    cases = [case for case in STORED if case.id in ("cr_sb2te3_in_gap", "sb2te3_fixed_gap", "sb2te3_frames")]
    cards = [card_of([one], cases=cases, kinds=kinds) for one in calculators]
    rows = [{(row.case, row.quantity): row.measured for row in card.results} for card in cards]
    checked = 0
    for key, value in rows[0].items():
        alone = [row[key].value for row in rows[1:]]
        if value.value is not None and None not in alone:
            assert value.spread == pytest.approx(np.std(alone, ddof=1), rel=1e-6, abs=1e-9), key
            checked += 1
    assert checked > 20
    key = ("cr_sb2te3_in_gap", "reaction_energy")
    value = rows[0][key]
    assert value.value == pytest.approx(np.mean([row[key].value for row in rows[1:]]))
    text, table, flat = shown(cards[0])
    for said in (text, table):
        assert "(members ±" in said
        assert "sb2te3_frames: spread over members against error, rank correlation" in said.replace("\n", " ")
    assert f",{value.spread}," in flat
    assert "members" not in "".join(shown(cards[1]))
    assert rows[1][key].spread is None


@pytest.mark.usefixtures("toys")
def test_a_committee_that_judges_its_first_member_alone_is_seen(frames, monkeypatch):
    monkeypatch.setattr(evaluation, "_mean", lambda each: each[0])
    found = evaluate(load_calculator(THREE), frames)
    means = np.mean([member.energies for member in found.members], axis=0)
    assert (np.abs(found.energies - means) > 0.1).all()


# files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two checkpoints, each with two heads."""
    folder = tmp_path_factory.mktemp("files")
    heads, elements = ("pbe", "r2scan"), ("Cu", "Al")
    return [
        random_mace(folder / f"{n}.model", seed=seed, heads=heads, elements=elements) for seed, n in enumerate("ab")
    ]


@pytest.mark.usefixtures("one_thread")
def test_files_are_batched_pinned_and_loaded_again(files, tmp_path, frames):
    pins = tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    spec = f"committee={files[0]}+{files[1]},head=pbe"
    (calculator,) = loaded_models(spec, Loading(sha256=pins))
    assert calculator.identity.pinned
    assert set(calculator.identity.files.values()) == set(pins)
    together, alone = evaluate(calculator, frames), evaluate(replace(calculator, batch=None), frames)
    assert (together.batches, alone.batches) == (1, 2)
    np.testing.assert_allclose(together.energies, alone.energies, atol=1e-9)
    np.testing.assert_allclose(together.energies, np.mean([m.energies for m in together.members], axis=0))
    assert calculator.batch(frames, False)[0] == (pytest.approx(together.energies[0]), None)
    rounded = calculator.fresh(dtype="float32")
    assert [member.identity.dtype for member in rounded.members] == ["float32"] * 2
    assert rounded.identity.sha256 == calculator.identity.sha256
    shutil.copy(files[0], tmp_path / "copy.model")
    assert "are the same model" in refusal(f"committee={files[0]}+{tmp_path}/copy.model,head=pbe")
    with pytest.raises(InputError, match="which --probe-sha256 does not name"):
        loaded_models(spec, Loading(sha256=pins[:1]))


@pytest.mark.usefixtures("one_thread")
def test_files_that_match_are_a_committee_for_each_head(files):
    pattern = f"committee={files[0].parent}/*.model"
    assert each_head(f"{pattern},label=x,head=all") == [f"{pattern},label=x-{h},head={h}" for h in ("pbe", "r2scan")]
    found = loaded_models(f"{pattern},head=all", Loading())
    assert [each.label for each in found] == ["a-pbe+b-pbe", "a-r2scan+b-r2scan"]
    assert [each.identity.options["head"] for each in found] == ["pbe", "r2scan"]
