"""Ctrl-C and SIGTERM: an interruption that a model swallows ends the run after its call."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping
from types import FrameType

from mlff_probes.calculators.limits import TimeUp

INTERRUPTING = (signal.SIGINT, signal.SIGTERM)
"""The signals by which a run is ended."""


class Interruption:
    """A handler of a signal that interrupts what runs, and counts how often it `came`.

    Parameters
    ----------
    *reason
        What is said of it.
    once
        Whether the signal changes nothing when it comes again: it may while the scorecard is written.
    """

    def __init__(self, *reason: str, once: bool = False) -> None:
        self.reason, self.once, self.came = reason, once, 0

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        """Raise an interruption in what runs."""
        if not (self.came and self.once):
            self.came += 1
            raise KeyboardInterrupt(*self.reason)


@contextlib.contextmanager
def none_swallowed() -> Iterator[None]:
    """Around what a model does: an interruption that it catches, as ``except BaseException`` does, is raised after it.

    Raises
    ------
    KeyboardInterrupt
        If one came, also in place of what the model raises instead.
    """
    before = {handler: handler.came for handler in _handlers()}
    try:
        yield
    except (KeyboardInterrupt, TimeUp):
        raise
    except BaseException:
        _raise_swallowed(before)
        raise
    _raise_swallowed(before)


def _raise_swallowed(before: Mapping[Interruption, int]) -> None:
    for handler, times in before.items():
        if handler.came > times:
            raise KeyboardInterrupt(*handler.reason)


def _handlers() -> list[Interruption]:
    return [found for number in INTERRUPTING if isinstance(found := signal.getsignal(number), Interruption)]
