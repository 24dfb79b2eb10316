"""What a simulation will not resolve is said after its first part, and where nothing will be, no more is made."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from analytic import EinsteinCrystal, copper, protocol

from mlff_probes.calculators.base import as_calculator
from mlff_probes.core.case import Case
from mlff_probes.core.records import Expectation, Tolerance
from mlff_probes.measure.measurement import measure_case
from mlff_probes.methods.simulation.engine import Sample
from mlff_probes.methods.simulation.recorder import Recorder
from mlff_probes.session.suite import Suite

GIVEN_UP = 1 + 2 * (5 + 10)
"""Model calls of two replicas, which begin at the same place."""


def case(tolerances, value=0.0, **changed) -> Case:
    """A case that judges some quantities of two replicas of copper on springs, 5 steps of equilibration and 50 more."""
    given = {"timestep_fs": 4.0, "friction_per_fs": 0.03, "equilibration_steps": 5, "steps": 50, "sample_every": 1}
    here = protocol(**({"ensemble": "NVT"} | given | changed))
    units = here.units([copper(1)])
    expectations = tuple(
        Expectation(
            quantity=name, value=1.0 if name == "survival" else value, unit=units[name], uncertainty=0.0,
            level_of_theory="exact", source="here",
            tolerance=Tolerance(value=tolerance, unit=units[name], reason="Ours."),
        )
        for name, tolerance in tolerances.items()
    )  # fmt: skip
    return Case(
        id="here", family="dynamics", title="Here", tier="quick", frames=(copper(1),), stored=None, protocol=here,
        expectations=expectations, level_of_theory="exact", source="here", reports=(),
    )  # fmt: skip


@pytest.fixture
def crystal():
    return EinsteinCrystal(copper(1), 2.0)


def test_what_is_hopeless_is_given_up_after_a_fifth(crystal, tmp_path):
    said = []
    here = case({"temperature_offset": 0.01})
    found = measure_case(as_calculator(crystal), here, report=said.append, store=tmp_path)
    assert crystal.evaluations == GIVEN_UP
    problem = found.values["temperature_offset"].problem
    assert problem.unresolved
    assert problem.reason.startswith("unresolved: given up after 20% of the production, not expected to be resolved")
    assert "where 0.005 are needed, half the tolerance" in problem.reason
    assert any("not expected to be resolved: temperature_offset" in line for line in said)
    again = measure_case(as_calculator(crystal), here, store=tmp_path)
    assert again.values == found.values
    assert crystal.evaluations == GIVEN_UP + 2  # the last sample of each replica, to know the model again
    suite = Suite([as_calculator(crystal)], [here])
    (row,) = [suite.result(request) for request in suite.requests("molecular_dynamics")]
    assert row.verdict.state == "error"


def test_what_else_is_judged_is_simulated_to_its_end(crystal):
    found = measure_case(as_calculator(crystal), case({"temperature_offset": 0.01, "survival": 0.1}))
    assert found.values["survival"].value == 1.0
    assert found.diagnostics["steps"] == 55
    (note,) = found.diagnostics["notes"]
    assert "not expected to be resolved: temperature_offset: some " in note


def test_what_may_be_resolved_is_simulated_and_the_expectation_is_said(crystal):
    found = measure_case(as_calculator(crystal), case({"temperature_offset": 60.0}, steps=200))
    assert found.values["temperature_offset"].value is not None
    assert found.diagnostics["notes"] == []
    expected = found.diagnostics["expected_samples"]["temperature_offset"]
    seen = float(found.values["temperature_offset"].note.split()[0])
    assert seen / 3 < expected < 3 * seen


def test_what_is_certainly_wrong_is_no_reason_to_give_up(crystal):
    here = case({"temperature_offset": 0.01})
    hot = replace(here, expectations=(here.expectations[0].model_copy(update={"value": -500.0}),))
    found = measure_case(as_calculator(crystal), hot)
    assert found.diagnostics["steps"] == 55


def test_windows_that_will_be_too_short_are_known_early(crystal):
    found = measure_case(as_calculator(crystal), case({"mean_frequency_Cu": 0.2}, ensemble="NVE"))
    reason = found.values["mean_frequency_Cu"].problem.reason
    assert crystal.evaluations == GIVEN_UP
    assert "mean_frequency_Cu: windows of 22.2 fs hold 0.0" in reason
    assert " times as long, or more replicas" in reason


@pytest.mark.parametrize(
    ("quantity", "tolerance", "value", "changed", "says"),
    [
        ("first_peak_all", 1e-4, 2.56, {"steps": 200}, " A within 95 %, where 5e-05 are needed"),
        ("temperature_drift", 10.0, 0.0, {"steps": 200}, " K/ps within 95 %, where 5 are needed"),
        ("rmsd_growth_rate", 1e-3, 0.0, {"steps": 200, "equilibration_steps": 40}, " A/ps within 95 %, where 0.0005"),
        ("diffusion_Cu", 1e-5, 0.0, {}, "0 lags between 1 ps, where displacements stop being ballistic"),
        (
            "diffusion_Cu", 1e-5, 0.0, {"steps": 1000, "sample_every": 20},
            "less than half the squared hop length (4.5 A^2): an upper bound only",
        ),
    ],
)  # fmt: skip
def test_of_shells_slopes_and_diffusion_it_is_said_early_too(crystal, quantity, tolerance, value, changed, says):
    given = {"steps": 50, "sample_every": 1, "equilibration_steps": 0} | changed
    found = measure_case(as_calculator(crystal), case({quantity: tolerance}, value, **given))
    problem = found.values[quantity].problem
    assert problem.unresolved
    assert "unresolved: given up after 20% of the production" in problem.reason
    assert says in problem.reason
    assert re.search(r"some [\d.]+ ps would do instead of [\d.]+ ps, or more|simulate 2 ps or more", problem.reason)
    assert crystal.evaluations <= 2 * (given["steps"] * 0.2 + given["equilibration_steps"] + 1)


def test_a_peak_that_is_known_well_enough_is_simulated_to_its_end(crystal):
    said = []
    here = case({"first_peak_all": 0.2}, 2.56, steps=200)
    found = measure_case(as_calculator(crystal), here, report=said.append)
    assert found.values["first_peak_all"].value is not None
    assert found.diagnostics["notes"] == []
    expected = found.diagnostics["expected_samples"]["first_peak_all"]
    seen = float(found.values["first_peak_all"].note.split()[0])
    assert seen / 3 < expected < 3 * seen
    assert any(f"expected independent samples: first_peak_all {expected:.0f}" in line for line in said)


def test_the_first_part_of_a_wrapped_simulation_is_unwrapped():
    start, here = copper(1), protocol(equilibration_steps=5, steps=20, sample_every=5, seeds=(1,))
    recorder, length = Recorder(start, here), start.cell.lengths()[0]
    cells, still = start.cell.array[None], np.zeros((1, len(start), 3))
    walked = start.positions + np.arange(5)[:, None, None] * [0.3 * length, 0.0, 0.0]
    for positions in walked:
        wrapped = np.mod(positions, length)[None]
        recorder.add(Sample(wrapped, still, start.get_masses(), still, np.zeros(1), cells))
    first, begun = recorder.production(3, wrapped=True)
    assert first.positions[0] == pytest.approx(walked[1:4] - walked[0] + begun.positions[0])
    as_it_came, _ = recorder.production(3, wrapped=False)
    assert as_it_came.positions[0] == pytest.approx(np.mod(walked[1:4], length))
