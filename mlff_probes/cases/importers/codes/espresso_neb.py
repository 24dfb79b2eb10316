"""A band of ``neb.x``: energies of ``PREFIX.path``, structures and forces of ``PREFIX.axsf``, settings of its runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixCartesian
from ase.units import create_units

from mlff_probes.cases.convergence import mark_unconverged, opened
from mlff_probes.cases.files import read_frames
from mlff_probes.cases.importers.codes import espresso
from mlff_probes.cases.importers.codes.stated import Settings
from mlff_probes.core.errors import InputError

UNITS = create_units("2010")
"""Quantum ESPRESSO's, as ASE takes them: so its readers give the same numbers."""


def bands(entries: Sequence[Path]) -> list[Path]:
    """The bands among some files."""
    return [entry for entry in entries if entry.suffix == ".path" and entry.is_file()]


def read_band(file: Path) -> list[tuple[Atoms, Settings, str]]:
    """The images in a ``.path`` with energies (eV) and forces (eV/A), their settings, and what each is called.

    Raises
    ------
    InputError
        If the file, or the ``.axsf`` beside it that holds cell and elements, is missing or says something else.
    """
    energies, held = _energies(file), _held(file)
    structures = file.with_suffix(".axsf")
    if not structures.is_file():
        raise InputError(structures, "is missing, which holds cell and elements of the band", "neb.x writes it anew")
    frames = read_frames(structures, format="xsf")
    if len(frames) != len(energies):
        raise InputError(file, f"has {len(energies)} energies, but {structures.name} has {len(frames)} images")
    images = []
    for index, (frame, energy) in enumerate(zip(frames, energies, strict=True), 1):
        frame.set_constraint(held)
        frame.calc = SinglePointCalculator(frame, energy=energy, **(frame.calc.results if frame.calc else {}))
        outputs = sorted(file.parent.glob(f"**/{file.stem}_{index}/PW.out*"))
        settings = Settings()
        if outputs:
            mark_unconverged([frame], outputs[0], last=True)
            with opened(outputs[0]) as lines:
                settings = espresso.with_input(espresso.pw_output(lines), espresso.inputs_of_neb(file.parent))
        images.append((frame, settings, f"image {index}"))
    return images


def _held(file: Path) -> list[FixCartesian]:
    """What does not move: the first image has three ones behind each atom, zero for a component that is held."""
    first = re.search(r"^Image:\s*1\s*\n.*\n((?:(?!Image).*\n)+)", file.read_text(errors="replace"), re.MULTILINE)
    rows = [line.split()[6:9] for line in (first[1].splitlines() if first else [])]
    return [FixCartesian(atom, [flag == "0" for flag in row]) for atom, row in enumerate(rows) if "0" in row]


def _energies(file: Path) -> list[float]:
    """Energy of each image, eV; ``.path`` has Hartree in the line after its name."""
    try:
        text = file.read_text(errors="replace")
    except OSError as error:
        raise InputError(file, f"cannot be read ({error.strerror})") from error
    found = re.findall(r"^Image:\s*\d+\s*\n\s*(\S+)", text, re.MULTILINE)
    try:
        return [float(energy) * UNITS["Hartree"] for energy in found]
    except ValueError as error:
        raise InputError(file, f"holds an energy that is no number: {error}") from error
