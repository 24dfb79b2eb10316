"""The physical laws themselves: what they find, what they leave open, and what they say does not apply."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations_with_replacement

import faults
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from ase.data import chemical_symbols
from fault_table import EXAMPLES
from faults import load
from sound import CUTOFF_A, ELEMENTS, NoStress, Sound

from mlff_probes.calculators.base import Calculator, as_calculator
from mlff_probes.cases.load import load_cases
from mlff_probes.core.case import Case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.records import NOT_STATED, Measurement
from mlff_probes.measure import BY_KIND
from mlff_probes.measure.laws import tried
from mlff_probes.measure.laws.derivatives import FORCE, STEPS, extrapolated, resolved
from mlff_probes.measure.laws.examples import Worst
from mlff_probes.measure.laws.tried import tried_structures
from mlff_probes.measure.laws.wall import DISTANCES, _pairs, wall_height
from mlff_probes.measure.measurement import measure_case
from mlff_probes.methods.random_structures import LEFT, OUTSIDE, SKEWED, UNUSUAL, WIRE, drawn, unusual
from mlff_probes.session.suite import Suite

STEPS_A = FORCE.largest_step * STEPS["float64"]
AT = np.array([-1.0, 1.0]) * STEPS_A[:, None]
CRYSTALS = (bulk("Cu", a=3.6), bulk("Al", a=4.05, cubic=True))
DIMER = Atoms("CuAl", [[0, 0, 0], [2.5, 0, 0]])
PACKAGE = {case.protocol.kind: case for case in load_cases([DIRECTORY]) if case.family == "physicality"}


def law(kind: str, *frames: Atoms, random_structures: bool = False, examples: int = 4) -> Case:
    """The package's case of a law, on given structures or on random ones."""
    protocol = BY_KIND[kind].protocol(kind=kind, random_structures=random_structures, examples=examples)
    return replace(PACKAGE[kind], protocol=protocol, frames=frames)


def measured(calculator: Calculator, kind: str, *frames: Atoms, **options) -> Measurement:
    found = measure_case(calculator, law(kind, *frames, **options))
    assert found.problem is None, found.problem
    return found


def states(found: Measurement) -> dict[str, str]:
    return {name: value.problem.state if value.problem else "measured" for name, value in found.values.items()}


def plain(model: Sound, **identity) -> Calculator:
    """A bare ASE calculator, as a user hands it over."""
    calculator = as_calculator(model)
    return replace(calculator, identity=calculator.identity.model_copy(update={"elements": ELEMENTS, **identity}))


# Derivatives


@pytest.mark.parametrize(
    ("curve", "slope"),
    [
        (lambda x: np.exp(3 * x), 3.0),
        (lambda x: np.sin(20 * x), 20.0),
        (lambda x: 1e4 + 7 * x, 7.0),
        (lambda x: -2 * x + 30 * x**3 - 400 * x**5, -2.0),
    ],
)
def test_a_smooth_curve_is_differentiated_finely(curve, slope):
    found = extrapolated(STEPS_A, curve(AT))
    assert found.value == pytest.approx(slope, abs=1e-6)
    assert found.uncertainty < 5e-3 * abs(slope)


@pytest.mark.parametrize("kink", [3e-4, 1e-3, 3e-3, 1e-2])
def test_a_kink_beside_the_structure_is_within_the_uncertainty(kink):
    found = extrapolated(STEPS_A, np.abs(AT - kink) + AT**2)
    assert abs(found.value + 1) <= found.uncertainty + 1e-9


@pytest.mark.parametrize("rough", [1e-7, 1e-5, 1e-3])
def test_noise_is_within_the_uncertainty(rough):
    rng = np.random.default_rng(0)
    beyond = []
    for _ in range(1000):
        a, b, c = rng.normal(size=3) * [1, 5, 20]
        found = extrapolated(STEPS_A, a * AT + b * AT**2 + c * AT**3 + rough * rng.normal(size=AT.shape))
        beyond.append(abs(found.value - a) - found.uncertainty)
    assert np.quantile(beyond, 0.98) < 0
    assert max(beyond) < 5 * rough / STEPS_A[2]


def test_energies_too_coarse_for_a_derivative_are_unresolved():
    energies = (1e6 + AT).astype(np.float32).astype(float)
    assert resolved(FORCE, STEPS_A, energies, scale=1e3, dtype="float32") is None
    assert resolved(FORCE, STEPS_A, AT, scale=1e3, dtype="float32").value == pytest.approx(1e3)


