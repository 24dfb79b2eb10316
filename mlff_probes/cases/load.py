"""TOML + extxyz -> Case, strictly: what is unclear in a case file is an error, not a guess.

A reference directory holds one folder a family, and in it `<case>.toml` beside `<case>.extxyz`; the
case's id is the name of the file. Where an expectation gives no value, the value is what the suite's own
measurement yields on the energies and forces stored in the frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import Field

from mlff_probes.cases.frames import CaseFrames, labelled_frames, read_case_frames
from mlff_probes.cases.labels import how_to_map
from mlff_probes.cases.tolerances import OwnShare, Policy, ToleranceTable, load_policy, of_interface
from mlff_probes.core.case import BrokenCase, Case
from mlff_probes.core.data import DIRECTORY, POLICY
from mlff_probes.core.errors import InputError, OptionError, describe
from mlff_probes.core.evaluation import Evaluation
from mlff_probes.core.levels import Level
from mlff_probes.core.protocol import BaseProtocol, LabelKeys
from mlff_probes.core.records import (
    Context,
    Expectation,
    Finite,
    NonNegative,
    Record,
    Slug,
    Text,
    Tier,
    Tolerance,
    Value,
)
from mlff_probes.core.toml import read_toml, validated
from mlff_probes.measure import BY_KIND, FAMILIES, KINDS
from mlff_probes.measure.measurement import reference_measurement

if TYPE_CHECKING:
    AnyProtocol = BaseProtocol
else:  # that of the `kind` in the table
    AnyProtocol = Annotated[reduce(or_, (kind.protocol for kind in KINDS)), Field(discriminator="kind")]


TO_BE_STATED = "to be stated"
"""Level of theory of a case that waits for its energies and for whoever computes them; no calculator has learned it."""


class UnrecordedError(InputError):
    """A case that is whole but for the energies of its frames, from which its expectations get their values."""


class ReferenceTable(Record):
    """`[reference]`: what holds for every expectation that does not say otherwise."""

    level_of_theory: Level
    source: Text


class ExpectationTable(Record):
    """`[[expectation]]`."""

    quantity: Slug
    unit: Text
    uncertainty: NonNegative
    value: Finite | None = None
    level_of_theory: Level | None = None
    source: Text | None = None
    label: str = ""
    tolerance: ToleranceTable | None = None
    minimum_share: OwnShare | None = None


class CaseFile(Record):
    """A whole case file."""

    schema_version: int = Field(ge=1, le=1)
    title: Text
    material: Text | None = None
    tier: Tier
    protocol: AnyProtocol
    reference: ReferenceTable
    expectation: tuple[ExpectationTable, ...] = ()
    report: tuple[Slug, ...] = ()
    context: tuple[Context, ...] = ()
    notes: tuple[Text, ...] = ()
    minimum_share: OwnShare | None = None


AnyCase = Case[Any] | BrokenCase
"""A case, or what is left of a file that could not be read."""


def load_cases(directories: Iterable[Path] = (DIRECTORY,), *, policy: Policy | None = None) -> list[Case | BrokenCase]:
    """Read all cases of some reference directories, sorted by family and id.

    A file that cannot be used becomes a `BrokenCase` with one error, so that it hides no other case.

    Raises
    ------
    InputError
        If a directory does not exist or does not hold family folders, or an override of the tolerances is
        finer than a reference allows.
    """
    policy = policy or load_policy()
    found: dict[str, Case | BrokenCase] = {}
    origin: dict[str, Path] = {}
    for directory in directories:
        for file in _case_files(directory):
            try:
                if file.stem in origin:
                    raise InputError(file, f"duplicate id '{file.stem}', already taken by {origin[file.stem]}")
                found[file.stem] = load_case(file, policy=policy)
                origin[file.stem] = file
            except OptionError:
                raise
            except InputError as error:
                name = re.sub(r"[^A-Za-z0-9_.+]", "_", file.stem)
                broken = f"{name}.toml" if f"{name}.toml" not in found else f"{name}.{len(found)}.toml"
                found[broken] = BrokenCase(id=broken, family=file.parent.name, error=error)
    return sorted(found.values(), key=lambda case: (FAMILIES.index(case.family), case.id))


def load_case(file: Path, *, policy: Policy | None = None, recorded: bool = True) -> Case:
    """Read one case: `<family>/<case>.toml` and the frames in `<case>.extxyz` beside it.

    Parameters
    ----------
    file
        The TOML.
    policy
        Tolerances; those of mlff-probes by default.
    recorded
        False for a case whose frames may still lack energies: expectations that get their values from these are
        checked, and left out.

    Raises
    ------
    UnrecordedError
        If nothing but the energies is lacking.
    InputError
        With the file, the key, what was found and how to mend it.
    """
    policy = policy or load_policy()
    table = read_case_file(file)
    read = read_case_frames(file, table.protocol)
    return build_case(file, file.stem, table, read, policy=policy, recorded=recorded)


def read_case_file(file: Path) -> CaseFile:
    """What the TOML of a case says, in the folder where it belongs; its frames are not looked at.

    Raises
    ------
    InputError
        With the file, the key, what was found and how to mend it.
    """
    check_id(file.stem, file)
    table = validated(CaseFile, read_toml(file), file, kinds=BY_KIND)
    if file.parent.name != table.protocol.family:
        raise InputError(
            file,
            f"the protocol '{table.protocol.kind}' belongs in a folder '{table.protocol.family}', "
            f"not in '{file.parent.name}'",
        )
    return table


def check_id(id: str, where: Path | str) -> None:
    """Refuse names that a case cannot have.

    Raises
    ------
    InputError
        With `where` it was given.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+]*", id):
        raise InputError(where, f"a case id is made of letters, digits and _ . +, found '{id}'")


