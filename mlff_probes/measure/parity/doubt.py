"""Whether the members of a committee differ most where their mean is wrong most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlff_probes.core.evaluation import Evaluation

Floats = NDArray[np.float64]

NO_COMMITTEE = "one model has no spread; a committee (committee=a.model+b.model) has"


def force_spread(members: Sequence[Evaluation], reference: Sequence[Floats]) -> Floats:
    """Spread of the forces of each frame over the members, eV/A, shape (n_frames,).

    Root mean square, over the components whose `reference` is no NaN, of the standard deviation over the members; NaN
    for a frame without any.
    """
    found = []
    for row, labels in enumerate(reference):
        each = np.array([member.forces[row] for member in members if member.forces is not None])
        variance = each.var(axis=0, ddof=1)[~np.isnan(labels)]
        found.append(float(np.sqrt(variance.mean())) if variance.size else np.nan)
    return np.array(found)
