"""Energies and forces of many frames against their labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Evaluation
from mlff_probes.core.records import Value, as_lists
from mlff_probes.measure.parity.protocols import Parity
from mlff_probes.measure.results import Result, missing, not_supplied

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MILLI = 1e3
"""eV -> meV."""

DIRECTED_EV_A = 0.2
"""Atoms whose reference force is smaller have no cosine: the uncertainty of a force would turn it about."""

DRAWN = 2000
"""Atoms kept for the picture; larger sets are sampled by element."""

WORST_DRAWN = 100
"""Atoms with the largest errors, which the picture always shows."""


def parity(case: Case[Parity], evaluation: Evaluation) -> Result:
    """Compare energies and forces of all frames with their labels.

    With e_k = (E_k - E'_k) / n_k, the energy error of frame k per atom, minus its mean over all frames of
    the same composition (codes and pseudopotentials never share an energy zero; a composition with a
    single frame says nothing and is left out), and F the forces:

    - `energy_mae`, `energy_rmse` mean and root mean square over frames of e_k, meV/atom;
    - `force_mae`, `force_rmse` the same over all force components of F - F', meV/A;
    - `force_cosine` mean over atoms with |F'| >= `DIRECTED_EV_A` of the cosine between F and F' (zero for
      an atom on which the model sees no force), as Open Catalyst's metric of this name.

    `force_…_X` are over the atoms of element X, `…_of_o` over the frames of origin o.
    """
    assert case.stored is not None
    assert case.stored.forces is not None
    origins = np.array([str(frame.info["origin"]) for frame in case.frames])
    symbols = np.concatenate([frame.get_chemical_symbols() for frame in case.frames])
    sizes = np.array([len(frame) for frame in case.frames])
    compositions = composition_names(case.frames)
    errors = energy_errors(compositions, sizes, evaluation.energies - case.stored.energies)
    reference = np.concatenate(case.stored.forces)
    forces = None if evaluation.forces is None else np.concatenate(evaluation.forces)
    values = {}
    for quantity, unit in case.protocol.units(case.frames).items():
        metric, element, origin = case.protocol.split(quantity)
        frames: Mask = origins == origin if origin else np.full(len(origins), True)
        atoms: Mask = np.repeat(frames, sizes) & (symbols == element if element else np.full(len(symbols), True))
        if metric.startswith("energy"):
            values[quantity] = _energy(metric, errors[frames], unit)
        elif forces is None:
            values[quantity] = not_supplied(unit, "the calculator implements no forces")
        else:
            values[quantity] = _force(metric, forces[atoms], reference[atoms], unit)
    centred = energy_errors(compositions, sizes, case.stored.energies)
    arrays = _energy_arrays(origins, centred, errors)
    if forces is not None:
        arrays |= _force_arrays(symbols, reference, forces)
    return Result(values, arrays, evaluation, _counts(case, errors))


def composition_names(frames: Sequence[Atoms]) -> NDArray[np.str_]:
    """Reduced formula of each frame: frames of one name share one energy offset per atom."""
    return np.array([frame.symbols.formula.reduce()[0].format("hill") for frame in frames])


def energy_errors(compositions: NDArray[np.str_], sizes: NDArray[np.int_], differences: Floats) -> Floats:
    """Energy error per atom after one offset per composition, eV/atom; NaN where it is the only frame of its own."""
    per_atom: Floats = differences / sizes
    errors = np.full(len(per_atom), np.nan)
    for name in np.unique(compositions):
        rows = compositions == name
        if rows.sum() > 1:
            errors[rows] = per_atom[rows] - per_atom[rows].mean()
    return errors


def frame_force_rmse(forces: tuple[Floats, ...], reference: tuple[Floats, ...]) -> Floats:
    """Root mean square force error of each frame over its components, eV/A, shape (n_frames,)."""
    return np.array([np.sqrt(np.mean((f - r) ** 2)) for f, r in zip(forces, reference, strict=True)])


def _energy(metric: str, errors: Floats, unit: str) -> Value:
    known = errors[~np.isnan(errors)]
    if not known.size:
        return missing(unit, "every composition has one frame only, of which one offset each leaves nothing")
    found = np.abs(known).mean() if metric == "energy_mae" else np.sqrt((known**2).mean())
    return Value(value=float(found) * MILLI, unit=unit)


def _force(metric: str, forces: Floats, reference: Floats, unit: str) -> Value:
    if metric == "force_cosine":
        return _cosine(forces, reference, unit)
    errors = forces - reference
    found = np.abs(errors).mean() if metric == "force_mae" else np.sqrt((errors**2).mean())
    return Value(value=float(found) * MILLI, unit=unit)


def _cosine(forces: Floats, reference: Floats, unit: str) -> Value:
    length = np.linalg.norm(reference, axis=1)
    directed = length >= DIRECTED_EV_A
    if not directed.any():
        return missing(
            unit, f"no atom has a reference force of {DIRECTED_EV_A:g} eV/A or more, which a direction needs"
        )
    product = np.linalg.norm(forces, axis=1) * length
    cosines = np.divide((forces * reference).sum(axis=1), product, out=np.zeros_like(product), where=product > 0)
    return Value(value=float(cosines[directed].mean()), unit=unit)


def _energy_arrays(origins: NDArray[np.str_], centred: Floats, errors: Floats) -> dict[str, list[object]]:
    """Energies for the parity plot, of frames that are not alone in their composition."""
    known = ~np.isnan(errors)
    return {
        **as_lists({"energy_reference": centred[known], "energy_model": (centred + errors)[known]}),
        "energy_origin": [str(origin) for origin in origins[known]],
    }


def _force_arrays(symbols: NDArray[np.str_], reference: Floats, forces: Floats) -> dict[str, list[object]]:
    """Force components for the parity plot."""
    rows = drawn_atoms(symbols, np.linalg.norm(forces - reference, axis=1))
    return {
        **as_lists({"force_reference": reference[rows].ravel(), "force_model": forces[rows].ravel()}),
        "force_element": [str(symbol) for symbol in np.repeat(symbols[rows], 3)],
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


def _counts(case: Case[Parity], errors: Floats) -> dict[str, object]:
    return {
        "frames": len(case.frames),
        "atoms": sum(len(frame) for frame in case.frames),
        "frames_alone_in_their_composition": int(np.isnan(errors).sum()),
    }
