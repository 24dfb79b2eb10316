"""A second run of the probes takes from the store what the first measured; a killed one is taken up again."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from support import double_well_path

from mlff_probes import cli

KNOWN = """
from calc import counted as anonymous


def make():
    calculator = anonymous()
    calculator.model_identity = "1"
    return calculator
"""
SLIDING = ("-k", "sb2te3_fixed_gap")
MINE = ("--calculator=py:./known.py:make", *SLIDING)


@pytest.fixture
def measured(run_probes, tmp_path, counted):
    """Run the probes with a calculator that counts its calls, and says what it is."""
    (tmp_path / "calc.py").write_text(counted)
    (tmp_path / "known.py").write_text(KNOWN)
    return run_probes


def verdicts(run):
    return [(row.case, row.quantity, row.measured.value, row.verdict.state) for row in run.card.results]


def test_a_second_run_judges_again_without_a_call(measured, tmp_path):
    first = measured(*MINE)
    calls, before = first.calls, verdicts(first)
    assert calls > 40
    assert "store:" not in first.text
    again = measured(*MINE)
    assert again.calls == calls
    assert verdicts(again) == before
    assert "store: 4 of 4 measurements were made before (20" in again.text
    (tmp_path / "loose.toml").write_text('[sliding.atop_energy]\nvalue = 99.0\nunit = "meV/A^2"\nreason = "Loose."\n')
    loose = measured(*MINE, "--probe-tolerances=loose.toml", "-n", "2")
    assert loose.calls == calls
    assert [state for _, name, _, state in before if name == "atop_energy"] == ["failed"] * 4
    assert [state for _, name, _, state in verdicts(loose) if name == "atop_energy"] == ["reported"] * 4
    assert measured(*MINE, "--probe-no-store").calls == 2 * calls


def test_a_model_of_a_package_is_not_imported_to_judge_again(run_probes):
    chgnet = ("--calculator=chgnet", "-k", "sb2te3_fixed_gap_0.0 and periodicity", "--probe-store=kept")
    first = run_probes(*chgnet)
    card = first.card
    (first.directory / "conftest.py").write_text(
        "import sys\n\n\ndef pytest_unconfigure():\n    print('torch' in sys.modules and 'torch was imported')\n"
    )
    again = run_probes(*chgnet, "-p", "no:xdist")
    assert verdicts(again) == [(r.case, r.quantity, r.measured.value, r.verdict.state) for r in card.results]
    assert again.card.calculators[0].sha256 == card.calculators[0].sha256
    assert again.card.time.load_s == 0.0


def test_a_calculator_that_does_not_say_what_it_is_is_measured_again_and_a_line_says_so(measured):
    spec = ("--calculator=py:./calc.py:counted", *SLIDING)
    first = measured(*spec)
    calls = first.calls
    assert "store: 4 measurements of counted: not kept, since nothing says when it is another model" in first.text
    assert measured(*spec).calls == 2 * calls


SLOW = '''
import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Well(Calculator):
    """The last atom in a double well."""
    implemented_properties = ["energy", "forces"]
    model_identity = "1"

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x, y, z = atoms.positions[-1] - [4, 4, 4]
        forces = np.zeros((len(atoms), 3))
        forces[-1] = 2.8 * x * (1 - x**2), -4 * y, -4 * z
        self.results = {"energy": 0.7 * (1 - x**2) ** 2 + 2 * (y**2 + z**2), "forces": forces}
        with open("calls.log", "a") as log:
            log.write("call\\n")
        time.sleep(0.02)


make = Well
'''
HOP = """
schema_version = 1
title = "A hop over a known barrier"
tier = "quick"
report = ["barrier", "model_calls"]

[protocol]
kind = "relaxed_path"
migrating_atom = 1
path_made_by = "hand"
images = 5

[reference]
level_of_theory = "none"
source = "a double well"

