"""Inference: how fast a model runs, and whether the fast path gives the right answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mlff_probes.core.protocol import PURE, BaseProtocol, FramesFrom, energy_and_force
from mlff_probes.core.records import Slug, Text

if TYPE_CHECKING:
    from ase import Atoms

Count = Annotated[int, Field(ge=1, le=1000)]


class Speed(BaseProtocol):
    """Time of model calls on repeats of one cell, from small to large, and on several structures at once.

    The frame beside the case is repeated, in the order of size, until the next size would take longer than is left of
    `seconds`, or more memory than there is.

    Attributes
    ----------
    repeats
        How often the cell is repeated in each direction, from small to large.
    batches
        How many structures of the smallest size are evaluated together, from few to many.
    seconds
        How long the whole measurement may take.
    timestep_fs
        The timestep for which ns/day are stated, fs.
    extrapolate_to
        The number of atoms for which the cost of a nanosecond is predicted.
    """

    kind: Literal["speed"]
    repeats: Annotated[tuple[tuple[Count, Count, Count], ...], Field(min_length=1)]
    batches: tuple[Annotated[int, Field(ge=2)], ...] = ()
    seconds: Annotated[float, Field(gt=0, le=1e5)] = 10.0
    timestep_fs: Annotated[float, Field(ge=1e-3, le=1e3)] = 1.0
    extrapolate_to: Annotated[int, Field(ge=1, le=10**9)] = 10_000

    family: ClassVar[str] = "inference"
    needs_forces: ClassVar[bool] = True
    of_machine: ClassVar[bool] = True
    quantities: ClassVar[dict[str, str]] = {
        "batch_speedup": PURE,
        "overhead": "ms",
        "time_per_atom": "us/atom",
        "size_exponent": PURE,
        "on_device": PURE,
        "unsynchronised": "%",
    }

    @model_validator(mode="after")
    def _ascending(self) -> Speed:
        cells = [a * b * c for a, b, c in self.repeats]
        if sorted(set(cells)) != cells:
            raise ValueError("repeats must go from small to large, each size once")
        if sorted(set(self.batches)) != list(self.batches):
            raise ValueError("batches must go from small to large, each once")
        return self

    def expected_s(self, frames: Sequence[Atoms], atom_s: float) -> float:
        """About how long a measurement takes, s."""
        return self.seconds

    def sizes(self, frame: Atoms) -> list[int]:
        """Atoms of each repeat of `frame`."""
        return [len(frame) * a * b * c for a, b, c in self.repeats]

    @property
    def nanosecond(self) -> str:
        """The quantity that says what a nanosecond of `extrapolate_to` atoms takes."""
        return f"nanosecond_{self.extrapolate_to}"

    def units(self, frames: Sequence[Atoms]) -> dict[str, str]:
        """All that this protocol measures on `frames`: quantity -> unit."""
        latencies = {f"latency_{atoms}": "ms" for frame in frames[:1] for atoms in self.sizes(frame)}
        return latencies | self.quantities | {self.nanosecond: "h"}

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        return None if len(frames) == 1 else f"exactly one frame is timed, found {len(frames)}"


class PathAgreement(BaseProtocol):
    """Energies, forces and stress of some frames on the path in use and on others that must give the same.

    The frames lie beside the case, or `origins` names the files. Only their structures are read; those with an element
    that the model does not know are left out.

    Attributes
    ----------
    origins
        Origin -> path or pattern of files with frames, relative to the case file.
    """

    kind: Literal["path_agreement"]
    origins: dict[Slug, Text] = Field(default_factory=dict)

    family: ClassVar[str] = "inference"
    frames_from: ClassVar[FramesFrom] = "any frames"
    chooses_elements: ClassVar[bool] = True
    of_machine: ClassVar[bool] = True
    quantities: ClassVar[dict[str, str]] = (
        energy_and_force("plainest", "float32", "compiled", "kernels", stress=True)
        | energy_and_force("batch")
        | energy_and_force("first_call", stress=True)
    )
