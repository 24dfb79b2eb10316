"""How what lies on a disk was computed: settings from the outputs of codes, and whether they are the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from mlff_probes.cases.convergence import PEEK, opened
from mlff_probes.cases.importers.codes import ase_results, cp2k, espresso, vasp
from mlff_probes.cases.importers.codes.stated import Settings
from mlff_probes.core.errors import InputError

READERS: dict[str, Callable[[IO[str]], Settings]] = {
    r"^\s*vasp\.\d": vasp.outcar,
    r"<modeling>": vasp.vasprun,
    # the runs of neb.x begin without a name
    r"Program PWSCF|^\s*kinetic-energy cutoff +=": espresso.pw_output,
    r"CP2K\|": cp2k.output,
    r"\|__ \|  _\|___\|_____\|": ase_results.gpaw_text,
    r"(?i)^\s*&FORCE_EVAL": cp2k.input_file,
}
"""Whose output a file is, by what its beginning holds."""

BINARY = (".gpw", ".traj", ".db")


def read_settings(file: Path) -> Settings:
    """The settings that an output states; empty ones for any other file.

    Parameters
    ----------
    file
        OUTCAR, vasprun.xml, output of pw.x, CP2K or GPAW (``.gz`` too), an input or a restart file of CP2K, ``.gpw``,
        or a trajectory that ASE wrote.
    """
    if file.suffix in BINARY:
        return next(iter(ase_results.binary(file)[-1:]), Settings())
    try:
        with opened(file) as handle:
            head = handle.read(PEEK)
            reader = next((reader for mark, reader in READERS.items() if re.search(mark, head, re.MULTILINE)), None)
            if reader is None:
                return Settings()
            handle.seek(0)
            found = reader(handle)
    except (OSError, EOFError):  # which whoever reads the structures will say
        return Settings()
    return espresso.with_input(found, espresso.inputs_beside(file)) if found.code == espresso.CODE else found


def settings_of_each(file: Path, count: int) -> list[Settings]:
    """The settings of each of `count` structures in a file: their own, where it holds some for each, or the file's."""
    own = ase_results.binary(file) if file.suffix in BINARY else []
    return own if len(own) == count else [read_settings(file)] * count


def common_settings(
    found: Mapping[str, Settings], where: str | Path, *, allow_mixed: bool = False
) -> tuple[Settings, str]:
    """The one way in which several outputs were computed, and a table of what differs where that is allowed.

    Parameters
    ----------
    found
        By the name of each output, or of the image that it belongs to. Of those that state nothing nothing is known.
    where
        Named in what is raised.
    allow_mixed
        Take numbers that differ (a cutoff, a smearing); never another level of theory.

    Raises
    ------
    InputError
        If they differ, with a table of the differences.
    """
    stated = {name: settings for name, settings in found.items() if settings.compared}
    if not stated:
        return Settings(), ""
    first = next(iter(stated.values()))
    table = differences(stated)
    of_level = set(first.of_level) & {row[0] for row in table}
    if table and (of_level or not allow_mixed):
        what, remedy = ("settings", "repeat those that differ, or say why it does not matter: --allow-mixed='REASON'")
        if of_level:
            what, remedy = "levels of theory", "their energies cannot be compared"
        raise InputError(where, f"the images were computed with different {what}", f"{remedy}\n{as_table(table)}")
    same = {key: text for key, text in first.details.items() if key not in {row[0] for row in table}}
    return Settings(**{**first.__dict__, "details": same}), as_table(table) if table else ""


def differences(found: Mapping[str, Settings]) -> list[tuple[str, dict[str, list[str]]]]:
    """What differs among outputs: the setting, and for each value the names of those that have it."""
    rows = []
    names = dict.fromkeys(key for settings in found.values() for key in settings.compared)
    for key in names:
        values: dict[str, list[str]] = {}
        for name, settings in found.items():
            if key in settings.compared:
                values.setdefault(settings.compared[key], []).append(name)
        if len(values) > 1:
            rows.append((key, values))
    return rows


def as_table(rows: Sequence[tuple[str, Mapping[str, Sequence[str]]]]) -> str:
    """The differences as text, one line a value."""
    lines = []
    for setting, values in rows:
        for value, names in values.items():
            lines.append(f"  {setting:<12} {value:<24} {', '.join(names)}")
    return "\n".join(lines)
