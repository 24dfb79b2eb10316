"""Engines: their units, their statistics, their cost, against each other and against what is known exactly."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from analytic import EinsteinCrystal, IdealGas, batched, copper, protocol
from ase import Atoms, units
from ase.md.langevinbaoab import LangevinBAOAB
from scipy import constants
from scipy.linalg import polar
from sound import Sound

from mlff_probes.calculators.base import as_calculator
from mlff_probes.core.errors import EvaluationError, NonFiniteError
from mlff_probes.core.evaluation import Calls
from mlff_probes.methods.simulation.ase_engine import CORRECTED, AseEngine, _Barostat
from mlff_probes.methods.simulation.choice import choose_engine
from mlff_probes.methods.simulation.engine import at_rest, first_momenta
from mlff_probes.methods.simulation.torch_engine import TorchEngine

ENGINES = [AseEngine, TorchEngine]


def begun(kind, calculator, start, ensemble="NVE", **changed):
    """An engine at its first step, in the protocol's ensemble."""
    engine = kind(batched(calculator), protocol(ensemble, **changed), start, Calls())
    engine.begin(ensemble)
    return engine


def samples(engine, count, every=1):
    """The present sample and `count` more."""
    found = [engine.sample()]
    for _ in range(count):
        engine.advance(every)
        found.append(engine.sample())
    return found


def total_energies(found):
    kinetic = [np.einsum("rax,rax,a->r", one.momenta, one.momenta, 1 / one.masses) / 2 for one in found]
    return np.array([one.energies for one in found]) + kinetic


@pytest.mark.parametrize("kind", ENGINES)
def test_a_femtosecond_is_a_femtosecond(kind):
    spring, start = 5.0, copper(1)
    newton_per_metre = spring * constants.e / constants.angstrom**2
    omega = np.sqrt(newton_per_metre / (start.get_masses()[0] * constants.atomic_mass)) * 1e-15  # 1/fs
    engine = begun(kind, EinsteinCrystal(start, spring), start, timestep_fs=0.5, seeds=(1,))
    first, *_, last = samples(engine, 1, every=2000)  # 1 ps, some four periods
    assert 2 < omega * 1000 / (2 * np.pi) < 6
    away = last.positions - start.positions
    away -= np.round(away @ np.linalg.inv(start.cell)) @ start.cell.array
    expected = first.velocities * np.sin(omega * 1000) / omega
    np.testing.assert_allclose(away, expected, atol=2e-3 * np.abs(first.velocities).max() / omega)
    np.testing.assert_allclose(last.velocities, first.velocities * np.cos(omega * 1000), atol=1e-5)


def test_both_engines_take_the_same_steps():
    start = copper()
    start.rattle(0.05, seed=3)
    one, other = (samples(begun(kind, Sound(), start), 60) for kind in ENGINES)
    for a, b in zip(one, other, strict=True):
        away = (a.positions - b.positions) @ np.linalg.inv(start.cell)
        np.testing.assert_allclose(away, away.round(), atol=1e-9)
        np.testing.assert_allclose(a.velocities, b.velocities, atol=1e-10)
        np.testing.assert_allclose(a.energies, b.energies, atol=1e-8)
        np.testing.assert_allclose(a.forces, b.forces, atol=1e-8)


def test_a_skewed_cell_is_the_same_in_both_engines():
    start = Atoms("CrTe2", [[0, 0, 0], [2.7, 0.3, 0], [0, 0.5, 2.8]], cell=[[5, 0, 0], [2, 6, 0], [1, -1, 7]], pbc=True)
    one, other = (samples(begun(kind, Sound(), start), 1, every=50)[-1] for kind in ENGINES)
    np.testing.assert_allclose(one.energies, other.energies, atol=1e-8)
    np.testing.assert_allclose(one.forces, other.forces, atol=1e-8)
    np.testing.assert_array_equal(other.cells[0], start.cell.array)


