"""What a simulation is compared with: curves in CSV files, and trajectories of other codes."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.formula import Formula

from mlff_probes.cases.convergence import refuse_unconverged
from mlff_probes.cases.files import beside, named_frames, only, read_frames
from mlff_probes.cases.importers.continuity import numbered_as_first, refuse_gaps, refuse_repeated, refuse_spacing
from mlff_probes.cases.labels import NEEDED, FrameLabels, frame_labels, how_to_map, labels_note, require_stated
from mlff_probes.core.errors import InputError
from mlff_probes.core.structures import derived
from mlff_probes.core.trajectory import BOLTZMANN_EV_K, KINETIC_EV, Floats, ReferenceDynamics, Trajectory
from mlff_probes.measure.dynamics.protocols import MolecularDynamics, ReferenceTrajectory
from mlff_probes.methods.analysis.sampling import aliasing, sampled_motion
from mlff_probes.methods.analysis.statistics import Unresolved
from mlff_probes.methods.analysis.velocities import rounding_noise, rounding_step, velocities_from_positions
from mlff_probes.methods.constraints import Freedom
from mlff_probes.methods.simulation.trajectory import unwrapped

LEAST_POINTS = 8
"""A curve of fewer points is a table of something else."""

LEAST_SAMPLES = 20
"""A trajectory of fewer samples has no averages."""


DRIFTING = 10.0
"""A drift whose three degrees of freedom are so many times as hot as all others is none of heat,"""

AT_REST = 0.01
"""and one that is so many times as hot is none."""

NOISE_SAID = 0.01
"""Share of the kinetic energy above which the noise of rounded positions is said."""

FS_PER_PS = 1000.0


def dynamics_case(
    file: Path, protocol: MolecularDynamics
) -> tuple[tuple[Atoms], None, tuple[str, ...], ReferenceDynamics]:
    """What a case file says of a simulation: the frame that it starts from, notes, and what it is compared with.

    Raises
    ------
    InputError
        If a file is missing or unusable.
    """
    structure, given = beside(file), protocol.structure
    if given is None:
        frames = read_frames(structure)
    elif structure.exists() and (file.parent / given.partition("@")[0]).resolve() != structure.resolve():
        raise InputError(file, f"both `structure` and {structure.name} are given", "keep one")
    else:
        structure, frames = named_frames(file, given)
    if problem := protocol.frame_problem(frames):
        raise InputError(structure, f"{problem} ([protocol] of {file.name})")
    first = frames[0]
    known = {curve for name in protocol.units(frames) if (curve := protocol.curve(name))}
    for name in protocol.curves:
        if name not in known:
            raise InputError(file, f"[protocol.curves] has no '{name}' here", f"it has {', '.join(sorted(known))}")
    curves = {name: read_curve(only(file, path)) for name, path in protocol.curves.items()}
    trajectory, said, unmapped = _reference_trajectory(file, protocol, first)
    unused = {"constraints": bool(first.constraints), "velocities": first.has("momenta")}
    left_out = ", ".join(name for name, there in unused.items() if there)
    notes = (f"Not used of {structure.name}: {left_out}.",) if left_out else ()
    return (derived(first, constraints=False),), None, (*notes, *said), ReferenceDynamics(curves, trajectory, unmapped)


def _reference_trajectory(
    file: Path, protocol: MolecularDynamics, start: Atoms
) -> tuple[Trajectory | None, tuple[str, ...], str]:
    """The trajectory that a case is compared with, which must be of the same material, and what is said of it."""
    given = protocol.trajectory
    if given is None:
        return None, (), ""
    source = only(file, given.file)
    frames = read_frames(source)[given.skip :]
    refuse_unconverged(frames, file)
    formulas = [Formula.from_dict(Counter(each.get_chemical_symbols())).reduce()[0] for each in (start, *frames[:1])]
    if len(set(map(str, formulas))) > 1:
        raise InputError(source, f"a trajectory of {formulas[1]} cannot be compared with {formulas[0]} ({file.name})")
    found, notes, unmapped = trajectory_of(frames, given, str(source))
    return found, tuple(f"{source.name}: {note}" for note in notes), unmapped


def read_curve(file: Path) -> tuple[Floats, Floats]:
    """Two columns of a CSV file, separated by commas or blanks: x rising, y nowhere negative.

    Lines that begin with ``#``, and a first line of words, are left out.

    Raises
    ------
    InputError
        If it is missing, holds anything else, or too few points.
    """
    try:
        stored = file.read_bytes()
        text = (gzip.decompress(stored) if file.suffix == ".gz" else stored).decode("utf-8-sig")
        lines = text.splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(file, f"the curve cannot be read ({error})") from error
    rows = [(number, line.replace(",", " ").replace(";", " ").split()) for number, line in enumerate(lines, 1)]
    rows = [(number, row) for number, row in rows if row and not row[0].startswith("#")]
    if rows and not _numbers(rows[0][1]):
        rows = rows[1:]  # the names of the columns
    for number, row in rows:
        if len(row) != 2 or not _numbers(row):
            raise InputError(file, f"line {number} must hold two numbers, x and y, found {' '.join(row)[:60]!r}")
    table = np.array([[float(text) for text in row] for _, row in rows]).reshape(-1, 2)
    if len(table) < LEAST_POINTS:
        raise InputError(file, f"a curve needs at least {LEAST_POINTS} points, found {len(table)}")
    x, y = table.T
    if not np.isfinite(table).all() or (np.diff(x) <= 0).any() or (y < 0).any() or not y.any():
        raise InputError(file, "x must rise from line to line, y be finite, nowhere negative and somewhere positive")
    return x, y


def _numbers(row: Sequence[str]) -> bool:
    try:
        [float(text) for text in row]
    except ValueError:
        return False
    return True


def trajectory_of(
    frames: Sequence[Atoms], given: ReferenceTrajectory, where: str
) -> tuple[Trajectory, tuple[str, ...], str]:
    """The trajectory that `frames` are: those of a file `where`, but for the first `given.skip`.

    Velocities are those of the frames, or else worked out from the positions (`velocities_from_positions`), but for
    the first and the last frames; so they are where all that the frames carry are zero, as some writers leave them.
    They are those seen from the centre of mass, whose motion is no heat where the crystal drifts, and has three of 3N
    degrees of freedom where it is.
    Where frames carry no energies or forces, these are NaN.

    Returns
    -------
    trajectory, notes, unmapped
        What a reader must know of it, and under which other names energies or forces that are missing may be there.

    Raises
    ------
    InputError
        If the frames are too few, are not one trajectory (`mlff_probes.cases.importers.continuity`), or have labels
        that cannot be used (`frame_labels`). Messages number the frames as in the file.
    """
    _refuse_held(frames, where)
    if len(frames) < LEAST_SAMPLES:
        raise InputError(where, f"a trajectory needs at least {LEAST_SAMPLES} frames, found {len(frames)}")
    if frames[0].cell.rank < 3 or not frames[0].pbc.all():
        raise InputError(where, "the frames must be periodic in all three directions, in a cell with a volume")
    frames, renumbered = numbered_as_first(frames, given.interval_fs, where, given.skip, reorder=given.reorder_atoms)
    refuse_repeated(frames, where, given.skip)
    labels = [frame_labels(frame, given, where, index) for index, frame in enumerate(frames, given.skip)]
    require_stated(labels, given, frames, where)
    lacking = [what for what in NEEDED if not any(what in each.values for each in labels)]
    found = _with_velocities(_trajectory(frames, given.interval_fs, labels), frames)
    if given.reorder_atoms is not False:
        refuse_gaps(frames, found.positions[0], where, given.skip)
        refuse_spacing(found, where)
    notes = (*renumbered, *labels_note(labels), *_momentum_note(found), *_digits_note(found))
    return found.without_drift(), notes, how_to_map(frames, lacking)


def _refuse_held(frames: Sequence[Atoms], where: str) -> None:
    """Refuse frames with constraints, and those whose constraints were lost but show: some atoms never move."""
    all_move = "take a trajectory in which all atoms move"
    if held := max((int(Freedom.of(frame).held(len(frame)).any(axis=1).sum()) for frame in frames), default=0):
        raise InputError(
            where,
            f"constraints hold {held} atoms, which a simulation lets move",
            f"{all_move}, or take off constraints that were not in force",
        )
    if len({len(frame) for frame in frames}) != 1:
        return
    first = frames[0]
    moved = np.any([(frame.positions != first.positions).any(axis=1) for frame in frames], axis=0)
    if moved.any() and not moved.all():
        still = np.flatnonzero(~moved)
        raise InputError(
            where,
            f"{len(still)} of {len(first)} atoms, the first of them {still[0]}, stay where they are in all frames, as "
            "if a constraint held them, which a simulation lets move",
            all_move,
        )


def temperature_of(trajectory: Trajectory) -> float | None:
    """The mean temperature of a trajectory, K; None where its positions are too sparse or too few for velocities."""
    if trajectory.differentiated:
        try:
            found = sampled_motion(trajectory, np.full(len(trajectory.numbers), True))
        except Unresolved:
            return None
        if found is not None and aliasing(found):
            return None
    return float(trajectory.moving.temperatures.mean())


def _trajectory(frames: Sequence[Atoms], interval_fs: float, labels: Sequence[FrameLabels]) -> Trajectory:
    first = frames[0]
    cells = np.array([frame.cell.array for frame in frames])[None]
    positions = unwrapped(np.array([frame.positions for frame in frames])[None], cells, first.pbc)
    nothing = np.full((len(first), 3), np.nan)
    return Trajectory(
        numbers=first.numbers,
        masses=first.get_masses(),
        pbc=first.pbc,
        time_fs=np.arange(len(frames), dtype=float) * interval_fs,
        positions=positions,
        velocities=np.zeros_like(positions),
        forces=np.array([each.values.get("forces", nothing) for each in labels])[None],
        energies=np.array([each.values.get("energy", np.nan) for each in labels], dtype=float)[None],
        cells=cells,
    )


def _with_velocities(trajectory: Trajectory, frames: Sequence[Atoms]) -> Trajectory:
    if all(frame.has("momenta") for frame in frames) and any(frame.get_momenta().any() for frame in frames):
        trajectory.velocities[0] = [frame.get_velocities() * units.fs for frame in frames]
        return trajectory
    trajectory.velocities[:] = velocities_from_positions(trajectory.positions, trajectory.interval_fs)
    step = rounding_step([frame.positions for frame in frames], trajectory.cells[0])
    noise = rounding_noise(step, trajectory.interval_fs)
    return replace(trajectory, differentiated=True, rounded=step, velocity_noise=noise)


def _momentum_note(trajectory: Trajectory) -> tuple[str, ...]:
    """What is said of a crystal whose whole drifts faster than heat makes it, or not at all."""
    t = trajectory.moving
    if not t.samples or len(t.numbers) == 1:
        return ()
    drift, kelvin = (t.drift**2).sum(axis=-1), float(t.without_drift().temperatures.mean())
    of_whole = float(t.masses.sum() * drift.mean() * KINETIC_EV / (3 * BOLTZMANN_EV_K))
    if of_whole > DRIFTING * kelvin:
        return (
            f"All atoms drift together, at up to {FS_PER_PS * np.sqrt(drift.max()):.2g} A/ps: temperatures and spectra "
            f"are without that motion (as heat of all atoms it would be {of_whole / len(t.numbers):.2g} K).",
        )
    if of_whole > AT_REST * kelvin or not kelvin or temperature_of(trajectory.without_drift()) is None:
        return ()
    return (
        f"The total momentum is zero: the temperature is that of 3N - 3 degrees of freedom, {kelvin:.1f} K on average "
        f"(of 3N, as most codes print it, {kelvin * (1 - 1 / len(t.numbers)):.1f} K).",
    )


def _digits_note(trajectory: Trajectory) -> tuple[str, ...]:
    """What is said of positions with too few digits."""
    t = trajectory.moving
    if not t.samples or t.noise_share < NOISE_SAID:
        return ()
    return (
        f"Positions are rounded to {t.rounded:.2g} A, which leaves {t.noise_share:.1%} of the kinetic energy to noise; "
        "temperatures are without it.",
    )
