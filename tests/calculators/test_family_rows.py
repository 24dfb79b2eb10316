"""Each row of our table of families: what it asks of its package, which stands in here and records it."""

from __future__ import annotations

import itertools
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones

from mlff_probes.calculators import families
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.calculators.registry import load_calculator
from mlff_probes.core.errors import EvaluationError, InputError

ROW_KEYS = {"title", "package", "install", "licence", "tried"}
CALLS: list[tuple] = []


def called(name, result=None):
    """A callable that records how it is called."""

    def stand_in(*args, **kwargs):
        CALLS.append((name, args, kwargs))
        return result

    return stand_in


class Calc(LennardJones):
    """What stands in for a calculator of ASE."""

    def __init__(self, *args, **kwargs):
        CALLS.append(("calculator", args, kwargs))
        self.calculator = self
        super().__init__(sigma=2.0, epsilon=0.1)

    def model(self):
        return SimpleNamespace(capabilities=lambda: SimpleNamespace(atomic_types=[14, 32]))

    @classmethod
    def from_model_checkpoint(cls, *args, **kwargs):
        return cls(*args, **kwargs)

    from_compiled_model = _from_saved_model = from_model_checkpoint


def put(monkeypatch, module, **content):
    """Put a module with this content, and those above it, where imports find them."""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        if not isinstance(sys.modules.get(name), ModuleType) or not hasattr(sys.modules[name], "stands_in"):
            made = ModuleType(name)
            made.stands_in, made.__path__ = True, []
            monkeypatch.setitem(sys.modules, name, made)
        if depth > 1:
            setattr(sys.modules[".".join(parts[: depth - 1])], parts[depth - 1], sys.modules[name])
    for key, value in content.items():
        setattr(sys.modules[module], key, value)


def orb(put, file):
    def inf_omat(weights_path="far/inf-omat.ckpt", **kwargs):
        CALLS.append(("model", (weights_path,), kwargs))
        return "network", "adapter"

    put("cached_path", cached_path=called("cached_path", file))
    put("orb_models.forcefield.pretrained", ORB_PRETRAINED_MODELS={"orb-v3-conservative-inf-omat": inf_omat})
    put("orb_models.forcefield.inference.calculator", ORBCalculator=Calc)
    path = {"device": "cpu", "precision": "float32-highest", "compile": False}
    return "orb", [
        ("cached_path", ("far/inf-omat.ckpt",), {}),
        ("model", ("far/inf-omat.ckpt",), path),
        ("calculator", ("network", "adapter"), {"device": "cpu"}),
    ]


def orb_finetuned(put, file):
    _, (_, (_, _, path), last) = orb(put, file)
    return f"orb:{file},architecture=orb-v3-conservative-inf-omat,dtype=float64", [
        ("model", (str(file),), path | {"precision": "float64"}), last,
    ]  # fmt: skip


def mattersim(put, file):
    folder = file.parent / ".local/mattersim/pretrained_models"
    folder.mkdir(parents=True)

    def download(name, save_folder):
        CALLS.append(("download", (name, save_folder), {}))
        (folder / name).write_text("weights")

    put("mattersim.utils.download_utils", download_checkpoint=download)
    put("mattersim.forcefield", MatterSimCalculator=Calc)
    name = "mattersim-v1.0.0-5M"
    return f"mattersim:{name}", [
        ("download", (f"{name}.pth", str(folder)), {}),
        ("calculator", (), {"load_path": str(folder / f"{name}.pth"), "device": "cpu"}),
    ]


def uma(put, file):
    put("fairchem.core", FAIRChemCalculator=Calc)
    put("fairchem.core.calculate.pretrained_mlip", pretrained_checkpoint_path_from_name=called("download", file))
    put("fairchem.core.units.mlip_unit", InferenceSettings=dict)
    settings = {"base_precision_dtype": "float32", "activation_checkpointing": False}
    asked = {"task_name": "omat", "inference_settings": settings, "device": "cpu"}
    return "uma:uma-s-1p2p1,task=omat", [
        ("download", ("uma-s-1p2p1",), {}), ("calculator", ("uma-s-1p2p1",), asked),
    ]  # fmt: skip


