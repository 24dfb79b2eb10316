"""Measurements against analytic answers, and what happens when a calculator does not cooperate."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from support import CosineCorrugation, DoubleWell, double_well_path, path_case

from mlff_probes.calculators.base import as_calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.cases.load import load_cases
from mlff_probes.core.evaluation import Evaluation
from mlff_probes.measure.measurement import measure_case, reference_measurement
from mlff_probes.measure.migration.fixed_path import path_fraction, perpendicular_force
from mlff_probes.measure.migration.protocols import prominence

EXACT = 1e-6
CASES = {case.id: case for case in load_cases()}
FIXED_GAPS = [name for name, case in CASES.items() if "fixed_gap" in name and case.material == "Sb2Te3"]


def values(calculator, case) -> dict[str, float | None]:
    measurement = measure_case(as_calculator(calculator), case)
    assert measurement.problem is None, measurement.problem
    return {name: value.value for name, value in measurement.values.items()}


@pytest.mark.parametrize("case", FIXED_GAPS)
@pytest.mark.parametrize("height", [0.4, -0.1])
def test_single_cosine_corrugation(case, height):
    found = values(CosineCorrugation(height=height), dataclasses.replace(CASES[case], stored=None))
    period = np.sqrt(3) * 4.264
    assert found["atop_energy"] == pytest.approx(0.75 * height, abs=EXACT)
    assert found["stacking_fault_energy"] == pytest.approx(0.75 * height, abs=EXACT)
    # no top between the fault and the crystal: the way back starts (or, upside down, ends) at its highest point
    assert found["bridge_barrier"] == pytest.approx(max(0.75 * height, 0.0), abs=EXACT)
    assert found["max_lateral_force"] == pytest.approx(np.pi * abs(height) / period, abs=EXACT)
    assert found["periodicity"] == pytest.approx(0.0, abs=EXACT)


@pytest.mark.parametrize("case", FIXED_GAPS)
def test_threefold_cosine_has_a_bridge(case):
    found = values(CosineCorrugation(height=0.3, order=3), CASES[case])
    assert found["atop_energy"] == pytest.approx(0.0, abs=EXACT)
    assert found["stacking_fault_energy"] == pytest.approx(0.0, abs=EXACT)
    assert found["bridge_barrier"] == pytest.approx(0.3, abs=EXACT)
    assert found["max_lateral_force"] == pytest.approx(3 * np.pi * 0.3 / (np.sqrt(3) * 4.264), abs=EXACT)


def test_energies_per_area():
    measurement = measure_case(as_calculator(CosineCorrugation(height=0.4)), CASES["sb2te3_fixed_gap_0.0"])
    area_m2 = np.sqrt(3) / 2 * 4.264**2 * 1e-20
    joule = 0.3 * 1.602176634e-19
    assert measurement.values["atop_energy"].also["J/m^2"] == pytest.approx(joule / area_m2, rel=1e-6)


def test_relaxed_gap_of_a_parabola():
    found = values(CosineCorrugation(height=0.2, stiffness=0.5, equilibrium_gap=3.3), CASES["sb2te3_relaxed_gap"])
    for name in ("equilibrium_gap", "equilibrium_gap_atop", "equilibrium_gap_fault"):
        assert found[name] == pytest.approx(3.3, abs=EXACT)
    assert found["atop_energy"] == pytest.approx(0.15, abs=EXACT)
    assert found["stacking_fault_energy"] == pytest.approx(0.15, abs=EXACT)
    widest = max(frame.info["gap"] for frame in CASES["sb2te3_relaxed_gap"].frames)
    assert found["binding_energy"] == pytest.approx(0.5 * (widest - 3.3) ** 2, abs=EXACT)


@pytest.mark.parametrize("equilibrium_gap", [1.0, 12.0])
def test_minimum_outside_the_sampled_gaps_is_not_bracketed(equilibrium_gap):
    calculator = CosineCorrugation(stiffness=0.5, equilibrium_gap=equilibrium_gap)
    measurement = measure_case(as_calculator(calculator), CASES["sb2te3_relaxed_gap"])
    for name in ("equilibrium_gap", "equilibrium_gap_fault", "atop_energy", "binding_energy"):
        value = measurement.values[name]
        assert value.value is None
        assert value.problem.state == "error"
        assert "not bracketed" in value.problem.reason
    assert measurement.values["binding_curve_mae"].value is not None  # needs no minimum


@pytest.mark.parametrize("images", [3, 5, 9])
def test_double_well_barrier_and_position(images):
    found = values(DoubleWell(height=0.7), path_case(double_well_path(images)))
    assert found["barrier"] == pytest.approx(0.7, abs=EXACT)
    assert found["reverse_barrier"] == pytest.approx(0.7, abs=EXACT)
    assert found["reaction_energy"] == pytest.approx(0.0, abs=EXACT)
    assert found["saddle_position"] == pytest.approx(0.5, abs=EXACT)


END, NO_TOP = "the highest image is an end of the path", "no top between the fault and the crystal"
SADDLE = ("barrier", "reverse_barrier", "saddle_position")
OVER, UP = double_well_path(7), double_well_path(7)[:4]


def bridge(model, reference):
    case = CASES["sb2te3_fixed_gap_0.2"]
    stored = None if reference is None else evaluate(reference, case.frames, forces=False)
    case = dataclasses.replace(case, stored=stored)
    return measure_case(as_calculator(model), case).values["bridge_barrier"]


@pytest.mark.parametrize("same", [True, False])
def test_a_top_at_an_end_is_noted_where_the_reference_has_none_either(same):
    model, slope = DoubleWell(height=0.7), CosineCorrugation(height=0.3)
    found = measure_case(as_calculator(model), path_case(UP, evaluate(model, UP) if same else None)).values
    for name in SADDLE:
        assert found[name].value is not None
        assert found[name].caveat.startswith(END)
    found = bridge(slope, slope if same else None)
    assert found.value == pytest.approx(0.225, abs=EXACT)
    assert found.caveat.startswith(NO_TOP)


def test_a_top_between_the_ends_is_not_noted():
    found = measure_case(as_calculator(DoubleWell(height=0.7)), path_case(OVER)).values
    assert [found[name].caveat for name in SADDLE] == ["", "", ""]
    found = bridge(CosineCorrugation(height=0.3, order=3), CosineCorrugation(height=0.3))
    assert (found.caveat, found.problem) == ("", None)


class Rounded(DoubleWell):
    """Energies of a hundred eV, whose top is no more than their rounding to float32."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["energy"] -= 100.0


