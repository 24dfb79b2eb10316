"""A relaxed migration path: endpoints, band, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.bands.interpolation import interpolate_band, unwrapped
from mlff_probes.bands.outcomes import Outcome
from mlff_probes.bands.relax import BandRun, BandSettings, Calls, Report, relax_band, relax_structure
from mlff_probes.calculators.base import Calculator
from mlff_probes.errors import NonFiniteError
from mlff_probes.evaluation import Evaluation
from mlff_probes.measure.migration import path_fraction
from mlff_probes.measure.results import Result, missing
from mlff_probes.protocols import ENERGY, FRACTION, LENGTH, PURE, RelaxedPath
from mlff_probes.records import Case, Value, as_lists

Floats = NDArray[np.float64]


def relaxed_path(calculator: Calculator, case: Case, *, report: Report | None = None) -> Result:
    """Relax the endpoints of a case and a climbing-image band between them.

    - `outcome` 1 where the band converged; else an error that says how it ended
      (`mlff_probes.bands.outcomes`), and all that follows is an error too:
    - `barrier`, `reverse_barrier` energy of the highest image over the first and over the last, eV;
    - `reaction_energy` of the last over the first, eV;
    - `saddle_position` path fraction of the highest image (see `path_fraction`);
    - `path_distance` how far the relaxed band lies from the first one: mean over inner images of the distance
      over all 3 n_atoms components, A;
    - `model_calls` structures that went through the model, endpoints included; always given.
    """
    protocol = case.protocol
    assert isinstance(protocol, RelaxedPath)
    calls = Calls()
    settings = BandSettings(spring_ev_a2=protocol.spring_ev_a2, fmax=protocol.fmax, max_steps=protocol.max_steps)
    frames = unwrapped(case.frames)
    try:
        ends, problem = _relaxed_ends(calculator, frames, protocol, calls)
    except NonFiniteError as error:
        problem = Outcome("non-finite", str(error), 0)
    if problem is not None:
        return _result(protocol, BandRun(problem, frames, np.empty(0)), [], calls)
    first = interpolate_band([ends[0], *frames[1:-1], ends[1]], protocol.images)
    first[0].calc, first[-1].calc = ends[0].calc, ends[1].calc
    run = relax_band(calculator, first, settings=settings, calls=calls, report=report)
    return _result(protocol, run, first, calls)


def _relaxed_ends(
    calculator: Calculator, frames: Sequence[Atoms], protocol: RelaxedPath, calls: Calls
) -> tuple[list[Atoms], Outcome | None]:
    ends = []
    for name, frame in (("first", frames[0]), ("last", frames[-1])):
        relaxed, converged = relax_structure(
            calculator, frame, fmax=protocol.endpoint_fmax, max_steps=protocol.endpoint_steps, calls=calls
        )
        if not converged:
            reason = f"the {name} endpoint did not relax to {protocol.endpoint_fmax:g} eV/A"
            return [], Outcome("unconverged", f"{reason} in {protocol.endpoint_steps} steps", protocol.endpoint_steps)
        ends.append(relaxed)
    if np.abs(ends[0].positions - ends[1].positions).max() < SAME_A:
        return [], Outcome("image collapse", "both endpoints relaxed to the same structure", 0)
    return ends, None


SAME_A = 0.1
"""Two endpoints no atom of which differs by more than this, A, are one minimum."""


def _result(protocol: RelaxedPath, run: BandRun, first: Sequence[Atoms], calls: Calls) -> Result:
    outcome = run.outcome
    counted = Evaluation(np.empty(0), None, calls=calls.calls, batches=calls.batches, model_s=calls.model_s)
    why = f"{outcome.kind}: {outcome.reason}"
    values = {name: missing(unit, why) for name, unit in protocol.quantities.items()}
    values["model_calls"] = Value(value=float(calls.calls), unit=PURE)
    arrays: dict[str, list[Any]] = {
        "energy_history": [as_lists({"_": row})["_"] for row in run.energy_history],
        "fmax_history": [as_lists({"_": row})["_"] for row in run.fmax_history],
    }
    if outcome.converged:
        energies = run.energies - run.energies[0]
        position, top = path_fraction(tuple(run.images)), int(np.argmax(energies))
        distance = np.mean([np.linalg.norm(a.positions - b.positions) for a, b in
                            zip(run.images[1:-1], first[1:-1], strict=True)])  # fmt: skip
        values |= {
            "outcome": Value(value=1.0, unit=PURE),
            "barrier": Value(value=float(energies[top]), unit=ENERGY),
            "reverse_barrier": Value(value=float(energies[top] - energies[-1]), unit=ENERGY),
            "reaction_energy": Value(value=float(energies[-1]), unit=ENERGY),
            "saddle_position": Value(value=float(position[top]), unit=FRACTION),
            "path_distance": Value(value=float(distance), unit=LENGTH),
        }
        arrays |= as_lists({"path_fraction": position, "energy": energies})
    diagnostics = {"outcome": outcome.kind, "reason": outcome.reason, "step": outcome.step, "image": outcome.image}
    return Result(values, arrays, counted, diagnostics)