class WholeAtoms(Sound):
    """Energies of whole atoms, in float32."""

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        return results | {"energy": float(np.float32(results["energy"] - 1e6 * len(atoms)))}


def test_float32_energies_of_a_million_ev_leave_the_derivatives_unresolved():
    found = measured(load(WholeAtoms, dtype="float32"), "derivatives", *CRYSTALS)
    assert states(found) == {"force_consistency": "error", "stress_consistency": "error"}
    assert "unresolved: the derivative of 4 of 4 energies" in found.values["force_consistency"].problem.reason
    assert found.diagnostics["unresolved"] == {"force_consistency": 4, "stress_consistency": 4}


class HalfAsNoisy(faults.Noise):
    """So that some derivatives are known and others are not."""

    strength = faults.Noise.strength / 2


def test_a_law_that_is_unresolved_in_part_has_no_worst_example():
    found = measured(load(HalfAsNoisy), "derivatives", random_structures=True, examples=12)
    assert 3 < found.diagnostics["unresolved"]["force_consistency"] <= 12
    assert states(found)["force_consistency"] == "error"
    assert "force_consistency" not in found.diagnostics["worst"]


def test_energies_of_a_million_ev_are_no_broken_symmetry():
    found = measured(load(WholeAtoms, dtype="float32"), "symmetry", *CRYSTALS)
    assert found.values["extensivity_energy"].value < 0.1


# Smoothness


@pytest.mark.parametrize(
    ("kind", "quantity", "height"),
    [
        (faults.EnergyJump, "energy_jump", faults.EnergyJump.jump),
        (faults.ForceJump, "force_jump", faults.ForceJump.slope),
    ],
)
def test_a_planted_jump_is_found_at_its_place_and_height(kind, quantity, height):
    found = measured(load(kind), "smoothness", random_structures=True, examples=8)
    # two equal pairs of atoms cross the cutoff at once, at nearly a right angle to what separates them
    assert found.values[quantity].value == pytest.approx(2 * height * 1e3, rel=0.1)
    other = {"energy_jump": "force_jump", "force_jump": "energy_jump"}[quantity]
    assert found.values[other].value < 1e-3
    place = float(re.search(r"at ([\d.]+) A", found.values[quantity].note)[1])
    assert CUTOFF_A - 1.0 < place < CUTOFF_A + 1e-3  # along x, while the pairs that cross lie askew


def test_the_worst_line_shows_the_pair_at_the_cutoff(tmp_path):
    import ase.io

    found = measured(load(faults.EnergyJump), "smoothness", random_structures=True, examples=8)
    (tmp_path / "worst.extxyz").write_text(found.diagnostics["worst"]["energy_jump"]["extxyz"])
    outside, before, after, inside = (
        frame.get_all_distances(mic=True) for frame in ase.io.read(tmp_path / "worst.extxyz", ":")
    )
    crossing = (before < CUTOFF_A) != (after < CUTOFF_A)
    assert crossing.any()
    np.testing.assert_allclose(before[crossing], CUTOFF_A, atol=1e-4)
    assert not ((outside < CUTOFF_A) != (before < CUTOFF_A)).any()
    assert not ((after < CUTOFF_A) != (inside < CUTOFF_A)).any()


def test_forces_that_are_no_derivative_are_no_jump():
    found = measured(load(faults.ForceUnit), "smoothness", random_structures=True, examples=8)
    assert found.values["energy_jump"].value < 1e-3


# The wall

LJ = [4 * 0.01 * ((0.4 / x) ** 12 - (0.4 / x) ** 6) for x in DISTANCES]


@pytest.mark.parametrize(
    ("energies", "height"),
    [
        ([-8.0, -9.5, -9.0, -4.0, 12.0, 60.0, 200.0, 900.0], 909.5),  # as of N2, whose bond is at 0.77
        ([-1.0, -1.2, -0.5, 1.5, -5.0, -50.0, -90.0, -99.0], 2.7),  # over a low barrier into a hole
        ([-1.0, -1.2, -0.5, 9.0, -5.0, -50.0, -90.0, -99.0], 10.2),  # over a high one
        ([-1.0, -1.2, -0.5, 0.0, -1.5, 7.0, 90.0, 99.0], 100.2),  # a dent is no hole
        ([-1.0, -2.0, -3.0, -4.0, -6.0, -10.0, -20.0, -50.0], 0.0),  # down and down
        ([-1.0, -9.0, -30.0, -99.0, -200.0, -300.0, -400.0, -500.0], 0.0),  # and steeply: the way out is no wall
        ([0.0, -0.3, -241.0, -565.0, -900.0, 20.0, 90.0, 99.0], 0.0),  # too deep for a well
        ([4.5, 4.6, 4.6, 0.0, -71.8, 11.2, 26.1, 25.3], 0.0),  # behind a well that is not
        ([0.0] * 8, 0.0),
        ([0.1, 0.4, 1.0, 2.0, 3.0, 4.0, 4.5, 4.6], 4.5),  # a wall too low
        ([-3.0, -2.0, 1.0, 9.0, 30.0, 90.0, np.nan, np.nan], 93.0),  # not pressed farther
    ],
)
def test_height_of_a_wall(energies, height):
    assert wall_height(np.array(energies)) == pytest.approx(height)