@pytest.mark.parametrize("kind", ENGINES)
def test_the_energy_error_is_bounded_and_of_second_order(kind):
    start, spring = copper(1), 20.0  # a period of 114 fs
    errors = {}
    for timestep in (2.0, 4.0):
        engine = begun(kind, EinsteinCrystal(start, spring), start, timestep_fs=timestep, seeds=(1,))
        energies = total_energies(samples(engine, int(4000 / timestep)))  # 35 periods
        away = energies - energies[0]
        errors[timestep] = np.abs(away).max(axis=0)
        half = len(away) // 2
        drift = np.abs(away[:half].mean(axis=0) - away[half:].mean(axis=0))
        assert (drift < 0.03 * errors[timestep]).all(), "the energy drifts"
    np.testing.assert_allclose(errors[4.0] / errors[2.0], 4.0, rtol=0.05)


@pytest.mark.parametrize("kind", ENGINES)
def test_langevin_gives_the_canonical_ensemble(kind):
    start, seeds = copper(), (1, 2, 3, 4)
    engine = begun(kind, EinsteinCrystal(start, 20.0), start, "NVT", friction_per_fs=0.05, seeds=seeds)
    engine.advance(200)
    found = samples(engine, 200, every=10)
    thermal, freedom = units.kB * 300, 3 * len(start)
    potential = np.array([one.energies for one in found]) / thermal
    temperatures = np.array([one.temperatures(freedom) for one in found])
    # blocks of 200 fs, several times the correlation time, are independent of each other
    for values, mean in ((potential, freedom / 2), (temperatures, 300.0)):
        blocks = values[:200].reshape(10, 20, len(seeds)).mean(axis=1).ravel()
        error = blocks.std(ddof=1) / np.sqrt(len(blocks))
        assert error < 0.02 * mean
        assert abs(blocks.mean() - mean) < 4 * error
    assert potential.var() == pytest.approx(freedom / 2, rel=0.25)
    assert temperatures.var() == pytest.approx(300**2 * 2 / freedom, rel=0.25)


def test_the_barostat_keeps_the_pressure_without_turning_the_cell():
    start, target = copper(), 5e4 * units.bar
    changed = {"pressure_bar": 5e4, "timestep_fs": 2.0, "barostat_fs": 200.0, "seeds": (5,)}
    engine = begun(AseEngine, Sound(), start, "NPT", **changed)
    engine.advance(300)
    pressures, found = [], samples(engine, 150, every=10)
    for one in found:
        atoms = Atoms(start.symbols, one.positions[0], cell=one.cells[0], pbc=True)
        atoms.calc = Sound()
        kinetic = (one.momenta[0] ** 2 / one.masses[:, None]).sum() / 3 / atoms.get_volume()
        pressures.append(kinetic - atoms.get_stress()[:3].mean())
    blocks = np.array(pressures[:150]).reshape(10, 15).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(len(blocks))
    assert error < 0.1 * target
    assert abs(blocks.mean() - target) < 4 * error
    assert np.linalg.det(found[-1].cells[0]) < 0.99 * start.get_volume()
    rotation = polar(np.linalg.solve(start.cell.array, found[-1].cells[0]))[0]
    np.testing.assert_allclose(rotation, np.eye(3), atol=0.02)
    shapes = np.array([one.cells[0] for one in found])
    assert shapes[:, 0, 1].std() > 1e-3, "the cell must be free to shear"


def test_the_barostat_drags_all_directions_alike_where_the_cell_grows_alike():
    engine = begun(AseEngine, Sound(), copper(), "NPT", seeds=(5,))
    (integrator,) = engine._integrators
    integrator.p_eps = 2.0 * np.eye(3)
    drag = integrator._barostat_BAOAB_OU_gamma_mod() * integrator.barostat_mass
    np.testing.assert_allclose(drag, (2.0 + 6.0 / 96) * np.eye(3))


