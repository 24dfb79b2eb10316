"""Batches, and one calculator a size, for families of the table, on stand-ins: `tests/families` has the real ones."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from types import ModuleType, SimpleNamespace

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.neighborlist import neighbor_list

from mlff_probes import evaluate, load_calculator
from mlff_probes.calculators import families
from mlff_probes.calculators.checkpoints.safety import weights_only_kept
from mlff_probes.calculators.loaders.nep import batched as nep_batched
from mlff_probes.calculators.loaders.one_a_size import OneASize
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import EvaluationError, InputError
from mlff_probes.scorecard.reports.text import identity_lines

TOY = '''
"""Lennard-Jones with a batched pass that is right, and others that are not."""
import copy

from ase.calculators.lj import LennardJones

made = []


class Toy(LennardJones):
    def __init__(self, model):
        made.append(model)
        super().__init__(sigma=2.0, epsilon=0.1, rc=6.0)


def alone(calculator, frame, forces):
    atoms = frame.copy()
    atoms.calc = copy.copy(calculator)
    return atoms.get_potential_energy(), atoms.get_forces() if forces else None


def right(calculator):
    return lambda frames, forces: [alone(calculator, frame, forces) for frame in frames]


def leaning(calculator):
    def batch(frames, forces):
        found = [alone(calculator, frame, forces) for frame in frames]
        return [(energy + 1e-4 * (len(frames) - 1), f) for energy, f in found]
    return batch


def failing(calculator):
    def batch(frames, forces):
        raise RuntimeError("indices are not shifted")
    return batch
'''
ROW = """
[toy]
title = "Toys"
package = "ase"
install = "pip install toys"
factory = "toys_in_batches:Toy"
argument = "model"
dtype = "float64"
licence = "none"
tried = "here"
default = "one"
{more}
[toy.models]
one = {{ level_of_theory = "PBE", in_package = true }}
"""


@pytest.fixture
def row(tmp_path, monkeypatch):
    """Put a table with one family in the place of ours."""
    (tmp_path / "toys_in_batches.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "toys_in_batches", raising=False)

    def written(more):
        (tmp_path / "families.toml").write_text(ROW.format(more=more))
        monkeypatch.setattr(families, "TABLE", tmp_path / "families.toml")
        families.families.cache_clear()

    yield written
    families.families.cache_clear()


@pytest.fixture(scope="module")
def frames():
    """Structures of 5, 21 and 41 atoms, an isolated atom, and a molecule without a cell."""
    every = [frame for file in sorted(DIRECTORY.glob("*/*.extxyz")) for frame in ase.io.read(file, ":")]
    known = [frame for frame in every if set(frame.symbols) <= {"Cr", "Sb", "Te"}]
    chosen = [[frame for frame in known if len(frame) == size][:2] for size in (5, 21, 41)]
    more = [Atoms("Te", cell=[20] * 3, pbc=True), Atoms("SbTe", [(0, 0, 0), (0, 0, 2.8)])]
    return [*(frame for two in chosen for frame in two), *more]


def assert_as_a_loop(calculator, frames):
    loop = evaluate(replace(calculator, batch=None), frames)
    found = evaluate(calculator, frames)
    np.testing.assert_allclose(found.energies, loop.energies, rtol=0, atol=1e-6)
    for here, there in zip(found.forces, loop.forces, strict=True):
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-5)
    np.testing.assert_allclose(evaluate(calculator, frames, forces=False).energies, loop.energies, rtol=0, atol=1e-6)
    return found


# --------------------------------------------------------------------------------------------------- the row of a table


def test_a_row_with_batches_is_evaluated_in_batches(row, frames):
    row('batch = "toys_in_batches:right"')
    calculator = load_calculator("toy")
    assert (calculator.identity.batched, calculator.identity.no_batches) == (True, None)
    assert assert_as_a_loop(calculator, frames).batches == 1
    assert identity_lines(calculator.identity)[2].endswith(", batched")


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ("leaning", "a batch differs from single calls by 0.0002 eV/atom and 0 eV/A"),
        ("failing", "the batched pass failed: the calculator raised at frame 0 to frame 2: RuntimeError: indices are"),
    ],
)
def test_a_batch_that_disagrees_gives_way_to_the_loop_and_the_header_says_so(row, frames, batch, says):
    row(f'batch = "toys_in_batches:{batch}"')
    calculator = load_calculator("toy")
    assert calculator.batch is None
    assert not calculator.identity.batched
    assert calculator.identity.no_batches.startswith(says)
    assert f"one frame a call ({says}" in identity_lines(calculator.identity)[2]
    assert evaluate(calculator, frames[:3]).batches == 3


def test_batches_can_be_switched_off_and_a_row_must_name_something_that_makes_them(row):
    row('batch = "toys_in_batches:failing"')
    off = load_calculator("toy,batch=off")
    assert (off.batch, off.identity.batched, off.identity.no_batches) == (None, False, None)
    row('batch = "toys_in_batches:gone"')
    with pytest.raises(InputError, match=r"has no toys_in_batches\.gone"):
        load_calculator("toy")


# ---------------------------------------------------------------------------------------------- one calculator a size


def test_a_calculator_that_is_slow_to_change_its_size_is_made_once_for_each(row, frames):
    row("one_a_size = true")
    calculator = load_calculator("toy")
    plain = sys.modules["toys_in_batches"].Toy("one")
    made = sys.modules["toys_in_batches"].made
    made.clear()
    given = [frames[0], frames[2], frames[1], frames[3], frames[0], frames[4]]
    found = evaluate(calculator, given, stress=False)
    assert [len(frame) for frame in given] == [5, 21, 5, 21, 5, 41]
    assert sorted(calculator.ase.calculators) == [5, 21, 41]
    assert made == []  # copies of the one that was there: none reads the model again
    for frame, energy, forces in zip(given, found.energies, found.forces, strict=True):
        atoms = frame.copy()
        atoms.calc = plain
        assert energy == atoms.get_potential_energy()
        np.testing.assert_array_equal(forces, atoms.get_forces())
    assert (calculator.identity.version, calculator.identity.label) == ("one", "toy-one")
    assert evaluate(calculator, [frames[0]], stress=True).stresses.shape == (1, 6)
    assert calculator.supplies("stress")
    assert not calculator.supplies("charges")


def test_no_more_sizes_are_kept_than_agreed():
    calculator = OneASize(EMT(), most=2)
    found = []
    for n in (1, 2, 1, 3, 1, 2):
        atoms = bulk("Cu").repeat((n, 1, 1))
        atoms.calc = calculator
        atoms.get_potential_energy()
        found.append(calculator.calculators[n])
    assert sorted(calculator.calculators) == [1, 2]
    assert found[0] is found[2] is found[4]
    assert found[1] is not found[5]  # whose turn was longest ago when 3 came


# ----------------------------------------------------------------------------------------------------------------- NEP


class Engine:
    """Has one structure, of a fixed number of atoms, as that of calorine."""

    def __init__(self, atoms):
        self.size = len(atoms)
        self.set_symbols(atoms.get_chemical_symbols())
        self.set_positions(atoms.positions.T.ravel().tolist())
        self.set_cell(atoms.cell.array.T.ravel().tolist())

    def set_symbols(self, symbols):
        self.symbols = list(symbols)

    def set_positions(self, positions):
        assert len(positions) == 3 * self.size
        self.positions = np.reshape(positions, (3, -1)).T

    def set_cell(self, cell):
        self.cell = np.reshape(cell, (3, 3)).T

    def get_potential_forces_and_virials(self):
        atoms = Atoms(self.symbols, self.positions, cell=self.cell, pbc=True)
        atoms.calc = LennardJones(sigma=2.0, epsilon=0.01 * atoms.numbers.sum(), rc=6.0)
        return atoms.get_potential_energies(), atoms.get_forces().T.ravel().tolist(), None


class Nep(Calculator):
    """As `CPUNEP`: its engine is told what differs from the structure before, and nothing else."""

    implemented_properties = ("energy", "forces")
    supported_species, model_type, nepy, known = frozenset({"Cr", "Sb", "Te"}), "potential", None, None

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.nepy is None:
            self.nepy = Engine(atoms)
        elif (self.known.numbers != atoms.numbers).any():
            self.nepy.set_symbols(atoms.get_chemical_symbols())
        if self.known is not None and (self.known.positions != atoms.positions).any():
            self.nepy.set_positions(atoms.positions.T.ravel().tolist())
        if self.known is not None and (self.known.cell != atoms.cell).any():
            self.nepy.set_cell(atoms.cell.array.T.ravel().tolist())
        self.known = atoms.copy()
        energies, forces, _ = self.nepy.get_potential_forces_and_virials()
        self.results = {"energy": energies.sum(), "forces": np.reshape(forces, (3, -1)).T}


@pytest.fixture
def nep():
    """NEP's calculators, one a size, with a batched pass."""
    named = load_calculator("ase:EMT")
    calculators = OneASize(Nep())
    return replace(named, ase=calculators, batch=nep_batched(calculators))


