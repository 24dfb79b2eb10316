"""Molecular dynamics by torch-sim, all replicas in one batch: NVE and NVT of calculators with a batched pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import numpy as np
from ase import Atoms, units

from mlff_probes.calculators.base import Calculator
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.methods.simulation.engine import (
    THERMOSTAT,
    Engine,
    Floats,
    Sample,
    State,
    at_rest,
    first_momenta,
)
from mlff_probes.methods.simulation.settings import Ensemble, SimulationSettings


class TorchEngine(Engine):
    """Velocity Verlet for NVE and Langevin by BAOAB for NVT.

    The state lies in double precision on the CPU whatever the model computes with. torch-sim measures in A, eV and u,
    which makes its unit of time that of ASE; its cells have vectors as columns, and it wraps the positions. All
    replicas draw from one stream of random numbers, which all seeds make together.
    """

    ensembles = ("NVE", "NVT")
    wraps = True

    def __init__(self, calculator: Calculator, protocol: SimulationSettings, start: Atoms, calls: Calls) -> None:
        super().__init__(calculator, protocol, start, calls)
        import torch

        self._torch = torch
        self._masses = start.get_masses()
        self._cells = np.array([frame.cell.array for frame in self._frames])
        seed = np.random.SeedSequence([*protocol.seeds, THERMOSTAT]).generate_state(1, np.uint64)[0]
        self._random = torch.Generator().manual_seed(int(seed)).get_state()
        self._now: Any = None
        self._update: Callable[[Any], Any] | None = None

    @property
    def name(self) -> str:
        """As in "torch-sim 0.3.0 nvt_langevin, 4 replicas in a batch"."""
        integrator = "nve" if self.protocol.ensemble == "NVE" else "nvt_langevin"
        replicas = "1 replica" if self.replicas == 1 else f"{self.replicas} replicas in a batch"
        return f"torch-sim {metadata.version('torch-sim-atomistic')} {integrator}, {replicas}"

    def begin(self, ensemble: Ensemble) -> None:
        """Give the replicas their first velocities and forces."""
        temperature = self.protocol.temperature
        momenta = np.array([first_momenta(self._masses, temperature, seed) for seed in self.protocol.seeds])
        found = self.evaluated(self._frames, 0)
        assert found.forces is not None
        positions = np.array([frame.positions for frame in self._frames])
        self._set(positions, momenta, found.energies, np.array(found.forces))
        self._integrate(ensemble)

    def switch(self, ensemble: Ensemble) -> None:
        """Go on in another ensemble; into NVE without the total momentum."""
        if ensemble == "NVE":
            momenta = at_rest(self._of_replicas(self._now.momenta), self._masses)
            self._now.momenta = self._tensor(momenta.reshape(-1, 3))
        self._integrate(ensemble)

    def advance(self, steps: int) -> None:
        """Take `steps` timesteps with all replicas."""
        assert self._update is not None
        with self._own_random_numbers():
            for _ in range(steps):
                self._now = self._update(self._now)
                self.step += 1

    def sample(self) -> Sample:
        """All replicas as they are."""
        return Sample(
            positions=self._of_replicas(self._now.positions),
            momenta=self._of_replicas(self._now.momenta),
            masses=self._masses,
            forces=self._of_replicas(self._now.forces),
            energies=self._now.energy.numpy().copy(),
            cells=self._cells.copy(),
        )

    def state(self) -> State:
        """What `restore` needs to go on bitwise, random numbers included."""
        sample = self.sample()
        return {
            "step": np.array(self.step), "ensemble": np.array(self.ensemble), "random": self._random.numpy().copy(),
            "positions": sample.positions, "momenta": sample.momenta, "forces": sample.forces,
            "energies": sample.energies,
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Go on from a `state`, without a model call."""
        self.step = int(state["step"])
        self._random = self._torch.from_numpy(np.array(state["random"]))
        for frame, positions in zip(self._frames, state["positions"], strict=True):
            frame.positions = positions
        self._set(*(np.array(state[key], float) for key in ("positions", "momenta", "energies", "forces")))
        self._integrate(str(state["ensemble"]))  # type: ignore[arg-type]

    def recomputed(self) -> Evaluation:
        """Energies and forces of the replicas as they are, asked of the model once more."""
        return self.evaluated(self._frames, self.step)

    def model_output(self, positions: Floats) -> tuple[Floats, Floats]:
        """Energies, shape (n_replicas,), and forces, shape (n_replicas * n_atoms, 3), at the next step."""
        for frame, of_replica in zip(self._frames, positions.reshape(self.replicas, -1, 3), strict=True):
            frame.positions[:] = of_replica
        found = self.evaluated(self._frames, self.step + 1)
        assert found.forces is not None
        return found.energies, np.concatenate(found.forces)

    def _set(self, positions: Floats, momenta: Floats, energies: Floats, forces: Floats) -> None:
        from torch_sim.integrators.md import MDState

        atoms = len(self._masses)
        numbers = np.tile(self._frames[0].numbers, self.replicas)
        self._now = MDState(
            positions=self._tensor(positions.reshape(-1, 3)),
            momenta=self._tensor(momenta.reshape(-1, 3)),
            energy=self._tensor(energies),
            forces=self._tensor(forces.reshape(-1, 3)),
            masses=self._tensor(np.tile(self._masses, self.replicas)),
            cell=self._tensor(self._cells.transpose(0, 2, 1)),
            pbc=True,
            atomic_numbers=self._torch.tensor(numbers),
            system_idx=self._torch.arange(self.replicas).repeat_interleave(atoms),
        )

    def _integrate(self, ensemble: Ensemble) -> None:
        from torch_sim.integrators import nve, nvt_langevin

        self.ensemble = ensemble
        model: Any = _Model(self)
        timestep = self._tensor(self.protocol.timestep_fs * units.fs)
        thermal = self._tensor(units.kB * self.protocol.temperature)
        if ensemble == "NVE":
            self._update = nve(model, dt=timestep, kT=thermal)[1]
        else:
            friction = self._tensor(self.protocol.friction_per_fs / units.fs)
            self._update = nvt_langevin(model, dt=timestep, kT=thermal, gamma=friction)[1]

    def _tensor(self, values: Floats | float) -> Any:
        return self._torch.tensor(values, dtype=self._torch.float64)

    def _of_replicas(self, tensor: Any) -> Floats:
        found: Floats = tensor.numpy().reshape(self.replicas, -1, 3).copy()
        return found

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        """Random numbers of torch from where this engine left off; those of everybody else stay as they are."""
        with self._torch.random.fork_rng(devices=[]):
            self._torch.set_rng_state(self._random)
            yield
            self._random = self._torch.get_rng_state()


class _Model:
    """The calculator as torch-sim wants its models (`torch_sim.models.interface.ModelInterface`)."""

    def __init__(self, engine: TorchEngine) -> None:
        import torch

        self._engine, self._from_numpy = engine, torch.from_numpy
        self.device, self.dtype = torch.device("cpu"), torch.float64

    def __call__(self, state: Any) -> dict[str, Any]:
        """Energies and forces of all replicas."""
        energies, forces = self._engine.model_output(state.positions.numpy())
        return {"energy": self._from_numpy(energies), "forces": self._from_numpy(forces)}
