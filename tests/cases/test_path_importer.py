"""A user's own band becomes a case, in whichever layout it lies on the disk."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from support import DoubleWell, double_well_path

from mlff_probes.cases.importers.bands import Wanted, whole_band
from mlff_probes.cases.importers.path import Stated, band_case, farthest_moving, read_band
from mlff_probes.core.errors import InputError
from mlff_probes.core.protocol import LabelKeys


def labelled(images=5, *, forces=True):
    frames = double_well_path(images)
    for frame in frames:
        del frame.info["image"]
        frame.calc = DoubleWell(0.7, tilt=0.1)
        labels = {"energy": frame.get_potential_energy()} | ({"forces": frame.get_forces()} if forces else {})
        frame.calc = SinglePointCalculator(frame, **labels)
    return frames


def case_of(images, **stated):
    return band_case(images, "my hop", where=Path("here"), stated=Stated(**stated))


def write(frames, folder: Path, layout: str) -> Path:
    folder.mkdir(exist_ok=True)
    if layout == "one file":
        ase.io.write(folder / "band.extxyz", frames, format="extxyz")
        return folder / "band.extxyz"
    if layout == "trajectory":
        ase.io.write(folder / "band.traj", frames)
        return folder / "band.traj"
    if layout == "folder with one file":
        ase.io.write(folder / "band.traj", frames)
    if layout == "a file an image":
        for index, frame in enumerate(frames):
            ase.io.write(folder / f"image_{index}.extxyz", frame, format="extxyz")
    if layout == "numbered folders":
        for index, frame in enumerate(frames):
            (folder / f"{index:02d}").mkdir()
            ase.io.write(folder / f"{index:02d}" / "POSCAR", frame, format="vasp")
    return folder


def beside_another_file(folder: Path) -> Path:
    write(labelled(), folder, "one file").rename(folder / "band_0.extxyz")
    (folder / "band_1.extxyz").write_text("1\n\nH 0 0 0\n")
    return folder


def named(folder: Path, *names: str) -> Path:
    for name, frame in zip(names, labelled(), strict=False):
        ase.io.write(folder / f"{name}.extxyz", frame, format="extxyz")
    return folder


LAYOUTS = ("one file", "trajectory", "folder with one file", "a file an image", "numbered folders")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    frames = labelled(11)  # more than ten: image_10 comes after image_9
    found = read_band(write(frames, tmp_path / "band", layout))
    order = np.argsort(frames[0].numbers)[::-1] if layout == "numbered folders" else [0, 1]
    assert [f.positions[-1, 0] for f in found] == pytest.approx([f.positions[-1, 0] for f in frames])
    assert len(found[0]) == len(order) == 2
    case = case_of(found)
    assert case.id == "my_hop"
    assert (case.stored is None) is (layout == "numbered folders")


def test_a_band_with_energies_is_judged_and_says_what_is_not_stated():
    case = case_of(labelled())
    barrier = case.expectation("barrier")
    assert barrier.value == pytest.approx(0.8, abs=0.01)
    assert barrier.tolerance.origin == "policy"
    assert case.level_of_theory == "not stated"
    assert any("uncertainty" in note for note in case.notes)
    assert {"barrier", "reaction_energy", "saddle_position", "force_mae"} <= set(case.quantities)
    stated = case_of(labelled(), level_of_theory="PBE", uncertainty_ev=0.05)
    assert (stated.level_of_theory, stated.expectation("barrier").uncertainty, stated.notes) == ("PBE", 0.05, ())


def test_energies_without_forces_are_judged_by_energies():
    names = case_of(labelled(forces=False)).quantities
    assert "barrier" in names
    assert not [name for name in names if "force" in name]


def test_a_flat_maximum_has_no_judged_position():
    assert "saddle_position" not in case_of(labelled(6), uncertainty_ev=0.09).quantities


def test_a_band_without_energies_is_reported():
    frames = double_well_path()
    case = case_of(frames)
    assert case.expectations == ()
    assert case.quantities == ("barrier", "reverse_barrier", "reaction_energy", "saddle_position")


def test_two_images_are_a_band():
    case = case_of(labelled(5)[:3:2])
    assert case.expectation("barrier").value == pytest.approx(0.8, abs=0.01)
    assert "saddle_position" not in case.quantities  # its highest image is an end


def test_the_migrating_atom_is_the_one_that_moves():
    frames = labelled()
    frames[-1].positions[0] += 8  # a lattice vector is no way at all
    frames[-1].calc = SinglePointCalculator(frames[-1], **frames[-1].calc.results)
    assert farthest_moving(frames) == 1
    assert case_of(frames).protocol.migrating_atom == 1
    with pytest.raises(InputError, match=r"= 0 \(Te\) moves by 0.00 A only, but atom 1 \(Cr\) by 2.00 A"):
        case_of(frames, migrating_atom=0)


@pytest.mark.parametrize(
    ("images", "stated", "says"),
    [
        (labelled()[:1], {}, "a band needs at least 2 images, found 1"),
        ([labelled()[0], labelled()[0] * (2, 1, 1)], {}, "the same atoms, found [2, 4] atoms"),
        ([labelled()[0], labelled()[0]], {}, "images 0 and 1 are the same structure"),
        (labelled(), {"migrating_atom": 7}, "migrating_atom = 7, but an image has 2 atoms"),
        ([*labelled()[:4], double_well_path()[4]], {}, "frame 4 has no energy, but others have one"),
    ],
)
def test_what_is_no_band(images, stated, says):
    with pytest.raises(InputError) as caught:
        case_of(images, **stated)
    assert says in str(caught.value)
    assert str(caught.value).startswith("here: ")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "nowhere", "there is no such band"),
        (lambda folder: folder, "holds no image"),
        (lambda folder: folder / "nowhere@-3:", "there is no such file of frames"),
        (lambda folder: write(labelled(), folder, "one file").with_name("band.extxyz@x"), "'x' is no slice"),
        (lambda folder: (folder / "00").mkdir() or folder, "holds no image; expected one of OUTCAR"),
        (lambda folder: (folder / "a.extxyz").write_text("no xyz") and folder, "cannot be read as structures"),
        (beside_another_file, "band_0.extxyz holds several images beside other files"),
        (
            lambda folder: (
                (write(labelled(), folder, "numbered folders") / "00").rename(folder.parent / "lost") and folder
            ),
            "begins with the folder 01, and the endpoint 00 is missing; --initial=DIR says where it was computed",
        ),
        (lambda folder: named(folder, "im1", "im2", "im4"), "image 3 is missing between the others (im1"),
        (
            lambda folder: named(folder, "im0", "im2", "im1", "im3"),
            "another order: the path is 2.50 A long as they are",
        ),
    ],
)
def test_unreadable_bands(tmp_path, make, says):
    with pytest.raises(InputError) as caught:
        read_band(make(tmp_path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [("IS", "TS", "FS"), ("initial", "01", "02", "final"), ("0.0", "0.25", "0.5"), ("im-1", "im0", "im1"), "edcba"],
)
def test_images_whose_names_say_no_order_stand_as_they_are_nearest(tmp_path, names):
    band = whole_band([named(tmp_path, *names)])
    places = [frame.positions[1, 0] for frame in band.frames]
    assert places == sorted(places, reverse=names == "edcba")
    assert band.notes[-1].startswith("Ordered by which images are nearest to each other: ")


def test_names_that_make_a_longer_path_can_be_taken_all_the_same(tmp_path):
    folder = named(tmp_path, "im0", "im2", "im1", "im3")
    for order, rising in (("names", False), ("geometry", True)):
        places = [frame.positions[1, 0] for frame in whole_band([folder], Wanted(order=order)).frames]
        assert (places == sorted(places)) is rising


def test_the_last_iteration_of_a_neb_trajectory(tmp_path):
    iterations = [frame for _ in range(3) for frame in labelled()]
    for inner in iterations[1:4]:
        inner.positions[1, 1] += 0.3  # as it was before the last step
    ase.io.write(tmp_path / "neb.traj", iterations)
    band = whole_band([tmp_path / "neb.traj"])
    assert [frame.positions[1, 1] for frame in band.frames] == [4.0] * 5
    assert band.notes == ("The last of 3 bands of 5 images, which an optimiser wrote one behind the other.",)
    assert len(read_band(tmp_path / "neb.traj@-4:")) == 4
    ase.io.write(tmp_path / "cut.traj", iterations[:-1])
    with pytest.raises(InputError, match=r"images 0 and 5 are the same structure; .* give the last images: FILE@-7:"):
        case_of(read_band(tmp_path / "cut.traj"))


def test_results_of_other_atoms_are_no_reference():
    shared, images = DoubleWell(0.7), double_well_path()
    for image in images:
        image.calc = shared
        image.get_forces()
    with pytest.raises(InputError, match="frame 0 has the energy of another structure"):
        case_of(images)
    moved = labelled()
    moved[2].positions += 0.1
    with pytest.raises(InputError, match="frame 2 has the energy of another structure"):
        case_of(moved)


def test_images_that_are_periodic_in_other_directions():
    frames = double_well_path()
    frames[2].pbc = False
    with pytest.raises(InputError, match="periodic in the same directions"):
        case_of(frames)


def test_energies_known_less_well_than_they_are_judged_are_reported():
    case = case_of(labelled(), uncertainty_ev=0.15)
    assert case.expectation("barrier") is None
    assert "barrier" in case.reports
    assert case.expectation("force_mae") is not None
    assert "known to 0.15 eV are not judged within 0.1 eV" in case.notes[0]


def test_energies_under_another_name_are_pointed_out():
    frames = double_well_path()
    for index, frame in enumerate(frames):
        frame.info["e_pbe"] = -1.0 - index % 3
    assert (
        'found in the comment lines e_pbe; if these are labels, say so: energy_key = "e_pbe"'
        in case_of(frames).notes[0]
    )
    named = case_of(frames, labels=LabelKeys(energy_key="e_pbe"), uncertainty_ev=0.0, level_of_theory="PBE")
    assert named.stored.energies.tolist() == [-1.0, -2.0, -3.0, -1.0, -2.0]
    assert named.notes == ("Labels: energy from 'e_pbe'.",)
    with pytest.raises(InputError, match=r"here: no frame has energy under 'E'; found in the comment lines e_pbe;"):
        case_of(frames, labels=LabelKeys(energy_key="E"))
    with pytest.raises(InputError, match=r"here: no frame has forces under 'F'; there are no other numbers that could"):
        case_of(frames, labels=LabelKeys(energy_key="e_pbe", forces_key="F"))


def test_an_empty_result_file_and_other_folders_are_passed_over(tmp_path):
    folder = write(labelled(), tmp_path / "band", "numbered folders")
    (folder / "02" / "CONTCAR").touch()
    (folder / "INCAR").write_text("IBRION = 3\n")
    assert len(read_band(folder)) == 5
    files = write(labelled(), tmp_path / "files", "a file an image")
    (files / "old 2").mkdir()
    assert len(read_band(files)) == 5
