"""Are energies, forces and stresses right, frame by frame?"""

from __future__ import annotations

import pytest


@pytest.mark.mlff_probe("parity")
def test_parity(probe):
    """Energies, forces and stresses of many labelled frames, as a whole, by element and by origin of the frame.

    Small errors here are necessary and not sufficient: a barrier is a difference between two frames.

    Look first at the parity plot: a slope below one is softening, a cloud apart from the line is an origin
    that the model never saw. Then at the rows by element: a rare element hides in the average. A large
    energy error beside small force errors points to mixed references. `mlff-probes worst-frames` writes the
    frames to look at, or to train on.
    """
    probe.check()
