"""The spread over the members of a committee, and whether it goes with the error of their mean."""

from __future__ import annotations

from dataclasses import replace

import ase.io
import faults
import numpy as np
import pytest
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from fault_table import CASE, OWN_CASES, hop
from faults import load
from sound import Sound
from support import STORED

from mlff_probes.calculators.base import Calculator, as_calculator
from mlff_probes.calculators.committee import Committee
from mlff_probes.cases.load import load_case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.records import Value
from mlff_probes.measure.committee import with_spread
from mlff_probes.measure.measurement import measure_case
from mlff_probes.measure.migration.lattice_constant import fcc_crystal, own_lattice_constant
from mlff_probes.measure.parity.doubt import force_spread
from mlff_probes.measure.parity.measurement import parity
from mlff_probes.measure.rank_correlation import rank_correlation
from mlff_probes.measure.results import Result, missing

FRAMES = next(case for case in STORED if case.id == "sb2te3_frames")
FACTORS = np.array([0.9, 1.1])


class Shallow(Sound):
    def evaluated(self, atoms):
        return faults.scaled(super().evaluated(atoms), FACTORS[0])


class Deep(Sound):
    def evaluated(self, atoms):
        return faults.scaled(super().evaluated(atoms), FACTORS[1])


def committee() -> Calculator:
    """Two members whose mean is the sound calculator."""
    members = (load(Shallow), load(Deep))
    mean = Committee(members)
    return replace(members[0], ase=mean, batch=mean.batch, members=members)


def test_along_a_relaxed_path_the_spread_is_that_of_the_members_on_the_path_of_their_mean(tmp_path):
    folder = tmp_path / "migration"
    folder.mkdir()
    ase.io.write(folder / "hop.extxyz", hop(), format="extxyz")
    (folder / "hop.toml").write_text(
        CASE.format(title="hop", protocol=OWN_CASES["hop"])
        + '[[expectation]]\nquantity = "outcome"\nunit = "1"\nuncertainty = 0.0\nvalue = 1.0\n'
    )
    case = load_case(folder / "hop.toml")
    alone, together = (measure_case(calculator, case) for calculator in (load(), committee()))
    for name in ("barrier", "reverse_barrier", "reaction_energy"):
        value = together.values[name]
        assert value.value == pytest.approx(alone.values[name].value, abs=1e-6)
        assert value.spread == pytest.approx(abs(value.value) * FACTORS.std(ddof=1), abs=1e-6)
        assert alone.values[name].spread is None
    assert together.values["model_calls"] == alone.values["model_calls"]
    assert together.model_calls > alone.model_calls
    assert together.values["path_distance"].spread is None


class ScaledEMT(EMT):
    """EMT with other energies, or of another size: its lattice constant is that of EMT over `size`."""

    def __init__(self, factor=1.0, size=1.0):
        super().__init__()
        self.factor, self.size = factor, size

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell * self.size, scale_atoms=True)
        super().calculate(scaled, properties, system_changes)
        self.atoms = atoms.copy()
        self.results = {
            "energy": self.factor * self.results["energy"], "forces": self.factor * self.size * self.results["forces"],
        }  # fmt: skip


def committee_of(*members) -> Calculator:
    members = tuple(as_calculator(member) for member in members)
    return replace(members[0], ase=Committee(members), members=members)


def small_vacancy():
    case = load_case(DIRECTORY / "migration" / "vacancy_Cu.toml")
    protocol = case.protocol.model_copy(update={"repeats": 2})
    return replace(case, protocol=protocol, frames=protocol.built_frames())


def test_of_a_vacancy_the_spread_is_that_of_the_members_in_the_structures_of_their_mean():
    found = measure_case(committee_of(*map(ScaledEMT, FACTORS)), small_vacancy())
    for name in ("formation_energy", "barrier"):
        value = found.values[name]
        assert value.spread == pytest.approx(value.value * FACTORS.std(ddof=1), rel=1e-6)
    assert found.values["lattice_constant"].spread == pytest.approx(0, abs=1e-8)
    assert found.values["model_calls"].spread is None
    assert found.model_calls == found.values["model_calls"].value + 2 + small_vacancy().protocol.images


@pytest.mark.parametrize("sizes", [(0.995, 1.005), (0.97, 1.03)])  # within the fine samples of the mean, and beyond
def test_the_lattice_constants_of_members_are_their_own(sizes):
    protocol = small_vacancy().protocol
    own = fcc_crystal(as_calculator(ScaledEMT()), protocol, Calls()).lattice_constant
    crystal = fcc_crystal(committee_of(*(ScaledEMT(size=size) for size in sizes)), protocol, Calls())
    for number, size in enumerate(sizes):
        assert own_lattice_constant(crystal, number).value == pytest.approx(own / size, abs=2e-3)


