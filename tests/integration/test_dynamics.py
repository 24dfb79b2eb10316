"""Simulations, as a user meets them: a material of one's own, what is kept of it, Ctrl-C, and what is wrong with it."""

from __future__ import annotations

import os
import re
import signal
import time

import ase.io
import pytest
from ase.build import bulk

CRYSTAL = '''
"""Atoms on springs to their sites, which answers at once; `slow` thinks a little, and notes its calls."""
import time

import numpy as np
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes

SITES = bulk("Cu", cubic=True).positions


class Crystal(Calculator):
    implemented_properties = ["energy", "forces", "stress"]
    spring = 2.0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        away = atoms.positions - SITES
        energy = self.spring * (away**2).sum() / 2
        self.results = {"energy": energy, "forces": -self.spring * away, "stress": np.zeros(6)}


class Slow(Crystal):
    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        time.sleep(0.003)
        with open("calls.log", "a", encoding="utf-8") as log:
            log.write("call\\n")


class Softer(Crystal):
    spring = 1.5


class Leaves(Crystal):
    """Its first atom is pushed away, ever farther."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["forces"][0] = [3.0, 0.0, 0.0]


make, slow, softer, leaves = Crystal, Slow, Softer, Leaves
'''

CASE = """schema_version = 1
title = "Copper on springs"
tier = "quick"
report = ["temperature", "first_peak_Cu_Cu", "diffusion_Cu", "thermal_conductivity"]

[protocol]
kind = "molecular_dynamics"
ensemble = "NVT"
temperature = 300.0
timestep_fs = 5.0
friction_per_fs = 0.05
equilibration_steps = 40
steps = {steps}
sample_every = 4
seeds = [1, 2, 3]
{protocol}

[reference]
level_of_theory = "exact"
source = "exact"

[[expectation]]
quantity = "survival"
unit = "1"
value = 1.0
uncertainty = 0.0

[[expectation]]
quantity = "temperature_offset"
unit = "%"
value = 0.0
uncertainty = 0.0
tolerance = {{ value = {tolerance}, unit = "%", reason = "A tiny crystal." }}
"""


@pytest.fixture
def write(tmp_path):
    """Write the case, and give the options with which it is all there is."""

    def written(*, steps=400, protocol="", tolerance=25.0):
        (tmp_path / "calc.py").write_text(CRYSTAL)
        folder = tmp_path / "mine" / "dynamics"
        folder.mkdir(parents=True, exist_ok=True)
        ase.io.write(folder / "copper.extxyz", bulk("Cu", cubic=True))
        (folder / "copper.toml").write_text(CASE.format(steps=steps, protocol=protocol, tolerance=tolerance))
        return "-k", "dynamics", "--probe-reference-only", f"--probe-reference={tmp_path / 'mine'}"

    return written


def made(name="make"):
    return f"--calculator=py:./calc.py:{name}"


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "-n 2"])
def test_a_material_of_ones_own_is_judged(run_probes, write, tmp_path, workers):
    options = write()
    with (tmp_path / "calc.py").open("a") as source:
        source.write("\nfrom mlff_probes.session import forecast\nforecast.LONG_S = 0.0  # say it all the same\n")
    run = run_probes(*options, made(), made("softer"), *workers)
    assert run.code == 0, run.output
    said = re.findall(
        r"(\w+) evaluates one structure a call \(.* s for 4 atoms\): its simulations will take", run.stdout
    )
    assert said == ([] if workers else ["make", "softer"])  # workers have no terminal
    run.matches(
        "*copper*survival*1.0000*1.0000*passed*",
        "*temperature_offset*±*25[*] %*passed*",
        "*first_peak_Cu_Cu*±*reported*",
        "*diffusion_Cu*<*cm^2/s*reported*",
        "*thermal_conductivity*not applicable*",
        "*simulated copper: ASE * LangevinBAOAB*4 atoms, 440 of 440 steps*",
    )
    measured = {row.quantity: row.measured for row in run.card.results}
    assert measured["diffusion_Cu"].upper_bound
    assert measured["temperature_offset"].uncertainty > 0


def test_strict_does_not_ask_for_what_nobody_supplies(run_probes, write):
    assert run_probes(*write(), made(), "--probe-strict").code == 0


def test_what_is_not_resolved_is_an_error_with_the_remedy(run_probes, write):
    run = run_probes(*write(tolerance=1.0), made())
    assert run.code == 1
    assert "unresolved: known to " in run.text
    assert "half its tolerance; simulate longer, or with more replicas" in run.text


def test_an_atom_that_leaves_is_said_with_its_step(run_probes, write):
    run = run_probes(*write(), made("leaves"), "--probe-scorecard=card.md")
    assert run.code == 1
    run.matches("*copper*survival*failed*", "*temperature_offset*error*")
    rows = {row.quantity: row for row in run.card.results}
    assert " at step " in rows["survival"].measured.note
    assert rows["temperature_offset"].verdict.reason.split(":")[0] in rows["survival"].measured.note
    assert (run.directory / "card_figures" / "copper.png").stat().st_size > 20_000


def test_a_trajectory_is_kept_in_the_cache_and_used_again(run_probes, write, tmp_path):
    options = write(steps=200, tolerance=50.0)
    first = run_probes(*options, made("slow"))
    assert "earlier run" not in first.output
    (kept,) = (tmp_path / ".pytest_cache" / "d" / "mlff-probes").glob("*copper*/replica-0.traj")
    trajectory = ase.io.read(kept, ":")
    assert len(trajectory) == 61
    assert trajectory[-1].get_velocities().any()
    calls = first.calls
    again = run_probes(*options, made("slow"))
    assert "240 of 240 steps, all kept from an earlier run" in again.text
    assert again.calls - calls == 3
    values = [[row.measured.value for row in run.card.results] for run in (first, again)]
    assert values[0] == values[1]