def test_the_engines_of_nep_give_what_its_calculators_give(nep, frames):
    given = [frame for frame in frames if frame.cell.rank]
    assert len({len(frame) for frame in given}) < len(given)
    assert_as_a_loop(nep, given)
    assert_as_a_loop(nep, given[::-1])  # whatever an engine was left with


def test_a_batch_of_nep_that_is_cut_short_leaves_no_engine_that_its_calculator_does_not_know(nep, frames, monkeypatch):
    one, other = frames[2:4]
    expected = evaluate(nep, [one, other]).energies

    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Engine, "get_potential_forces_and_virials", interrupted)
        evaluate(nep, [one, other])
    np.testing.assert_array_equal(evaluate(replace(nep, batch=None), [other]).energies, expected[1:])


@pytest.mark.parametrize(
    ("atoms", "says"),
    [
        (Atoms("CuTe", [(0, 0, 0), (0, 0, 2)], cell=[9] * 3), "the model does not know Cu"),
        (Atoms("CrTe", [(0, 0, 0), (0, 0, 2)]), "NEP needs a cell, the structure has none"),
    ],
)
def test_nep_refuses_in_a_batch_what_it_refuses_alone(nep, atoms, says):
    with pytest.raises(EvaluationError, match=says):
        evaluate(nep, [atoms])


