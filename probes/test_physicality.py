"""Does the model obey the laws that hold of any material?"""

from __future__ import annotations

import pytest


@pytest.mark.mlff_probe("symmetry")
def test_symmetry(probe):
    """Energies and forces do not depend on how a structure is placed, mirrored, numbered, described or repeated.

    A model that breaks one of these has no energy surface: the same atoms have several energies, and which one
    molecular dynamics sees depends on how they were written down.

    Look first at the worst example, which is written beside the scorecard with a script that shows it. Only the
    equivalent cell: a neighbour list that loses neighbours in leaning cells. Only the reflection: a term that knows
    left from right. Permutation or extensivity: a sum or an average over atoms in the wrong place. Everything by a
    little: rounding; try the model in float64.
    """
    probe.check()


@pytest.mark.mlff_probe("derivatives")
def test_derivatives(probe):
    """Forces and stress are the derivatives of the energy.

    Otherwise no energy is conserved, barriers depend on how they are computed, and cells relax to where the stress is
    not zero.

    Look first at the two numbers of the worst example. Apart by a constant factor: a unit. By a sign: the convention of
    the stress, or one element's forces. By some tens of meV/A everywhere: forces that are predicted and not derived.
    Only the stress: a strain that does not reach all of the model, or an energy that changes with the volume by itself.
    """
    probe.check()


@pytest.mark.mlff_probe("smoothness")
def test_smoothness(probe):
    """Energy and forces do not jump where a neighbour enters or leaves the cutoff.

    Each jump heats a simulation a little, stops an optimizer, and makes phonons depend on the step.

    Look first at the distance of the worst example: at the cutoff of the model the envelope is missing or ends too
    early (a jump of the force alone: its slope does); elsewhere two networks are switched, or an angle is undefined.
    """
    probe.check()


@pytest.mark.mlff_probe("short_range_wall")
def test_short_range_wall(probe):
    """Two atoms of any pair of elements that are pressed together are stopped by a wall of at least 5 eV.

    Training sets hold no atoms that overlap: what the model says there is invented, and if it is attractive, hot or
    badly placed atoms fuse and an optimizer never comes back.

    Look first at which pairs lack a wall, in the figure of the case: pairs that you simulate need it. Add dimers or
    compressed cells to the training set, or a short-range repulsion to a model that has none; where it has one (ZBL),
    that begins too far in, or is switched off too soon: look at its inner and outer cutoff.
    """
    probe.check()


@pytest.mark.mlff_probe("stated_level")
def test_stated_level(probe):
    """Layers that a wide vacuum separates feel of each other what the stated level of theory has there.

    A model whose level is not what it states is compared with references that are not its own: all its errors are
    those of two functionals, too.

    Look first at what is stated and what is felt. A functional alone is stated, and a tail is felt: the training data
    had dispersion, or a term of it is added on the way; say so, with ,level=PBE+D3(BJ). D3 is stated, and the tail is
    another: a term that is added twice, in other units, or cut off early. Neither: charges that do not add up to zero.
    """
    probe.check()


@pytest.mark.mlff_probe("reproducibility")
def test_reproducibility(probe):
    """The same structure has the same energy and forces in every call, whatever came before, alone or in a batch.

    Nothing that is measured with a model that remembers, warms up or mixes its batch can be trusted, by us or by you.

    Look first at which comparison fails. The first call alone: compilation on the way. The history: a neighbour list or
    a buffer that is not rebuilt. The batch: padding, or an index that is not shifted. Repetition: an operation that is
    not deterministic, or dropout left on. Precision: a sum in float32 that needs float64.
    """
    probe.check()
