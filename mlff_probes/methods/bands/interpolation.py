"""The first band: IDPP through given frames, by minimum image."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from mlff_probes.core.structures import derived
from mlff_probes.methods.bands.steps import step_between
from mlff_probes.methods.constraints import Freedom

Floats = NDArray[np.float64]

IDPP_FMAX = 0.01
"""How far the image-dependent pair potential is relaxed, in its own units; ASE's default of 0.1 leaves
atoms a tenth of an angstrom closer than need be."""

IDPP_STEPS = 500


def unwrapped(frames: Sequence[Atoms]) -> list[Atoms]:
    """Copies in which no atom moves by more than half a cell from one frame to the next, nor where it is held.

    A drift of the whole structure is left out (`rigid_drift`).
    """
    found, freedom = [derived(frames[0])], Freedom.of(frames[0])
    for frame in frames[1:]:
        step = step_between(found[-1], frame)
        found.append(derived(frame, positions=found[-1].positions + freedom.part(step)))
    return found


def interpolate_band(frames: Sequence[Atoms], n_images: int, *, idpp: bool = True) -> list[Atoms]:
    """A band of `n_images` through `frames`, which become images of it.

    Between two frames, images are spread in proportion to the distance and relaxed on the image-dependent
    pair potential (Smidstrup et al., J. Chem. Phys. 140, 214106 (2014)), which keeps atoms apart where a
    straight line would lead them through each other. What a constraint holds stays where it is in the first frame.

    Parameters
    ----------
    frames
        At least the two endpoints; those between are waypoints.
    n_images
        Images, endpoints included; at least as many as frames.
    idpp
        False for straight lines.

    Returns
    -------
    list of Atoms
        The endpoints with the energies and forces that they came with, if any.
    """
    from ase.mep.neb import idpp_interpolate  # which brings all optimizers along

    given = unwrapped(frames)
    lengths = np.array([np.linalg.norm(b.positions - a.positions) for a, b in pairwise(given)])
    band = [given[0]]
    for start, end, inner in zip(given[:-1], given[1:], _spread(lengths, n_images - len(given)), strict=True):
        way = end.positions - start.positions
        part = [derived(start, positions=start.positions + way * index / (inner + 1)) for index in range(inner + 1)]
        part.append(derived(end))
        if idpp and inner:
            with warnings.catch_warnings():  # of ASE, about a default that it has changed
                warnings.simplefilter("ignore", UserWarning)
                idpp_interpolate(part, traj=None, log=None, mic=True, fmax=IDPP_FMAX, steps=IDPP_STEPS)
        band += unwrapped(part)[1:]
    for image in band:
        image.calc = None
    for image, frame in ((band[0], frames[0]), (band[-1], frames[-1])):
        if frame.calc is not None:
            keep_results(image, frame)
    return band


def keep_results(image: Atoms, evaluated: Atoms) -> None:
    """Give `image`, which may be `evaluated` shifted by cell vectors, its energy and forces."""
    image.calc = SinglePointCalculator(image, **evaluated.calc.results)


def _spread(lengths: Floats, inner: int) -> list[int]:
    """`inner` images over segments, one by one to where they stand farthest apart."""
    counts = [0] * len(lengths)
    for _ in range(inner):
        counts[int(np.argmax(lengths / (np.array(counts) + 1)))] += 1
    return counts
