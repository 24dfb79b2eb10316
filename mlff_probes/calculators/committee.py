"""Several models as one calculator: the mean of what they say, and what each of them says."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes

from mlff_probes.calculators.base import Calculator, CalculatorRequest
from mlff_probes.calculators.evaluation import of_members
from mlff_probes.calculators.identity import same_model
from mlff_probes.calculators.spec import parse_request
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import NOT_STATED, CalculatorIdentity, Checkpoint

PREFIX = "committee="
"""What the target of a SPEC begins with that names a committee."""

FAMILY = "committee"
AND = "+"
"""Stands between the members."""

NAMED = 3
"""The members of a small committee all stand in its label."""

PROPERTIES = frozenset({"energy", "forces", "stress"})
"""What a committee gives the mean of."""

TRUST: tuple[Checkpoint, ...] = ("unchecked", "checked", "plain weights")
"""How files were loaded, what deserves least trust first."""

Load = Callable[[CalculatorRequest], Calculator]


class Committee(AseCalculator):
    """The mean energy, forces and stress of the members of a committee."""

    def __init__(self, members: Sequence[Calculator]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.members = tuple(members)
        self.implemented_properties = sorted({*_properties(members), "free_energy"})

    def calculate(
        self, atoms: Atoms | None = None, properties: Sequence[str] = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """The mean, each member asked through its own ASE calculator."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        wanted = ("forces" in self.implemented_properties, "stress" in properties)
        ((energy, forces, stress, _),) = of_members(self.members, [self.atoms], wanted, batched=False)
        found = {"energy": energy, "free_energy": energy, "forces": forces, "stress": stress}
        self.results = {name: value for name, value in found.items() if value is not None}

    def batch(self, frames: Sequence[Atoms], forces: bool) -> list[tuple[Any, Any]]:
        """The mean, each member asked through its own batched pass."""
        return [(energy, f) for energy, f, _, _ in of_members(self.members, frames, (forces, False), batched=True)]


def is_committee(target: str) -> bool:
    """Whether a target names a committee."""
    return target.startswith(PREFIX)


def load(request: CalculatorRequest, load_member: Load) -> Calculator:
    """Load each member, and make one calculator of them.

    Parameters
    ----------
    request
        ``committee=SPEC+SPEC…``, or a pattern that files match in the place of a SPEC; its keys hold for all members.
    load_member
        Loads one of them.

    Raises
    ------
    InputError
        If there are fewer than two, two of them are the same, one cannot be loaded, or they differ in elements, level
        of theory, precision or device.
    """
    members = [_member(request, each, load_member) for each in member_requests(request)]
    _refuse_unlike(request, members)
    mean, first = Committee(members), members[0]
    batched = all(member.batch is not None for member in members)
    return Calculator(
        identity=_identity(request, [member.identity for member in members], batched=batched),
        ase=mean,
        batch=mean.batch if batched else None,
        batch_atoms=min(member.batch_atoms for member in members),
        properties=_properties(members),
        device=first.device,
        device_given_out=all(member.device_given_out for member in members),
        other_kernels=tuple(name for name in first.other_kernels if all(name in m.other_kernels for m in members)),
        can_compile=all(member.can_compile for member in members),
        members=tuple(members),
    )


def member_requests(request: CalculatorRequest) -> list[CalculatorRequest]:
    """What each member is asked for.

    Raises
    ------
    InputError
        If there are fewer than two, or one is named twice.
    """
    where, parts = f"--calculator={request.spec}", request.target.removeprefix(PREFIX).split(AND)
    targets = [target for part in parts for target in _matches(part.strip(), where)]
    if len(targets) < 2:
        raise InputError(
            where,
            f"a committee has two members or more, and this names {targets[0] if targets else 'none'}",
            "write committee=a.model+b.model, or a pattern that several files match",
        )
    asked = [_asked_of(request, target) for target in targets]
    places = [each.path.resolve() if each.path else each.target for each in asked]
    if twice := next((target for target, place in zip(targets, places, strict=True) if places.count(place) > 1), None):
        raise InputError(where, f"{twice} is a member twice", "name each once")
    return asked


def hashes(identity: CalculatorIdentity) -> tuple[str, ...]:
    """The hashes (SHA-256) of the files that a calculator was read from, of a committee those of its members."""
    if identity.family == FAMILY:
        return tuple(identity.files.values())
    return (identity.sha256,) if identity.sha256 else ()


