"""Whole simulations: their stages, what they report, what they cost, and how each of them can end."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from analytic import EinsteinCrystal, IdealGas, batched, copper, protocol
from ase import units
from sound import Sound

from mlff_probes.calculators.base import as_calculator
from mlff_probes.core.errors import EvaluationError
from mlff_probes.core.evaluation import Calls
from mlff_probes.methods.simulation.engine import first_momenta
from mlff_probes.methods.simulation.recorder import Recorder
from mlff_probes.methods.simulation.simulate import simulate
from mlff_probes.methods.simulation.store import TrajectoryStore
from mlff_probes.methods.simulation.torch_engine import TorchEngine


@pytest.fixture(params=["ase", "torch"])
def prepared(request):
    """Makes ASE or torch-sim the engine of a calculator."""
    return batched if request.param == "torch" else as_calculator


class Faulty(EinsteinCrystal):
    """A crystal on springs to which something happens at a call."""

    def __init__(self, start, call, change):
        super().__init__(start, 2.0)
        self.call, self.change = call, change

    def evaluated(self, atoms):
        found = super().evaluated(atoms)
        if self.evaluations >= self.call:
            self.change(found, atoms)
        return found


def test_samples_times_and_stages(prepared):
    found = simulate(prepared(EinsteinCrystal(copper())), protocol("NVE", timestep_fs=2.0), copper())
    assert found.equilibration.positions.shape == (2, 4, 32, 3)
    assert found.production.positions.shape == (2, 9, 32, 3)
    np.testing.assert_array_equal(found.equilibration.time_fs, [0, 10, 20, 30])
    np.testing.assert_array_equal(found.production.time_fs, np.arange(9) * 10.0)
    assert (found.planned_steps, found.done_steps, found.end) == (60, 60, None)
    assert (found.resumed_at_step, found.notes) == (None, ())
    assert found.calls.calls == 2 * (60 + 1)
    assert not found.equilibration.fixed_momentum
    assert found.production.fixed_momentum
    masses = found.production.masses[:, None]
    np.testing.assert_allclose((found.production.velocities[:, 0] * masses).sum(axis=1), 0, atol=1e-12)


def test_both_engines_leave_the_same_trajectory_where_no_chance_is_involved():
    start = copper()
    start.rattle(0.05, seed=3)
    one, other = (simulate(model, protocol("NVE", equilibration_steps=0), start)
                  for model in (Sound(), batched(Sound())))  # fmt: skip
    for name in ("positions", "velocities", "forces", "energies", "cells"):
        a, b = getattr(one.production, name), getattr(other.production, name)
        np.testing.assert_allclose(a - a[:, :1], b - b[:, :1], atol=1e-8, err_msg=name)


def test_atoms_that_cross_the_border_of_the_cell_make_no_jump():
    found = simulate(batched(IdealGas()), protocol("NVE", equilibration_steps=0), copper())
    trajectory = found.production
    straight = trajectory.velocities * trajectory.time_fs[:, None, None]
    np.testing.assert_allclose(trajectory.positions - trajectory.positions[:, :1], straight, atol=1e-9)
    assert np.linalg.norm(straight[:, -1], axis=-1).max() > 0.1


def test_a_long_trajectory_is_unwrapped_without_a_copy_of_it():
    start, samples = copper(), 400
    settings = protocol("NVT", equilibration_steps=100, steps=samples - 101, sample_every=1)
    recorder, rng = Recorder(start, settings), np.random.default_rng(0)
    straight = np.linspace(0, 5, samples)[:, None, None, None] * rng.normal(size=(2, 32, 3)) + start.positions
    wrapped = straight - np.floor(straight @ np.linalg.inv(start.cell)) @ start.cell.array
    engine = TorchEngine(batched(EinsteinCrystal(start)), settings, start, Calls())
    engine.begin("NVT")
    first = engine.sample()
    for positions in wrapped:
        recorder.add(replace(first, positions=positions))
    tracemalloc.start()
    parts = recorder.trajectories(wrapped=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * straight[:, 0].nbytes, "of one replica"
    found = np.concatenate([part.positions for part in parts], axis=1)
    expected = np.moveaxis(straight - straight[0], 0, 1)
    np.testing.assert_allclose(found - found[:, :1], expected, atol=1e-9)


def test_without_equilibration_production_begins_at_the_first_step(prepared):
    found = simulate(prepared(EinsteinCrystal(copper())), protocol("NVE", equilibration_steps=0), copper())
    assert (found.equilibration.samples, found.production.samples) == (0, 9)
    masses = found.production.masses
    drawn = first_momenta(masses, 300.0, 2) / masses[:, None] * units.fs
    np.testing.assert_allclose(found.production.velocities[1, 0], drawn)
    np.testing.assert_allclose(found.production.temperatures[:, 0], 300.0)


def test_the_cell_moves_in_npt_alone():
    for ensemble, moves in (("NVE", False), ("NVT", False), ("NPT", True)):
        production = simulate(Sound(), protocol(ensemble, pressure_bar=1e5, barostat_fs=100.0), copper()).production
        assert (np.abs(production.volumes[:, -1] / copper().get_volume() - 1) > 1e-3).all() == moves
        assert np.array_equal(production.cells[:, 0], [copper().cell.array] * 2) != moves


def test_npt_is_equilibrated_in_npt_and_goes_on_as_if_it_were_one_stage():
    changed, told = {"pressure_bar": 1e5, "barostat_fs": 100.0}, []
    found = simulate(Sound(), protocol("NPT", **changed), copper(), report=told.append)
    whole = simulate(Sound(), protocol("NPT", equilibration_steps=0, steps=60, **changed), copper()).production
    assert told[0].startswith("NPT equilibration, step 5 of 20, ")
    np.testing.assert_array_equal(found.equilibration.cells[:, 0], [copper().cell.array] * 2)
    for name in ("positions", "velocities", "cells"):
        parts = [getattr(found.equilibration, name), getattr(found.production, name)]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), getattr(whole, name), err_msg=name)


def test_the_volume_has_settled_when_production_begins():
    changed = {"equilibration_steps": 300, "steps": 300, "timestep_fs": 2.0, "barostat_fs": 100.0, "seeds": (1,)}
    found = simulate(Sound(), protocol("NPT", **changed), copper())
    volumes, mean = found.equilibration.volumes, found.production.volumes.mean()
    assert volumes[0, 0] > 1.1 * mean, "this crystal must shrink"
    np.testing.assert_allclose(found.production.volumes, mean, rtol=0.06)


def test_the_report_says_how_far_how_fast_and_how_long():
    told, times = [], iter(np.arange(0.0, 1000.0, 0.5))
    simulate(batched(EinsteinCrystal(copper())), protocol("NVT", temperature=450.0), copper(), report=told.append,
             clock=lambda: float(next(times)))  # fmt: skip
    assert len(told) == 12
    assert told[0].startswith("NVT equilibration, step 5 of 20, ")
    assert told[3].startswith("NVT production, step 0 of 40, ")
    assert told[-1].startswith("NVT production, step 40 of 40, ")
    assert ", 0:00 left, " in told[-1]
    # the clock is asked once to begin with, then twice a sample, once by the report: 10 fs of 2 replicas every second
    _, _, left, speed, kelvin = told[2].split(", ")
    assert 200 < float(kelvin.removesuffix(" K")) < 500
    assert float(speed.removesuffix(" ns/day")) == pytest.approx(1.0, rel=0.05)
    assert left == "0:08 left"


def test_the_end_counts_from_the_first_step_and_names_the_replica(prepared):
    def change(found, _):
        found["forces"] = found["forces"] * np.inf

    model = Faulty(copper(), 54, change)  # ASE: 1 + 40 + 5 + 5 + 3 of replica 0; in a batch 2 + 26 * 2, the second
    found = simulate(prepared(model), protocol("NVT"), copper())
    step, replica = (26, 1) if prepared is batched else (28, 0)
    assert (found.end.kind, found.end.step, found.end.time_fs) == ("non-finite", step, float(step))
    assert found.end.replica == replica
    assert f"replica {replica} in step {step}" in found.end.reason
    assert (found.done_steps, found.planned_steps) == (25, 60)
    assert (found.equilibration.samples, found.production.samples) == (4, 2)
    assert np.isfinite(found.production.positions).all()


def test_an_end_in_the_equilibration_leaves_an_empty_production(prepared):
    def change(found, _):
        found["energy"] = np.inf

    found = simulate(prepared(Faulty(copper(), 13, change)), protocol("NVE"), copper())
    assert (found.equilibration.samples, found.production.samples) == (2, 0)
    assert found.production.positions.shape == (2, 0, 32, 3)
    found = simulate(prepared(Faulty(copper(), 1, change)), protocol("NVE"), copper())
    assert (found.equilibration.samples, found.done_steps, found.end.step) == (0, 0, 0)


@pytest.mark.parametrize("equilibration_steps", [0, 20])
@pytest.mark.parametrize("ensemble", ["NVE", "NVT", "NPT"])
def test_a_first_call_without_numbers_is_an_end_at_step_0(prepared, ensemble, equilibration_steps, tmp_path):
    def change(found, _):
        found["energy"], found["forces"] = np.nan, found["forces"] * np.nan

    settings = protocol(ensemble, equilibration_steps=equilibration_steps)
    for _ in range(2):
        model = prepared(Faulty(copper(), 1, change))
        found = simulate(model, settings, copper(), store=TrajectoryStore(tmp_path))
        assert (found.end.kind, found.end.step, found.end.replica, found.end.time_fs) == ("non-finite", 0, 0, 0.0)
        assert (found.done_steps, found.planned_steps) == (0, 40 + equilibration_steps)
        assert (found.resumed_at_step, found.notes) == (None, ())
        for part in (found.equilibration, found.production):
            assert part.time_fs.shape == (0,)
            assert part.positions.shape == part.velocities.shape == part.forces.shape == (2, 0, 32, 3)
            assert (part.energies.shape, part.cells.shape) == ((2, 0), (2, 0, 3, 3))


def test_a_first_call_that_fails_is_no_end_on_a_sound_start_and_one_on_a_broken_start(prepared):
    def fail(found, atoms):
        raise ValueError("out of order")

    with pytest.raises(EvaluationError, match=r"replica 0 in step 0.*: ValueError: out of order"):
        simulate(prepared(Faulty(copper(), 1, fail)), protocol("NVT"), copper())
    broken = copper()
    broken.positions[1] = broken.positions[0]
    found = simulate(prepared(Faulty(broken, 1, fail)), protocol("NVT"), broken)
    assert (found.end.kind, found.end.step, found.equilibration.samples) == ("close contact", 0, 0)


def test_atoms_that_collapse_end_it(prepared):
    start = copper()
    pair = start.get_distance(0, 1, vector=True)

    def pull_together(found, _):
        found["forces"][0], found["forces"][1] = 0.5 * pair, -0.5 * pair

    found = simulate(prepared(Faulty(start, 1, pull_together)), protocol("NVT", steps=400), start)
    assert found.end.kind == "close contact"
    assert found.end.reason.startswith("Cu 0 and Cu 1 are at 0.")
    assert found.end.step == found.done_steps < found.planned_steps
    assert found.end.step % 10 == 0, "distances are looked at every ten steps"


def test_heat_that_runs_away_ends_it(prepared):
    def change(found, _):
        found["forces"] = -4.0 * found["forces"]  # springs that push

    found = simulate(prepared(Faulty(copper(), 1, change)), protocol("NVE", steps=2000), copper())
    assert found.end.kind == "runaway temperature"
    assert found.end.step % 5 == 0
    assert found.end.reason.endswith("K, above 1,300 K")
    last = (found.production if found.production.samples else found.equilibration).temperatures[found.end.replica, -1]
    assert last > 1250, "the sample in which the end was seen is the last"


def test_a_layer_that_leaves_ends_it(prepared):
    crystal = copper(1).repeat((2, 2, 1))
    layer = crystal[crystal.positions[:, 2] < 0.1]
    upper = layer.copy()
    upper.positions[:, 2] = 2.6
    start = layer + upper
    start.cell[2, 2] = 14.0

    def change(found, _):
        found["forces"][8:, 2] = 0.2

    found = simulate(prepared(Faulty(start, 1, change)), protocol("NVT", steps=2000, temperature=50.0), start)
    assert found.end.kind == "fragments separated"
    assert found.end.step < found.planned_steps


def test_a_calculator_that_gives_up_on_a_broken_structure_ends_it_as_the_structure_says(prepared):
    start = copper()
    pair = start.get_distance(0, 1, vector=True)

    def pull_together(found, atoms):
        if atoms.get_distance(0, 1, mic=True) < 1.3:
            raise ValueError("two atoms at one place")
        found["forces"][0], found["forces"][1] = 0.5 * pair, -0.5 * pair

    changed = {"sample_every": 400, "equilibration_steps": 0, "steps": 400, "seeds": (1,)}
    found = simulate(prepared(Faulty(start, 1, pull_together)), protocol("NVT", **changed), start)
    assert (found.end.kind, found.done_steps) == ("close contact", 0)
    assert 0 < found.end.step < 400


def test_a_calculator_that_fails_on_a_sound_structure_is_no_end_of_it(prepared, tmp_path):
    def fail(found, atoms):
        raise ValueError("out of order")

    for directory in (None, tmp_path):
        with pytest.raises(EvaluationError, match="replica 0 in step 5: ValueError: out of order"):
            model = Faulty(copper(), 6, fail)
            simulate(prepared(model), protocol("NVT", seeds=(1,)), copper(), store=TrajectoryStore(directory))


def test_an_end_is_found_again_in_what_was_kept(prepared, tmp_path):
    def change(found, _):
        found["forces"] = -4.0 * found["forces"]

    def run():
        model = Faulty(copper(), 1, change)
        return simulate(prepared(model), protocol("NVE", steps=2000), copper(), store=TrajectoryStore(tmp_path))

    first, again = run(), run()
    assert again.end == first.end
    assert (again.resumed_at_step, again.calls.calls) == (first.end.step, 2)


def test_the_start_stays_as_it_is(prepared):
    start = copper()
    before = start.copy()
    simulate(prepared(EinsteinCrystal(copper())), protocol("NVT"), start)
    assert start == before
    assert start.calc is None


def pushed(by):
    """Copper, one atom of which is so many A from its site."""
    start = copper()
    start.positions[3] += [by, 0, 0]
    return start


class Pushing(EinsteinCrystal):
    """Pushes its first atom, wherever it is."""

    def evaluated(self, atoms):
        found = super().evaluated(atoms)
        found["forces"][0] = [9.0 + 0.1 * np.sin(atoms.positions[0, 0]), 0.0, 0.0]
        return found


def test_a_start_whose_forces_are_large_is_relaxed_before_a_thermostat_meets_it(prepared, tmp_path):
    crystal, store = EinsteinCrystal(copper(), 4.0), TrajectoryStore(tmp_path)
    found = simulate(prepared(crystal), protocol("NVT"), pushed(1.5), store=store)  # 6 eV/A
    assert found.end is None
    (note,) = found.notes
    assert note.startswith("the start had forces above 5 eV/A and was relaxed in its cell")
    assert note.endswith("atoms moved by up to 1.3 A")  # a fifth of 5 eV/A is left at 0.25 A
    assert np.linalg.norm(found.equilibration.forces[:, 0], axis=-1).max() < 1.0
    again = simulate(prepared(crystal), protocol("NVT"), pushed(1.5), store=store)
    assert again.resumed_at_step == 60
    assert again.notes == found.notes


@pytest.mark.parametrize(("by", "kelvin"), [(1.2, 300.0), (1.5, 500.0)])
def test_a_start_that_heat_alone_could_make_stays_as_it_is(by, kelvin):
    start = pushed(by)
    found = simulate(EinsteinCrystal(copper(), 4.0), protocol("NVT", temperature=kelvin), start)
    assert found.notes == ()
    np.testing.assert_array_equal(found.equilibration.positions[0, 0], start.positions)


def test_a_start_that_does_not_come_to_rest_is_refused(prepared):
    found = simulate(prepared(Pushing(copper(), 4.0)), protocol("NVT"), copper())
    assert (found.end.kind, found.end.step) == ("rough start", 0)
    assert "forces of up to 9 eV/A (atom 0) where 5 eV/A are the most" in found.end.reason
    assert "after 100 steps of relaxation there are still" in found.end.reason
    assert found.done_steps == 0
    assert not found.production.samples


def test_kept_samples_that_begin_at_a_rough_start_are_not_used(tmp_path, monkeypatch):
    crystal, store = EinsteinCrystal(copper(), 4.0), TrajectoryStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("mlff_probes.methods.simulation.first_forces.LARGE_FORCE_EV_A", 1e3)
        assert simulate(crystal, protocol("NVT"), pushed(1.5), store=store).notes == ()
    found = simulate(crystal, protocol("NVT"), pushed(1.5), store=store)
    assert found.resumed_at_step is None
    assert any("it begins with forces of up to 6 eV/A (atom 3)" in note for note in found.notes)
