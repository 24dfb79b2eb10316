"""Families of installed packages: entry points of the group `mlff_probes.calculators`."""

from __future__ import annotations

import hashlib
import sys

import pytest
from ase import Atoms
from support import refusal

from mlff_probes import evaluate
from mlff_probes.calculators import installed as families
from mlff_probes.calculators.installed import GROUP, installed
from mlff_probes.calculators.registry import LOADERS, load_calculator, supported

SOURCE = """
from ase.calculators.lj import LennardJones
from mlff_probes import Calculator, CalculatorIdentity, CalculatorRequest, InputError

requests = []


def load(request):
    assert isinstance(request, CalculatorRequest)
    requests.append(request)
    found = LennardJones(**request.options)
    found.elements, found.level_of_theory = [24, 52], "PBE"
    return found


def whole(request, **more):
    identity = CalculatorIdentity(
        spec="?", label="big one", family="?", parameters=7, dtype="float32", device="cpu", device_name="cpu",
        threads=1, level_of_theory="PBE", batched=True, versions={"weights": "2"})
    batch = lambda frames, forces: [(len(frame), None) for frame in frames]
    return Calculator(**(dict(identity=identity, ase=None, batch=batch) | more))


def bare(request):
    return whole(request, batch=None)


def stranger(request):
    return whole(request, identity="me")


def nothing(request):
    return None


def late(request):
    import no_such_package_of_its_own


def leaves(request):
    raise SystemExit(3)


def refuses(request):
    raise InputError("", "there is no such model")


def silly(request):
    found = LennardJones()
    found.elements = "CrTe"
    return found


def no_argument():
    return LennardJones()


number = 3
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Make a package importable and give it metadata, as an installer does."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def installed_package(entry_points, *, name="toy-package", version="1.2", source=SOURCE):
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{family} = {module}:{function}" for family, function in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]))
        monkeypatch.delitem(sys.modules, module, raising=False)
        return module

    return installed_package


def test_a_bare_calculator_is_described_by_its_attributes_and_the_request(install):
    module = install({"toy": "load"})
    calculator = load_calculator("toy:v2,sigma=2.5,label=t", device="cpu", dtype="float32")
    (request,) = sys.modules[module].requests
    assert (request.version, request.options, request.label) == ("v2", {"sigma": 2.5}, "t")
    assert (request.device, request.dtype, request.path) == ("cpu", "float32", None)
    identity = calculator.identity
    assert (identity.label, identity.family, identity.version) == ("t", "toy", "v2")
    assert (identity.elements, identity.level_of_theory) == (("Cr", "Te"), "PBE")
    assert (identity.dtype, identity.device, identity.options) == ("float32", "cpu", {"sigma": 2.5})
    assert identity.versions["toy-package"] == "1.2"
    assert calculator.supplies("forces")
    assert not calculator.supplies("magmoms")


@pytest.mark.parametrize(("spec", "label", "version"), [("toy", "toy", "LennardJones"), ("toy:v 2", "toy-v_2", "v 2")])
def test_default_label(install, spec, label, version):
    install({"toy": "load"})
    identity = load_calculator(spec).identity
    assert (identity.label, identity.version) == (label, version)
    assert (identity.dtype, identity.device) == ("not stated", "not stated")
    assert load_calculator(f"{spec},level=r2SCAN").identity.level_of_theory == "r2SCAN"


@pytest.mark.parametrize("name", ["best.ckpt", "calc.toml", "source.py"])
def test_a_file_of_a_named_family_is_handed_over_unread(install, tmp_path, name):
    module = install({"toy": "load"})
    file = tmp_path / name
    file.write_bytes(b"neither zip nor TOML nor Python")
    identity = load_calculator(f"{file},family=toy,epsilon=0.5").identity
    (request,) = sys.modules[module].requests
    assert (request.path, request.family, request.version) == (file, "toy", None)
    assert (identity.label, identity.family, identity.options) == (file.stem, "toy", {"epsilon": 0.5})
    assert identity.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_calculator_of_ours_keeps_what_it_says_and_gets_what_we_know(install):
    install({"toy": "whole"})
    calculator = load_calculator("toy:v2")
    identity = calculator.identity
    assert (identity.spec, identity.family, identity.label) == ("toy:v2", "toy", "big_one")
    assert (identity.parameters, identity.level_of_theory) == (7, "PBE")
    assert {"toy-package": "1.2", "weights": "2"}.items() <= identity.versions.items()
    assert "mlff-probes" in identity.versions
    assert load_calculator("toy,level=r2SCAN").identity.level_of_theory == "r2SCAN"
    frames = [Atoms("Cr"), Atoms("Te2")]
    assert list(evaluate(calculator, frames, forces=False).energies) == [1, 2]


def test_a_family_gets_the_whole_path_and_the_device_of_this_process(install):
    module = install({"toy": "load"})
    identity = load_calculator("toy,compile=fast,kernels=mine", device="cuda", gpu=1).identity
    (request,) = sys.modules[module].requests
    assert (request.compile_mode, request.kernels, request.device, request.gpu) == ("fast", "mine", "cuda:1", 1)
    assert (identity.compile_mode, identity.kernels, identity.device) == ("fast", "mine", "cuda:1")


@pytest.mark.parametrize("asked", ["compile=fast", "kernels=fast", "dtype=float64"])
def test_a_family_that_does_not_know_a_key_of_the_path_is_not_believed_to_have_heeded_it(install, asked):
    install({"toy": "whole"})
    assert f"{asked} was asked for, but the family 'toy'" in refusal(f"toy,{asked}")


WHO = "the family 'toy' of toy-package 1.2"
NO_CALCULATOR = "which is no ASE calculator (it has no get_potential_energy)"
REFUSED = {
    "nothing": [f"{WHO} returned NoneType, {NO_CALCULATOR}"],
    "bare": [f"{WHO} returned NoneType, {NO_CALCULATOR}"],
    "stranger": [f"{WHO} returned a Calculator whose identity is no CalculatorIdentity"],
    "late": ["cannot be built: ModuleNotFoundError: No module named 'no_such_package_of_its_own'", "toy_package.py:37"],
    "leaves": ["cannot be built: SystemExit: 3"],
    "refuses": ["--calculator=toy: there is no such model"],
    "silly": ["`elements` of the calculator must be a list of symbols or atomic numbers, found 'CrTe'"],
    "no_argument": ["cannot be built: TypeError: no_argument() takes 0 positional arguments but 1 was given"],
    "number": [f"{WHO} has no loader: toy_package:number is not callable"],
    "absent": [f"{WHO} cannot be imported: AttributeError", "'absent'"],
}


@pytest.mark.parametrize("loader", REFUSED)
def test_a_loader_that_yields_nothing_usable(install, loader):
    install({"toy": loader})
    message = refusal("toy")
    for part in REFUSED[loader]:
        assert part in message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("raise ImportError('needs CUDA 99')", "ImportError: needs CUDA 99"),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise SystemExit", "SystemExit"),
        ("def load(:", "SyntaxError"),
    ],
)
def test_a_package_that_does_not_import_matters_only_where_it_is_asked_for(install, source, says):
    install({"toy": "load"}, source=source)
    assert load_calculator("ase:EMT").label == "EMT"
    assert "installed packages add toy" in refusal("nosuch")
    assert f"{WHO} cannot be imported: {says}" in refusal("toy:v2")


def test_two_packages_with_one_name(install):
    install({"toy": "load", "mine": "load"})
    install({"toy": "load"}, name="other-toys", version="3")
    assert "'toy' is added by several installed packages: other-toys 3 and toy-package 1.2" in refusal("toy:v2")
    assert load_calculator("mine").label == "mine"


def test_built_in_names_win(install):
    install(dict.fromkeys(LOADERS, "nothing"))
    assert load_calculator("ase:EMT").identity.family == "ase"
    assert "installed packages add" not in supported()


def test_a_family_of_a_package_wins_over_the_row_of_that_name(install):
    install({"sevennet": "load"})
    assert load_calculator("sevennet:7net-0").identity.versions["toy-package"] == "1.2"


def test_messages_know_the_installed_families(install, tmp_path):
    install({"nequip": "load", "allegro": "load"})
    assert set(installed()) == {"nequip", "allegro"}
    added = "installed packages add allegro, nequip (a file of theirs: ,family=…)"
    message = refusal("nequipp:small")
    assert "'nequipp:small' is no file and no known family (did you mean nequip?)" in message
    assert added in message
    file = tmp_path / "x.ckpt"
    file.write_bytes(b"?")
    assert added in refusal(file)
    assert "unknown family 'alegro' (did you mean allegro?)" in refusal(f"{file},family=alegro")
    assert "there is no file missing.ckpt" in refusal("missing.ckpt,family=nequip")
    assert f"{tmp_path} is a directory" in refusal(f"{tmp_path},family=nequip")
    assert "nequip:small is of the family 'nequip', not 'allegro'" in refusal("nequip:small,family=allegro")


def test_nobody_looks_for_entry_points_who_needs_none(monkeypatch):
    def looked(**_):
        raise AssertionError("looked")

    monkeypatch.setattr(families.metadata, "entry_points", looked)
    assert load_calculator("ase:EMT").label == "EMT"
