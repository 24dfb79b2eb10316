"""Which worker of pytest-xdist runs what, and what becomes of a measurement that kills its worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xdist.scheduler import LoadScopeScheduling


class MeasurementScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Load scheduling that keeps all quantities of one measurement together, so that it is made once.

    Attributes
    ----------
    lost
        For each item during which a worker died, the items of its measurement that got no verdict, itself
        first. They are not run again: they would kill the next worker too.
    """

    def __init__(self, config: Any, log: Any, scope_of: Callable[[str], str]) -> None:
        super().__init__(config, log)
        self._scope_of = scope_of
        self.lost: dict[str, list[str]] = {}

    def _split_scope(self, nodeid: str) -> str:
        """Name the measurement of an item; any other test is a scope of its own."""
        return self._scope_of(nodeid)

    def remove_node(self, node: Any) -> str | None:
        """Take a finished or dead worker out, and give what it had not begun to the others."""
        workload = self.assigned_work[node]
        for scope in [scope for scope, items in workload.items() if all(items.values())]:
            del workload[scope]  # a unit without work left would stall the worker that gets it
        if not workload:
            super().remove_node(node)
            return None
        begun = next(iter(workload))
        items: dict[str, bool] = workload.pop(begun)
        lost = [nodeid for nodeid, done in items.items() if not done]
        self.lost[lost[0]] = lost
        super().remove_node(node)
        return lost[0]

    def _reschedule(self, node: Any) -> None:
        """Give work to `node`, unless it replaces a dead worker and has not collected yet."""
        if node in self.registered_collections:
            super()._reschedule(node)
