"""What the simulations of a calculator will take, said as the first of them begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mlff_probes.core.case import Case
from mlff_probes.core.text import duration
from mlff_probes.measure.dynamics.cost import LONG_S
from mlff_probes.measure.dynamics.protocols import MolecularDynamics
from mlff_probes.session.suite import ProbeRequest, Suite


class Forecast:
    """Says once for each calculator what its simulations will take; a `Suite` calls it with what a call takes.

    Parameters
    ----------
    suite
        The run.
    requests
        What is to be measured.
    say
        Told the sentence, if it will take long.
    """

    def __init__(self, suite: Suite, requests: Iterable[ProbeRequest], say: Callable[[str], None]) -> None:
        self._suite, self._say = suite, say
        self._cases: dict[str, dict[str, None]] = {}
        for request in requests:
            self._cases.setdefault(request.calculator, {})[request.case] = None

    def __call__(self, calculator: str, case: str, call_s: float) -> None:
        """Reckon from a simulation whose calls take `call_s` seconds to all of a calculator that are not made yet.

        A call is taken to cost what its number of atoms says.
        """
        cases = self._cases.pop(calculator, {})
        left = [id for id in cases if (calculator, id) not in self._suite.measurements]
        sizes = {id: size for id in (case, *left) if (size := self._size(calculator, id))}
        per_atom = call_s / sizes[case][1]
        takes = {id: calls * atoms * per_atom for id, (calls, atoms) in sizes.items()}
        if not cases or sum(takes.values()) < LONG_S:
            return
        each = ", ".join(f"{id} {duration(seconds)}" for id, seconds in takes.items())
        self._say(
            f"{calculator} evaluates one structure a call ({call_s:.2g} s for {sizes[case][1]} atoms): its simulations "
            f"will take some {duration(sum(takes.values()))} ({each})"
        )

    def _size(self, calculator: str, id: str) -> tuple[int, int] | None:
        """Calls of a simulation, and atoms of each; None where a case is none, or of elements that are not known."""
        case, models = self._suite.case(id), self._suite.calculators
        if not isinstance(case, Case) or not isinstance(case.protocol, MolecularDynamics):
            return None
        if any(model.unknown_elements(case.elements) for model in models if model.label == calculator):
            return None
        return case.protocol.calls, len(case.protocol.start(case.frames))
