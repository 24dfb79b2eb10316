"""What a simulation costs beside the model, and beside ASE's own loop: 300 atoms, a sample every five steps.

``pytest benchmarks/test_dynamics_overhead.py -s -p no:randomly -p no:xdist``; figures in
``results/dynamics_overhead.md``. Processor time outside the model is counted, which others on the machine change
little, and held against a call of 100 ms. The model is a stand-in that keeps the processor busy; CHGNet beside it
shows that a real one, which leaves nothing of ours in the caches, does not change the picture.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.io.trajectory import Trajectory
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.verlet import VelocityVerlet

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from analytic import EinsteinCrystal, batched, copper, protocol

from mlff_probes import load_calculator
from mlff_probes.methods.simulation.engine import first_momenta
from mlff_probes.methods.simulation.simulate import simulate
from mlff_probes.methods.simulation.store import TrajectoryStore

STEPS, SAMPLE_EVERY, ROUNDS = 100, 5, 3
MODEL_S = 0.1
"""About what a message-passing model takes for 300 atoms on one core where it is fast."""

BUSY_S = 0.01
"""What the stand-in takes instead, so that the benchmark ends."""

MOST_OVERHEAD, SLOWER_THAN_ASE = 0.05, 0.01
"""Of the whole time of a step, with a model that takes `MODEL_S`."""


class Busy(EinsteinCrystal):
    """Springs that take their time, and count it."""

    inside_s = 0.0

    def evaluated(self, atoms):
        begin, end = time.process_time(), time.perf_counter() + BUSY_S
        found = super().evaluated(atoms)
        while time.perf_counter() < end:
            pass
        self.inside_s += time.process_time() - begin
        return found


def crystal():
    """300 atoms, not quite at rest."""
    start = copper(1).repeat((3, 5, 5))
    start.rattle(0.05, seed=1)
    return start


def settings(ensemble, steps=STEPS):
    return protocol(ensemble, equilibration_steps=0, steps=steps, sample_every=SAMPLE_EVERY, seeds=(1,))


def ours(model, ensemble, folder):
    """Our loop with all it does: watching, checking, keeping."""
    return simulate(model, settings(ensemble), crystal(), store=TrajectoryStore(folder / str(time.monotonic_ns())))


def ases(model, ensemble, folder):
    """ASE's loop as its tutorial has it, writing the same samples."""
    atoms = crystal()
    atoms.set_momenta(first_momenta(atoms.get_masses(), 300.0, 1))
    atoms.calc = model
    thermostat = {"temperature_K": 300.0, "T_tau": 100 * units.fs, "rng": np.random.default_rng(1)}
    dynamics = VelocityVerlet(atoms, units.fs) if ensemble == "NVE" else LangevinBAOAB(atoms, units.fs, **thermostat)
    with Trajectory(folder / f"{time.monotonic_ns()}.traj", "w", atoms) as file:
        dynamics.attach(file.write, interval=SAMPLE_EVERY)
        dynamics.run(STEPS)


def ours_in_a_batch(model, ensemble, folder):
    """The same by torch-sim."""
    return ours(batched(model), ensemble, folder)


WAYS = {"ours, ASE engine": ours, "ours, torch-sim engine": ours_in_a_batch, "ASE's own loop": ases}


@pytest.fixture(scope="module")
def beside_s():
    """Processor seconds a step outside the model, by way and ensemble."""
    return {}


@pytest.mark.parametrize("ensemble", ["NVE", "NVT"])
@pytest.mark.parametrize("way", WAYS)
def test_the_loop_costs_little(benchmark, beside_s, tmp_path, way, ensemble):
    found = []

    def run():
        model = Busy(copper(1).repeat((3, 5, 5)))
        begin = time.process_time()
        WAYS[way](model, ensemble, tmp_path)
        found.append((time.process_time() - begin - model.inside_s) / STEPS)

    benchmark.group = ensemble
    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)
    beside_s[way, ensemble] = beside = min(found[1:])
    print(f"\n{way}, {ensemble}: {1000 * beside:.2f} ms a step beside the model")
    assert beside < MOST_OVERHEAD * MODEL_S


@pytest.mark.parametrize("ensemble", ["NVE", "NVT"])
@pytest.mark.parametrize("way", list(WAYS)[:2])
def test_the_loop_is_not_slower_than_ase_s(beside_s, way, ensemble):
    if not {(way, ensemble), ("ASE's own loop", ensemble)} <= set(beside_s):
        pytest.skip("compares what the tests before it have measured")
    ratio = (MODEL_S + beside_s[way, ensemble]) / (MODEL_S + beside_s["ASE's own loop", ensemble])
    print(f"\n{way}, {ensemble}: a step takes {ratio:.4f} times that of ASE's own loop")
    assert ratio < 1 + SLOWER_THAN_ASE


@pytest.mark.parametrize("batch", [False, True], ids=["ase", "torch-sim"])
def test_beside_chgnet(batch, tmp_path):
    calculator = load_calculator("chgnet", device="cpu")
    model, start = calculator if batch else replace(calculator, batch=None), crystal()
    simulate(model, settings("NVT", 5), start)  # to warm up
    begin = time.perf_counter()
    found = simulate(model, settings("NVT", 10), start, store=TrajectoryStore(tmp_path))
    beside = time.perf_counter() - begin - found.calls.model_s
    call_s = found.calls.model_s / found.calls.calls
    print(f"\n{found.engine}: {call_s:.2f} s a call of CHGNet, {1000 * beside / 10:.1f} ms a step beside it")
    assert beside < MOST_OVERHEAD * found.calls.model_s
