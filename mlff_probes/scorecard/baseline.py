"""What a scorecard is compared with: the rows of one calculator, or the means of its replicates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlff_probes.core.errors import InputError
from mlff_probes.core.records import ProbeResult, State
from mlff_probes.scorecard.chance import Scatter
from mlff_probes.scorecard.model import CaseSummary, Scorecard
from mlff_probes.scorecard.replicates import mean_over

ENOUGH = 5
"""Fewer replicates hardly know their own scatter: with four a change must be 6.5 standard deviations, with three 11."""

BY_LABEL = ",label=…"
"""How a calculator of a stored baseline is named behind its file."""


@dataclass(frozen=True)
class Baseline:
    """What a calculator is compared with: the rows of another one, or the means of replicates, by case and quantity.

    Attributes
    ----------
    label, source
        Its name, and where it comes from: a file, or the spec of a calculator of the same run.
    rows
        Its results.
    judged
        How many of its quantities are judged: the more are compared, the larger a chance change may be.
    cases
        Its cases by id; None where the baseline has the cases of the run.
    remarks
        What a reader must know of it.
    scatter
        That of its replicates, where it has any.
    """

    label: str
    source: str
    rows: Mapping[tuple[str, str], ProbeResult]
    judged: int
    cases: Mapping[str, CaseSummary] | None = None
    remarks: tuple[str, ...] = ()
    scatter: Mapping[tuple[str, str], Scatter] = field(default_factory=dict)


def baseline_of(card: Scorecard, source: str, wanted: str | None = None, *, by: str = BY_LABEL) -> Baseline:
    """The calculator `wanted` of a scorecard, or its only one, as a baseline; `by` says how one is named.

    Replicates, calculators under one label, are one baseline: the mean of each quantity, with its scatter.

    Raises
    ------
    InputError
        If it holds no such calculator, or several and none is wanted, or a verdict without a number.
    """
    label = _chosen(card, source, wanted, by)
    replicates = [identity.label for identity in card.calculators if identity.replicate_of == label]
    found: dict[tuple[str, str], list[ProbeResult]] = {}
    for row in (row for name in replicates or [label] for row in card.rows(name)):
        found.setdefault((row.case, row.quantity), []).append(row)
    check_numbers((row for rows in found.values() for row in rows), source)
    means = {key: mean_over(label, rows) if replicates else (rows[0], None) for key, rows in found.items()}
    rows = {key: row for key, (row, _) in means.items()}
    return Baseline(
        label=label,
        source=source,
        rows=rows,
        judged=sum(row.expectation is not None for row in rows.values()),
        cases={case.id: case for case in card.cases},
        remarks=tuple(_remarks(card, source, label, len(replicates))),
        scatter={key: scatter for key, (_, scatter) in means.items() if scatter is not None},
    )


def _chosen(card: Scorecard, source: str, wanted: str | None, by: str) -> str:
    """The label of the calculator, or of the replicates, that is the baseline."""
    labels = [identity.label for identity in card.calculators]
    shared = list(dict.fromkeys(identity.replicate_of or identity.label for identity in card.calculators))
    if wanted is None and len(shared) > 1:
        raise InputError(source, "holds several calculators", f"name one with {by}: {', '.join(shared)}")
    label = shared[0] if wanted is None and shared else wanted
    if label is None or label not in (*shared, *labels):
        held = ", ".join(dict.fromkeys([*shared, *labels])) or "none"
        raise InputError(source, f"holds no calculator '{label}'", f"it holds {held}")
    return label


def _remarks(card: Scorecard, source: str, label: str, replicates: int) -> Iterable[str]:
    """What a reader must know of a baseline."""
    if any(not (case.fingerprint and case.reference_fingerprint) for case in card.cases):
        yield (
            f"{source} is older than the fingerprints of structures and references: whether these are the same was not "
            "checked"
        )
    if not card.complete:
        why = f": {card.interrupted}" if card.interrupted else ""
        yield f"{source} is incomplete ({len(card.results)} of {card.selected} quantities{why})"
    if card.left_out:
        yield f"{source} was made within a budget, which left out {len(card.left_out)} measurements"
    if replicates > 1:
        few = f"; {replicates} are few, and only large changes exceed it" if replicates < ENOUGH else ""
        yield (
            f"the baseline {label} is the mean of {replicates} replicates, and a change must exceed their scatter (the "
            f"standard deviation over seeds stands behind a number){few}"
        )


def check_numbers(rows: Iterable[ProbeResult], source: str) -> None:
    """See that what has a verdict has a number or a reason for none, as in every scorecard that nobody edited.

    Raises
    ------
    InputError
        If not.
    """
    for row in rows:
        state, expected, measured = row.verdict.state, row.expectation, row.measured
        excused = state is State.KNOWN_FAILURE and measured is not None and measured.problem is not None
        missing = ""
        if state in (State.PASSED, State.FAILED, State.KNOWN_FAILURE) and not (has_number(row) or excused):
            missing = "without a number"
        elif state in (State.PASSED, State.FAILED) and expected is None:
            missing = "without a reference"
        elif state is State.REPORTED and expected is not None:
            missing = "with a reference"
        elif state is State.REPORTED and (measured is None or (measured.value is None and measured.problem is None)):
            missing = "without a number"
        if missing:
            raise InputError(source, f"{row.case}, {row.quantity}: {state.value}, but {missing}")


def has_number(row: ProbeResult) -> bool:
    """Whether a result has a number, and no mere bound of one."""
    return row.measured is not None and row.measured.value is not None and not row.measured.upper_bound
