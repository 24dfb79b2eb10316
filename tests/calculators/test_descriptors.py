"""Descriptors are the same however a structure is written, and say what they are."""

from __future__ import annotations

from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from mace_models import random_mace

from mlff_probes import descriptors, load_calculator
from mlff_probes.calculators import descriptors as module
from mlff_probes.calculators.base import Features, as_calculator
from mlff_probes.calculators.checkpoints.safety import weights_only_kept
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import EvaluationError, InputError, NonFiniteError

pytestmark = pytest.mark.usefixtures("one_thread")

RELATIVE = {"chgnet": 5e-5, "mace": 1e-9, "soap": 1e-6, "physical": 1e-6}
"""Rounding, in the root mean square of all features: CHGNet's is that of a float32, SOAP's that of splines."""


@pytest.fixture(scope="module")
def crystal():
    found = ase.io.read(DIRECTORY / "sliding" / "sb2te3_fixed_gap_0.0.extxyz")
    found.calc = None
    found.rattle(0.1, seed=0)
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    file = random_mace(tmp_path_factory.mktemp("mace") / "random.model", vectors=True)
    with weights_only_kept():
        mace = load_calculator(str(file))
    lj = LennardJones(sigma=2.5, epsilon=0.1, rc=4.0, smooth=True)
    return {"chgnet": load_calculator("chgnet"), "mace": mace, "soap": lj, "physical": lj}


def with_rough_stiffness(atoms):
    """Derivatives by differences along other axes agree to the square of the step: a hundredth of those here."""
    atoms = atoms.copy()
    atoms[:, 2:5] *= 1e-5
    return atoms


@pytest.mark.parametrize("name", RELATIVE)
def test_they_are_the_same_however_a_structure_is_written(name, models, crystal):
    order = [3, 0, 4, 1, 2]
    turned = crystal.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    frames = [crystal, turned, crystal[order], crystal.repeat((1, 1, 2))]
    found = descriptors(models[name], frames, which=name if name == "physical" else "model", elements=["Cr"])
    one, rotated, reordered, doubled = (
        with_rough_stiffness(each) if name == "physical" else each for each in found.atoms
    )
    size = RELATIVE[name] * np.sqrt((one**2).mean())
    for other in (rotated, reordered[np.argsort(order)], doubled[:5], doubled[5:]):
        assert np.abs(other - one).max() < size
    if name != "physical":
        assert np.abs(found.frames - found.frames[0]).max() < size
    assert np.ptp(one, axis=0).max() > 1e3 * size, "atoms of different elements differ"
    assert found.soap_because == ("LennardJones shows no features of its own" if name == "soap" else "")


def test_they_say_what_they_are_and_layers_stand_side_by_side(models, crystal):
    sites = descriptors(models["chgnet"], [crystal])
    assert (sites.name, sites.atoms[0].shape, sites.frames.shape) == ("site features of CHGNet", (5, 64), (1, 64))
    assert sites.evaluation.calls == sites.evaluation.batches == 1
    both, last = (descriptors(models["mace"], [crystal], layer=layer) for layer in (None, "layer 2"))
    assert (both.name, last.name) == (
        f"{last.name.removesuffix(', layer 2')}",
        "invariant node features of MACE, layer 2",
    )
    assert np.array_equal(both.atoms[0][:, -last.atoms[0].shape[1] :], last.atoms[0])
    ours, theirs = both.atoms[0], models["mace"].ase.get_descriptors(crystal)
    assert ours == pytest.approx(theirs, rel=1e-6)
    with pytest.raises(InputError, match="has no layer 'layer 7'; it has layer 1, layer 2"):
        descriptors(models["mace"], [crystal], layer="layer 7")
    assert descriptors(models["mace"], []).atoms == ()


