"""What a measurement function returns before it becomes a record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlff_probes.evaluation import Evaluation
from mlff_probes.records import Problem, Value


@dataclass(frozen=True)
class Result:
    """Values by quantity, arrays worth plotting, diagnostics, and the evaluation they came from."""

    values: dict[str, Value]
    arrays: dict[str, list[Any]]
    evaluation: Evaluation
    diagnostics: dict[str, Any] = field(default_factory=dict)


def missing(unit: str, reason: str) -> Value:
    """A quantity that could not be measured: an error, never a number."""
    return Value(value=None, unit=unit, problem=Problem(state="error", reason=reason))


def not_supplied(unit: str, reason: str) -> Value:
    """A quantity the calculator cannot supply: not applicable."""
    return Value(value=None, unit=unit, problem=Problem(state="not applicable", reason=reason))
