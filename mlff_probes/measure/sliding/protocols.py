"""Sliding: one layer of a crystal over the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

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
    state_problem,
)
from mlff_probes.core.records import Measurement

if TYPE_CHECKING:
    from ase import Atoms


FEWEST_REGISTRIES = 6
"""Of a period: fewer leave out its second harmonic, by which crystal and fault differ."""

GAP_A = 0.01
"""How far gaps may be from those of the cells, A: people round them."""


SAME_HEIGHT = 0.1
"""Part of an energy by which that of another stacking must be lower to be another: symmetry can make them equal."""


class Slide(BaseProtocol, LabelKeys):
    """What both sliding protocols share: one layer slides over the next.

    Attributes
    ----------
    slide_vector
        The period of the slide, in lattice vectors a1 and a2 of the plane. In a supercell that holds a defect the
        period of the crystal may be a fraction of them.
    """

    slide_vector: tuple[int | float, int | float]

    family: ClassVar[str] = "sliding"
    frame_keys: ClassVar[tuple[str, ...]] = ("slide", "gap")

    def interface_area(self, frames: Sequence[Atoms]) -> float:
        """Area of the sliding interface, |a1 x a2|, A^2; a cell has one."""
        return float(np.linalg.norm(np.cross(*frames[0].cell.array[:2])))

    def geometry_problem(self, frames: Sequence[Atoms]) -> str | None:
        """Why the third cell vector does not follow `slide`, or None.

        The in-plane part of a3 must move by `slide` times the period, up to lattice vectors of the plane.
        """
        if not any(self.slide_vector):
            return "slide_vector must not be zero"
        first = frames[0]
        plane = first.cell.array[:2]
        if self.interface_area(frames) == 0:
            return "the cell has no area in the plane of sliding"
        for index, frame in enumerate(frames):
            if not np.allclose(frame.cell.array[:2], plane, atol=GEOMETRY_A):
                return f"frame {index} has other in-plane cell vectors than frame 0"
            moved = frame.cell.array[2] - first.cell.array[2]
            moved -= (frame.info["slide"] - first.info["slide"]) * np.array(self.slide_vector) @ plane
            steps = np.linalg.lstsq(plane.T, moved, rcond=None)[0]
            if np.abs((steps - steps.round()) @ plane).max() > GEOMETRY_A:
                return f"the third cell vector of frame {index} does not follow slide={frame.info['slide']:g}"
        return _gap_problem(frames) or order_problem(frames) or state_problem(frames)

    def frame_notes(self, frames: Sequence[Atoms]) -> tuple[str, ...]:
        """What a reader must know of the gaps: whether they are those between the outermost atoms."""
        stated, spaces = frame_key(frames[0], "gap"), _empty_spaces(frames[0])
        if np.abs(spaces - stated).min() < GAP_A:
            return ()
        return (
            f"Gaps are shown as the frames state them: {stated:g} A in the first, in which the widest space without "
            f"atoms is {spaces.max():.3f} A.",
        )

    def reference_notes(self, reference: Measurement) -> tuple[str, ...]:
        """Whether the slide runs the other way: the stacking of the higher energy is called atop, and lies at 1/3."""
        atop, fault = (
            known.value if (known := reference.values.get(name)) else None
            for name in ("atop_energy", "stacking_fault_energy")
        )
        if atop is None or fault is None or fault - atop <= SAME_HEIGHT * abs(fault):
            return ()
        one, two = self.slide_vector
        return (
            f"E(2/3), {fault:.3g} eV/cell, is higher than E(1/3), {atop:.3g} eV/cell: what is called the fault "
            f"lies atop; slide_vector = [{-one}, {-two}], with slide counted from the other end, mends the names.",
        )


class FixedGapSlide(Slide):
    """One period of sliding at a constant interlayer gap, sampled at equidistant registries.

    Six or more registries; slide = 1 is not among them, since it is slide = 0 again. Where 1/3 and 2/3 are not, the
    energies there are read off the interpolant.

    Attributes
    ----------
    closes
        False where slide = 1 is not slide = 0 again, as with a defect whose images keep another period: slide = 1 is
        then the last registry, the interpolant a cubic spline, and nothing is said of periodicity.
    """

    kind: Literal["fixed_gap_slide"]
    closes: bool = True

    quantities: ClassVar[dict[str, str]] = {
        "atop_energy": CELL_ENERGY,
        "stacking_fault_energy": CELL_ENERGY,
        "bridge_barrier": CELL_ENERGY,
        "profile_mae": CELL_ENERGY,
        "max_lateral_force": FORCE,
        "periodicity": CELL_ENERGY,
    }

    def units(self, frames: Sequence[Atoms]) -> dict[str, str]:
        """What is measured: quantity -> unit; periodicity only of a period that closes."""
        return {name: unit for name, unit in self.quantities.items() if self.closes or name != "periodicity"}

    def registries(self, n: int) -> NDArray[np.float64]:
        """Where `n` frames are to stand: u, shape (n,)."""
        return np.arange(n) / n if self.closes else np.arange(n) / max(n - 1, 1)

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        slides = np.array([frame.info["slide"] for frame in frames], dtype=float)
        n = len(slides)
        if self.closes and any(float(part) != round(part) for part in self.slide_vector):
            return (
                f"slide_vector = {list(self.slide_vector)} is no lattice vector, so that slide = 1 is not slide = 0 "
                "again; state closes = false, and add a frame at slide = 1"
            )
        if self.closes and n > 1 and slides[0] == 0 and slides[-1] == 1:
            return "slide = 1 is slide = 0 again; leave it out"
        if n < FEWEST_REGISTRIES + (not self.closes):
            return (
                f"a period needs at least {FEWEST_REGISTRIES} equidistant registries, found {n}; add frames so that "
                f"'slide' is 0, 1/6, 1/3, 1/2, 2/3 and 5/6{'' if self.closes else ', and 1'}"
            )
        if not np.allclose(slides, self.registries(n), atol=10.0**-REGISTRY_DECIMALS):
            steps = n if self.closes else n - 1
            wanted = f"0, 1/{steps}, 2/{steps}, …{'' if self.closes else ', 1'} of one period for {n} frames"
            return f"'slide' must be {wanted}, found {slides.tolist()}"
        gaps = {frame_key(frame, "gap") for frame in frames}
        if len(gaps) > 1:
            return f"all registries of a fixed-gap slide need one gap, found {sorted(gaps)}"
        return self.geometry_problem(frames)

    def frame_notes(self, frames: Sequence[Atoms]) -> tuple[str, ...]:
        """What a reader must know of the gaps and of the registries."""
        notes = super().frame_notes(frames)
        if (len(frames) - (not self.closes)) % 3 == 0:
            return notes
        return (*notes, f"Energies at 1/3 and 2/3 are read off the interpolant through the {len(frames)} registries.")

    def signal(self, quantity: str, reference: Measurement) -> float | None:
        """What a layer without any corrugation would be off by, or the range of E(slide)."""
        if quantity == "periodicity":
            return None
        if quantity == "max_lateral_force":
            return reference.values[quantity].value
        energies = np.array(reference.arrays["energy"])
        return float(np.abs(energies).mean() if quantity == "profile_mae" else np.ptp(reference.arrays["energy_dense"]))


class RelaxedGapSlide(Slide):
    """E(gap) at the crystal's stacking, atop and at the fault: the minimum of each, and separation.

    The last two may be left out, where symmetry makes them equal to another or nothing stands out there.
    """

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
    measured_at: ClassVar[dict[str, str]] = {
        "atop_energy": "atop",
        "stacking_fault_energy": "fault",
        "equilibrium_gap_atop": "atop",
        "equilibrium_gap_fault": "fault",
    }

    def sampled(self, frames: Sequence[Atoms]) -> list[str]:
        """Names of the registries that the frames show, in order."""
        shown = {registry_name(frame.info["slide"]) for frame in frames}
        return [name for name in self.registries if name in shown]

    def units(self, frames: Sequence[Atoms]) -> dict[str, str]:
        """What is measured at the registries that the frames show: quantity -> unit."""
        shown = self.sampled(frames)
        return {name: unit for name, unit in self.quantities.items() if self.measured_at.get(name, "crystal") in shown}

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        gaps: dict[str, list[float]] = {name: [] for name in self.registries}
        for frame in frames:
            name = registry_name(frame.info["slide"])
            if name is None:
                return (
                    "E(gap) is measured at the crystal, atop and at the fault: 'slide' must be 0, 1/3 or 2/3 here, "
                    f"found {frame.info['slide']}"
                )
            gaps[name].append(frame_key(frame, "gap"))
        for name, values in gaps.items():
            if not values and name != "crystal":
                continue
            if len(values) < 4:
                return f"a fit of E(gap) needs at least 4 gaps, found {len(values)} at '{name}'"
            if len(set(values)) < len(values):
                return f"a gap at '{name}' is given twice, found {values}"
        return self.geometry_problem(frames)

    def signal(self, quantity: str, reference: Measurement) -> float | None:
        """What layers without any binding would be off by, or the range of the minima of E(gap)."""
        if quantity in ("atop_energy", "stacking_fault_energy"):
            known = [reference.values.get(name) for name in ("atop_energy", "stacking_fault_energy")]
            return float(np.ptp([0.0, *(each.value for each in known if each and each.value is not None)]))
        if quantity == "binding_energy":
            return reference.values[quantity].value
        if quantity != "binding_curve_mae":
            return None
        energies = np.array(reference.arrays["energy_crystal"])
        return float(np.abs(energies[near_separation(energies)]).mean())


def _gap_problem(frames: Sequence[Atoms]) -> str | None:
    """Why the gaps do not follow the cells, or None: they change as the cell does, or as what a layer leaves of it."""
    stated = np.array([frame_key(frame, "gap") for frame in frames])
    heights = np.array([_heights(frame)[1] for frame in frames])
    thick = np.array([np.ptp(_heights(frame)[0]) for frame in frames])
    wrong = [np.abs((stated - stated[0]) - (space - space[0])) for space in (heights, heights - thick)]
    off = np.minimum(*wrong)
    worst = int(off.argmax())
    if off[worst] < GAP_A:
        return None
    return (
        f"frame {worst} states a gap of {stated[worst]:g} A, {stated[worst] - stated[0]:+.3f} A from frame 0, but the "
        f"cell along the normal of the layers changes by {heights[worst] - heights[0]:+.3f} A"
    )


def _heights(frame: Atoms) -> tuple[NDArray[np.float64], float]:
    """Heights of the atoms along the normal of the plane of sliding, A, and that of the cell."""
    normal = np.cross(*frame.cell.array[:2])
    normal /= np.linalg.norm(normal)
    return frame.positions @ normal, abs(float(frame.cell.array[2] @ normal))


def _empty_spaces(frame: Atoms) -> NDArray[np.float64]:
    """Distances along the normal of each atom to the next one above, through the cell, A."""
    heights, cell = _heights(frame)
    levels = np.sort(heights % cell)
    return np.diff([*levels, levels[0] + cell])


def near_separation(energies: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where E(gap), relative to the widest gap, rises no higher above separation than its minimum lies below."""
    depth = -float(energies.min())
    near: NDArray[np.bool_] = energies <= (depth if depth > 0 else np.inf)
    return near


def registry_name(slide: float) -> str | None:
    """Name of a landmark registry (`crystal`, `atop`, `fault`), None for any other."""
    for name, landmark in RelaxedGapSlide.registries.items():
        if abs(float(slide) - landmark) < 10.0**-REGISTRY_DECIMALS:
            return name
    return None
