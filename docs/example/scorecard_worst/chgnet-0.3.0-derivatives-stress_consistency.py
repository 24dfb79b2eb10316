"""The worst example of stress_consistency for chgnet-0.3.0: 5.873 GPa.

Be3, left-handed cell, dE/ds / V -2.94194 +- 0.011, the model says 2.94201 GPa.

Run it in the folder in which the run was started, so that the calculator is found.
"""

from pathlib import Path

import ase.io
import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress
from ase.units import GPa

from mlff_probes import evaluate, load_calculator

frames = ase.io.read(Path(__file__).with_suffix(".extxyz"), ":")
calculator = load_calculator("chgnet", device="cpu", dtype="float32")

(atoms,) = frames
strain = np.reshape(atoms.info["strain"], (3, 3))
print("strain, central difference / volume (GPa)")
for step in 0.008 / 2.0 ** np.arange(8):
    deformed = [atoms.copy(), atoms.copy()]
    for each, side in zip(deformed, (-1, 1), strict=True):
        each.set_cell(atoms.cell.array @ (np.eye(3) + side * step * strain), scale_atoms=True)
    low, high = evaluate(calculator, deformed, forces=False).energies
    print(f"{step:.6f} {(high - low) / (2 * step) / atoms.get_volume() / GPa:.6f}")
stress = voigt_6_to_full_3x3_stress(evaluate(calculator, frames, stress=True).stresses[0])
print(f"by the stress {(stress * strain).sum() / GPa:.6f}")
