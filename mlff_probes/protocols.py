"""How each measurement is made: the `[protocol]` table of a case, and the quantities it yields.

A protocol says which keys its frames need and which quantity has which unit, so that a case file
can be refused before anything is measured.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, get_args

import numpy as np
from pydantic import Field

from mlff_probes.frame_problems import (
    GEOMETRY_A,
    REGISTRY_DECIMALS,
    far_hop,
    order_problem,
    path_problem,
)
from mlff_probes.records import Positive, Record, Slug, Text

if TYPE_CHECKING:
    from ase import Atoms

ENERGY, FORCE, LENGTH, FRACTION = "eV", "eV/A", "A", "of path"
CELL_ENERGY = "eV/cell"
ATOM_ENERGY, SMALL_FORCE, PURE, CALLS = "meV/atom", "meV/A", "1", "calls"


class BaseProtocol(Record):
    """What all protocols share: the quantities they measure, each with its unit."""

    quantities: ClassVar[dict[str, str]] = {}
    uses_forces: ClassVar[bool] = False

    def built_frames(self) -> tuple[Atoms, ...]:
        """Frames that the protocol builds itself; none where a file beside the case holds them."""
        return ()

    def units(self, frames: Sequence[Atoms]) -> dict[str, str]:
        """All that this protocol measures on `frames`: quantity -> unit."""
        return dict(self.quantities)

    def policy_name(self, quantity: str) -> str:
        """The name under which the tolerance policy knows `quantity`."""
        return quantity


class FixedPath(BaseProtocol):
    """Single points on a given migration path, its images numbered by `image`."""

    kind: Literal["fixed_path"]
    migrating_atom: Annotated[int, Field(ge=0)]
    path_made_by: Text

    family: ClassVar[str] = "migration"
    uses_forces: ClassVar[bool] = True
    frame_keys: ClassVar[tuple[str, ...]] = ("image",)
    quantities: ClassVar[dict[str, str]] = {
        "barrier": ENERGY,
        "reverse_barrier": ENERGY,
        "reaction_energy": ENERGY,
        "profile_mae": ENERGY,
        "saddle_position": FRACTION,
        "force_mae": FORCE,
        "migrating_force_mae": FORCE,
    }
    image_quantity: ClassVar[str] = "energy_image_"

    def units(self, frames: Sequence[Atoms]) -> dict[str, str]:
        """All that this protocol measures on `frames`: quantity -> unit."""
        return self.quantities | {f"{self.image_quantity}{image}": ENERGY for image in range(1, len(frames))}

    def policy_name(self, quantity: str) -> str:
        """The name under which the tolerance policy knows `quantity`: all images share one tolerance."""
        return re.sub(rf"^({self.image_quantity.removesuffix('_')})_\d+$", r"\1", quantity)

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        return path_problem(frames, self.migrating_atom)


class RelaxedPath(BaseProtocol):
    """Climbing-image nudged elastic bands from site to site.

    The frames, numbered by `image`, are the endpoints and any sites between them; all are relaxed, and those that
    are minima joined by bands of `images` each. Consecutive frames are joined by minimum image.
    """

    kind: Literal["relaxed_path"]
    migrating_atom: Annotated[int, Field(ge=0)]
    path_made_by: Text
    images: Annotated[int, Field(ge=3, le=99)] = 7
    spring_ev_a2: Positive = 0.1
    fmax: Positive = 0.05
    saddle_fmax: Positive = 0.01
    max_steps: Annotated[int, Field(ge=1)] = 60
    endpoint_fmax: Positive = 0.02
    endpoint_steps: Annotated[int, Field(ge=1)] = 200

    family: ClassVar[str] = "migration"
    uses_forces: ClassVar[bool] = True
    frame_keys: ClassVar[tuple[str, ...]] = ("image",)
    quantities: ClassVar[dict[str, str]] = {
        "outcome": PURE,
        "barrier": ENERGY,
        "reverse_barrier": ENERGY,
        "reaction_energy": ENERGY,
        "saddle_position": FRACTION,
        "path_distance": LENGTH,
        "model_calls": CALLS,
    }

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        if len(frames) > self.images:
            return f"images = {self.images}, but {len(frames)} frames are given, each of which is an image"
        problem = path_problem(frames, self.migrating_atom)
        return problem or far_hop(frames)


class FccVacancy(BaseProtocol):
    """A vacancy in an fcc metal, at the lattice constant of the model, and the hop of a neighbour into it.

    The cells are built: `repeats` times the cubic cell of four atoms in each direction, less one atom.
    `guess_lattice_constant` (A) is where the search for the lattice constant begins.
    """

    kind: Literal["fcc_vacancy"]
    element: Annotated[str, Field(pattern="^[A-Z][a-z]?$")]
    guess_lattice_constant: Positive
    repeats: Annotated[int, Field(ge=2, le=9)] = 3
    images: Annotated[int, Field(ge=3, le=99)] = 3
    spring_ev_a2: Positive = 0.1
    fmax: Positive = 0.05
    saddle_fmax: Positive = 0.01
    max_steps: Annotated[int, Field(ge=1)] = 60
    vacancy_fmax: Positive = 0.02
    vacancy_steps: Annotated[int, Field(ge=1)] = 100

    family: ClassVar[str] = "migration"
    uses_forces: ClassVar[bool] = True
    frame_keys: ClassVar[tuple[str, ...]] = ()
    quantities: ClassVar[dict[str, str]] = {
        "outcome": PURE,
        "lattice_constant": LENGTH,
        "formation_energy": ENERGY,
        "barrier": ENERGY,
        "model_calls": CALLS,
    }

    def built_frames(self) -> tuple[Atoms, ...]:
        """The unrelaxed vacancy cell at the guess of the lattice constant: it shows elements and size."""
        return (self.vacancy_cell(self.guess_lattice_constant),)

    def crystal(self, lattice_constant: float, repeats: int = 1) -> Atoms:
        """`repeats` cubic cells of the crystal in each direction; `lattice_constant` in A."""
        from ase.build import bulk

        cell: Atoms = bulk(self.element, "fcc", a=lattice_constant, cubic=True).repeat(repeats)
        return cell

    def vacancy_cell(self, lattice_constant: float) -> Atoms:
        """The crystal without its first atom, which stands at the origin; `lattice_constant` in A."""
        return self.crystal(lattice_constant, self.repeats)[1:]

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None: they are built."""
        return None