[[expectation]]
quantity = "outcome"
unit = "1"
value = 1.0
uncertainty = 0.0
level_of_theory = "exact"
source = "exact"
"""


@pytest.fixture
def hop(tmp_path):
    """Options of a run that relaxes a band of a slow model."""
    import ase.io

    (tmp_path / "calc.py").write_text(SLOW)
    file = tmp_path / "mine" / "migration" / "hop.toml"
    file.parent.mkdir(parents=True)
    file.write_text(HOP)
    first, *_, last = double_well_path()
    for image, frame in enumerate((first, last)):
        frame.info["image"] = image
        frame.positions[-1] += [0.1, 0.15, 0.2]
    ase.io.write(file.with_suffix(".extxyz"), [first, last])
    return "--calculator=py:./calc.py:make", "--probe-reference=mine", "--probe-reference-only", "-k", "hop"


def test_a_run_that_was_killed_is_taken_up_where_it_was(run_probes, start_probes, tmp_path, hop):
    whole = run_probes(*hop, "--probe-no-store")
    assert whole.card.results[0].verdict.state == "passed"
    calls, values = whole.calls, verdicts(whole)
    log = tmp_path / "calls.log"
    for so_many in (calls // 4, calls // 2, calls // 4):
        log.unlink()
        running = start_probes(tmp_path, *hop)
        while not (log.exists() and log.read_text().count("\n") >= so_many):
            assert running.poll() is None
            time.sleep(0.005)
        os.kill(running.pid, signal.SIGKILL)
        running.process.join()
    log.unlink()
    again = run_probes(*hop)
    assert again.calls < calls // 2
    assert verdicts(again) == values
    assert again.card.measurements[0].model_calls == calls


def test_the_command_lists_shows_checks_copies_and_forgets(measured, tmp_path, capsys):
    measured(*MINE, "--probe-store=kept")

    def told(*words):
        code = cli.main(["store", *map(str, words)])
        out, err = capsys.readouterr()
        return code, out + err

    kept, other = tmp_path / "kept", tmp_path / "other"
    code, listed = told("ls", kept)
    assert (code, listed.count("sb2te3_fixed_gap")) == (0, 4)
    assert re.search(r"\n4 measurements, 0\.\d MB", listed)
    assert '"case": "sb2te3_fixed_gap_0.2"' in told("show", kept, "gap_0.2")[1]
    assert told("verify", kept) == (0, "4 measurements, none of them torn or edited\n")
    assert told("export", kept, other, "gap_0.0") == (0, f"copied 1 of 1 measurement to {other}\n")
    (file,) = (other / "measurements").iterdir()
    file.write_text(file.read_text()[:-9])
    code, said = told("verify", other)
    assert (code, "1 of them torn or edited" in said) == (1, True)
    assert told("show", other, "gap")[0] == 4
    assert told("export", other, tmp_path / "third")[0] == 1
    assert told("rm", kept, "gap_0.0", "gap_0.4") == (0, "forgot 2 measurements\n")
    code, said = told("rm", kept)
    assert (code, "give a part of their names, or --all" in said) == (4, True)
    assert told("rm", kept, "--all") == (0, "forgot 2 measurements\n")
    assert told("ls", kept) == (0, "0 measurements, 0.0 MB (times are UTC)\n")
    code, said = told("ls", tmp_path / "nowhere")
    assert (code, "holds no measurements" in said) == (4, True)
    assert "holds nothing of graphene" in told("show", other, "graphene")[1]


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "-n 2"])
def test_a_budget_leaves_out_what_would_not_end_and_says_so(measured, workers):
    run = measured(*MINE[:1], "-k", "sb2te3_fixed_gap_0 or vacancy_Cu or sb2te3_speed", "--probe-budget=8s", *workers)
    left_out = {left.case: left for left in run.card.left_out}
    assert "sb2te3_speed" in left_out
    assert "expected to take 10 s" in left_out["sb2te3_speed"].reason
    assert run.card.complete
    assert {row.case for row in run.card.results} >= {f"sb2te3_fixed_gap_0.{n}" for n in (0, 2, 4, 6)}
    assert "left out by the budget" in run.text
    assert f"without {sum(left.quantities for left in left_out.values())} quantities of" in run.text


def test_a_budget_that_is_none_or_too_short_is_one_line(measured):
    measured(*MINE, "--probe-budget=soon").assert_usage_error("--probe-budget=soon: is no time")
    measured(*MINE, "--probe-budget=0.001s").assert_usage_error("too short for anything", "sb2te3_fixed_gap_0")
    live = measured(*MINE, "--probe-budget=5m", "--probe-baseline=ase:EMT")
    live.assert_usage_error("--probe-baseline=ase:EMT: cannot be measured within --probe-budget")
