"""Force fields whose statistics are known exactly, and the protocols that the tests of dynamics simulate."""

from __future__ import annotations

from functools import cache

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes

from mlff_probes.calculators.base import Calculator, as_calculator
from mlff_probes.measure.dynamics.protocols import MolecularDynamics


class EinsteinCrystal(AseCalculator):
    """Each atom on a spring to its own site, the nearest image of it: independent harmonic oscillators.

    In NVT the potential energy is 3/2 N kT on average, and its variance 3/2 N (kT)^2.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, sites: Atoms, spring_ev_a2: float = 2.0) -> None:
        super().__init__()
        self.sites, self.spring = sites.copy(), spring_ev_a2
        self.evaluations = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {**self.evaluated(atoms), "stress": np.zeros(6)}

    def evaluated(self, atoms: Atoms) -> dict:
        """Energy in eV and forces in eV/A."""
        self.evaluations += 1
        away = (atoms.positions - self.sites.positions) @ np.linalg.inv(atoms.cell.array)
        away = (away - away.round()) @ atoms.cell.array
        return {"energy": self.spring * (away**2).sum() / 2, "forces": -self.spring * away}

    def batch(self, frames, forces):
        found = [self.evaluated(frame) for frame in frames]
        return [(one["energy"], one["forces"]) for one in found]


class IdealGas(AseCalculator):
    """Atoms that do not see each other."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}

    def batch(self, frames, forces):
        return [(0.0, np.zeros((len(frame), 3))) for frame in frames]


def batched(calculator) -> Calculator:
    """The calculator with its batched pass, which makes torch-sim the engine."""
    from dataclasses import replace

    return replace(as_calculator(calculator), batch=calculator.batch)


def copper(repeat: int = 2) -> Atoms:
    """Atoms of copper in a cubic cell: 32 where it is repeated twice."""
    return bulk("Cu", cubic=True).repeat(repeat)


def protocol(ensemble: str = "NVE", **changed) -> MolecularDynamics:
    """A short simulation."""
    given = {
        "kind": "molecular_dynamics", "ensemble": ensemble, "temperature": 300.0, "equilibration_steps": 20,
        "steps": 40, "sample_every": 5, "seeds": (1, 2),
    }  # fmt: skip
    return MolecularDynamics.model_validate(given | changed)


class Argon(AseCalculator):
    """Liquid argon as Rahman simulated it: Lennard-Jones, every pair at its nearest image, cut off at half the cell.

    epsilon / k = 120 K, sigma = 3.4 A (Rahman, Phys. Rev. 136, A405 (1964)); the energy is shifted at the cutoff, and
    so is the force.
    """

    implemented_properties = ("energy", "forces")
    epsilon, sigma = 120.0 * units.kB, 3.4

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = self.evaluated(atoms)

    def evaluated(self, atoms: Atoms) -> dict:
        """Energy in eV and forces in eV/A."""
        length, count = atoms.cell[0, 0], len(atoms)
        first, second = self.pairs(count)
        ways = atoms.positions[first] - atoms.positions[second]
        ways -= length * (ways / length).round()
        squares = np.einsum("ix,ix->i", ways, ways)
        near = squares < (length / 2) ** 2
        first, second, ways, squares = first[near], second[near], ways[near], squares[near]
        (at_cutoff, slope), (energies, slopes) = self.pair(length**2 / 4), self.pair(squares)
        distances = np.sqrt(squares)
        pulls = ways * ((slope - slopes) / distances)[:, None]
        forces = [np.bincount(first, pull, count) - np.bincount(second, pull, count) for pull in pulls.T]
        return {
            "energy": (energies - at_cutoff - slope * (distances - length / 2)).sum(),
            "forces": np.transpose(forces),
        }

    @staticmethod
    @cache
    def pairs(count):
        """Both ends of each pair of so many atoms."""
        return np.triu_indices(count, 1)

    def pair(self, squares):
        """Energy of a pair and its slope, from the square of its distance."""
        sixth = (self.sigma**2 / squares) ** 3
        return 4 * self.epsilon * (sixth**2 - sixth), -24 * self.epsilon * (2 * sixth**2 - sixth) / np.sqrt(squares)

    def batch(self, frames, forces):
        found = [self.evaluated(frame) for frame in frames]
        return [(one["energy"], one["forces"]) for one in found]
