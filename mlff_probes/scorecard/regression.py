"""When a change against a baseline counts: `[regression]` of a tolerance file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mlff_probes.core.data import POLICY, REGRESSION
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import NonNegative, Record, Text
from mlff_probes.core.toml import read_toml, validated
from mlff_probes.measure import FAMILIES, KINDS

RETRAINING = "retraining"
"""The key of `[regression]` that is no family."""


class Direction(Record):
    """`[regression.family.reported.quantity]`: which way a quantity without a reference becomes worse, and by how much.

    `margin` is in the unit of the quantity.
    """

    worse: Literal["larger", "smaller"]
    margin: NonNegative
    reason: Text


class Margin(Record):
    """`[regression.family]`: the part of its tolerance by which an error must change."""

    margin: NonNegative
    reason: Text
    reported: dict[str, Direction] = Field(default_factory=dict)


class Retraining(Record):
    """`[regression.retraining]`: how often another seed alone may take a quantity beyond the scatter of replicates."""

    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    reason: Text


class RegressionPolicy(Record):
    """`[regression]`: when a change against a baseline counts.

    A change must exceed the margin of its family and, beyond it, what chance could do: `false_alarms` is the
    probability that any of the quantities of a run of the same model changes by chance. Where the baseline holds
    replicates, their scatter is what another seed of the training does, and `retraining` the probability that a
    quantity of the same training with another seed lies beyond it.
    """

    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    reason: Text
    retraining: Retraining
    margins: dict[str, Margin]

    def margin(self, family: str) -> float:
        """The margin of a family, as a part of the tolerance."""
        return self.margins[family].margin

    def direction(self, family: str, quantity: str) -> Direction | None:
        """Which way a quantity that is only reported becomes worse; None where nobody says."""
        return self.margins[family].reported.get(quantity)


def load_regression(override: Path | None = None) -> RegressionPolicy:
    """The package's `[regression]`, with what the user's file changes of it.

    Raises
    ------
    InputError
        If a file cannot be read, or a key is unknown or unusable.
    """
    found = _regression_table(POLICY)
    changed = _regression_table(override) if override else {}
    margins = _over(found.pop("margins"), changed.pop("margins", {}))
    file = override or POLICY
    table = {**found, **changed, "margins": margins}
    return validated(RegressionPolicy, table, file, prefix=f"{REGRESSION}.", unwritten=("margins",))


def _over(ours: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """The margins of the families with what a user's file changes: of a reported quantity this is all that it says."""
    found = {**ours, **changed}
    for family, row in changed.items():
        reported = {**ours.get(family, {}).get("reported", {}), **row.get("reported", {})}
        found[family] = row | ({"reported": reported} if reported else {})
    return found


def _regression_table(file: Path) -> dict[str, Any]:
    """`[regression]` of a file, the families' margins apart; empty where it has none."""
    table = read_toml(file).get(REGRESSION, {})
    if not isinstance(table, dict):
        raise InputError(file, f"[{REGRESSION}] must be a table")
    margins = {family: row for family, row in table.items() if isinstance(row, dict) and family != RETRAINING}
    unknown = sorted(set(margins) - set(FAMILIES))
    if unknown:
        raise InputError(file, f"[{REGRESSION}.{unknown[0]}] is no family", f"there are {', '.join(FAMILIES)}")
    for family, row in margins.items():
        names = [name for kind in KINDS if kind.protocol.family == family for name in kind.protocol.quantities]
        for name in row.get("reported", {}):
            if not any(name == known or name.startswith(f"{known}_") for known in names):
                where = f"[{REGRESSION}.{family}.reported.{name}]"
                raise InputError(file, f"{where} is no quantity", f"there are {', '.join(sorted(set(names)))}")
    plain = {key: value for key, value in table.items() if key not in margins}
    return {**plain, "margins": margins} if table else {}
