"""The scorecard of the real command against `by_hand`: every case, every quantity, for five calculators and for DFT.

The command runs in a process of its own, as a user runs it; all it hands over is the scorecard. The evaluation by hand
reads the same reference files, asks plain ASE calculators and shares no code with the package.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.fd import calculate_numerical_forces
from ase.calculators.singlepoint import SinglePointCalculator
from by_hand import (
    REFERENCE,
    StoredDFT,
    TrigonometricInterpolant,
    by_hand,
    cases,
    energy_and_forces,
    protocol_of,
    read_frames,
    roots,
    spline_minimum,
)
from pair_potential import PairPotential, morse, repulsive, tilted

ANALYTIC = {"morse": morse, "repulsive": repulsive, "tilted": tilted}
ELSEWHERE = ("vacancy_", "octahedral_hop", "physicality", "dynamics")  # compared in other tests
NO_PROPERTIES = (
    "speed",
    "path_agreement",
    "extrapolation",
    "forgetting",
)  # of the potential energy: no value that could be found by hand

# Same float64 arithmetic, or the same float32 model calls: only the order of a few sums may differ.
EXACT = {"eV": 1e-6, "eV/cell": 1e-6, "eV/A": 1e-6, "A": 1e-6, "of path": 1e-6}
EXACT |= {"meV/atom": 1e-3, "meV/A": 1e-3, "1": 1e-6}
# A batch adds the same float32 numbers in another order. One rounding of a total energy of 16 to 128 eV is 1e-6 to
# 4e-6 eV, and a few add up; 1e-4 eV leaves room for that and for nothing that matters against tolerances of 0.01 eV.
# Forces come from a longer chain of float32 derivatives, and a gap moves by (error of the slope) / (curvature), which
# for a shallow minimum is ten times more in A than the energies in eV. Where an image lies on the path is geometry.
FLOAT32 = {"eV": 1e-4, "eV/cell": 1e-4, "eV/A": 1e-3, "A": 1e-3, "of path": 1e-6}
FLOAT32 |= {"meV/atom": 1e-2, "meV/A": 1e-1, "1": 1e-4}

# What the documentation of the data states, to three decimals, written before there was any code (eV).
IN_GAP_PROFILE = [0, 0.452, 1.505, 0.698, 0.241]
DEEP_PROFILE = [0, 0.114, 0.297, 0.668, 1.052, 1.318, 1.648, 2.098, 2.321]
ATOP_AT_EXPERIMENTAL_GAP, FAULT_AT_EXPERIMENTAL_GAP = 0.847, 0.079
AS_DOCUMENTED = 0.001

NINE_REGISTRIES = """\
schema_version = 1
title = "Nine registries, at which another pair potential stands in for DFT"
tier = "quick"

[protocol]
kind = "fixed_gap_slide"
slide_vector = [2, 1]

