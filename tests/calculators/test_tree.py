"""What the names and attributes of a calculator, and of all in it, tell: dispersion, elements, precision, packages."""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict, deque
from functools import partial
from types import ModuleType

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.emt import EMT
from ase.calculators.mixing import AverageCalculator, LinearCombinationCalculator, MixedCalculator, SumCalculator
from ase.calculators.tersoff import Tersoff, TersoffParameters
from mace_models import mace_sandbox

from mlff_probes.calculators.registry import load_calculator
from mlff_probes.calculators.tree import (
    MOST_PARTS,
    dispersion,
    elements_of,
    has_dispersion,
    level_of_theory,
    packages_of,
    parts,
    precision,
)


class Model(AseCalculator):
    implemented_properties = ("energy", "forces", "stress")
    level_of_theory = "r2SCAN"


class TorchDFTD4Calculator(Model):
    level_of_theory = None


class Holder(Model):
    level_of_theory = None

    def __init__(self, **held):
        super().__init__()
        self.__dict__.update(held)


class Kept:
    """An object that has slots alone, one of them empty and one with a private name."""

    __slots__ = ("__inner", "never")

    def __init__(self, inner):
        self.__inner = inner


class Slotted:
    """An object that shows what it holds through a property alone."""

    __slots__ = ("_held",)

    def __init__(self, held):
        self._held = lambda: held

    @property
    def calculator(self):
        return self._held()

    @property
    def model(self):
        raise RuntimeError("not loaded yet")


def d4():
    return TorchDFTD4Calculator()


def looped():
    """A calculator that holds itself."""
    found = Holder(calc=None)
    found.calc = found
    found.models = [{"one": found}, Model()]
    return found


def from_package(name):
    """A calculator of a class with an innocent name, from a module called so."""
    kind = type("Correction", (Model,), {"__module__": name})
    return kind()


@pytest.mark.parametrize(
    ("calculator", "place"),
    [
        (d4, ""),
        (lambda: SumCalculator([Model(), d4()]), "mixer.calcs[1]"),
        (lambda: LinearCombinationCalculator([Model(), d4()], [1, 0.5]), "mixer.calcs[1]"),
        (lambda: AverageCalculator([d4(), Model()]), "mixer.calcs[0]"),
        (lambda: MixedCalculator(Model(), d4(), 1, 1), "mixer.calcs[1]"),
        (lambda: SumCalculator([SumCalculator([SumCalculator([d4(), Model()]), Model()]), Model()]), None),
        (lambda: Holder(calc=Holder(calculator=Holder(calculators=(Model(), d4())))), None),
        (lambda: Holder(models={"a": Model(), "b": d4()}), "models['b']"),
        (lambda: Holder(backend=Slotted(d4())), "backend.calculator"),
        (lambda: Holder(anything=[[d4()]]), "anything[0][0]"),
        (lambda: from_package("tad_dftd3.ase"), ""),
        (lambda: from_package("simple_dftd3"), ""),
        (lambda: from_package("sevenn.batch_d3"), ""),
        (lambda: from_package("ase.calculators.vdwcorrection"), ""),
        (lambda: from_package("pymbd.ase"), ""),
        (lambda: Holder(_dftd3=("pbe", 12, 6)), "_dftd3"),
        (lambda: Holder(use_dispersion=True), "use_dispersion"),
        (lambda: Holder(parameters={"xc": "PBE", "ivdw": 12}), "ivdw"),
        (lambda: Holder(calc=Holder(vdw="d3bj")), "calc.vdw"),
        (lambda: Holder(d3=1.0), "d3"),
        (lambda: Holder(add_d3=object()), "add_d3"),
        (lambda: Holder(dispersion=np.ones(3)), "dispersion"),
        (lambda: Holder(disp="bj"), "disp"),
        (lambda: Holder(has_dispersion=np.True_), "has_dispersion"),
        (lambda: Holder(parameters={"xc": "PBE", "luse_vdw": True}), "luse_vdw"),
        (lambda: Holder(parameters={"input_data": {"system": {"vdw_corr": "grimme-d3"}}}), "vdw_corr"),
        (lambda: Holder(parameters={"xc": "optB88-vdW"}), "xc"),
        (lambda: Holder(xc="pbe-d3bj"), "xc"),
        (lambda: Holder(calc=Holder(functional="r2SCAN-3c")), "calc.functional"),
        (lambda: Holder(method="GFN1-xTB"), "method"),
        (lambda: Holder(kept=Kept(d4())), "kept._Kept__inner"),
        (lambda: Holder(make=partial(print, d4())), "make.args[0]"),
        (lambda: Holder(make=partial(print, inner=d4())), "make.keywords['inner']"),
        (lambda: Holder(models=OrderedDict(b=d4())), "models['b']"),
        (lambda: Holder(models=defaultdict(list, b=[d4()])), "models['b'][0]"),
        (lambda: Holder(models=deque([Model(), d4()])), "models[1]"),
        (lambda: Holder(ask=d4().get_potential_energy), "ask.__self__"),
        (lambda: from_package("tblite.ase"), ""),
        (lambda: from_package("xtb.ase.calculator"), ""),
    ],
)
def test_dispersion_is_found_wherever_it_is(calculator, place):
    found = dispersion(parts(calculator()))
    assert found is not None
    assert place is None or found.place == place


