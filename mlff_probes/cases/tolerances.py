"""How far a quantity may be off: the policy of the package, and the user's overrides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mlff_probes.core.data import POLICY, REGRESSION, SAMPLES
from mlff_probes.core.errors import InputError
from mlff_probes.core.protocol import PER_AREA
from mlff_probes.core.records import MinimumShare, Origin, Positive, Record, Text, Tolerance
from mlff_probes.core.toml import read_toml, validated
from mlff_probes.measure import FAMILIES


class ToleranceTable(Record):
    """`[family.quantity]` of a tolerance file, or `tolerance` of an expectation."""

    value: Positive
    unit: Text
    reason: Text
    float32: Positive | None = None


class ShareTable(Record):
    """`[samples]`, `[samples.family]` or `[samples.family.quantity]` of a tolerance file."""

    minimum_share: Annotated[float, Field(ge=0, le=1)]
    reason: Text


class OwnShare(Record):
    """`minimum_share` of a case or an expectation."""

    value: Annotated[float, Field(ge=0, le=1)]
    reason: Text


MEV = 1e-3
"""meV -> eV."""

Shares = dict[tuple[str, ...], MinimumShare]
"""Minimum shares by (), (family,) or (family, quantity)."""


@dataclass(frozen=True)
class Policy:
    """Tolerances by family and quantity, and minimum shares; an override of the user's wins over policy and case."""

    tolerances: dict[tuple[str, str], Tolerance]
    overrides: dict[tuple[str, str], Tolerance]
    override_file: Path | None = None
    shares: Shares = field(default_factory=dict)
    share_overrides: Shares = field(default_factory=dict)

    def minimum_share(self, family: str, name: str, *own: OwnShare | None) -> MinimumShare | None:
        """The share of its samples that a number must stand on; of the case's `own` the first that is stated."""
        stated = [MinimumShare(**share.model_dump(), origin="case") for share in own if share is not None]
        policy = [_nearest(shares, family, name) for shares in (self.share_overrides, self.shares)]
        return next((share for share in (policy[0], *stated, policy[1]) if share is not None), None)

    def tolerance(self, family: str, name: str, own: ToleranceTable | None) -> Tolerance | None:
        """The tolerance in force for what policy knows as `name` (`Protocol.policy_name`), or None."""
        key = (family, name)
        if key in self.overrides:
            return self.overrides[key]
        if own is not None:
            return Tolerance(**own.model_dump(), origin="case")
        return self.tolerances.get(key)


def of_interface(tolerance: Tolerance, area_a2: float | None) -> Tolerance:
    """A tolerance per area as one of a cell with so large an interface, to two digits; any other as it is."""
    unit = PER_AREA.get(tolerance.unit)
    if unit is None or area_a2 is None:
        return tolerance
    value = float(f"{tolerance.value * area_a2 * MEV:.2g}")
    reason = f"{tolerance.reason} Here {tolerance.value:g} {tolerance.unit} of an interface of {area_a2:.4g} A^2."
    return tolerance.model_copy(update={"value": value, "unit": unit, "reason": reason})


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
        unit = tolerances[family, quantity].unit
        allowed = [unit, PER_AREA[unit]] if unit in PER_AREA else [unit]
        if overrides[family, quantity].unit not in allowed:
            raise InputError(
                str(override),
                f"{family}.{quantity} must be in {' or '.join(allowed)}, found {overrides[family, quantity].unit}",
            )
    return Policy(
        tolerances=tolerances,
        overrides=overrides,
        override_file=override,
        shares=_shares(POLICY, tolerances, origin="policy"),
        share_overrides=_shares(override, tolerances, origin="override") if override else {},
    )


def _nearest(shares: Shares, family: str, name: str) -> MinimumShare | None:
    keys: tuple[tuple[str, ...], ...] = ((family, name), (family,), ())
    return next((shares[key] for key in keys if key in shares), None)


def _shares(file: Path, known: Mapping[tuple[str, str], Tolerance], *, origin: Origin) -> Shares:
    """The minimum shares of a tolerance file; none where it has no `[samples]`."""
    places = {(), *((family,) for family in FAMILIES), *known}
    found: Shares = {}
    table = read_toml(file).get(SAMPLES, {})
    if not isinstance(table, dict):
        raise InputError(file, f"[{SAMPLES}] must be a table with minimum_share and reason")
    for place, row in _tables((), table):
        name = ".".join((SAMPLES, *place))
        if place not in places:
            raise InputError(
                file,
                f"[{name}] is no family and no quantity that has a tolerance",
                f"write [{SAMPLES}], or [{SAMPLES}.FAMILY] with one of {', '.join(FAMILIES)}",
            )
        checked = validated(ShareTable, row, file, prefix=f"{name}.")
        found[place] = MinimumShare(value=checked.minimum_share, reason=checked.reason, origin=origin)
    return found


def _tables(place: tuple[str, ...], table: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The tables that hold anything but tables, each with the names on the way to it."""
    inner = {key: row for key, row in table.items() if isinstance(row, dict)}
    own = {key: row for key, row in table.items() if key not in inner}
    if own:
        yield place, own
    for key, row in inner.items():
        yield from _tables((*place, key), row)


def _tolerances(file: Path, *, origin: str) -> dict[tuple[str, str], Tolerance]:
    data = read_toml(file)
    found = {}
    for family, table in data.items():
        if family in (REGRESSION, SAMPLES):
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
