"""The frames on which a force field is most wrong, with their labels: to look at, or to train on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.errors import EvaluationError, InputError
from mlff_probes.core.evaluation import Evaluation
from mlff_probes.core.structures import copied
from mlff_probes.measure.parity.energies import ALONE, EnergyReference, elements_problem, energy_errors
from mlff_probes.measure.parity.measurement import MILLI, frame_force_rmse, labelled_forces

Floats = NDArray[np.float64]
Measure = Literal["force", "energy"]

WIDER = "add --energy-reference=elements, or --by=force"


def worst_frames(
    calculator: Calculator,
    frames: Sequence[Atoms],
    labels: Evaluation,
    count: int,
    *,
    by: Measure = "force",
    reference: EnergyReference = "composition",
) -> list[Atoms]:
    """The `count` frames with the largest error against their `labels`, worst first.

    Each is a copy with all its labels; energy, forces and stress also under the names that MACE trains on
    (`REF_energy`, …), and beside them `model`, `model_energy` (eV), `model_forces` (eV/A),
    `energy_error_mev_per_atom` (see `energy_errors`; left out where the `reference` leaves nothing of it) and
    `force_rmse_mev_per_a` (left out where constraints zeroed all forces).

    Raises
    ------
    InputError
        If the calculator does not know an element, supplies no forces, or cannot evaluate a frame, or the `reference`
        leaves no energy error by which the frames could be ranked.
    """
    if reference == "elements" and (problem := elements_problem(frames)):
        raise InputError("", problem)
    if labels.forces is None:
        raise InputError("", "the frames carry no forces, by which they are compared")
    labels_forces, found = labels.forces, _evaluated(calculator, frames)
    assert found.forces is not None
    energy = energy_errors(frames, found.energies - labels.energies, reference).per_atom
    if by == "energy" and np.isnan(energy).all():
        raise InputError("", f"no frame can be ranked by its energy: all are {ALONE[reference][0]}", WIDER)
    force = frame_force_rmse(found.forces, labelled_forces(frames, labels_forces))
    key = np.nan_to_num(force if by == "force" else np.abs(energy), nan=-1.0)
    chosen = []
    for row in np.argsort(-key, kind="stable")[:count]:
        frame = _with_all_labels(frames[row], float(labels.energies[row]), labels_forces[row])
        frame.info |= {"model": calculator.label, "model_energy": float(found.energies[row])}
        for name, error in (("force_rmse_mev_per_a", force[row]), ("energy_error_mev_per_atom", energy[row])):
            frame.info.pop(name, None)  # of another run, if the frames come from one
            if not np.isnan(error):
                frame.info[name] = float(error) * MILLI
        frame.arrays["model_forces"] = found.forces[row]
        chosen.append(frame)
    return chosen


def _evaluated(calculator: Calculator, frames: Sequence[Atoms]) -> Evaluation:
    unknown = calculator.unknown_elements(frozenset(s for frame in frames for s in frame.get_chemical_symbols()))
    if unknown:
        raise InputError("", f"{calculator.label} does not know {', '.join(unknown)}, which some of the frames hold")
    if not calculator.supplies("forces"):
        raise InputError("", f"{calculator.label} implements no forces, by which frames are compared")
    try:
        return evaluate(calculator, frames)
    except EvaluationError as error:
        raise InputError("", f"{calculator.label} cannot be evaluated: {error}") from error


def _with_all_labels(frame: Atoms, energy: float, forces: Floats) -> Atoms:
    copy = copied(frame)
    results = {**(frame.calc.results if frame.calc else {}), "energy": energy, "forces": forces}
    copy.calc = SinglePointCalculator(copy, **{key: value for key, value in results.items() if key in all_properties})
    copy.info["REF_energy"], copy.arrays["REF_forces"] = energy, forces
    if "stress" in results:
        copy.info["REF_stress"] = results["stress"]
    return copy
