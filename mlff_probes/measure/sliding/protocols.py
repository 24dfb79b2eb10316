"""Sliding: one layer of a crystal over the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from mlff_probes.core.protocol import (
    CELL_ENERGY,
    FORCE,
    GEOMETRY_A,
    LENGTH,
    REGISTRY_DECIMALS,
    BaseProtocol,
    LabelKeys,
    frame_key,
    order_problem,
)

if TYPE_CHECKING:
    from ase import Atoms


class Slide(BaseProtocol, LabelKeys):
    """What both sliding protocols share: one layer slides over the next.

    Attributes
    ----------
    slide_vector
        The period of the slide, in lattice vectors a1 and a2 of the plane.
    """

    slide_vector: tuple[int, int]

    family: ClassVar[str] = "sliding"
    frame_keys: ClassVar[tuple[str, ...]] = ("slide", "gap")

    def geometry_problem(self, frames: Sequence[Atoms]) -> str | None:
        """Why the third cell vector does not follow `slide`, or None.

        The in-plane part of a3 must move by `slide` times the period, up to lattice vectors of the plane.
        """
        if not any(self.slide_vector):
            return "slide_vector must not be zero"
        first = frames[0]
        plane = first.cell.array[:2]
        if float(np.linalg.norm(np.cross(*plane))) == 0:
            return "the cell has no area in the plane of sliding"
        for index, frame in enumerate(frames):
            if not np.allclose(frame.cell.array[:2], plane, atol=GEOMETRY_A):
                return f"frame {index} has other in-plane cell vectors than frame 0"
            moved = frame.cell.array[2] - first.cell.array[2]
            moved -= (frame.info["slide"] - first.info["slide"]) * np.array(self.slide_vector) @ plane
            steps = np.linalg.lstsq(plane.T, moved, rcond=None)[0]
            if np.abs((steps - steps.round()) @ plane).max() > GEOMETRY_A:
                return f"the third cell vector of frame {index} does not follow slide={frame.info['slide']:g}"
        return order_problem(frames)


class FixedGapSlide(Slide):
    """One period of sliding at a constant interlayer gap, sampled at equidistant registries."""

    kind: Literal["fixed_gap_slide"]

    quantities: ClassVar[dict[str, str]] = {
        "atop_energy": CELL_ENERGY,
        "stacking_fault_energy": CELL_ENERGY,
        "bridge_barrier": CELL_ENERGY,
        "profile_mae": CELL_ENERGY,
        "max_lateral_force": FORCE,
        "periodicity": CELL_ENERGY,
    }

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        slides = np.array([frame.info["slide"] for frame in frames], dtype=float)
        n = len(slides)
        if n % 3 or n < 6:
            return f"the registries must number 6, 9, 12, … (1/3 and 2/3 among them), found {n}"
        if not np.allclose(slides, np.arange(n) / n, atol=10.0**-REGISTRY_DECIMALS):
            return f"'slide' must be 0, 1/{n}, 2/{n}, …, found {slides.tolist()}"
        gaps = {frame_key(frame, "gap") for frame in frames}
        if len(gaps) > 1:
            return f"all registries of a fixed-gap slide need one gap, found {sorted(gaps)}"
        return self.geometry_problem(frames)


class RelaxedGapSlide(Slide):
    """E(gap) at the crystal's stacking, atop and at the fault: the minimum of each, and separation."""

    kind: Literal["relaxed_gap_slide"]

    quantities: ClassVar[dict[str, str]] = {
        "atop_energy": CELL_ENERGY,
        "stacking_fault_energy": CELL_ENERGY,
        "equilibrium_gap": LENGTH,
        "equilibrium_gap_atop": LENGTH,
        "equilibrium_gap_fault": LENGTH,
        "binding_energy": CELL_ENERGY,
        "binding_curve_mae": CELL_ENERGY,
    }
    registries: ClassVar[dict[str, float]] = {"crystal": 0.0, "atop": 1 / 3, "fault": 2 / 3}

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        gaps: dict[str, list[float]] = {name: [] for name in self.registries}
        for frame in frames:
            name = registry_name(frame.info["slide"])
            if name is None:
                return f"'slide' must be 0, 1/3 or 2/3 here, found {frame.info['slide']}"
            gaps[name].append(frame_key(frame, "gap"))
        for name, values in gaps.items():
            if len(values) < 4:
                return f"a fit of E(gap) needs at least 4 gaps, found {len(values)} at '{name}'"
            if len(set(values)) < len(values):
                return f"a gap at '{name}' is given twice, found {values}"
        return self.geometry_problem(frames)


def registry_name(slide: float) -> str | None:
    """Name of a landmark registry (`crystal`, `atop`, `fault`), None for any other."""
    for name, landmark in RelaxedGapSlide.registries.items():
        if abs(float(slide) - landmark) < 10.0**-REGISTRY_DECIMALS:
            return name
    return None
