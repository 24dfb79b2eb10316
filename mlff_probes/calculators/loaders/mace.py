"""MACE checkpoints, as `mace_run_train` writes them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlff_probes.calculators.base import Calculator, CalculatorRequest, Features, batch_atoms
from mlff_probes.calculators.checkpoints.safety import File, load_model, read, weights_only_kept
from mlff_probes.calculators.device import torch_device_of
from mlff_probes.calculators.families import families
from mlff_probes.calculators.identity import cuda_facts, import_family, refuse_options, torch_device, versions
from mlff_probes.calculators.loaders.named import weights_of
from mlff_probes.calculators.stages import stage
from mlff_probes.core.errors import InputError, describe
from mlff_probes.core.records import CalculatorIdentity, Checkpoint

if TYPE_CHECKING:
    from ase import Atoms


STRICT = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""Environment variable that restricts every `torch.load` to plain weights, also in e3nn, whose import then fails."""

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune")
"""Modes of `torch.compile` that MACE's calculator takes."""

PLAIN = "e3nn"
"""The kernels that every MACE has."""

KERNELS = {"cuequivariance": "enable_cueq", "openequivariance": "enable_oeq"}
"""Libraries of accelerated kernels, and the argument of MACE's calculator that chooses each."""

PACKAGES = ("cuequivariance", "cuequivariance-torch", "cuequivariance-ops-torch", "openequivariance")
"""Packages that the accelerated kernels need. What pip installs for the third, which holds code compiled for CUDA, has
CUDA's version at the end of its name."""

VERSIONED = (*PACKAGES, "cuequivariance-ops-torch-cu12", "cuequivariance-ops-torch-cu13")
"""Distributions whose versions are part of the path, beside e3nn."""


def load(request: CalculatorRequest) -> Calculator:
    """Load a MACE checkpoint file, or a foundation model by its name (`mace:medium-mpa-0`); options: `head`.

    Raises
    ------
    InputError
        If there is no such model or it cannot be downloaded, the file does not hold a MACE model, the kernels or the
        compile mode cannot be had, or the head is not one of its heads. (MACE itself falls back to the last head with
        a log line: another level of theory than was asked for.)
    """
    path = _path(request)
    device, device_name = torch_device(request.device, request.spec, request.gpu)
    accelerated = _accelerated(request, device)
    file = read(request, path)
    model, checkpoint = _model(file)
    head = _head(request, model)
    dtype = request.dtype or str(next(model.parameters()).dtype).removeprefix("torch.")
    ase_calculator = _ase_calculator(request, model, accelerated, device=device, dtype=dtype, head=head)
    # compiled for one structure, as MACE's own calculator calls it; each other number of structures in a batch would
    # be another compilation, of some 40 s
    batched = request.batch and request.compile_mode is None
    identity = _identity(
        file, model, checkpoint, device=device, device_name=device_name, dtype=dtype, head=head, batched=batched
    )
    return Calculator(
        identity=identity,
        ase=ase_calculator,
        batch=_batch(ase_calculator) if batched else None,
        features=_features(ase_calculator) if request.compile_mode is None else None,
        features_name="invariant node features of MACE",
        properties=_properties(request, ase_calculator),
        device=torch_device_of(device),
        other_kernels=tuple(name for name in KERNELS if name != identity.kernels and _why_not(name, device) is None),
        batch_atoms=batch_atoms(device),
        can_compile=True,
    )


def heads(request: CalculatorRequest) -> list[str]:
    """The names of the heads of a model, in its own order.

    Raises
    ------
    InputError
        If there is no such model, or the file does not hold one.
    """
    model, _ = _model(read(request, _path(request)))
    return _names(model)


def _path(request: CalculatorRequest) -> Path:
    """The file of the model, which is downloaded where it has to be."""
    _check(request)
    with weights_only_kept():
        import_family("mace.calculators", spec=request.spec, extra="mace")
        return request.path or _downloaded(request)


def _check(request: CalculatorRequest) -> None:
    """Refuse what can be refused before torch is imported."""
    row = families()["mace"]
    if request.path is None and request.version not in row.models:
        unknown = f"there is no MACE model '{request.version}'"
        raise InputError(
            f"--calculator={request.spec}",
            unknown if request.version else "MACE needs a checkpoint file or the name of a model",
            f"write --calculator=path/to.model, or mace:NAME of {', '.join(row.models)}",
        )
    refuse_options(request.options, row.options, spec=request.spec, family="mace")
    if os.environ.get(STRICT, "0").lower() in ("1", "y", "yes", "true"):
        raise InputError(
            f"--calculator={request.spec}",
            f"{STRICT} is set, under which torch reads weights alone",
            "a MACE checkpoint is more than that, and checked before it is loaded: unset the variable for this run",
        )


def _downloaded(request: CalculatorRequest) -> Path:
    """The file of a foundation model in MACE's own cache."""
    path = weights_of(families()["mace"], str(request.version), request)
    assert path is not None
    return path


