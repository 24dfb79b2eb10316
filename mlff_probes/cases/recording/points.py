"""One point: a structure, computed by a calculator of its own in a folder of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.calculators.registry import quiet
from mlff_probes.cases.convergence import electronic_steps
from mlff_probes.cases.importers.codes.stated import Settings
from mlff_probes.cases.importers.settings import read_settings
from mlff_probes.cases.recording.journal import Point
from mlff_probes.cases.recording.lacking import structure_hash, unlabelled
from mlff_probes.core.errors import EvaluationError, InputError
from mlff_probes.core.records import NOT_STATED, CalculatorIdentity

HASHED_BYTES = 2_000_000
"""Files of a code that are larger, wavefunctions and densities, are not hashed."""


class UnconvergedError(EvaluationError):
    """The electronic steps of a point ran out: it has no value."""


def computed(load: Callable[[], Calculator], frame: Atoms, folder: Path, *, name: str) -> Point:
    """Energy, and what else there is, of one structure.

    The calculator is loaded for this point alone, so that nothing of an earlier one is its start, and works in
    `folder`, which stays if the point fails, and is removed by whoever wants nothing of it.

    Parameters
    ----------
    load
        Gives the calculator.
    frame
        The structure; never modified.
    folder
        Where the code writes what it writes to its working directory; emptied before.
    name
        What the structure is called in messages.

    Raises
    ------
    EvaluationError
        If the calculator raises, or returns no numbers; an `UnconvergedError` if its electronic steps ran out.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier attempt: codes go on with what they find
    folder.mkdir(parents=True)
    start = time.perf_counter()
    with contextlib.chdir(folder), quiet(), _loaded(load) as calculator:
        found = evaluate(
            dataclasses.replace(calculator, batch=None),
            [unlabelled(frame)],
            forces=calculator.supplies("forces"),
            name=lambda _: name,
        )
        unasked = more(getattr(calculator.ase, "results", None) or {}, len(frame))
        said = converged(folder, calculator.ase, name)
        settings = settings_in(folder)
        code = f"{settings.code} {settings.version}".strip() or _made_by(calculator.identity)
    return Point(
        structure=structure_hash(frame),
        energy=float(found.energies[0]),
        forces=None if found.forces is None else rows(found.forces[0]),
        code=code,
        converged=said,
        level_of_theory=settings.level or calculator.identity.level_of_theory,
        settings=settings.compared,
        inputs=hashes(folder),
        wall_s=time.perf_counter() - start,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        **unasked,
    )


def _made_by(identity: CalculatorIdentity) -> str:
    """What is known of a calculator that leaves no output of a known code."""
    if identity.family in ("ase", "py"):
        return f"{identity.version} (a calculator of ASE {identity.versions.get('ase', '')})"
    return f"{identity.family} {identity.version or identity.label}"


@contextlib.contextmanager
def _loaded(load: Callable[[], Calculator]) -> Iterator[Calculator]:
    """A calculator for one point."""
    try:
        calculator = load()
    except InputError as error:
        raise EvaluationError(str(error)) from error
    try:
        yield calculator
    finally:
        end(calculator)


def end(calculator: Calculator) -> None:
    """Tell a code that a calculator keeps running (ASE's CP2K does) to end."""
    close = getattr(calculator.ase, "close", None)
    if callable(close):
        with contextlib.suppress(Exception):
            close()


def rows(forces: Any) -> tuple[tuple[float, float, float], ...]:
    """Forces, shape (n_atoms, 3), eV/A, as a record carries them."""
    return tuple((float(x), float(y), float(z)) for x, y, z in forces)


def more(results: Mapping[str, Any], atoms: int) -> dict[str, Any]:
    """Stress (eV/A^3) and magnetic moments among the results for so many atoms, where there are any."""
    found: dict[str, Any] = {}
    for name, shape in (("stress", (6,)), ("magmoms", (atoms,)), ("magmom", ())):
        value = np.asarray(results.get(name, np.nan), dtype=float)
        if value.shape == shape and np.isfinite(value).all() and (name != "stress" or value.any()):
            found[name] = float(value) if shape == () else tuple(map(float, value))  # zeros: it was not computed
    return found


def converged(folder: Path, ase: Any, name: str) -> str:
    """Who says that the electronic steps of a point converged.

    Raises
    ------
    UnconvergedError
        If somebody says that they did not.
    """
    stated = getattr(ase, "converged", None)
    if isinstance(stated, bool | np.bool_) and not stated:
        raise UnconvergedError(f"{name} did not converge, as the calculator says")
    told = []
    for file in _files(folder):
        steps = electronic_steps(file)
        if problem := next(filter(None, steps), None):
            raise UnconvergedError(f"{name} did not converge ({file.name}, {problem})")
        if steps:
            told.append(file.name)
    if told:
        return f"its output ({', '.join(told)})"
    return NOT_STATED if stated is None else "the calculator"


def settings_in(folder: Path) -> Settings:
    """What the outputs in a folder say of how a point was computed; of a terse one its input says more."""
    found = [settings for file in _files(folder) if (settings := read_settings(file)).code]
    output = next((each for each in found if each.version), Settings())
    fullest = max(found, key=lambda each: len(each.compared), default=Settings())
    return dataclasses.replace(fullest, code=output.code or fullest.code, version=output.version)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of a code, by name, but for large ones."""
    found = {}
    for file in _files(folder):
        with contextlib.suppress(OSError):
            found[str(file.relative_to(folder))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.stat().st_size <= HASHED_BYTES)
