"""Parity: known errors give known numbers, by element and by origin; offsets do not count; faults are caught."""

from __future__ import annotations

from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from faults import load as load_sound
from sound import NoStress, Sound
from support import LookupCalculator
from test_lookup import FRAMES, verdicts

from mlff_probes.calculators.base import as_calculator
from mlff_probes.cases.load import load_case
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import State
from mlff_probes.measure.measurement import measure_case
from mlff_probes.measure.parity.energies import energy_errors
from mlff_probes.measure.parity.measurement import (
    DRAWN,
    WORST_DRAWN,
    drawn_atoms,
    frame_force_rmse,
    labelled_forces,
)
from mlff_probes.measure.parity.protocols import FEATURELESS
from mlff_probes.session.suite import Suite

HEAD = """schema_version = 1
title = "My test set"
tier = "quick"

[reference]
level_of_theory = "PBE"
source = "somebody"

[protocol]
kind = "parity"
"""
EXPECT = '\n[[expectation]]\nquantity = "{}"\nunit = "{}"\nuncertainty = {}\n'


def frame(symbols, x, *, energy=0.0, forces=None, **info):
    """A frame whose atoms stand in a row, the last of them moved by `x`, with its labels."""
    atoms = Atoms(symbols, cell=[20, 20, 20], pbc=True)
    atoms.positions[:, 0] = 3 * np.arange(len(atoms))
    atoms.positions[-1, 1] = x
    atoms.info.update(info)
    labels = {"energy": energy} | ({} if forces is None else {"forces": np.array(forces, dtype=float)})
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


class Answers(LookupCalculator):
    """Energy and forces of a frame by its position in the list."""

    def __init__(self, frames, energies, forces=None):
        super().__init__([])
        self.frames, self.energies, self.given = frames, energies, forces
        self.implemented_properties = ("energy",) if forces is None else ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        row = next(i for i, f in enumerate(self.frames) if np.array_equal(f.positions, atoms.positions) and
                   f.get_chemical_symbols() == atoms.get_chemical_symbols())  # fmt: skip
        self.results = {"energy": self.energies[row]}
        if self.given is not None:
            self.results["forces"] = np.array(self.given[row], dtype=float)


class SeesNothing(LookupCalculator):
    """One energy for whatever structure, and no forces."""

    implemented_properties = ("energy", "forces")

    def __init__(self):
        super().__init__([])

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        self.results = {"energy": -1.0, "forces": np.zeros((len(atoms), 3))}


def write_case(folder, frames, *, extra="", expect=None):
    (folder / "parity").mkdir(exist_ok=True)
    ase.io.write(folder / "parity" / "mine.extxyz", frames, format="extxyz")
    file = folder / "parity" / "mine.toml"
    file.write_text(HEAD + extra + (expect or EXPECT.format("force_mae", "meV/A", 1)))
    return file


def measured(file, calculator):
    return {name: v.value for name, v in measure_case(as_calculator(calculator), load_case(file)).values.items()}


X, Y = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
SET = [
    frame("AlCu", 0.1, energy=1.0, forces=[X, Y], origin="md"),
    frame("AlCu", 0.2, energy=2.0, forces=[X, Y], origin="md"),
    frame("AlCu", 0.3, energy=3.0, forces=[X, Y], origin="neb"),
    frame("Al2Cu2", 0.4, energy=2.0, forces=[X, Y, X, Y], origin="neb"),
]


def test_known_errors_give_known_numbers(tmp_path):
    # energy errors per atom after the offset 7 eV/atom: +3, -3, +1, -1 meV, and the mean of four frames takes a quarter
    # of the variance away; one force component of copper off by 0.4
    energies = [e + 7 * n + d * n * 1e-3 for e, n, d in zip((1, 2, 3, 2), (2, 2, 2, 4), (3, -3, 1, -1), strict=True)]
    forces = [[X, [0.4, 1, 0]], [X, Y], [X, Y], [X, Y, X, Y]]
    found = measured(write_case(tmp_path, SET), Answers(SET, energies, forces))
    scale = np.sqrt(4 / 3)
    assert found["energy_mae"] == pytest.approx(2.0 * scale)
    assert found["energy_rmse"] == pytest.approx(np.sqrt(5.0) * scale)
    assert (found["energy_mae_of_md"], found["energy_mae_of_neb"]) == pytest.approx((3.0 * scale, scale))
    assert found["force_mae"] == pytest.approx(400 / 30)
    assert found["force_rmse"] == pytest.approx(400 / np.sqrt(30))
    assert (found["force_mae_Al"], found["force_mae_Cu"]) == pytest.approx((0.0, 400 / 15))
    assert (found["force_mae_of_md"], found["force_mae_of_neb"]) == pytest.approx((400 / 12, 0.0))
    cosine = 1 / np.sqrt(1.16)
    assert found["force_cosine_Cu"] == pytest.approx((cosine + 4) / 5)
    assert found["force_cosine"] == pytest.approx((cosine + 9) / 10)
    assert found["force_cosine_of_md"] == pytest.approx((cosine + 3) / 4)