def _matches(part: str, where: str) -> list[str]:
    """The member that `part` names, or the files that match it, in the order of their names."""
    if not re.search(r"[*?[]", part) or Path(part).is_file():
        return [part] if part else []
    pattern = str(Path(part).expanduser())
    found = sorted(file for file in glob.glob(pattern, recursive=True) if Path(file).is_file())  # noqa: PTH207 - absolute
    if not found:
        raise InputError(where, f"no file matches {part} (looked from {Path.cwd()})")
    return found


def _asked_of(request: CalculatorRequest, target: str) -> CalculatorRequest:
    """The request for one member: its own target, and all else as it is asked of the committee."""
    own = parse_request(target)
    return replace(
        request,
        spec=target,
        target=own.target,
        path=own.path,
        label=own.label,
        device=request.device or own.device,
        dtype=request.dtype or own.dtype,
        level_of_theory=request.level_of_theory or own.level_of_theory,
        elements=own.elements,
        foundation=None,
        options=own.options | request.options,
        table=own.table,
    )


def _member(request: CalculatorRequest, asked: CalculatorRequest, load_member: Load) -> Calculator:
    try:
        return load_member(asked)
    except InputError as error:
        if error.where != f"--calculator={asked.spec}":
            raise
        raise InputError(f"--calculator={request.spec}", f"{asked.spec}: {error.problem}", error.remedy) from error


def _refuse_unlike(request: CalculatorRequest, members: Sequence[Calculator]) -> None:
    """Refuse members of which no mean can be taken, or that are one model."""
    where, all_of_them = f"--calculator={request.spec}", [member.identity for member in members]
    for one, other in combinations(all_of_them, 2):
        if same_model(one, other):
            raise InputError(where, f"{one.spec} and {other.spec} are the same model", "name each once")
    for other in all_of_them[1:]:
        if differ := _difference(all_of_them[0], other):
            raise InputError(where, f"its members are not alike: {differ}", "judge them each by itself")


def _difference(one: CalculatorIdentity, other: CalculatorIdentity) -> str:
    """In what two members differ so that no mean can be taken; empty where they do not."""
    here, there = (member.elements and set(member.elements) for member in (one, other))
    if here and there and here != there:
        more, less, lacking = (one, other, here - there) if here - there else (other, one, there - here)
        return f"{more.spec} knows {', '.join(sorted(lacking))}, {less.spec} does not"
    if (here is None) != (there is None):
        silent = one if here is None else other
        return f"{silent.spec} does not say which elements it knows"
    for what, field in _ALIKE.items():
        mine, theirs = (getattr(member, field) or NOT_STATED for member in (one, other))
        if mine.casefold() != theirs.casefold():
            return f"the {what} of {one.spec} is {mine}, that of {other.spec} {theirs}"
    return ""


_ALIKE = {"level of theory": "level_of_theory", "precision": "dtype", "device": "device"}
"""What members must have in common besides their elements, in words, and as fields of an identity."""


def _properties(members: Sequence[Calculator]) -> frozenset[str]:
    return frozenset(name for name in PROPERTIES if all(member.supplies(name) for member in members))


def _named_by(member: CalculatorIdentity) -> str:
    """What tells a member from others: the hash of its file, or its SPEC where that is no model."""
    return member.spec if member.sha256 is None or member.sha256_of else member.sha256


def _identity(
    request: CalculatorRequest, members: Sequence[CalculatorIdentity], *, batched: bool
) -> CalculatorIdentity:
    """Who was measured: the members, and what they have in common."""
    first, count = members[0], len(members)
    numbered = {f"member {number}": member for number, member in enumerate(members, 1)}
    shared = {key: value for key, value in first.options.items() if all(m.options.get(key) == value for m in members)}
    known = [member.parameters for member in members if member.parameters is not None]
    loaded = {member.checkpoint for member in members}
    labels = [member.label for member in members]
    named = AND.join(labels) if count <= NAMED else f"{labels[0]}{AND}{count - 1}_more"
    together = "\n".join(sorted(_named_by(member) for member in members))
    return first.model_copy(
        update={
            "spec": request.spec,
            "label": named,
            "family": FAMILY,
            "version": f"of {count}",
            "sha256": hashlib.sha256(together.encode()).hexdigest(),
            "sha256_of": f"the {count} hashes of its members",
            "files": {name: member.sha256 for name, member in numbered.items() if member.sha256},
            "checkpoint": next((each for each in TRUST if each in loaded), None),
            "parameters": sum(known) if len(known) == count else None,
            "batched": batched,
            "options": shared | {name: member.spec for name, member in numbered.items()},
            "versions": {name: version for member in members for name, version in member.versions.items()},
            "left_behind": tuple(dict.fromkeys(what for member in members for what in member.left_behind)),
        }
    )
