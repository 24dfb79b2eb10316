"""Small MACE checkpoints for the tests: one with random weights, one trained on this project's frames.

`python tests/mace_models.py out.model` trains one to try the suite on. It learns the very frames that it
is judged on, so its scorecard says that the plumbing works and nothing about MACE.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers

REFERENCE = Path(__file__).parents[1] / "reference"
EPOCHS = 60
"""Epochs of `trained_mace`: some 15 s on one core."""

BATCH_FRAMES = 14
LEARNING_RATE = 0.03
ENERGY_WEIGHT = 20.0
"""Weight of the squared energy error of a frame (eV^2) against that of a force component (eV^2/A^2)."""


def random_mace(
    path: Path,
    *,
    dtype: str = "float64",
    heads: Sequence[str] = ("Default",),
    elements: Sequence[str] = ("Cr", "Sb", "Te"),
    seed: int = 0,
    channels: int = 8,
    max_ell: int = 2,
    correlation: int = 2,
    r_max: float = 5.0,
    vectors: bool = False,
    reads_charge: bool = False,
) -> Path:
    """Write a ScaleShiftMACE with random weights to `path`, as `mace_run_train` writes its models.

    Parameters
    ----------
    heads
        Names of the heads; their readouts and atomic energies differ.
    channels, max_ell, correlation
        Its size: scalar channels, highest order of the spherical harmonics, correlation order.
    r_max
        Cutoff in A.
    vectors
        Whether its atoms have vectors beside scalars.
    reads_charge
        Whether the energy depends on the total charge, which MACE reads from `info["charge"]` of a frame.
    """
    numbers = tuple(sorted(atomic_numbers[symbol] for symbol in elements))
    size = {"channels": channels, "max_ell": max_ell, "correlation": correlation, "r_max": r_max, "vectors": vectors}
    path.write_bytes(_random_mace(dtype, tuple(heads), numbers, seed, reads_charge=reads_charge, **size))
    return path


@cache  # a file of many tests asks for the same one again, and TorchScript takes a second to compile
def _random_mace(dtype: str, heads: tuple[str, ...], numbers: tuple[int, ...], seed: int, **size: Any) -> bytes:
    with mace_sandbox(dtype, seed):
        model = _scale_shift_mace(
            numbers,
            heads=heads,
            atomic_energies=-3.0 + torch.randn(len(heads), len(numbers)).numpy(),
            scale=50.0,  # forces of some eV/A, as in a material
            neighbours=20.0,
            **size,
        )
        file = io.BytesIO()
        torch.save(model, file)
    return file.getvalue()


def trained_mace(path: Path, *, epochs: int = EPOCHS, seed: int = 0) -> Path:
    """Train a small MACE on all frames of the migration and sliding cases and write it to `path` in float64.

    The same file every time on one machine: seeded, a fixed number of epochs, and on one thread, which
    also keeps it quick where other processes want the cores.
    """
    frames = labelled_frames()
    numbers = sorted({int(z) for frame in frames for z in frame.numbers})
    composition = np.array([[np.count_nonzero(frame.numbers == z) for z in numbers] for frame in frames], dtype=float)
    energies = np.array([frame.get_potential_energy() for frame in frames])
    # two compositions, three elements: the solution of least norm puts the mean of each composition to zero
    atomic_energies = np.linalg.lstsq(composition, energies, rcond=None)[0]
    interaction = energies - composition @ atomic_energies
    size = {
        "heads": ("Default",),
        "atomic_energies": atomic_energies[None],
        "scale": float(np.concatenate([frame.get_forces() for frame in frames]).std()),
        "channels": 16,
        "max_ell": 2,
        "correlation": 2,
        "r_max": 5.5,
    }
    with mace_sandbox("float32", seed):
        graphs = _graphs(frames, interaction, numbers, size["r_max"])
        size["neighbours"] = sum(g.num_edges for g in graphs) / sum(g.num_nodes for g in graphs)
        with _without_torchscript():  # its compilation would cost more than the whole training
            model = _scale_shift_mace(numbers, **size)
        _fit(model, graphs, epochs=epochs, seed=seed)
        torch.set_default_dtype(torch.float64)
        saved = _scale_shift_mace(numbers, **size)
        with torch.no_grad():
            for there, learned in zip(saved.parameters(), model.parameters(), strict=True):
                there.copy_(learned)
        torch.save(saved, path)
    return path


def fine_tuned_mace(path: Path, foundation: Path, frames: Sequence[Atoms], *, epochs: int, seed: int = 0) -> Path:
    """Train the model in a file of `trained_mace` further on some labelled frames, and write it to `path`.

    With a tenth of the first learning rate, and energies of isolated atoms left as they are.
    """
    with mace_sandbox("float64", seed):
        model = torch.load(foundation, weights_only=False)
        numbers = model.atomic_numbers.tolist()
        counts = np.array([[np.count_nonzero(frame.numbers == z) for z in numbers] for frame in frames], dtype=float)
        energies = np.array([frame.get_potential_energy() for frame in frames])
        interaction = energies - counts @ model.atomic_energies_fn.atomic_energies.numpy().ravel()
        graphs = _graphs(frames, interaction, numbers, float(model.r_max))
        _fit(model, graphs, epochs=epochs, seed=seed, learning_rate=LEARNING_RATE / 10)
        torch.save(model, path)
    return path


def labelled_frames() -> list[Atoms]:
    """All frames of this project that hold a DFT energy and forces."""
    files = sorted([*REFERENCE.glob("migration/*.extxyz"), *REFERENCE.glob("sliding/sb2te3_*.extxyz")])
    frames = [frame for file in files for frame in ase.io.read(file, ":")]
    return [frame for frame in frames if frame.calc is not None and {"energy", "forces"} <= set(frame.calc.results)]


@contextmanager
def mace_sandbox(dtype: str, seed: int) -> Iterator[None]:
    """Seeded, quiet, on one thread and in `dtype`; afterwards torch and the environment are as they were.

    Importing mace sets TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD for the whole process; here that is undone.
    """
    environment, default, threads = dict(os.environ), torch.get_default_dtype(), torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.set_default_dtype(getattr(torch, dtype))
            torch.set_num_threads(1)
            torch.manual_seed(seed)
            import mace.modules  # noqa: F401

            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(default)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)


def _scale_shift_mace(
    numbers: Sequence[int],
    *,
    heads: Sequence[str],
    atomic_energies: np.ndarray,
    scale: float,
    neighbours: float,
    channels: int,
    max_ell: int,
    correlation: int,
    r_max: float,
    vectors: bool = False,
    reads_charge: bool = False,
) -> Any:
    from e3nn import o3
    from mace import modules

    several = len(heads) > 1
    charge = {"total_charge": {"type": "continuous", "per": "graph", "in_dim": 1, "emb_dim": 8}}
    return modules.ScaleShiftMACE(
        atomic_inter_scale=[scale] * len(heads) if several else scale,
        atomic_inter_shift=[0.0] * len(heads) if several else 0.0,
        r_max=r_max,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=max_ell,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        num_interactions=2,
        num_elements=len(numbers),
        hidden_irreps=o3.Irreps(f"{channels}x0e + {channels}x1o" if vectors else f"{channels}x0e"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=atomic_energies if several else atomic_energies[0],
        avg_num_neighbors=neighbours,
        atomic_numbers=list(numbers),
        correlation=correlation,
        gate=torch.nn.functional.silu,
        radial_MLP=[32, 32, 32],
        heads=list(heads),
        embedding_specs=charge if reads_charge else None,
    )


@contextmanager
def _without_torchscript() -> Iterator[None]:
    import e3nn

    before = e3nn.get_optimization_defaults()
    e3nn.set_optimization_defaults(jit_script_fx=False)
    try:
        yield
    finally:
        e3nn.set_optimization_defaults(**before)


def _graphs(frames: Sequence[Atoms], energies: np.ndarray, numbers: Sequence[int], r_max: float) -> list[Any]:
    from mace import data, tools

    table, keys = tools.AtomicNumberTable(list(numbers)), data.KeySpecification({}, {})
    graphs = []
    for frame, energy in zip(frames, energies, strict=True):
        graph = data.AtomicData.from_config(data.config_from_atoms(frame, keys), z_table=table, cutoff=r_max)
        graph.energy = torch.tensor(energy, dtype=torch.get_default_dtype())
        graph.forces = torch.tensor(frame.get_forces(), dtype=torch.get_default_dtype())
        graphs.append(graph)
    return graphs


def _fit(model: Any, graphs: Sequence[Any], *, epochs: int, seed: int, learning_rate: float = LEARNING_RATE) -> None:
    from mace.tools import torch_geometric

    batches = math.ceil(len(graphs) / BATCH_FRAMES)
    steps, warm_up = epochs * batches, 20
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, betas=(0.9, 0.99), amsgrad=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * step / steps)) + 1e-3)
    )
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(len(graphs)), batches):
            batch = torch_geometric.Batch.from_data_list([graphs[row] for row in rows])
            out = model(batch.to_dict(), training=True, compute_force=True)
            energy_error = (out["interaction_energy"] - batch.energy).square().mean()
            force_error = (out["forces"] - batch.forces).square().mean()
            optimizer.zero_grad(set_to_none=True)
            (ENERGY_WEIGHT * energy_error + force_error).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()


def main() -> None:
    """Train one and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="checkpoint to write, for instance out.model")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    start = time.perf_counter()
    trained_mace(given.out, epochs=given.epochs, seed=given.seed)
    print(f"wrote {given.out} in {time.perf_counter() - start:.1f} s; try: pytest --calculator={given.out}")


if __name__ == "__main__":
    main()
