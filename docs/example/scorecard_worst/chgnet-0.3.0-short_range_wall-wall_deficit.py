"""The worst example of wall_deficit for chgnet-0.3.0: 5 eV.

Ac-Gd, with a wall of 0.00 eV; its lowest energy is -175.80 eV from that at 0.9 of the covalent radii.

Run it in the folder in which the run was started, so that the calculator is found.
"""

from pathlib import Path

import ase.io

from mlff_probes import evaluate, load_calculator

frames = ase.io.read(Path(__file__).with_suffix(".extxyz"), ":")
calculator = load_calculator("chgnet", device="cpu", dtype="float32")

energies = evaluate(calculator, frames, forces=False).energies
print("distance (A), energy (eV)")
for frame, energy in zip(frames, energies, strict=True):
    print(f"{frame.get_distance(0, 1):.3f} {energy:.4f}")
