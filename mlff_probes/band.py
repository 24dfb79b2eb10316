"""A user's own migration band, a folder or a file of images, as a case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from mlff_probes.errors import InputError
from mlff_probes.frames import read_frames, stored_evaluation
from mlff_probes.measure.migration import prominence
from mlff_probes.protocols import FixedPath
from mlff_probes.records import NOT_STATED, Case
from mlff_probes.reference import CaseFile, ExpectationTable, ReferenceTable, build_case
from mlff_probes.tolerances import Policy, load_policy

IMAGE_FILES = ("OUTCAR", "vasprun.xml", "CONTCAR", "POSCAR")
"""What is read in each numbered folder of a band, the first that is there: results before mere geometry."""

JUDGED = ("barrier", "reverse_barrier", "reaction_energy", "profile_mae", "saddle_position", "force_mae",
          "migrating_force_mae")  # fmt: skip
WITHOUT_REFERENCE = ("barrier", "reverse_barrier", "reaction_energy", "saddle_position")


def read_band(path: Path) -> list[Atoms]:
    """The images of a band, in order.

    Parameters
    ----------
    path
        A file with all images (extxyz, trajectory, whatever ASE reads), a folder with one such file, a folder
        with one file an image (in the order of the numbers in their names), or a folder with numbered folders
        00, 01, … as VASP's tools lay them out.

    Raises
    ------
    InputError
        If there is nothing to read, or it cannot be read.
    """
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"{path}: there is no such band (looked from {Path.cwd()})")
        return read_frames(path)
    entries = [entry for entry in sorted(path.iterdir(), key=_number) if not entry.name.startswith(".")]
    numbered = [entry for entry in entries if entry.is_dir() and entry.name.isdecimal()]
    if numbered:
        return [read_frames(_image_file(folder))[-1] for folder in numbered]
    files = [entry for entry in entries if entry.is_file()]
    if not files:
        raise InputError(f"{path}: holds no image; expected one file, a file an image, or folders 00, 01, …")
    found = [read_frames(file) for file in files]
    if len(files) == 1:
        return found[0]
    several = next((file for file, frames in zip(files, found, strict=True) if len(frames) > 1), None)
    if several is not None:
        raise InputError(f"{path}: {several.name} holds several images beside other files; keep one file, or one each")
    return [frames[0] for frames in found]


def band_case(
    images: Sequence[Atoms],
    name: str,
    *,
    where: Path,
    material: str | None = None,
    migrating_atom: int | None = None,
    level_of_theory: str | None = None,
    uncertainty_ev: float | None = None,
    policy: Policy | None = None,
) -> Case:
    """A fixed-path case of `images`, judged by policy where they carry energies, else only reported.

    Parameters
    ----------
    images
        At least two structures of the same atoms in the same order and the same cell.
    name
        What the case is called; characters that an id cannot hold are replaced.
    where
        Named in what is raised.
    migrating_atom
        Counted from 0; by default the atom that moves farthest along the path.
    level_of_theory, uncertainty_ev
        Of the stored energies; an uncertainty that is not stated is taken as zero, and a note says so.

    Raises
    ------
    InputError
        If the images are no path.
    """
    if len(images) < 2:
        raise InputError(f"{where}: a band needs at least 2 images, found {len(images)}")
    frames = [image.copy() for image in images]
    for index, (frame, image) in enumerate(zip(frames, images, strict=True)):
        frame.info["image"], frame.calc = index, image.calc
    sizes = {len(frame) for frame in frames}
    if len(sizes) > 1:
        raise InputError(f"{where}: the images of a band need the same atoms, found {sorted(sizes)} atoms")
    atom = farthest_moving(frames) if migrating_atom is None else migrating_atom
    if not 0 <= atom < len(frames[0]):
        raise InputError(f"{where}: migrating_atom = {atom}, but an image has {len(frames[0])} atoms")
    protocol = FixedPath(kind="fixed_path", migrating_atom=atom, path_made_by=NOT_STATED)
    problem = protocol.frame_problem(frames)
    if problem:
        raise InputError(f"{where}: {problem}")
    stored = stored_evaluation(frames, where)
    uncertainty = uncertainty_ev or 0.0
    judged = [] if stored is None else [name for name in JUDGED if stored.forces or "force" not in name]
    if stored is None or prominence(stored.energies) <= 2 * uncertainty:
        judged = [name for name in judged if name != "saddle_position"]
    table = CaseFile(
        schema_version=1,
        title=f"{name}: {len(frames)} images, {frames[0].symbols[atom]} moves",
        material=material,
        tier="quick",
        protocol=protocol,
        reference=ReferenceTable(level_of_theory=level_of_theory or NOT_STATED, source=str(where)),
        expectation=tuple(
            ExpectationTable(
                quantity=quantity,
                unit=protocol.quantities[quantity],
                uncertainty=uncertainty if protocol.quantities[quantity] == "eV" else 0.0,
            )
            for quantity in judged
        ),
        report=() if judged else WITHOUT_REFERENCE,
        notes=_notes(judged=bool(judged), uncertainty_ev=uncertainty_ev, level_of_theory=level_of_theory),
    )
    id = re.sub(r"[^A-Za-z0-9_.+]+", "_", name).strip("_.+") or "band"
    return build_case(where, id, table, tuple(frames), stored, policy=policy or load_policy())


def farthest_moving(frames: Sequence[Atoms]) -> int:
    """The atom with the longest way from the first image to any other, by minimum image."""
    first = frames[0]
    ways = [
        np.linalg.norm(find_mic(frame.positions - first.positions, first.cell, first.pbc)[0], axis=1)
        for frame in frames[1:]
    ]
    return int(np.argmax(np.max(ways, axis=0)))


def _notes(*, judged: bool, uncertainty_ev: float | None, level_of_theory: str | None) -> tuple[str, ...]:
    if not judged:
        return ("The images carry no energies: nothing is judged.",)
    found = []
    if uncertainty_ev is None:
        found.append("The uncertainty of the stored energies is not stated and taken as zero.")
    if level_of_theory is None:
        found.append("The level of theory of the stored energies is not stated and taken as the calculator's.")
    return tuple(found)


def _image_file(folder: Path) -> Path:
    found = [folder / name for name in IMAGE_FILES if (folder / name).is_file()]
    others = [entry for entry in sorted(folder.iterdir()) if entry.is_file() and not entry.name.startswith(".")]
    if found:
        return found[0]
    if len(others) == 1:
        return others[0]
    raise InputError(f"{folder}: holds no image; expected one of {', '.join(IMAGE_FILES)}, or a single file")


def _number(entry: Path) -> tuple[list[int], str]:
    """Sort key: the numbers in a name, so that image_10 comes after image_9."""
    return [int(number) for number in re.findall(r"\d+", entry.name)], entry.name
