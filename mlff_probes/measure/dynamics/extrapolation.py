"""How far the frames of a simulation lie from training frames, in the space of a model's descriptors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.core.case import Case
from mlff_probes.core.errors import EvaluationError
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.progress import Report
from mlff_probes.core.records import Samples, Value
from mlff_probes.core.structures import in_parts
from mlff_probes.core.trajectory import Trajectory
from mlff_probes.measure.dynamics.observables import FS_PER_PS, thinned
from mlff_probes.measure.dynamics.protocols import MolecularDynamics
from mlff_probes.measure.representation.protocols import DISTANCES
from mlff_probes.measure.representation.training import PART_ATOMS, Far, describer, distance, learn, seen_on
from mlff_probes.measure.results import missing, not_supplied

FRAMES = 60
"""Frames of all replicas together that are described, or a few more: neighbouring ones say the same."""


def beyond(
    calculator: Calculator, case: Case[MolecularDynamics], trajectory: Trajectory, calls: Calls, report: Report
) -> tuple[dict[str, Value], dict[str, list[Any]]]:
    """`q_beyond`, `t2_beyond` and `q_ratio` of a simulation, as `extrapolation` has them of frames, and Q over time.

    Of some `FRAMES` frames of what was simulated, however long, each as far outside as its farthest atom. A model that
    fails at its descriptors has an error here, and nowhere else. Nothing where the case names no training frames.
    """
    wanted = case.protocol.extrapolation
    if wanted is None or not trajectory.samples:
        return {}, {}
    rows = thinned(trajectory.samples, max(-(-FRAMES // trajectory.replicas), 2))
    try:
        describe = describer(calculator, wanted, [*case.training, *case.frames], calls)
        report("descriptors of the training frames")
        learned = learn(calculator, wanted, case.training, describe)
        spaces = learned.spaces()
        report(f"descriptors of {len(rows) * trajectory.replicas} frames of the simulation")
        frames = (trajectory.atoms(replica, row) for row in rows for replica in range(trajectory.replicas))
        far = Far.joined([spaces.distances(part, describe(part).atoms) for part in in_parts(frames, PART_ATOMS)])
    except EvaluationError as error:
        return {name: missing(unit, str(error)) for name, unit in DISTANCES.items()}, {}
    caveat = seen_on(wanted, learned, learned.held_out_beyond())
    return _values(far, caveat), _over_time(far, trajectory, rows)


def _values(far: Far, caveat: str) -> dict[str, Value]:
    known = ~np.isnan(far.q)
    if not known.any():
        why = "; ".join(dict.fromkeys(filter(None, far.why_not)))
        return {name: not_supplied(unit, why) for name, unit in DISTANCES.items()}
    samples = Samples(used=len(far.q), of=len(far.q), what="evenly spaced frames of the simulation")
    return {
        name: Value(value=distance(name, far, known), unit=unit, samples=samples, caveat=caveat)
        for name, unit in DISTANCES.items()
    }


def _over_time(far: Far, trajectory: Trajectory, rows: NDArray[np.int64]) -> dict[str, list[Any]]:
    """The largest Q over its limit of all replicas, at each time that is looked at; empty where there is none."""
    if np.isnan(far.q).any():
        return {}
    time = trajectory.time_fs[rows] / FS_PER_PS
    return {"q_time_ps": time.tolist(), "q_ratio": far.q.reshape(len(rows), -1).max(axis=1).tolist()}
