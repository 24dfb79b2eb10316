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

from mlff_probes.methods.bands import power_spectrum
from mlff_probes.methods.bands.learned import LearnedPotential, LinearPotential, Residual
from mlff_probes.methods.bands.neb import band_forces, largest_force
from mlff_probes.methods.bands.optimizer import BandOptimizer
from mlff_probes.methods.bands.saddle import climb, softest_mode

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


def well_optimizer(n_images=7, surface=bent_double_well, **options):
    band = well_band(n_images)
    energies, forces = surface(band[[0, -1]])
    return BandOptimizer(Atoms("H"), band, energies, forces, **{**SETTINGS, **options})


SETTINGS = {"fmax": 0.05, "saddle_fmax": 0.01, "spring": 0.1}


def relaxed(surface, optimizer, most=60):
    """All steps until the band is at rest, and the positions that were evaluated."""
    inner = optimizer.band[1:-1].reshape(-1, *optimizer.shape[1:])
    evaluate, steps = Counted(surface), []
    while not steps or (not steps[-1].at_rest and len(steps) < most):
        steps.append(optimizer.take(*evaluate(inner)))
        if not steps[-1].at_rest:
            band = optimizer.propose()
            inner = band[optimizer.moved]
    return steps, evaluate


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


@pytest.mark.parametrize("n_images", [3, 5, 7])
def test_a_bent_double_well_to_its_exact_saddle(n_images):
    steps, evaluate = relaxed(bent_double_well, well_optimizer(n_images))
    last = steps[-1]
    assert last.at_rest
    assert last.fmax <= SETTINGS["fmax"]
    assert last.saddle_fmax <= SETTINGS["saddle_fmax"]
    assert evaluate.calls <= 30
    assert last.barrier == pytest.approx(HEIGHT, abs=1e-3)
    np.testing.assert_allclose(last.positions[int(np.argmax(last.energies)), 0], [0, BEND, 0], atol=0.01)


def test_the_verdict_comes_from_true_calls():
    *_, last = relaxed(bent_double_well, well_optimizer())[0]
    energies, forces = bent_double_well(last.positions)
    np.testing.assert_array_equal(last.energies, energies)
    pull = band_forces(last.positions.reshape(7, -1), energies, forces[1:-1].reshape(5, -1), 0.1, climb=True)
    assert largest_force(pull) == last.fmax


def test_the_same_every_time():
    runs = [[step.fmax for step in relaxed(bent_double_well, well_optimizer(fmax=1e-9), most=8)[0]] for _ in "ab"]
    assert len(runs[0]) == 8
    assert runs[0] == runs[1]


def test_a_vacancy_hop_in_less_than_half_the_calls_of_fire(hop):
    atoms, band, energies, forces = hop
    optimizer = BandOptimizer(atoms, band, energies, forces, **SETTINGS)
    steps, evaluate = relaxed(emt(atoms), optimizer)
    assert steps[-1].at_rest
    assert evaluate.calls <= 25, "FIRE with one calculator an image needs about 70"


def ridge(positions):
    """The bent double well with a second one across it, so that (0, 0) is a top of two negative modes."""
    x, y, z = np.moveaxis(positions, -1, 0)
    well, across = x**2 - 1, y**2 - 1
    energies = HEIGHT * well**2 + 0.2 * across**2 + 0.5 * STIFF * z**2
    slope = np.stack([4 * HEIGHT * well * x, 0.8 * across * y, STIFF * z], axis=-1)
    slope[np.abs(positions[..., 1]) < 1e-12, 1] = 0.0
    return energies.sum(axis=-1), -slope


def test_a_ridge_is_left_for_the_saddle_beside_it():
    """By symmetry no force leads off the ridge: the learned potential's second mode does."""
    for_ends = well_band(5)
    energies, forces = ridge(for_ends[[0, -1]])
    forces[...] = 0.0
    optimizer = BandOptimizer(Atoms("H"), for_ends, energies, forces, **SETTINGS)
    # what lies beside the line is known from elsewhere, such as the relaxation of the ends
    beside = for_ends[1:-1] + np.array([0.0, 0.3, 0.0])
    for point, energy, force in zip(beside, *ridge(beside), strict=True):
        optimizer.points.append(point.ravel())
        optimizer.point_energies.append(float(energy))
        optimizer.point_forces.append(force.ravel())
    steps, _ = relaxed(ridge, optimizer)
    last = steps[-1]
    assert optimizer.pushes == 1
    top = last.positions[int(np.argmax(last.energies)), 0]
    assert abs(top[1]) == pytest.approx(1.0, abs=0.05)
    assert last.at_rest