def matgl(put, file):
    name = "TensorNet-PES-MatPES-PBE-2025.2"
    put("huggingface_hub", hf_hub_download=called("download", file))
    put("matgl", load_model=called("load", SimpleNamespace(to=called("to", "potential"))))
    put("matgl.config", MATGL_CACHE="cache")
    put("matgl.utils.io", HF_MATGL_ORG="materialyze")
    put("matgl.ext.ase", PESCalculator=Calc)
    return f"matgl:{name}", [
        ("download", (f"materialyze/{name}", "state.pt"), {"cache_dir": "cache"}),
        ("load", (name,), {}),
        ("to", ("cpu",), {}),
        ("calculator", ("potential",), {"stress_unit": "eV/A3"}),
    ]


def diep(put, file):
    (folder := file.parent / "pretrained_models/diep_fold1").mkdir(parents=True)
    (folder / "state.pt").write_text("weights")
    put("diep.pretrained", make_calculator=Calc, __file__=str(file.parent / "pretrained.py"))
    return "diep", [("calculator", (folder,), {"device": "cpu"})]


def grace(put, file):
    put("tensorflow", config=SimpleNamespace(set_visible_devices=called("visible")))
    put("tensorpotential.calculator.foundation_models", grace_fm=Calc)
    return "grace:GRACE-2L-OAM", [("visible", ([], "GPU"), {}), ("calculator", ("GRACE-2L-OAM",), {})]


def pet(put, file):
    put("huggingface_hub", hf_hub_download=called("download", file))
    put("upet.ase", UPETCalculator=Calc)
    return "pet:pet-mad-xs-v1.6.0,dtype=float64", [
        ("download", ("lab-cosmo/upet", "pet-mad-xs-v1.6.0.ckpt"), {"subfolder": "models"}),
        ("calculator", (), {"checkpoint_path": str(file), "device": "cpu", "dtype": "float64"}),
    ]


