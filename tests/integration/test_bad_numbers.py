"""A calculator that fails while it is measured: a verdict `error` that names the frame, and nothing else is lost."""

from __future__ import annotations

import pytest
from support import STORED, STORED_QUANTITIES

WORKERS = [pytest.param((), id="one process"), pytest.param(("-n", "1"), id="-n 1")]

SPOILT = '''

import numpy as np
from mlff_probes.cases.load import load_cases

IN_GAP = next(case for case in load_cases() if case.id == "cr_sb2te3_in_gap").frames


class Spoilt(Sound):
    """Sound everywhere but at image 3 of the path in the gap."""

    device, dtype = "cpu", "float64"

    def __init__(self, spoil):
        super().__init__()
        self.spoil = spoil

    def calculate(self, atoms=None, *args, **kwargs):
        super().calculate(atoms, *args, **kwargs)
        if len(atoms) == len(IN_GAP[3]) and np.allclose(atoms.positions, IN_GAP[3].positions):
            self.spoil(self.results)


def spoiling(**replaced):
    return Spoilt(lambda results: results.update(replaced))


def raising(error):
    def spoil(results):
        raise error

    return Spoilt(spoil)


def nan_energy():
    return spoiling(energy=float("nan"))


def inf_energy():
    return spoiling(energy=float("-inf"))


def two_energies():
    return spoiling(energy=np.zeros(2))


def text_energy():
    return spoiling(energy="low")


def no_energy():
    return spoiling(energy=None)


def nan_forces():
    forces = np.zeros((21, 3))
    forces[20] = np.nan
    return spoiling(forces=forces)


def flat_forces():
    return spoiling(forces=np.zeros(63))


def short_forces():
    return spoiling(forces=np.zeros((20, 3)))


def ragged_forces():
    return spoiling(forces=[[0.0, 0.0, 0.0], [0.0, 0.0]])


def raises():
    return raising(RuntimeError("no such kernel"))


def out_of_memory():
    return raising(RuntimeError("CUDA out of memory"))


def leaves():
    return raising(SystemExit("licence expired"))


class NoChromium(Sound):
    def calculate(self, atoms=None, *args, **kwargs):
        if "Cr" in atoms.get_chemical_symbols():
            raise KeyError("Cr")
        super().calculate(atoms, *args, **kwargs)


def no_chromium():
    return NoChromium()
'''

AT_IMAGE_3 = {
    "nan_energy": ["the energy of frame 3 is nan"],
    "inf_energy": ["the energy of frame 3 is -inf"],
    "two_energies": ["frame 3", "shape (2,)", "expected one number"],
    "text_energy": ["frame 3", "low"],
    "no_energy": ["frame 3"],
    "nan_forces": ["the forces of frame 3 are not finite: atom 20 (Cr)", "1 of 21 atoms in all"],
    "flat_forces": ["the forces of frame 3 have shape (63,), expected (21, 3)"],
    "short_forces": ["the forces of frame 3 have shape (20, 3), expected (21, 3)"],
    "ragged_forces": ["frame 3"],
    "raises": ["the calculator raised at frame 3: RuntimeError: no such kernel", "calc.py:"],
    "out_of_memory": [
        "out of memory on host with 21 atoms in one structure (frame 3): RuntimeError: CUDA out of memory",
        "calc.py:",
    ],
    "leaves": ["the calculator raised at frame 3: SystemExit: licence expired", "calc.py:"],
}

IN_GAP_QUANTITIES = 7
DEEP_QUANTITIES = 11
SLIDING_QUANTITIES = 6


def calculators(*names):
    return [f"--calculator=py:./calc.py:{name}" for name in names]


def rows(card, calculator, case=None):
    return [row for row in card.rows(calculator) if case in (None, row.case)]


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory, run_probes_in, sound, quick_speed):
    """One run of all calculators that fail at one frame, on one or two cases of each family."""
    directory = tmp_path_factory.mktemp("spoilt")
    (directory / "calc.py").write_text(sound + SPOILT)
    cases = ("-k", "(cr_sb2te3 and not octahedral_hop and not dynamics) or sb2te3_fixed_gap_0.0 or quick_speed")
    own = f"--probe-reference={quick_speed}"
    return run_probes_in(directory, *calculators("make", *AT_IMAGE_3), own, *cases)


