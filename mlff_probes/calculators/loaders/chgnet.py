"""CHGNet: the weights inside its package, or a fine-tuned checkpoint in its format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlff_probes.calculators.base import Calculator, CalculatorRequest, Features, batch_atoms
from mlff_probes.calculators.checkpoints.safety import File, load_weights, read
from mlff_probes.calculators.device import torch_device_of
from mlff_probes.calculators.families import families
from mlff_probes.calculators.identity import (
    cuda_facts,
    import_family,
    refuse_acceleration,
    refuse_dtype,
    refuse_options,
    torch_device,
    versions,
)
from mlff_probes.calculators.stages import stage
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import CalculatorIdentity, Checkpoint

if TYPE_CHECKING:
    from ase import Atoms

UNSEEN = ("Po", "At", "Rn", "Fr", "Ra")
"""CHGNet embeds Z = 1 to 94, but MPtrj holds 89 elements; these five it never saw (Deng et al., Nature
Machine Intelligence 5, 1031 (2023))."""


def load(request: CalculatorRequest) -> Calculator:
    """Load CHGNet: `chgnet`, `chgnet:VERSION`, or a checkpoint file of a fine-tuned CHGNet."""
    version = _version(request)
    refuse_options(request.options, (), spec=request.spec, family="chgnet")
    refuse_acceleration(request, "CHGNet has neither compiled models nor other kernels")
    refuse_dtype(request, "CHGNet", "float32")
    import_family("chgnet.model", spec=request.spec, extra="chgnet")
    device, device_name = torch_device(request.device, request.spec, request.gpu)
    packaged = replace(request, pins=())  # a file of the installed package, which nobody needs to pin
    file = read(request, request.path) if request.path else read(packaged, _packaged_weights(version))
    model, checkpoint = _model(file, version)

    from chgnet.model.dynamics import CHGNetCalculator

    model = model.to(device)
    return Calculator(
        identity=_identity(file, model, checkpoint, version=version, device=device, device_name=device_name),
        ase=CHGNetCalculator(model, use_device=device),
        batch=_batch(model) if request.batch else None,
        features=_features(model),
        features_name="site features of CHGNet",
        properties=frozenset({"energy", "free_energy", "forces", "stress", "magmoms"}),
        device=torch_device_of(device),
        batch_atoms=batch_atoms(device),
    )


def _identity(
    file: File, model: Any, checkpoint: Checkpoint, *, version: str | None, device: str, device_name: str
) -> CalculatorIdentity:
    """What the calculator is, for the header and the scorecard."""
    import torch
    from ase.data import chemical_symbols

    request, known = file.request, families()["chgnet"].models
    return CalculatorIdentity(
        spec=request.spec,
        label=f"chgnet-{version}" if version else file.path.stem,
        family="chgnet",
        version=version,
        sha256=file.sha256,
        checkpoint=checkpoint,
        parameters=int(model.n_params),
        elements=tuple(s for s in chemical_symbols[1:95] if s not in UNSEEN),
        level_of_theory=request.level_of_theory or (known[version].level_of_theory if version else None),
        dtype="float32",
        device=device,
        device_name=device_name,
        threads=torch.get_num_threads(),
        batched=request.batch,
        **cuda_facts(device),
        versions=versions("torch", "chgnet"),
    )


def _version(request: CalculatorRequest) -> str | None:
    if request.path is not None:
        return None
    row = families()["chgnet"]
    version = request.version or str(row.default)
    if version not in row.models:
        raise InputError(
            f"--calculator={request.spec}",
            f"there is no CHGNet '{version}' in its package",
            f"it holds {', '.join(row.models)}",
        )
    return version


def _packaged_weights(version: str | None) -> Path:
    import chgnet

    (weights,) = (Path(chgnet.__file__).parent / "pretrained" / str(version)).glob("*.pth.tar")
    return weights


def _model(file: File, version: str | None) -> tuple[Any, Checkpoint]:
    """The model in `file`, also where it is the package's own, which `CHGNet.load` would unpickle unchecked."""
    from chgnet.model.model import CHGNet

    try:
        state, checkpoint = load_weights(file)
        weights, arguments = state["model"]["state_dict"], state["model"]["model_args"]
        # 0.2.0 and what was fine-tuned from it have a bias that their stored arguments may not mention
        biased = any(".mlp_out." in name and name.endswith(".bias") for name in weights)
        model = CHGNet(**{"mlp_out_bias": biased, **arguments, **({"version": version} if version else {})})
        model.load_state_dict(weights)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"--calculator={file.request.spec}",
            f"{file.path} is not a usable CHGNet checkpoint "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'})",
        ) from error
    return model, checkpoint


def _batch(model: Any) -> Any:
    """One forward pass for many frames; leaves out the stress and magnetic moments that ASE's path adds."""

    def batch(frames: Sequence[Atoms], forces: bool) -> list[tuple[float, Any]]:
        # what CHGNet.predict_graph does, in the parts that are timed apart
        graphs = _graphs(model, frames)
        with stage("model"):
            found = model(graphs, task="ef" if forces else "e")
        with stage("copies"):
            energies = [float(energy.detach().cpu().numpy().item()) for energy in found["e"]]
            all_forces = [f.detach().cpu().numpy() for f in found["f"]] if forces else [None] * len(frames)
        return [
            (energy * (len(frame) if model.is_intensive else 1), f)
            for energy, f, frame in zip(energies, all_forces, frames, strict=True)
        ]

    return batch


def _features(model: Any) -> Any:
    """One forward pass for the features of sites, from which magnetic moments are read, and those of the crystal."""
    import torch

    def features(frames: Sequence[Atoms]) -> list[Features]:
        graphs = _graphs(model, frames)
        with stage("model"), torch.no_grad():
            found = model(graphs, task="e", return_atom_feas=True, return_crystal_feas=True)
        with stage("copies"):
            sites = [each.cpu().numpy() for each in found["atom_fea"]]
            crystals = found["crystal_fea"].cpu().numpy()
        # where the energies of sites are summed, so are these
        sums = [len(frame) if model.mlp_first else 1 for frame in frames]
        return [
            Features({"sites": site}, crystal / number)
            for site, crystal, number in zip(sites, crystals, sums, strict=True)
        ]

    return features


def _graphs(model: Any, frames: Sequence[Atoms]) -> list[Any]:
    """The graphs of some frames, where the model computes; the model is set to evaluate."""
    from pymatgen.io.ase import AseAtomsAdaptor

    model.eval()
    with stage("neighbours"):
        graphs = [model.graph_converter(AseAtomsAdaptor.get_structure(frame)) for frame in frames]
    with stage("copies"):
        device = next(model.parameters()).device
        return [graph.to(device) for graph in graphs]
