"""Dynamics: one simulation, and all that is read off its trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from mlff_probes.core.protocol import LENGTH, PURE, SMALL_FORCE, BaseProtocol, FramesFrom, LabelKeys
from mlff_probes.core.records import Positive, Text
from mlff_probes.core.structures import derived
from mlff_probes.measure.representation.protocols import DISTANCES, TrainingSet
from mlff_probes.methods.simulation.settings import Count, SimulationSettings

if TYPE_CHECKING:
    from ase import Atoms


OF_PAIRS = {"first_peak": LENGTH, "first_peak_height": PURE, "rdf_l1": PURE, "rdf_wasserstein": LENGTH}
OF_ELEMENTS = {"diffusion": "cm^2/s", "mean_frequency": "THz", "vdos_wasserstein": "THz"}
OF_ENSEMBLES = {
    "energy_drift": ("NVE",),
    "temperature_offset": ("NVT", "NPT"),
    "pressure_offset": ("NPT",),
    "volume": ("NPT",),
    "volume_drift": ("NPT",),
    "volume_offset": ("NPT",),
    "rmsd_growth_rate": ("NVE", "NVT"),
    "diffusion": ("NVE", "NVT"),
}
"""What is measured in some ensembles only: elsewhere it is fixed, or the thermostat's, or the strain of a cell that
moves is part of it."""

ALL = "all"
"""Stands for all atoms where a pair of elements, or an element, could stand."""


class ReferenceTrajectory(LabelKeys):
    """A trajectory to compare with, for example of ab initio molecular dynamics.

    Velocities are taken from the file, or else from the positions; energies and forces under the usual names, or under
    those that `LabelKeys` state.

    Attributes
    ----------
    file
        A trajectory that ASE reads, relative to the case file.
    interval_fs
        Time between two frames, fs.
    skip
        How many frames at the beginning are left out.
    reorder_atoms
        Whether atoms that are numbered in another order from some frame on are mapped to those of the first; without it
        they are refused, and with false nobody looks.
    """

    file: Text
    interval_fs: Positive
    skip: Annotated[int, Field(ge=0)] = 0
    reorder_atoms: bool | None = None


class MolecularDynamics(SimulationSettings, BaseProtocol):
    """Replicas of one supercell, equilibrated in NVT (in NPT where the ensemble is NPT) and then sampled.

    Attributes
    ----------
    supercell
        How often the starting frame is repeated in each direction.
    structure
        A file with the starting frame, relative to the case file, instead of the one beside the case.
    pressure_samples
        At how many samples the stress is evaluated.
    rdf_max
        How far g(r) is computed, A; without it, as far as the cell allows.
    rdf_bin
        Width of a bin of g(r), A.
    hop_length
        Distance of neighbouring sites, A: a mean squared displacement below half its square is no diffusion.
    curves
        CSV files to compare with, by name of the curve: `rdf_Cr_Te`, `rdf_all`, `vdos_Cr`, `vdos_all`.
    trajectory
        A trajectory to compare with: a `ReferenceTrajectory`.
    extrapolation
        Training frames from which the distance of the simulation is measured: a `TrainingSet`.
    """

    kind: Literal["molecular_dynamics"]
    supercell: tuple[Count, Count, Count] = (1, 1, 1)
    structure: Text | None = None
    pressure_samples: Annotated[int, Field(ge=10)] = 40
    rdf_max: Annotated[float, Field(ge=2.0, allow_inf_nan=False)] | None = None
    rdf_bin: Annotated[float, Field(gt=0, le=0.2, allow_inf_nan=False)] = 0.05
    hop_length: Positive = 3.0
    curves: dict[str, Text] = Field(default_factory=dict)
    trajectory: ReferenceTrajectory | None = None
    extrapolation: TrainingSet | None = None

    family: ClassVar[str] = "dynamics"
    frames_from: ClassVar[FramesFrom] = "start of a simulation"
    uses_forces: ClassVar[bool] = True
    needs_forces: ClassVar[bool] = True
    looks_ahead: ClassVar[bool] = True
    quantities: ClassVar[dict[str, str]] = {
        "survival": PURE,
        "temperature": "K",
        "temperature_offset": "%",
        "temperature_drift": "K/ps",
        "potential_energy": "eV/atom",
        "potential_energy_drift": "eV/atom/ps",
        "pressure": "GPa",
        "pressure_drift": "GPa/ps",
        "pressure_offset": "GPa",
        "volume": "A^3/atom",
        "volume_drift": "A^3/atom/ps",
        "volume_offset": "%",
        "energy_drift": "eV/atom/ps",
        "net_force": SMALL_FORCE,
        "rmsd_growth_rate": "A/ps",
        "thermal_conductivity": "W/m/K",
        **DISTANCES,
    }

    @property
    def calls(self) -> int:
        """Model calls, one replica after the other: one a step, and that of the start."""
        return len(self.seeds) * (self.equilibration_steps + self.steps + 1)

    def work(self, frames: Sequence[Atoms]) -> float:
        """Atoms that the model sees."""
        return float(self.calls * len(self.start(frames)))

    @property
    def needs(self) -> tuple[str, ...]:
        """The properties without which nothing is measured: a cell that moves needs the stress."""
        return ("forces", "stress") if self.ensemble == "NPT" else ("forces",)

    def units(self, frames: Sequence[Atoms]) -> dict[str, str]:
        """All that this protocol measures on `frames`: quantity -> unit."""
        elements = sorted({symbol for frame in frames for symbol in frame.get_chemical_symbols()})
        pairs = ["_".join(pair) for pair in combinations_with_replacement(elements, 2)]
        by_pair = {f"{name}_{pair}": unit for pair in (ALL, *pairs) for name, unit in OF_PAIRS.items()}
        by_element = {f"{name}_{element}": unit for element in (ALL, *elements) for name, unit in OF_ELEMENTS.items()}
        every = self.quantities | by_pair | by_element
        others = {name for name, where in OF_ENSEMBLES.items() if self.ensemble not in where}
        others |= set() if self.extrapolation else set(DISTANCES)
        return {name: unit for name, unit in every.items() if self.policy_name(name) not in others}

    def policy_name(self, quantity: str) -> str:
        """The name under which the tolerance policy knows `quantity`: pairs and elements share the tolerance."""
        names = sorted((*OF_PAIRS, *OF_ELEMENTS), key=len, reverse=True)
        return next((name for name in names if quantity.startswith(f"{name}_")), quantity)

    def curve(self, quantity: str) -> str:
        """The curve (`rdf_Cr_Te`) that a quantity is a distance to; "" for any other quantity."""
        name = self.policy_name(quantity)
        kind, _, distance = name.partition("_")
        return f"{kind}{quantity.removeprefix(name)}" if distance in ("l1", "wasserstein") else ""

    def is_distance(self, quantity: str) -> bool:
        """Whether a quantity is the distance to a curve."""
        return bool(self.curve(quantity))

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        if len(frames) != 1:
            return (
                f"molecular dynamics starts from exactly one frame, found {len(frames)}; choose one, the last for "
                'instance by structure = "FILE@-1"'
            )
        if not frames[0].pbc.all() or frames[0].cell.rank < 3:
            return "the frame must be periodic in all three directions, in a cell with a volume"
        if self.ensemble == "NVE" and len(self.start(frames)) < 2:
            return "a single atom cannot move without a thermostat: its momentum is that of the whole"
        return None

    def reseeded(self, seed: int) -> Self:
        """A copy with other random numbers; seed 0 changes nothing."""
        if seed == 0:
            return self
        seeds = tuple(int(np.random.SeedSequence([seed, own]).generate_state(1)[0]) for own in self.seeds)
        return self.model_copy(update={"seeds": seeds})

    def with_training_given(self) -> Self | None:
        """A copy for training frames that the user names, which are taken as they are; None where none are used."""
        if self.extrapolation is None:
            return None
        return self.model_copy(update={"extrapolation": self.extrapolation.model_copy(update={"rattled": 0})})

    def start(self, frames: Sequence[Atoms]) -> Atoms:
        """The supercell that the simulation starts from."""
        return derived(frames[0], repeat=self.supercell)
