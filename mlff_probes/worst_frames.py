"""The frames on which a force field is most wrong, with their labels: to look at, or to train on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_probes.calculators.base import Calculator
from mlff_probes.errors import EvaluationError, InputError
from mlff_probes.evaluation import evaluate
from mlff_probes.frames import labelled_frames, stored_evaluation
from mlff_probes.measure.parity import MILLI, composition_names, energy_errors, frame_force_rmse
from mlff_probes.reference import load_cases

Measure = Literal["force", "energy"]


def gather_frames(files: Sequence[Path], directories: Sequence[Path], case: str | None) -> list[Atoms]:
    """Labelled frames of `files`, or else of the parity cases in `directories` (of `case` alone, if named).

    Raises
    ------
    InputError
        If a file cannot be read, nothing is labelled, or there is no such case.
    """
    if files:
        return labelled_frames([(None, file) for file in files], where=", ".join(map(str, files)))
    cases = {found.id: found for found in load_cases(directories) if found.family == "parity"}
    if case is not None and case not in cases:
        raise InputError(f"there is no parity case '{case}'; there are {', '.join(cases) or 'none'}")
    chosen = [cases[case]] if case else list(cases.values())
    for found in chosen:
        if not hasattr(found, "frames"):
            raise InputError(found.message)
    return [frame for found in chosen for frame in found.frames]  # type: ignore[union-attr]


def worst_frames(calculator: Calculator, frames: Sequence[Atoms], count: int, *, by: Measure = "force") -> list[Atoms]:
    """The `count` frames with the largest error, worst first.

    Each is a copy that carries its labels twice, as `energy` and `forces` (as ASE reads them) and as
    `REF_energy` and `REF_forces` (as MACE trains on them), and beside them `model`, `model_energy` (eV),
    `model_forces` (eV/A), `energy_error_mev_per_atom` (after one offset per composition; left out for the
    only frame of its composition) and `force_rmse_mev_per_a`.

    Raises
    ------
    InputError
        If the calculator knows an element not, cannot supply what `by` needs, or cannot evaluate a frame.
    """
    reference = stored_evaluation(frames, Path("frames"))
    assert reference is not None
    assert reference.forces is not None
    unknown = calculator.unknown_elements(frozenset(s for frame in frames for s in frame.get_chemical_symbols()))
    if unknown:
        raise InputError(f"{calculator.label} does not know {', '.join(unknown)}, which some of the frames hold")
    if not calculator.supplies("forces"):
        raise InputError(f"{calculator.label} implements no forces, by which frames are compared")
    try:
        found = evaluate(calculator, frames)
    except EvaluationError as error:
        raise InputError(f"{calculator.label} cannot be evaluated: {error}") from error
    assert found.forces is not None
    sizes = np.array([len(frame) for frame in frames])
    energy = energy_errors(composition_names(frames), sizes, found.energies - reference.energies)
    force = frame_force_rmse(found.forces, reference.forces)
    key = force if by == "force" else np.nan_to_num(np.abs(energy), nan=-1.0)
    chosen = []
    for row in np.argsort(-key, kind="stable")[:count]:
        frame = frames[row].copy()
        frame.info.pop("energy_error_mev_per_atom", None)  # of another run, if the frames come from one
        labels = {"energy": float(reference.energies[row]), "forces": reference.forces[row]}
        frame.calc = SinglePointCalculator(frame, **labels)
        frame.info |= {"REF_energy": labels["energy"], "model": calculator.label}
        frame.info |= {"model_energy": float(found.energies[row]), "force_rmse_mev_per_a": float(force[row]) * MILLI}
        if not np.isnan(energy[row]):
            frame.info["energy_error_mev_per_atom"] = float(energy[row]) * MILLI
        frame.arrays |= {"REF_forces": reference.forces[row], "model_forces": found.forces[row]}
        chosen.append(frame)
    return chosen
