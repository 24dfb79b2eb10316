"""Which part of a model call takes the time: neighbour list, copies to and from the device, model.

A family marks the parts of its batched pass with `stage`; that costs nothing until a `Stopwatch` looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Literal

Stage = Literal["neighbours", "copies", "model"]
STAGES: tuple[Stage, ...] = ("neighbours", "copies", "model")

_looking: ContextVar[Stopwatch | None] = ContextVar("looking", default=None)


class Stopwatch:
    """Seconds in each stage of the calls made while it looks, the device synchronised around each.

    Parameters
    ----------
    clock
        Seconds.
    synchronize
        Waits until the device has finished.
    """

    def __init__(self, clock: Callable[[], float], synchronize: Callable[[], None]) -> None:
        self._clock, self._synchronize = clock, synchronize
        self.seconds: dict[Stage, float] = {}

    @contextmanager
    def looking(self) -> Iterator[Stopwatch]:
        """Look at what is called within."""
        token = _looking.set(self)
        try:
            yield self
        finally:
            _looking.reset(token)

    @contextmanager
    def timed(self, name: Stage) -> Iterator[None]:
        """Add the time within to stage `name`."""
        start = self.now()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + self.now() - start

    def now(self) -> float:
        """The clock, once the device has finished."""
        self._synchronize()
        return self._clock()


def stage(name: Stage) -> Any:
    """A context around one part of a model call."""
    watch = _looking.get()
    return nullcontext() if watch is None else watch.timed(name)
