"""Input files for a cluster: a folder for each frame that lacks an energy, written by ASE, and a manifest of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.cp2k import CP2K, InputSection, parse_input
from ase.calculators.vasp import Vasp
from ase.io.espresso_namelist.namelist import Namelist
from ase.io.vasp import write_vasp
from pydantic import Field

from mlff_probes.cases.recording.lacking import Recordable, unlabelled
from mlff_probes.core.errors import InputError, describe
from mlff_probes.core.levels import Level
from mlff_probes.core.records import Record, Text
from mlff_probes.core.toml import read_toml, validated

MANIFEST = "manifest.json"

NO_POTCAR = (
    "POTCAR is under VASP's licence and not written: put one behind the other the potentials that POTCAR.spec names"
)


class InputSettings(Record):
    """What `--settings=FILE` may say: the parameters of ASE's writer for the code."""

    level_of_theory: Level | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class InputFolder(Record):
    """One folder: which frame its input is of.

    Attributes
    ----------
    folder
        Its name.
    frame
        What the frame is called.
    structure
        The hash of its structure.
    order
        Numbers of its atoms in the order in which the input has them.
    """

    folder: Text
    frame: Text
    structure: Text
    order: tuple[int, ...]


class Manifest(Record):
    """What a folder of inputs was written for."""

    case: Text
    code: Text
    level_of_theory: Level | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    folders: tuple[InputFolder, ...]


def read_settings_file(file: Path) -> InputSettings:
    """The settings in a TOML.

    Raises
    ------
    InputError
        If it cannot be read, or holds an unknown key.
    """
    return validated(InputSettings, read_toml(file), file)


def write_inputs(
    case: Recordable, wanted: Iterable[int], code: str, settings: InputSettings, directory: Path
) -> list[str]:
    """Write a folder with the input of `code` for each frame in `wanted`, and the manifest beside them.

    Returns
    -------
    list of str
        What is left to do by hand.

    Raises
    ------
    InputError
        If something is there already, ASE cannot write the input, or the disk cannot.
    """
    if directory.exists() and any(directory.iterdir()):
        raise InputError(directory, "is there already, and may hold results", "name another folder")
    if case.is_of_another_level(settings.level_of_theory):
        stated = f"says {settings.level_of_theory}, and {case.file.name} {case.table.reference.level_of_theory}"
        raise InputError("--settings", stated, "both must be of one level")
    try:
        return _written_inputs(case, wanted, code, settings, directory)
    except (OSError, InputError) as error:
        shutil.rmtree(directory, ignore_errors=True)  # a part of the frames would look like all of them
        if isinstance(error, InputError):
            raise
        raise InputError(directory, f"cannot be written ({error.strerror or error})") from error


def _written_inputs(
    case: Recordable, wanted: Iterable[int], code: str, settings: InputSettings, directory: Path
) -> list[str]:
    folders = []
    for index in wanted:
        folder = directory / f"frame_{index:04d}"
        folder.mkdir(parents=True)
        try:
            order = WRITERS[code](unlabelled(case.frames[index]), folder, dict(settings.parameters))
        except OSError:
            raise
        except Exception as error:  # whatever ASE's writers raise of parameters that they do not know
            raise InputError("--settings", f"ASE cannot write the input of {code}: {describe(error)}") from error
        found = {"folder": folder.name, "frame": case.name(index), "structure": case.hash(index)}
        folders.append(InputFolder(**found, order=tuple(order)))
    said = Manifest(case=case.file.stem, code=code, folders=tuple(folders), **dict(settings))
    (directory / MANIFEST).write_text(said.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return [NO_POTCAR] if code == "vasp" else []


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a folder of inputs.

    Raises
    ------
    InputError
        If there is none, or it cannot be read.
    """
    file = directory / MANIFEST
    try:
        return validated(Manifest, json.loads(file.read_text(encoding="utf-8")), file)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            file, "cannot be read as the manifest of inputs", "name the folder that --write-inputs made"
        ) from error


class _Vasp(Vasp):
    """ASE's writer of INCAR, KPOINTS and POSCAR, on a machine without potentials."""

    def _build_pp_list(self, *_: Any, **__: Any) -> list[str]:
        return []


class _Cp2k(CP2K):
    """ASE's writer of inputs of CP2K, without the CP2K that it would start."""

    def __init__(self, **parameters: Any) -> None:
        self._shell = self._force_env_id = None
        self._debug = False
        Calculator.__init__(self, label="cp2k", **parameters)


def _vasp(atoms: Atoms, folder: Path, parameters: dict[str, Any]) -> list[int]:
    writer = _Vasp(directory=str(folder), **parameters)
    writer.initialize(atoms)
    ordered = atoms[writer.sort]
    write_vasp(folder / "POSCAR", ordered, symbol_count=writer.symbol_count, direct=True)
    writer.write_incar(atoms, directory=folder)
    writer.write_kpoints(atoms=atoms, directory=folder)
    setups = parameters.get("setups")
    special = setups if isinstance(setups, dict) else {}
    names = [f"{symbol}{special.get(symbol, '')}\n" for symbol, _ in writer.symbol_count]
    (folder / "POTCAR.spec").write_text("".join(names), encoding="utf-8")
    return list(writer.sort)


def _espresso(atoms: Atoms, folder: Path, parameters: dict[str, Any]) -> list[int]:
    data = Namelist(parameters.pop("input_data", {}))
    data.to_nested("pw")
    data["control"].setdefault("tprnfor", True)
    ase.io.write(folder / "espresso.pwi", atoms, format="espresso-in", input_data=data, **parameters)
    return list(range(len(atoms)))


def _cp2k(atoms: Atoms, folder: Path, parameters: dict[str, Any]) -> list[int]:
    writer = _Cp2k(**{"print_level": "MEDIUM", **parameters})
    writer.atoms = atoms
    root = parse_input(writer._generate_input())  # type: ignore[no-untyped-call]
    _add_once(root, "GLOBAL", "RUN_TYPE ENERGY_FORCE")
    _add_once(root, "FORCE_EVAL/PRINT/FORCES", "_SECTION_PARAMETERS_ ON")
    (folder / "cp2k.inp").write_text("\n".join(root.write()) + "\n", encoding="utf-8")
    return list(range(len(atoms)))


def _add_once(root: InputSection, section: str, line: str) -> None:
    """Add a keyword to an input that does not say it itself."""
    there = root.get_subsection(section)
    if line.startswith("_SECTION"):
        there.params = there.params or "ON"
    elif not any(keyword.upper().startswith(line.split(maxsplit=1)[0]) for keyword in there.keywords):
        root.add_keyword(section, line)


WRITERS: dict[str, Callable[[Atoms, Path, dict[str, Any]], list[int]]] = {
    "vasp": _vasp,
    "espresso": _espresso,
    "cp2k": _cp2k,
}
"""Writes the input of one structure into a folder; gives the order in which it has the atoms."""
