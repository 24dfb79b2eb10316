"""CP2K, whose output ASE does not read: single points, and the replicas of a band."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.units import Bohr, GPa, Hartree
from numpy.typing import NDArray

from mlff_probes.cases.convergence import PEEK, mark_unconverged, opened
from mlff_probes.cases.files import read_frames
from mlff_probes.cases.importers.codes.stated import Settings
from mlff_probes.core.errors import InputError

Floats = NDArray[np.float64]

REPLICA = re.compile(r"(.+)-pos-Replica_nr_(\d+)-1\.xyz")
SAME_HARTREE = 1e-8
"""Two energies of one structure, Hartree: the trajectory carries ten decimals."""

NUMBER = r"(-?\d\.?\d*(?:[ED][-+]\d+)?|-?\d+\.\d+)"
"""A number, as CP2K prints it."""


class Step(NamedTuple):
    """One evaluation in an output: energy (Hartree), forces (Hartree/Bohr) and stress (GPa), if they are printed."""

    energy: float
    forces: Floats | None
    stress: Floats | None


def is_output(file: Path) -> bool:
    """Whether a file is what CP2K printed."""
    if not file.is_file():
        return False
    try:
        with opened(file) as handle:
            return re.search(r"^ CP2K\|", handle.read(PEEK), re.MULTILINE) is not None
    except (OSError, EOFError):
        return False


def read_any(file: Path) -> list[Atoms]:
    """The structures of a file: `read_output` of what CP2K printed, else what ASE reads.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    return read_output(file) if is_output(file) else read_frames(file)


def read_output(file: Path) -> list[Atoms]:
    """The structure of a single point with its energy (eV), forces (eV/A) and stress (eV/A^3, ASE's sign).

    Raises
    ------
    InputError
        If the output holds no structure, or several, whose places it does not tell.
    """
    with opened(file) as handle:
        text = handle.read()
    found = steps(text)
    if len(found) != 1:
        raise InputError(
            file,
            f"holds {len(found)} energies, and no places of the atoms but the first",
            "give PROJECT-pos-1.xyz of a relaxation, with this output beside it" if found else "finish that run",
        )
    cell = _cell(text)
    rows = re.findall(r"^\s+\d+\s+\d+\s+([A-Z][a-z]?)\s+\d+((?:\s+-?\d+\.\d+){3})", text, re.MULTILINE)
    if cell is None or not rows:
        raise InputError(file, "holds no cell or no places of the atoms", "run CP2K with PRINT_LEVEL MEDIUM")
    atoms = Atoms(
        [symbol for symbol, _ in rows], positions=[list(map(float, xyz.split())) for _, xyz in rows], cell=cell,
        pbc=_periodic(text),
    )  # fmt: skip
    _with_results(atoms, found[0])
    mark_unconverged([atoms], file)
    return [atoms]


def bands(entries: Sequence[Path]) -> list[Path]:
    """The first replica of each band among some files."""
    found = [(match, entry) for entry in entries if (match := REPLICA.fullmatch(entry.name))]
    return [entry for match, entry in found if int(match[2]) == 1]


def read_band(first: Path) -> list[tuple[Atoms, Settings, str]]:
    """The last replicas of a band with energies (eV) and forces (eV/A, if printed), and what each is called.

    Cell and settings are those of the restart file, which is a whole input, or of the input or output.

    Raises
    ------
    InputError
        If a replica or the cell is missing.
    """
    from mlff_probes.cases.importers.settings import read_settings  # which knows the codes

    match = REPLICA.fullmatch(first.name)
    assert match is not None
    project = match[1]
    replicas: dict[int, Path] = {}
    for file in first.parent.glob(f"{project}-pos-Replica_nr_*-1.xyz"):
        if replica := REPLICA.fullmatch(file.name):
            replicas[int(replica[2])] = file
    if absent := sorted(set(range(1, max(replicas) + 1)) - set(replicas)):
        raise InputError(first.parent, f"replica {absent[0]} of the band is missing")
    texts = [(file, _text(file)) for file in _inputs(first.parent, project)]
    cell = next((cell for _, text in texts if (cell := _cell(text)) is not None), None)
    if cell is None:
        raise InputError(first.parent, "the cell of the band is not there", f"bring {project}-1.restart back")
    said = [found for file, _ in texts if (found := read_settings(file)).functional]
    held, periodic = _held(texts[0][1]), _periodic(texts[0][1])
    images = []
    for number, file in sorted(replicas.items()):
        atoms = read_frames(file, format="extxyz")[-1]
        energy = float(atoms.info.pop("E"))
        atoms.info.clear()
        atoms.set_cell(cell)
        atoms.pbc = periodic
        atoms.set_constraint(held)
        _with_results(atoms, _step_of(first.parent, project, number, energy))
        images.append((atoms, said[0] if said else Settings(), f"replica {number}"))
    return images


