"""calc.toml: a calculator written down in a file, read strictly."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

import pytest
from support import refusal

from mlff_probes.calculators.registry import load_calculator
from mlff_probes.calculators.spec import parse_request

SOURCE = """
from ase.calculators.lj import LennardJones


class Named(LennardJones):
    elements = ("Sb", "Te")
    level_of_theory = "LJ"


def make(**given):
    found = Named()
    found.given = given
    return found


def plain(sigma=1.0):
    return LennardJones(sigma=sigma)


def breaks():
    raise OSError("no licence")


def nothing():
    return None


number = 3
"""

FULL = """
factory = "./calc.py:make"
label = "mine"
level_of_theory = "PBE"
elements = ["Cr", "Sb", "Te"]
device = "cuda:1"
dtype = "float32"

[arguments]
path = "{here}/model.pt"
cutoff = 5
layers = [64, 32]
flags = { fast = true, files = ["{here}/a", "b"] }
"""


@pytest.fixture(autouse=True)
def own_path(monkeypatch):
    """The folder of a factory stays on `sys.path`; not beyond a test."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with `calc.py` and a full `calc.toml`; the working directory is another one."""
    place = tmp_path / "my models"
    place.mkdir()
    (place / "calc.py").write_text(SOURCE)
    (place / "beside.py").write_text(SOURCE)
    (place / "calc.toml").write_text(FULL)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return place


def write(folder, text, name="calc.toml"):
    (folder / name).write_text(text)
    return f"../{folder.name}/{name}"


def test_all_that_a_file_may_say(folder):
    calculator = load_calculator("../my models/calc.toml")
    identity = calculator.identity
    arguments = {
        "path": f"{folder}/model.pt",
        "cutoff": 5,
        "layers": [64, 32],
        "flags": {"fast": True, "files": [f"{folder}/a", "b"]},
    }
    assert calculator.ase.given == arguments | {"device": "cuda:1", "dtype": "float32"}
    assert (identity.label, identity.family, identity.version) == ("mine", "py", "Named")
    assert (identity.elements, identity.level_of_theory) == (("Cr", "Sb", "Te"), "PBE")
    assert (identity.device, identity.dtype) == ("cuda:1", "float32")
    assert identity.spec == "../my models/calc.toml"
    assert identity.options == {"factory": "./calc.py:make"} | arguments
    assert identity.sha256 == hashlib.sha256(SOURCE.encode()).hexdigest()


def test_what_it_does_not_say_comes_from_the_calculator_and_its_own_name(folder):
    identity = load_calculator(write(folder, 'factory = "calc.py:make"', "run 7.toml")).identity
    assert (identity.label, identity.elements, identity.level_of_theory) == ("run_7", ("Sb", "Te"), "LJ")
    assert (identity.device, identity.dtype) == ("not stated", "not stated")


def test_keys_of_the_spec_win_and_add(folder):
    spec = "../my models/calc.toml,label=other,level=r2SCAN,device=cpu,dtype=float64,cutoff=6,new=x"
    calculator = load_calculator(spec, device="mps", dtype="float32")
    assert calculator.ase.given.keys() == {"path", "cutoff", "layers", "flags", "new", "device", "dtype"}
    assert (calculator.ase.given["cutoff"], calculator.ase.given["new"]) == (6, "x")
    identity = calculator.identity
    assert (identity.label, identity.level_of_theory) == ("other", "r2SCAN")
    assert (identity.device, identity.dtype) == ("cpu", "float64")


def test_the_file_wins_over_the_options_of_the_run(folder):
    request = parse_request("../my models/calc.toml", device="cpu", dtype="float64")
    assert (request.device, request.dtype) == ("cuda:1", "float32")
    request = parse_request(write(folder, 'factory = "calc.py:make"'), device="cpu", dtype="float64")
    assert (request.device, request.dtype) == ("cpu", "float64")


def test_a_term_of_dispersion_is_added_by_the_file_or_by_the_spec(folder):
    file = write(folder, 'factory = "calc.py:make"\ndispersion = "d3bj"\n[arguments]\ndispersion = "own switch"')
    request = parse_request(file)
    assert (request.dispersion, request.options) == ("d3bj", {"dispersion": "own switch"})
    assert parse_request(f"{file},dispersion=d3zero").dispersion == "d3zero"


def test_the_path_of_the_numbers_belongs_above_the_arguments(folder):
    spec = write(folder, 'factory = "calc.py:make"\ncompile = "default"\nkernels = "mine"')
    calculator = load_calculator(f"{spec},kernels=other")
    assert calculator.ase.given == {"compile": "default", "kernels": "other"}
    assert (calculator.identity.compile_mode, calculator.identity.kernels) == ("default", "other")
    message = refusal(write(folder, 'factory = "calc.py:make"\n[arguments]\ncompile = "default"'))
    assert "compile belongs above [arguments]" in message


