"""What a trajectory that a case is compared with looks like, drawn as the simulation of a model is."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlff_probes.core.case import Case
from mlff_probes.core.records import Measurement
from mlff_probes.measure.dynamics.measurement import pictured
from mlff_probes.measure.dynamics.observables import FS_PER_PS, MOST_POINTS, Observables, thinned
from mlff_probes.measure.dynamics.protocols import MolecularDynamics
from mlff_probes.measure.dynamics.reference_dynamics import sample_of


def reference_picture(case: Case[MolecularDynamics]) -> Measurement | None:
    """Temperature, energy, g(r), displacements and vibrations of the trajectory of a case; None where it has none."""
    trajectory = None if case.dynamics is None else case.dynamics.trajectory
    if trajectory is None:
        return None
    observables, diagnostics = Observables(case.protocol, sample_of(trajectory)), dict[str, Any]()
    arrays = pictured(observables, diagnostics) | observables.arrays
    moving = observables.moving
    rows = thinned(moving.samples, MOST_POINTS)
    arrays |= {
        "time_ps": (moving.time_fs[rows] / FS_PER_PS).tolist(),
        "temperature": moving.temperatures[0, rows].tolist(),
    }
    energies = moving.energies[0] / observables.atoms
    if np.isfinite(energies).all():
        arrays["potential_energy"] = (energies - energies[0])[rows].tolist()
    return Measurement(calculator=case.level_of_theory, case=case.id, arrays=arrays, diagnostics=diagnostics)
