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


UNITS_IN_LAST_PLACE = 4.0
"""By how many roundings of a total energy to float32 two energies must differ to be told apart: one each, and as much
again for the sums inside a model. The dtype that a calculator states is not asked for: some say float64 of float32."""


OVERSHOOT = 0.25
"""By what part of the height of the samples around it a minimum may lie below the lowest of them. Beside a steep wall a
spline swings far below; a quarter leaves sound curves (at most 0.14 so far), and a Morse well of 3/A on gaps 0.2 A
apart (0.04)."""


class NotBracketedError(ValueError):
    """No sample on one side of the lowest lies above it by more than rounding, or the samples lie too far apart."""


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


@dataclass(frozen=True)
class OpenInterpolant:
    """The not-a-knot cubic spline through equidistant samples from u = 0 to u = 1, of a curve that does not close."""

    spline: CubicSpline

    @classmethod
    def through(cls, samples: ArrayLike) -> OpenInterpolant:
        """Interpolate `samples`, at least four, taken at u = 0, 1/(n - 1), …, 1."""
        values = np.asarray(samples, dtype=float)
        return cls(CubicSpline(np.linspace(0.0, 1.0, len(values)), values))

    def __call__(self, u: ArrayLike, derivative: int = 0) -> Floats:
        """Value, or a derivative with respect to u, at `u` (any shape) in [0, 1]."""
        result: Floats = self.spline(u, nu=derivative)
        return result

    def maximum(self, low: float = 0.0, high: float = 1.0, derivative: int = 0) -> tuple[float, float]:
        """Largest value of the curve (or of a derivative) on the closed interval [low, high]: (u, value)."""
        turns = self.spline.derivative(derivative + 1).roots(extrapolate=False)
        places = np.array([low, high, *turns[(turns > low) & (turns < high)]])
        values = self(places, derivative)
        best = int(values.argmax())
        return float(places[best]), float(values[best])

    def steepest(self) -> float:
        """Maximum over u of |dE/du|."""
        places = [0.0, 1.0, *self.spline.derivative(2).roots(extrapolate=False)]
        return float(np.abs(self(places, derivative=1)).max())


def energy_noise(total_energies: ArrayLike) -> float:
    """How far two total energies (eV, any shape) must lie apart to be told from rounding, eV: `UNITS_IN_LAST_PLACE`."""
    return float(UNITS_IN_LAST_PLACE * np.finfo(np.float32).eps * np.abs(total_energies).max())


def bracketed_minimum(x: Floats, energies: Floats, noise: float) -> int:
    """The index of the lowest energy (eV), which has others above it by more than `noise` (eV) on both sides.

    Raises
    ------
    NotBracketedError
        If it has not: the minimum lies outside the samples, or the curve is flat on that side.
    """
    lowest = int(np.argmin(energies))
    for end, beside, side in (("first", "before", energies[:lowest]), ("last", "after", energies[lowest + 1 :])):
        if not side.size:
            raise NotBracketedError(f"the lowest of {len(x)} samples is the {end}, at {x[lowest]:g}")
        if side.max() - energies[lowest] <= noise:
            raise NotBracketedError(
                f"the lowest of {len(x)} samples has none {beside} it that is higher by more than rounding "
                f"({noise:.1g} eV), so that the curve is flat there, at {x[lowest]:g}"
            )
    return lowest


def has_top(energies: Floats, noise: float) -> bool:
    """Whether an energy between the first and the last of a curve (eV) lies above both by more than `noise` (eV)."""
    return bool(energies[1:-1].max(initial=-np.inf) - max(energies[0], energies[-1]) > noise)


def spline_minimum(x: ArrayLike, y: ArrayLike, *, noise: float) -> tuple[float, float]:
    """Minimum of the not-a-knot cubic spline through (x, y): (x at the minimum, y at the minimum).

    Parameters
    ----------
    x, y
        Shape (n,), x strictly rising, n >= 4; y in eV.
    noise
        What the samples are known to, eV: `energy_noise`.

    Raises
    ------
    NotBracketedError
        If the samples do not bracket a minimum (`bracketed_minimum`), or the spline swings below them: `OVERSHOOT`.
    """
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    lowest = bracketed_minimum(xs, ys, noise)
    spline = CubicSpline(xs, ys)
    candidates = [xs[lowest]]
    roots = spline.derivative().roots(extrapolate=False)
    candidates += [root for root in roots if xs[lowest - 1] <= root <= xs[lowest + 1]]
    best = min(candidates, key=lambda c: float(spline(c)))
    below, height = ys[lowest] - float(spline(best)), min(ys[:lowest].max(), ys[lowest + 1 :].max()) - ys[lowest]
    if below > OVERSHOOT * height:
        raise NotBracketedError(
            f"the curve through the {len(xs)} samples swings {below:.2g} eV below the lowest of them, around which "
            f"they rise by {height:.2g} eV: they lie too far apart there, at {xs[lowest]:g}"
        )
    return float(best), float(spline(best))
