"""The worst examples of broken laws, read from what the real command writes and evaluated again by plain ASE.

Nothing of the package is imported: the frames and their arrays are what a reader of the scorecard has. Only the wall
is evaluated for all examples, since they are known: all pairs. Left out are `batch_…` and `float32_…`, which need a
model family with a batched pass and with two precisions.
"""

import json
import os
import shutil
import subprocess
import sys
from itertools import combinations_with_replacement, pairwise, takewhile
from pathlib import Path

import ase.io
import broken_laws
import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.units import GPa

CHANGES = ("rotation", "reflection", "translation", "permutation", "equivalent_cell", "extensivity")
AGAIN = ("repeat", "history", "first_call")
BOTH = {"energy": "meV/atom", "force": "meV/A"}
UNITS = {
    "symmetry": {f"{change}_{what}": unit for change in CHANGES for what, unit in BOTH.items()},
    "derivatives": {"force_consistency": "meV/A", "stress_consistency": "GPa"},
    "smoothness": {"energy_jump": "meV", "force_jump": "meV/A"},
    "short_range_wall": {"wall_deficit": "eV"},
    "reproducibility": {f"{again}_{what}": unit for again in AGAIN for what, unit in BOTH.items()},
}
CASE = """schema_version = 1
title = "{kind}"
tier = "quick"
protocol = {{kind = "{kind}", examples = 15}}
reference = {{level_of_theory = "exact", source = "exact"}}
"""
EXPECTED = '[[expectation]]\nquantity = "{}"\nvalue = 0.0\nunit = "{}"\nuncertainty = 0.0\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the command has judged all calculators, each by the laws that are meant for it."""
    folder = tmp_path_factory.mktemp("laws")
    shutil.copy(broken_laws.__file__, folder)
    (folder / "own" / "physicality").mkdir(parents=True)
    for kind, units in UNITS.items():
        text = CASE.format(kind=kind) + "".join(EXPECTED.format(*quantity) for quantity in units.items())
        (folder / "own" / "physicality" / f"own_{kind}.toml").write_text(text)
    names = ("Faulty", "Remembering", *broken_laws.DIMERS)
    command = [sys.executable, "-m", "pytest", "--pyargs", "mlff_probes.probes", "-q", "-p", "no:cacheprovider"]
    command += [f"--calculator=py:./broken_laws.py:{name}" for name in names]
    faulty = "Faulty and not reproducibility and not wall"
    selected = f"own_ and ({faulty} or Remembering and reproducibility or not Faulty and not Remembering and wall)"
    command += ["--probe-reference=own", "--probe-scorecard=out.json", "-k", selected]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 1, run.stdout + run.stderr
    return folder


def deviation(folder: Path, quantity: str, calculator: str = "Faulty") -> float:
    """What the scorecard says."""
    rows = json.loads((folder / "out.json").read_text(encoding="utf-8"))["results"]
    (row,) = [row for row in rows if (row["quantity"], row["calculator"]) == (quantity, calculator)]
    return row["measured"]["value"]


def worst(folder: Path, quantity: str, calculator: str = "Faulty") -> list[Atoms]:
    """The frames of the worst example."""
    (file,) = (folder / "out_worst").glob(f"{calculator}-*-{quantity}.extxyz")
    return ase.io.read(file, ":")


def evaluated(atoms: Atoms, calculator=None) -> tuple[float, np.ndarray]:
    """Energy and forces, by a calculator of its own where none is handed over."""
    copy = atoms.copy()
    copy.calc = calculator or broken_laws.Faulty()
    forces = copy.get_forces()
    return copy.get_potential_energy(), forces


def central(atoms: Atoms, change, step: float) -> float:
    """Central difference of the energy, extrapolated once (Richardson)."""

    def difference(h: float) -> float:
        ahead, behind = (evaluated(change(atoms.copy(), side))[0] for side in (h, -h))
        return (ahead - behind) / (2 * h)

    return (4 * difference(step / 2) - difference(step)) / 3


@pytest.mark.parametrize("what", BOTH)
@pytest.mark.parametrize("change", CHANGES)
def test_symmetry(folder, change, what):
    before, after = worst(folder, f"{change}_{what}")
    turn, origin = np.reshape(after.info["turned"], (3, 3)), after.arrays["came_from"]
    assert (len(after) > len(before)) == (change == "extensivity")
    # the same crystal: lattice vectors that are sums of the old ones, and atoms at the old places or their images
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-7)
    assert np.linalg.det(turn) == pytest.approx(-1.0 if change == "reflection" else 1.0)
    lattice = before.cell.array @ turn.T
    combined = after.cell.array @ np.linalg.inv(lattice)
    np.testing.assert_allclose(combined, combined.round(), atol=1e-6)
    assert abs(np.linalg.det(combined)) == pytest.approx(len(after) / len(before))
    shifts = (after.positions - before.positions[origin] @ turn.T) @ np.linalg.inv(lattice)
    moved = shifts - (shifts[0] if change == "translation" else 0)
    np.testing.assert_allclose(moved, moved.round(), atol=1e-6)
    assert list(after.numbers) == list(before.numbers[origin])

    energies, forces = zip(evaluated(before), evaluated(after), strict=True)
    found = {
        "energy": abs(energies[1] / len(after) - energies[0] / len(before)),
        "force": np.linalg.norm(forces[1] - forces[0][origin] @ turn.T, axis=1).max(),
    }
    assert found[what] * 1e3 == pytest.approx(deviation(folder, f"{change}_{what}"), rel=1e-5)


