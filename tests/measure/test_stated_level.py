"""What a model states, against what its layers feel of each other across a vacuum."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.mixing import SumCalculator
from sound import Sound

from mlff_probes.calculators.base import as_calculator
from mlff_probes.calculators.dispersion import term
from mlff_probes.core.case import Case
from mlff_probes.core.records import Value
from mlff_probes.measure.laws.protocols import StatedLevel
from mlff_probes.measure.measurement import measure_case

CASE = Case(
    id="level", family="physicality", title="t", tier="quick", frames=(), stored=None, level_of_theory="exact",
    protocol=StatedLevel(kind="stated_level", examples=2), source="exact", expectations=(), reports=("stated_level",),
)  # fmt: skip


class Times(Calculator):
    """A term of dispersion that was added so many times."""

    implemented_properties = ("energy",)

    def __init__(self, factor: float, dispersion: str = "D3(BJ)") -> None:
        super().__init__()
        self.factor, self.term = factor, term("PBE", dispersion)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": self.factor * self.term.get_potential_energy(atoms)}


def found(model: Calculator, level: str | None, elements=("Sb", "Te")) -> Value:
    calculator = as_calculator(model)
    identity = calculator.identity.model_copy(update={"level_of_theory": level, "elements": elements})
    result = measure_case(replace(calculator, identity=identity), CASE)
    assert result.problem is None, result.problem
    return result.values["stated_level"]


def with_term(factor: float = 1.0, dispersion: str = "D3(BJ)") -> Calculator:
    pytest.importorskip("dftd3")
    return SumCalculator([Sound(), Times(factor, dispersion)])


@pytest.mark.parametrize("level", ["PBE", "MP", "r2SCAN", "PBE+U"])
def test_a_model_of_neighbours_feels_nothing_as_a_functional_alone_states(level, monkeypatch):
    monkeypatch.setitem(sys.modules, "dftd3.ase", None)  # which nobody needs who feels nothing
    assert found(Sound(), level).value == 0.0


@pytest.mark.parametrize(("level", "dispersion"), [("PBE+D3(BJ)", "D3(BJ)"), ("MP+D3(0)", "D3(0)")])
def test_a_model_with_the_term_that_it_states(level, dispersion):
    assert found(with_term(dispersion=dispersion), level).value == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("level", ["PBE", "MP", "PBE+U"])
def test_a_term_that_is_not_stated(level):
    value = found(with_term(), level)
    assert value.value == pytest.approx(1.0, abs=1e-6)
    assert f"is 1 of what D3 has there; stated is {level}" in value.note


@pytest.mark.parametrize("factor", [2.0, 27.211, 0.5, -1.0])
def test_another_tail_than_the_one_stated(factor):
    assert found(with_term(factor), "PBE+D3(BJ)").value == pytest.approx(abs(factor - 1), rel=1e-4)


@pytest.mark.parametrize(
    ("level", "says", "by_nature"),
    [
        (None, "it does not state its level of theory", False),
        ("EMT", "which dispersion 'EMT' has, if any, is not known here", True),
        ("PBE+D4", "which dispersion 'PBE+D4' has, if any, is not known here", True),
        ("wB97M-V", "which dispersion 'wB97M-V' has, if any, is not known here", True),
        ("PBE with dispersion", "which dispersion 'PBE with dispersion' has", True),
        ("PBE+D3(BJ)", "it feels nothing beyond 12 A: a term within its cutoff cannot be told from none", True),
    ],
)
def test_what_cannot_be_decided_is_not_applicable(level, says, by_nature):
    problem = found(Sound(), level).problem
    assert (problem.state, problem.by_nature) == ("not applicable", by_nature)
    assert says in problem.reason


def test_a_tail_without_the_library_to_compare_it_with_is_never_green(monkeypatch):
    model = with_term()
    monkeypatch.setitem(sys.modules, "dftd3.ase", None)
    problem = found(model, "PBE").problem
    assert (problem.state, problem.by_nature) == ("not applicable", False)
    assert "'dftd3', which is not installed" in problem.reason


def test_rounding_of_large_energies_is_no_tail():
    class Coarse(Sound):
        def evaluated(self, atoms):
            results = super().evaluated(atoms)
            shifted = np.float32(results["energy"] - 50_000.0 * len(atoms) + 0.004 * (atoms.cell.lengths()[2] < 20))
            return results | {"energy": float(shifted)}

    model = as_calculator(Coarse())
    identity = model.identity.model_copy(update={"level_of_theory": "PBE", "elements": ("Te",), "dtype": "float32"})
    assert measure_case(replace(model, identity=identity), CASE).values["stated_level"].value == 0.0
