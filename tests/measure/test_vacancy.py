"""Vacancies in fcc metals: EMT against plain ASE, a set recorded from EMT, and the faults that must show."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.eos import EquationOfState
from ase.mep import NEB
from ase.optimize import BFGS
from support import CASES

from mlff_probes.calculators.base import as_calculator
from mlff_probes.calculators.registry import load_calculator
from mlff_probes.cases.load import load_case, load_cases
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.records import State
from mlff_probes.measure.measurement import measure_case
from mlff_probes.measure.migration.vacancy import _saddle_problem, other_endpoint
from mlff_probes.methods.bands.outcomes import Outcome
from mlff_probes.methods.bands.relax import BandRun
from mlff_probes.scorecard.model import RunOptions, Scorecard
from mlff_probes.scorecard.reports.figures import draw_cases
from mlff_probes.session.suite import Suite

METALS = ("Al", "Pt")
"""Those of the quick tier that EMT knows, and another."""

REPEATS = 2
"""Tests take the smallest cell: what they ask is whether the measurement is right, not how large a cell must be."""


class Wrapped(Calculator):
    """EMT, seen through `change(atoms, energy, forces)` wherever an atom is missing from the crystal."""

    implemented_properties = ("energy", "forces")

    def __init__(self, change=None, crystal=None):
        super().__init__()
        self.change, self.crystal, self.calls = change, crystal, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        copy, self.calls = atoms.copy(), self.calls + 1
        copy.calc = EMT()
        energy, forces = copy.get_potential_energy(), copy.get_forces()
        change = self.crystal if len(atoms) == 4 else self.change
        if change:
            energy, forces = change(atoms, energy, forces)
        self.results = {"energy": energy, "forces": forces}


def measured(calculator, element="Cu", **changes):
    case = load_case(DIRECTORY / "migration" / f"vacancy_{element}.toml")
    protocol = case.protocol.model_copy(update={"repeats": REPEATS, **changes})
    return measure_case(as_calculator(calculator), replace(case, protocol=protocol, frames=protocol.built_frames()))


def values(measurement):
    return {name: value.value for name, value in measurement.values.items()}


@pytest.fixture(scope="module")
def copper():
    """What EMT says of the vacancy in copper."""
    return values(measured(EMT()))


def by_plain_ase(element, repeats, guess):
    """Lattice constant, formation energy and barrier with ASE alone, both endpoints relaxed, five images."""
    a = guess
    for width in (0.04, 0.004):  # a Birch-Murnaghan fit over a wide range is off by some 1e-4 A
        scan = [bulk(element, a=a * (1 + x), cubic=True) for x in np.linspace(-width, width, 9)]
        for cell in scan:
            cell.calc = EMT()
        eos = EquationOfState([c.get_volume() for c in scan], [c.get_potential_energy() for c in scan],
                              eos="birchmurnaghan")  # fmt: skip
        a = eos.fit()[0] ** (1 / 3)
    crystal = bulk(element, a=a, cubic=True).repeat(repeats)
    crystal.calc = EMT()
    hopper = int(np.argmin(crystal.get_distances(0, range(1, len(crystal)), mic=True)) + 1)
    ends = []
    for removed in (0, hopper):
        end = crystal.copy()
        if removed == 0:
            kept = [i for i in range(len(end)) if i != 0]
            end = end[kept]
        else:  # the same atoms in the same order, the hopper on the vacant site by the shortest way
            way = crystal.get_distance(hopper, 0, mic=True, vector=True)
            end.positions[hopper] += way
            end = end[[i for i in range(len(end)) if i != 0]]
        end.calc = EMT()
        assert BFGS(end, logfile=None).run(fmax=0.002, steps=200)
        ends.append(end)
    images = [ends[0], *[ends[0].copy() for _ in range(3)], ends[1]]
    for image in images[1:-1]:
        image.calc = EMT()
    band = NEB(images, climb=True, method="improvedtangent")
    band.interpolate()
    assert BFGS(band, logfile=None).run(fmax=0.01, steps=300)
    start = ends[0].get_potential_energy()
    n = len(crystal)
    formation = start - (n - 1) / n * crystal.get_potential_energy()
    return a, formation, max(image.get_potential_energy() for image in images) - start


@pytest.mark.parametrize(("element", "guess"), [("Al", 4.0), ("Cu", 3.6)])
def test_emt_is_what_plain_ase_says(element, guess):
    a, formation, barrier = by_plain_ase(element, REPEATS, guess)
    found = values(measured(EMT(), element, fmax=0.005, vacancy_fmax=0.005))
    assert found["lattice_constant"] == pytest.approx(a, abs=1e-4)
    assert found["formation_energy"] == pytest.approx(formation, abs=1e-3)
    assert found["barrier"] == pytest.approx(barrier, abs=2e-3)
    assert found["outcome"] == 1


def test_five_images_find_the_saddle_of_three():
    three, five = (values(measured(EMT(), images=n, fmax=0.005)) for n in (3, 5))
    assert three["barrier"] == pytest.approx(five["barrier"], abs=1e-3)
    assert three["model_calls"] < five["model_calls"]


def test_the_other_endpoint_is_the_relaxed_vacancy_after_the_hop():
    protocol = load_case(DIRECTORY / "migration" / "vacancy_Cu.toml").protocol
    start = protocol.vacancy_cell(3.6)
    sites = start.positions.copy()
    start.rattle(0.02, seed=3)  # no symmetry of its own, so that a wrong partner cannot hide
    start.calc = EMT()
    hopper = int(np.linalg.norm(sites - [1.8, 1.8, 0.0], axis=1).argmin())
    end = other_endpoint(start, sites, hopper)
    energy, forces = end.get_potential_energy(), end.get_forces()
    assert np.linalg.norm(end.positions[hopper]) < 0.2
    others = [i for i in range(len(end)) if i != hopper]
    assert np.abs(end.positions - sites)[others].max() < 0.2
    end.calc = EMT()
    assert end.get_potential_energy() == pytest.approx(energy, abs=1e-8)
    np.testing.assert_allclose(end.get_forces(), forces, atol=1e-8)


def test_every_model_call_is_counted():
    calculator = Wrapped()
    found = measured(calculator)
    assert found.values["model_calls"].value == found.model_calls == calculator.calls


# A set recorded from EMT


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Some cases in the small cell, their values those of EMT."""
    target = tmp_path_factory.mktemp("recorded")
    (target / "migration").mkdir()
    for element in METALS:
        text = (DIRECTORY / "migration" / f"vacancy_{element}.toml").read_text()
        text = text.replace("[reference]", f"repeats = {REPEATS}\nmax_steps = 20\n\n[reference]")
        for name, value in values(measured(EMT(), element)).items():
            text = re.sub(rf'(quantity = "{name}"\n.*\n.*\nvalue = )[\d.]+', rf"\g<1>{value:.6f}", text)
        (target / "migration" / f"vacancy_{element}.toml").write_text(text)
    return load_cases([target])


