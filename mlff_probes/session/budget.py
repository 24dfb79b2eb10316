"""`--probe-budget`: what can be measured in a given time, the most telling first."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from mlff_probes.core.errors import InputError
from mlff_probes.core.text import duration
from mlff_probes.session.costs import Costs, Pair
from mlff_probes.session.suite import Suite

OPTION = "--probe-budget"
ENDS = "mlff_probes_ends"
"""The name under which a worker is told when the budget ends."""

UNITS = {"h": 3600.0, "m": 60.0, "min": 60.0, "s": 1.0, "": 1.0}
LEAST_S = 0.05
"""What any measurement is reckoned to take at least, s, so that none is infinitely telling for its time."""


def seconds_of(given: str | None) -> float | None:
    """The seconds of a budget: ``90``, ``90s``, ``10m``, ``1h30m``; None for none.

    Raises
    ------
    InputError
        If it is none of these.
    """
    if given is None:
        return None
    said = re.sub(r"\s", "", given)
    parts = [(said, "")] if re.fullmatch(r"\d+(\.\d+)?", said) else re.findall(r"(\d+(?:\.\d+)?)(h|min|m|s)", said)
    if not parts or "".join(number + unit for number, unit in parts) != said:
        raise InputError(f"{OPTION}={given}", "is no time", f"write for instance {OPTION}=10m, =90s or =1h30m")
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not 0 < seconds < float("inf"):
        raise InputError(f"{OPTION}={given}", "leaves no time to measure anything")
    return seconds


class Budget:
    """Lets a run measure what ends in time.

    Parameters
    ----------
    seconds
        How long the run may measure.
    costs
        What its measurements take.
    ends
        When it ends, by `clock`, where another process has said so; None to count from now.
    """

    def __init__(
        self, seconds: float, costs: Costs, *, ends: float | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.seconds, self.costs, self._clock = seconds, costs, clock
        self.ends = clock() + seconds if ends is None else ends
        self._left_out: dict[Pair, str] = {}

    def check(self) -> None:
        """See that something can be measured.

        Raises
        ------
        InputError
            If the shortest measurement is expected to take longer than the budget.
        """
        shortest = min(self.costs.pairs, key=self.costs.expected_s, default=None)
        if shortest is not None and (takes := self.costs.expected_s(shortest)) > self.seconds:
            raise InputError(
                f"{OPTION}={self.seconds:g}s",
                f"is too short for anything: the shortest measurement, {shortest[1]}, takes some {duration(takes)}",
            )

    def why_left_out(self, pair: Pair) -> str:
        """Why a measurement is not begun; empty where it ends in time."""
        if pair not in self._left_out:
            takes, left = self.costs.expected_s(pair), max(self.ends - self._clock(), 0.0)
            if takes <= left:
                return ""
            said = f"expected to take {duration(takes)}, and {duration(left)} of the budget were left"
            self._left_out[pair] = said
        return self._left_out[pair]


def most_telling_first(suite: Suite, costs: Costs) -> dict[Pair, int]:
    """The place of each measurement: of each family first the one that judges most for its time, then all others so.

    Guessed from the cases alone, so that all workers of a run come to the same.
    """

    def judged_a_second(pair: Pair) -> float:
        return costs.pairs[pair] / max(costs.guess_s(pair), LEAST_S)

    ranked = sorted(costs.pairs, key=judged_a_second, reverse=True)
    firsts = {(pair[0], suite.case(pair[1]).family): pair for pair in reversed(ranked)}.values()
    ordered = [*(pair for pair in ranked if pair in set(firsts)), *(pair for pair in ranked if pair not in set(firsts))]
    return {pair: place for place, pair in enumerate(ordered)}


def longest_first(costs: Costs) -> dict[Pair, int]:
    """The place of each measurement where several workers share them: who begins a long one last is waited for."""
    return {pair: place for place, pair in enumerate(sorted(costs.pairs, key=costs.guess_s, reverse=True))}