def test_small_atoms_have_their_wall_farther_in():
    """Lennard-Jones with a minimum at 0.45 of the covalent radii: seen only at the shortest distances."""
    assert wall_height(np.array([*LJ[:6], np.nan, np.nan])) < 1
    assert wall_height(np.array(LJ)) > 5


def test_a_pair_without_a_wall_is_named():
    found = measured(load(faults.AttractiveCore), "short_range_wall", *CRYSTALS, random_structures=True, examples=15)
    assert found.values["wall_deficit"].value > 1
    lacking = np.count_nonzero(found.arrays["wall_deficit"])
    assert 0 < lacking < 15
    said = rf"worst of 15 pairs \({lacking} of 15 have a wall of less than 5 eV\): \w\w-\w\w, with a wall of"
    assert re.match(said, found.values["wall_deficit"].note)
    assert found.values["wall_deficit"].samples is None


def test_pairs_beyond_those_that_are_wanted_are_counted():
    found = measured(load(), "short_range_wall", *CRYSTALS, random_structures=True, examples=9).values["wall_deficit"]
    assert "have a wall of less" not in found.note
    assert str(found.samples) == "9 of 15 pairs; 6 not among those that the case asks for"


def test_no_more_pairs_than_are_wanted_those_of_the_case_first():
    found = measured(load(), "short_range_wall", *CRYSTALS, random_structures=True, examples=9)
    pairs = {tuple(name.split("-")) for name in found.arrays["pair"]}
    own = {symbol for frame in CRYSTALS for symbol in frame.symbols}
    assert len(pairs) == 9
    assert pairs >= {tuple(sorted(pair)) for pair in combinations_with_replacement(own, 2)}
    assert pairs >= {(symbol, symbol) for symbol in load().identity.elements}
    assert found.values["wall_deficit"].value == 0


def test_pairs_beyond_those_of_the_case_are_spread_over_the_table():
    elements = sorted(chemical_symbols[1:40])
    others = [pair for pair in _pairs(elements, [], 100) if pair[0] != pair[1]]
    assert len({pair[0] for pair in others}) > 20


# What does not apply


def test_a_calculator_without_forces():
    model = replace(load(), properties=frozenset({"energy", "stress"}))
    for kind in EXAMPLES:
        for name, state in states(measured(model, kind, *CRYSTALS)).items():
            needs = name.endswith("_force") or name in ("force_consistency", "force_jump", "energy_jump")
            assert (name, state) == (name, "not applicable" if needs else "measured")


@pytest.mark.parametrize(
    "model", [replace(load(), properties=frozenset({"energy", "forces"})), replace(load(NoStress), properties=None)]
)
def test_a_calculator_without_stress(model):
    found = measured(model, "derivatives", *CRYSTALS)
    assert states(found) == {"force_consistency": "measured", "stress_consistency": "not applicable"}
    assert found.values["force_consistency"].value < 1e-3


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_calculator_that_names_no_elements_is_tried_on_the_structures_given(kind):
    model = plain(Sound(), elements=None, level_of_theory="PBE")
    found = measured(model, kind, *CRYSTALS, random_structures=True)
    assert "measured" in states(found).values()
    assert "error" not in states(found).values()
    assert (
        "there is nothing to try it on"
        in next(iter(measured(model, kind, random_structures=True).values.values())).problem.reason
    )


@pytest.mark.parametrize("kind", EXAMPLES)
def test_structures_with_an_unknown_element_are_left_out(kind):
    """The sound calculator has no numbers for silicon."""
    found = measured(load(), kind, bulk("Si"), *CRYSTALS, random_structures=True)
    assert set(states(found).values()) == {"measured"}
    assert "Si" not in str(found.diagnostics["worst"])