[reference]
level_of_theory = "PBE"
source = "a pair potential of the tests"
"""
NINE_EXPECTED = {
    "atop_energy": "eV/cell",
    "stacking_fault_energy": "eV/cell",
    "bridge_barrier": "eV/cell",
    "profile_mae": "eV/cell",
    "max_lateral_force": "eV/A",
}


# --- the command, once for the analytic calculators and once for CHGNet ----------------------------------------------


def run_probes(folder: Path, *arguments: str) -> dict:
    """The scorecard that the command writes in an empty folder; that a force field fails its probes is no error."""
    command = [sys.executable, "-m", "pytest", "--pyargs", "mlff_probes.probes", *arguments]
    command += ["--probe-scorecard=out.json", "-p", "no:randomly", "-p", "no:cacheprovider", "-q"]
    command += ["-k", " and ".join(f"not {name}" for name in (*ELSEWHERE, *NO_PROPERTIES))]
    # The pytest around this one must not reach into it. One thread, because the order of float32 sums, and so the
    # last digit of an energy, depends on the number of threads.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    return json.loads((folder / "out.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def nine_registries(tmp_path_factory) -> Path:
    """A case of a user with an odd number of registries, whose highest harmonic is a cosine and a sine."""
    case_toml = tmp_path_factory.mktemp("cases") / "sliding" / "nine_registries.toml"
    case_toml.parent.mkdir()
    expectations = [
        f'\n[[expectation]]\nquantity = "{quantity}"\nunit = "{unit}"\nuncertainty = 0.001\n'
        for quantity, unit in NINE_EXPECTED.items()
    ]
    case_toml.write_text(NINE_REGISTRIES + "".join(expectations), encoding="utf-8")

    crystal = read_frames(REFERENCE / "sliding" / "sb2te3_fixed_gap_0.0.toml")[0]
    frames = []
    for number in range(9):
        frame = crystal.copy()
        cell = crystal.cell[:].copy()
        cell[2] += number / 9 * (2 * cell[0] + cell[1])
        frame.set_cell(cell, scale_atoms=False)
        frame.info["slide"] = number / 9
        energy, forces = energy_and_forces(frame, PairPotential(attraction=0.8))
        frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces)
        frames.append(frame)
    ase.io.write(case_toml.with_suffix(".extxyz"), frames, format="extxyz")
    return case_toml


@pytest.fixture(scope="module")
def analytic(tmp_path_factory, nine_registries) -> dict:
    """The scorecard of the analytic calculators, on the cases of the suite and on the one of a user."""
    folder = tmp_path_factory.mktemp("analytic")
    shutil.copy(Path(__file__).with_name("pair_potential.py"), folder)
    specs = [f"--calculator=py:./pair_potential.py:{name}" for name in ANALYTIC]
    return run_probes(folder, *specs, f"--probe-reference={nine_registries.parents[1]}")


@pytest.fixture(scope="module")
def chgnet(tmp_path_factory) -> dict:
    """The scorecard of CHGNet, structures in batches and one by one."""
    folder = tmp_path_factory.mktemp("chgnet")
    return run_probes(folder, "--calculator=chgnet,label=batched", "--calculator=chgnet,batch=off,label=loop")


@pytest.fixture(scope="module")
def chgnet_by_hand(chgnet) -> dict:
    """CHGNet by plain ASE, case by case, with as many threads as the command had."""
    import torch
    from chgnet.model.dynamics import CHGNetCalculator

    (threads,) = {identity["threads"] for identity in chgnet["calculators"]}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        calculator = CHGNetCalculator(use_device="cpu")
        return {case.stem: by_hand(case, calculator) for case in cases()}
    finally:
        torch.set_num_threads(before)


def results_of(scorecard: dict, label: str) -> dict[tuple[str, str], dict]:
    """The results of one calculator by case and quantity."""
    results = [result for result in scorecard["results"] if result["calculator"] == label]
    found = {(result["case"], result["quantity"]): result for result in results}
    assert len(found) == len(results), "a quantity of a case is there twice"
    return found


def asked_for(case_files: list[Path]) -> set[tuple[str, str]]:
    """What the TOML files ask for, by case and quantity."""
    contents = {case.stem: tomllib.loads(case.read_text(encoding="utf-8")) for case in case_files}
    judged = {(case, item["quantity"]) for case, toml in contents.items() for item in toml.get("expectation", [])}
    return judged | {(case, quantity) for case, toml in contents.items() for quantity in toml.get("report", [])}


def report_of(case: Path) -> list[str]:
    """What a case shows without judging it."""
    return tomllib.loads(case.read_text(encoding="utf-8")).get("report", [])


def disagreements(results: dict, hand: dict, tolerances: dict[str, float]) -> list[str]:
    """Every result that by hand comes out otherwise, or has no value on one of the two sides only."""
    found = []
    for (case, quantity), result in results.items():
        measured, expected = result["measured"]["value"], hand[case][quantity]
        if measured is None or expected is None:
            # no value is an error with a reason, never a silent gap
            problem = result["measured"]["problem"]
            agree = measured is expected and problem is not None and problem["state"] == "error"
        else:
            agree = abs(measured - expected) <= tolerances[result["measured"]["unit"]]
        if not agree:
            found.append(f"{case} {quantity}: {measured} in the scorecard, {expected} by hand")
    return found


# --- the comparisons -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ANALYTIC)
def test_analytic_calculator_by_hand(analytic, nine_registries, name):
    """Float64 energies and exact forces: every quantity to 1e-6, and no value exactly where there is none."""
    results = results_of(analytic, name)
    case_files = [*cases(), nine_registries]
    assert set(results) == asked_for(case_files)
    hand = {case.stem: by_hand(case, ANALYTIC[name]()) for case in case_files}
    assert disagreements(results, hand, EXACT) == []


def test_analytic_calculators_reach_every_branch(analytic):
    """Morse has a value for everything; repulsion has no equilibrium; the tilt leaves its energy at u = 1."""
    values = {
        name: {key: result["measured"]["value"] for key, result in results_of(analytic, name).items()}
        for name in ANALYTIC
    }
    assert None not in values["morse"].values()
    without = {quantity for (_, quantity), value in values["repulsive"].items() if value is None}
    assert without == {
        "equilibrium_gap",
        "equilibrium_gap_atop",
        "equilibrium_gap_fault",
        "atop_energy",
        "stacking_fault_energy",
        "binding_energy",
    }
    files = {case.stem: case for case in cases()}
    for (case, quantity), value in values["tilted"].items():
        if quantity == "periodicity":
            plane = read_frames(files[case])[0].cell[:2]
            assert value == pytest.approx(0.02 * (protocol_of(files[case])["slide_vector"] @ plane)[0], abs=1e-9)


def test_chgnet_loop_by_hand(chgnet, chgnet_by_hand):
    """One structure at a time is what ASE's CHGNetCalculator does: every quantity to 1e-6."""
    results = results_of(chgnet, "loop")
    assert set(results) == asked_for(cases())
    assert disagreements(results, chgnet_by_hand, EXACT) == []


