"""A path that lies on a disk -> a case on the disk: read, checked, and written with what its outputs say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.geometry import find_mic

from mlff_probes.cases.frames import CaseFrames
from mlff_probes.cases.importers.bands import Wanted, WholeBand, whole_band
from mlff_probes.cases.importers.path import Stated, as_id, band_table
from mlff_probes.cases.labels import frame_labels, how_to_map
from mlff_probes.cases.load import CaseFile, ExpectationTable, build_case
from mlff_probes.cases.tolerances import load_policy
from mlff_probes.cases.writing import Draft, write_case
from mlff_probes.core.case import Case
from mlff_probes.core.errors import InputError
from mlff_probes.core.protocol import PURE, LabelKeys
from mlff_probes.core.structures import copied
from mlff_probes.measure.migration.protocols import FixedPath, RelaxedPath
from mlff_probes.methods.constraints import Freedom

OF_BAND = ("barrier", "reverse_barrier", "reaction_energy")
"""What the images of a band tell of the band that a model relaxes."""

FEWEST, MOST = 3, 99
"""Images of a relaxed band."""

SHOWN = 5
"""So many atoms are listed in a note."""

KEPT = ("numbers", "positions", "initial_magmoms", "initial_charges", "tags", "masses")
"""Arrays of a structure that a model may read."""


@dataclass(frozen=True)
class ImportedPath:
    """What was made.

    Attributes
    ----------
    file, case
        The TOML, and what it was read back as.
    band
        What was read.
    path
        The images as a fixed path, whichever kind the case has.
    """

    file: Path
    case: Case
    band: WholeBand
    path: Case


def import_path(
    sources: Sequence[Path],
    directory: Path,
    *,
    id: str | None = None,
    stated: Stated | None = None,
    wanted: Wanted | None = None,
    relaxed: bool = False,
    replace_it: bool = False,
) -> ImportedPath:
    """Make ``directory/migration/ID.toml`` and ``.extxyz`` of a band, or nothing.

    Parameters
    ----------
    sources
        As `images.read_images` takes them.
    directory
        Reference directory, made if need be.
    id
        Of the case; None for the name of the source.
    stated, wanted
        What the user says of the band, and of how it is to be read. A level of theory that is not stated is what the
        outputs say.
    relaxed
        Whether a model is to relax the band between its ends, rather than be judged at its images.
    replace_it
        Whether a case of that id may be overwritten.

    Raises
    ------
    InputError
        If there is no band, an image has no energy, the level of theory is neither stated nor in the outputs, or the
        case cannot be written.
    """
    where = sources[0] if len(sources) == 1 else sources[0].parent
    return import_band(
        whole_band(sources, wanted), where, directory, id=id, stated=stated, relaxed=relaxed, replace_it=replace_it
    )


def import_band(
    band: WholeBand,
    where: Path,
    directory: Path,
    *,
    id: str | None = None,
    stated: Stated | None = None,
    relaxed: bool = False,
    replace_it: bool = False,
) -> ImportedPath:
    """Make a case of a band that was read from `where`: see `import_path`."""
    stated = stated or Stated()
    name = id or as_id(name_of(where))
    said = with_level(stated, band, where)
    _refuse_without_energy(band, stated.labels, where)
    policy = load_policy()
    table, read = band_table(band.frames, name, where=where, stated=said, policy=policy)
    path = build_case(where, as_id(name), table, read, policy=policy)
    frames = _as_written(read)
    table = _table_of_frames(table, read)
    if relaxed:
        table, frames = _relaxed(table, path, where), [frames[0], frames[-1]]
        frames[-1].info["image"] = 1
    file, case = write_case(directory, Draft(name, table, frames), replace=replace_it)
    return ImportedPath(file, case, band, path)


def name_of(where: Path) -> str:
    """What a case of a source is called."""
    return where.resolve().name.partition("@")[0].partition(".")[0] or "band"


def with_level(stated: Stated, band: WholeBand, where: Path, remedy: str = "say it: --level=PBE") -> Stated:
    """What is stated and what the outputs say, among it the level of theory.

    Raises
    ------
    InputError
        If neither says the level.
    """
    said = stated.with_band(band, where)
    if said.level_of_theory:
        return said
    settings = band.settings
    odd = f" ({settings.functional} {settings.unnamed}, which no level names)" if settings.unnamed else ""
    raise InputError(where, f"its level of theory is not in what was read{odd}", remedy)


def _refuse_without_energy(band: WholeBand, keys: LabelKeys, where: Path) -> None:
    found = [frame_labels(frame, keys, where, index).values for index, frame in enumerate(band.frames)]
    lacking = [name for name, labels in zip(band.names, found, strict=True) if "energy" not in labels]
    if not lacking or (keys.energy_key and len(lacking) == len(found)):  # which whoever reads the labels will say
        return
    if set(lacking) <= {band.names[0], band.names[-1]} and len(band.names) > len(lacking):
        remedy = "say where the ends were computed: --initial=DIR, --final=DIR"
    else:
        remedy = how_to_map(band.frames) or "give outputs, not inputs"
    raise InputError(where, f"{len(lacking)} of {len(band.names)} images have no energy: {', '.join(lacking)}", remedy)


def _as_written(read: CaseFrames) -> list[Atoms]:
    """The frames with their labels as results, not wrapped between images, and constraints as a file keeps them."""
    assert read.stored is not None
    written: list[Atoms] = []
    for index, frame in enumerate(read.frames):
        new = copied(frame)
        new.info = {"image": index, **({"taken_from": frame.info["taken_from"]} if "taken_from" in frame.info else {})}
        new.arrays = {name: each for name, each in new.arrays.items() if name in KEPT}
        new.set_constraint(_constraints(frame))
        if written:
            step = find_mic(new.positions - written[-1].positions, new.cell, new.pbc)[0]
            new.set_positions(written[-1].positions + step, apply_constraint=False)
        results: dict[str, Any] = {"energy": float(read.stored.energies[index])}
        if read.stored.forces is not None:
            results["forces"] = read.stored.forces[index]
        stress = (frame.calc.results if frame.calc is not None else {}).get("stress")
        new.calc = SinglePointCalculator(new, **results, **({} if stress is None else {"stress": stress}))
        written.append(new)
    return written


def _constraints(frame: Atoms) -> list[FixAtoms | FixCartesian]:
    """The Cartesian components that are held, which is what a file keeps of constraints."""
    held = Freedom.of(frame).held(len(frame))
    whole = held.all(axis=1)
    if (whole == held.any(axis=1)).all():
        return [FixAtoms(mask=whole)] if whole.any() else []
    return [FixCartesian(int(atom), mask) for atom, mask in enumerate(held) if mask.any()]


def _oblique(frame: Atoms) -> tuple[str, ...]:
    """A note on atoms that are held in directions which no file keeps."""
    atoms = np.flatnonzero(Freedom.of(frame).partly(len(frame)).any(axis=1))
    if not len(atoms):
        return ()
    named = ", ".join(map(str, atoms[:SHOWN])) + (", …" if len(atoms) > SHOWN else "")
    return (f"Atoms {named} were held in an oblique direction, which the file cannot keep: they are free in it.",)


def _table_of_frames(table: CaseFile, read: CaseFrames) -> CaseFile:
    """The case file with notes on what was changed, for frames that carry their labels under ASE's own names."""
    assert isinstance(table.protocol, FixedPath)
    keys = dict.fromkeys(LabelKeys.model_fields)
    reorder = table.protocol.reorder_atoms or None  # what was renumbered is written so
    protocol = table.protocol.model_copy(
        update={**keys, "reorder_atoms": None if reorder else table.protocol.reorder_atoms}
    )
    kept = tuple(note for note in read.notes if note not in table.protocol.frame_notes(read.frames))
    return table.model_copy(update={"protocol": protocol, "notes": (*table.notes, *kept, *_oblique(read.frames[0]))})