def test_nothing_is_kept_where_nothing_shall_be(run_probes, write, tmp_path):
    run_probes(*write(), made(), "--probe-no-store")
    assert not list(tmp_path.rglob("*.traj"))
    run_probes(*write(), made(), "--probe-store=here")
    assert len(list((tmp_path / "here").rglob("*.traj"))) == 3


CACHED = {
    "default": ((), {}, ".pytest_cache"),
    "relative": (("-o", "cache_dir=some/where"), {}, "some/where"),
    "variable": (("-o", "cache_dir=$PLACE/cache"), {"PLACE": "there"}, "there/cache"),
}


@pytest.mark.parametrize(("options", "environment", "place"), CACHED.values(), ids=CACHED)
def test_the_place_in_the_cache_is_the_one_that_pytest_gives(
    run_probes, write, tmp_path, monkeypatch, options, environment, place
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "conftest.py").write_text(
        "import pytest\n\n\n@pytest.hookimpl(trylast=True)\ndef pytest_sessionfinish(session):\n"
        "    session.config.cache.mkdir('mlff-probes').joinpath('asked-pytest').touch()\n"
    )
    run = run_probes(*write(), made(), *options)
    assert run.code == 0, run.output
    directory = tmp_path / place / "d" / "mlff-probes"
    assert (directory / "asked-pytest").exists()
    assert list(directory.glob("*copper*/replica-0.traj"))
    assert (tmp_path / place / ".gitignore").read_text().endswith("*\n")


def test_no_place_is_made_where_nothing_is_simulated(run_probes, write, tmp_path):
    run_probes(*write(), made(), "--collect-only")
    assert not (tmp_path / ".pytest_cache").exists()
    run_probes("-k", "vacancy and nothing", made())
    assert not list(tmp_path.rglob("mlff-probes"))


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "-n 2"])
def test_a_cache_that_cannot_be_written_costs_a_note_and_no_run(run_probes, write, workers):
    run = run_probes(*write(), made(), "-o", "cache_dir=/proc/nope", *workers)
    assert run.code == 0, run.output
    assert "INTERNALERROR" not in run.output
    (measured,) = run.card.measurements
    (note,) = measured.diagnostics["notes"]
    assert note.startswith("this trajectory is not kept in /proc/nope/d/mlff-probes/")


def test_without_pytest_s_cache_nothing_is_kept(run_probes, write, tmp_path):
    run = run_probes(*write(), made(), "-p", "no:cacheprovider")
    assert run.code == 0, run.output
    assert run.card.measurements[0].diagnostics["notes"] == []
    assert not list(tmp_path.rglob("*.traj"))


def test_another_model_does_not_get_what_was_kept(run_probes, write, tmp_path):
    options = write()
    run_probes(*options, made())
    source = (tmp_path / "calc.py").read_text()
    (tmp_path / "calc.py").write_text(source.replace("spring = 2.0", "spring = 3.0"))
    run = run_probes(*options, made())
    assert "earlier run" not in run.text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--probe-store=calc.py",), "--probe-store=calc.py is no directory"),
        (("--probe-store=x", "--probe-no-store"), "contradict each other"),
    ],
)
def test_a_place_that_cannot_be_is_a_usage_error(run_probes, write, options, says):
    run_probes(*write(), made(), *options).assert_usage_error(says)


def test_a_case_that_cannot_be_is_one_error(run_probes, write):
    run = run_probes(*write(protocol="seeds_ = [1]"), made())
    assert run.code == 1
    assert "copper.toml: unknown key 'protocol.seeds_'" in run.text


def test_a_reference_curve_judges(run_probes, write, tmp_path):
    options = write(protocol='[protocol.curves]\nrdf_Cu_Cu = "shell.csv"')
    rows = "\n".join(f"{r / 20:.2f},{1.0 if 46 < r < 58 else 0.0}" for r in range(10, 100))
    (tmp_path / "mine" / "dynamics" / "shell.csv").write_text(f"r,g\n{rows}\n")
    file = tmp_path / "mine" / "dynamics" / "copper.toml"
    file.write_text(file.read_text() + '\n[[expectation]]\nquantity = "rdf_wasserstein_Cu_Cu"\nunit = "A"\n'
                    "uncertainty = 0.01\n")  # fmt: skip
    run = run_probes(*options, made())
    (row,) = (row for row in run.card.results if row.quantity == "rdf_wasserstein_Cu_Cu")
    assert row.expectation.value == 0.0
    assert 0 < row.measured.value < 2.0


def test_ctrl_c_costs_nothing_that_was_simulated(start_probes, run_probes_in, finish, write, tmp_path):
    options = write(steps=200, tolerance=50.0)
    process = start_probes(tmp_path, *options, made("slow"))
    log, patience = tmp_path / "calls.log", time.monotonic() + 30
    while not log.exists() or len(log.read_text().splitlines()) < 200:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    stopped = finish(process, tmp_path)
    assert stopped.code == 2
    resumed = run_probes_in(tmp_path, *options, made("slow"))
    assert ", kept up to step " in resumed.text
    whole = run_probes_in(tmp_path, *options, made(), "--probe-no-store")
    numbers = [[row.measured.value for row in run.card.results] for run in (resumed, whole)]
    assert numbers[0] == numbers[1]