@pytest.mark.parametrize("kind", ["symmetry", "derivatives", "smoothness", "reproducibility"])
def test_molecules_given_by_a_user(kind):
    cluster = Atoms("Cu4", 1.6 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(2))
    found = measured(load(), kind, cluster, molecule("H2O"))
    needs_a_lattice = ("equivalent_cell", "extensivity", "stress")
    for name, value in found.values.items():
        if name.startswith(needs_a_lattice):
            assert value.problem.state == "not applicable"
            assert "periodic" in value.problem.reason
        else:
            assert value.value < (1.0 if name.startswith("float32") else 1e-3)


def slab_of_copper(*pbc: bool) -> Atoms:
    slab = bulk("Cu", a=3.6, cubic=True)
    slab.pbc = pbc
    return slab


def test_a_molecule_has_no_lattice_to_rewrite():
    found = measured(load(), "symmetry", Atoms("Cu2", [[0, 0, 0], [2.3, 0, 0]]))
    assert states(found)["equivalent_cell_energy"] == states(found)["extensivity_energy"] == "not applicable"
    assert found.values["translation_energy"].value < 1e-6


@pytest.mark.parametrize(
    ("kind", "pbc", "broken"),
    [
        (Sound, (True, True, False), set()),
        (Sound, (False, True, False), set()),
        (faults.SlabStress, (True, True, False), {"stress_consistency"}),
        (faults.SlabStress, (False, True, False), {"stress_consistency"}),
        (faults.AlwaysPeriodic, (True, False, True), {"equivalent_cell_energy", "equivalent_cell_force"}),
    ],
)
def test_slabs_and_wires_are_tried_along_their_periodic_directions(kind, pbc, broken):
    slab = slab_of_copper(*pbc)
    found = measured(load(kind), "symmetry", slab).values | measured(load(kind), "derivatives", slab).values
    assert all(value.problem is None for value in found.values())
    assert {name for name, value in found.items() if value.value > 0.01} == broken


@pytest.mark.parametrize("vectors", [(1, 0, 2), (0, 2, 1)])
@pytest.mark.parametrize("kind", [faults.LeftHandedStress, faults.LeftHandedZero])
def test_a_given_left_handed_cell_shows_what_is_wrong_in_it(kind, vectors):
    frame = bulk("Cu", a=3.7, cubic=True)
    frame.rattle(0.1, seed=2)
    frame.set_cell(frame.cell.array[list(vectors)])
    found = measured(load(kind), "derivatives", frame)
    assert found.values["stress_consistency"].value > 0.1
    assert "left-handed cell" in found.values["stress_consistency"].note


@pytest.mark.parametrize(
    ("refuses", "reasons"),
    [
        (lambda atoms: np.linalg.det(atoms.cell.array) < 0, {"left-handed cell"}),
        (lambda atoms: not atoms.pbc.all(), {"periodic in 2 directions", "periodic in 1 direction"}),
    ],
    ids=["left-handed", "partly periodic"],
)
@pytest.mark.parametrize("kind", ["derivatives", "reproducibility", "symmetry", "smoothness"])
def test_what_a_model_refuses_is_left_out_and_counted(kind, refuses, reasons):
    model = type("Refusing", (RightHanded,), {"refuses": staticmethod(refuses)})
    found = measured(load(model), kind, *CRYSTALS, random_structures=True, examples=16)
    assert "error" not in states(found).values()
    samples = next(value.samples for value in found.values.values() if value.samples)
    assert 0 < samples.used < samples.of
    assert all(any(reason in said for reason in reasons) for said in samples.left_out)


@pytest.mark.parametrize(("kind", "ordinary"), [(faults.LeftHandedStress, True), (faults.StressSign, False)])
def test_what_is_wrong_in_unusual_cells_alone_is_told_apart(kind, ordinary):
    found = measured(load(kind), "derivatives", *CRYSTALS, random_structures=True, examples=16)
    said = re.search(r"at most (\S+) GPa in right-handed cells", found.values["stress_consistency"].note)
    assert said is None or (float(said[1]) < 1e-4) == ordinary
    assert ordinary == (said is not None and float(said[1]) < 1e-4)


def test_a_model_that_refuses_all_that_is_given_is_an_error():
    refusing = type("Refusing", (RightHanded,), {"refuses": staticmethod(lambda atoms: not atoms.pbc.all())})
    found = measure_case(load(refusing), law("derivatives", slab_of_copper(True, True, False)))
    assert found.problem.state == "error"
    assert "such a cell is not supported" in found.problem.reason


