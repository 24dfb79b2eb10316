"""What a simulation will not resolve is said after its first part, and where nothing will be, no more is made."""

from __future__ import annotations

from dataclasses import replace

import pytest
from analytic import EinsteinCrystal, copper, protocol

from mlff_probes.calculators.base import as_calculator
from mlff_probes.core.case import Case
from mlff_probes.core.records import Expectation, Tolerance
from mlff_probes.measure.measurement import measure_case
from mlff_probes.session.suite import Suite

GIVEN_UP = 1 + 2 * (5 + 10)
"""Model calls of two replicas, which begin at the same place."""

UNITS = {"survival": "1", "temperature_offset": "%", "mean_frequency_Cu": "THz"}


def case(tolerances, **changed) -> Case:
    """A case that judges some quantities of two replicas of copper on springs, 5 steps of equilibration and 50 more."""
    given = {"timestep_fs": 4.0, "friction_per_fs": 0.03, "equilibration_steps": 5, "steps": 50, "sample_every": 1}
    here = protocol(**({"ensemble": "NVT"} | given | changed))
    expectations = tuple(
        Expectation(
            quantity=name, value=1.0 if name == "survival" else 0.0, unit=UNITS[name], uncertainty=0.0,
            level_of_theory="exact", source="here",
            tolerance=Tolerance(value=tolerance, unit=UNITS[name], reason="Ours."),
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
