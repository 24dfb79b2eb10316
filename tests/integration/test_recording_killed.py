"""`mlff-probes record` is killed at any moment, and loses the point in flight at most."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time

import ase.io
import pytest
from forks import Fork, server

from mlff_probes.cases.load import load_case
from mlff_probes.core.data import DIRECTORY

SLOW = """
import pathlib, time
import numpy as np
from ase.calculators.calculator import Calculator, all_changes

class Slow(Calculator):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        with open(pathlib.Path(__file__).with_name("calls"), "a") as calls:
            calls.write("x")
        time.sleep(0.03)
        self.results = {"energy": float(np.sin(atoms.cell[2, 0])), "forces": np.zeros((len(atoms), 3))}
"""
KILLS = 3
SEED = 7


def record(case):
    """A process of its own that records."""
    calculator = f"--calculator=py:{case.parents[1] / 'calc.py'}:Slow"
    return Fork(["mlff_probes.cli", "record", case, calculator], case.parent, os.environ, server())


def points(case):
    """How many points the journal holds; None without one."""
    lines = case.with_name(".mine.recording") / "points.jsonl"
    return max(lines.read_text().count("\n") - 1, 0) if lines.exists() else None


@pytest.fixture
def case(tmp_path):
    (tmp_path / "calc.py").write_text(SLOW)
    (tmp_path / "sliding").mkdir()
    shipped = DIRECTORY / "sliding" / "sb2te3_fixed_gap_0.2.toml"
    frames = ase.io.read(shipped.with_suffix(".extxyz"), ":")
    for frame in frames:
        frame.calc = None
    ase.io.write(tmp_path / "sliding" / "mine.extxyz", frames)
    return shutil.copy(shipped, tmp_path / "sliding" / "mine.toml")


def test_a_kill_loses_the_point_in_flight_at_most(case):
    moments = random.Random(SEED)
    print(f"seed {SEED}")
    calls, kills = case.parents[1] / "calls", 0
    while kills < KILLS and not case.with_suffix(".provenance.json").exists():
        before = calls.stat().st_size if calls.exists() else 0
        process = record(case)
        while (calls.stat().st_size if calls.exists() else 0) == before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if (kept := points(case)) is not None:
            assert calls.stat().st_size - kills <= kept <= calls.stat().st_size
    assert kills == KILLS
    again = record(case)
    again.communicate(60)
    assert again.returncode == 0
    assert len(load_case(case).frames) == 12
    assert calls.stat().st_size <= 12 + KILLS
    assert len(json.loads(case.with_suffix(".provenance.json").read_text())["points"]) == 12
    assert not case.with_name(".mine.recording").exists()
    assert not list(case.parents[1].glob(".writing-*"))


def test_sigterm_leaves_what_is_there_and_says_so(case):
    process = record(case)
    while not points(case) and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(60)
    assert process.returncode == 130
    assert 1 <= points(case) < 12
