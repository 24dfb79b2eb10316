"""TOML + extxyz -> Case, strictly: what is unclear in a case file is an error, not a guess.

A reference directory holds one folder a family, and in it `<case>.toml` beside `<case>.extxyz`; the
case's id is the name of the file. Where an expectation gives no value, the value is what the suite's own
measurement yields on the energies and forces stored in the frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from mlff_probes.errors import InputError, OptionError
from mlff_probes.evaluation import describe
from mlff_probes.frames import CaseFrames, read_case_frames
from mlff_probes.measure import reference_measurement
from mlff_probes.measure.migration import prominence
from mlff_probes.protocols import FAMILIES, FixedPath, Protocol
from mlff_probes.records import (
    BrokenCase,
    Case,
    Context,
    Expectation,
    Finite,
    NonNegative,
    Record,
    Slug,
    Text,
    Tier,
)
from mlff_probes.tables import read_toml, validated
from mlff_probes.tolerances import POLICY, Policy, ToleranceTable, load_policy

DIRECTORY = Path(__file__).parent / "reference"
"""The cases and the tolerance policy that come with the package."""

STANDS_OUT = 2.0
"""A position of the maximum is judged only where the maximum of the reference stands out by more than
this many times its uncertainty."""


class ReferenceTable(Record):
    """`[reference]`: what holds for every expectation that does not say otherwise."""

    level_of_theory: Text
    source: Text


class ExpectationTable(Record):
    """`[[expectation]]`."""

    quantity: Slug
    unit: Text
    uncertainty: NonNegative
    value: Finite | None = None
    level_of_theory: Text | None = None
    source: Text | None = None
    label: str = ""
    tolerance: ToleranceTable | None = None


class CaseFile(Record):
    """A whole case file."""

    schema_version: int = Field(ge=1, le=1)
    title: Text
    material: Text | None = None
    tier: Tier
    protocol: Protocol = Field(discriminator="kind")
    reference: ReferenceTable
    expectation: tuple[ExpectationTable, ...] = ()
    report: tuple[Slug, ...] = ()
    context: tuple[Context, ...] = ()
    notes: tuple[Text, ...] = ()


def load_cases(directories: Iterable[Path] = (DIRECTORY,), *, policy: Policy | None = None) -> list[Case | BrokenCase]:
    """Read all cases of some reference directories, sorted by family and id.

    A file that cannot be used becomes a `BrokenCase` with one message, so that it hides no other case.

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
                    raise InputError(f"{file}: duplicate id '{file.stem}', already taken by {origin[file.stem]}")
                found[file.stem] = load_case(file, policy=policy)
                origin[file.stem] = file
            except OptionError:
                raise
            except InputError as error:
                name = re.sub(r"[^A-Za-z0-9_.+]", "_", file.stem)
                broken = f"{name}.toml" if f"{name}.toml" not in found else f"{name}.{len(found)}.toml"
                found[broken] = BrokenCase(id=broken, family=file.parent.name, message=str(error))
    return sorted(found.values(), key=lambda case: (FAMILIES.index(case.family), case.id))


def load_case(file: Path, *, policy: Policy | None = None) -> Case:
    """Read one case: `<family>/<case>.toml` and the frames in `<case>.extxyz` beside it.

    Raises
    ------
    InputError
        With the file, the key, what was found and how to mend it.
    """
    policy = policy or load_policy()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+]*", file.stem):
        raise InputError(f"{file}: a case id is made of letters, digits and _ . +, found '{file.stem}'")
    table = validated(CaseFile, read_toml(file), file)
    if file.parent.name != table.protocol.family:
        raise InputError(
            f"{file}: the protocol '{table.protocol.kind}' belongs in a folder '{table.protocol.family}', "
            f"not in '{file.parent.name}'"
        )
    return build_case(file, file.stem, table, read_case_frames(file, table.protocol), policy=policy)


