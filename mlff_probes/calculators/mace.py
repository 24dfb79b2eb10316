"""MACE checkpoints, as `mace_run_train` writes them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mlff_probes.calculators.base import Calculator, CalculatorRequest, batch_atoms
from mlff_probes.calculators.device import torch_device_of
from mlff_probes.calculators.identity import (
    import_family,
    refuse_options,
    torch_device,
    versions,
)
from mlff_probes.calculators.safety import File, load_model, read, weights_only_kept
from mlff_probes.errors import InputError
from mlff_probes.records import CalculatorIdentity, Checkpoint

if TYPE_CHECKING:
    from ase import Atoms


STRICT = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""Makes every `torch.load` a restricted one, that in e3nn's import too, which then fails."""


def load(request: CalculatorRequest) -> Calculator:
    """Load a MACE checkpoint file; options: `head`.

    Raises
    ------
    InputError
        If the file does not hold a MACE model, or the head is not one of its heads. (MACE itself
        falls back to the last head with a log line: another level of theory than was asked for.)
    """
    if request.path is None:
        raise InputError(
            f"--calculator={request.spec}: MACE needs a checkpoint file; write --calculator=path/to.model "
            "(foundation models can be downloaded from the MACE project's release page)"
        )
    refuse_options(request.options, ("head",), spec=request.spec, family="mace")
    if os.environ.get(STRICT, "0").lower() in ("1", "y", "yes", "true"):
        raise InputError(
            f"--calculator={request.spec}: {STRICT} is set, under which torch reads weights alone; a MACE checkpoint "
            "is more than that, and checked before it is loaded: unset the variable for this run"
        )
    with weights_only_kept():
        import_family("mace.calculators", spec=request.spec, extra="mace")
    device, device_name = torch_device(request.device, request.spec)
    file = read(request, request.path)
    model, checkpoint = _model(file)
    head = _head(request, model)

    import torch
    from ase.data import chemical_symbols
    from mace.calculators import MACECalculator

    dtype = request.dtype or str(next(model.parameters()).dtype).removeprefix("torch.")

    class KeepingDefaults(MACECalculator):
        """MACE's calculator, which leaves another default dtype behind where it fails."""

        def calculate(self, *args: Any, **kwargs: Any) -> None:
            with _default_dtype_kept():
                super().calculate(*args, **kwargs)  # type: ignore[no-untyped-call]

    with _default_dtype_kept():
        ase_calculator = KeepingDefaults(models=[model], device=device, default_dtype=dtype, head=head)
    identity = CalculatorIdentity(
        spec=request.spec,
        label=request.path.stem,
        family="mace",
        version=type(model).__name__,
        sha256=file.sha256,
        checkpoint=checkpoint,
        parameters=sum(p.numel() for p in model.parameters()),
        elements=tuple(chemical_symbols[int(z)] for z in model.atomic_numbers),
        level_of_theory=request.level_of_theory,
        dtype=dtype,
        device=device,
        device_name=device_name,
        threads=torch.get_num_threads(),
        batched=request.batch,
        options={"head": head},
        versions=versions("torch", "mace-torch", "e3nn"),
    )
    return Calculator(
        identity=identity,
        ase=ase_calculator,
        batch=_batch(ase_calculator) if request.batch else None,
        properties=frozenset({"energy", "free_energy", "forces", "stress", "energies"}),
        device=torch_device_of(device),
        batch_atoms=batch_atoms(device),
    )


@contextmanager
def _default_dtype_kept() -> Iterator[None]:
    """MACE sets torch's default dtype; numbers must not depend on which calculator ran last, or failed."""
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
            f"--calculator={request.spec}: {path} cannot be read as a MACE checkpoint "
            f"({type(error).__name__}: {first}); is the file complete, and written by a compatible mace-torch?"
        ) from error
    if not (isinstance(model, torch.nn.Module) and hasattr(model, "r_max") and hasattr(model, "atomic_numbers")):
        found = sorted(map(str, model))[:4] if isinstance(model, dict) else type(model).__name__
        raise InputError(
            f"--calculator={request.spec}: {path} holds no MACE model but {found}; name the .model file "
            "that mace_run_train writes beside its training checkpoints"
        )
    return model, checkpoint


def _head(request: CalculatorRequest, model: Any) -> str:
    heads = [str(head) for head in getattr(model, "heads", ["Default"])]
    wanted = request.options.get("head")
    if wanted is None:
        if len(heads) == 1:
            return heads[0]
        wanted = next((head for head in heads if head.lower() == "default"), None)
    if wanted is None or str(wanted) not in heads:
        said = "has several heads and none is called default" if wanted is None else f"has no head '{wanted}'"
        raise InputError(
            f"--calculator={request.spec}: the checkpoint {said}; add ,head=… with one of: {', '.join(heads)}"
        )
    return str(wanted)


def _batch(calculator: Any) -> Any:
    """One forward pass for many frames, without the stress that ASE's path adds."""
    from mace import data
    from mace.tools import torch_geometric, torch_tools

    # what ASE's path reads of a frame besides its geometry: charge, spin, external field
    keys = data.KeySpecification(
        info_keys=calculator.info_keys, arrays_keys={**calculator.arrays_keys, calculator.charges_key: "charges"}
    )
    (model,) = calculator.models

    def batch(frames: Sequence[Atoms], forces: bool) -> list[tuple[float, Any]]:
        with _default_dtype_kept(), torch_tools.default_dtype(calculator.default_dtype):
            graphs = [
                data.AtomicData.from_config(
                    data.config_from_atoms(frame, key_specification=keys, head_name=calculator.head),
                    z_table=calculator.z_table,
                    cutoff=calculator.r_max,
                    heads=calculator.available_heads,
                )
                for frame in frames
            ]
            merged = torch_geometric.Batch.from_data_list(graphs).to(calculator.device)
            out = model(merged.to_dict(), compute_force=forces, compute_stress=False)
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
