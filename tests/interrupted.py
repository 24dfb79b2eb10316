"""Short runs that are kept, interrupted and compared."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from pathlib import Path

import numpy as np
from analytic import batched, copper, protocol
from sound import Sound

from mlff_probes.methods.simulation.simulate import CHECKPOINT_S, simulate
from mlff_probes.methods.simulation.store import TrajectoryStore

RUNS = [("ase", "NVE"), ("ase", "NVT"), ("ase", "NPT"), ("torch", "NVE"), ("torch", "NVT")]
"""Engine and ensemble of each kind of run."""


class Stopping(Sound):
    """Raises in one of its calls."""

    def __init__(self, call=None, error=KeyboardInterrupt):
        super().__init__()
        self.calls, self.call, self.error = 0, call, error

    def evaluated(self, atoms):
        self.calls += 1
        if self.calls == self.call:
            raise self.error
        return super().evaluated(atoms)


def prepared(engine, model):
    return batched(model) if engine == "torch" else model


def run(engine, ensemble, directory, model=None, clock=None, **changed):
    start = copper()
    start.rattle(0.05, seed=1)
    model = prepared(engine, Stopping() if model is None else model)
    kept = TrajectoryStore(directory)
    more = {} if clock is None else {"clock": clock}
    return simulate(model, protocol(ensemble, **changed), start, store=kept, **more)


def each_sample_kept():
    """A clock by which a checkpoint is due after each sample."""
    times = iter(np.arange(0.0, 1e7, CHECKPOINT_S))
    return lambda: float(next(times))


def same(one, other):
    for stage in ("equilibration", "production"):
        a, b = getattr(one, stage), getattr(other, stage)
        for field in (each for each in fields(a) if each.compare):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), err_msg=field.name)
    assert (one.done_steps, one.end) == (other.done_steps, other.end)


def folder(directory) -> Path:
    (found,) = [path for path in directory.iterdir() if path.is_dir()]
    return found


@lru_cache
def uninterrupted(engine, ensemble):
    """The run that nothing happened to."""
    return run(engine, ensemble, None)
