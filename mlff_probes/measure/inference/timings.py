"""What a timing says: which kind of call it was, its parts, what it means for a simulation."""

from __future__ import annotations

import numpy as np

from mlff_probes.core.records import Timing


def is_latency(timing: Timing) -> bool:
    """Whether it is a size of the ladder."""
    return timing.name.startswith("latency")


def is_batch(timing: Timing) -> bool:
    """Whether it is several structures at once."""
    return timing.structures > 1


def shares(staged: Timing) -> dict[str, float]:
    """The parts of a call as fractions of it, what is in none of them as `other`."""
    mean = float(np.mean(staged.seconds))
    found = {stage: seconds / mean for stage, seconds in staged.stages.items()}
    return found | {"other": max(1.0 - sum(found.values()), 0.0)}


def ns_per_day(seconds: float, timestep_fs: float) -> float:
    """Nanoseconds of molecular dynamics a day at so many seconds a step."""
    return 86400 / seconds * timestep_fs * 1e-6
