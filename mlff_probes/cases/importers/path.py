"""A user's own migration band, a folder or a file of images, as a case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ase import Atoms

from mlff_probes.cases.convergence import LOGS, mark_unconverged
from mlff_probes.cases.files import read_frames, sliced
from mlff_probes.cases.frames import CaseFrames, stored_evaluation
from mlff_probes.cases.labels import how_to_map
from mlff_probes.cases.load import CaseFile, ExpectationTable, ReferenceTable, build_case
from mlff_probes.cases.tolerances import Policy, load_policy
from mlff_probes.core.case import Case
from mlff_probes.core.errors import InputError
from mlff_probes.core.protocol import ENERGY, LabelKeys
from mlff_probes.core.records import NOT_STATED
from mlff_probes.core.structures import copied
from mlff_probes.measure.migration.atom_order import numbered_alike
from mlff_probes.measure.migration.path_problems import path_problem
from mlff_probes.measure.migration.protocols import STANDS_OUT, FixedPath, prominence
from mlff_probes.methods.bands.steps import ways

IMAGE_FILES = ("OUTCAR", "vasprun.xml", "CONTCAR", "POSCAR")
"""What is read in each numbered folder of a band, the first that is there (or its ``.gz``): results, then geometry."""

INPUTS = (".in", ".inp", ".pwi")
"""Suffixes of what a code was given, which holds no results."""

WITHOUT_REFERENCE = ("barrier", "reverse_barrier", "reaction_energy", "saddle_position")


@dataclass(frozen=True)
class Stated:
    """What a user says of a band.

    Attributes
    ----------
    material
        Formula.
    migrating_atom
        Counted from 0; None for the atom that moves farthest.
    level_of_theory, uncertainty_ev
        Of the stored energies; None where they are not stated, which a note then says. An uncertainty that
        is not stated is taken as zero.
    labels
        Under which names energies and forces are stored.
    reorder_atoms
        Whether atoms that are numbered in another order in some images are mapped (see `PathFrames`).
    """

    material: str | None = None
    migrating_atom: int | None = None
    level_of_theory: str | None = None
    uncertainty_ev: float | None = None
    labels: LabelKeys = field(default_factory=LabelKeys)
    reorder_atoms: bool | None = None


def band_exists(path: Path) -> bool:
    """Whether `path`, which may end in ``@slice`` as ASE writes it, is there to be read."""
    return path.exists() or ("@" in path.name and _without_slice(path)[0].exists())


def read_band(path: Path) -> list[Atoms]:
    """The images of a band, in order.

    Parameters
    ----------
    path
        A file with all images (extxyz, trajectory, whatever ASE reads; ``neb.traj@-7:`` for the last seven), a
        folder with one such file, a folder with one numbered file an image, or a folder with numbered folders
        00, 01, … as VASP's tools lay them out.

    Raises
    ------
    InputError
        If there is nothing to read, it cannot be read, or the order of the images is not clear.
    """
    if not path.is_dir():
        return _band_file(path)
    entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
    folders = [entry for entry in entries if entry.is_dir()]
    files = _structures([entry for entry in entries if entry.is_file()])
    numbered = [entry for entry in folders if re.search(r"\d", entry.name)]
    if len(numbered) > 1 or (numbered and not files):
        return [_image(folder) for folder in _in_order(numbered, path)]
    if not files:
        raise InputError(path, "holds no image", "expected one file, a numbered file an image, or folders 00, 01, …")
    if len(files) == 1:
        return read_frames(files[0])
    found = [(file, read_frames(file)) for file in _in_order(files, path)]
    for file, frames in found:
        if len(frames) > 1:
            raise InputError(path, f"{file.name} holds several images beside other files", "keep one file, or one each")
    return [frames[0] for _, frames in found]


def band_case(
    images: Sequence[Atoms], name: str, *, where: Path, stated: Stated | None = None, policy: Policy | None = None
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
    stated
        What the user says of the band.

    Raises
    ------
    InputError
        If the images do not form a path.
    """
    stated, policy = stated or Stated(), policy or load_policy()
    frames = list(map(copied, images))
    for index, (frame, image) in enumerate(zip(frames, images, strict=True)):
        frame.info["image"], frame.calc = index, image.calc
    frames, changed = numbered_alike(frames) if stated.reorder_atoms and frames else (frames, ())
    protocol = _protocol(frames, where, stated)
    stored, notes = stored_evaluation(frames, where, stated.labels)
    read = CaseFrames(tuple(frames), stored, (*changed, *protocol.frame_notes(frames), *notes))
    judged, reported = _quantities(protocol, read, stated, policy)
    table = CaseFile(
        schema_version=1,
        title=f"{name}: {len(frames)} images, {frames[0].symbols[protocol.migrating_atom]} moves",
        material=stated.material,
        tier="quick",
        protocol=protocol,
        reference=ReferenceTable(level_of_theory=stated.level_of_theory or NOT_STATED, source=str(where)),
        expectation=tuple(
            ExpectationTable(quantity=q, unit=protocol.quantities[q], uncertainty=_uncertainty(protocol, q, stated))
            for q in judged
        ),
        report=reported,
        notes=_notes(frames, judged, stated, policy),
    )
    id = re.sub(r"[^A-Za-z0-9_.+]+", "_", name).strip("_.+") or "band"
    return build_case(where, id, table, read, policy=policy)


