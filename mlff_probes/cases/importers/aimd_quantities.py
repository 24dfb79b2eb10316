"""What a trajectory is long and dense enough for, quantity by quantity, and why it is not for the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlff_probes.cases.load import ExpectationTable
from mlff_probes.cases.tolerances import Policy, load_policy
from mlff_probes.core.case import Case
from mlff_probes.core.judge import RESOLVED
from mlff_probes.core.records import Value
from mlff_probes.measure.dynamics.observables import Observables
from mlff_probes.measure.dynamics.protocols import ALL, MolecularDynamics
from mlff_probes.measure.dynamics.reference_dynamics import reference_curves, reference_dynamics, sample_of
from mlff_probes.measure.dynamics.trajectory_quantities import quantity_value

COMPARED = ("rdf_l1", "first_peak", "mean_frequency", "vdos_wasserstein", "diffusion")
"""What a trajectory may tell; the rest says the same once more, or is a law."""


WIDTH = 1.96
"""Half the width of a 95 % interval, in standard deviations."""

SAFELY = 0.7
"""Part of what a judgement needs that is planned for, since scatter is known roughly."""


@dataclass(frozen=True)
class Finding:
    """What a trajectory says of one quantity.

    Attributes
    ----------
    quantity, unit
        Of the case.
    value, uncertainty
        What it is, and how well it is known; None where it is not. A curve has the distance 0 to itself.
    judged, reported
        Whether a model is judged by it, or it is only shown.
    reason
        Why it is not in the case; empty where it is.
    """

    quantity: str
    unit: str
    value: float | None = None
    uncertainty: float | None = None
    judged: bool = False
    reported: bool = False
    reason: str = ""


def findings_of(case: Case[MolecularDynamics]) -> tuple[Finding, ...]:
    """What the trajectory of a case gives.

    A quantity is judged where the trajectory resolves it to half its tolerance, as a model must (`RESOLVED`). For a
    curve that is the scatter of its distance to itself, from the stretches that it is worked out of.
    """
    units, policy = case.protocol.units(case.frames), load_policy()
    one = len(case.elements) == 1
    wanted = [name for name in units if case.protocol.policy_name(name) in COMPARED and not _said_twice(name, one)]
    found = reference_dynamics(case, wanted)
    assert found is not None
    assert case.dynamics is not None
    assert case.dynamics.trajectory is not None
    sample = replace(sample_of(case.dynamics.trajectory), reference=reference_curves(found.arrays))
    observables = Observables(case.protocol, sample)
    return tuple(
        _finding(case.protocol, policy, name, units[name], list(_known(observables, found.values[name], name)))
        for name in wanted
    )


def _said_twice(name: str, one_element: bool) -> bool:
    """Whether a quantity of all atoms is that of the one element there is, or of whichever pair bonds."""
    return name.endswith(f"_{ALL}") and (one_element or name.startswith("first_peak"))


def _known(observables: Observables, value: Value, name: str) -> Iterator[Value]:
    """What is known of a quantity: its value, and of a curve how far it scatters about itself."""
    yield value
    if value.problem is None and observables.protocol.curve(name):
        yield quantity_value(observables, name, value.unit)


def _finding(protocol: MolecularDynamics, policy: Policy, name: str, unit: str, known: Sequence[Value]) -> Finding:
    for each in known:
        if each.problem is not None:
            return Finding(name, unit, reason=each.problem.reason)
    uncertainty = max((each.uncertainty or 0.0 for each in known), default=0.0)
    tolerance = policy.tolerance("dynamics", protocol.policy_name(name), None)
    if tolerance is None:
        return Finding(name, unit, known[0].value, uncertainty, reported=True)
    if uncertainty > RESOLVED * tolerance.value:
        return Finding(
            name, unit, known[0].value, uncertainty,
            reason=f"the trajectory gives it to {uncertainty:.2g} {unit} within 95 % only, and half the tolerance is "
            f"{RESOLVED * tolerance.value:g} {unit}; a longer one may do",
        )  # fmt: skip
    return Finding(name, unit, known[0].value, uncertainty, judged=True)


def laws(protocol: MolecularDynamics, atoms: int) -> tuple[tuple[ExpectationTable, ...], tuple[str, ...]]:
    """What holds for any simulation, whatever it is compared with: what is judged of it, and what is only reported.

    The temperature is reported where simulations of so many `atoms` are too short to resolve it.
    """
    exact = {"survival": (1.0, "1"), "net_force": (0.0, "meV/A")}
    reported: tuple[str, ...] = ()
    if protocol.ensemble == "NVE":
        exact |= {"energy_drift": (0.0, "eV/atom/ps")}
    elif _temperature_scatter(protocol, atoms) <= SAFELY * RESOLVED * _tolerance("temperature_offset"):
        exact |= {"temperature_offset": (0.0, "%")}
    else:
        reported = ("temperature_offset",)
    rows = tuple(
        ExpectationTable(
            quantity=name, unit=unit, value=value, uncertainty=0.0, level_of_theory="exact", source="exact, a law"
        )
        for name, (value, unit) in exact.items()
    )
    return rows, reported


def _temperature_scatter(protocol: MolecularDynamics, atoms: int) -> float:
    """Half the width, in per cent, of the 95 % interval of a mean temperature.

    The kinetic energy of N atoms scatters by sqrt(2 / 3N) of itself, and Langevin friction g forgets it within 1 / 2g,
    so that a time t holds t g independent values.
    """
    time = protocol.steps * protocol.timestep_fs * len(protocol.seeds)
    return 100 * WIDTH * float(np.sqrt(2 / (3 * atoms) / (time * protocol.friction_per_fs)))


def _tolerance(quantity: str) -> float:
    found = load_policy().tolerance("dynamics", quantity, None)
    return np.inf if found is None else found.value
