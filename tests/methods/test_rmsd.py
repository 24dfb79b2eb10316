"""Displacements that are known."""

from __future__ import annotations

import numpy as np
import pytest

from mlff_probes.methods.analysis.rmsd import rmsd

MASSES = np.array([1.0, 3.0])
START = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])


def test_a_shift_of_all_atoms_is_no_displacement():
    shifts = np.random.default_rng(0).normal(size=(2, 5, 1, 3))
    np.testing.assert_allclose(rmsd(START + shifts, START, MASSES), np.zeros((2, 5)), atol=1e-12)


def test_the_centre_of_mass_stays():
    moved = START + np.array([[4.0, 0, 0], [0, 0, 0]])  # the centre moves by 1: atoms by 3 and -1 relative to it
    assert rmsd(moved[None, None], START, MASSES) == pytest.approx(np.sqrt((9 + 1) / 2))


def test_it_agrees_with_the_formula_atom_by_atom():
    rng = np.random.default_rng(1)
    positions, masses, start = rng.normal(size=(2, 3, 7, 3)), rng.uniform(1, 9, size=7), rng.normal(size=(7, 3))
    found = rmsd(positions, start, masses)
    centre = sum(m * p for m, p in zip(masses, positions[1, 2] - start, strict=True)) / masses.sum()
    assert found.shape == (2, 3)
    assert found[1, 2] ** 2 == pytest.approx(
        np.mean([((positions[1, 2, a] - start[a] - centre) ** 2).sum() for a in range(7)])
    )


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        rmsd(START[None], START, MASSES)
    with pytest.raises(ValueError, match="do not fit"):
        rmsd(START[None, None], START, MASSES[:1])