class Slide(BaseProtocol):
    """What both sliding protocols share: one layer slides over the next along `slide_vector`."""

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


class Parity(BaseProtocol):
    """Energies and forces of many frames against their labels, by element and by origin of the frame.

    The frames lie beside the case and name their `origin` themselves (or their `config_type`), or `origins`
    names the files: origin -> path or pattern, relative to the case file.
    """

    kind: Literal["parity"]
    origins: dict[Slug, Text] = Field(default_factory=dict)

    family: ClassVar[str] = "parity"
    uses_forces: ClassVar[bool] = True
    frame_keys: ClassVar[tuple[str, ...]] = ()
    quantities: ClassVar[dict[str, str]] = {
        "energy_mae": ATOM_ENERGY,
        "energy_rmse": ATOM_ENERGY,
        "force_mae": SMALL_FORCE,
        "force_rmse": SMALL_FORCE,
        "force_cosine": PURE,
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
        of_atoms = {name: unit for name, unit in self.quantities.items() if name.startswith("force")}
        by_element = {f"{name}_{element}": unit for element in elements for name, unit in of_atoms.items()}
        by_origin = {f"{name}_of_{origin}": unit for origin in origins for name, unit in self.quantities.items()}
        return self.quantities | by_element | by_origin

    def policy_name(self, quantity: str) -> str:
        """The name under which the tolerance policy knows `quantity`: parts share the tolerance of the whole."""
        return self.split(quantity)[0]

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None: any frames do."""
        return None


class Latency(BaseProtocol):
    """Time of one force call on a cell whose atoms are moved between calls."""

    kind: Literal["latency"]
    timestep_fs: Positive

    family: ClassVar[str] = "inference"
    frame_keys: ClassVar[tuple[str, ...]] = ()
    quantities: ClassVar[dict[str, str]] = {"latency": "ms"}

    def frame_problem(self, frames: Sequence[Atoms]) -> str | None:
        """What makes these frames unusable, or None."""
        return None if len(frames) == 1 else f"exactly one frame is timed, found {len(frames)}"


Protocol = FixedPath | RelaxedPath | FccVacancy | FixedGapSlide | RelaxedGapSlide | Parity | Latency
PROTOCOLS: tuple[type[Protocol], ...] = (
    FixedPath,
    RelaxedPath,
    FccVacancy,
    FixedGapSlide,
    RelaxedGapSlide,
    Parity,
    Latency,
)
BY_KIND: dict[str, type[Protocol]] = {get_args(p.model_fields["kind"].annotation)[0]: p for p in PROTOCOLS}
FAMILIES = tuple(dict.fromkeys(protocol.family for protocol in PROTOCOLS))


def frame_key(frame: Atoms, key: str) -> float:
    """A key of a frame's comment line as a number, rounded so that files of different precision agree."""
    return round(float(frame.info[key]), REGISTRY_DECIMALS)


def registry_name(slide: float) -> str | None:
    """Name of a landmark registry (`crystal`, `atop`, `fault`), None for any other."""
    for name, landmark in RelaxedGapSlide.registries.items():
        if abs(float(slide) - landmark) < 10.0**-REGISTRY_DECIMALS:
            return name
    return None