def test_each_step_in_npt_asks_the_corrected_barostat(monkeypatch):
    engine, corrected, asked = begun(AseEngine, Sound(), copper(), "NPT", seeds=(5,)), getattr(_Barostat, CORRECTED), []
    monkeypatch.setattr(_Barostat, CORRECTED, lambda integrator: asked.append(integrator) or corrected(integrator))
    engine.advance(3)
    assert asked == engine._integrators * 3


def test_an_ase_without_what_is_corrected_is_refused_for_npt_alone(monkeypatch):
    assert CORRECTED in vars(_Barostat)
    monkeypatch.delattr(LangevinBAOAB, CORRECTED)
    with pytest.raises(EvaluationError, match=f"its LangevinBAOAB has no {CORRECTED}"):
        begun(AseEngine, Sound(), copper(), "NPT")
    begun(AseEngine, Sound(), copper(), "NVT")


@pytest.mark.parametrize("kind", ENGINES)
def test_atoms_that_do_not_see_each_other_fly_straight_on(kind):
    first, *_, last = samples(begun(kind, IdealGas(), copper()), 50)
    np.testing.assert_allclose(last.velocities, first.velocities, rtol=1e-12)
    np.testing.assert_allclose(last.momenta.sum(axis=1), 0, atol=1e-10)
    away = (last.positions - first.positions - 50 * first.velocities) @ np.linalg.inv(copper().cell)
    np.testing.assert_allclose(away, away.round(), atol=1e-12)


@pytest.mark.parametrize(("kind", "ensemble"), [(kind, ensemble) for kind in ENGINES for ensemble in kind.ensembles])
def test_one_model_call_a_step_and_replica_and_one_to_begin_with(kind, ensemble):
    model = EinsteinCrystal(copper())
    engine = kind(batched(model), protocol(ensemble), copper(), Calls())
    engine.begin("NVT")
    engine.advance(10)
    engine.switch(ensemble)
    engine.advance(7)
    engine.sample()
    engine.state()
    assert engine.step == 17
    assert engine.calls.calls == 2 * (17 + 1)
    begun_alike = kind is AseEngine  # its second replica begins where the first did, and ASE recalls that call itself
    assert model.evaluations == engine.calls.calls - begun_alike


