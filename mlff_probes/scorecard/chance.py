"""What chance does to a change: the scatter of measurements, and that of replicates."""

from __future__ import annotations

import math

from scipy.special import stdtrit

from mlff_probes.core.records import NonNegative, ProbeResult, Record

COVERAGE = 0.95
"""Probability with which the intervals that measured values carry hold the true value."""

WIDEST = 3.0
"""How many times as wide as the baseline's an interval counts: a wider one is no chance, but the change itself."""


class Scatter(Record):
    """The scatter of one quantity over replicates, several seeds of one training.

    `standard_deviation` is that of a sample (n - 1), in the unit of the quantity, None below two numbers; `measured` of
    the `replicates` have a number.
    """

    standard_deviation: NonNegative | None
    measured: int
    replicates: int

    def interval(self, chance: float) -> float:
        """How far one more replicate lies from the mean of these but for this `chance`, in the unit of the quantity.

        The prediction interval of Student's t: t s sqrt(1 + 1/n) with n - 1 degrees of freedom (Hahn and Meeker,
        Statistical Intervals, 1991, chapter 4). 0 where the scatter is not known.
        """
        if self.standard_deviation is None:
            return 0.0
        n = self.measured
        return quantile(n - 1, chance) * self.standard_deviation * math.sqrt(1 + 1 / n)


def uncertainty(row: ProbeResult) -> float:
    """Half the width of the 95 % interval of a measured number; 0 for one that is exact."""
    return row.measured.uncertainty or 0.0 if row.measured else 0.0


def interval(before: ProbeResult, after: ProbeResult, chance: float, most: float = math.inf) -> float | None:
    """Half the width of the interval that a difference leaves with this `chance`; None where both are exact.

    By Student's t with the degrees of freedom of Welch (Biometrika 34, 28 (1947)). The error after counts as no more
    than `most` times that before.
    """
    degrees = [(row.measured and row.measured.degrees_of_freedom) or math.inf for row in (before, after)]
    errors = [uncertainty(row) / quantile(d, 1 - COVERAGE) for row, d in zip((before, after), degrees, strict=True)]
    if not any(errors):
        return None
    if math.isfinite(most):
        errors[1] = min(errors[1], most * errors[0])
    largest = max(errors)
    if not largest:
        return 0.0
    shares = [(error / largest) ** 2 for error in errors]
    lost = sum(share**2 / d for share, d in zip(shares, degrees, strict=True))
    return quantile(sum(shares) ** 2 / lost if lost else math.inf, chance) * largest * math.sqrt(sum(shares))


def quantile(degrees: float, chance: float) -> float:
    """Half the width of an interval of Student's t, in standard errors, beyond which `chance` is left."""
    return -float(stdtrit(degrees, chance / 2))
