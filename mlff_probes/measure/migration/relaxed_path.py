"""A relaxed migration path: its sites, the bands between them, and what came of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from mlff_probes.calculators.base import Calculator
from mlff_probes.calculators.evaluation import evaluate
from mlff_probes.core.case import Case
from mlff_probes.core.errors import NonFiniteError
from mlff_probes.core.evaluation import Calls
from mlff_probes.core.progress import Report
from mlff_probes.core.protocol import ENERGY, FRACTION, LENGTH
from mlff_probes.core.records import Value, as_lists
from mlff_probes.measure.committee import with_spread
from mlff_probes.measure.kind import QUIET, Conditions
from mlff_probes.measure.migration.fixed_path import path_fraction
from mlff_probes.measure.migration.protocols import RelaxedPath
from mlff_probes.measure.results import Result, relaxation_result
from mlff_probes.methods.analysis.curves import energy_noise, has_top
from mlff_probes.methods.bands.interpolation import interpolate_band, unwrapped
from mlff_probes.methods.bands.outcomes import Outcome, structure_explosion
from mlff_probes.methods.bands.relax import BandRun, relax_band, relax_structure
from mlff_probes.methods.bands.rest import SADDLE_EV_A2, force_jump, lowest_curvature
from mlff_probes.methods.bands.steps import step_between
from mlff_probes.methods.neighbours import widest_gap

Floats = NDArray[np.float64]

SAME_A = 0.1
"""Two structures no coordinate of which differs by more than this, A, are one minimum."""

FAR_A = 0.5
"""A frame that relaxes so far, A, may have come to another site than was meant: half of a short way between two sites,
and more than an atom moves as another potential than that of the frame puts it at rest."""

BEFORE, AFTER = "relaxes into the site before it", "relaxes into the site after it"
"""What is said of a frame between the endpoints that is no site of its own."""


@dataclass
class _Path:
    """What is known of a path so far.

    Attributes
    ----------
    sites
        Relaxed frames that are minima of their own, with energies and forces.
    origins
        Which frames they were.
    stretches
        For each band: its two sites and, between them, the frames that are no sites.
    runs, first
        The bands, and what they started from.
    notes
        By frame: those between the endpoints that are no minima of their own, and what became of them; and sites that
        moved far as they relaxed.
    """

    sites: list[Atoms] = field(default_factory=list)
    origins: list[int] = field(default_factory=list)
    stretches: list[list[Atoms]] = field(default_factory=list)
    runs: list[BandRun] = field(default_factory=list)
    first: list[list[Atoms]] = field(default_factory=list)
    notes: dict[int, str] = field(default_factory=dict)

    @property
    def images(self) -> list[Atoms]:
        """All images of the relaxed bands, from the first site to the last."""
        return [self.sites[0], *(image for run in self.runs for image in run.images[1:])]

    @property
    def caveat(self) -> str:
        """All notes, in the order of the frames."""
        return self._told(self.notes)

    @property
    def site_caveat(self) -> str:
        """The notes on sites."""
        return self._told(index for index in self.origins if index in self.notes)

    def _told(self, indices: Iterable[int]) -> str:
        return "; ".join(f"frame {index} {self.notes[index]}" for index in sorted(indices))

    def begin(self, site: Atoms, index: int) -> None:
        """End the last band at `site`, frame `index`, if there is one, and begin the next."""
        self.sites.append(site)
        self.origins.append(index)
        for stretch in self.stretches[-1:]:
            stretch.append(site)
        self.stretches.append([site])

    def lead_through(self, frame: Atoms, index: int, why: str) -> None:
        """Let the last band lead through frame `index`, which is no site, and note why."""
        self.stretches[-1].append(frame)
        self.notes[index] = f"{why}, and its band leads through it"

    def note_way(self, frame: Atoms, site: Atoms, index: int) -> None:
        """Note how far the atoms of frame `index` went as it relaxed to a site, where that is far."""
        ways = np.linalg.norm(step_between(frame, site), axis=1)
        atom = int(ways.argmax())
        if ways[atom] > FAR_A:
            went = f"{site.symbols[atom]} {atom} went {ways[atom]:.2f} A from where it is stated"
            self.notes[index] = f"relaxed far: {went}, so that this may be the hop of another site"

    def move_last(self, frames: Sequence[Atoms], site: Atoms, index: int) -> None:
        """Let the last site be frame `index`: the frame it came from, and those since, are what its band leads through.

        They lie beyond the saddle already, and relax into the site after them.
        """
        origin = self.origins.pop()
        since = self.stretches.pop()[1:]
        self.sites.pop()
        self.stretches[-1].pop()
        self.notes |= {later: why.replace(BEFORE, AFTER) for later, why in self.notes.items() if later > origin}
        self.lead_through(frames[origin], origin, AFTER)
        self.stretches[-1] += since
        self.begin(site, index)

    def saddle_problem(self) -> Outcome | None:
        """Why the converged bands have no saddle, or None: their highest image must lie above the sites beside it."""
        run = max(self.runs, key=lambda run: run.energies.max())
        top = int(np.argmax(run.energies))
        if has_top(run.energies, energy_noise(run.energies)):
            return None
        return Outcome("no saddle", "no image lies above the sites that its band joins", run.outcome.step, top)


def relaxed_path(calculator: Calculator, case: Case[RelaxedPath], conditions: Conditions = QUIET) -> Result:
    """Relax the frames of a case, and a climbing-image band between each two.

    A frame between the endpoints that relaxes into a minimum of its own ends one band and begins the next, since
    a single climbing image cannot find two saddles; one that does not is where its band leads through, and that is
    noted; so is one that relaxes into the site before or after it. A minimum is what has no negative curvature along
    the path (`lowest_curvature`): by symmetry a frame can come to rest on a saddle. An endpoint that does is an error.
    A site that lies further than `FAR_A` from its frame is noted.

    - `outcome` 1 where every band converged; else an error that says how it ended
      (`mlff_probes.methods.bands.outcomes`), and all that follows is an error too:
    - `barrier`, `reverse_barrier` energy of the highest image over the first and over the last, eV;
    - `reaction_energy` of the last over the first, eV;
    - `saddle_position` path fraction of the highest image (see `path_fraction`);
    - `path_distance` how far the relaxed bands lie from the first ones: mean over inner images of the distance
      over all 3 n_atoms components, A;
    - `model_calls` structures that went through the model, endpoints included; always given.

    Of a committee, the spread of an energy is that of its members along the path that their mean relaxed.

    Raises
    ------
    EvaluationError
        If the calculator raises.
    """
    protocol = case.protocol
    relaxation = _Relaxation(calculator, protocol, conditions.report)
    try:
        outcome = relaxation.sites(unwrapped(case.frames)) or relaxation.bands()
    except NonFiniteError as error:
        outcome = Outcome("non-finite", str(error), 0)
    result = _result(protocol, outcome, relaxation.path, relaxation.calls)
    return _with_members(calculator, relaxation, result) if calculator.members and outcome.converged else result


class _Relaxation:
    """The relaxation of one path with one calculator."""

    def __init__(self, calculator: Calculator, protocol: RelaxedPath, report: Report) -> None:
        self.calculator, self.protocol, self.report = calculator, protocol, report
        self.calls, self.path = Calls(), _Path()

    def sites(self, frames: Sequence[Atoms]) -> Outcome | None:
        """Relax all frames and tell minima from others; what went wrong, or None."""
        path, protocol = self.path, self.protocol
        for index, frame in enumerate(frames):
            site, converged = relax_structure(
                self.calculator, frame, fmax=protocol.endpoint_fmax, max_steps=protocol.endpoint_steps,
                calls=self.calls, report=self._told(f"frame {index}: "),
            )  # fmt: skip
            if problem := _site_problem(index, frame, site):
                return problem
            if not converged:
                jump = force_jump(self.calculator, site, fmax=protocol.endpoint_fmax, calls=self.calls)
                rest = f"{protocol.endpoint_fmax:g} eV/A in {protocol.endpoint_steps} steps{jump}"
                return Outcome("unconverged", f"frame {index} did not relax to {rest}", 0)
            if problem := self._take(site, frames, index):
                return problem
        del path.stretches[-1]  # it begins at the last site and goes nowhere
        return None

    def _take(self, site: Atoms, frames: Sequence[Atoms], index: int) -> Outcome | None:
        """Take a relaxed frame for a site, or the frame for a point on the way of its band; what is wrong, or None."""
        path, inner = self.path, 0 < index < len(frames) - 1
        if path.sites and not inner and _same(site, path.sites[0]):
            return Outcome("image collapse", "both endpoints relaxed to the same structure", 0)
        if path.sites and _same(site, path.sites[-1]):
            if inner:
                path.lead_through(frames[index], index, BEFORE)
            else:
                path.move_last(frames, site, index)
                path.note_way(frames[index], site, index)
            return None
        curvature = self._curvature(site, frames, index)
        if curvature >= SADDLE_EV_A2:
            path.begin(site, index)
            path.note_way(frames[index], site, index)
            return None
        saddle = f"rests on a saddle ({curvature:.2f} eV/A^2 along the path)"
        if not inner:
            return Outcome("no minimum", f"frame {index}, relaxed, {saddle}; displace the atom that hops", 0)
        path.lead_through(frames[index], index, f"is no minimum: relaxed, it {saddle}")
        return None

    def bands(self) -> Outcome:
        """Relax the bands one after the other; the first that does not converge is the end."""
        path = self.path
        for index, stretch in enumerate(path.stretches):
            which = "" if len(path.stretches) == 1 else f"band {index + 1} of {len(path.stretches)}: "
            first = interpolate_band(stretch, self.protocol.images)
            settings = self.protocol.band_settings
            run = relax_band(self.calculator, first, settings=settings, calls=self.calls, report=self._told(which))
            path.first.append(first)
            path.runs.append(run)
            if not run.outcome.converged:
                return Outcome(run.outcome.kind, f"{which}{run.outcome.reason}", run.outcome.step, run.outcome.image)
        return path.saddle_problem() or Outcome(
            "converged", "; ".join(run.outcome.reason for run in path.runs), path.runs[-1].outcome.step
        )

    def _curvature(self, site: Atoms, frames: Sequence[Atoms], index: int) -> float:
        """The lowest curvature of the energy at a relaxed frame, along the path through the frames beside it."""
        before, after = frames[max(index - 1, 0)], frames[min(index + 1, len(frames) - 1)]
        return lowest_curvature(self.calculator, site, after.positions - before.positions, calls=self.calls)

    def _told(self, which: str) -> Report:
        return lambda text: self.report(which + text)


def _site_problem(index: int, frame: Atoms, site: Atoms) -> Outcome | None:
    if found := structure_explosion(site, widest_gap(frame)):
        return Outcome(found[0], f"frame {index} relaxed: {found[1]}", 0)
    return None


def _same(one: Atoms, other: Atoms) -> bool:
    return bool(np.abs(one.positions - other.positions).max() < SAME_A)


def _result(protocol: RelaxedPath, outcome: Outcome, path: _Path, calls: Calls) -> Result:
    values: dict[str, Value] = {}
    arrays = _histories(path)
    if outcome.converged:
        energies = np.concatenate([path.runs[0].energies[:1], *(run.energies[1:] for run in path.runs)])
        energies, position = energies - energies[0], path_fraction(tuple(path.images))
        moved = [
            float(np.linalg.norm(now.positions - then.positions))
            for run, first in zip(path.runs, path.first, strict=True)
            for now, then in zip(run.images[1:-1], first[1:-1], strict=True)
        ]
        values = {
            **_along(path, energies, position),
            "path_distance": Value(value=float(np.mean(moved)), unit=LENGTH),
        }
        arrays |= as_lists({"path_fraction": position, "energy": energies})
    return relaxation_result(outcome, calls, protocol.quantities, values, arrays)


def _along(path: _Path, energies: Floats, position: Floats) -> dict[str, Value]:
    """What is read off the energies of all images, eV, and off where these are."""
    energies, top, sites = energies - energies[0], int(np.argmax(energies)), path.site_caveat
    return {
        "barrier": Value(value=float(energies[top]), unit=ENERGY, caveat=path.caveat),
        "reverse_barrier": Value(value=float(energies[top] - energies[-1]), unit=ENERGY, caveat=sites),
        "reaction_energy": Value(value=float(energies[-1]), unit=ENERGY, caveat=sites),
        "saddle_position": Value(value=float(position[top]), unit=FRACTION, caveat=sites),
    }


def _with_members(calculator: Calculator, relaxation: _Relaxation, result: Result) -> Result:
    """The result of a committee with its spread, for which the images of the relaxed path are evaluated once more."""
    path, calls = relaxation.path, relaxation.calls
    found = calls.add(evaluate(calculator, path.images, forces=False, name=lambda row: f"image {row} of the path"))
    position = path_fraction(tuple(path.images))
    members = [Result(_along(path, each.energies, position), {}, each) for each in found.members]
    return with_spread(replace(result, evaluation=calls.evaluation()), members)


def _histories(path: _Path) -> dict[str, list[Any]]:
    """Steps of all bands one after the other, energies over the first site, and how many steps each band took."""
    zeros = [float(run.energies[0] - path.sites[0].get_potential_energy()) if len(run.energies) else 0.0
             for run in path.runs]  # fmt: skip
    return {
        "energy_history": [
            (row + zero).tolist() for run, zero in zip(path.runs, zeros, strict=True) for row in run.energy_history
        ],
        "fmax_history": [row.tolist() for run in path.runs for row in run.fmax_history],
        "band_steps": [len(run.energy_history) for run in path.runs],
    }
