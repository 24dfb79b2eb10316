"""From a case to its numbers: systems whose answers are known, and the errors where there is none."""

from __future__ import annotations

from dataclasses import replace

import ase.io
import numpy as np
import pytest
from analytic import Argon, EinsteinCrystal, IdealGas, batched, copper
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import all_changes
from sound import Sound

from mlff_probes.calculators.base import as_calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.cases.load import load_case
from mlff_probes.core.case import Case
from mlff_probes.core.records import Expectation, State, Tolerance
from mlff_probes.core.trajectory import ReferenceDynamics
from mlff_probes.measure.dynamics.observables import Observables, Sample
from mlff_probes.measure.dynamics.protocols import MolecularDynamics
from mlff_probes.measure.measurement import measure_case, reference_measurement
from mlff_probes.methods.analysis.statistics import mean
from mlff_probes.methods.simulation.simulate import simulate
from mlff_probes.session.suite import Suite

FS_PER_PS = 1000.0
ASE_TO_CM2_S = 1e-16 * 1e15
"""A^2 / fs in cm^2 / s."""


def case(start: Atoms, *reports: str, **changed) -> Case:
    """A case that reports some quantities of a simulation."""
    given = {
        "kind": "molecular_dynamics", "ensemble": "NVT", "temperature": 300.0, "equilibration_steps": 100,
        "steps": 400, "sample_every": 4, "timestep_fs": 4.0, "friction_per_fs": 0.02, "seeds": (1, 2, 3, 4),
    }  # fmt: skip
    return Case(
        id="here", family="dynamics", title="Here", tier="quick", frames=(start,), stored=None, expectations=(),
        protocol=MolecularDynamics.model_validate(given | changed), level_of_theory="exact", source="here",
        reports=reports,
    )  # fmt: skip


def assert_near(value, truth):
    """The truth lies within one and a half times the 95 % interval, which is not wider than a tenth of the truth.

    A thousandth is left to the timestep.
    """
    assert value.problem is None, value.problem
    assert value.uncertainty <= 0.1 * abs(truth)
    assert value.value == pytest.approx(truth, abs=1.5 * value.uncertainty + 1e-3 * abs(truth))


def frequency_thz(sites, spring):
    """The frequency of atoms on springs."""
    return np.sqrt(spring / sites.get_masses()[0]) * units.fs * 1000 / (2 * np.pi)


def test_a_dilute_gas_with_friction_diffuses_as_einstein_says():
    """VACF = exp(-friction t), D = kT / (m friction), and the ideal gas's pressure."""
    gas = Atoms("Ar27", positions=[[22 * i, 22 * j, 22 * k] for i in range(3) for j in range(3) for k in range(3)],
                cell=[66] * 3, pbc=True)  # fmt: skip
    friction, mass = 0.03, gas.get_masses()[0]
    here = case(gas, "diffusion_Ar", "temperature", "pressure", "first_peak_all", friction_per_fs=friction,
                timestep_fs=10.0, equilibration_steps=20, steps=2000, sample_every=2, hop_length=1.0)  # fmt: skip
    found = measure_case(batched(IdealGas()), here)
    per_mass = units.kB * 300.0 / mass * units.fs**2  # kT/m in (A/fs)^2
    assert_near(found.values["diffusion_Ar"], per_mass / friction * ASE_TO_CM2_S)
    assert_near(found.values["temperature"], 300.0)
    assert_near(found.values["pressure"], 27 * units.kB * 300.0 / gas.get_volume() / units.GPa)
    lag = np.array(found.arrays["vacf_lag_ps"]) * FS_PER_PS
    np.testing.assert_allclose(np.array(found.arrays["vacf"])[lag < 300], np.exp(-friction * lag[lag < 300]), atol=0.03)
    assert "unresolved" in found.values["first_peak_all"].problem.reason


