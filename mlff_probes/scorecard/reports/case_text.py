"""What Markdown and HTML say below a case: forces across its path, context that is not judged, tolerances."""

from __future__ import annotations

from collections.abc import Iterable

from mlff_probes.core.records import ProbeResult, Tolerance
from mlff_probes.scorecard.model import CaseSummary


def case_remarks(case: CaseSummary) -> list[str]:
    """The notes of a case, what else its reference is, the forces across its path, and values that are not judged."""
    context = [f"Context, not judged: {c.what}: {c.value:g} {c.unit} ({c.source})." for c in case.context]
    also = [f"Also at {each.calculator}: {each.diagnostics.get('source', '')}." for each in case.corrected]
    return [*case.notes, *also, *perpendicular_force_lines(case), *context]


def perpendicular_force_lines(case: CaseSummary) -> list[str]:
    """A sentence on the forces of the reference across its path; empty where the case is not a path."""
    perpendicular = case.reference_diagnostics.get("perpendicular_force_ev_per_a")
    if not perpendicular:
        return []
    values = ", ".join(f"{value:.2f}" for value in perpendicular)
    return [
        f"{case.level_of_theory} force perpendicular to the path at its inner images: {values} eV/A (largest on an "
        f"atom; zero on a minimum-energy path). Path made by {case.protocol['path_made_by']}."
    ]


def tolerance_texts(rows: Iterable[ProbeResult]) -> dict[str, str]:
    """The tolerance of each quantity with its unit and reason.

    A quantity has several values where calculators compute in several precisions.
    """
    found: dict[str, list[Tolerance]] = {}
    for row in rows:
        if row.expectation:
            found.setdefault(row.quantity, []).append(row.expectation.tolerance)
    return {
        quantity: f"{' or '.join(dict.fromkeys(f'{t.value:g}' for t in tolerances))} "
        f"{tolerances[0].unit}: {tolerances[0].reason}"
        for quantity, tolerances in found.items()
    }


def share_texts(rows: Iterable[ProbeResult]) -> dict[str, str]:
    """The part of its samples that each quantity must stand on, with the reason, where it is not that of the policy."""
    shares = {row.quantity: row.expectation.minimum_share for row in rows if row.expectation}
    return {
        quantity: f"judged on at least {100 * share.value:g} % of its samples: {share.reason}"
        for quantity, share in shares.items()
        if share is not None and share.origin != "policy"
    }