def test_one_offset_per_composition_and_no_more(tmp_path):
    frames = [*SET, frame("AlCu3", 0.1, energy=5.0, forces=[X] * 4), frame("AlCu3", 0.2, energy=5.0, forces=[X] * 4)]
    offsets = [
        2.0,
        2.0,
        2.0,
        4.0,
        -9.0,
        -9.0,
    ]  # eV: one per atom of AlCu whatever the size of the cell, another of AlCu3
    energies = [f.get_potential_energy() + offset for f, offset in zip(frames, offsets, strict=True)]
    forces = [f.get_forces() for f in frames]
    found = measured(write_case(tmp_path, frames), Answers(frames, energies, forces))
    assert found["energy_mae"] == pytest.approx(0.0, abs=1e-9)
    energies[3] -= 2.0  # the same offset per cell instead of per atom
    assert measured(write_case(tmp_path, frames), Answers(frames, energies, forces))["energy_mae"] > 100


def test_a_composition_with_one_frame_says_nothing(tmp_path):
    alone = [SET[0], frame("AlCu3", 0.1, energy=5.0, forces=[X] * 4)]
    file = write_case(tmp_path, alone)
    result = measure_case(as_calculator(Answers(alone, [9.0, -9.0], [a.get_forces() for a in alone])), load_case(file))
    assert result.values["energy_mae"].problem.state == "error"
    assert "alone in their composition" in result.values["energy_mae"].problem.reason
    assert result.values["force_mae"].value == 0.0
    with pytest.raises(
        InputError, match="none can be worked out: no energy can be judged: all 2 frames are alone in their composition"
    ):
        load_case(write_case(tmp_path, alone, expect=EXPECT.format("energy_mae", "meV/atom", 1)))


def test_an_atom_without_force_in_the_model_has_no_direction(tmp_path):
    zero = [np.zeros((len(f), 3)) for f in SET]
    assert measured(write_case(tmp_path, SET), Answers(SET, [0.0] * 4, zero))["force_cosine"] == 0.0


def test_weak_forces_have_no_direction(tmp_path):
    weak = [frame("AlCu", x, forces=[[0.1, 0, 0], [0, 0.1, 0]]) for x in (0.1, 0.2)]
    result = measure_case(as_calculator(Answers(weak, [0, 0], [f.get_forces() for f in weak])),
                          load_case(write_case(tmp_path, weak)))  # fmt: skip
    assert "no atom has a reference force of 0.2 eV/A" in result.values["force_cosine"].problem.reason


def test_energies_alone_are_enough_for_energies(tmp_path):
    result = measure_case(as_calculator(Answers(SET, [1.0, 2.0, 3.0, 2.0])), load_case(write_case(tmp_path, SET)))
    assert result.values["energy_mae"].value == pytest.approx(0.0, abs=1e-9)
    assert result.values["force_mae"].problem.state == "not applicable"


def test_labels_under_the_names_of_mace_and_frames_without_labels(tmp_path):
    plain = frame("AlCu", 0.7)
    plain.calc = None
    named = frame("AlCu", 0.8)
    named.calc = None
    named.info["REF_energy"], named.arrays["REF_forces"] = 4.0, np.array([X, Y])
    case = load_case(write_case(tmp_path, [*SET, plain, named, frame("AlCu", 0.9, energy=1.0)]))
    assert len(case.frames) == 5
    assert case.stored.energies[-1] == 4.0
    named.calc = SinglePointCalculator(named, energy=4.5, forces=named.arrays["REF_forces"])
    with pytest.raises(InputError, match="frame 1 has two different labels, 'energy' and 'REF_energy'"):
        load_case(write_case(tmp_path, [SET[0], named]))