def test_chgnet_batched_by_hand(chgnet, chgnet_by_hand):
    """Batches change float32 rounding and nothing else."""
    results = results_of(chgnet, "batched")
    assert set(results) == asked_for(cases())
    assert [identity["batched"] for identity in chgnet["calculators"]] == [True, False]
    assert disagreements(results, chgnet_by_hand, FLOAT32) == []


def test_every_result_is_compared(analytic, chgnet):
    """The scorecards hold no other results than those of the comparisons above."""
    assert {result["calculator"] for result in analytic["results"]} == set(ANALYTIC)
    assert {result["calculator"] for result in chgnet["results"]} == {"batched", "loop"}


def test_references_by_hand(analytic, nine_registries):
    """What the suite judges by is what the stored DFT energies and forces give by hand; periodicity is an exact law."""
    case_files = [*cases(), nine_registries]
    hand = {case.stem: by_hand(case, StoredDFT(read_frames(case))) for case in case_files}
    results = results_of(analytic, "morse")
    expected = {key: result["expectation"] for key, result in results.items() if result["expectation"]}
    reported = {(case.stem, name) for case in case_files for name in report_of(case)}
    assert set(results) - set(expected) == reported
    assert ("cr_sb2te3_deep", "energy_image_1") in reported
    laws = {key for key in expected if key[1] == "periodicity"}
    assert {case for case, _ in laws} == {case.stem for case in cases() if "fixed_gap" in case.stem}
    assert {(expected[key]["value"], expected[key]["level_of_theory"]) for key in laws} == {(0.0, "exact")}
    for case, quantity in sorted(set(expected) - laws):
        assert expected[case, quantity]["value"] == pytest.approx(hand[case][quantity], abs=1e-6), (case, quantity)