@pytest.mark.parametrize("kind", ENGINES)
def test_nve_begins_without_total_momentum_and_else_as_it_was_left(kind):
    engine = begun(kind, EinsteinCrystal(copper()), copper(), "NVT")
    engine.advance(20)
    before = engine.sample()
    engine.switch("NVE")
    after = engine.sample()
    assert np.abs(before.momenta.sum(axis=1)).max() > 0.1
    np.testing.assert_allclose(after.momenta.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(after.momenta, at_rest(before.momenta, before.masses))
    np.testing.assert_array_equal(after.positions, before.positions)


@pytest.mark.parametrize("kind", ENGINES)
def test_seeds_make_the_first_velocities_and_the_thermostat(kind):
    def run(seeds):
        return samples(begun(kind, EinsteinCrystal(copper()), copper(), "NVT", seeds=seeds), 1, every=5)

    first, last = run((7, 8))
    again, last_again = run((7, 8))
    for replica, seed in enumerate((7, 8)):
        np.testing.assert_array_equal(first.momenta[replica], first_momenta(first.masses, 300.0, seed))
    np.testing.assert_array_equal(last.momenta, last_again.momenta)
    assert not np.allclose(first.momenta[0], first.momenta[1])
    assert not np.allclose(last.momenta, run((7, 9))[1].momenta)
    assert np.array_equal(again.momenta, first.momenta)


def test_first_velocities_have_the_temperature_and_no_total_momentum():
    masses = np.repeat([12.0, 52.0, 128.0], 400)
    momenta = first_momenta(masses, 450.0, 0)
    np.testing.assert_allclose(momenta.sum(axis=0), 0, atol=1e-9)
    kinetic = (momenta**2).sum(axis=1) / masses / 2
    assert kinetic.sum() == pytest.approx(1.5 * (len(masses) - 1) * units.kB * 450)
    for mass in (12.0, 52.0, 128.0):  # equipartition among the elements, within four standard deviations
        assert kinetic[masses == mass].mean() == pytest.approx(1.5 * units.kB * 450, rel=4 * np.sqrt(2 / 1200))
    assert np.abs(first_momenta(masses[:1], 450.0, 0)).min() > 0


def test_random_numbers_of_others_are_neither_used_nor_changed():
    import torch

    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    found = [samples(begun(kind, EinsteinCrystal(copper()), copper(), "NVT"), 2)[-1] for kind in ENGINES]
    assert np.array_equal(before[0], np.random.get_state()[1])
    assert torch.equal(before[1], torch.get_rng_state())
    np.random.seed(2)
    torch.manual_seed(2)
    for kind, one in zip(ENGINES, found, strict=True):
        again = samples(begun(kind, EinsteinCrystal(copper()), copper(), "NVT"), 2)[-1]
        np.testing.assert_array_equal(one.momenta, again.momenta)


@pytest.mark.parametrize("kind", ENGINES)
def test_a_failure_names_step_and_replica(kind):
    class Broken(EinsteinCrystal):
        def evaluated(self, atoms):
            found = super().evaluated(atoms)
            if self.evaluations == bad:
                found["forces"][3] = np.nan
            return found

    bad = (
        10  # ASE: 1 to begin with (the second is recalled), 5 steps of the first, 4 of the second; else 2 and 4 times 2
    )
    engine = begun(kind, Broken(copper()), copper())
    with pytest.raises(NonFiniteError, match="replica 1 in step 4"):
        engine.advance(5)
    assert engine.failed_at == (4, 1)


def test_constraints_of_the_start_do_not_hold():
    from ase.constraints import FixAtoms

    start = copper()
    start.set_constraint(FixAtoms(range(32)))
    found = samples(begun(AseEngine, EinsteinCrystal(copper()), start), 1)[-1]
    assert (found.positions != start.positions).any(axis=2).all()
    assert start.constraints


def test_names_say_package_version_and_integrator():
    from importlib import metadata

    ase, torch_sim = metadata.version("ase"), metadata.version("torch-sim-atomistic")
    names = {
        (AseEngine, "NVE", (1,)): f"ASE {ase} VelocityVerlet",
        (AseEngine, "NVT", (1, 2)): f"ASE {ase} LangevinBAOAB",
        (AseEngine, "NPT", (1, 2)): f"ASE {ase} LangevinBAOAB, corrected barostat",
        (TorchEngine, "NVE", (1,)): f"torch-sim {torch_sim} nve, 1 replica",
        (TorchEngine, "NVT", (1, 2, 3)): f"torch-sim {torch_sim} nvt_langevin, 3 replicas in a batch",
    }
    for (kind, ensemble, seeds), name in names.items():
        assert kind(as_calculator(IdealGas()), protocol(ensemble, seeds=seeds), copper(), Calls()).name == name


def test_torch_sim_where_it_can_and_the_calculator_can():
    assert choose_engine(batched(IdealGas()), protocol("NVE")) is TorchEngine
    assert choose_engine(batched(IdealGas()), protocol("NVT", seeds=(1,))) is TorchEngine
    assert choose_engine(batched(IdealGas()), protocol("NPT")) is AseEngine
    assert choose_engine(IdealGas(), protocol("NVE")) is AseEngine


def test_ase_where_torch_sim_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_sim", None)
    assert choose_engine(batched(IdealGas()), protocol("NVE")) is AseEngine


def test_a_torch_sim_that_is_broken_is_seen(monkeypatch, tmp_path):
    (tmp_path / "torch_sim.py").write_text("raise RuntimeError('out of order')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch_sim"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="out of order"):
        choose_engine(batched(IdealGas()), protocol("NVE"))
