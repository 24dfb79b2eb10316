"""One simulation from its first step to its last, or to what ended it before."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from mlff_probes.calculators.base import Calculator, as_calculator
from mlff_probes.core.errors import EvaluationError, NonFiniteError
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.progress import Paced, Report, silent, unheard
from mlff_probes.core.trajectory import Trajectory
from mlff_probes.methods.simulation.choice import choose_engine
from mlff_probes.methods.simulation.engine import Engine, Sample, State
from mlff_probes.methods.simulation.first_forces import (
    MOVED_A,
    farthest_moved,
    largest_start_force,
    relaxed_start,
    too_large,
)
from mlff_probes.methods.simulation.progress import Progress
from mlff_probes.methods.simulation.recorder import Recorder
from mlff_probes.methods.simulation.settings import SimulationSettings
from mlff_probes.methods.simulation.store import Shelf, TrajectoryStore
from mlff_probes.methods.simulation.survival import End, Watch

LOOK_AFTER = 0.2
"""Part of the production after which it is asked whether the rest is worth while."""

Hopeless = Callable[[Trajectory, Sample], str]
"""Says from the first part of a production, and the first sample of all, why the rest is not worth while."""

CHECKPOINT_S = 30.0
"""Seconds between two checkpoints: what a crash costs at most. Ctrl-C and a timeout cost nothing."""

SAME_MODEL = {"float64": 1e-6}
SAME_MODEL_SINGLE = 1e-4
"""A model that gives a kept sample's energies and forces again to so many parts is taken for the same: rounding stays
well below, in single precision too, while another model, or one trained further, is off in the second or third digit.
Energies are held to their size, but to no less than `ENERGY_SCALE_EV` an atom, forces to the largest, but to no less
than `FORCE_SCALE_EV_A`."""

ENERGY_SCALE_EV, FORCE_SCALE_EV_A = 0.1, 1.0


@dataclass(frozen=True)
class Simulation:
    """What came of a simulation.

    Attributes
    ----------
    engine
        Package, version and integrator.
    equilibration, production
        Unwrapped samples, each with its own beginning of time; without samples where it never came to it. The sample
        in which an end was seen is the last.
    planned_steps, done_steps
        Of each replica, equilibration included; those done are counted up to the last sample.
    end
        What ended it before its time.
    given_up
        Why it was not simulated to its end; empty where it was, or where something ended it.
    resumed_at_step
        Where it went on from samples that were kept; the last step where nothing was left to do.
    notes
        What the user should know of the start, and of how samples were kept or not used.
    calls
        Model calls of this run, those that are recalled from a store not among them.
    """

    engine: str
    equilibration: Trajectory
    production: Trajectory
    planned_steps: int
    done_steps: int
    end: End | None
    given_up: str
    resumed_at_step: int | None
    notes: tuple[str, ...]
    calls: Calls


def simulate(
    calculator: Calculator | Any,
    protocol: SimulationSettings,
    start: Atoms,
    *,
    store: TrajectoryStore | None = None,
    report: Report = silent,
    paced: Paced = unheard,
    hopeless: Hopeless = lambda *_: "",
    case_id: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> Simulation:
    """Simulate replicas of one system: equilibration, then production in the protocol's ensemble.

    The equilibration is in NVT, or in NPT before a production in NPT, so that the volume has settled by then and the
    barostat goes on as it was. First velocities are drawn after Maxwell and Boltzmann, without total momentum and
    scaled to the temperature. NVE starts without total momentum from wherever the equilibration has left the energy.

    A start whose forces are large is relaxed in its cell first; where that leaves them large, this ends the simulation.

    Parameters
    ----------
    calculator
        What is judged; a bare ASE calculator will do.
    protocol
        Ensemble, temperature, steps, seeds, ...
    start
        The supercell, as `protocol.start` gives it.
    store
        Where samples are kept and recalled from; nowhere without one.
    report
        Told after each sample how far the simulation is.
    paced
        Told after the first sample that is simulated what a step of one replica takes, in seconds.
    hopeless
        Shown the first `LOOK_AFTER` of the production, and the first sample of all; says why the rest is not worth
        while, "" where it is.
    case_id
        The case, for the name of its folder.
    clock
        Seconds; replaced in tests.

    Raises
    ------
    EvaluationError
        If the calculator raises, unless the structure is to blame by then: that ends the simulation, as does a
        `NonFiniteError`. What was done is kept, as it is before any other exception passes through.
    """
    calculator = as_calculator(calculator)
    calls, kind = Calls(), choose_engine(calculator, protocol)

    def make(atoms: Atoms) -> Engine:
        return kind(calculator, protocol, atoms, calls)

    run = _Run(protocol, start, make, report=report, paced=paced, hopeless=hopeless, clock=clock)
    with (store or TrajectoryStore(None)).shelf(calculator, protocol, start, run.engine.name, case_id) as shelf:
        resumed_at = run.resume(shelf)
        end = run.to_the_end(shelf)
    done = run.recorder.step
    equilibration, production = run.recorder.trajectories(wrapped=kind.wraps)
    return Simulation(
        engine=run.engine.name,
        equilibration=equilibration,
        production=production,
        planned_steps=run.planned,
        done_steps=done,
        end=end,
        given_up=run.given_up,
        resumed_at_step=resumed_at,
        notes=(*run.notes, *shelf.notes),
        calls=calls,
    )


class _Run:
    """A simulation under way: the engine, what it has left so far, and who watches."""

    def __init__(
        self,
        protocol: SimulationSettings,
        start: Atoms,
        make: Callable[[Atoms], Engine],
        *,
        report: Report,
        paced: Paced,
        hopeless: Hopeless,
        clock: Callable[[], float],
    ) -> None:
        self.protocol, self._start, self._make, self._report, self._clock = protocol, start, make, report, clock
        self.engine = make(start)
        self.notes: list[str] = []
        self.given_up, self._hopeless = "", hopeless
        self._looked_at = round(LOOK_AFTER * protocol.steps / protocol.sample_every)
        self.recorder, self._watch = Recorder(start, protocol), Watch(start, protocol)
        self.planned = protocol.equilibration_steps + protocol.steps
        self._progress = Progress(protocol, report, clock, paced=paced)
        self._state: State = {}
        self._saved_s = 0.0

    def resume(self, shelf: Shelf) -> int | None:
        """Go on from what is kept, if that is from the same model; the step, or None."""
        state = shelf.load(self.recorder)
        if state is None:
            return None
        try:
            self.engine.restore(state)
            problem = self._other_model() or self._rough_start()
        except (KeyError, ValueError, IndexError, TypeError) as error:
            problem = f"its checkpoint is none of this engine's ({error!r})"
        if problem:
            shelf.discard(self.recorder, problem)
            self.engine = self._make(self._start)
            return None
        self._state = state
        self._note_start(self.recorder.at(0))
        return self.engine.step

    def to_the_end(self, shelf: Shelf) -> End | None:
        """Simulate what is left; what ended it before, or None. Samples are kept whatever happens."""
        self._saved_s = self._clock()
        try:
            return self._simulated(shelf)
        except EvaluationError as error:
            end = self._end_by(error)
            if end is None:
                raise
            return end
        finally:
            self._save(shelf)

    def _simulated(self, shelf: Shelf) -> End | None:
        protocol, engine = self.protocol, self.engine
        if not self.recorder.samples:
            if end := self._begin():
                return end
            engine = self.engine
        self._progress.begin(engine.step)
        look_at = protocol.equilibration_steps + self._looked_at * protocol.sample_every
        if engine.step > look_at:  # samples that are kept: what follows has been paid for
            self._look()
        while True:
            end = self._watch.sample(engine.step, self.recorder.last())
            if end is not None or engine.step == self.planned:
                return end
            if engine.step == look_at:
                self.given_up = self._look()
                if self.given_up:
                    return None
            engine.advance(protocol.sample_every)
            if engine.step == protocol.equilibration_steps and engine.ensemble != protocol.ensemble:
                engine.switch(protocol.ensemble)
            self._record()
            self._progress.tell(engine.step, self.recorder)
            if engine.step == protocol.equilibration_steps or self._clock() - self._saved_s >= CHECKPOINT_S:
                self._save(shelf)

    def _look(self) -> str:
        """What is said of the first part of the production."""
        if not self._looked_at:
            return ""
        return self._hopeless(*self.recorder.production(self._looked_at + 1, wrapped=self.engine.wraps))

    def _begin(self) -> End | None:
        """Begin at the start, or, where its forces are large, at the start relaxed; an end where that does not help."""
        protocol = self.protocol
        first = protocol.equilibrated_in if protocol.equilibration_steps else protocol.ensemble
        self.engine.begin(first)
        problem = too_large(self.engine.sample().forces[0], protocol.temperature)
        if problem:
            engine = self.engine
            start, left = relaxed_start(
                engine.calculator, self._start, protocol.temperature, calls=engine.calls, report=self._report
            )
            if left:
                return self._watch.end("rough start", f"the start has {problem}; {left}", 0, 0)
            self.engine = self._make(start)
            self.engine.begin(first)
            self._note_start(self.engine.sample())
        self._record()
        return None

    def _note_start(self, first: Sample) -> None:
        moved = farthest_moved(self._start, first.positions[0])
        if moved > MOVED_A:
            self.notes.append(
                f"the start had forces above {largest_start_force(self.protocol.temperature):.3g} eV/A and was relaxed "
                f"in its cell before the thermostat met it: atoms moved by up to {moved:.2g} A"
            )

    def _rough_start(self) -> str | None:
        """Why samples that are kept begin at no start, or None; an earlier version did not relax any."""
        problem = too_large(self.recorder.at(0).forces[0], self.protocol.temperature)
        return f"it begins with {problem}" if problem else None

    def _record(self) -> None:
        self.recorder.add(self.engine.sample())
        self._state = self.engine.state()  # last: wherever this is interrupted, there is a sample for each state

    def _save(self, shelf: Shelf) -> None:
        if self._state:
            samples = int(self._state["step"]) // self.protocol.sample_every + 1
            shelf.save(self.recorder, self._state, samples)
        self._saved_s = self._clock()

    def _other_model(self) -> str | None:
        """In what the model differs from the one that gave the last sample, or None."""
        kept, model = self.recorder.last(), self.engine.calculator.identity
        try:
            found = self.engine.recomputed()
        except NonFiniteError as error:
            return f"the model gives other numbers: {error}"
        assert found.forces is not None
        sizes = np.abs(kept.energies).clip(ENERGY_SCALE_EV * len(kept.masses))
        energy = float((np.abs(found.energies - kept.energies) / sizes).max())
        scale = max(FORCE_SCALE_EV_A, np.abs(kept.forces).max())
        force = float(np.abs(np.array(found.forces) - kept.forces).max()) / scale
        if max(energy, force) <= SAME_MODEL.get(model.dtype, SAME_MODEL_SINGLE):
            return None
        return (
            f"the model gives other numbers for the last sample: energies are off by {energy:.1e}, "
            f"forces by {force:.1e}, relative to their size"
        )

    def _end_by(self, error: EvaluationError) -> End | None:
        """The end that an exception stands for; None where it is the calculator's own failure."""
        step, replica = self.engine.failed_at
        if isinstance(error, NonFiniteError):
            return self._watch.end("non-finite", str(error), step, replica)
        looks = (self._watch.geometry(step, row, frame) for row, frame in enumerate(self.engine.frames))
        return next((end for end in looks if end is not None), None)
