"""What a simulation will resolve, expected from its first part, so that nobody waits for what will not be resolved."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from mlff_probes.core.case import Case
from mlff_probes.core.judge import RESOLVED
from mlff_probes.core.records import Expectation
from mlff_probes.core.trajectory import Trajectory
from mlff_probes.measure.dynamics.observables import FS_PER_PS, Floats, Observables, Sample, longest_window_fs
from mlff_probes.measure.dynamics.protocols import MolecularDynamics
from mlff_probes.measure.dynamics.reference_dynamics import reference_curves, reference_window_fs
from mlff_probes.measure.dynamics.trajectory_quantities import OF_BLOCKS, SERIES, SLOPES
from mlff_probes.methods.analysis import foresight, sampling, vibrations
from mlff_probes.methods.analysis.diffusion import too_few_lags
from mlff_probes.methods.analysis.displacement import LONGEST_SHARE
from mlff_probes.methods.analysis.foresight import Foreseen
from mlff_probes.methods.analysis.statistics import MINIMUM_SAMPLES

MARGIN = 3.0
"""By how much an expectation must fall short: correlation times from a fifth of a simulation are known to a factor of
two or so, and a simulation that might do is worth its time."""

FEWEST = 2
"""Independent samples of the first part: an error that is guessed from two is enough to tell what is far off."""

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
        How many independent samples are expected of what is judged, by its name.
    unresolved
        Why a quantity that is judged is not expected to be resolved, and what would do, by its name.
    hopeless
        Whether that holds for all that is judged.
    """

    samples: dict[str, float]
    unresolved: dict[str, str]
    hopeless: bool


def outlook(case: Case[MolecularDynamics], first: Trajectory, start: Floats, start_energy: float) -> Outlook:
    """What is expected of a simulation, from the first part of its production.

    Of quantities of which nothing is said here (laws, pressures, what the first part holds too little of) the best is
    expected.

    Parameters
    ----------
    case
        What is simulated.
    first
        The first part of the production.
    start, start_energy
        Positions of the first sample of all, A, shape (n_atoms, 3), and their energy, eV.
    """
    ahead = _Ahead(case, first, start, start_energy)
    reasons = {row.quantity: reason for row in case.expectations if (reason := ahead.problem(row))}
    return Outlook(ahead.samples, reasons, bool(reasons) and len(reasons) == len(case.expectations))


def about(number: float) -> str:
    """A number of which two digits are enough, and no more is known."""
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"


class _Ahead:
    """Looks ahead from the first part of a production."""

    def __init__(self, case: Case[MolecularDynamics], first: Trajectory, start: Floats, start_energy: float) -> None:
        protocol = case.protocol
        self._case, self._protocol, self.samples = case, protocol, dict[str, float]()
        self._times = (protocol.steps // protocol.sample_every + 1) / first.samples
        self._first = Observables(
            protocol,
            Sample(
                first, start, start_energy, float(protocol.start(case.frames).get_volume()),
                reference=reference_curves(case.reference.arrays if case.reference else {}),
            ),
            fewest=FEWEST,
        )  # fmt: skip

    def problem(self, row: Expectation) -> str:
        """Why a quantity will hardly be resolved, and what would do; "" where it may be."""
        name = self._protocol.policy_name(row.quantity)
        group = row.quantity.removeprefix(name).removeprefix("_")
        look = self._look(name)
        with suppress(ValueError):  # too little to say anything
            return look(name, group, row) if look else ""
        return ""

    def _look(self, name: str) -> Callable[[str, str, Expectation], str] | None:
        if name in SPECTRAL:
            return self._of_spectra
        if name == "diffusion":
            return self._of_diffusion
        return self._of_samples if name in (*SERIES, *SLOPES, *OF_BLOCKS) else None

    def _of_samples(self, name: str, group: str, row: Expectation) -> str:
        if name in SERIES:
            found = foresight.mean(SERIES[name](self._first), self._times)
        elif name in SLOPES:
            found = foresight.drift(*SLOPES[name](self._first), self._times)
        else:
            found = foresight.estimate(OF_BLOCKS[name](self._first, group), self._times)
        return self._short_of(found, row)

    def _short_of(self, found: Foreseen, row: Expectation) -> str:
        """Why a quantity of which so much is expected will hardly be resolved; "" where it may be."""
        self.samples[row.quantity] = found.samples
        expected = f"some {about(found.samples)} independent samples are expected"
        if found.samples * MARGIN < MINIMUM_SAMPLES:
            return f"{expected}, at least {MINIMUM_SAMPLES} are needed{self._remedy(found.longer(row.tolerance.value))}"
        tolerance, error = row.tolerance.value, found.uncertainty
        needed = RESOLVED * tolerance
        certain = abs(found.value - row.value) - found.uncertainty_now > tolerance  # then it is judged all the same
        if error <= MARGIN * needed or certain:
            return ""
        return (
            f"{expected}, and {about(error)} {row.unit} within 95 %, where {needed:g} are needed, half the tolerance"
            f"{self._remedy(found.longer(needed))}"
        )

    def _remedy(self, longer: float) -> str:
        planned = self._protocol.steps * self._protocol.timestep_fs / FS_PER_PS
        return f"; some {about(longer * planned)} ps would do instead of {planned:g} ps, or more replicas"

    def _of_diffusion(self, _: str, element: str, row: Expectation) -> str:
        protocol = self._protocol
        planned_fs = protocol.steps * protocol.timestep_fs
        if reason := too_few_lags(planned_fs, protocol.sample_every * protocol.timestep_fs):
            return reason
        first, half_hop = self._first.displacement(element), protocol.hop_length**2 / 2
        reached = foresight.displacement(first, self._times)
        if reached * MARGIN < half_hop:
            lag = LONGEST_SHARE * planned_fs / FS_PER_PS
            return (
                f"the mean squared displacement is expected to reach {reached:.2g} A^2 in {lag:.2g} ps, less than half "
                f"the squared hop length ({half_hop:.2g} A^2): an upper bound only{self._remedy(half_hop / reached)}"
            )
        duration = float(self._first.trajectory.time_fs[-1])
        return self._short_of(foresight.diffusion(first, self._times, half_hop, duration), row)

    def _of_spectra(self, name: str, element: str, row: Expectation) -> str:
        t, protocol, periods = self._first.moving, self._protocol, SPECTRAL[name]
        planned = longest_window_fs(len(protocol.seeds), protocol.steps * protocol.timestep_fs)
        frequency = sampling.rms_frequency(t.velocities, t.forces, t.masses, self._first.mask(element))
        window = min(planned, reference_window_fs(self._case))
        if vibrations.too_few_periods(FREQUENCY_MARGIN * frequency, window, periods):
            return vibrations.too_few_periods(frequency, window, periods)
        return ""
