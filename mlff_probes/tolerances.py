"""How far a quantity may be off: the policy of the package, and the user's overrides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mlff_probes.errors import InputError
from mlff_probes.protocols import FAMILIES
from mlff_probes.records import NonNegative, Positive, Record, Text, Tolerance
from mlff_probes.tables import read_toml, validated

POLICY = Path(__file__).parent / "reference" / "tolerances.toml"


class ToleranceTable(Record):
    """`[family.quantity]` of a tolerance file, or `tolerance` of an expectation."""

    value: Positive
    unit: Text
    reason: Text
    float32: Positive | None = None


REGRESSION = "regression"
"""The table of a tolerance file that says when a change against a baseline counts."""


class Margin(Record):
    """`[regression.family]`: the part of its tolerance by which an error must change."""

    margin: NonNegative
    reason: Text


class RegressionPolicy(Record):
    """`[regression]`: when a change against a baseline counts.

    A change must exceed the margin of its family and, beyond it, what chance could do: `false_alarms` is the
    probability that any of the quantities of a run of the same model changes by chance.
    """

    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    reason: Text
    margins: dict[str, Margin]

    def margin(self, family: str) -> float:
        """The margin of a family, as a part of the tolerance."""
        return self.margins[family].margin


@dataclass(frozen=True)
class Policy:
    """Tolerances by family and quantity; an override of the user's wins over policy and case."""

    tolerances: dict[tuple[str, str], Tolerance]
    overrides: dict[tuple[str, str], Tolerance]
    regression: RegressionPolicy
    override_file: Path | None = None

    def tolerance(self, family: str, name: str, own: ToleranceTable | None) -> Tolerance | None:
        """The tolerance in force for what policy knows as `name` (`Protocol.policy_name`), or None."""
        key = (family, name)
        if key in self.overrides:
            return self.overrides[key]
        if own is not None:
            return Tolerance(**own.model_dump(), origin="case")
        return self.tolerances.get(key)


def load_policy(override: Path | None = None) -> Policy:
    """Read the policy of the package and, if given, the user's override.

    Raises
    ------
    InputError
        If a file cannot be read, a key is unknown, or an override names a quantity policy does not know.
    """
    tolerances = _tolerances(POLICY, origin="policy")
    overrides = _tolerances(override, origin="override") if override else {}
    for family, quantity in overrides:
        if (family, quantity) not in tolerances:
            known = ", ".join(f"{f}.{q}" for f, q in sorted(tolerances) if f == family) or ", ".join(FAMILIES)
            raise InputError(f"{override}: there is no tolerance '{family}.{quantity}'; known: {known}")
        if overrides[family, quantity].unit != tolerances[family, quantity].unit:
            raise InputError(
                f"{override}: {family}.{quantity} must be in {tolerances[family, quantity].unit}, "
                f"found {overrides[family, quantity].unit}"
            )
    regression = _regression(override)
    return Policy(tolerances=tolerances, overrides=overrides, regression=regression, override_file=override)


def _regression(override: Path | None) -> RegressionPolicy:
    """The package's `[regression]`, with what the user's file changes of it."""
    found = _regression_table(POLICY)
    changed = _regression_table(override) if override else {}
    margins = {**found.pop("margins"), **changed.pop("margins", {})}
    file = override or POLICY
    try:
        return validated(RegressionPolicy, {**found, **changed, "margins": margins}, file, prefix=f"{REGRESSION}.")
    except InputError as error:  # the keys as they stand in the file
        raise InputError(str(error).replace(f"{REGRESSION}.margins.", f"{REGRESSION}.")) from error


def _regression_table(file: Path) -> dict[str, Any]:
    """`[regression]` of a file, the families' margins apart; empty where it has none."""
    table = read_toml(file).get(REGRESSION, {})
    if not isinstance(table, dict):
        raise InputError(f"{file}: [{REGRESSION}] must be a table")
    margins = {family: row for family, row in table.items() if isinstance(row, dict)}
    unknown = sorted(set(margins) - set(FAMILIES))
    if unknown:
        raise InputError(f"{file}: [{REGRESSION}.{unknown[0]}] is no family; there are {', '.join(FAMILIES)}")
    plain = {key: value for key, value in table.items() if key not in margins}
    return {**plain, "margins": margins} if table else {}


def _tolerances(file: Path, *, origin: str) -> dict[tuple[str, str], Tolerance]:
    data = read_toml(file)
    found = {}
    for family, table in data.items():
        if family == REGRESSION:
            continue
        if family not in FAMILIES or not isinstance(table, dict):
            raise InputError(
                f"{file}: unknown family '{family}'; write [family.quantity] with one of {', '.join(FAMILIES)}"
            )
        for quantity, row in table.items():
            if not isinstance(row, dict):
                raise InputError(f"{file}: [{family}.{quantity}] must be a table with value, unit and reason")
            checked = validated(ToleranceTable, row, file, prefix=f"{family}.{quantity}.")
            found[family, quantity] = Tolerance.model_validate({**checked.model_dump(), "origin": origin})
    return found
