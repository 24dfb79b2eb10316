"""A simulation, by whichever code wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlff_probes.cases.importers.simulations import cp2k, espresso, lammps, plain, vasp
from mlff_probes.cases.importers.simulations.stated import Simulated
from mlff_probes.core.errors import InputError


def read_simulation(source: Path, *, units: str | None = None, types: Sequence[str] = ()) -> Simulated:
    """What a source holds, by whichever code wrote it; `units` and `types` of atoms are those of a dump of LAMMPS.

    Raises
    ------
    InputError
        If there is no such file, or it cannot be read.
    """
    if not source.exists():
        raise InputError(source, f"there is no such file (looked from {Path.cwd()})")
    found = cp2k.read(source)
    if found is None and source.is_dir():
        raise InputError(source, "is a folder without a trajectory of CP2K", "name the file of the trajectory")
    if found is None:
        found = vasp.read(source) or lammps.read(source, units=units, types=types)
    if found is None:
        found = espresso.read(source) or plain.read(source)
    return found
