"""Bands that relax, as a user meets them: verdicts, exit codes, pictures, and progress where somebody looks."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import ase.io
import pytest
from ase import Atoms

HOP = '''
"""The last of five atoms in a double well, 0.7 eV high; the others on springs."""
import numpy as np
from ase.calculators.calculator import Calculator, all_changes

HOST = np.array([[5, 8, 5], [5, 2, 5], [5, 5, 8], [5, 5, 2], [5, 5, 5]], dtype=float)


class Hop(Calculator):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        away = atoms.positions - HOST
        x = away[-1, 0] / 1.5
        forces = -4.0 * away
        forces[-1, 0] = 2.8 * x * (1 - x**2) / 1.5
        energy = 0.7 * (1 - x**2) ** 2 + 2.0 * ((away**2).sum() - away[-1, 0] ** 2)
        self.results = {"energy": energy, "forces": forces}
        self.fault(x)

    def fault(self, x):
        pass


class Raises(Hop):
    def fault(self, x):
        if abs(x) < 0.2:
            raise RuntimeError("too near the top")


class Nan(Hop):
    def fault(self, x):
        if abs(x) < 0.2:
            self.results["energy"] = float("nan")


def sound():
    return Hop()


def raises():
    return Raises()


def nan():
    return Nan()
'''
CASE = """schema_version = 1
title = "A hop of my own"
tier = "quick"
report = ["model_calls"]

[protocol]
kind = "relaxed_path"
migrating_atom = 4
path_made_by = "hand"
images = 5

[reference]
level_of_theory = "PBE"
source = "mine"

[[expectation]]
quantity = "outcome"
unit = "1"
value = 1.0
uncertainty = 0.0
level_of_theory = "exact"
source = "exact"

[[expectation]]
quantity = "barrier"
unit = "eV"
value = 0.7
uncertainty = 0.01
"""
HOST = [[5, 8, 5], [5, 2, 5], [5, 5, 8], [5, 5, 2]]


@pytest.fixture
def own(tmp_path):
    """Options of a run on a hop of one's own alone."""
    (tmp_path / "calc.py").write_text(HOP)
    folder = tmp_path / "cases" / "migration"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text(CASE)
    frames = [Atoms("Te4Cr", positions=[*HOST, [5 + x, 5, 5]], cell=[10, 10, 10], pbc=False) for x in (-1.4, 1.4)]
    for image, frame in enumerate(frames):
        frame.info["image"] = image
    ase.io.write(folder / "mine.extxyz", frames, format="extxyz")
    return "--probe-reference-only", f"--probe-reference={tmp_path / 'cases'}"


def row(run, quantity):
    return next(r for r in run.card.results if r.quantity == quantity)


@pytest.mark.parametrize("workers", [pytest.param((), id="one process"), pytest.param(("-n", "2"), id="-n 2")])
def test_a_sound_model_passes_and_its_way_is_drawn(own, run_probes, tmp_path, workers):
    run = run_probes("--calculator=py:./calc.py:sound", *own, f"--probe-scorecard={tmp_path}/card.md", *workers)
    assert run.code == pytest.ExitCode.OK, run.output
    assert row(run, "barrier").measured.value == pytest.approx(0.7, abs=1e-3)
    assert row(run, "model_calls").measured.value == run.card.time.model_calls
    (measurement,) = run.card.measurements
    history = measurement.arrays["energy_history"]
    assert [len(history[0]), len(measurement.arrays["fmax_history"][0])] == [5, 3]
    assert measurement.arrays["band_steps"] == [len(history)]
    assert (tmp_path / "card_figures" / "mine.png").stat().st_size > 10_000
    assert "step" not in run.stdout.partition("= scorecard =")[0]


def test_a_band_that_explodes_fails_and_says_how(own, run_probes, tmp_path):
    run = run_probes("--calculator=py:./calc.py:nan", *own, f"--probe-scorecard={tmp_path}/card.md")
    assert run.code == pytest.ExitCode.TESTS_FAILED
    for quantity in ("outcome", "barrier"):
        assert row(run, quantity).verdict.state == "error"
        assert row(run, quantity).verdict.reason.startswith("non-finite: ")
    assert (tmp_path / "card_figures" / "mine.png").exists() or not run.card.measurements[0].arrays["energy_history"]


def test_a_model_that_raises_names_image_and_step_and_the_other_case_goes_on(own, run_probes, tmp_path):
    other = tmp_path / "cases" / "migration"
    (other / "other.toml").write_text(CASE)
    frames = ase.io.read(other / "mine.extxyz", ":")
    for frame in frames:
        frame.positions[-1, 0] = 5 + 1.5 * (1 if frame.info["image"] else -1) + 0.05
    ase.io.write(other / "other.extxyz", frames, format="extxyz")
    run = run_probes("--calculator=py:./calc.py:raises", *own)
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert run.card.complete
    states = {(r.case, r.quantity): r.verdict for r in run.card.results}
    for case in ("mine", "other"):
        assert states[case, "barrier"].state == "error"
        assert "image 2 in step 0" in states[case, "barrier"].reason
        assert "RuntimeError: too near the top" in states[case, "barrier"].reason


def on_a_terminal(tmp_path, *args):
    """What `pytest ARGS` writes to a terminal of 120 columns."""
    leader, follower = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV_", "CI"))}
    command = [sys.executable, "-P", "-m", "pytest", "--pyargs", "mlff_probes.probes", "-p", "no:randomly", *args]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=follower, stderr=follower, env=environment | {"COLUMNS": "120", "TERM": "xterm"}
    )
    os.close(follower)
    written = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        written += piece
    os.close(leader)
    assert process.wait() == 0, written.decode()
    return written.decode()


HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
"""What hides the cursor of a terminal, and what shows it."""

ERASED = "\x1b[1A\x1b[2K"
"""What goes up a line and erases it."""


def test_progress_on_a_terminal_and_nowhere_else(own, tmp_path):
    seen = on_a_terminal(tmp_path, "--calculator=py:./calc.py:sound", *own)
    assert "  sound mine: " in seen
    assert "fmax" in seen
    assert "highest image" in seen
    replaced = re.search(r"  sound mine: [^\r]*\r\x1b\[2K  sound mine: ", seen)
    assert replaced, "each step takes the place of the one before"
    last = seen[seen.rindex("  sound mine: ") :]
    assert ERASED in last, "the line is gone in the end"
    assert seen.count(HIDDEN) == seen.count(SHOWN) > 0
    assert seen.rindex(SHOWN) > seen.rindex(HIDDEN), "the cursor is shown again"
    for quiet in (("-q",), ("-n", "2")):
        assert "  sound mine: " not in on_a_terminal(tmp_path, "--calculator=py:./calc.py:sound", *own, *quiet)
