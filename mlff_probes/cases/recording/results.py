"""What came back from a cluster, each result put to the frame that it is of by the manifest and by its geometry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from mlff_probes.cases.files import read_frames
from mlff_probes.cases.importers.codes import cp2k_structures
from mlff_probes.cases.importers.codes.stated import Settings
from mlff_probes.cases.importers.settings import common_settings, read_settings
from mlff_probes.cases.recording.inputs import InputFolder, Manifest
from mlff_probes.cases.recording.journal import Point
from mlff_probes.cases.recording.lacking import Recordable
from mlff_probes.cases.recording.points import converged, hashes, more, rows
from mlff_probes.core.errors import EvaluationError, InputError
from mlff_probes.core.structures import renumbered

NAMES = {"vasp": "VASP", "espresso": "Quantum ESPRESSO", "cp2k": "CP2K"}
"""What each code calls itself in its output."""

SAME_A = 2e-3
"""How far cell vectors and atoms of a result may be from those of its frame, A: OUTCAR and pw.x print some decimals."""


def collected(case: Recordable, manifest: Manifest, directory: Path) -> Iterator[tuple[int, Point | str]]:
    """The results in the folders of a manifest: the frame that each is of, and its values or why it has none.

    Raises
    ------
    InputError
        If the case has other frames than when the inputs were written, a folder holds the result of another frame, or
        the results were computed with different settings.
    """
    numbers = {case.hash(index): index for index in reversed(range(len(case.frames)))}
    found: dict[str, tuple[int, Atoms, Settings]] = {}
    for entry in manifest.folders:
        folder = directory / entry.folder
        if entry.structure not in numbers:
            raise InputError(folder, f"its input is of {entry.frame}, which the case has no more", "write inputs anew")
        index = numbers[entry.structure]
        try:
            atoms, settings = _result(folder, manifest.code, entry)
            _check_geometry(case, index, atoms, folder)
        except EvaluationError as error:
            yield index, str(error)
        else:
            found[entry.folder] = index, atoms, settings
    common_settings({folder: settings for folder, (_, _, settings) in found.items()}, directory)
    for name, (index, atoms, settings) in found.items():
        yield index, _point(case, index, atoms, settings, directory / name)


def _result(folder: Path, code: str, entry: InputFolder) -> tuple[Atoms, Settings]:
    """The structure in the output of a code with what was computed, its atoms in the order of the case."""
    files = sorted(folder.rglob("*")) if folder.is_dir() else []
    said = [(file, settings) for file in files if file.is_file() and (settings := read_settings(file)).version]
    outputs = [(file, settings) for file, settings in said if settings.code == NAMES[code]]
    if not outputs:
        raise EvaluationError(f"{folder.name} holds no output of {NAMES[code]}")
    converged(folder, None, entry.frame)
    file, settings = outputs[0]
    try:
        atoms = (cp2k_structures.read_output(file) if code == "cp2k" else read_frames(file))[-1]
    except InputError as error:
        raise EvaluationError(str(error)) from error
    if atoms.calc is None or "energy" not in atoms.calc.results:
        raise EvaluationError(f"{folder.name}/{file.name} holds no energy")
    if len(atoms) != len(entry.order):
        raise InputError(file, f"holds {len(atoms)} atoms, {entry.frame} has {len(entry.order)}")
    return renumbered(atoms, [int(i) for i in np.argsort(entry.order)]), settings


def _check_geometry(case: Recordable, index: int, atoms: Atoms, folder: Path) -> None:
    """Refuse the result of another structure; say of which, if the case has it."""
    if same_place(atoms, case.frames[index]):
        return
    other = next((i for i, frame in enumerate(case.frames) if same_place(atoms, frame)), None)
    what = "another structure than its frame has" if other is None else f"the structure of {case.name(other)}"
    raise InputError(folder, f"holds {what}, its input is of {case.name(index)}", "compute that input as it is")


def same_place(one: Atoms, two: Atoms) -> bool:
    """Whether two structures have the same atoms in the same places of the same cell, but for lattice vectors."""
    if list(one.numbers) != list(two.numbers) or not np.allclose(one.cell.array, two.cell.array, atol=SAME_A):
        return False
    moved, _ = find_mic(one.positions - two.positions, two.cell, two.pbc)
    return bool(np.abs(moved).max() < SAME_A)


def _point(case: Recordable, index: int, atoms: Atoms, settings: Settings, folder: Path) -> Point:
    forces = atoms.calc.results.get("forces")
    return Point(
        structure=case.hash(index),
        energy=float(atoms.calc.results["energy"]),
        forces=None if forces is None else rows(forces),
        code=f"{settings.code} {settings.version}".strip(),
        converged=converged(folder, None, case.name(index)),
        level_of_theory=settings.level or None,
        settings=settings.compared,
        inputs=hashes(folder),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        **more(atoms.calc.results, len(atoms)),
    )