def verdicts(calculator, cases):
    suite = Suite([as_calculator(calculator)], cases, tier="standard")
    return {(r.case, r.quantity): suite.result(r).verdict for r in suite.requests("fcc_vacancy")}


def fails(calculator, cases):
    """Quantities that are red, by state; the same for each metal."""
    found = verdicts(calculator, cases)
    each = []
    for case in {case for case, _ in found}:
        red = {q: v.state for (c, q), v in found.items() if c == case and v.state in (State.FAILED, State.ERROR)}
        each.append(red)
    assert all(red == each[0] for red in each)
    return each[0]


def reasons(calculator, cases):
    return {verdict.reason for verdict in verdicts(calculator, cases).values() if verdict.state is State.ERROR}


def test_the_recorded_set_passes(recorded):
    found = verdicts(EMT(), recorded)
    assert {verdict.state for (_, q), verdict in found.items() if q != "model_calls"} == {State.PASSED}
    assert {verdict.state for (_, q), verdict in found.items() if q == "model_calls"} == {State.REPORTED}
    assert len(found) == 5 * len(METALS)


class Softened(Wrapped):
    """The surface above the relaxed vacancy of each metal times `scale`: the same minimum, another barrier."""

    def __init__(self, scale):
        super().__init__()
        self.scale, self.lowest = scale, {}

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if len(atoms) > 4:
            lowest = self.lowest.setdefault(atoms.symbols[0], relaxed_energy(atoms))
            self.results["energy"] = lowest + self.scale * (self.results["energy"] - lowest)
            self.results["forces"] = self.scale * self.results["forces"]


def relaxed_energy(atoms: Atoms) -> float:
    copy = atoms.copy()
    copy.calc = EMT()
    BFGS(copy, logfile=None).run(fmax=0.005, steps=100)
    return copy.get_potential_energy()


def test_a_softened_barrier_fails_the_barrier_alone(recorded):
    assert fails(Softened(0.6), recorded) == {"barrier": State.FAILED}