def test_origins_from_files_each_structure_once(tmp_path):
    ase.io.write(tmp_path / "a.extxyz", SET[:3], format="extxyz")
    ase.io.write(tmp_path / "b.extxyz", SET[2:], format="extxyz")
    origins = 'origins.first = "../a.extxyz"\norigins.second = "../[b-z].extxyz"\n'
    case = load_case(write_case(tmp_path, SET, extra=origins))
    assert [f.info["origin"] for f in case.frames] == ["first"] * 3 + ["second"]
    with pytest.raises(InputError, match=r"no file matches '../c.extxyz'"):
        load_case(write_case(tmp_path, SET, extra='origins.third = "../c.extxyz"\n'))


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([frame("AlCu", 0.1, energy=1.0)], "no frame carries both an energy and forces"),
        ([frame("AlCu", 0.1, energy=np.nan, forces=[X, Y])], "frame 0 has an energy or a force that is not finite"),
        ([frame("AlCu", 0.1, energy=1.0, forces=[X, [0, np.inf, 0]])], "that is not finite"),
    ],
)
def test_unusable_labels(tmp_path, frames, says):
    with pytest.raises(InputError, match=says):
        load_case(write_case(tmp_path, frames))


@pytest.mark.parametrize("quantity", ["force_mae_Fe", "energy_mae_Al", "force_mae_of_elsewhere", "stress_mae_Al"])
def test_a_quantity_that_these_frames_do_not_have(tmp_path, quantity):
    with pytest.raises(InputError, match=f"'parity' measures no '{quantity}'; it measures energy_mae, .*force_mae_Al"):
        load_case(write_case(tmp_path, SET, expect=EXPECT.format(quantity, "meV/A", 1)))


def test_isolated_atoms_are_left_out_and_said_to_be(tmp_path):
    tagged = frame("Al", 0.1, energy=-1.0, forces=[X], config_type="IsolatedAtom")
    alone = frame("Cu", 0.1, energy=-1.0, forces=[X])
    case = load_case(write_case(tmp_path, [*SET, tagged, alone, SET[0]]))
    assert len(case.frames) == len(SET)
    assert case.notes == ("Frames left out: 2 isolated atoms, 1 copies.",)


@pytest.mark.parametrize(("key", "label"), [("energy", 50.0), ("forces", [X, [0, 1, 1]])])
def test_copies_with_other_labels(tmp_path, key, label):
    labels = {"energy": 1.0, "forces": [X, Y]} | {key: label}
    copy = frame("AlCu", 0.1, energy=labels["energy"], forces=labels["forces"])
    with pytest.raises(InputError, match=r"frame 4 is the structure of mine\.extxyz:0 with another energy or other"):
        load_case(write_case(tmp_path, [*SET, copy]))


@pytest.mark.parametrize("state", [{"head": "r2scan"}, {"charge": 1}, {"Charge": 1}, {"total_spin": 3}])
def test_one_geometry_in_two_states_is_no_copy(tmp_path, state):
    other = frame("AlCu", 0.1, energy=50.0, forces=[X, Y], **state)
    assert len(load_case(write_case(tmp_path, [*SET, other])).frames) == len(SET) + 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"info": {"REF_energy": "abc"}}, r"frame 0 has energy \('REF_energy'\) that are no numbers: 'abc'"),
        (
            {"arrays": {"REF_forces": np.ones((2, 2))}},
            r"frame 0 has forces \('REF_forces'\) of shape \(2, 2\), expected \(2, 3\)",
        ),
    ],
)
def test_labels_that_are_none(tmp_path, change, says):
    odd = frame("AlCu", 0.1)
    odd.calc = None
    odd.info |= {"REF_energy": 1.0} | change.get("info", {})
    odd.arrays |= {"REF_forces": np.ones((2, 3))} | change.get("arrays", {})
    with pytest.raises(InputError, match=says):
        load_case(write_case(tmp_path, [odd]))