def test_the_softest_mode_of_a_quadratic_form():
    curvatures = np.diag([3.0, -0.5, 0.1, 7.0, 1.0, 2.0])
    forces = lambda points: -points @ curvatures  # noqa: E731
    guess = np.ones(6)
    mode, curvature = softest_mode(forces, np.zeros(6), guess, turns=40)
    assert curvature == pytest.approx(-0.5, abs=1e-3)
    assert abs(mode[1]) == pytest.approx(1.0, abs=1e-3)
    second, curvature = softest_mode(forces, np.zeros(6), guess, turns=40, without=mode)
    assert curvature == pytest.approx(0.1, abs=1e-2)
    assert abs(second @ mode) < 1e-6


def test_climbing_goes_up_one_mode_and_stops_where_it_must():
    forces = lambda points: bent_double_well(points[:, None])[1].reshape(len(points), 3)  # noqa: E731
    start, along = np.array([-0.4, 0.3, 0.05]), np.array([1.0, 0.2, 0.0])
    top = climb(forces, start, along, fmax=1e-3, steps=400, near=lambda _: True)
    np.testing.assert_allclose(top, [0, BEND, 0], atol=1e-3)
    held = climb(forces, start, along, fmax=1e-3, steps=400, near=lambda p: np.linalg.norm(p - start) < 0.1)
    assert 0 < np.linalg.norm(held - start) < 0.1


def test_learned_forces_are_the_slope_of_the_learned_energy(hop):
    atoms, band, *_ = hop
    energies, forces = emt(atoms)(band)
    points = band.reshape(5, -1)
    linear = LinearPotential(atoms, points)
    learned = LearnedPotential(atoms, points)
    learned.fit(points, energies, forces.reshape(5, -1))
    for point, force in zip(points, forces.reshape(5, -1), strict=True):
        linear.learn(point, force)
    linear.fit(energies)
    rng = np.random.default_rng(2)
    point = points[1] + rng.normal(size=points[1].shape) * 0.05
    way = rng.normal(size=point.shape)
    for model in (linear, learned):
        above, below = model.predict(np.array([point + 1e-5 * way, point - 1e-5 * way]))[0]
        assert (above - below) / 2e-5 == pytest.approx(-model.predict(point[None])[1][0] @ way, rel=1e-5)


def test_an_alloy_in_a_small_oblique_cell_is_learned_and_not_pushed_as_a_whole():
    """Three elements of unequal number, and a cell so small that atoms are neighbours of their own images."""
    atoms = bulk("Cu", a=3.7).repeat((2, 2, 1))
    atoms.numbers[:2] = 47, 79
    rng = np.random.default_rng(5)
    band = atoms.positions + rng.normal(size=(12, len(atoms), 3)) * 0.1
    energies, forces = emt(atoms)(band)
    points = band.reshape(len(band), -1)
    learned = LearnedPotential(atoms, points)
    learned.fit(points, energies, forces.reshape(len(band), -1))
    seen, pull = learned.linear.predict(points)
    np.testing.assert_allclose(seen - seen[0], energies - energies[0], atol=0.1 * np.ptp(energies))
    assert np.abs(pull - forces.reshape(pull.shape)).max() < 0.1 * np.abs(forces).max()
    np.testing.assert_allclose(pull.reshape(band.shape).sum(axis=1), 0.0, atol=1e-10)
    for one, energy, force in zip(points, seen, pull, strict=True):
        alone, alone_pull = learned.linear.predict(one[None])
        np.testing.assert_allclose(alone[0], energy, atol=1e-10)
        np.testing.assert_allclose(alone_pull[0], force, atol=1e-10)
    way = rng.normal(size=points.shape[1])
    above, below = learned.linear.predict(np.array([points[3] + 1e-5 * way, points[3] - 1e-5 * way]))[0]
    assert (above - below) / 2e-5 == pytest.approx(-pull[3] @ way, rel=1e-5)


def test_the_process_gives_back_what_it_was_shown():
    rng = np.random.default_rng(3)
    points, centre = rng.normal(size=(5, 9)) * 0.4, rng.normal(size=9) * 0.1
    energies, forces = 0.05 * ((points - centre) ** 2).sum(axis=1), -0.1 * (points - centre)
    got, pull = Residual(points, energies, forces).predict(points)
    np.testing.assert_allclose(got, energies, atol=5e-3)
    np.testing.assert_allclose(pull, forces, atol=5e-3)


def test_rough_residuals_choose_the_shorter_length():
    rng = np.random.default_rng(4)
    points = rng.normal(size=(8, 6)) * 0.5

    def smooth(wave):
        phases = points * wave
        return np.cos(phases).sum(axis=1), np.sin(phases) * wave

    assert Residual(points, *smooth(1.0)).length == 1.2
    assert Residual(points, *smooth(4.0)).length == 0.6


def test_where_compiled_code_cannot_be_kept_it_is_compiled_all_the_same(monkeypatch):
    def without_a_place(*, cache=False, error_model):
        def compile(function):
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return function

        return compile

    monkeypatch.setattr(power_spectrum.numba, "njit", without_a_place)
    assert power_spectrum.compiled(abs) is abs
