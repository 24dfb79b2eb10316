"""How many model calls does a band need? Vacancy hops in fcc metals and Cr between the layers of Sb2Te3.

Calls are counted, not timed, and are the same every time on one machine. Run it with::

    pytest benchmarks/test_band_calls.py -s -p no:randomly

Every line is the band's name, the method, and for each largest force reached the calls on inner images and the
barrier; the ends' relaxations are counted apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.geometry import find_mic
from ase.io import read
from ase.mep.neb import idpp_interpolate, interpolate
from ase.optimize import BFGS

import mlff_probes
from mlff_probes import evaluate, load_calculator
from mlff_probes.bands.optimizer import SPRING, BandOptimizer, Fire, band_forces, largest_force, relax_band

CR_BAND = Path(mlff_probes.__file__).parent / "reference" / "migration" / "cr_sb2te3_in_gap.extxyz"
TETRAHEDRAL = 4
"""The image of the Cr band that is nearest the tetrahedral site."""

TO_THE_NEXT_SITE = np.array([2.132, -3.6927323217, 0.0])
FMAX = (0.05, 0.02)
LATTICE_STRETCHES = np.linspace(0.97, 1.03, 13)


class Model:
    """Counts calls; `name` is emt or anything that `load_calculator` takes."""

    def __init__(self, name):
        self.calculator = EMT() if name == "emt" else load_calculator(name)
        self.calls = 0

    def __call__(self, frames):
        self.calls += len(frames)
        result = evaluate(self.calculator, frames)
        return result.energies, np.array(result.forces)

    def at(self, atoms, positions):
        frames = [atoms.copy() for _ in positions]
        for frame, one in zip(frames, positions, strict=True):
            frame.positions = one
        return self(frames)


class Single(Calculator):
    """One structure at a time, for ASE's optimisers."""

    implemented_properties = ("energy", "forces")

    def __init__(self, model):
        super().__init__()
        self.model = model

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energies, forces = self.model([atoms.copy()])
        self.results = {"energy": energies[0], "forces": forces[0]}


def relaxed(model, atoms):
    atoms.calc = Single(model)
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=200)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    atoms.calc = None
    return energy, forces


def path(points, counts):
    """IDPP through `points`, unwrapped; `counts` images in each part, its ends included."""
    images: list[Atoms] = []
    for first, last, count in zip(points[:-1], points[1:], counts, strict=True):
        part = [first.copy() for _ in range(count - 1)] + [last.copy()]
        interpolate(part, mic=True)
        idpp_interpolate(part, traj=None, log=None, mic=True, fmax=0.01, steps=500)
        images += part[1:] if images else part
    positions = [images[0].positions]
    for image in images[1:]:
        positions.append(positions[-1] + find_mic(image.positions - positions[-1], image.cell)[0])
    return np.array(positions)


def vacancy_hop(model, element):
    cell = bulk(element, cubic=True)
    energies = model([scaled(cell, stretch) for stretch in LATTICE_STRETCHES])[0]
    curve = np.polyfit(LATTICE_STRETCHES - 1, energies, 4)
    fine = np.linspace(-0.03, 0.03, 2001)
    crystal = scaled(cell, 1 + fine[np.argmin(np.polyval(curve, fine))]) * (2, 2, 2)
    neighbour = int(np.argsort(crystal.get_distances(0, range(len(crystal)), mic=True))[1])
    jump = crystal.get_distance(0, neighbour, mic=True, vector=True)
    first = crystal[1:]
    last = first.copy()
    last.positions[neighbour - 1] -= jump
    model.calls = 0
    ends = [relaxed(model, end) for end in (first, last)]
    return first, path([first, last], [5]), ends


def scaled(atoms, factor):
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell * factor, scale_atoms=True)
    return atoms


def chromium(model, to):
    octahedral, tetrahedral = (read(CR_BAND, index) for index in (0, TETRAHEDRAL))
    start = relaxed(model, octahedral)
    if to == "tetrahedral":
        return octahedral, path([octahedral, tetrahedral], [7]), [start, relaxed(model, tetrahedral)]
    tetrahedral.positions = (
        octahedral.positions + find_mic(tetrahedral.positions - octahedral.positions, octahedral.cell)[0]
    )
    moved = octahedral.positions + TO_THE_NEXT_SITE
    order = list(range(len(moved)))
    for i, symbol in enumerate(octahedral.symbols):
        if symbol != "Cr":
            away = find_mic(moved - octahedral.positions[i], octahedral.cell)[1]
            away[np.array(list(octahedral.symbols)) != symbol] = np.inf
            order[i] = int(np.argmin(away))
    last = octahedral.copy()
    last.positions = moved[order]
    end = (start[0], start[1][order])
    return octahedral, path([octahedral, tetrahedral, last], [4, 4]), [start, end]


def fire(model, atoms, band, ends, targets, *, max_calls):
    """FIRE with a calculator an image: every step evaluates each inner image once, and climbs from the first."""
    band = band.reshape(len(band), -1).copy()
    engine, reached, left, calls = Fire(band[1:-1].shape), [], list(targets), 0
    while left and calls < max_calls:
        energies, forces = model.at(atoms, band[1:-1].reshape(len(band) - 2, -1, 3))
        calls += len(band) - 2
        everything = np.concatenate([[ends[0][0]], energies, [ends[1][0]]])
        pull = band_forces(band, everything, forces.reshape(len(forces), -1), SPRING, climb=True)
        while left and largest_force(pull) <= left[0]:
            reached.append((left.pop(0), calls, everything.max() - everything[0]))
        band[1:-1] += engine.move(pull)
    return reached


def learned(model, atoms, band, ends, targets, *, max_calls):
    """This package's optimizer."""
    energies, forces = (np.array(values) for values in zip(*ends, strict=True))
    optimizer = BandOptimizer(atoms, band, energies, forces, fmax=targets[-1])
    reached, left = [], list(targets)
    for step in relax_band(lambda positions: model.at(atoms, positions), optimizer, max_calls=max_calls):
        while left and step.fmax <= left[0]:
            reached.append((left.pop(0), step.calls, step.barrier))
    return reached


def report(name, method, reached):
    print(
        f"\n{name}, {method}: " + "; ".join(f"{f} after {calls} calls, {e:.4f} eV" for f, calls, e in reached), end=""
    )


@pytest.mark.parametrize("model_name", ["emt", "chgnet"])
@pytest.mark.parametrize("element", ["Al", "Cu"])
def test_vacancy_hop(element, model_name):
    model = Model(model_name)
    atoms, band, ends = vacancy_hop(model, element)
    name = f"{element} vacancy hop, {model_name}, ends {model.calls} calls"
    baseline = fire(model, atoms, band, ends, FMAX, max_calls=600)
    ours = learned(model, atoms, band, ends, FMAX, max_calls=60)
    report(name, "FIRE", baseline)
    report(name, "learned", ours)
    assert ours[0][1] <= baseline[0][1] / 2
    assert ours[0][2] == pytest.approx(baseline[-1][2], abs=0.01)


@pytest.mark.parametrize("to", ["tetrahedral", "octahedral"])
def test_chromium(to):
    model = Model("chgnet")
    atoms, band, ends = chromium(model, to)
    ours = learned(model, atoms, band, ends, FMAX[:1], max_calls=135)
    report(f"Cr octahedral to {to}, ends {model.calls} calls in all", "learned", ours)
    assert ours
    assert ours[0][1] <= 135