@pytest.mark.parametrize(
    "calculator",
    [
        Model,
        looped,
        lambda: SumCalculator([EMT(), Model()]),
        lambda: Holder(dispersion=None, dftd3=False, vdw="none", d3=[], disp=0.0),
        lambda: Holder(xc="PBE", method="spline-2d", functional="wB97M", kept=Kept(Model()), make=partial(print, 3)),
        lambda: Holder(model=torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1), torch.nn.BatchNorm3d(1))),
        lambda: Holder(names=["DFTD3"], note="without dispersion", table=np.zeros(3), kind=TorchDFTD4Calculator),
        lambda: from_package("_mlff_probes_py_0d3d4e5f6a7b"),
    ],
)
def test_nothing_else_is_taken_for_dispersion(calculator):
    assert dispersion(parts(calculator())) is None


@pytest.mark.parametrize(
    ("name", "adds"),
    [
        ("SevenNetD3Calculator", True), ("D3Calculator", True), ("MACED4", True), ("PBED3BJ", True),
        ("DFTD3", True), ("DFT_D2", True), ("VdWCorrection", True), ("vdWTkatchenko09prl", True),
        ("DispersionModel", True), ("MBDCalculator", True), ("Conv3d", False), ("GatedConv3D", False),
        ("SO3Convolution", False), ("Embedding", False), ("M3GNet", False), ("ThreeDInteraction", False),
        ("NEP89", False), ("LD34", False), ("Uma_D3bj", True), ("D3zero", True), ("MBDrsSCS", True), ("XTB", True),
        ("TBLite", True), ("NextBlock", False), ("D3bject", False), ("LambdaLR", False), ("MyXDM", True),
        ("PBE-D3(BJ)", True), ("pbe_d2", True), ("PBE D4", True), ("BLYP-D3atm", True), ("PBE+MBD@rsSCS", True),
        ("PBE+TS", True), ("B97M-rV", True), ("PBE-dDsC", True), ("wB97XD", True), ("wB97X-D", True), ("B97D", True),
        ("PBE+D", True), ("BLYP-NL", True), ("wB97M", False), ("B97", False), ("B97-1", False), ("PBE+U", False),
        ("revpbe-xdm", True), ("HSE06-TS", True), ("wB97M-V", True), ("PBEh-3c", True), ("gfnff", True),
        ("rev-vdw-df2", True), ("r2SCAN", False), ("wB97M", False), ("SCAN-2d", False), ("PBE/d30", False),
    ],
)  # fmt: skip
def test_the_names_of_classes_and_levels(name, adds):
    assert has_dispersion(name) == adds


