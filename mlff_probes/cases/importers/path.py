"""A user's own migration band, a folder or a file of images, as a case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ase import Atoms

from mlff_probes.cases.frames import CaseFrames, stored_evaluation
from mlff_probes.cases.importers.bands import WholeBand, whole_band
from mlff_probes.cases.labels import how_to_map
from mlff_probes.cases.load import CaseFile, ExpectationTable, ReferenceTable, build_case
from mlff_probes.cases.tolerances import Policy, load_policy
from mlff_probes.core.case import Case
from mlff_probes.core.errors import InputError
from mlff_probes.core.levels import level_name, same_level
from mlff_probes.core.protocol import ENERGY, LabelKeys
from mlff_probes.core.records import NOT_STATED
from mlff_probes.core.structures import copied
from mlff_probes.measure.migration.atom_order import numbered_alike
from mlff_probes.measure.migration.path_problems import path_problem
from mlff_probes.measure.migration.protocols import STANDS_OUT, FixedPath, prominence
from mlff_probes.methods.bands.steps import ways

WITHOUT_REFERENCE = ("barrier", "reverse_barrier", "reaction_energy", "saddle_position")


@dataclass(frozen=True)
class Stated:
    """What a user says of a band.

    Attributes
    ----------
    material
        Formula.
    migrating_atom
        Counted from 0; None for the atom that moves farthest.
    level_of_theory, uncertainty_ev
        Of the stored energies; None where they are not stated, which a note then says. An uncertainty that
        is not stated is taken as zero.
    labels
        Under which names energies and forces are stored.
    reorder_atoms
        Whether atoms that are numbered in another order in some images are mapped (see `PathFrames`).
    title, path_made_by, source
        What a reader is told of the case, of the geometry of its path, and of how it was computed.
    notes
        What else a reader must know.
    """

    material: str | None = None
    migrating_atom: int | None = None
    level_of_theory: str | None = None
    uncertainty_ev: float | None = None
    labels: LabelKeys = field(default_factory=LabelKeys)
    reorder_atoms: bool | None = None
    title: str | None = None
    path_made_by: str | None = None
    source: str | None = None
    notes: tuple[str, ...] = ()

    def with_band(self, band: WholeBand, where: Path) -> Stated:
        """What is stated, and what the outputs of a band say of it."""
        said = band.settings.level
        level = level_name(self.level_of_theory or said) or None
        notes = list(band.notes)
        if level and said and not same_level(level, said):
            notes.append(f"The level of theory is stated as {level}; the outputs say {said}.")
        made_by = f"nudged elastic band, {level}" if band.nudged and level else None
        source = "; ".join(filter(None, [str(band.settings), f"images of {where.name}"]))
        return replace(
            self, level_of_theory=level, path_made_by=self.path_made_by or made_by, source=self.source or source,
            notes=(*self.notes, *notes),
        )  # fmt: skip


def read_band(path: Path) -> list[Atoms]:
    """The images of a band, in order: see `images.read_images` for what `path` may be.

    Raises
    ------
    InputError
        If there is nothing to read, it cannot be read, or images were computed in different ways.
    """
    return list(whole_band([path]).frames)


def band_case(
    images: Sequence[Atoms], name: str, *, where: Path, stated: Stated | None = None, policy: Policy | None = None
) -> Case:
    """A fixed-path case of `images`, judged by policy where they carry energies, else only reported.

    Parameters
    ----------
    images
        At least two structures of the same atoms in the same order and the same cell.
    name
        What the case is called; characters that an id cannot hold are replaced.
    where
        Named in what is raised.
    stated
        What the user says of the band.

    Raises
    ------
    InputError
        If the images do not form a path.
    """
    policy = policy or load_policy()
    table, read = band_table(images, name, where=where, stated=stated or Stated(), policy=policy)
    return build_case(where, as_id(name), table, read, policy=policy)


def band_table(
    images: Sequence[Atoms], name: str, *, where: Path, stated: Stated, policy: Policy
) -> tuple[CaseFile, CaseFrames]:
    """What a case file says of a band, and its frames numbered by `image`: see `band_case`."""
    frames = list(map(copied, images))
    for index, (frame, image) in enumerate(zip(frames, images, strict=True)):
        frame.info["image"], frame.calc = index, image.calc
    frames, changed = numbered_alike(frames) if stated.reorder_atoms and frames else (frames, ())
    protocol = _protocol(frames, where, stated)
    stored, notes = stored_evaluation(frames, where, stated.labels)
    read = CaseFrames(tuple(frames), stored, (*changed, *protocol.frame_notes(frames), *notes))
    judged, reported = _quantities(protocol, read, stated, policy)
    moving = frames[0].symbols[protocol.migrating_atom]
    table = CaseFile(
        schema_version=1,
        title=stated.title or f"{name}: {len(frames)} images, {moving} moves",
        material=stated.material,
        tier="quick",
        protocol=protocol,
        reference=ReferenceTable(
            level_of_theory=stated.level_of_theory or NOT_STATED, source=stated.source or str(where)
        ),
        expectation=tuple(
            ExpectationTable(quantity=q, unit=protocol.quantities[q], uncertainty=_uncertainty(protocol, q, stated))
            for q in judged
        ),
        report=reported,
        notes=(*_notes(frames, judged, stated, policy), *stated.notes),
    )
    return table, read


def as_id(name: str) -> str:
    """A name with what an id cannot hold replaced."""
    return re.sub(r"[^A-Za-z0-9_.+]+", "_", name).strip("_.+") or "band"


def _protocol(frames: list[Atoms], where: Path, stated: Stated) -> FixedPath:
    sizes = sorted({len(frame) for frame in frames})
    if len(frames) < 2:
        raise InputError(where, f"a band needs at least 2 images, found {len(frames)}")
    if len(sizes) > 1:
        raise InputError(where, f"the images of a band need the same atoms, found {sizes} atoms")
    atom = farthest_moving(frames) if stated.migrating_atom is None else stated.migrating_atom
    if not 0 <= atom < sizes[0]:
        raise InputError(where, f"migrating_atom = {atom}, but an image has {sizes[0]} atoms")
    keys = stated.labels.model_dump()
    protocol = FixedPath(
        kind="fixed_path", migrating_atom=atom, path_made_by=stated.path_made_by or NOT_STATED,
        reorder_atoms=stated.reorder_atoms, **keys,
    )  # fmt: skip
    if problem := path_problem(frames, atom, stated.reorder_atoms):
        several = " (of a trajectory that holds several iterations of a band, give the last images: FILE@-7:)"
        raise InputError(where, problem.reason + (several if problem.repeated_image else ""))
    return protocol


def _quantities(
    protocol: FixedPath, read: CaseFrames, stated: Stated, policy: Policy
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What can be judged of a band, and what is only reported."""
    if read.stored is None:
        return (), WITHOUT_REFERENCE
    flat = prominence(read.stored.energies) <= STANDS_OUT * (stated.uncertainty_ev or 0.0)
    judged: list[str] = []
    reported: list[str] = []
    for quantity in protocol.quantities:
        tolerance = policy.tolerance(protocol.family, quantity, None)
        if ("force" in quantity and read.stored.forces is None) or (quantity == "saddle_position" and flat):
            continue
        fine = tolerance is not None and tolerance.value < _uncertainty(protocol, quantity, stated)
        (reported if fine else judged).append(quantity)
    if "barrier" not in judged and "saddle_position" in judged:
        judged.remove("saddle_position")  # its uncertainty is judged by that of the barrier
    return tuple(judged), tuple(reported)


def _uncertainty(protocol: FixedPath, quantity: str, stated: Stated) -> float:
    return (stated.uncertainty_ev or 0.0) if protocol.quantities[quantity] == ENERGY else 0.0


def farthest_moving(frames: Sequence[Atoms]) -> int:
    """The atom with the longest way from the first image to any other, by minimum image, whatever all atoms drift."""
    return int(ways(frames).argmax())


def _notes(frames: list[Atoms], judged: tuple[str, ...], stated: Stated, policy: Policy) -> tuple[str, ...]:
    found = []
    if not judged and frames[0].calc is None:
        return (f"The images carry no energies, so that nothing is judged ({how_to_map(frames)}).",)
    if stated.uncertainty_ev is None:
        found.append("The uncertainty of the stored energies is not stated and taken as zero.")
    elif "barrier" not in judged:
        tolerance = policy.tolerance("migration", "barrier", None)
        assert tolerance is not None
        found.append(
            f"Energies that are known to {stated.uncertainty_ev:g} eV are not judged within {tolerance.value:g} eV: "
            "they are reported. Wider tolerances of your own judge them."
        )
    if stated.level_of_theory is None:
        found.append("The level of theory of the stored energies is not stated and taken as the calculator's.")
    return tuple(found)
