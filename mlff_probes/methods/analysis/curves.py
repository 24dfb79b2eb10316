"""Curves through sampled energies: one periodic interpolant, and the minimum of an E(gap) curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

Floats = NDArray[np.float64]

DENSE = 3600
"""Points per period on which an interpolant is searched for its extremum before it is refined."""

NEWTON_STEPS = 8
"""Newton steps that refine an extremum from a grid of `DENSE` points: quadratic, so 8 are ample."""


class NotBracketedError(ValueError):
    """The lowest sample is the first or the last one: the minimum may lie outside the samples."""


@dataclass(frozen=True)
class PeriodicInterpolant:
    """The trigonometric polynomial through equidistant samples of one period.

    It is exact for any curve whose harmonics the samples resolve (a cosine corrugation, say), and it is
    the same for model and reference, so that neither is favoured by a choice of spline.

    Attributes
    ----------
    cosine, sine
        Amplitudes of cos(2 pi k u) and sin(2 pi k u), k = 0, 1, …, shape (n // 2 + 1,). For even n the
        highest harmonic is a pure cosine, the usual minimal-oscillation choice.
    """

    cosine: Floats
    sine: Floats

    @classmethod
    def through(cls, samples: ArrayLike) -> PeriodicInterpolant:
        """Interpolate `samples`, taken at u = 0, 1/n, …, (n - 1)/n."""
        values = np.asarray(samples, dtype=float)
        n = len(values)
        spectrum = np.fft.rfft(values) / n
        cosine, sine = 2 * spectrum.real, -2 * spectrum.imag
        cosine[0] /= 2
        if n % 2 == 0:
            cosine[-1] /= 2
            sine[-1] = 0.0
        return cls(cosine=cosine, sine=sine)

    def __call__(self, u: ArrayLike, derivative: int = 0) -> Floats:
        """Value, or a derivative with respect to u, at `u` (any shape; one period is 1)."""
        k = 2 * np.pi * np.arange(len(self.cosine))
        phase = np.multiply.outer(np.asarray(u, dtype=float), k) + derivative * np.pi / 2
        result: Floats = (np.cos(phase) * (self.cosine * k**derivative)).sum(axis=-1)
        result += (np.sin(phase) * (self.sine * k**derivative)).sum(axis=-1)
        return result

    def maximum(self, low: float = 0.0, high: float = 1.0, derivative: int = 0) -> tuple[float, float]:
        """Largest value of the curve (or of a derivative) on the closed interval [low, high]: (u, value)."""
        grid = np.linspace(low, high, max(int(DENSE * (high - low)), 2) + 1)
        u = float(grid[np.argmax(self(grid, derivative))])
        best = u
        for _ in range(NEWTON_STEPS):
            slope, curvature = self(best, derivative + 1), self(best, derivative + 2)
            if not curvature < 0:
                break
            best = float(best - slope / curvature)
        if low <= best <= high and self(best, derivative) >= self(u, derivative):
            u = best
        return u, float(self(u, derivative))

    def steepest(self) -> float:
        """Maximum over u of |dE/du|."""
        downhill = PeriodicInterpolant(-self.cosine, -self.sine)
        return max(self.maximum(derivative=1)[1], downhill.maximum(derivative=1)[1])


def spline_minimum(x: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Minimum of the not-a-knot cubic spline through (x, y): (x at the minimum, y at the minimum).

    Parameters
    ----------
    x, y
        Shape (n,), x strictly rising, n >= 4.

    Raises
    ------
    NotBracketedError
        If the lowest sample is the first or the last.
    """
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    lowest = int(np.argmin(ys))
    if lowest in (0, len(ys) - 1):
        raise NotBracketedError(
            f"the lowest of {len(ys)} samples is the {'first' if lowest == 0 else 'last'}, at {xs[lowest]:g}"
        )
    spline = CubicSpline(xs, ys)
    candidates = [xs[lowest]]
    roots = spline.derivative().roots(extrapolate=False)
    candidates += [root for root in roots if xs[lowest - 1] <= root <= xs[lowest + 1]]
    best = min(candidates, key=lambda c: float(spline(c)))
    return float(best), float(spline(best))
