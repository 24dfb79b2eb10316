"""The worst examples of two broken laws, read from what the real command writes and evaluated again by plain ASE.

Nothing of the package is imported: the frames and their arrays are what a reader of the scorecard has.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.units import GPa

CASE = """schema_version = 1
title = "{kind}"
tier = "quick"

[protocol]
kind = "{kind}"
examples = 12

[reference]
level_of_theory = "exact"
source = "exact"

[[expectation]]
quantity = "{quantity}"
value = 0.0
unit = "{unit}"
uncertainty = 0.0
"""
QUANTITIES = {
    "rotation_energy": ("symmetry", "meV/atom"),
    "force_consistency": ("derivatives", "meV/A"),
    "stress_consistency": ("derivatives", "GPa"),
}
CALCULATOR = '''"""Pairs that repel, with three faults: a field along x, forces a tenth too large, no stress."""

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list

CUTOFF, FIELD = 5.0, 0.02


class Faulty(Calculator):
    implemented_properties = ("energy", "forces", "stress")
    elements = ("Cu", "Te")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        first, r, ways = neighbor_list("idD", atoms, CUTOFF)
        inside = 1 - (r / CUTOFF) ** 2
        along = (ways[:, 0] / r) ** 2
        energy = ((1 + FIELD * along) * inside**3).sum()
        radial = -6 * inside**2 / CUTOFF**2 * (1 + FIELD * along) - 2 * FIELD * along * inside**3 / r**2
        gradient = radial[:, None] * ways
        gradient[:, 0] += 2 * FIELD * ways[:, 0] / r**2 * inside**3
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, first, 2 * gradient)
        self.results = {"energy": energy, "forces": 1.1 * forces, "stress": np.zeros(6)}


def faulty():
    return Faulty()
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the command has judged the faulty calculator by one quantity of each law."""
    folder = tmp_path_factory.mktemp("laws")
    (folder / "calc.py").write_text(CALCULATOR)
    (folder / "own" / "physicality").mkdir(parents=True)
    for quantity, (kind, unit) in QUANTITIES.items():
        text = CASE.format(kind=kind, quantity=quantity, unit=unit)
        (folder / "own" / "physicality" / f"own_{quantity}.toml").write_text(text)
    command = [sys.executable, "-m", "pytest", "--pyargs", "mlff_probes.probes", "--calculator=py:./calc.py:faulty"]
    command += ["--probe-reference=own", "--probe-scorecard=out.json", "-k", "own_", "-q", "-p", "no:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 1, run.stdout + run.stderr
    return folder


def deviation(folder: Path, quantity: str) -> float:
    """What the scorecard says."""
    results = json.loads((folder / "out.json").read_text(encoding="utf-8"))["results"]
    (value,) = [row["measured"]["value"] for row in results if row["quantity"] == quantity]
    return value


def worst(folder: Path, quantity: str) -> list[Atoms]:
    """The frames of the worst example, each with a calculator of its own."""
    (file,) = (folder / "out_worst").glob(f"*-{quantity}.extxyz")
    frames = ase.io.read(file, ":")
    namespace = {}
    exec(CALCULATOR, namespace)
    for frame in frames:
        frame.calc = namespace["faulty"]()
    return frames


def central(atoms: Atoms, change, step: float) -> float:
    """Central difference of the energy, extrapolated once (Richardson)."""

    def difference(h: float) -> float:
        energies = []
        for side in (h, -h):
            changed = change(atoms.copy(), side)
            changed.calc = atoms.calc
            energies.append(changed.get_potential_energy())
        return (energies[0] - energies[1]) / (2 * h)

    return (4 * difference(step / 2) - difference(step)) / 3


def test_rotation(folder):
    before, after = worst(folder, "rotation_energy")
    turn = np.reshape(after.info["turned"], (3, 3))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-7)
    assert np.linalg.det(turn) == pytest.approx(1.0)
    np.testing.assert_allclose(
        after.get_all_distances(), before.get_all_distances()[after.arrays["came_from"]], atol=1e-6
    )
    np.testing.assert_allclose(after.positions, before.positions @ turn.T, atol=1e-6)
    np.testing.assert_allclose(after.cell.array, before.cell.array @ turn.T, atol=1e-6)
    energies = [atoms.get_potential_energy() / len(atoms) for atoms in (before, after)]
    assert abs(energies[1] - energies[0]) * 1e3 == pytest.approx(deviation(folder, "rotation_energy"), rel=1e-4)


def test_forces(folder):
    (atoms,) = worst(folder, "force_consistency")
    direction = atoms.arrays["direction"]
    assert np.linalg.norm(direction) == pytest.approx(1.0)

    def moved(copy: Atoms, step: float) -> Atoms:
        copy.positions += step * direction
        return copy

    off = (atoms.get_forces() * direction).sum() + central(atoms, moved, 1e-3)
    assert abs(off) * 1e3 == pytest.approx(deviation(folder, "force_consistency"), rel=1e-3)
    assert abs(off) == pytest.approx(abs(central(atoms, moved, 1e-3)) / 10, rel=1e-3)  # the fault that was planted


def test_stress(folder):
    (atoms,) = worst(folder, "stress_consistency")
    strain = np.reshape(atoms.info["strain"], (3, 3))
    assert np.linalg.norm(strain) == pytest.approx(1.0)

    def strained(copy: Atoms, step: float) -> Atoms:
        copy.set_cell(copy.cell.array @ (np.eye(3) + step * strain), scale_atoms=True)
        return copy

    off = central(atoms, strained, 2e-4) / atoms.get_volume() / GPa
    assert abs(off) == pytest.approx(deviation(folder, "stress_consistency"), rel=1e-3)
