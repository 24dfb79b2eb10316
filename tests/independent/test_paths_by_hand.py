"""The agreement of paths, from what the real command writes, and once more by plain ASE; nothing here is imported.

The model is analytic, and its paths differ by what is written down here. A family with batches, compiled models or
kernel libraries would be needed for the rest, which `tests/measure/test_agreement.py` compares.
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
from ase.build import bulk
from ase.units import GPa

MODEL = '''
import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Model(Calculator):
    """Springs to the origin, softer in float32, and somewhere else in the very first call."""

    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, device="cpu", dtype="float64"):
        super().__init__()
        self.dtype, self.calls = dtype, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        x = (self.atoms.positions + 0.25 * (self.calls == 1)).astype(self.dtype)
        spring = {"float32": 1.99, "float64": 2.0}[self.dtype]
        virial = spring * (x.T @ x) / self.atoms.get_volume()
        self.results = {
            "energy": float(spring * (x**2).sum() / 2),
            "forces": -spring * x,
            "stress": virial.ravel()[[0, 4, 8, 5, 2, 1]],
        }
'''
CASE = """schema_version = 1
title = "paths"
tier = "quick"
protocol = {kind = "path_agreement"}
reference = {level_of_theory = "exact", source = "exact"}
"""
EXPECTED = '[[expectation]]\nquantity = "{}"\nvalue = 0.0\nunit = "{}"\nuncertainty = 0.0\n'
UNITS = {"energy": "meV/atom", "force": "meV/A", "stress": "GPa"}
COMPARED = ("plainest", "float32", "first_call")
QUANTITIES = [f"{comparison}_{of}" for comparison in COMPARED for of in UNITS]
FRAMES = [bulk("Cu", a=3.6, cubic=True), bulk("Al", a=4.05, cubic=True), bulk("Cu", a=3.7)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the command has compared the paths of the model, which is used in float32."""
    folder = tmp_path_factory.mktemp("paths")
    (folder / "own" / "inference").mkdir(parents=True)
    (folder / "model.py").write_text(MODEL)
    ase.io.write(folder / "own" / "inference" / "own.extxyz", FRAMES, format="extxyz")
    rows = [EXPECTED.format(quantity, UNITS[quantity.rpartition("_")[2]]) for quantity in QUANTITIES]
    (folder / "own" / "inference" / "own.toml").write_text(CASE + "".join(rows))
    command = [sys.executable, "-m", "pytest", "--pyargs", "mlff_probes.probes", "-q", "-p", "no:cacheprovider"]
    command += ["--calculator=py:./model.py:Model,dtype=float32", "-k", "own-"]
    command += ["--probe-reference=own", "--probe-scorecard=out.json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 1, run.stdout + run.stderr
    return folder


def evaluated(frames: list[Atoms], dtype: str, *, warm: bool) -> list[tuple]:
    """Energy per atom, forces and stress of the frames, by a model that has answered before or has not."""
    space: dict = {}
    exec(MODEL, space)
    model = space["Model"](dtype=dtype)
    model.calls = int(warm)
    found = []
    for frame in frames:
        frame.calc = model
        found.append((frame.get_potential_energy() / len(frame), frame.get_forces(), frame.get_stress()))
    return found


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_paths(folder, quantity):
    comparison, _, of = quantity.rpartition("_")
    frames = ase.io.read(folder / "own" / "inference" / "own.extxyz", ":")
    one = evaluated(frames, "float32", warm=True)
    first = comparison == "first_call"
    other = evaluated(frames, "float32" if first else "float64", warm=not first)
    off = {
        "energy": [abs(a[0] - b[0]) * 1e3 for a, b in zip(one, other, strict=True)],
        "force": [np.linalg.norm(a[1] - b[1], axis=1).max() * 1e3 for a, b in zip(one, other, strict=True)],
        "stress": [np.abs(a[2] - b[2]).max() / GPa for a, b in zip(one, other, strict=True)],
    }[of]
    results = json.loads((folder / "out.json").read_text(encoding="utf-8"))["results"]
    (row,) = [row for row in results if row["quantity"] == quantity]
    # of an energy some units in the last place are taken for rounding
    assert row["measured"]["value"] == pytest.approx(max(off), rel=1e-4)
    assert row["verdict"]["state"] == "failed"
    worst = frames[int(np.argmax(off))].get_chemical_formula()
    assert f"{worst} of own.extxyz:{int(np.argmax(off))}" in row["measured"]["note"]
