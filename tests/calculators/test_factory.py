"""Calculators that are already Python: ASE's own and any factory."""

from __future__ import annotations

import hashlib
import os
import sys
from types import ModuleType

import pytest
from ase.calculators.emt import EMT

from mlff_probes.calculators.device import HOST
from mlff_probes.calculators.registry import load_calculator
from mlff_probes.core.errors import InputError
from mlff_probes.scorecard.reports.text import identity_lines

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

def on_path(device="cpu", compile=None, kernels=None):
    found = LennardJones()
    found.asked = (device, compile, kernels)
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


def test_compile_and_kernels_go_to_a_factory_that_takes_them(source):
    calculator = load_calculator("py:calc.py:on_path,compile=max-autotune,kernels=mine")
    identity = calculator.identity
    assert calculator.ase.asked == ("cpu", "max-autotune", "mine")
    assert (identity.compile_mode, identity.kernels, identity.options) == ("max-autotune", "mine", {})
    plain = load_calculator("py:calc.py:on_path")
    assert plain.ase.asked == ("cpu", None, None)
    assert (plain.identity.compile_mode, plain.identity.kernels) == (None, None)
    for key in ("compile", "kernels"):
        with pytest.raises(InputError, match=f"{key} mine was asked for, but make.. takes no argument '{key}'"):
            load_calculator(f"py:calc.py:make,{key}=mine")


def test_only_a_factory_that_takes_the_key_can_be_compiled(source):
    assert load_calculator("py:calc.py:on_path").can_compile
    assert not load_calculator("py:calc.py:make").can_compile
    assert not load_calculator("ase:EMT").can_compile


def test_the_hash_of_a_factory_is_said_to_be_that_of_its_file(source):
    """The model is elsewhere: in files that options name, and in the packages of its classes."""
    (source.parent / "weights").write_bytes(b"abc")
    source.write_text(SOURCE + "\ndef reads(path, scale=1.0):\n    return LennardJones()\n")
    identity = load_calculator("py:calc.py:reads,path=weights,scale=2").identity
    assert identity.sha256_of == "calc.py, in which reads() is, not of a model"
    assert identity.files == {"path": hashlib.sha256(b"abc").hexdigest()}
    assert load_calculator("py:calc.py:make").identity.sha256_of == "calc.py, in which make() is, not of a model"
    lines = identity_lines(identity)
    assert f"  sha256 {identity.sha256} of calc.py, in which reads() is, not of a model" in lines
    assert f"  path weights: sha256 {identity.files['path']}" in lines


def test_a_factory_that_needs_an_import_to_have_been_the_first_can_be_loaded_again(source, monkeypatch):
    """As mace, whose import sets a variable, without which no MACE can be unpickled."""
    variable = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setitem(sys.modules, "mace", ModuleType("mace"))
    source.write_text(f"import os\n{SOURCE}\ndef needs():\n    assert os.environ['{variable}']\n    return make()\n")
    assert load_calculator("py:calc.py:needs").fresh().ase.parameters["sigma"] == 2.0
    assert variable not in os.environ


WITH_NETWORK = """
import torch
from ase.calculators.lj import LennardJones

class Network(LennardJones):
    def __init__(self, kind):
        super().__init__()
        self.model = torch.nn.Linear(3, 1, dtype=kind)

def follows(dtype="float32"):
    return Network(getattr(torch, dtype))

def deaf(dtype="float32"):
    return Network(torch.float32)

def says_so(dtype="float32"):
    found = LennardJones()
    found.dtype = torch.float32
    return found

def says_more():
    found = Network(torch.float32)
    found.dtype = "float64"
    return found

def half():
    return Network(torch.bfloat16)
"""


def test_the_precision_is_that_of_the_networks(source):
    source.write_text(WITH_NETWORK)
    for asked, dtype in (("follows", "float32"), ("follows,dtype=float64", "float64"), ("deaf", "float32"),
                         ("says_more", "float32"), ("half", "not stated")):  # fmt: skip
        assert load_calculator(f"py:calc.py:{asked}").identity.dtype == dtype


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("deaf", "the parameters of its model are float32"),
        ("says_so", r"it says \(attribute 'dtype'\) float32"),
    ],
)
def test_a_factory_that_was_asked_for_another_precision_is_refused(source, asked, says):
    """As one that falls back to another device is: two paths of one precision are no comparison of precisions."""
    source.write_text(WITH_NETWORK)
    with pytest.raises(InputError, match=f"dtype float64 was asked for, but .* does not compute in it: {says}"):
        load_calculator(f"py:calc.py:{asked},dtype=float64")
    with pytest.raises(InputError, match="dtype float64 was asked for"):
        load_calculator(f"py:calc.py:{asked}").fresh(dtype="float64")


