"""Migration: an atom on its way from site to site, on given images or along a relaxed band."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_probes.core.evaluation import Evaluation
from mlff_probes.core.protocol import CALLS, ENERGY, FORCE, FRACTION, LENGTH, PURE, BaseProtocol, LabelKeys
from mlff_probes.core.records import Measurement, Positive, Text
from mlff_probes.core.structures import derived, made
from mlff_probes.measure.migration.atom_order import migrating_atom_note, numbered_alike
from mlff_probes.measure.migration.path_problems import far_hop, held_atoms_problem, path_problem
from mlff_probes.methods.bands.relax import BandSettings

if TYPE_CHECKING:
    from ase import Atoms


STANDS_OUT = 2.0
"""A position of the maximum is judged only where the maximum of the reference stands out by more than
this many times its uncertainty."""


class BandProtocol(BaseProtocol):
    """What both protocols with relaxed bands share: `band_settings`, from the keys of the same names.

    Attributes
    ----------
    spring_ev_a2
        Spring constant between neighbouring images, eV/A^2.
    fmax
        Every image has converged when no force exceeds this, eV/A, as ASE's NEB defines forces.
    saddle_fmax
        The same for the highest image, eV/A.
    max_steps
        A band that has not converged after so many steps is `unconverged`.
    """

    spring_ev_a2: Positive = 0.1
    fmax: Positive = 0.05
    saddle_fmax: Positive = 0.01
    max_steps: Annotated[int, Field(ge=1)] = 60

    family: ClassVar[str] = "migration"
    relaxes: ClassVar[bool] = True
    uses_constraints: ClassVar[bool] = True
    uses_forces: ClassVar[bool] = True
    needs_forces: ClassVar[bool] = True

    @property
    def band_settings(self) -> BandSettings:
        """How the bands of this protocol are relaxed."""
        return BandSettings(self.spring_ev_a2, self.fmax, self.saddle_fmax, self.max_steps)


class PathFrames(BaseProtocol):
    """What both protocols share whose frames are a path, numbered by `image`.

    Attributes
    ----------
    migrating_atom
        Index of the atom that hops, counted from 0 as in the first image.
    path_made_by
        What made the geometry of the frames; a path that a model made favours that model.
    reorder_atoms
        True: number the atoms of all images as in the first, each by the nearest place. False: atoms that seem to
        change places between images do so. Without it such a path is refused.
    """

    migrating_atom: Annotated[int, Field(ge=0)]
    path_made_by: Text
    reorder_atoms: bool | None = None

    frame_keys: ClassVar[tuple[str, ...]] = ("image",)

    def prepared(self, frames: Sequence[Atoms]) -> tuple[list[Atoms], tuple[str, ...]]:
        """The frames, numbered as in the first where that is asked for, and a note on what was changed."""
        return numbered_alike(frames) if self.reorder_atoms else (list(frames), ())

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        problem = path_problem(frames, self.migrating_atom, self.reorder_atoms)
        return problem.reason if problem else None

    def frame_notes(self, frames: Sequence[Atoms]) -> tuple[str, ...]:
        """What a reader must know of the atom that is called the migrating one."""
        return migrating_atom_note(frames, self.migrating_atom)


class FixedPath(PathFrames, LabelKeys):
    """Single points on a given migration path."""

    kind: Literal["fixed_path"]

    family: ClassVar[str] = "migration"
    uses_constraints: ClassVar[bool] = True
    uses_forces: ClassVar[bool] = True
    quantities: ClassVar[dict[str, str]] = {
        "barrier": ENERGY,
        "reverse_barrier": ENERGY,
        "reaction_energy": ENERGY,
        "profile_mae": ENERGY,
        "saddle_position": FRACTION,
        "force_mae": FORCE,
        "migrating_force_mae": FORCE,
    }
    image_quantity: ClassVar[str] = "energy_image_"

    def units(self, frames: Sequence[Atoms]) -> dict[str, str]:
        """All that this protocol measures on `frames`: quantity -> unit."""
        return self.quantities | {f"{self.image_quantity}{image}": ENERGY for image in range(1, len(frames))}

    def policy_name(self, quantity: str) -> str:
        """The name under which the tolerance policy knows `quantity`: all images share one tolerance."""
        return re.sub(rf"^({self.image_quantity.removesuffix('_')})_\d+$", r"\1", quantity)

    def signal(self, quantity: str, reference: Measurement) -> float | None:
        """What a path without any barrier would be off by, or the range of the energies along the path."""
        energies = np.array(reference.arrays["energy"])
        if quantity == "profile_mae":
            return float(np.abs(energies).mean())
        of_energy = quantity.startswith(self.image_quantity) or self.quantities.get(quantity) == ENERGY
        return float(np.ptp(energies)) if of_energy else None

    def reference_problem(self, quantity: str, stored: Evaluation | None, uncertainties: Mapping[str, float]) -> str:
        """Why the position of the maximum cannot be judged; empty where it can, and for all other quantities."""
        if quantity != "saddle_position":
            return ""
        uncertainty = uncertainties.get("barrier")
        if uncertainty is None or stored is None:
            return "needs stored energies and an expectation for the barrier, with its uncertainty"
        margin = prominence(stored.energies)
        if margin == 0:
            return "the highest image of the reference is an end of the path, which is no saddle"
        if margin <= STANDS_OUT * uncertainty:
            return (
                f"the maximum of the reference stands out by {margin:.3g} eV, which is not more than "
                f"{STANDS_OUT:g} times its uncertainty of {uncertainty:g} eV; its position cannot be judged"
            )
        return ""


SITE_CALLS, BAND_CALLS, VACANCY_CALLS = 25, 60, 26
"""Model calls that a site, a band between two and a vacancy with its hop take with CHGNet."""


class RelaxedPath(BandProtocol, PathFrames):
    """Climbing-image nudged elastic bands from site to site.

    The frames, numbered by `image`, are the endpoints and any sites between them. All are relaxed, and those that are
    minima are joined by bands. Consecutive frames are joined by minimum image. Atoms that a `move_mask` or another
    constraint holds stay where they are, in the frames as in the bands.

    Attributes
    ----------
    images
        Images of each band, its ends included.
    endpoint_fmax
        A site has relaxed when no force exceeds this, eV/A.
    endpoint_steps
        A site that has not relaxed after so many steps makes the band `unconverged`.
    """

    kind: Literal["relaxed_path"]
    images: Annotated[int, Field(ge=3, le=99)] = 7
    endpoint_fmax: Positive = 0.02
    endpoint_steps: Annotated[int, Field(ge=1)] = 200

    quantities: ClassVar[dict[str, str]] = {
        "outcome": PURE,
        "barrier": ENERGY,
        "reverse_barrier": ENERGY,
        "reaction_energy": ENERGY,
        "saddle_position": FRACTION,
        "path_distance": LENGTH,
        "model_calls": CALLS,
    }

    def work(self, frames: Sequence[Atoms]) -> float:
        """Atoms that the model sees."""
        return float(len(frames[0]) * (SITE_CALLS * len(frames) + BAND_CALLS * (len(frames) - 1)))

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        if len(frames) > self.images:
            return f"images = {self.images}, but {len(frames)} frames are given, each of which is an image"
        return super().frame_problem(frames) or held_atoms_problem(frames, self.migrating_atom) or far_hop(frames)


class FccVacancy(BandProtocol):
    """A vacancy in an fcc metal, at the lattice constant of the model, and the hop of a neighbour into it.

    The cells are built by the probe.

    Attributes
    ----------
    element
        Symbol of the metal.
    guess_lattice_constant
        Where the search for the lattice constant begins, A.
    repeats
        The cell has so many cubic cells of four atoms in each direction, less one atom.
    images
        Images of the band, its ends included.
    vacancy_fmax
        The vacancy has relaxed when no force exceeds this, eV/A.
    vacancy_steps
        A vacancy that has not relaxed after so many steps makes the outcome `unconverged`.
    """

    kind: Literal["fcc_vacancy"]
    element: Annotated[str, Field(pattern="^[A-Z][a-z]?$")]
    guess_lattice_constant: Positive
    repeats: Annotated[int, Field(ge=2, le=9)] = 3
    images: Annotated[int, Field(ge=3, le=99)] = 3
    vacancy_fmax: Positive = 0.02
    vacancy_steps: Annotated[int, Field(ge=1)] = 100

    quantities: ClassVar[dict[str, str]] = {
        "outcome": PURE,
        "lattice_constant": LENGTH,
        "formation_energy": ENERGY,
        "barrier": ENERGY,
        "model_calls": CALLS,
    }

    def work(self, frames: Sequence[Atoms]) -> float:
        """Atoms that the model sees."""
        return VACANCY_CALLS * super().work(frames)

    def built_frames(self) -> tuple[Atoms, ...]:
        """The unrelaxed vacancy cell at the guess of the lattice constant: it shows elements and size."""
        return (self.vacancy_cell(self.guess_lattice_constant),)

    def crystal(self, lattice_constant: float, repeats: int = 1) -> Atoms:
        """`repeats` cubic cells of the crystal in each direction; `lattice_constant` in A."""
        from ase.build import bulk

        unit = bulk(self.element, "fcc", a=lattice_constant, cubic=True)
        return derived(made(unit.numbers, positions=unit.positions, cell=unit.cell.array), repeat=[repeats] * 3)

    def vacancy_cell(self, lattice_constant: float) -> Atoms:
        """The crystal without its first atom, which stands at the origin; `lattice_constant` in A."""
        crystal = self.crystal(lattice_constant, self.repeats)
        return derived(crystal, order=range(1, len(crystal)))


def prominence(energies: NDArray[np.float64]) -> float:
    """How far the highest image lies above every other image, eV; 0 where the maximum is an end of the path."""
    top = int(np.argmax(energies))
    if top in (0, len(energies) - 1):
        return 0.0
    return float(energies[top] - np.delete(energies, top).max())
