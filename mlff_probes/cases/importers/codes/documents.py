"""Documents of pymatgen and of atomate2 or emmet (JSON): bands of structures with energies, read as plain data."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.units import GPa

from mlff_probes.cases.convergence import UNCONVERGED
from mlff_probes.cases.importers.codes import vasp
from mlff_probes.cases.importers.codes.stated import Settings
from mlff_probes.core.errors import InputError, describe

PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open}
KBAR_TO_ASE = -0.1 * GPa
"""VASP's stress in kbar is a pressure: ASE's has the other sign."""


def is_document(file: Path) -> bool:
    """Whether a file may be such a document: ASE's own JSON is a database."""
    return file.name.removesuffix(".gz").removesuffix(".bz2").endswith(".json") and _holds_structures(file)


def _holds_structures(file: Path) -> bool:
    try:
        found = _loaded(file)
    except InputError:
        return False
    return _band(found) is not None or (isinstance(found, dict) and bool(found.get("hops")))


def read(file: Path) -> list[tuple[Atoms, Settings]]:
    """The images of a band with energies (eV) and, where it has them, forces (eV/A) and settings.

    Raises
    ------
    InputError
        If the document holds no band, or another number of energies than of images.
    """
    loaded = _loaded(file)
    document = _band(loaded)
    if document is None and isinstance(loaded, dict) and loaded.get("hops"):
        raise InputError(
            file, f"holds several bands ({', '.join(loaded['hops'])})", "give each as a document of its own"
        )
    if document is None:
        raise InputError(file, "holds no band: expected 'structures' or 'images' with 'energies'")
    structures = document.get("images") or document["structures"]
    energies = document.get("energies") or []
    if len(energies) != len(structures):
        raise InputError(file, f"has {len(structures)} images, but {len(energies)} energies")
    if None in structures:
        raise InputError(file, f"image {structures.index(None)} of {len(structures)} is missing")
    runs = document.get("calculations") or []
    runs = runs if len(runs) == len(structures) else [{}] * len(structures)
    try:
        return [_image(*each, index) for index, each in enumerate(zip(structures, energies, runs, strict=True))]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(file, f"cannot be read as a band of pymatgen or atomate2 ({describe(error)})") from error


def _loaded(file: Path) -> Any:
    try:
        with PACKED.get(file.suffix, open)(file, "rt", encoding="utf-8") as handle:
            return json.load(handle)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(file, f"cannot be read as JSON ({error})") from error


def _band(found: Any) -> Mapping[str, Any] | None:
    """The part of a document that is a band: itself, what a job put out, or the only one of a list."""
    if isinstance(found, list) and len(found) == 1:
        return _band(found[0])
    if not isinstance(found, dict):
        return None
    if isinstance(hops := found.get("hops"), dict) and len(hops) == 1:  # all paths of an ion through a crystal
        return _band(next(iter(hops.values())))
    if found.get("images") or (found.get("structures") and "energies" in found):
        return found
    return _band(found["output"]) if "output" in found else None


def _image(
    structure: Mapping[str, Any], energy: float | None, run: Mapping[str, Any], index: int
) -> tuple[Atoms, Settings]:
    atoms = atoms_of(structure)
    steps: Sequence[Mapping[str, Any]] = (run.get("output") or {}).get("ionic_steps") or [{}]
    results: dict[str, Any] = {} if energy is None else {"energy": float(energy)}
    if steps[-1].get("forces"):
        results["forces"] = np.array(steps[-1]["forces"], dtype=float)
    if steps[-1].get("stress"):
        kbar = np.array(steps[-1]["stress"], dtype=float)
        results["stress"] = KBAR_TO_ASE * kbar[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    atoms.calc = SinglePointCalculator(atoms, **results)
    if _ran_out(steps[-1], run):
        atoms.info[UNCONVERGED] = f"image {index}: its electronic steps ran out before they converged"
    return atoms, _settings(run)


def _ran_out(step: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    given = (run.get("input") or {}).get("parameters") or {}
    energies = [each.get("e_fr_energy", np.nan) for each in step.get("electronic_steps") or []]
    if not energies or len(energies) < given.get("NELM", np.inf):
        return False
    return len(energies) < 2 or not abs(energies[-1] - energies[-2]) <= given.get("EDIFF", 0.0)


def _settings(run: Mapping[str, Any]) -> Settings:
    given = run.get("input") or {}
    if not given.get("parameters"):
        return Settings()
    tags = {
        name: value
        for name, value in {**(given.get("incar") or {}), **given["parameters"]}.items()
        if value is not None
    }
    if "ENMAX" in tags:
        tags["ENCUT"] = tags["ENMAX"]
    texts = {name: " ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in tags.items()}
    points = (given.get("kpoints") or {}).get("kpoints") or []
    mesh = " ".join(map(str, points[0])) if len(points) == 1 else f"{len(points)} points" if points else ""
    titles = [spec["titel"] for spec in given.get("potcar_spec") or [] if spec.get("titel")]
    return vasp.from_tags(texts, version=str(run.get("vasp_version") or ""), mesh=mesh, potentials=titles)


def atoms_of(structure: Mapping[str, Any]) -> Atoms:
    """A structure of pymatgen, without results.

    Raises
    ------
    ValueError
        If a site is shared by several elements.
    """
    sites = structure["sites"]
    if any(len(site["species"]) > 1 for site in sites):
        raise ValueError("a site is shared by several elements")
    lattice = structure["lattice"]
    atoms = Atoms(
        [site["species"][0]["element"] for site in sites],
        scaled_positions=[site["abc"] for site in sites],
        cell=lattice["matrix"],
        pbc=lattice.get("pbc", True),
    )
    moments = [(site.get("properties") or {}).get("magmom") or 0.0 for site in sites]
    if any(np.any(moments[n]) for n in range(len(moments))):
        atoms.set_initial_magnetic_moments(moments)
    free = [(site.get("properties") or {}).get("selective_dynamics") for site in sites]
    held = [index for index, flags in enumerate(free) if flags is not None and not any(flags)]
    if held:
        atoms.set_constraint(FixAtoms(held))
    return atoms