def test_a_crowd_is_looked_at_up_to_a_number():
    crowd = Holder(many=[[Slotted(None) for _ in range(150)] for _ in range(150)])
    assert len(parts(crowd)) == MOST_PARTS


def test_each_part_once():
    found = parts(looped())
    assert [type(part.found).__name__ for part in found] == ["Holder", "Model"]


def test_the_level_of_theory_is_that_of_the_parts_where_they_agree():
    assert level_of_theory(parts(Model())) == "r2SCAN"
    assert level_of_theory(parts(SumCalculator([Model(), EMT()]))) == "r2SCAN"
    other = Model()
    other.level_of_theory = "PBE"
    assert level_of_theory(parts(SumCalculator([Model(), other]))) is None
    assert level_of_theory(parts(Holder(calc=other, level_of_theory="PBE+U"))) == "PBE+U"


FACTORY = """
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator

class Model(LennardJones):
    level_of_theory = "PBE"
    elements = ["Cu"]

class SimpleD3(LennardJones):
    pass

class Said(Model):
    level_of_theory = "PBE-D3(BJ)"

def summed():
    return SumCalculator([SumCalculator([Model(), SimpleD3()])])

def said():
    return SumCalculator([Said(), SimpleD3()])
"""


def test_the_level_of_theory_of_a_calculator_with_dispersion_in_it(tmp_path):
    (tmp_path / "calc.py").write_text(FACTORY)
    identity = load_calculator(f"py:{tmp_path}/calc.py:summed").identity
    assert identity.level_of_theory == "PBE with dispersion"
    assert identity.dispersion == "SimpleD3 (mixer.calcs[0].mixer.calcs[1])"
    stated = load_calculator(f"py:{tmp_path}/calc.py:summed,level=PBE").identity
    assert (stated.level_of_theory, stated.dispersion) == ("PBE", None)
    own = load_calculator(f"py:{tmp_path}/calc.py:said").identity
    assert (own.level_of_theory, own.dispersion) == ("PBE+D3(BJ)", None)


TERSOFF = TersoffParameters(*[1.0] * 14)


@pytest.mark.parametrize(
    ("calculator", "elements"),
    [
        (lambda: Holder(implemented_elements=["Te", "Sb"]), ("Te", "Sb")),
        (lambda: Holder(supported_species={"Te"}), ("Te",)),
        (lambda: Holder(species=np.array([51, 52])), ("Sb", "Te")),
        (lambda: Holder(type_map={52: 0, 51: 1}), ("Te", "Sb")),
        (lambda: Holder(type_map={52: 1, 51: 2}), ("Te", "Sb")),
        (lambda: Holder(type_map={0: 52, 1: 51}), ("Te", "Sb")),
        (lambda: Holder(type_dict={"Te": 0, "Sb": 1}), ("Te", "Sb")),
        (lambda: Holder(type_map={0: "Te", 1: "Sb"}), ("Te", "Sb")),
        (lambda: Holder(parameters={"atom_types": {"Cu": 1, "Zr": 2}}), ("Cu", "Zr")),
        (lambda: Holder(parameters={"specorder": ["Cu", "Zr"]}), ("Cu", "Zr")),
        (lambda: Holder(calc=Holder(models=[Holder(atomic_numbers=torch.tensor([6, 8]))])), ("C", "O")),
        (lambda: Holder(z_table=type("Table", (), {"zs": [24, 52]})()), ("Cr", "Te")),
        (lambda: Tersoff({("Si", "Si", "Si"): TERSOFF, ("Si", "C", "C"): TERSOFF}), ("Si", "C")),
        (lambda: SumCalculator([Holder(species=["Te", "Cr", "Sb"]), EMT(), Model()]), None),
        (lambda: SumCalculator([Holder(species=["Te", "Cr", "Cu"]), EMT(), Model()]), ("Cu",)),
        (lambda: Holder(symbols=["Te", "Sb", "Te"]), None),
        (lambda: Holder(symbols="CO"), None),
        (lambda: Holder(symbols=["Te"]), None),
        (lambda: Holder(symbols="Te"), None),
        (lambda: Holder(symbols=Atoms("CO").symbols), None),
        (lambda: Holder(elements="Te Sb"), ("Te", "Sb")),
        (lambda: Holder(parameters={"species": "Te, Sb"}), ("Te", "Sb")),
        (lambda: Holder(species="H He"), ("H", "He")),
        (lambda: Holder(elements="all but Te"), None),
        (lambda: Holder(atom_types=[1, 2]), None),
        (lambda: Holder(species=torch.tensor([1, 2, 3])), None),
        (lambda: Holder(type_map={1: 1, 2: 2}), None),
        (lambda: Holder(parameters={"type_map": [3, 2, 1]}), None),
        (lambda: Holder(atom_types=[1, 2], elements=["Te", "Sb"]), ("Te", "Sb")),
        (lambda: Holder(species=[1, 6, 8]), ("H", "C", "O")),
        (lambda: Holder(atomic_numbers=[1, 2]), ("H", "He")),
        (lambda: Holder(parameters={"K": 1.0}), None),
        (lambda: Holder(parameters={"K": {"epsilon": 1.0}}), ("K",)),
        (lambda: Holder(parameters={"Te": 1.0, "Sb": 2.0}), ("Te", "Sb")),
        (lambda: Holder(species=["A", "B"]), None),
        (lambda: Holder(atomic_numbers=[]), None),
        (lambda: Holder(atomic_numbers=[0, 200]), None),
        (Model, None),
    ],
)
def test_elements_are_read_in_all_ways_in_which_calculators_say_them(calculator, elements):
    made = calculator()
    none_in_common = isinstance(made, SumCalculator) and elements is None
    assert elements_of(made, parts(made)) == (() if none_in_common else elements)


