"""Every fault is caught by the probes that should see it and by no other; every probe catches a fault."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from fault_table import FAULTS, fired, judged, recorded_cases, sound_simulations, strengths, table, write_cases
from pydantic import TypeAdapter
from sound import Sound

from mlff_probes.cases.tolerances import load_policy
from mlff_probes.core.records import ProbeResult, State, Value
from mlff_probes.scorecard.baseline import Baseline
from mlff_probes.scorecard.comparison import Comparer
from mlff_probes.scorecard.model import CaseSummary
from mlff_probes.scorecard.regression import load_regression

EXPECTED: dict[str, set[str]] = {
    "force_head": {
        "dynamics.energy_drift",
        "dynamics.net_force",
        "physicality.force_consistency",
    },
    "energy_unit": {
        "dynamics.energy_drift",
        "migration.barrier",
        "migration.energy_image",
        "migration.formation_energy",
        "migration.outcome",
        "migration.profile_mae",
        "migration.reaction_energy",
        "migration.reverse_barrier",
        "parity.energy_mae",
        "parity.energy_rmse",
        "physicality.force_consistency",
        "physicality.stress_consistency",
        "sliding.atop_energy",
        "sliding.binding_curve_mae",
        "sliding.binding_energy",
        "sliding.bridge_barrier",
        "sliding.max_lateral_force",
        "sliding.profile_mae",
        "sliding.stacking_fault_energy",
    },
    "force_unit": {
        "dynamics.energy_drift",
        "dynamics.first_peak",
        "dynamics.mean_frequency",
        "dynamics.net_force",
        "dynamics.rdf_l1",
        "dynamics.rdf_wasserstein",
        "dynamics.rmsd_growth_rate",
        "dynamics.survival",
        "dynamics.temperature_offset",
        "dynamics.vdos_wasserstein",
        "migration.barrier",
        "migration.force_mae",
        "migration.migrating_force_mae",
        "migration.outcome",
        "migration.reaction_energy",
        "migration.reverse_barrier",
        "parity.force_mae",
        "parity.force_rmse",
        "physicality.force_consistency",
    },
    "force_sign": {
        "dynamics.first_peak",
        "dynamics.survival",
        "migration.force_mae",
        "parity.force_cosine",
        "parity.force_mae",
        "parity.force_rmse",
        "physicality.force_consistency",
    },
    "stress_sign": {
        "parity.stress_mae",
        "physicality.stress_consistency",
    },
    "stress_unit": {
        "parity.stress_mae",
        "physicality.stress_consistency",
    },
    "left_handed_stress": {
        "physicality.stress_consistency",
    },
    "left_handed_zero": {
        "physicality.equivalent_cell_force",
        "physicality.force_consistency",
        "physicality.stress_consistency",
    },
    "slab_stress": {
        "physicality.stress_consistency",
    },
    "always_periodic": {
        "physicality.equivalent_cell_energy",
        "physicality.equivalent_cell_force",
    },
    "flat_cell": {
        "physicality.equivalent_cell_energy",
        "physicality.equivalent_cell_force",
        "physicality.extensivity_energy",
    },
    "chiral": {
        "physicality.reflection_energy",
        "physicality.reflection_force",
    },
    "oriented": {
        "physicality.reflection_energy",
        "physicality.reflection_force",
        "physicality.rotation_energy",
        "physicality.rotation_force",
    },
    "egg_box": {
        "dynamics.net_force",
        "physicality.equivalent_cell_energy",
        "physicality.equivalent_cell_force",
        "physicality.extensivity_energy",
        "physicality.extensivity_force",
        "physicality.translation_energy",
        "physicality.translation_force",
        "sliding.periodicity",
    },
    "atom_order": {
        "physicality.extensivity_energy",
        "physicality.extensivity_force",
        "physicality.permutation_energy",
        "physicality.permutation_force",
    },
    "skewed_cell": {
        "physicality.equivalent_cell_energy",
        "physicality.equivalent_cell_force",
        "physicality.extensivity_energy",
    },
    "not_extensive": {
        "physicality.extensivity_energy",
        "physicality.extensivity_force",
    },
    "energy_jump": {
        "dynamics.energy_drift",
        "physicality.energy_jump",
    },
    "force_jump": {
        "physicality.force_jump",
    },
    "attractive_core": {
        "physicality.wall_deficit",
    },
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
    "no_saddle": {
        "migration.barrier",
        "migration.energy_image",
        "migration.force_mae",
        "migration.migrating_force_mae",
        "migration.profile_mae",
        "migration.reverse_barrier",
        "migration.saddle_position",
        "parity.energy_mae",
        "parity.force_cosine",
        "parity.force_mae",
        "parity.force_rmse",
    },
    "unbound": {
        "dynamics.survival",
        "parity.energy_mae",
        "parity.energy_rmse",
        "sliding.atop_energy",
        "sliding.binding_curve_mae",
        "sliding.binding_energy",
        "sliding.bridge_barrier",
        "sliding.equilibrium_gap",
        "sliding.equilibrium_gap_atop",
        "sliding.equilibrium_gap_fault",
        "sliding.profile_mae",
        "sliding.stacking_fault_energy",
    },
    "short_sighted": {
        "sliding.stacking_fault_energy",
    },
    "flat_tail": {
        "dynamics.survival",
        "migration.barrier",
        "migration.energy_image",
        "migration.reverse_barrier",
        "parity.energy_mae",
        "parity.energy_rmse",
        "parity.force_mae",
        "parity.force_rmse",
        "sliding.atop_energy",
        "sliding.binding_curve_mae",
        "sliding.binding_energy",
        "sliding.bridge_barrier",
        "sliding.equilibrium_gap",
        "sliding.equilibrium_gap_atop",
        "sliding.equilibrium_gap_fault",
        "sliding.max_lateral_force",
        "sliding.profile_mae",
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
        "dynamics.vdos_wasserstein",
        "migration.lattice_constant",
    },
    "soft_crystal": {
        "dynamics.mean_frequency",
        "dynamics.rdf_l1",
        "dynamics.vdos_wasserstein",
        "migration.barrier",
        "migration.formation_energy",
    },
    "molten": {
        "dynamics.first_peak",
        "dynamics.mean_frequency",
        "dynamics.rdf_l1",
        "dynamics.rdf_wasserstein",
        "dynamics.rmsd_growth_rate",
        "dynamics.vdos_wasserstein",
        "migration.barrier",
        "migration.formation_energy",
    },
    "long_bonds": {
        "dynamics.first_peak",
        "dynamics.survival",
        "migration.barrier",
        "migration.energy_image",
        "migration.force_mae",
        "migration.profile_mae",
        "migration.reverse_barrier",
        "parity.energy_mae",
        "parity.energy_rmse",
        "parity.force_cosine",
        "parity.force_mae",
        "parity.force_rmse",
        "sliding.stacking_fault_energy",
    },
    "no_broken_bonds": {
        "migration.barrier",
        "migration.formation_energy",
    },
    "hole": {
        "migration.barrier",
        "migration.outcome",
        "migration.reaction_energy",
        "migration.reverse_barrier",
    },
    "noise": {
        "dynamics.net_force",
        "inference.batch_energy",
        "inference.batch_force",
        "inference.compiled_energy",
        "inference.compiled_force",
        "inference.first_call_energy",
        "inference.first_call_force",
        "inference.kernels_energy",
        "inference.kernels_force",
        "inference.plainest_energy",
        "inference.plainest_force",
        "physicality.batch_energy",
        "physicality.batch_force",
        "physicality.energy_jump",
        "physicality.equivalent_cell_energy",
        "physicality.equivalent_cell_force",
        "physicality.extensivity_energy",
        "physicality.extensivity_force",
        "physicality.first_call_energy",
        "physicality.first_call_force",
        "physicality.force_consistency",
        "physicality.force_jump",
        "physicality.history_energy",
        "physicality.history_force",
        "physicality.permutation_energy",
        "physicality.permutation_force",
        "physicality.reflection_energy",
        "physicality.reflection_force",
        "physicality.repeat_energy",
        "physicality.repeat_force",
        "physicality.rotation_energy",
        "physicality.rotation_force",
        "physicality.stress_consistency",
        "physicality.translation_energy",
        "physicality.translation_force",
    },
    "first_call": {
        "inference.first_call_energy",
        "inference.first_call_force",
        "inference.first_call_stress",
        "physicality.first_call_energy",
        "physicality.first_call_force",
    },
    "second_thoughts": {
        "inference.batch_energy",
        "inference.batch_force",
        "inference.plainest_energy",
        "inference.plainest_force",
        "physicality.first_call_energy",
        "physicality.first_call_force",
        "physicality.repeat_energy",
        "physicality.repeat_force",
    },
    "memory": {
        "inference.batch_energy",
        "inference.batch_force",
        "inference.first_call_energy",
        "inference.first_call_force",
        "inference.first_call_stress",
        "inference.plainest_energy",
        "inference.plainest_force",
        "physicality.batch_energy",
        "physicality.batch_force",
        "physicality.history_energy",
        "physicality.history_force",
    },
    "lagging_force": {
        "dynamics.energy_drift",
        "inference.batch_force",
        "inference.first_call_force",
        "inference.kernels_force",
        "inference.plainest_force",
        "physicality.equivalent_cell_force",
        "physicality.extensivity_force",
        "physicality.force_jump",
        "physicality.permutation_force",
        "physicality.reflection_force",
        "physicality.rotation_force",
        "physicality.translation_force",
    },
    "batched": {
        "inference.batch_energy",
        "inference.batch_force",
        "inference.plainest_energy",
        "inference.plainest_force",
        "physicality.batch_energy",
        "physicality.batch_force",
    },
    "first_head": {
        "inference.batch_energy",
        "inference.batch_force",
        "inference.plainest_energy",
        "inference.plainest_force",
        "physicality.batch_energy",
        "physicality.batch_force",
        "physicality.float32_energy",
        "physicality.float32_force",
        "physicality.stress_consistency",
    },
    "first_member": {
        "dynamics.mean_frequency",
        "dynamics.rdf_l1",
        "dynamics.vdos_wasserstein",
        "migration.barrier",
        "migration.energy_image",
        "migration.force_mae",
        "migration.formation_energy",
        "migration.migrating_force_mae",
        "migration.profile_mae",
        "migration.reaction_energy",
        "migration.reverse_barrier",
        "parity.energy_mae",
        "parity.energy_rmse",
        "parity.force_mae",
        "parity.force_rmse",
        "parity.stress_mae",
        "sliding.atop_energy",
        "sliding.binding_curve_mae",
        "sliding.binding_energy",
        "sliding.bridge_barrier",
        "sliding.max_lateral_force",
        "sliding.profile_mae",
        "sliding.stacking_fault_energy",
    },
    "gives_out": {
        "dynamics.energy_drift",
        "dynamics.first_peak",
        "dynamics.mean_frequency",
        "dynamics.net_force",
        "dynamics.rdf_l1",
        "dynamics.rdf_wasserstein",
        "dynamics.rmsd_growth_rate",
        "dynamics.survival",
        "dynamics.temperature_offset",
        "dynamics.vdos_wasserstein",
        "inference.batch_energy",
        "inference.batch_force",
        "inference.compiled_energy",
        "inference.compiled_force",
        "inference.compiled_stress",
        "inference.first_call_energy",
        "inference.first_call_force",
        "inference.first_call_stress",
        "inference.float32_energy",
        "inference.float32_force",
        "inference.float32_stress",
        "inference.kernels_energy",
        "inference.kernels_force",
        "inference.kernels_stress",
        "inference.plainest_energy",
        "inference.plainest_force",
        "inference.plainest_stress",
        "physicality.energy_jump",
        "physicality.force_consistency",
        "physicality.force_jump",
        "physicality.stress_consistency",
    },
    "rounded": {
        "inference.float32_energy",
        "inference.float32_force",
        "inference.float32_stress",
        "inference.plainest_energy",
        "inference.plainest_force",
        "inference.plainest_stress",
        "physicality.energy_jump",
        "physicality.float32_energy",
        "physicality.float32_force",
        "physicality.force_consistency",
        "physicality.force_jump",
        "physicality.reflection_energy",
        "physicality.reflection_force",
        "physicality.rotation_energy",
        "physicality.rotation_force",
        "physicality.stress_consistency",
    },
    "says_double": {
        "inference.float32_energy",
        "inference.float32_force",
        "inference.float32_stress",
        "inference.plainest_energy",
        "inference.plainest_force",
        "inference.plainest_stress",
        "physicality.float32_energy",
        "physicality.float32_force",
    },
    "converted_to_double": {
        "inference.float32_energy",
        "inference.float32_force",
        "inference.float32_stress",
        "inference.plainest_energy",
        "inference.plainest_force",
        "inference.plainest_stress",
        "physicality.float32_energy",
        "physicality.float32_force",
    },
    "single_precision": {
        "inference.float32_energy",
        "inference.float32_force",
        "inference.float32_stress",
        "physicality.float32_energy",
        "physicality.float32_force",
    },
    "overflow": {
        "inference.float32_energy",
        "inference.float32_force",
        "inference.float32_stress",
        "physicality.float32_energy",
        "physicality.float32_force",
    },
    "compiled_zero": {
        "dynamics.energy_drift",
        "dynamics.first_peak",
        "dynamics.mean_frequency",
        "dynamics.net_force",
        "dynamics.rdf_l1",
        "dynamics.rdf_wasserstein",
        "dynamics.rmsd_growth_rate",
        "dynamics.survival",
        "dynamics.temperature_offset",
        "dynamics.vdos_wasserstein",
        "inference.compiled_force",
        "inference.compiled_stress",
        "inference.plainest_force",
        "inference.plainest_stress",
        "migration.barrier",
        "migration.force_mae",
        "migration.migrating_force_mae",
        "migration.reverse_barrier",
        "parity.force_cosine",
        "parity.force_mae",
        "parity.force_rmse",
        "parity.stress_mae",
        "physicality.force_consistency",
        "physicality.stress_consistency",
    },
    "wrong_kernels": {
        "inference.kernels_energy",
        "inference.kernels_force",
        "inference.kernels_stress",
    },
    "hot_thermostat": {
        "dynamics.rdf_l1",
        "dynamics.temperature_offset",
    },
    "wrong_mass": {
        "dynamics.mean_frequency",
        "dynamics.vdos_wasserstein",
    },
    "silent_fallback": {
        "inference.on_device",
    },
    "unstated_dispersion": {
        "physicality.stated_level",
    },
    "forgetful_timer": {
        "inference.unsynchronised",
    },
    "collapsed_features": {
        "representation.blind_elements",
    },
    "forgotten_element": {
        "representation.blind_elements",
    },
    "numbered_features": {
        "representation.invariance",
    },
}

ALSO_WORSE: dict[str, set[str]] = {
    "force_head": {
        "migration.barrier",
    },
    "force_unit": {
        "migration.formation_energy",
    },
    "egg_box": {
        "sliding.atop_energy",
        "sliding.binding_curve_mae",
        "sliding.binding_energy",
        "sliding.bridge_barrier",
        "sliding.profile_mae",
        "sliding.stacking_fault_energy",
    },
    "atom_order": {
        "migration.formation_energy",
    },
    "not_extensive": {
        "migration.formation_energy",
    },
    "energy_jump": {
        "migration.formation_energy",
        "sliding.binding_curve_mae",
        "sliding.binding_energy",
        "sliding.bridge_barrier",
        "sliding.stacking_fault_energy",
    },
    "force_jump": {
        "migration.barrier",
        "migration.formation_energy",
        "migration.lattice_constant",
        "sliding.atop_energy",
        "sliding.binding_curve_mae",
        "sliding.binding_energy",
        "sliding.equilibrium_gap_fault",
        "sliding.stacking_fault_energy",
    },
    "softened": {
        "migration.force_mae",
        "parity.energy_rmse",
        "parity.force_cosine",
        "parity.force_rmse",
    },
    "shifted_top": {
        "parity.energy_rmse",
    },
    "no_saddle": {
        "parity.energy_rmse",
    },
    "unbound": {
        "migration.barrier",
        "migration.energy_image",
        "migration.profile_mae",
        "migration.reverse_barrier",
        "parity.force_mae",
        "parity.force_rmse",
        "sliding.max_lateral_force",
    },
    "short_sighted": {
        "migration.barrier",
        "migration.energy_image",
        "parity.energy_mae",
        "parity.energy_rmse",
        "sliding.atop_energy",
        "sliding.binding_curve_mae",
        "sliding.binding_energy",
        "sliding.bridge_barrier",
        "sliding.equilibrium_gap",
        "sliding.equilibrium_gap_fault",
        "sliding.max_lateral_force",
        "sliding.profile_mae",
    },
    "flat_tail": {
        "migration.force_mae",
        "migration.profile_mae",
        "migration.reaction_energy",
        "parity.force_cosine",
    },
    "slippery": {
        "migration.energy_image",
        "parity.force_mae",
        "parity.force_rmse",
    },
    "swollen": {
        "dynamics.mean_frequency",
        "migration.barrier",
        "migration.formation_energy",
    },
    "soft_crystal": {
        "dynamics.rdf_wasserstein",
    },
    "long_bonds": {
        "migration.reaction_energy",
        "sliding.atop_energy",
        "sliding.binding_curve_mae",
        "sliding.binding_energy",
        "sliding.bridge_barrier",
        "sliding.equilibrium_gap",
        "sliding.equilibrium_gap_fault",
        "sliding.max_lateral_force",
        "sliding.profile_mae",
    },
    "first_member": {
        "dynamics.rdf_wasserstein",
    },
    "rounded": {
        "migration.barrier",
    },
    "compiled_zero": {
        "migration.formation_energy",
        "migration.reaction_energy",
    },
    "hot_thermostat": {
        "dynamics.rdf_wasserstein",
    },
}
"""What a fault may move by more than the margin of the gate, but not beyond its tolerance."""

LOST_IN_CHANCE = {"swollen": {"dynamics.vdos_wasserstein"}}
"""What fails, but by less than the scatter of half a second of simulation: no regression, only a failure."""

CLOSE = (0.85, 1.15)
"""Deviations in tolerances that would let an entry of the matrix hang on rounding: there are none."""

PROBES = {f"{family}.{name}" for family, name in load_policy().tolerances}
PAGE = Path(__file__).parents[1] / "docs" / "faults.md"


@pytest.fixture(scope="session")
def cases(made_once):
    """What the sound calculator says of the package's cases and of two that relax, and the physical laws."""
    return recorded_cases(made_once("recorded", write_cases))


