"""The images of a band and how each was computed, in whichever layout of whichever code they lie on a disk."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from mlff_probes.cases.convergence import LOGS, logs_beside, mark_unconverged
from mlff_probes.cases.files import read_frames, sliced
from mlff_probes.cases.importers.codes import cp2k_structures, documents, espresso_neb
from mlff_probes.cases.importers.codes.stated import Settings
from mlff_probes.cases.importers.image_order import by_name
from mlff_probes.cases.importers.settings import read_settings, settings_of_each
from mlff_probes.core.errors import InputError

IMAGE_FILES = ("OUTCAR", "vasprun.xml", "CONTCAR", "POSCAR")
"""What is read in each numbered folder of a band, the first that is there (or its ``.gz``): results, then geometry."""

INPUTS = (".in", ".inp", ".pwi")
"""Suffixes of what a code was given, which holds no results."""

OTHERS = (".upf", ".psml", ".psp8", ".restart", ".wfn", ".sh", ".slurm", ".job", ".py", ".png", ".pdf", ".md")
"""Suffixes, in small letters, of what lies beside structures and holds none."""

FEWEST_IMAGES = 3
"""A trajectory of an optimiser holds bands of at least so many images, one behind the other."""

SAME_A = 1e-6


@dataclass(frozen=True)
class Image:
    """One image: its structure with energy and forces, what it was read from, and how it was computed."""

    atoms: Atoms
    name: str
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Band:
    """The images of a band.

    Attributes
    ----------
    images
        In the order of the path, if that is known.
    ordered
        Whether it is: by their names, or since they stand in one file.
    nudged
        Whether a nudged elastic band made them.
    notes
        What a reader must know of how they were found.
    """

    images: tuple[Image, ...]
    ordered: bool = True
    nudged: bool = False
    notes: tuple[str, ...] = ()


def band_exists(path: Path) -> bool:
    """Whether `path`, which may end in ``@slice`` as ASE writes it, is there to be read."""
    return path.exists() or ("@" in path.name and _without_slice(path)[0].exists())


def is_bare_band(path: Path) -> bool:
    """Whether `path` is a band as a code left it, rather than a directory of cases: nothing in it is read."""
    if not path.is_dir():
        return path.is_file() and path.suffix != ".toml"
    entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
    if any(entry.suffix == ".toml" for entry in [*entries, *path.glob("*/*.toml")]):
        return False
    numbered = [entry for entry in entries if entry.is_dir() and re.search(r"\d", entry.name)]
    files = [entry for entry in entries if entry.is_file()]
    of_codes = espresso_neb.bands(entries) or cp2k_structures.bands(entries)
    return len(numbered) > 1 or bool(of_codes or (files and not [entry for entry in entries if entry.is_dir()]))


def read_images(sources: Sequence[Path]) -> Band:
    """The images of a band.

    Parameters
    ----------
    sources
        One path, or one file an image. A path is a file with all images (extxyz, trajectory, database, whatever ASE
        reads; ``neb.traj@-7:`` for the last seven; a document of pymatgen or of atomate2; a ``.path`` of ``neb.x``), a
        folder with one such file or with a band of ``neb.x`` or CP2K, a folder with one file an image, or a folder
        with numbered folders 00, 01, … as VASP's tools lay them out.

    Raises
    ------
    InputError
        If there is nothing to read, or it cannot be read.
    """
    if len(sources) > 1:
        return _a_file_an_image(list(sources), sources[0].parent)
    (path,) = sources
    if not path.is_dir():
        return _band_file(path)
    entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
    if paths := espresso_neb.bands(entries):
        return _band_of_a_code(espresso_neb.read_band(paths[0]), paths, path)
    if replicas := cp2k_structures.bands(entries):
        return _band_of_a_code(cp2k_structures.read_band(replicas[0]), replicas, path)
    folders = [entry for entry in entries if entry.is_dir()]
    files = _structures([entry for entry in entries if entry.is_file()])
    numbered = [entry for entry in folders if re.search(r"\d", entry.name)]
    if len(numbered) > 1 or (numbered and not files):
        return _numbered_folders(numbered, path)
    if not files:
        raise InputError(path, "holds no image", "expected one file, a numbered file an image, or folders 00, 01, …")
    return _band_file(files[0]) if len(files) == 1 else _a_file_an_image(files, path)


def endpoint(path: Path) -> Image:
    """The last structure of an endpoint: of an output, or of the folder that holds one.

    Raises
    ------
    InputError
        If there is none.
    """
    if path.is_dir():
        return _of_folder(path)
    images = _of_file(path)
    return replace(images[-1], name=path.name)


def _band_of_a_code(images: Sequence[tuple[Atoms, Settings, str]], found: Sequence[Path], where: Path) -> Band:
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise InputError(where, f"holds {len(found)} bands ({names})", "give one of these files")
    return Band(tuple(Image(atoms, name, settings) for atoms, settings, name in images), nudged=True)


def _numbered_folders(folders: list[Path], where: Path) -> Band:
    plain = [folder for folder in folders if folder.name.isdecimal()]
    left_out = [folder.name for folder in folders if folder not in plain] if len(plain) > 1 else []
    folders = plain if left_out else folders
    ordered = by_name(folders, where)
    notes = (f"Folders that were left out: {', '.join(left_out)}.",) if left_out else ()
    return Band(tuple(map(_of_folder, ordered or folders)), ordered=ordered is not None, nudged=True, notes=notes)


def _a_file_an_image(files: list[Path], where: Path) -> Band:
    ordered = by_name(files, where)
    images = []
    for file in ordered or files:
        found = _of_file(file)
        if len(found) > 1 and not found[-1].settings.code:  # of an output the last ionic step counts
            raise InputError(
                where, f"{file.name} holds several images beside other files", "keep one file, or one each"
            )
        images.append(replace(found[-1], name=file.name))
    return Band(tuple(images), ordered=ordered is not None)


def _band_file(path: Path) -> Band:
    if not path.exists() and "@" in path.name:
        file, index = _without_slice(path)
        read_frames(file)  # says that it is not there, or what is wrong with it
        images = _of_file(file)
        numbers = {id(image.atoms): image for image in images}
        return Band(tuple(numbers[id(atoms)] for atoms in sliced([image.atoms for image in images], index, path)))
    if not path.exists():
        raise InputError(path, f"there is no such band (looked from {Path.cwd()})")
    if espresso_neb.bands([path]):
        return _band_of_a_code(espresso_neb.read_band(path), [path], path)
    return _last_band(Band(tuple(_as_numbered(_of_file(path))), nudged=".json" in path.suffixes))


def _as_numbered(images: list[Image]) -> list[Image]:
    """The images in the order that their frames state as `image`, if all do and no two are the same."""
    numbers = [image.atoms.info.get("image") for image in images]
    if any(not isinstance(number, int | np.integer) for number in numbers) or len(set(numbers)) < len(numbers):
        return images
    return sorted(images, key=lambda image: int(image.atoms.info["image"]))


def _last_band(band: Band) -> Band:
    """Of a trajectory into which an optimiser wrote one band behind the other the last one.

    Their first images are the same, since the ends of a band do not move.
    """
    frames = [image.atoms for image in band.images]
    same = [index for index in range(len(frames)) if _same_place(frames[0], frames[index])]
    length = same[1] if len(same) > 1 else 0
    repeats = length and len(frames) % length == 0 and same == list(range(0, len(frames), length))
    if not repeats or length < FEWEST_IMAGES or not _same_place(frames[length - 1], frames[-1]):
        return band
    note = (
        f"The last of {len(frames) // length} bands of {length} images, which an optimiser wrote one behind the other."
    )
    return replace(band, images=band.images[-length:], nudged=True, notes=(note,))


def _same_place(one: Atoms, two: Atoms) -> bool:
    return len(one) == len(two) and bool(np.abs(one.positions - two.positions).max() < SAME_A)


def _of_file(file: Path) -> list[Image]:
    """All structures in one file, each with the settings that it, or an output beside it, states."""
    if documents.is_document(file):
        return [Image(atoms, f"image {index}", said) for index, (atoms, said) in enumerate(documents.read(file))]
    frames = cp2k_structures.read_any(file)
    settings = settings_of_each(file, len(frames))
    if not any(each.compared for each in settings):
        beside = [found for output in logs_beside(file) if (found := read_settings(output)).compared]
        settings = [*beside[:1] * len(frames)] or settings
    pairs = enumerate(zip(frames, settings, strict=True))
    return [Image(frame, f"image {index}", said) for index, (frame, said) in pairs]


def _of_folder(folder: Path) -> Image:
    """The last structure in the folder of an image, with whether it converged."""
    files = [entry for entry in sorted(folder.iterdir()) if entry.is_file() and not entry.name.startswith(".")]
    file = _image_file(folder, files)
    image = _of_file(file)[-1]
    logs = [log for log in files if log != file and _suffix(log) in LOGS]
    for log in logs:
        mark_unconverged([image.atoms], log, last=True)
    said = [image.settings, *map(read_settings, logs)]
    settings = next((each for each in said if each.compared), Settings())
    image.atoms.info["taken_from"] = f"{folder.name}/{file.name}"
    return Image(image.atoms, f"{folder.name}/{file.name}", settings)


def _image_file(folder: Path, files: list[Path]) -> Path:
    names = [name for known in IMAGE_FILES for name in (known, f"{known}.gz")]
    found = [file for name in names if (file := folder / name).is_file() and file.stat().st_size]
    others = _structures(files)
    if found:
        return found[0]
    if len(others) == 1:
        return others[0]
    raise InputError(folder, "holds no image", f"expected one of {', '.join(IMAGE_FILES)}, or a single file")


def _without_slice(path: Path) -> tuple[Path, str]:
    name, _, index = path.name.rpartition("@")
    return path.with_name(name or path.name), index


def _structures(files: list[Path]) -> list[Path]:
    """The files that hold structures, each once: not what a code was given, what it printed only if nothing else is."""
    unpacked = [file for file in files if file.suffix != ".gz" or file.with_suffix("") not in files]
    results = [file for file in unpacked if _suffix(file) not in INPUTS and _suffix(file).lower() not in OTHERS]
    return [file for file in results if _suffix(file) not in LOGS] or results or files


def _suffix(file: Path) -> str:
    return Path(file.name.removesuffix(".gz")).suffix
