"""Atoms that constraints hold: in which directions, and what a band, a path and a mean of force errors make of them."""

from __future__ import annotations

from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength, FixCartesian, FixCom, FixedLine, FixedPlane, FixScaled, Hookean
from ase.mep import NEB
from ase.optimize import BFGS
from support import DoubleWell, double_well_path, path_case

from mlff_probes.calculators.base import as_calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.evaluation import Evaluation
from mlff_probes.measure.measurement import measure_case
from mlff_probes.measure.migration.fixed_path import perpendicular_force
from mlff_probes.measure.migration.protocols import RelaxedPath
from mlff_probes.measure.migration.relaxed_path import relaxed_path
from mlff_probes.methods.constraints import Freedom, constraint_problem, unlabelled

HEIGHT, BEND, STIFF = 0.4, 0.5, 6.0
WELL_A = 1.2
HOST = np.array([[5, 8, 5], [5, 2, 5], [5, 5, 8], [5, 5, 5]], dtype=float)
SKEWED = np.array([[10, 0, 0], [6, 9, 0], [0, 0, 10]], dtype=float)


class Bent(Calculator):
    """The last atom between two sites along x by way of y = `BEND`; the others on springs.

    h (u^2 - 1)^2 + s/2 (y - b (1 - u^2))^2, u = x / 1.2 A: the saddle is h high where y may follow, and h + s b^2 / 2
    where y is held at zero.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        away = atoms.positions - HOST
        x, y, _ = away[-1]
        well = (x / WELL_A) ** 2 - 1
        off = y + BEND * well
        forces = -STIFF * away
        forces[-1, 0] = -(4 * HEIGHT * well + 2 * STIFF * off * BEND) * x / WELL_A**2
        forces[-1, 1] = -STIFF * off
        energy = HEIGHT * well**2 + STIFF / 2 * (off**2 + (away[:-1] ** 2).sum() + away[-1, 2] ** 2)
        self.results = {"energy": self.scale * energy, "forces": self.scale * forces}


def hop_case(constraint=None, *, away=0.0, images=3, change=None):
    """From site to site, the first host atom `away` from its spring's rest along z."""
    frames = []
    for image, x in enumerate((-WELL_A, WELL_A)):
        frame = Atoms("Te3Cr", positions=HOST, cell=SKEWED, info={"image": image})
        frame.positions[-1, 0] += x
        frame.positions[0, 2] += away
        frame.set_constraint(constraint)
        frames.append(frame)
    if change:
        change(frames)
    protocol = RelaxedPath(kind="relaxed_path", migrating_atom=3, path_made_by="hand", images=images)
    return Case(
        id="hop", family="migration", title="A hop", tier="quick", frames=tuple(frames), stored=None,
        protocol=protocol, level_of_theory="none", source="test", expectations=(), reports=("barrier",),
    )  # fmt: skip


HELD = HEIGHT + STIFF * BEND**2 / 2
Y_HELD = {
    "nothing": (None, HEIGHT),
    "FixAtoms, of others": (FixAtoms([0, 1, 2]), HEIGHT),
    "FixCartesian": (FixCartesian([3], (False, True, False)), HELD),
    "FixCartesian, of z": (FixCartesian([0, 1, 2, 3], (False, False, True)), HEIGHT),
    "FixScaled, in a skewed cell": (FixScaled([3], (False, True, False)), HELD),
    "FixedPlane": (FixedPlane([3], (0, 1, 0)), HELD),
    "FixedLine, with one direction left": ([FixAtoms([0, 1, 2]), FixedLine(3, (1, 0, 0))], HELD),
}


@pytest.mark.parametrize("held", Y_HELD)
def test_the_barrier_under_a_constraint(held):
    constraint, barrier = Y_HELD[held]
    result = relaxed_path(as_calculator(Bent()), hop_case(constraint))
    assert result.diagnostics["outcome"] == "converged", result.diagnostics
    assert result.values["barrier"].value == pytest.approx(barrier, abs=2e-3)
    assert result.values["reaction_energy"].value == pytest.approx(0.0, abs=1e-3)


def test_a_model_that_is_wrong_by_a_factor_has_a_wrong_barrier_under_a_constraint():
    """In a band that let go of held atoms, the factor and the way round made up for each other."""
    case = hop_case([FixAtoms([0, 1, 2]), FixCartesian([3], (False, True, False))], images=5)
    result = relaxed_path(as_calculator(Bent(HEIGHT / HELD)), case)
    assert result.values["barrier"].value == pytest.approx(HEIGHT, abs=2e-3)