class Stretched(Calculator):
    """EMT of the structure scaled by `factor`: another lattice constant, the same energies."""

    implemented_properties = ("energy", "forces")

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        copy = atoms.copy()
        copy.set_cell(atoms.cell * self.factor, scale_atoms=True)
        copy.calc = EMT()
        self.results = {"energy": copy.get_potential_energy(), "forces": copy.get_forces() * self.factor}


def test_a_lattice_constant_far_from_the_guess_is_still_found(copper):
    found = values(measured(Stretched(0.9)))
    assert found["lattice_constant"] == pytest.approx(copper["lattice_constant"] / 0.9, abs=1e-3)


def test_a_minimum_that_is_not_bracketed_is_an_error_and_no_value(recorded):
    falling = Wrapped(crystal=lambda atoms, energy, forces: (-0.1 * atoms.get_volume(), forces))
    assert fails(falling, recorded) == dict.fromkeys(
        ("outcome", "lattice_constant", "formation_energy", "barrier"), State.ERROR
    )
    said = reasons(falling, recorded[:1])
    assert len(said) == 1
    assert re.search(r"^not bracketed: E\(a\) still falls at \d\.\d+ A, \+18% from the", said.pop())


def test_a_flat_crystal_has_no_lattice_constant():
    flat = Wrapped(crystal=lambda atoms, energy, forces: (1.0, forces))
    assert measured(flat).diagnostics["outcome"] == "not bracketed"


def test_atoms_that_fall_into_each_other_at_the_gate_are_an_explosion(recorded):
    def hole(atoms, energy, forces):
        """Pairs closer than 0.93 nearest-neighbour distances attract each other without end."""
        distances = atoms.get_all_distances(mic=True)
        ways = atoms.get_all_distances(mic=True, vector=True)
        near = 0.93 * np.median(np.sort(distances, axis=1)[:, 1])
        depth = np.where((distances > 0) & (distances < near), near - distances, 0.0)
        units = ways / np.where(distances > 0, distances, 1.0)[..., None]
        return energy - 100 * (depth**2).sum() / 2, forces + 200 * (depth[..., None] * units).sum(axis=1)

    assert fails(Wrapped(hole), recorded) == {"outcome": State.ERROR, "barrier": State.ERROR}
    assert {reason.split(":")[0] for reason in reasons(Wrapped(hole), recorded)} <= {
        "energy spike",
        "close contact",
        "fmax divergence",
    }


def test_a_barrier_of_two_humps_has_no_saddle_in_the_middle(recorded):
    def dip(atoms, energy, forces):
        """A hollow in the way of the hopper, just where the saddle would be; its own forces are left out."""
        hopper = atoms.positions[np.linalg.norm(atoms.positions - gate(atoms), axis=1).argmin()]
        off = hopper - gate(atoms)
        hollow = np.exp(-(off @ off) / 0.3**2)
        forces = forces.copy()
        index = np.linalg.norm(atoms.positions - gate(atoms), axis=1).argmin()
        forces[index] += -0.3 * hollow * 2 * off / 0.3**2
        return energy - 0.3 * hollow, forces

    def gate(atoms):
        return atoms.cell.lengths()[0] / REPEATS * np.array([0.25, 0.25, 0.0])

    found = verdicts(Wrapped(dip), recorded[:1])
    red = {quantity: verdict for (_, quantity), verdict in found.items() if verdict.state is not State.PASSED}
    assert red.keys() == {"outcome", "barrier", "model_calls"}
    # by symmetry the image may rest in the hollow; where rounding leads it out, its band finds no rest in time
    kinds = {red[quantity].reason.split(":")[0] for quantity in ("outcome", "barrier")}
    assert kinds in ({"no saddle"}, {"unconverged"})


@pytest.mark.parametrize(
    ("good_calls", "known"),
    [(3, set()), (16, {"lattice_constant"}), (24, {"lattice_constant", "formation_energy"})],
)
def test_nan_on_the_way_leaves_what_was_measured_before_it(good_calls, known):
    class Tired(Wrapped):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            if self.calls > good_calls:
                self.results = {"energy": np.nan, "forces": np.full((len(atoms), 3), np.nan)}

    found = measured(Tired())
    assert found.diagnostics["outcome"] == "non-finite"
    assert {name for name, value in values(found).items() if value is not None} == known | {"model_calls"}
    assert "nan" in found.values["barrier"].problem.reason


def test_a_vacancy_that_does_not_relax_has_no_formation_energy():
    found = measured(EMT(), vacancy_steps=1)
    assert found.diagnostics["outcome"] == "unconverged"
    assert found.values["formation_energy"].value is None
    assert found.values["lattice_constant"].value is not None


