"""A reference with dispersion, made of one without: the term is added to the energies and forces that are stored.

That holds for given structures only. What was relaxed without the term would have come to rest elsewhere with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from mlff_probes.core.levels import parts_of
from mlff_probes.core.records import Expectation, Measurement
from mlff_probes.measure.measurement import reference_measurement
from mlff_probes.methods.constraints import unlabelled


def with_dispersion(case: Case[Any], level: str) -> Case[Any]:
    """A case whose reference is of `level`, which is that of the case with a term of dispersion.

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
    expectations = tuple(_expectations(case, moved, reference))
    blind = {row.quantity: why for row in expectations if (why := _not_judged(moved, row, expectations))}
    return replace(
        moved,
        expectations=tuple(row for row in expectations if row.quantity not in blind),
        reports=(*blind, *moved.reports),
        blind={**moved.blind, **blind},
    )


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


def _expectations(case: Case[Any], moved: Case[Any], reference: Measurement) -> Iterator[Expectation]:
    """The expectations, those that are read off the stored energies with what these now yield."""
    before = case.reference.values if case.reference else {}
    for row in case.expectations:
        known = reference.values.get(row.quantity)
        moves = row.quantity in before and row.level_of_theory == case.level_of_theory
        if not moves or known is None or known.value is None:
            yield row
            continue
        value = row.value if case.protocol.is_distance(row.quantity) else known.value
        source = f"{row.source}{moved.source.removeprefix(case.source)}"
        yield row.model_copy(update={"value": value, "level_of_theory": moved.level_of_theory, "source": source})
