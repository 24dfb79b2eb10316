"""Calculators with known answers, and case sets recorded from them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list
from scipy.signal import lfilter

from mlff_probes.calculators.registry import load_calculator
from mlff_probes.cases.load import load_cases
from mlff_probes.core.case import Case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError
from mlff_probes.measure.migration.protocols import FixedPath

CASES = load_cases()
"""The cases of the package."""

OTHERS = ("inference", "representation")
STORED = [case for case in CASES if case.stored is not None and case.family not in OTHERS]
"""The cases of the package that compare stored energies and forces, and ask about no other structures."""

STORED_QUANTITIES = sum(len(case.quantities) for case in STORED)
"""Items of a run with one calculator and these cases."""


def tally(cases: Iterable[Case], *, failed: int = 0) -> str:
    """The counts of a verdict line for a model that is right about some cases, but for so many quantities."""
    cases = list(cases)
    passed = sum(len(case.expectations) for case in cases) - failed
    reported = sum(len(case.reports) for case in cases)
    counts = {"passed": passed, "failed": failed, "reported": reported}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


NUMBER = r"(-?\d[\d.]*(?:e[+-]?\d+)?)"

ROOT = Path(__file__).parents[1]
"""The checkout."""

MATCH_A = 1e-4
"""Two structures are the same where all their distances agree to this, A (files carry 8 decimals)."""

CUTOFF_A = 10.0
"""Long enough to tell the stackings apart when the layers are 9 A from each other."""


class LookupCalculator(Calculator):
    """Knows the DFT energy and forces of each reference structure, by its interatomic distances.

    So it does not matter in which order frames come, how they are rotated or wrapped, or by which lattice
    vectors their atoms or their cell are shifted. A composition it has never seen gets zeros, and forces that are
    not stored are zeros.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, frames: list[Atoms], lift: Callable[[Atoms], float] | None = None) -> None:
        super().__init__()
        self.known = [(f, distances(f), f.get_potential_energy() + (lift(f) if lift else 0.0)) for f in frames]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        formula = atoms.get_chemical_formula()
        same = [row for row in self.known if row[0].get_chemical_formula() == formula]
        if not same:
            self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}
            return
        sought = distances(atoms)
        matches = [r for r in same if r[1].shape == sought.shape and np.abs(r[1] - sought).max() < MATCH_A]
        if not matches:
            raise KeyError(f"no reference structure has the distances of this {formula}")
        self.results = {"energy": matches[0][2]}
        for frame, _, energy in matches:  # layers far apart look alike at several registries
            rotation = np.linalg.solve(frame.cell.array, atoms.cell.array)  # rows: x_rotated = x @ rotation
            if np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6):
                forces = frame.calc.results.get("forces", np.zeros((len(frame), 3)))
                self.results = {"energy": energy, "forces": forces @ rotation}
                return


def distances(atoms: Atoms) -> np.ndarray:
    """All distances below the cutoff with the elements they join, sorted: one row a pair."""
    return _distances(atoms.numbers.tobytes(), atoms.positions.tobytes(), atoms.cell.array.tobytes())


@lru_cache(maxsize=1000)
def _distances(numbers: bytes, positions: bytes, cell: bytes) -> np.ndarray:
    z, shape = np.frombuffer(numbers, dtype=int), (-1, 3)
    atoms = Atoms(z, np.frombuffer(positions).reshape(shape), cell=np.frombuffer(cell).reshape(shape), pbc=True)
    i, j, d = neighbor_list("ijd", atoms, CUTOFF_A)
    # the shell at the cutoff could lose or gain a pair by rounding; keep clear of it
    rows = np.array([z[i], z[j], np.round(d, 5)])[:, d < CUTOFF_A - 1e-3]
    return rows[:, np.lexsort(rows[::-1])]


def reference_frames() -> list[Atoms]:
    """All frames of the package's reference that carry DFT energies."""
    files = [f for family in ("migration", "sliding") for f in sorted((DIRECTORY / family).glob("*.extxyz"))]
    return [frame for file in files for frame in ase.io.read(file, ":") if frame.calc is not None]


RECORDED = {"Cr", "Sb", "Te"}
"""What the analytic calculators of the tests are made for."""


