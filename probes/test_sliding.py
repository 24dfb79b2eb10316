"""Does a layer feel the one below it?"""

from __future__ import annotations

import pytest


@pytest.mark.mlff_probe("fixed_gap_slide")
def test_fixed_gap_slide(probe):
    """One layer slides over the next by a full period at a constant gap: weak, long-ranged, collective.

    A flat curve is an interlayer interaction that was lost, often in fine-tuning on frames that never
    slide; a failing periodicity is a neighbour list that mishandles skewed cells.

    Look first at the figure of the slide: at small gaps the curve is ruled by repulsion between tellurium
    layers, at large ones by the tail of the interaction. If all gaps fail alike, compare the cutoff with
    the gap (5 to 6 A reaches one layer only) and look for sheared or separated layers in the training set.
    """
    probe.check()


@pytest.mark.mlff_probe("relaxed_gap_slide")
def test_relaxed_gap_slide(probe):
    """The gap finds its own width at each registry, and the layers are pulled apart.

    A minimum that is not bracketed means that the model does not bind the layers anywhere near the
    reference (or holds them far too close); it is an error, since any number would be made up.

    Look first at the figure of E(gap): no minimum at all is lost interlayer binding, a step at some gap
    is the cutoff, a minimum much deeper than PBE's may be a dispersion correction, which this reference
    does not have.
    """
    probe.check()