@pytest.mark.parametrize("name", AT_IMAGE_3)
def test_error_names_the_frame(name, spoilt):
    bad = rows(spoilt.card, name, "cr_sb2te3_in_gap")
    assert len(bad) == IN_GAP_QUANTITIES
    assert {row.verdict.state for row in bad} == {"error"}
    (reason,) = {row.verdict.reason for row in bad}
    for part in AT_IMAGE_3[name]:
        assert part in reason
    assert "\n" not in reason
    assert {row.measured.value for row in bad} == {None}
    assert reason.split(" (")[0] in spoilt.text


@pytest.mark.parametrize("name", AT_IMAGE_3)
def test_error_hides_no_other_case(name, spoilt):
    """What is measured beside the bad frame is what the same calculator gives without it."""
    card = spoilt.card
    good = {(r.case, r.quantity): r for r in rows(card, "make") if r.family != "inference"}
    found = {(r.case, r.quantity): r for r in rows(card, name) if r.family != "inference"}
    assert found.keys() == good.keys()
    for key, row in found.items():
        if key[0] != "cr_sb2te3_in_gap":
            assert row.measured.value == pytest.approx(good[key].measured.value, abs=1e-12)
            assert row.verdict.state == good[key].verdict.state
    assert [(r.quantity, r.verdict.state.value) for r in rows(card, name, "quick_speed")] == [
        ("latency_5", "reported"),
        ("latency_20", "reported"),
    ]


def test_a_run_with_errors_is_whole_and_fails(spoilt):
    assert spoilt.code == pytest.ExitCode.TESTS_FAILED
    assert spoilt.card.complete
    assert spoilt.card.verdict == "failed"
    for name in ("make", *AT_IMAGE_3):
        assert len(rows(spoilt.card, name)) == IN_GAP_QUANTITIES + DEEP_QUANTITIES + SLIDING_QUANTITIES + 2
        assert len([m for m in spoilt.card.measurements if m.calculator == name]) == 4
    spoilt.matches("*barrier: error: the energy of frame 3 is nan", "verdict: FAILED (* error*)")
    assert "INCOMPLETE" not in spoilt.output


@pytest.mark.parametrize("workers", WORKERS)
def test_failing_for_one_element_only(workers, tmp_path, run_probes, sound, recorded_only):
    (tmp_path / "calc.py").write_text(sound + SPOILT)
    run = run_probes(*calculators("no_chromium", "nan_energy"), *recorded_only, *workers)
    assert run.code == pytest.ExitCode.TESTS_FAILED
    card = run.card
    assert card.complete
    states = {(r.case, r.verdict.state.value) for r in card.rows("no_chromium")}
    for case in ("cr_sb2te3_deep", "cr_sb2te3_in_gap"):
        assert [state for name, state in states if name == case] == ["error"]
    sliding = {r.verdict.state.value for r in card.rows("no_chromium") if r.family == "sliding"}
    assert sliding == {"passed"}
    reasons = {r.verdict.reason for r in card.rows("no_chromium") if r.family == "migration"}
    assert len(reasons) == 1
    assert "the calculator raised at frame 0: KeyError: 'Cr'" in reasons.pop()
    bad = [r for r in card.rows("nan_energy") if r.verdict.state == "error"]
    assert {r.case for r in bad} == {"cr_sb2te3_in_gap", "sb2te3_frames"}  # which holds the same frame
    assert {r.verdict.state.value for r in card.rows("nan_energy")} == {"error", "passed", "reported"}


ENERGY_ONLY = '''

class EnergyOnly(Sound):
    """As a model without gradients: ASE raises PropertyNotImplementedError where forces are asked for."""

    implemented_properties = ["energy"]

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results = {"energy": self.results["energy"]}


def energy_only():
    return EnergyOnly()


def knows_sb_and_te():
    calculator = make()
    calculator.elements = ["Sb", "Te"]
    calculator.device, calculator.dtype = "cpu", "float64"
    return calculator
'''