def of_values(*numbers):
    values = [Value(value=n, unit="eV") if n is not None else missing("eV", "none") for n in numbers]
    return [Result({"barrier": value}, {}, Evaluation(np.empty(0), None)) for value in values]


@pytest.mark.parametrize(
    ("mean", "members", "spread", "caveat"),
    [
        (2.0, (1.0, 3.0), np.sqrt(2), ""),
        (2.0, (1.0, 2.0, 3.0), 1.0, ""),
        (2.0, (1.0, None, 3.0), None, "no spread: 1 of 3 members give no number by themselves"),
        (None, (1.0, 3.0), None, ""),
        (2.0, (None, None), None, ""),
    ],
)
def test_the_spread_is_the_standard_deviation_of_what_all_members_give(mean, members, spread, caveat):
    (result,) = of_values(mean)
    value = with_spread(result, of_values(*members)).values["barrier"]
    assert value.value == mean
    assert value.spread == (None if spread is None else pytest.approx(spread))
    assert value.caveat == caveat


def of_labels(*factors):
    """What models would say that are off from the labels by so much of the errors of each frame, and their mean."""
    stored, rng = FRAMES.stored, np.random.default_rng(0)
    size = np.linspace(0.1, 1.0, len(FRAMES.frames))
    members = []
    for factor in factors:
        off = [rng.normal(size=force.shape) * s * factor for force, s in zip(stored.forces, size, strict=True)]
        energies = stored.energies + rng.normal(size=len(size)) * size * factor
        members.append(Evaluation(energies, tuple(f + o for f, o in zip(stored.forces, off, strict=True))))
    forces = tuple(np.mean(each, axis=0) for each in zip(*(member.forces for member in members), strict=True))
    return Evaluation(np.mean([m.energies for m in members], axis=0), forces, members=tuple(members))


def test_a_committee_that_doubts_where_it_is_wrong_has_a_high_rank_correlation():
    values = parity(FRAMES, of_labels(1.0, 1.0, 1.0, 1.0)).values
    force, energy = values["force_spread_correlation"], values["energy_spread_correlation"]
    assert force.value > 0.8
    assert 0.1 < energy.value < 0.9  # one number a frame
    assert force.value - force.uncertainty < force.value < 1
    assert (force.samples.used, force.samples.what) == (len(FRAMES.frames), "frames")
    part = values["force_spread_correlation_of_sliding"]
    assert part.samples.of < len(FRAMES.frames)
    assert part.value > 0.7


def test_one_model_has_no_doubt():
    value = parity(FRAMES, replace(of_labels(1.0, 1.0), members=())).values["force_spread_correlation"]
    assert (value.value, value.problem.state, value.problem.by_nature) == (None, "not applicable", True)


def test_the_spread_of_forces_is_over_the_components_that_are_labels():
    members = [Evaluation(np.zeros(2), (np.full((2, 3), x), np.full((1, 3), 2 * x))) for x in (-1.0, 1.0)]
    labels = [np.array([[0.0, np.nan, 0.0], [np.nan] * 3]), np.full((1, 3), np.nan)]
    found = force_spread(members, labels)
    assert found[0] == pytest.approx(np.sqrt(2))
    assert np.isnan(found[1])


@pytest.mark.parametrize(
    ("spread", "errors", "value", "half"),
    [
        ([1, 2, 3, 4, 5], [-1, 2, -3, 4, -5], 1.0, None),  # the size of an error counts
        ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1], -1.0, None),
        ([1, 2, 3, 4, 5, 6, 7], [2, 1, 4, 3, 6, 5, 7], 0.892857, 0.35944),
        ([1, 2, 3, 4, np.nan], [1, 3, 2, 4, np.nan], 0.8, None),
    ],
)
def test_the_rank_correlation_and_its_interval(spread, errors, value, half):
    found = rank_correlation(np.array(spread, dtype=float), np.array(errors, dtype=float))
    assert found.value == pytest.approx(value, abs=1e-6)
    assert 0 < found.uncertainty < 1
    if half is not None:
        assert found.uncertainty == pytest.approx(half, abs=1e-4)
    left = int(np.isnan(errors).sum())
    assert (found.samples.used, found.samples.of) == (len(errors) - left, len(errors))


@pytest.mark.parametrize(
    ("spread", "errors", "says"),
    [
        ([1, 2, 3], [1, 2, 3], "3 frames have an error, a rank correlation needs 4"),
        ([1, 1, 1, 1], [1, 2, 3, 4], "all frames have the same spread"),
        ([1, 2, 3, 4], [2, 2, 2, 2], "or the same error"),
    ],
)
def test_what_cannot_be_ranked_has_no_number(spread, errors, says):
    found = rank_correlation(np.array(spread, dtype=float), np.array(errors, dtype=float))
    assert found.value is None
    assert found.problem.unresolved
    assert says in found.problem.reason
