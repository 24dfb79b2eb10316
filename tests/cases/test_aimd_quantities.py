"""Which laws an imported simulation is judged by, and what a temperature that is not the thermostat's gets."""

from __future__ import annotations

import pytest

from mlff_probes.cases.importers.aimd import _heat_note
from mlff_probes.cases.importers.aimd_quantities import laws
from mlff_probes.measure.dynamics.protocols import MolecularDynamics


def protocol(ensemble="NVT", steps=5000):
    return MolecularDynamics(
        kind="molecular_dynamics", ensemble=ensemble, temperature=300.0, timestep_fs=1.0, equilibration_steps=0,
        steps=steps, sample_every=1, seeds=(0, 1, 2, 3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("made", "atoms", "judged", "reported"),
    [
        (protocol(), 100, "temperature_offset", ()),  # known to 1.1 %
        (protocol(), 8, None, ("temperature_offset",)),  # to 4 %, and the half of 5 % is needed
        (protocol(steps=100_000), 8, "temperature_offset", ()),
        (protocol("NVE"), 8, "energy_drift", ()),
    ],
)
def test_a_temperature_is_judged_where_a_simulation_resolves_it(made, atoms, judged, reported):
    rows, only_reported = laws(made, atoms)
    names = [row.quantity for row in rows]
    assert names == ["survival", "net_force", *([judged] if judged else [])]
    assert only_reported == reported
    assert {row.level_of_theory for row in rows} == {"exact"}


@pytest.mark.parametrize(
    ("kelvin", "atoms", "said"), [(310, 100, False), (340, 100, True), (340, 8, False), (240, 8, True)]
)
def test_a_run_that_is_not_as_hot_as_its_thermostat_is_said(kelvin, atoms, said):
    """Of 3N - 3 degrees of freedom, 8 atoms that most codes call 300 K are at 343 K."""
    assert bool(_heat_note(protocol(), kelvin, atoms)) is said
