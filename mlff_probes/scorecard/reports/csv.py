"""The scorecard as flat rows: CSV, and a DataFrame where pandas is installed."""

from __future__ import annotations

import csv
import io
from typing import Any

from mlff_probes.core.errors import InputError
from mlff_probes.core.records import ProbeResult, Value
from mlff_probes.scorecard.model import Scorecard, Spread

COLUMNS = (
    "calculator",
    "replicate_of",
    "family",
    "case",
    "quantity",
    "label",
    "measured",
    "measured_uncertainty",
    "upper_bound",
    "samples",
    "samples_of",
    "samples_left_out",
    "spread",
    "replicates",
    "reference",
    "uncertainty",
    "deviation",
    "tolerance",
    "tolerance_origin",
    "unit",
    "verdict",
    "reason",
    "level_of_theory",
    "source",
)
"""`replicates` is filled in rows that hold the mean over several checkpoints of one label, and only there; `spread` is
there, and in those of a committee.

`samples` of `samples_of` are those that a number stands on; `samples_left_out` says why not on more.
"""


def flat_rows(card: Scorecard) -> list[dict[str, Any]]:
    """One row for each result, and one for each mean over replicate checkpoints; None for a cell that is empty."""
    group = {identity.label: identity.replicate_of for identity in card.calculators}
    return [
        *(_row(result, group.get(result.calculator)) for result in card.results),
        *(_mean(spread) for spread in card.replicates),
    ]


def as_csv(card: Scorecard) -> str:
    """The scorecard as CSV with a header; numbers in full precision."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat_rows(card))
    return out.getvalue()


def as_dataframe(card: Scorecard) -> Any:
    """The scorecard as a pandas DataFrame with the columns of the CSV.

    Raises
    ------
    InputError
        If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise InputError(
            "",
            f"a DataFrame needs pandas ({error})",
            "install it with: pip install 'path/to/mlff-probes[notebook]' (a checkout or a wheel)",
        ) from error
    return pd.DataFrame(flat_rows(card), columns=list(COLUMNS))


def _row(result: ProbeResult, group: str | None) -> dict[str, Any]:
    expected, measured = result.expectation, result.measured
    row = dict.fromkeys(COLUMNS) | {
        "calculator": result.calculator,
        "replicate_of": group,
        "family": result.family,
        "case": result.case,
        "quantity": result.quantity,
        "measured": measured.value if measured else None,
        "measured_uncertainty": measured.uncertainty if measured else None,
        "upper_bound": True if measured and measured.upper_bound else None,
        **_samples(measured),
        "spread": measured.spread if measured else None,
        "unit": measured.unit if measured else None,
        "deviation": result.verdict.deviation,
        "verdict": result.verdict.state.value,
        "reason": result.verdict.reason or None,
    }
    if expected is not None:
        row |= {
            "label": expected.label or None,
            "reference": expected.value,
            "uncertainty": expected.uncertainty,
            "tolerance": expected.tolerance.value,
            "tolerance_origin": expected.tolerance.origin,
            "unit": expected.unit,
            "level_of_theory": expected.level_of_theory,
            "source": expected.source,
        }
    return row


def _samples(measured: Value | None) -> dict[str, Any]:
    samples = measured.samples if measured else None
    if samples is None:
        return {}
    return {"samples": samples.used, "samples_of": samples.of, "samples_left_out": samples.why or None}


def _mean(spread: Spread) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS) | {
        "calculator": spread.replicate_of,
        "replicate_of": spread.replicate_of,
        "family": spread.family,
        "case": spread.case,
        "quantity": spread.quantity,
        "measured": spread.mean,
        "spread": spread.standard_deviation,
        "replicates": spread.measured,
        "reference": spread.reference,
        "unit": spread.unit,
        "verdict": f"{spread.passed} of {spread.replicates} passed",
    }