def test_structures_of_unknown_elements_are_counted():
    model = plain(Sound(), elements=("Cu",))
    samples = measured(model, "derivatives", *CRYSTALS).values["force_consistency"].samples
    assert (samples.used, samples.left_out) == (4, {"given structures of unknown elements": 1})


# The precision


def test_a_model_that_computes_in_float32_and_does_not_say_so_is_judged_as_such():
    case = law("symmetry", *CRYSTALS)
    for model, tolerance in (
        (plain(Sound("float32"), dtype=NOT_STATED), 0.1),
        (plain(Sound(), dtype=NOT_STATED), 1e-4),
    ):
        suite = Suite([model], [case])
        results = [suite.result(request) for request in suite.requests("symmetry")]
        assert {row.expectation.tolerance.value for row in results if row.quantity.endswith("energy")} == {tolerance}
        assert {row.verdict.state for row in results} == {"passed"}


class InFloat32(Sound):
    """Computes in float32 whatever it is asked for, and hands its numbers out in the units of another code."""

    unit = 4.184

    def __init__(self, dtype="float64"):
        super().__init__("float32")

    def evaluated(self, atoms):
        return {name: np.asarray(value, float) / self.unit for name, value in super().evaluated(atoms).items()}


def test_a_model_that_says_float64_and_computes_in_float32_is_an_error_an_honest_one_is_not():
    comparison = {"float32_energy", "float32_force"}
    for calculator in (load(InFloat32), plain(InFloat32(), dtype="float64")):  # the second cannot be had in float32
        found = measured(calculator, "reproducibility", *CRYSTALS)
        assert comparison <= {name for name, state in states(found).items() if state == "error"}
        assert "its forces stay the same in all digits" in found.values["float32_force"].problem.reason
    honest = measured(load(InFloat32, dtype="float32"), "reproducibility", *CRYSTALS)
    assert {states(honest)[name] for name in comparison} == {"not applicable"}
    assert "computed_in" not in honest.diagnostics


# What they are tried on


def tried_on(number: int, *frames: Atoms, random_structures: bool) -> list[Atoms]:
    case = law("derivatives", *frames, random_structures=random_structures)
    found = tried_structures(load(), case, Worst({}))
    assert found is not None
    return found.examples(number, lambda structures: structures, lambda atoms: atoms)


@pytest.mark.parametrize("number", [6, 7, 13])
@pytest.mark.parametrize("frames", [(), CRYSTALS, (DIMER,)], ids=["random alone", "crystals", "a molecule"])
def test_every_unusual_kind_is_among_a_few(frames, number):
    found = tried_on(number, *frames, random_structures=True)
    assert len(found) == number
    assert set().union(*map(unusual, found)) == set(UNUSUAL)


def test_of_fewer_examples_than_kinds_the_first_stays_and_the_rarest_are_there():
    found = tried_on(3, *CRYSTALS, random_structures=True)
    assert found[0] == tried_on(1, *CRYSTALS, random_structures=True)[0]
    assert {SKEWED, WIRE} <= unusual(found[1]) | unusual(found[2])


def test_given_structures_alone_are_written_in_all_ways_that_they_can_be():
    found = tried_on(4, *CRYSTALS, random_structures=False)
    assert set().union(*map(unusual, found)) == {SKEWED, LEFT, OUTSIDE}
    assert {tuple(set(atoms.symbols)) for atoms in found} <= {("Cu",), ("Al",)}
    assert all(not unusual(atoms) for atoms in tried_on(8, DIMER, random_structures=False))


# Reproducibility


def test_what_cannot_be_loaded_again_is_not_applicable():
    found = states(measured(plain(Sound()), "reproducibility", *CRYSTALS))
    missing = {name for name, state in found.items() if state == "not applicable"}
    assert missing == {f"{what}_{of}" for what in ("first_call", "batch", "float32") for of in ("energy", "force")}


def test_a_calculator_that_keeps_its_results_is_evaluated_again():
    """ASE calculators return what they hold if the same structure comes twice in a row."""
    model = faults.Noise()
    atoms = CRYSTALS[0].copy()
    atoms.calc = model
    assert atoms.get_potential_energy() == atoms.get_potential_energy()
    for examples in (1, 2, 5):
        found = measured(plain(faults.Noise()), "reproducibility", *CRYSTALS, examples=examples)
        assert all(deviation > 0 for deviation in found.arrays["repeat_energy"] + found.arrays["history_energy"])


