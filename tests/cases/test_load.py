"""The strict loader: what is unclear in a case file is one error that names file and key."""

from __future__ import annotations

import re
import shutil

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.constraints import FixAtoms

from mlff_probes.cases.load import TO_BE_STATED, UnrecordedError, load_case, load_cases
from mlff_probes.cases.tolerances import load_policy
from mlff_probes.core.case import BrokenCase, Case
from mlff_probes.core.data import DIRECTORY, POLICY
from mlff_probes.core.errors import InputError
from mlff_probes.measure import FAMILIES

CASES = load_cases()
LAWS_OF_DYNAMICS = ("survival", "temperature_offset", "energy_drift", "net_force", "rmsd_growth_rate")
BY_ID = {case.id: case for case in CASES}


def test_all_cases_of_the_package_load():
    assert CASES and all(type(case) is Case for case in CASES)
    assert {case.family for case in CASES} == set(FAMILIES)
    tiers = {case.id: case.tier for case in CASES}
    for element in ("Ac", "Ag", "Au", "Ca", "Ir", "Pd", "Rh", "Sr", "Th"):
        assert tiers[f"vacancy_{element}"] == "standard"
    for case in (f"{material}_{kelvin}K_full" for material in ("cr_sb2te3", "sb2te3") for kelvin in (300, 600)):
        assert tiers[case] == "full"


@pytest.mark.parametrize("case", [c for c in CASES if c.expectations], ids=lambda c: c.id)
def test_every_expectation_can_be_judged(case):
    for expectation in case.expectations:
        assert expectation.tolerance.value >= expectation.uncertainty
        assert expectation.tolerance.reason.endswith(".")
        assert expectation.source
        assert expectation.level_of_theory in ("PBE", "DMC", "exact")
        of_laws = case.family in ("physicality", "inference", "representation")
        exact = of_laws or expectation.quantity in ("periodicity", "outcome", *LAWS_OF_DYNAMICS)
        by_symmetry = expectation.quantity == "stacking_fault_energy" and expectation.uncertainty == 0
        assert (expectation.level_of_theory == "exact") == (exact or by_symmetry)


def test_documented_numbers_of_the_reference():
    in_gap = BY_ID["cr_sb2te3_in_gap"].stored.energies
    np.testing.assert_allclose(in_gap - in_gap[0], [0, 0.452, 1.505, 0.698, 0.241], atol=1e-3)
    deep = BY_ID["cr_sb2te3_deep"].stored.energies
    np.testing.assert_allclose(deep - deep[0], [0, 0.114, 0.297, 0.668, 1.052, 1.318, 1.648, 2.098, 2.321], atol=1e-3)
    fixed = BY_ID["sb2te3_fixed_gap_0.0"]
    assert fixed.expectation("atop_energy").value == pytest.approx(0.847, abs=1e-3)
    assert fixed.expectation("stacking_fault_energy").value == pytest.approx(0.079, abs=1e-3)
    relaxed = BY_ID["sb2te3_relaxed_gap"]
    experiment = 2.8224
    assert relaxed.expectation("equilibrium_gap").value == pytest.approx(experiment + 0.4, abs=0.1)
    assert relaxed.expectation("equilibrium_gap_fault").value == pytest.approx(experiment + 0.7, abs=0.1)
    assert relaxed.expectation("equilibrium_gap_atop").value == pytest.approx(experiment + 1.5, abs=0.1)
    assert relaxed.expectation("binding_energy").value == pytest.approx(0.035 + 0.025, abs=2e-3)


def test_the_gap_written_in_a_frame_is_the_gap_of_its_geometry():
    for case in CASES:
        for frame in case.frames if case.family == "sliding" else ():
            normal = np.cross(frame.cell[0], frame.cell[1]) / case.protocol.interface_area([frame])
            heights = frame.positions @ normal
            assert frame.info["gap"] == pytest.approx(frame.cell[2] @ normal - np.ptp(heights), abs=1e-7)


def test_the_highest_frame_of_the_deep_path_is_no_saddle():
    case = BY_ID["cr_sb2te3_deep"]
    assert int(np.argmax(case.stored.energies)) == len(case.frames) - 1
    assert case.expectation("barrier") is None
    assert case.expectation("saddle_position") is None


def test_paths_say_who_made_them():
    for name in ("cr_sb2te3_in_gap", "cr_sb2te3_deep"):
        assert "CHGNet 0.3.0" in BY_ID[name].protocol.path_made_by
        assert any("favours CHGNet" in note for note in BY_ID[name].notes)


