"""A calculator sees one structure that is moved, and nothing of an earlier structure in it."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from mlff_probes import evaluate
from mlff_probes.calculators.base import as_calculator
from mlff_probes.calculators.bench import Bench
from mlff_probes.core.errors import EvaluationError


class Watching(AseCalculator):
    """Reads its model for each structure that it is attached to, as calorine's CPUNEP, and notes what it sees."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self):
        super().__init__()
        self.read, self.seen, self.fails = 0, [], False

    def set_atoms(self, atoms):
        self.read += 1
        self.atoms, self.results = atoms, {}

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.seen.append(atoms.copy())
        if self.fails:
            raise ValueError("no")
        charge = atoms.info.get("charge", 0.0)
        energy = float((atoms.positions**2).sum() + charge + atoms.get_initial_magnetic_moments().sum())
        self.results = {"energy": energy, "forces": -2 * atoms.positions, "stress": np.full(6, atoms.cell[0, 0])}


class Keeping(Watching):
    """Keeps the very structure it was handed, and no copy of it."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.atoms = atoms


def moved(count=6, atoms=None):
    """A structure in some positions and cells."""
    found = [(bulk("Cu", cubic=True) if atoms is None else atoms).copy() for _ in range(count)]
    for seed, frame in enumerate(found):
        frame.rattle(0.1, seed=seed)
        frame.set_cell(frame.cell.array * (1 + 0.01 * seed))
    return found


@pytest.mark.parametrize("kind", [Watching, Keeping])
def test_one_structure_is_moved(kind):
    model, frames = as_calculator(kind()), moved()
    for chosen in (frames[:4], frames[4:], frames[:1]):
        found = evaluate(model, chosen, stress=True)
        np.testing.assert_allclose(found.energies, [(frame.positions**2).sum() for frame in chosen])
        np.testing.assert_allclose(found.forces, [-2 * frame.positions for frame in chosen])
        np.testing.assert_allclose(found.stresses[:, 0], [frame.cell[0, 0] for frame in chosen])
    assert model.ase.read == 1


def test_another_one_for_other_elements_or_another_calculator():
    model, cell = as_calculator(Watching()), bulk("Cu", cubic=True)
    other = bulk("Al", cubic=True)
    for frame in (cell, other, cell, cell.repeat(2)):
        evaluate(model, [frame])
    assert model.ase.read == 4
    one, two = Watching(), Watching()
    bench = Bench()
    assert bench.placed(cell, one).calc is one
    assert bench.placed(cell, two).calc is two


def dressed(**info):
    """With all that a model may read beside the positions."""
    frame = bulk("Cu", cubic=True)
    frame.info.update(info)
    frame.set_initial_magnetic_moments([1.0, 0, 0, 0])
    frame.set_initial_charges([0.5, 0, 0, 0])
    frame.set_tags([1, 2, 3, 4])
    frame.set_momenta(np.ones((4, 3)))
    frame.set_array("head", np.arange(4))
    frame.set_constraint(FixAtoms([0]))
    frame.set_celldisp([0.1, 0, 0])
    frame.pbc = (True, True, False)
    return frame


def everything(atoms):
    arrays = {name: array.tolist() for name, array in atoms.arrays.items()}
    constraints = [each.todict() for each in atoms.constraints]
    return arrays, atoms.info, constraints, atoms.get_celldisp().tolist(), atoms.pbc.tolist(), atoms.cell.tolist()


def test_nothing_of_one_structure_is_left_in_the_next():
    plain, model = bulk("Cu", cubic=True), as_calculator(Watching())
    frames = [dressed(charge=1, nested={"list": [1, 2]}), plain, dressed(spin=2), moved(1)[0], plain]
    before = [everything(frame) for frame in frames]
    evaluate(model, frames)
    assert [everything(seen) for seen in model.ase.seen] == before
    assert [everything(frame) for frame in frames] == before
    assert model.ase.read == 1


def test_what_ase_does_not_look_at_is_computed_all_the_same():
    """ASE hands out old results where positions, cell, elements, charges and moments are the same."""
    frames = [bulk("Cu", cubic=True) for _ in range(3)]
    for frame, charge in zip(frames, (0.0, 1.0, -1.0), strict=True):
        frame.info["charge"] = charge
    np.testing.assert_allclose(np.diff(evaluate(as_calculator(Watching()), frames).energies), [1.0, -2.0])


def test_the_same_structure_again_is_not_computed_again():
    model, moving = as_calculator(Watching()), bulk("Cu")
    moving.set_momenta([[1.0, 2.0, 3.0]])
    evaluate(model, [bulk("Cu"), bulk("Cu"), moving])
    assert len(model.ase.seen) == 1


def test_after_a_failure_the_calculator_starts_afresh():
    model, frames = as_calculator(Watching()), moved(3)
    evaluate(model, frames[:1])
    model.ase.fails = True
    with pytest.raises(EvaluationError, match="ValueError: no"):
        evaluate(model, frames[1:2])
    model.ase.fails = False
    np.testing.assert_allclose(evaluate(model, frames[1:2]).energies, [(frames[1].positions ** 2).sum()])
    assert model.ase.read == 2


def test_what_a_calculator_does_to_its_structure_is_undone():
    class Meddling(Watching):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            atoms.positions += 1
            atoms.numbers[0] = 1
            atoms.info["mine"], atoms.pbc = True, False
            atoms.set_array("mine", np.zeros(len(atoms)))

    frames, model = moved(), as_calculator(Meddling())
    before = [everything(frame) for frame in frames]
    evaluate(model, frames, forces=False)
    assert [everything(seen) for seen in model.ase.seen] == before


def test_a_calculator_with_neighbour_lists_gives_what_a_new_one_gives():
    cluster = molecule("CO")
    frames = [
        *moved(4),
        *moved(3, Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]], cell=[8, 8, 8])),
        *moved(2, cluster),
        *moved(2),
    ]
    found = evaluate(as_calculator(EMT()), frames)
    alone = [evaluate(as_calculator(EMT()), [frame]) for frame in frames]
    np.testing.assert_allclose(found.energies, [one.energies[0] for one in alone], atol=1e-10)
    for forces, one in zip(found.forces, alone, strict=True):
        np.testing.assert_allclose(forces, one.forces[0], atol=1e-10)
