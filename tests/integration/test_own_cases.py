"""Everyday options on one's own cases: known failures, replicates, CSV, a path of two images, a parity test set."""

from __future__ import annotations

import csv

import ase.io
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

HEAD = """schema_version = 1
title = "mine"
tier = "quick"

[reference]
level_of_theory = "EMT"
source = "ASE"

[protocol]
"""
PATH = 'kind = "fixed_path"\nmigrating_atom = 0\npath_made_by = "hand"\n'
EXPECT = '\n[[expectation]]\nquantity = "{}"\nunit = "{}"\nuncertainty = {}\n'
EXACT = "--calculator=ase:EMT,level=EMT"
OTHER = "--calculator=ase:LennardJones,sigma=2.5,epsilon=0.3,level=EMT"


def labelled(atoms, **info):
    atoms = atoms.copy()
    atoms.calc = EMT()
    labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    atoms.calc = SinglePointCalculator(atoms, **labels)
    atoms.info.update(info)
    return atoms


@pytest.fixture
def cases(tmp_path):
    """A path of two images, and a test set of six rattled crystals of two origins."""
    crystal = bulk("Al", cubic=True).repeat(2)
    hole = crystal.positions[0].copy()
    del crystal[0]
    half = crystal.copy()
    half.positions[0] += 0.5 * (hole - crystal.positions[0])
    for family in ("migration", "parity"):
        (tmp_path / "cases" / family).mkdir(parents=True)
    frames = [labelled(crystal, image=0), labelled(half, image=1)]
    ase.io.write(tmp_path / "cases" / "migration" / "hop.extxyz", frames, format="extxyz")
    (tmp_path / "cases" / "migration" / "hop.toml").write_text(
        HEAD + PATH + EXPECT.format("barrier", "eV", 0.01) + EXPECT.format("force_mae", "eV/A", 0.01)
    )
    rattled = [bulk("Al", cubic=True) for _ in range(6)]
    for seed, atoms in enumerate(rattled):
        atoms.rattle(0.1, seed=seed)
    ase.io.write(
        tmp_path / "cases" / "parity" / "test_set.extxyz",
        [labelled(atoms, config_type=("cold", "hot run")[seed % 2]) for seed, atoms in enumerate(rattled)],
        format="extxyz",
    )
    judged = {"force_mae": "meV/A", "force_mae_of_hot_run": "meV/A", "energy_mae": "meV/atom", "force_cosine_Al": "1"}
    (tmp_path / "cases" / "parity" / "test_set.toml").write_text(
        HEAD + 'kind = "parity"\n' + "".join(EXPECT.format(name, unit, 0.01) for name, unit in judged.items())
    )
    return (f"--probe-reference={tmp_path / 'cases'}", "--probe-reference-only")


def states(run):
    return {(r.calculator, r.case, r.quantity): r.verdict.state.value for r in run.card.results}


def entry(case, quantity, calculator=None):
    named = f'calculator = "{calculator}"\n' if calculator else ""
    return f'[[known_failure]]\n{named}case = "{case}"\nquantity = "{quantity}"\nreason = "being worked on"\n'


def test_own_path_and_own_test_set_gate_a_model(run_probes, cases, tmp_path):
    run = run_probes(EXACT, *cases, "--probe-scorecard=card.md")
    assert run.code == pytest.ExitCode.OK
    assert set(states(run).values()) == {"passed"}
    assert len(run.card.results) == 6
    assert {file.name for file in (tmp_path / "card_figures").iterdir()} == {"hop.png", "test_set.png"}
    assert run_probes(OTHER, *cases).code == pytest.ExitCode.TESTS_FAILED


def test_known_failures_in_terminal_and_exit_code(run_probes, cases, tmp_path):
    known = tmp_path / "known.toml"
    both = (OTHER, f"{EXACT},label=exact", *cases, f"--probe-known-failures={known}")
    failing = [key for key, state in states(run_probes(OTHER, *cases)).items() if state == "failed"]
    assert ("LennardJones", "hop", "barrier") in failing
    known.write_text("".join(entry(case, quantity) for _, case, quantity in failing))
    run = run_probes(*both)
    found = states(run)
    assert {found["LennardJones", case, quantity] for _, case, quantity in failing} == {"known failure"}
    assert {found["exact", case, quantity] for _, case, quantity in failing} == {"error"}  # where they do not fail
    assert (run.code, "stale entry: " in run.text) == (pytest.ExitCode.TESTS_FAILED, True)
    known.write_text("".join(entry(case, quantity, "LennardJones") for _, case, quantity in failing))
    run = run_probes(*both)
    assert (run.code, run.card.verdict) == (pytest.ExitCode.OK, "passed")
    run.matches("*~ known failure [[]1[]]*", "*being worked on*")
    assert f"do not count: {len(failing)} in this run" in run.text
    run.matches(f"*{12 - len(failing)} passed, {len(failing)} xfailed*")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[known_failure]]\ncase = "hop"\nquantity = "barier"\nreason = "x"\n', "did you mean barrier?"),
        ("nonsense", "is not valid TOML"),
        (None, "cannot be read"),
    ],
)
def test_unusable_known_failures(run_probes, cases, tmp_path, text, says):
    if text is not None:
        (tmp_path / "known.toml").write_text(text)
    run_probes(EXACT, *cases, "--probe-known-failures=known.toml").assert_usage_error("known.toml", says)


def test_replicates_with_two_workers(run_probes, cases, tmp_path):
    specs = [
        f"--calculator=ase:LennardJones,sigma={sigma},epsilon=0.3,level=EMT,label=ft600k" for sigma in (2.4, 2.5, 2.6)
    ]
    run = run_probes(*specs, *cases, "-n", "2", "--probe-scorecard=card.csv")
    assert [identity.label for identity in run.card.calculators] == ["ft600k.1", "ft600k.2", "ft600k.3"]
    assert {(spread.replicates, spread.measured) for spread in run.card.replicates} == {(3, 3)}
    assert "ft600k: mean and spread (standard deviation) over 3 replicates" in run.text
    with (tmp_path / "card.csv").open() as file:
        means = [row for row in csv.DictReader(file) if row["calculator"] == "ft600k"]
    assert len(means) == 6
    assert all(float(row["spread"]) > 0 for row in means)


def test_the_same_replicate_twice(run_probes, cases):
    spec = OTHER + ",label=ft600k"
    run_probes(spec, spec, *cases).assert_usage_error("two replicates called 'ft600k' are the same")


def test_a_model_that_knows_no_element_of_the_test_set(run_probes, cases, tmp_path):
    (tmp_path / "calc.py").write_text(
        "from ase.calculators.emt import EMT\n\n\nclass Noble(EMT):\n    elements = ['Au']\n\n\nmake = Noble\n"
    )
    run = run_probes("--calculator=py:./calc.py:make", *cases, "-k", "parity")
    assert set(states(run).values()) == {"not applicable"}
    assert run.card.verdict == "nothing judged"
