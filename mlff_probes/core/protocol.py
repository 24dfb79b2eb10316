"""What all protocols share, and the units of their quantities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from mlff_probes.core.evaluation import Evaluation
from mlff_probes.core.records import Measurement, Record, Text
from mlff_probes.core.structures import state_of

if TYPE_CHECKING:
    from ase import Atoms

REGISTRY_DECIMALS = 5
"""Registries (`slide`) and gaps are matched after rounding to this many decimals."""

GEOMETRY_A = 1e-4
"""How far a cell vector may be from where its keys say, A: files carry limited decimals."""

ENERGY, FORCE, LENGTH, FRACTION = "eV", "eV/A", "A", "of path"
CELL_ENERGY = "eV/cell"
PER_AREA = {"meV/A^2": CELL_ENERGY, "meV/A^3": FORCE}
"""Units of tolerances that grow with the area of an interface, each with the unit of a cell that it becomes."""

ATOM_ENERGY, SMALL_FORCE, STRESS, PURE, CALLS = "meV/atom", "meV/A", "GPa", "1", "calls"


FramesFrom = Literal[
    "file beside the case",
    "labelled frames",
    "any frames",
    "frames and training frames",
    "structures of a law",
    "start of a simulation",
]
"""Where the frames of a case come from; `mlff_probes.cases.frames` has a reader for each."""


def energy_and_force(*names: str, stress: bool = False) -> dict[str, str]:
    """The quantities ``<name>_energy``, ``<name>_force`` and, if wanted, ``<name>_stress``, with their units."""
    kinds = {"energy": ATOM_ENERGY, "force": SMALL_FORCE} | ({"stress": STRESS} if stress else {})
    return {f"{name}_{what}": unit for name in names for what, unit in kinds.items()}


class LabelKeys(Record):
    """Under which names energies, forces and stresses are stored with frames; None for the usual ones.

    Attributes
    ----------
    energy_key
        Name in the comment line of the energy of a frame, eV.
    forces_key
        Name of the columns with the force on each atom, eV/A.
    stress_key
        Name in the comment line of the stress of a frame, eV/A^3 with ASE's sign, or, where the name holds "virial",
        of its virial in eV. Parity compares it, and the worst frames are written with it.
    """

    energy_key: Text | None = None
    forces_key: Text | None = None
    stress_key: Text | None = None


class BaseProtocol(Record):
    """What all protocols share: the quantities they measure, each with its unit.

    Attributes
    ----------
    kind
        Names it in case files.
    family
        The folder of its cases.
    frame_keys
        The keys that each frame needs in its comment line.
    asks_foundation
        Whether a calculator is compared with what it was fine-tuned from: one row says so of a calculator without.
    frames_from
        Where its frames come from.
    uses_constraints
        Whether the constraints of the frames say anything; otherwise they are taken off, and a note says so.
    uses_forces, needs_forces
        Whether forces are asked for where the calculator has them, and whether nothing is measured without them.
    relaxes
        Whether structures are relaxed, which may take minutes: nothing that a picture measures unasked.
    chooses_elements
        Whether structures of elements that the calculator does not know are left out of the case. Otherwise the case is
        left out of the run.
    looks_ahead
        Whether a measurement gives up early where nothing would be resolved within the tolerances.
    uses_level
        Whether a measurement depends on the level of theory that the calculator states.
    of_machine
        Whether a measurement is of the machine as well as of the calculator: how fast it is there, say.
    """

    kind: str

    family: ClassVar[str]
    frame_keys: ClassVar[tuple[str, ...]] = ()
    asks_foundation: ClassVar[bool] = False
    frames_from: ClassVar[FramesFrom] = "file beside the case"
    quantities: ClassVar[dict[str, str]] = {}
    uses_constraints: ClassVar[bool] = False
    uses_forces: ClassVar[bool] = False
    needs_forces: ClassVar[bool] = False
    chooses_elements: ClassVar[bool] = False
    relaxes: ClassVar[bool] = False
    looks_ahead: ClassVar[bool] = False
    uses_level: ClassVar[bool] = False
    of_machine: ClassVar[bool] = False

    @property
    def needs(self) -> tuple[str, ...]:
        """The properties without which nothing is measured."""
        return ("forces",) if self.needs_forces else ()

    @property
    def other_structures(self) -> str:
        """What is measured besides the frames, in words; empty for nothing."""
        return ""

    def built_frames(self) -> tuple[Atoms, ...]:
        """Frames that the protocol builds itself; none where a file beside the case holds them."""
        return ()

    def units(self, frames: Sequence[Atoms]) -> dict[str, str]:
        """All that this protocol measures on `frames`: quantity -> unit."""
        return dict(self.quantities)

    def work(self, frames: Sequence[Atoms]) -> float:
        """About how many atoms the model sees in all its calls, by which it is reckoned how long they take."""
        return float(sum(map(len, frames)))

    def expected_s(self, frames: Sequence[Atoms], atom_s: float) -> float:
        """About how long a measurement takes, s, with a model that takes `atom_s` for an atom."""
        return atom_s * self.work(frames)

    def uses_stress(self, quantities: Sequence[str]) -> bool:
        """Whether one of `quantities` needs the stress of the frames that carry one."""
        return False

    def interface_area(self, frames: Sequence[Atoms]) -> float | None:
        """Area in A^2 that tolerances per area are multiplied by; None where there is no interface."""
        return None

    def signal(self, quantity: str, reference: Measurement) -> float | None:
        """What a tolerance must stay below to see anything: the range of the curve of the reference, in its unit.

        For a mean deviation it is that of a curve without any feature, and for parity that of a model that sees no
        differences and no forces. None where a quantity is read off neither.
        """
        return None

    def reference_notes(self, reference: Measurement) -> tuple[str, ...]:
        """What a reader must know of what the stored reference shows."""
        return ()

    def is_distance(self, quantity: str) -> bool:
        """Whether a quantity is the distance to a curve of the reference, which is 0 for the reference itself."""
        return False

    def policy_name(self, quantity: str) -> str:
        """The name under which the tolerance policy knows `quantity`."""
        return quantity

    def prepared(self, frames: Sequence[Atoms]) -> tuple[list[Atoms], tuple[str, ...]]:
        """The frames as the protocol asks for them, and notes on what was changed."""
        return list(frames), ()

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        return None

    def frame_notes(self, frames: Sequence[Atoms]) -> tuple[str, ...]:
        """What a reader must know of frames that are usable."""
        return ()

    def reference_problem(self, quantity: str, stored: Evaluation | None, uncertainties: Mapping[str, float]) -> str:
        """Why the stored reference cannot be what `quantity` is judged against; empty where it can.

        `uncertainties` are those that the case states, by quantity.
        """
        return ""

    def with_training_given(self) -> Self | None:
        """A copy for training frames that the user names; None where the protocol takes none."""
        return None

    def reseeded(self, seed: int) -> Self:
        """A copy with other random numbers; seed 0 changes nothing, nor does a protocol without random numbers."""
        return self


def frame_key(frame: Atoms, key: str) -> float:
    """A key of a frame's comment line as a number, rounded so that files of different precision agree."""
    return round(float(frame.info[key]), REGISTRY_DECIMALS)


def order_problem(frames: Sequence[Atoms]) -> str | None:
    """Why the frames are not the same atoms in the same order, or None."""
    first = frames[0].get_chemical_symbols()
    for index, frame in enumerate(frames):
        if len(frame) != len(first):
            return f"frame {index} has {len(frame)} atoms, frame 0 has {len(first)}"
        if frame.get_chemical_symbols() != first:
            return f"frame {index} has other elements, or in another order, than frame 0"
    return None


def state_problem(frames: Sequence[Atoms]) -> str | None:
    """Why the frames are not of one charge, spin and head, whose energies would make no curve, or None."""
    first = state_of(frames[0])
    for index, frame in enumerate(frames):
        if (state := state_of(frame)) != first:
            here, there = (", ".join(f"{name} = {value}" for name, value in each.items()) for each in (state, first))
            return (
                f"frame {index} states {here or 'no charge, spin or head'}, and frame 0 {there or 'none'}; energies "
                "are compared within one state"
            )
    return None
