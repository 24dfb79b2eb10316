"""Physical laws: what must hold of any model on any material, so that no reference is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from mlff_probes.core.protocol import ENERGY, PURE, SMALL_FORCE, STRESS, BaseProtocol, FramesFrom, energy_and_force
from mlff_probes.core.records import Text

if TYPE_CHECKING:
    from ase import Atoms

JUMP = "meV"


class Law(BaseProtocol):
    """What all laws share: they are tried on given structures and on random ones of elements that the model knows.

    Structures with an element that the model does not know are left out.

    Attributes
    ----------
    structures
        Files to take structures from (paths or patterns, relative to the case file), instead of the one beside the
        case.
    random_structures
        Whether random structures are tried, too.
    examples
        How many examples are drawn; for the short-range wall, the largest number of pairs of elements, for the stated
        level that of elements.
    """

    structures: tuple[Text, ...] = ()
    random_structures: bool = True
    examples: Annotated[int, Field(ge=1, le=10_000)] = 40

    atoms_an_example: ClassVar[int]
    """About how many atoms the model sees for one example."""

    family: ClassVar[str] = "physicality"
    frames_from: ClassVar[FramesFrom] = "structures of a law"
    chooses_elements: ClassVar[bool] = True

    def work(self, frames: Sequence[Atoms]) -> float:
        """Atoms that the model sees."""
        return float(self.examples * self.atoms_an_example)

    @property
    def other_structures(self) -> str:
        """What is measured besides the frames, in words."""
        return "random structures" if self.random_structures else ""

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        if frames or self.random_structures:
            return None
        return "there are no structures, and random_structures is false: nothing is left to try the laws on"


class Symmetry(Law):
    """Energies and forces of a structure that was moved, mirrored, renumbered, described otherwise or repeated."""

    kind: Literal["symmetry"]
    atoms_an_example: ClassVar[int] = 93

    quantities: ClassVar[dict[str, str]] = energy_and_force(
        "rotation", "reflection", "translation", "permutation", "equivalent_cell", "extensivity"
    )


class Derivatives(Law):
    """Forces and stress against finite differences of the energy."""

    kind: Literal["derivatives"]
    atoms_an_example: ClassVar[int] = 87

    quantities: ClassVar[dict[str, str]] = {"force_consistency": SMALL_FORCE, "stress_consistency": STRESS}


class Smoothness(Law):
    """Energy and force along a line, on which neighbours enter and leave the cutoff."""

    kind: Literal["smoothness"]
    atoms_an_example: ClassVar[int] = 533

    quantities: ClassVar[dict[str, str]] = {"energy_jump": JUMP, "force_jump": SMALL_FORCE}


class ShortRangeWall(Law):
    """Two atoms alone, pressed together. `examples` is the most pairs of elements that are tried."""

    kind: Literal["short_range_wall"]
    atoms_an_example: ClassVar[int] = 4

    quantities: ClassVar[dict[str, str]] = {"wall_deficit": ENERGY}


class StatedLevel(Law):
    """What layers feel of each other across a vacuum, against the stated level. `examples` is the most elements."""

    kind: Literal["stated_level"]
    uses_level: ClassVar[bool] = True
    atoms_an_example: ClassVar[int] = 7

    quantities: ClassVar[dict[str, str]] = {"stated_level": PURE}


class Reproducibility(Law):
    """One structure evaluated again: later, after others, in a batch, in a model loaded again, in another precision."""

    kind: Literal["reproducibility"]
    atoms_an_example: ClassVar[int] = 110

    quantities: ClassVar[dict[str, str]] = energy_and_force("repeat", "history", "first_call", "batch", "float32")