def test_forces(folder):
    (atoms,) = worst(folder, "force_consistency")
    direction = atoms.arrays["direction"]
    assert np.linalg.norm(direction) == pytest.approx(1.0)

    def moved(copy: Atoms, step: float) -> Atoms:
        copy.positions += step * direction
        return copy

    off = (evaluated(atoms)[1] * direction).sum() + central(atoms, moved, 1e-3)
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


def heights(low: Atoms, high: Atoms) -> dict[str, float]:
    """Jumps between two structures, in eV and eV/A, against the intervals on either side, which are as long."""
    field, step = low.arrays["direction"], high.positions - low.positions
    h = (step * field).sum() / (field**2).sum()
    energies, forces = [], []
    for part in (-1, 0, 1, 2):
        atoms = low.copy()
        atoms.positions += part * step
        energy, force = evaluated(atoms)
        energies.append(energy)
        forces.append((force * field).sum())
    gaps = [abs(b - a + h * (f + g) / 2) for (a, b), (f, g) in zip(pairwise(energies), pairwise(forces), strict=True)]
    changes = np.diff(forces)
    return {"energy_jump": gaps[1] - min(gaps[0], gaps[2]), "force_jump": abs(changes[1] - changes[::2].mean())}


@pytest.mark.parametrize("quantity", UNITS["smoothness"])
def test_smoothness(folder, quantity):
    frames = worst(folder, quantity)
    field = frames[0].arrays["direction"]
    for one, other in pairwise(frames):
        h = ((other.positions - one.positions) * field).sum() / (field**2).sum()
        assert 0 < h <= 1e-4
        np.testing.assert_allclose(other.positions - one.positions, h * field, atol=1e-12)
    low, high = frames[1:3]
    places = [low.copy() for _ in range(5)]
    for quarter, place in enumerate(places):
        place.positions += quarter / 4 * (high.positions - low.positions)
    # as high in a quarter of the interval, or it is no jump
    found = min(heights(low, high)[quantity], max(heights(*ends)[quantity] for ends in pairwise(places)))
    assert found * 1e3 == pytest.approx(deviation(folder, quantity), rel=1e-6)
    planted = {"energy_jump": broken_laws.JUMP, "force_jump": 1.1 * broken_laws.KINK}[quantity]
    assert found == pytest.approx(4 * planted, rel=2e-3)  # two pairs at once


@pytest.mark.parametrize("quantity", UNITS["reproducibility"])
def test_reproducibility(folder, quantity):
    frames, calculator = worst(folder, quantity, "Remembering"), broken_laws.Remembering()
    if quantity.startswith("first_call"):  # it, another, it
        order, one, other = [0, 1, 0], 0, 2
    elif quantity.startswith("repeat"):  # before, it, after, and all once more
        order, one, other = [0, 1, 2, 0, 1, 2], 1, 4
    else:  # all are known; then it after the one before it, and after the one behind it
        order, one, other = [0, 1, 2, 0, 1, 2, 1], 4, 6
    energies, forces = zip(*(evaluated(frames[index], calculator) for index in order), strict=True)
    found = {
        "energy": abs(energies[one] - energies[other]) / len(frames[order[one]]),
        "force": np.linalg.norm(forces[one] - forces[other], axis=1).max(),
    }[quantity.rpartition("_")[2]]
    assert found * 1e3 == pytest.approx(deviation(folder, quantity, "Remembering"), rel=1e-9)


@pytest.mark.parametrize("name", broken_laws.DIMERS)
def test_wall(folder, name):
    lacks = {}
    for pair in combinations_with_replacement(broken_laws.Dimers.elements, 2):
        radii = sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair)
        energies = []
        for tenths in range(9, 1, -1):
            atoms = Atoms(pair, [[0, 0, 0], [tenths / 10 * radii, 0, 0]])
            atoms.calc = getattr(broken_laws, name)()
            energies.append(atoms.get_potential_energy())
        bound = list(takewhile(lambda energy, outside=energies[0]: energy >= outside - 12, energies))
        well = min(bound[:4])  # at 0.9 to 0.6
        inwards = takewhile(lambda energy, well=well: energy >= well - 1, bound[bound.index(well) :])
        lacks[pair] = max(0.0, 5 - (max(inwards) - well))
    most = max(lacks, key=lacks.get)
    assert lacks[most] == pytest.approx(deviation(folder, "wall_deficit", name), abs=1e-9)
    sound = name.startswith("sound")
    assert (lacks[most] == 0) == sound
    if not sound:
        assert tuple(worst(folder, "wall_deficit", name)[0].symbols) == most
