"""g(r) against ASE's neighbours, an ideal gas and shells of known distance."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry.rdf import get_rdf
from ase.neighborlist import neighbor_list
from support import autoregressive

from mlff_probes.methods.analysis.rdf import first_peak, largest_r, radial_distribution, shell_distance
from mlff_probes.methods.analysis.statistics import Unresolved

SKEWED = np.array([[6.0, 0.3, 0.0], [2.5, 5.5, 0.4], [-1.0, 1.8, 7.0]])


def by_neighbour_list(positions, cell, first, second, r_max, bins):
    i, j, d = neighbor_list("ijd", Atoms("H" * len(positions), positions, cell=cell, pbc=True), r_max)
    chosen = np.isin(i, first) & np.isin(j, second) & (i != j)
    counts, edges = np.histogram(d[chosen], bins=bins, range=(0, r_max))
    pairs = sum(one != other for one in first for other in second)
    return counts * abs(np.linalg.det(cell)) / (pairs * 4 / 3 * np.pi * np.diff(edges**3))


@pytest.mark.parametrize("cell", [SKEWED, SKEWED[[1, 0, 2]], np.diag([5.1, 6.2, 7.3])], ids=["skewed", "left", "box"])
@pytest.mark.parametrize("r_max", [2.0, 4.0, 11.0])
@pytest.mark.parametrize(("first", "second"), [(range(9), range(9)), (range(3), range(3, 9)), (range(4), [2, 7])])
def test_agrees_with_the_neighbour_list_of_ase(cell, r_max, first, second):
    positions = np.random.default_rng(4).normal(scale=20, size=(9, 3))  # far outside the cell
    r, g = radial_distribution(
        positions[None, None], cell[None, None], [*first], [*second], r_max=r_max, bin_width=0.25
    )
    assert r[0] == 0.125
    assert len(r) == round(r_max / 0.25)
    expected = by_neighbour_list(positions, cell, [*first], [*second], r_max, len(r))
    np.testing.assert_allclose(g, expected[None], atol=1e-9)


def test_masks_are_as_good_as_indices_and_partials_add_up():
    positions = np.random.default_rng(5).uniform(size=(1, 2, 9, 3)) @ SKEWED
    cells = np.broadcast_to(SKEWED, (1, 2, 3, 3))
    a = np.arange(9) < 4

    def g(first, second):
        return radial_distribution(positions, cells, first, second, r_max=5.0, bin_width=0.1)[1]

    np.testing.assert_array_equal(g(a, ~a), g(np.arange(4), np.arange(4, 9)))
    np.testing.assert_allclose(g(a, ~a), g(~a, a))
    everything = a | ~a
    parts = [(x, y, (x.sum() * y.sum() - (x & y).sum()) / 72) for x in (a, ~a) for y in (a, ~a)]
    np.testing.assert_allclose(g(everything, everything), sum(share * g(x, y) for x, y, share in parts))


def test_an_ideal_gas_has_no_structure():
    rng = np.random.default_rng(6)
    samples, atoms = 40, 100
    cells = SKEWED * rng.uniform(1.4, 1.6, size=(1, samples, 1, 1))  # of changing volume
    positions = rng.uniform(size=(1, samples, atoms, 3)) @ cells
    r, g = radial_distribution(positions, cells, np.arange(atoms), np.arange(atoms), r_max=12.0, bin_width=0.5)
    volume = np.abs(np.linalg.det(cells)).mean()
    pairs = samples * atoms * (atoms - 1) / 2 * 4 * np.pi * r**2 * 0.5 / volume
    short = r < largest_r(cells)
    np.testing.assert_array_less(np.abs(g[0] - 1)[short] * np.sqrt(pairs[short]), 4)
    np.testing.assert_allclose(g[0][~short], 1, atol=0.06)  # pairs and their images are not independent


def test_an_atom_is_no_neighbour_of_its_own_images():
    """Two atoms in a cell of 4 A: at 4 A, where both have six images of their own, there is no pair."""
    positions, cells = np.array([[[[0.0, 0, 0], [2.0, 2.0, 2.0]]]]), 4 * np.eye(3)[None, None]
    r, g = radial_distribution(positions, cells, [0, 1], [0, 1], r_max=7.0, bin_width=0.1)
    shells = np.sqrt([12, 44])[:, None]  # 8 and 24 images of the other
    np.testing.assert_array_equal(np.flatnonzero(g[0]), np.flatnonzero((np.abs(r - shells) < 0.05).any(axis=0)))
    neighbours = g[0] * 4 / 3 * np.pi * np.diff(np.arange(71) ** 3) * 0.001 / 64
    np.testing.assert_allclose(neighbours[neighbours > 0], [8, 24])
    with pytest.raises(Unresolved, match=r"^there is only one such atom in the cell$"):
        radial_distribution(positions, cells, [1], [1], r_max=6.0, bin_width=0.1)


def test_blocks_are_stretches_of_each_replica():
    positions = np.random.default_rng(7).uniform(size=(2, 7, 5, 3)) @ SKEWED
    cells = np.broadcast_to(SKEWED, (2, 7, 3, 3))
    options = {"first": np.arange(5), "second": np.arange(5), "r_max": 4.0, "bin_width": 0.5}
    _, g = radial_distribution(positions, cells, **options, blocks=3)
    assert g.shape == (6, 8)
    _, one = radial_distribution(positions[1:, 3:5], cells[1:, 3:5], **options)
    np.testing.assert_allclose(g[4], one[0])


def test_what_makes_no_distribution_is_refused():
    positions, cells = np.zeros((1, 2, 3, 3)), np.broadcast_to(SKEWED, (1, 2, 3, 3))
    with pytest.raises(ValueError, match="one of the sets is empty"):
        radial_distribution(positions, cells, [0], np.zeros(3, dtype=bool), r_max=3, bin_width=0.1)
    with pytest.raises(ValueError, match="3 blocks of 2 samples"):
        radial_distribution(positions, cells, [0], [1], r_max=3, bin_width=0.1, blocks=3)
    with pytest.raises(ValueError, match="do not fit"):
        radial_distribution(positions, cells[:, 0], [0], [1], r_max=3, bin_width=0.1)


def test_largest_r_is_the_radius_of_the_sphere_inside():
    assert largest_r(np.diag([4.0, 5.0, 6.0])) == 2.0
    primitive = bulk("Cu", a=4.0).cell[:]
    assert largest_r(primitive[None, None]) == pytest.approx(4.0 / np.sqrt(3) / 2)  # spacing of (111)


def shells(rng, pairs, broadening, *, radius=2.8, replicas=1, slow=0.0, correlation=1.0, samples=300):
    """g(r) of 48 blocks of one atom with six neighbours at a radius, and twelve further ones at half as far again.

    There are so many pairs in each of the samples; the near shell moves with a standard deviation of `slow` and the
    correlation time `correlation`, in samples.
    """
    edges = np.arange(0, 6.0001, 0.05)
    shift = radius + slow * autoregressive(rng, replicas, samples, correlation)
    g = []
    for replica in shift:
        for part in np.array_split(replica, 48 // replicas):
            near = np.repeat(part, pairs) + rng.normal(scale=broadening, size=len(part) * pairs)
            far = rng.normal(1.5 * radius, broadening, size=2 * len(part) * pairs)
            g.append(np.histogram(np.concatenate([near, far]), edges)[0] / (len(part) * pairs / 6))
    r, width = (edges[1:] + edges[:-1]) / 2, np.hypot(broadening, slow)
    apex = (radius + np.sqrt(radius**2 - 8 * width**2)) / 2  # of exp(-(r - R)^2 / 2 s^2) / r^2
    height = 6 * np.exp(-((apex - radius) ** 2) / (2 * width**2))
    height /= np.sqrt(2 * np.pi) * width * 4 * np.pi * apex**2 * 0.03
    return r, np.array(g) / (4 / 3 * np.pi * np.diff(edges**3) * 0.03), apex, height


@pytest.mark.parametrize("broadening", [0.06, 0.12, 0.2])
def test_the_first_peak_is_where_the_shell_is(broadening):
    r, g, apex, height = shells(np.random.default_rng(8), 10, broadening)
    position, top = first_peak(r, g)
    assert position.value == pytest.approx(apex, abs=0.02)
    assert position.uncertainty < 0.04
    assert top.value == pytest.approx(height, rel=0.05)


SLOW = [
    (1, 300, 1.0, 0.0, 0.9),
    (1, 300, 5.0, 0.1, 0.8),  # 30 independent samples, 0.94 to 0.97 resolved
    (1, 300, 10.0, 0.1, 0.5),  # 15, 0.6 to 0.7
    (4, 150, 10.0, 0.1, 0.85),  # 30, 0.95
]
"""Replicas, samples of each, correlation time and amplitude of the shell, least share that is resolved."""


@pytest.mark.parametrize(("replicas", "samples", "correlation", "slow", "least"), SLOW)
def test_intervals_of_the_first_peak_are_honest(replicas, samples, correlation, slow, least):
    rng = np.random.default_rng(9)
    hits, resolved, trials = np.zeros(2), 0, 60
    for _ in range(trials):
        r, g, apex, height = shells(rng, 6, 0.2, replicas=replicas, slow=slow, correlation=correlation, samples=samples)
        try:
            estimates = first_peak(r, g, replicas=replicas)
        except Unresolved:
            continue
        resolved += 1
        hits += [
            abs(found.value - true) <= found.uncertainty for found, true in zip(estimates, (apex, height), strict=True)
        ]
    print(hits, resolved)
    assert resolved >= least * trials
    assert (hits >= 0.9 * resolved).all()


@pytest.mark.parametrize("slow", [0.1, 0.2])
def test_a_shell_that_swung_but_thrice_is_mostly_refused(slow):
    """What the blocks add to the apex is half noise; the distance of the pairs shows how slowly the shell moves."""
    rng, resolved = np.random.default_rng(12), 0
    for _ in range(100):
        r, g, *_ = shells(rng, 12, 0.2, slow=slow, correlation=50.0)
        try:
            first_peak(r, g)
        except Unresolved:
            continue
        resolved += 1
    print(resolved)
    assert resolved <= 20


def test_the_distance_of_a_shell_follows_it():
    r = np.arange(0.025, 6, 0.05)
    moved = 0.1 * np.sin(np.arange(48) / 5)
    g = np.exp(-((r - 3 - moved[:, None]) ** 2) / 0.05) + 0.5 * np.exp(-((r - 4.5) ** 2) / 0.05)
    assert np.corrcoef(shell_distance(r, g), moved)[0, 1] > 0.99
    with pytest.raises(Unresolved, match="no peak"):
        shell_distance(r, np.tile(r, (12, 1)))


def test_a_trajectory_shorter_than_a_vibration_is_refused():
    rng = np.random.default_rng(13)
    edges = np.arange(0, 6.0001, 0.05)
    start, velocity = rng.normal(2.8, 0.2, size=200), rng.normal(scale=0.002, size=200)
    g = [np.histogram(start + i * velocity, edges)[0] / np.diff(edges**3) for i in range(12)]
    with pytest.raises(Unresolved, match=r"^\d\.\d independent samples, at least 10 are needed$"):
        first_peak((edges[1:] + edges[:-1]) / 2, g)


def test_a_smaller_shell_before_a_larger_one_is_the_first_and_noise_is_not():
    r = np.arange(0.025, 6, 0.05)
    shell = 2 * np.exp(-((r - 3.1) ** 2) / 0.02) + 4 * np.exp(-((r - 3.9) ** 2) / 0.02)
    noise = np.random.default_rng(10).uniform(0, 1.0, size=(48, len(r))) * (r > 1.5)
    position, _ = first_peak(r, shell + noise)
    assert position.value == pytest.approx(3.1, abs=0.05)


def test_no_peak_is_unresolved():
    r = np.arange(0.025, 6, 0.05)
    with pytest.raises(Unresolved, match=r"no pair of atoms closer than 5.98 A"):
        first_peak(r, np.zeros((12, len(r))))
    with pytest.raises(Unresolved, match=r"no peak before"):
        first_peak(r, np.tile(r, (12, 1)))
    with pytest.raises(Unresolved, match=r"^a peak of g\(r\) needs at least 6 bins, there are 1$"):
        first_peak(r[:1], np.ones((12, 1)))
    with pytest.raises(Unresolved, match="4 independent samples, at least 10"):
        first_peak(r, np.tile(np.exp(-((r - 3) ** 2) / 0.02), (4, 1)))


def test_agrees_with_the_distribution_of_ase():
    """ASE's own g(r), which counts each pair of a cell once and goes to half its width."""
    rng = np.random.default_rng(11)
    atoms = bulk("Cu", cubic=True).repeat(3)
    atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
    theirs, distances = get_rdf(atoms, 5.0, 50)
    r, ours = radial_distribution(
        atoms.positions[None, None], atoms.cell.array[None, None], np.arange(108), np.arange(108), r_max=5.0,
        bin_width=0.1,
    )  # fmt: skip
    np.testing.assert_allclose(distances, r)
    np.testing.assert_allclose(ours[0], theirs * 108 / 107, atol=0.02 * theirs.max())
