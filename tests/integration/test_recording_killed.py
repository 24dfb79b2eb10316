"""`mlff-probes record` is killed at any moment, and loses the point in flight at most."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time

import ase.io
import pytest
from forks import FORKS

from mlff_probes.cases.load import load_case
from mlff_probes.cli import main
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


def recorded(*arguments):
    """What a process of its own runs."""
    raise SystemExit(main(["record", *arguments]))


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
    arguments = (str(case), f"--calculator=py:{case.parents[1] / 'calc.py'}:Slow")
    while kills < KILLS and not case.with_suffix(".provenance.json").exists():
        process = FORKS.Process(target=recorded, args=arguments)
        before = calls.stat().st_size if calls.exists() else 0
        process.start()
        while (calls.stat().st_size if calls.exists() else 0) == before and process.is_alive():
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.15))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        if (kept := points(case)) is not None:
            assert calls.stat().st_size - kills <= kept <= calls.stat().st_size
    assert kills == KILLS
    again = FORKS.Process(target=recorded, args=arguments)
    again.start()
    again.join(60)
    assert again.exitcode == 0
    assert len(load_case(case).frames) == 12
    assert calls.stat().st_size <= 12 + KILLS
    assert len(json.loads(case.with_suffix(".provenance.json").read_text())["points"]) == 12
    assert not case.with_name(".mine.recording").exists()
    assert not list(case.parents[1].glob(".writing-*"))


def test_sigterm_leaves_what_is_there_and_says_so(case):
    process = FORKS.Process(target=recorded, args=(str(case), f"--calculator=py:{case.parents[1] / 'calc.py'}:Slow"))
    process.start()
    while not points(case) and process.is_alive():
        time.sleep(0.005)
    process.terminate()
    process.join(60)
    assert process.exitcode == 130
    assert 1 <= points(case) < 12
