"""Pure measurements: (calculator, case) -> Measurement. No pytest, no expected values, no files.

A reference is the same measurement made on stored energies and forces: `reference_measurement` runs the
functions that `measure_case` runs, so that model and reference can never be worked up differently.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.limits import Limit, TimeUp, forget
from mlff_probes.core.case import Case
from mlff_probes.core.errors import EvaluationError, describe
from mlff_probes.core.progress import Paced, Report, silent, unheard
from mlff_probes.core.records import Measurement, Problem
from mlff_probes.core.structures import DroppedState
from mlff_probes.measure import BY_KIND
from mlff_probes.measure.kind import Conditions


def measure_case(
    calculator: Calculator,
    case: Case,
    *,
    clock: Callable[[], float] = time.perf_counter,
    report: Report = silent,
    timeout: float | None = None,
    store: Path | None = None,
    shared: str = "",
    seed: int = 0,
    paced: Paced = unheard,
) -> Measurement:
    """Measure all quantities of `case` with `calculator`, in one go; `report` is told of the steps of what takes long.

    A calculator that cannot do it gives a measurement with a `problem` instead of an exception: `not
    applicable` if it does not know an element, `error` if it raised or returned unusable numbers, needs more memory
    than there is, or more than `timeout` seconds (None: as many as it takes). Trajectories of simulations are kept in
    the directory `store`, and simulations that were interrupted resumed from there (None: nothing is kept). Nothing is
    timed where the machine is `shared` with others: the reason, or empty where it is not. Simulations with another
    `seed` are made of other random numbers; `paced` is told what a call takes in one of a calculator without batches.
    """
    case = replace(case, protocol=case.protocol.reseeded(seed))
    if timeout is None:
        return _measured(calculator, case, clock, Conditions(report, store, shared, paced))
    start = clock()
    with Limit(timeout) as limit:
        try:
            conditions = Conditions(limit.listen(report), store, shared, paced)
            return _measured(replace(calculator, guard=limit.call), case, clock, conditions)
        except TimeUp:
            pass  # below, where nothing is left of what the model was doing
    forget(calculator.ase)
    problem = Problem(state="error", reason=limit.reason)
    return _without_values(calculator, case, problem, clock() - start).model_copy(
        update={"model_calls": limit.calls, "batches": limit.passes, "model_s": limit.model_s}
    )


def _measured(calculator: Calculator, case: Case, clock: Callable[[], float], conditions: Conditions) -> Measurement:
    """The measurement, however long it takes."""
    start = clock()
    unknown = [] if case.protocol.chooses_elements else calculator.unknown_elements(case.elements)
    if unknown:
        reason = f"{calculator.label} does not know {', '.join(unknown)}"
        return _without_values(calculator, case, Problem(state="not applicable", reason=reason))
    for name in case.protocol.needs:
        if not calculator.supplies(name):
            problem = Problem(state="not applicable", reason=f"the calculator implements no {name}")
            return _without_values(calculator, case, problem)
    with warnings.catch_warnings(record=True) as caught:
        # a user's `filterwarnings = error` is about their code, not about the inside of a model
        warnings.simplefilter("always")
        try:
            result = BY_KIND[case.protocol.kind].measure(calculator, case, conditions)
        except EvaluationError as error:
            return _without_values(calculator, case, Problem(state="error", reason=str(error)), clock() - start)
        except MemoryError as error:  # our own: that of a calculator is an EvaluationError
            reason = f"out of memory on host with {_size(case)}, in working them up: {describe(error)}"
            return _without_values(calculator, case, Problem(state="error", reason=reason), clock() - start)
        except (ValueError, ArithmeticError) as error:  # finite energies whose differences are not, say
            reason = f"the numbers cannot be worked up: {describe(error)}"
            return _without_values(calculator, case, Problem(state="error", reason=reason), clock() - start)
    identity = calculator.identity
    return Measurement(
        calculator=calculator.label,
        case=case.id,
        values=result.values,
        arrays=result.arrays,
        diagnostics={
            "dtype": identity.dtype,
            **result.diagnostics,
            **_noticed(calculator, caught),
            "device": identity.device,
        },
        timings=result.timings,
        model_calls=result.evaluation.calls,
        batches=result.evaluation.batches,
        model_s=result.evaluation.model_s,
        wall_s=clock() - start,
    )


def _noticed(calculator: Calculator, caught: Sequence[warnings.WarningMessage]) -> dict[str, list[str]]:
    """What was dropped of the structures, what the calculator changed of the process, and what was warned of."""
    dropped = sorted({str(w.message) for w in caught if w.category is DroppedState})
    others = [w for w in caught if w.category is not DroppedState]
    left_behind = [what for what in calculator.state.changed if what not in calculator.identity.left_behind]
    found = {"dropped": dropped, "left_behind": left_behind}
    said = sorted({f"{w.category.__name__}: {w.message}".splitlines()[0] for w in others})
    return {name: texts for name, texts in found.items() if texts} | {"warnings": said}


def reference_measurement(case: Case, wanted: Sequence[str] = ()) -> Measurement | None:
    """The quantities of `case` from its stored reference; None if it has none.

    That is all of them from stored energies and forces, and those that are `wanted` from curves and trajectories.
    """
    result = BY_KIND[case.protocol.kind].reference(case, wanted)
    if result is None:
        return None
    return Measurement(
        calculator=case.level_of_theory,
        case=case.id,
        values=result.values,
        arrays=result.arrays,
        diagnostics=result.diagnostics,
    )


def _without_values(calculator: Calculator, case: Case, problem: Problem, wall_s: float = 0.0) -> Measurement:
    return Measurement(calculator=calculator.label, case=case.id, problem=problem, wall_s=wall_s)


def _size(case: Case) -> str:
    atoms = [len(frame) for frame in case.frames]
    return f"{len(atoms)} structures of up to {max(atoms, default=0)} atoms"
