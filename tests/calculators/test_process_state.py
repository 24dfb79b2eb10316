"""What a calculator changes of the process is its own: others, and we, find the process as it was."""

from __future__ import annotations

import random
import signal
import sys
import timeit
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes
from sound import Sound

from mlff_probes import evaluate, load_calculator
from mlff_probes.calculators.base import Calculator, as_calculator
from mlff_probes.calculators.process_state import ProcessState, _read
from mlff_probes.cases.load import load_cases
from mlff_probes.core.errors import EvaluationError, InputError
from mlff_probes.core.records import CalculatorIdentity
from mlff_probes.measure.laws.reproducibility import reproducibility

PAIR = Atoms("SbTe", [[0, 0, 0], [0, 0, 3]], cell=[9, 9, 9], pbc=True)

FACTORY = """
import os, random, signal, warnings
import numpy as np, torch
from ase.calculators.calculator import Calculator, all_changes

def dtype(): torch.set_default_dtype(torch.float64)
def device(): torch.set_default_device("meta")
def gradients(): torch.set_grad_enabled(False)
def inference():
    global kept
    kept = torch.inference_mode(True)
    kept.__enter__()
def errors(): np.seterr(invalid="raise")
def folder(): os.chdir(os.path.join(os.path.dirname(__file__), "inside"))
def filters(): warnings.simplefilter("error")
def handler(): signal.signal(signal.SIGTERM, signal.SIG_IGN)
def python_seed(): random.seed(5)
def numpy_seed(): np.random.seed(5)
def torch_seed(): torch.manual_seed(5)

class Leaky(Calculator):
    implemented_properties = ("energy", "forces")

    def __init__(self, change, when):
        super().__init__()
        self.change, self.when, self.seen = globals()[change], when, []
        if when == "load":
            self.change()

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.seen.append((
            str(torch.get_default_dtype()), os.getcwd(), np.geterr()["invalid"], torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
        ))
        if self.when == "call":
            self.change()
        if self.when == "failure":
            self.change()
            raise ValueError("no")
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}

def make(change, when):
    return Leaky(change, when)

def fails():
    dtype()
    raise OSError("no licence")
"""

CHANGES = {
    "dtype": "torch's default dtype (float32 to float64)",
    "device": "torch's default device (cpu to meta)",
    "gradients": "torch's gradients (turned off)",
    "inference": "torch's inference mode (turned on) and torch's gradients (turned off)",
    "errors": "numpy.seterr (invalid: warn to raise)",
    "folder": "the working directory (to {cwd}/inside)",
    "filters": "the filters of warnings",
    "handler": "the handler of SIGTERM",
    "python_seed": "Python's random state",
    "numpy_seed": "numpy's random state",
    "torch_seed": None,  # as every model does that draws its first weights
}