WITHOUT = [DoubleWell(0.0, tilt=0.2), DoubleWell(0.0, tilt=-0.2), DoubleWell(-0.4), Rounded(2e-5)]


@pytest.mark.parametrize("model", WITHOUT)
def test_a_path_without_the_saddle_of_the_reference_is_not_bracketed(model):
    found = measure_case(as_calculator(model), path_case(OVER, evaluate(DoubleWell(0.7), OVER))).values
    for name in SADDLE:
        assert (found[name].value, found[name].problem.state) == (None, "error")
        assert found[name].problem.reason.startswith("not bracketed: no image lies above both ends of the path")
    assert found["reaction_energy"].value is not None
    assert found["energy_image_3"].value is not None


@pytest.mark.parametrize("height", [0.4, 0.0, -0.1])
def test_a_slide_without_the_bridge_of_the_reference_is_not_bracketed(height):
    found = bridge(CosineCorrugation(height=height), CosineCorrugation(height=0.3, order=3))
    assert (found.value, found.problem.state) == (None, "error")
    assert found.problem.reason.startswith("not bracketed: no registry between the fault and the crystal")


def test_tilted_double_well():
    found = values(DoubleWell(height=0.7, tilt=0.1), path_case(double_well_path(5)))
    assert found["reaction_energy"] == pytest.approx(0.2, abs=EXACT)
    assert found["barrier"] == pytest.approx(0.8, abs=EXACT)
    assert found["reverse_barrier"] == pytest.approx(0.6, abs=EXACT)
    assert found["energy_image_4"] == pytest.approx(0.2, abs=EXACT)


def test_profile_and_force_errors():
    frames = double_well_path(5)
    right, wrong = DoubleWell(height=0.7), DoubleWell(height=1.1)
    stored = evaluate(right, frames)
    found = values(wrong, path_case(frames, stored))
    shape = (1 - np.linspace(-1, 1, 5) ** 2) ** 2
    assert found["profile_mae"] == pytest.approx(0.4 * shape.mean(), abs=EXACT)
    slope = np.abs(4 * 0.4 * np.linspace(-1, 1, 5) * (1 - np.linspace(-1, 1, 5) ** 2))
    assert found["migrating_force_mae"] == pytest.approx(slope.mean() / 3, abs=EXACT)  # one component of three
    assert found["force_mae"] == pytest.approx(slope.mean() / 6, abs=EXACT)  # one atom of two
    assert values(right, path_case(frames, stored))["force_mae"] == 0.0