@pytest.fixture
def spoiled(tmp_path):
    """A copy of the in-gap case: `spoiled(old, new)` edits its TOML, `frames=` its extxyz."""
    folder = tmp_path / "migration"
    folder.mkdir()
    for suffix in (".toml", ".extxyz"):
        shutil.copy(DIRECTORY / "migration" / f"cr_sb2te3_in_gap{suffix}", folder / f"hop{suffix}")

    def spoil(old="", new="", *, frames=None):
        file = folder / "hop.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))
        if frames is not None:
            frames(folder / "hop.extxyz")
        return file

    return spoil


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("tier =", "teir =", ["unknown key 'teir'", "the key 'tier' is missing"]),
        ('tier = "smoke"', 'tier = "fast"', ["the key 'tier'", "'fast'"]),
        ("schema_version = 1", "schema_version = 2", ["schema_version"]),
        ('unit = "eV"\n', "", ["the key 'expectation.1.unit' is missing"]),
        ('unit = "eV"\n', 'unit = "meV"\n', ["expectation 1 (barrier)", "'eV'", "'meV'"]),
        ("uncertainty = 0.08\n", "", ["the key 'expectation.1.uncertainty' is missing"]),
        ("uncertainty = 0.08\n", "uncertainty = nan\n", ["expectation.1.uncertainty"]),
        ("uncertainty = 0.08\n", "uncertainty = 0.11\n", ["tolerance 0.1 eV (policy) is below the uncertainty 0.11"]),
        ("uncertainty = 0.08\n", "uncertainty = -0.1\n", ["expectation.1.uncertainty"]),
        ('quantity = "barrier"', 'quantity = "barier"', ["measures no 'barier'", "barrier"]),
        ('quantity = "barrier"', 'quantity = "energy_image_5"', ["measures no 'energy_image_5'", "energy_image_4"]),
        ('quantity = "reverse_barrier"', 'quantity = "barrier"', ["the quantity 'barrier' is asked for twice"]),
        ('level_of_theory = "PBE"', "", ["the key 'reference.level_of_theory' is missing"]),
        ("migrating_atom = 20", "migrating_atom = 21", ["migrating_atom = 21", "21 atoms"]),
        ('kind = "fixed_path"', 'kind = "fixed_pth"', ["protocol", "fixed_pth"]),
        ("[protocol]", "[protocol", ["is not valid TOML", "line"]),
    ],
)
def test_bad_case_files(spoiled, old, new, says):
    file = spoiled(old, new)
    with pytest.raises(InputError) as caught:
        load_case(file)
    for part in [str(file.with_suffix("")), *says]:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_source(spoiled):
    file = spoiled()
    kept = [line for line in file.read_text().splitlines() if not line.startswith('source = "mlff-probes')]
    file.write_text("\n".join(kept))
    with pytest.raises(InputError, match=r"the key 'reference\.source' is missing"):
        load_case(file)


def edit_text(old, new, count=1):
    return lambda file: file.write_text(file.read_text().replace(old, new, count))


def drop_an_atom(file):
    frames = ase.io.read(file, ":")
    frames[2] = frames[2][:-1]
    ase.io.write(file, frames, format="extxyz")


def swap_atoms(file):
    frames = ase.io.read(file, ":")
    order = [20, *range(20)]
    frames[1] = frames[1][order]
    ase.io.write(file, frames, format="extxyz")


def strain_a_cell(file):
    frames = ase.io.read(file, ":")
    frames[3].set_cell(frames[3].cell * 1.01)
    ase.io.write(file, frames, format="extxyz")


def stand_still(file):
    frames = ase.io.read(file, ":")
    frames[3].positions = frames[2].positions
    ase.io.write(file, frames, format="extxyz")


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        (drop_an_atom, "frame 2 has 20 atoms, frame 0 has 21"),
        (swap_atoms, "frame 1 has other elements, or in another order"),
        (strain_a_cell, "the same cell"),
        (edit_text("21\n", "20\n"), "cannot be read as extxyz"),
        (edit_text("energy=-6186.437756706739", "energy=nan"), "not finite"),
        (edit_text("energy=-6186.437756706739 ", ""), "has no energy, but others have one"),
        (edit_text("image=3", "image=nan"), "which is not finite"),
        (
            edit_text("image=3", "charge=1 image=3"),
            "frame 3 states charge = 1, and frame 0 none; energies",
        ),
        (edit_text("image=3", "head=r2scan spin=3.0 image=3"), "states head = r2scan, spin = 3, and frame 0 none"),
        (stand_still, "images 2 and 3 are the same structure"),
        (edit_text("image=3", "image=7"), "'image' must number the frames"),
        (edit_text("image=3", "image=three"), "expected a number"),
        (edit_text("image=3 ", ""), "has no 'image'"),
        (lambda file: file.unlink(), "there is no such file of frames"),
        (lambda file: file.write_text(""), "hop.extxyz"),
    ],
)
def test_bad_frames(spoiled, frames, says):
    file = spoiled(frames=frames)
    with pytest.raises(InputError) as caught:
        load_case(file)
    assert says in str(caught.value)
    assert str(file.with_suffix(".extxyz")) in str(caught.value)


