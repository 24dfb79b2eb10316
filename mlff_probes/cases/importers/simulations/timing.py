"""How far apart the frames of a simulation are, and whether time goes on evenly from each to the next."""

from __future__ import annotations

import numpy as np

from mlff_probes.cases.importers.continuity import ENOUGH_ATOMS
from mlff_probes.cases.importers.simulations.stated import Floats, Simulated
from mlff_probes.core.errors import InputError
from mlff_probes.core.trajectory import Trajectory

EVEN = 1e-3
"""Part by which intervals may differ, besides what the printed decimals leave."""

DECIMALS_FS = 2e-3
"""Times are printed with three decimals of a femtosecond at least."""

WRONG = 0.3
"""Part by which the interval may be off from what velocities say: more than the mean of two velocities is off,"""

SMOOTH = 0.8
"""where neighbouring velocities are so much alike (their correlation)."""

CHANGE = 1.6
"""Steps that become so many times as long or as short at once, and stay so, are those of another timestep,"""

OUT_OF_LINE = 8.0
"""if lengths of steps change so many times less elsewhere."""

PART = "give a part in which all is even: --skip=N leaves out the first N frames"

AROUND = 5
"""Steps before and after that a step is compared with."""


def interval_fs(said: Simulated, given: float | None, timestep_fs: float | None, where: str) -> float:
    """Time between two frames, fs: as the files say, or else as it is `given`.

    Parameters
    ----------
    said
        What was read.
    given
        What the user says, fs.
    timestep_fs
        The step of the integrator, fs, of the files or the user; needed where files number steps.
    where
        Named in what is raised.

    Raises
    ------
    InputError
        If nobody says it, two say different things, or the frames are not evenly spaced in time.
    """
    times = said.times_fs
    if times is None and said.steps is not None and timestep_fs is not None:
        times = said.steps * timestep_fs
    order = next((each for each in (times, said.steps, said.numbers) if each is not None), None)
    if order is not None:
        _refuse_uneven(order, where, steps=times is None)
    known = float(np.median(np.diff(times))) if times is not None and len(times) > 1 else None
    if known is not None and given is not None and abs(known - given) > max(EVEN * known, DECIMALS_FS):
        raise InputError(where, f"its frames are {known:g} fs apart, but --interval-fs says {given:g}", "leave it out")
    found = known or given or said.timestep_fs
    if found is None:
        raise InputError(
            where, "does not say how far apart its frames are", "say so, in fs: --interval-fs=10 (and --timestep-fs=1)"
        )
    return float(np.round(found, 6))


def _refuse_uneven(times: Floats, where: str, *, steps: bool) -> None:
    """Refuse times that stand still, go back, or go on in steps of two lengths."""
    unit = "" if steps else " fs"
    apart = np.diff(times)
    if len(apart) == 0:
        return
    back = np.flatnonzero(apart <= 0)
    if len(back):
        at = int(back[0])
        same = int(np.searchsorted(times[: at + 1], times[at + 1]))
        raise InputError(
            where,
            f"time goes back at frame {at + 1}, from {times[at]:g} to {times[at + 1]:g}{unit} (a run that went on from "
            f"a checkpoint?): frames {same} to {at} come again",
            f"take frames {same} to {at} out",
        )
    usual = float(np.median(apart))
    odd = np.flatnonzero(np.abs(apart - usual) > max(EVEN * usual, 0.0 if steps else DECIMALS_FS))
    if len(odd):
        at = int(odd[0])
        raise InputError(
            where,
            f"frames {at} and {at + 1} are {apart[at]:g}{unit} apart and most others {usual:g}, {len(odd)} of "
            f"{len(apart)} intervals are other ones",
            PART,
        )


def refuse_changes_of_pace(trajectory: Trajectory, where: str, skipped: int = 0) -> None:
    """Refuse frames that follow one another at another pace from some frame on, or backwards.

    Where velocities are stored and go on smoothly, the time from each frame to the next is sum m dx.v / sum m v.v, with
    v the mean of both. Without them, steps that become longer or shorter at once, and stay so, are those of another
    timestep: velocities change gradually. Gaps, and an interval that is wrong throughout, are seen before
    (`mlff_probes.cases.importers.continuity`).

    Raises
    ------
    InputError
        With the frame, numbered as in the file, of which the first `skipped` are left out.
    """
    moved = np.diff(trajectory.positions[0], axis=0)
    moved -= np.average(moved, axis=1, weights=trajectory.masses)[:, None]
    trajectory = trajectory.without_drift()
    if not trajectory.differentiated and _smooth(trajectory.velocities[0], trajectory.masses):
        _refuse_other_pace(trajectory, moved, where, skipped)
    elif len(trajectory.numbers) >= ENOUGH_ATOMS:
        lengths = np.sqrt(np.einsum("fax,fax,a->f", moved, moved, trajectory.masses) / trajectory.masses.sum())
        _refuse_other_steps(lengths, where, skipped)


def _smooth(velocities: Floats, masses: Floats) -> bool:
    """Whether velocities, shape (n_frames, n_atoms, 3), go on smoothly from frame to frame."""
    if len(velocities) < 2 * AROUND + 1 or not np.isfinite(velocities).all():
        return False
    first, second = velocities[:-1], velocities[1:]
    alike, size = (np.einsum("fax,fax,a->", first, other, masses) for other in (second, first))
    return bool(alike > SMOOTH * size)


def _refuse_other_pace(trajectory: Trajectory, moved: Floats, where: str, skipped: int) -> None:
    """Refuse time that goes backwards, or at another pace than is stated, by the velocities of the frames."""
    masses, stated = trajectory.masses, trajectory.interval_fs
    v = (trajectory.velocities[0, :-1] + trajectory.velocities[0, 1:]) / 2
    squares = np.einsum("fax,fax,a->f", v, v, masses)
    paces = np.einsum("fax,fax,a->f", moved, v, masses) / np.maximum(squares, np.finfo(float).tiny)
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(paces, AROUND), axis=1)
    odd = np.flatnonzero(np.abs(smooth - stated) > WRONG * stated)
    if not len(odd):
        return
    at, pace = skipped + int(odd[0]) + AROUND // 2, float(smooth[odd[0]])
    if len(odd) == len(smooth) and pace > 0:
        problem = f"its velocities say that the frames are some {pace:.2g} fs apart, and not {stated:g} fs"
        raise InputError(where, problem, "state the time between frames (--interval-fs), which is no timestep")
    how = "backwards: a segment was turned round" if pace < 0 else f"some {pace:.2g} fs apart, and not {stated:g}"
    raise InputError(where, f"from frame {at} on, its velocities say, frames are {how}", PART)


def _refuse_other_steps(lengths: Floats, where: str, skipped: int) -> None:
    """Refuse steps that are of another length from some frame on; `lengths` (n_steps,), A."""
    if len(lengths) < 2 * AROUND + 1 or not lengths.all():
        return
    logs = np.log(lengths)
    changes = np.diff(logs)
    sudden = max(OUT_OF_LINE * float(np.median(np.abs(changes))), float(np.log(CHANGE)))
    for at in range(AROUND, len(lengths) - AROUND):
        change = float(changes[at - 1])
        stays = np.median(logs[at : at + AROUND]) - np.median(logs[at - AROUND : at])
        if abs(change) >= sudden and abs(stays - change) < np.log(CHANGE) / 2:
            raise InputError(
                where,
                f"from frame {skipped + at} on the atoms move {np.exp(change):.2g} times as far from frame to frame as "
                "before, at once: another timestep, or another choice of frames",
                PART,
            )
