"""Calculators that are already Python: ASE's own and any factory."""

from __future__ import annotations

import hashlib
import sys

import pytest
from ase.calculators.emt import EMT

from mlff_probes.calculators.registry import load_calculator
from mlff_probes.errors import InputError

SOURCE = """
from ase.calculators.lj import LennardJones

class Named(LennardJones):
    elements = ("Sb", "Te")
    level_of_theory = "LJ"

def make(sigma=2.0):
    return Named(sigma=sigma)

def on_device(device="cpu", dtype="float64"):
    found = LennardJones()
    found.asked = (device, dtype)
    return found

def breaks():
    raise OSError("no\\nlicence")

def leaves():
    raise SystemExit("bye")
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "calc.py").write_text(SOURCE)
    yield tmp_path / "calc.py"
    sys.modules.pop("calc", None)


@pytest.mark.parametrize("target", ["py:./calc.py:make", "py:calc.py:make", "py:calc:make"])
def test_a_factory_in_a_file_or_a_module(source, target):
    calculator = load_calculator(f"{target},sigma=2.5")
    identity = calculator.identity
    assert calculator.ase.parameters["sigma"] == 2.5
    assert (identity.label, identity.family, identity.version) == ("make", "py", "Named")
    assert (identity.elements, identity.level_of_theory) == (("Sb", "Te"), "LJ")
    assert calculator.unknown_elements(frozenset({"Cr", "Te"})) == ["Cr"]
    assert calculator.supplies("forces")
    assert not calculator.supplies("magmoms")
    if ".py" in target:
        assert identity.sha256 == hashlib.sha256(SOURCE.encode()).hexdigest()


def test_device_and_dtype_go_to_a_factory_that_takes_them(source):
    calculator = load_calculator("py:calc.py:on_device", device="cpu", dtype="float32")
    assert calculator.ase.asked == ("cpu", "float32")
    assert calculator.identity.dtype == "float32"
    with pytest.raises(InputError, match="takes no argument 'dtype'"):
        load_calculator("py:calc.py:make", dtype="float32")


def test_a_file_may_import_its_neighbours_also_later(source):
    (source.parent / "beside_early.py").write_text("SIGMA = 2.2")
    (source.parent / "beside_late.py").write_text("EPSILON = 0.3")
    source.write_text(
        "import beside_early\nfrom ase.calculators.lj import LennardJones\n"
        "def make():\n    import beside_late\n"
        "    return LennardJones(sigma=beside_early.SIGMA, epsilon=beside_late.EPSILON)\n"
    )
    assert load_calculator("py:calc.py:make").ase.parameters["epsilon"] == 0.3


@pytest.mark.parametrize(
    ("factory", "says"), [("breaks", "OSError: no licence"), ("leaves", "SystemExit: bye"), ("make,sgma=1", "sgma")]
)
def test_a_factory_that_raises_says_where(source, factory, says):
    with pytest.raises(InputError) as caught:
        load_calculator(f"py:calc.py:{factory}")
    assert says in str(caught.value)
    assert ".py:" in str(caught.value)


def test_a_file_that_does_not_compile(source):
    source.write_text("def make(:\n")
    with pytest.raises(InputError, match="SyntaxError"):
        load_calculator("py:calc.py:make")


def test_ase_builtins():
    emt = load_calculator("ase:EMT,label=reference")
    assert isinstance(emt.ase, EMT)
    assert emt.label == "reference"
    assert "Cu" in emt.identity.elements
    assert emt.unknown_elements(frozenset({"Cu", "Te"})) == ["Te"]
    lj = load_calculator("ase:LennardJones,sigma=2.5,epsilon=0.2")
    assert (lj.ase.parameters["sigma"], lj.ase.parameters["epsilon"]) == (2.5, 0.2)
    assert lj.identity.elements is None
    assert lj.unknown_elements(frozenset({"Te"})) == []


def test_two_files_with_neighbours_of_one_name_get_their_own(tmp_path):
    import sys

    for name, sigma in (("a", 2.0), ("b", 3.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model_def.py").write_text(f"SIGMA = {sigma}\n")
        (tmp_path / name / "calc.py").write_text(
            "from ase.calculators.lj import LennardJones\nimport model_def\n\n\ndef make():\n"
            "    from model_def import SIGMA\n\n    return LennardJones(sigma=SIGMA, rc=10 * model_def.SIGMA)\n"
        )
    try:
        found = [load_calculator(f"py:{tmp_path}/{name}/calc.py:make").ase.parameters for name in "aba"]
    finally:
        sys.modules.pop("model_def", None)
    assert [p["sigma"] for p in found] == [2.0, 3.0, 2.0]
    assert [p["rc"] for p in found] == [20.0, 30.0, 20.0]
