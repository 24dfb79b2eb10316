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


@pytest.mark.mlff_probe("relaxed_path")
def test_relaxed_path(probe):
    """A climbing-image band relaxes between two sites: first how it ended, then the barrier.

    A band that explodes (atoms fuse, layers part, energies spike, forces diverge) has left what the model
    knows: it has no barrier, whatever its last image says. One that did not converge has none yet.

    Look first at the history in the figure of the case: an energy that drops suddenly in one image is a hole
    in the model (add frames near that image), forces that grow in all images are a band that tears, forces
    that stay level are a rough surface (float32, a sharp cutoff) or too few steps.
    """
    probe.check()


@pytest.mark.mlff_probe("fcc_vacancy")
def test_fcc_vacancy(probe):
    """A vacancy in a metal, relaxed from scratch in cells of the model's own: how many there are, how fast they move.

    Broken bonds and squeezed ones in one test: the formation energy weighs twelve bonds cut, the barrier a
    neighbour between the four atoms of the gate. Both too low with a right lattice constant is the softening known
    of models trained on relaxed structures.

    Look first at the outcome: without it there is no barrier, and its reason says where the measurement
    stopped. Then at the lattice constant: one that is off by more than a per cent moves both energies. Then at
    the figure: a minimum of E(a) that is not smooth points to the cutoff, a flat top of the band to a
    model that has never seen an atom between two sites.
    """
    probe.check()
