"""SevenNet's own models: in batches as one by one, and both as its own calculator (`make test-families`)."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk
from sevenn.calculator import SevenNetCalculator
from sevenn.util import pretrained_name_to_path

from mlff_probes import descriptors, evaluate, load_calculator
from mlff_probes.calculators.registry import each_head
from mlff_probes.core.data import DIRECTORY

MODELS = ("7net-0", "7net-l3i5", "7net-mf-0")
EV_PER_ATOM, EV_PER_A = 2e-6, 5e-6
"""Rounding of float32: a few times what was seen."""


@pytest.fixture(scope="module", params=MODELS)
def pair(request):
    """The family's calculator, and the package's own."""
    modal = {"modal": "PBE"} if "-mf-" in request.param else {}
    return load_calculator(f"sevennet:{request.param}"), SevenNetCalculator(request.param, device="cpu", **modal)


@pytest.fixture(scope="module")
def frames():
    """Structures of 5 to 84 atoms, of several elements in one batch, and one slab in a vacuum."""
    every = [frame for file in sorted(DIRECTORY.glob("*/*.extxyz")) for frame in ase.io.read(file, ":")]
    telluride = next(frame for frame in every if len(frame) == 21 and "Cr" in frame.symbols)
    other = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    slab = every[0].copy()
    slab.center(vacuum=6.0, axis=2)
    slab.pbc = (True, True, False)
    found = [telluride, telluride.repeat((2, 2, 1)), other, slab]
    for seed, frame in enumerate(found):
        frame.calc = None
        frame.rattle(0.05, seed=seed)
    return found


def test_in_batches_and_alone_it_gives_the_numbers_of_its_own_calculator(pair, frames):
    ours, own = pair
    assert ours.identity.batched
    assert ours.identity.no_batches is None
    found = evaluate(ours, frames)
    assert found.batches == 1
    alone = evaluate(ours, frames, stress=True)
    assert alone.batches == len(frames)
    for row, frame in enumerate(frames):
        own.calculate(frame)
        for evaluated in (found, alone):
            assert abs(evaluated.energies[row] - own.results["energy"]) / len(frame) < EV_PER_ATOM
            np.testing.assert_allclose(evaluated.forces[row], own.results["forces"], rtol=0, atol=EV_PER_A)
        np.testing.assert_allclose(alone.stresses[row], own.results["stress"], rtol=0, atol=1e-7)


def test_the_heads_of_a_file_are_its_modalities():
    file = pretrained_name_to_path("7net-mf-0")
    found = each_head(f"{file},head=all", trust_checkpoint=True)
    assert {each.rpartition("=")[2] for each in found} == {"PBE", "R2SCAN"}


def test_dtype_and_device_are_those_of_its_tensors(pair):
    ours, _ = pair
    parameters = list(ours.ase.model.parameters())
    assert {str(each.dtype) for each in parameters} == {f"torch.{ours.identity.dtype}"} == {"torch.float32"}
    assert {each.device for each in parameters} == {torch.device(ours.identity.device)}


def test_features_are_scalars_of_each_atom(pair, frames):
    ours, _ = pair
    turned = frames[0].copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    order = np.random.default_rng(0).permutation(len(turned))
    found = descriptors(ours, [frames[0], turned, frames[0][order], frames[2]])
    assert found.name == "scalar node features of SevenNet"
    assert len(found.atoms[3]) == len(frames[2])
    for other in (found.atoms[1], found.atoms[2][np.argsort(order)]):
        assert np.abs(other - found.atoms[0]).max() < 1e-4 * found.atoms[0].std()