def test_documented_numbers(analytic):
    """The numbers of the data's own documentation, in the files and in the scorecard."""
    for name, documented in (("cr_sb2te3_in_gap", IN_GAP_PROFILE), ("cr_sb2te3_deep", DEEP_PROFILE)):
        frames = read_frames(REFERENCE / "migration" / f"{name}.toml")
        profile = [frame.get_potential_energy() - frames[0].get_potential_energy() for frame in frames]
        assert profile == pytest.approx(documented, abs=AS_DOCUMENTED)

    documented = {("cr_sb2te3_deep", f"energy_image_{image}"): DEEP_PROFILE[image] for image in range(2, 9)}
    documented |= {
        ("cr_sb2te3_in_gap", "barrier"): max(IN_GAP_PROFILE),
        ("cr_sb2te3_in_gap", "reaction_energy"): IN_GAP_PROFILE[-1],
        ("sb2te3_fixed_gap_0.0", "atop_energy"): ATOP_AT_EXPERIMENTAL_GAP,
        ("sb2te3_fixed_gap_0.0", "stacking_fault_energy"): FAULT_AT_EXPERIMENTAL_GAP,
    }
    for name in ANALYTIC:
        results = results_of(analytic, name)
        judged_by = {key: results[key]["expectation"]["value"] for key in documented}
        assert judged_by == pytest.approx(documented, abs=AS_DOCUMENTED)


# --- the tools of the hand, against what can be known without them ---------------------------------------------------


def test_spline_minimum_of_a_cubic():
    """Not-a-knot gives a cubic back exactly: x^3 - 3 x has its minimum of -2 at 1, whatever the samples."""
    x = np.array([0.0, 0.3, 0.7, 1.2, 1.5, 2.5, 4.0])
    assert spline_minimum(x, x**3 - 3 * x) == pytest.approx((1.0, -2.0), abs=1e-12)
    assert spline_minimum(x, x) == (None, None)
    assert spline_minimum(x, -x) == (None, None)


@pytest.mark.parametrize("n", [9, 12])
def test_interpolant_of_harmonics(n):
    """Harmonics below n/2 come back exactly between the samples, with both derivatives."""
    wave = lambda u: 0.3 + np.cos(2 * np.pi * u) - 0.4 * np.sin(8 * np.pi * u)  # noqa: E731
    interpolant = TrigonometricInterpolant(wave(np.arange(n) / n))
    u = np.linspace(0, 1, 101)
    assert interpolant(u) == pytest.approx(wave(u), abs=1e-12)
    step = 1e-5
    slope = (wave(u + step) - wave(u - step)) / (2 * step)
    curvature = (interpolant(u + step, derivative=1) - interpolant(u - step, derivative=1)) / (2 * step)
    assert interpolant(u, derivative=1) == pytest.approx(slope, abs=1e-6)
    assert interpolant(u, derivative=2) == pytest.approx(curvature, abs=1e-4)


def test_highest_harmonic_of_an_even_number():
    """For twelve samples the sixth harmonic is a cosine: its sine would be zero at all of them."""
    u = np.linspace(0, 1, 101)
    interpolant = TrigonometricInterpolant(np.cos(np.pi * np.arange(12)))
    assert interpolant(u) == pytest.approx(np.cos(12 * np.pi * u), abs=1e-12)


def test_roots_of_a_sine():
    """Zeros on the grid and between its points."""
    assert list(roots(np.sin, 1.0, 10.0)) == pytest.approx([np.pi, 2 * np.pi, 3 * np.pi], abs=1e-14)
    assert list(roots(lambda x: x - 0.5, 0.0, 1.0)) == [0.5]


@pytest.mark.parametrize("factory", ANALYTIC.values(), ids=ANALYTIC)
def test_analytic_forces_are_the_slope_of_the_energy(factory):
    """Otherwise the force errors would compare one slip with itself."""
    atoms = read_frames(REFERENCE / "migration" / "cr_sb2te3_in_gap.toml")[2]
    _, forces = energy_and_forces(atoms, factory())
    atoms.calc = factory()
    some = [0, 1, 20]  # Te, Sb, Cr
    assert forces[some] == pytest.approx(calculate_numerical_forces(atoms, eps=1e-4, iatoms=some), abs=1e-6)
    assert np.max(np.abs(forces[some])) > 0.1
