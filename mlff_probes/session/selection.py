"""What a notebook names, models, a material, a path, as calculators and cases of the suite."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.formula import Formula

from mlff_probes.cases.importers.bands import WholeBand, whole_band
from mlff_probes.cases.importers.images import band_exists
from mlff_probes.cases.importers.imported_path import import_band, name_of, with_level
from mlff_probes.cases.importers.path import Stated, band_case
from mlff_probes.cases.load import AnyCase, load_case
from mlff_probes.cases.tolerances import Policy
from mlff_probes.core.case import BrokenCase, Case
from mlff_probes.core.errors import InputError
from mlff_probes.core.protocol import LabelKeys
from mlff_probes.measure import FAMILIES


def chosen_cases(cases: list[AnyCase], policy: Policy, *, stated: Stated, migration_path: Any) -> list[AnyCase]:
    """The cases of the material, and of migration the path alone if one is named, by family and id.

    Raises
    ------
    InputError
        If a case cannot be read, there is none of the material, or the path cannot be used.
    """
    found = of_material(readable(cases), stated, migration_path)
    path = path_case(migration_path, found, policy, stated)
    if path is not None:
        found = [*(case for case in found if case.family != "migration"), path]
    return sorted(found, key=lambda case: (FAMILIES.index(case.family), case.id))


def readable(cases: Iterable[Case | BrokenCase]) -> list[Case]:
    """`cases`, if all of them could be read."""
    found = []
    for case in cases:
        if isinstance(case, BrokenCase):
            raise case.error
        found.append(case)
    return found


def stated_band(
    material: str | None = None,
    level_of_theory: str | None = None,
    uncertainty_ev: float | None = None,
    migrating_atom: int | None = None,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    reorder_atoms: bool | None = None,
    title: str | None = None,
    path_made_by: str | None = None,
) -> Stated:
    """What the user says of a band, checked."""
    texts = {"material": material, "level_of_theory": level_of_theory, "energy_key": energy_key}
    more = {"forces_key": forces_key, "title": title, "path_made_by": path_made_by}
    for name, text in {**texts, **more}.items():
        if text is not None and not (isinstance(text, str) and text.strip()):
            raise InputError("", f"{name}={text!r} must be a text that is not empty")
    if uncertainty_ev is not None:
        number = isinstance(uncertainty_ev, int | float) and math.isfinite(uncertainty_ev)
        if not number or uncertainty_ev < 0:
            raise InputError("", f"uncertainty_ev={uncertainty_ev!r} must be a number of eV, zero or more")
    try:
        atom = None if migrating_atom is None else operator.index(migrating_atom)
    except TypeError as error:
        raise InputError("", f"migrating_atom={migrating_atom!r} must be a whole number, counted from 0") from error
    uncertainty = None if uncertainty_ev is None else float(uncertainty_ev)
    if not isinstance(reorder_atoms, bool | None):
        raise InputError("", f"reorder_atoms={reorder_atoms!r} must be True, False or None")
    keys = LabelKeys(energy_key=energy_key, forces_key=forces_key)
    return Stated(material, atom, level_of_theory, uncertainty, keys, reorder_atoms, title, path_made_by)


def of_material(cases: list[Case], stated: Stated, migration_path: object) -> list[Case]:
    """The cases of the material that is asked for, and the laws, which hold of any; all cases where none is."""
    if stated.material is None:
        return cases
    wanted = _formula(stated.material)
    known = sorted({case.material for case in cases if case.material})
    found = [case for case in cases if case.material and _formula(case.material) == wanted]
    if not found and migration_path is None:
        raise InputError(
            "",
            f"there is no case of the material '{stated.material}'",
            f"there are cases of {', '.join(known)}; add your own with migration_path= or reference=",
        )
    return [case for case in cases if case in found or case.protocol.chooses_elements]


def path_case(given: Any, cases: list[Case], policy: Policy, stated: Stated) -> Case | None:
    """The case behind `migration_path`: one of `cases`, a case file, or a band; None where none is given.

    Raises
    ------
    InputError
        If it is neither of these, or the images of the band do not form a path.
    """
    ids = {case.id: case for case in cases if case.family == "migration"}
    known = None
    if isinstance(given, str | os.PathLike) and os.fspath(given) in ids:
        known = ids[os.fspath(given)]
    elif isinstance(given, str | os.PathLike) and Path(given).suffix == ".toml":
        known = _only_migration(load_case(Path(given).expanduser(), policy=policy), given)
    if given is None or known is not None:
        if replace(stated, material=None) != Stated():
            what = "a case says itself" if known else "they belong to a band, given as migration_path="
            names = "level_of_theory, uncertainty_ev, migrating_atom, energy_key, forces_key and reorder_atoms"
            raise InputError("", f"{names} cannot be given here: {what}")
        return known
    band, where = _band(given, ids)
    stated = stated.with_band(band, where)
    case = band_case(band.frames, name_of(where), where=where, stated=stated, policy=policy)
    absent = set(_formula(stated.material)) - case.elements if stated.material else set()
    if absent:
        raise InputError(where, f"material='{stated.material}', but the images hold no {', '.join(sorted(absent))}")
    return replace(case, id=f"{case.id}_band") if case.id in {other.id for other in cases} else case


def bare_band_case(where: Path, policy: Policy) -> Case:
    """The case of a band that lies in a folder as a code left it.

    Raises
    ------
    InputError
        If it cannot be read, or does not say its level of theory.
    """
    band = whole_band([where])
    stated = with_level(Stated(), band, where, f"say it: mlff-probes import path {where} --level=PBE")
    return band_case(band.frames, name_of(where), where=where, stated=stated, policy=policy)


def write_path(given: Any, directory: Path, stated: Stated, *, id: str | None, replace_it: bool) -> Path:
    """Write a band as a case; the file.

    Raises
    ------
    InputError
        If `given` is a case already, or nothing that can be written as one.
    """
    if given is None or (isinstance(given, str | os.PathLike) and Path(given).suffix == ".toml"):
        raise InputError("", f"migration_path={given!r} is no band of which a case could be made")
    band, where = _band(given, {})
    return import_band(band, where, directory, id=id, stated=stated, replace_it=replace_it).file


def _band(given: Any, ids: Mapping[str, Case]) -> tuple[WholeBand, Path]:
    if isinstance(given, list | tuple) and all(isinstance(image, Atoms) for image in given):
        names = tuple(f"image {index}" for index in range(len(given)))
        return WholeBand(tuple(given), names), Path("band")
    if not isinstance(given, str | os.PathLike):
        raise InputError("", f"migration_path={given!r} must be a case id, a file, a folder, or a list of Atoms")
    where = Path(given).expanduser()
    if not os.fspath(given) or not band_exists(where):
        raise InputError(
            "",
            f"migration_path='{given}' is neither a case ({', '.join(ids) or 'there is none of this material'}) nor a "
            f"file or folder (looked from {Path.cwd()})",
        )
    return whole_band([where]), where


def _formula(text: str) -> dict[str, int]:
    try:
        count: dict[str, int] = Formula(text, strict=True).count()
    except ValueError as error:
        raise InputError("", f"material='{text}' is no chemical formula: {error}") from error
    return count


def _only_migration(case: Case, where: object) -> Case:
    if case.family != "migration":
        raise InputError("", f"migration_path='{where}' is a case of the family '{case.family}', not of migration")
    return case
