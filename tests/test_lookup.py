"""A calculator that knows the DFT answers passes everything; with one image lifted, just what sees it fails."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from support import RECORDED, STORED, LookupCalculator, reference_frames

from mlff_probes.calculators.base import as_calculator
from mlff_probes.cases.load import load_cases
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.records import State
from mlff_probes.session.suite import Suite

LIFT = 0.2
KINDS = ("fixed_path", "fixed_gap_slide", "relaxed_gap_slide")
FRAMES = reference_frames()
OF_PARITY = [frame for frame in FRAMES if set(frame.symbols) <= RECORDED]
REPORTED = {("cr_sb2te3_deep", "energy_image_1")}


def verdicts(calculator, cases=None, kinds=KINDS) -> dict[tuple[str, str], State]:
    suite = Suite([as_calculator(calculator)], cases or load_cases())
    results = [suite.result(request) for kind in kinds for request in suite.requests(kind)]
    return {(r.case, r.quantity): r.verdict.state for r in results}


def failing(lift) -> set[tuple[str, str]]:
    found = verdicts(LookupCalculator(FRAMES, lift))
    red = {key for key, state in found.items() if state in (State.FAILED, State.ERROR)}
    assert {key for key, state in found.items() if key not in red and state is not State.PASSED} == REPORTED
    return red


def test_passes_everything():
    found = verdicts(LookupCalculator(FRAMES), kinds=(*KINDS, "parity"))
    assert found.keys() == {(case.id, quantity) for case in STORED for quantity in case.quantities}
    not_passed = {key for key, state in found.items() if state is not State.PASSED}
    assert {key for key in not_passed if key[0] != "sb2te3_frames"} == REPORTED
    assert {found[key] for key in not_passed} == {State.REPORTED}


class Nothing(Calculator):
    """No energy, no forces: the model that has learned nothing."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


def test_a_model_that_has_learned_nothing_passes_nothing_but_the_exact_law():
    found = verdicts(Nothing())
    passed = {key for key, state in found.items() if state is State.PASSED}
    mirrored = {("graphene_fixed_gap_3.35", "stacking_fault_energy")}
    assert {quantity for _, quantity in passed - mirrored} == {"periodicity"}
    assert mirrored <= passed
    assert State.ERROR in {found["sb2te3_relaxed_gap", q] for q in ("equilibrium_gap", "atop_energy")}


@pytest.mark.parametrize("change", ["shuffled", "rotated", "wrapped", "shifted"])
def test_passes_everything_however_the_frames_are_written(change, tmp_path):
    rng = np.random.default_rng(7)
    axis = rng.normal(size=3)
    for file in [*DIRECTORY.glob("migration/*.extxyz"), *DIRECTORY.glob("sliding/*.extxyz")]:
        if file.stem.endswith("_hop"):  # nothing to look up: it relaxes
            continue
        target = tmp_path / file.parent.name / file.name
        target.parent.mkdir(exist_ok=True)
        target.with_suffix(".toml").write_text(file.with_suffix(".toml").read_text())
        frames = ase.io.read(file, ":")
        for frame in frames:
            results = frame.calc.results
            if change == "rotated":
                before = frame.cell.array.copy()
                frame.rotate(40.0, axis, rotate_cell=True)
                if "forces" in results:
                    results["forces"] = results["forces"] @ np.linalg.solve(before, frame.cell.array)
            if change == "wrapped":
                frame.wrap(eps=1e-9)
            if change == "shifted":
                frame.positions += rng.integers(-2, 3, size=(len(frame), 3)) @ frame.cell.array
            frame.calc.atoms = frame.copy()
        if change == "shuffled":
            frames = [frames[i] for i in rng.permutation(len(frames))]
        ase.io.write(target, frames, format="extxyz")
    cases = load_cases([tmp_path])
    found = verdicts(LookupCalculator(FRAMES), cases)
    assert found.keys() == {(case.id, quantity) for case in cases for quantity in case.quantities}
    assert {key for key, state in found.items() if state is not State.PASSED} == REPORTED


def test_the_top_of_the_hop_lifted():
    # the profile sees it too, by 0.2 eV / 5 images = 0.04 eV, which its tolerance allows
    lifted = failing(lambda f: LIFT * (f.info.get("path") == "ingap" and f.info["image"] == 2))
    assert lifted == {("cr_sb2te3_in_gap", "barrier"), ("cr_sb2te3_in_gap", "reverse_barrier")}


def test_the_end_of_the_hop_lifted():
    lifted = failing(lambda f: LIFT * (f.info.get("path") == "ingap" and f.info["image"] == 4))
    assert lifted == {("cr_sb2te3_in_gap", "reverse_barrier"), ("cr_sb2te3_in_gap", "reaction_energy")}


def test_the_first_image_lifted_moves_everything_that_is_relative_to_it():
    # image 0 is the same structure on both paths; the reverse barrier alone does not see it
    lifted = failing(lambda f: LIFT * (f.info.get("image") == 0))
    in_gap = {("cr_sb2te3_in_gap", q) for q in ("barrier", "reaction_energy", "profile_mae")}
    deep = {("cr_sb2te3_deep", q) for q in ("profile_mae", *(f"energy_image_{i}" for i in range(2, 9)))}
    assert lifted == in_gap | deep


@pytest.mark.parametrize("image", range(2, 9))
def test_one_depth_lifted(image):
    lifted = failing(lambda f: LIFT * (f.info.get("path") == "deep" and f.info["image"] == image))
    assert lifted == {("cr_sb2te3_deep", f"energy_image_{image}")}


@pytest.mark.parametrize("gap_shift", [0.0, 0.2, 0.4, 0.6])
def test_atop_lifted_at_one_gap(gap_shift):
    def lift(frame):
        there = abs(frame.info.get("slide", 0) - 1 / 3) < 1e-6 and frame.info.get("gap_shift") == gap_shift
        return LIFT * (there and "Sb" in frame.symbols)

    case = f"sb2te3_fixed_gap_{gap_shift}"
    lifted = failing(lift)
    # the interpolant carries the kink into the slope; its ripples reach the bridge, but within tolerance
    assert lifted == {(case, q) for q in ("atop_energy", "profile_mae", "max_lateral_force")}


def test_the_fault_lifted_at_the_experimental_gap():
    def lift(frame):
        there = abs(frame.info.get("slide", 0) - 2 / 3) < 1e-6 and frame.info.get("gap_shift") == 0.0
        return LIFT * (there and "Sb" in frame.symbols)

    case = "sb2te3_fixed_gap_0.0"
    seen = {(case, q) for q in ("stacking_fault_energy", "bridge_barrier", "profile_mae", "max_lateral_force")}
    # from the lifted fault the way back only falls: without a top inside, the bridge is an error
    # E(gap) at the fault is relaxed near 3.5 A: the spline feels the lifted 2.8 A, but within tolerance
    assert failing(lift) == seen


def test_the_widest_gap_lifted():
    def lift(frame):
        return LIFT * (frame.info.get("gap_shift") == 6.0 and frame.info["slide"] == 0.0 and "Te" in frame.symbols)

    lifted = failing(lift)
    assert lifted == {("sb2te3_relaxed_gap", "binding_energy"), ("sb2te3_relaxed_gap", "binding_curve_mae")}
