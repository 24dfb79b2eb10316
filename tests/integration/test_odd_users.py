"""Users with configurations, names and cases of their own: nothing of theirs is lost, and nothing of ours."""

from __future__ import annotations

import ase.io
import pytest
from support import STORED_QUANTITIES

from mlff_probes.core.data import DIRECTORY


def write_case_without_energies(directory, *, title="a path without energies"):
    """The in-gap path as bare geometry, its barrier given as a published value."""
    folder = directory / "mine" / "migration"
    folder.mkdir(parents=True)
    frames = ase.io.read(DIRECTORY / "migration" / "cr_sb2te3_in_gap.extxyz", ":")
    for frame in frames:
        frame.calc = None
    ase.io.write(folder / "published.extxyz", frames, format="extxyz")
    (folder / "published.toml").write_text(
        f"""schema_version = 1
title = '{title}'
tier = "quick"

[protocol]
kind = "fixed_path"
migrating_atom = 20
path_made_by = "somebody"

[reference]
level_of_theory = "PBE"
source = "a paper"

[[expectation]]
quantity = "barrier"
unit = "eV"
uncertainty = 0.03
value = 0.5
"""
    )
    return f"--probe-reference={directory / 'mine'}"


@pytest.fixture
def calc(tmp_path, sound):
    (tmp_path / "calc.py").write_text(sound)
    return "--calculator=py:./calc.py:make"


@pytest.mark.parametrize("title", ["a path without energies", r"costs 5 $ and $\frac{$ more"])
def test_a_published_value_without_energies_is_judged_and_drawn(run_probes, calc, tmp_path, title):
    option = write_case_without_energies(tmp_path, title=title)
    run = run_probes(calc, option, "--probe-reference-only", "--probe-scorecard=my card.md")
    assert run.code == pytest.ExitCode.TESTS_FAILED
    (row,) = run.card.results
    assert (row.case, row.expectation.value, row.verdict.state.value) == ("published", 0.5, "failed")
    assert (tmp_path / "my card_figures" / "published.png").read_bytes().startswith(b"\x89PNG")
    assert "](my%20card_figures/published.png)" in (tmp_path / "my card.md").read_text()


def test_names_outside_ascii_lose_nothing_with_two_workers(run_probes, tmp_path, counted):
    (tmp_path / "calc.py").write_text(counted + "\n\ndef zähl():\n    return Counted()\n")
    run = run_probes("--calculator=py:./calc.py:zähl", "-n", "2")
    assert run.card.calculators[0].label == "z_hl"
    assert run.card.selected == len(run.card.results) == STORED_QUANTITIES
    assert run.calls == run.card.time.model_calls


@pytest.mark.parametrize("line", ["python_files = check_*.py", "python_functions = check_*"])
def test_a_configuration_that_names_tests_otherwise_finds_the_probes(run_probes, calc, tmp_path, line):
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{line}\n")
    assert run_probes(calc, "-k", "energy_image_1").card.selected == 1


def test_no_probe_collected_says_what_to_do(inner_pytest, calc, tmp_path):
    (tmp_path / "test_mine.py").write_text("def test_mine():\n    pass\n")
    run = inner_pytest(tmp_path, calc, "-p", "no:randomly")
    assert run.code == pytest.ExitCode.TESTS_FAILED
    run.matches(
        "verdict: NOTHING JUDGED (no result)", "no probe was collected: name them with --pyargs mlff_probes.probes"
    )


def test_a_users_own_probe_marker_and_tests_stay(run_probes, calc, tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = probe: ours\n")
    own = tmp_path / "test_own.py"
    own.write_text("import pytest\n\n\n@pytest.mark.probe('x')\ndef test_own():\n    assert False, 'mine'\n")
    run = run_probes(own, calc, "-k", "own or energy_image_1")
    run.matches("*FAILED*test_own*mine*")
    assert run.card.selected == 1


@pytest.mark.parametrize(
    ("attribute", "says"),
    [
        ("elements = 'CrSbTe'", "must be a list of symbols or atomic numbers"),
        ("level_of_theory = 3", "level_of_theory must be text"),
        ("implemented_properties = 5", "implemented_properties must be a list of names"),
    ],
)
def test_odd_attributes_of_a_calculator(run_probes, calc, tmp_path, attribute, says):
    with (tmp_path / "calc.py").open("a") as file:
        file.write(f"\n\nclass Odd(Sound):\n    {attribute}\n\n\ndef odd():\n    return Odd()\n")
    run_probes(calc.replace(":make", ":odd")).assert_usage_error(says)


def test_atomic_numbers_are_elements_too(run_probes, calc, tmp_path):
    with (tmp_path / "calc.py").open("a") as file:
        file.write("\n\nclass Odd(Sound):\n    elements = [51, 52]\n\n\ndef odd():\n    return Odd()\n")
    card = run_probes(calc.replace(":make", ":odd"), "-k", "barrier and not reverse").card
    known = {row.case for row in card.results if row.verdict.state.value != "not applicable"}
    assert known == {row.case for row in card.results if row.case.startswith("sb2te3_fixed_gap")}
    assert known


def test_dispersion_is_not_comparable(run_probes, calc, tmp_path):
    with (tmp_path / "calc.py").open("a") as file:
        file.write(
            "\n\nfrom ase.calculators.mixing import SumCalculator\n\n\nclass DFTD3(Sound):\n    pass\n\n\n"
            "def summed():\n    return SumCalculator([Sound(), DFTD3()])\n"
        )
    card = run_probes(calc.replace(":make", ":summed"), "-k", "cr_sb2te3_in_gap").card
    assert {row.verdict.state.value for row in card.results} == {"not comparable"}
    assert "with dispersion" in card.results[0].verdict.reason


@pytest.mark.parametrize("option", ["--fixtures", "--setup-plan", "--collect-only"])
def test_looking_leaves_the_last_scorecard_alone(run_probes, calc, tmp_path, option):
    (tmp_path / "card.json").write_text("mine")
    run_probes(calc, option)
    assert (tmp_path / "card.json").read_text() == "mine"