def test_vectors_of_a_layer_turn_with_the_structure_and_stand_behind_its_scalars(models, crystal):
    turned = crystal.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    found = descriptors(models["mace"], [crystal, turned], which="equivariant", layer="layer 1")
    assert found.name == "invariant node features of MACE, layer 1, with those that turn with the structure"
    scalars = descriptors(models["mace"], [crystal], layer="layer 1").atoms[0]
    one, other = (atoms[:, scalars.shape[1] :].reshape(len(atoms), -1, 3) for atoms in found.atoms)
    assert np.array_equal(found.atoms[0][:, : scalars.shape[1]], scalars)
    assert one.shape[1] > 0
    assert np.abs(one - other).max() > 0.1 * np.abs(one).max()
    assert np.linalg.norm(other, axis=2) == pytest.approx(np.linalg.norm(one, axis=2), rel=1e-6)
    with pytest.raises(InputError, match='shows no features that turn with a structure; take which="model"'):
        descriptors(models["chgnet"], [crystal], which="equivariant")


def test_soap_is_made_in_parts_and_of_slabs_and_molecules(crystal, monkeypatch):
    slab = crystal.repeat((1, 1, 2))
    slab.center(vacuum=6.0, axis=2)
    wide = slab.copy()
    slab.pbc = (True, True, False)
    slab.cell[2] = 0
    molecule = Atoms("SbTe2", positions=[[0, 0, 0], [2.8, 0, 0], [0, 2.8, 0]], cell=[20, 21, 22])
    boxed = molecule.copy()
    boxed.pbc = True
    frames = [wide, slab, molecule, boxed]
    whole = descriptors(None, frames, which="soap").atoms
    for one, other in (whole[:2], whole[2:]):
        assert one == pytest.approx(other, abs=1e-6 * np.abs(one).max())
    monkeypatch.setattr(module, "SOAP_ATOMS", 12)
    assert all(np.array_equal(a, b) for a, b in zip(whole, descriptors(None, frames, which="soap").atoms, strict=True))


def test_soap_keeps_scalar_products(crystal):
    """Each pair of one element stands there once, with the weight of two: that of featomic's whole spectrum."""
    (found,) = descriptors(None, [crystal], which="soap", elements=["Cr"]).atoms
    assert found.shape == (5, 3 * 36 * 5 + 3 * 64 * 5)
    assert np.count_nonzero(found.any(axis=0)) == 2 * 36 * 5 + 64 * 5  # no chromium


def test_the_stiffness_of_a_spring_is_its_constant():
    from ase.calculators.harmonic import HarmonicCalculator, HarmonicForceField

    pair = Atoms("Cu2", positions=[[0, 0, 0], [4.0, 0, 0]])
    hessian = np.diag([1.0, 2, 3, 4, 5, 6])
    model = HarmonicCalculator(HarmonicForceField(ref_atoms=pair.copy(), ref_energy=0.0, hessian_x=hessian))
    (found,) = descriptors(model, [pair], which="physical").atoms
    assert found[:, 2:5] == pytest.approx(np.array([[1, 2, 3], [4, 5, 6]]))
    shell = 4 / 3 * np.pi * (4.05**3 - 4.0**3)
    assert found[:, 5:105].sum(axis=1) == pytest.approx(1 / shell, rel=1e-6)


@pytest.mark.parametrize(
    ("features", "error", "said"),
    [
        (lambda frame: np.zeros((2, 3)), EvaluationError, r"frame 0 have shape \(2, 3\), expected \(5, n\)"),
        (lambda frame: np.full((5, 3), np.nan), NonFiniteError, r"frame 0 are not finite: atom 0 \(Te\), 5 of 5"),
        (lambda frame: 1 / 0, EvaluationError, "raised at frame 0: ZeroDivisionError"),
    ],
)
def test_bad_features_are_one_clear_error(features, error, said, crystal):
    model = as_calculator(LennardJones())
    model = replace(model, features=lambda frames: [Features({"only": features(frame)}) for frame in frames])
    with pytest.raises(error, match=said):
        descriptors(model, [crystal])
