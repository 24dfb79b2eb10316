"""A labelled test set -> a parity case: what was taken, what was left out and why, and where energies count from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_probes.cases.files import found_files
from mlff_probes.cases.frames import ALL, CaseFrames, labelled_frames, origin_of
from mlff_probes.cases.importers.codes.cp2k_structures import read_any
from mlff_probes.cases.importers.codes.stated import Settings
from mlff_probes.cases.importers.set_quantities import Part, parts_of, quantities_of
from mlff_probes.cases.importers.settings import common_settings, read_settings
from mlff_probes.cases.load import CaseFile, ExpectationTable, ReferenceTable
from mlff_probes.core.errors import InputError
from mlff_probes.core.levels import level_name, same_level
from mlff_probes.core.protocol import LabelKeys
from mlff_probes.core.records import Tier
from mlff_probes.core.structures import derived
from mlff_probes.measure.parity.energies import EnergyReference, elements_problem, energy_errors
from mlff_probes.measure.parity.protocols import Parity

ENOUGH = 0.9
"""Part of the frames that the zero of energies must leave: what the policy asks for, where no case says otherwise."""

TIERS: tuple[tuple[int, Tier], ...] = ((5_000, "quick"), (50_000, "standard"))
"""Up to so many atoms in all frames: the quick tier is over within minutes on two cores, at a millisecond an atom."""

FILE_NAMES = re.compile(r"(OUTCAR|vasprun\.xml)(\.gz)?")
"""Files that all runs call the same: their folder says which it is."""


@dataclass(frozen=True)
class SetOptions:
    """What the user states of a test set; None and empty where it is to be found.

    Attributes
    ----------
    level
        Level of theory of the labels.
    by
        The key in the comment lines that names the origin of a frame.
    energy_reference
        See `Parity`.
    uncertainty
        Of the labels: ``energy`` in meV/atom, ``force`` in meV/A, ``stress`` in GPa.
    keys
        Names of labels, where these have other names than usual.
    title, material
        For the scorecard.
    """

    level: str = ""
    by: str = ""
    energy_reference: EnergyReference | None = None
    uncertainty: Mapping[str, float] = field(default_factory=dict)
    keys: LabelKeys = field(default_factory=LabelKeys)
    title: str = ""
    material: str | None = None


@dataclass(frozen=True)
class LabelledSet:
    """A parity case in the making.

    Attributes
    ----------
    table, frames
        What is written: the case file, the frames with their labels, and those without.
    parts
        By origin, the largest first.
    read
        What was read, with what was left out.
    why
        Why the energies count from the zero that they do.
    """

    table: CaseFile
    frames: tuple[Atoms, ...]
    parts: tuple[Part, ...]
    read: CaseFrames
    why: str


def labelled_set(sources: Sequence[str], options: SetOptions) -> LabelledSet:
    """The parity case of a labelled test set.

    Parameters
    ----------
    sources
        Files, or patterns of files, that ASE reads: extxyz, ``.db``, ``.traj``, vasprun.xml, OUTCAR; or single points
        that CP2K printed.
    options
        What the user states of it.

    Raises
    ------
    InputError
        If there is no such file, it cannot be read, nothing is labelled, labels contradict each other, the level of
        theory is neither stated by an output nor by the user, or the outputs are of several.
    """
    files = found_files(sources)
    where = str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
    settings, level = _level(files, options.level, where)
    read = labelled_frames(
        [(None, file) for file in files], where=where, keys=options.keys, name=_namer(files, options.by), read=read_any
    )
    if options.by and not any(options.by in frame.info for frame in (*read.frames, *read.unlabelled)):
        raise InputError(where, f"no frame has '{options.by}' in its comment line", f"they have {_keys_of(read)}")
    reference, why = (options.energy_reference, "as you said") if options.energy_reference else zero_of(read.frames)
    protocol = Parity(kind="parity", energy_reference=reference)
    if problem := protocol.frame_problem(read.frames):
        raise InputError(where, problem)
    parts = parts_of(read)
    stated = ReferenceTable(level_of_theory=level, source=_source(files, settings))
    table = _table(options, protocol, read, parts, stated, note=f'Energies count from "{reference}": {why}.')
    return LabelledSet(table, _written(read, options.keys), parts, read, why)


def _table(
    options: SetOptions,
    protocol: Parity,
    read: CaseFrames,
    parts: tuple[Part, ...],
    reference: ReferenceTable,
    *,
    note: str,
) -> CaseFile:
    """The case file; `note` says where energies count from."""
    judged, reported, notes = quantities_of(protocol, read, parts)
    return CaseFile(
        schema_version=1,
        title=options.title or _title(read),
        material=options.material,
        tier=_tier(read.frames),
        protocol=protocol,
        reference=reference,
        expectation=tuple(
            ExpectationTable(quantity=name, unit=unit, uncertainty=options.uncertainty.get(name.split("_")[0], 0.0))
            for name, unit in judged.items()
        ),
        report=tuple(reported),
        notes=(*(f"Import: {each}" for each in read.notes), note, *notes, *_exact(options.uncertainty)),
    )


def zero_of(frames: Sequence[Atoms]) -> tuple[EnergyReference, str]:
    """From which zero the energies of a set count, as `energy_reference` has it, and why.

    One offset per composition wherever that leaves most frames, since it takes nothing off but a constant; else one
    energy an element, where the set allows that to be fitted.
    """
    judged = {name: _judged(frames, name) for name in ("composition", "elements")}
    of, alone = len(frames), len(frames) - judged["composition"]
    if judged["composition"] >= ENOUGH * of:
        return "composition", f"{judged['composition']} of {of} frames share their composition with others"
    problem = elements_problem(frames)
    if problem is None and judged["elements"] > judged["composition"]:
        return (
            "elements",
            f"{alone} of {of} frames are alone in their composition, so that one energy an element is fitted",
        )
    return (
        "composition",
        f"{alone} of {of} frames are alone in their composition, but {problem or 'elements leave no more'}",
    )


def _judged(frames: Sequence[Atoms], reference: EnergyReference) -> int:
    found = energy_errors(frames, np.zeros(len(frames)), reference).per_atom
    return int(np.isfinite(found).sum())


def _level(files: Sequence[Path], stated: str, where: str) -> tuple[Settings, str]:
    """How the labels were computed, as far as the files say it, and their level of theory."""
    settings, _ = common_settings({file.name: read_settings(file) for file in files}, where, allow_mixed=True)
    return settings, level_of(settings, stated, where)


def level_of(settings: Settings, stated: str, where: str) -> str:
    """The level of theory that an output says or the user, who must say the same.

    Raises
    ------
    InputError
        If nobody says it, or they say different ones.
    """
    if settings.level and stated and not same_level(settings.level, stated):
        raise InputError(
            where, f"was computed with {settings.level}, but --level says {stated}", "leave --level out, or mend it"
        )
    level = level_name(stated or settings.level)
    if not level:
        raise InputError(where, "does not say at which level of theory it was computed", "say so: --level=PBE")
    return level


def _source(files: Sequence[Path], settings: Settings) -> str:
    names = ", ".join(file.name for file in files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    return f"imported from {names}" + (f": {settings}" if settings.compared else "")


def _namer(files: Sequence[Path], by: str) -> Callable[[Atoms, Path], str]:
    """Names the origin of a frame: by the key of the user, by its own, or by the file where there are several."""

    def name(frame: Atoms, file: Path) -> str:
        if by:
            return str(frame.info.get(by, f"without {by}"))
        own = origin_of(frame)
        if own != ALL or len(files) == 1:
            return own
        return file.resolve().parent.name if FILE_NAMES.fullmatch(file.name) else file.name.split(".")[0]

    return name


def _keys_of(read: CaseFrames) -> str:
    keys = dict.fromkeys(key for frame in (*read.frames, *read.unlabelled)[:100] for key in frame.info)
    return ", ".join(key for key in keys if key not in ("origin", "taken_from")) or "none"


def _title(read: CaseFrames) -> str:
    elements = sorted({symbol for frame in read.frames for symbol in frame.symbols.species()})
    named = ", ".join(elements[:6]) + (" and others" if len(elements) > 6 else "")
    assert read.stored is not None
    what = "energies, forces and stresses" if read.stored.stressed.any() else "energies and forces"
    return f"Labelled frames of {named}: {what}"


def _tier(frames: Sequence[Atoms]) -> Tier:
    atoms = sum(map(len, frames))
    return next((tier for most, tier in TIERS if atoms <= most), "full")


def _exact(uncertainty: Mapping[str, float]) -> list[str]:
    lacking = [what for what in ("energy", "force", "stress") if what not in uncertainty]
    if not lacking:
        return []
    return [f"No uncertainty of the labels was stated for {', '.join(lacking)}: taken as exact."]


def _written(read: CaseFrames, keys: LabelKeys) -> tuple[Atoms, ...]:
    """The frames with the labels that count, under the names that ASE has, and those that lack labels."""
    assert read.stored is not None
    assert read.stored.forces is not None
    own = {key for key in keys.model_dump().values() if key}
    found = []
    for row, frame in enumerate(read.frames):
        written = derived(frame)
        for there in (written.info, written.arrays):
            for name in own & set(there):
                del there[name]
        labels = {"energy": float(read.stored.energies[row]), "forces": read.stored.forces[row]}
        if read.stored.stresses is not None and read.stored.stressed[row]:
            labels["stress"] = read.stored.stresses[row]
        written.calc = SinglePointCalculator(written, **labels)
        found.append(written)
    return (*found, *map(derived, read.unlabelled))