def test_position_of_a_maximum_that_does_not_stand_out_is_refused(spoiled):
    # 0.698 eV at image 3 lifted to within twice the uncertainty of the top
    file = spoiled(frames=edit_text("energy=-6185.739540666182", "energy=-6185.05"))
    with pytest.raises(InputError, match="stands out by"):
        load_case(file)


def test_no_energies_no_values(spoiled):
    def without_results(file):
        frames = ase.io.read(file, ":")
        for frame in frames:
            frame.calc = None
        ase.io.write(file, frames, format="extxyz")

    file = spoiled(frames=without_results)
    why = "'barrier' has no value, and its frames no energies .* `mlff-probes record hop "
    with pytest.raises(UnrecordedError, match=why):
        load_case(file)
    assert not load_case(file, recorded=False).expectations


def test_energies_without_their_level_of_theory_are_refused(spoiled):
    file = spoiled('level_of_theory = "PBE"', f'level_of_theory = "{TO_BE_STATED}"')
    with pytest.raises(InputError, match="level of theory is still to be stated"):
        load_case(file)


@pytest.fixture
def spoiled_slide(tmp_path):
    """Copies of the sliding cases: `spoiled_slide(name, toml=…, frames=…)` edits one of them."""
    shutil.copytree(DIRECTORY / "sliding", tmp_path / "sliding")

    def spoil(name, *, toml=lambda text: text, frame=lambda _: None):
        file = tmp_path / "sliding" / f"{name}.toml"
        file.write_text(toml(file.read_text()))
        frames = ase.io.read(file.with_suffix(".extxyz"), ":")
        for row in frames:
            frame(row)
        ase.io.write(file.with_suffix(".extxyz"), frames, format="extxyz")
        return file

    return spoil


def change_info(key, old, new):
    def change(frame):
        if abs(frame.info[key] - old) < 1e-6:
            frame.info[key] = new

    return change


def charge(frame):
    frame.info["charge"] = int(frame.info["slide"] > 0.5)


def strain(frame):
    if frame.info["slide"] > 0.5:
        frame.set_cell(frame.cell.array * [[1.1], [1.0], [1.0]])


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("sb2te3_fixed_gap_0.0", {"toml": lambda t: t.replace("[2, 1]", "[1, 1]")}, "does not follow slide="),
        ("sb2te3_fixed_gap_0.0", {"toml": lambda t: t.replace("[2, 1]", "[0, 0]")}, "must not be zero"),
        ("sb2te3_fixed_gap_0.0", {"frame": strain}, "other in-plane cell vectors"),
        ("sb2te3_fixed_gap_0.0", {"frame": change_info("gap", 2.82244133, float("nan"))}, "not finite"),
        ("sb2te3_fixed_gap_0.0", {"frame": change_info("slide", 0.25, 0.26)}, "'slide' must be 0, 1/12, 2/12"),
        ("sb2te3_fixed_gap_0.0", {"frame": charge}, "frame 7 states charge = 1, and frame 0 none"),
        ("sb2te3_relaxed_gap", {"frame": change_info("gap", 3.02244133, 2.822441)}, "is given twice"),
        ("sb2te3_relaxed_gap", {"frame": change_info("slide", 2 / 3, 0.5)}, "must be 0, 1/3 or 2/3"),
    ],
)
def test_bad_slides(spoiled_slide, name, changes, says):
    file = spoiled_slide(name, **changes)
    with pytest.raises(InputError) as caught:
        load_case(file)
    assert says in str(caught.value)
    assert str(file.with_suffix("")) in str(caught.value)


def test_a_charge_of_zero_is_no_charge(spoiled_slide):
    file = spoiled_slide(
        "sb2te3_fixed_gap_0.0", frame=lambda f: f.info.update({"charge": 0} if f.info["slide"] else {})
    )
    assert len(load_case(file).frames) == 12


def test_keys_of_different_precision_agree(spoiled_slide):
    def rounded(frame):
        frame.info["slide"] = round(frame.info["slide"], 6 if frame.info["gap"] > 4 else 8)

    case = load_case(spoiled_slide("sb2te3_relaxed_gap", frame=rounded))
    assert case.expectation("equilibrium_gap").value == pytest.approx(3.268, abs=1e-3)