@pytest.fixture(scope="module")
def limited(tmp_path_factory, run_probes_in, sound, recorded, quick_speed):
    """Runs of calculators that cannot do everything, lenient and strict."""
    found = {}
    for name, options in {"lenient": [], "strict": ["--probe-strict"]}.items():
        directory = tmp_path_factory.mktemp(name)
        (directory / "calc.py").write_text(sound + ENERGY_ONLY)
        references = ["--probe-reference-only", f"--probe-reference={recorded}", f"--probe-reference={quick_speed}"]
        found[name] = run_probes_in(
            directory, *calculators("energy_only", "knows_sb_and_te"), *references, *options, "-rs",
            "-k", "not physicality and not dynamics",
        )  # fmt: skip
    return found


@pytest.mark.parametrize("kind", ["lenient", "strict"])
def test_without_forces_energies_are_judged(kind, limited):
    found = rows(limited[kind].card, "energy_only")
    of_forces = [r for r in found if r.quantity.startswith(("force_", "migrating_force_", "latency"))]
    assert {r.verdict.state.value for r in of_forces} == {"not applicable"}
    assert {r.verdict.state.value for r in found if r not in of_forces} == {"passed", "reported"}
    reasons = {r.verdict.reason for r in of_forces}
    assert reasons == {"the calculator implements no forces"}


@pytest.mark.parametrize("kind", ["lenient", "strict"])
def test_without_chromium_sliding_is_judged(kind, limited):
    found = rows(limited[kind].card, "knows_sb_and_te")
    with_cr = [r for r in found if r.family in ("migration", "parity")]
    assert sum(r.family == "migration" for r in with_cr) == DEEP_QUANTITIES + IN_GAP_QUANTITIES
    assert {r.verdict.state for r in with_cr} == {"not applicable"}
    assert {r.verdict.reason for r in with_cr} == {"knows_sb_and_te does not know Cr"}
    unknown = {case.id for case in STORED if not {*case.elements} <= {"Cr", "Sb", "Te"}}
    other = [r for r in found if r not in with_cr and r.case not in unknown]
    assert {r.verdict.state.value for r in other} == {"passed", "reported"}


def test_not_applicable_is_no_failure(limited):
    run = limited["lenient"]
    assert run.code == pytest.ExitCode.OK, run.output
    assert run.card.verdict == "passed"
    run.matches("SKIPPED*not applicable: knows_sb_and_te does not know Cr*", "verdict: PASSED (*not applicable*)")


def test_not_applicable_fails_where_strict(limited):
    run = limited["strict"]
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert run.card.verdict == "failed"
    assert run.card.options.strict
    run.matches(
        "*barrier: not applicable: knows_sb_and_te does not know Cr*",
        "note: not applicable counts as failed (--probe-strict)",
        "verdict: FAILED (*not applicable*)",
    )


@pytest.mark.parametrize("workers", WORKERS)
def test_knowing_no_element_judges_nothing(workers, run_probes, tmp_path):
    (tmp_path / "helium.py").write_text(
        "from ase.calculators.emt import EMT\n\n\nclass Helium(EMT):\n    elements = ['He']\n\n\nmake = Helium\n"
    )
    run = run_probes("--calculator=py:./helium.py:make", *workers)
    assert run.code == pytest.ExitCode.TESTS_FAILED
    assert run.card.verdict == "nothing judged"
    assert run.card.complete
    assert len(run.card.results) == STORED_QUANTITIES
    assert {r.verdict.state for r in run.card.results} == {"not applicable"}
    reasons = {r.verdict.reason for r in run.card.results}
    assert reasons == {f"make does not know {', '.join(sorted(case.elements))}" for case in STORED}
    assert run.card.time.model_calls == 0
    run.matches(f"verdict: NOTHING JUDGED ({STORED_QUANTITIES} not applicable)")
