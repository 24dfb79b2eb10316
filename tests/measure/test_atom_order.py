"""Which atom is which along a path: permuted, drifting, wrapped and concerted ones whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from mlff_probes.cases.importers.path import Stated, band_case
from mlff_probes.core.errors import InputError
from mlff_probes.measure.migration.atom_order import exchange_problem, migrating_atom_note, numbered_alike
from mlff_probes.measure.migration.fixed_path import path_fraction
from mlff_probes.measure.migration.path_problems import path_problem
from mlff_probes.measure.migration.protocols import RelaxedPath
from mlff_probes.methods.bands.interpolation import unwrapped
from mlff_probes.methods.bands.steps import rigid_drift, ways

CRYSTAL = bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(2)
HOPPER = 5
RNG = np.random.default_rng(4)


def hop(images=4, *, drift=(0.0, 0.0, 0.0), wrapped=False):
    """An ion of a salt that goes to a vacancy; each image has an energy, and each atom a force, of its own."""
    start = CRYSTAL.copy()
    (to,) = (i for i in range(len(start)) if i != HOPPER and start.symbols[i] == start.symbols[HOPPER]
             and start.get_distance(HOPPER, i, mic=True) < 4.0 and i > HOPPER
             and np.allclose(start.positions[i] - start.positions[HOPPER], [0, 2.8, 2.8]))  # fmt: skip
    way = start.positions[to] - start.positions[HOPPER]
    del start[to]
    frames = []
    for image, t in enumerate(np.linspace(0, 1, images)):
        frame = start.copy()
        frame.positions += 0.02 * np.random.default_rng(image).normal(size=(len(frame), 3))
        frame.positions[HOPPER] = start.positions[HOPPER] + t * way
        frame.positions += image * np.array(drift)
        if wrapped:
            frame.positions += RNG.integers(-2, 3, (len(frame), 3)) @ frame.cell.array
        frame.info["image"] = image
        own = np.arange(len(frame))[:, None] * [1.0, 0.1, 0.01]
        frame.calc = SinglePointCalculator(frame, energy=float(image), forces=own)
        frames.append(frame)
    return frames


def permuted(frames, order, start=2):
    """The frames with atoms in another order from image `start` on."""
    found = frames[:start]
    for frame in frames[start:]:
        other = frame[order]
        other.calc = SinglePointCalculator(other, energy=frame.calc.results["energy"], forces=frame.get_forces()[order])
        found.append(other)
    return found


def alike(order):
    """A random order that keeps the elements in their places, and the hopper, as sorting by another tool does."""
    numbers, found = hop(2)[0].numbers, np.arange(len(hop(2)[0]))
    for element in set(numbers):
        rows = np.flatnonzero((numbers == element) & (found != HOPPER))
        found[rows] = np.random.default_rng(order).permutation(rows)
    return found


def swapped(*pairs):
    order = np.arange(len(hop(2)[0]))
    for one, other in pairs:
        order[[one, other]] = other, one
    return order


def test_two_atoms_that_change_places_are_named():
    frames = permuted(hop(), swapped((7, 13)))
    said = exchange_problem(frames)
    assert said.startswith("from image 2 on atoms seem to be numbered in another order: 13 -> 7, 7 -> 13; ")
    assert exchange_problem(hop()) is None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", [{}, {"drift": (0.5, 0.3, -0.2)}, {"wrapped": True}, {"images": 2}])
def test_any_order_is_mapped_back_with_energies_and_forces(seed, case):
    frames = hop(**case)
    mapped, notes = numbered_alike(permuted(frames, alike(seed), start=1 if len(frames) == 2 else 2))
    for frame, right in zip(mapped, frames, strict=True):
        np.testing.assert_allclose(frame.positions, right.positions)
        np.testing.assert_array_equal(frame.get_forces(), right.get_forces())
        assert frame.get_potential_energy() == right.get_potential_energy()
    assert len(notes) == 1
    assert "more" in notes[0]
    assert numbered_alike(frames) == (frames, ())


def test_elements_in_another_order_are_mapped_too():
    frames = hop()
    order = np.random.default_rng(1).permutation(len(frames[0]))
    assert "state reorder_atoms = true" in path_problem(permuted(frames, order), HOPPER).reason
    mapped, _ = numbered_alike(permuted(frames, order))
    assert all((frame.numbers == frames[0].numbers).all() for frame in mapped)
    np.testing.assert_allclose(mapped[-1].positions, frames[-1].positions)


def line(*places):
    """Atoms of one kind on a line, A, in a long cell with two others."""
    return Atoms(f"Li{len(places)}O2", [[x, 0, 0] for x in places] + [[0, 4, 0], [0, 4, 4]], cell=[30, 8, 8], pbc=True)


def test_one_atom_that_pushes_the_next_along_is_no_exchange():
    """An interstitialcy: both atoms go one place on; to leap over the other would be the longer path."""
    assert exchange_problem([line(3, 6), line(6, 9)]) is None
    assert "1 -> 0, 0 -> 1" in exchange_problem([line(3, 6), line(6, 3.2)])


def test_an_exchange_that_is_meant_is_stated():
    frames = [line(3, 6), line(6, 3.2)]
    for image, frame in enumerate(frames):
        frame.info["image"] = image
    stated = {"kind": "relaxed_path", "migrating_atom": 0, "path_made_by": "hand"}
    assert "reorder_atoms" in RelaxedPath(**stated).frame_problem(frames)
    assert RelaxedPath(**stated, reorder_atoms=False).frame_problem(frames) is None
    mapping = RelaxedPath(**stated, reorder_atoms=True)
    assert "migrating_atom" not in mapping.prepared(frames)[1][0]
    assert mapping.prepared(frames)[0][1].positions[0, 0] == 3.2


@pytest.mark.parametrize("drift", [(0.4, 0.3, 0.2), (-0.15, 0.0, 0.0), (2.0, -1.5, 2.5)])
def test_a_drift_of_all_is_no_way(drift):
    frames, still = hop(drift=drift), hop()
    np.testing.assert_allclose(rigid_drift(frames[0], frames[1]), drift, atol=0.02)
    np.testing.assert_allclose(ways(frames), ways(still), atol=0.1)
    assert ways(frames).argmax() == HOPPER
    np.testing.assert_allclose(path_fraction(tuple(frames)), path_fraction(tuple(still)), atol=0.01)
    assert np.abs(unwrapped(frames)[-1].positions - unwrapped(still)[-1].positions).max() < 0.1
    case = band_case(frames, "salt", where=__file__, stated=Stated())
    assert case.protocol.migrating_atom == HOPPER


def test_what_relaxes_or_is_held_does_not_drift():
    frames = hop()
    assert not rigid_drift(frames[0], frames[-1]).any()
    moved = hop(drift=(0.4, 0.0, 0.0))
    for frame in moved:
        frame.set_constraint(FixAtoms([0]))
    assert not rigid_drift(moved[0], moved[1]).any()
    assert not rigid_drift(line(1, 5), line(2, 6)).any()  # half of the atoms move: no drift


def test_images_that_are_one_structure_shifted_are_no_path():
    frames = [hop()[0], hop()[0]]
    frames[1].positions += [0.3, 0.2, 0.1]
    frames[1].info["image"] = 1
    assert "no atom moves from image to image" in path_problem(frames, HOPPER).reason


def test_a_migrating_atom_that_does_not_migrate():
    assert "is 5 meant?" in path_problem(hop(), 20).reason
    assert path_problem(hop(), HOPPER) is None
    with pytest.raises(InputError, match="is 5 meant"):
        band_case(hop(), "salt", where=__file__, stated=Stated(migrating_atom=20))


def test_a_migrating_atom_that_moves_less_than_another_is_said():
    frames = [line(3, 8), line(4, 10)]
    assert migrating_atom_note(frames, 1) == ()
    assert migrating_atom_note(frames, 0) == ("The migrating atom 0 (Li) moves by 1.00 A, but atom 1 (Li) by 2.00 A.",)
