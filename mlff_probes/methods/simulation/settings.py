"""How a simulation is made, whatever is read off it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mlff_probes.core.records import Finite, Positive, Record

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Ensemble = Literal["NVE", "NVT", "NPT"]


class SimulationSettings(Record):
    """Ensemble, temperature, length and random numbers of a simulation.

    NVT and NPT are kept with Langevin friction; NVE keeps the energy.

    Attributes
    ----------
    ensemble
        Constant energy (NVE), temperature (NVT), or temperature and pressure (NPT).
    temperature
        Of the equilibration, and of the thermostat, K.
    pressure_bar
        The target in NPT, bar.
    timestep_fs
        One step, fs.
    equilibration_steps
        Timesteps before the production.
    steps
        Timesteps of the production.
    sample_every
        Positions, velocities and forces are kept every so many timesteps.
    seeds
        One replica each: its first velocities, and the random numbers of its thermostat.
    friction_per_fs
        Of the Langevin thermostat, 1/fs.
    barostat_fs
        Time constant of the barostat, fs.
    """

    ensemble: Ensemble
    temperature: Positive
    pressure_bar: Finite = 1.0
    timestep_fs: Positive = 1.0
    equilibration_steps: Annotated[int, Field(ge=0)]
    steps: Count
    sample_every: Count
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    friction_per_fs: Positive = 0.01
    barostat_fs: Positive = 1000.0

    @model_validator(mode="after")
    def _samples(self) -> Self:
        for name in ("equilibration_steps", "steps"):
            if getattr(self, name) % self.sample_every:
                raise ValueError(f"{name} must be a multiple of sample_every")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("two seeds are the same, and so would be their replicas")
        return self

    @property
    def equilibrated_in(self) -> Ensemble:
        """The ensemble of the equilibration: where the cell moves later, it must have settled, too."""
        return "NPT" if self.ensemble == "NPT" else "NVT"
