"""How far the frames of a simulation lie from training frames, in the space of a model's descriptors."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlff_probes.calculators.base import Calculator
from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.progress import Report
from mlff_probes.core.protocol import PURE
from mlff_probes.core.records import Samples, Value
from mlff_probes.core.structures import in_parts
from mlff_probes.core.trajectory import Trajectory
from mlff_probes.measure.dynamics.observables import FS_PER_PS, thinned
from mlff_probes.measure.dynamics.protocols import MolecularDynamics
from mlff_probes.measure.representation.protocols import SHARE
from mlff_probes.measure.representation.training import (
    PART_ATOMS,
    Far,
    describer,
    learn,
    seen_on,
    share_beyond,
)
from mlff_probes.measure.results import not_supplied

FRAMES = 60
"""Frames of all replicas together, at most, that are described: neighbouring ones say the same."""


def beyond(
    calculator: Calculator, case: Case[MolecularDynamics], trajectory: Trajectory, calls: Calls, report: Report
) -> tuple[dict[str, Value], dict[str, list[Any]]]:
    """`q_beyond` and `q_ratio` of a simulation, as `extrapolation` has them of frames, and Q over time.

    Of `FRAMES` frames of the production, however long, each as far outside as its farthest atom.
    """
    wanted = case.protocol.extrapolation
    assert wanted is not None
    describe = describer(calculator, wanted, [*case.training, *case.frames], calls)
    report("descriptors of the training frames")
    learned = learn(calculator, wanted, case.training, describe)
    spaces = learned.spaces()
    rows = thinned(trajectory.samples, -(-FRAMES // trajectory.replicas))
    report(f"descriptors of {len(rows) * trajectory.replicas} frames of the simulation")
    frames = (trajectory.atoms(replica, row) for row in rows for replica in range(trajectory.replicas))
    far = Far.joined([spaces.distances(part, describe(part).atoms) for part in in_parts(frames, PART_ATOMS)])
    caveat = seen_on(wanted, learned, learned.held_out_beyond())
    return _values(far, caveat), _over_time(far, trajectory, rows)


def _values(far: Far, caveat: str) -> dict[str, Value]:
    known = far.q[~np.isnan(far.q)]
    if not known.size:
        why = "; ".join(dict.fromkeys(filter(None, far.why_not)))
        return {"q_beyond": not_supplied(SHARE, why), "q_ratio": not_supplied(PURE, why)}
    samples = Samples(used=known.size, of=known.size, what="frames of the simulation")
    return {
        "q_beyond": Value(value=share_beyond(known), unit=SHARE, samples=samples, caveat=caveat),
        "q_ratio": Value(value=float(np.median(known)), unit=PURE, samples=samples, caveat=caveat),
    }


def _over_time(far: Far, trajectory: Trajectory, rows: Any) -> dict[str, list[Any]]:
    """The largest Q over its limit of all replicas, at each time that is looked at; empty where there is none."""
    if np.isnan(far.q).any():
        return {}
    time = trajectory.time_fs[rows] / FS_PER_PS
    return {"q_time_ps": time.tolist(), "q_ratio": far.q.reshape(len(rows), -1).max(axis=1).tolist()}
