"""What simulations will take is said as the first of them begins."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ase.calculators.emt import EMT

from mlff_probes.calculators.base import as_calculator
from mlff_probes.cases.load import load_case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.records import Measurement
from mlff_probes.measure.dynamics.cost import foreseen_note
from mlff_probes.session.forecast import Forecast
from mlff_probes.session.suite import Suite

SMALL, LARGE, NO_SIMULATION = "sb2te3_300K_nve", "sb2te3_300K", "cr_sb2te3_in_gap"


@pytest.fixture(scope="module")
def cases():
    files = {SMALL: "dynamics", LARGE: "dynamics", "cr_sb2te3_300K": "dynamics", NO_SIMULATION: "migration"}
    return {name: load_case(DIRECTORY / family / f"{name}.toml") for name, family in files.items()}


@pytest.fixture
def told(cases):
    """A forecast of a run of all of them, with what it said; the calculator knows no chromium."""
    emt = as_calculator(EMT())
    identity = emt.identity.model_copy(update={"label": "emt", "elements": ("Sb", "Te")})
    suite = Suite([replace(emt, identity=identity)], list(cases.values()), tier="full")
    said = []
    requests = [*suite.requests("molecular_dynamics"), *suite.requests("fixed_path")]
    return suite, Forecast(suite, requests, said.append), said


def seconds(protocol, call_s):
    return len(protocol.seeds) * (protocol.equilibration_steps + protocol.steps + 1) * call_s


def test_all_simulations_are_reckoned_by_their_calls_and_atoms(cases, told):
    _, forecast, said = told
    forecast("emt", SMALL, 0.5)
    small, large = (cases[name].protocol for name in (SMALL, LARGE))
    minutes = seconds(small, 0.5) / 60
    hours = seconds(large, 0.5 * 160 / 20) / 3600
    (line,) = said
    assert "emt evaluates one structure a call (0.5 s for 20 atoms)" in line
    assert f"will take some {hours + minutes / 60:.1f} h ({SMALL} {minutes:.0f} min, {LARGE} {hours:.1f} h)" in line
    forecast("emt", LARGE, 4.0)
    assert len(said) == 1  # once a calculator


def test_what_is_measured_and_what_is_not_long_is_not_said(told):
    suite, forecast, said = told
    suite.measurements["emt", LARGE] = Measurement(calculator="emt", case=LARGE)
    forecast("emt", SMALL, 0.001)
    assert said == []


def test_a_simulation_that_took_long_says_so_in_the_scorecard(cases):
    protocol = cases[SMALL].protocol
    calls = len(protocol.seeds) * (protocol.equilibration_steps + protocol.steps + 1)
    assert foreseen_note(protocol, 59.0 / calls) == ""
    assert foreseen_note(protocol, 120.0 / calls).endswith(f"{calls:,} calls of {120 / calls:.2g} s, 2 min")