def _step_of(folder: Path, project: str, number: int, energy: float) -> Step:
    """The evaluation of a replica in the output of its own that has this energy, Hartree; none but the energy else."""
    for output in sorted(folder.glob(f"{project}-BAND*{number}.out")):
        if re.fullmatch(rf"{re.escape(project)}-BAND0*{number}\.out", output.name):
            for step in reversed(steps(_text(output))):
                if abs(step.energy - energy) < SAME_HARTREE:
                    return step
    return Step(energy, None, None)


def _inputs(folder: Path, project: str) -> list[Path]:
    """What may tell cell and settings of a band: the restart file first, then inputs and outputs."""
    names = [folder / f"{project}-1.restart", *sorted(folder.glob("*.inp")), *sorted(folder.glob("*.out"))]
    return [file for file in names if file.is_file()]


def steps(text: str) -> list[Step]:
    """The evaluations in an output, in order."""
    found = []
    parts = re.split(r"ENERGY\| Total FORCE_EVAL.*?:\s*", text)
    for part in parts[1:]:
        energy = float(part.split(None, 1)[0])
        block = re.search(r"ATOMIC FORCES in \[a\.u\.\](.*?)SUM OF ATOMIC FORCES", part, re.DOTALL)
        rows = re.findall(rf"^\s+\d+\s+\d+\s+\w+\s+{NUMBER}\s+{NUMBER}\s+{NUMBER}\s*$", block[1] if block else "", re.M)
        tensor = re.findall(rf"^ STRESS\|\s+[xyz]\s+{NUMBER}\s+{NUMBER}\s+{NUMBER}\s*$", part, re.MULTILINE)[:3]
        in_gpa = re.search(r"STRESS\| \w+ stress tensor \[GPa\]", part) is not None
        stress = np.array(tensor, dtype=float) if len(tensor) == 3 and in_gpa else None
        found.append(Step(energy, np.array(rows, dtype=float) if rows else None, stress))
    return found


def _with_results(atoms: Atoms, step: Step) -> None:
    """Give a structure what was computed for it, in eV and A; CP2K's stress is the pressure with its sign."""
    results: dict[str, object] = {"energy": step.energy * Hartree}
    if step.forces is not None and len(step.forces) == len(atoms):
        results["forces"] = step.forces * Hartree / Bohr
    if step.stress is not None:
        results["stress"] = -step.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] * GPa
    atoms.calc = SinglePointCalculator(atoms, **results)


def _cell(text: str) -> Floats | None:
    """The cell that an output, an input or a restart file states, A, rows are vectors."""
    printed = re.findall(r"CELL\| Vector [abc] \[angstrom\]:\s+(\S+)\s+(\S+)\s+(\S+)\s+\|[abc]\| =\s+(\S+)", text)[:3]
    if len(printed) == 3:  # lengths have more decimals than vectors
        rows = np.array(printed, dtype=float)
        cell: Floats = rows[:, :3] * (rows[:, 3] / np.linalg.norm(rows[:, :3], axis=1))[:, None]
        return cell
    vectors = re.findall(r"^\s*[ABC]\s+(-?\d\S*)\s+(-?\d\S*)\s+(-?\d\S*)\s*$", text, re.MULTILINE)[:3]
    if len(vectors) == 3:
        return np.array(vectors, dtype=float)
    lengths = re.search(r"^\s*ABC\s+(?:\[angstrom\]\s+)?(\S+)\s+(\S+)\s+(\S+)\s*$", text, re.MULTILINE | re.IGNORECASE)
    angles = re.search(r"^\s*ALPHA_BETA_GAMMA\s", text, re.MULTILINE | re.IGNORECASE)
    return np.diag(np.array(lengths.groups(), dtype=float)) if lengths and not angles else None


def _held(text: str) -> list[FixAtoms]:
    """The atoms that ``FIXED_ATOMS`` of an input or a restart file holds."""
    block = re.search(r"&FIXED_ATOMS(.*?)&END", text, re.DOTALL | re.IGNORECASE)
    atoms: list[int] = []
    for words in re.findall(r"^\s*LIST\s+(.+)$", block[1] if block else "", re.MULTILINE | re.IGNORECASE):
        for word in words.split():
            first, _, last = word.partition("..")
            atoms += range(int(first) - 1, int(last or first))
    return [FixAtoms(atoms)] if atoms else []


def _periodic(text: str) -> list[bool]:
    said = re.search(r"CELL\| Periodicity\s+(\w+)", text) or re.search(r"^\s*PERIODIC\s+(\w+)", text, re.MULTILINE)
    return [axis in (said[1] if said else "XYZ") for axis in "XYZ"]


def _text(file: Path) -> str:
    with opened(file) as handle:
        return handle.read()
