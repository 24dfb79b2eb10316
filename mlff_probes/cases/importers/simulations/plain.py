"""Simulations in files that only hold frames: extxyz, trajectories and databases of ASE, whatever else ASE reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms

from mlff_probes.cases.files import read_frames
from mlff_probes.cases.importers.settings import read_settings
from mlff_probes.cases.importers.simulations.stated import Floats, Simulated

TIMES = ("time_fs", "time_in_fs")
STEPS = ("step", "md_step", "timestep_number")
"""Under which names frames state their time, or the number of their step, in `info`; ``time`` has any unit."""


def read(file: Path) -> Simulated:
    """A simulation of which a file holds frames, and may say when each was.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    frames = read_frames(file)
    return Simulated(
        frames=frames, times_fs=_numbers(frames, TIMES), steps=_numbers(frames, STEPS), settings=read_settings(file)
    )


def _numbers(frames: list[Atoms], names: tuple[str, ...]) -> Floats | None:
    for name in names:
        found = [frame.info.get(name) for frame in frames]
        if all(isinstance(each, int | float | np.number) for each in found):
            return np.array(found, dtype=float)
    return None