def test_names_with_an_at_sign_and_byte_order_marks(tmp_path):
    origins = 'origins.md = "../b@300K.extxyz"\n'
    ase.io.write(tmp_path / "b.extxyz", SET, format="extxyz")
    (tmp_path / "b.extxyz").rename(tmp_path / "b@300K.extxyz")
    file = write_case(tmp_path, SET, extra=origins)
    file.write_text("\ufeff" + file.read_text(), encoding="utf-8")
    assert len(load_case(file).frames) == len(SET)
    marked = tmp_path / "b@300K.extxyz"
    marked.write_text("\ufeff" + marked.read_text(), encoding="utf-8")
    with pytest.raises(InputError, match="it begins with a byte-order mark: save it as plain UTF-8"):
        load_case(file)


def test_a_large_set_is_sampled_by_element_for_the_picture():
    symbols = np.array((["Al"] * 80 + ["Cu"] * 19 + ["Cr"]) * 100)
    errors = np.zeros(len(symbols))
    errors[777] = 1.0
    rows = drawn_atoms(symbols, errors)
    assert len(rows) <= DRAWN + WORST_DRAWN
    assert 777 in rows
    assert {symbol: int((symbols[rows] == symbol).sum()) for symbol in ("Al", "Cu", "Cr")}["Cr"] == 100
    assert (symbols[rows] == "Al").sum() >= DRAWN // 3
    assert list(drawn_atoms(symbols[:50], errors[:50])) == list(range(50))


def stressed(*, sign=1.0, names=("md", "md", "neb"), key="stress"):
    """Strained aluminium with the sound calculator's labels; the stress under `key` and times `sign`."""
    frames = []
    for n, origin in enumerate(names):
        atoms = bulk("Al", a=5.2 + 0.1 * n, cubic=True)
        atoms.rattle(0.05, seed=n)
        results = Sound().evaluated(atoms)
        stress = results.pop("stress") * sign
        atoms.info["origin"] = origin
        atoms.calc = SinglePointCalculator(atoms, **results, **({"stress": stress} if key == "stress" else {}))
        if key == "virial":
            stress = -stress * atoms.get_volume()
        if key not in ("stress", None):
            atoms.info[key] = full_3x3(stress)
        frames.append(atoms)
    return frames


def full_3x3(six):
    return six[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)


STRESS = EXPECT.format("stress_mae", "GPa", 0.05)


@pytest.mark.parametrize("key", ["stress", "REF_stress", "virial"])
def test_the_error_of_the_stress_is_a_mean_over_frames_and_components(tmp_path, key):
    size = np.mean([np.abs(Sound().evaluated(f)["stress"]).mean() for f in stressed()]) / units.GPa
    assert measured(write_case(tmp_path, stressed(key=key), expect=STRESS), Sound())["stress_mae"] < 1e-6
    result = measure_case(as_calculator(Sound()), load_case(write_case(tmp_path, stressed(sign=-1), expect=STRESS)))
    assert result.values["stress_mae"].value == pytest.approx(2 * size, rel=1e-6)
    assert str(result.values["stress_mae"].samples) == "3 of 3 frames"
    assert result.values["force_mae"].value < 1e-4
    assert (result.model_calls, len(result.arrays["stress_model"])) == (3, 18)
    of_parts = [result.values[f"stress_mae_of_{part}"].value for part in ("md", "neb")]
    assert (2 * of_parts[0] + of_parts[1]) / 3 == pytest.approx(2 * size, rel=1e-6)


def test_frames_without_a_stress_are_counted_and_evaluated_once(tmp_path):
    cluster = frame("AlCu", 0.1, energy=1.0, forces=[X, Y], origin="md")
    cluster.set_cell(None)
    cluster.pbc = False
    cluster.calc = SinglePointCalculator(cluster, energy=1.0, forces=np.array([X, Y]), stress=np.ones(6))
    zero = stressed(sign=0.0, names=("md",))[0]
    zero.positions += 0.01
    bare = stressed(key=None, names=("md",))[0]
    bare.positions += 0.02
    frames = [bare, *stressed(), zero, cluster, frame("AlCu", 1.0)]
    for one in frames:
        one.info["origin"] = "md"
    share = 'minimum_share = { value = 0.1, reason = "a test" }\n'
    suite = Suite([load_sound()], [load_case(write_case(tmp_path, frames, expect=STRESS + share))])
    (row,) = [suite.result(request) for request in suite.requests("parity")]
    assert row.verdict.state is State.PASSED
    assert str(row.measured.samples) == (
        "3 of 7 frames; 2 without a stress, 1 without energy or forces, 1 not periodic in all directions, as a stress "
        "needs"
    )
    assert row.measured.samples.share == pytest.approx(3 / 6)
    case = load_case(write_case(tmp_path, frames, expect=STRESS))
    assert measure_case(as_calculator(Sound()), case).model_calls == 6