def metatomic(put, file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/extra/metatomic-version", "0.1")
    put("metatomic_ase", MetatomicCalculator=Calc)
    return str(file), [("calculator", (str(file),), {"device": "cpu"})]


def nequip(put, file):
    file = file.rename(file.with_name("silicon.nequip.pth"))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/extra/model_dtype", "float32")
        archive.writestr("model/extra/type_names", "Si Ge")
    put("nequip.integrations.ase", NequIPCalculator=Calc)
    return str(file), [("calculator", (str(file),), {"device": "cpu"})]


def deepmd(put, file):
    put("deepmd.calculator", DP=Calc)
    put("deepmd.pretrained.download", resolve_model_path=called("download", file))
    return "deepmd:DPA-3.1-3M", [
        ("download", ("DPA-3.1-3M",), {}), ("calculator", (str(file),), {"head": "Omat24"}),
    ]  # fmt: skip


def lammps(put, file):
    file = file.rename(file.with_name("GeSi.snap"))
    (coefficients := file.with_name("GeSi.snapcoeff")).write_text("2 1\n")
    file.write_text(
        "# of germanium\nvariable inner equal 4\npair_style hybrid/overlay &\n zbl ${inner} 4.8 snap\n"
        "pair_coeff 1 1 zbl 32 32\npair_coeff * * snap GeSi.snapcoeff GeSi.snapparam Ge Si # both\n"
    )
    put("ase.calculators.lammpslib", LAMMPSlib=Calc)
    commands = [
        "variable inner equal 4", "pair_style hybrid/overlay zbl ${inner} 4.8 snap", "pair_coeff 1 1 zbl 32 32",
        f"pair_coeff * * snap {coefficients.resolve()} GeSi.snapparam Ge Si",
    ]  # fmt: skip
    given = {"lmpcmds": commands, "atom_types": {"Ge": 1, "Si": 2}, "keep_alive": True}
    return str(file), [("calculator", (), given)]


def matcalc(put, file):
    put("matcalc", load_fp=Calc)
    return "matcalc:SevenNet-MPtrj-0", [("calculator", (), {"name": "SevenNet-MPtrj-0"})]


def sevennet(put, file):
    put("sevenn.calculator", SevenNetCalculator=Calc)
    put("sevenn.util", pretrained_name_to_path=called("download", file))
    return "sevennet:7net-mf-0,batch=off", [  # its batches have stand-ins of their own, in test_family_batches
        ("download", ("7net-mf-0",), {}), ("calculator", (), {"model": str(file), "modal": "PBE", "device": "cpu"}),
    ]  # fmt: skip


def nep(put, file):
    file.write_text("nep5 2 Si Ge\n")
    put("calorine.calculators", CPUNEP=Calc)
    return f"{file},batch=off", [  # as that of SevenNet
        ("calculator", (), {"model_filename": str(file)}),
    ]


def xtb(put, file):
    put("tblite.ase", TBLite=Calc)
    return "xtb:GFN1-xTB,charge=1", [("calculator", (), {"method": "GFN1-xTB", "charge": 1, "verbosity": 0})]


SAYS = {
    orb: ("orb", "MP", "float32", None),
    orb_finetuned: ("orb", None, "float64", None),
    mattersim: ("mattersim", "MP", "float32", None),
    uma: ("uma", "MP", "float32", None),
    matgl: ("matgl", "PBE", "float32", None),
    diep: ("diep", "r2SCAN", "float32", None),
    grace: ("grace", "MP", "float64", None),
    pet: ("pet", "r2SCAN", "float64", ("Si", "Ge")),
    metatomic: ("metatomic", None, "not stated", ("Si", "Ge")),
    nequip: ("nequip", None, "float32", ("Si", "Ge")),
    deepmd: ("deepmd", "MP", "not stated", None),
    lammps: ("lammps", None, "float64", ("Ge", "Si")),
    matcalc: ("matcalc", "MP", "not stated", None),
    sevennet: ("sevennet", "MP", "float32", None),
    nep: ("nep", None, "float64", None),
    xtb: ("xtb", "GFN1-xTB", "float64", None),
}
"""Of each stand-in: family, level of theory, precision and elements that the identity then has."""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Let every package count as installed, and return how a stand-in is put in its place."""
    monkeypatch.setattr(families, "versions", lambda *packages: dict.fromkeys(packages, "1.0"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DEVICE", "")  # so that it is put back
    monkeypatch.chdir(tmp_path)
    CALLS.clear()
    (tmp_path / "weights.x").write_text("weights")
    return lambda how: how(lambda module, **content: put(monkeypatch, module, **content), tmp_path / "weights.x")


@pytest.mark.parametrize("how", SAYS, ids=lambda how: how.__name__)
def test_a_row_calls_its_package_as_it_is_meant_to_be_called(stand_in, how):
    spec, calls = stand_in(how)
    identity = load_calculator(spec, trust_checkpoint=True).identity
    assert calls == CALLS
    assert (identity.family, identity.level_of_theory, identity.dtype, identity.elements) == SAYS[how]
    assert identity.device == "cpu"
    assert (identity.sha256 is not None) == (how not in (grace, matcalc, xtb))


def test_every_row_says_what_it_must_and_has_a_stand_in():
    table = families.families()
    assert {name for name, *_ in SAYS.values()} == set(table) - {"chgnet", "mace", "eam"}  # which are tried for real
    for row in table.values():
        assert row.model_fields_set >= ROW_KEYS


def test_no_two_rows_of_ours_recognise_one_file():
    rows = families.made_by_row().values()
    for one, other in itertools.permutations(rows, 2):
        assert not any(suffix.endswith(other.suffixes) for suffix in one.suffixes)
        assert not one.pickled or not set(one.pickled) <= set(other.pickled)


def test_a_file_of_one_family_that_is_given_to_another_is_said_to_be_that(stand_in):
    file = stand_in(nep)[0].removesuffix(",batch=off")
    stand_in(sevennet)
    with pytest.raises(InputError, match=r"weights\.x is a file of nep, not of sevennet; write --calculator="):
        load_calculator(f"sevennet:{file}", trust_checkpoint=True)
    with pytest.raises(InputError, match="is a file of nep, not of sevennet"):
        load_calculator(f"{file},family=sevennet", trust_checkpoint=True)
    assert not CALLS


def test_a_checkpoint_of_mace_is_none_of_a_row(stand_in, tmp_path, monkeypatch):
    stand_in(sevennet)
    monkeypatch.setattr(families, "pickled_in", lambda path: {"mace.modules.models", "torch"})
    with pytest.raises(InputError, match=r"weights\.x is a file of mace, not of sevennet"):
        load_calculator(f"sevennet:{tmp_path}/weights.x", trust_checkpoint=True)


def test_a_model_that_is_newer_than_its_package_is_one_message(stand_in, tmp_path):
    stand_in(sevennet)

    def newer(**arguments):
        raise AttributeError("Can't get attribute 'Novel' on <module 'sevenn.nn'>")

    sys.modules["sevenn.calculator"].SevenNetCalculator = newer
    with pytest.raises(InputError) as refused:
        load_calculator(f"sevennet:{tmp_path}/weights.x", trust_checkpoint=True)
    said = str(refused.value)
    assert "AttributeError: Can't get attribute 'Novel'" in said
    assert "it may be a file of another version than the installed sevenn 1.0" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("how", "asked", "says"),
    [
        (matgl, "float64", "the family 'matgl' computes in float32 only, float64 was asked for; leave the dtype out"),
        (grace, "float32", "the family 'grace' computes in float64 only, float32 was asked for"),
        (nequip, "float64", "the family 'nequip' computes in float32 only, float64 was asked for"),
        (metatomic, "float64", "'metatomic' does not say in which precision it computes, float64 was asked for"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_precision_that_there_is_not_is_refused(stand_in, how, asked, says):
    spec, _ = stand_in(how)
    with pytest.raises(InputError) as refused:
        load_calculator(spec, dtype=asked, trust_checkpoint=True)
    assert says in str(refused.value)


def test_weights_of_orb_need_the_name_of_their_architecture(stand_in, tmp_path):
    stand_in(orb)
    with pytest.raises(InputError, match="add ,architecture=NAME, one of orb-v3-conservative-inf-omat"):
        load_calculator(f"orb:{tmp_path}/weights.x")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("shell rm -rf .", "has more in it than a potential: 'shell rm -rf .'"),
        ("pair_style python 5.0", "has more in it than a potential"),
        ("variable x getenv HOME", "has more in it than a potential"),
        ("pair_coeff * * snap a b Xx", "names no elements"),
    ],
)
def test_a_file_of_lammps_that_does_more_than_describe_a_potential_is_refused(stand_in, line, says):
    spec, _ = stand_in(lammps)
    with Path(spec).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError) as refused:
        load_calculator(spec)
    assert says in str(refused.value)
    assert not CALLS


def test_lammps_begins_again_after_an_error(stand_in, monkeypatch):
    def calculate(self, atoms, properties, changes):
        self.results = {"energy": self.count(atoms), "forces": np.zeros((len(atoms), 3))}

    def count(self, atoms):  # as ASE's: adds the atoms that are more than last time to those that LAMMPS has
        self.held = getattr(self, "held", 0) + len(atoms) - len(self.previous_atoms_numbers)
        self.previous_atoms_numbers = atoms.numbers.copy()
        if len(atoms) == 2:
            raise RuntimeError("Lost atoms")
        return self.held

    spec, _ = stand_in(lammps)
    for name, of in {"calculate": calculate, "count": count, "previous_atoms_numbers": []}.items():
        monkeypatch.setattr(Calc, name, of, raising=False)
    monkeypatch.setattr(Calc, "clean", lambda self: setattr(self, "held", 0), raising=False)
    calculator = load_calculator(spec, trust_checkpoint=True)
    found = {}
    for size in (1, 2, 3):
        try:
            found[size] = evaluate(calculator, [Atoms(f"Si{size}", cell=[9] * 3, pbc=True)]).energies[0]
        except EvaluationError:
            found[size] = None
    assert found == {1: 1, 2: None, 3: 3}


def test_the_files_that_a_file_of_lammps_names_are_hashed_too(stand_in):
    spec, _ = stand_in(lammps)
    assert set(load_calculator(spec).identity.files) == {"GeSi.snapcoeff"}


def test_an_element_that_a_model_lacks_is_known_beforehand(stand_in):
    spec, _ = stand_in(nequip)
    calculator = load_calculator(spec, trust_checkpoint=True)
    assert calculator.unknown_elements(frozenset({"Si", "Fe"})) == ["Fe"]