def build_case(
    file: Path, id: str, table: CaseFile, read: CaseFrames, *, policy: Policy, recorded: bool = True
) -> Case:
    """A case from its parts, its expectations worked out; `file` is named in what is raised.

    Raises
    ------
    UnrecordedError
        If the frames carry no energies and expectations no values; not where `recorded` is False (see `load_case`).
    InputError
        If an expectation makes no sense, or has no value.
    """
    case = Case(
        id=id,
        family=table.protocol.family,
        title=table.title,
        tier=table.tier,
        protocol=table.protocol,
        frames=read.frames,
        stored=read.stored,
        level_of_theory=table.reference.level_of_theory,
        source=table.reference.source,
        expectations=(),
        reports=table.report,
        notes=(*table.notes, *read.notes),
        context=table.context,
        material=table.material,
        dynamics=read.dynamics,
        unlabelled=read.unlabelled,
        training=read.training,
    )
    units = case.protocol.units(case.frames)
    names = [*table.report, *(row.quantity for row in table.expectation)]
    for index, name in enumerate(names):
        if name not in units:
            known = ", ".join(units)
            raise InputError(file, f"'{case.protocol.kind}' measures no '{name}'", f"it measures {known}")
        if name in names[:index]:
            raise InputError(file, f"the quantity '{name}' is asked for twice")
    if not table.expectation and not table.report:
        raise InputError(file, "nothing is expected and nothing reported", "add an [[expectation]]")
    if case.stored is not None and case.level_of_theory == TO_BE_STATED:
        raise InputError(file, "its level of theory is still to be stated", 'for instance `level_of_theory = "PBE"`')
    try:
        wanted = [row.quantity for row in table.expectation if row.value is None]
        wanted += [name for name in names if case.protocol.is_distance(name) and name not in wanted]
        reference = reference_measurement(case, wanted)
        notes = (*case.notes, *(case.protocol.reference_notes(reference) if reference else ()))
        case = replace(case, reference=reference, notes=notes)
    except (ValueError, ArithmeticError) as error:
        raise InputError(file, f"the stored energies cannot be worked up: {describe(error)}") from error
    expectations = tuple(_expectations(file, case, table, policy, units, recorded=recorded))
    blind = {row.quantity: why for row in expectations if (why := blindness(case, row))}
    return replace(
        case,
        expectations=tuple(row for row in expectations if row.quantity not in blind),
        reports=(*blind, *case.reports),
        blind=blind,
    )


