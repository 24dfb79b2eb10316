"""The path in use against others: what is compared with what, what is not, and what a path that fails costs."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import ase.io
import faults
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.units import GPa
from cards import card_of
from faults import KERNELS, load
from sound import ELEMENTS, NoStress, Sound
from support import NUMBER, printed

from mlff_probes.calculators.base import Calculator, as_calculator
from mlff_probes.cases.load import load_case
from mlff_probes.core.case import Case
from mlff_probes.core.data import DIRECTORY
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import NOT_STATED, Measurement
from mlff_probes.measure.inference.protocols import PathAgreement
from mlff_probes.measure.measurement import measure_case
from mlff_probes.scorecard.reports import figures
from mlff_probes.scorecard.reports.worst import write_worst
from mlff_probes.session.suite import Suite

FRAMES = (bulk("Cu", a=3.6), bulk("Al", a=4.05, cubic=True), bulk("Cu", a=3.5, cubic=True))
PACKAGE = load_case(DIRECTORY / "inference" / "path_agreement.toml")
QUANTITIES = set(PathAgreement.quantities)


def strained(frames=FRAMES) -> tuple[Atoms, ...]:
    found = []
    for frame in frames:
        atoms = frame.repeat((2, 1, 1))
        atoms.positions[0] += [0.1, 0.05, -0.02]
        found.append(atoms)
    return tuple(found)


def case_of(*frames: Atoms) -> Case:
    return replace(PACKAGE, frames=frames or strained())


def measured(calculator: Calculator, *frames: Atoms) -> Measurement:
    found = measure_case(calculator, case_of(*frames))
    assert found.problem is None, found.problem
    return found


def of_kind(names: str) -> set[str]:
    """The quantities of some comparisons."""
    return {quantity for quantity in QUANTITIES if quantity.rpartition("_")[0] in names.split()}


def states(found: Measurement) -> dict[str, set[str]]:
    """Which quantities have a value, are errors, do not apply, or do not apply by nature."""
    sorted_out: dict[str, set[str]] = {}
    for name, value in found.values.items():
        problem = value.problem
        state = "measured" if problem is None else problem.state + " by nature" * problem.by_nature
        sorted_out.setdefault(state, set()).add(name)
    return sorted_out


def largest(of: str) -> float:
    """What the sound calculator says at most of the frames: |energy| (meV/atom), |force| (meV/A), |stress| (GPa)."""
    results = [Sound().evaluated(frame) for frame in strained()]
    sizes = {
        "energy": [abs(r["energy"]) / len(r["forces"]) * 1e3 for r in results],
        "force": [np.linalg.norm(r["forces"], axis=1).max() * 1e3 for r in results],
        "stress": [np.abs(r["stress"]).max() / GPa for r in results],
    }
    return max(sizes[of])


# What is compared with what


@pytest.mark.parametrize(
    ("kind", "differs", "by"),
    [
        (faults.SinglePrecision, "float32", faults.SinglePrecision.strength),
        (faults.WrongKernels, "kernels", faults.WrongKernels.strength),
        (faults.Batched, "batch plainest", faults.Batched.strength),
    ],
)
def test_a_path_that_is_off_by_a_factor_is_off_by_that_part_of_the_largest_number(kind, differs, by):
    values = measured(load(kind)).values
    for quantity in QUANTITIES:
        comparison, _, of = quantity.rpartition("_")
        stress_alone = kind is faults.Batched and of == "stress"  # which no batch supplies
        expected = by * largest(of) if comparison in differs.split() and not stress_alone else 0.0
        rounding = 1e-5 * largest(of) if comparison == "float32" else 1e-10
        assert values[quantity].value == pytest.approx(expected, rel=1e-3, abs=rounding), quantity


def test_a_compiled_path_of_zeros_differs_by_all_of_the_force_and_the_stress():
    values = measured(load(faults.CompiledZero)).values
    for comparison in ("compiled", "plainest"):
        assert values[f"{comparison}_energy"].value < 1e-10
        for of in ("force", "stress"):
            assert values[f"{comparison}_{of}"].value == pytest.approx(largest(of))
    assert values["float32_force"].value == values["kernels_force"].value == 0.0  # zeros, too


def test_only_the_very_first_call_differs_and_is_reported_once():
    values = measured(load(faults.FirstCall), *strained()[:1]).values
    off = {name for name in QUANTITIES - of_kind("float32") if values[name].value > 1e-4}
    assert off == of_kind("first_call")
    assert values["float32_force"].value < 0.1


def test_the_first_call_may_be_that_of_any_frame():
    class NewShape(Sound):
        """Compiles for each number of atoms, and answers otherwise while it does."""

        def __init__(self, dtype="float64"):
            super().__init__(dtype)
            self.seen = set()

        def evaluated(self, atoms):
            results, first = super().evaluated(atoms), len(atoms) not in self.seen
            self.seen.add(len(atoms))
            return faults.scaled(results, 1 + 1e-2 * first)

    model = load(NewShape)
    for frame in strained():
        model.ase.evaluated(frame)
    found = measured(model)
    deviations = found.arrays["first_call_energy"]
    assert deviations[0] > 1
    assert deviations[1] > 1  # a second shape
    assert deviations[2] < 1e-9  # the same as the second


def test_accelerated_kernels_in_use_are_held_against_plain_ones():
    values = measured(load(faults.WrongKernels, kernels=KERNELS)).values
    for comparison in ("kernels", "plainest"):
        off = faults.WrongKernels.strength * largest("energy")
        assert values[f"{comparison}_energy"].value == pytest.approx(off)
        assert "plain" in values[f"{comparison}_energy"].note
    assert values["compiled_energy"].value < 1e-10


def test_the_note_says_at_which_frame_and_what_the_plainest_path_was():
    frames = strained()
    for index, frame in enumerate(frames):
        frame.info["taken_from"] = f"mine.extxyz:{index}"
    found = measured(load(faults.SinglePrecision), *frames)
    worst = int(np.argmax(found.arrays["float32_energy"]))
    formula = frames[worst].get_chemical_formula()
    said = f"worst of 3 examples: {formula} of mine.extxyz:{worst}, in float32 and in float64"
    assert found.values["float32_energy"].note == said
    assert found.diagnostics["path"] == "cpu, float64, compiled (default), in batches"
    plainest = "cpu, float64, eager, one structure a call"
    assert found.diagnostics["plainest_path"] == plainest
    assert f"on the path in use and on the plainest ({plainest})" in found.values["plainest_force"].note


# What is loaded


def counted(calculator: Calculator, *, refuses=lambda changes: None) -> tuple[Calculator, list[dict]]:
    """The calculator, and what is asked for as it is loaded again; `refuses` says why a change is refused."""
    asked = []

    def fresh(**changes):
        asked.append(changes)
        if why := refuses(changes):
            raise InputError(f"--calculator={calculator.identity.spec}", why, "leave it out")
        return calculator.fresh(**changes)

    return replace(calculator, fresh=fresh), asked


def test_each_path_is_loaded_once():
    model, asked = counted(load(compile_mode=None, dtype="float32"))
    found = measured(model)
    assert asked == [
        {},
        {"compile_mode": None, "kernels": None, "device": "cpu", "dtype": "float64"},  # the other precision, too
        {"kernels": KERNELS},
    ]
    assert set(states(found)["measured"]) == QUANTITIES - of_kind("compiled")


def test_the_plainest_path_of_a_model_in_use_on_it_is_the_one_that_was_loaded_again():
    model, asked = counted(replace(load(compile_mode=None), other_kernels=()))
    measured(model)
    assert asked == [{}, {"dtype": "float32"}]


@pytest.mark.parametrize(
    ("refused", "plainest"),
    [
        (("dtype",), "cpu, float32, eager, one structure a call"),
        (("device",), "cuda, float64, eager, one structure a call"),
        (("device", "dtype"), "cuda, float32, eager, one structure a call"),
    ],
)
def test_what_a_family_refuses_is_left_as_it_is(refused, plainest):
    model = load(device="cuda", dtype="float32", kernels=KERNELS)
    model, _ = counted(model, refuses=lambda changes: "not so" if set(changes) & set(refused) else None)
    found = measured(model)
    assert found.diagnostics["plainest_path"] == plainest
    assert of_kind("plainest") <= states(found)["measured"]
    lost = of_kind("float32") if "dtype" in refused else set()
    assert states(found).get("not applicable by nature", set()) == lost


def test_model_calls_are_those_of_all_paths():
    found = measured(load())
    paths = 4  # in use, eager and so the plainest, in float32, with kernels: each warmed up, in a batch and alone
    seen = 2 * 3  # whether those in float64 compared with others compute in it
    assert (
        found.model_calls == 1 + paths * 2 * (1 + len(FRAMES)) + len(FRAMES) + seen
    )  # a look for the stress, first calls


# What does not apply


def test_what_a_calculator_does_not_have_is_not_applicable_by_nature():
    model = replace(load(compile_mode=None, batch=False), other_kernels=())
    found = states(measured(model))
    assert found["not applicable by nature"] == of_kind("compiled kernels batch")
    assert found["measured"] == of_kind("plainest float32 first_call")


def test_e3nn_kernels_are_plain():
    model, asked = counted(load(compile_mode=None))
    identity = model.identity.model_copy(update={"kernels": "e3nn"})
    found = measured(replace(model, identity=identity, other_kernels=()))
    assert states(found)["not applicable by nature"] == of_kind("kernels compiled")
    assert asked == [{}, {"dtype": "float32"}]  # the plainest is the one in use


def test_a_calculator_that_was_handed_over_cannot_be_compared_with_a_twin():
    found = measured(as_calculator(Sound()))
    assert states(found)["not applicable"] == of_kind("plainest first_call")
    assert states(found)["not applicable by nature"] == QUANTITIES - of_kind("plainest first_call")
    assert found.values["plainest_energy"].problem.reason == (
        "the calculator cannot be loaded again: it was handed over ready-made"
    )


def test_a_factory_that_hands_out_one_calculator_has_no_twins():
    model = load()
    found = measured(replace(model, fresh=lambda **_: model))
    assert states(found)["measured"] == of_kind("batch")
    assert "hands out the same one again" in found.values["plainest_energy"].problem.reason


def test_a_calculator_without_forces():
    found = states(measured(replace(load(), properties=frozenset({"energy", "stress"}))))
    forces = {quantity for quantity in QUANTITIES if quantity.endswith("_force")}
    assert found == {"measured": QUANTITIES - forces, "not applicable": forces}


@pytest.mark.parametrize(
    "model", [replace(load(), properties=frozenset({"energy", "forces"})), replace(load(NoStress), properties=None)]
)
def test_a_calculator_without_stress(model):
    found = measured(model)
    stress = {quantity for quantity in QUANTITIES if quantity.endswith("_stress")}
    assert states(found) == {"measured": QUANTITIES - stress, "not applicable": stress}
    assert found.values["plainest_stress"].problem.reason == "the calculator implements no stress"


def test_the_stress_is_that_of_the_frames_that_are_periodic_in_all_directions():
    slab = strained()[0]
    slab.pbc = (True, True, False)
    found = measured(load(), strained()[1], slab, molecule("H2"))  # hydrogen is unknown to it
    assert len(found.arrays["plainest_force"]) == 2
    assert len(found.arrays["plainest_stress"]) == 1
    alone = measured(load(), slab)
    assert "periodic in all directions" in alone.values["plainest_stress"].problem.reason


def test_what_was_left_out_is_counted():
    cluster = Atoms("Cu2", positions=[[0, 0, 0], [2.4, 0.1, 0]])
    found = measured(load(), *strained(), cluster, molecule("H2O"))
    unknown = "1 with an element that the model does not know"
    assert str(found.values["plainest_force"].samples) == f"4 of 5 structures; {unknown}"
    assert str(found.values["plainest_stress"].samples) == (
        f"3 of 5 structures; {unknown}, 1 not periodic in all directions, so that they have no stress"
    )
    assert all(value.samples.complete for value in measured(load()).values.values() if value.value is not None)


def test_structures_of_unknown_elements_alone_are_not_applicable():
    found = measured(load(), molecule("H2O"))
    assert states(found) == {"not applicable": QUANTITIES}
    assert found.values["plainest_energy"].problem.reason == "sound does not know H, O"


def test_float32_that_is_not_stated_is_seen():
    model = Sound("float32")
    identity = {"elements": ELEMENTS, "dtype": NOT_STATED}
    calculator = as_calculator(model)
    calculator = replace(calculator, identity=calculator.identity.model_copy(update=identity))
    assert measured(calculator).diagnostics["dtype"] == "float32"


class Deaf(Sound):
    """Computes in float32 whatever it was asked for, and converts its energies and forces in float64."""

    factor = 1.0

    def __init__(self, dtype="float64"):
        super().__init__("float32")

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        return {name: np.asarray(value, float) * self.factor for name, value in results.items()}


class Converted(Deaf):
    """Whose numbers are so no longer numbers of float32."""

    factor = 1.0364e-2


class Alike(Sound):
    """Computes in float64 whatever it was asked for."""

    def __init__(self, dtype="float64"):
        super().__init__("float64")


NUMBERS, UNMOVED, SAME = "numbers of float32", "stay the same in all digits", "agree in all digits"


@pytest.mark.parametrize(
    ("kind", "dtype", "state", "says"),
    [
        (Deaf, "float64", "error", NUMBERS),
        (Deaf, "float32", "not applicable", NUMBERS),
        (Converted, "float64", "error", UNMOVED),
        (Converted, "float32", "not applicable", UNMOVED),
        (Alike, "float32", "not applicable", SAME),
    ],
)
def test_one_precision_under_two_names_is_no_comparison(kind, dtype, state, says):
    found = measured(load(kind, dtype=dtype))
    for quantity in of_kind("float32 plainest"):
        problem = found.values[quantity].problem
        assert (problem.state, problem.by_nature) == (state, False)
        assert says in problem.reason
    assert found.values["first_call_force"].problem is None
    assert ("computed_in" in found.diagnostics) == (state == "error")


def test_a_false_precision_is_an_error_where_no_other_can_be_had():
    found = measured(replace(load(Converted), fresh=None))
    assert states(found)["error"] == of_kind("float32 plainest")


def test_a_float64_model_whose_float32_is_false_is_compared_in_all_else():
    found = measured(load(Alike))
    assert states(found) == {"not applicable": of_kind("float32"), "measured": QUANTITIES - of_kind("float32")}


@pytest.mark.parametrize(("can", "how"), [(True, "; add ,compile=default"), (False, "")])
def test_how_to_compile_is_said_only_of_a_model_that_takes_it(can, how):
    found = measured(replace(load(compile_mode=None), can_compile=can))
    assert found.values["compiled_force"].problem.reason == f"the model is not compiled{how}"


# What fails


def test_an_overflow_costs_its_own_comparison():
    found = measured(load(faults.Overflow))
    assert states(found) == {"error": of_kind("float32"), "measured": QUANTITIES - of_kind("float32")}
    for quantity in of_kind("float32"):
        assert re.match(r"in float32: the \w+ of Cu2 (is|are) n", found.values[quantity].problem.reason)


PLAINEST = {"compile_mode": None, "kernels": None, "device": "cpu", "dtype": "float64"}


@pytest.mark.parametrize(
    ("comparison", "change", "where"),
    [
        ("float32", {"dtype": "float32"}, "in float32"),
        ("compiled", {"compile_mode": None}, "eager"),
        ("kernels", {"kernels": KERNELS}, f"with {KERNELS} kernels"),
        ("plainest", PLAINEST, "on the plainest path"),
        ("first_call", {}, "in the first calls of a model loaded again"),
    ],
)
@pytest.mark.parametrize("error", [ValueError("no such kernel"), RuntimeError("CUDA out of memory")])
def test_a_path_that_raises_is_named_and_costs_its_own_comparison(comparison, change, where, error):
    class Raises(Sound):
        def evaluated(self, atoms):
            raise error

    model = load(device="cuda")
    fresh = lambda **changes: load(Raises, device="cuda") if changes == change else model.fresh(**changes)  # noqa: E731
    found = measured(replace(model, fresh=fresh))
    assert states(found)["error"] == of_kind(comparison)
    for quantity in of_kind(comparison):
        reason = found.values[quantity].problem.reason
        assert reason.startswith(f"{where}: ")
        assert "no such kernel" in reason or "out of memory on cuda" in reason


def test_a_loader_that_runs_out_of_memory_costs_its_own_comparison():
    model = load()

    def fresh(**changes):
        if changes.get("dtype") == "float32":
            raise MemoryError("of the device")
        return model.fresh(**changes)

    found = measured(replace(model, fresh=fresh))
    assert states(found)["error"] == of_kind("float32")
    assert found.values["float32_energy"].problem.reason.startswith(
        "in float32: the calculator cannot be loaded: MemoryError: of the device"
    )


def test_the_path_in_use_must_answer():
    found = measure_case(load(faults.Overflow, dtype="float32"), case_of())
    assert found.problem.state == "error"
    assert "is nan" in found.problem.reason or "not finite" in found.problem.reason
    assert found.values == {}


def test_a_path_that_hangs_is_interrupted():
    class Hangs(Sound):
        def evaluated(self, atoms):
            if self.dtype == np.float32:
                time.sleep(60)
            return super().evaluated(atoms)

    start = time.monotonic()
    found = measure_case(load(Hangs), case_of(), timeout=1.0)
    assert time.monotonic() - start < 10
    assert "timed out after 1 s" in found.problem.reason
    assert found.problem.reason.endswith("last step: in float32")


# Whose frames


def written(folder, protocol: str) -> Case:
    """A user's case in `folder`, with what the package's expects."""
    folder.mkdir(exist_ok=True)
    text = (DIRECTORY / "inference" / "path_agreement.toml").read_text()
    kept = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("origins."))
    (folder / "mine.toml").write_text(kept.replace('kind = "path_agreement"', f'kind = "path_agreement"\n{protocol}'))
    return load_case(folder / "mine.toml")


def test_frames_beside_the_case_each_once_and_none_of_them_labelled(tmp_path):
    folder = tmp_path / "inference"
    folder.mkdir()
    ase.io.write(folder / "mine.extxyz", [*strained(), strained()[0]], format="extxyz")
    case = written(folder, "")
    assert case.stored is None
    assert [frame.info["taken_from"] for frame in case.frames] == [f"mine.extxyz:{index}" for index in range(3)]
    found = measure_case(load(), case)
    assert states(found) == {"measured": QUANTITIES}


def test_frames_that_lie_elsewhere(tmp_path):
    (tmp_path / "data").mkdir()
    for index, frame in enumerate(strained()):
        ase.io.write(tmp_path / "data" / f"md_{index}.extxyz", frame, format="extxyz")
    case = written(tmp_path / "inference", 'origins.md = "../data/md_*.extxyz"')
    assert [frame.info["origin"] for frame in case.frames] == ["md"] * 3


@pytest.mark.parametrize(
    ("protocol", "says"),
    [("", "there is no such file of frames"), ('origins.md = "../no_*.extxyz"', "no file matches '../no_*.extxyz'")],
)
def test_frames_that_are_missing(tmp_path, protocol, says):
    with pytest.raises(InputError, match=re.escape(says)):
        written(tmp_path / "inference", protocol)


def test_the_package_compares_on_the_frames_of_its_parity_case():
    parity = load_case(DIRECTORY / "parity" / "sb2te3_frames.toml")
    names = [[frame.info["taken_from"] for frame in case.frames] for case in (PACKAGE, parity)]
    assert names[0] == names[1]
    assert PACKAGE.quantities == tuple(PathAgreement.quantities)


# What is shown


def test_all_deviations_are_drawn():
    card = card_of([load(faults.CompiledZero)], cases=[case_of()], kinds=("path_agreement",))
    drawn = figures.draw_cases(card, list(card.cases))
    drawn.canvas.draw()
    (axes,) = drawn.axes or [axes for part in drawn.subfigs for axes in part.axes]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        quantity.replace("_", " ") for quantity in reversed(PACKAGE.quantities)
    ]


@pytest.mark.parametrize(
    ("kind", "quantity"),
    [
        (faults.SinglePrecision, "float32_energy"),
        (faults.SinglePrecision, "float32_stress"),
        (faults.WrongKernels, "kernels_energy"),
        (faults.CompiledZero, "compiled_force"),
        (faults.CompiledZero, "plainest_stress"),
        (faults.FirstCall, "first_call_stress"),
        (faults.Batched, "batch_energy"),
    ],
)
def test_the_script_beside_the_worst_frame_shows_the_difference(kind, quantity, tmp_path):
    card = card_of([load(kind)], cases=[case_of()], kinds=("path_agreement",))
    (script,) = (path for path in write_worst(card, tmp_path) if path.name.endswith(f"-{quantity}.py"))
    text, filled = re.subn(
        r"raise SystemExit\(.*\)", f"from faults import {kind.__name__}, load\n\ncalculator = load({kind.__name__})",
        script.read_text(),
    )  # fmt: skip
    assert filled == 1
    script.write_text(text)
    out, of = printed(script, tmp_path), quantity.rpartition("_")[2]
    (expected,) = (row.measured.value for row in card.results if row.quantity == quantity)
    if of == "stress":
        rows = [np.fromstring(row, sep=" ") for row in re.findall(r"stress \[([^]]*)\]", out)]
        off = np.abs(rows[-1] - rows[0]).max()
    elif of == "force":  # the other is zero everywhere
        off = max(map(float, re.findall(rf"largest force {NUMBER}", out))) * 1e3
        assert expected / np.sqrt(3) <= off <= expected  # of a component, not of the vector
        return
    else:
        atoms = ase.io.read(script.with_suffix(".extxyz"), 0)
        energies = [float(found) for found in re.findall(rf": {NUMBER} eV", out)]
        off = abs(energies[-1] - energies[0]) / len(atoms) * 1e3
    assert off == pytest.approx(expected, rel=0.01)


def test_a_run_of_the_suite_judges_every_quantity():
    suite = Suite([load()], [case_of()])
    results = [suite.result(request) for request in suite.requests("path_agreement")]
    assert {row.verdict.state for row in results} == {"passed"}
    assert [row.quantity for row in results] == list(PACKAGE.quantities)
