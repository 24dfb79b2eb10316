"""Whether a model is wrong most where it doubts itself most."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mlff_probes.core.protocol import PURE
from mlff_probes.core.records import Samples, Value
from mlff_probes.measure.results import missing

Floats = NDArray[np.float64]

FEWEST = 4
"""Frames below which a rank correlation has no interval."""

NO_ERROR = "without an error of their own"
"""Why frames are left out: alone in their composition, without labels, or all of their force components are zeroed."""


def rank_correlation(doubt: Floats, errors: Floats, *, name: str = "spread") -> Value:
    """Spearman's rank correlation, over frames, of a doubt in a model (called `name`) with the size of its error.

    Both have the shape (n_frames,); a frame whose error is NaN is left out. The interval takes frames as independent;
    it is that of Fisher's z with the variance (1 + r^2 / 2) / (n - 3) of Bonett and Wright, Psychometrika 65, 23
    (2000).
    """
    known = ~np.isnan(errors)
    doubt, errors, n = doubt[known], np.abs(errors[known]), int(known.sum())
    if n < FEWEST:
        return missing(PURE, f"{n} frames have an error, a rank correlation needs {FEWEST}", unresolved=True)
    if np.ptp(doubt) == 0 or np.ptp(errors) == 0:
        return missing(PURE, f"all frames have the same {name}, or the same error", unresolved=True)
    from scipy.stats import spearmanr  # which no start of a run should wait for

    r = float(spearmanr(doubt, errors).statistic)
    left_out = {NO_ERROR: len(known) - n} if n < len(known) else {}
    samples = Samples(used=n, of=len(known), what="frames", left_out=left_out)
    return Value(value=r, unit=PURE, uncertainty=_half_width(r, n), samples=samples)


def _half_width(r: float, n: int) -> float:
    """Half the width of the 95 % interval of a rank correlation of n frames.

    Ranks that agree in full are taken for ranks of which two neighbours changed places: else they had no interval.
    """
    most = 1 - 12 / (n * (n**2 - 1))
    r = float(np.clip(r, -most, most))
    half = NormalDist().inv_cdf(0.975) * np.sqrt((1 + r**2 / 2) / (n - 3))
    return float(np.tanh(np.arctanh(r) + half) - np.tanh(np.arctanh(r) - half)) / 2
