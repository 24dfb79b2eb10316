"""GPAW, and whatever ASE ran: settings as the text of GPAW, a ``.gpw``, a trajectory or a database says them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlff_probes.cases.importers.codes.stated import Settings, plain

FUNCTIONALS = {
    "pbe": "PBE", "pbesol": "PBEsol", "rpbe": "RPBE", "revpbe": "revPBE", "lda": "LDA", "pw91": "PW91", "scan": "SCAN",
    "rscan": "rSCAN", "r2scan": "r2SCAN", "mgga_x_r2scan+mgga_c_r2scan": "r2SCAN", "mgga_x_scan+mgga_c_scan": "SCAN",
    "gga_x_pbe+gga_c_pbe": "PBE", "pbe0": "PBE0", "hse06": "HSE06", "b3lyp": "B3LYP", "blyp": "BLYP",
    "vdw-df": "vdW-DF", "vdw-df2": "vdW-DF2", "beef-vdw": "BEEF-vdW", "optb88-vdw": "optB88-vdW",
}  # fmt: skip
"""Functionals by the names that ASE and GPAW know, in small letters."""

NAMES = {"gpaw": "GPAW", "vasp": "VASP", "espresso": "Quantum ESPRESSO", "cp2k": "CP2K", "aims": "FHI-aims"}
"""Codes by ASE's names of their calculators."""

CHANGING = ("ivdw", "lvdw", "luse_vdw", "vdw_corr", "ldau", "ldau_luj", "hubbard_u", "gga", "metagga", "lhfcalc")
"""Parameters that change the functional, in spellings from which no level is made."""

UNCHANGED = (None, 0, False, "", "none")

IN_INPUT = re.compile(r"(?i)&(vdw_potential|dft_plus_u|xc_functional|hf)\b")
OF_SETUPS = re.compile(r":?[spdf],\d")
"""What does so in more input of CP2K, and in setups of GPAW."""

COMPARED = {"mode", "ecut", "h", "kpts", "gamma", "encut", "ispin", "prec", "ismear", "sigma", "kspacing", "setups",
            "occupations", "spinpol", "charge", "basis", "cutoff", "basis_set", "pseudo_potential", "uks",
            "multiplicity", "pp", "ivdw", "nbands", "ecutwfc", "ecutrho", "degauss", "smearing"}  # fmt: skip
"""Parameters that make energies comparable."""


def from_parameters(name: str, parameters: Mapping[str, Any], version: str = "") -> Settings:
    """Settings of an ASE calculator from its name and its parameters.

    Only of a code in `NAMES` `xc` is a functional: a correction has one, too, that it belongs to.
    """
    given = parameters.get("xc", "")
    said = str(given.get("name", "")) if isinstance(given, Mapping) else str(given or "")
    functional = FUNCTIONALS.get(said.lower(), "") if name in NAMES else ""
    details = {key: _text(value) for key, value in sorted(parameters.items()) if key in COMPARED and value is not None}
    changed = [f"with {key} = {_text(parameters[key])}" for key in CHANGING if parameters.get(key) not in UNCHANGED]
    changed += ["with more input" for text in [str(parameters.get("inp", ""))] if IN_INPUT.search(text)]
    changed += ["with U in its setups"] if OF_SETUPS.search(_text(parameters.get("setups", ""))) else []
    odd = [said] if said and not functional else []
    code = NAMES.get(name, "" if name in ("unknown", "") else name)
    return Settings(code, version, functional, {}, "", " ".join([*odd, *changed]), details)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_text(each)}" for key, each in sorted(value.items()))
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value))
    return plain(str(value))


def gpaw_text(lines: Iterable[str]) -> Settings:
    """Settings from the text output of GPAW."""
    version = functional = unnamed = ""
    details: dict[str, str] = {}
    hubbard: dict[str, str] = {}
    for line in lines:
        text = line.strip()
        if found := re.match(r"\|__ \|\s+_\|___\|_____\|\s+(\S+)", text):
            version = found[1]
        elif found := re.match(r"XC parameters: (\S+)", text):
            functional = FUNCTIONALS.get(found[1].lower(), "")
            unnamed = "" if functional else found[1]
        elif found := re.search(r"(\w+): '?\w*:([spdf]),([\d.]+)", text):
            hubbard[f"{found[1]} {found[2]}"] = plain(found[3])
        elif found := re.match(r"Cutoff energy: ([\d.]+) eV", text):
            details["cutoff"] = f"{plain(found[1])} eV"
        elif found := re.match(r"(\d+ k-points?): (.*)", text):
            details["k-points"] = found[2]
        elif text.startswith("Spin-polarized calculation"):
            details["spin"] = "polarised"
        elif found := re.match(r"width: ([\d.]+)\s+# eV", text):
            details["smearing"] = f"{plain(found[1])} eV"
        elif text.startswith("Energy contributions relative to reference atoms"):
            break
    return Settings("GPAW", version, functional, hubbard, "", unnamed, details)


def binary(file: Path) -> list[Settings]:
    """Settings of each structure in a ``.gpw``, a ``.traj`` or a ``.db``; none where it cannot be read."""
    try:
        return _database(file) if file.suffix == ".db" else _of_ulm(file)
    except Exception:  # whoever reads the structures says what is wrong with the file
        return []


def _of_ulm(file: Path) -> list[Settings]:
    from ase.io import ulm

    found: list[tuple[str, Mapping[str, Any]]] = []
    with ulm.open(file) as first:
        images = len(first)
    for index in range(images):
        with ulm.open(file, index=index) as reader:
            stored = reader.asdict()
        if "gpaw_version" in stored:
            return [from_parameters("gpaw", stored.get("parameters", {}), str(stored["gpaw_version"]))]
        calculator = stored.get("calculator", {})
        said = calculator.get("parameters", {}) or (found[-1][1] if found else {})
        found.append((str(calculator.get("name", "")), said))
    return [from_parameters(*each) for each in found]


def _database(file: Path) -> list[Settings]:
    from ase.db import connect

    with connect(file) as rows:
        return [_of_row(row) for row in rows.select()]


def _of_row(row: Any) -> Settings:
    name = str(row.get("calculator", ""))
    return from_parameters(name, row.calculator_parameters if name else {})