@pytest.mark.parametrize("where", ["beside", "nested", "absolute", "module"])
def test_where_the_factory_is(folder, where, monkeypatch):
    (folder / "sub").mkdir()
    shutil.copy(folder / "calc.py", folder / "sub" / "factory_of_mine.py")
    monkeypatch.syspath_prepend(folder / "sub")
    factory = {
        "beside": "calc.py:plain",
        "nested": "./sub/factory_of_mine.py:plain",
        "absolute": f"{folder}/calc.py:plain",
        "module": "factory_of_mine:plain",
    }[where]
    spec = write(folder, f'factory = "{factory}"\n[arguments]\nsigma = 2.5')
    assert load_calculator(spec).ase.parameters["sigma"] == 2.5
    sys.modules.pop("factory_of_mine", None)


def test_two_files_with_a_factory_of_one_name_do_not_share_it(tmp_path):
    found = []
    for sigma in (2.0, 3.0):
        place = tmp_path / str(sigma)
        place.mkdir()
        (place / "calc.py").write_text(SOURCE.replace("sigma=1.0", f"sigma={sigma}"))
        (place / "calc.toml").write_text('factory = "./calc.py:plain"')
        found.append(load_calculator(str(place / "calc.toml")).ase.parameters["sigma"])
    assert found == [2.0, 3.0]


PLAIN = 'factory = "calc.py:plain"\n'
MAKE = 'factory = "calc.py:make"\n'

REFUSED = {
    "no factory": ('label = "x"', ["the key 'factory' is missing"]),
    "empty": ("", ["the key 'factory' is missing"]),
    "unknown key": (MAKE + 'colour = "red"', ["unknown key 'colour'"]),
    "unknown table": (MAKE + "[argument]\nx = 1", ["unknown key 'argument'"]),
    "no TOML": (MAKE + "label = mine", ["is not valid TOML: Invalid value (at line 2, column 9)"]),
    "key twice": (MAKE + MAKE, ["is not valid TOML: Cannot overwrite a value"]),
    "factory without a name": ('factory = "calc.py"', ["'factory': a factory is written ./file.py:callable"]),
    "factory without a file": ('factory = ":make"', ["'factory': a factory is written"]),
    "factory of another type": ("factory = 3", ["'factory': input should be a valid string, found 3"]),
    "element typo": (MAKE + 'elements = ["Cr", "TE"]', ["'elements.2': not the symbol of an element, found 'TE'"]),
    "dummy element": (MAKE + 'elements = ["X"]', ["'elements.1': not the symbol of an element, found 'X'"]),
    "elements as text": (MAKE + 'elements = "CrTe"', ["'elements': input should be a valid array, found 'CrTe'"]),
    "no elements": (MAKE + "elements = []", ["'elements'", "at least 1 item"]),
    "label": (MAKE + 'label = "a b"', ["'label': a label is made of letters, digits and _ . + -, found 'a b'"]),
    "dtype": (MAKE + 'dtype = "float16"', ["'dtype': input should be 'float32' or 'float64', found 'float16'"]),
    "level": (MAKE + "level_of_theory = true", ["'level_of_theory': input should be a valid string, found True"]),
    "empty level": (MAKE + 'level_of_theory = " "', ["'level_of_theory': string should have at least 1 character"]),
    "arguments": (MAKE + 'arguments = "x"', ["'arguments': input should be an object, found 'x'"]),
    "device below": (MAKE + '[arguments]\ndevice = "cpu"', ["'arguments': device belongs above [arguments]"]),
    "two at once": ('labl = "x"', ["the key 'factory' is missing; unknown key 'labl'"]),
    "no such file": ('factory = "./clac.py:make"', ["there is no file clac.py (looked from {folder})"]),
    "a folder": ('factory = "./sub:make"', ["there is no file sub (looked from {folder})"]),
    "no such module": ('factory = "beside:make"', ["No module named 'beside'", "(looked from {cwd})"]),
    "no such callable": ('factory = "calc.py:mk"', ["'mk' does not exist in calc.py; callable there: ", "make"]),
    "not callable": ('factory = "calc.py:number"', ["'number' is not callable in calc.py"]),
    "raises": ('factory = "calc.py:breaks"', ["cannot be built: OSError: no licence", "calc.py:21"]),
    "returns nothing": ('factory = "calc.py:nothing"', ["nothing() returned NoneType, which is no ASE calculator"]),
    "wrong argument": (
        PLAIN + "[arguments]\nsgma = 2",
        ["plain() takes no argument 'sgma'", "are: sigma"],
    ),
    "dtype it does not take": (PLAIN + 'dtype = "float32"', ["plain() takes no argument 'dtype'"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_in_one_sentence(name, folder):
    text, parts = REFUSED[name]
    (folder / "sub").mkdir()
    spec = write(folder, text)
    message = refusal(spec)
    for part in parts:
        assert part.format(folder=folder, cwd=Path.cwd()) in message
    if " key '" in message or "TOML" in message:
        assert message.startswith(f"--calculator={spec}: {spec}: ")


def test_files_that_are_none(folder):
    assert "there is no file nosuch.toml (looked from" in refusal("nosuch.toml")
    Path("folder.toml").mkdir()
    assert "folder.toml is a directory" in refusal("folder.toml")
    Path("latin.toml").write_bytes("label = '\xe9'".encode("latin-1"))
    assert "latin.toml: cannot be read" in refusal("latin.toml")
    assert "is no checkpoint but a calculator file; leave ,family= out" in refusal("../my models/calc.toml,family=mace")
    assert "the family 'py' reads no file" in refusal("../my models/calc.toml,family=py")