def test_a_part_of_the_stresses_is_an_error(tmp_path):
    frames = [*stressed(), *stressed(key=None, names=("md",))]
    frames[-1].positions += 0.01
    suite = Suite([load_sound()], [load_case(write_case(tmp_path, frames, expect=STRESS))])
    (row,) = [suite.result(request) for request in suite.requests("parity")]
    assert row.verdict.state is State.ERROR
    assert "3 of 4 frames, 75 %, but at least 90 % are needed: 1 without a stress; give" in row.verdict.reason


def test_no_stress_in_the_frames_or_in_the_model(tmp_path):
    with pytest.raises(InputError, match="none can be worked out: none of 4 frames carries a stress"):
        load_case(write_case(tmp_path, SET, expect=STRESS))
    case = load_case(write_case(tmp_path, stressed(), expect=STRESS))
    for model in (
        as_calculator(NoStress()),
        replace(as_calculator(Sound()), properties=frozenset({"energy", "forces"})),
    ):
        found = measure_case(model, case)
        assert found.values["stress_mae"].problem.state == "not applicable"
        assert found.values["energy_mae"].value == pytest.approx(0.0, abs=1e-6)


def test_no_stress_is_computed_that_nobody_asked_for(tmp_path):
    case = load_case(write_case(tmp_path, stressed()))
    found = measure_case(as_calculator(NoStress()), case)
    assert found.values["force_mae"].value < 1e-4


def failing(calculator):
    return {key[1] for key, state in verdicts(calculator, kinds=("parity",)).items() if state is State.FAILED}


