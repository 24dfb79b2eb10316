"""How long measurements will take: by how many atoms the model sees in each, and by what it took for those so far."""

from __future__ import annotations

from collections.abc import Iterable

from mlff_probes.core.case import Case
from mlff_probes.session.suite import ProbeRequest, Suite

ATOM_S = 1e-3
"""What CHGNet takes for an atom on one core, s: the guess for a model of which nothing is known."""

Pair = tuple[str, str]
"""A calculator and a case."""


class Costs:
    """What the measurements of a run take, made or not.

    Parameters
    ----------
    suite
        The run.
    requests
        What is to be measured in it; None for what is no probe.
    """

    def __init__(self, suite: Suite, requests: Iterable[ProbeRequest | None]) -> None:
        self._suite = suite
        self.pairs: dict[Pair, int] = {}
        """How many quantities each measurement is for, in the order in which they will be made."""
        for request in filter(None, requests):
            pair = (request.calculator, request.case)
            self.pairs[pair] = self.pairs.get(pair, 0) + 1

    def guess_s(self, pair: Pair, atom_s: float = ATOM_S) -> float:
        """About how long a measurement takes, s, with a calculator that takes `atom_s` for an atom."""
        case = self._suite.case(pair[1])
        if not isinstance(case, Case) or self._not_applicable(pair[0], case):
            return 0.0
        return case.protocol.expected_s(case.frames, atom_s)

    def _not_applicable(self, calculator: str, case: Case) -> bool:
        model = next(model for model in self._suite.calculators if model.label == calculator)
        return not case.protocol.chooses_elements and bool(model.unknown_elements(case.elements))

    def expected_s(self, pair: Pair) -> float:
        """The same, by what the calculator took so far; 0 for what was measured before."""
        if pair in self._suite.measurements or self._suite.is_kept(*pair):
            return 0.0
        return self.guess_s(pair, self._atom_s(pair[0]))

    def left_s(self) -> float:
        """About how long all that is left will take, s."""
        return sum(map(self.expected_s, self.pairs))

    def _atom_s(self, calculator: str) -> float:
        """What a calculator takes for an atom, s, by all that was measured with it, in this run or before."""
        made = [m for (label, _), m in self._suite.measurements.items() if label == calculator and m.problem is None]
        took = sum(measurement.wall_s for measurement in made)
        guessed = sum(self.guess_s((calculator, measurement.case)) for measurement in made)
        return ATOM_S * took / guessed if took and guessed else ATOM_S