def test_path_fraction_takes_the_short_way_round():
    frames = []
    for x in (7.0, 7.5, 8.5, 9.0):  # the second step crosses the cell boundary at 8
        atoms = Atoms("Cr", positions=[[x, 1, 1]], cell=[8, 8, 8], pbc=True)
        atoms.wrap()
        frames.append(atoms)
    np.testing.assert_allclose(path_fraction(tuple(frames)), [0, 0.25, 0.75, 1.0], atol=1e-12)


def test_perpendicular_force_leaves_out_the_tangent():
    frames = tuple(double_well_path(5))
    forces = [np.zeros((2, 3)) for _ in frames]
    for force in forces:
        force[1] = (5.0, 0.3, 0.4)  # 5 along the path, 0.5 across
    np.testing.assert_allclose(perpendicular_force(frames, tuple(forces)), [0.5, 0.5, 0.5], atol=1e-12)


def test_how_far_a_prominence():
    assert prominence(np.array([0.0, 0.5, 1.5, 0.7, 0.2])) == pytest.approx(0.8)
    assert prominence(np.array([0.0, 0.5, 1.5])) == 0.0  # the end of a path is no saddle


def test_reference_is_measured_by_the_same_functions():
    case = CASES["cr_sb2te3_in_gap"]
    reference = reference_measurement(case)
    assert reference.values["profile_mae"].value == 0.0
    assert reference.values["barrier"].value == case.expectation("barrier").value
    no_energies = dataclasses.replace(case, stored=None)
    assert reference_measurement(no_energies) is None


class Moody(DoubleWell):
    """Raises, or returns nonsense, at one frame."""

    def __init__(self, at: int, how: str) -> None:
        super().__init__()
        self.at, self.how, self.calls = at, how, -1

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.calls != self.at:
            return
        if self.how == "raise":
            raise RuntimeError("out of\norder")
        if self.how == "exit":
            raise SystemExit(3)
        key, value = {
            "nan energy": ("energy", float("nan")),
            "inf energy": ("energy", float("inf")),
            "two energies": ("energy", np.zeros(2)),
            "nan forces": ("forces", np.array([[0.0] * 3, [0.0, np.nan, 0.0]])),
            "short forces": ("forces", np.zeros((1, 3))),
        }[self.how]
        self.results[key] = value


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("raise", "RuntimeError: out of order"),
        ("exit", "SystemExit: 3"),
        ("nan energy", "energy of frame 2 is nan"),
        ("inf energy", "energy of frame 2 is inf"),
        ("two energies", "shape (2,), expected one number"),
        ("nan forces", "atom 1 (Cr)"),
        ("short forces", "shape (1, 3), expected (2, 3)"),
    ],
)
def test_unusable_numbers_are_an_error_that_names_the_frame(how, says):
    measurement = measure_case(as_calculator(Moody(2, how)), path_case(double_well_path(5)))
    assert measurement.values == {}
    assert measurement.problem.state == "error"
    assert "frame 2" in measurement.problem.reason
    assert says in measurement.problem.reason
    assert "\n" not in measurement.problem.reason


@pytest.mark.parametrize("given", [0, 3, 6])
def test_a_batch_of_another_length_is_an_error(given):
    """Its results would otherwise be taken for those of other structures."""
    model = dataclasses.replace(as_calculator(DoubleWell()), batch=lambda *_: [(0.0, np.zeros((2, 3)))] * given)
    measurement = measure_case(model, path_case(double_well_path(5)))
    assert measurement.problem.reason == f"frame 0 to frame 4: the batched pass gave {given} results for 5 structures"


def test_keyboard_interrupt_is_not_swallowed():
    class Stopped(DoubleWell):
        def calculate(self, *_args, **_kwargs):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_case(as_calculator(Stopped()), path_case(double_well_path(3)))


def test_counts_and_time_with_a_fake_clock():
    ticks = iter(np.arange(0.0, 100.0, 0.5))
    frames = double_well_path(5)
    evaluation = evaluate(DoubleWell(), frames, clock=lambda: next(ticks))
    assert (evaluation.calls, evaluation.batches, evaluation.model_s) == (5, 5, 0.5)
    assert all(frame.calc is None for frame in frames)
    empty = evaluate(DoubleWell(), [])
    assert (len(empty.energies), empty.forces, empty.calls) == (0, (), 0)


def test_evaluation_without_forces():
    assert isinstance(evaluate(CosineCorrugation(), CASES[FIXED_GAPS[0]].frames, forces=False), Evaluation)
    assert evaluate(CosineCorrugation(), CASES[FIXED_GAPS[0]].frames, forces=False).forces is None