def blindness(case: Case, expectation: Expectation) -> str:
    """Why the tolerance of an expectation would pass anything; "" where it does not."""
    if case.reference is None:
        return ""
    signal = case.protocol.signal(expectation.quantity, case.reference)
    tolerance, unit = expectation.tolerance, expectation.unit
    if signal is None or tolerance.value < signal:
        return ""
    return (
        f"blind, so not judged: the tolerance of {tolerance.value:g} {unit} ({tolerance.origin}) is no smaller than "
        f"all that the reference shows, {signal:.2g} {unit}; state a finer tolerance with its reason"
    )


def _expectations(
    file: Path, case: Case, table: CaseFile, policy: Policy, units: dict[str, str], *, recorded: bool
) -> Iterable[Expectation]:
    uncertainties = stated_uncertainties(table.expectation)
    for index, row in enumerate(table.expectation):
        where = f"{file}: expectation {index + 1} ({row.quantity})"
        unit = units[row.quantity]
        tolerance = _tolerance(where, row, case, policy, unit)
        if row.value is None and case.stored is None and isinstance(case.protocol, LabelKeys):
            if not recorded:
                continue
            raise _unrecorded(file, row.quantity, case)
        known = None if case.reference is None else case.reference.values.get(row.quantity)
        stated = None if row.value == 0 and known and case.protocol.is_distance(row.quantity) else row.value
        value = _value(where, stated, known, tolerance, case.frames)
        if problem := case.protocol.reference_problem(row.quantity, case.stored, uncertainties):
            raise InputError(where, problem)
        yield Expectation(
            quantity=row.quantity,
            value=value,
            unit=unit,
            uncertainty=max(row.uncertainty, (known.uncertainty or 0.0) if known else 0.0),
            level_of_theory=row.level_of_theory or case.level_of_theory,
            source=row.source or case.source,
            tolerance=tolerance,
            minimum_share=policy.minimum_share(
                case.family, case.protocol.policy_name(row.quantity), row.minimum_share, table.minimum_share
            ),
            label=row.label,
        )


def _unrecorded(file: Path, quantity: str, case: Case) -> UnrecordedError:
    """The error of a case whose frames lack the energies that `quantity` is to get its value from."""
    mapping = how_to_map(case.frames)
    other = f" (or, {mapping})" if mapping.startswith("found") else ""
    why = f"'{quantity}' has no value, and its frames no energies to work it out from"
    return UnrecordedError(file, why, f"record them with `mlff-probes record {case.id} --calculator SPEC`{other}")


def _tolerance(where: str, row: ExpectationTable, case: Case, policy: Policy, unit: str) -> Tolerance:
    """The tolerance of an expectation: its own, or else that of the policy."""
    tolerance = policy.tolerance(case.family, case.protocol.policy_name(row.quantity), row.tolerance)
    if tolerance is not None:
        tolerance = of_interface(tolerance, case.protocol.interface_area(case.frames))
    if tolerance is None:
        raise InputError(where, "no tolerance", f'add `tolerance = {{value = …, unit = "{unit}", reason = "…"}}`')
    for what, found in (("unit", row.unit), ("unit of the tolerance", tolerance.unit)):
        if found != unit:
            raise InputError(where, f"the {what} must be '{unit}', found '{found}'")
    if tolerance.value < row.uncertainty:
        problem = (
            f"the tolerance {tolerance.value:g} {unit} ({tolerance.origin}) is below the uncertainty "
            f"{row.uncertainty:g} {unit} of the reference"
        )
        why = "nothing can be judged that finely"
        if tolerance.origin == "override":
            raise OptionError(f"the tolerances of {policy.override_file}", f"{where}: {problem}", why)
        raise InputError(where, problem, why)
    return tolerance


