"""A reference with dispersion, made of one without: the term is added to the energies and forces that are stored.

That holds for given structures only. What was relaxed without the term would have come to rest elsewhere with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import starmap
from typing import Any

import numpy as np
from ase import Atoms

from mlff_probes.calculators.dispersion import library, term
from mlff_probes.calculators.evaluation import evaluate_with_stress
from mlff_probes.cases.load import blindness
from mlff_probes.core.case import Case
from mlff_probes.core.errors import InputError
from mlff_probes.core.evaluation import Evaluation, Floats
from mlff_probes.core.levels import Parts, parts_of
from mlff_probes.core.records import Expectation, Measurement
from mlff_probes.measure.measurement import reference_measurement
from mlff_probes.methods.constraints import unlabelled


def with_dispersion(case: Case[Any], level: str) -> tuple[Case[Any], dict[str, str]]:
    """A case whose reference is of `level`, that of the case with a term of dispersion, and what could not be moved.

    The latter says by quantity why its expectation stays at the level of the case.

    Energies, forces and stresses that are stored with its frames get the term; what the suite works out of them is
    worked out anew. Expectations whose value is stated, and laws, stay as they are.

    Raises
    ------
    InputError
        If the case has no stored energies, or the term cannot be had.
    """
    parts = parts_of(level)
    assert parts is not None
    if case.stored is None or case.reference is None:
        problem = f"{parts.dispersion} can be added to energies of given structures, not to what was relaxed without it"
        raise InputError("", problem)
    stored = _with_term(case, case.stored, term(parts.functional, parts.dispersion))
    added = f"{parts.dispersion} added by {library()}"
    moved = replace(case, stored=stored, level_of_theory=level, source=f"{case.source}; {added}")
    reference = reference_measurement(moved, list(case.reference.values))
    assert reference is not None
    reference = reference.model_copy(update={"diagnostics": {**reference.diagnostics, "source": moved.source}})
    moved = replace(moved, reference=reference)
    stay = {row.quantity: why for row in case.expectations if (why := _why_unmoved(case, row, reference, parts))}
    expectations = tuple(row if row.quantity in stay else _moved(case, row, moved) for row in case.expectations)
    blind = {row.quantity: why for row in expectations if (why := _not_judged(moved, row, expectations))}
    judged = tuple(row for row in expectations if row.quantity not in blind)
    reports, reasons = (*blind, *moved.reports), {**moved.blind, **blind}
    return replace(moved, expectations=judged, reports=reports, blind=reasons), stay


def _not_judged(moved: Case[Any], row: Expectation, rows: Sequence[Expectation]) -> str:
    """Why a quantity that was judged cannot be with the term, so that it is only reported; empty where it can."""
    if row.level_of_theory != moved.level_of_theory:
        return ""
    uncertainties = {each.quantity: each.uncertainty for each in rows}
    return blindness(moved, row) or moved.protocol.reference_problem(row.quantity, moved.stored, uncertainties)


def _with_term(case: Case[Any], stored: Evaluation, correction: Any) -> Evaluation:
    """The stored energies, forces and stresses with a term added to each."""
    found = evaluate_with_stress(correction, case.frames, stored.stressed, forces=stored.forces is not None)
    rows = zip(case.frames, stored.forces or (), found.forces or (), strict=False)
    return replace(
        stored,
        energies=stored.energies + found.energies,
        forces=None if stored.forces is None else tuple(starmap(_sum, rows)),
        stresses=None if stored.stresses is None or found.stresses is None else stored.stresses + found.stresses,
    )


def _sum(frame: Atoms, force: Floats, added: Floats) -> Floats:
    """Forces with those of a term, but for components that a constraint had set to zero, which are no labels."""
    return np.where(unlabelled(frame, force), force, force + added)


def _why_unmoved(case: Case[Any], row: Expectation, reference: Measurement, parts: Parts) -> str:
    """Why an expectation at the level of a case stays as it is; empty where it moves, or has another level."""
    if row.level_of_theory != case.level_of_theory:
        return ""
    if case.reference is None or row.quantity not in case.reference.values:
        return f"its value is stated, and not worked out of energies to which {parts.dispersion} could be added"
    known = reference.values.get(row.quantity)
    if known is not None and known.value is not None:
        return ""
    why = f": {known.problem.reason}" if known is not None and known.problem else ""
    return f"with {parts.dispersion} the reference has no number for it{why}"


def _moved(case: Case[Any], row: Expectation, moved: Case[Any]) -> Expectation:
    """An expectation with what the stored energies now yield, where it is read off them."""
    if row.level_of_theory != case.level_of_theory:
        return row
    assert moved.reference is not None
    distance = case.protocol.is_distance(row.quantity)
    value = row.value if distance else moved.reference.values[row.quantity].value
    source = f"{row.source}{moved.source.removeprefix(case.source)}"
    return row.model_copy(update={"value": value, "level_of_theory": moved.level_of_theory, "source": source})