@pytest.mark.parametrize("kind", EXAMPLES)
def test_examples_are_the_same_in_every_run(kind):
    one, other = (measured(load(faults.Chiral), kind, *CRYSTALS, random_structures=True) for _ in range(2))
    assert one.arrays == other.arrays
    assert one.diagnostics == other.diagnostics


# What a picky user tries


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize("examples", [1, 2])
def test_as_few_examples_as_one(kind, examples):
    assert "error" not in states(measured(load(), kind, *CRYSTALS, examples=examples)).values()


def test_a_steep_smooth_curve_is_no_jump():
    smooth = plain(LennardJones(sigma=2.3, epsilon=0.2, smooth=True), elements=("H", "Cu"))
    found = measured(smooth, "smoothness", bulk("Cu", a=3.6), random_structures=True, examples=8)
    assert found.values["force_jump"].value < 0.1
    assert found.values["energy_jump"].value < 0.01


class Float32Within(Sound):
    """Numbers of float32, put together in float64."""

    implemented_properties = ("energy", "forces")

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        forces = results["forces"].astype(np.float32).astype(float)
        return {"energy": float(np.float32(results["energy"])), "forces": forces - forces.mean(axis=0)}


@pytest.mark.parametrize("properties", [{"energy", "forces"}, {"energy"}])
def test_float32_is_seen_in_the_energies_too(properties):
    model = plain(Float32Within(), dtype=NOT_STATED)
    found = measured(replace(model, properties=frozenset(properties)), "symmetry", *CRYSTALS, random_structures=True)
    assert found.diagnostics["dtype"] == "float32"


def test_a_factory_that_hands_out_one_calculator_has_no_first_call():
    model = load()
    same = replace(model, fresh=lambda **_: model)
    found = measured(same, "reproducibility", *CRYSTALS)
    assert found.values["first_call_energy"].problem.state == "not applicable"
    assert "hands out the same one again" in found.values["first_call_energy"].problem.reason


class RightHanded(Sound):
    """A calculator that refuses left-handed cells and, of late, whatever is not where it was."""

    refuses = staticmethod(lambda atoms: np.linalg.det(atoms.cell.array) < 0)

    def evaluated(self, atoms):
        if self.refuses(atoms):
            raise ValueError("such a cell is not supported")
        return super().evaluated(atoms)


class Small(RightHanded):
    refuses = staticmethod(lambda atoms: len(atoms) > 4)


def test_a_mirrored_cell_is_still_right_handed():
    assert set(states(measured(plain(RightHanded()), "symmetry", *CRYSTALS)).values()) == {"measured"}


def test_a_change_that_a_model_cannot_stand_costs_no_other():
    found = states(measured(plain(Small()), "symmetry", *CRYSTALS))
    assert {name for name, state in found.items() if state == "error"} == {"extensivity_energy", "extensivity_force"}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_without_random_structures_no_other_element_is_tried(kind):
    class Copper(Sound):
        def evaluated(self, atoms):
            assert set(atoms.symbols) == {"Cu"}, "an element that was not given"
            return super().evaluated(atoms)

    assert "error" not in states(measured(plain(Copper()), kind, CRYSTALS[0])).values()


@pytest.mark.parametrize("kind", EXAMPLES)
def test_structures_of_unknown_elements_alone_are_not_applicable(kind):
    model = plain(Sound(), elements=("Te",))
    for value in measured(model, kind, *CRYSTALS).values.values():
        assert value.problem.state == "not applicable"
        assert value.problem.reason.endswith("does not know Al, Cu")


def test_random_structures_are_drawn_once_and_handed_out_as_copies(monkeypatch):
    """The same for every calculator, and one that changes what it is given changes nobody else's."""
    asked = []
    monkeypatch.setattr(tried, "drawn", lambda *what: asked.append(what) or drawn(*what))
    case = law("symmetry", *CRYSTALS, random_structures=True)
    one, other = (tried_structures(load(kind), case, Worst({})) for kind in (Sound, faults.ForceUnit))
    mine = one.examples(3, structures_alone, structures_alone)
    numbers = [atoms.positions.copy() for atoms in mine]
    often = len(asked)
    mine[0].positions += 1.0
    theirs = other.examples(3, structures_alone, structures_alone)
    assert len(asked) == often > 0
    for atoms, positions in zip(theirs, numbers, strict=True):
        np.testing.assert_array_equal(atoms.positions, positions)
    assert len(one.examples(5, structures_alone, structures_alone)) == 5
    assert len(asked) > often


def structures_alone(structures):
    return structures