def test_emt_says_its_elements_whoever_makes_it(tmp_path):
    (tmp_path / "calc.py").write_text("from ase.calculators.emt import EMT\n\n\nclass Mine(EMT):\n    pass\n")
    made = load_calculator(f"py:{tmp_path}/calc.py:Mine").identity.elements
    assert made == load_calculator("ase:EMT").identity.elements
    assert {"Cu", "Al"} < set(made)


def test_a_potential_file_of_ase_says_its_elements(tmp_path):
    """Else its calculator raises for all others: errors where nothing is applicable."""
    table = " ".join(["0.0"] * 10)
    (tmp_path / "ni.eam.alloy").write_text(
        f"a\nb\nc\n1 Ni\n10 0.1 10 0.5 4.5\n28 58.7 3.5 fcc\n{table}\n{table}\n{table}\n"
    )
    calculator = load_calculator(f"ase:EAM,potential={tmp_path}/ni.eam.alloy")
    assert calculator.identity.elements == ("Ni",)
    assert calculator.unknown_elements(frozenset({"Ni", "Te"})) == ["Te"]
    assert set(calculator.identity.files) == {"potential"}


@pytest.mark.parametrize(
    ("networks", "found"),
    [
        ([torch.float32], "float32"),
        ([torch.float64, torch.float64], "float64"),
        ([torch.float32, torch.float64], None),
        ([torch.bfloat16], "bfloat16"),
        ([], None),
    ],
)
def test_the_precision_of_networks(networks, found):
    made = Holder(models=[torch.nn.Sequential(torch.nn.Linear(2, 1, dtype=kind)) for kind in networks])
    assert precision(parts(made)) == found


def test_the_packages_of_all_classes(monkeypatch):
    with mace_sandbox("float64", seed=0):
        from mace.modules.radial import ZBLBasis

    inside = type("Own", (ZBLBasis,), {"__module__": "somewhere"})()
    assert packages_of(parts(Holder(model=torch.nn.Sequential(inside)))) == ("ase", "mace-torch", "torch")
    monkeypatch.setitem(sys.modules, "no_such_package", ModuleType("no_such_package"))
    assert packages_of(parts(from_package("no_such_package.inside"))) == ("ase",)
