"""NEP89, or the model that `NEP_MODEL` names: as its own calculator, whatever sizes come (`make test-families`)."""

from __future__ import annotations

import os
import time

import ase.io
import numpy as np
import pytest
from calorine.calculators import CPUNEP

from mlff_probes import evaluate, load_calculator
from mlff_probes.core.data import DIRECTORY

MODEL = os.environ["NEP_MODEL"]


@pytest.fixture(scope="module")
def frames():
    """Sizes in turn, as probes of one process have them."""
    start = ase.io.read(DIRECTORY / "migration" / "cr_sb2te3_in_gap.extxyz", index=0)
    start.calc = None
    found = [start.repeat(each) for each in ((1, 1, 1), (2, 1, 1), (1, 1, 1), (2, 1, 1), (1, 1, 1))]
    for seed, frame in enumerate(found):
        frame.rattle(0.05, seed=seed)
    return found


def test_it_gives_the_numbers_of_its_own_calculator(frames):
    ours = load_calculator(MODEL)
    assert ours.identity.batched
    together = evaluate(ours, frames)
    assert together.batches == 1
    found = evaluate(ours, frames, stress=True)
    np.testing.assert_array_equal(together.energies, found.energies)
    np.testing.assert_array_equal(np.concatenate(together.forces), np.concatenate(found.forces))
    for frame, energy, forces, stress in zip(frames, found.energies, found.forces, found.stresses, strict=True):
        own = CPUNEP(MODEL)
        own.calculate(frame, ["energy", "forces", "stress"])
        assert energy == own.results["energy"]
        np.testing.assert_array_equal(forces, own.results["forces"])
        np.testing.assert_array_equal(stress, own.results["stress"])


def test_its_file_is_not_read_again_for_a_size_that_was_there_before(frames):
    calculator = load_calculator(MODEL)
    took = []
    for frame in frames:
        start = time.process_time()
        evaluate(calculator, [frame])
        took.append(time.process_time() - start)
    assert max(took[2:]) < min(took[:2]) / 10
    assert set(calculator.ase.calculators) > {21, 42}  # and those on which batches were tried
