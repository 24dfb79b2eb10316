"""What a model said of some structures, and how often it was asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Energies and forces of a sequence of frames, in the order of the frames.

    Attributes
    ----------
    energies
        Shape (n_frames,), float64, eV.
    forces
        One array of shape (n_atoms, 3), float64, eV/A, for each frame; None if not asked for.
    stresses
        Shape (n_frames, 6), float64, eV/A^3, in the order xx, yy, zz, yz, xz, xy and with the sign of ASE: positive
        where the cell wants to shrink; NaN for frames of which none is known or was asked for, None for none at all.
    members
        What each member of a committee said, of which all else is the mean; none of any other model.
    calls
        Model calls: the number of structures that went through the model.
    batches
        Forward passes: equal to `calls` in a loop, fewer when batched. One that ran out of memory and was made
        again in parts counts as well.
    model_s
        Wall time inside the model, its neighbour lists included, in seconds.
    """

    energies: Floats
    forces: tuple[Floats, ...] | None
    calls: int = 0
    batches: int = 0
    model_s: float = 0.0
    stresses: Floats | None = None
    members: tuple[Evaluation, ...] = ()

    @property
    def stressed(self) -> NDArray[np.bool_]:
        """Which frames have a stress, shape (n_frames,)."""
        if self.stresses is None:
            return np.zeros(len(self.energies), dtype=bool)
        return np.asarray(np.isfinite(self.stresses).all(axis=1))


@dataclass
class Calls:
    """Model calls and the time spent in them, added up over a measurement."""

    calls: int = 0
    batches: int = 0
    model_s: float = 0.0

    def add(self, evaluation: Evaluation) -> Evaluation:
        """Count `evaluation`, and hand it on."""
        self.calls += evaluation.calls
        self.batches += evaluation.batches
        self.model_s += evaluation.model_s
        return evaluation

    def evaluation(self) -> Evaluation:
        """The sums, as those of one evaluation."""
        return Evaluation(np.empty(0), None, calls=self.calls, batches=self.batches, model_s=self.model_s)
