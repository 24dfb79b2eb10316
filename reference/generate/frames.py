"""The frames of the sliding cases: from a crystal to one layer over the next, registry by registry.

``python reference/generate/frames.py sliding/sb2te3_fixed_gap_0.0 OUT.extxyz`` writes them without energies, for
``mlff-probes record`` and a calculator of `calculators/`. Bilayer graphene gets the published energies. The frames of
the Cr paths cannot be made anew: they are images of a band that CHGNet 0.3.0 relaxed.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

DMC = Path(__file__).parent / "data" / "dmc_bilayer_graphene.csv"

GRAPHENE_A = 2.462
"""Lattice constant of the DMC calculations, A."""

VACUUM_A = 20.0
"""Between a bilayer and its images, A: beyond the reach of every model in use."""


def hexagonal(a: float, heights: dict[str, list[tuple[int, float]]], stacking: int, distance: float) -> Atoms:
    """One layer in a cell whose third vector leads to the next layer, `stacking` thirds of 2 a1 + a2 aside.

    Parameters
    ----------
    a
        In-plane lattice constant, A.
    heights
        For each element where its atoms are: in thirds of 2 a1 + a2, and above the middle of the layer, A.
    stacking, distance
        Where the next layer is: in such thirds, and above this one, A.
    """
    plane = np.array([[a, 0.0, 0.0], [-a / 2, a * np.sqrt(3) / 2, 0.0]])
    third = (2 * plane[0] + plane[1]) / 3
    atoms = Atoms(cell=[*plane, stacking * third + [0.0, 0.0, distance]], pbc=True)
    for symbol, places in heights.items():
        for thirds, height in places:
            atoms += Atoms(symbol, [thirds * third + [0.0, 0.0, height]])
    in_plane = atoms.get_scaled_positions(wrap=False)
    in_plane[:, :2] %= 1.0
    atoms.set_scaled_positions(in_plane)
    return atoms[np.argsort(atoms.positions[:, 2])]


def quintuple(metal: str, anion: str, lengths: tuple[float, float], places: tuple[float, float]) -> Atoms:
    """A quintuple layer from the hexagonal a and c, A, and the places of the metal and the outer anion along c."""
    (a, c), (u, v) = lengths, places
    inner, outer = (u - 1 / 3) * c, (v - 2 / 3) * c
    # the metal and the outer anion stand over the centre of the other sublattices of the middle anion
    heights = {anion: [(0, 0.0), (1, outer), (-1, -outer)], metal: [(-1, inner), (1, -inner)]}
    return hexagonal(a, heights, 1, c / 3)


def sb2te3() -> Atoms:
    """A quintuple layer of Sb2Te3 as measured: a = 4.264 A, c = 30.458 A, u(Sb) = 0.399, u(Te) = 0.787."""
    return quintuple("Sb", "Te", (4.264, 30.458), (0.399, 0.787))


def bi2te3() -> Atoms:
    """A quintuple layer of Bi2Te3 as measured: a = 4.386 A, c = 30.497 A, u(Bi) = 0.4000, u(Te) = 0.7905."""
    return quintuple("Bi", "Te", (4.386, 30.497), (0.4000, 0.7905))


def tis2() -> Atoms:
    """A layer of 1T-TiS2 as measured: a = 3.407 A, c = 5.695 A, S 1.423 A above and below Ti."""
    return hexagonal(3.407, {"Ti": [(0, 0.0)], "S": [(-1, 1.423), (1, -1.423)]}, 0, 5.695)


def bilayer_graphene() -> Atoms:
    """The two layers of a graphene bilayer, with the vacuum between them: the next image makes the bilayer.

    So the third vector of the cell leads from the upper of these layers to the lower one of the next cell.
    """
    return hexagonal(GRAPHENE_A, {"C": [(0, 0.0), (1, 0.0), (0, VACUUM_A), (1, VACUUM_A)]}, 1, VACUUM_A)


def slid(layer: Atoms, slide: float, lift: float, *, vector: tuple[int, int] = (2, 1)) -> Atoms:
    """The layer with its image moved by `slide` periods and lifted by `lift` A; the atoms stay where they are."""
    moved: Atoms = layer.copy()
    cell = moved.cell.array.copy()
    cell[2] += slide * np.array([*vector, 0]) @ cell + [0.0, 0.0, lift]
    moved.set_cell(cell, scale_atoms=False)
    return moved


def of_crystal(layer: Atoms, gap: float, points: list[tuple[float, float]], material: str) -> Iterator[Atoms]:
    """A layer at each (slide, gap shift), where `gap` is that of the crystal, A."""
    for slide, shift in points:
        frame = slid(layer, slide, shift)
        frame.info = {"material": material, "slide": slide, "gap": round(gap + shift, 8), "gap_shift": shift}
        yield frame


def of_dmc(equals: Mapping[float, float], chosen: Callable[[float], bool]) -> Iterator[Atoms]:
    """Bilayer graphene with its DMC energies: at slides, each with the `disregistry` it equals, at chosen distances.

    `energy_error` in the comment line is the statistical error of the energy, eV per cell.
    """
    with DMC.open(encoding="utf-8") as handle:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(handle)]
    for slide, disregistry in equals.items():
        for row in rows:
            if abs(row["disregistry"] - disregistry) < SAME_REGISTRY and chosen(row["d"]):
                frame = slid(bilayer_graphene(), slide, row["d"], vector=(-2, -1))
                n = len(frame)
                frame.info = {"material": "bilayer graphene", "slide": slide, "gap": row["d"]}
                frame.info["energy_error"] = row["energy_err"] * n
                frame.calc = SinglePointCalculator(frame, energy=row["energy"] * n)
                yield frame


REGISTRIES = [i / 12 for i in range(12)]
CRYSTAL, ATOP, FAULT = 0.0, 1 / 3, 2 / 3
SAME_REGISTRY = 1e-4
"""The file of the DMC energies has five decimals."""

EQUAL = {0.0: 0.0, 1 / 6: 0.5, 1 / 3: 0.66667, 1 / 2: 0.5, 2 / 3: 0.0, 5 / 6: 0.16667}
"""Slides of the bilayer along -(2 a1 + a2), from AB by AA to AB, and for each the `disregistry` of the published data
(along the other way: AB 0, AA 2/3) that is the same. Equal layers with a two-fold axis have E(s) = E(-s), where s leads
away from AA."""

NOISY_A = 3.2
"""The distance at which the energies of AB and AA have errors of 2 and 3 meV per atom, ten times those beside it."""


def _one_gap(layer: Atoms, gap: float, material: str, shift: float = 0.0) -> Iterator[Atoms]:
    """All registries, `shift` above the `gap` of the crystal, A."""
    return of_crystal(layer, gap, [(slide, shift) for slide in REGISTRIES], material)


def _sb2te3(shift: float) -> Iterator[Atoms]:
    return _one_gap(sb2te3(), 2.82244133, "Sb2Te3", shift)


def _sb2te3_gaps() -> Iterator[Atoms]:
    outside = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.2, 3.5, 6.0]
    inside = {CRYSTAL: [-0.6, -0.4, -0.2], ATOP: [-0.2], FAULT: [-0.6, -0.4, -0.2]}
    points = [(slide, shift) for slide, shifts in inside.items() for shift in [*shifts, *outside]]
    return of_crystal(sb2te3(), 2.82244133, points, "Sb2Te3")


def _tis2_gaps() -> Iterator[Atoms]:
    """E(gap) of TiS2 at the crystal, atop and at the fault."""
    inside = {CRYSTAL: [-0.2], ATOP: [], FAULT: [-0.2]}
    outside = [0.0, 0.3, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 6.0]
    points = [(slide, shift) for slide, shifts in inside.items() for shift in [*shifts, *outside]]
    return of_crystal(tis2(), 2.849, points, "TiS2")


CASES: dict[str, Callable[[], Iterator[Atoms]]] = {
    "sliding/bi2te3_fixed_gap_0.0": lambda: _one_gap(bi2te3(), 2.6125763, "Bi2Te3"),
    "sliding/sb2te3_fixed_gap_0.0": lambda: _sb2te3(0.0),
    "sliding/sb2te3_fixed_gap_0.2": lambda: _sb2te3(0.2),
    "sliding/sb2te3_fixed_gap_0.4": lambda: _sb2te3(0.4),
    "sliding/sb2te3_fixed_gap_0.6": lambda: _sb2te3(0.6),
    "sliding/sb2te3_relaxed_gap": _sb2te3_gaps,
    "sliding/tis2_fixed_gap_0.0": lambda: _one_gap(tis2(), 2.849, "TiS2"),
    "sliding/tis2_relaxed_gap": _tis2_gaps,
    "sliding/graphene_fixed_gap_3.35": lambda: of_dmc(EQUAL, lambda d: d == 3.35),
    "sliding/graphene_relaxed_gap": lambda: of_dmc({s: EQUAL[s] for s in (CRYSTAL, ATOP)}, lambda d: d != NOISY_A),
}
"""How the frames of each case are made."""


def main(case: str, file: str) -> None:
    """Write the frames of a case."""
    ase.io.write(file, list(CASES[case]()), format="extxyz")


if __name__ == "__main__":
    main(*sys.argv[1:])