def test_large_forces_on_held_atoms_neither_move_them_nor_keep_a_band_from_rest():
    """The strain of a frozen host is no force of the band: 6 eV/A on an atom of which nothing is asked."""
    result = relaxed_path(as_calculator(Bent()), hop_case(FixAtoms([0]), away=1.0))
    assert result.diagnostics["outcome"] == "converged", result.diagnostics
    assert result.values["barrier"].value == pytest.approx(HEIGHT, abs=2e-3)
    assert max(max(row) for row in result.arrays["fmax_history"]) < STIFF


def test_a_partly_frozen_vacancy_hop_as_ase_has_it():
    """Half a crystal frozen, one direction of some atoms: endpoints and climbing-image band of ASE itself."""
    cell = bulk("Al", cubic=True) * (2, 2, 2)
    hole = cell.positions[0].copy()
    del cell[0]
    hopper = int(np.linalg.norm(cell.positions - hole, axis=1).argmin())
    held = [atom for atom in range(len(cell)) if atom != hopper and atom % 2]
    constraints = [FixAtoms(held), FixCartesian([2, 4], (True, False, False))]
    frames, ends = [], []
    for image in (0, 1):
        frame = cell.copy()
        frame.info["image"] = image
        if image:
            frame.positions[hopper] = hole
        frame.set_constraint(constraints)
        frames.append(frame)
        end = frame.copy()
        end.calc = EMT()
        BFGS(end, logfile=None).run(fmax=0.01)
        ends.append(end)
    middle = ends[0].copy()
    middle.calc = EMT()
    band = NEB([ends[0], middle, ends[1]], climb=True, method="improvedtangent")
    band.interpolate(mic=True)
    assert BFGS(band, logfile=None).run(fmax=0.02, steps=100)
    protocol = RelaxedPath(kind="relaxed_path", migrating_atom=hopper, path_made_by="hand", images=3)
    case = replace(hop_case(), frames=tuple(frames), protocol=protocol)
    assert protocol.frame_problem(frames) is None
    mine = relaxed_path(as_calculator(EMT()), case)
    expected = middle.get_potential_energy() - ends[0].get_potential_energy()
    assert mine.values["barrier"].value == pytest.approx(expected, abs=2e-3)


class Stiff(EMT):
    """EMT times `factor`."""

    factor = 1.8

    def calculate(self, *arguments, **named):
        super().calculate(*arguments, **named)
        self.results |= {name: self.factor * self.results[name] for name in ("energy", "forces")}


@pytest.mark.parametrize("element", ["Cu", "Pt"])
def test_one_atom_that_hops_through_a_frozen_crystal(element):
    """By symmetry the middle of the path is the saddle.

    The learned potential needs what frozen atoms feel: three numbers an image do not say what is beside the path.
    """
    cell = bulk(element, cubic=True) * (3, 3, 3)
    hole = cell.positions[0].copy()
    del cell[0]
    hopper = int(np.linalg.norm(cell.positions - hole, axis=1).argmin())
    cell.set_constraint(FixAtoms([atom for atom in range(len(cell)) if atom != hopper]))
    frames = [cell, cell.copy()]
    frames[1].positions[hopper] = hole
    protocol = RelaxedPath(kind="relaxed_path", migrating_atom=hopper, path_made_by="hand", images=5)
    for image, frame in enumerate(frames):
        frame.info["image"] = image
    case = replace(hop_case(), frames=tuple(frames), protocol=protocol)
    found = relaxed_path(as_calculator(Stiff()), case)
    end, middle = cell.copy(), cell.copy()
    middle.positions[hopper] = (cell.positions[hopper] + hole) / 2
    end.calc = middle.calc = Stiff()
    BFGS(end, logfile=None).run(fmax=0.01)
    expected = middle.get_potential_energy() - end.get_potential_energy()
    assert found.diagnostics["outcome"] == "converged", found.diagnostics
    assert found.values["barrier"].value == pytest.approx(expected, abs=2e-3)


def held_as_ase_does(atoms, directions):
    """Forces and steps as ASE leaves them."""
    force, moved = directions.copy(), atoms.positions + directions
    for constraint in atoms.constraints:
        constraint.adjust_forces(atoms, force)
        constraint.adjust_positions(atoms, moved)
    return force, moved - atoms.positions


