"""The band optimizer on surfaces whose saddle is known, with the calls counted."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep import NEB
from ase.optimize import BFGS

from mlff_probes.bands.learned import LearnedPotential, LinearPotential, Residual
from mlff_probes.bands.optimizer import BandOptimizer, band_forces, largest_force, relax_band

HEIGHT, WIDTH, BEND, STIFF = 0.5, 1.0, 0.6, 4.0


def bent_double_well(positions):
    """h (x^2/w^2 - 1)^2 + s/2 (y - b (1 - x^2))^2 + s/2 z^2: minima at x = -w and w, saddle (0, b, 0), height h."""
    x, y, z = np.moveaxis(positions, -1, 0)
    well = (x / WIDTH) ** 2 - 1
    off = y - BEND * (1 - x**2)
    energies = HEIGHT * well**2 + 0.5 * STIFF * (off**2 + z**2)
    slope = np.stack([4 * HEIGHT * well * x / WIDTH**2 + 2 * STIFF * off * BEND * x, STIFF * off, STIFF * z], axis=-1)
    return energies.sum(axis=-1), -slope


class Counted:
    def __init__(self, surface):
        self.surface, self.calls, self.seen = surface, 0, set()

    def __call__(self, positions):
        self.calls += len(positions)
        for one in positions:
            assert one.tobytes() not in self.seen, "nothing is evaluated twice"
            self.seen.add(one.tobytes())
        return self.surface(positions)


def well_band(n_images=7):
    band = np.zeros((n_images, 1, 3))
    band[:, 0, 0] = np.linspace(-WIDTH, WIDTH, n_images)
    return band


def well_optimizer(**options):
    band = well_band()
    energies, forces = bent_double_well(band[[0, -1]])
    return BandOptimizer(Atoms("H"), band, energies, forces, **options)


@pytest.fixture(scope="module")
def hop():
    """A vacancy hop in copper: relaxed ends and a straight band of five images."""
    crystal = bulk("Cu", cubic=True) * (2, 2, 2)
    neighbour = int(np.argsort(crystal.get_distances(0, range(len(crystal)), mic=True))[1])
    jump = crystal.get_distance(0, neighbour, mic=True, vector=True)
    first = crystal[1:]
    last = first.copy()
    last.positions[neighbour - 1] -= jump
    for end in (first, last):
        end.calc = EMT()
        BFGS(end, logfile=None).run(fmax=0.005, steps=100)
    band = np.linspace(first.positions, last.positions, 5)
    energies = np.array([end.get_potential_energy() for end in (first, last)])
    forces = np.array([end.get_forces() for end in (first, last)])
    return first, band, energies, forces


def emt(atoms):
    def evaluate(positions):
        energies, forces = [], []
        for one in positions:
            copy = atoms.copy()
            copy.positions, copy.calc = one, EMT()
            energies.append(copy.get_potential_energy())
            forces.append(copy.get_forces())
        return np.array(energies), np.array(forces)

    return evaluate


@pytest.mark.parametrize("climb", [False, True])
def test_forces_on_the_band_are_those_of_ase(climb):
    rng = np.random.default_rng(1)
    positions = np.linspace(np.zeros((4, 3)), np.ones((4, 3)), 6) + rng.normal(size=(6, 4, 3)) * 0.1
    energies, forces = rng.normal(size=6), rng.normal(size=(6, 4, 3))
    images = [Atoms("H4", positions=p) for p in positions]
    for image, energy, force in zip(images, energies, forces, strict=True):
        image.calc = SinglePointCalculator(image, energy=energy, forces=force)
    neb = NEB(images, k=0.3, climb=climb, method="improvedtangent", allow_shared_calculator=True)
    if climb:
        neb.get_forces()  # ASE knows the highest image only from the second call on
    mine = band_forces(positions.reshape(6, -1), energies, forces[1:-1].reshape(4, -1), 0.3, climb=climb)
    np.testing.assert_allclose(mine.reshape(-1, 3), neb.get_forces(), atol=1e-12)
    assert largest_force(mine) == pytest.approx(np.linalg.norm(neb.get_forces(), axis=1).max())


def test_a_bent_double_well_to_its_exact_saddle():
    evaluate = Counted(bent_double_well)
    *_, last = relax_band(evaluate, well_optimizer(), max_calls=100)
    assert last.fmax <= 0.05
    assert last.calls == evaluate.calls <= 20
    assert last.barrier == pytest.approx(HEIGHT, abs=1e-3)
    np.testing.assert_allclose(last.positions[int(np.argmax(last.energies)), 0], [0, BEND, 0], atol=0.02)


def test_the_verdict_comes_from_true_calls():
    *_, last = relax_band(bent_double_well, well_optimizer(), max_calls=100)
    energies, forces = bent_double_well(last.positions)
    np.testing.assert_array_equal(last.energies, energies)
    pull = band_forces(last.positions.reshape(7, -1), energies, forces[1:-1].reshape(5, -1), 0.1, climb=True)
    assert largest_force(pull) == last.fmax


def test_never_more_calls_than_allowed_and_the_same_every_time():
    runs = [[step.fmax for step in relax_band(bent_double_well, well_optimizer(fmax=1e-9), max_calls=18)] for _ in "ab"]
    assert len(runs[0]) == 3
    assert runs[0] == runs[1]


def test_a_vacancy_hop_in_less_than_half_the_calls_of_fire(hop):
    atoms, band, energies, forces = hop
    evaluate = Counted(emt(atoms))
    optimizer = BandOptimizer(atoms, band, energies, forces)
    *_, last = relax_band(evaluate, optimizer, max_calls=60)
    assert last.fmax <= 0.05
    assert evaluate.calls <= 20, "FIRE with one calculator an image needs about 100"


def test_learned_forces_are_the_slope_of_the_learned_energy(hop):
    atoms, band, *_ = hop
    energies, forces = emt(atoms)(band)
    points = band.reshape(5, -1)
    linear = LinearPotential(atoms, points)
    learned = LearnedPotential(atoms, points)
    learned.fit(points, energies, forces.reshape(5, -1))
    features = [linear.features(point) for point in points]
    linear.fit(energies, forces.reshape(5, -1), np.array([f for f, _ in features]), np.array([g for _, g in features]))
    rng = np.random.default_rng(2)
    point = points[1] + rng.normal(size=points[1].shape) * 0.05
    way = rng.normal(size=point.shape)
    for model in (linear, learned):
        above, below = model.predict(np.array([point + 1e-5 * way, point - 1e-5 * way]))[0]
        assert (above - below) / 2e-5 == pytest.approx(-model.predict(point[None])[1][0] @ way, rel=1e-5)


def test_the_process_gives_back_what_it_was_shown():
    rng = np.random.default_rng(3)
    points, centre = rng.normal(size=(5, 9)) * 0.4, rng.normal(size=9) * 0.1
    energies, forces = 0.05 * ((points - centre) ** 2).sum(axis=1), -0.1 * (points - centre)
    got, pull = Residual(points, energies, forces).predict(points)
    np.testing.assert_allclose(got, energies, atol=5e-3)
    np.testing.assert_allclose(pull, forces, atol=5e-3)