def test_a_harmonic_crystal_has_its_frequency_and_keeps_its_energy():
    """Independent oscillators: one line in the spectrum, VACF = cos, and a displacement that does not grow."""
    sites, spring = copper(), 3.0
    thz = frequency_thz(sites, spring)
    here = case(sites, "mean_frequency_Cu", "energy_drift", "rmsd_growth_rate", "diffusion_Cu", "survival",
                "thermal_conductivity", ensemble="NVE", steps=1600, timestep_fs=3.0)  # fmt: skip
    found = measure_case(batched(EinsteinCrystal(sites, spring)), here)
    assert_near(found.values["mean_frequency_Cu"], thz)
    spectrum = np.array(found.arrays["vdos_Cu"])
    assert found.arrays["vdos_Cu_frequency"][int(spectrum.argmax())] == pytest.approx(thz, abs=0.7)
    lag = np.array(found.arrays["vacf_lag_ps"])
    np.testing.assert_allclose(found.arrays["vacf"][:100], np.cos(2 * np.pi * thz * lag[:100]), atol=0.05)
    drift = found.values["energy_drift"]
    assert abs(drift.value) <= max(drift.uncertainty, 1e-6)
    growth = found.values["rmsd_growth_rate"]
    assert abs(growth.value) <= 1.5 * growth.uncertainty
    assert found.values["diffusion_Cu"].upper_bound
    assert found.values["survival"].value == 1.0
    kappa = found.values["thermal_conductivity"].problem
    assert kappa.state == "not applicable"
    assert kappa.by_nature
    assert found.diagnostics["engine"].startswith("torch-sim")


def test_liquid_argon_is_that_of_rahman():
    """D = 2.43e-5 cm^2/s and a first peak at 3.7 A at 94.4 K and 1.374 g/cm^3 (Rahman, 1964, 864 atoms).

    The cell here is smaller, where diffusion is slower by 2.837 kT / (6 pi viscosity L) (Yeh & Hummer, 2004), with the
    viscosity of liquid argon, 2.4e-4 Pa s (NIST, at 94 K).
    """
    kelvin, viscosity, atoms = 94.4, 2.4e-4, 108
    length = (atoms * 39.948 * 1.66054 / 1.374) ** (1 / 3)
    start = bulk("Ar", cubic=True, a=length / 3).repeat(3)
    here = case(start, "diffusion_Ar", "first_peak_Ar_Ar", "first_peak_height_Ar_Ar", ensemble="NVE",
                temperature=kelvin, timestep_fs=10.0, friction_per_fs=0.01, equilibration_steps=500, steps=1500,
                sample_every=5, seeds=(1, 2, 3))  # fmt: skip
    found = measure_case(batched(Argon()), here)
    diffusion = found.values["diffusion_Ar"]
    assert not diffusion.upper_bound
    slower = 2.837 * 1.380649e-23 * kelvin / (6 * np.pi * viscosity * length * 1e-10) * 1e4
    production = np.array(found.arrays["time_ps"]) > 0
    warmer = np.array(found.arrays["temperature"])[production].mean() / kelvin
    assert diffusion.uncertainty < 0.2e-5
    assert diffusion.value + slower == pytest.approx(2.43e-5 * warmer, abs=2 * diffusion.uncertainty + 0.1e-5)
    assert found.values["first_peak_Ar_Ar"].value == pytest.approx(3.7, abs=0.05)
    assert found.values["first_peak_height_Ar_Ar"].value == pytest.approx(2.9, abs=0.2)


def series(calculator):
    """Temperatures (K), potential energies (eV) and pressures (GPa) of copper with the calculator's engine."""
    start = bulk("Cu", a=3.407, cubic=True).repeat((2, 1, 1))
    here = case(start, friction_per_fs=0.05, steps=600, sample_every=5, seeds=(0, 1, 2, 3, 4, 5)).protocol
    run = simulate(calculator, here, start)
    frames = [run.production.atoms(replica, row) for replica in range(6) for row in range(run.production.samples)]
    stresses = evaluate(calculator, frames, stress=True).stresses.reshape(6, -1, 6)
    rows = np.arange(run.production.samples)
    sample = Sample(run.production, start.positions, 0.0, start.get_volume(), stress_rows=rows, stresses=stresses)
    return run.engine, (run.production.temperatures, run.production.energies, Observables(here, sample).pressures)


