"""A case that may lack energies: what its file says, its frames as they stand there, and which of them have one."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from mlff_probes.cases.files import beside, read_frames
from mlff_probes.cases.frames import CaseFrames, checked_frames, fingerprint
from mlff_probes.cases.labels import USUAL, frame_labels
from mlff_probes.cases.load import TO_BE_STATED, CaseFile, build_case, read_case_file
from mlff_probes.cases.tolerances import load_policy
from mlff_probes.core.errors import InputError
from mlff_probes.core.levels import agree
from mlff_probes.core.protocol import LabelKeys
from mlff_probes.core.structures import copied
from mlff_probes.measure import BY_KIND
from mlff_probes.measure.kind import OnFrames


@dataclass(frozen=True)
class Recordable:
    """A case whose frames can be given energies.

    Attributes
    ----------
    file
        The TOML.
    table
        What it says.
    source
        The file of frames beside it.
    frames
        As they stand there, in that order.
    energies
        The energy that each of them carries, eV; None for one that lacks it.
    """

    file: Path
    table: CaseFile
    source: Path
    frames: tuple[Atoms, ...]
    energies: tuple[float | None, ...]

    def name(self, index: int) -> str:
        """What a frame is called in messages: its number, and the keys that say which it is."""
        info = self.frames[index].info
        keys = [f"{key} {float(info[key]):.4g}" for key in self.table.protocol.frame_keys if key in info]
        return f"frame {index}" + (f" ({', '.join(keys)})" if keys else "")

    def is_of_another_level(self, level: str | None) -> bool:
        """Whether `level` is known, and another one than the case states."""
        stated = self.table.reference.level_of_theory
        structures = [frame.symbols.species() for frame in self.frames]
        return bool(level) and stated != TO_BE_STATED and not agree(str(level), stated, structures)

    def hash(self, index: int) -> str:
        """The hash of the structure of a frame."""
        return structure_hash(self.frames[index])


def structure_hash(frame: Atoms) -> str:
    """SHA-256 of a structure: equal for two copies of it, as files of limited precision write them."""
    return hashlib.sha256(repr(fingerprint(frame)).encode()).hexdigest()


def read_recordable(file: Path) -> Recordable:
    """The case in `file` (a TOML), whose frames may lack energies, checked as the loader does, but for the energies.

    Raises
    ------
    InputError
        If it cannot be read, its frames are not what its protocol needs, nothing of its kind is compared with stored
        energies, or its files cannot be written.
    """
    table = read_case_file(file)
    protocol: Any = table.protocol
    _refuse_others(file, protocol)
    source = beside(file)
    frames = read_frames(source, format="extxyz")
    keys = protocol if isinstance(protocol, LabelKeys) else LabelKeys()
    found = [frame_labels(frame, keys, source, index).values.get("energy") for index, frame in enumerate(frames)]
    energies = tuple(None if energy is None else float(energy) for energy in found)
    if protocol.frames_from == "file beside the case":
        bare, _ = checked_frames([unlabelled(frame) for frame in frames], source, file, protocol)
        build_case(file, file.stem, table, CaseFrames(tuple(bare), None), policy=load_policy(), recorded=False)
    for each in (file, source):
        if not os.access(each, os.W_OK):
            raise InputError(each, "is read-only", "record a copy of the case")
    return Recordable(file, table, source, tuple(frames), energies)


def _refuse_others(file: Path, protocol: Any) -> None:
    kind = protocol.kind
    if not isinstance(BY_KIND[kind].measure, OnFrames) or protocol.built_frames():
        raise InputError(file, f"a case of kind '{kind}' is not compared with energies of its frames", "")
    if getattr(protocol, "origins", None):
        raise InputError(file, "its frames are those of other files ([protocol.origins])", "record the cases of these")
    for what in LabelKeys.model_fields:
        if name := getattr(protocol, what, None):
            raise InputError(
                file,
                f'{what} = "{name}" says that its frames carry labels of that name',
                "take it out: what is recorded stands under ASE's own names",
            )


def unlabelled(frame: Atoms) -> Atoms:
    """The same structure without the energies, forces and stresses that are stored with it."""
    found = copied(frame)
    for stored in (found.info, found.arrays):
        for name in [
            name for name in stored if any(re.fullmatch(usual, name, re.IGNORECASE) for usual in USUAL.values())
        ]:
            del stored[name]
    return found


def chosen(only: str | None, frames: Sequence[Atoms]) -> list[int]:
    """The frames that ``--only=0,4,6-8`` names, by their numbers in the file; all without it.

    Raises
    ------
    InputError
        If it names none, or one that is not there.
    """
    if only is None:
        return list(range(len(frames)))
    found: set[int] = set()
    for part in only.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        numbers = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
        if not numbers or numbers[-1] >= len(frames):
            raise InputError(
                f"--only={only}",
                f"'{part}' names no frame",
                f"write numbers from 0 to {len(frames) - 1}, as in 0,4,6-8",
            )
        found.update(numbers)
    return sorted(found)
