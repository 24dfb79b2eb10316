"""Molecular dynamics by ASE's integrators, one replica after the other: any calculator, every ensemble."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import Any

import ase
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.verlet import VelocityVerlet

from mlff_probes.calculators.base import Calculator
from mlff_probes.core.errors import EvaluationError
from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.structures import copied
from mlff_probes.methods.simulation.engine import THERMOSTAT, Engine, Sample, State, at_rest, first_momenta
from mlff_probes.methods.simulation.settings import Ensemble, SimulationSettings

CORRECTED = "_barostat_BAOAB_OU_gamma_mod"
"""The private method of ASE's `LangevinBAOAB` that `_Barostat` replaces."""


class AseEngine(Engine):
    """Velocity Verlet for NVE, Langevin by BAOAB for NVT, and with a cell that changes in size and shape for NPT."""

    ensembles = ("NVE", "NVT", "NPT")
    wraps = False

    def __init__(self, calculator: Calculator, protocol: SimulationSettings, start: Atoms, calls: Calls) -> None:
        super().__init__(replace(calculator, batch=None), protocol, start, calls)
        if protocol.ensemble == "NPT":
            _check_barostat()
        self._generators = [np.random.default_rng([seed, THERMOSTAT]) for seed in protocol.seeds]
        self._models = [_Model(self, replica) for replica in range(self.replicas)]
        self._integrators: list[Any] = []

    @property
    def name(self) -> str:
        """As in "ASE 3.29.0 VelocityVerlet" or "ASE 3.29.0 LangevinBAOAB, corrected barostat"."""
        integrator = VelocityVerlet if self.protocol.ensemble == "NVE" else LangevinBAOAB
        corrected = ", corrected barostat" if self.protocol.ensemble == "NPT" else ""
        return f"ASE {ase.__version__} {integrator.__name__}{corrected}"

    def begin(self, ensemble: Ensemble) -> None:
        """Give the replicas their first velocities and forces."""
        for atoms, model, seed in zip(self._frames, self._models, self.protocol.seeds, strict=True):
            atoms.set_momenta(first_momenta(atoms.get_masses(), self.protocol.temperature, seed))
            atoms.calc = model
            atoms.get_forces()
        self._integrate(ensemble)

    def switch(self, ensemble: Ensemble) -> None:
        """Go on in another ensemble; into NVE without the total momentum."""
        if ensemble == "NVE":
            for atoms in self._frames:
                atoms.set_momenta(at_rest(atoms.get_momenta(), atoms.get_masses()))
        self._integrate(ensemble)

    def advance(self, steps: int) -> None:
        """Take `steps` timesteps with each replica."""
        for integrator, model in zip(self._integrators, self._models, strict=True):
            for step in range(self.step, self.step + steps):
                model.step = step + 1
                integrator.step()
        self.step += steps

    def sample(self) -> Sample:
        """All replicas as they are."""
        return Sample(
            positions=np.array([atoms.positions for atoms in self._frames]),
            momenta=np.array([atoms.get_momenta() for atoms in self._frames]),
            masses=self._frames[0].get_masses(),
            forces=np.array([model.results["forces"] for model in self._models]),
            energies=np.array([model.results["energy"] for model in self._models]),
            cells=np.array([atoms.cell.array for atoms in self._frames]),
        )

    def state(self) -> State:
        """What `restore` needs to go on bitwise, random numbers included."""
        sample = self.sample()
        random = [json.dumps(generator.bit_generator.state) for generator in self._generators]
        found: State = {
            "step": np.array(self.step), "ensemble": np.array(self.ensemble), "random": np.array(random),
            "positions": sample.positions, "momenta": sample.momenta, "forces": sample.forces,
            "energies": sample.energies, "cells": sample.cells,
        }  # fmt: skip
        if self.protocol.ensemble == "NPT":
            found["stresses"] = np.array([model.results["stress"] for model in self._models])
        if self.ensemble == "NPT":
            found["p_eps"] = np.array([np.zeros((3, 3)) + one.p_eps for one in self._integrators])
            # made before the last half step of the velocities, so that it cannot be made again
            found["force_eps"] = np.array([one.force_eps for one in self._integrators])
        return found

    def restore(self, state: State) -> None:
        """Go on from a `state`, without a model call."""
        self.step = int(state["step"])
        for replica, (atoms, model) in enumerate(zip(self._frames, self._models, strict=True)):
            atoms.set_cell(state["cells"][replica])
            atoms.positions = state["positions"][replica]
            atoms.set_momenta(state["momenta"][replica])
            names = {"forces": "forces", "energy": "energies"}
            if self.protocol.ensemble == "NPT":
                names["stress"] = "stresses"
            model.recall(atoms, {name: state[key][replica] for name, key in names.items()})
            atoms.calc = model
            self._generators[replica].bit_generator.state = json.loads(str(state["random"][replica]))
        self._integrate(str(state["ensemble"]))  # type: ignore[arg-type]
        if self.ensemble == "NPT":
            for replica, integrator in enumerate(self._integrators):
                integrator.p_eps, integrator.force_eps = state["p_eps"][replica], state["force_eps"][replica]

    def recomputed(self) -> Evaluation:
        """Energies and forces of the replicas as they are, asked of the model once more."""
        found = [self.evaluated([atoms], self.step, row) for row, atoms in enumerate(self._frames)]
        return Evaluation(
            np.array([one.energies[0] for one in found]),
            tuple(one.forces[0] for one in found if one.forces is not None),
        )

    def _integrate(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble
        self._integrators = [self._integrator(*pair) for pair in zip(self._frames, self._generators, strict=True)]

    def _integrator(self, atoms: Atoms, generator: np.random.Generator) -> Any:
        protocol, timestep = self.protocol, self.protocol.timestep_fs * units.fs
        if self.ensemble == "NVE":
            return VelocityVerlet(atoms, timestep)
        given: dict[str, Any] = {
            "temperature_K": protocol.temperature,
            "T_tau": units.fs / protocol.friction_per_fs,
            "rng": generator,
        }
        if self.ensemble == "NVT":
            return LangevinBAOAB(atoms, timestep, **given)
        given["externalstress"] = -protocol.pressure_bar * units.bar  # a stress pulls, a pressure pushes
        given["P_tau"] = protocol.barostat_fs * units.fs
        with warnings.catch_warnings():  # the mass that makes the cell swing with P_tau / 4 is what we want
            warnings.filterwarnings("ignore", message="Using heuristic P_mass")
            return _Barostat(atoms, timestep, **given)  # type: ignore[no-untyped-call]


class _Barostat(LangevinBAOAB):
    """ASE's, with the drag of Quigley and Probert's equations (2004), which has its trace on the diagonal alone."""

    def _barostat_BAOAB_OU_gamma_mod(self) -> Any:  # noqa: N802 - as ASE calls it, where the trace goes everywhere
        return (self.p_eps + np.trace(self.p_eps) / self.Ndof * np.identity(3)) / self.barostat_mass


def _check_barostat() -> None:
    """Make sure that ASE still has what `_Barostat` corrects.

    Raises
    ------
    EvaluationError
        If not: the correction would have no effect, and nobody would see it.
    """
    if not hasattr(LangevinBAOAB, CORRECTED):
        raise EvaluationError(
            f"NPT cannot be simulated with ASE {ase.__version__}: its LangevinBAOAB has no {CORRECTED}, "
            "which must be corrected; ASE 3.29.0 has it"
        )


class _Model(AseCalculator):
    """One replica's calculator: evaluates, checks and counts as the suite does, and keeps the last results."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 - as ASE declares it

    def __init__(self, engine: AseEngine, replica: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._engine, self._replica, self.step = engine, replica, 0

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Energy, forces and, for a barostat, stress of `atoms`."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        stress = self._engine.protocol.ensemble == "NPT"
        found = self._engine.evaluated([self.atoms], self.step, self._replica, stress=stress)
        assert found.forces is not None
        self.results = {"energy": float(found.energies[0]), "forces": found.forces[0]}
        if found.stresses is not None:
            self.results["stress"] = found.stresses[0]

    def recall(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Take over what was computed for `atoms` before."""
        self.atoms, self.results = copied(atoms), results