def record(calculator: Calculator, target: Path, *, families: tuple[str, ...] = ("migration", "sliding")) -> Path:
    """Record the package's cases of `RECORDED` elements from `calculator`: the same frames, its energies and forces."""
    for family in families:
        (target / family).mkdir(parents=True, exist_ok=True)
        for file in sorted((DIRECTORY / family).glob("*.extxyz")):
            if file.stem.endswith("_hop"):  # what relaxes has no energies to record
                continue
            frames = ase.io.read(file, ":")
            if not set(frames[0].symbols) <= RECORDED:
                continue
            shutil.copy(file.with_suffix(".toml"), target / family)
            for frame in frames:
                frame.calc = calculator
                energy, forces = frame.get_potential_energy(), frame.get_forces()
                frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces)
            ase.io.write(target / family / file.name, frames, format="extxyz")
    return target


class CosineCorrugation(Calculator):
    """Energy of a sliding layer in the five-atom Sb2Te3 cell: half `height` times (1 - cos(2 pi `order` u)).

    The registry u is read off the third cell vector. The gap adds a parabola with its minimum at
    `equilibrium_gap`, so that a cell with any registry has the same best gap.
    """

    implemented_properties = ("energy",)

    def __init__(self, height=0.4, order=1, stiffness=0.0, equilibrium_gap=3.3):
        super().__init__()
        self.height, self.order, self.stiffness, self.gap = height, order, stiffness, equilibrium_gap

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        a1, a2, a3 = atoms.cell.array
        period = 2 * a1 + a2
        crystal = (2 * a1 + a2) / 3  # offset of the layer above in the crystal's own stacking
        u = ((a3 - crystal)[:2] @ period[:2]) / (period @ period)
        gap = a3[2] - np.ptp(atoms.positions[:, 2])
        energy = self.height * (1 - np.cos(2 * np.pi * self.order * u)) / 2
        self.results = {"energy": energy + self.stiffness * (gap - self.gap) ** 2}


class DoubleWell(Calculator):
    """Energy of the last atom in a double well along x: `height` (1 - x^2)^2, minima at x = -1 and 1 A."""

    implemented_properties = ("energy", "forces")

    def __init__(self, height: float = 0.7, tilt: float = 0.0) -> None:
        super().__init__()
        self.height, self.tilt = height, tilt

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x = atoms.positions[-1, 0] - atoms.cell[0, 0] / 2
        forces = np.zeros((len(atoms), 3))
        forces[-1, 0] = 4 * self.height * x * (1 - x**2) - self.tilt
        self.results = {"energy": self.height * (1 - x**2) ** 2 + self.tilt * x, "forces": forces}


def double_well_path(images: int = 5) -> list[Atoms]:
    """A path of the last atom over the top of `DoubleWell`, from x = -1 to 1 A."""
    frames = []
    for image, x in enumerate(np.linspace(-1, 1, images)):
        atoms = Atoms("TeCr", positions=[[1, 1, 1], [4 + x, 4, 4]], cell=[8, 8, 8], pbc=True)
        atoms.info["image"] = image
        frames.append(atoms)
    return frames


def refusal(spec, **options):
    """The one sentence with which the loader refuses `spec`."""
    with pytest.raises(InputError) as caught:
        load_calculator(str(spec), **options)
    message = str(caught.value)
    assert message.startswith(f"--calculator={spec}: ")
    assert "\n" not in message
    assert "Traceback" not in message
    return message


def path_case(frames, stored=None) -> Case:
    return Case(
        id="path", family="migration", title="a path", tier="quick",
        protocol=FixedPath(kind="fixed_path", migrating_atom=1, path_made_by="hand"), frames=tuple(frames),
        stored=stored, level_of_theory="PBE", source="here", expectations=(),
    )  # fmt: skip


def autoregressive(rng, replicas, samples, correlation):
    """First-order series of variance 1 whose correlation falls as exp(-lag / correlation); 0: white noise."""
    factor = np.exp(-1 / correlation) if correlation else 0.0
    noise = rng.normal(size=(replicas, samples)) * np.sqrt(1 - factor**2)
    noise[:, 0] /= np.sqrt(1 - factor**2)
    return lfilter([1], [1, -factor], noise, axis=1)


def printed(script: Path, cwd: Path) -> str:
    """What a script prints in a process of its own."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, script], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
