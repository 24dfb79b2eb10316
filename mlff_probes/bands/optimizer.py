"""Placeholder while the optimiser is being written: FIRE on the NEB force."""

from __future__ import annotations

import numpy as np


class BandOptimizer:
    def __init__(self, dt=0.1, dtmax=1.0, maxstep=0.2):
        self.v = None
        self.dt = dt
        self.dtmax = dtmax
        self.maxstep = maxstep
        self.n = 0
        self.a = 0.1

    def step(self, band, evaluation, f):
        if self.v is None:
            self.v = np.zeros_like(f)
        else:
            p = (f * self.v).sum()
            if p > 0:
                self.v = (1 - self.a) * self.v + self.a * f / np.sqrt((f * f).sum()) * np.sqrt((self.v**2).sum())
                if self.n > 5:
                    self.dt = min(self.dt * 1.1, self.dtmax)
                    self.a *= 0.99
                self.n += 1
            else:
                self.v[:] = 0
                self.a = 0.1
                self.dt *= 0.5
                self.n = 0
        self.v = self.v + self.dt * f
        dr = self.dt * self.v
        norm = np.sqrt((dr * dr).sum())
        if norm > self.maxstep:
            dr *= self.maxstep / norm
        return [im.positions + d for im, d in zip(band[1:-1], dr)]
