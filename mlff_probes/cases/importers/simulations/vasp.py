"""Molecular dynamics of VASP: vasprun.xml, OUTCAR, XDATCAR."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import ParseError, iterparse

import numpy as np
from ase.io.vasp import read_vasp_xdatcar

from mlff_probes.cases.convergence import opened
from mlff_probes.cases.files import read_frames
from mlff_probes.cases.importers.settings import read_settings
from mlff_probes.cases.importers.simulations.stated import Floats, Simulated
from mlff_probes.core.errors import InputError
from mlff_probes.methods.simulation.settings import Ensemble

TAGS = ("POTIM", "TEBEG", "TEEND", "SMASS", "IBRION", "MDALGO", "ISIF", "NBLOCK")
"""Input tags that say how the atoms were moved."""

LEARNED = "ML_LMLFF"
"""The tag of a force field that VASP learns, or has learned: forces are then not those of the functional."""

MOLECULAR_DYNAMICS = 0
"""`IBRION` of a simulation; all others relax, or do nothing."""

MICROCANONICAL = -3
"""`SMASS` without a thermostat."""

CELL_MOVES = 3
"""`ISIF` from which on the cell moves."""


def read(file: Path) -> Simulated | None:
    """A simulation of VASP; None if the file is nothing of VASP.

    Raises
    ------
    InputError
        If it is one of VASP that does no molecular dynamics, or cannot be read.
    """
    name = file.name.lower()
    if "xdatcar" in name:
        return _xdatcar(file)
    if "outcar" not in name and "vasprun" not in name:
        return None
    tags = _of_vasprun(file) if "vasprun" in name else _of_outcar(file)
    return replace(_from_tags(tags, file), frames=read_frames(file), settings=read_settings(file))


def _from_tags(tags: Mapping[str, float], file: Path) -> Simulated:
    """What the input tags say, without frames."""
    if tags.get("IBRION", MOLECULAR_DYNAMICS) != MOLECULAR_DYNAMICS:
        raise InputError(
            file, f"is no molecular dynamics: IBRION = {tags['IBRION']:.0f}", "a simulation has IBRION = 0"
        )
    if tags.get(LEARNED):
        remedy = "take a run without it (ML_LMLFF = .FALSE.)"
        raise InputError(file, "was moved by a force field that VASP learned, which is no reference", remedy)
    return Simulated(
        frames=[],
        timestep_fs=tags.get("POTIM"),
        temperature=tags.get("TEBEG") or None,
        last_temperature=tags.get("TEEND") or None,
        ensemble=_ensemble(tags),
    )


def _ensemble(tags: Mapping[str, float]) -> Ensemble | None:
    """NPT where the cell moves; else NVE without a thermostat: SMASS = -3, unless MDALGO names one."""
    if "SMASS" not in tags and "MDALGO" not in tags:
        return None
    if tags.get("ISIF", 0) >= CELL_MOVES:
        return "NPT"
    thermostat = tags.get("MDALGO", 0) > 0
    return "NVE" if tags.get("SMASS", MICROCANONICAL) == MICROCANONICAL and not thermostat else "NVT"


def _of_vasprun(file: Path) -> dict[str, float]:
    """The tags as VASP took them, from the parameters of a vasprun.xml; those that it was given, where it has none."""
    found: dict[str, float] = {}
    try:
        with opened(file) as handle:
            for _, element in iterparse(handle):
                if element.tag == "i" and element.get("name") in TAGS and element.text:
                    found[str(element.get("name"))] = float(element.text)
                if element.tag == "i" and element.get("name") == LEARNED:
                    found[LEARNED] = float("T" in (element.text or "").upper())
                if element.tag == "parameters":
                    break
    except (ParseError, ValueError, OSError, EOFError) as error:
        raise InputError(file, f"cannot be read as a vasprun.xml ({error})") from error
    return found


def _of_outcar(file: Path) -> dict[str, float]:
    pattern = re.compile(r"\b(" + "|".join(TAGS) + r")\s*=\s*(-?[\d.]+(?:[eE][-+]?\d+)?)")
    found: dict[str, float] = {}
    with opened(file) as handle:
        for line in handle:
            for name, number in pattern.findall(line):
                found.setdefault(name, float(number))
            if re.search(rf"\b{LEARNED}\s*=\s*\.?T", line, re.IGNORECASE):
                found[LEARNED] = 1.0
            if "Iteration" in line:
                break
    return found


def _xdatcar(file: Path) -> Simulated:
    """Positions alone; how they were made says another file beside it, or nobody."""
    try:
        with opened(file) as handle:
            frames = read_vasp_xdatcar(handle, ":")
        with opened(file) as handle:
            numbers = re.findall(r"Direct configuration=\s*(\d+)", handle.read())
    except (ValueError, IndexError, OSError, EOFError) as error:
        raise InputError(file, f"cannot be read as an XDATCAR ({error})") from error
    beside = next((each for name in ("vasprun.xml", "OUTCAR", "INCAR") if (each := _there(file.parent / name))), None)
    order = np.array(numbers, dtype=float) if len(numbers) == len(frames) else None
    if beside is None:
        return Simulated(frames=frames, numbers=order)
    tags = _of_vasprun(beside) if "vasprun" in beside.name else _of_outcar(beside)
    return replace(
        _from_tags(tags, beside),
        frames=frames,
        steps=_steps(order, tags.get("NBLOCK", 1.0)),
        settings=read_settings(beside),
    )


def _steps(order: Floats | None, apart: float) -> Floats | None:
    """Steps from the numbers of frames that are so many steps apart, whether these count steps or frames."""
    if order is None or len(order) < 2:
        return None
    usual = float(np.median(np.diff(order)))
    return order * (apart / usual) if usual > 0 else order


def _there(file: Path) -> Path | None:
    return next((each for each in (file, file.with_name(f"{file.name}.gz")) if each.exists()), None)
