"""Measurements given to the workers of a cluster: in order, one at a time to each, again where a worker was lost."""

from __future__ import annotations

import contextlib
import pickle
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlff_probes.calculators.base import Calculator
from mlff_probes.core.errors import InputError, describe
from mlff_probes.core.progress import Report, silent
from mlff_probes.core.records import Measurement, Problem
from mlff_probes.session.assemble import SuiteOptions
from mlff_probes.session.cluster import remote
from mlff_probes.session.cluster.connection import Cluster
from mlff_probes.session.costs import Pair
from mlff_probes.session.store.keys import numbers_of
from mlff_probes.session.workers.exchange import killed

ATTEMPTS = 3
"""How many workers a measurement may cost before it counts as what kills them."""

LOST = "lost"
"""The answer of a worker that is not there any more."""

FORGET_S = 1.0
"""How long the run waits in the end for a worker to forget it, s."""

NO_ANSWER: remote.Answer = (LOST, None)

POLL_S = 0.2
"""How often the scheduler is asked which workers there are while all are busy, s."""


def all_allowed(pair: Pair) -> str:
    """Leave nothing out."""
    return ""


@dataclass
class _Work:
    """What is left to do, and who is at which of it."""

    waiting: deque[Pair]
    running: dict[str, tuple[Pair, Any]] = field(default_factory=dict)
    _lost: Counter[Pair] = field(default_factory=Counter)

    def left(self) -> list[Pair]:
        """What has not ended."""
        return [*(pair for pair, _ in self.running.values()), *self.waiting]

    def taken_from(self, address: str, *, cancel: bool = True) -> Pair:
        """What a worker is at, from which it is taken."""
        pair, future = self.running.pop(address)
        if cancel:
            with contextlib.suppress(Exception):  # the scheduler may be gone
                future.cancel()
        return pair

    def lose(self, pair: Pair) -> Iterator[tuple[Pair, Measurement]]:
        """Count a worker that was lost with a measurement, which is the next to be made, unless it cost too many."""
        self._lost[pair] += 1
        if self._lost[pair] < ATTEMPTS:
            self.waiting.appendleft(pair)
        else:
            yield pair, killed(*pair)


def _next(done: queue.SimpleQueue[Any], wait_s: float) -> Any:
    try:
        return done.get(timeout=wait_s) if wait_s else done.get_nowait()
    except queue.Empty:
        return None


