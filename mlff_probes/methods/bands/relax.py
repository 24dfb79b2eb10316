"""Relaxing endpoints and bands with few model calls, and watching them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.errors import NonFiniteError
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.progress import Report, silent
from mlff_probes.core.structures import derived
from mlff_probes.methods.bands.interpolation import keep_results
from mlff_probes.methods.bands.neb import largest_force
from mlff_probes.methods.bands.optimizer import BandOptimizer, Step
from mlff_probes.methods.bands.outcomes import Outcome, Watch

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BandSettings:
    """How a band is relaxed.

    Attributes
    ----------
    spring_ev_a2
        Spring constant between images, eV/A^2.
    fmax
        A band is converged where no atom of any image feels more, eV/A, climbing image included, ...
    saddle_fmax
        ... and none of its highest image more than this, eV/A: the barrier is read there, and on a soft saddle
        0.05 eV/A leave tens of meV open.
    max_steps
        Evaluations of several images, or of the highest alone, before the band is given up as unconverged.
    """

    spring_ev_a2: float = 0.1
    fmax: float = 0.05
    saddle_fmax: float = 0.01
    max_steps: int = 60


@dataclass(frozen=True)
class BandRun:
    """A band that was relaxed, or how it failed.

    Attributes
    ----------
    outcome
        How it ended.
    images
        The last band, endpoints included.
    energies
        Of all images, eV, shape (n_images,).
    energy_history, fmax_history
        Energies over the first endpoint, eV, shape (n_steps, n_images), and the largest NEB force of each
        inner image, eV/A, shape (n_steps, n_images - 2): what Fig. 7c of Cao & Clancy shows.
    """

    outcome: Outcome
    images: list[Atoms]
    energies: Floats
    energy_history: list[Floats] = field(default_factory=list)
    fmax_history: list[Floats] = field(default_factory=list)


def relax_structure(
    calculator: Calculator, atoms: Atoms, *, fmax: float, max_steps: int, calls: Calls, report: Report = silent
) -> tuple[Atoms, bool]:
    """Relax the positions of one structure in a fixed cell: the relaxed copy, and whether it converged.

    Its constraints hold as in ASE. The forces that the copy carries are those of the calculator, on held atoms as well.

    Raises
    ------
    EvaluationError
        If the calculator fails on the way.
    """
    from ase.optimize import BFGS  # which brings scipy's optimizers along, in a third of a second

    relaxed = derived(atoms)
    relaxed.calc = _Counting(calculator, calls)
    optimizer = BFGS(relaxed, logfile=None)
    optimizer.attach(lambda: report(f"step {optimizer.nsteps}, fmax {_largest(relaxed):.3f} eV/A"))
    converged = optimizer.run(fmax=fmax, steps=max_steps)
    energy, forces = relaxed.get_potential_energy(), relaxed.get_forces(apply_constraint=False)
    relaxed.calc = SinglePointCalculator(relaxed, energy=energy, forces=forces)
    return relaxed, bool(converged)


def relax_band(
    calculator: Calculator,
    images: Sequence[Atoms],
    *,
    settings: BandSettings,
    calls: Calls,
    report: Report = silent,
) -> BandRun:
    """Relax a band between two endpoints, watching it; the images that a step moves are evaluated together.

    Climbing-image NEB with the improved tangent (Henkelman et al., J. Chem. Phys. 113, 9901 and 9978 (2000)),
    forces as ASE's; `mlff_probes.methods.bands.optimizer` says where the images go next. The endpoints carry their
    energies already (`relax_structure`). The constraints of the first image hold in all: held atoms stay where the
    first band has them, and count neither as forces nor for convergence.

    Parameters
    ----------
    calculator
        What is judged.
    images
        The first band, endpoints included.
    calls
        Where model calls are counted.
    report
        Told of each step.

    Returns
    -------
    BandRun
        Whose outcome is `converged`, `unconverged` after `max_steps`, or an explosion, at which it stops.

    Raises
    ------
    EvaluationError
        If the calculator raises; the message names step and image.
    """
    band = list(map(derived, images))
    for end in (0, -1):
        keep_results(band[end], images[end])
    ends = (_energy(images[0]), _energy(images[-1]))
    positions = np.array([image.positions for image in band])
    forces = np.array([images[end].get_forces(apply_constraint=False) for end in (0, -1)])
    optimizer = BandOptimizer(
        band[0], positions, np.array(ends), forces,
        fmax=settings.fmax, saddle_fmax=settings.saddle_fmax, spring=settings.spring_ev_a2,
    )  # fmt: skip
    watch, run = Watch(ends, band), _Record(ends[0])
    for step in range(settings.max_steps):
        explosion = watch.geometry(step, band)
        if explosion is not None:
            return run.ended(explosion, band)
        try:
            evaluation = _evaluate(calculator, band, optimizer.moved, step, calls)
        except NonFiniteError as error:
            return run.ended(Outcome("non-finite", str(error), step), band)
        assert evaluation.forces is not None
        with one_thread():
            found = optimizer.take(evaluation.energies, np.array(evaluation.forces))
        run.add(found)
        report(f"step {step}, fmax {found.fmax:.3f} eV/A, highest image {found.barrier:.3f} eV")
        moved = found.band_forces[[image - 1 for image in optimizer.moved]]
        explosion = watch.forces(step, found.energies, largest_force(moved))
        if explosion is not None:
            return run.ended(explosion, band)
        if found.at_rest:
            return run.ended(Outcome("converged", f"{_forces(found)} after {step + 1} steps", step), band)
        if step + 1 < settings.max_steps:
            with one_thread():
                proposed = optimizer.propose()
            for image, positions in zip(band, proposed, strict=True):
                image.positions = positions
    reason = f"{_forces(found)} after {settings.max_steps} steps"
    return run.ended(Outcome("unconverged", reason, settings.max_steps - 1), band)


def one_thread() -> threadpool_limits:
    """One thread for the learned potential: several that spin on matrices so small cost minutes on shared cores."""
    return threadpool_limits(1, user_api="blas")


def _forces(step: Step) -> str:
    return f"fmax {step.fmax:.3f} eV/A, {step.saddle_fmax:.3f} at the highest image"


def _evaluate(
    calculator: Calculator, band: Sequence[Atoms], moved: Sequence[int], step: int, calls: Calls
) -> Evaluation:
    name = lambda row: f"image {moved[row]} in step {step}"  # noqa: E731
    return calls.add(evaluate(calculator, [derived(band[image]) for image in moved], name=name))


def _largest(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def _energy(image: Atoms) -> float:
    return float(image.get_potential_energy())


class _Record:
    """The history of a band."""

    def __init__(self, zero_ev: float) -> None:
        self.zero_ev = zero_ev
        self.energies: Floats = np.empty(0)
        self._energy: list[Floats] = []
        self._fmax: list[Floats] = []

    def add(self, step: Step) -> None:
        """Keep one step."""
        self.energies = step.energies
        self._energy.append(step.energies - self.zero_ev)
        self._fmax.append(np.linalg.norm(step.band_forces, axis=2).max(axis=1))

    def ended(self, outcome: Outcome, band: list[Atoms]) -> BandRun:
        """The run as it stands."""
        return BandRun(outcome, band, self.energies, self._energy, self._fmax)


class _Counting(AseCalculator):
    """A calculator for ASE's optimisers that evaluates, checks and counts as the suite does."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - as ASE declares it

    def __init__(self, calculator: Calculator, calls: Calls) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calculator, self._calls = calculator, calls

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Energy and forces of `atoms`."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        step = f"step {self._calls.calls}"
        found = self._calls.add(evaluate(self._calculator, [self.atoms], name=lambda _: f"an endpoint in {step}"))
        assert found.forces is not None
        self.results = {"energy": float(found.energies[0]), "forces": found.forces[0]}
