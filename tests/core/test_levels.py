"""Names of levels of theory: one for each that is known, and none for two that differ."""

import pytest

from mlff_probes.calculators.families import families
from mlff_probes.cases.importers.codes import ase_results, cp2k, espresso, vasp
from mlff_probes.cases.load import ReferenceTable
from mlff_probes.core.levels import (
    DISPERSION,
    FUNCTIONALS,
    HUBBARD_ANIONS,
    HUBBARD_METALS,
    Parts,
    agree,
    level_name,
    of_structure,
    of_structures,
    parts_of,
    same_level,
)
from mlff_probes.core.records import CalculatorIdentity

SPELLINGS = {
    "PBE": ["pbe", "GGA-PBE", " gga_pbe ", "PBE (GGA)", "DFT-PBE"],
    "PBEsol": ["PBESOL", "PBE-sol", "GGA-PBEsol"],
    "revPBE": ["REVPBE", "rev-PBE"],
    "r2SCAN": ["r2scan", "R2SCAN", "r²SCAN", "r2-SCAN", "meta-GGA r2SCAN"],
    "PBE+U": ["pbe+u", "PBE-U", "PBE + U", "GGA-PBE+U"],
    "PBE+D3(BJ)": ["PBE-D3BJ", "PBE-D3(BJ)", "pbe+d3bj", "PBE D3(BJ)", "PBE/DFT-D3(BJ)", "PBE-D3-BJ", "PBE+D3 (BJ)"],
    "PBE+D3(0)": ["PBE-D3zero", "PBE-D3(0)", "pbe+d3(zero)", "PBE-D3-zero"],
    "PBE+D3": ["PBE-D3", "PBE-DFT-D3"],
    "PBE+U+D3(BJ)": ["PBE+D3(BJ)+U", "pbe-u-d3bj"],
    "r2SCAN+rVV10": ["r2scan-rvv10"],
    "wB97M-V": ["ωB97M-V", "wb97m-v"],
    "wB97M-D3(BJ)": ["ωB97M-D3BJ", "wB97M+D3(BJ)"],
    "HSE06": ["hse06", "HSE-06"],
    "MP": ["mp", "Materials Project", "MPtrj", "PBE/PBE+U", "GGA/GGA+U"],
}


@pytest.mark.parametrize(("name", "spelt"), [(name, spelt) for name, all_of in SPELLINGS.items() for spelt in all_of])
def test_a_known_level_has_one_name(name, spelt):
    assert level_name(spelt) == name
    assert same_level(spelt, name)


UNKNOWN = (
    "EMT", "Lennard-Jones", "DMC", "exact", "not stated", "to be stated", "PBE with dispersion", "PBE+D3(BJ,ATM)",
    "PBE-3c", "r2SCAN-3c", "PBE+U+U", "PBE+D2+D3(BJ)", "MP+U", "PBE1", "PBED3",
)  # fmt: skip


@pytest.mark.parametrize("level", UNKNOWN)
def test_a_level_that_is_not_known_stays_as_it_is_written(level):
    assert level_name(level) == level
    assert same_level(level, level.lower())


def test_no_two_levels_are_the_same():
    """What was not comparable before there were names must not become so: PBE and PBE+U, HSE03 and HSE06, …"""
    bases = [name for name in FUNCTIONALS if name not in ("MP", "wB97X", "wB97M")]  # wB97M+D3(BJ) is wB97M-D3(BJ)
    known = [str(Parts(f, hubbard, term)) for f in bases for hubbard in (False, True) for term in ("", *DISPERSION)]
    names = [*known, "MP", "MP+D3(BJ)", "wB97X", "wB97M", "PBE with dispersion", "HSE", "GGA", "exact"]
    assert len({level_name(name).casefold() for name in names}) == len(names)