def test_a_value_beside_energies_that_yield_one_is_refused(spoiled):
    file = spoiled('quantity = "barrier"\n', 'quantity = "barrier"\nvalue = 0.34\n')
    with pytest.raises(InputError, match="leave one out"):
        load_case(file)


def test_a_report_must_be_measured_once(spoiled):
    file = spoiled('tier = "smoke"\n', 'tier = "smoke"\nreport = ["energy_image_2", "energy_image_2"]\n')
    with pytest.raises(InputError, match="'energy_image_2' is asked for twice"):
        load_case(file)


def test_one_bad_case_hides_no_other(spoiled, tmp_path):
    file = spoiled("tier =", "teir =")
    for suffix in (".toml", ".extxyz"):
        shutil.copy(DIRECTORY / "migration" / f"cr_sb2te3_deep{suffix}", file.with_name(f"good{suffix}"))
    found = load_cases([tmp_path])
    assert [type(case) for case in found] == [Case, BrokenCase]
    assert found[1].id == "hop.toml"
    assert "teir" in found[1].message


def test_duplicate_id_names_both_files(tmp_path):
    (tmp_path / "migration").mkdir()
    for suffix in (".toml", ".extxyz"):
        shutil.copy(DIRECTORY / "migration" / f"cr_sb2te3_deep{suffix}", tmp_path / "migration")
    broken = [case for case in load_cases([DIRECTORY, tmp_path]) if isinstance(case, BrokenCase)]
    assert len(broken) == 1
    assert "duplicate id 'cr_sb2te3_deep'" in broken[0].message
    assert str(DIRECTORY / "migration") in broken[0].message
    assert str(tmp_path) in broken[0].message


def test_directories_that_are_no_reference(tmp_path):
    with pytest.raises(InputError, match="no such reference directory"):
        load_cases([tmp_path / "absent"])
    with pytest.raises(InputError, match="holds no case"):
        load_cases([tmp_path])
    (tmp_path / "stray.toml").write_text("")
    with pytest.raises(InputError, match="family folder"):
        load_cases([tmp_path])
    (tmp_path / "stray.toml").unlink()
    (tmp_path / "diffusion").mkdir()
    (tmp_path / "diffusion" / "case.toml").write_text("")
    with pytest.raises(InputError, match="unknown family 'diffusion'"):
        load_cases([tmp_path])


def test_case_tolerance_and_override_in_order_of_precedence(tmp_path):
    relaxed = BY_ID["sb2te3_relaxed_gap"].expectation("atop_energy").tolerance
    assert (relaxed.value, relaxed.origin) == (0.015, "case")
    assert BY_ID["sb2te3_fixed_gap_0.0"].expectation("atop_energy").tolerance.origin == "policy"
    file = tmp_path / "mine.toml"
    file.write_text('[sliding.atop_energy]\nvalue = 0.03\nunit = "eV/cell"\nreason = "a rough first look"\n')
    cases = {case.id: case for case in load_cases(policy=load_policy(file))}
    for name in ("sb2te3_relaxed_gap", "sb2te3_fixed_gap_0.0"):
        tolerance = cases[name].expectation("atop_energy").tolerance
        assert (tolerance.value, tolerance.origin) == (0.03, "override")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[migration.barier]\nvalue = 0.2\nunit = 'eV'\nreason = 'x'\n", "no tolerance 'migration.barier'"),
        ("[sliping.barrier]\nvalue = 0.2\nunit = 'eV'\nreason = 'x'\n", "unknown family 'sliping'"),
        ("[migration.barrier]\nvalue = 0.2\nunit = 'meV'\nreason = 'x'\n", "must be in eV, found meV"),
        ("[migration.barrier]\nvalue = 0.2\nunit = 'eV'\n", "'migration.barrier.reason' is missing"),
        ("[migration.barrier]\nvalue = -1.0\nunit = 'eV'\nreason = 'x'\n", "migration.barrier.value"),
        ("[migration]\nbarrier = 0.2\n", "must be a table"),
        ("[migration.barrier\n", "not valid TOML"),
    ],
)
def test_bad_tolerance_files(tmp_path, text, says):
    assert_refused_policy(tmp_path / "mine.toml", text, says)