@pytest.fixture(scope="session")
def known(cases, made_once):
    """How the sound calculator is simulated, by case."""
    file = made_once("known.pickle", lambda file: file.write_bytes(pickle.dumps(sound_simulations(cases))))
    return pickle.loads(file.read_bytes())


@pytest.fixture(scope="session")
def sound(cases, known, made_once):
    """What is judged of the sound calculator, each with the name of its probe."""
    rows = TypeAdapter(list[tuple[str, ProbeResult]])
    file = made_once("sound.json", lambda file: file.write_bytes(rows.dump_json(list(judged(Sound, cases, known)))))
    return rows.validate_json(file.read_bytes())


def test_the_sound_calculator_passes_everything(sound):
    found = strengths(sound)
    assert fired(found) == set()
    assert set(found) == PROBES


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_caught_by_these_probes_and_no_others(fault, cases, sound, known):
    rows = list(judged(FAULTS[fault], cases, known))
    found = strengths(rows)
    assert fired(found) == EXPECTED[fault]
    assert [probe for probe, off in found.items() if CLOSE[0] < off < CLOSE[1]] == []
    worse = regressions(sound, rows, cases)
    probes = {probe for probe, _, _ in worse}
    assert probes >= EXPECTED[fault] - LOST_IN_CHANCE.get(fault, set())
    assert probes <= EXPECTED[fault] | ALSO_WORSE.get(fault, set())
    poor = [(probe, row if (probe, row.case, row.quantity) in worse else poorer(row)) for probe, row in sound]
    assert regressions(poor, rows, cases) == worse, "what became better hides nothing"


def regressions(before, after, cases):
    """What the gate calls worse: probe, case and quantity."""
    baseline = Baseline("sound", "sound", {(row.case, row.quantity): row for _, row in before}, len(before))
    comparer = Comparer(baseline, [CaseSummary.of(case) for case in cases], load_regression())
    changes = [(probe, comparer.change(row)) for probe, row in after]
    return {(probe, change.case, change.quantity) for probe, change in changes if change and change.regression}


def poorer(row):
    """The same result, a hundred tolerances off."""
    value = row.expectation.value + 100 * row.expectation.tolerance.value
    verdict = row.verdict.model_copy(update={"state": State.FAILED})
    return row.model_copy(update={"measured": Value(value=value, unit=row.expectation.unit), "verdict": verdict})


def test_every_fault_is_caught():
    assert all(EXPECTED.values())


def test_every_probe_catches_a_fault():
    assert set().union(*EXPECTED.values()) == PROBES


def test_the_page_says_what_is_asserted_here():
    assert list(EXPECTED) == list(FAULTS)
    assert PAGE.read_text() == table(EXPECTED), "write it again: python tests/fault_table.py > docs/faults.md"
