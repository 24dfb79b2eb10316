"""Energies, forces and stresses of many frames against their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.units import GPa
from numpy.typing import NDArray

from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Evaluation
from mlff_probes.core.protocol import PURE
from mlff_probes.core.records import Samples, Value, as_lists
from mlff_probes.core.structures import is_lattice
from mlff_probes.measure.parity.doubt import NO_COMMITTEE, force_spread
from mlff_probes.measure.parity.energies import (
    ALONE,
    EnergyErrors,
    EnergyReference,
    centred_energies,
    energy_errors,
)
from mlff_probes.measure.parity.protocols import FEATURELESS, SPREAD, Parity
from mlff_probes.measure.rank_correlation import rank_correlation
from mlff_probes.measure.results import Result, missing, not_supplied
from mlff_probes.methods.constraints import ZEROED, labels_alone

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MILLI = 1e3
"""eV -> meV."""

DIRECTED_EV_A = 0.2
"""Atoms whose reference force is smaller have no cosine: the uncertainty of a force would turn it about."""

UNLABELLED = "without energy or forces"
IN_UNLABELLED = f"in frames {UNLABELLED}"
UNSTRESSED = "without a stress"
NO_LATTICE = "not periodic in all directions, as a stress needs"
WEAK = f"with a reference force below {DIRECTED_EV_A:g} eV/A"
REMEDIES = {
    UNLABELLED: "label them, or take them out of the file",
    IN_UNLABELLED: "label them, or take them out of the file",
    UNSTRESSED: "give them a stress",
    WEAK: "add frames with larger forces",
    **dict(ALONE.values()),
}
"""Why a sample is left out, and how to have it too."""

BY_NATURE = (ZEROED, NO_LATTICE)
"""What is left out for these reasons was no sample."""

DRAWN = 2000
"""Atoms kept for the picture; larger sets are sampled by element."""

MOST_STRESSES = 400
"""Frames whose stress is kept for the picture, evenly spread."""

WORST_DRAWN = 100
"""Atoms with the largest errors, which the picture always shows."""


def parity(case: Case[Parity], evaluation: Evaluation) -> Result:
    """Compare energies, forces and stresses of all frames with their labels.

    With e_k = (E_k - E'_k) / n_k, the energy error of frame k per atom, less what another zero of energies explains
    (`energy_errors`, by the protocol's `energy_reference`), and F the forces:

    - `energy_mae`, `energy_rmse` mean and root mean square over frames of e_k, meV/atom;
    - `force_mae`, `force_rmse` the same over all force components of F - F', meV/A;
    - `force_cosine` mean over atoms with |F'| >= `DIRECTED_EV_A` of the cosine between F and F' (zero for
      an atom on which the model sees no force), as Open Catalyst's metric of this name;
    - `stress_mae` mean over the frames that carry a stress, and over its six components xx, yy, zz, yz, xz, xy, of
      |sigma - sigma'|, GPa;
    - `energy_spread_correlation`, `force_spread_correlation` Spearman's rank correlation, over frames, of the spread of
      a committee (standard deviation over its members, of e_k and of F) with the size of the error of its mean.

    `force_…_X` are over the atoms of element X, `…_of_o` over the frames of origin o. Force components that a
    constraint zeroed are no labels and left out.
    """
    assert case.stored is not None
    assert case.stored.forces is not None
    zero = case.protocol.energy_reference
    errors = energy_errors(case.frames, evaluation.energies - case.stored.energies, zero)
    reference = np.concatenate(labelled_forces(case.frames, case.stored.forces))
    forces = None if evaluation.forces is None else np.concatenate(evaluation.forces)
    labelled, unlabelled = Parts.of(case.frames), Parts.of(case.unlabelled)
    values = {}
    for quantity, unit in case.protocol.units(case.frames).items():
        metric, *part = case.protocol.split(quantity)
        if metric in SPREAD:
            values[quantity] = _doubt(metric, case, evaluation, labelled.frames(*part))
        elif metric.startswith("energy"):
            without = int(unlabelled.frames(*part).sum())
            values[quantity] = _energy(metric, errors.per_atom[labelled.frames(*part)], unit, zero, without)
        elif metric == "stress_mae":
            without = int(unlabelled.frames(*part).sum())
            values[quantity] = _stress(case, evaluation, labelled.frames(*part), unit, without)
        elif forces is None:
            values[quantity] = not_supplied(unit, "the calculator implements no forces")
        else:
            atoms, without = labelled.atoms(*part), int(unlabelled.atoms(*part).sum())
            values[quantity] = _force(metric, forces[atoms], reference[atoms], unit, without)
    arrays = _energy_arrays(
        labelled.origins, centred_energies(case.frames, case.stored.energies, zero), errors.per_atom
    )
    if forces is not None:
        arrays |= _force_arrays(labelled.symbols, reference, forces)
    if evaluation.stressed.any():
        arrays |= _stress_arrays(case.stored, evaluation)
    return Result(values, arrays, evaluation, _counts(case, errors))


def labels(case: Case[Parity], _: Sequence[str]) -> Result | None:
    """The labels against themselves; the diagnostics hold what a model would be off by that sees nothing at all.

    Such a model has the same energy for whatever structure, no forces and no stress (`Parity.signal`).
    """
    if case.stored is None:
        return None
    assert case.stored.forces is not None
    energies, forces, stresses = case.stored.energies, case.stored.forces, case.stored.stresses
    featureless = Evaluation(
        np.zeros_like(energies),
        tuple(np.zeros_like(force) for force in forces),
        stresses=None if stresses is None else stresses * 0.0,
    )
    result, nothing = parity(case, case.stored), parity(case, featureless)
    seen = {
        quantity: abs(value.value - own)
        for quantity, value in nothing.values.items()
        if value.value is not None and (own := result.values[quantity].value) is not None
    }
    return replace(result, diagnostics=result.diagnostics | {FEATURELESS: seen})


@dataclass(frozen=True)
class Parts:
    """Which frames, and which of their atoms, belong to an element and to an origin.

    Attributes
    ----------
    origins, sizes
        Origin and number of atoms of each frame.
    symbols
        Element of each atom of all frames.
    """

    origins: NDArray[np.str_]
    sizes: NDArray[np.int_]
    symbols: NDArray[np.str_]

    @classmethod
    def of(cls, frames: Sequence[Atoms]) -> Parts:
        """The parts of some frames."""
        return cls(
            np.array([str(frame.info["origin"]) for frame in frames], dtype=str),
            np.array([len(frame) for frame in frames], dtype=int),
            np.array([symbol for frame in frames for symbol in frame.get_chemical_symbols()], dtype=str),
        )

    def frames(self, element: str, origin: str) -> Mask:
        """The frames of an origin, whatever the element; "" for all."""
        return self.origins == origin if origin else np.full(len(self.origins), True)

    def atoms(self, element: str, origin: str) -> Mask:
        """The atoms of an element in the frames of an origin; "" for all."""
        mine: Mask = np.repeat(self.frames(element, origin), self.sizes)
        return mine & (self.symbols == element) if element else mine


def labelled_forces(frames: Sequence[Atoms], forces: Sequence[Floats]) -> list[Floats]:
    """The stored forces of each frame, with NaN where a constraint zeroed a component."""
    return [labels_alone(frame, force) for frame, force in zip(frames, forces, strict=True)]


def frame_force_rmse(forces: Sequence[Floats], reference: Sequence[Floats]) -> Floats:
    """Root mean square force error of each frame over its components, eV/A, shape (n_frames,).

    Components whose reference is NaN are left out; NaN for a frame of which nothing is left.
    """
    squares = [(f - r)[~np.isnan(r)] ** 2 for f, r in zip(forces, reference, strict=True)]
    return np.array([np.sqrt(square.mean()) if square.size else np.nan for square in squares])


def _energy(metric: str, errors: Floats, unit: str, zero: EnergyReference, unlabelled: int) -> Value:
    known = errors[~np.isnan(errors)]
    why, remedy = ALONE[zero]
    samples = _samples("frames", known.size, {why: len(errors) - known.size, UNLABELLED: unlabelled})
    if not known.size:
        nothing = missing(unit, f"no energy can be judged: all {len(errors)} frames are {why}; {remedy}")
        return nothing.model_copy(update={"samples": samples})
    found = np.abs(known).mean() if metric == "energy_mae" else np.sqrt((known**2).mean())
    return Value(value=float(found) * MILLI, unit=unit, samples=samples)


def _force(metric: str, forces: Floats, reference: Floats, unit: str, unlabelled: int) -> Value:
    if metric == "force_cosine":
        return _cosine(forces, reference, unit, unlabelled)
    errors = (forces - reference)[~np.isnan(reference)]
    if not errors.size:
        return missing(unit, f"all {reference.size} force components are {ZEROED}")
    found = np.abs(errors).mean() if metric == "force_mae" else np.sqrt((errors**2).mean())
    left_out = {IN_UNLABELLED: 3 * unlabelled, ZEROED: reference.size - errors.size}
    samples = _samples("force components", errors.size, left_out)
    return Value(value=float(found) * MILLI, unit=unit, samples=samples)


def _cosine(forces: Floats, reference: Floats, unit: str, unlabelled: int) -> Value:
    zeroed = np.isnan(reference)
    forces, reference = np.where(zeroed, 0.0, forces), np.where(zeroed, 0.0, reference)
    length = np.linalg.norm(reference, axis=1)
    directed = length >= DIRECTED_EV_A
    if not directed.any():
        return missing(
            unit, f"no atom has a reference force of {DIRECTED_EV_A:g} eV/A or more, which a direction needs"
        )
    product = np.linalg.norm(forces, axis=1) * length
    cosines = np.divide((forces * reference).sum(axis=1), product, out=np.zeros_like(product), where=product > 0)
    held = int(zeroed.all(axis=1).sum())
    left_out = {WEAK: int((~directed).sum()) - held, IN_UNLABELLED: unlabelled, ZEROED: held}
    samples = _samples("atoms", int(directed.sum()), left_out)
    return Value(value=float(cosines[directed].mean()), unit=unit, samples=samples)


def _stress(case: Case[Parity], evaluation: Evaluation, mine: Mask, unit: str, unlabelled: int) -> Value:
    """The mean error of the stress of the frames of a part."""
    assert case.stored is not None
    known = case.stored.stressed & mine
    if not known.any():
        return missing(unit, f"none of {int(mine.sum())} frames carries a stress")
    if evaluation.stresses is None:
        return not_supplied(unit, "the calculator implements no stress")
    assert case.stored.stresses is not None
    errors = np.abs(evaluation.stresses - case.stored.stresses)[known] / GPa
    without = [is_lattice(frame) for frame, part in zip(case.frames, mine & ~known, strict=True) if part]
    left_out = {UNSTRESSED: without.count(True), UNLABELLED: unlabelled, NO_LATTICE: without.count(False)}
    samples = _samples("frames", len(errors), left_out)
    return Value(value=float(errors.mean()), unit=unit, samples=samples)


def _doubt(metric: str, case: Case[Parity], evaluation: Evaluation, mine: Mask) -> Value:
    """Whether the members of a committee differ most where their mean is wrong most, in some of the frames."""
    members = evaluation.members
    if not members:
        return not_supplied(PURE, NO_COMMITTEE, by_nature=True)
    assert case.stored is not None
    if metric == "energy_spread_correlation":
        zero, stored = case.protocol.energy_reference, case.stored.energies
        mean, *apart = (energy_errors(case.frames, e.energies - stored, zero).per_atom for e in (evaluation, *members))
        return rank_correlation(np.std(apart, axis=0, ddof=1)[mine], mean[mine])
    if evaluation.forces is None:
        return not_supplied(PURE, "the calculator implements no forces")
    assert case.stored.forces is not None
    reference = labelled_forces(case.frames, case.stored.forces)
    errors = frame_force_rmse(evaluation.forces, reference)
    return rank_correlation(force_spread(members, reference)[mine], errors[mine])


def _samples(what: str, used: int, left_out: Mapping[str, int]) -> Samples:
    """What a number stands on; reasons that hold for no sample are left away, and the one that costs most is mended."""
    counted = {why: count for why, count in left_out.items() if count}
    lost = {why: count for why, count in counted.items() if why not in BY_NATURE}
    return Samples(
        used=used,
        of=used + sum(counted.values()),
        what=what,
        left_out=counted,
        remedy=REMEDIES[max(lost, key=lost.__getitem__)] if lost else "",
        by_nature=tuple(why for why in BY_NATURE if why in counted),
    )


def _energy_arrays(origins: NDArray[np.str_], centred: Floats, errors: Floats) -> dict[str, list[object]]:
    """Energies for the parity plot, of frames that are not alone in their composition."""
    known = ~np.isnan(errors)
    return {
        **as_lists({"energy_reference": centred[known], "energy_model": (centred + errors)[known]}),
        "energy_origin": [str(origin) for origin in origins[known]],
    }


def _force_arrays(symbols: NDArray[np.str_], reference: Floats, forces: Floats) -> dict[str, list[object]]:
    """Force components for the parity plot."""
    rows = drawn_atoms(symbols, np.linalg.norm(np.nan_to_num(forces - reference), axis=1))
    labelled = ~np.isnan(reference[rows])
    return {
        **as_lists({"force_reference": reference[rows][labelled], "force_model": forces[rows][labelled]}),
        "force_element": [str(symbol) for symbol in np.repeat(symbols[rows], labelled.sum(axis=1))],
    }


def _stress_arrays(stored: Evaluation, evaluation: Evaluation) -> dict[str, list[object]]:
    """Stress components for the parity plot, GPa."""
    assert stored.stresses is not None
    assert evaluation.stresses is not None
    rows = np.flatnonzero(evaluation.stressed & stored.stressed)
    rows = rows[:: -(-rows.size // MOST_STRESSES)]
    reference, model = (found[rows].ravel() / GPa for found in (stored.stresses, evaluation.stresses))
    return {
        **as_lists({"stress_reference": reference, "stress_model": model}),
        "stress_component": [*["xx, yy, zz"] * 3, *["yz, xz, xy"] * 3] * len(rows),
    }


def drawn_atoms(symbols: NDArray[np.str_], errors: Floats, *, seed: int = 0) -> NDArray[np.int_]:
    """Which atoms a picture shows: all where they are few, else as many of each element, and the worst.

    Shapes: `symbols` and `errors` (n_atoms,), the result indices in ascending order.
    """
    if len(symbols) <= DRAWN:
        return np.arange(len(symbols))
    rng = np.random.default_rng(seed)
    elements = np.unique(symbols)
    chosen = [np.argsort(errors)[-WORST_DRAWN:]]
    for element in elements:
        chosen.append(rng.permutation(np.flatnonzero(symbols == element))[: DRAWN // len(elements)])
    return np.unique(np.concatenate(chosen))


def _counts(case: Case[Parity], errors: EnergyErrors) -> dict[str, object]:
    return {
        "frames": len(case.frames),
        "atoms": sum(len(frame) for frame in case.frames),
        "frames_without_energy_error": int(np.isnan(errors.per_atom).sum()),
        "energy_reference": case.protocol.energy_reference,
        "fitted_offsets": len(errors.offsets),
        "energy_offsets_ev_per_atom": errors.offsets,
    }
