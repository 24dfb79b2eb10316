"""Does an atom see the right landscape on its way from site to site?"""

from __future__ import annotations

import pytest


@pytest.mark.mlff_probe("fixed_path")
def test_fixed_path(probe):
    """Energies and forces at given images, so that energetics are separated from relaxation.

    A barrier that is too low with small errors at the ends is the softening known of models trained on
    relaxed structures; errors that grow with depth are failing extrapolation.

    Look first at the figure of the path: a profile that is right in shape but scaled points to softening
    (add off-equilibrium frames), one image that stands out to a magnetic or electronic state the model
    never saw, a wrong reaction energy with a right barrier to the end site alone. Then at the forces: a
    small force error beside a large energy error means inconsistent energies (mixed references in training).
    """
    probe.check()
