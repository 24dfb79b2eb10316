"""Inference: how fast a model runs, and whether the fast path gives the right answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from mlff_probes.protocols.base import BaseProtocol, energy_and_force
from mlff_probes.records import Positive, Slug, Text

if TYPE_CHECKING:
    from ase import Atoms


class Latency(BaseProtocol):
    """Time of one force call on a cell whose atoms are moved between calls."""

    kind: Literal["latency"]
    timestep_fs: Positive

    family: ClassVar[str] = "inference"
    needs_forces: ClassVar[bool] = True
    frame_keys: ClassVar[tuple[str, ...]] = ()
    quantities: ClassVar[dict[str, str]] = {"latency": "ms"}

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        return None if len(frames) == 1 else f"exactly one frame is timed, found {len(frames)}"


class PathAgreement(BaseProtocol):
    """Energies, forces and stress of some frames on the path in use and on others that must give the same.

    The frames lie beside the case, or `origins` names the files: origin -> path or pattern, relative to the case file.
    Of what is stored with them only the structures are read; those with an element that the model does not know are
    left out.
    """

    kind: Literal["path_agreement"]
    origins: dict[Slug, Text] = Field(default_factory=dict)

    family: ClassVar[str] = "inference"
    chooses_elements: ClassVar[bool] = True
    frame_keys: ClassVar[tuple[str, ...]] = ()
    quantities: ClassVar[dict[str, str]] = (
        energy_and_force("plainest", "float32", "compiled", "kernels", stress=True)
        | energy_and_force("batch")
        | energy_and_force("first_call", stress=True)
    )

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None: any frames do."""
        return None
