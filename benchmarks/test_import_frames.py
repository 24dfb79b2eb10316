"""How long 10,000 labelled frames of 100 atoms take to become a parity case, and how much memory.

``pytest benchmarks/test_import_frames.py`` (or ``make bench``); figures in ``results/import_frames.md``.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from pytest_benchmark.fixture import BenchmarkFixture

FRAMES, ATOMS = 10_000, 100
MOST_S, MOST_BYTES = 60.0, 2 * 1024**3
"""Of the processor, which other work on the machine does not change, and of memory."""


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A set of frames with energies, forces and stresses, of three origins."""
    rng = np.random.default_rng(0)
    crystal = bulk("Cu", cubic=True).repeat((5, 5, 1))
    crystal.symbols[::2] = "Au"
    assert len(crystal) == ATOMS
    file = tmp_path / "set.extxyz"
    with file.open("w") as out:
        for n in range(FRAMES):
            frame = crystal.copy()
            frame.positions += rng.normal(0, 0.1, (ATOMS, 3))
            frame.info["config_type"] = ("md", "neb", "slab")[n % 3]
            labels = {"forces": rng.normal(0, 0.5, (ATOMS, 3)), "stress": rng.normal(0, 0.01, 6)}
            frame.calc = SinglePointCalculator(frame, energy=rng.normal(-300, 1), **labels)
            ase.io.write(out, frame, format="extxyz")
    return file


def test_import_frames(labelled: Path, benchmark: BenchmarkFixture) -> None:
    """One process from the command to the case."""
    command = [sys.executable, "-m", "mlff_probes.cli", "import", "frames", str(labelled), "--level=PBE"]

    def run() -> None:
        subprocess.run([*command, f"--to={labelled.parent}", "--replace"], check=True, capture_output=True)

    benchmark.pedantic(run, rounds=1)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, peak = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
    benchmark.extra_info |= {"cpu_s": seconds, "peak_bytes": peak}
    print(f"{seconds:.1f} s of the processor, {peak / 1e9:.2f} GB at most")
    assert seconds < MOST_S
    assert peak < MOST_BYTES