class Dispatch:
    """One run on a cluster.

    Parameters
    ----------
    cluster
        Its workers measure.
    options
        What the suite of the run is made of, here as there.
    """

    def __init__(self, cluster: Cluster, options: SuiteOptions) -> None:
        self.cluster = cluster
        self.refused: dict[str, str] = {}
        """By the address of a worker why it is not one of this run."""
        self._order, self._here = pickle.dumps(remote.Order(options)), remote.installed()
        self._expected: dict[str, dict[str, Any]] = {}
        self._told: set[str] = set()
        self._alone_since: float | None = None
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def calculators(self) -> list[Calculator]:
        """The calculators of the run without their models, as the first worker has them.

        Raises
        ------
        InputError
            If there is no worker, none is of this run, or it cannot load what the user asked for.
        """
        ends = time.monotonic() + self.cluster.patience_s
        while time.monotonic() < ends:
            for address in self._usable():
                future = self._submitted(address, remote.describe)
                while not future.done() and address in self.cluster.workers():
                    time.sleep(POLL_S)
                kind, said = self._answer(future, address) if future.done() else NO_ANSWER
                if kind == remote.UNUSABLE:
                    raise InputError(*said)
                if kind == remote.DESCRIBED:
                    found: list[Calculator] = pickle.loads(said)
                    self._expected = {each.label: numbers_of(each.identity) for each in found}
                    return found
            if self.refused:
                raise InputError(self.cluster.name, f"has no worker for this run: {self._reasons()}")
            time.sleep(POLL_S)
        remedy = "start some with: dask worker ADDRESS --nthreads 1"
        raise InputError(self.cluster.name, f"had no worker for {self.cluster.patience_s:g} s", remedy)

    def measured(
        self, pairs: Sequence[Pair], report: Report = silent, why_left_out: Callable[[Pair], str] = all_allowed
    ) -> Iterator[tuple[Pair, Measurement | None]]:
        """Have all pairs measured; each as it arrives, None for what is left out.

        They are begun in the order in which they stand. One whose worker is lost goes to another, `ATTEMPTS` times. If
        the scheduler is lost, or no worker is left, all that is missing becomes an error.
        """
        work = _Work(deque(pairs))
        try:
            while work.waiting or work.running:
                try:
                    usable = self._usable()
                    self._see_that_some_are_left(usable)
                except InputError as error:
                    yield from [(pair, failed(pair, str(error))) for pair in work.left()]
                    return
                for address in set(work.running).difference(usable):
                    yield from work.lose(work.taken_from(address))
                for address in [address for address in usable if address not in work.running]:
                    while work.waiting and why_left_out(work.waiting[0]):
                        yield work.waiting.popleft(), None
                    if work.waiting:
                        pair = work.waiting.popleft()
                        work.running[address] = pair, self._submitted(address, remote.measure, self._expected, *pair)
                ended = len(pairs) - len(work.left())
                report(f"{ended} of {len(pairs)} are there, {len(work.running)} being made")
                yield from self._arrived(work)
        finally:
            for address in list(work.running):
                work.taken_from(address)

    def close(self) -> None:
        """Let the workers forget the run, and end the connection."""
        with contextlib.suppress(Exception):  # one that is still measuring, say
            for future in [
                self.cluster.client.submit(remote.forget, workers=[each], pure=False)
                for each in self._told.intersection(self._usable())
            ]:
                future.result(timeout=FORGET_S)
        with contextlib.suppress(Exception):
            self.cluster.close()

    def _arrived(self, work: _Work) -> Iterator[tuple[Pair, Measurement]]:
        """What arrives within `POLL_S`, and all that has arrived with it."""
        wait_s = POLL_S
        while (arrived := _next(self._done, wait_s)) is not None:
            address, future = arrived
            wait_s = 0.0
            if work.running.get(address, (None, None))[1] is not future:
                continue  # of a worker that was given up
            pair = work.taken_from(address, cancel=False)
            kind, said = self._answer(future, address)
            if kind == remote.MEASURED:
                yield pair, Measurement.model_validate(said, strict=False)
            elif kind == remote.REFUSED:
                work.waiting.appendleft(pair)
            else:
                yield from work.lose(pair)

    def _see_that_some_are_left(self, usable: Collection[str]) -> None:
        """Raise an `InputError` where there has been no worker for too long."""
        if usable:
            self._alone_since = None
            return
        self._alone_since = self._alone_since or time.monotonic()
        if time.monotonic() - self._alone_since > self.cluster.patience_s:
            raise InputError(self.cluster.name, f"no worker is left{f' ({self._reasons()})' if self.refused else ''}")

    def _usable(self) -> list[str]:
        """The workers that may measure."""
        found = []
        for address, threads in self.cluster.workers().items():
            if threads != 1 and address not in self.refused:
                self.refused[address] = f"it does {threads} things at once in one process; start it with --nthreads 1"
            if address not in self.refused:
                found.append(address)
        return found

    def _submitted(self, address: str, function: Callable[..., remote.Answer], *arguments: Any) -> Any:
        self._told.add(address)
        future = self.cluster.client.submit(
            function, self._order, self._here, *arguments, workers=[address], allow_other_workers=False, pure=False
        )
        future.add_done_callback(lambda done: self._done.put((address, done)))
        return future

    def _answer(self, future: Any, address: str) -> remote.Answer:
        """What a worker has said; `LOST` where it will say nothing any more. One that cannot answer is refused."""
        from distributed.scheduler import KilledWorker

        try:
            kind, said = future.result()
        except KilledWorker:
            return NO_ANSWER
        except Exception as error:  # mlff-probes is not there, say
            kind, said = NO_ANSWER if future.cancelled() else (remote.REFUSED, describe(error))
        if kind == remote.REFUSED:
            self.refused[address] = said
        return kind, said

    def _reasons(self) -> str:
        return "; ".join(f"{address}: {why}" for address, why in self.refused.items())


def failed(pair: Pair, reason: str) -> Measurement:
    """What stands for a measurement that no worker made."""
    calculator, case = pair
    return Measurement(calculator=calculator, case=case, problem=Problem(state="error", reason=reason))
