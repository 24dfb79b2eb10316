"""Relaxing endpoints and bands with few model calls, and watching them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.mep import NEB
from ase.optimize import BFGS
from numpy.typing import NDArray

from mlff_probes.bands.outcomes import Outcome, Watch
from mlff_probes.calculators.base import Calculator
from mlff_probes.errors import NonFiniteError
from mlff_probes.evaluation import Evaluation, evaluate

Floats = NDArray[np.float64]
Report = Callable[[int, float, float], None]
"""Called after each step of a band with (step, fmax in eV/A, energy of the highest image over the first in eV)."""


@dataclass(frozen=True)
class BandSettings:
    """How a band is relaxed.

    Attributes
    ----------
    spring_ev_a2
        Spring constant between images, eV/A^2.
    fmax
        A band is converged where no atom of any image feels more, eV/A, climbing image included.
    max_steps
        Evaluations of the whole band before it is given up as unconverged.
    climb_below
        The highest image climbs once fmax has come down to this, eV/A: climbing on a band that is far
        from any path pulls it out of shape.
    """

    spring_ev_a2: float = 0.1
    fmax: float = 0.05
    max_steps: int = 200
    climb_below: float = 0.5


@dataclass
class Calls:
    """Model calls and the time spent in them, added up over a measurement."""

    calls: int = 0
    batches: int = 0
    model_s: float = 0.0

    def add(self, evaluation: Evaluation) -> Evaluation:
        """Count `evaluation`, and hand it on."""
        self.calls += evaluation.calls
        self.batches += evaluation.batches
        self.model_s += evaluation.model_s
        return evaluation


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
    calculator: Calculator, atoms: Atoms, *, fmax: float, max_steps: int, calls: Calls
) -> tuple[Atoms, bool]:
    """Relax the positions of one structure in a fixed cell: the relaxed copy, and whether it converged.

    Raises
    ------
    EvaluationError
        If the calculator fails on the way.
    """
    relaxed = atoms.copy()
    relaxed.calc = _Counting(calculator, calls)
    converged = BFGS(relaxed, logfile=None).run(fmax=fmax, steps=max_steps)
    energy, forces = relaxed.get_potential_energy(), relaxed.get_forces()
    relaxed.calc = SinglePointCalculator(relaxed, energy=energy, forces=forces)
    return relaxed, bool(converged)


def relax_band(
    calculator: Calculator,
    images: Sequence[Atoms],
    *,
    settings: BandSettings,
    optimizer: Any,
    calls: Calls,
    report: Report | None = None,
) -> BandRun:
    """Relax a band between two endpoints, watching it; all inner images of a step are evaluated together.

    Climbing-image NEB with the improved tangent (Henkelman et al., J. Chem. Phys. 113, 9901 and 9978 (2000)),
    numerics of ASE. The endpoints carry their energies already (`relax_structure`).

    Parameters
    ----------
    calculator
        What is judged.
    images
        The first band, endpoints included.
    optimizer
        Proposes the positions of the inner images from what was evaluated (`mlff_probes.bands.optimizer`).
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
    band = [image.copy() for image in images]
    ends = (_energy(images[0]), _energy(images[-1]))
    for end, image in ((0, images[0]), (-1, images[-1])):
        band[end].calc = SinglePointCalculator(band[end], energy=_energy(image), forces=image.get_forces())
    watch, run, climb = Watch(ends, band), _Record(ends), False
    explosion = watch.geometry(0, band)
    for step in range(settings.max_steps):
        if explosion is not None:
            return run.ended(explosion, band)
        try:
            evaluation = _evaluate(calculator, band, step, calls)
        except NonFiniteError as error:
            return run.ended(Outcome("non-finite", str(error), step), band)
        forces = neb_forces(band, evaluation, spring=settings.spring_ev_a2, climb=climb)
        fmax = run.add(evaluation, forces)
        if report is not None:
            report(step, fmax, float(run.energies.max() - ends[0]))
        explosion = watch.explosion(step, band, run.energies, fmax)
        if explosion is None and climb and fmax <= settings.fmax:
            return run.ended(Outcome("converged", f"fmax {fmax:.3f} eV/A after {step + 1} steps", step), band)
        climb = climb or fmax <= settings.climb_below
        for image, moved in zip(band[1:-1], optimizer.step(band, evaluation, forces), strict=True):
            image.positions = moved
    kind = Outcome("unconverged", f"fmax {fmax:.3f} eV/A after {settings.max_steps} steps", settings.max_steps - 1)
    return run.ended(explosion or kind, band)


def neb_forces(band: Sequence[Atoms], evaluation: Evaluation, *, spring: float, climb: bool) -> Floats:
    """NEB force on each inner image, eV/A, shape (n_inner, n_atoms, 3), by ASE's improved tangent.

    Parameters
    ----------
    band
        The whole band; its endpoints carry their energies.
    evaluation
        Energies and forces of the inner images.
    spring
        eV/A^2.
    climb
        Whether the highest image climbs.
    """
    assert evaluation.forces is not None
    images = [image.copy() for image in band]
    images[0].calc, images[-1].calc = band[0].calc, band[-1].calc
    for image, energy, forces in zip(images[1:-1], evaluation.energies, evaluation.forces, strict=True):
        image.calc = SinglePointCalculator(image, energy=energy, forces=forces)
    found = NEB(images, k=spring, climb=climb, method="improvedtangent").get_forces()
    forces_of_images: Floats = found.reshape(len(images) - 2, -1, 3)
    return forces_of_images


def _evaluate(calculator: Calculator, band: Sequence[Atoms], step: int, calls: Calls) -> Evaluation:
    inner = [image.copy() for image in band[1:-1]]
    return calls.add(evaluate(calculator, inner, name=lambda row: f"image {row + 1} in step {step}"))


def _energy(image: Atoms) -> float:
    return float(image.get_potential_energy())


class _Record:
    """The history of a band."""

    def __init__(self, ends: tuple[float, float]) -> None:
        self.ends = ends
        self.energies: Floats = np.array(ends)
        self._energy: list[Floats] = []
        self._fmax: list[Floats] = []

    def add(self, evaluation: Evaluation, forces: Floats) -> float:
        """Keep one step; the largest force of the band."""
        self.energies = np.array([self.ends[0], *evaluation.energies, self.ends[1]])
        self._energy.append(self.energies - self.ends[0])
        self._fmax.append(np.linalg.norm(forces, axis=2).max(axis=1))
        return float(self._fmax[-1].max())

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
        found = self._calls.add(
            evaluate(self._calculator, [self.atoms.copy()], name=lambda _: f"an endpoint in {step}")
        )
        assert found.forces is not None
        self.results = {"energy": float(found.energies[0]), "forces": found.forces[0]}
