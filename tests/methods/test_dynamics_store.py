"""Trajectories that are kept: what is the same is used, and nothing is that is not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from analytic import EinsteinCrystal, copper, protocol
from ase import units
from ase.io.trajectory import Trajectory as AseTrajectory
from interrupted import RUNS, Stopping, each_sample_kept, folder, run, same, uninterrupted
from sound import Sound

import mlff_probes.methods.simulation.store as store_module
from mlff_probes.calculators.base import as_calculator
from mlff_probes.core.keeping import in_pytest_cache
from mlff_probes.methods.simulation.simulate import simulate
from mlff_probes.methods.simulation.store import TrajectoryStore


@pytest.mark.parametrize(("engine", "ensemble"), RUNS)
def test_what_is_done_is_checked_and_used(engine, ensemble, tmp_path):
    run(engine, ensemble, tmp_path)
    model = Stopping()
    again = run(engine, ensemble, tmp_path, model)
    same(again, uninterrupted(engine, ensemble))
    assert (model.calls, again.calls.calls, again.resumed_at_step) == (2, 2, 60)


@pytest.mark.parametrize(
    "changed",
    [{"temperature": 301.0}, {"steps": 45}, {"seeds": (1, 3)}, {"friction_per_fs": 0.02}, {"timestep_fs": 1.5}],
    ids=str,
)
def test_another_protocol_has_another_place(changed, tmp_path):
    run("torch", "NVT", tmp_path)
    found = run("torch", "NVT", tmp_path, **changed)
    assert (found.resumed_at_step, found.notes) == (None, ())
    assert len(list(tmp_path.iterdir())) == 2


def test_what_only_the_analysis_uses_is_the_same_simulation(tmp_path):
    run("torch", "NVT", tmp_path)
    found = run("torch", "NVT", tmp_path, hop_length=2.0, rdf_bin=0.1, pressure_samples=13)
    assert found.resumed_at_step == 60


def test_another_start_dtype_or_file_has_another_place(tmp_path):
    model, start = as_calculator(Sound()), copper()

    def shelf_of(model, start):
        simulate(model, protocol(), start, store=TrajectoryStore(tmp_path))
        return {path.name for path in tmp_path.iterdir()}

    moved = start.copy()
    moved.positions[0, 0] += 1e-9
    other_versions, file = {"versions": {"torch": "9"}}, {"sha256": "0" * 64}
    updates = ({"dtype": "float32"}, file, other_versions, file | other_versions, file | {"version": "9"})
    others = [replace(model, identity=model.identity.model_copy(update=new)) for new in updates]
    counts = [len(shelf_of(*pair)) for pair in [(model, start), (model, moved), *((one, start) for one in others)]]
    assert counts == [1, 2, 3, 4, 5, 6, 7]


def test_a_model_that_gives_other_numbers_starts_afresh(tmp_path):
    def of(spring, directory):
        return simulate(EinsteinCrystal(copper(), spring), protocol(), copper(), store=TrajectoryStore(directory))

    of(2.0, tmp_path)
    other = of(2.002, tmp_path)
    (note,) = other.notes
    assert f"started afresh in {folder(tmp_path)}: the model gives other numbers for the last sample: energies" in note
    assert other.resumed_at_step is None
    same(other, of(2.002, None))
    assert of(2.002, tmp_path).resumed_at_step == 60


def overwritten(name, content):
    def spoil(place):
        (place / name).write_bytes(content)

    return spoil


def cut(name):
    def spoil(place):
        (place / name).write_bytes((place / name).read_bytes()[:-1000])

    return spoil


def changed(**arrays):
    def spoil(place):
        with np.load(place / "checkpoint.npz") as file:
            kept = dict(file)
        np.savez(place / "checkpoint.npz", **{**kept, **arrays})

    return spoil


def another_system(place):
    with AseTrajectory(place / "replica-1.traj", "w") as file:
        for _ in range(13):
            atoms = copper(1)
            atoms.calc = Sound()
            atoms.get_forces()
            file.write(atoms)


def less_samples(place):
    frames = list(AseTrajectory(place / "replica-0.traj"))
    with AseTrajectory(place / "replica-0.traj", "w") as file:
        for atoms in frames[:5]:
            file.write(atoms)


SPOILT = {
    "no checkpoint file": overwritten("checkpoint.npz", b"nonsense"),
    "empty checkpoint": overwritten("checkpoint.npz", b""),
    "cut checkpoint": cut("checkpoint.npz"),
    "foreign checkpoint": changed(key=np.array("0" * 64)),
    "pickled checkpoint": changed(positions=np.array([{}], dtype=object)),
    "too many samples": changed(samples=np.array(14)),
    "no samples": changed(samples=np.array(0)),
    "wrong shape": changed(positions=np.zeros((2, 3, 3))),
    "random numbers": changed(random=np.array(["{}", "{}"])),
    "no trajectory": lambda place: (place / "replica-1.traj").unlink(),
    "broken trajectory": overwritten("replica-1.traj", b"- of UlmASE-Trajectory" + b"\xff" * 100),
    "another system": another_system,
    "fewer samples than the checkpoint": less_samples,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_is_broken_or_foreign_starts_afresh_and_says_so(spoil, tmp_path):
    run("ase", "NVT", tmp_path)
    spoil(folder(tmp_path))
    found = run("ase", "NVT", tmp_path)
    assert found.resumed_at_step is None
    (note,) = found.notes
    assert note.startswith(f"started afresh in {folder(tmp_path)}: ")
    same(found, uninterrupted("ase", "NVT"))
    assert run("ase", "NVT", tmp_path).resumed_at_step == 60


def test_trajectories_without_a_checkpoint_are_no_use(tmp_path):
    run("ase", "NVT", tmp_path)
    (folder(tmp_path) / "checkpoint.npz").unlink()
    found = run("ase", "NVT", tmp_path)
    assert (found.resumed_at_step, found.notes) == (None, ())
    same(found, uninterrupted("ase", "NVT"))


def test_files_are_ase_s_and_say_what_they_are(tmp_path):
    found = run("ase", "NVT", tmp_path)
    place = folder(tmp_path)
    assert place.name.startswith("Stopping-NVT-300K-")
    for replica in range(2):
        frames = AseTrajectory(place / f"replica-{replica}.traj")
        assert len(frames) == 13
        atoms = frames[-1]
        np.testing.assert_array_equal(atoms.get_forces(), found.production.forces[replica, -1])
        assert atoms.get_potential_energy() == found.production.energies[replica, -1]
        np.testing.assert_allclose(atoms.get_velocities() * units.fs, found.production.velocities[replica, -1])
        np.testing.assert_array_equal(atoms.positions, found.production.positions[replica, -1])
    about = json.loads((place / "about.json").read_text(encoding="utf-8"))
    assert about["engine"] == found.engine
    assert about["protocol"]["temperature"] == 300.0
    assert about["start"]["formula"] == "Cu32"


def test_a_directory_that_cannot_be_used_costs_no_simulation(tmp_path):
    (tmp_path / "file").touch()
    found = run("ase", "NVE", tmp_path / "file")
    same(found, uninterrupted("ase", "NVE"))
    (note,) = found.notes
    assert note.startswith(f"this trajectory is not kept in {tmp_path / 'file'}")


def test_pytest_s_cache_is_made_as_pytest_makes_it(tmp_path):
    cache = tmp_path / "cache"
    run("ase", "NVE", in_pytest_cache(cache))
    assert {path.name for path in cache.iterdir()} == {".gitignore", "CACHEDIR.TAG", "d"}
    assert (cache / ".gitignore").read_text() == "*\n"
    assert (cache / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    assert run("ase", "NVE", in_pytest_cache(cache)).resumed_at_step == 60


def test_what_is_there_of_pytest_s_cache_stays_as_it_is(tmp_path):
    (tmp_path / ".gitignore").write_text("# mine\n")
    run("ase", "NVE", in_pytest_cache(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {".gitignore", "d"}
    assert (tmp_path / ".gitignore").read_text() == "# mine\n"
    run("ase", "NVE", tmp_path / "of_ones_own")
    assert not list((tmp_path / "of_ones_own").glob(".gitignore"))


def test_a_disk_that_is_full_costs_no_simulation(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.np, "savez", full)
    found = run("ase", "NVE", tmp_path, clock=each_sample_kept())
    same(found, uninterrupted("ase", "NVE"))
    (note,) = found.notes
    assert "from here on this trajectory is not kept" in note
    assert "No space left on device" in note


def turned_into_a_directory(name):
    def spoil(place):
        (place / name).unlink(missing_ok=True)
        (place / name / "within").mkdir(parents=True)

    return spoil


def without_a_checkpoint(place):
    (place / "checkpoint.npz").unlink()
    turned_into_a_directory("replica-1.traj")(place)


NOT_REMOVED = {
    "checkpoint": (turned_into_a_directory("checkpoint.npz"), ["started afresh in ", "from here on "]),
    "trajectory": (turned_into_a_directory("replica-1.traj"), ["started afresh in ", "from here on "]),
    "trajectory alone": (without_a_checkpoint, ["from here on "]),
}


@pytest.mark.parametrize(("spoil", "begin"), NOT_REMOVED.values(), ids=NOT_REMOVED)
def test_what_cannot_be_removed_costs_no_simulation(spoil, begin, tmp_path):
    run("ase", "NVT", tmp_path)
    spoil(folder(tmp_path))
    found = run("ase", "NVT", tmp_path, clock=each_sample_kept())
    same(found, uninterrupted("ase", "NVT"))
    assert found.resumed_at_step is None
    assert [note[: len(start)] for note, start in zip(found.notes, begin, strict=True)] == begin
    assert f"this trajectory is not kept in {folder(tmp_path)}: " in found.notes[-1]


def test_nothing_is_kept_without_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("ase", "NVE", None).notes == ()
    assert not list(tmp_path.iterdir())