def _protocol(frames: list[Atoms], where: Path, stated: Stated) -> FixedPath:
    sizes = sorted({len(frame) for frame in frames})
    if len(frames) < 2:
        raise InputError(where, f"a band needs at least 2 images, found {len(frames)}")
    if len(sizes) > 1:
        raise InputError(where, f"the images of a band need the same atoms, found {sizes} atoms")
    atom = farthest_moving(frames) if stated.migrating_atom is None else stated.migrating_atom
    if not 0 <= atom < sizes[0]:
        raise InputError(where, f"migrating_atom = {atom}, but an image has {sizes[0]} atoms")
    keys = stated.labels.model_dump()
    protocol = FixedPath(
        kind="fixed_path", migrating_atom=atom, path_made_by=NOT_STATED, reorder_atoms=stated.reorder_atoms, **keys
    )
    if problem := path_problem(frames, atom, stated.reorder_atoms):
        several = " (of a trajectory that holds several iterations of a band, give the last images: FILE@-7:)"
        raise InputError(where, problem.reason + (several if problem.repeated_image else ""))
    return protocol


def _quantities(
    protocol: FixedPath, read: CaseFrames, stated: Stated, policy: Policy
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What can be judged of a band, and what is only reported."""
    if read.stored is None:
        return (), WITHOUT_REFERENCE
    flat = prominence(read.stored.energies) <= STANDS_OUT * (stated.uncertainty_ev or 0.0)
    judged: list[str] = []
    reported: list[str] = []
    for quantity in protocol.quantities:
        tolerance = policy.tolerance(protocol.family, quantity, None)
        if ("force" in quantity and read.stored.forces is None) or (quantity == "saddle_position" and flat):
            continue
        fine = tolerance is not None and tolerance.value < _uncertainty(protocol, quantity, stated)
        (reported if fine else judged).append(quantity)
    if "barrier" not in judged and "saddle_position" in judged:
        judged.remove("saddle_position")  # its uncertainty is judged by that of the barrier
    return tuple(judged), tuple(reported)


def _uncertainty(protocol: FixedPath, quantity: str, stated: Stated) -> float:
    return (stated.uncertainty_ev or 0.0) if protocol.quantities[quantity] == ENERGY else 0.0


def farthest_moving(frames: Sequence[Atoms]) -> int:
    """The atom with the longest way from the first image to any other, by minimum image, whatever all atoms drift."""
    return int(ways(frames).argmax())


def _notes(frames: list[Atoms], judged: tuple[str, ...], stated: Stated, policy: Policy) -> tuple[str, ...]:
    found = []
    if not judged and frames[0].calc is None:
        return (f"The images carry no energies, so that nothing is judged ({how_to_map(frames)}).",)
    if stated.uncertainty_ev is None:
        found.append("The uncertainty of the stored energies is not stated and taken as zero.")
    elif "barrier" not in judged:
        tolerance = policy.tolerance("migration", "barrier", None)
        assert tolerance is not None
        found.append(
            f"Energies that are known to {stated.uncertainty_ev:g} eV are not judged within {tolerance.value:g} eV: "
            "they are reported. Wider tolerances of your own judge them."
        )
    if stated.level_of_theory is None:
        found.append("The level of theory of the stored energies is not stated and taken as the calculator's.")
    return tuple(found)


def _band_file(path: Path) -> list[Atoms]:
    if path.exists() or "@" not in path.name:
        if not path.exists():
            raise InputError(path, f"there is no such band (looked from {Path.cwd()})")
        return read_frames(path)
    file, index = _without_slice(path)
    return sliced(read_frames(file), index, path)


def _without_slice(path: Path) -> tuple[Path, str]:
    name, _, index = path.name.rpartition("@")
    return path.with_name(name or path.name), index


def _in_order(entries: list[Path], where: Path) -> list[Path]:
    """Entries whose names differ in one whole number that counts without a gap, in its order."""
    if len(entries) < 2:
        return entries
    split = [re.split(r"(\d+)", entry.name) for entry in entries]
    differing = [
        place for place in range(len(split[0])) if len({tuple(parts[place : place + 1]) for parts in split}) > 1
    ]
    alike = len({len(parts) for parts in split}) == 1 and len(differing) <= 1
    if alike and differing and differing[0] % 2:  # odd places hold the numbers
        numbers = [int(parts[differing[0]]) for parts in split]
        if sorted(numbers) == list(range(min(numbers), min(numbers) + len(numbers))):
            return [entry for _, entry in sorted(zip(numbers, entries, strict=True))]
    names = ", ".join(entry.name for entry in entries[:4]) + (", …" if len(entries) > 4 else "")
    raise InputError(
        where,
        f"the order of the images is not clear from their names ({names})",
        "call them image_0, image_1, … without a gap, and move other files away",
    )


def _image(folder: Path) -> Atoms:
    """The last structure in the folder of an image, with where it was found and whether it converged."""
    files = [entry for entry in sorted(folder.iterdir()) if entry.is_file() and not entry.name.startswith(".")]
    file = _image_file(folder, files)
    image = read_frames(file)[-1]
    for log in files:
        if log != file and _suffix(log) in LOGS:
            mark_unconverged([image], log, last=True)
    image.info["taken_from"] = f"{folder.name}/{file.name}"
    return image


def _image_file(folder: Path, files: list[Path]) -> Path:
    names = [name for known in IMAGE_FILES for name in (known, f"{known}.gz")]
    found = [file for name in names if (file := folder / name).is_file() and file.stat().st_size]
    others = _structures(files)
    if found:
        return found[0]
    if len(others) == 1:
        return others[0]
    raise InputError(folder, "holds no image", f"expected one of {', '.join(IMAGE_FILES)}, or a single file")


def _structures(files: list[Path]) -> list[Path]:
    """The files that hold structures, each once: not what a code was given, what it printed only if nothing else is."""
    unpacked = [file for file in files if file.suffix != ".gz" or file.with_suffix("") not in files]
    results = [file for file in unpacked if _suffix(file) not in INPUTS]
    return [file for file in results if _suffix(file) not in LOGS] or results or files


def _suffix(file: Path) -> str:
    return Path(file.name.removesuffix(".gz")).suffix
