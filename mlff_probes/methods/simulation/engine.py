"""What every engine of molecular dynamics does: begin, advance, show a sample, stop and go on bitwise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.structures import derived
from mlff_probes.methods.simulation.settings import Ensemble, SimulationSettings

Floats = NDArray[np.float64]
State = dict[str, NDArray[np.generic]]
"""All that a simulation needs to go on, as arrays that `numpy.savez` keeps without pickling."""

VELOCITIES, THERMOSTAT = 0, 1
"""Each seed gives two streams of random numbers: one for the first velocities, one for the thermostat."""


@dataclass(frozen=True)
class Sample:
    """All replicas at one time.

    Attributes
    ----------
    positions
        A, shape (n_replicas, n_atoms, 3); wrapped or not.
    momenta
        In ASE's units, u A / (A sqrt(u/eV)), of the same shape: what engines and ASE's files keep, bit for bit.
    masses
        u, shape (n_atoms,).
    forces
        eV/A, of the shape of the positions.
    energies
        Potential energies, eV, shape (n_replicas,).
    cells
        A, shape (n_replicas, 3, 3), rows are the cell vectors.
    """

    positions: Floats
    momenta: Floats
    masses: Floats
    forces: Floats
    energies: Floats
    cells: Floats

    @property
    def velocities(self) -> Floats:
        """A/fs, of the shape of the positions."""
        found: Floats = self.momenta / self.masses[:, None] * units.fs
        return found

    def temperatures(self, degrees_of_freedom: int) -> Floats:
        """Temperature of each replica, K, shape (n_replicas,)."""
        twice_kinetic = np.einsum("rax,rax,a->r", self.momenta, self.momenta, 1 / self.masses)
        found: Floats = twice_kinetic / (degrees_of_freedom * units.kB)
        return found


class Engine(ABC):
    """Replicas of one system that an integrator moves.

    `begin` or `restore` comes first. Either way a simulation costs one model call a step and replica, and one more at
    its very beginning.

    Parameters
    ----------
    calculator
        What gives energies and forces.
    protocol
        Temperature, timestep, friction, seeds, ...
    start
        The system; a copy of it, without its constraints, is what moves.
    calls
        Where model calls are counted.

    Attributes
    ----------
    ensembles
        Those that it knows.
    wraps
        Whether positions come back into the cell.
    step
        Steps that all replicas have taken.
    ensemble
        In which they are.
    """

    ensembles: ClassVar[tuple[Ensemble, ...]]
    wraps: ClassVar[bool]

    def __init__(self, calculator: Calculator, protocol: SimulationSettings, start: Atoms, calls: Calls) -> None:
        self.calculator, self.protocol, self.calls = calculator, protocol, calls
        self.step, self.ensemble = 0, protocol.ensemble
        self.replicas = len(protocol.seeds)
        self._frames = [derived(start, constraints=False) for _ in protocol.seeds]
        self._last_named = (0, 0)

    @property
    @abstractmethod
    def name(self) -> str:
        """Package, version and integrator, as the scorecard shows them."""

    @abstractmethod
    def begin(self, ensemble: Ensemble) -> None:
        """Give the replicas their first velocities and forces."""

    @abstractmethod
    def switch(self, ensemble: Ensemble) -> None:
        """Go on in another ensemble; into NVE without the total momentum."""

    @abstractmethod
    def advance(self, steps: int) -> None:
        """Take `steps` timesteps.

        Raises
        ------
        EvaluationError
            If the calculator fails; the replicas are then of no more use, save to look at (`frames`, `failed_at`).
        """

    @abstractmethod
    def sample(self) -> Sample:
        """All replicas as they are."""

    @abstractmethod
    def state(self) -> State:
        """What `restore` needs to go on bitwise, random numbers included."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Go on from a `state`, without a model call.

        Raises
        ------
        KeyError, ValueError
            If it is none of this engine's.
        """

    @abstractmethod
    def recomputed(self) -> Evaluation:
        """Energies and forces of the replicas as they are, asked of the model once more."""

    @property
    def frames(self) -> list[Atoms]:
        """The replicas as they last were on their way to the model."""
        return self._frames

    @property
    def failed_at(self) -> tuple[int, int]:
        """Step and replica that a message of `evaluate` has last named: where the model failed, if it did."""
        return self._last_named

    def evaluated(self, frames: list[Atoms], step: int, first: int = 0, *, stress: bool = False) -> Evaluation:
        """Energies and forces of some replicas, from number `first` on, checked and counted."""

        def name(row: int) -> str:
            self._last_named = (step, first + row)
            return f"replica {first + row} in step {step}"

        return self.calls.add(evaluate(self.calculator, frames, stress=stress, name=name))


def first_momenta(masses: Floats, temperature: float, seed: int) -> Floats:
    """Momenta after Maxwell and Boltzmann, in ASE's units, shape (n_atoms, 3).

    Their sum is taken away, so that the system as a whole rests, and they are scaled to the temperature exactly, over
    the degrees of freedom that are left. A single atom keeps what was drawn.
    """
    drawn = np.random.default_rng([seed, VELOCITIES]).normal(size=(len(masses), 3))
    momenta: Floats = drawn * np.sqrt(masses * units.kB * temperature)[:, None]
    if len(masses) == 1:
        return momenta
    momenta = at_rest(momenta, masses)
    twice_kinetic = (momenta**2 / masses[:, None]).sum()
    momenta *= np.sqrt(3 * (len(masses) - 1) * units.kB * temperature / twice_kinetic)
    return momenta


def at_rest(momenta: Floats, masses: Floats) -> Floats:
    """Momenta without that of the centre of mass, shape (…, n_atoms, 3)."""
    found: Floats = momenta - momenta.sum(axis=-2, keepdims=True) * (masses / masses.sum())[:, None]
    return found
