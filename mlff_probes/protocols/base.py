"""What all protocols share, and the units of their quantities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from mlff_probes.frame_problems import REGISTRY_DECIMALS
from mlff_probes.records import Record

if TYPE_CHECKING:
    from ase import Atoms

ENERGY, FORCE, LENGTH, FRACTION = "eV", "eV/A", "A", "of path"
CELL_ENERGY = "eV/cell"
ATOM_ENERGY, SMALL_FORCE, STRESS, PURE, CALLS = "meV/atom", "meV/A", "GPa", "1", "calls"


def energy_and_force(*names: str, stress: bool = False) -> dict[str, str]:
    """The quantities ``<name>_energy``, ``<name>_force`` and, if wanted, ``<name>_stress``, with their units."""
    kinds = {"energy": ATOM_ENERGY, "force": SMALL_FORCE} | ({"stress": STRESS} if stress else {})
    return {f"{name}_{what}": unit for name in names for what, unit in kinds.items()}


class BaseProtocol(Record):
    """What all protocols share: the quantities they measure, each with its unit.

    `uses_forces`: they are asked for where the calculator has them; `needs_forces`: without them nothing is measured;
    `chooses_elements`: what the calculator does not know is left out of the case, rather than the case of the run.
    """

    quantities: ClassVar[dict[str, str]] = {}
    uses_forces: ClassVar[bool] = False
    needs_forces: ClassVar[bool] = False
    chooses_elements: ClassVar[bool] = False

    @property
    def needs(self) -> tuple[str, ...]:
        """The properties without which nothing is measured."""
        return ("forces",) if self.needs_forces else ()

    def built_frames(self) -> tuple[Atoms, ...]:
        """Frames that the protocol builds itself; none where a file beside the case holds them."""
        return ()

    def units(self, frames: Sequence[Atoms]) -> dict[str, str]:
        """All that this protocol measures on `frames`: quantity -> unit."""
        return dict(self.quantities)

    def policy_name(self, quantity: str) -> str:
        """The name under which the tolerance policy knows `quantity`."""
        return quantity


def frame_key(frame: Atoms, key: str) -> float:
    """A key of a frame's comment line as a number, rounded so that files of different precision agree."""
    return round(float(frame.info[key]), REGISTRY_DECIMALS)
