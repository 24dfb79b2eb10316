"""Does the crystal live, and does it move as it should?"""

from __future__ import annotations

import pytest


@pytest.mark.mlff_probe("molecular_dynamics")
def test_molecular_dynamics(probe):
    """A simulation comes to its end, obeys the laws of its ensemble, and has the structure and motion of the reference.

    Survival, the drift of the total energy without a thermostat, the temperature with one and the net force are laws.
    A crystal below its melting point stays where it is: its RMSD does not grow. First peaks of g(r) say whether bonds
    have the right length in a warm crystal, not only in a relaxed one.

    Look first at temperature and energy over time in the figure beside the scorecard. Ended early: the kind says what
    the atoms did; look at the last frames of the trajectory, and at the short-range walls among the physical laws.
    Energy drift alone: forces that are no derivative of the energy, or a kink at the cutoff. A net force: forces that
    depend on where the crystal lies. Growing RMSD: a softened potential that melts, or an unstable phase. Only the
    peaks: bonds that are too long or too short. Unresolved: too few independent samples; simulate longer.
    """
    probe.check()