# ------------------------------------------------------------------------------------------------------------ SevenNet


class IrrepsConvolution(torch.nn.Module):
    """SevenNet's, but for its options."""

    key_x, key_filter, key_weight_input, key_edge_idx, is_parallel = "x", "filter", "radial", "edge_index", False

    def __init__(self):
        from e3nn.nn import FullyConnectedNet
        from e3nn.o3 import Irreps, TensorProduct

        super().__init__()
        one, other = Irreps("4x0e + 3x1o + 2x2e"), Irreps("1x0e + 1x1o + 1x2e")
        paths = [
            (i, j, (mul, ir))
            for i, (mul, x) in enumerate(one)
            for j, (_, y) in enumerate(other)
            for ir in x * y
            if ir.l <= 2
        ]
        out, places, _ = Irreps([to for _, _, to in paths]).sort()
        steps = sorted(((i, j, places[n], "uvu", True) for n, (i, j, _) in enumerate(paths)), key=lambda step: step[2])
        self.convolution = TensorProduct(one, other, out, steps, shared_weights=False, internal_weights=False)
        self.weight_nn = FullyConnectedNet([3, 5, self.convolution.weight_numel], torch.nn.functional.silu)
        self.denominator = torch.nn.Parameter(torch.tensor([1.7]))

    def forward(self, data):
        ends, starts = data["edge_index"]
        messages = self.convolution(data["x"][starts], data["filter"], self.weight_nn(data["radial"]))
        data["x"] = data["x"].new_zeros(len(data["x"]), messages.shape[1]).index_add(0, ends, messages)
        data["x"] = data["x"] / self.denominator
        return data


class Graph(dict):
    """In the place of `AtomGraphData`."""

    @classmethod
    def from_numpy_dict(cls, found):
        return cls({k: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for k, v in found.items()})

    def to(self, device):
        return self


class Model(torch.nn.Module):
    """A SevenNet with one convolution, in double precision."""

    def __init__(self):
        super().__init__()
        self.embedding, self.readout = torch.nn.Linear(1, 4 + 3 * 3 + 2 * 5), torch.nn.LazyLinear(1)
        self.conv, self.force_output = IrrepsConvolution(), torch.nn.Identity()

    def forward(self, data):
        from e3nn.o3 import spherical_harmonics

        vectors = data["edge_vec"].requires_grad_(True)
        r = vectors.norm(dim=1, keepdim=True)
        data["x"] = self.embedding(data["atomic_numbers"].to(vectors).unsqueeze(1) / 50)
        data["filter"] = spherical_harmonics([0, 1, 2], vectors, True, "component")
        data["radial"] = torch.cat([torch.exp(-r * k / 2) * (1 - (r / 4) ** 2) ** 3 for k in (1, 2, 3)], dim=1)
        data = self._modules["conv"](data)
        data["atomic_energy"] = self.readout(torch.tanh(data["x"]))
        if "force_output" in self._modules:
            gradient = torch.autograd.grad(data["atomic_energy"].sum(), vectors)[0]
            first, second = data["edge_index"]
            zeros = torch.zeros(len(data["x"]), 3, dtype=vectors.dtype)
            data["forces"] = zeros.index_add(0, first, gradient).index_add(0, second, -gradient)
        return data


