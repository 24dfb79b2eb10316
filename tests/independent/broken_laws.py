"""Small analytic calculators with faults: one that breaks all laws of a function, one that remembers, and dimers."""

from functools import partial

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

CUTOFF, FIELD, WAVE = 5.0, 0.02, 0.03
JUMP_A, JUMP, KINK_A, KINK = 3.1, 5e-3, 3.6, 0.02  # where, A, and how high (eV, eV/A) for each end of a pair


class Faulty(Calculator):
    """Pairs that repel, in a field along x, in a wave that has the atoms numbered; forces too large, no stress."""

    implemented_properties = ("energy", "forces", "stress")
    elements = ("Cu", "Te")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        first, r, ways = neighbor_list("idD", atoms, CUTOFF)
        inside = 1 - (r / CUTOFF) ** 2
        along = (ways[:, 0] / r) ** 2
        wave, phase = WAVE * (1 + np.arange(len(atoms))), atoms.positions[:, 0]
        kink, jump = np.maximum(0, KINK_A - r), np.maximum(0, JUMP_A - r)
        steps = KINK * (kink + kink**2) + JUMP * ((r < JUMP_A) + 2 * jump)  # beyond them it is smooth, but not the same
        steps_slope = -KINK * ((r < KINK_A) + 2 * kink) - 2 * JUMP * (r < JUMP_A)
        energy = ((1 + FIELD * along) * inside**3 + steps).sum()
        radial = -6 * inside**2 / CUTOFF**2 * (1 + FIELD * along) - 2 * FIELD * along * inside**3 / r**2
        gradient = (radial + steps_slope / r)[:, None] * ways
        gradient[:, 0] += 2 * FIELD * ways[:, 0] / r**2 * inside**3
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, first, 2 * gradient)
        forces[:, 0] -= wave * np.cos(phase)
        self.results = {"energy": energy + wave @ np.sin(phase), "forces": 1.1 * forces, "stress": np.zeros(6)}


class Remembering(Faulty):
    """Its first call differs, so does the first of each structure, and the structure before is not forgotten."""

    def __init__(self):
        super().__init__()
        self.before, self.seen = None, set()

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        volume = atoms.get_volume()
        wrong = 0.07 if self.before is None else 1e-4 * self.before
        wrong += 0 if atoms.positions.tobytes() in self.seen else 2e-4 * volume
        self.before = volume
        self.seen.add(atoms.positions.tobytes())
        self.results["energy"] += wrong
        self.results["forces"] += wrong


def gauss(x, centre, width):
    return np.exp(-(((x - centre) / width) ** 2))


def pushed(x, q, height=8.0):
    """A bond at 0.8 of the radii, and a wall that grows inwards, more for some pairs (q > 1) than for others."""
    return height * q * (0.9 - x) - 2 * q * gauss(x, 0.8, 0.03)


DIMERS = {
    "sound": pushed,
    "sound_bond": lambda x, q: 60 * q * np.maximum(0, 0.8 - x) - 11.9 * gauss(x, 0.8, 0.03),
    "sound_bond_far_in": lambda x, q: 60 * q * np.maximum(0, 0.6 - x) - 6 * gauss(x, 0.6, 0.03),
    "sound_dented": lambda x, q: pushed(x, q) - 4 * gauss(x, 0.5, 0.03),
    "sound_before_a_hole": lambda x, q: 3 * pushed(x, q) - 100 * gauss(x, 0.3, 0.03),
    "bond_too_deep": lambda x, q: 60 * q * np.maximum(0, 0.8 - x) - 12.1 * gauss(x, 0.8, 0.03),
    "low": lambda x, q: pushed(x, q, height=3.0),
    "attractive": lambda x, q: -4 * q / x,
    "hole_outside": lambda x, q: pushed(x, q) - 100 * gauss(x, 0.6, 0.03),
    "hole_in_the_bond": lambda x, q: pushed(x, q) - 100 * gauss(x, 0.72, 0.03),
    "hole_inside": lambda x, q: pushed(x, q) - 100 * gauss(x, 0.45, 0.05),
    "shallow_hole_inside": lambda x, q: pushed(x, q) - 6 * gauss(x, 0.5, 0.03),
}


class Dimers(Calculator):
    """Two atoms, by their distance over the sum of the covalent radii."""

    implemented_properties = ("energy",)
    elements = ("C", "Cu", "H", "O", "Te")

    def __init__(self, curve):
        super().__init__()
        self.curve = curve

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x = atoms.get_distance(0, 1) / covalent_radii[atoms.numbers].sum()
        q = 1 + abs(np.log(np.prod(atoms.numbers) / 100)) / 10  # of all pairs another one
        self.results = {"energy": self.curve(x, q)}


globals().update({name: partial(Dimers, curve) for name, curve in DIMERS.items()})