def test_both_engines_sample_the_same_ensemble():
    """Temperature, energy and pressure have the same mean and the same variance."""
    (ase_engine, theirs), (torch_engine, ours) = series(as_calculator(Sound())), series(batched(Sound()))
    assert ase_engine.startswith("ASE")
    assert torch_engine.startswith("torch-sim")
    for one, other in zip(theirs, ours, strict=True):
        a, b = mean(one), mean(other)
        assert abs(a.value - b.value) <= 1.5 * np.hypot(a.uncertainty, b.uncertainty)
        assert one.var() == pytest.approx(other.var(), rel=0.25)


def test_too_short_is_unresolved_and_never_passed():
    start = copper()
    here = case(start, "temperature", "energy_drift", "mean_frequency_Cu", ensemble="NVE", equilibration_steps=4,
                steps=8, seeds=(1,))  # fmt: skip
    expectation = Expectation(
        quantity="temperature", value=300.0, unit="K", uncertainty=0.0, level_of_theory="exact", source="here",
        tolerance=Tolerance(value=1e6, unit="K", reason="Anything."),
    )  # fmt: skip
    here = replace(here, expectations=(expectation,), reports=("energy_drift", "mean_frequency_Cu"))
    suite = Suite([as_calculator(EinsteinCrystal(start))], [here])
    rows = [suite.result(request) for request in suite.requests("molecular_dynamics")]
    # what is only reported may lack a number by chance, which fails no run unless it is strict
    assert [row.verdict.state for row in rows] == [State.ERROR, State.REPORTED, State.REPORTED]
    assert [row.failing(strict=False) for row in rows] == [True, False, False]
    assert all(row.failing(strict=True) and row.measured.value is None for row in rows)
    assert all("unresolved: " in row.verdict.reason for row in rows)


class Exploding(EinsteinCrystal):
    """Gives NaN from some call on."""

    def evaluated(self, atoms):
        found = super().evaluated(atoms)
        return found if self.evaluations < 300 else {**found, "forces": found["forces"] * np.nan}


def test_what_ended_early_has_no_other_numbers():
    start = copper()
    found = measure_case(as_calculator(Exploding(start)), case(start, "survival", "temperature", "first_peak_Cu_Cu"))
    survived = found.values["survival"]
    assert 0 < survived.value < 0.99
    assert "non-finite at step " in survived.note
    for name in ("temperature", "first_peak_Cu_Cu"):
        assert found.values[name].problem.state == "error"
        assert found.values[name].problem.reason.startswith("non-finite: ")
    assert found.diagnostics["end"] == "non-finite"
    assert len(found.arrays["temperature"]) > 2


class WithoutStress(EinsteinCrystal):
    """Supplies energy and forces alone."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        del self.results["stress"]


def test_without_stress_there_is_no_pressure():
    start = copper()
    found = measure_case(as_calculator(WithoutStress(start)), case(start, "pressure", "temperature"))
    assert found.values["pressure"].problem.state == "not applicable"
    assert found.values["temperature"].problem is None
    npt = case(start, "volume", "temperature", ensemble="NPT")
    assert measure_case(as_calculator(WithoutStress(start)), npt).problem.state == "not applicable"


def test_a_finished_simulation_is_used_again(tmp_path):
    start = copper()
    crystal = EinsteinCrystal(start)
    first = measure_case(as_calculator(crystal), case(start, "temperature"), store=tmp_path)
    calls = crystal.evaluations
    again = measure_case(as_calculator(crystal), case(start, "temperature", "first_peak_Cu_Cu"), store=tmp_path)
    assert again.values["temperature"] == first.values["temperature"]
    assert crystal.evaluations == calls + 4  # the last sample of each replica, to know the model again
    assert again.diagnostics["resumed_at_step"] == 500


COMPARED = """schema_version = 1
title = "A crystal and its reference"
tier = "quick"

[protocol]
kind = "molecular_dynamics"
ensemble = "NVT"
temperature = 300.0
friction_per_fs = 0.02
timestep_fs = 3.0
equilibration_steps = 200
steps = 1600
sample_every = 4
seeds = [5, 6, 7, 8]
rdf_max = 4.0

[protocol.trajectory]
file = "other/*/replica-0.traj"
interval_fs = 12.0
skip = 50

