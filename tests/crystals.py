"""Crystals that cases are made of, from their space groups: most are made of layers."""

from __future__ import annotations

from ase import Atoms
from ase.spacegroup import crystal as of_group


def _hexagonal(symbols, sites, group, a, c) -> Atoms:
    return of_group(symbols, sites, spacegroup=group, cellpar=[a, a, c, 90, 90, 120])


THIRD = (1 / 3, 2 / 3)
CRYSTALS = {
    "Sb2Te3": _hexagonal(["Sb", "Te", "Te"], [(0, 0, 0.399), (0, 0, 0), (0, 0, 0.787)], 166, 4.264, 30.458),
    "Bi2Se3": _hexagonal(["Bi", "Se", "Se"], [(0, 0, 0.4008), (0, 0, 0), (0, 0, 0.7883)], 166, 4.143, 28.636),
    "graphite": _hexagonal(["C", "C"], [(0, 0, 0.25), (*THIRD, 0.25)], 194, 2.461, 6.708),
    "hBN": _hexagonal(["B", "N"], [(*THIRD, 0.25), (*THIRD, 0.75)], 194, 2.504, 6.661),
    "MoS2": _hexagonal(["Mo", "S"], [(*THIRD, 0.25), (*THIRD, 0.621)], 194, 3.16, 12.294),
    "TiS2": _hexagonal(["Ti", "S"], [(0, 0, 0), (*THIRD, 0.25)], 164, 3.407, 5.695),
    "black P": of_group(["P"], [(0, 0.1017, 0.0806)], spacegroup=64, cellpar=[3.3136, 10.478, 4.3763, 90, 90, 90]),
    "LiCoO2": _hexagonal(["Li", "Co", "O"], [(0, 0, 0.5), (0, 0, 0), (0, 0, 0.2395)], 166, 2.8156, 14.0542),
    "LiFePO4": of_group(
        ["Li", "Fe", "P", "O", "O", "O"],
        [
            (0, 0, 0),
            (0.2822, 0.25, 0.9747),
            (0.0950, 0.25, 0.4181),
            (0.0968, 0.25, 0.7428),
            (0.4571, 0.25, 0.2059),
            (0.1656, 0.0465, 0.2848),
        ],
        spacegroup=62,
        cellpar=[10.332, 6.01, 4.692, 90, 90, 90],
    ),
}
