"""Energies and forces of many frames: one batched forward pass where it pays, a loop where not.

The one place where the suite calls a model for more than a single frame, and so the one place where
model calls and model time are counted and where NaN, infinities and wrong shapes are caught.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlff_probes.calculators.interruption import none_swallowed
from mlff_probes.calculators.limits import TimeUp
from mlff_probes.calculators.memory import exhausted, release
from mlff_probes.core.errors import EvaluationError, NonFiniteError, OutOfMemoryError, describe
from mlff_probes.core.evaluation import Calls, Evaluation

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_probes.calculators.base import Calculator

Floats = NDArray[np.float64]
T = TypeVar("T")


def evaluate(
    calculator: Calculator | Any,
    frames: Sequence[Atoms],
    *,
    forces: bool = True,
    stress: bool = False,
    clock: Callable[[], float] = time.perf_counter,
    name: Callable[[int], str] = "frame {}".format,
) -> Evaluation:
    """Energies (eV) and forces (eV/A) of `frames`.

    A batch that does not fit into memory is halved, and so is what follows it, down to single structures.

    Parameters
    ----------
    calculator
        A loaded `Calculator`, or any bare ASE calculator (which is then called in a loop).
    frames
        ASE atoms; never modified.
    forces
        Whether forces are wanted too.
    stress
        Whether the stress is wanted too. The frames then go one by one through the calculator's own ASE path.
    clock
        Seconds; replaced in tests.
    name
        What a frame is called in messages, from its number.

    Raises
    ------
    EvaluationError
        If the calculator raises, or returns an array of the wrong shape; a `NonFiniteError` if it returns
        NaN or an infinity, an `OutOfMemoryError` if a single structure does not fit into memory. The message names
        the frame, counted from 0.
    """
    from mlff_probes.calculators.base import as_calculator

    model = as_calculator(calculator)
    if stress:
        model = replace(model, batch=None)
    if not frames:
        return Evaluation(np.empty(0), () if forces else None, stresses=np.empty((0, 6)) if stress else None)
    if model.journal is not None:
        plain = partial(
            evaluate, replace(model, journal=None), frames, forces=forces, stress=stress, clock=clock, name=name
        )
        return model.journal.evaluation(frames, (forces, stress), plain)
    with model.state.during():
        start = clock()
        most = model.batch_atoms if model.batch else 0
        answers = partial(_answers, model, wanted=(forces, stress))
        found, batches = passes(model, frames, answers, name, most_atoms=most)
        elapsed = model.device.now(clock) - start
    mean = _checked(found, frames, (forces, stress), name)
    apart = zip(*(row[3] for row in found), strict=True) if model.members else ()
    members = tuple(_checked(list(each), frames, (forces, stress), name) for each in apart)
    return replace(mean, calls=len(frames), batches=batches, model_s=elapsed, members=members)


def _checked(
    found: Sequence[tuple[Any, ...]], frames: Sequence[Atoms], wanted: tuple[bool, bool], name: Callable[[int], str]
) -> Evaluation:
    """Energies, and forces and stresses where these are `wanted`, as numbers of the right shapes."""
    forces, stress = wanted
    return Evaluation(
        energies=np.array([_checked_energy(values[0], name(row)) for row, values in enumerate(found)]),
        forces=tuple(_checked_forces(v[1], frames[row], name(row)) for row, v in enumerate(found)) if forces else None,
        stresses=np.array([_checked_stress(v[2], name(row)) for row, v in enumerate(found)]) if stress else None,
    )


def evaluate_with_stress(
    calculator: Calculator | Any, frames: Sequence[Atoms], stressed: NDArray[np.bool_], *, forces: bool = True
) -> Evaluation:
    """Energies (eV) and forces (eV/A) of `frames`, and the stress of those that are `stressed`, shape (n_frames,).

    Each frame is evaluated once: those with a stress one by one, the others in batches, where there are any. Of a
    calculator that has no stress there is none. As `evaluate`, also in what is raised.
    """
    if not stressed.any():
        return evaluate(calculator, frames, forces=forces)
    try:
        return _with_stress(calculator, frames, stressed, forces)
    except EvaluationError as error:
        if not isinstance(error.__cause__, NotImplementedError):
            raise
        return evaluate(calculator, frames, forces=forces)


def _with_stress(
    calculator: Calculator | Any, frames: Sequence[Atoms], stressed: NDArray[np.bool_], forces: bool
) -> Evaluation:
    calls, parts = Calls(), list[tuple[list[int], Evaluation]]()
    for stress in (True, False):
        if rows := np.flatnonzero(stressed == stress).tolist():
            names = [f"frame {row}" for row in rows]
            some = [frames[row] for row in rows]
            found = evaluate(calculator, some, forces=forces, stress=stress, name=names.__getitem__)
            parts.append((rows, calls.add(found)))
    whole, sums = _merged(parts), calls.evaluation()
    members = [_merged([(rows, part.members[n]) for rows, part in parts]) for n in range(len(parts[0][1].members))]
    return replace(whole, calls=sums.calls, batches=sums.batches, model_s=sums.model_s, members=tuple(members))


def _merged(parts: Sequence[tuple[list[int], Evaluation]]) -> Evaluation:
    """One evaluation of several, each with the rows of its frames; no stress is NaN."""
    rows = [row for some, _ in parts for row in some]
    energies, stresses = np.full(len(rows), np.nan), np.full((len(rows), 6), np.nan)
    forces = dict[int, Floats]()
    for some, part in parts:
        energies[some] = part.energies
        forces |= dict(zip(some, part.forces or (), strict=False))
        if part.stresses is not None:
            stresses[some] = part.stresses
    ordered = tuple(forces[row] for row in range(len(rows))) if forces else None
    return Evaluation(energies, ordered, stresses=stresses)


def passes(
    model: Calculator,
    frames: Sequence[Atoms],
    answers: Callable[[Sequence[Atoms]], Sequence[T]],
    name: Callable[[int], str],
    *,
    most_atoms: int,
) -> tuple[list[T], int]:
    """What a model answers for each frame, and in how many forward passes.

    Parameters
    ----------
    answers
        One forward pass over some frames: one answer for each.
    name
        What a frame is called in messages, from its number.
    most_atoms
        The most atoms of one pass (a larger frame goes alone); fewer from where a pass ran out of memory.

    Raises
    ------
    EvaluationError
        If it raises, whatever that is; an `OutOfMemoryError` if a single frame does not fit into memory.
    """
    found: list[T] = []
    row = batches = 0
    while row < len(frames):
        rows = _chunk(frames, row, most_atoms)
        batches += 1
        try:
            found += _forward(model, frames, rows, answers, name)
        except OutOfMemoryError:
            if len(rows) == 1:
                raise
            most_atoms = _atoms(frames, rows) // 2
        else:
            row = rows.stop
    return found, batches


def _chunk(frames: Sequence[Atoms], start: int, batch_atoms: int) -> range:
    """Rows from `start` on whose atoms add up to at most `batch_atoms` (a larger frame goes alone)."""
    stop, atoms = start + 1, len(frames[start])
    while stop < len(frames) and atoms + len(frames[stop]) <= batch_atoms:
        atoms += len(frames[stop])
        stop += 1
    return range(start, stop)


def _atoms(frames: Sequence[Atoms], rows: range) -> int:
    return sum(len(frames[row]) for row in rows)


def _forward(
    model: Calculator,
    frames: Sequence[Atoms],
    rows: range,
    answers: Callable[[Sequence[Atoms]], Sequence[T]],
    name: Callable[[int], str],
) -> Sequence[T]:
    """One forward pass over `rows`, its exceptions turned into one sentence."""
    where = name(rows[0]) if len(rows) == 1 else f"{name(rows[0])} to {name(rows[-1])}"
    try:
        with none_swallowed(), model.guard(where, len(rows)):
            return answers([frames[row] for row in rows])
    except EvaluationError as error:
        raise EvaluationError(f"{where}: {error}") from error
    except (KeyboardInterrupt, TimeUp):
        raise
    except BaseException as error:  # a foreign calculator may raise anything, SystemExit and pytest.skip included
        said, memory = describe(error), exhausted(error, model.identity.device)
        if memory is None:
            raise EvaluationError(f"the calculator raised at {where}: {said}") from error
    # only here the error is gone, and with its traceback the tensors of the failed pass
    release()
    size = f"{_atoms(frames, rows)} atoms in " + ("one structure" if len(rows) == 1 else f"{len(rows)} structures")
    raise OutOfMemoryError(f"out of memory on {memory} with {size} ({where}): {said}")


def _answers(model: Calculator, frames: Sequence[Atoms], wanted: tuple[bool, bool]) -> list[tuple[Any, ...]]:
    """(energy, forces, stress) of each frame as the model gives them, and what each member gives of a committee."""
    if model.members:
        return of_members(model.members, frames, wanted, batched=model.batch is not None)
    if model.batch is not None:
        return _of_batch(model.batch(frames, wanted[0]), len(frames))
    return [_single(model, frame, *wanted) for frame in frames]


def of_members(
    members: Sequence[Calculator], frames: Sequence[Atoms], wanted: tuple[bool, bool], *, batched: bool
) -> list[tuple[Any, ...]]:
    """(energy, forces, stress, each member's own) of each frame: the mean over the members of a committee.

    Parameters
    ----------
    members
        Each is asked in the state of the process that is its own.
    frames
        ASE atoms; never modified.
    wanted
        Whether forces and the stress are; else there is None in their place.
    batched
        Whether each member is asked through its own batched pass.
    """
    apart = []
    for member in members:
        model = member if batched else replace(member, batch=None)
        with model.state.during():
            apart.append(_answers(model, frames, wanted))
    return [(*_mean(each), each) for each in zip(*apart, strict=True)]


def _mean(each: Sequence[tuple[Any, ...]]) -> tuple[Any, Any, Any]:
    """The mean energy, forces and stress of what members say of one frame; None for what they were not asked for."""
    columns = list(zip(*(pair if len(pair) > 2 else (*pair, None) for pair in each), strict=True))
    energy, forces, stress = (
        None if any(part is None for part in column) else np.mean([np.asarray(part, dtype=float) for part in column], 0)
        for column in columns[:3]
    )
    return energy, forces, stress


def _of_batch(found: Sequence[tuple[Any, Any]], asked: int) -> list[tuple[Any, ...]]:
    pairs: list[tuple[Any, ...]] = list(found)
    if len(pairs) != asked:
        raise EvaluationError(f"the batched pass gave {len(pairs)} results for {asked} structures")
    return pairs


def _single(model: Calculator, frame: Atoms, forces: bool, stress: bool) -> tuple[Any, Any, Any]:
    try:
        atoms = model.bench.placed(frame, model.ase)
        # forces first: a calculator that computes only what it is asked for then makes both at once
        # a copy, since a calculator may fill the same array in its next call
        f = copy.deepcopy(atoms.get_forces(apply_constraint=False)) if forces else None
        s = copy.deepcopy(atoms.get_stress(apply_constraint=False)) if stress else None
        return atoms.get_potential_energy(), f, s
    except BaseException:
        model.bench.clear()
        raise


def _as_numbers(found: Any, what: str) -> Floats:
    try:
        if np.iscomplexobj(found):
            raise TypeError("complex numbers")
        return np.asarray(found, dtype=float)
    except Exception as error:  # text, ragged lists, a tensor that still carries its graph, ...
        raise EvaluationError(
            f"{what} cannot be read as numbers: {describe(error)}; found {str(found)[:60]!r}"
        ) from error


def _checked_energy(energy: Any, where: str) -> float:
    array = _as_numbers(energy, f"the energy of {where}")
    if array.size != 1:
        raise EvaluationError(f"the energy of {where} has shape {array.shape}, expected one number")
    value = float(array.reshape(()))
    if not np.isfinite(value):
        raise NonFiniteError(f"the energy of {where} is {value}")
    return value


def _checked_forces(forces: Any, frame: Atoms, where: str) -> Floats:
    array = _as_numbers(forces, f"the forces of {where}")
    if array.shape != (len(frame), 3):
        raise EvaluationError(f"the forces of {where} have shape {array.shape}, expected ({len(frame)}, 3)")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        atom = int(bad[0])
        raise NonFiniteError(
            f"the forces of {where} are not finite: atom {atom} ({frame.get_chemical_symbols()[atom]}) "
            f"has {array[atom].tolist()}, {bad.size} of {len(frame)} atoms in all"
        )
    return array


def _checked_stress(stress: Any, where: str) -> Floats:
    array = _as_numbers(stress, f"the stress of {where}")
    if array.shape != (6,):
        raise EvaluationError(f"the stress of {where} has shape {array.shape}, expected (6,)")
    if not np.isfinite(array).all():
        raise NonFiniteError(f"the stress of {where} is not finite: {array.tolist()}")
    return array