class FlippedOnAntimonyWhereLayersSlide(LookupCalculator):
    """Forces of the wrong sign on one element, in frames where no other probe looks at forces."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        if "forces" in self.results and len(self.atoms) == 5:
            self.results["forces"] = np.where((self.atoms.symbols == "Sb")[:, None], -1, 1) * self.results["forces"]


def test_forces_of_the_wrong_sign_on_one_element_are_seen_by_parity_alone():
    calculator = FlippedOnAntimonyWhereLayersSlide(FRAMES)
    found = failing(calculator)
    assert {"force_mae_Sb", "force_cosine_Sb", "force_mae_of_sliding"} <= found
    assert not {name for name in found if name.startswith("energy") or "_Te" in name or "_Cr" in name}
    others = verdicts(calculator)
    assert State.FAILED not in others.values()


def test_an_energy_scale_that_is_off_is_seen_in_energies_alone():
    found = failing(LookupCalculator(FRAMES, lambda f: 0.4 * (f.info.get("gap_shift") == -0.2)))
    assert {"energy_mae_of_sliding", "energy_rmse"} <= found
    assert not {name for name in found if name.startswith("force")}


DIVERSE = ["AlCu", "AlCu2", "Al2Cu", "AlFe", "Al2Fe", "CuFe", "CuFe2", "AlCuFe", "Al3Cu", "Cu3Fe"]
ATOMIC = {"Al": 3.0, "Cu": -2.0, "Fe": 7.0}
"""What another zero of energies may add for each atom, eV."""


def diverse(extra=(), names=DIVERSE):
    """Frames each of its own composition, `extra` of them without labels, and what the labels say."""
    frames = [frame(name, 0.1, energy=5.0 + n, forces=np.ones((len(Atoms(name)), 3)), origin="md")
              for n, name in enumerate(names)]  # fmt: skip
    bare = [frame(name, 0.7, origin="neb") for name in extra]
    for one in bare:
        one.calc = None
    return frames, [*frames, *bare]


def diverse_errors(folder, shifts, *, zero="elements", names=DIVERSE, extra=()):
    """What parity measures on them for a model whose energies are off by the zero of each element and by `shifts`."""
    frames, written = diverse(extra, names)
    zeros = [sum(ATOMIC[symbol] for symbol in f.get_chemical_symbols()) for f in frames]
    energies = [f.get_potential_energy() + z + s for f, z, s in zip(frames, zeros, shifts, strict=True)]
    file = write_case(folder, written, extra=f'energy_reference = "{zero}"\n')
    calculator = as_calculator(Answers(frames, energies, [f.get_forces() for f in frames]))
    return measure_case(calculator, load_case(file))


def test_energies_alone_in_their_composition_are_judged_against_a_fit_per_element(tmp_path):
    exact = diverse_errors(tmp_path, np.zeros(10))
    assert exact.values["energy_mae"].value == pytest.approx(0.0, abs=1e-9)
    assert str(exact.values["energy_mae"].samples) == "10 of 10 frames"
    assert exact.diagnostics["energy_offsets_ev_per_atom"] == pytest.approx(ATOMIC)
    assert (exact.diagnostics["fitted_offsets"], exact.diagnostics["energy_reference"]) == (3, "elements")
    sizes = np.array([len(Atoms(name)) for name in DIVERSE])
    shares = np.array([[Atoms(n).get_chemical_symbols().count(x) for x in ATOMIC] for n in DIVERSE]) / sizes[:, None]
    errors = np.random.default_rng(1).normal(scale=0.02, size=10)
    left = errors - shares @ np.linalg.lstsq(shares, errors, rcond=None)[0]
    left /= np.sqrt(1 - np.diag(shares @ np.linalg.pinv(shares)))
    found = diverse_errors(tmp_path, errors * sizes)
    assert found.values["energy_mae"].value == pytest.approx(1000 * np.abs(left).mean())
    assert found.values["energy_rmse"].value == pytest.approx(1000 * np.sqrt((left**2).mean()))


@pytest.mark.parametrize("zero", ["composition", "elements", "absolute"])
def test_what_was_fitted_does_not_make_errors_small(zero):
    """Of independent errors of one size, one a frame, each judged error has this size, and so has their rms."""
    frames = [frame(name, 0.1 * n, energy=0.0) for n, name in enumerate([*DIVERSE, *DIVERSE, "AlCu", "Al2Cu4"])]
    sizes = np.array([len(each) for each in frames])
    each = [
        energy_errors(frames, 0.008 * size * one, zero).per_atom
        for size, one in zip(sizes, np.eye(len(frames)), strict=True)
    ]
    assert np.linalg.norm(each, axis=0) == pytest.approx(0.008)


def test_a_model_out_of_tolerance_fails_with_two_frames_a_composition(tmp_path):
    """Errors of 8 meV/atom, of one sign in half of 20 compositions: 4 are left of them, which 5 would let pass."""
    names = [f"Al{metal}{n}" for metal in ("Ag", "Au", "Cu", "Ni", "Pt") for n in (1, 2, 3, 4) for _ in range(2)]
    signs = [sign for n in range(20) for sign in (1, (-1) ** n)]
    frames = [frame(name, n / 10, forces=[X] * len(Atoms(name))) for n, name in enumerate(names)]
    energies = [0.008 * sign * len(f) for sign, f in zip(signs, frames, strict=True)]
    found = measured(write_case(tmp_path, frames), Answers(frames, energies, [f.get_forces() for f in frames]))
    assert found["energy_rmse"] == pytest.approx(8.0)
    assert found["energy_mae"] == pytest.approx(8.0 / np.sqrt(2))  # more than 5


def test_an_absolute_zero_takes_nothing_off(tmp_path):
    sizes = np.array([len(Atoms(name)) for name in DIVERSE])
    zeros = np.array([sum(ATOMIC[symbol] for symbol in Atoms(name).get_chemical_symbols()) for name in DIVERSE])
    found = diverse_errors(tmp_path, np.zeros(10), zero="absolute")
    assert found.values["energy_mae"].value == pytest.approx(1000 * np.abs(zeros / sizes).mean())
    assert found.diagnostics["fitted_offsets"] == 0
    assert np.mean(found.arrays["energy_reference"]) == pytest.approx(0.0)


def test_a_frame_that_fixes_an_element_by_itself_is_left_out(tmp_path):
    """Whatever the error of the only frame with iron, the fit takes it away: it is no green, and it is counted."""
    names = ["AlCu", "AlCu2", "Al2Cu", "Al3Cu", "AlCu3", "Al3Cu2", "Al2Cu3", "AlCuFe"]
    found = diverse_errors(tmp_path, [0, 0, 0, 0, 0, 0, 0, 99.0], names=names).values["energy_mae"]
    assert found.value == pytest.approx(0.0, abs=1e-9)
    assert (
        str(found.samples) == "7 of 8 frames; 1 of whose error the fit of elements takes away more than three quarters"
    )


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (["Al2", "Al3Cu", "AlCu", "AlCu3", "Cu2"], 5),
        (["Al2", "Al2Cu", "AlCu2", "Cu2"], 4),
        (["Al2", "AlCu", "Cu2"], 1),  # three energies less two that are fitted say next to nothing of the outer ones
    ],
)
def test_few_frames_are_enough_for_two_elements(tmp_path, names, used):
    found = diverse_errors(tmp_path, np.zeros(len(names)), names=names)
    assert found.values["energy_mae"].samples.used == used


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["AlCu", "AlFe", "CuFe"], "fits 3 energies, one an element, to 3 frames; it needs more frames than elements"),
        (["AlCu", "Al2Cu2", "AlCu"], "cannot tell the energies of Al, Cu apart"),
        (["AlCu", "Al2Cu2", "AlCuFe", "AlCuFe2"], "cannot tell the energies of Al, Cu apart"),
    ],
)
def test_a_fit_that_the_set_does_not_allow_is_refused(tmp_path, names, says):
    frames = [frame(name, 0.1 * (n + 1), energy=1.0, forces=np.zeros((len(Atoms(name)), 3)))
              for n, name in enumerate(names)]  # fmt: skip
    with pytest.raises(InputError, match=says):
        load_case(write_case(tmp_path, frames, extra='energy_reference = "elements"\n'))


def test_what_parity_stands_on(tmp_path):
    """Frames alone in their composition, frames without labels, atoms without a direction: all are counted."""
    alone = frame("AlCu3", 0.1, energy=5.0, forces=[X, X, X, [0.1, 0, 0]], origin="md")
    _, (*_, bare) = diverse(["AlCu"])
    frames = [*SET, alone]
    calculator = as_calculator(Answers(frames, [0.0] * 5, [f.get_forces() for f in frames]))
    found = measure_case(calculator, load_case(write_case(tmp_path, [*frames, bare]))).values
    samples = {name: str(value.samples) for name, value in found.items()}
    assert samples["energy_mae"] == "4 of 6 frames; 1 alone in their composition, 1 without energy or forces"
    assert samples["energy_rmse_of_md"] == "2 of 3 frames; 1 alone in their composition"
    assert samples["energy_mae_of_neb"] == "2 of 3 frames; 1 without energy or forces"
    assert samples["force_mae"] == "42 of 48 force components; 6 in frames without energy or forces"
    assert samples["force_rmse_Al"] == "18 of 21 force components; 3 in frames without energy or forces"
    assert samples["force_mae_of_md"] == "24 of 24 force components"
    assert samples["force_cosine_Cu"] == (
        "7 of 9 atoms; 1 with a reference force below 0.2 eV/A, 1 in frames without energy or forces"
    )
    assert 'energy_reference = "elements"' in found["energy_rmse_of_md"].samples.remedy
    assert found["energy_mae_of_neb"].samples.remedy == "label them, or take them out of the file"


@pytest.mark.parametrize(("labels", "state"), [(17, State.PASSED), (16, State.PASSED), (15, State.ERROR)])
def test_a_set_of_which_too_little_is_judged_is_an_error(tmp_path, labels, state):
    """Seventeen frames, some without labels: the same model passes on most of them, and is not judged on fewer."""
    frames = [frame("AlCu", round(0.1 + n / 20, 2), energy=1.0 + n, forces=[X, Y]) for n in range(17)]
    answers = Answers(frames, [1.0 + n for n in range(17)], [f.get_forces() for f in frames])
    written = [f.copy() if n >= labels else f for n, f in enumerate(frames)]
    expect = EXPECT.format("energy_mae", "meV/atom", 1) + EXPECT.format("force_mae", "meV/A", 1)
    suite = Suite([as_calculator(answers)], [load_case(write_case(tmp_path, written, expect=expect))])
    found = [suite.result(request).verdict for request in suite.requests("parity")]
    assert [verdict.state for verdict in found] == [state] * 2
    if state is State.ERROR:
        assert found[0].reason == (
            "judged on 15 of 17 frames, 88 %, but at least 90 % are needed: 2 without energy or forces; label them, or "
            "take them out of the file, or state a smaller minimum_share with its reason"
        )


def test_isolated_atoms_and_copies_are_no_samples(tmp_path):
    atom = frame("Al", 0.1, energy=-1.0)  # without forces, as training sets have it
    case = load_case(write_case(tmp_path, [*SET, atom, SET[0]]))
    assert case.unlabelled == ()
    assert measure_case(as_calculator(Answers(SET, [0.0] * 4)), case).values["energy_mae"].samples.complete


HELD = "zeroed by a constraint"


def held(symbols, x, constraint, *, energy=1.0):
    """A frame that feels 1 eV/A along x on all atoms, as a writer stores it who knows of its constraint."""
    atoms = frame(symbols, x, energy=energy, forces=[X] * len(Atoms(symbols)))
    atoms.set_constraint(constraint)
    atoms.calc.results["forces"] = atoms.get_forces(apply_constraint=True)
    return atoms


def test_forces_that_a_writer_zeroed_are_no_labels(tmp_path):
    """The exact forces on one free atom of two, on both with one direction held, and on both."""
    frames = [
        held("AlCu", 0.1, FixAtoms([0])),
        held("AlCu", 0.2, FixCartesian([0, 1], (True, False, True))),
        held("AlCu", 0.3, None),
    ]
    given = [[X, X], [[1, 1, 0], [0, 0.6, 0]], [X, X]]
    case = load_case(write_case(tmp_path, frames))
    values = measure_case(as_calculator(Answers(frames, [1.0] * 3, given)), case).values
    assert values["force_mae"].value == pytest.approx(1600 / 11)  # 1 and 0.6 eV/A in the second frame
    assert str(values["force_mae"].samples) == f"11 of 18 force components; 7 {HELD}"
    assert values["force_mae"].samples.share == 1.0
    assert str(values["force_mae_Al"].samples) == f"4 of 9 force components; 5 {HELD}"
    assert str(values["force_cosine"].samples) == f"3 of 6 atoms; 2 with a reference force below 0.2 eV/A, 1 {HELD}"
    assert values["force_cosine"].value == 1.0
    assert values["energy_mae"].samples.complete


def test_a_frame_without_any_label_of_a_force_has_no_force_error():
    reference = labelled_forces([held("AlCu", 0.1, FixAtoms([0, 1])), SET[0]], [np.zeros((2, 3)), np.array([X, Y])])
    found = frame_force_rmse([np.ones((2, 3)), np.array([X, X])], reference)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(np.sqrt(2 / 6))


@pytest.mark.parametrize(
    ("rattle", "blind"), [(0.002, {"energy_mae", "force_mae", "force_mae_Al", "stress_mae"}), (0.15, set())]
)
def test_what_a_model_that_sees_nothing_would_pass_is_not_judged(tmp_path, rattle, blind):
    """A test set near equilibrium has forces, stresses and energy differences within the tolerances."""
    frames = []
    for seed in range(3):
        atoms = bulk("Al", a=5.46 if blind else 5.2, cubic=True)  # the crystal at rest, and compressed
        atoms.rattle(rattle, seed=seed)
        atoms.info["origin"] = "md"
        atoms.calc = SinglePointCalculator(atoms, **Sound().evaluated(atoms))
        frames.append(atoms)
    rows = {"energy_mae": "meV/atom", "force_mae": "meV/A", "force_mae_Al": "meV/A"}
    expect = "".join(EXPECT.format(name, unit, 0) for name, unit in rows.items()) + STRESS.replace("0.05", "0")
    file = write_case(tmp_path, frames, expect=expect)
    case = load_case(file)
    assert set(case.blind) == blind
    found = measured(file, SeesNothing())
    seen = case.reference.diagnostics[FEATURELESS]
    for name in ("energy_mae", "force_mae", "force_mae_Al"):
        assert found[name] == pytest.approx(seen[name], rel=1e-9)
    assert seen["force_mae"] == pytest.approx(1e3 * np.mean([np.abs(f.get_forces()).mean() for f in frames]))
    assert seen["stress_mae"] == pytest.approx(np.mean([np.abs(f.get_stress()).mean() for f in frames]) / units.GPa)
    for name in blind:
        assert "no smaller than all that the reference shows" in case.blind[name]
