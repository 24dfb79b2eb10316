"""Energies, forces and stresses stored with a frame, under whatever name a code or a training set gives them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from mlff_probes.cases.convergence import refuse_unconverged
from mlff_probes.core.errors import InputError
from mlff_probes.core.protocol import LabelKeys

Floats = NDArray[np.float64]

SAME_LABEL = 1e-4
"""How far two labels of one structure may differ, eV and eV/A: files carry limited decimals."""

NEEDED = ("energy", "forces")
"""What a frame needs, so that it can be compared with."""

USUAL = {
    "energy": r"((ref|dft)_?)?(free_)?energy",
    "forces": r"((ref|dft)_?)?forces?",
    "stress": r"((ref|dft)_?)?(stress|virials?)",
}
"""Names of labels that are taken without being told, in capitals or not: ASE's own, those of MACE's training sets
(``REF_energy``), and those that people write (``dft_force``, ``virials``)."""

NO_LABELS = {"image", "slide", "gap", "charge", "spin", "multiplicity", "temperature", "step"}
"""Numbers in comment lines that say something else."""

NO_FORCES = {"positions", "momenta", "velocities", "initial_magmoms"}
"""Vectors of atoms that are known to be something else."""

PER_ATOM = "energies"
"""What codes share out among the atoms of a frame: no label, but a hint to whoever looks for one."""

SHOWN = 6
"""So many names are listed in a message."""


@dataclass(frozen=True)
class FrameLabels:
    """The labels of one frame, the name under which each was found, and why others that are there cannot be read."""

    values: dict[str, Floats] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def frame_labels(frame: Atoms, keys: LabelKeys, file: str | Path, index: int) -> FrameLabels:
    """Energy (eV), forces (eV/A) and stress (eV/A^3, Voigt order, ASE's sign) stored with a frame, as far as they are.

    Without `keys` the usual names are looked for. Where several are there they must agree, but for a free energy, which
    counts only without any other. A virial (eV) is turned into a stress; a stress that nobody stated and that cannot be
    read is left out, since nothing is compared with it.

    Raises
    ------
    InputError
        If two labels differ, one has another shape than it should, or belongs to another structure, or the electronic
        steps behind it ran out.
    """
    stored, found = _Stored(frame, file, f"frame {index}"), FrameLabels()
    for what in (*NEEDED, "stress"):
        key = getattr(keys, f"{what}_key")
        by_name = stored.by_name(what)
        names = [key] if key in by_name else [] if key else _usual(what, by_name)
        try:
            value = stored.agreed(what, {name: by_name[name] for name in names})
        except InputError as error:
            if what in NEEDED or key:
                raise
            found.unread[what] = error.problem
            continue
        if value is not None:
            found.values[what], found.names[what] = value, names[0]
    if found.values:
        refuse_unconverged([frame], file)
    return found


def require_stated(found: Sequence[FrameLabels], keys: LabelKeys, frames: Sequence[Atoms], where: str | Path) -> None:
    """Refuse a name of labels that the user states and that none of `frames`, whose labels were `found`, has.

    Raises
    ------
    InputError
        With the names that there are.
    """
    for what in (*NEEDED, "stress"):
        key = getattr(keys, f"{what}_key")
        if key and not any(what in each.values for each in found):
            raise InputError(where, f"no frame has {what} under '{key}'", how_to_map(frames, [what]))


def labels_note(found: Sequence[FrameLabels]) -> tuple[str, ...]:
    """Under which names labels were found, where they are not ASE's own, and those that cannot be read."""
    said, unread = [], [each.unread["stress"] for each in found if "stress" in each.unread]
    notes = (f"The stress of {len(unread)} of {len(found)} frames cannot be read: {unread[0]}.",) if unread else ()
    for what in NEEDED:
        names = Counter(each.names[what] for each in found if what in each.names)
        if set(names) > {what} or (names and what not in names):
            counted = [f"'{name}'" + (f" ({count} of them)" if len(names) > 1 else "") for name, count in names.items()]
            said.append(f"{what} from {' and '.join(counted)}")
    return (f"Labels: {', '.join(said)}.", *notes) if said else notes


def how_to_map(frames: Sequence[Atoms], lacking: Sequence[str] | None = None) -> str:
    """Under which other names `frames` may carry the labels that they lack, and how to say so.

    Without `lacking` they lack what none of them has under a usual name.
    """
    named = {
        what: list(dict.fromkeys(name for frame in frames for name in _candidates(frame, what)))
        for what in (*NEEDED, "stress", PER_ATOM)
    }
    if lacking is None:
        lacking = [what for what in NEEDED if not _usual(what, named[what])]
    per_atom = [*(named["forces"] if "forces" in lacking else ()), *(named[PER_ATOM] if "energy" in lacking else ())]
    of_frame = [name for what in ("energy", "stress") if what in lacking for name in named[what]]
    places = {"in the comment lines": of_frame, "per atom": per_atom}
    listed = [f"{place} {_listed(names)}" for place, names in places.items() if names]
    lines = " and ".join(f'{what}_key = "{named[what][0]}"' for what in lacking if named[what])
    if not listed:
        return f"there are no other numbers that could be {' or '.join(lacking)}" if lacking else ""
    return f"found {', '.join(listed)}" + (f"; if these are labels, say so: {lines}" if lines else "")


def _candidates(frame: Atoms, what: str) -> list[str]:
    """Names of what has the shape of a label, the most likely ones first; of `PER_ATOM` energies, which are none."""
    results = getattr(frame.calc, "results", None) or {}
    comment = {name: value for name, value in frame.info.items() if name.lower() not in NO_LABELS}
    arrays = {name: value for name, value in frame.arrays.items() if name not in NO_FORCES}
    of_label: dict[str, list[tuple[int, ...]]] = {
        "energy": [()], "forces": [(len(frame), 3)], "stress": [(6,), (9,), (3, 3)], PER_ATOM: [(len(frame),)],
    }  # fmt: skip
    likely = {"forces": "forc", "stress": "stress"}.get(what, "energ")
    stored = {**(comment if what in ("energy", "stress") else arrays), **results}
    names = [name for name, value in stored.items() if _shape(value) in of_label[what]]
    if what == PER_ATOM:
        return [name for name in names if likely in name.lower()]
    return sorted(names, key=lambda name: likely not in name.lower())


def _shape(value: Any) -> tuple[int, ...] | None:
    """The shape of numbers; None of anything else."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        return None
    return array.shape if array.dtype.kind in "if" else None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def _usual(what: str, stored: Iterable[str]) -> list[str]:
    names = [name for name in stored if re.fullmatch(USUAL[what], name, re.IGNORECASE)]
    names.sort(key=lambda name: name != what)
    return [name for name in names if "free" not in name.lower()] or names


@dataclass(frozen=True)
class _Stored:
    """What is stored with one frame; `file` and `name` say in a message which."""

    frame: Atoms
    file: str | Path
    name: str

    @cached_property
    def outdated(self) -> bool:
        """Whether the results of its calculator are those of other atoms."""
        calc = self.frame.calc
        return hasattr(calc, "check_state") and bool(calc.check_state(self.frame))

    def by_name(self, what: str) -> dict[str, Any]:
        """All that may be such a label."""
        calc = self.frame.calc
        results = {name: value for name, value in (getattr(calc, "results", None) or {}).items() if value is not None}
        if _usual(what, results) and self.outdated:
            raise InputError(
                self.file,
                f"{self.name} has the energy of another structure: its calculator was used for other atoms since, or "
                "the atoms moved",
                "keep each image's own results, for instance in a SinglePointCalculator",
            )
        return {**(self.frame.arrays if what == "forces" else self.frame.info), **results}

    def agreed(self, what: str, labels: dict[str, Any]) -> Floats | None:
        """The one label that all of `labels` are; None without any."""
        values = {name: self.numbers(what, name, label) for name, label in labels.items()}
        first = next(iter(values), "")
        for name, value in list(values.items())[1:]:
            if not np.allclose(values[first], value, atol=SAME_LABEL):
                raise InputError(
                    self.file,
                    f"{self.name} has two different labels, '{first}' and '{name}'",
                    f'say which one counts: {what}_key = "{first}" or {what}_key = "{name}"',
                )
        return values.get(first)

    def numbers(self, what: str, name: str, label: Any) -> Floats:
        """A label as numbers of the right shape."""
        said = f"{self.name} has {what}" + ("" if name == what else f" ('{name}')")
        try:
            array = np.asarray(label, dtype=float)
        except (TypeError, ValueError) as error:
            raise InputError(self.file, f"{said} that are no numbers: {str(label)[:40]!r}") from error
        if what == "stress":
            return self.stress(array, said, virial="virial" in name.lower())
        shape = (len(self.frame), 3) if what == "forces" else ()
        if array.shape != shape:
            raise InputError(self.file, f"{said} of shape {array.shape}, expected {shape}")
        return array

    def stress(self, array: Floats, said: str, *, virial: bool) -> Floats:
        """The six components of a stress."""
        if array.size not in (6, 9):
            raise InputError(self.file, f"{said} of shape {array.shape}, expected 6 or 9 numbers")
        six: Floats = full_3x3_to_voigt_6_stress(array.reshape(3, 3)) if array.size == 9 else array.ravel()
        if not virial:
            return six
        if self.frame.cell.rank < 3:
            raise InputError(self.file, f"{said}, but no cell with a volume, by which a virial becomes a stress")
        return -six / float(self.frame.get_volume())