def _ase_calculator(
    request: CalculatorRequest, model: Any, accelerated: dict[str, Any], *, device: str, dtype: str, head: str
) -> Any:
    """MACE's own calculator of a model."""
    from mace.calculators import MACECalculator
    from mace.tools import torch_tools

    try:
        # a model that is rebuilt to be compiled is rebuilt in torch's default dtype, whatever its own
        with _default_dtype_kept(), torch_tools.default_dtype(dtype):
            return MACECalculator(
                models=[model], device=device, default_dtype=dtype, head=head, compile_mode=request.compile_mode,
                **accelerated,
            )  # fmt: skip
    except Exception as error:
        if not accelerated and request.compile_mode is None:
            raise
        raise InputError(
            f"--calculator={request.spec}",
            f"MACE cannot rebuild this {type(model).__name__} to be compiled or for other kernels: {describe(error)}",
            "leave ,compile= and ,kernels= out",
        ) from error


def _properties(request: CalculatorRequest, calculator: Any) -> frozenset[str]:
    """What the calculator computes; compiled models have a stress since mace-torch 0.3.16, which pads their input."""
    has_stress = request.compile_mode is None or hasattr(type(calculator), "_slice_real_outputs")
    return frozenset({"energy", "free_energy", "forces", "energies", *(["stress"] if has_stress else [])})


def _identity(
    file: File,
    model: Any,
    checkpoint: Checkpoint,
    *,
    device: str,
    device_name: str,
    dtype: str,
    head: str,
    batched: bool,
) -> CalculatorIdentity:
    """What the calculator is, for the header and the scorecard."""
    import torch
    from ase.data import chemical_symbols

    request, kernels = file.request, file.request.kernels or PLAIN
    name = f"mace-{request.version}" if request.version else file.path.stem
    named = families()["mace"].models.get(request.version or "")
    return CalculatorIdentity(
        spec=request.spec,
        label=f"{name}-{head}" if len(_names(model)) > 1 else name,
        family="mace",
        version=type(model).__name__,
        sha256=file.sha256,
        checkpoint=checkpoint,
        parameters=sum(p.numel() for p in model.parameters()),
        elements=tuple(chemical_symbols[int(z)] for z in model.atomic_numbers),
        level_of_theory=request.level_of_theory or (named.level_of_theory if named else None),
        dtype=dtype,
        device=device,
        device_name=device_name,
        threads=torch.get_num_threads(),
        batched=batched,
        compile_mode=request.compile_mode,
        kernels=kernels,
        **cuda_facts(device),
        options={"head": head},
        versions=versions("torch", "mace-torch", "e3nn", *(name for name in VERSIONED if name.startswith(kernels))),
    )


def _accelerated(request: CalculatorRequest, device: str) -> dict[str, Any]:
    """The arguments of MACE's calculator for the kernels that were asked for."""
    if request.compile_mode not in (None, *COMPILE_MODES):
        raise InputError(
            f"--calculator={request.spec}",
            f"compile={request.compile_mode} was asked for",
            f"MACE is compiled with {', '.join(COMPILE_MODES)}",
        )
    if request.kernels in (None, PLAIN):
        return {}
    if request.kernels not in KERNELS:
        raise InputError(
            f"--calculator={request.spec}",
            f"kernels={request.kernels} was asked for",
            f"MACE has {PLAIN}, {' and '.join(KERNELS)}",
        )
    if why := _why_not(request.kernels, device):
        reason, remedy = why
        raise InputError(
            f"--calculator={request.spec}", f"kernels={request.kernels} was asked for, but {reason}", remedy
        )
    return {KERNELS[request.kernels]: True}


def _why_not(kernels: str, device: str) -> tuple[str, str] | None:
    """Why these kernels cannot be had on this device, and the remedy.

    None where they can be had, as far as a look at the packages tells.
    """
    gpu = device.startswith("cuda")
    if kernels == "openequivariance" and not gpu:
        return f"{kernels} runs on CUDA devices only, not on {device}", "add ,device=cuda or leave the kernels out"
    needed = [name for name in PACKAGES if name.startswith(kernels) and (gpu or "-ops-" not in name)]
    missing = [name for name in needed if importlib.util.find_spec(name.replace("-", "_")) is None]
    if not missing:
        return None
    install = " ".join(f"{name}-cu{_cuda_major()}" if "-ops-" in name else name for name in missing)
    return f"{' and '.join(missing)} cannot be found", f"install it with: pip install {install}"


def _cuda_major() -> str:
    import torch

    return str(torch.version.cuda).partition(".")[0]


