"""What a measurement function returns before it becomes a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_probes.core.evaluation import Calls, Evaluation
from mlff_probes.core.protocol import CALLS, PURE
from mlff_probes.core.records import Problem, Samples, Timing, Value
from mlff_probes.methods.bands.outcomes import Outcome
from mlff_probes.methods.constraints import ZEROED


@dataclass(frozen=True)
class Result:
    """Values by quantity, arrays worth plotting, diagnostics, and the evaluation they came from."""

    values: dict[str, Value]
    arrays: dict[str, list[Any]]
    evaluation: Evaluation
    diagnostics: dict[str, Any] = field(default_factory=dict)
    timings: tuple[Timing, ...] = ()


def missing(unit: str, reason: str, *, unresolved: bool = False) -> Value:
    """A quantity that could not be measured: an error, never a number; `unresolved`: see `Problem`."""
    return Value(value=None, unit=unit, problem=Problem(state="error", reason=reason, unresolved=unresolved))


def not_supplied(unit: str, reason: str, *, by_nature: bool = False) -> Value:
    """A quantity the calculator cannot supply: not applicable."""
    problem = Problem(state="not applicable", reason=reason, by_nature=by_nature)
    return Value(value=None, unit=unit, problem=problem)


def force_samples(labelled: NDArray[np.bool_]) -> Samples | None:
    """What a mean over force components stands on, from which of them are labels; None where all are."""
    used = int(labelled.sum())
    if used == labelled.size:
        return None
    left_out = {ZEROED: labelled.size - used}
    return Samples(used=used, of=labelled.size, what="force components", left_out=left_out, by_nature=(ZEROED,))


def relaxation_result(
    outcome: Outcome, calls: Calls, units: Mapping[str, str], values: Mapping[str, Value], arrays: dict[str, list[Any]]
) -> Result:
    """The result of a relaxation that ended in `outcome`.

    Quantities of `units` (quantity -> unit) that are not among `values` are errors that say how it ended; `outcome`
    itself is 1 where it converged, and `model_calls` are always given.
    """
    why = f"{outcome.kind}: {outcome.reason}"
    found = {name: missing(unit, why) for name, unit in units.items()} | dict(values)
    found["model_calls"] = Value(value=float(calls.calls), unit=CALLS)
    if outcome.converged:
        found["outcome"] = Value(value=1.0, unit=PURE)
    diagnostics = {"outcome": outcome.kind, "reason": outcome.reason, "step": outcome.step, "image": outcome.image}
    return Result(found, arrays, calls.evaluation(), diagnostics)
