"""Parity: energies, forces and stresses against labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mlff_probes.core.protocol import ATOM_ENERGY, PURE, SMALL_FORCE, STRESS, BaseProtocol, FramesFrom, LabelKeys
from mlff_probes.core.records import Measurement, Slug, Text
from mlff_probes.measure.parity.energies import EnergyReference, elements_problem

if TYPE_CHECKING:
    from ase import Atoms


SPREAD = {"energy_spread_correlation": PURE, "force_spread_correlation": PURE}
"""Of a committee: whether its members differ most where their mean is wrong most."""

FEATURELESS = "a model that sees nothing"
"""Diagnostic of the labels: by how much such a model is off, by quantity."""


class Parity(BaseProtocol, LabelKeys):
    """Energies, forces and stresses of many frames against their labels, by element and by origin of the frame.

    The frames lie beside the case and name their `origin` themselves (or their `config_type`), or `origins` names the
    files. `energy_key`, `forces_key` and `stress_key` name their labels, where these have other names than usual.

    Attributes
    ----------
    origins
        Origin -> path or pattern of files with frames, relative to the case file.
    energy_reference
        What is taken off the energy errors, since codes share no energy zero: one offset per composition, one fitted
        energy per element (for sets whose frames are mostly alone in their composition), or nothing (absolute).
    """

    kind: Literal["parity"]
    origins: dict[Slug, Text] = Field(default_factory=dict)
    energy_reference: EnergyReference = "composition"

    family: ClassVar[str] = "parity"
    frames_from: ClassVar[FramesFrom] = "labelled frames"
    uses_constraints: ClassVar[bool] = True
    uses_forces: ClassVar[bool] = True
    quantities: ClassVar[dict[str, str]] = {
        "energy_mae": ATOM_ENERGY,
        "energy_rmse": ATOM_ENERGY,
        "force_mae": SMALL_FORCE,
        "force_rmse": SMALL_FORCE,
        "force_cosine": PURE,
        "stress_mae": STRESS,
        **SPREAD,
    }

    def split(self, quantity: str) -> tuple[str, str, str]:
        """`quantity` as (metric, element, origin): `force_mae_Cr`, `energy_mae_of_sliding`; "" for all."""
        metric, _, origin = quantity.partition("_of_")
        whole, element = metric in self.quantities, metric.rpartition("_")
        return (metric, "", origin) if whole else (element[0], element[2], origin)

    def units(self, frames: Sequence[Atoms]) -> dict[str, str]:
        """All that this protocol measures on `frames`: quantity -> unit."""
        elements = sorted({symbol for frame in frames for symbol in set(frame.get_chemical_symbols())})
        origins = dict.fromkeys(str(frame.info["origin"]) for frame in frames)
        of_frames = [name for name in self.quantities if name.startswith(("energy", "stress")) or name in SPREAD]
        of_atoms = {name: unit for name, unit in self.quantities.items() if name not in of_frames}
        by_element = {f"{name}_{element}": unit for element in elements for name, unit in of_atoms.items()}
        by_origin = {f"{name}_of_{origin}": unit for origin in origins for name, unit in self.quantities.items()}
        return self.quantities | by_element | by_origin

    def uses_stress(self, quantities: Sequence[str]) -> bool:
        """Whether one of `quantities` needs the stress of the frames that carry one."""
        return any(self.policy_name(quantity).startswith("stress") for quantity in quantities)

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        return elements_problem(frames) if self.energy_reference == "elements" else None

    def signal(self, quantity: str, reference: Measurement) -> float | None:
        """What a model would be off by that has one energy for all structures, no forces and no stress."""
        found: float | None = reference.diagnostics[FEATURELESS].get(quantity)
        return found

    def policy_name(self, quantity: str) -> str:
        """The name under which the tolerance policy knows `quantity`: parts share the tolerance of the whole."""
        return self.split(quantity)[0]
