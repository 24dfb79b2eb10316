"""One model after the other: the order of the probes, and the memory of a model whose measurements are over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from mlff_probes.session.costs import Pair
from mlff_probes.session.suite import ProbeRequest, Suite

Item = TypeVar("Item")
ANY_ORDER: Mapping[Pair, int] = {}


class Turns:
    """Lets the calculators of a run take turns.

    Parameters
    ----------
    suite
        The run.
    live
        The label of the calculator with which the others are compared as they are measured, if there is one: it is
        the first, and is needed for each case of another.
    """

    def __init__(self, suite: Suite, live: str | None) -> None:
        self._suite, self._live = suite, live
        self._pending: dict[str, set[str]] = {}

    def in_order(
        self,
        items: list[Item],
        request_of: Callable[[Item], ProbeRequest | None],
        places: Mapping[Pair, int] = ANY_ORDER,
        *,
        take_turns: bool = True,
    ) -> list[Item]:
        """The items, in the places of probes those of one calculator after the other; all else stays where it is.

        Those of one calculator, or without turns all, come by the `places` of their measurements, where there are any.
        """
        labels = [calculator.label for calculator in self._suite.calculators] if take_turns else []
        turn = {label: number for number, label in enumerate(labels)} | ({self._live: -1} if self._live else {})
        requests = [request_of(item) for item in items]
        probes = [
            ((turn.get(request.calculator, 0), places.get((request.calculator, request.case), 0)), item)
            for item, request in zip(items, requests, strict=True)
            if request
        ]
        ordered = iter(item for _, item in sorted(probes, key=lambda probe: probe[0]))
        return [item if request is None else next(ordered) for item, request in zip(items, requests, strict=True)]

    def begin(self, requests: Iterable[ProbeRequest]) -> None:
        """Note what is to be measured, and give back the models of which nothing is."""
        self._pending = {calculator.label: set() for calculator in self._suite.calculators}
        for request in requests:
            for label in self._concerned(request):
                self._pending[label] |= {request.case} if self._suite.measurable(request.case) else set()
        self._give_back()

    def ended(self, request: ProbeRequest) -> None:
        """Give back the models of which nothing is left to measure now that an item has ended."""
        for label in self._concerned(request):
            if (label, request.case) in self._suite.measurements:
                self._pending.get(label, set[str]()).discard(request.case)
        self._give_back()

    def _concerned(self, request: ProbeRequest) -> set[str]:
        """The calculators that are measured for an item: its own, and the one that it is compared with."""
        return {request.calculator} | ({self._live} if self._live else set())

    def _give_back(self) -> None:
        """As long as another one needs the room."""
        over = [label for label, cases in self._pending.items() if not cases]
        if over and len(over) < len(self._pending):
            self._suite.give_back(over)
            self._pending = {label: cases for label, cases in self._pending.items() if cases}