@pytest.fixture
def leaky(tmp_path, monkeypatch):
    """Loads a calculator that changes something at some time; the process is put right whatever it leaves."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inside").mkdir()
    (tmp_path / "leaky.py").write_text(FACTORY)
    with ProcessState().during(), np.errstate(invalid="warn"):
        yield lambda change, when: load_calculator(f"py:./leaky.py:make,change={change},when={when}")
        for module in list(sys.modules.values()):  # a guard collected later acts in another test
            if getattr(module, "__file__", None) == str(tmp_path / "leaky.py"):
                vars(module).pop("kept", None)


@pytest.mark.parametrize("when", ["load", "call", "failure"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_process_is_as_before_and_what_was_changed_is_said(leaky, tmp_path, change, when):
    np.random.normal()  # which keeps a second number for later
    before = _read()
    calculator = leaky(change, when)
    assert _read() == before
    if when == "failure":
        with pytest.raises(EvaluationError, match="ValueError: no"):
            evaluate(calculator, [PAIR])
    else:
        evaluate(calculator, [PAIR])
    assert _read() == before
    said = CHANGES[change] and CHANGES[change].format(cwd=tmp_path)
    assert list(calculator.state.changed) == (said.split(" and ") if said else [])
    assert calculator.identity.left_behind == (tuple(said.split(" and ")) if said and when == "load" else ())


@pytest.mark.parametrize("when", ["load", "call"])
def test_a_calculator_has_in_its_calls_what_it_changed(leaky, tmp_path, when):
    """And two calculators in turn do not see each other."""
    found = {change: leaky(change, when) for change in ("dtype", "folder", "errors", "gradients", "inference")}
    for step in range(3):
        for calculator in found.values():
            evaluate(calculator, [Atoms("Te", [[0, 0, 0.1 * step]], cell=[5, 5, 5], pbc=True)])
    plain = ("torch.float32", str(tmp_path), "warn", True, False)
    changed = ("torch.float64", str(tmp_path / "inside"), "raise", False, True)
    for column, calculator in enumerate(found.values()):
        own = (*plain[:column], changed[column], *plain[column + 1 :])
        if column == 4:
            own = (*plain[:3], False, True)  # which turns gradients off, too
        assert calculator.ase.seen == [own if when == "load" else plain, own, own]


def test_inference_mode_can_be_left_by_the_one_who_entered_it(leaky):
    """A model that enters it while it is loaded, and leaves it in a call."""
    before, mode, state = _read(), torch.inference_mode(True), ProcessState()
    with state.during():
        mode.__enter__()
    assert _read() == before
    with state.during():
        assert torch.is_inference_mode_enabled()
        mode.__exit__(None, None, None)
    assert _read() == before
    with state.during():
        assert _read() == before


def test_a_factory_that_fails_leaves_nothing(leaky):
    with pytest.raises(InputError, match="no licence"):
        load_calculator("py:./leaky.py:fails")
    assert torch.get_default_dtype() == torch.float32


def test_a_folder_that_is_gone_is_left_alone(leaky, tmp_path):
    calculator = leaky("folder", "load")
    (tmp_path / "inside").rmdir()
    evaluate(calculator, [PAIR])
    assert calculator.ase.seen[0][1] == str(tmp_path)


def test_a_bare_calculator_leaves_nothing_either(leaky):
    before = _read()
    evaluate(leaky("dtype", "call").ase, [PAIR])
    assert _read() == before


def test_torch_that_a_factory_loads_is_put_right():
    """Nobody had looked at torch before."""
    loaded, state = sys.modules.pop("torch"), ProcessState()
    try:
        with state.during():
            sys.modules["torch"] = loaded
            torch.set_default_dtype(torch.float64)
            torch.manual_seed(5)
        assert torch.get_default_dtype() == torch.float32
        assert list(state.changed) == ["torch's default dtype (float32 to float64)"]
    finally:
        sys.modules["torch"] = loaded
        torch.set_default_dtype(torch.float32)


def test_filters_that_imports_add_are_taken_back_without_a_word():
    state, before = ProcessState(), list(warnings.filters)
    with state.during():
        warnings.filterwarnings("ignore", message="of some package")
    assert warnings.filters == before
    assert not state.changed


def test_a_thread_that_may_set_no_handler(leaky):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(evaluate, leaky("dtype", "load"), [PAIR]).result().calls == 1
    assert signal.getsignal(signal.SIGTERM) is not None


class Dropout(Sound):
    """Sound, but for noise from a random generator of the process."""

    draw = staticmethod(random.random)

    def evaluated(self, atoms):
        results = super().evaluated(atoms)
        return results | {"energy": results["energy"] + 0.1 * float(self.draw())}


@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: torch.rand(1)])
def test_random_numbers_of_the_process_still_make_a_calculator_irreproducible(draw, monkeypatch):
    """Put back after each call without more, they would be the same in each, and dropout would pass."""
    monkeypatch.setattr(Dropout, "draw", staticmethod(draw))
    case = next(case for case in load_cases() if case.id == "reproducibility")
    identity = CalculatorIdentity(
        spec="d", label="d", family="py", dtype="float64", device="cpu", device_name="cpu", threads=1,
        elements=("Sb", "Te"),
    )  # fmt: skip
    before = _read()
    found = reproducibility(Calculator(identity, Dropout()), case)
    assert _read() == before
    assert found.values["repeat_energy"].value > 1
    assert found.values["history_energy"].value > 1


def test_looking_after_the_process_costs_a_fraction_of_a_millisecond():
    """Of a call of the smallest model that is some per cent; it is not timed as the model's."""
    state = ProcessState()

    def nothing():
        with state.during():
            pass

    assert min(timeit.repeat(nothing, number=20, repeat=5)) / 20 < 2e-3


def test_the_time_is_not_the_models():
    class Slow(ProcessState):
        def during(self):
            ticks.append(100.0)
            return super().during()

    class Free(AseCalculator):
        implemented_properties = ("energy",)

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            self.results = {"energy": 0.0}

    ticks = [0.0]
    model = replace(as_calculator(Free()), state=Slow())
    assert evaluate(model, [PAIR], forces=False, clock=lambda: sum(ticks)).model_s == 0
    assert ticks == [0.0, 100.0]
