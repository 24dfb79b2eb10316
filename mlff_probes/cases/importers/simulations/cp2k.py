"""Molecular dynamics of CP2K: positions in PROJECT-pos-1.xyz, and all else in files beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from mlff_probes.cases.convergence import opened
from mlff_probes.cases.importers.codes.stated import Settings
from mlff_probes.cases.importers.settings import read_settings
from mlff_probes.cases.importers.simulations.stated import Simulated
from mlff_probes.core.errors import InputError, describe
from mlff_probes.methods.simulation.settings import Ensemble

Floats = NDArray[np.float64]

POSITIONS = "-pos-1.xyz"
"""How the file of positions ends, behind the name of the project."""

ENSEMBLES: dict[str, Ensemble] = {"NVE": "NVE", "NVT": "NVT", "LANGEVIN": "NVT", "NPT_I": "NPT", "NPT_F": "NPT"}
"""Of those that CP2K has: others hold or add something that a simulation here does not."""

INPUTS = ("{}-1.restart", "{}.inp", "*.inp", "*.restart", "{}.out", "*.out")
"""Where settings are looked for, beside the positions; the restart file holds the whole input."""

DECIMALS = 6
"""Of a timestep, fs: a restart file has it in atomic units and back."""

SAME_TIME_FS = 2e-3
"""Files print times with three decimals."""


def read(file: Path) -> Simulated | None:
    """A simulation of CP2K, from its positions or its folder; None where there are no positions.

    Raises
    ------
    InputError
        If the files are not of one simulation, there is no cell, or one of them cannot be read.
    """
    if file.is_dir():
        found = sorted(file.glob(f"*{POSITIONS}"))
        if len(found) > 1:
            raise InputError(file, f"holds {len(found)} trajectories of CP2K", f"name one: {found[0]}")
        if not found:
            return None
        (file,) = found
    project = file.name.removesuffix(POSITIONS)
    if project == file.name:
        return None
    frames, comments = _structures(file)
    times = _times(comments, file)
    cells = _cells(file.with_name(f"{project}-1.cell"), times, file)
    forces = _beside(file, project, "frc", times)
    velocities = _beside(file, project, "vel", times)
    energies = [re.search(r"\bE =\s*(\S+)", comment) for comment in comments]
    for row, frame in enumerate(frames):
        frame.set_cell(cells[row])
        frame.pbc = True
        if velocities is not None:
            frame.set_velocities(velocities[row] * units.Bohr / units.AUT)
        labels = {} if forces is None else {"forces": forces[row] * units.Hartree / units.Bohr}
        energy = energies[row]
        if energy is not None:
            labels |= {"energy": float(energy.group(1)) * units.Hartree}
        frame.calc = SinglePointCalculator(frame, **labels) if labels else None
    said = _input(file, project)
    return Simulated(frames=frames, times_fs=times, timestep_fs=said.timestep_fs, temperature=said.temperature,
                     ensemble=said.ensemble, settings=said.settings)  # fmt: skip


def _structures(file: Path) -> tuple[list[Atoms], list[str]]:
    """The structures of an xyz file, and the comment of each."""
    try:
        frames: Any = ase.io.read(file, ":", format="extxyz", do_not_split_by_at_sign=True)
        with opened(file) as handle:
            lines = handle.read().splitlines()
    except Exception as error:  # ASE's readers raise whatever a malformed line provokes
        raise InputError(file, f"cannot be read as xyz of CP2K ({describe(error)})") from error
    atoms = len(frames[0])
    return [_plain(frame) for frame in frames], lines[1 :: atoms + 2]


def _plain(frame: Atoms) -> Atoms:
    return Atoms(frame.get_chemical_symbols(), frame.positions)


def _times(comments: Sequence[str], file: Path) -> Floats:
    found = [re.search(r"\btime =\s*([\d.]+)", comment) for comment in comments]
    if not all(found):
        raise InputError(file, f"frame {found.index(None)} does not say its time", "give the file as CP2K wrote it")
    return np.array([float(each.group(1)) for each in found if each])


def _beside(file: Path, project: str, what: str, times: Floats) -> Floats | None:
    """Velocities or forces in their own file, shape (n_frames, n_atoms, 3), atomic units; None without one."""
    source = file.with_name(f"{project}-{what}-1.xyz")
    if not source.exists():
        return None
    frames, comments = _structures(source)
    own = _times(comments, source)
    _same_times(own, times, source, file)
    return np.array([frame.positions for frame in frames])


def _cells(source: Path, times: Floats, file: Path) -> Floats:
    """The cell at each time, A, shape (n_frames, 3, 3); that of the input where it was not printed."""
    if not source.exists():
        cell = _cell_of_input(file)
        if cell is None:
            raise InputError(file, f"there is no cell: neither {source.name} nor an input with one is beside it")
        return np.broadcast_to(cell, (len(times), 3, 3))
    with opened(source) as handle:
        table = np.loadtxt(handle, comments="#", ndmin=2)
    _same_times(table[:, 1], times, source, file)
    return np.asarray(table[:, 2:11].reshape(-1, 3, 3))


def _same_times(own: Floats, times: Floats, source: Path, file: Path) -> None:
    if len(own) != len(times) or np.abs(own - times).max() > SAME_TIME_FS:
        raise InputError(
            source,
            f"holds {len(own)} times and {file.name} {len(times)}, or others",
            "give the files of one simulation, printed equally often",
        )


@dataclass(frozen=True)
class _Input:
    timestep_fs: float | None = None
    temperature: float | None = None
    ensemble: Ensemble | None = None
    settings: Settings = field(default_factory=Settings)


def _input(file: Path, project: str) -> _Input:
    """What the input beside the positions says, or the output, which prints the same."""
    settings = Settings()
    for source in _sources(file, project):
        text = _text(source)
        settings = settings if settings.compared else read_settings(source)
        step = re.search(r"(?:TIMESTEP|MD\| Time step \[fs\])\s+(?:\[fs\]\s*)?([\d.E+-]+)", text, re.IGNORECASE)
        if step is None:
            continue
        heat = re.search(
            r"(?:^\s*TEMPERATURE|MD\| Temperature \[K\])\s+([\d.E+-]+)", text, re.IGNORECASE | re.MULTILINE
        )
        kind = re.search(r"(?:^\s*ENSEMBLE|MD\| Ensemble type)\s+(\w+)", text, re.IGNORECASE | re.MULTILINE)
        kept = ENSEMBLES.get(kind.group(1).upper()) if kind else "NVE"
        own = read_settings(source)
        settings = own if own.compared else settings
        return _Input(round(float(step.group(1)), DECIMALS), float(heat.group(1)) if heat else None, kept, settings)
    return _Input(settings=settings)


def _sources(file: Path, project: str) -> list[Path]:
    patterns = [pattern.format(project) for pattern in INPUTS]
    return list(dict.fromkeys(found for pattern in patterns for found in sorted(file.parent.glob(pattern))))


def _text(source: Path) -> str:
    try:
        with opened(source) as handle:
            return handle.read()
    except (OSError, EOFError, UnicodeDecodeError):
        return ""


def _cell_of_input(file: Path) -> Floats | None:
    """The cell that an input states in A: ABC with right angles, or its vectors."""
    for source in _sources(file, file.name.removesuffix(POSITIONS)):
        text = _text(source)
        abc = re.search(r"^\s*ABC\s+(?:\[angstrom\]\s*)?(\S+)\s+(\S+)\s+(\S+)\s*$", text, re.IGNORECASE | re.MULTILINE)
        if abc and "ALPHA_BETA_GAMMA" not in text.upper():
            return np.diag([float(length) for length in abc.groups()])
        rows = [re.search(rf"^\s*{name}\s+(\S+)\s+(\S+)\s+(\S+)\s*$", text, re.MULTILINE) for name in "ABC"]
        if all(rows):
            return np.array([[float(x) for x in row.groups()] for row in rows if row])
    return None
