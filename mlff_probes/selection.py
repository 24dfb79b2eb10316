"""What a notebook names, models, a material, a path, as calculators and cases of the suite."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.formula import Formula

from mlff_probes.band import Stated, band_case, band_exists, read_band
from mlff_probes.calculators.base import Calculator, CalculatorRequest
from mlff_probes.calculators.calc_file import LABEL, LABEL_RULE
from mlff_probes.calculators.registry import load_calculator
from mlff_probes.calculators.safety import check_pins_used
from mlff_probes.calculators.wrapping import known_elements, wrapped
from mlff_probes.errors import InputError
from mlff_probes.records import NOT_STATED, BrokenCase, Case
from mlff_probes.reference import load_case
from mlff_probes.tolerances import Policy

Model = str | os.PathLike[str] | Calculator | Any
"""What names a calculator: a SPEC as after `--calculator=`, a file, an ASE calculator, or a loaded one."""


def calculators(
    model: Model | Sequence[Model] | Mapping[str, Model],
    device: str | None,
    dtype: str | None,
    *,
    trust_checkpoint: bool = False,
    sha256: tuple[str, ...] = (),
) -> list[Calculator]:
    """Load or wrap what `model=` names.

    Raises
    ------
    InputError
        If it names nothing, or something that is no calculator, or two of one name.
    """
    named: list[tuple[str | None, Model]]
    if isinstance(model, Mapping):
        named = list(model.items())
    elif isinstance(model, list | tuple):
        named = [(None, each) for each in model]
    else:
        named = [(None, model)]
    if not named:
        raise InputError("no model is named; write for instance model='chgnet' or model='path/to.model'")
    load = partial(load_calculator, device=device, dtype=dtype, trust_checkpoint=trust_checkpoint, sha256=sha256)
    found = [_calculator(label, each, load) for label, each in named]
    check_pins_used(sha256, [calculator.identity for calculator in found], option="sha256")
    labels = [calculator.label for calculator in found if not calculator.labelled]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise InputError(f"two models are called '{twice}'; name them: model={{'first': …, 'second': …}}")
    return found


def _calculator(label: str | None, model: Model, load: partial[Calculator]) -> Calculator:
    if label is not None and not (isinstance(label, str) and LABEL.fullmatch(label)):
        raise InputError(f"model={{{label!r}: …}}: {LABEL_RULE}")
    if isinstance(model, str | os.PathLike):
        spec = os.fspath(model)
        return load(f"{spec},label={label}" if label else spec)
    for name in ("device", "dtype"):
        if (value := load.keywords[name]) is not None:
            raise InputError(f"{name}='{value}' cannot be given to a calculator that is made already; leave it out")
    if not isinstance(model, Calculator):
        return _bare(label, model)
    identity = model.identity.model_copy(update={"label": label or model.label})
    return replace(model, identity=identity, labelled=model.labelled or label is not None)


def _bare(label: str | None, model: Any) -> Calculator:
    """An ASE calculator that somebody made, with what it says of itself."""
    if isinstance(model, type) or not callable(getattr(model, "get_potential_energy", None)):
        raise InputError(
            f"model={model!r} is neither a SPEC, a file nor an ASE calculator (an object with get_potential_energy)"
        )
    name = type(model).__name__
    request = CalculatorRequest(spec=name, target=name)
    elements = known_elements(model, request)
    found = wrapped(request, model, label=label or name, family="ase", elements=elements, device=NOT_STATED,
                    dtype=NOT_STATED)  # fmt: skip
    return replace(found, labelled=label is not None)


def readable(cases: Iterable[Case | BrokenCase]) -> list[Case]:
    """`cases`, if all of them could be read."""
    found = []
    for case in cases:
        if isinstance(case, BrokenCase):
            raise InputError(case.message)
        found.append(case)
    return found


def stated_band(
    material: str | None, level_of_theory: str | None, uncertainty_ev: float | None, migrating_atom: int | None
) -> Stated:
    """What the user says of a band, checked."""
    for name, text in (("material", material), ("level_of_theory", level_of_theory)):
        if text is not None and not (isinstance(text, str) and text.strip()):
            raise InputError(f"{name}={text!r} must be a text that is not empty")
    if uncertainty_ev is not None:
        number = isinstance(uncertainty_ev, int | float) and math.isfinite(uncertainty_ev)
        if not number or uncertainty_ev < 0:
            raise InputError(f"uncertainty_ev={uncertainty_ev!r} must be a number of eV, zero or more")
    try:
        atom = None if migrating_atom is None else operator.index(migrating_atom)
    except TypeError as error:
        raise InputError(f"migrating_atom={migrating_atom!r} must be a whole number, counted from 0") from error
    return Stated(material, atom, level_of_theory, None if uncertainty_ev is None else float(uncertainty_ev))


def of_material(cases: list[Case], stated: Stated, migration_path: object) -> list[Case]:
    """The cases of the material that is asked for, and the laws, which hold of any; all cases where none is."""
    if stated.material is None:
        return cases
    wanted = _formula(stated.material)
    known = sorted({case.material for case in cases if case.material})
    found = [case for case in cases if case.material and _formula(case.material) == wanted]
    if not found and migration_path is None:
        raise InputError(
            f"there is no case of the material '{stated.material}'; there are cases of {', '.join(known)}; "
            "add your own with migration_path= or reference="
        )
    return [case for case in cases if case in found or case.protocol.chooses_elements]


def path_case(given: Any, cases: list[Case], policy: Policy, stated: Stated) -> Case | None:
    """The case behind `migration_path`: one of `cases`, a case file, or a band; None where none is given.

    Raises
    ------
    InputError
        If it is none of these, or a band that is no path.
    """
    ids = {case.id: case for case in cases if case.family == "migration"}
    known = None
    if isinstance(given, str | os.PathLike) and os.fspath(given) in ids:
        known = ids[os.fspath(given)]
    elif isinstance(given, str | os.PathLike) and Path(given).suffix == ".toml":
        known = _only_migration(load_case(Path(given).expanduser(), policy=policy), given)
    if given is None or known is not None:
        if (stated.level_of_theory, stated.uncertainty_ev, stated.migrating_atom) != (None, None, None):
            what = "a case says itself" if known else "they belong to a band, given as migration_path="
            raise InputError(f"level_of_theory, uncertainty_ev and migrating_atom cannot be given here: {what}")
        return known
    images, where = _images(given, ids)
    case = band_case(images, where.name.partition("@")[0].partition(".")[0] or "band", where=where, stated=stated,
                     policy=policy)  # fmt: skip
    absent = set(_formula(stated.material)) - case.elements if stated.material else set()
    if absent:
        raise InputError(f"{where}: material='{stated.material}', but the images hold no {', '.join(sorted(absent))}")
    return replace(case, id=f"{case.id}_band") if case.id in {other.id for other in cases} else case


def _images(given: Any, ids: Mapping[str, Case]) -> tuple[list[Atoms], Path]:
    if isinstance(given, list | tuple) and all(isinstance(image, Atoms) for image in given):
        return list(given), Path("band")
    if not isinstance(given, str | os.PathLike):
        raise InputError(f"migration_path={given!r} must be a case id, a file, a folder, or a list of Atoms")
    where = Path(given).expanduser()
    if not os.fspath(given) or not band_exists(where):
        raise InputError(
            f"migration_path='{given}' is neither a case ({', '.join(ids) or 'there is none of this material'}) "
            f"nor a file or folder (looked from {Path.cwd()})"
        )
    return read_band(where), where


def _formula(text: str) -> dict[str, int]:
    try:
        count: dict[str, int] = Formula(text, strict=True).count()
    except ValueError as error:
        raise InputError(f"material='{text}' is no chemical formula: {error}") from error
    return count


def _only_migration(case: Case, where: object) -> Case:
    if case.family != "migration":
        raise InputError(f"migration_path='{where}' is a case of the family '{case.family}', not of migration")
    return case