def build_case(file: Path, id: str, table: CaseFile, read: CaseFrames, *, policy: Policy) -> Case:
    """A case from its parts, its expectations worked out; `file` is named in what is raised.

    Raises
    ------
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
    )
    units = case.protocol.units(case.frames)
    names = [*table.report, *(row.quantity for row in table.expectation)]
    for index, name in enumerate(names):
        if name not in units:
            known = ", ".join(units)
            raise InputError(f"{file}: '{case.protocol.kind}' measures no '{name}'; it measures {known}")
        if name in names[:index]:
            raise InputError(f"{file}: the quantity '{name}' is asked for twice")
    if not table.expectation and not table.report:
        raise InputError(f"{file}: nothing is expected and nothing reported; add an [[expectation]]")
    try:
        wanted = [row.quantity for row in table.expectation if row.value is None]
        case = replace(case, reference=reference_measurement(case, wanted))
    except (ValueError, ArithmeticError) as error:
        raise InputError(f"{file}: the stored energies cannot be worked up: {describe(error)}") from error
    return replace(case, expectations=tuple(_expectations(file, case, table, policy, units)))


def _expectations(
    file: Path, case: Case, table: CaseFile, policy: Policy, units: dict[str, str]
) -> Iterable[Expectation]:
    reference = case.reference
    for index, row in enumerate(table.expectation):
        where = f"{file}: expectation {index + 1} ({row.quantity})"
        unit = units[row.quantity]
        tolerance = policy.tolerance(case.family, case.protocol.policy_name(row.quantity), row.tolerance)
        if tolerance is None:
            raise InputError(f'{where}: no tolerance; add `tolerance = {{value = …, unit = "{unit}", reason = "…"}}`')
        for what, found in (("unit", row.unit), ("unit of the tolerance", tolerance.unit)):
            if found != unit:
                raise InputError(f"{where}: the {what} must be '{unit}', found '{found}'")
        if tolerance.value < row.uncertainty:
            message = (
                f"{where}: the tolerance {tolerance.value:g} {unit} ({tolerance.origin}) is below the uncertainty "
                f"{row.uncertainty:g} {unit} of the reference; nothing can be judged that finely"
            )
            if tolerance.origin == "override":
                raise OptionError(f"the tolerances of {policy.override_file}: {message}")
            raise InputError(message)
        known = None if reference is None else reference.values.get(row.quantity)
        if row.value is not None and known is not None:
            raise InputError(f"{where}: a value is given, but the frames carry energies that yield it; leave one out")
        value = row.value if known is None else known.value
        if known is not None and known.uncertainty is not None and known.uncertainty > tolerance.value:
            raise InputError(
                f"{where}: the reference is known to {known.uncertainty:.2g} {unit} within 95 % only, and the "
                f"tolerance is {tolerance.value:g} {unit}; a longer trajectory may do"
            )
        if value is None:
            why = known.problem.reason if known and known.problem else "the frames lack reference energies or forces"
            raise InputError(f"{where}: no value is given and none can be worked out: {why}")
        if row.quantity == "saddle_position":
            _check_maximum(where, case, table)
        yield Expectation(
            quantity=row.quantity,
            value=value,
            unit=unit,
            uncertainty=max(row.uncertainty, (known.uncertainty or 0.0) if known else 0.0),
            level_of_theory=row.level_of_theory or case.level_of_theory,
            source=row.source or case.source,
            tolerance=tolerance,
            label=row.label,
        )


def _check_maximum(where: str, case: Case, table: CaseFile) -> None:
    assert isinstance(case.protocol, FixedPath)
    uncertainty = max((row.uncertainty for row in table.expectation if row.quantity == "barrier"), default=None)
    if uncertainty is None or case.stored is None:
        raise InputError(f"{where}: needs stored energies and an expectation for the barrier, with its uncertainty")
    margin = prominence(case.stored.energies)
    if margin == 0:
        raise InputError(f"{where}: the highest image of the reference is an end of the path, which is no saddle")
    if margin <= STANDS_OUT * uncertainty:
        raise InputError(
            f"{where}: the maximum of the reference stands out by {margin:.3g} eV, which is not more than "
            f"{STANDS_OUT:g} times its uncertainty of {uncertainty:g} eV; its position cannot be judged"
        )


def _case_files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise InputError(f"{directory}: there is no such reference directory (looked from {Path.cwd()})")
    stray = [file for file in directory.glob("*.toml") if file != POLICY]
    if stray:
        hint = "; give it as --probe-tolerances" if stray[0].name == "tolerances.toml" else ""
        raise InputError(f"{stray[0]}: a case belongs in a family folder ({', '.join(FAMILIES)}){hint}")
    files = [file for file in sorted(directory.glob("*/*.toml")) if not file.name.startswith(".")]
    for file in files:
        if file.parent.name not in FAMILIES:
            raise InputError(f"{file}: unknown family '{file.parent.name}'; known are {', '.join(FAMILIES)}")
    if not files:
        raise InputError(f"{directory}: holds no case; expected files such as {FAMILIES[0]}/my_case.toml")
    return files