def _value(
    where: str, stated: float | None, known: Value | None, tolerance: Tolerance, frames: Sequence[Atoms]
) -> float:
    """The reference value of an expectation: the one `stated`, or else what the stored reference yields (`known`)."""
    if stated is not None and known is not None:
        raise InputError(where, "a value is given, but the stored reference yields it", "leave one out")
    value = stated if known is None else known.value
    if known is not None and known.uncertainty is not None and known.uncertainty > tolerance.value:
        raise InputError(
            where,
            f"the reference is known to {known.uncertainty:.2g} {tolerance.unit} within 95 % only, "
            f"and the tolerance is {tolerance.value:g} {tolerance.unit}",
            "a longer trajectory may do",
        )
    if value is None:
        if known and known.problem:
            raise InputError(where, f"no value is given and none can be worked out: {known.problem.reason}")
        why = "the frames lack reference energies or forces"
        raise InputError(where, f"no value is given and none can be worked out: {why}", how_to_map(frames))
    return value


def stated_uncertainties(expectations: Iterable[ExpectationTable]) -> dict[str, float]:
    """The largest uncertainty that is stated for each quantity."""
    found: dict[str, float] = {}
    for row in expectations:
        found[row.quantity] = max(row.uncertainty, found.get(row.quantity, 0.0))
    return found


def _case_files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise InputError(directory, f"there is no such reference directory (looked from {Path.cwd()})")
    stray = [file for file in directory.glob("*.toml") if file != POLICY]
    if stray:
        hint = "give it as --probe-tolerances" if stray[0].name == "tolerances.toml" else ""
        raise InputError(stray[0], f"a case belongs in a family folder ({', '.join(FAMILIES)})", hint)
    files = [file for file in sorted(directory.glob("*/*.toml")) if not file.name.startswith(".")]
    for file in files:
        if file.parent.name not in FAMILIES:
            raise InputError(file, f"unknown family '{file.parent.name}'", f"known are {', '.join(FAMILIES)}")
    if not files:
        raise InputError(directory, "holds no case", f"expected files such as {FAMILIES[0]}/my_case.toml")
    return files


def gather_frames(
    files: Sequence[Path], directories: Sequence[Path], case: str | None, keys: LabelKeys | None = None
) -> CaseFrames:
    """Labelled frames of `files`, or else of the parity cases in `directories` (of `case` alone, if named).

    `keys` name the labels in `files`; a case names its own.

    Raises
    ------
    InputError
        If a file cannot be read, nothing is labelled, or there is no such case.
    """
    if files:
        return labelled_frames([(None, file) for file in files], where=", ".join(map(str, files)), keys=keys)
    cases = {found.id: found for found in load_cases(directories) if found.family == "parity"}
    if not cases or case not in (None, *cases):
        sought = "no parity case" if case is None else f"no parity case '{case}'"
        raise InputError(
            "", f"there is {sought}", f"there are {', '.join(cases) or 'none: name files with labelled frames'}"
        )
    frames: list[Atoms] = []
    unlabelled: list[Atoms] = []
    energies: list[float] = []
    forces: list[NDArray[np.float64]] = []
    for found in [cases[case]] if case else cases.values():
        if isinstance(found, BrokenCase):
            raise found.error
        assert found.stored is not None
        assert found.stored.forces is not None
        frames += found.frames
        unlabelled += found.unlabelled
        energies += found.stored.energies.tolist()
        forces += found.stored.forces
    stored = Evaluation(np.array(energies), tuple(forces))
    return CaseFrames(tuple(frames), stored, unlabelled=tuple(unlabelled))
