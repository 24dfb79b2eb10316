"""Whether the frames of a trajectory follow one another in time: none comes twice, and all number their atoms alike."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mlff_probes.core.errors import InputError
from mlff_probes.core.structures import renumbered
from mlff_probes.core.trajectory import Trajectory
from mlff_probes.measure.migration.atom_order import mapping, order_beside
from mlff_probes.methods.analysis.spacing import spacing_by_forces, spacing_by_velocities
from mlff_probes.methods.simulation.trajectory import unwrapped

SAME_A = 1e-6
"""Frames in which no atom is farther from its place in the other, A, are the same: thermal motion goes a thousand
times as far within a femtosecond, and files carry about so many decimals."""

FAR_A = 1.0
"""Atoms that moved by less, A, have not changed places: even those of H2 are 0.7 A apart, and each moves so far."""

HOT_K = 2000.0
"""Atoms may have been renumbered where one of them is faster than the root mean square at this temperature,"""

TYPICAL = 3.0
"""or steps so many times as far as the longest step of a frame usually is."""

MOST_MATCHED = 50
"""So many pairs of frames, those with the longest steps, are matched at most: each takes some 0.1 s for 200 atoms."""

JUMP, AROUND = 4.0, 2
"""A root mean square step so many times as long as those of so many steps before and after is no motion: velocities do
not change as fast, and where frames are too sparse for them all steps are about as long."""

ENOUGH_ATOMS = 8
"""Of fewer atoms the steps may by chance be as unlike."""

SAME_SPACING = 0.2
"""By which part of it the time between frames may differ from what velocities or forces say: they say it within 1 %,
or within 13 % under a thermostat of 0.1 / fs."""

PROJECTIONS = 3
"""Numbers, complex ones, by which frames are told apart before they are compared."""


def refuse_repeated(frames: Sequence[Atoms], where: str, skipped: int = 0) -> None:
    """Refuse frames that come twice: time stands still, or goes back.

    Messages number the frames as in the file, of which the first `skipped` are not among `frames`.

    Raises
    ------
    InputError
        With the numbers of the frames; where a run went on from a checkpoint, of both blocks.
    """
    twins = _twins(frames)
    same = [later for later, sooner in sorted(twins.items()) if later - sooner == 1]
    if len(same) == len(frames) - 1:
        raise InputError(where, "all frames are the same structure: nothing moves", "give the frames of a simulation")
    if same:
        at, more = skipped + same[0] - 1, f", as are {len(same) - 1} more" if len(same) > 1 else ""
        raise InputError(
            where,
            f"frames {at} and {at + 1} are the same structure{more} (a restart that was written twice?)",
            "take one of each two out" if more else "take one of them out",
        )
    if twins:
        raise InputError(where, _repetition(twins, skipped), "take one of the two out")


def _repetition(twins: dict[int, int], skipped: int) -> str:
    """Which frames come again, as `_twins` found them: the first block."""
    first = last = min(twins)
    back = first - twins[first]
    while twins.get(last + 1) == last + 1 - back:
        last += 1
    later, sooner = (_block(skipped + first - off, skipped + last - off) for off in (0, back))
    others = len(twins) - (last - first + 1)
    more = f", as {others} more repeat others" if others else ""
    return f"{later} repeat{'s' * (first == last)} {sooner}{more} (a run that went on from a checkpoint?)"


def _block(start: int, end: int) -> str:
    return f"frame {start}" if start == end else f"frames {start} to {end}"


def _twins(frames: Sequence[Atoms]) -> dict[int, int]:
    """Frames that are the same structure as an earlier one, which may be written in another cell: later -> earlier.

    Frames are told apart by the mean of exp(2 pi i s) over their fractional coordinates s, with weights by chance,
    which no shift by a cell vector changes; those that are nearest by it are compared.
    """
    scaled = np.array([frame.cell.scaled_positions(frame.positions) for frame in frames])
    weights = np.random.default_rng(0).uniform(size=(scaled[0].size, PROJECTIONS)) / scaled[0].size
    projected = np.exp(2j * np.pi * scaled.reshape(len(frames), -1)) @ weights
    numbers = np.hstack([projected.real, projected.imag])
    nearest = cKDTree(numbers).query(numbers, k=2)[1]
    pairs = {tuple(sorted((index, int(other)))) for index, row in enumerate(nearest) for other in row if other != index}
    pairs |= set(pairwise(range(len(frames))))
    found: dict[int, int] = {}
    for sooner, later in sorted(pairs):
        off = scaled[later] - scaled[sooner]
        if np.abs((off - off.round()) @ frames[later].cell.array).max() < SAME_A:
            found[later] = sooner  # the last of several
    return found


def numbered_as_first(
    frames: Sequence[Atoms], interval_fs: float, where: str, skipped: int = 0, *, reorder: bool | None
) -> tuple[list[Atoms], tuple[str, ...]]:
    """The frames with their atoms numbered as in the first, and a note on what was mapped.

    Frames `interval_fs` apart between which an atom steps farther than atoms do are matched (`order_beside`), as are
    those whose elements stand in another order.

    Parameters
    ----------
    reorder
        Whether to map them; None to refuse what would be mapped, and False not to look.

    Raises
    ------
    InputError
        If the frames are of other atoms, or are numbered in another order and nobody said what to do.
    """
    for index, frame in enumerate(frames):
        if not np.array_equal(np.sort(frame.numbers), np.sort(frames[0].numbers)):
            raise InputError(where, f"frame {skipped + index} has other atoms than frame {skipped}")
    found, order, changed = list(frames), np.arange(len(frames[0])), ""
    if reorder is False:
        return found, ()
    for index in _jumps(frames, interval_fs, most=len(frames) if reorder else MOST_MATCHED):
        frame = renumbered(frames[index], order)
        step = order_beside(found[index - 1], frame)
        if (step == np.arange(len(step))).all():
            continue
        number = skipped + index
        if reorder is None:
            raise InputError(
                where,
                f"from frame {number} on atoms seem to be numbered in another order: {mapping(step)}",
                "number them alike, or state reorder_atoms = true to have them mapped (false where they change places)",
            )
        changed = changed or f"Atoms were renumbered as in the first frame from frame {number} on: {mapping(step)}."
        order = order[step]
        found[index:] = [renumbered(each, order) for each in frames[index:]]
    return found, (changed,) if changed else ()


def refuse_gaps(frames: Sequence[Atoms], positions: NDArray[np.float64], where: str, skipped: int = 0) -> None:
    """Refuse frames that do not follow one another at equal intervals: some were left out, or two runs were joined.

    Parameters
    ----------
    positions
        Of the `frames`, unwrapped, A, shape (n_frames, n_atoms, 3).

    Raises
    ------
    InputError
        With the numbers of the frames.
    """
    if len(frames[0]) < ENOUGH_ATOMS:
        return
    steps = np.diff(positions, axis=0)
    steps -= np.average(steps, axis=1, weights=frames[0].get_masses())[:, None]
    far = np.sqrt((steps**2).sum(axis=2).mean(axis=1))
    beside = np.pad(far, AROUND)
    shifts = [shift for shift in range(2 * AROUND + 1) if shift != AROUND]
    times = far / np.max([beside[shift : shift + len(far)] for shift in shifts], axis=0).clip(SAME_A)
    at = int(np.argmax(times))
    if times[at] > JUMP:
        raise InputError(
            where,
            f"between frames {skipped + at} and {skipped + at + 1} atoms move {times[at]:.0f} times as far as between "
            "those around (frames that were left out, or another run?)",
            "give one run with frames at equal intervals; `skip` leaves out those at the beginning",
        )


def refuse_spacing(trajectory: Trajectory, where: str) -> None:
    """Refuse a time between frames at which atoms would not go as far as their velocities and forces say.

    Where these are not known, or frames are too sparse, nothing is said.

    Raises
    ------
    InputError
        With the time that it seems to be.
    """
    t, seen = trajectory, dict[str, float | None]()
    if not t.differentiated:
        seen["velocities"] = spacing_by_velocities(t.positions[0], t.velocities[0], t.interval_fs)
    if np.isfinite(t.forces).all():
        seen["forces"] = spacing_by_forces(t.positions[0], t.forces[0], t.masses, t.interval_fs)
    for what, spacing in seen.items():
        if spacing is not None and abs(spacing / t.interval_fs - 1) > SAME_SPACING:
            if not spacing:
                raise InputError(where, f"atoms do not move as the {what} of the frames say: these are of other frames")
            raise InputError(
                where,
                f"by their positions and {what} the frames are {spacing:.3g} fs apart, but interval_fs is "
                f"{t.interval_fs:g}",
                f"state the time between frames of the file, not that of a step; or mend the units of the {what}",
            )


def _jumps(frames: Sequence[Atoms], interval_fs: float, *, most: int) -> list[int]:
    """The frames before which atoms may have been renumbered, at most so many: those with the longest steps."""
    cells = np.array([frame.cell.array for frame in frames])
    positions = unwrapped(np.array([frame.positions for frame in frames]), cells, frames[0].pbc)
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=-1)
    longest = steps.max(axis=1)
    hot = np.sqrt(3 * units.kB * HOT_K / frames[0].get_masses()) * units.fs * interval_fs
    far = (steps > np.maximum(FAR_A, hot)).any(axis=1) | (longest > max(FAR_A, TYPICAL * np.median(longest)))
    far |= [(one.numbers != other.numbers).any() for one, other in pairwise(frames)]
    at = np.flatnonzero(far)
    return sorted(int(index) + 1 for index in at[np.argsort(-longest[at], kind="stable")][:most])
