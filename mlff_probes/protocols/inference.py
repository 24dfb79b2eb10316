"""Inference: how fast a model runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from mlff_probes.protocols.base import BaseProtocol
from mlff_probes.records import Positive

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
