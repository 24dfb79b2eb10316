"""Hops of a species that differ by symmetry, and the cases that are made of them."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from crystals import CRYSTALS

from mlff_probes.cases.builders.hops import WantedHops, hop_cases
from mlff_probes.cases.builders.sites import distinct_hops, voids
from mlff_probes.cases.load import UnrecordedError, load_case
from mlff_probes.cli import main
from mlff_probes.core.errors import InputError
from mlff_probes.methods.neighbours import neighbours

COPPER = bulk("Cu", cubic=True)


def made(tmp_path, atoms, species, **wanted):
    ase.io.write(tmp_path / "crystal.extxyz", atoms)
    return hop_cases(tmp_path / "crystal.extxyz", WantedHops(species, **wanted))


def surroundings(crystal, *places):
    """Sorted distances from places to the atoms around, which no operation of the crystal changes."""
    cell, n = crystal.cell.array, len(crystal)
    positions = np.vstack([crystal.positions, *places])
    first, second, _, lengths = neighbours(positions, cell, crystal.pbc, 5.0)
    start, end, middle = (np.sort(lengths[(first == n + k) & (second < n)]) for k in range(3))
    return [*np.sort([start.sum(), end.sum()]), start.std() * end.std(), *middle[:12]]


@pytest.mark.parametrize(("name", "species", "longest"), [("LiCoO2", "Li", 5.2), ("LiFePO4", "Li", 5.9)])
def test_hops_differ_where_their_surroundings_do(name, species, longest):
    crystal = CRYSTALS[name]
    sites = crystal.get_scaled_positions()[crystal.symbols == species]
    hops = distinct_hops(crystal, sites, longest)
    places = sites @ crystal.cell.array
    first, second, cells, lengths = neighbours(places, crystal.cell.array, crystal.pbc, longest)
    ends = places[second] + cells @ crystal.cell.array
    seen: list[list[float]] = []
    for start, end, length in zip(places[first], ends, lengths, strict=True):
        found = [length, *surroundings(crystal, start, end, (start + end) / 2)]
        if not any(np.allclose(found, other, atol=2e-3) for other in seen):
            seen.append(found)
    assert len(hops) == len(seen)
    assert sum(hop.copies for hop in hops) == len(first) / 2  # each pair is seen from both ends
    known = {"LiCoO2": [2.816, 4.877, 4.959], "LiFePO4": [3.005, 4.692, 5.572, 5.674]}
    assert [hop.length for hop in hops] == pytest.approx(known[name], abs=2e-3)


def test_voids_are_octahedral_and_tetrahedral_places():
    found = voids(COPPER, "H")
    tetrahedral = (np.abs(found * 4 % 2 - 1) < 1e-3).all(axis=1)
    assert (len(found), tetrahedral.sum()) == (12, 8)
    shortest, *_ = distinct_hops(COPPER, found, 2.0)
    assert shortest.length == pytest.approx(COPPER.cell[0, 0] * np.sqrt(3) / 4)
    assert shortest.copies == 32


def test_interstitial_hops_of_a_layered_crystal(tmp_path):
    found = made(tmp_path, CRYSTALS["TiS2"], "Li", interstitial=True, supercell=(2, 2, 2), longest=2.2)
    ((hop, (fixed, relaxed)),) = found.hops
    assert hop.sites == (1, 2)  # octahedral to tetrahedral
    octahedral = fixed.frames[0]
    lengths = np.sort(octahedral.get_distances(24, range(24), mic=True))
    np.testing.assert_allclose(lengths[:6], lengths[0], atol=1e-3)
    assert octahedral.symbols[24] == "Li"
    assert [frame.info for frame in relaxed.frames] == [{"image": 0}, {"image": 1}]


def test_a_vacancy_hop_is_a_band_between_equal_ends(tmp_path):
    ((hop, (fixed, relaxed)),) = made(tmp_path, bulk("Cu"), "Cu", supercell=(2, 2, 2)).hops
    assert (hop.length, hop.copies) == (pytest.approx(COPPER.cell[0, 0] / np.sqrt(2)), 24)
    assert {len(frame) for frame in fixed.frames} == {31}
    energies = []
    for frame in fixed.frames:
        frame.calc = EMT()
        energies.append(frame.get_potential_energy())
    assert energies[0] == pytest.approx(energies[-1])
    assert np.argmax(energies) == 2
    moved = np.linalg.norm(fixed.frames[-1].positions - fixed.frames[0].positions, axis=1)
    assert np.flatnonzero(moved > 1e-6).tolist() == [fixed.table.protocol.migrating_atom]
    assert [row.quantity for row in relaxed.table.expectation] == ["outcome"]


def test_what_is_made_is_written(tmp_path, capsys):
    ase.io.write(tmp_path / "Cu.cif", COPPER)
    arguments = ["--species", "Cu", "--supercell=2x2x2", "--images=3", "--no-picture", "--to", str(tmp_path / "mine")]
    assert main(["make", "hops", str(tmp_path / "Cu.cif"), *arguments]) == 0
    said = capsys.readouterr().out
    for text in ("4 sites for Cu in the conventional cell of 4 atoms; supercell 2x2x2", "cu_cu_hop_1: 2.553 A, site 1 ",
                 "24 equal ones in a cell", "3 frames of 31 atoms", "next: mlff-probes record cu_cu_hop_1 --reference=",
                 "ready: pytest --pyargs mlff_probes.probes --calculator=SPEC",
                 " -k cu_cu_hop_1_relaxed\n"):  # fmt: skip
        assert text in said
    folder = tmp_path / "mine" / "migration"
    assert not list(folder.glob("*.png"))
    with pytest.raises(UnrecordedError):
        load_case(folder / "cu_cu_hop_1.toml")
    assert load_case(folder / "cu_cu_hop_1_relaxed.toml").expectation("outcome").value == 1.0


def test_hops_on_which_atoms_collide_are_left_out(tmp_path):
    found = made(tmp_path, COPPER, "Cu", longest=5.2, supercell=(3, 3, 3), images=3, kinds=("relaxed",))
    assert [hop.length for hop, _ in found.hops] == pytest.approx([2.553, 3.61, 4.421], abs=1e-2)
    ((straight, why),) = found.left_out
    assert straight.length == pytest.approx(2 * 2.553, abs=1e-2)  # over the atom half-way
    assert why == "it passes Cu at 0.00 A"


@pytest.mark.parametrize(("species", "more", "why"), [
    ("Li", {}, r"crystal\.extxyz: holds no Li, only Cu; with --interstitial"),
    ("Xx", {}, "--species: there is no element 'Xx'"),
    ("Cu", {"supercell": (1, 2, 2)}, "--supercell: 1x2x2 is too small: a hop of 2.55 A goes half-way"),
    ("Cu", {"longest": 2.0}, "no two sites of Cu are within 2 A; a larger --max-distance"),
    ("Cu", {"longest": 12.0}, "hops of Cu differ by symmetry, up to 12.00 A; a smaller --max-distance"),
    ("Cu", {"longest": -1.0}, "--max-distance: must be positive and 15 A at most, found -1"),
    ("Cu", {"images": 2}, "--images: a band has 3 to 99, found 2"),
    ("Cs", {"interstitial": True}, "Cu has no room for Cs between its atoms"),
])  # fmt: skip
def test_what_makes_no_hop_is_refused(tmp_path, species, more, why):
    with pytest.raises(InputError, match=why):
        made(tmp_path, COPPER, species, **more)


@pytest.mark.parametrize(
    ("argument", "why"), [("2x2", "must be 3 whole numbers, as 2x2x2, found '2x2'"), ("axbxc", "as 2")]
)
def test_a_supercell_is_three_numbers(capsys, argument, why):
    with pytest.raises(SystemExit):
        main(["make", "hops", "Cu.cif", "--species", "Cu", "--supercell", argument])
    assert why in capsys.readouterr().err