def _relaxed(table: CaseFile, path: Case, where: Path) -> CaseFile:
    """The case of the ends of a band, which a model relaxes; what it is judged against is what the images say."""
    assert isinstance(table.protocol, FixedPath)
    images = len(path.frames)
    if not FEWEST <= images <= MOST:
        raise InputError(where, f"a relaxed band has {FEWEST} to {MOST} images, found {images}")
    shared = {key: getattr(table.protocol, key) for key in ("migrating_atom", "path_made_by", "reorder_atoms")}
    assert path.reference is not None
    energies = np.array(path.reference.arrays["energy"])
    if int(energies.argmax()) in (0, images - 1):
        raise InputError(where, "the highest image is an end of the path, which is no barrier", "take --kind=fixed")
    rows = {row.quantity: row for row in table.expectation}
    expected = tuple(
        ExpectationTable(
            quantity=name, unit=rows[name].unit, uncertainty=rows[name].uncertainty,
            value=round(float(path.reference.values[name].value or 0.0), 6),
        )
        for name in OF_BAND
        if name in rows
    )  # fmt: skip
    converged = ExpectationTable(
        quantity="outcome", unit=PURE, value=1.0, uncertainty=0.0, level_of_theory="exact",
        source="exact: only a converged band has a barrier",
    )  # fmt: skip
    note = f"Reference values are those of {images} images of {where.name}, of which the ends are kept."
    return table.model_copy(
        update={
            "protocol": RelaxedPath(kind="relaxed_path", images=images, **shared),
            "expectation": (converged, *expected),
            "report": (),
            "notes": (*table.notes, note),
        }
    )
