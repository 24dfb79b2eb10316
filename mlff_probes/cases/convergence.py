"""Whether the electronic steps behind a structure converged, as the output of VASP, Quantum ESPRESSO and CP2K says.

An energy at which the steps ran out is no reference, and no reader of structures tells it from one that is.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from ase import Atoms

from mlff_probes.core.errors import InputError

Steps = list[str | None]
"""For each ionic step why its energy is no reference; None where it is one."""

UNCONVERGED = "electronic_steps_ran_out"
"""Key of `Atoms.info` that says so of a structure, with file and ionic step."""

PEEK = 200_000
"""So many characters of a file show whose output it is, after what a launcher may print first."""

LOGS = (".out", ".log", ".pwo")
"""Suffixes of what a code prints beside the structures that it writes."""

REMEDY = "converge that run (more electronic steps, or another mixing) or finish it, and give its new output"

VASP = r"^\s*vasp\.\d"
VASP_STEP = re.compile(r"Iteration\s+\d+\(\s*(\d+)\)")
QE_STEP = re.compile(r"convergence (has been|NOT) achieved (?:in|after)\s+(\d+)")
CP2K_STEP = re.compile(r"SCF run (NOT )?converged|outer SCF loop (FAILED)")
CP2K_ITERATION = re.compile(r"\s+(\d+)\s+(?:OT|P_Mix|\S+/)\S*\s")


def opened(file: Path) -> IO[str]:
    """A text file, be it compressed (``.gz``) or not."""
    return gzip.open(file, "rt", errors="replace") if file.suffix == ".gz" else file.open(errors="replace")


def mark_unconverged(frames: Sequence[Atoms], file: Path, *, last: bool = False) -> None:
    """Note on each of `frames` whose electronic steps ran out that they did, as the output `file` says.

    Where the file tells of another number of ionic steps than there are frames, it is not known which frame belongs to
    which, and one that ran out counts for all; unless the frames are known to be the `last` of the file.
    """
    steps = electronic_steps(file)
    if last:
        steps = steps[-len(frames) :]
    if len(steps) != len(frames):
        steps = [next(filter(None, steps), None)] * len(frames)
    for frame, problem in zip(frames, steps, strict=True):
        if problem is not None:
            frame.info[UNCONVERGED] = f"{_name(file)}, {problem}"


def refuse_unconverged(frames: Iterable[Atoms], where: str | Path) -> None:
    """Raise if the electronic steps of a structure ran out.

    Raises
    ------
    InputError
        That names the output and the ionic step.
    """
    for frame in frames:
        if problem := frame.info.get(UNCONVERGED):
            raise InputError(where, str(problem), REMEDY)


def output_problem(file: Path) -> str | None:
    """The first ionic step in `file` whose electronic steps ran out, in words, or None."""
    return next(filter(None, electronic_steps(file)), None)


def electronic_steps(file: Path) -> Steps:
    """What the output of a code says of each ionic step; nothing for any other file."""
    try:
        with opened(file) as handle:
            head = handle.read(PEEK)
            reader = next((reader for mark, reader in READERS.items() if re.search(mark, head, re.MULTILINE)), None)
            if reader is None:
                return []
            handle.seek(0)
            return [
                None if problem is None else f"ionic step {number}: {problem}"
                for number, problem in enumerate(reader(handle), 1)
            ]
    except (OSError, EOFError, ValueError):  # which whoever reads the structures will say
        return []


def logs_beside(file: Path) -> list[Path]:
    """What a code printed beside the structures in `file`: the same name with another suffix."""
    stem = file.name.removesuffix(".gz").rpartition(".")[0]
    names = [f"{stem}{suffix}{packed}" for suffix in LOGS for packed in ("", ".gz")] if stem else []
    return [log for name in names if (log := file.with_name(name)).is_file() and log != file]


def _vasp(lines: Iterable[str]) -> Iterator[str | None]:
    """OUTCAR: an ionic step without ``EDIFF is reached`` before its energies, or a last run without any."""
    last, reached, new_run = "", False, False
    for line in lines:
        if re.match(VASP, line):
            new_run = True
        elif found := VASP_STEP.search(line):
            last = found[1]
        elif "EDIFF is reached" in line:
            reached = True
        elif "FREE ENERGIE OF THE ION-ELECTRON SYSTEM" in line:
            yield _ran_out(last) if last and not reached else None
            last, reached, new_run = "", False, False
    if last and new_run:  # an ionic step that a relaxation was stopped in takes nothing from those before it
        yield f"the run broke off after {last} electronic steps"


def _vasp_xml(handle: IO[str]) -> Iterator[str | None]:
    """vasprun.xml: a step with as many electronic ones as NELM allows, the last of which changed more than EDIFF."""
    limits: dict[str, float] = {}
    try:
        for _, element in ElementTree.iterparse(handle):
            if element.tag == "i" and element.get("name") in ("NELM", "EDIFF"):
                limits[str(element.get("name"))] = float(element.text or 0)
            elif element.tag == "calculation":
                yield _exhausted(element, limits)
                element.clear()
    except ElementTree.ParseError:  # a run that was cut short
        return


def _exhausted(calculation: ElementTree.Element, limits: dict[str, float]) -> str | None:
    energies = [float(energy.text or "nan") for energy in calculation.findall("scstep/energy/i[@name='e_fr_energy']")]
    if not energies or len(energies) < limits.get("NELM", float("inf")):
        return None
    settled = len(energies) > 1 and abs(energies[-1] - energies[-2]) <= limits.get("EDIFF", 0.0)
    return None if settled else _ran_out(str(len(energies)))


def _espresso(lines: Iterable[str]) -> Iterator[str | None]:
    """Output of pw.x: ``convergence NOT achieved``."""
    for line in lines:
        if found := QE_STEP.search(line):
            yield _ran_out(found[2]) if found[1] == "NOT" else None


def _cp2k(lines: Iterable[str]) -> Iterator[str | None]:
    """Output of CP2K: ``SCF run NOT converged``, before the energy that is printed all the same."""
    problem: str | None = None
    steps = ""
    for line in lines:
        if found := CP2K_STEP.search(line):
            problem = _ran_out(steps) if found[1] or found[2] else None
        elif found := CP2K_ITERATION.match(line):
            steps = found[1]
        elif "ENERGY| Total FORCE_EVAL" in line:
            yield problem
            problem, steps = None, ""
    if problem:  # CP2K stops there, unless it was told to go on
        yield problem


def _ran_out(steps: str) -> str:
    return f"its {steps} electronic steps ran out before they converged".replace("  ", " ")


READERS: dict[str, Callable[[IO[str]], Iterator[str | None]]] = {
    VASP: _vasp,
    r"<modeling>": _vasp_xml,
    r"Program PWSCF|^\s*kinetic-energy cutoff +=": _espresso,  # the runs of neb.x begin without a name
    r"CP2K\|": _cp2k,
}
"""Whose output a file is, by what its beginning holds."""


def _name(file: Path) -> str:
    return f"{file.parent.name}/{file.name}" if file.parent.name else file.name
