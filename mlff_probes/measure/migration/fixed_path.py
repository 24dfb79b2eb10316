"""Energies and forces along a migration path."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Evaluation
from mlff_probes.core.protocol import ENERGY, FORCE, FRACTION
from mlff_probes.core.records import Value, as_lists
from mlff_probes.measure.migration.protocols import FixedPath
from mlff_probes.measure.results import Result, force_samples, missing, not_supplied
from mlff_probes.methods.analysis.curves import energy_noise, has_top
from mlff_probes.methods.bands.steps import steps
from mlff_probes.methods.constraints import ZEROED, Freedom, unlabelled

Floats = NDArray[np.float64]

NO_SADDLE = "the highest image is an end of the path, which is no saddle"

NOT_BRACKETED = (
    "not bracketed: no image lies above both ends of the path by more than rounding, as one of the reference does, so "
    "that there is no saddle"
)

SAME_PLACE_A = 1e-6
"""Neighbouring images whose free atoms move by less than this, A, have no tangent there."""


def fixed_path(case: Case[FixedPath], evaluation: Evaluation) -> Result:
    """Work up single points along the fixed path of `case`.

    With E_i the energy of image i (eV) and F_i its forces (eV/A), and DFT's as E'_i and F'_i:

    - `barrier` max(E) - E_first, `reverse_barrier` max(E) - E_last, `reaction_energy` E_last - E_first;
    - `energy_image_i` E_i - E_first;
    - `profile_mae` mean over all images of |(E_i - E_first) - (E'_i - E'_first)|;
    - `saddle_position` path fraction of the image with the highest energy (the first, if two tie);
      these and both barriers are an error, `not bracketed`, where only the reference has a top between the ends;
    - `force_mae` mean over images, atoms and components of |F - F'|; `migrating_force_mae` the same over
      the migrating atom alone. Components that a constraint zeroed are no labels and left out (`unlabelled`).
    """
    protocol = case.protocol
    energies = evaluation.energies - evaluation.energies[0]
    position = path_fraction(case.frames)
    values = _saddle(case, evaluation, position)
    values["reaction_energy"] = Value(value=energies[-1], unit=ENERGY)
    for image in range(1, len(energies)):
        values[f"{protocol.image_quantity}{image}"] = Value(value=energies[image], unit=ENERGY)
    if case.stored is not None:
        reference = case.stored.energies - case.stored.energies[0]
        values["profile_mae"] = Value(value=float(np.abs(energies - reference).mean()), unit=ENERGY)
    values |= _force_errors(case, evaluation, protocol.migrating_atom)
    arrays = as_lists({"path_fraction": position, "energy": energies})
    return Result(values, arrays, evaluation, _perpendicular(case, evaluation))


def _saddle(case: Case[FixedPath], evaluation: Evaluation, position: Floats) -> dict[str, Value]:
    """Both barriers, and where the saddle is; what is read at an end of the path is noted, or no number."""
    energies = evaluation.energies - evaluation.energies[0]
    top, inside = int(np.argmax(energies)), _has_saddle(evaluation)
    found = {
        "barrier": (energies[top], ENERGY),
        "reverse_barrier": (energies[top] - energies[-1], ENERGY),
        "saddle_position": (position[top], FRACTION),
    }
    if not inside and case.stored is not None and _has_saddle(case.stored):
        return {name: missing(unit, NOT_BRACKETED) for name, (_, unit) in found.items()}
    caveat = "" if inside else NO_SADDLE
    return {name: Value(value=value, unit=unit, caveat=caveat) for name, (value, unit) in found.items()}


def _has_saddle(evaluation: Evaluation) -> bool:
    return has_top(evaluation.energies, energy_noise(evaluation.energies))


def path_fraction(frames: tuple[Atoms, ...]) -> Floats:
    """Cumulative minimum-image arc length of a path, scaled to 0..1, shape (n_images,).

    The length of a step is the norm of the displacement of all atoms, shape (3 n_atoms,), but for a drift of all.
    """
    ways = steps(frames)
    lengths = np.array([0.0, *np.linalg.norm(ways.reshape(len(ways), -1), axis=1)])
    fraction: Floats = np.cumsum(lengths) / lengths.sum()
    return fraction


def perpendicular_force(frames: tuple[Atoms, ...], forces: tuple[Floats, ...]) -> Floats:
    """Largest force on an atom, perpendicular to the path, at each inner image, eV/A, shape (n - 2,).

    It is zero on a minimum-energy path; elsewhere it says how far a path is from being one. The tangent
    is the central difference of the neighbouring images, normalised over all 3 n_atoms components. What constraints
    hold is left out of both.
    """
    found = []
    freedom = Freedom.of(frames[0])
    ways = steps(frames)
    for way, force in zip(ways[:-1] + ways[1:], forces[1:-1], strict=True):
        tangent, rest = freedom.part(way), freedom.part(force)
        unit = tangent / max(float(np.linalg.norm(tangent)), SAME_PLACE_A)
        rest = rest - (rest * unit).sum() * unit
        found.append(float(np.linalg.norm(rest, axis=1).max()))
    return np.array(found)


def _force_errors(case: Case[FixedPath], evaluation: Evaluation, migrating_atom: int) -> dict[str, Value]:
    names = ("force_mae", "migrating_force_mae")
    if case.stored is None or case.stored.forces is None:
        return {}
    if evaluation.forces is None:
        return {name: not_supplied(FORCE, "the calculator implements no forces") for name in names}
    stored = np.array(case.stored.forces)
    errors = np.abs(np.array(evaluation.forces) - stored)
    labelled = ~np.array([unlabelled(*pair) for pair in zip(case.frames, stored, strict=True)])
    atom = np.s_[:, migrating_atom]
    return dict(zip(names, (_mean(errors, labelled), _mean(errors[atom], labelled[atom])), strict=True))


def _mean(errors: Floats, labelled: NDArray[np.bool_]) -> Value:
    """The mean over those force components that are labels."""
    if not labelled.any():
        return missing(FORCE, f"all {labelled.size} force components are {ZEROED}")
    return Value(value=float(errors[labelled].mean()), unit=FORCE, samples=force_samples(labelled))


def _perpendicular(case: Case[FixedPath], evaluation: Evaluation) -> dict[str, list[float]]:
    if evaluation.forces is None:
        return {}
    return as_lists({"perpendicular_force_ev_per_a": perpendicular_force(case.frames, evaluation.forces)})