[reference]
level_of_theory = "PBE"
source = "another code"
"""
EXPECTED = """
[[expectation]]
quantity = "{}"
unit = "{}"
uncertainty = 0.01
"""


def test_a_trajectory_of_another_code_is_a_reference(tmp_path):
    """What is expected is read off it with the code that reads it off the model's, and a softer model is caught."""
    start = copper()
    (tmp_path / "dynamics").mkdir()
    ase.io.write(tmp_path / "dynamics" / "here.extxyz", start)
    other = case(start, "temperature", timestep_fs=3.0, steps=4800, seeds=(1,), equilibration_steps=200)
    found = measure_case(as_calculator(EinsteinCrystal(start, 3.0)), other, store=tmp_path / "dynamics" / "other")
    assert found.values["temperature"].problem is None
    wanted = {"first_peak_Cu_Cu": "A", "rdf_l1_Cu_Cu": "1", "rdf_wasserstein_Cu_Cu": "A"}
    file = tmp_path / "dynamics" / "here.toml"
    file.write_text(COMPARED + "".join(EXPECTED.format(*row) for row in wanted.items()))
    here = load_case(file)
    values = {row.quantity: row.value for row in here.expectations}
    assert values["first_peak_Cu_Cu"] == pytest.approx(2.553, abs=0.01)
    assert values["rdf_wasserstein_Cu_Cu"] == 0.0

    def states(spring):
        suite = Suite([batched(EinsteinCrystal(start, spring))], [here])
        rows = [suite.result(request) for request in suite.requests("molecular_dynamics")]

        return {row.quantity: row.verdict.state for row in rows}

    assert set(states(3.0).values()) == {State.PASSED}
    softer = states(1.5)
    assert softer["first_peak_Cu_Cu"] is State.PASSED
    assert softer["rdf_l1_Cu_Cu"] is State.FAILED


class NeverANumber(EinsteinCrystal):
    """Gives NaN from the first call on."""

    def evaluated(self, atoms):
        return {"energy": np.nan, "forces": np.full((len(atoms), 3), np.nan)}


@pytest.mark.parametrize("wrap", [as_calculator, batched], ids=["ASE", "torch-sim"])
def test_no_number_at_all_is_no_survival(wrap):
    start = copper()
    found = measure_case(wrap(NeverANumber(start)), case(start, "survival", "temperature"))
    assert found.problem is None
    assert found.values["survival"].value == 0.0
    assert "non-finite at step 0" in found.values["survival"].note
    assert found.values["temperature"].problem.reason.startswith("non-finite")
    assert found.arrays == {}


def test_a_curve_that_cannot_be_compared_costs_itself_alone():
    start = copper()
    curves = {"rdf_Cu_Cu": (np.linspace(20, 30, 50), np.ones(50))}
    here = replace(case(start, "survival", "temperature", "rdf_l1_Cu_Cu", "rdf_wasserstein_all"),
                   dynamics=ReferenceDynamics(curves))  # fmt: skip
    here = replace(here, reference=reference_measurement(here))
    found = measure_case(batched(EinsteinCrystal(start)), here)
    assert found.values["survival"].value == 1.0
    assert found.values["temperature"].problem is None
    assert found.values["rdf_l1_Cu_Cu"].problem.state == "error"
    assert "no curve 'rdf_all'" in found.values["rdf_wasserstein_all"].problem.reason


def test_two_samples_are_enough_for_survival():
    start = copper()
    found = measure_case(
        as_calculator(EinsteinCrystal(start)), case(start, "survival", "temperature", steps=8, seeds=(1,))
    )
    assert found.values["survival"].value == 1.0
    assert "unresolved" in found.values["temperature"].problem.reason


def test_a_cell_that_moves_has_no_displacements_of_its_atoms():
    start = copper()
    here = case(start, "volume", "pressure_offset", ensemble="NPT", steps=40, equilibration_steps=8, seeds=(1,))
    assert not {"rmsd_growth_rate", "diffusion_Cu"} & set(here.protocol.units(here.frames))
    found = measure_case(as_calculator(EinsteinCrystal(start)), here)
    assert not [name for name in found.arrays if name.startswith("msd")]
