"""Analytic float64 calculators of the elements of the references, whose forces are exact and whose curves are smooth.

They are no models of the material. Each leads the suite through another branch: minima inside the sampled gaps,
minima on their edge, and an energy that is not periodic.
"""

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

CUTOFF = 9.0  # A; beyond the widest gap of the suite nothing would be left to compare
WELLS = {  # depth in eV, distance of the minimum in A, stiffness in 1/A
    ("Te", "Te"): (0.05, 4.20, 1.2),
    ("Sb", "Te"): (0.40, 3.10, 1.9),
    ("Sb", "Sb"): (0.08, 4.10, 1.5),
    ("Bi", "Te"): (0.38, 3.20, 1.9),
    ("Bi", "Bi"): (0.07, 4.20, 1.5),
    ("Cr", "Te"): (0.45, 2.75, 1.8),
    ("Cr", "Sb"): (0.15, 3.20, 1.6),
    ("Cr", "Cr"): (0.30, 2.50, 1.7),
    ("C", "C"): (0.01, 3.90, 1.5),
    ("S", "Ti"): (0.40, 2.40, 1.9),
    ("S", "S"): (0.05, 3.70, 1.4),
    ("Ti", "Ti"): (0.08, 3.50, 1.5),
}


class PairPotential(Calculator):
    """Pairs that repel as ``exp(-2 x)`` and attract as ``2 exp(-x)``, x = stiffness (r - r0): a Morse potential.

    Parameters
    ----------
    attraction
        Weight of the attractive term; 0 leaves pure repulsion.
    tilt
        An energy, in eV per A, that grows with the x component of the third cell vector: it breaks the periodicity
        of a slide and leaves the forces alone.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, attraction: float = 1.0, tilt: float = 0.0):
        super().__init__()
        self.attraction = attraction
        self.tilt = tilt

    def calculate(self, atoms: Atoms, properties=("energy",), system_changes=all_changes) -> None:
        """Sum over all pairs within the cutoff, each counted from both ends."""
        super().calculate(atoms, properties, system_changes)
        first, second, distances, vectors = neighbor_list("ijdD", atoms, CUTOFF)
        symbols = atoms.get_chemical_symbols()
        pairs = [WELLS[tuple(sorted((symbols[i], symbols[j])))] for i, j in zip(first, second, strict=True)]
        depth, minimum, stiffness = np.array(pairs).T
        decay = np.exp(-stiffness * (distances - minimum))
        pair = depth * (decay**2 - 2 * self.attraction * decay)
        pair_slope = -2 * stiffness * depth * (decay**2 - self.attraction * decay)
        # (1 - (r/rc)^2)^3 takes energy, force and curvature to zero at the cutoff
        inside = 1 - (distances / CUTOFF) ** 2
        energies = pair * inside**3
        slopes = pair_slope * inside**3 - pair * 6 * inside**2 * distances / CUTOFF**2
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, first, (slopes / distances)[:, None] * vectors)
        self.results = {"energy": energies.sum() / 2 + self.tilt * atoms.cell[2, 0], "forces": forces}


def morse() -> PairPotential:
    """Layers that bind: every quantity has a value."""
    return PairPotential()


def repulsive() -> PairPotential:
    """Layers that repel at every gap: no registry has an equilibrium."""
    return PairPotential(attraction=0.0)


def tilted() -> PairPotential:
    """A potential that sees how the cell is written: the period of a slide does not close."""
    return PairPotential(tilt=0.02)