def assert_refused_policy(file, text, says):
    """A file of tolerances with this text is refused by its name, with this sentence."""
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load_policy(file)
    assert says in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_tolerance_that_would_pass_a_flat_path_is_blind(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[migration.barrier]\nvalue = 1.6\nunit = 'eV'\nreason = 'any'\n")
    case = next(case for case in load_cases(policy=load_policy(file)) if case.id == "cr_sb2te3_in_gap")
    assert list(case.blind) == ["barrier"]
    assert case.expectation("barrier") is None
    assert "the tolerance of 1.6 eV (override) is no smaller than all" in case.blind["barrier"]
    assert "barrier" in case.quantities


def test_an_override_finer_than_the_reference_ends_the_run(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[sliding.atop_energy]\nvalue = 0.004\nunit = 'eV/cell'\nreason = 'ambition'\n")
    with pytest.raises(InputError) as caught:
        load_cases(policy=load_policy(file))
    assert f"the tolerances of {file}" in str(caught.value)
    assert re.search(r"below the uncertainty 0\.0(05|1)\d* eV/cell", str(caught.value))  # of the first such case


def test_policy_covers_every_quantity_with_a_sentence():
    policy = load_policy()
    used = {(case.family, case.protocol.policy_name(e.quantity)) for case in CASES for e in case.expectations}
    own = {("dynamics", name) for name in ("rdf_l1", "rdf_wasserstein", "mean_frequency", "vdos_wasserstein")}
    own.add(("parity", "stress_mae"))
    assert used | own == set(policy.tolerances)  # the latter for curves, trajectories and labels of a user's own
    assert all(tolerance.reason.endswith(".") for tolerance in policy.tolerances.values())
    assert POLICY.is_file()


def share_of(case, policy=None):
    """The minimum share of the barrier of a case, and who set it."""
    found = load_case(case, policy=policy).expectation("barrier").minimum_share
    return found.value, found.origin


def test_minimum_shares_in_order_of_precedence(tmp_path):
    """The user's, the expectation's, the case's, the policy's of a quantity, of a family, of all."""
    policy = load_policy()
    assert policy.minimum_share("parity", "force_mae").value == 0.9
    assert policy.minimum_share("parity", "force_cosine").value == 0.1
    assert policy.minimum_share("physicality", "rotation_energy").value == 0.25
    text = (DIRECTORY / "migration" / "vacancy_Cu.toml").read_text()
    file = tmp_path / "migration" / "mine.toml"
    file.parent.mkdir()
    file.write_text(text)
    assert share_of(file) == (0.9, "policy")
    file.write_text(text.replace("[protocol]", 'minimum_share = { value = 0.5, reason = "few" }\n\n[protocol]', 1))
    assert share_of(file) == (0.5, "case")
    own = 'quantity = "barrier"\nminimum_share = { value = 0.4, reason = "fewer" }'
    file.write_text(file.read_text().replace('quantity = "barrier"', own))
    assert share_of(file) == (0.4, "case")
    mine = tmp_path / "mine.toml"
    mine.write_text('[samples.migration]\nminimum_share = 1.0\nreason = "all of them"\n')
    assert share_of(file, load_policy(mine)) == (1.0, "override")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[samples.diffusion]\nminimum_share = 0.5\nreason = 'x'\n", "[samples.diffusion] is no family"),
        ("[samples.parity.energy]\nminimum_share = 0.5\nreason = 'x'\n", "[samples.parity.energy] is no family and no"),
        ("[samples]\nminimum_share = 0.5\n", "the key 'samples.reason' is missing"),
        ("[samples.parity]\nminimum_share = 1.5\nreason = 'x'\n", "the key 'samples.parity.minimum_share'"),
        ("samples = 0.5\n", "[samples] must be a table"),
    ],
)
def test_bad_minimum_shares(tmp_path, text, says):
    assert_refused_policy(tmp_path / "mine.toml", text, says)


LAW = """schema_version = 1
title = "Laws of my own"
tier = "quick"
[protocol]
kind = "symmetry"
random_structures = false
[reference]
level_of_theory = "exact"
source = "exact"
[[expectation]]
quantity = "permutation_energy"
unit = "meV/atom"
value = 0.0
uncertainty = 0.0
"""


def test_constraints_are_taken_off_where_no_probe_looks_at_them_and_a_note_says_so(tmp_path):
    (tmp_path / "physicality").mkdir()
    file = tmp_path / "physicality" / "mine.toml"
    file.write_text(LAW)
    free, held = bulk("Cu", cubic=True), bulk("Cu", a=3.7, cubic=True)
    held.set_constraint(FixAtoms([1]))
    for frames, notes in (([free], ()), ([free, held], ("Constraints of its structures are not used.",))):
        ase.io.write(file.with_suffix(".extxyz"), frames, columns=["symbols", "positions", "move_mask"])
        case = load_case(file)
        assert case.notes == notes
        assert not any(frame.constraints for frame in case.frames)
