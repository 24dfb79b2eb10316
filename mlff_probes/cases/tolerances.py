"""How far a quantity may be off: the policy of the package, and the user's overrides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlff_probes.core.data import POLICY, REGRESSION
from mlff_probes.core.errors import InputError
from mlff_probes.core.records import Positive, Record, Text, Tolerance
from mlff_probes.core.toml import read_toml, validated
from mlff_probes.measure import FAMILIES


class ToleranceTable(Record):
    """`[family.quantity]` of a tolerance file, or `tolerance` of an expectation."""

    value: Positive
    unit: Text
    reason: Text
    float32: Positive | None = None


@dataclass(frozen=True)
class Policy:
    """Tolerances by family and quantity; an override of the user's wins over policy and case."""

    tolerances: dict[tuple[str, str], Tolerance]
    overrides: dict[tuple[str, str], Tolerance]
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
            raise InputError(str(override), f"there is no tolerance '{family}.{quantity}'", f"known: {known}")
        if overrides[family, quantity].unit != tolerances[family, quantity].unit:
            raise InputError(
                str(override),
                f"{family}.{quantity} must be in {tolerances[family, quantity].unit}, "
                f"found {overrides[family, quantity].unit}",
            )
    return Policy(tolerances=tolerances, overrides=overrides, override_file=override)


def _tolerances(file: Path, *, origin: str) -> dict[tuple[str, str], Tolerance]:
    data = read_toml(file)
    found = {}
    for family, table in data.items():
        if family == REGRESSION:
            continue
        if family not in FAMILIES or not isinstance(table, dict):
            raise InputError(
                file, f"unknown family '{family}'", f"write [family.quantity] with one of {', '.join(FAMILIES)}"
            )
        for quantity, row in table.items():
            if not isinstance(row, dict):
                raise InputError(file, f"[{family}.{quantity}] must be a table with value, unit and reason")
            checked = validated(ToleranceTable, row, file, prefix=f"{family}.{quantity}.")
            found[family, quantity] = Tolerance.model_validate({**checked.model_dump(), "origin": origin})
    return found
