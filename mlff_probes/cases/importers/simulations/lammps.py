"""Dumps of LAMMPS, which say neither their units nor, mostly, their elements."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np

from mlff_probes.cases.convergence import PEEK, opened
from mlff_probes.cases.importers.simulations.stated import Simulated
from mlff_probes.core.errors import InputError, describe

MARK = "ITEM: TIMESTEP"


def read(file: Path, *, units: str | None, types: Sequence[str]) -> Simulated | None:
    """A dump of LAMMPS; None if the file is none.

    Parameters
    ----------
    file
        A text dump with positions (``x y z``, ``xs``, ``xu`` …), with velocities and forces where it has them.
    units
        As the command ``units`` of LAMMPS: ``metal``, ``real``, …
    types
        The element of each type of atom, in their order; empty where the dump has a column ``element`` or ``mass``.

    Raises
    ------
    InputError
        If units or elements are not stated, or it cannot be read.
    """
    with opened(file) as handle:
        head = handle.read(PEEK)
        if not head.lstrip().startswith(("ITEM:",)) or MARK not in head:
            return None
        steps = re.findall(rf"{MARK}\s+(\d+)", head + handle.read())
    if units is None:
        raise InputError(file, "does not say in which units it is", "say so: --units=metal")
    columns = re.search(r"ITEM: ATOMS (.*)", head)
    if not types and not {"element", "mass"} & set(columns.group(1).split() if columns else ()):
        raise InputError(file, "has types of atoms and no elements", "say which element each type is: --types=Si,O")
    try:
        with opened(file) as handle:
            frames = ase.io.read(handle, ":", format="lammps-dump-text", units=units, specorder=list(types) or None)
    except IndexError as error:
        raise InputError(file, f"has more types of atoms than --types={','.join(types)}", "name them all") from error
    except Exception as error:  # ASE's readers raise whatever a malformed line provokes
        raise InputError(file, f"cannot be read as a dump of LAMMPS ({describe(error)})") from error
    return Simulated(frames=list(frames), steps=np.array(steps, dtype=float) if len(steps) == len(frames) else None)