def test_a_lattice_that_gives_way_is_lost(copper):
    def pushed(atoms, energy, forces):
        """The first atom is drawn to a place 1.2 A from its site."""
        off = atoms.positions[0] - pushed.goal
        forces = forces.copy()
        forces[0] -= 40 * off
        return energy + 20 * (off @ off), forces

    protocol = load_case(DIRECTORY / "migration" / "vacancy_Cu.toml").protocol.model_copy(update={"repeats": REPEATS})
    sites = protocol.vacancy_cell(copper["lattice_constant"]).positions
    pushed.goal = sites[0] + [0.0, 0.0, 1.2]
    assert measured(Wrapped(pushed)).diagnostics["outcome"] in ("lattice lost", "close contact")


def test_an_element_the_calculator_does_not_know_is_not_applicable():
    calculator = as_calculator(EMT())
    calculator = replace(calculator, identity=calculator.identity.model_copy(update={"elements": ("Al",)}))
    problem = measured(calculator).problem
    assert (problem.state, "does not know Cu" in problem.reason) == ("not applicable", True)


@pytest.mark.parametrize("element", ["Ca", "Pb", "Sr"])
def test_chgnet_raises_no_false_alarm(element):
    """Soft metals with few neighbours within the cutoff, so that it takes seconds; Pb has the lowest barrier of all."""
    found = measured(load_calculator("chgnet"), element)
    assert found.diagnostics["outcome"] == "converged"
    assert found.values["barrier"].value > 0
    reference = load_case(DIRECTORY / "migration" / f"vacancy_{element}.toml").expectation("lattice_constant").value
    assert found.values["lattice_constant"].value == pytest.approx(reference, abs=0.03)


# Cases without frames


def test_a_case_without_frames_shows_its_cell():
    case = load_case(DIRECTORY / "migration" / "vacancy_Al.toml")
    assert case.elements == {"Al"}
    assert case.frames[0].get_chemical_formula() == "Al107"
    assert case.stored is case.reference is None


def test_frames_beside_a_case_that_builds_its_own_are_refused(tmp_path):
    (tmp_path / "migration").mkdir()
    file = tmp_path / "migration" / "vacancy_Al.toml"
    file.write_text((DIRECTORY / "migration" / file.name).read_text())
    bulk("Al").write(file.with_suffix(".extxyz"))
    with pytest.raises(InputError, match=r"vacancy_Al\.extxyz: a case of kind 'fcc_vacancy' builds its own cells"):
        load_case(file)


@pytest.mark.parametrize("case", [c for c in CASES if c.protocol.kind == "fcc_vacancy"], ids=lambda c: c.id)
def test_the_lattice_constant_of_a_case_is_that_of_the_published_volume(case):
    text = (DIRECTORY / "migration" / f"{case.id}.toml").read_text()
    volume = float(re.search(r"V = ([\d.]+) A\^3 per atom", text)[1])
    expected = case.expectation("lattice_constant").value
    assert expected == pytest.approx((4 * volume) ** (1 / 3), abs=1e-3)
    assert case.protocol.guess_lattice_constant == expected
    assert case.material == case.protocol.element == case.id.removeprefix("vacancy_")
    assert case.expectation("formation_energy").value > 0


def test_the_figure_shows_the_crystal_and_the_band(recorded):
    suite = Suite([as_calculator(EMT())], recorded[:1])
    results = [suite.result(request) for request in suite.requests("fcc_vacancy")]
    options = RunOptions(tier="quick", strict=False, any_level_of_theory=False)
    card = Scorecard.build(calculators=[c.identity for c in suite.calculators], cases=suite.cases, results=results,
                           measurements=suite.measurements.values(), options=options, selected=len(results),
                           measured_s=1.0)  # fmt: skip
    crystal, band = draw_cases(card, card.cases).subfigs[0].axes
    measurement = card.measurements[0]
    assert list(crystal.lines[0].get_ydata()) == measurement.arrays["crystal_energy"]
    assert list(band.lines[0].get_ydata()) == measurement.arrays["energy"]
    assert crystal.lines[1].get_xdata()[0] == recorded[0].expectation("lattice_constant").value
    assert band.lines[1].get_ydata()[0] == recorded[0].expectation("barrier").value


def test_a_top_of_the_band_that_is_no_more_than_rounding_is_no_saddle():
    crystal = bulk("Al", cubic=True)
    energies = np.array([0.0, 2e-5, 0.0]) - 100.0
    found = _saddle_problem(
        as_calculator(EMT()), BandRun(Outcome("converged", "", 3), [crystal] * 3, energies), Calls()
    )
    assert (found.kind, found.reason) == ("no saddle", "no image lies above the relaxed vacancy")