@pytest.fixture
def sevennet(monkeypatch):
    """A calculator as SevenNet's, with stand-ins for the parts of its package that the batched pass takes."""
    keys = {
        "NODE_FEATURE": "x", "ATOMIC_NUMBERS": "atomic_numbers", "POS": "pos", "EDGE_VEC": "edge_vec",
        "EDGE_IDX": "edge_index", "CELL_VOLUME": "volume", "NUM_ATOMS": "num_atoms", "INFO": "info",
        "DATA_MODALITY": "modality", "ATOMIC_ENERGY": "atomic_energy", "PRED_FORCE": "forces",
    }  # fmt: skip

    def to_graph(atoms, cutoff):
        i, j, vectors = neighbor_list("ijD", atoms, cutoff)
        numbers = atoms.numbers
        return {"x": numbers, "atomic_numbers": numbers, "pos": atoms.positions, "edge_vec": vectors,
                "edge_index": np.array([i, j]), "info": {}}  # fmt: skip

    for name, holds in {
        "sevenn": {},
        "sevenn._keys": keys,
        "sevenn.atom_graph_data": {"AtomGraphData": Graph},
        "sevenn.train": {},
        "sevenn.train.dataload": {"unlabeled_atoms_to_graph": to_graph},
    }.items():
        module = ModuleType(name)
        vars(module).update(holds)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys.modules["sevenn"], "_keys", sys.modules["sevenn._keys"], raising=False)
    with weights_only_kept():
        import_module("mace")  # without which an old e3nn cannot be imported
        import_module("e3nn.o3")
    torch.manual_seed(0)
    model = Model()
    refused = []
    calculator = SimpleNamespace(model=model.double(), device="cpu", cutoff=4.0, modal=None, set_atoms=refused.append)
    model(Graph.from_numpy_dict(to_graph(bulk("Cu"), 4.0)))  # which tells the lazy layer its size

    def alone(frame):
        found = calculator.model(Graph.from_numpy_dict(to_graph(frame, 4.0)))
        return float(found["atomic_energy"].sum()), found["forces"].detach().numpy()

    return calculator, alone


def test_the_batched_pass_of_sevennet_gives_what_its_convolution_gives(sevennet, frames):
    from mlff_probes.calculators.loaders.sevennet import ChannelsInnermost, batched

    calculator, alone = sevennet
    assert ChannelsInnermost.fits(calculator.model.conv)
    found = batched(calculator)(frames, True)
    without_forces = batched(calculator)(frames, False)
    for frame, (energy, forces), (same, none) in zip(frames, found, without_forces, strict=True):
        expected, expected_forces = alone(frame)
        assert energy == pytest.approx(expected, abs=1e-9)
        np.testing.assert_allclose(forces, expected_forces, rtol=0, atol=1e-9)
        assert same == pytest.approx(expected, abs=1e-9)
        assert none is None
    assert np.abs(found[2][1]).max() > 1e-3
    lone = batched(calculator)(frames[-2:-1], True)[0]  # no edge in the whole pass
    assert lone[0] == pytest.approx(alone(frames[-2])[0], abs=1e-9)
    assert type(calculator.model.conv).__name__ == "IrrepsConvolution"
    assert all(parameter.requires_grad for parameter in calculator.model.parameters())


@pytest.mark.parametrize("repeats", [(1, 1, 0), (0, 1, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
def test_sevennet_has_all_neighbours_whichever_vectors_repeat(repeats, order):
    from mlff_probes.calculators.loaders.sevennet import periodic

    frame = bulk("Cu", cubic=True)
    frame.set_cell([[3.6, 0, 0], [1.2, 3.6, 0], [-2, 1, 9]])
    frame.rattle(0.1, seed=0)
    frame.set_cell(frame.cell.array[list(order)])
    frame.pbc = repeats
    handed = periodic(frame, 5.0)
    assert handed.pbc.all()
    assert abs(handed.get_volume()) > 1.0
    expected, found = (np.sort(neighbor_list("d", each, 5.0)) for each in (frame, handed))
    assert len(expected) > 8
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_another_convolution_is_left_as_it_is(sevennet):
    from mlff_probes.calculators.loaders.sevennet import ChannelsInnermost

    calculator, _ = sevennet
    calculator.model.conv.convolution.instructions[0] = SimpleNamespace(connection_mode="uvw", has_weight=True)
    assert not ChannelsInnermost.fits(calculator.model.conv)
    assert not ChannelsInnermost.fits(torch.nn.Identity())


def test_elements_that_a_sevennet_does_not_know_are_refused_in_a_batch_too(sevennet, frames):
    from mlff_probes.calculators.loaders.sevennet import batched

    calculator, _ = sevennet

    def refuse(atoms):
        raise ValueError("Model do not know atomic number: 24")

    calculator.set_atoms = refuse
    named = replace(load_calculator("ase:EMT"), batch=batched(calculator))
    with pytest.raises(EvaluationError, match="do not know atomic number"):
        evaluate(named, frames)
