"""Which worker of pytest-xdist runs what, and what becomes of a measurement that kills its worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from xdist.scheduler import EachScheduling, LoadFileScheduling, LoadGroupScheduling, LoadScopeScheduling

THEIRS = {"loadfile": LoadFileScheduling, "loadscope": LoadScopeScheduling, "loadgroup": LoadGroupScheduling}
"""The schedulers of pytest-xdist that keep tests together, by `--dist`."""


def scheduling(config: Any, log: Any, measurement_of: Callable[[str], str | None]) -> Any:
    """The scheduler for the user's `--dist`; None where that of pytest-xdist will do."""
    dist = config.getvalue("dist")
    if dist == "each":
        return EachMeasurementScheduling(config, log)
    return MeasurementScheduling(config, log, measurement_of) if dist in ("load", "no", *THEIRS) else None


class MeasurementScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Load scheduling that keeps all quantities of one measurement together, so that nobody waits for it.

    Any other test is kept together with those that the user's `--dist` names.

    Attributes
    ----------
    lost
        For each item during which a worker died, the items of its measurement that got no verdict, itself
        first. They are not run again: they would kill the next worker too.
    """

    def __init__(self, config: Any, log: Any, measurement_of: Callable[[str], str | None]) -> None:
        super().__init__(config, log)
        self._measurement_of = measurement_of
        self._theirs = THEIRS.get(config.getvalue("dist"))
        self.lost: dict[str, list[str]] = {}
        self._again: set[str] = set()

    def _split_scope(self, nodeid: str) -> str:
        """Name what is kept together with an item: its measurement, or what `--dist` says of other tests."""
        if nodeid in self._again:
            return nodeid
        measurement = self._measurement_of(nodeid)
        if measurement is not None:
            return f"measurement {measurement}"
        return nodeid if self._theirs is None else str(self._theirs._split_scope(self, nodeid))

    def remove_node(self, node: Any) -> str | None:
        """Take a finished or dead worker out, and give what it had not begun to the others."""
        workload = self.assigned_work[node]
        for scope in [scope for scope, items in workload.items() if all(items.values())]:
            del workload[scope]  # a unit without work left would stall the worker that gets it
        if not workload:
            super().remove_node(node)
            return None
        begun, unit = next(iter(workload.items()))
        left: list[str] = [nodeid for nodeid, done in unit.items() if not done]
        lost = left if self._measurement_of(left[0]) is not None else left[:1]
        unit.update(dict.fromkeys(lost, True))
        if lost == left:
            del workload[begun]
        self.lost[lost[0]] = lost
        super().remove_node(node)
        return lost[0]

    def mark_test_pending(self, item: str) -> None:
        """Run a test again whose worker died, as a plugin for flaky tests may ask; a lost measurement stays lost."""
        if self._measurement_of(item) is None:
            self._again.add(item)
            self.workqueue[item] = {item: False}
            for node in self.nodes:
                self._reschedule(node)

    def _reschedule(self, node: Any) -> None:
        """Give a late worker two items at least: it begins one only when it knows the next."""
        super()._reschedule(node)
        if self.workqueue and self._pending_of(self.assigned_work[node]) == 1:
            super()._reschedule(node)

    def _assign_work_unit(self, node: Any) -> None:
        """Give work to `node`, unless it replaces a dead worker and has not collected yet."""
        if node in self.registered_collections:
            with suppress(OSError):  # it died a moment ago: when that is noticed, `remove_node` takes the work back
                super()._assign_work_unit(node)


class EachMeasurementScheduling(EachScheduling):  # type: ignore[misc]
    """Every test on every worker, also where the worker that replaces a dead one dies too.

    That of pytest-xdist forgets what a late worker collected, and stumbles over two that are late at once.
    """

    def __init__(self, config: Any, log: Any) -> None:
        super().__init__(config, log)
        self._late: set[Any] = set()

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        """Remember what a worker collected; one that replaces a dead worker takes over its items."""
        if self.collection_is_completed:
            self._late.add(node)
        super().add_node_collection(node, collection)
        self.node2collection[node] = list(collection)

    def schedule(self) -> None:
        """Send each worker that has collected all that it is to do."""
        for node, pending in self.node2pending.items():
            if node in self._started or node not in self.node2collection:
                continue
            if node not in self._late:
                pending[:] = range(len(self.node2collection[node]))
            with suppress(OSError):  # as above
                node.send_runtest_some(pending)
            node.shutdown()
            self._started.append(node)