def test_a_factory_gets_the_device_of_this_process(source):
    assert load_calculator("py:calc.py:on_path", device="cuda", gpu=1).ase.asked[0] == "cuda:1"
    assert load_calculator("py:calc.py:on_path", device="cuda").ase.asked[0] == "cuda"
    assert load_calculator("py:calc.py:on_path,device=cuda:0", gpu=1).ase.asked[0] == "cuda:0"
    again = load_calculator("py:calc.py:on_path", device="cuda", gpu=1).fresh(device="cpu")
    assert (again.ase.asked[0], again.identity.device) == ("cpu", "cpu")


@pytest.mark.parametrize(
    ("asked", "said", "device"),
    [
        (None, "cpu", "cpu"),
        (None, "cpu:0", "cpu"),
        (None, "cuda:1", "cuda:1"),
        (None, "somewhere", "not stated"),
        ("auto", "cuda", "cuda"),
        ("auto", "none", "not stated"),
        ("cuda:1", "cuda", "cuda:1"),
        ("cuda", "cuda:0", "cuda:0"),
        ("cpu", "none", "cpu"),
    ],
)
def test_where_a_calculator_computes_is_what_it_says_or_else_what_was_asked(source, monkeypatch, asked, said, device):
    from ase.calculators.lj import LennardJones

    monkeypatch.setattr(LennardJones, "device", said, raising=False)
    spec = "py:calc.py:on_path" if asked else "py:calc.py:make"
    assert load_calculator(spec, device=asked).identity.device == device


@pytest.mark.parametrize(("asked", "said"), [(None, "none"), ("cpu", "cpu"), ("cpu", "none")])
def test_where_the_parameters_lie_is_where_a_calculator_computes(source, monkeypatch, asked, said):
    from ase.calculators.lj import LennardJones

    monkeypatch.setattr(LennardJones, "device", said, raising=False)
    monkeypatch.setattr(LennardJones, "__init__", with_model(LennardJones.__init__))
    assert load_calculator("py:calc.py:make", device=asked).identity.device == "cpu"


@pytest.mark.parametrize("said", ["cuda", "cuda:1", "none"])
def test_a_model_that_stayed_on_the_cpu_is_refused_on_another_device(source, monkeypatch, said):
    from ase.calculators.lj import LennardJones

    monkeypatch.setattr(LennardJones, "device", said, raising=False)
    monkeypatch.setattr(LennardJones, "__init__", with_model(LennardJones.__init__))
    with pytest.raises(InputError, match=r"device cuda:1 was asked for, but the parameters of its model lie on cpu"):
        load_calculator("py:calc.py:on_path", device="cuda:1")


def with_model(init):
    """A constructor after which a calculator has a network."""
    import torch

    def made(self, *arguments, **keys):
        init(self, *arguments, **keys)
        self.model = torch.nn.Linear(1, 1)

    return made


def test_the_device_of_torch_is_a_device(source, monkeypatch):
    import torch
    from ase.calculators.lj import LennardJones

    monkeypatch.setattr(LennardJones, "device", torch.device("cpu"), raising=False)
    calculator = load_calculator("py:calc.py:make", device="cpu")
    assert calculator.identity.device == "cpu"
    assert calculator.device is HOST


def test_a_calculator_without_a_word_on_its_device_that_was_asked_for_the_cpu(source):
    assert load_calculator("py:calc.py:make,device=cpu").identity.device == "cpu"
    assert load_calculator("py:calc.py:make").identity.device == "not stated"
    with pytest.raises(InputError, match="takes no argument 'device'"):
        load_calculator("py:calc.py:make,device=cuda")


@pytest.mark.parametrize(("asked", "said"), [("cuda", "cpu"), ("cuda:1", "cuda:0"), ("mps", "cuda")])
def test_a_calculator_that_falls_back_to_another_device_is_refused(source, monkeypatch, asked, said):
    from ase.calculators.lj import LennardJones

    monkeypatch.setattr(LennardJones, "device", said, raising=False)
    with pytest.raises(InputError, match=f"device {asked} was asked for, but .* computes on {said}"):
        load_calculator("py:calc.py:on_path", device=asked)


def test_a_calculator_that_says_it_computes_on_an_accelerator_is_waited_for(source, monkeypatch):
    import torch

    waited = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    calculator = load_calculator("py:calc.py:on_path", device="cuda:1")
    calculator.device.synchronize()
    assert waited == ["cuda:1"]
    assert (calculator.identity.device_name, calculator.identity.cuda) == ("GPU of cuda:1", "12.8")
    assert calculator.identity.tf32 is torch.backends.cuda.matmul.allow_tf32


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
