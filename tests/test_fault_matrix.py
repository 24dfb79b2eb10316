"""Every fault is caught by the probes that should see it and by no other; every probe catches a fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_table import FAULTS, fired, judged, recorded_cases, table
from sound import Sound

from mlff_probes.tolerances import load_policy

EXPECTED: dict[str, set[str]] = {
    "force_head": set(),
    "energy_unit": {
        "migration.barrier",
        "migration.energy_image",
        "migration.formation_energy",
        "migration.outcome",
        "migration.profile_mae",
        "migration.reaction_energy",
        "migration.reverse_barrier",
        "parity.energy_mae",
        "parity.energy_rmse",
        "sliding.atop_energy",
        "sliding.binding_curve_mae",
        "sliding.binding_energy",
        "sliding.bridge_barrier",
        "sliding.max_lateral_force",
        "sliding.profile_mae",
        "sliding.stacking_fault_energy",
    },
    "force_unit": {
        "migration.barrier",
        "migration.force_mae",
        "migration.migrating_force_mae",
        "migration.outcome",
        "migration.reaction_energy",
        "migration.reverse_barrier",
        "parity.force_mae",
        "parity.force_rmse",
    },
    "force_sign": {
        "migration.migrating_force_mae",
        "parity.force_cosine",
        "parity.force_mae",
        "parity.force_rmse",
    },
    "stress_sign": set(),
    "stress_unit": set(),
    "chiral": set(),
    "oriented": set(),
    "egg_box": {
        "sliding.periodicity",
    },
    "atom_order": set(),
    "skewed_cell": {
        "sliding.bridge_barrier",
        "sliding.periodicity",
    },
    "not_extensive": set(),
    "energy_jump": set(),
    "force_jump": set(),
    "attractive_core": set(),
    "softened": {
        "migration.barrier",
        "migration.energy_image",
        "migration.migrating_force_mae",
        "migration.profile_mae",
        "migration.reaction_energy",
        "parity.energy_mae",
        "parity.force_mae",
    },
    "shifted_top": {
        "migration.energy_image",
        "migration.force_mae",
        "migration.migrating_force_mae",
        "migration.profile_mae",
        "migration.saddle_position",
        "parity.energy_mae",
        "parity.force_cosine",
        "parity.force_mae",
        "parity.force_rmse",
    },
    "unbound": {
        "parity.energy_mae",
        "parity.energy_rmse",
        "sliding.atop_energy",
        "sliding.binding_curve_mae",
        "sliding.binding_energy",
        "sliding.equilibrium_gap",
        "sliding.equilibrium_gap_atop",
        "sliding.equilibrium_gap_fault",
    },
    "short_sighted": {
        "sliding.stacking_fault_energy",
    },
    "slippery": {
        "parity.energy_mae",
        "parity.energy_rmse",
        "sliding.atop_energy",
        "sliding.max_lateral_force",
        "sliding.profile_mae",
    },
    "swollen": {
        "migration.lattice_constant",
    },
    "no_broken_bonds": {
        "migration.formation_energy",
    },
    "hole": {
        "migration.barrier",
        "migration.outcome",
        "migration.reaction_energy",
        "migration.reverse_barrier",
    },
    "noise": set(),
    "first_call": set(),
    "memory": set(),
    "batched": set(),
    "gives_out": {
        "migration.barrier",
        "migration.formation_energy",
        "migration.lattice_constant",
        "migration.outcome",
        "migration.reaction_energy",
        "migration.reverse_barrier",
    },
    "rounded": set(),
    "single_precision": set(),
}

LAWS_ALONE = {
    "force_head",
    "stress_sign",
    "stress_unit",
    "chiral",
    "oriented",
    "atom_order",
    "not_extensive",
    "energy_jump",
    "force_jump",
    "attractive_core",
    "noise",
    "first_call",
    "memory",
    "batched",
    "rounded",
    "single_precision",
}
"""Faults of which no reference case says anything: for these there are physical laws."""

PROBES = {f"{family}.{name}" for family, name in load_policy().tolerances}
PAGE = Path(__file__).parents[1] / "docs" / "faults.md"


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """What the sound calculator says of the package's cases, and of two that relax."""
    return recorded_cases(tmp_path_factory.mktemp("recorded"))


def test_the_sound_calculator_passes_everything(cases):
    assert fired(Sound, cases) == set()
    assert {probe for probe, _ in judged(Sound, cases)} == PROBES


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught_by_these_probes_and_no_others(fault, cases):
    assert fired(FAULTS[fault], cases) == EXPECTED[fault]


def test_every_fault_is_caught():
    assert {fault for fault, probes in EXPECTED.items() if not probes} == LAWS_ALONE


def test_every_probe_catches_a_fault():
    assert set().union(*EXPECTED.values()) == PROBES


def test_the_page_says_what_is_asserted_here():
    assert list(EXPECTED) == list(FAULTS)
    assert PAGE.read_text() == table(EXPECTED), "write it anew: python tests/fault_table.py > docs/faults.md"