@pytest.mark.parametrize(
    "constraint",
    [
        [],
        [FixAtoms([1])],
        [FixCartesian([0, 2], (True, False, True))],
        [FixAtoms([2]), FixedPlane([1], (1, 1, 0)), FixedLine([0], (1, 2, 3))],
        [FixScaled([1], (False, False, True)), FixScaled([0], (True, True, True))],
    ],
    ids=str,
)
def test_free_parts_are_those_of_ase(constraint):
    rng = np.random.default_rng(4)
    atoms = Atoms("CuAgAu", positions=rng.normal(size=(3, 3)), cell=SKEWED, pbc=True, constraint=constraint)
    vectors = rng.normal(size=(3, 3))
    freedom = Freedom.of(atoms)
    force, step = held_as_ase_does(atoms, vectors)
    np.testing.assert_allclose(freedom.part(vectors), force, atol=1e-10)
    np.testing.assert_allclose(freedom.part(vectors), step, atol=1e-10)
    np.testing.assert_allclose(freedom.part(vectors.ravel()[None]), force.reshape(1, -1), atol=1e-10)
    removed = sum(each.get_removed_dof(atoms) for each in constraint)
    assert freedom.directions(3) == 9 - removed


def test_a_constraint_of_all_atoms_together_holds_none_of_them():
    assert Freedom.of(Atoms("Cu2", constraint=FixCom())).projectors is None


def test_a_skewed_cell_leaves_free_what_ase_leaves_free():
    """Where scaled coordinates are not perpendicular, ASE's force is not in the plane in which the atom moves."""
    atoms = Atoms("Cu", cell=SKEWED, pbc=True, constraint=FixScaled([0], (True, False, False)))
    freedom = Freedom.of(atoms)
    _, step = held_as_ase_does(atoms, np.array([[0.3, -0.2, 0.5]]))
    np.testing.assert_allclose(freedom.part(step), step, atol=1e-10)
    np.testing.assert_allclose(freedom.part(np.array([[9.0, -6.0, 0.0]])), 0.0, atol=1e-10)  # across a2 and a3


@pytest.mark.parametrize("columns", [1, 3])
def test_a_move_mask_from_a_file(tmp_path, columns):
    given = FixAtoms([0, 2]) if columns == 1 else FixCartesian([0, 2], (True, True, False))
    atoms = Atoms("CuAgAu", positions=np.eye(3), cell=SKEWED, pbc=True, constraint=given)
    ase.io.write(tmp_path / "held.extxyz", atoms, columns=["symbols", "positions", "move_mask"])
    assert f"move_mask:L:{columns}" in (tmp_path / "held.extxyz").read_text()
    held = Freedom.of(ase.io.read(tmp_path / "held.extxyz")).held(3)
    np.testing.assert_array_equal(held, np.array([[1], [0], [1]]) * ([1, 1, 1] if columns == 1 else [1, 1, 0]) == 1)


def test_selective_dynamics_of_a_poscar(tmp_path):
    """Held along the third scaled coordinate, which here is z, and held altogether."""
    atoms = Atoms("CuAg", positions=np.eye(3)[:2], cell=SKEWED, pbc=True)
    atoms.set_constraint([FixScaled([0], (False, False, True)), FixAtoms([1])])
    ase.io.write(tmp_path / "POSCAR", atoms, format="vasp")
    assert "Selective" in (tmp_path / "POSCAR").read_text()
    held = Freedom.of(ase.io.read(tmp_path / "POSCAR")).held(2)
    np.testing.assert_array_equal(held, [[False, False, True], [True, True, True]])


def shifted(frames):
    frames[1].positions[1, 0] += 0.02


def wrapped(frames):
    frames[0].pbc = frames[1].pbc = True
    frames[1].positions[1] += SKEWED[0]


def freed(frames):
    frames[1].set_constraint(FixAtoms([1]))


