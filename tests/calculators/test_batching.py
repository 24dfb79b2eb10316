"""One batched forward pass gives what a loop of single calls gives, in the order of the frames."""

from __future__ import annotations

from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase.constraints import FixAtoms
from mace_models import random_mace

from mlff_probes import evaluate, load_calculator
from mlff_probes.core.data import DIRECTORY

pytestmark = pytest.mark.usefixtures("one_thread")

ENERGY_EV = {"float64": 1e-6, "float32": 1e-4}
FORCE_EV_PER_A = {"float64": 1e-5, "float32": 1e-3}
CALCULATORS = ("chgnet", "mace_float64", "mace_float32")


@pytest.fixture(scope="module")
def frames():
    """All frames of (Cr-doped) Sb2Te3 in the package's reference, of 5, 21 and 41 atoms, and one of 45."""
    every = [frame for file in sorted(DIRECTORY.glob("*/*.extxyz")) for frame in ase.io.read(file, ":")]
    found = [frame for frame in every if set(frame.symbols) <= {"Cr", "Sb", "Te"}]  # all that the random MACE knows
    cell = ase.io.read(DIRECTORY / "inference" / "sb2te3_speed.extxyz")
    return [*found[:3], cell.repeat((3, 3, 1)), *found[3:]]


@pytest.fixture(scope="module", params=CALCULATORS)
def pair(request, tmp_path_factory):
    """One calculator twice: batched, and in a loop."""
    if request.param == "chgnet":
        spec = "chgnet"
    else:
        path = random_mace(tmp_path_factory.mktemp("mace") / f"{request.param}.model")
        spec = f"{path},dtype={request.param.removeprefix('mace_')}"
    return load_calculator(spec), load_calculator(f"{spec},batch=off")


@pytest.fixture(scope="module")
def looped(pair, frames):
    """Energies and forces of all frames from single calls."""
    return evaluate(pair[1], frames)


def assert_close(found, expected, dtype):
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0, atol=ENERGY_EV[dtype])
    for here, there in zip(found.forces, expected.forces, strict=True):
        np.testing.assert_allclose(here, there, rtol=0, atol=FORCE_EV_PER_A[dtype])


def rows_of(evaluation, rows):
    """The part of an evaluation that belongs to some frames."""
    return replace(evaluation, energies=evaluation.energies[rows], forces=tuple(evaluation.forces[r] for r in rows))


def counting(calculator):
    """`calculator` with a list of the sizes of the batches that reach it."""
    passes = []

    def batch(frames, forces):
        passes.append([len(frame) for frame in frames])
        return calculator.batch(frames, forces)

    return replace(calculator, batch=batch), passes


def test_the_frames_tell_calculators_apart(looped, frames):
    """Otherwise the comparisons below would compare zeros."""
    assert {len(frame) for frame in frames} == {5, 21, 41, 45}
    assert max(np.abs(f).max() for f in looped.forces) > 0.5
    small = [row for row, frame in enumerate(frames) if len(frame) == 5]
    assert np.ptp(looped.energies[small]) > 0.1


def test_batched_agrees_with_a_loop_on_all_reference_frames(pair, frames, looped):
    batched, single = pair
    assert batched.identity.batched
    assert not single.identity.batched
    found = evaluate(batched, frames)
    assert_close(found, looped, batched.identity.dtype)
    assert found.calls == looped.calls == looped.batches == len(frames)
    assert found.batches < found.calls / 10


def test_results_follow_the_order_of_the_frames(pair, frames, looped):
    order = np.random.default_rng(0).permutation(len(frames))
    found = evaluate(pair[0], [frames[row] for row in order])
    assert_close(found, rows_of(looped, order), pair[0].identity.dtype)


@pytest.mark.parametrize("batch_atoms", [50, 16, 1])
def test_splitting_the_list_changes_nothing(pair, frames, looped, batch_atoms):
    """16 atoms are fewer than 21 and 45 atoms have, 1 is fewer than any frame has."""
    rows = np.random.default_rng(1).permutation(len(frames))[:40]
    calculator, passes = counting(replace(pair[0], batch_atoms=batch_atoms))
    found = evaluate(calculator, [frames[row] for row in rows])
    assert_close(found, rows_of(looped, rows), calculator.identity.dtype)
    assert [n for sizes in passes for n in sizes] == [len(frames[row]) for row in rows]
    assert all(sum(sizes) <= batch_atoms or len(sizes) == 1 for sizes in passes)
    assert found.batches == len(passes)
    assert found.calls == len(rows)
    if batch_atoms == 1:
        assert found.batches == len(rows)


def test_a_frame_gives_the_same_alone_and_in_company(pair, frames, looped):
    for row in (0, 20, len(frames) - 1):
        assert_close(evaluate(pair[0], [frames[row]]), rows_of(looped, [row]), pair[0].identity.dtype)


def test_energies_alone_are_the_same_energies(pair, frames, looped):
    for calculator in pair:
        found = evaluate(calculator, frames[:30], forces=False)
        assert found.forces is None
        tolerance = ENERGY_EV[calculator.identity.dtype]
        np.testing.assert_allclose(found.energies, looped.energies[:30], rtol=0, atol=tolerance)


def test_the_same_call_makes_the_same_batches_and_numbers(pair, frames, looped):
    once, again = evaluate(pair[0], frames), evaluate(pair[0], frames)
    assert (once.calls, once.batches) == (again.calls, again.batches)
    assert_close(again, once, pair[0].identity.dtype)


def test_no_frames_take_no_pass(pair):
    calculator, passes = counting(pair[0])
    found = evaluate(calculator, [])
    assert (found.energies.size, found.forces, found.calls, found.batches) == (0, (), 0, 0)
    assert passes == []


def test_frames_are_not_modified(pair, frames):
    given = [frames[0], frames[30], frames[0].copy()]
    given[2].set_constraint(FixAtoms(indices=[0, 1]))
    before = [
        (f.copy(), f.calc, dict(f.calc.results) if f.calc else None, {k: v.copy() for k, v in f.arrays.items()})
        for f in given
    ]
    for calculator in pair:
        evaluate(calculator, given)
    for frame, (copy, calc, results, arrays) in zip(given, before, strict=True):
        assert frame == copy
        assert frame.info == copy.info
        assert [c.todict() for c in frame.constraints] == [c.todict() for c in copy.constraints]
        assert frame.calc is calc
        assert set(frame.arrays) == set(arrays)
        assert all((frame.arrays[name] == array).all() for name, array in arrays.items())
        assert results is None or all(np.array_equal(calc.results[name], value) for name, value in results.items())


def test_a_constraint_in_a_frame_changes_nothing(pair, frames, looped):
    """Forces are judged against DFT on every atom, so an atom held fixed keeps its force."""
    rows = [0, 3]
    held = [frames[row].copy() for row in rows]
    for frame in held:
        frame.set_constraint(FixAtoms(indices=range(len(frame))))
    for calculator in pair:
        assert_close(evaluate(calculator, held), rows_of(looped, rows), calculator.identity.dtype)


def test_what_a_mace_reads_from_info_reaches_it_in_a_batch_too(tmp_path, frames):
    path = random_mace(tmp_path / "charged.model", reads_charge=True)
    charged = frames[3].copy()
    charged.info["charge"] = 2.0
    given = [frames[3], charged, frames[40]]
    expected = evaluate(load_calculator(f"{path},batch=off"), given)
    assert abs(expected.energies[1] - expected.energies[0]) > 0.1
    assert_close(evaluate(load_calculator(str(path)), given), expected, "float64")
