"""What a simulation will resolve, expected from its first part, so that nobody waits for what will not be resolved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlff_probes.core.case import Case
from mlff_probes.core.judge import RESOLVED
from mlff_probes.core.records import Expectation
from mlff_probes.core.trajectory import Trajectory
from mlff_probes.measure.dynamics.observables import Observables, Sample, longest_window_fs
from mlff_probes.measure.dynamics.protocols import MolecularDynamics
from mlff_probes.measure.dynamics.reference_dynamics import reference_window_fs
from mlff_probes.measure.dynamics.trajectory_quantities import SERIES
from mlff_probes.methods.analysis import sampling, statistics, vibrations
from mlff_probes.methods.analysis.statistics import MINIMUM_SAMPLES, Floats

MARGIN = 3.0
"""By how much an expectation must fall short: correlation times from a fifth of a simulation are known to a factor of
two or so, and a simulation that might do is worth its time."""

SPECTRAL = {"mean_frequency": vibrations.PERIODS, "vdos_wasserstein": vibrations.PERIODS}
"""Quantities from windows of spectra, and the periods that these must hold."""

FREQUENCY_MARGIN = 2.0
"""The same for windows that are too short. A root mean squared frequency is soon known to some per cent, but is too low
as long as the atoms of a start at rest still leave their sites."""


@dataclass(frozen=True)
class Outlook:
    """What the first part of a simulation says of all of it.

    Attributes
    ----------
    samples
        How many independent samples are expected of means that are judged, by their name.
    unresolved
        Why a quantity that is judged is not expected to be resolved, by its name.
    hopeless
        Whether that holds for all that is judged.
    """

    samples: dict[str, float]
    unresolved: dict[str, str]
    hopeless: bool


def outlook(case: Case[MolecularDynamics], first: Trajectory) -> Outlook:
    """What is expected of a simulation, from the first part of its production.

    The number of independent samples grows with the length of a simulation, as its correlation time does not. Of
    quantities that nothing is said of here (laws, g(r), slopes, diffusion) the best is expected.
    """
    start = case.protocol.start(case.frames)
    observables = Observables(
        case.protocol, Sample(first, first.positions[0, 0], float(first.energies[0, 0]), float(start.get_volume()))
    )
    samples, reasons = dict[str, float](), dict[str, str]()
    for row in case.expectations:
        name = case.protocol.policy_name(row.quantity)
        if name in SERIES:
            series = SERIES[name](observables)
            samples[row.quantity] = _expected_samples(case.protocol, series)
            reasons[row.quantity] = _of_series(series, samples[row.quantity], row)
        elif name in SPECTRAL:
            element = row.quantity.removeprefix(f"{name}_")
            reasons[row.quantity] = _of_spectra(case, observables, element, SPECTRAL[name])
    unresolved = {name: why for name, why in reasons.items() if why}
    return Outlook(samples, unresolved, bool(unresolved) and len(unresolved) == len(case.expectations))


def _expected_samples(protocol: MolecularDynamics, series: Floats) -> float:
    planned = len(series) * (protocol.steps // protocol.sample_every + 1)
    return planned / statistics.statistical_inefficiency(series)


def _of_series(series: Floats, samples: float, row: Expectation) -> str:
    """Why a mean of so many independent samples will hardly be resolved; "" where it may be."""
    if samples * MARGIN < MINIMUM_SAMPLES:
        return f"some {samples:.1g} independent samples are expected, at least {MINIMUM_SAMPLES} are needed"
    error = float(statistics.quantile(np.inf) * series.std() / np.sqrt(samples))
    tolerance = row.tolerance.value
    certain = abs(series.mean() - row.value) - error > tolerance
    if error <= MARGIN * RESOLVED * tolerance or certain:
        return ""
    return (
        f"some {samples:.2g} independent samples are expected, and {error:.2g} {row.unit} within 95 %, where "
        f"{RESOLVED * tolerance:g} are needed, half the tolerance"
    )


def _of_spectra(case: Case[MolecularDynamics], first: Observables, element: str, periods: float) -> str:
    t, protocol = first.moving, case.protocol
    planned = longest_window_fs(len(protocol.seeds), protocol.steps * protocol.timestep_fs)
    frequency = sampling.rms_frequency(t.velocities, t.forces, t.masses, first.mask(element))
    window = min(planned, reference_window_fs(case))
    if vibrations.too_few_periods(FREQUENCY_MARGIN * frequency, window, periods):
        return vibrations.too_few_periods(frequency, window, periods)
    return ""