BAD = {
    "of pairs": (FixBondLength(0, 1), None, "frame 0 has a constraint FixBondLengths; only those that hold single"),
    "of a force": (Hookean(0, 1, 5.0, 2.0), None, "frame 0 has a constraint Hookean"),
    "of one frame only": (FixAtoms([0, 1]), freed, "frame 1 does not hold atom 0 as frame 0 does; give all frames"),
    "at two places": (FixAtoms([0, 1]), shifted, "atom 1 is held by a constraint, but lies 0.0200 A apart in frames 0"),
    "of the hopper": (FixAtoms([3]), None, "a constraint holds the migrating atom 3 in all directions"),
    "wrapped, which is no other place": (FixAtoms([0, 1]), wrapped, None),
    "the same in other words": (
        FixAtoms([0]),
        lambda frames: frames[1].set_constraint(FixCartesian([0], (True, True, True))),
        None,
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_constraints_that_no_band_can_honour(kind):
    constraint, change, says = BAD[kind]
    case = hop_case(constraint, change=change)
    problem = case.protocol.frame_problem(case.frames)
    assert says is None or problem.startswith(says), problem
    assert (problem is None) == (says is None)


def test_a_fixed_path_takes_no_other_constraints_either():
    frames = double_well_path(3)
    frames[2].set_constraint(FixAtoms([0]))
    assert constraint_problem(frames) == (
        "frame 2 does not hold atom 0 as frame 0 does; give all frames of a path the same constraints"
    )


def test_the_force_across_a_path_is_that_on_free_atoms():
    frames = double_well_path(5)
    forces = np.tile([[3.0, 0.0, 0.0], [5.0, 0.3, 0.4]], (5, 1, 1))
    for frame in frames:
        frame.set_constraint([FixAtoms([0]), FixCartesian([1], (False, True, False))])
    np.testing.assert_allclose(perpendicular_force(tuple(frames), tuple(forces)), [0.4, 0.4, 0.4], atol=1e-12)


def zeroed_case(constraint, zeroed):
    """A path whose writer put zeros where `zeroed` atoms are held."""
    frames = double_well_path(5)
    stored = evaluate(DoubleWell(), frames)
    error = np.array([[0.5, 0.25, 0.0], [0.0, 0.25, 0.0]])
    forces = tuple(force + error for force in stored.forces)
    for frame, force in zip(frames, forces, strict=True):
        frame.set_constraint(constraint)
        force[zeroed] = 0.0
    return path_case(frames, Evaluation(stored.energies, forces))


def force_errors(case):
    values = measure_case(as_calculator(DoubleWell()), case).values
    return values["force_mae"], values["migrating_force_mae"]


def test_zeros_of_a_writer_are_no_labels_and_are_counted():
    """One atom of two, and one component of the other."""
    constraint = [FixAtoms([0]), FixCartesian([1], (False, False, True))]
    whole, migrating = force_errors(zeroed_case(constraint, 0))
    assert str(whole.samples) == "10 of 30 force components; 20 zeroed by a constraint"
    assert whole.value == pytest.approx(0.125)
    assert str(migrating.samples) == "10 of 15 force components; 5 zeroed by a constraint"
    assert migrating.value == pytest.approx(0.125)


def test_forces_of_held_atoms_that_were_kept_are_labels():
    whole, migrating = force_errors(zeroed_case(FixAtoms([0]), []))
    assert str(whole.samples) == "25 of 30 force components; 5 zeroed by a constraint"  # one component, by chance
    assert whole.value == pytest.approx(5 * (0.5 + 0.25 + 0.25) / 25)
    assert migrating.samples is None


def test_a_path_without_any_label_is_an_error_and_no_zero():
    _, migrating = force_errors(zeroed_case(FixAtoms([0, 1]), [0, 1]))
    assert migrating.value is None
    assert migrating.problem.reason == "all 15 force components are zeroed by a constraint"


def test_zeros_without_a_constraint_are_labels():
    assert not unlabelled(Atoms("Cu2"), np.zeros((2, 3))).any()


HEXAGONAL = np.array([[4, 0, 0], [-2, 12**0.5, 0], [0, 0, 9]], dtype=float)
ZEROED_IN = {
    "a plane along no axis": (FixedPlane([1], (1, 1, 0)), (True, True, False)),
    "another plane": (FixedPlane([1], (2, -1, 3)), (True, True, True)),
    "a line": (FixedLine([1], (0, 1, 2)), (True, True, True)),
    "two planes": ([FixedPlane([1], (1, 2, 0)), FixCartesian([1], (False, False, True))], (True, True, True)),
    "a hexagonal cell": (FixScaled([1], (True, False, False)), (True, True, False)),
    "a hexagonal cell, along its axis": (FixScaled([1], (False, False, True)), (False, False, True)),
}


@pytest.mark.parametrize("decimals", [8, 5, None])
@pytest.mark.parametrize("kind", ZEROED_IN)
def test_what_is_left_of_a_force_is_no_label(kind, decimals):
    constraint, expected = ZEROED_IN[kind]
    atoms = Atoms("CuAgAu", positions=np.eye(3), cell=HEXAGONAL, pbc=True, constraint=constraint)
    forces = np.random.default_rng(3).normal(scale=0.2, size=(3, 3))
    assert not unlabelled(atoms, forces).any()  # as the code has computed them
    left, _ = held_as_ase_does(atoms, forces)
    if decimals:
        left = left.round(decimals)
    np.testing.assert_array_equal(unlabelled(atoms, left), [[False] * 3, expected, [False] * 3])


def test_a_large_force_is_zero_along_a_direction_as_a_small_one_is():
    for size in (1e-5, 1e3):
        atoms = Atoms("Cu", cell=HEXAGONAL, pbc=True, constraint=FixedPlane([0], (1, 3, 0)))
        left, _ = held_as_ase_does(atoms, size * np.array([[0.3, -0.2, 0.5]]))
        assert unlabelled(atoms, left).tolist() == [[True, True, False]]
        assert not unlabelled(atoms, left + size * np.array([[0.01, 0.03, 0.0]])).any()