def test_the_names_of_functionals_and_of_what_outputs_say_are_their_own():
    said = {
        *vasp.GGA.values(), *vasp.METAGGA.values(), *vasp.NONLOCAL.values(), *cp2k.FUNCTIONALS.values(),
        *espresso.FUNCTIONALS.values(), *ase_results.FUNCTIONALS.values(), *FUNCTIONALS,
    }  # fmt: skip
    terms = {*vasp.IVDW.values(), *cp2k.DISPERSION.values(), *espresso.DAMPING.values(), *DISPERSION}
    assert {name for name in said if level_name(name) != name} == set()
    assert {term for term in terms if level_name(f"PBE+{term}") != f"PBE+{term}"} == set()


def test_parts_of_a_level():
    assert parts_of("pbe-d3bj+u") == Parts("PBE", hubbard=True, dispersion="D3(BJ)")
    assert parts_of("EMT") is None


def test_whoever_states_a_level_states_its_name():
    assert ReferenceTable(level_of_theory=" pbe-d3bj ", source="s").level_of_theory == "PBE+D3(BJ)"
    identity = CalculatorIdentity(
        spec="x", label="x", family="py", level_of_theory="R2SCAN", dtype="float64", device="cpu", device_name="cpu",
        threads=1,
    )  # fmt: skip
    assert identity.level_of_theory == "r2SCAN"
    assert all(
        level_name(m.level_of_theory) == m.level_of_theory for f in families().values() for m in f.models.values()
    )


@pytest.mark.parametrize(
    ("elements", "level"),
    [
        (("Li", "Fe", "P", "O"), "PBE+U"), (("Fe", "F"), "PBE+U"), (("Mo", "S"), "PBE"), (("Cr", "Sb", "Te"), "PBE"),
        (("Ti", "O"), "PBE"), (("Cu", "O"), "PBE"), (("W",), "PBE"), (("W", "O"), "PBE+U"), ((), "PBE"),
    ],
)  # fmt: skip
def test_what_the_materials_project_computes_a_structure_with(elements, level):
    assert of_structure("MPtrj", elements) == level
    assert of_structure("MP+D3(BJ)", elements) == f"{level}+D3(BJ)"
    assert of_structure("pbe", elements) == "PBE"


def test_the_elements_with_u_are_those_of_its_input_sets():
    sets = pytest.importorskip("pymatgen.io.vasp.sets")
    of_anions = sets.MPRelaxSet.CONFIG["INCAR"]["LDAUU"]
    assert of_anions.keys() == HUBBARD_ANIONS
    assert {frozenset(of_metals) for of_metals in of_anions.values()} == {HUBBARD_METALS}


OXIDE, TELLURIDE = ("Fe", "O"), ("Cr", "Te")


@pytest.mark.parametrize(
    ("one", "other", "structures", "same"),
    [
        ("MP", "PBE", [TELLURIDE], True), ("MP", "PBE", [OXIDE], False), ("MP", "PBE+U", [OXIDE], True),
        ("MP", "PBE+U", [TELLURIDE], False), ("MP", "PBE", [OXIDE, TELLURIDE], False), ("MP", "MP", [OXIDE], True),
        ("MP", "PBE", [], False), ("MP", "MP", [], True), ("PBE", "MP", [TELLURIDE], True),
        ("MP", "r2SCAN", [OXIDE], False), ("MP", "PBE+D3(BJ)", [TELLURIDE], False),
        ("MP+D3(BJ)", "PBE+D3(BJ)", [TELLURIDE], True), ("PBE", "pbe", [], True), ("PBE", "PBE+U", [OXIDE], False),
    ],
)  # fmt: skip
def test_levels_agree_for_each_of_some_structures(one, other, structures, same):
    assert agree(one, other, structures) == same
    assert agree(other, one, structures) == same


def test_a_mixture_is_named_by_what_it_is_in_some_structures():
    assert of_structures("MP", [OXIDE, TELLURIDE, OXIDE]) == "PBE and PBE+U"
    assert of_structures("MP", []) == "MP"
