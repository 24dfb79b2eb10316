"""Cases of sliding that are made of crystals whose layers are known."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, make_supercell, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list
from crystals import CRYSTALS

from mlff_probes.cases.builders.collisions import collision, nearest_to
from mlff_probes.cases.builders.crystals import read_crystal
from mlff_probes.cases.builders.sliding import Wanted, sliding_cases
from mlff_probes.cases.load import UnrecordedError, load_case
from mlff_probes.cases.writing import Draft, write_case
from mlff_probes.cli import main
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError
from mlff_probes.methods.neighbours import neighbours

REFERENCE = ase.io.read(DIRECTORY / "sliding" / "sb2te3_fixed_gap_0.0.extxyz", ":")
LEAN = Wanted(gaps=(0.0,), relaxed_gaps=())


def written(tmp_path, atoms, name="crystal.extxyz"):
    ase.io.write(tmp_path / name, atoms)
    return tmp_path / name


def made(tmp_path, atoms, wanted=LEAN):
    return sliding_cases(written(tmp_path, atoms), wanted)


def distances(frame, cutoff=7.0):
    """All distances in a crystal, with the elements at their ends."""
    first, second, lengths = neighbor_list("ijd", frame, cutoff)
    numbers = np.sort(np.array([frame.numbers[first], frame.numbers[second]]), axis=0)
    return np.array(sorted((*pair, round(d, 3)) for pair, d in zip(numbers.T.tolist(), lengths, strict=True)))


def repulsion(frame):
    """A pair potential between atoms that differ by element."""
    first, second, _, lengths = neighbours(frame.positions, frame.cell.array, frame.pbc, 9.0)
    return float((frame.numbers[first] * frame.numbers[second] * np.exp(-1.3 * lengths)).sum())


@pytest.mark.parametrize("cell", ["hexagonal", "rhombohedral"])
def test_the_cell_of_sb2te3_is_that_of_the_reference(tmp_path, cell):
    atoms = CRYSTALS["Sb2Te3"]
    if cell == "rhombohedral":
        atoms = read_crystal(written(tmp_path, atoms, "conventional.cif"))
        atoms = Atoms(
            [atoms.symbols[i] for i in (0, 3, 6, 9, 12)], cell=[[2, 1, 1], [-1, 1, 1], [-1, -2, 1]] @ atoms.cell / 3,
            scaled_positions=[(z, z, z) for z in (0.399, -0.399, 0, 0.787, -0.787)], pbc=True,
        )  # fmt: skip
        atoms.symbols = ["Sb", "Sb", "Te", "Te", "Te"]
    (case,) = made(tmp_path, atoms).cases
    assert case.table.protocol.slide_vector == (2, 1)
    for mine, theirs in zip(case.frames, REFERENCE, strict=True):
        assert mine.info == pytest.approx({"slide": theirs.info["slide"], "gap": theirs.info["gap"]}, abs=1e-5)
        np.testing.assert_allclose(mine.cell.lengths()[:2], theirs.cell.lengths()[:2], atol=1e-6)
        np.testing.assert_allclose(distances(mine), distances(theirs), atol=2e-3)


@pytest.mark.parametrize(
    ("name", "atoms", "layers", "of_crystal", "groups"),
    [
        ("Sb2Te3", 5, 1, 1, []),
        ("Bi2Se3", 5, 1, 1, []),
        ("graphite", 2, 1, 2, [[0, 8], [1, 7], [2, 6], [3, 5], [9, 11]]),  # u = 2/3 is u = 0 mirrored
        ("hBN", 4, 2, 2, []),
        ("MoS2", 6, 2, 2, []),  # no mirror between layers that are turned by 180 degrees
        ("TiS2", 3, 1, 1, []),
        ("black P", 4, 1, 1, [[1, 11], [2, 10], [3, 9], [4, 8], [5, 7]]),
    ],
)
def test_the_smallest_cell_and_its_equal_registries(tmp_path, name, atoms, layers, of_crystal, groups):
    found = made(tmp_path, CRYSTALS[name])
    assert (len(found.crystal.cell), found.crystal.layers, found.crystal.of_crystal) == (atoms, layers, of_crystal)
    assert found.equal_groups == groups
    energies = np.array([repulsion(frame) for frame in found.cases[0].frames])
    same = np.abs(energies[:, None] - energies) < 1e-8 * np.ptp(energies)
    assert (same == (np.array(found.equal)[:, None] == found.equal)).all()  # and only where symmetry says so


@pytest.mark.parametrize(("name", "landmarks"), [
    ("Sb2Te3", ["no outermost atoms atop each other", "Te atop Te", "no outermost atoms atop each other"]),
    ("graphite", ["C atop C", "C atop C (2 pairs)", "C atop C"]),
    ("hBN", ["B atop N and N atop B", "B atop B", "N atop N"]),
    ("TiS2", ["no outermost atoms atop each other", "S atop S", "no outermost atoms atop each other"]),
])  # fmt: skip
def test_landmarks_are_named_by_what_lies_atop_what(tmp_path, name, landmarks):
    found = made(tmp_path, CRYSTALS[name])
    assert [found.landmark(u) for u in (0, 1 / 3, 2 / 3)] == landmarks
    energies = [repulsion(frame) for frame in found.cases[0].frames]
    assert name in ("graphite", "hBN") or np.argmax(energies) == 4  # pair potentials know no atop of graphite


def test_without_landmarks_nothing_of_them_is_judged(tmp_path):
    fixed, relaxed = made(tmp_path, CRYSTALS["black P"], Wanted(gaps=(0.0,))).cases
    assert [row.quantity for row in fixed.table.expectation] == ["profile_mae", "max_lateral_force", "periodicity"]
    assert {frame.info["slide"] for frame in relaxed.frames} == {0.0}
    judged = [row.quantity for row in relaxed.table.expectation]
    assert judged == ["equilibrium_gap", "binding_energy", "binding_curve_mae"]


def test_a_fault_that_is_the_crystal_mirrored_is_not_judged_nor_sampled(tmp_path):
    fixed, relaxed = made(tmp_path, CRYSTALS["graphite"], Wanted(gaps=(0.0,))).cases
    assert "stacking_fault_energy" not in [row.quantity for row in fixed.table.expectation]
    assert {frame.info["slide"] for frame in relaxed.frames} == {0.0, 1 / 3}
    assert any("Equal by symmetry: u = 0 and 2/3, 1/12 and 7/12" in note for note in fixed.table.notes)


@pytest.mark.parametrize("axes", [(1, 2, 0), (2, 0, 1)])
def test_layers_may_lie_across_any_axis_and_the_cell_may_be_larger(tmp_path, axes):
    atoms = make_supercell(CRYSTALS["TiS2"], [[2, 0, 0], [1, 1, 0], [0, 1, 2]])
    atoms.set_cell(atoms.cell.array[list(axes)])
    atoms.wrap()
    found, straight = made(tmp_path, atoms), made(tmp_path, CRYSTALS["TiS2"])
    assert len(found.crystal.cell) == 3
    for mine, theirs in zip(found.cases[0].frames, straight.cases[0].frames, strict=True):
        np.testing.assert_allclose(distances(mine), distances(theirs), atol=2e-3)


def test_all_layers_keep_the_stacking_of_the_crystal(tmp_path):
    found = made(tmp_path, CRYSTALS["graphite"], Wanted(gaps=(0.0,), relaxed_gaps=(), all_layers=True))
    first, *_ = found.cases[0].frames
    assert len(first) == 4
    np.testing.assert_allclose(distances(first), distances(CRYSTALS["graphite"]), atol=2e-3)
    assert any("holds 2 layers" in note for note in found.cases[0].table.notes)


def test_what_is_made_is_a_case_once_it_has_energies(tmp_path, capsys):
    crystal = written(tmp_path, CRYSTALS["TiS2"], "TiS2.cif")
    make = ["make", "sliding", str(crystal), "--to", str(tmp_path / "mine"), "--no-picture", "--id", "mine"]
    assert main([*make, "--level", "PBE", "--gaps", "0.2"]) == 0
    said = capsys.readouterr().out
    for text in ("2.848 A of gap", "3 atoms (STiS)", "1/3  atop     S atop S", "no two registries are equal",
                 "mine_fixed_gap_0.2: nearest across the gap 3.05 A (S-S) at u = 1/3", "39 frames of 3 atoms",
                 "next: mlff-probes record "):  # fmt: skip
        assert text in said
    for file in sorted((tmp_path / "mine" / "sliding").glob("*.toml")):
        with pytest.raises(UnrecordedError, match="mlff-probes record mine_"):
            load_case(file)
        frames = ase.io.read(file.with_suffix(".extxyz"), ":")
        for frame in frames:
            well = np.exp(-1.2 * (frame.info["gap"] - 3.2))
            frame.calc = SinglePointCalculator(frame, energy=repulsion(frame) / 10 + 3 * (well**2 - 2 * well))
        ase.io.write(file.with_suffix(".extxyz"), frames)
        case = load_case(file)
        assert case.reference.values["atop_energy"].value > 0.01
    assert main([*make, "--gaps", "0.4", "0.2"]) == 4
    assert "mine_fixed_gap_0.2.toml: is there already" in capsys.readouterr().err
    assert not (tmp_path / "mine" / "sliding" / "mine_fixed_gap_0.4.toml").exists()


DOPED = Wanted(registries=6, dopant="Cr@Sb")


def test_a_dopant_on_a_site_stays_beside_the_interface(tmp_path):
    found = made(tmp_path, CRYSTALS["Sb2Te3"], DOPED)
    (case,) = found.cases
    assert (case.id, found.base.symbols.formula.count()) == (
        "sb2te3_cr_on_sb_fixed_gap_0.0",
        {"Te": 12, "Sb": 7, "Cr": 1},
    )
    first, *_, last = case.frames
    assert last.info["slide"] == 1.0
    assert {tuple(frame.positions[found.doping.atom]) for frame in case.frames} == {tuple(first.positions[3])}
    across = first.cell[2, 2] / 2 - first.positions[:, 2]  # the interface is half-way to the next layer
    assert across[3] == across[first.numbers != 52].min()
    np.testing.assert_allclose(last.cell[2] - first.cell[2], first.cell[0] + first.cell[1] / 2, atol=1e-9)
    write_case(tmp_path, Draft(case.id, case.table, case.frames, recorded=False))
    energies = np.array([repulsion(frame) for frame in case.frames])
    same = np.abs(energies[:, None] - energies) < 1e-8 * np.ptp(energies)
    assert (same == (np.array(found.equal)[:, None] == found.equal)).all()
    assert found.equal_in_words == "u = 0 and 1"  # by the three-fold axis through the dopant, in a 2x2 cell
    assert "periodicity" not in [row.quantity for row in case.table.expectation]


def test_a_dopant_in_the_gap_goes_half_way_with_the_layer(tmp_path):
    found = made(tmp_path, CRYSTALS["Sb2Te3"], Wanted(dopant="Cr@gap", relaxed_gaps=(0.0, 0.2, 0.4, 6.0)))
    fixed, relaxed = found.cases
    assert fixed.frames[0].symbols[20] == "Cr"
    around = np.sort(fixed.frames[0].get_distances(20, range(20), mic=True))[:6]
    np.testing.assert_allclose(around, around[0], atol=1e-3)  # octahedral
    way = [frame.positions[20] - fixed.frames[0].positions[20] for frame in fixed.frames]
    np.testing.assert_allclose(way[:9], np.outer(np.arange(9) / 24, found.period), atol=1e-6)
    assert min(nearest_to(frame, 20).distance for frame in fixed.frames) > 2.3
    index, pair = collision(found.frames(0.0, follows=False))
    assert (index, pair.distance) == (8, pytest.approx(1.41, abs=0.01))  # Te right above it
    assert any("to within 1.41 A of Te at u = 2/3" in note for note in fixed.table.notes)
    raised = [frame for frame in relaxed.frames if frame.info["slide"] == 0]
    assert raised[1].positions[20, 2] - raised[0].positions[20, 2] == pytest.approx(0.1)
    for case in found.cases:
        write_case(tmp_path, Draft(case.id, case.table, case.frames, recorded=False))


def test_a_doped_crystal_is_shown(tmp_path, capsys):
    crystal = str(written(tmp_path, CRYSTALS["Sb2Te3"], "Sb2Te3.cif"))
    make = ["make", "sliding", crystal, "--to", str(tmp_path / "mine"), "--registries", "6"]
    assert main([*make, "--dopant", "Cr@Sb", "--supercell", "2x1"]) == 0
    assert (tmp_path / "mine" / "sliding" / "sb2te3_cr_on_sb_fixed_gap_0.0.png").exists()
    said = capsys.readouterr().out
    for text in ("Cr on the Sb beside the interface, atom 3 of 10 in the 2x1 cell", "nearest to Cr 2.97 A (Cr-Te)"):
        assert text in said
    shown = ["sb2te3_cr_on_sb_fixed_gap_0.0", "--reference", str(tmp_path / "mine")]
    assert main(["show", *shown, "-o", str(tmp_path / "shown.png")]) == 0  # before anybody has recorded it
    assert "Cr stands on the Sb site nearest the interface" in capsys.readouterr().out
    assert main([*make, "--supercell", "2x2"]) == 4
    assert "--supercell: is for a doped crystal alone" in capsys.readouterr().err


def disordered(folder):
    file = written(folder, CRYSTALS["TiS2"], "disordered.cif")
    lines = file.read_text().splitlines()
    row = next(index for index, line in enumerate(lines) if line.split()[:2] == ["Ti", "Ti1"])
    lines[row] = lines[row].replace("1.0000", "0.7500", 1)
    file.write_text("\n".join(lines))
    return file


def slab():
    atoms = fcc111("Cu", (1, 1, 4), vacuum=6.0, periodic=True)
    atoms.info.clear()
    return atoms


def hetero():
    atoms = CRYSTALS["MoS2"].copy()
    atoms.symbols[(atoms.numbers == 16) & (atoms.get_scaled_positions()[:, 2] < 0.5)] = "Se"
    return atoms


def monolayer():
    atoms = CRYSTALS["TiS2"].copy()
    atoms.positions[atoms.get_scaled_positions()[:, 2] > 0.5] -= atoms.cell[2]
    atoms.set_cell(atoms.cell.array * [[1], [1], [3]])
    return atoms


@pytest.mark.parametrize(("atoms", "why"), [
    (bulk("Cu"), "Cu has no layers: its bonds make it 3D 1.00 .*3D all of it"),
    (bulk("NaCl", "rocksalt", a=5.64), "NaCl has no layers"),
    (molecule("H2O"), "is not periodic in three directions: a molecule or a slab"),
    (molecule("H2O", cell=[9, 9, 9], pbc=True), "H2O has no layers: its bonds make it 0D"),
    (slab(), "is a layer in vacuum, with 12.0 A of empty space"),
    (monolayer(), "is a layer in vacuum"),
    (hetero(), "its layers differ: .* so that it has several kinds of interface"),
    (Atoms("Cu2", [[0, 0, 0], [0, 0, 0.3]], cell=[4, 4, 4], pbc=True), "are 0.30 A apart: no crystal"),
])  # fmt: skip
def test_what_has_no_interface_is_refused(tmp_path, atoms, why):
    with pytest.raises(InputError, match=rf"crystal\.extxyz: .*{why}"):
        made(tmp_path, atoms)


@pytest.mark.parametrize(("wanted", "why"), [
    (Wanted(registries=8), "--registries: must be a multiple of 6, 120 at most, found 8"),
    (Wanted(gaps=(float("nan"),)), "--gaps: must be finite numbers of A"),
    (Wanted(relaxed_gaps=(0.0, 0.2)), "--relaxed-gaps: a fit of E.gap. needs at least 4 gaps"),
    (Wanted(gaps=(), relaxed_gaps=()), "--gaps: no gaps are asked for"),
    (Wanted(dopant="Cr"), "--dopant=Cr: must be ELEMENT@SITE; for instance Cr@Sb or Cr@gap"),
    (Wanted(dopant="Xy@Ti"), "--dopant=Xy@Ti: there is no element 'Xy'"),
    (Wanted(dopant="Cr@Sb"), r"crystal\.extxyz: holds no Sb for Cr to replace, only S, Ti"),
    (Wanted(dopant="Cs@gap"), "the gap of TiS2, 2.85 A wide, has no room for Cs"),
    (Wanted(vector=(0, 0)), "--slide-vector: must not be zero"),
    (Wanted(gaps=(-1.4,)), r"S \(atom .\) and S \(atom .\) collide at u = 0.333 and a gap of 1.45 A: 1.45 A apart"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(tmp_path, wanted, why):
    with pytest.raises(InputError, match=why):
        made(tmp_path, CRYSTALS["TiS2"], wanted)


def test_cases_of_several_gaps_have_names_of_their_own(tmp_path):
    found = made(tmp_path, CRYSTALS["TiS2"], Wanted(gaps=(0.0, 0.2, 0.25, -0.1, 0.2), relaxed_gaps=()))
    assert [case.id.removeprefix("tis2_fixed_gap_") for case in found.cases] == ["0.0", "0.2", "0.25", "minus_0.1"]


def test_a_name_that_no_case_can_have_is_refused(tmp_path, capsys):
    crystal = written(tmp_path, CRYSTALS["TiS2"])
    assert main(["make", "sliding", str(crystal), "--id", "a/b", "--to", str(tmp_path / "mine")]) == 4
    assert "--id: a case id is made of letters, digits and _ . +, found 'a/b_fixed_gap_0.0'" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


def test_a_disordered_crystal_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"disordered\.cif: is disordered: a site holds 0.75 Ti"):
        sliding_cases(disordered(tmp_path), LEAN)


def test_a_disk_that_is_full_leaves_nothing_half_written(tmp_path, monkeypatch):
    (case,) = made(tmp_path, CRYSTALS["TiS2"]).cases

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ase.io, "write", full)
    with pytest.raises(InputError, match="No space left"):
        write_case(tmp_path / "mine", Draft("mine", case.table, case.frames, recorded=False))
    assert not list((tmp_path / "mine").rglob("*.*"))