@contextmanager
def _default_dtype_kept() -> Iterator[None]:
    """Restore torch's default dtype, which MACE sets as it is made, and in each call too."""
    import torch

    before = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _model(file: File) -> tuple[Any, Checkpoint]:
    import torch

    request, path = file.request, file.path
    try:
        model, checkpoint = load_model(file)
    except InputError:
        raise
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else "no message"
        raise InputError(
            f"--calculator={request.spec}",
            f"{path} cannot be read as a MACE checkpoint ({type(error).__name__}: {first})",
            "is the file complete, and written by a compatible mace-torch?",
        ) from error
    if not (isinstance(model, torch.nn.Module) and hasattr(model, "r_max") and hasattr(model, "atomic_numbers")):
        found = sorted(map(str, model))[:4] if isinstance(model, dict) else type(model).__name__
        raise InputError(
            f"--calculator={request.spec}",
            f"{path} holds no MACE model but {found}",
            "name the .model file that mace_run_train writes beside its training checkpoints",
        )
    return model, checkpoint


def _names(model: Any) -> list[str]:
    return [str(head) for head in getattr(model, "heads", ["Default"])]


def _head(request: CalculatorRequest, model: Any) -> str:
    known = _names(model)
    wanted = request.options.get("head")
    if wanted is None:
        if len(known) == 1:
            return known[0]
        wanted = next((head for head in known if head.lower() == "default"), None)
    if wanted is None or str(wanted) not in known:
        said = "has several heads and none is called default" if wanted is None else f"has no head '{wanted}'"
        raise InputError(
            f"--calculator={request.spec}", f"the checkpoint {said}", f"add ,head=… with one of: {', '.join(known)}"
        )
    return str(wanted)


def _batch(calculator: Any) -> Any:
    """One forward pass for many frames, without the stress that ASE's path adds."""
    from mace.tools import torch_tools

    merged_graph = _merged_graph(calculator)
    (model,) = calculator.models

    def batch(frames: Sequence[Atoms], forces: bool) -> list[tuple[float, Any]]:
        with torch_tools.default_dtype(calculator.default_dtype):
            merged = merged_graph(frames)
            with stage("model"):
                out = model(merged.to_dict(), compute_force=forces, compute_stress=False)
        with stage("copies"):
            energies = out["energy"].detach().cpu().numpy()
            if not forces:
                return [(float(energy), None) for energy in energies]
            all_forces = out["forces"].detach().cpu().numpy()
            starts = merged.ptr.cpu().numpy()
        return [
            (float(energy), all_forces[start:stop])
            for energy, start, stop in zip(energies, starts[:-1], starts[1:], strict=True)
        ]

    return batch


def _features(calculator: Any) -> Any:
    """One forward pass for the node features of each layer; None for a model without layers of products."""
    from e3nn import o3
    from mace.tools import torch_tools

    (model,) = calculator.models
    if not hasattr(model, "products"):
        return None
    merged_graph = _merged_graph(calculator)
    irreps = [o3.Irreps(str(product.linear.irreps_out)) for product in model.products]
    starts = np.cumsum([0, *(each.dim for each in irreps)])
    names = [f"layer {n + 1}" for n in range(len(irreps))]
    # the scalars of a layer come first in it
    scalars = [slice(start, start + each.count("0e")) for start, each in zip(starts, irreps, strict=False)]
    all_columns = [slice(start, start + each.dim) for start, each in zip(starts, irreps, strict=False)]

    def features(frames: Sequence[Atoms]) -> list[Features]:
        with torch_tools.default_dtype(calculator.default_dtype):
            merged = merged_graph(frames)
            with stage("model"):
                out = model(merged.to_dict(), compute_force=False, compute_stress=False)
        with stage("copies"):
            nodes = out["node_feats"].detach().cpu().numpy()
            ends = merged.ptr.cpu().numpy()[1:-1]
        return [
            Features(
                {name: part[:, columns] for name, columns in zip(names, scalars, strict=True)},
                equivariant={name: part[:, columns] for name, columns in zip(names, all_columns, strict=True)},
            )
            for part in np.split(nodes, ends)
        ]

    return features


def _merged_graph(calculator: Any) -> Any:
    """What makes one graph of many frames, where the model computes, in torch's default dtype of the moment."""
    from mace import data
    from mace.tools import torch_geometric

    # what ASE's path reads of a frame besides its geometry: charge, spin, external field
    keys = data.KeySpecification(
        info_keys=calculator.info_keys, arrays_keys={**calculator.arrays_keys, calculator.charges_key: "charges"}
    )

    def merged_graph(frames: Sequence[Atoms]) -> Any:
        with stage("neighbours"):
            graphs = [
                data.AtomicData.from_config(
                    data.config_from_atoms(frame, key_specification=keys, head_name=calculator.head),
                    z_table=calculator.z_table,
                    cutoff=calculator.r_max,
                    heads=calculator.available_heads,
                )
                for frame in frames
            ]
            merged = torch_geometric.Batch.from_data_list(graphs)
        with stage("copies"):
            return merged.to(calculator.device)

    return merged_graph
