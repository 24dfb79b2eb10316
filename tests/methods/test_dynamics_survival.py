"""What ends a simulation, seen on single samples."""

from __future__ import annotations

import numpy as np
import pytest
from analytic import copper, protocol
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import get_distances
from ase.neighborlist import neighbor_list
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.stats import chi2

from mlff_probes.methods.bands import outcomes
from mlff_probes.methods.neighbours import near_pairs, widest_gap
from mlff_probes.methods.simulation.engine import Sample, first_momenta
from mlff_probes.methods.simulation.survival import GEOMETRY_STEPS, Watch, runaway_temperature


def random_crystal(seed):
    rng = np.random.default_rng(seed)
    atoms, cell = int(rng.integers(2, 12)), rng.normal(size=(3, 3)) * 2 + np.eye(3) * rng.uniform(4, 12)
    places = rng.uniform(-1, 2, (atoms, 3))
    return Atoms(rng.choice([24, 51, 52], atoms), scaled_positions=places, cell=cell, pbc=True)


def two_layers(gap=2.6):
    """Two layers of copper atoms, 7.2 A of vacuum above them."""
    crystal = copper(1).repeat((2, 2, 1))
    layer = crystal[crystal.positions[:, 2] < 0.1]
    upper = layer.copy()
    upper.positions[:, 2] = gap
    found = layer + upper
    found.cell[2, 2] = 12.0
    return found


def sample(*frames, temperature=300.0):
    momenta = [first_momenta(frame.get_masses(), temperature, seed) for seed, frame in enumerate(frames)]
    return Sample(
        np.array([frame.positions for frame in frames]), np.array(momenta), frames[0].get_masses(),
        np.zeros((len(frames), len(frames[0]), 3)), np.zeros(len(frames)), np.array([f.cell.array for f in frames]),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_near_pairs_and_gaps_are_those_of_all_distances(seed):
    atoms = random_crystal(seed)
    first, second, distances = neighbor_list("ijd", atoms, 1.7 * 2 * covalent_radii[atoms.numbers].max())
    ratios = distances / (covalent_radii[atoms.numbers[first]] + covalent_radii[atoms.numbers[second]])
    np.testing.assert_allclose(np.sort(near_pairs(atoms, 1.7).ratios), np.sort(ratios[ratios <= 1.7]))
    all_distances = get_distances(atoms.positions, cell=atoms.cell, pbc=atoms.pbc)[1]
    radii = covalent_radii[atoms.numbers]
    tree = minimum_spanning_tree(all_distances / (radii[:, None] + radii[None, :]))
    assert widest_gap(atoms) == pytest.approx(tree.data.max())


def test_a_crystal_that_shakes_lives():
    start = copper()
    shaken = start.copy()
    shaken.rattle(0.2, seed=1)
    assert Watch(start, protocol()).sample(0, sample(start, shaken)) is None


def test_two_atoms_that_fuse():
    start, fused = copper(), copper()
    fused.positions[7] = fused.positions[3] + [0.5, 0.9, 0.0]
    end = Watch(start, protocol()).sample(20, sample(start, fused))
    assert (end.kind, end.step, end.time_fs, end.replica) == ("close contact", 20, 20.0, 1)
    assert end.reason == "Cu 3 and Cu 7 are at 0.39 of the sum of their covalent radii"
    assert outcomes.structure_explosion(fused, widest_gap(start)) == (end.kind, end.reason)


def test_an_atom_that_meets_its_own_image():
    squeezed = copper()
    squeezed.set_cell(squeezed.cell.array * [1, 1, 0.1], scale_atoms=True)
    assert Watch(copper(), protocol()).sample(0, sample(squeezed)).kind == "close contact"


@pytest.mark.parametrize(("gap", "kind"), [(2.6, None), (3.8, None), (4.8, "fragments separated")])
def test_a_layer_that_leaves(gap, kind):
    end = Watch(two_layers(), protocol()).sample(0, sample(two_layers(gap)))
    assert (end and end.kind) == kind
    found = outcomes.structure_explosion(two_layers(gap), widest_gap(two_layers()))
    assert (found and found[0]) == kind
    assert found is None or found[1] == end.reason


def test_an_atom_that_leaves_a_layer():
    start, left = two_layers(), two_layers()
    left.positions[5, 2] = -4.7
    assert Watch(start, protocol()).sample(0, sample(left)).kind == "fragments separated"


def test_heat_that_runs_away():
    end = Watch(copper(), protocol()).sample(5, sample(copper(), copper(), temperature=1400.0))
    assert (end.kind, end.step, end.replica) == ("runaway temperature", 5, 0)
    assert end.reason == "1,356 K, above 1,300 K"  # 3 (N - 1) degrees of freedom were given 1,400 K


def test_velocities_that_are_no_numbers():
    broken = sample(copper())
    broken.momenta[0, 0, 0] = np.nan
    assert Watch(copper(), protocol()).sample(0, broken).kind == "runaway temperature"


@pytest.mark.parametrize("atoms", [2, 5, 30, 300])
def test_no_fluctuation_is_taken_for_runaway_heat(atoms):
    for target in (300.0, 3000.0):
        ratio = runaway_temperature(target, 3 * atoms) / target
        assert chi2.sf(ratio * 3 * atoms, 3 * atoms) < 1e-6


def test_positions_that_are_no_numbers():
    broken = copper()
    broken.positions[3, 1] = np.inf
    end = Watch(copper(), protocol()).geometry(3, 1, broken)
    assert (end.kind, end.reason) == ("non-finite", "positions or cell are not finite")


def test_distances_are_looked_at_every_so_many_steps():
    fused = copper()
    fused.positions[7] = fused.positions[3]
    for sample_every, seen in ((1, 10), (4, 12), (10, 10), (50, 50)):
        watch = Watch(copper(), protocol(sample_every=sample_every, steps=100, equilibration_steps=0))
        looked = [step for step in range(sample_every, 100, sample_every) if watch.sample(step, sample(fused))]
        assert looked[0] == seen >= GEOMETRY_STEPS


@pytest.mark.parametrize("step", [8, 32], ids=["end of the equilibration", "last step"])
def test_the_last_steps_are_looked_at_whatever_their_number(step):
    fused = copper()
    fused.positions[7] = fused.positions[3]
    watch = Watch(copper(), protocol(sample_every=8, equilibration_steps=8, steps=24))
    assert [s for s in range(8, 33, 8) if watch.sample(s, sample(fused))] == [8, 16, 32]
    assert watch.sample(step, sample(fused)).step == step


def test_a_single_atom_is_one_piece():
    atom = copper(1)[:1]
    assert widest_gap(atom) == 1.0
    assert Watch(atom, protocol()).geometry(0, 0, atom) is None
