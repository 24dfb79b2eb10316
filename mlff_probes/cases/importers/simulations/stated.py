"""A simulation of another code: its frames, and what is known of how they were made."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.cases.importers.codes.stated import Settings
from mlff_probes.methods.simulation.settings import Ensemble

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Simulated:
    """What was read of a simulation; None and empty for what the files do not say.

    Attributes
    ----------
    frames
        In the order of the file, with energies, forces and velocities as far as there are any.
    times_fs
        Time of each frame, fs, shape (n_frames,).
    steps
        Number of the step at which each frame was written, shape (n_frames,): times, once the timestep is known.
    numbers
        Number that the file gives each frame, shape (n_frames,), where nobody says how many steps lie between two.
    timestep_fs
        One step of the integrator, fs.
    temperature, last_temperature
        That the thermostat was set to, K, or that of the start; and to which it was taken in the end.
    ensemble
        Which quantities were kept.
    settings
        How the forces were computed.
    """

    frames: list[Atoms]
    times_fs: Floats | None = None
    steps: Floats | None = None
    numbers: Floats | None = None
    timestep_fs: float | None = None
    temperature: float | None = None
    last_temperature: float | None = None
    ensemble: Ensemble | None = None
    settings: Settings = field(default_factory=Settings)
