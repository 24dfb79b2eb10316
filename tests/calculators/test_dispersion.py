"""Dispersion that is added to what a model computes."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from support import refusal

from mlff_probes.calculators import dispersion
from mlff_probes.calculators.base import CalculatorRequest, as_calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.calculators.registry import load_calculator
from mlff_probes.calculators.spec import parse_request
from mlff_probes.core.errors import InputError

S6_C6 = 64.3 * 27.211386 * 0.529177**6
"""C6 of two argon atoms in D3, 64.3 a.u., in eV A^6: S. Grimme et al., J. Chem. Phys. 132, 154104 (2010)."""


@pytest.fixture
def library():
    return pytest.importorskip("dftd3")


def test_the_key_is_ours_only_where_it_names_a_term():
    request = parse_request("py:mace.calculators:mace_mp,dispersion=true")
    assert (request.dispersion, request.options) == (None, {"dispersion": True})
    assert parse_request("chgnet,dispersion=d3bj").dispersion == "d3bj"


def test_without_the_library_one_line_says_how_to_have_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "dftd3.ase", None)
    message = refusal("ase:EMT,level=PBE,dispersion=d3bj")
    assert "D3(BJ) is added by the package 'dftd3', which is not installed" in message
    assert "mlff-probes[dispersion]" in message


@pytest.mark.parametrize("key", ["d3bj", "d3zero"])
def test_far_apart_it_falls_off_as_the_sixth_power_with_the_c6_of_the_paper(library, key):
    found = dispersion.term("PBE", dispersion.KEYS[key])
    for distance in (20.0, 28.0):
        energy = found.get_potential_energy(Atoms("Ar2", [[0, 0, 0], [0, 0, distance]]))
        assert energy * distance**6 == pytest.approx(-S6_C6, rel=0.03)  # the rest is C8


def test_it_is_the_term_of_pairs_alone(library):
    found = dispersion.term("PBE", "D3(BJ)")
    three = found.get_potential_energy(Atoms("Ar3", [(0, 0, 0), (0, 0, 4), (0, 3.4, 2)]))
    two = sum(
        found.get_potential_energy(Atoms("Ar2", places))
        for places in (((0, 0, 0), (0, 0, 4)), ((0, 0, 0), (0, 3.4, 2)), ((0, 0, 4), (0, 3.4, 2)))
    )
    assert three == pytest.approx(two, rel=1e-6)


def test_it_is_added_to_energies_forces_and_stress_of_any_structure(library):
    model = load_calculator("ase:EMT,level=PBE,dispersion=d3bj")
    identity = model.identity
    assert (identity.label, identity.level_of_theory) == ("EMT-d3bj", "PBE+D3(BJ)")
    assert identity.options["dispersion"] == "d3bj"
    assert identity.versions["dftd3"]
    added, bare = dispersion.term("PBE", "D3(BJ)"), EMT()
    frames = [bulk("Cu", cubic=True), molecule("N2"), bulk("Cu"), bulk("Ni", cubic=True)]
    for frame in frames:
        frame.rattle(0.05, seed=1)
    found = evaluate(model, frames)
    for energy, forces, frame in zip(found.energies, found.forces, frames, strict=True):
        both = [calc.get_potential_energy(frame) for calc in (bare, added)]
        assert min(map(abs, both)) > 1e-4
        assert energy == pytest.approx(sum(both), abs=1e-9)
        np.testing.assert_allclose(forces, bare.get_forces(frame) + added.get_forces(frame), atol=1e-9)
    stress = evaluate(model, frames[:1], stress=True).stresses[0]
    np.testing.assert_allclose(stress, bare.get_stress(frames[0]) + added.get_stress(frames[0]), atol=1e-9)


def test_it_is_added_to_a_batched_pass_too(library):
    def batch(frames, forces):
        return [(1.0, np.ones((len(frame), 3)) if forces else None) for frame in frames]

    bare = as_calculator(EMT())
    bare = replace(bare, batch=batch, identity=bare.identity.model_copy(update={"level_of_theory": "MP"}))
    model = dispersion.with_dispersion(bare, CalculatorRequest(spec="x", target="x", dispersion="d3zero"))
    assert model.identity.level_of_theory == "MP+D3(0)"
    frames, added = [bulk("Cu", cubic=True), bulk("Cu")], dispersion.term("PBE", "D3(0)")
    found = evaluate(model, frames)
    np.testing.assert_allclose(found.energies, [1.0 + added.get_potential_energy(f) for f in frames], atol=1e-12)
    np.testing.assert_allclose(found.forces[0], 1.0 + added.get_forces(frames[0]), atol=1e-12)
    assert evaluate(model, frames, forces=False).forces is None


@pytest.mark.parametrize(
    ("level", "says"),
    [
        ("", "nobody says which this model learned; say it: ,level=PBE"),
        (",level=PBE-D3BJ", "has dispersion already: its level of theory is PBE+D3(BJ); leave ,dispersion= out"),
        (",level=vdW-DF2", "has dispersion already"),
        (",level=EMT", "no term of dispersion is known for the level of theory 'EMT'"),
        (",level=LDA", "has no parameters of LDA for D3(BJ)"),
    ],
)
def test_what_cannot_get_a_term_is_refused(library, level, says):
    assert says in refusal(f"ase:EMT{level},dispersion=d3bj")


def test_no_other_term_is_added():
    with pytest.raises(InputError, match=r"D4 is no term that is added here; those are D3\(BJ\) and D3\(0\)"):
        dispersion.term("PBE", "D4")
