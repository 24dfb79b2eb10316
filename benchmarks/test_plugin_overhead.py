"""What the suite costs beside the model: items by the thousand on a calculator that costs nothing.

``pytest benchmarks/test_plugin_overhead.py`` (or ``make bench``); figures in ``results/plugin_overhead.md``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_probes.scorecard.files import read

CASES, IMAGES = 50, 101
ITEMS = CASES * (IMAGES - 1)
WHOLE_RUN_S = 10.0
"""All of collecting, judging and writing the scorecard for 5,000 items."""
PER_ITEM_S = 0.005

FREE = """
from ase.calculators.calculator import Calculator


class Free(Calculator):
    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        self.results = {"energy": float(atoms.positions[-1, 0]), "forces": 0 * atoms.positions}
"""
HEAD = """schema_version = 1
title = "A synthetic path"
tier = "quick"

[protocol]
kind = "fixed_path"
migrating_atom = 1
path_made_by = "nobody"

[reference]
level_of_theory = "PBE"
source = "synthetic"
"""


def write_cases(folder: Path) -> Path:
    """Fifty paths of 101 images, each image judged."""
    (folder / "migration").mkdir(parents=True)
    rows = [f'\n[[expectation]]\nquantity = "energy_image_{i}"\nunit = "eV"\nuncertainty = 0.01\n'
            for i in range(1, IMAGES)]  # fmt: skip
    for case in range(CASES):
        frames = []
        for image, x in enumerate(np.linspace(0, 1, IMAGES)):
            atoms = Atoms("TeCr", positions=[[0, 0, 0], [4 + x, 4, 4]], cell=[9, 9, 9], pbc=True)
            atoms.info["image"] = image
            atoms.calc = SinglePointCalculator(atoms, energy=4 + x, forces=np.zeros((2, 3)))
            frames.append(atoms)
        file = folder / "migration" / f"path_{case}.extxyz"
        ase.io.write(file, frames, format="extxyz")
        file.with_suffix(".toml").write_text(HEAD + "".join(rows))
    return folder


def test_five_thousand_items(benchmark, tmp_path):
    reference = write_cases(tmp_path / "cases")
    (tmp_path / "free.py").write_text(FREE)
    options = ["--calculator=py:./free.py:Free", f"--probe-reference={reference}", "--probe-reference-only"]
    written = [f"--probe-scorecard={tmp_path}/card.json", f"--probe-scorecard={tmp_path}/card.csv"]
    command = [sys.executable, "-m", "pytest", "--pyargs", "mlff_probes.probes", "-q", "-p", "no:randomly"]

    def run(*more: str) -> None:
        done = subprocess.run([*command, *options, *more], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == pytest.ExitCode.OK, done.stdout[-2000:] + done.stderr

    benchmark.pedantic(run, args=written, rounds=3, warmup_rounds=1)
    card = read(tmp_path / "card.json")
    assert len(card.results) == ITEMS
    outside = card.time.outside_s / ITEMS
    benchmark.extra_info |= {"items": ITEMS, "outside_the_model_ms_per_item": outside * 1e3}
    assert outside < PER_ITEM_S
    assert benchmark.stats["min"] < WHOLE_RUN_S
